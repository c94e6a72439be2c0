//! The last frames, for a look at them with Wireshark or tcpdump: a tap ([`crate::Net::set_tap`]) that keeps them in the
//! format of pcap files (draft-ietf-opsawg-pcap, "PCAP Capture File Format").
//!
//! **Invariant: its memory is what it was made with**; recording allocates nothing.

use alloc::vec::Vec;

/// Bytes of a frame that are kept.
const SNAP_BYTES: u16 = 256;
/// The file's header: nanoseconds, version 2.4, Ethernet.
const MAGIC: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const RECORD_HEADER_BYTES: usize = 16;

/// Keeps the last frames. They fill one half of its memory, then the other, whose frames are forgotten then.
#[derive(Debug)]
pub struct Capture {
    half_bytes: usize,
    older: Vec<u8>,
    newer: Vec<u8>,
}

impl Capture {
    /// Keeps frames in so many bytes, at least a few frames' worth.
    #[must_use]
    pub fn new(bytes: usize) -> Capture {
        let half_bytes = (bytes / 2).max(4 * (usize::from(SNAP_BYTES) + RECORD_HEADER_BYTES));
        let half = || Vec::with_capacity(half_bytes);
        Capture { half_bytes, older: half(), newer: half() }
    }

    /// Keeps the start of a frame that was seen at this time of any clock.
    pub fn record(&mut self, now_ns: u64, frame: &[u8]) {
        let kept = &frame[..frame.len().min(SNAP_BYTES.into())];
        if self.newer.len() + RECORD_HEADER_BYTES + kept.len() > self.half_bytes {
            core::mem::swap(&mut self.older, &mut self.newer);
            self.newer.clear();
        }
        let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        for value in [now_ns / 1_000_000_000, now_ns % 1_000_000_000, kept.len() as u64, frame.len() as u64] {
            self.newer.extend_from_slice(&word(value));
        }
        self.newer.extend_from_slice(kept);
    }

    /// A pcap file with what is kept, the oldest first.
    #[must_use]
    pub fn to_pcap(&self) -> Vec<u8> {
        let (version, snap) = ([2, 0, 4, 0], u32::from(SNAP_BYTES).to_le_bytes());
        let header = [MAGIC.to_le_bytes(), version, [0; 4], [0; 4], snap, ETHERNET.to_le_bytes()];
        [header.as_flattened(), &self.older, &self.newer].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths on the wire of the frames in a file.
    fn lengths(file: &[u8]) -> Vec<u32> {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(20)), (MAGIC, ETHERNET));
        let (mut at, mut lengths) = (24, Vec::new());
        while at < file.len() {
            lengths.push(word(at + 12));
            at += RECORD_HEADER_BYTES + word(at + 8) as usize;
        }
        assert_eq!(at, file.len(), "the last record is whole");
        lengths
    }

    #[test]
    fn the_last_frames_are_kept_in_order_and_in_bounds() {
        let mut capture = Capture::new(10_000);
        assert_eq!(lengths(&capture.to_pcap()), []);
        for length in 0..2000_u32 {
            capture.record(u64::from(length) * 1_000_000_007, &alloc::vec![7; length as usize]);
            let kept = lengths(&capture.to_pcap());
            assert!(capture.to_pcap().len() <= 10_000 + 24);
            assert_eq!(kept.last(), Some(&length));
            assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            assert!(kept.len() >= 18 || length < 18, "{length}: {}", kept.len());
        }
    }
}
