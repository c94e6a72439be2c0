//! The instructions by which a program marks where a region of its execution begins and ends.
//!
//! A long no-operation, `0F 1F /0` with a 32-bit displacement (Intel SDM volume 2, "NOP"): every x86-64 CPU executes it,
//! in any mode, without effect; the displacement says who is meant. `weir_rt::marker` makes the same.

/// Bytes of the instruction.
pub(crate) const BYTES: usize = 7;
/// Opcode and the byte that means "`[rax + displacement]`".
const OPCODE: [u8; 3] = [0x0f, 0x1f, 0x80];
/// Upper half of the displacement: "WR".
const SIGN: u32 = 0x5752_0000;
/// How many regions there can be.
pub(crate) const REGIONS: usize = 16;

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
