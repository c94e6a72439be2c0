//! Why a request is not answered as asked, after which its connection closes.

use crate::response::Status;

/// What a request did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No HTTP request, one without the one host that it must name, or one whose end is told twice.
    #[error("the request is malformed")]
    Malformed,
    /// It was not whole in time.
    #[error("the request did not come to its end in time")]
    Late,
    /// The body is longer than [`crate::BODY_MAX_BYTES`].
    #[error("the body is too long")]
    LongBody,
    /// The first line is longer than a head may be.
    #[error("the address is too long")]
    LongTarget,
    /// It waits for a word before it sends its body.
    #[error("send the body at once")]
    Expectation,
    /// The head is longer than [`crate::HEAD_MAX_BYTES`], or has more than [`crate::HEADERS_MAX`] headers.
    #[error("the headers are too long, or too many")]
    LongHead,
    /// A method that HTTP does not define.
    #[error("no such method")]
    UnknownMethod,
    /// The body comes coded, in chunks for example.
    #[error("say the length of the body; chunks are not read")]
    Coded,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("only HTTP/1.1 is spoken here")]
    OtherVersion,
}

impl Refusal {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Refusal::Malformed => Status::BadRequest,
            Refusal::Late => Status::RequestTimeout,
            Refusal::LongBody => Status::ContentTooLarge,
            Refusal::LongTarget => Status::UriTooLong,
            Refusal::Expectation => Status::ExpectationFailed,
            Refusal::LongHead => Status::HeadersTooLarge,
            Refusal::UnknownMethod | Refusal::Coded => Status::NotImplemented,
            Refusal::OtherVersion => Status::VersionNotSupported,
        }
    }
}
