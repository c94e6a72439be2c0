//! The supervisor's report: what each process has, as the kernel's and the unit's tables say.

use serde::{Deserialize, Serialize};
use weir_abi::info::ReachInfo;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Reach {
    /// Every process, the supervisor first.
    pub owners: Vec<Owner>,
    /// Every PCI function.
    pub devices: Vec<Device>,
    /// Every interrupt that leads somewhere.
    pub interrupts: Vec<Interrupt>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its number.
    pub process: u32,
    /// CPUs that it has a handle to.
    pub cores: Vec<u64>,
    /// What its threads reach.
    pub reach: Vec<Run>,
    /// What its devices reach.
    pub device_reach: Vec<Run>,
    /// Memory it has handles to, mapped or not.
    pub held: Vec<Run>,
}

/// A run of physical memory; in the report an array of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "(u64, u64, u64, u64, u32, u32)")]
pub struct Run {
    /// Where its owner, or the device, sees it.
    pub address: u64,
    /// Where it is.
    pub phys: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Number of the `Memory` that it is a part of; 0 for what is none.
    pub memory: u64,
    /// See [`ReachInfo`].
    pub flags: u32,
    /// PCI address of the device whose registers it is.
    pub device: u32,
}

impl From<(u64, u64, u64, u64, u32, u32)> for Run {
    fn from((address, phys, bytes, memory, flags, device): (u64, u64, u64, u64, u32, u32)) -> Run {
        Run { address, phys, bytes, memory, flags, device }
    }
}

impl Run {
    /// One past its last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.phys.saturating_add(self.bytes)
    }

    /// Whether it is registers of a device.
    #[must_use]
    pub fn is_registers(&self) -> bool {
        self.flags & ReachInfo::REGISTERS != 0
    }

    /// Whether it may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.flags & ReachInfo::WRITE != 0
    }
}

/// A PCI function.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Device {
    /// `segment << 16 | bus << 8 | device << 3 | function`.
    pub address: u32,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code.
    pub class: u32,
    /// Isolation group.
    pub group: u32,
    /// Number of the process that owns it, 0 for nobody.
    pub owner: u32,
}

/// An interrupt.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Interrupt {
    /// PCI address of the device.
    pub device: u32,
    /// Which of its messages.
    pub number: u32,
    /// Number of the process.
    pub owner: u32,
    /// CPU it arrives at.
    pub cpu: u64,
    /// Vector it arrives with.
    pub vector: u32,
    /// Address of the message: with the data it names the remapping entry.
    pub message: u64,
    /// Data of the message.
    pub data: u32,
}

impl Reach {
    /// The name of process `number`.
    #[must_use]
    pub fn name_of(&self, number: u32) -> &str {
        self.owners.iter().find(|owner| owner.process == number).map_or("nobody", |owner| &owner.name)
    }

    /// The number of the supervisor: the first process.
    #[must_use]
    pub fn supervisor(&self) -> Option<u32> {
        self.owners.first().map(|owner| owner.process)
    }
}
