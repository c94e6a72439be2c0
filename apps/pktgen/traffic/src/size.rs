//! How long frames are, in bytes without the checksum that the device adds.

/// The shortest frame that every device sends as it is.
pub const FRAME_MIN_BYTES: usize = 60;
/// The longest without a tag of a virtual LAN.
pub const FRAME_MAX_BYTES: usize = 1514;

/// Twelve frames in the proportions of the simple Internet mix: seven short ones, four of 594 bytes on the wire with checksum, a
/// long one, spread so that no two long ones follow each other.
const MIX: [u16; 12] = [60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590];

/// Sizes of a run of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All alike.
    One(u16),
    /// Each one byte longer than the one before it, from the first to the last, over and over.
    Range {
        /// The shortest.
        first: u16,
        /// The longest.
        last: u16,
    },
    /// The simple Internet mix.
    Mix,
}

impl Sizes {
    /// The size of a frame, by its number.
    #[must_use]
    #[inline]
    pub fn of(self, sequence: u64) -> u16 {
        match self {
            Sizes::One(bytes) => bytes,
            Sizes::Range { first, last } => {
                let step = sequence % (u64::from(last.saturating_sub(first)) + 1);
                first.saturating_add(u16::try_from(step).unwrap_or(0))
            }
            Sizes::Mix => {
                let place = usize::try_from(sequence % MIX.len() as u64).unwrap_or(0);
                MIX.get(place).copied().unwrap_or(MIX[0])
            }
        }
    }

    /// `64`, `60-1514` or `imix`.
    pub(crate) fn parse(text: &str) -> Option<Sizes> {
        let size = |text: &str| {
            text.parse()
                .ok()
                .filter(|bytes| (FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(&usize::from(*bytes)))
        };
        match text.split_once('-') {
            None if text == "imix" => Some(Sizes::Mix),
            None => size(text).map(Sizes::One),
            Some((first, last)) => {
                let (first, last) = (size(first)?, size(last)?);
                (first <= last).then_some(Sizes::Range { first, last })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_was_asked_for() {
        assert_eq!(Sizes::parse("64"), Some(Sizes::One(64)));
        for wrong in ["", "59", "1515", "64-", "-64", "100-64", "60-1515", "IMIX", "64-70-80"] {
            assert_eq!(Sizes::parse(wrong), None, "{wrong}");
        }
        let range = Sizes::parse("60-62").unwrap();
        assert!((0..7).map(|n| range.of(n)).eq([60, 61, 62, 60, 61, 62, 60]));
        assert_eq!(range.of(u64::MAX), 60);
        let mut mix: [u16; 12] = core::array::from_fn(|n| Sizes::Mix.of(n as u64 + 24));
        mix.sort_unstable();
        assert_eq!(mix, [60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514]);
    }
}
