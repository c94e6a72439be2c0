//! The CPUs that run, by index: index 0 is the one that booted.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::mm::address::PhysAddr;

/// CPUs supported.
pub(crate) const MAX_CPUS: usize = 256;

static COUNT: AtomicU32 = AtomicU32::new(0);
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// Adds a running CPU; returns its index.
pub(crate) fn add(apic_id: u32) -> u32 {
    let index = COUNT.load(Ordering::SeqCst);
    APIC_IDS[index as usize].store(apic_id, Ordering::SeqCst);
    COUNT.store(index + 1, Ordering::SeqCst);
    index
}

/// How many CPUs run.
pub(crate) fn count() -> u32 {
    COUNT.load(Ordering::SeqCst)
}

/// The APIC id of CPU `index`.
pub(crate) fn apic_id(index: u32) -> u32 {
    APIC_IDS[index as usize].load(Ordering::SeqCst)
}

/// A set of CPUs.
pub(crate) struct CpuSet([AtomicU64; MAX_CPUS / 64]);

impl CpuSet {
    /// No CPU.
    pub(crate) const fn new() -> CpuSet {
        CpuSet([const { AtomicU64::new(0) }; MAX_CPUS / 64])
    }

    /// Adds a CPU.
    pub(crate) fn insert(&self, cpu: u32) {
        self.0[cpu as usize / 64].fetch_or(1 << (cpu % 64), Ordering::SeqCst);
    }

    /// Removes a CPU.
    pub(crate) fn remove(&self, cpu: u32) {
        self.0[cpu as usize / 64].fetch_and(!(1 << (cpu % 64)), Ordering::SeqCst);
    }

    /// The CPUs in the set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..count()).filter(|cpu| self.0[*cpu as usize / 64].load(Ordering::SeqCst) >> (cpu % 64) & 1 == 1)
    }
}

/// Kernel entries of each CPU by cause, for `system_info`.
#[derive(Default)]
pub(crate) struct EntryCounters {
    pub(crate) syscalls: AtomicU64,
    pub(crate) timer: AtomicU64,
    pub(crate) ipis: AtomicU64,
    pub(crate) devices: AtomicU64,
    pub(crate) exceptions: AtomicU64,
    pub(crate) idle_ns: AtomicU64,
}

static ENTRIES: [EntryCounters; MAX_CPUS] = [const {
    EntryCounters {
        syscalls: AtomicU64::new(0),
        timer: AtomicU64::new(0),
        ipis: AtomicU64::new(0),
        devices: AtomicU64::new(0),
        exceptions: AtomicU64::new(0),
        idle_ns: AtomicU64::new(0),
    }
}; MAX_CPUS];

/// The entry counters of CPU `index`.
pub(crate) fn entries(index: u32) -> &'static EntryCounters {
    &ENTRIES[index as usize]
}

/// Page-table root that maps the kernel alone; loaded while no process runs.
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);

/// Sets the root once it is built.
pub(crate) fn set_kernel_root(root: PhysAddr) {
    KERNEL_ROOT.store(root.0, Ordering::SeqCst);
}

/// The root without a process.
pub(crate) fn kernel_root() -> PhysAddr {
    PhysAddr(KERNEL_ROOT.load(Ordering::SeqCst))
}
