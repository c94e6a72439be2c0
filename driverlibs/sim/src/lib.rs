//! A host for driver libraries that simulates their devices, for tests and fuzzing. Not used on Weir.
//!
//! **Invariant: a device model reaches program memory only through [`SimWindow`], which checks every address as
//! an IOMMU would and counts what it blocks.** I/O addresses differ from pointers here on purpose.
//!
//! One thread: a model works when its registers are accessed or when the test tells it to, so every run is
//! repeatable and Miri can follow it. Models are written from the specifications, not from the drivers.
#![deny(unsafe_code)]

pub mod clock;
pub mod device;
pub mod edu;
pub mod gigabit;
pub mod interrupt;
pub mod iommu_testdev;
mod malice;
pub mod memory;
pub mod nvme;
pub mod pci;
pub mod random;
pub mod script;
pub mod virtio_blk;
pub mod virtio_net;

pub use clock::SimClock;
pub use device::{Model, SimDevice};
pub use edu::Edu;
pub use gigabit::Gigabit;
pub use interrupt::{Interrupts, SimInterrupt};
pub use iommu_testdev::IommuTestdev;
pub use malice::Malice;
pub use memory::SimWindow;
pub use nvme::Nvme;
pub use random::Random;
pub use script::Script;
pub use virtio_blk::VirtioBlk;
pub use virtio_net::VirtioNet;
