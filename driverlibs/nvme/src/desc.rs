//! Commands and completions (NVMe §3.3.3.1 "Submission Queue Entry", §3.3.3.2 "Common Completion Queue Entry").

use bitfield_struct::bitfield;
use weir_hal::Iova;
use zerocopy::{FromBytes, IntoBytes};

const _: () = assert!(cfg!(target_endian = "little"), "queue entries are little-endian");

/// Admin commands (NVMe §5 "Admin Command Set").
pub mod admin_opcode {
    /// Create I/O Submission Queue (NVMe §5.5).
    pub const CREATE_SQ: u8 = 0x01;
    /// Create I/O Completion Queue (NVMe §5.4).
    pub const CREATE_CQ: u8 = 0x05;
    /// Identify (NVMe §5.17).
    pub const IDENTIFY: u8 = 0x06;
    /// Abort (NVMe §5.1).
    pub const ABORT: u8 = 0x08;
    /// Set Features (NVMe §5.27).
    pub const SET_FEATURES: u8 = 0x09;
}

/// I/O commands.
pub mod opcode {
    /// Flush (NVMe §7.1).
    pub const FLUSH: u8 = 0x00;
    /// Write (NVM §3.2.6).
    pub const WRITE: u8 = 0x01;
    /// Read (NVM §3.2.4).
    pub const READ: u8 = 0x02;
    /// Dataset Management (NVM §3.2.3).
    pub const DATASET_MANAGEMENT: u8 = 0x09;
}

/// First two words of a command. PSDT stays 0: data by PRPs.
#[bitfield(u64)]
#[derive(FromBytes, IntoBytes)]
pub struct Header {
    pub opcode: u8,
    #[bits(2)]
    pub fused: u8,
    #[bits(4)]
    __: u8,
    #[bits(2)]
    pub data_by: u8,
    pub cid: u16,
    pub namespace: u32,
}
const _: () = assert!(Header::CID_OFFSET == 16 && Header::NAMESPACE_OFFSET == 32);

/// A command.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Command {
    /// Opcode, CID, namespace.
    pub header: Header,
    /// Command dwords 2 and 3.
    pub dwords_2_3: u64,
    /// Where metadata is; there is none.
    pub metadata: u64,
    /// First page of data.
    pub prp1: u64,
    /// Second page, or a list of the others.
    pub prp2: u64,
    /// Command dwords 10 and 11; of a read or write the first block.
    pub dwords_10_11: u64,
    /// Command dwords 12 and 13.
    pub dwords_12_13: u64,
    /// Command dwords 14 and 15.
    pub dwords_14_15: u64,
}
/// Size of a command, as a power of two.
pub const COMMAND_SHIFT: u8 = 6;
const _: () = assert!(size_of::<Command>() == 1 << COMMAND_SHIFT);

impl Command {
    /// A command without data; its CID is filled in when it is sent.
    #[must_use]
    pub fn new(opcode: u8, namespace: u32) -> Command {
        Command { header: Header::new().with_opcode(opcode).with_namespace(namespace), ..Command::default() }
    }

    /// With dwords 10 and 11.
    #[must_use]
    pub fn with_dwords(self, dword_10: u32, dword_11: u32) -> Command {
        Command { dwords_10_11: u64::from(dword_10) | u64::from(dword_11) << 32, ..self }
    }

    /// With one page, or a part of one, at `iova`.
    #[must_use]
    pub fn with_page(self, iova: Iova) -> Command {
        Command { prp1: iova.0, ..self }
    }
}

/// Second half of a completion: all of it that is used, in one word, so that one load reads it.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Answer {
    /// How far the controller has fetched commands.
    pub head: u16,
    /// The submission queue.
    pub queue: u16,
    /// The command.
    pub cid: u16,
    /// Flips with each pass.
    pub phase: bool,
    /// Status code, code type, retry delay, more, do not retry: NVMe §3.3.3.2.1 "Status Field Definition".
    #[bits(15)]
    pub status: u16,
}
const _: () = assert!(Answer::PHASE_OFFSET == 48 && Answer::STATUS_OFFSET == 49);
/// Words of a completion: a result for admin commands, then an [`Answer`].
pub const COMPLETION_WORDS: u16 = 2;
/// Size of a completion, as a power of two.
pub const COMPLETION_SHIFT: u8 = 4;
const _: () = assert!(COMPLETION_WORDS as usize * size_of::<u64>() == 1 << COMPLETION_SHIFT);
