//! What the attack tests order the attack application to do, what it answers, and where both are written: a page of
//! memory in the BAR of a device that the application owns and the test sees as a file (QEMU's `ivshmem-plain`).
//!
//! **Invariant: a message is complete when its number is written, and numbers only grow**; one order at a time.
//! Not here: how either side gets at the memory.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Where the order is: its number (8 bytes), its length (8), its bytes.
pub const ORDER_AT: u64 = 0x000;
/// Where the answer is, in the same form.
pub const ANSWER_AT: u64 = 0x800;
/// Longest order or answer.
pub const MESSAGE_BYTES: u64 = 0x7f0;
/// Where [`Order::Show`] copies a page to.
pub const DATA_AT: u64 = 0x1000;
/// Bytes of the memory that both use.
pub const LINK_BYTES: u64 = 0x2000;

/// Something to do. Devices are named as in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Takes `bytes` of new memory into the DMA window and fills it: word `i` is `word + i`.
    Map {
        /// How much.
        bytes: u64,
        /// The first word.
        word: u64,
    },
    /// Fills a page of new memory and takes it into the window, for reading only.
    MapReadOnly {
        /// The first word.
        word: u64,
    },
    /// Takes a memory out of the window; the program keeps it, mapped privately.
    Withdraw {
        /// Which.
        slot: usize,
    },
    /// Gives a memory back.
    Free {
        /// Which.
        slot: usize,
    },
    /// Fills a memory again, as [`Order::Map`] does.
    Fill {
        /// Which.
        slot: usize,
        /// The first word.
        word: u64,
    },
    /// Copies a memory's first page to [`DATA_AT`].
    Show {
        /// Which.
        slot: usize,
    },
    /// Lets an `edu` read memory into its buffer.
    Load {
        /// Which device.
        device: String,
        /// From where.
        iova: u64,
        /// To where in its buffer.
        offset: u16,
        /// How much.
        bytes: u16,
    },
    /// Lets an `edu` write its buffer to memory.
    Store {
        /// Which device.
        device: String,
        /// To where.
        iova: u64,
        /// From where in its buffer.
        offset: u16,
        /// How much.
        bytes: u16,
    },
    /// Lets all `edu`s, each one message at a time, write 4 bytes to `address` from the place `8 * number` of their
    /// buffers, for each of `first..first + count`.
    Forge {
        /// Where messages go.
        address: u64,
        /// The first number.
        first: u16,
        /// How many.
        count: u16,
    },
    /// Lets the `iommu-testdev` write `bytes` to `iova`, `times` times or until it is gone.
    Fire {
        /// To where.
        iova: u64,
        /// How much.
        bytes: u32,
        /// How often.
        times: u64,
    },
    /// How many faults the program was told of.
    Faults,
    /// Fault number `number`.
    Fault {
        /// Which, from 0.
        number: u64,
    },
    /// Describes a device.
    Info {
        /// Which.
        device: String,
    },
    /// Tries to map registers.
    MapBar {
        /// Of which device.
        device: String,
        /// Which BAR.
        bar: u8,
        /// From where.
        offset: u64,
        /// How much.
        bytes: u64,
    },
    /// Binds and unmasks the first interrupt of a device.
    Listen {
        /// Which.
        device: String,
    },
    /// Lets an `edu` raise its interrupt.
    Raise {
        /// Which.
        device: String,
    },
    /// How often the interrupt of a device came.
    Interrupts {
        /// Of which.
        device: String,
    },
    /// Maps a page for DMA over and over.
    MapMany {
        /// How often.
        times: u64,
    },
    /// Ends the program.
    Exit {
        /// With which code.
        code: u64,
    },
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// It could not be done.
    Failed(String),
    /// A memory, and where it is.
    Place {
        /// Its number.
        slot: usize,
        /// Its address, for the program, and for its devices while it is in the window.
        address: u64,
    },
    /// What became of writes.
    Fired {
        /// Passed.
        written: u64,
        /// Blocked.
        refused: u64,
        /// Whether the device was gone at the end.
        is_gone: bool,
    },
    /// The faults.
    Faults {
        /// Records.
        written: u64,
        /// Those that were lost.
        lost: u64,
    },
    /// A fault.
    Fault {
        /// Who asked, as in [`Answer::Info`].
        requester: u32,
        /// For which page.
        iova: u64,
        /// Whether it was a write.
        is_write: bool,
        /// The unit's reason.
        reason: u8,
        /// How often.
        count: u64,
    },
    /// A device.
    Info {
        /// `segment << 16 | bus << 8 | device << 3 | function`.
        address: u32,
        /// Isolation group.
        group: u32,
        /// Bytes that each BAR decodes.
        bar_bytes: Vec<u64>,
    },
    /// How many, and of these how many were refused because of the quota.
    Counted {
        /// How many.
        count: u64,
        /// Refused because of the quota.
        quota: u64,
    },
}
