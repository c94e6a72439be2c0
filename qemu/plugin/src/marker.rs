//! The instructions by which a program marks where a region of its execution begins and ends, recognized.

use weir_marker::{BYTES, OPCODE, SIGN};

/// How many regions there can be.
pub(crate) const REGIONS: usize = weir_marker::REGIONS as usize;

/// Which end of a region.
#[derive(Clone, Copy)]
pub(crate) enum Edge {
    Begin,
    End,
}

/// A marker.
#[derive(Clone, Copy)]
pub(crate) struct Marker {
    /// Below [`REGIONS`].
    pub(crate) region: usize,
    pub(crate) edge: Edge,
}

impl Marker {
    /// What an instruction marks, if it is a marker.
    pub(crate) fn decode(bytes: [u8; BYTES]) -> Option<Marker> {
        let [a, b, c, displacement @ ..] = bytes;
        let word = u32::from_le_bytes(displacement) ^ SIGN;
        if [a, b, c] == OPCODE { Marker::of_word(word.into()) } else { None }
    }

    /// The marker as a number: the displacement's lower half.
    pub(crate) fn word(self) -> u8 {
        let region = u8::try_from(self.region).unwrap_or(u8::MAX);
        region << 1 | u8::from(matches!(self.edge, Edge::End))
    }

    /// The inverse of [`word`](Marker::word).
    pub(crate) fn of_word(word: u64) -> Option<Marker> {
        let region = usize::try_from(word >> 1).ok().filter(|region| *region < REGIONS)?;
        Some(Marker { region, edge: if word & 1 == 0 { Edge::Begin } else { Edge::End } })
    }
}
