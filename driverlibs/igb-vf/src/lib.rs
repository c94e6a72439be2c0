//! Driver library for virtual functions of the Intel 82576 Ethernet controller (82576 Gigabit Ethernet Controller Datasheet,
//! revision 2.61; cited as "82576 §"; QEMU's `igb`).
//!
//! **Invariant: nothing that the device or the physical function's owner says is believed.** Rings are `weir-gigabit`'s,
//! descriptors `weir-igb`'s. A virtual function has no PHY, no filters and no address of its own: it asks for what it needs.
//! One queue each way.
//!
//! Reading order: `regs` · [`mailbox`] · [`device`] · [`net`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod device;
pub mod mailbox;
pub mod net;
mod regs;

pub use device::I82576Vf;
pub use net::{Net, Options, Statistics};
pub use weir_gigabit::{Error, Violation};

/// Its receive queue.
pub type RxQueue<D> = weir_gigabit::RxQueue<D, I82576Vf>;
/// Its transmit queue.
pub type TxQueue<D> = weir_gigabit::TxQueue<D, I82576Vf>;
