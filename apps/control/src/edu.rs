//! The devices that are granted and revoked here, and what of QEMU's `edu` raises interrupts and makes faults.
//!
//! `edu` (QEMU's docs/specs/edu.rst) raises its message when told to, and accesses memory 100 ms after it is told to,
//! in whole milliseconds of the machine's clock.

use weir_abi::device::DeviceInfo;
use weir_hal::{Device as _, Mmio, Register, RegisterOf};
use weir_rt::hal::Function;
use weir_rt::{Device, System};

use crate::Failure;

/// Vendor and device id of `edu`.
const EDU: (u16, u16) = (0x1234, 0x11e8);
/// Time from the command to the access.
pub(crate) const DMA_DELAY_NS: u64 = 100_000_000;

/// The functions to measure with.
pub(crate) struct Machine {
    /// The right to grant them.
    pub(crate) system: System,
    /// Raises interrupts and faults; has no reset.
    pub(crate) edu: Device,
    /// Has function-level reset.
    pub(crate) resettable: Device,
}

impl Machine {
    /// Finds them.
    pub(crate) fn find(system: &System) -> Result<Machine, Failure> {
        let (mut edu, mut resettable) = (None, None);
        for index in 0.. {
            let Ok(device) = Device::open(system, index) else { break };
            let info = device.info()?;
            if (info.vendor, info.device) == EDU {
                edu = Some(device);
            } else if info.flags & DeviceInfo::HAS_RESET != 0 {
                resettable = Some(device);
            }
        }
        Ok(Machine {
            system: *system,
            edu: edu.ok_or(Failure::NoDevice("edu"))?,
            resettable: resettable.ok_or(Failure::NoDevice("device with a reset"))?,
        })
    }
}

/// A granted `edu`: its registers.
pub(crate) struct Edu {
    raise: RegisterOf<Function, u32>,
    acknowledge: RegisterOf<Function, u32>,
    source: RegisterOf<Function, u64>,
    destination: RegisterOf<Function, u64>,
    count: RegisterOf<Function, u64>,
    command: RegisterOf<Function, u64>,
}

/// Where the device's own buffer is, as it counts addresses.
const BUFFER: u64 = 0x4_0000;
/// Command: move `count` bytes from the buffer to memory.
const WRITE_MEMORY: u64 = 1 | 1 << 1;

impl Edu {
    /// Maps the registers of `function`.
    pub(crate) fn new(function: &Function) -> Result<Edu, Failure> {
        let registers = function.map_bar(0, 0, 0x1000)?;
        Ok(Edu {
            raise: registers.register(0x60)?,
            acknowledge: registers.register(0x64)?,
            source: registers.register(0x80)?,
            destination: registers.register(0x88)?,
            count: registers.register(0x90)?,
            command: registers.register(0x98)?,
        })
    }

    /// Sends the message.
    pub(crate) fn raise(&self) {
        self.raise.write(1);
    }

    /// Makes it quiet again.
    pub(crate) fn acknowledge(&self) {
        self.acknowledge.write(1);
    }

    /// Has it write eight bytes to `address`, [`DMA_DELAY_NS`] later.
    pub(crate) fn write_memory(&self, address: u64) {
        self.source.write(BUFFER);
        self.destination.write(address);
        self.count.write(8);
        self.command.write(WRITE_MEMORY);
    }
}
