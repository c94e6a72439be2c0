//! Which requests there are to make, and where.

use alloc::vec::Vec;

/// What is done with each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Read,
    /// Write the pattern.
    Write,
    /// Write whatever the buffers hold.
    Overwrite,
    /// Read, and compare with the pattern.
    Check,
    Trim,
}

/// A part of the disk, in units of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) first: u64,
    pub(crate) units: u64,
}

/// The requests of one phase of the job, one after the other.
pub(crate) struct Plan {
    pub(crate) act: Act,
    pub(crate) seed: u64,
    region: Region,
    /// Random places: the generator's state.
    random: Option<u64>,
    next: u64,
    /// Requests still to be made; `u64::MAX`: until time is up.
    left: u64,
    /// Places whose requests were cut off.
    again: Vec<u64>,
}

impl Plan {
    /// Of `ios` requests; `depth` of them, at most, can be cut off at once.
    pub(crate) fn new(act: Act, region: Region, is_random: bool, ios: u64, seed: u64, depth: u16) -> Plan {
        let random = is_random.then_some(seed | 1);
        Plan { act, seed, region, random, next: 0, left: ios, again: Vec::with_capacity(depth.into()) }
    }

    /// Where the next request goes, in units.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u64> {
        if let Some(unit) = self.again.pop() {
            return Some(unit);
        }
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let unit = match &mut self.random {
            Some(state) => scaled(advance(state), self.region.units),
            None => {
                let unit = self.next;
                self.next = if unit + 1 == self.region.units { 0 } else { unit + 1 };
                unit
            }
        };
        Some(self.region.first + unit)
    }

    /// A request was cut off by a reset and must be made again.
    #[cold]
    pub(crate) fn repeat(&mut self, unit: u64) {
        self.again.push(unit);
    }

    /// Time is up.
    pub(crate) fn end(&mut self) {
        self.left = 0;
    }
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
#[inline]
fn advance(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// `bits` scaled to below `limit`, without a division.
#[inline]
fn scaled(bits: u64, limit: u64) -> u64 {
    ((u128::from(bits) * u128::from(limit)) >> 64) as u64
}
