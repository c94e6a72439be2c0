//! An answer: the bytes of its head, and the body where it lies.
//!
//! **Invariant: the length that a head tells is the body's**, and whether the body follows is said by
//! [`Response::body_of`] alone, so no connection loses the beginning of an answer.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use crate::etag::Etag;
use crate::refusal::Refusal;
use crate::request::{Method, Request};

/// How a request went (RFC 9110 §15 "Status Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the specification's names")]
pub enum Status {
    Ok,
    Accepted,
    NotModified,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    ExpectationFailed,
    TooManyRequests,
    HeadersTooLarge,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// Number and words.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::Accepted => "202 Accepted",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::TooManyRequests => "429 Too Many Requests",
            Status::HeadersTooLarge => "431 Request Header Fields Too Large",
            Status::NotImplemented => "501 Not Implemented",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// How it went.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// Which version of the contents it is; without one, nobody keeps it.
    pub etag: Option<Etag>,
    /// Further headers, whole lines.
    pub headers: &'static str,
    /// The body.
    pub body: Cow<'a, [u8]>,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl<'a> Response<'a> {
    /// Contents that are made for this answer.
    #[must_use]
    pub fn fresh(content_type: &'static str, body: impl Into<Cow<'a, [u8]>>) -> Response<'a> {
        Response { status: Status::Ok, content_type, etag: None, headers: "", body: body.into() }
    }

    /// Contents that stay, in the version `etag`; none where `request` says that it has these (RFC 9110 §13.1.2).
    #[must_use]
    pub fn of_version(
        request: &Request<'_>,
        content_type: &'static str,
        etag: Etag,
        body: &'a [u8],
    ) -> Response<'a> {
        let is_there = request.headers("if-none-match").any(|tags| etag.is_among(tags));
        let (status, body) = if is_there { (Status::NotModified, &[][..]) } else { (Status::Ok, body) };
        Response { status, content_type, etag: Some(etag), headers: "", body: body.into() }
    }

    /// A line of text.
    #[must_use]
    pub fn text(status: Status, text: &str) -> Response<'a> {
        let body = format!("{}: {text}\n", status.line()).into_bytes();
        Response { status, ..Response::fresh(TEXT, body) }
    }

    /// What `refusal` means.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Response<'a> {
        Response::text(refusal.status(), &format!("{refusal}"))
    }

    /// That only `allow` (whole header line) is possible here.
    #[must_use]
    pub fn not_allowed(allow: &'static str) -> Response<'a> {
        Response { headers: allow, ..Response::text(Status::MethodNotAllowed, "that cannot be done here") }
    }

    /// The bytes before the body; `is_kept_alive` says whether the connection stays.
    #[must_use]
    pub fn head(&self, is_kept_alive: bool) -> String {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status.line());
        // Writing to a `String` cannot fail.
        let _ = match self.status {
            Status::NotModified => Ok(()),
            _ => write!(
                head,
                "Content-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\n",
                self.content_type,
                self.body.len()
            ),
        };
        let _ = match self.etag {
            Some(etag) => write!(head, "ETag: {etag}\r\nCache-Control: no-cache\r\n"),
            None => write!(head, "Cache-Control: no-store\r\n"),
        };
        head.push_str(self.headers);
        head.push_str(if is_kept_alive {
            "Connection: keep-alive\r\n\r\n"
        } else {
            "Connection: close\r\n\r\n"
        });
        head
    }

    /// The bytes after the head, for a request of this method: the answer to `HEAD` has none.
    #[must_use]
    pub fn body_of(&self, method: Method) -> &[u8] {
        if method == Method::Head { &[] } else { &self.body }
    }
}
