//! Handles: how a process names a kernel object.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Names an entry of the process's handle table: index in the low 32 bits, generation in the high 32.
///
/// Generations start at 1, so 0 is never an open handle. A closed handle's generation never comes back for
/// the same index, so a stale handle is [`crate::Error::BadHandle`] and never another object.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    serde::Serialize,
    serde::Deserialize,
)]
#[repr(transparent)]
pub struct Handle(pub u64);

impl Handle {
    /// "None": accepted where a call says a handle is optional.
    pub const NONE: Handle = Handle(0);
    /// Every process's handle to itself.
    pub const SELF: Handle = Handle::new(0, 1);
    /// The supervisor's handle to the [`ObjectKind::System`] object (first process only).
    pub const SYSTEM: Handle = Handle::new(1, 1);
    /// The supervisor's handle to the boot bundle (first process only), a read-only `Memory`.
    pub const BUNDLE: Handle = Handle::new(2, 1);

    /// Packs an index and a generation.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Handle {
        Handle((generation as u64) << 32 | index as u64)
    }

    /// The handle-table index.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the index")]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// The generation the entry must have.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What a handle permits, a bit each.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    serde::Serialize,
    serde::Deserialize,
)]
#[repr(transparent)]
pub struct Rights(pub u32);

impl Rights {
    /// No right at all.
    pub const NONE: Rights = Rights(0);
    /// Look: query state, map memory readable.
    pub const READ: Rights = Rights(1 << 0);
    /// Change contents: map memory writable, signal an event.
    pub const WRITE: Rights = Rights(1 << 1);
    /// Map memory executable.
    pub const EXECUTE: Rights = Rights(1 << 2);
    /// Use a device, interrupt or core: map registers, bind interrupts, run threads.
    pub const USE: Rights = Rights(1 << 3);
    /// Rule over it: kill, assign, revoke, create threads or mappings in it.
    pub const MANAGE: Rights = Rights(1 << 4);
    /// Copy the handle into another process.
    pub const TRANSFER: Rights = Rights(1 << 5);
    /// Every right.
    pub const ALL: Rights = Rights(0x3f);

    /// Whether every right in `needed` is held.
    #[must_use]
    pub const fn contains(self, needed: Rights) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// The rights held by both.
    #[must_use]
    pub const fn intersect(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    /// These rights but for those in `other`.
    #[must_use]
    pub const fn without(self, other: Rights) -> Rights {
        Rights(self.0 & !other.0)
    }

    /// The rights held by either.
    #[must_use]
    pub const fn union(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

/// The kinds of kernel object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ObjectKind {
    /// An owner: an address space, its handles and its threads.
    Process = 1,
    /// A thread of execution.
    Thread = 2,
    /// Frames that can be mapped.
    Memory = 3,
    /// A PCI function.
    Device = 4,
    /// One interrupt of a device, bound to an event.
    Interrupt = 5,
    /// A counter one can wait for.
    Event = 6,
    /// A whole CPU.
    Core = 7,
    /// The right to rule the machine (the supervisor's).
    System = 8,
}

impl ObjectKind {
    /// The kind a number stands for.
    #[must_use]
    pub fn from_number(number: u32) -> Option<ObjectKind> {
        use ObjectKind::*;
        [Process, Thread, Memory, Device, Interrupt, Event, Core, System]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}
