//! HTTP/1.1 as a server sees it (RFC 9110 "HTTP Semantics", RFC 9112 "HTTP/1.1"): requests out of bytes, answers as bytes.
//!
//! **Invariant: what a request is does not depend on how its bytes were cut into reads, and no bytes make a connection
//! hold more than [`HEAD_MAX_BYTES`] and [`BODY_MAX_BYTES`].** A request that breaks a rule or a limit is refused with a
//! status, after which its connection closes: what follows it has no certain beginning.
//!
//! No sockets, no clock: the caller reads into [`Inbox::space`], writes head and body, and ends a connection at the time
//! that [`Deadline`] names. Not here: chunked bodies, ranges, compression, TLS. No `Date` is sent: the caller need have no
//! clock (RFC 9110 §6.6.1 "Date").
//!
//! Reading order: [`inbox`] · [`request`] · [`refusal`] · [`path`] · [`response`] · [`etag`] · [`content`] · [`deadline`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod content;
pub mod deadline;
pub mod etag;
pub mod inbox;
pub mod path;
pub mod refusal;
pub mod request;
pub mod response;

pub use deadline::Deadline;
pub use etag::Etag;
pub use inbox::{BODY_MAX_BYTES, HEAD_MAX_BYTES, Inbox};
pub use refusal::Refusal;
pub use request::{HEADERS_MAX, Method, Request};
pub use response::{Response, Status};
