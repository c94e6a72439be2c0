//! What a driver library needs of the system it runs in.
//!
//! **Invariant: everything is a value — a device, a DMA window, a clock — handed to the driver; nothing is
//! global.** So a driver knows whose memory it maps, and one program can own several devices and windows.
//!
//! A *host* implements the traits: Weir, Linux VFIO, vhost-user, or a simulation. Drivers are generic over
//! them and compiled for one; where registers and memory are really mapped, every host uses [`MappedMmio`]
//! and [`DmaMemory`], so that a driver's hot loop is the same object code on each of them.
//!
//! Not here: rings and buffers in DMA memory (`weir-ring`, `weir-pool`) and anything about one device.
//!
//! Reading order: [`device`] · [`mmio`], [`mapped`] · [`dma`] · [`interrupt`] · [`time`] · [`error`].
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod device;
pub mod dma;
pub mod error;
pub mod interrupt;
pub mod mapped;
pub mod mmio;
pub mod time;

pub use device::{Device, DeviceInfo};
pub use dma::{DmaMemory, DmaWindow, Iova};
pub use error::Error;
pub use interrupt::Interrupt;
pub use mapped::{MappedMmio, MappedRegister};
pub use mmio::{Mmio, Register, RegisterOf, Word};
pub use time::{Clock, wait_until};
