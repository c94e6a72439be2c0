//! How long a connection may take.
//!
//! **Invariant: bytes do not move the deadline of the request that they belong to**, so a client that sends a byte now and
//! then holds a connection no longer than one that sends nothing.

/// How long a connection stays without a request.
pub const IDLE_LIMIT_NS: u64 = 30_000_000_000;
/// How long a request may take from its first byte to its last.
pub const REQUEST_LIMIT_NS: u64 = 10_000_000_000;
/// How long the other side may take to receive an answer.
pub const ANSWER_LIMIT_NS: u64 = 30_000_000_000;

/// When a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at_ns: u64,
    is_in_request: bool,
}

impl Deadline {
    /// Of a connection that begins now.
    #[must_use]
    pub fn new(now_ns: u64) -> Deadline {
        Deadline { at_ns: now_ns.saturating_add(IDLE_LIMIT_NS), is_in_request: false }
    }

    /// A part of a request is there.
    pub fn see_part(&mut self, now_ns: u64) {
        if !self.is_in_request {
            *self = Deadline { at_ns: now_ns.saturating_add(REQUEST_LIMIT_NS), is_in_request: true };
        }
    }

    /// A whole request is there, whose answer is sent now.
    pub fn answer(&mut self, now_ns: u64) {
        *self = Deadline { at_ns: now_ns.saturating_add(ANSWER_LIMIT_NS), is_in_request: false };
    }

    /// The answer is sent.
    pub fn wait(&mut self, now_ns: u64) {
        *self = Deadline::new(now_ns);
    }

    /// When it ends.
    #[must_use]
    pub fn at_ns(self) -> u64 {
        self.at_ns
    }

    /// Whether a request is under way: its client is told that it was too slow.
    #[must_use]
    pub fn is_in_request(self) -> bool {
        self.is_in_request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_do_not_buy_time() {
        let mut deadline = Deadline::new(5);
        assert_eq!(deadline.at_ns(), 5 + IDLE_LIMIT_NS);
        for now in [100, 200, REQUEST_LIMIT_NS] {
            deadline.see_part(now);
            assert_eq!(deadline.at_ns(), 100 + REQUEST_LIMIT_NS);
        }
        deadline.answer(7);
        assert_eq!((deadline.at_ns(), deadline.is_in_request()), (7 + ANSWER_LIMIT_NS, false));
        deadline.wait(9);
        deadline.see_part(10);
        assert_eq!((deadline.at_ns(), deadline.is_in_request()), (10 + REQUEST_LIMIT_NS, true));
        assert_eq!(Deadline::new(u64::MAX).at_ns(), u64::MAX);
    }
}
