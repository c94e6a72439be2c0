//! What is published.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
    /// How long the kernel took to start the supervisor.
    pub boot_ns: u64,
    /// How devices are confined, by name.
    pub iommu: String,
    /// Whether they are.
    pub is_confined: bool,
    /// Bytes of memory in all, and free.
    pub memory_bytes: [u64; 2],
    /// Blocked accesses that were recorded.
    pub faults: u64,
    /// How often a unit had no room for one.
    pub faults_lost: u64,
    /// The application that may be asked for.
    pub startable: Option<String>,
    /// Applications, in the manifest's order.
    pub owners: Vec<Owner>,
    /// PCI functions that somebody is promised, or that faulted.
    pub devices: Vec<Device>,
    /// CPUs.
    pub cpus: Vec<Cpu>,
    /// The last blocked accesses, newest first.
    pub last_faults: Vec<Fault>,
}

/// An application. Its counters are over all its lives, and its own claim but for `iommu_faults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// `running`, `exited`, `crashed`, `killed` or `waiting`.
    pub state: String,
    /// Exit code, or exception vector.
    pub code: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether its data path runs.
    pub is_ready: bool,
    /// The functions that its manifest grants, as `segment << 16 | bus << 8 | device << 3 | function`.
    pub devices: Vec<u32>,
    /// Bytes of memory it holds.
    pub memory_bytes: u64,
    /// CPU time of its present life.
    pub cpu_ns: u64,
    /// Kernel entries of its present life: system calls, interrupts, exceptions.
    pub kernel_entries: [u64; 3],
    /// Packets received and sent.
    pub packets: [u64; 2],
    /// Bytes received and sent.
    pub bytes: [u64; 2],
    /// Packets dropped.
    pub dropped: u64,
    /// Violations by its device.
    pub device_errors: u64,
    /// Kernel entries of the data path.
    pub data_path_kernel_entries: u64,
    /// Of these, for sleeping.
    pub sleep_kernel_entries: u64,
    /// Blocked accesses by its devices, as the kernel counted.
    pub iommu_faults: u64,
}

/// A PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `segment << 16 | bus << 8 | device << 3 | function`.
    pub address: u32,
    /// Vendor and device id.
    pub id: [u16; 2],
    /// Whose it is now.
    pub owner: Option<String>,
    /// Whether an IOMMU unit covers it.
    pub has_iommu: bool,
    /// Whether its faults come too fast and are not recorded for a while.
    pub is_muted: bool,
    /// Interrupt messages it can send.
    pub interrupts: u16,
    /// Blocked accesses that were recorded.
    pub faults: u64,
    /// How often its faults, and an interrupt of it, came too fast.
    pub storms: [u64; 2],
}

/// A CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Whether it is granted whole.
    pub is_granted: bool,
    /// Kernel entries: system calls, timer, other CPUs, devices, exceptions.
    pub kernel_entries: [u64; 5],
    /// Nanoseconds spent idle.
    pub idle_ns: u64,
}

/// A blocked access.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its number since boot.
    pub number: u64,
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
    /// The function.
    pub device: u32,
    /// Whose it was, if anybody's.
    pub owner: Option<String>,
    /// The address, whole pages.
    pub iova: u64,
    /// Whether it was a write.
    pub is_write: bool,
    /// The unit's reason.
    pub reason: u32,
}
