//! Time, without a kernel entry: the time-stamp counter, scaled as the kernel page says.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::call::EVENT_WAIT;

use crate::call::call;
use crate::kernel_page::kernel_page;

/// Nanoseconds per tick, in units of 2⁻⁶⁰ ns; set once, before `main`.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);

/// Binary digits after the point in [`NS_PER_TICK`].
const FRACTION_BITS: u32 = 60;
const NS_PER_SECOND: u128 = 1_000_000_000;

/// Fixes the scale.
pub(crate) fn set_up() {
    NS_PER_TICK.store(scale(kernel_page().tsc_hz), Ordering::Relaxed);
}

/// Nanoseconds per tick of a counter of `hz`, in units of 2⁻⁶⁰ ns. Below 63 MHz it would not fit and is cut.
fn scale(hz: u64) -> u64 {
    u64::try_from((NS_PER_SECOND << FRACTION_BITS) / u128::from(hz.max(1))).unwrap_or(u64::MAX)
}

/// `ticks` in nanoseconds.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "2^64 ns are 584 years")]
fn to_ns(ticks: u64, ns_per_tick: u64) -> u64 {
    ((u128::from(ticks) * u128::from(ns_per_tick)) >> FRACTION_BITS) as u64
}

/// The time-stamp counter.
#[inline]
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: the kernel leaves `rdtsc` to user mode (CR4.TSD clear), or the clock page would be useless.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Instructions of [`million_instructions`].
const COUNTED: u64 = 1_000_000;

/// Runs a million instructions and gives the ticks they took: says whether a tick is an instruction here (an emulator
/// can be told to make it so).
#[must_use]
pub fn million_instructions() -> u64 {
    let before = ticks();
    // SAFETY: counts a register down to 0, touches nothing else.
    unsafe {
        core::arch::asm!("2: dec {0}", "jnz 2b", inout(reg) COUNTED / 2 => _, options(nomem, nostack));
    }
    ticks() - before
}

/// Nanoseconds since boot, on the kernel's clock. Cost: `rdtsc` and a multiplication.
#[inline]
#[must_use]
pub fn now_ns() -> u64 {
    // A CPU whose counter is a little behind the boot CPU's must not wrap around.
    let ticks = ticks().saturating_sub(kernel_page().tsc_at_boot);
    to_ns(ticks, NS_PER_TICK.load(Ordering::Relaxed))
}

/// Sleeps until `deadline_ns` on the clock of [`now_ns`].
pub fn sleep_until(deadline_ns: u64) {
    while now_ns() < deadline_ns {
        // SAFETY: sleeping touches no memory. Whatever it answers, the clock decides.
        let _ = unsafe { call(EVENT_WAIT, [0, 0, deadline_ns, 0, 0, 0]) };
    }
}

/// Sleeps for `ns` nanoseconds.
pub fn sleep(ns: u64) {
    sleep_until(now_ns().saturating_add(ns));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_exactly_over_a_year() {
        for hz in [1_000_000_000, 2_394_374_000, 99_999_999, 5_123_456_789] {
            let ticks = 365 * 86_400 * hz;
            let exact = 365 * 86_400 * 1_000_000_000;
            let error = to_ns(ticks, scale(hz)).abs_diff(exact);
            assert!(error <= 1, "{hz} Hz: {error} ns off");
        }
    }

    #[test]
    fn hostile_frequencies_do_not_panic() {
        assert_eq!(scale(0), u64::MAX);
        assert_eq!(to_ns(0, scale(1)), 0);
    }
}
