//! Sets of small numbers: which domain ids and interrupt entries are in use.
//!
//! **Invariant: a number is handed out by `take` only while it is not in the set.** Plain safe code: what says who
//! may reach memory rests on nobody's pointer tricks (see DECISIONS.md).

/// The numbers below 64 × `WORDS` that are in use.
pub(crate) struct IdSet<const WORDS: usize> {
    words: [u64; WORDS],
}

impl<const WORDS: usize> IdSet<WORDS> {
    pub(crate) const fn new() -> Self {
        IdSet { words: [0; WORDS] }
    }

    /// Adds and returns the lowest number that was not in the set and is below `limit`.
    pub(crate) fn take(&mut self, limit: usize) -> Option<u16> {
        let at = self.words.iter().position(|word| *word != u64::MAX)?;
        let bit = self.words[at].trailing_ones() as usize;
        let id = u16::try_from(at * 64 + bit).ok().filter(|id| usize::from(*id) < limit)?;
        self.words[at] |= 1 << bit;
        Some(id)
    }

    pub(crate) fn put_back(&mut self, id: u16) {
        self.words[usize::from(id) / 64] &= !(1 << (id % 64));
    }

    pub(crate) fn contains(&self, id: u16) -> bool {
        self.words[usize::from(id) / 64] >> (id % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_each_number_once_lowest_first() {
        let mut set = IdSet::<2>::new();
        for expected in 0..128 {
            assert!(!set.contains(expected));
            assert_eq!(set.take(usize::MAX), Some(expected));
            assert!(set.contains(expected));
        }
        assert_eq!(set.take(usize::MAX), None);
        set.put_back(100);
        set.put_back(70);
        assert_eq!((set.take(70), set.take(71), set.take(101)), (None, Some(70), Some(100)));
    }
}
