//! The devices that are granted and revoked here.

use weir_abi::device::DeviceInfo;
use weir_rt::{Device, System};

use crate::Failure;

/// Vendor and device id of `edu`.
const EDU: (u16, u16) = (0x1234, 0x11e8);

/// Vendor and device id of QEMU's `pci-testdev`, whose memory BAR is as large as it is told.
const LARGE: (u16, u16) = (0x1b36, 0x0005);

/// The functions to measure with.
pub(crate) struct Machine {
    /// The right to grant them.
    pub(crate) system: System,
    /// Raises interrupts and faults; has no reset.
    pub(crate) edu: Device,
    /// Has function-level reset.
    pub(crate) resettable: Device,
    /// Has 64 MiB of registers.
    pub(crate) large: Device,
}

impl Machine {
    /// Finds them.
    pub(crate) fn find(system: &System) -> Result<Machine, Failure> {
        let (mut edu, mut resettable, mut large) = (None, None, None);
        for index in 0.. {
            let Ok(device) = Device::open(system, index) else { break };
            let info = device.info()?;
            if (info.vendor, info.device) == EDU {
                edu = Some(device);
            } else if (info.vendor, info.device) == LARGE {
                large = Some(device);
            } else if info.flags & DeviceInfo::HAS_RESET != 0 {
                resettable = Some(device);
            }
        }
        Ok(Machine {
            system: *system,
            edu: edu.ok_or(Failure::NoDevice("edu"))?,
            resettable: resettable.ok_or(Failure::NoDevice("device with a reset"))?,
            large: large.ok_or(Failure::NoDevice("device with many registers"))?,
        })
    }
}
