//! Numbers that look random and repeat for the same seed.

/// xorshift64* generator (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
#[derive(Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts a sequence.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random { state: seed | 1 }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        (self.bits() >> 32).is_multiple_of(n.max(1))
    }
}
