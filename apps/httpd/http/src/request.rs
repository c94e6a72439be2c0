//! A request's head: request line and headers (RFC 9112 §3 "Request Line", §5 "Field Syntax", §6 "Message Body").

use httparse::{EMPTY_HEADER, Error as Parse, Header};

use crate::inbox::BODY_MAX_BYTES;
use crate::refusal::Refusal;

/// Most headers.
pub const HEADERS_MAX: usize = 32;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The contents.
    Get,
    /// The head of the answer to [`Method::Get`].
    Head,
    /// To do something.
    Post,
    /// Something that HTTP knows and this server does nowhere: answer with 405.
    Other,
}

impl Method {
    fn parse(word: &str) -> Result<Method, Refusal> {
        match word {
            "GET" => Ok(Method::Get),
            "HEAD" => Ok(Method::Head),
            "POST" => Ok(Method::Post),
            "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => Ok(Method::Other),
            _ => Err(Refusal::UnknownMethod),
        }
    }
}

/// A whole request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked.
    pub method: Method,
    /// Of what, as it was written, from the first `/`; without the query.
    pub path: &'a str,
    /// What followed a `?`.
    pub query: Option<&'a str>,
    /// Whether the connection is to stay.
    pub is_kept_alive: bool,
    /// The body.
    pub body: &'a [u8],
    headers: Headers<'a>,
}

impl<'a> Request<'a> {
    /// The value of the first header `name`, whose case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.all(name).next()
    }

    /// The values of all headers `name`.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.all(name)
    }
}

/// The headers, as they came.
#[derive(Clone, Copy, Debug)]
struct Headers<'a> {
    fields: [Header<'a>; HEADERS_MAX],
    count: usize,
}

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields[..self.count].iter();
        fields.filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The one header `name`, if there is one.
    fn single(&self, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Refusal::Malformed) } else { Ok(first) }
    }

    /// Whether one of the comma-separated words of the headers `name` is `word`.
    fn has_word(&self, name: &str, word: &str) -> bool {
        let mut words = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|found| found.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// A head that keeps the rules.
pub(crate) struct Head<'a> {
    /// Its length.
    pub(crate) bytes: usize,
    /// Length of the body behind it.
    pub(crate) body_bytes: usize,
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    is_kept_alive: bool,
    headers: Headers<'a>,
}

impl<'a> Head<'a> {
    pub(crate) fn request(self, body: &'a [u8]) -> Request<'a> {
        let Head { method, path, query, is_kept_alive, headers, .. } = self;
        Request { method, path, query, is_kept_alive, body, headers }
    }
}

/// Parses the head that `lines` begin with; `None` where its end is not among them.
pub(crate) fn parse_head(lines: &[u8]) -> Result<Option<Head<'_>>, Refusal> {
    let mut fields = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let bytes = match parsed.parse(lines).map_err(refusal)? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::Malformed);
    };
    let count = parsed.headers.len();
    let headers = Headers { fields, count };
    if headers.single("host")?.is_none() && minor >= 1 {
        return Err(Refusal::Malformed);
    }
    if headers.all("expect").next().is_some() {
        return Err(Refusal::Expectation);
    }
    let (path, query) = split_target(target)?;
    let body_bytes = body_bytes(&headers)?;
    let is_kept_alive = !headers.has_word("connection", "close")
        && (minor >= 1 || headers.has_word("connection", "keep-alive"));
    Ok(Some(Head { bytes, body_bytes, method: Method::parse(method)?, path, query, is_kept_alive, headers }))
}

fn refusal(error: Parse) -> Refusal {
    match error {
        Parse::TooManyHeaders => Refusal::LongHead,
        Parse::Version => Refusal::OtherVersion,
        _ => Refusal::Malformed,
    }
}

/// Path and query of a target in origin or absolute form (RFC 9112 §3.2 "Request Target").
fn split_target(target: &str) -> Result<(&str, Option<&str>), Refusal> {
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let target = match scheme.and_then(|_| target.get(7..)) {
        None => target,
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    // `*` and `host:port` belong to methods that are answered with 405 whatever they name.
    Ok((path, query))
}

/// Length of the body (RFC 9112 §6.3 "Message Body Length"). Both lengths at once are an attack.
fn body_bytes(headers: &Headers<'_>) -> Result<usize, Refusal> {
    let length = headers.single("content-length")?;
    if headers.all("transfer-encoding").next().is_some() {
        return Err(if length.is_some() { Refusal::Malformed } else { Refusal::Coded });
    }
    let Some(digits) = length else { return Ok(0) };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed);
    }
    // More digits than a number has are a body that is too long.
    let bytes: Option<usize> = core::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    bytes.filter(|bytes| *bytes <= BODY_MAX_BYTES).ok_or(Refusal::LongBody)
}
