//! Golden exchanges: what a server of two files and a button says, byte for byte.

use weir_http::{Etag, Inbox, Method, Request, Response, Status, content, path};

const PAGE: &[u8] = b"<p>hi\n";
const STYLE: &[u8] = b"p{}\n";

fn respond(request: &Request<'_>) -> Response<'static> {
    match request.method {
        Method::Get | Method::Head => {}
        Method::Post if request.path == "/button" => return Response::text(Status::Accepted, "pressed"),
        _ => return Response::not_allowed("Allow: GET, HEAD\r\n"),
    }
    let body = match path::file_name(request.path).as_deref() {
        Some("index.html") => PAGE,
        Some("a/s.css") => STYLE,
        _ => return Response::text(Status::NotFound, "there is no such file"),
    };
    let name = path::file_name(request.path).unwrap_or_default();
    Response::of_version(request, content::type_of(&name), Etag::of(body), body)
}

/// What a connection sends that receives `stream`.
fn exchange(stream: &str) -> String {
    let (mut inbox, mut sent) = (Inbox::default(), Vec::new());
    inbox.space()[..stream.len()].copy_from_slice(stream.as_bytes());
    inbox.fill(stream.len());
    loop {
        match inbox.request() {
            Ok(None) => break,
            Ok(Some(request)) => {
                let response = respond(&request);
                sent.extend_from_slice(response.head(request.is_kept_alive).as_bytes());
                sent.extend_from_slice(response.body_of(request.method));
                if !request.is_kept_alive {
                    break;
                }
            }
            Err(refusal) => {
                let response = Response::refused(refusal);
                sent.extend_from_slice(response.head(false).as_bytes());
                sent.extend_from_slice(&response.body);
                break;
            }
        }
    }
    String::from_utf8(sent).unwrap()
}

#[test]
fn a_file() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\
        X-Content-Type-Options: nosniff\r\nETag: \"307e46e2be698d68\"\r\nCache-Control: no-cache\r\n\
        Connection: keep-alive\r\n\r\n<p>hi\n";
    assert_eq!(exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), expected);
    let head = expected.strip_suffix("<p>hi\n").unwrap();
    assert_eq!(exchange("HEAD /index.html HTTP/1.1\r\nHost: x\r\n\r\n"), head);
}

#[test]
fn a_version_that_the_client_has() {
    let expected = "HTTP/1.1 304 Not Modified\r\nETag: \"307e46e2be698d68\"\r\nCache-Control: no-cache\r\n\
        Connection: keep-alive\r\n\r\n";
    let request = "GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"0\", W/\"307e46e2be698d68\"\r\n\r\n";
    assert_eq!(exchange(request), expected);
    assert!(
        exchange("GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"0\"\r\n\r\n").starts_with("HTTP/1.1 200")
    );
}

#[test]
fn pipelined_requests_are_answered_in_turn_until_one_closes() {
    let request = "GET /a/s.css HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /a/s.css HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let sent = exchange(&[request, request, last, request].concat());
    assert_eq!(sent.matches("HTTP/1.1 200 OK\r\nContent-Type: text/css; charset=utf-8\r\n").count(), 3);
    assert_eq!(sent.matches("Connection: keep-alive").count(), 2);
    assert!(sent.ends_with("Connection: close\r\n\r\np{}\n"), "{sent}");
}

#[test]
fn the_button_and_what_is_not_allowed() {
    let expected = "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 22\r\n\
        X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n\
        202 Accepted: pressed\n";
    assert_eq!(exchange("POST /button HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), expected);
    for method in ["POST", "PUT", "OPTIONS"] {
        let sent = exchange(&format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(sent.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{sent}");
        assert!(sent.contains("\r\nAllow: GET, HEAD\r\n"), "{sent}");
    }
}

#[test]
fn what_is_not_there_and_what_is_refused() {
    for path in ["/x", "/../index.html", "/%2e%2e/index.html", "/a%2fs.css", "/index.html%00"] {
        let sent = exchange(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(sent.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}: {sent}");
    }
    let expected = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 42\r\n\
        X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n\
        400 Bad Request: the request is malformed\n";
    assert_eq!(exchange("hello\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), expected);
}
