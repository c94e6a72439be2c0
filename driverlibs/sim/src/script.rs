//! Bytes that decide what happens: a fuzzer's, or random ones.

use std::sync::{Arc, Mutex, PoisonError};

/// From this byte on, an answer is a lie; below, it is the truth.
pub const FIRST_LIE: u8 = 0xf0;

/// What happens next, byte by byte; clones read on where the others stopped. **Used up, it says 0, which is no lie**: so
/// whatever the bytes, what they decide ends.
#[derive(Clone)]
pub struct Script {
    shared: Arc<Mutex<Cursor>>,
}

struct Cursor {
    bytes: Vec<u8>,
    at: usize,
}

impl Script {
    /// Reads `bytes` from the start.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Script {
        Script { shared: Arc::new(Mutex::new(Cursor { bytes: bytes.to_vec(), at: 0 })) }
    }

    /// Whether it is used up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let cursor = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        cursor.at >= cursor.bytes.len()
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut cursor = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        [(); N].map(|()| {
            let byte = cursor.bytes.get(cursor.at).copied().unwrap_or(0);
            cursor.at += 1;
            byte
        })
    }

    /// The next byte.
    pub fn byte(&self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// The next two bytes, as a number.
    pub fn number(&self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    /// What a device says that would say `truth` if it were honest: that, something near it, or anything.
    #[must_use]
    pub fn twist(&self, truth: u64) -> u64 {
        match self.byte().checked_sub(FIRST_LIE) {
            None => truth,
            Some(kind) => self.lie(kind, truth),
        }
    }

    /// Something else than `truth`, or the same by chance.
    pub(crate) fn lie(&self, kind: u8, truth: u64) -> u64 {
        match kind & 15 {
            0 => 0,
            1 => u64::MAX,
            2 => truth.wrapping_add(1),
            3 => truth.wrapping_sub(1),
            4 => truth.wrapping_add(u64::from(self.byte()) + 2),
            5..=9 => truth ^ 1 << (self.byte() & 63),
            10 | 11 => self.byte().into(),
            12 | 13 => self.number().into(),
            14 => u32::from_le_bytes(self.bytes()).into(),
            _ => u64::from_le_bytes(self.bytes()),
        }
    }
}
