//! Numbers that nobody else knows.

use crate::clock::ticks;

/// CPUID leaf 1, ECX: `RDRAND` is there (Intel SDM volume 2, "CPUID—CPU Identification").
const HAS_RDRAND: u32 = 1 << 30;
/// How often to ask before giving up (Intel SDM volume 1 §7.3.17.1 "RDRAND").
const ATTEMPTS: usize = 10;

/// A seed: from the CPU's generator, or, where it has none, from the time-stamp counter, which others can guess.
#[must_use]
pub fn seed() -> u64 {
    let leaf = core::arch::x86_64::__cpuid(1);
    if leaf.ecx & HAS_RDRAND != 0
        && let Some(number) = (0..ATTEMPTS).find_map(|_| rdrand())
    {
        return number;
    }
    ticks().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Asks the generator, which must be there.
fn rdrand() -> Option<u64> {
    let (number, is_valid): (u64, u8);
    // SAFETY: writes two registers and the flags, touches nothing else. `seed` has looked that the CPU has it.
    unsafe {
        core::arch::asm!("rdrand {0}", "setc {1}", out(reg) number, out(reg_byte) is_valid, options(nomem, nostack));
    }
    (is_valid == 1).then_some(number)
}
