//! Paths and methods; the page, which needs nothing from elsewhere.

use weir_board::Snapshot;
use weir_http::{Inbox, Method, Status};
use weir_status_logic::site::PAGE;
use weir_status_logic::{Action, Histogram, Site};

/// Status, head, body and action of the answer to a request with these lines.
fn ask(site: &Site, lines: &str) -> (Status, String, String, Action) {
    let mut inbox = Inbox::default();
    let text = format!("{lines}\r\nHost: x\r\n\r\n");
    inbox.space()[..text.len()].copy_from_slice(text.as_bytes());
    inbox.fill(text.len());
    let request = inbox.request().unwrap().unwrap();
    let snapshot = || Ok(Snapshot { time_ns: 77, ..Snapshot::default() });
    let (response, action) = site.respond(&request, snapshot, || b"pcap".to_vec(), &Histogram::default());
    let body = String::from_utf8(response.body_of(request.method).to_vec()).unwrap();
    (response.status, response.head(true), body, action)
}

#[test]
fn the_three_views_are_there() {
    let site = Site::new(true);
    let (status, head, body, _) = ask(&site, "GET / HTTP/1.1");
    assert!(status == Status::Ok && body == PAGE && head.contains("text/html") && head.contains("ETag: "));
    let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let (status, ..) = ask(&site, &format!("GET / HTTP/1.1\r\nIf-None-Match: {tag}"));
    assert_eq!(status, Status::NotModified);
    let (status, head, body, _) = ask(&site, "GET /status.json HTTP/1.1");
    assert!(status == Status::Ok && body.contains("\"time_ns\":77") && head.contains("no-store"));
    let (status, head, body, _) = ask(&site, "GET /metrics HTTP/1.1");
    assert!(status == Status::Ok && body.contains("weir_uptime_seconds 0.000000077\n"));
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    let (status, head, body, _) = ask(&site, "GET /capture.pcap HTTP/1.1");
    assert!(status == Status::Ok && body == "pcap" && head.contains("application/vnd.tcpdump.pcap\r\n"));
    let (status, _, body, action) = ask(&site, "HEAD /metrics HTTP/1.1");
    assert_eq!((status, body.as_str(), action), (Status::Ok, "", Action::None));
}

#[test]
fn only_the_button_asks() {
    let site = Site::new(true);
    let button = "POST /attack HTTP/1.1\r\nX-Weir-Button: attack";
    let (status, .., action) = ask(&site, button);
    assert_eq!((status, action), (Status::Accepted, Action::Ask));
    for (lines, expected) in [
        ("GET /attack HTTP/1.1", Status::MethodNotAllowed),
        ("OPTIONS /attack HTTP/1.1", Status::MethodNotAllowed),
        ("POST /attack HTTP/1.1", Status::Forbidden),
        ("POST / HTTP/1.1\r\nX-Weir-Button: attack", Status::MethodNotAllowed),
        ("GET /other HTTP/1.1", Status::NotFound),
    ] {
        let (status, .., action) = ask(&site, lines);
        assert_eq!((status, action), (expected, Action::None), "{lines}");
    }
    let (status, .., action) = ask(&Site::new(false), button);
    assert_eq!((status, action), (Status::NotFound, Action::None), "nothing may be asked for");
}

#[test]
fn without_a_snapshot_it_says_so() {
    let mut inbox = Inbox::default();
    let text = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    inbox.space()[..text.len()].copy_from_slice(text);
    inbox.fill(text.len());
    let request = inbox.request().unwrap().unwrap();
    assert_eq!(request.method, Method::Get);
    let (response, _) =
        Site::new(true).respond(&request, || Err("nothing yet".into()), Vec::new, &Histogram::default());
    assert_eq!(response.status, Status::Unavailable);
    assert_eq!(&*response.body, b"503 Service Unavailable: nothing yet\n");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_fits_a_phone() {
    assert!(PAGE.is_ascii() || PAGE.contains("charset=\"utf-8\""));
    for outside in ["http:", "https:", "src=", "@import", "url(", "eval(", "innerHTML"] {
        assert!(!PAGE.contains(outside), "{outside}");
    }
    for needed in
        ["name=\"viewport\"", "lang=\"en\"", "prefers-color-scheme: dark", "role=\"alert\"", "aria-label"]
    {
        assert!(PAGE.contains(needed), "{needed}");
    }
    assert!(PAGE.len() < 32 << 10);
}
