//! Driver library for the Intel 82574L Ethernet controller (82574 GbE Controller Family Datasheet, revision 3.4;
//! cited as "82574 §"; QEMU's `e1000e`).
//!
//! **Invariant: nothing a device writes is believed**, as `weir-gigabit` says, which has all that this controller
//! shares with its relatives. Legacy descriptors in both directions: length, status and errors are one word; extended ones
//! for frames whose checksum the device fills in. One queue each way. It has no function-level reset.
//!
//! Reading order: `regs`, `desc` · `device`.
#![no_std]
#![forbid(unsafe_code)]

mod desc;
mod device;
mod regs;

pub use device::I82574;
pub use weir_gigabit::{Error, Filter, Options, Statistics, Violation};

/// The device: what is not on the data path.
pub type Net<D> = weir_gigabit::Net<D, I82574>;
/// Its receive queue.
pub type RxQueue<D> = weir_gigabit::RxQueue<D, I82574>;
/// Its transmit queue.
pub type TxQueue<D> = weir_gigabit::TxQueue<D, I82574>;
