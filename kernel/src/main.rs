//! The Weir kernel.
//!
//! It confines devices to their owners, runs the owners, and is not entered for a packet or a block. It is
//! non-preemptible: interrupts are off inside, every entry ends in [`sched::resume`], and a blocked thread is
//! nothing but its register frame.
//!
//! Reading order: [`boot`] · [`arch::idt`] and [`arch::trap`] (entries) · [`syscall`] · [`sched`] · [`object`]
//! (what handles name) · [`mm`] · [`iommu`] · [`pci`] · [`hotplug`].
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the kernel runs on 64-bit machines only: u64 and usize are the same size"
)]

extern crate alloc;

mod arch;
mod boot;
mod console;
mod cpus;
mod faults;
mod hotplug;
mod iommu;
mod kernel_page;
mod log;
mod mm;
mod object;
mod panic;
mod pci;
mod power;
mod sched;
mod sync;
mod syscall;
mod trace;
