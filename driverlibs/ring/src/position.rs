//! Free-running positions.

/// How many entries have passed, modulo 2¹⁶. Rings have at most 2¹⁵ entries, so a full ring and an empty one
/// differ. Its low bits name the slot; rings mask them out themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(pub u16);

impl Position {
    /// The position after `count` entries, however many.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "positions wrap")]
    pub const fn of(count: usize) -> Position {
        Position(count as u16)
    }

    /// The position `entries` further, wrapping.
    #[must_use]
    #[inline]
    pub const fn plus(self, entries: u16) -> Position {
        Position(self.0.wrapping_add(entries))
    }

    /// The position `entries` before, wrapping.
    #[must_use]
    #[inline]
    pub const fn minus(self, entries: u16) -> Position {
        Position(self.0.wrapping_sub(entries))
    }

    /// How many entries `self` is ahead of `earlier`.
    #[must_use]
    #[inline]
    pub const fn ahead_of(self, earlier: Position) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }
}
