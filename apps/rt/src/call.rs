//! The `syscall` instruction and nothing else; the typed modules beside this one are what programs use.

use weir_abi::Error;

/// Makes system call `number` with six arguments, those it does not take being 0.
///
/// # Errors
/// What the call's page in [`weir_abi::call`] says.
///
/// # Safety
/// The call must not break this program's own memory: what it unmaps is not used any more, what it lets the
/// kernel write is valid for that, and an entry point it starts is a thread's entry.
#[inline]
pub unsafe fn call(number: u64, arguments: [u64; 6]) -> Result<u64, Error> {
    let [a0, a1, a2, a3, a4, a5] = arguments;
    let status: u64;
    let value: u64;
    // SAFETY: the registers are those of the convention (`weir_abi::call`); what the call does to memory is
    // the caller's promise.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => status,
            inlateout("rdx") a2 => value,
            in("rdi") a0,
            in("rsi") a1,
            in("r10") a3,
            in("r8") a4,
            in("r9") a5,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    Error::from_status(status).map_or(Ok(value), Err)
}

/// A number of bytes or an address as this machine's `usize`.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the assertion below")]
pub const fn to_usize(number: u64) -> usize {
    number as usize
}

const _: () = assert!(usize::BITS == 64);
