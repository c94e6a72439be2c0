//! A PCI function that `vfio-pci` has.
//!
//! **Invariant: the MSI-X table is the kernel's: its pages are not mapped**, although newer kernels would do it; so a
//! driver finds the same here as on Weir.
#![expect(unsafe_code, reason = "promises what was mapped")]

use std::collections::BTreeSet;
use std::ops::Range;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{Errno, pread, pwrite};
use weir_hal::{DeviceInfo, Error as HostError, MappedMmio};

use crate::Address;
use crate::call;
use crate::container::Group;
use crate::error::{self, Error, to_host};
use crate::mapping::Mapping;
use crate::message::{self, Message};
use crate::msix::{self, Table};
use crate::uapi::{
    self, CONFIG_REGION, DeviceFlags, DeviceName, IrqFlags, IrqInfo, IrqSet, MSIX, Plain, RegionFlags,
    RegionInfo, argsz,
};

const PAGE_BYTES: u64 = 4096;
const BARS: usize = 6;
/// Offsets in configuration space (PCI 3.0 §6.1 "Configuration Space Organization").
const COMMAND: u16 = 0x04;
const BAR0: u16 = 0x10;
const SUBSYSTEM: u16 = 0x2c;
/// Bits of the command register: memory space, bus master.
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// A BAR of I/O ports.
const IO_BAR: u32 = 1;
/// No event file.
const NONE: i32 = -1;

/// A PCI function.
pub struct Function {
    handle: Arc<Handle>,
    info: DeviceInfo,
    bars: [RegionInfo; BARS],
    table: Option<Table>,
}

/// The kernel's handle of a function, and which of its messages are bound.
pub(crate) struct Handle {
    file: OwnedFd,
    config: RegionInfo,
    messages: u16,
    has_reset: bool,
    bound: Mutex<BTreeSet<u16>>,
    /// The group must not go first.
    _group: Arc<Group>,
}

impl Function {
    pub(crate) fn open(address: Address, group: Arc<Group>) -> Result<Function, Error> {
        let file = device_file(address, &group).map_err(error::of("VFIO_GROUP_GET_DEVICE_FD"))?;
        Function::describe(file, group).map_err(error::of("asking for the device's regions and interrupts"))
    }

    fn describe(file: OwnedFd, group: Arc<Group>) -> Result<Function, Errno> {
        let mut device = uapi::DeviceInfo { argsz: argsz::<uapi::DeviceInfo>(), ..Default::default() };
        call::with(&file, &mut device)?;
        let flags = DeviceFlags::from_bits_truncate(device.flags);
        if !flags.contains(DeviceFlags::PCI) {
            return Err(Errno::NODEV);
        }
        let has_reset = flags.contains(DeviceFlags::RESET);
        let config = region(&file, CONFIG_REGION)?;
        let messages = u16::try_from(messages(&file)?).map_err(|_| Errno::RANGE)?;
        let bound = Mutex::new(BTreeSet::new());
        let handle = Arc::new(Handle { file, config, messages, has_reset, bound, _group: group });
        let mut bars = [RegionInfo::default(); BARS];
        for (index, bar) in (0u16..).zip(&mut bars) {
            let is_memory = handle.config_read(BAR0 + 4 * index, 4)? & IO_BAR == 0;
            if is_memory {
                *bar = region(&handle.file, index.into())?;
            }
        }
        let table = msix::find(|offset, bytes| handle.config_read(offset, bytes))?;
        let info = identity(&handle, bars.map(|bar| bar.bytes))?;
        Ok(Function { handle, info, bars, table })
    }
}

fn device_file(address: Address, group: &Group) -> Result<OwnedFd, Errno> {
    let mut name = DeviceName { name: [0; 16] };
    for (to, from) in name.name.iter_mut().zip(address.to_string().into_bytes()) {
        *to = from;
    }
    let fd = call::with(&group.file, &mut name)?;
    // SAFETY: the kernel has made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn region(file: &OwnedFd, index: u32) -> Result<RegionInfo, Errno> {
    let mut region = RegionInfo { argsz: argsz::<RegionInfo>(), index, ..Default::default() };
    call::with(file, &mut region)?;
    Ok(region)
}

fn messages(file: &OwnedFd) -> Result<u32, Errno> {
    let mut irq = IrqInfo { argsz: argsz::<IrqInfo>(), index: MSIX, ..Default::default() };
    call::with(file, &mut irq)?;
    Ok(irq.count)
}

fn identity(handle: &Handle, bar_bytes: [u64; BARS]) -> Result<DeviceInfo, Errno> {
    let halves = |offset| -> Result<(u16, u16), Errno> {
        let [a, b, c, d] = handle.config_read(offset, 4)?.to_le_bytes();
        Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
    };
    let ((vendor, device), (subsystem_vendor, subsystem)) = (halves(0)?, halves(SUBSYSTEM)?);
    let [revision, class @ ..] = handle.config_read(8, 4)?.to_le_bytes();
    let class = u32::from_le_bytes([class[0], class[1], class[2], 0]);
    let interrupts = handle.messages;
    Ok(DeviceInfo { vendor, device, subsystem_vendor, subsystem, class, revision, interrupts, bar_bytes })
}

impl Handle {
    fn config_read(&self, offset: u16, bytes: u8) -> Result<u32, Errno> {
        let is_valid = matches!(bytes, 1 | 2 | 4) && offset.is_multiple_of(u16::from(bytes));
        if !is_valid || u64::from(offset) + u64::from(bytes) > self.config.bytes {
            return Err(Errno::INVAL);
        }
        let mut value = [0; 4];
        let (wanted, _) = value.split_at_mut(bytes.into());
        let read = pread(&self.file, &mut *wanted, self.config.offset + u64::from(offset))?;
        if read == wanted.len() { Ok(u32::from_le_bytes(value)) } else { Err(Errno::IO) }
    }

    fn write_command(&self, command: u32) -> Result<(), Errno> {
        let [low, high, ..] = command.to_le_bytes();
        let written = pwrite(&self.file, &[low, high], self.config.offset + u64::from(COMMAND))?;
        if written == 2 { Ok(()) } else { Err(Errno::IO) }
    }

    fn set_bus_master(&self, on: bool) -> Result<(), Errno> {
        let command = self.config_read(COMMAND, 2)? | MEMORY;
        self.write_command(if on { command | BUS_MASTER } else { command & !BUS_MASTER })
    }

    /// Nothing is to come from it when it comes back: bus master off and event files away before the reset, because
    /// the kernel restores both after it.
    fn reset(&self) -> Result<(), Errno> {
        if !self.has_reset {
            return Err(Errno::OPNOTSUPP);
        }
        self.set_bus_master(false)?;
        self.bound().iter().try_for_each(|index| self.clear_trigger(*index))?;
        call::plain(&self.file, Plain::ResetDevice, 0).map(drop)
    }

    /// Binds message `index`. With the first, the kernel makes a vector for each: before Linux 6.5 none could be added
    /// later.
    fn bind(&self, index: u16) -> Result<(), Errno> {
        let mut bound = self.bound();
        if index >= self.messages {
            return Err(Errno::INVAL);
        }
        if bound.is_empty() {
            self.set_trigger(self.messages - 1, NONE)?;
        }
        if bound.insert(index) { Ok(()) } else { Err(Errno::BUSY) }
    }

    pub(crate) fn unbind(&self, index: u16) {
        // Where it fails, events go to a file that nobody reads.
        let _ = self.clear_trigger(index);
        self.bound().remove(&index);
    }

    pub(crate) fn clear_trigger(&self, index: u16) -> Result<(), Errno> {
        self.set_trigger(index, NONE)
    }

    /// Has the kernel count message `index` in the event file `fd`.
    pub(crate) fn set_trigger(&self, index: u16, fd: i32) -> Result<(), Errno> {
        let mut set = IrqSet {
            argsz: argsz::<IrqSet>(),
            flags: (IrqFlags::DATA_EVENTFD | IrqFlags::ACTION_TRIGGER).bits(),
            index: MSIX,
            start: index.into(),
            count: 1,
            fd,
        };
        call::with(&self.file, &mut set).map(drop)
    }

    fn bound(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl weir_hal::Device for Function {
    type Mmio = MappedMmio;
    type Interrupt = Message;

    fn info(&self) -> DeviceInfo {
        self.info
    }

    fn config_read(&self, offset: u16, bytes: u8) -> Result<u32, HostError> {
        self.handle.config_read(offset, bytes).map_err(to_host)
    }

    fn map_bar(&self, bar: u8, offset: u64, bytes: u64) -> Result<MappedMmio, HostError> {
        let region = self.bars.get(usize::from(bar)).ok_or(HostError::OutOfRange)?;
        let pages = pages(offset, bytes, region.bytes).ok_or(HostError::OutOfRange)?;
        if self.table.as_ref().is_some_and(|table| table.is_in(bar, &pages)) {
            return Err(HostError::OutOfRange);
        }
        if !RegionFlags::from_bits_truncate(region.flags).contains(RegionFlags::MMAP) {
            return Err(HostError::Unsupported);
        }
        let length = usize::try_from(pages.end - pages.start).map_err(|_| HostError::OutOfRange)?;
        let start = usize::try_from(offset - pages.start).map_err(|_| HostError::OutOfRange)?;
        let mapping = Mapping::of_file(&self.handle.file, region.offset + pages.start, length);
        let mapping = mapping.map_err(to_host)?;
        let base = mapping.at(start);
        let keeper = Arc::new((mapping, Arc::clone(&self.handle)));
        // SAFETY: `base..base + bytes` lies in the mapping of the device's registers, which `keeper` holds; nobody
        // else knows the address.
        Ok(unsafe { MappedMmio::new(base, bytes, keeper) })
    }

    fn bus_master(&self, on: bool) -> Result<(), HostError> {
        self.handle.set_bus_master(on).map_err(to_host)
    }

    fn reset(&self) -> Result<(), HostError> {
        self.handle.reset().map_err(to_host)
    }

    fn interrupt(&self, index: u16) -> Result<Message, HostError> {
        let event = message::event().map_err(to_host)?;
        self.handle.bind(index).map_err(to_host)?;
        Ok(Message::new(Arc::clone(&self.handle), index, event))
    }
}

/// The pages around `bytes` (not 0) at `offset` of a BAR of `size` bytes.
fn pages(offset: u64, bytes: u64, size: u64) -> Option<Range<u64>> {
    let end = offset.checked_add(bytes).filter(|end| bytes > 0 && *end <= size)?;
    Some(offset & !(PAGE_BYTES - 1)..end.next_multiple_of(PAGE_BYTES))
}
