//! A virtio device on PCI: registers, reset, negotiation, queue set-up.

use weir_hal::{Clock, Device, Mmio, Register, RegisterOf, wait_until};

use crate::capability::{Kind, Structure};
use crate::regs::{COMMON_BYTES, Common, NO_VECTOR, QueueAddresses, Status};
use crate::{Error, Features};

/// How long a device may take to reset. The specification sets no limit; devices in software finish at once,
/// those in hardware within milliseconds.
const RESET_LIMIT_US: u64 = 1_000_000;

/// The device and its registers.
pub(crate) struct Transport<D: Device> {
    device: D,
    common: Common<D::Mmio>,
    notify: D::Mmio,
    notify_multiplier: u32,
    config: D::Mmio,
}

impl<D: Device> Transport<D> {
    /// Finds and maps the registers; `config_bytes` is the least size of the device-specific structure.
    pub(crate) fn new(device: D, config_bytes: u64) -> Result<Transport<D>, Error> {
        let map = |s: Structure| device.map_bar(s.bar, s.offset, s.bytes);
        let common = map(Structure::find(&device, Kind::Common, COMMON_BYTES)?)?;
        let config = map(Structure::find(&device, Kind::Device, config_bytes)?)?;
        let notify = Structure::find(&device, Kind::Notify, 2)?;
        let notify_multiplier = notify.notify_multiplier(&device)?;
        let notify = map(notify)?;
        let common = Common::new(&common)?;
        Ok(Transport { device, common, notify, notify_multiplier, config })
    }

    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// Stops the device: when this returns, it accesses no memory until it is started again
    /// (virtio 1.2 §2.4 "Device Reset").
    pub(crate) fn reset(&self, clock: &impl Clock) -> Result<(), Error> {
        self.common.write_status(Status::RESET);
        let is_reset = || self.common.read_status() == Status::RESET;
        if let Err(error) = wait_until(clock, RESET_LIMIT_US, is_reset) {
            let is_gone = self.common.read_status() == Status::GONE;
            return Err(if is_gone { weir_hal::Error::Gone } else { error }.into());
        }
        Ok(())
    }

    /// Agrees on those of `wanted` that the device offers (virtio 1.2 §3.1.1 "Driver Requirements: Device
    /// Initialization", steps 2–6).
    pub(crate) fn negotiate(&self, wanted: Features) -> Result<Features, Error> {
        let status = Status::ACKNOWLEDGE | Status::DRIVER;
        self.common.write_status(Status::ACKNOWLEDGE);
        self.common.write_status(status);
        let offered = Features::from_bits_truncate(self.common.read_features());
        let missing = Features::REQUIRED.difference(offered);
        if !missing.is_empty() {
            return Err(Error::NoFeature { missing });
        }
        let agreed = offered & (wanted | Features::REQUIRED);
        self.common.write_features(agreed.bits());
        self.common.write_status(status | Status::FEATURES_OK);
        if !self.common.read_status().contains(Status::FEATURES_OK) {
            return Err(Error::FeaturesRefused);
        }
        Ok(agreed)
    }

    /// The size the device proposes for a queue, at most `entries_max`.
    pub(crate) fn queue_entries(&self, index: u16, entries_max: u16) -> Result<u16, Error> {
        let is_there = index < self.common.read_queues();
        self.common.select_queue(index);
        let entries = if is_there { self.common.read_queue_size() } else { 0 };
        // A modern device's queue sizes are powers of two (§2.7 "Split Virtqueues"), 32768 at most.
        if !entries.is_power_of_two() {
            return Err(Error::BadQueue { index, entries });
        }
        Ok(entries.min(entries_max))
    }

    /// The doorbell of a queue (virtio 1.2 §4.1.4.4 "Notification structure layout"): its number is written there.
    pub(crate) fn doorbell(&self, index: u16) -> Result<RegisterOf<D, u16>, Error> {
        self.common.select_queue(index);
        let offset = u64::from(self.common.read_notify_offset()) * u64::from(self.notify_multiplier);
        Ok(self.notify.register(offset)?)
    }

    /// Gives the device a queue. `vector` is an MSI-X table entry, or `None` for no interrupts.
    pub(crate) fn enable_queue(
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

    /// Lets the device run (§3.1.1 step 8), bus mastering first.
    pub(crate) fn run(&self) -> Result<(), Error> {
        self.device.bus_master(true)?;
        let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
        self.common.write_status(status);
        Ok(())
    }

    /// Whether the device is gone, or says that it stopped and must be reset.
    pub(crate) fn has_stopped(&self) -> bool {
        self.common.read_status().contains(Status::NEEDS_RESET)
    }

    /// Reads device-specific configuration that belongs together: again, until the device did not change it
    /// meanwhile (§2.5.1 "Driver Requirements: Device Configuration Space"). Bounded; the last reading counts.
    pub(crate) fn read_config<R>(&self, read: impl Fn(&D::Mmio) -> Result<R, Error>) -> Result<R, Error> {
        const TRIES: usize = 16;
        let mut value = read(&self.config)?;
        for _ in 0..TRIES {
            let before = self.common.read_generation();
            value = read(&self.config)?;
            if self.common.read_generation() == before {
                break;
            }
        }
        Ok(value)
    }
}

/// Reads one byte of configuration.
pub(crate) fn config_byte<M: Mmio>(config: &M, offset: u64) -> Result<u8, Error> {
    Ok(config.register::<u8>(offset)?.read())
}
