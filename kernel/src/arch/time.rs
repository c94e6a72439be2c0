//! The clock: the time-stamp counter, calibrated once at boot.
//!
//! Source of the frequency, best first: CPUID leaf 15h, the HPET, the PIT.

use spin::Once;
use x86_64::instructions::port::Port;

use super::cpu::tsc;
use crate::mm::{tlb, vmap};

struct Clock {
    hz: u64,
    start: u64,
    /// Nanoseconds per tick, 32.32 fixed point.
    ns_per_tick: u64,
}

static CLOCK: Once<Clock> = Once::new();

/// Calibrates the clock, which reads 0 at `start`; `hpet` is the physical address of its registers.
pub(crate) fn set_up(start: u64, hpet: Option<u64>) {
    CLOCK.call_once(|| {
        let hz = from_cpuid().or_else(|| hpet.and_then(from_hpet)).unwrap_or_else(from_pit);
        Clock { hz, start, ns_per_tick: ((1_000_000_000u128 << 32) / u128::from(hz)) as u64 }
    });
}

fn clock() -> &'static Clock {
    CLOCK.get().expect("the clock is set up before anything is timed")
}

/// Time-stamp counter ticks per second.
pub(crate) fn tsc_hz() -> u64 {
    clock().hz
}

/// Time-stamp counter when the clock read 0.
pub(crate) fn tsc_at_boot() -> u64 {
    clock().start
}

/// Nanoseconds since boot.
pub(crate) fn now_ns() -> u64 {
    let clock = clock();
    ticks_to_ns(tsc().wrapping_sub(clock.start))
}

/// Nanoseconds since boot, or 0 before the clock is set up.
pub(crate) fn now_ns_or_zero() -> u64 {
    if CLOCK.is_completed() { now_ns() } else { 0 }
}

/// How long `ticks` of the time-stamp counter last.
pub(crate) fn ticks_to_ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(clock().ns_per_tick)) >> 32) as u64
}

/// The counter's value at `ns` since boot.
pub(crate) fn ns_to_tsc(ns: u64) -> u64 {
    let clock = clock();
    let ticks = u128::from(ns) * u128::from(clock.hz) / 1_000_000_000;
    clock.start.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
}

/// Spins until `done` or until `limit_us` have passed, serving TLB shootdowns; says whether it was done.
pub(crate) fn wait_until(limit_us: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = tsc().saturating_add(clock().hz / 1_000_000 * limit_us);
    loop {
        if done() {
            return true;
        }
        if tsc() >= end {
            return done();
        }
        tlb::serve();
        core::hint::spin_loop();
    }
}

/// Spins for `us` microseconds.
pub(crate) fn spin_us(us: u64) {
    wait_until(us, || false);
}

/// Frequency from CPUID leaf 15h (Intel SDM volume 2, "CPUID"): crystal × numerator / denominator.
fn from_cpuid() -> Option<u64> {
    let info = raw_cpuid::CpuId::new().get_tsc_info()?;
    info.tsc_frequency().filter(|hz| *hz > 100_000_000)
}

/// Frequency against the HPET's main counter (IA-PC HPET specification 1.0a, §2.3).
fn from_hpet(registers: u64) -> Option<u64> {
    const CONFIGURATION: usize = 0x10;
    const COUNTER: usize = 0xf0;
    const MAX_PERIOD_FS: u64 = 100_000_000;
    let base = vmap::map_registers(registers, 4096);
    // SAFETY: the HPET's registers fill the mapped page's first 1 KiB and are 64 bits wide.
    let read = |offset: usize| unsafe { base.add(offset).cast::<u64>().read_volatile() };
    let period_fs = read(0) >> 32;
    if period_fs == 0 || period_fs > MAX_PERIOD_FS {
        return None;
    }
    // SAFETY: bit 0 lets the counter run; nothing else uses it.
    unsafe { base.add(CONFIGURATION).cast::<u64>().write_volatile(read(CONFIGURATION) | 1) };
    let sample = 20_000_000_000_000 / period_fs; // 20 ms
    let (start, count) = tight_pair(|| read(COUNTER));
    // Bounded by the counter itself; a stuck one is noticed after enough reads.
    (0..100_000_000u64).find(|_| read(COUNTER).wrapping_sub(count) >= sample)?;
    let (end, last) = tight_pair(|| read(COUNTER));
    let ns = u128::from(last.wrapping_sub(count)) * u128::from(period_fs) / 1_000_000;
    u64::try_from(u128::from(end - start) * 1_000_000_000 / ns).ok()
}

/// The time-stamp counter and another counter, read as close together as ten tries make it: a virtual CPU may be
/// held up between the two.
pub(crate) fn tight_pair<T>(read: impl Fn() -> T) -> (u64, T) {
    let pair = || {
        let before = tsc();
        let other = read();
        (tsc() - before, before, other)
    };
    let first = pair();
    let best = (1..10).map(|_| pair()).fold(first, |best, next| if next.0 < best.0 { next } else { best });
    (best.1 + best.0 / 2, best.2)
}

/// Frequency against the 8254 timer: the lowest of three samples, since a virtual CPU that is held up measures
/// too much.
fn from_pit() -> u64 {
    (0..3).map(|_| pit_sample()).fold(u64::MAX, u64::min)
}

/// Time-stamp counter ticks per second, by 50 ms of channel 2.
fn pit_sample() -> u64 {
    const PIT_HZ: u64 = 1_193_182;
    const COUNT: u64 = PIT_HZ / 20;
    let (mut gate, mut command, mut data) =
        (Port::<u8>::new(0x61), Port::<u8>::new(0x43), Port::<u8>::new(0x42));
    // SAFETY: channel 2 drives the speaker only, whose gate is turned off here.
    unsafe {
        let old = gate.read();
        gate.write((old & !0b10) | 1);
        command.write(0xb0); // channel 2, low then high byte, mode 0
        data.write((COUNT & 0xff) as u8);
        data.write((COUNT >> 8) as u8);
        let start = tsc();
        while gate.read() & 0x20 == 0 && tsc() - start < 10_000_000_000 {}
        let ticks = tsc() - start;
        gate.write(old);
        ticks * 20
    }
}
