//! The kernel page: two read-only pages through which the kernel tells a process what happened, at no
//! kernel entry. The kernel writes, the process reads; the process cannot write.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::handle::Handle;

/// Value of [`KernelPage::magic`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"WEIRPAGE");
/// Threads a process may have at once.
pub const MAX_THREADS: usize = 64;
/// Events a process may have at once.
pub const MAX_EVENTS: usize = 192;
/// The event, of those, that channels ring, in a process that has any: the supervisor makes it.
pub const BELL_EVENT: usize = MAX_EVENTS - 1;
/// Fault records the ring holds.
pub const FAULT_RECORDS: usize = 84;

/// What a process sees at [`crate::layout::KERNEL_PAGE`].
#[repr(C, align(4096))]
pub struct KernelPage {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub abi_version: u32,
    /// Number of this process, never reused while the system runs.
    pub process_id: u32,
    /// Time-stamp counter ticks per second.
    pub tsc_hz: u64,
    /// Time-stamp counter when the kernel's clock read 0.
    pub tsc_at_boot: u64,
    /// CPUs that run.
    pub cpus: u32,
    /// How devices are confined ([`IommuMode`] as a number).
    pub iommu_mode: u32,
    #[doc(hidden)]
    pub reserved: [u64; 59],
    /// Kernel entries by the process's threads, by thread slot.
    pub threads: [ThreadCounters; MAX_THREADS],
    /// Event counters, by event slot.
    pub events: [AtomicU64; MAX_EVENTS],
    /// Blocked accesses of the process's devices.
    pub faults: FaultRing,
}

const _: () = assert!(core::mem::size_of::<KernelPage>() == 8192);
const _: () = assert!(core::mem::offset_of!(KernelPage, threads) == 512);
const _: () = assert!(core::mem::offset_of!(KernelPage, faults) == 4096);

/// How the machine's devices are confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IommuMode {
    /// Not at all: no IOMMU, and the manifest accepts that with `unsafe_no_iommu`.
    Off = 0,
    /// VT-d legacy mode, second-stage translation.
    VtdLegacy = 1,
    /// VT-d scalable mode, second-stage translation.
    VtdScalableSecond = 2,
    /// VT-d scalable mode, first-stage translation: devices share the CPU's tables of the DMA window.
    VtdScalableFirst = 3,
    /// AMD-Vi, host tables.
    AmdVi = 4,
}

impl IommuMode {
    /// The mode a number stands for; an unknown one reads as [`IommuMode::Off`], the weakest claim.
    #[must_use]
    pub fn from_number(number: u32) -> IommuMode {
        const ALL: [IommuMode; 4] = [
            IommuMode::VtdLegacy,
            IommuMode::VtdScalableSecond,
            IommuMode::VtdScalableFirst,
            IommuMode::AmdVi,
        ];
        ALL.into_iter().find(|mode| *mode as u32 == number).unwrap_or(IommuMode::Off)
    }

    /// The name shown to people and written into results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IommuMode::Off => "off (unsafe)",
            IommuMode::VtdLegacy => "vtd-legacy",
            IommuMode::VtdScalableSecond => "vtd-scalable-second",
            IommuMode::VtdScalableFirst => "vtd-scalable-first",
            IommuMode::AmdVi => "amd-vi",
        }
    }
}

/// Kernel entries of one thread, by cause. Incremented at entry, whatever the entry is for.
#[repr(C)]
pub struct ThreadCounters {
    /// System calls.
    pub syscalls: AtomicU64,
    /// Interrupts taken while the thread ran.
    pub interrupts: AtomicU64,
    /// Exceptions the thread caused.
    pub exceptions: AtomicU64,
    #[doc(hidden)]
    pub reserved: AtomicU64,
}

impl ThreadCounters {
    /// All kernel entries so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.syscalls.load(Ordering::Relaxed)
            + self.interrupts.load(Ordering::Relaxed)
            + self.exceptions.load(Ordering::Relaxed)
    }
}

/// The last [`FAULT_RECORDS`] blocked accesses.
#[repr(C)]
pub struct FaultRing {
    /// Records written since the process started; record `n` is at `n % FAULT_RECORDS`.
    pub written: AtomicU64,
    /// Blocked accesses that the hardware counted but could not describe.
    pub lost: AtomicU64,
    /// How often faults came too fast and were not recorded until the end of the window
    /// ([`crate::device::DevicePolicy::fault_budget`]): their number is unknown.
    pub muted: AtomicU64,
    #[doc(hidden)]
    pub reserved: [AtomicU64; 5],
    /// The records.
    pub records: [FaultSlot; FAULT_RECORDS],
}

/// A fault record as it stands in the ring.
#[repr(C)]
#[derive(Default)]
pub struct FaultSlot {
    words: [AtomicU64; 6],
}

/// One blocked access of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// The owner's handle to the device.
    pub device: Handle,
    /// Requester: PCI segment, bus, device, function as `segment << 16 | bus << 8 | devfn`.
    pub requester: u32,
    /// 4 KiB-aligned I/O address; for an interrupt request, the interrupt index in bits 63:48.
    pub iova: u64,
    /// Whether the device tried to write.
    pub is_write: bool,
    /// The unit's fault reason (VT-d 5.10 §7.1.3 Table 30).
    pub reason: u8,
    /// How often the same access (device, page, direction, reason) was blocked.
    pub count: u64,
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
}

impl FaultRecord {
    /// Whether `other` is the same access again: device, page, direction and reason.
    #[must_use]
    pub fn is_same_access(&self, other: &FaultRecord) -> bool {
        let access = |r: &FaultRecord| (r.device, r.requester, r.iova, r.is_write, r.reason);
        access(self) == access(other)
    }
}

impl FaultSlot {
    /// Stores a record; the caller publishes it with [`FaultRing::written`].
    pub fn store(&self, record: &FaultRecord) {
        let flags =
            u64::from(record.requester) | u64::from(record.is_write) << 32 | u64::from(record.reason) << 40;
        let words = [record.device.0, flags, record.iova, record.count, record.time_ns, 0];
        for (slot, word) in self.words.iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// Loads the record.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "fields of a packed word")]
    pub fn load(&self) -> FaultRecord {
        let [device, flags, iova, count, time_ns, _] =
            core::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
        FaultRecord {
            device: Handle(device),
            requester: flags as u32,
            is_write: flags >> 32 & 1 == 1,
            reason: (flags >> 40) as u8,
            iova,
            count,
            time_ns,
        }
    }
}

impl FaultRing {
    /// Appends a record (kernel side).
    pub fn push(&self, record: &FaultRecord) {
        let written = self.written.load(Ordering::Relaxed);
        self.records[Self::slot(written)].store(record);
        self.written.store(written + 1, Ordering::Release);
    }

    /// Stores `record` in place of the last one, which it repeats with a higher count (kernel side).
    pub fn replace_last(&self, record: &FaultRecord) {
        if let Some(last) = self.written.load(Ordering::Relaxed).checked_sub(1) {
            self.records[Self::slot(last)].store(record);
        }
    }

    /// Record number `number`, or `None` where it is not yet written or already overwritten.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<FaultRecord> {
        let capacity = FAULT_RECORDS as u64;
        if number >= self.written.load(Ordering::Acquire) {
            return None;
        }
        let record = self.records[Self::slot(number)].load();
        core::sync::atomic::fence(Ordering::Acquire);
        // The slot may have been reused while it was read: believe it only if it is still ours.
        (self.written.load(Ordering::Acquire) < number + capacity).then_some(record)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below FAULT_RECORDS")]
    fn slot(number: u64) -> usize {
        (number % FAULT_RECORDS as u64) as usize
    }
}
