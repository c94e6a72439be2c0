//! The word by which an application asks for another: a byte that it changes, in memory of its own that the supervisor reads.
//!
//! **Invariant: whatever is written there means "once more" or nothing**, and is heard no more often than [`PAUSE_NS`].

/// Size of the memory.
pub const REQUEST_BYTES: u64 = 4096;
/// Where the byte is.
pub const REQUEST_AT: u64 = 0;
/// How long nothing is heard after a request that was heard.
pub const PAUSE_NS: u64 = 2_000_000_000;

/// The asking side.
#[derive(Debug, Default)]
pub struct Asker {
    count: u8,
}

impl Asker {
    /// The byte to write.
    #[must_use]
    pub fn ask(&mut self) -> u8 {
        self.count = self.count.wrapping_add(1);
        self.count
    }
}

/// The hearing side.
#[derive(Debug, Default)]
pub struct Asked {
    seen: u8,
    deaf_until_ns: u64,
}

impl Asked {
    /// Whether the byte that stands there now asks for something that is heard. What comes during the pause is lost.
    #[must_use]
    pub fn hears(&mut self, byte: u8, now_ns: u64) -> bool {
        let is_new = byte != self.seen;
        self.seen = byte;
        let is_heard = is_new && now_ns >= self.deaf_until_ns;
        if is_heard {
            self.deaf_until_ns = now_ns.saturating_add(PAUSE_NS);
        }
        is_heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_heard_once_and_not_too_often() {
        let (mut asker, mut asked) = (Asker::default(), Asked::default());
        assert!(!asked.hears(0, 0), "nobody asked");
        let byte = asker.ask();
        assert!(asked.hears(byte, 10) && !asked.hears(byte, 11));
        let byte = asker.ask();
        assert!(!asked.hears(byte, 10 + PAUSE_NS - 1), "too early");
        assert!(!asked.hears(byte, 10 + PAUSE_NS), "and lost");
        let byte = asker.ask();
        assert!(asked.hears(byte, 10 + PAUSE_NS));
    }

    #[test]
    fn any_bytes_start_something_only_once_per_pause() {
        let mut asked = Asked::default();
        let steps = (0..=u8::MAX).cycle().zip(0..10_000u64);
        let heard = steps.filter(|(byte, step)| asked.hears(*byte, step * 1_000_000)).count();
        assert_eq!(heard, 5, "10 s, one per 2 s");
    }
}
