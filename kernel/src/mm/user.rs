//! Copying between the kernel and a process: the only way the kernel touches user memory.
//!
//! **Invariant: a bad user address is an error, never a kernel fault**: the two copy routines have an error
//! exit to which the page-fault handler sends them ([`recover`]).

use core::arch::naked_asm;

use weir_abi::Error;
use weir_abi::layout::USER_END;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arch::cpu::features;

/// Copies `bytes` from user address `from` into kernel memory `to`; 0, or 1 after a fault.
#[unsafe(naked)]
unsafe extern "C" fn copy_plain(to: *mut u8, from: *const u8, bytes: usize) -> u64 {
    naked_asm!("mov rcx, rdx", "rep movsb", "xor eax, eax", "ret")
}

/// As [`copy_plain`], with supervisor access to user pages allowed meanwhile.
#[unsafe(naked)]
unsafe extern "C" fn copy_smap(to: *mut u8, from: *const u8, bytes: usize) -> u64 {
    naked_asm!("mov rcx, rdx", "stac", "rep movsb", "clac", "xor eax, eax", "ret")
}

/// Where a faulting copy resumes.
#[unsafe(naked)]
unsafe extern "C" fn failed_plain() {
    naked_asm!("mov eax, 1", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn failed_smap() {
    naked_asm!("clac", "mov eax, 1", "ret")
}

/// Both routines are shorter than this.
const ROUTINE_BYTES: u64 = 16;

/// Where to resume after a page fault at kernel address `rip`, if that is in a copy routine.
pub(crate) fn recover(rip: u64) -> Option<u64> {
    let within = |start: u64| rip.wrapping_sub(start) < ROUTINE_BYTES;
    if within(copy_plain as *const () as u64) {
        Some(failed_plain as *const () as u64)
    } else if within(copy_smap as *const () as u64) {
        Some(failed_smap as *const () as u64)
    } else {
        None
    }
}

fn check(address: u64, bytes: usize) -> Result<(), Error> {
    let end = address.checked_add(bytes as u64).ok_or(Error::BadAddress)?;
    if end <= USER_END { Ok(()) } else { Err(Error::BadAddress) }
}

fn copy(to: *mut u8, from: *const u8, bytes: usize) -> Result<(), Error> {
    // SAFETY: one side is valid kernel memory of the caller's, the other was checked to lie in the user half,
    // where a fault is recovered from.
    let status =
        unsafe { if features().smap { copy_smap(to, from, bytes) } else { copy_plain(to, from, bytes) } };
    if status == 0 { Ok(()) } else { Err(Error::BadAddress) }
}

/// Fills `buffer` from the running process's memory.
pub(crate) fn read_bytes(address: u64, buffer: &mut [u8]) -> Result<(), Error> {
    check(address, buffer.len())?;
    copy(buffer.as_mut_ptr(), core::ptr::with_exposed_provenance(address as usize), buffer.len())
}

/// Stores `bytes` into the running process's memory.
pub(crate) fn write_bytes(address: u64, bytes: &[u8]) -> Result<(), Error> {
    check(address, bytes.len())?;
    copy(core::ptr::with_exposed_provenance_mut(address as usize), bytes.as_ptr(), bytes.len())
}

/// Reads a structure once.
pub(crate) fn read<T: FromBytes + IntoBytes>(address: u64) -> Result<T, Error> {
    let mut value = T::new_zeroed();
    read_bytes(address, value.as_mut_bytes())?;
    Ok(value)
}

/// Writes a structure.
pub(crate) fn write<T: IntoBytes + Immutable>(address: u64, value: &T) -> Result<(), Error> {
    write_bytes(address, value.as_bytes())
}
