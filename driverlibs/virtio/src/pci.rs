//! Virtio over PCI (virtio 1.2 §4.1 "Virtio Over PCI Bus"): the modern interface.
//!
//! **Invariant: only a function that accepts `VIRTIO_F_ACCESS_PLATFORM` is driven**: any other would go past the
//! IOMMU.

use weir_hal::{Clock, Device, DeviceInfo, Mmio, Register, RegisterOf, Word, wait_until};

use crate::capability::{Kind, Structure};
use crate::regs::{COMMON_BYTES, Common, NO_VECTOR};
use crate::transport::{QueueAddresses, Status, Transport};
use crate::{Error, Features};

/// PCI vendor id of virtio devices (§4.1.2 "PCI Device Discovery").
const VENDOR: u16 = 0x1af4;
/// How long a device may take to reset. The specification sets no limit; devices in software finish at once,
/// those in hardware within milliseconds.
const RESET_LIMIT_US: u64 = 1_000_000;

/// A kind of virtio device, as PCI shows it.
pub(crate) struct Identity {
    /// Device ids: modern, and transitional with modern registers too (§4.1.2.1 "Device Requirements: PCI Device
    /// Discovery").
    pub(crate) devices: [u16; 2],
    /// Least size of the device-specific configuration.
    pub(crate) config_bytes: u64,
}

impl Identity {
    pub(crate) fn is(&self, info: &DeviceInfo) -> bool {
        info.vendor == VENDOR && self.devices.contains(&info.device)
    }
}

/// A PCI function and its registers.
pub struct Pci<D: Device> {
    device: D,
    common: Common<D::Mmio>,
    notify: D::Mmio,
    notify_multiplier: u32,
    config: D::Mmio,
}

impl<D: Device> Pci<D> {
    /// Finds and maps the registers.
    pub(crate) fn new(device: D, identity: &Identity) -> Result<Pci<D>, Error> {
        let info = device.info();
        if !identity.is(&info) {
            return Err(Error::OtherDevice { vendor: info.vendor, device: info.device });
        }
        let map = |s: Structure| device.map_bar(s.bar, s.offset, s.bytes);
        let common = map(Structure::find(&device, Kind::Common, COMMON_BYTES)?)?;
        let config = map(Structure::find(&device, Kind::Device, identity.config_bytes)?)?;
        let notify = Structure::find(&device, Kind::Notify, 2)?;
        let notify_multiplier = notify.notify_multiplier(&device)?;
        let notify = map(notify)?;
        let common = Common::new(&common)?;
        Ok(Pci { device, common, notify, notify_multiplier, config })
    }
}

impl<D: Device> Transport for Pci<D> {
    const REQUIRED: Features = Features::VERSION_1.union(Features::ACCESS_PLATFORM);
    type Doorbell = RegisterOf<D, u16>;
    type Interrupt = D::Interrupt;

    fn reset(&self, clock: &impl Clock) -> Result<(), Error> {
        self.common.write_status(Status::RESET);
        let is_reset = || self.common.read_status() == Status::RESET;
        if let Err(error) = wait_until(clock, RESET_LIMIT_US, is_reset) {
            let is_gone = self.common.read_status() == Status::GONE;
            return Err(if is_gone { weir_hal::Error::Gone } else { error }.into());
        }
        Ok(())
    }

    fn read_status(&self) -> Status {
        self.common.read_status()
    }

    fn write_status(&self, status: Status) {
        self.common.write_status(status);
    }

    fn read_features(&self) -> Features {
        Features::from_bits_truncate(self.common.read_features())
    }

    fn write_features(&self, features: Features) {
        self.common.write_features(features.bits());
    }

    fn read_queue_entries(&self, index: u16) -> u16 {
        let is_there = index < self.common.read_queues();
        self.common.select_queue(index);
        if is_there { self.common.read_queue_size() } else { 0 }
    }

    /// §4.1.4.4 "Notification structure layout".
    fn doorbell(&self, index: u16) -> Result<RegisterOf<D, u16>, Error> {
        self.common.select_queue(index);
        let offset = u64::from(self.common.read_notify_offset()) * u64::from(self.notify_multiplier);
        Ok(self.notify.register(offset)?)
    }

    fn interrupt(&self, vector: u16) -> Result<D::Interrupt, Error> {
        Ok(self.device.interrupt(vector)?)
    }

    fn enable_queue(
        &self,
        index: u16,
        entries: u16,
        addresses: QueueAddresses,
        vector: Option<u16>,
    ) -> Result<(), Error> {
        self.common.select_queue(index);
        if !self.common.set_vector(vector.unwrap_or(NO_VECTOR)) {
            return Err(Error::NoVector { index });
        }
        self.common.enable_queue(entries, addresses);
        Ok(())
    }

    fn enable_config_interrupt(&self, vector: u16) -> Result<(), Error> {
        if self.common.set_config_vector(vector) { Ok(()) } else { Err(weir_hal::Error::Unsupported.into()) }
    }

    fn run(&self) -> Result<(), Error> {
        self.device.bus_master(true)?;
        self.common.write_status(Status::RUNS);
        Ok(())
    }

    fn read_config<W: Word>(&self, offset: u64) -> Result<W, Error> {
        Ok(self.config.register::<W>(offset)?.read())
    }

    fn read_generation(&self) -> u8 {
        self.common.read_generation()
    }
}

impl<D: Device> Drop for Pci<D> {
    /// Stops its access to memory, as far as that can be done from here; the host confines it in any case.
    fn drop(&mut self) {
        // A device that is gone needs no stopping.
        let _ = self.device.bus_master(false);
    }
}
