//! Model-specific registers the kernel uses (Intel SDM volume 4, chapter 2; AMD APM volume 2, appendix A).

use x86_64::registers::model_specific::Msr;

pub(crate) const APIC_BASE: u32 = 0x1b;
pub(crate) const TSC_DEADLINE: u32 = 0x6e0;
pub(crate) const PAT: u32 = 0x277;
pub(crate) const EFER: u32 = 0xc000_0080;
pub(crate) const STAR: u32 = 0xc000_0081;
pub(crate) const LSTAR: u32 = 0xc000_0082;
pub(crate) const SFMASK: u32 = 0xc000_0084;
pub(crate) const FS_BASE: u32 = 0xc000_0100;
pub(crate) const GS_BASE: u32 = 0xc000_0101;
pub(crate) const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// Reads a register.
///
/// # Safety
/// The CPU must have it.
pub(crate) unsafe fn read(register: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(register).read() }
}

/// Writes a register.
///
/// # Safety
/// The CPU must have it, and the value must keep the kernel's own invariants.
pub(crate) unsafe fn write(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(register).write(value) }
}
