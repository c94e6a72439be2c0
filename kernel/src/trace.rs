//! Per-CPU rings of typed events: written without text, read by the supervisor.

use alloc::vec::Vec;

use spin::Once;
use weir_abi::info::{TraceInfo, TraceKind};

use crate::arch::{time, trap};
use crate::cpus::MAX_CPUS;
use crate::sync::Lock;

/// Entries kept per CPU.
const ENTRIES: u64 = 512;

struct Ring {
    written: u64,
    entries: Vec<TraceInfo>,
}

static RINGS: [Once<Lock<Ring>>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

/// Makes a CPU's ring, at boot.
pub(crate) fn set_up(cpu: u32) {
    let entries = alloc::vec![TraceInfo::default(); ENTRIES as usize];
    RINGS[cpu as usize].call_once(|| Lock::new(Ring { written: 0, entries }));
}

/// Records an event on this CPU; the oldest is overwritten.
pub(crate) fn record(kind: TraceKind, process: u32, values: [u64; 2]) {
    let Some(ring) = RINGS[trap::cpu_index() as usize].get() else { return };
    let mut ring = ring.lock();
    let number = ring.written;
    let time_ns = time::now_ns_or_zero();
    ring.entries[(number % ENTRIES) as usize] =
        TraceInfo { time_ns, number, kind: kind as u32, process, values };
    ring.written = number + 1;
}

/// Entry `number` of a CPU, or the oldest kept if that is gone; `None` past the newest.
pub(crate) fn get(cpu: usize, number: u64) -> Option<TraceInfo> {
    let ring = RINGS.get(cpu)?.get()?.lock();
    let number = number.max(ring.written.saturating_sub(ENTRIES));
    (number < ring.written).then(|| ring.entries[(number % ENTRIES) as usize])
}
