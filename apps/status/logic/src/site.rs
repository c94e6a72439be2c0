//! The paths: what a request is answered with.

use alloc::string::String;
use alloc::vec::Vec;

use weir_board::Snapshot;
use weir_http::{Etag, Method, Request, Response, Status};

use crate::histogram::Histogram;
use crate::{json, metrics};

/// The page: one file, nothing from elsewhere.
pub const PAGE: &str = include_str!("page.html");
const HTML: &str = "text/html; charset=utf-8";
const PCAP: &str = "application/vnd.tcpdump.pcap";
/// Nothing but what is in the page itself, and its own data.
const PAGE_HEADERS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    Referrer-Policy: no-referrer\r\n";
/// The header by which the page's button names itself. Pages of other sites cannot send it without asking first, which is
/// not answered.
const BUTTON_HEADER: &str = "x-weir-button";

/// What the application does besides answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Ask the supervisor for the application that may be asked for.
    Ask,
}

/// The site.
#[derive(Clone, Debug)]
pub struct Site {
    etag: Etag,
    /// Whether the manifest lets this application ask for another.
    may_ask: bool,
}

impl Site {
    /// The site, with a button if there is an application that `may_ask` for another.
    #[must_use]
    pub fn new(may_ask: bool) -> Site {
        Site { etag: Etag::of(PAGE.as_bytes()), may_ask }
    }

    /// The answer to `request`. `snapshot` reads the board, or says why there is nothing to read; `capture` gives the last
    /// frames as a pcap file.
    #[must_use]
    pub fn respond(
        &self,
        request: &Request<'_>,
        snapshot: impl FnOnce() -> Result<Snapshot, String>,
        capture: impl FnOnce() -> Vec<u8>,
        requests: &Histogram,
    ) -> (Response<'static>, Action) {
        let is_reading = matches!(request.method, Method::Get | Method::Head);
        let made = |content_type, text: fn(&Snapshot, &Histogram) -> String| match snapshot() {
            Ok(snapshot) => Response::fresh(content_type, text(&snapshot, requests).into_bytes()),
            Err(error) => Response::text(Status::Unavailable, &error),
        };
        let response = match request.path {
            "/attack" if self.may_ask => return attack(request),
            "/" | "/status.json" | "/metrics" | "/capture.pcap" if !is_reading => {
                Response::not_allowed("Allow: GET, HEAD\r\n")
            }
            "/" => {
                let page = Response::of_version(request, HTML, self.etag, PAGE.as_bytes());
                Response { headers: PAGE_HEADERS, ..page }
            }
            "/status.json" => made("application/json", json::text),
            "/metrics" => made(metrics::CONTENT_TYPE, metrics::text),
            "/capture.pcap" => Response::fresh(PCAP, capture()),
            _ => Response::text(Status::NotFound, "there are /, /status.json, /metrics, /capture.pcap"),
        };
        (response, Action::None)
    }
}

/// The button.
fn attack(request: &Request<'_>) -> (Response<'static>, Action) {
    if request.method != Method::Post {
        return (Response::not_allowed("Allow: POST\r\n"), Action::None);
    }
    if request.header(BUTTON_HEADER).is_none() {
        let response = Response::text(Status::Forbidden, "the header X-Weir-Button is missing");
        return (response, Action::None);
    }
    (Response::text(Status::Accepted, "the supervisor is asked"), Action::Ask)
}
