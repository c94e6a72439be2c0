//! The CPU: segments, entries, interrupt controller, clock, serial ports.

pub(crate) mod apic;
pub(crate) mod cpu;
pub(crate) mod fpu;
pub(crate) mod gdt;
pub(crate) mod idt;
pub(crate) mod ioapic;
pub(crate) mod local;
pub(crate) mod msr;
pub(crate) mod serial;
pub(crate) mod time;
pub(crate) mod trap;
