//! Weir as a host of driver libraries: the traits of [`weir_hal`] over this crate's objects.
//!
//! **Invariant: DMA memory and registers are reached only through the value given out, and stay mapped while
//! any part of that value lives**; the function stays this program's for as long, too.

use alloc::sync::Arc;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use weir_abi::call::{MAP_DMA, MAP_READ, MAP_WRITE};
use weir_abi::device::DeviceInfo;
use weir_abi::layout::PAGE_BYTES;
use weir_abi::page::IommuMode;
use weir_hal::{DmaMemory, Error, Iova, MappedMmio};

use crate::bell::Doorbell;
use crate::call::to_usize;
use crate::device::{Control, Device};
use crate::event::Event;
use crate::memory::{Mapping, Memory};

use crate::kernel_page::kernel_page;
use crate::{clock, interrupt};

/// A granted PCI function.
#[derive(Debug)]
pub struct Function {
    device: Arc<Device>,
    info: DeviceInfo,
    /// Whether an interrupt's event hears of revocation already.
    is_watched: AtomicBool,
    /// What its interrupts count into, where not each has an event of its own.
    bell: Option<Arc<Doorbell>>,
}

impl Function {
    /// Takes a device granted to this program.
    ///
    /// # Errors
    /// What `device_info` says.
    pub fn new(device: Device) -> Result<Function, weir_abi::Error> {
        let info = device.info()?;
        Ok(Function { device: Arc::new(device), info, is_watched: AtomicBool::new(false), bell: None })
    }

    /// Has its interrupts ring this bell, so that one sleep ends for them and for what else rings it.
    #[must_use]
    pub fn ringing(self, bell: &Arc<Doorbell>) -> Function {
        Function { bell: Some(Arc::clone(bell)), ..self }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl weir_hal::Device for Function {
    type Mmio = MappedMmio;
    type Interrupt = Message;

    fn info(&self) -> weir_hal::DeviceInfo {
        let DeviceInfo { vendor, device, subsystem_vendor, subsystem, class, revision, interrupts, .. } =
            self.info;
        let bar_bytes = self.info.bars.map(|bar| bar.bytes);
        weir_hal::DeviceInfo {
            vendor,
            device,
            subsystem_vendor,
            subsystem,
            class,
            revision,
            interrupts,
            bar_bytes,
        }
    }

    fn config_read(&self, offset: u16, bytes: u8) -> Result<u32, Error> {
        let value = self.device.config_read(offset.into(), bytes.into()).map_err(error)?;
        u32::try_from(value).map_err(|_| Error::Hardware)
    }

    fn map_bar(&self, bar: u8, offset: u64, bytes: u64) -> Result<MappedMmio, Error> {
        let decoded = self.info.bars.get(usize::from(bar)).ok_or(Error::OutOfRange)?.bytes;
        let end = offset.checked_add(bytes).filter(|end| *end <= decoded).ok_or(Error::OutOfRange)?;
        let (first, last) = (offset & !(PAGE_BYTES - 1), end.next_multiple_of(PAGE_BYTES));
        let registers = self.device.map_bar(bar.into(), first, last - first, 0).map_err(error)?;
        let start = registers.start().wrapping_add(to_usize(offset - first));
        let base = NonNull::new(start).ok_or(Error::Hardware)?;
        let keeper = Arc::new((registers, Arc::clone(&self.device)));
        // SAFETY: `base..base + bytes` lies in `registers`, which `keeper` holds; nobody else knows the address.
        Ok(unsafe { MappedMmio::new(base, bytes, keeper) })
    }

    fn bus_master(&self, on: bool) -> Result<(), Error> {
        let operation = if on { Control::BusMasterOn } else { Control::BusMasterOff };
        self.device.control(operation).map_err(error)
    }

    fn reset(&self) -> Result<(), Error> {
        self.device.control(Control::Reset).map_err(error)
    }

    fn interrupt(&self, index: u16) -> Result<Message, Error> {
        let bell = match &self.bell {
            Some(bell) => Arc::clone(bell),
            None => Arc::new(Doorbell::new(Event::create().map_err(error)?)),
        };
        let event = bell.event();
        let interrupt = interrupt::Interrupt::create(&self.device, index.into(), event).map_err(error)?;
        // Revocation stops interrupts: let it end the first one's sleep, so that its driver finds out.
        if !self.is_watched.swap(true, Ordering::Relaxed) {
            self.device.watch(event).map_err(error)?;
        }
        Ok(Message { interrupt, bell, _device: Arc::clone(&self.device) })
    }
}

/// One interrupt message, with an event of its own or the program's bell. Faults and the revocation of the device may
/// count, too.
#[derive(Debug)]
pub struct Message {
    interrupt: interrupt::Interrupt,
    bell: Arc<Doorbell>,
    _device: Arc<Device>,
}

impl weir_hal::Interrupt for Message {
    #[inline]
    fn count(&self) -> u64 {
        self.bell.event().count()
    }

    fn unmask(&self) -> Result<(), Error> {
        self.interrupt.unmask().map_err(error)
    }

    fn mask(&self) -> Result<(), Error> {
        self.interrupt.mask().map_err(error)
    }

    fn wait(&self, seen: u64, deadline_ns: u64) -> Result<u64, Error> {
        self.bell.wait_from(seen, deadline_ns).map_err(error)
    }
}

/// This process's DMA window: what is allocated here, its devices reach, at the program's own addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window;

impl weir_hal::DmaWindow for Window {
    fn allocate(&self, bytes: usize) -> Result<DmaMemory, Error> {
        let mapping = map_for_devices(bytes as u64).map_err(error)?;
        let iova = mapping.io_address().map_err(error)?;
        let (start, bytes) = (mapping.address(), to_usize(mapping.bytes()));
        let base = NonNull::new(start as *mut u8).ok_or(Error::Hardware)?;
        // SAFETY: zeroed and mapped until `mapping`, the keeper, is dropped; the keeper gives no access and the
        // `Memory` handle is closed, so this value is the only way; the kernel says what devices use.
        Ok(unsafe { DmaMemory::new(base, Iova(iova), bytes, Arc::new(mapping)) })
    }
}

/// Zeroed memory in the window. Where nothing confines the devices they use physical addresses, and the memory
/// must be one run.
fn map_for_devices(bytes: u64) -> Result<Mapping, weir_abi::Error> {
    let is_confined = IommuMode::from_number(kernel_page().iommu_mode) != IommuMode::Off;
    let memory = if is_confined {
        Memory::create(bytes)
    } else {
        Memory::create_contiguous(bytes.max(PAGE_BYTES).next_power_of_two())
    };
    memory?.map_with(0, MAP_READ | MAP_WRITE | MAP_DMA)
}

/// The kernel's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct TscClock;

impl weir_hal::Clock for TscClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

/// The host error that a system call's error means to a driver.
fn error(error: weir_abi::Error) -> Error {
    use weir_abi::Error as Call;
    match error {
        Call::BadArgument | Call::NotFound => Error::OutOfRange,
        Call::NoMemory | Call::Quota => Error::NoMemory,
        Call::Busy => Error::Busy,
        Call::Unsupported => Error::Unsupported,
        Call::TimedOut => Error::TimedOut { limit_us: 0 },
        Call::Gone | Call::BadHandle => Error::Gone,
        Call::NoRight | Call::WrongObject | Call::NoIommu | Call::NotIsolated => Error::NotPermitted,
        _ => Error::Hardware,
    }
}
