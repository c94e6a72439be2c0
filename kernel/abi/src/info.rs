//! Records that describe processes and the machine.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Longest process name.
pub const NAME_BYTES: usize = 32;

/// Upper bounds on what a process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Quota {
    /// 4 KiB frames: memory it creates, and its page tables.
    pub frames: u64,
    /// Open handles.
    pub handles: u32,
    /// Mappings.
    pub mappings: u32,
}

impl Quota {
    /// What a process gets unless its manifest says otherwise: 64 MiB, 256 handles, 256 mappings.
    pub const DEFAULT: Quota = Quota { frames: 16_384, handles: 256, mappings: 256 };
}

/// [`ProcessInfo::state`]: it runs.
pub const STATE_RUNNING: u32 = 0;
/// [`ProcessInfo::state`]: it called `process_exit`.
pub const STATE_EXITED: u32 = 1;
/// [`ProcessInfo::state`]: it caused a CPU exception.
pub const STATE_CRASHED: u32 = 2;
/// [`ProcessInfo::state`]: `process_kill`.
pub const STATE_KILLED: u32 = 3;

/// A process, alive or dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessInfo {
    /// Its number.
    pub id: u32,
    /// One of the `STATE_` constants.
    pub state: u32,
    /// Exit code, where it exited; exception vector, where it crashed.
    pub code: u64,
    /// Where it crashed: instruction pointer.
    pub crash_rip: u64,
    /// Where it crashed by a page fault: the address.
    pub crash_address: u64,
    /// Frames held now, page tables included.
    pub frames: u64,
    /// Kernel entries of all its threads: system calls.
    pub syscalls: u64,
    /// … interrupts.
    pub interrupts: u64,
    /// … exceptions.
    pub exceptions: u64,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Blocked accesses by its devices.
    pub faults: u64,
    /// Threads that live.
    pub threads: u32,
    /// Handles open.
    pub handles: u32,
    /// Mappings.
    pub mappings: u32,
    /// Devices owned.
    pub devices: u32,
    /// Name, padded with zeros.
    pub name: [u8; NAME_BYTES],
}

/// The printable name in a padded field.
#[must_use]
pub fn name_text(field: &[u8]) -> &str {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..end]).unwrap_or("?")
}

/// `system_info` kind: [`SystemInfo`], index 0.
pub const KIND_SYSTEM: u64 = 1;
/// `system_info` kind: [`CpuInfo`], index = CPU.
pub const KIND_CPU: u64 = 2;
/// `system_info` kind: [`ProcessInfo`], index = position among the processes not yet forgotten.
pub const KIND_PROCESS: u64 = 3;
/// `system_info` kind: [`crate::device::DeviceInfo`], index = device.
pub const KIND_DEVICE: u64 = 4;
/// `system_info` kind: [`GrantInfo`], index = `process number << 32 | position`.
pub const KIND_GRANT: u64 = 5;
/// `system_info` kind: [`FaultInfo`], index = number of the fault since boot; the last 256 are kept.
pub const KIND_FAULT: u64 = 6;
/// `system_info` kind: [`TraceInfo`], index = `cpu << 48 | number`; the last 512 of each CPU are kept.
pub const KIND_TRACE: u64 = 7;

/// `system_info` kind: [`ReachInfo`], index = `process number << 36 | page number`: the run of pages that threads of the
/// process reach at that virtual address or, where it reaches nothing there, the first one above. As the page tables say.
pub const KIND_REACH: u64 = 8;
/// `system_info` kind: [`ReachInfo`], index as for [`KIND_REACH`], of what the process's devices reach at an I/O address.
pub const KIND_DEVICE_REACH: u64 = 9;
/// `system_info` kind: [`ReachInfo`], index = `process number << 32 | position` among the runs of the `Memory` objects that
/// the process has handles to, mapped or not.
pub const KIND_HELD: u64 = 10;
/// `system_info` kind: [`InterruptInfo`], index = `device << 32 | number`: that interrupt of the device (index as for
/// [`KIND_DEVICE`]) or, where it is not bound, the first bound one with a higher number.
pub const KIND_INTERRUPT: u64 = 11;

/// `system_info` kind: [`SlotInfo`], index = hot-plug slot.
pub const KIND_SLOT: u64 = 12;

/// Number of low bits of the index of [`KIND_REACH`] that are a page number.
pub const REACH_PAGE_BITS: u32 = 36;

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemInfo {
    /// CPUs running.
    pub cpus: u32,
    /// [`crate::page::IommuMode`] as a number.
    pub iommu_mode: u32,
    /// Frames the allocator was given at boot.
    pub frames_total: u64,
    /// Frames free now.
    pub frames_free: u64,
    /// Bytes of kernel code.
    pub kernel_text_bytes: u64,
    /// Kernel heap: bytes in all.
    pub heap_bytes: u64,
    /// Kernel heap: bytes used.
    pub heap_used_bytes: u64,
    /// Time-stamp counter ticks per second.
    pub tsc_hz: u64,
    /// Nanoseconds since the kernel's clock started.
    pub now_ns: u64,
    /// Nanoseconds from the kernel's first instruction to the supervisor's.
    pub boot_ns: u64,
    /// Faults recorded since boot.
    pub faults: u64,
    /// How often a unit had no room for a fault: at least as many were not recorded.
    pub faults_lost: u64,
    /// Frames that a device may still reach, and which are therefore out of use for ever.
    pub frames_quarantined: u64,
    /// PCI functions.
    pub devices: u32,
    /// Processes not yet forgotten.
    pub processes: u32,
    /// How often PCI functions came or went.
    pub device_changes: u64,
}

/// [`SlotInfo::state`]: nothing is in it.
pub const SLOT_EMPTY: u32 = 0;
/// [`SlotInfo::state`]: something is coming.
pub const SLOT_COMING: u32 = 1;
/// [`SlotInfo::state`]: the functions of what is in it are listed.
pub const SLOT_ON: u32 = 2;
/// [`SlotInfo::state`]: its button was pressed; five seconds later the functions are taken from their owners.
pub const SLOT_LEAVING: u32 = 3;
/// [`SlotInfo::state`]: it is being switched off.
pub const SLOT_GOING: u32 = 4;
/// [`SlotInfo::state`]: something is in it that is not used.
pub const SLOT_OFF: u32 = 5;

/// A hot-plug slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SlotInfo {
    /// Its port, as in [`crate::device::DeviceInfo::address`].
    pub port: u32,
    /// The bus behind it.
    pub bus: u32,
    /// The number printed beside it.
    pub number: u32,
    /// One of the `SLOT_` constants.
    pub state: u32,
    /// How often the state has changed.
    pub changes: u64,
}

/// A CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuInfo {
    /// APIC id.
    pub apic_id: u32,
    /// 1 while granted whole.
    pub granted: u32,
    /// Kernel entries: system calls.
    pub syscalls: u64,
    /// Kernel entries: timer interrupts.
    pub timer_interrupts: u64,
    /// Kernel entries: inter-processor interrupts.
    pub ipis: u64,
    /// Kernel entries: device and IOMMU interrupts.
    pub device_interrupts: u64,
    /// Kernel entries: exceptions.
    pub exceptions: u64,
    /// Threads placed here, running or waiting to run.
    pub runnable: u32,
    #[doc(hidden)]
    pub reserved: u32,
    /// Nanoseconds spent idle.
    pub idle_ns: u64,
}

/// An open handle of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantInfo {
    /// The handle, valid in that process.
    pub handle: crate::Handle,
    /// [`crate::handle::ObjectKind`] as a number.
    pub kind: u32,
    /// Its rights.
    pub rights: crate::Rights,
    /// `Memory`: bytes. `Device`: PCI address. `Core`: CPU. `Process`: number. `Event`, `Thread`: slot.
    /// `Interrupt`: index. `System`: 0.
    pub detail: u64,
}

/// A run of physical memory that somebody reaches: pages next to each other, with the same access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReachInfo {
    /// Address of the first byte: virtual, or the device's; 0 for memory that is only held.
    pub address: u64,
    /// Where it leads: a physical address.
    pub phys: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Number of the `Memory` it is a part of, never used again; 0 for what is none.
    pub memory: u64,
    /// [`ReachInfo::WRITE`] and the other flags.
    pub flags: u32,
    /// PCI address of the device whose registers they are, with [`ReachInfo::REGISTERS`].
    pub device: u32,
}

impl ReachInfo {
    /// May be written.
    pub const WRITE: u32 = 1 << 0;
    /// May be executed.
    pub const EXECUTE: u32 = 1 << 1;
    /// Registers of a device.
    pub const REGISTERS: u32 = 1 << 2;
    /// What were registers, of a device that is gone.
    pub const POISON: u32 = 1 << 3;
    /// The kernel page, which the kernel writes.
    pub const KERNEL_PAGE: u32 = 1 << 4;
}

/// An interrupt that leads to a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InterruptInfo {
    /// PCI address of the device.
    pub device: u32,
    /// MSI-X entry or MSI vector of the device.
    pub number: u32,
    /// Number of the process.
    pub owner: u32,
    /// CPU it arrives at.
    pub cpu: u32,
    /// Vector it arrives with.
    pub vector: u32,
    /// Data of the message the device sends.
    pub data: u32,
    /// Address of the message, which with the data names the remapping entry.
    pub message: u64,
}

/// A blocked access, as the supervisor sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FaultInfo {
    /// Requester, as in [`crate::device::DeviceInfo::address`].
    pub requester: u32,
    /// Process that owned the device, 0 for nobody.
    pub owner: u32,
    /// 4 KiB-aligned I/O address; for an interrupt request, the interrupt index in bits 63:48.
    pub iova: u64,
    /// 1 for a write.
    pub is_write: u32,
    /// The unit's fault reason (VT-d 5.10 §7.1.3 Table 30).
    pub reason: u32,
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
}

/// One entry of a CPU's trace ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TraceInfo {
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
    /// Number of the entry on its CPU.
    pub number: u64,
    /// [`TraceKind`] as a number.
    pub kind: u32,
    /// The process concerned, 0 for none.
    pub process: u32,
    /// Two values whose meaning the kind gives.
    pub values: [u64; 2],
}

/// What a trace entry tells; in brackets the two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TraceKind {
    /// A system call returned an error (call number, error number).
    CallFailed = 1,
    /// A process was created (handles, frames of its quota).
    ProcessCreated = 2,
    /// A process ended (state, code).
    ProcessEnded = 3,
    /// A device was assigned (PCI address, owner's handle).
    DeviceAssigned = 4,
    /// A device was revoked (PCI address, nanoseconds from mark to quiet).
    DeviceRevoked = 5,
    /// A DMA fault was recorded (PCI address, I/O address).
    Fault = 6,
    /// A thread was switched to (thread slot, CPU).
    Switch = 7,
    /// A TLB shootdown was sent (CPUs, address).
    Shootdown = 8,
}

impl TraceKind {
    /// The kind a number stands for.
    #[must_use]
    pub fn from_number(number: u32) -> Option<TraceKind> {
        use TraceKind::*;
        [CallFailed, ProcessCreated, ProcessEnded, DeviceAssigned, DeviceRevoked, Fault, Switch, Shootdown]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}
