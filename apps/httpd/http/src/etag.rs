//! Versions of contents (RFC 9110 §8.8.3 "ETag").

use core::fmt;

/// A version: a hash of the contents (FNV-1a, 64 bits), so that equal contents have equal versions. Nobody is kept from
/// making two contents of one version: the contents are the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(u64);

impl Etag {
    /// The version of `contents`. Reads them all.
    #[must_use]
    pub fn of(contents: &[u8]) -> Etag {
        const START: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        Etag(contents.iter().fold(START, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
    }

    /// Whether it is named by the value of an `If-None-Match` header, by the weak comparison.
    #[must_use]
    pub fn is_among(self, tags: &[u8]) -> bool {
        let own = alloc::format!("{self}");
        let mut tags = tags.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == own.as_bytes())
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:016x}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_published() {
        // Test vectors of FNV-1a, 64 bits.
        assert_eq!(alloc::format!("{}", Etag::of(b"")), "\"cbf29ce484222325\"");
        assert_eq!(alloc::format!("{}", Etag::of(b"a")), "\"af63dc4c8601ec8c\"");
        assert_eq!(alloc::format!("{}", Etag::of(b"foobar")), "\"85944171f73967e8\"");
    }

    #[test]
    fn is_found_in_lists() {
        let tag = Etag::of(b"a");
        for list in ["\"af63dc4c8601ec8c\"", "W/\"af63dc4c8601ec8c\"", "\"x\" , \"af63dc4c8601ec8c\"", "*"] {
            assert!(tag.is_among(list.as_bytes()), "{list}");
        }
        for list in ["", "af63dc4c8601ec8c", "\"af63dc4c8601ec8\"", "\"x\"", "w/\"af63dc4c8601ec8c\""] {
            assert!(!tag.is_among(list.as_bytes()), "{list}");
        }
    }
}
