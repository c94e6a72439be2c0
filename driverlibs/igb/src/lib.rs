//! Driver library for the Intel 82576 Ethernet controller (82576 Gigabit Ethernet Controller Datasheet, revision
//! 2.61; cited as "82576 §"; QEMU's `igb`), physical function.
//!
//! **Invariant: nothing a device writes is believed**, as `weir-gigabit` says, which has all that this controller
//! shares with its relatives. Advanced descriptors in both directions, the format that the
//! controller is made for; length, status and errors are one word. Up to eight queues each way, over which frames are
//! spread by flow; or one of the physical function and one of each virtual function: the owner of the physical function,
//! which is started with `Options::is_shared`, serves the [`Mailboxes`] of the others (driver: `weir-igb-vf`).
//!
//! Reading order: `regs`, [`desc`] · [`device`] · `pools`, [`message`], [`mailbox`] · `rss`.
#![no_std]
#![forbid(unsafe_code)]

pub mod desc;
pub mod device;
pub mod mailbox;
pub mod message;
mod pools;
mod regs;
mod rss;

pub use device::I82576;
pub use mailbox::{Mailboxes, Served};
pub use pools::MOST as VIRTUAL_FUNCTIONS;
pub use weir_gigabit::{Error, Filter, Options, Statistics, Violation};

/// The device: what is not on the data path.
pub type Net<D> = weir_gigabit::Net<D, I82576>;
/// Its receive queue.
pub type RxQueue<D> = weir_gigabit::RxQueue<D, I82576>;
/// Its transmit queue.
pub type TxQueue<D> = weir_gigabit::TxQueue<D, I82576>;
