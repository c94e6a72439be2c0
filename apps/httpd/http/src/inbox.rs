//! What a connection has received and nobody has answered.
//!
//! **Invariant: only whole lines are looked at, and a head is looked at again only when a line was added**, so the outcome
//! does not depend on how the bytes arrive, and bytes that come one by one cost no more than their lines.

use alloc::boxed::Box;

use crate::refusal::Refusal;
use crate::request::{Request, parse_head};

/// Longest request line and headers together.
pub const HEAD_MAX_BYTES: usize = 8192;
/// Longest body.
pub const BODY_MAX_BYTES: usize = 4096;

const CAPACITY: usize = HEAD_MAX_BYTES + BODY_MAX_BYTES;

/// The received bytes of one connection.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8; CAPACITY]>,
    start: usize,
    end: usize,
    /// Length of the request that was given last, which goes when the next is asked for.
    given: usize,
    /// Bytes from `start` whose lines were looked at.
    seen: usize,
    /// Bytes from `start` that must be there before it is worth looking.
    wanted: usize,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox { bytes: Box::new([0; CAPACITY]), start: 0, end: 0, given: 0, seen: 0, wanted: 0 }
    }
}

impl Inbox {
    /// Where to read to. Not empty, unless a request is there that was not asked for.
    pub fn space(&mut self) -> &mut [u8] {
        self.forget_given();
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.bytes[self.end..]
    }

    /// Says that the first `bytes` of [`Inbox::space`] were read; no more than fits counts.
    pub fn fill(&mut self, bytes: usize) {
        self.end = self.end.saturating_add(bytes).min(CAPACITY);
    }

    /// Where to read to what will not be looked at. Forgets what is there.
    pub fn scrap(&mut self) -> &mut [u8] {
        (self.start, self.end, self.given, self.seen, self.wanted) = (0, 0, 0, 0, 0);
        &mut self.bytes[..]
    }

    /// Whether nothing is there: no part of a request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start + self.given == self.end
    }

    /// The next request, if all of it is there. It is forgotten with the call after this.
    ///
    /// # Errors
    /// It breaks a rule or a limit: answer with the status, close.
    pub fn request(&mut self) -> Result<Option<Request<'_>>, Refusal> {
        self.forget_given();
        self.skip_empty_lines();
        let held = &self.bytes[self.start..self.end];
        if held.len() < self.wanted {
            return Ok(None);
        }
        let head_part = &held[..held.len().min(HEAD_MAX_BYTES)];
        let lines = head_part.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let is_looked_at = lines == self.seen;
        self.seen = lines;
        if is_looked_at && head_part.len() < HEAD_MAX_BYTES {
            return Ok(None);
        }
        let Some(head) = parse_head(&head_part[..lines])? else {
            return if head_part.len() < HEAD_MAX_BYTES { Ok(None) } else { Err(too_long(lines)) };
        };
        let end = head.bytes + head.body_bytes;
        let Some(body) = held.get(head.bytes..end) else {
            // The head is whole: it is parsed again, once, when the body is, too.
            (self.seen, self.wanted) = (0, end);
            return Ok(None);
        };
        (self.given, self.seen, self.wanted) = (end, 0, 0);
        Ok(Some(head.request(body)))
    }

    fn forget_given(&mut self) {
        self.start += self.given;
        self.given = 0;
    }

    /// A client may send an empty line before a request (RFC 9112 §2.2 "Message Parsing").
    fn skip_empty_lines(&mut self) {
        while let [b'\n', ..] | [b'\r', b'\n', ..] = self.bytes[self.start..self.end] {
            self.start += if self.bytes[self.start] == b'\n' { 1 } else { 2 };
        }
    }
}

fn too_long(lines: usize) -> Refusal {
    if lines == 0 { Refusal::LongTarget } else { Refusal::LongHead }
}
