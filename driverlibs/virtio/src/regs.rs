//! The common configuration structure (virtio 1.2 §4.1.4.3 "Common configuration structure layout").
//!
//! **Invariant: every register was checked to lie inside the mapped structure when it was made.** 64-bit fields
//! are written as two halves, low first (§4.1.3.1 "Driver Requirements: Basic Facilities" allows that).

use weir_hal::{Error, Mmio, Register};

use crate::transport::{QueueAddresses, Status};

/// Bytes of the structure up to and including `queue_device`.
pub(crate) const COMMON_BYTES: u64 = 0x38;
/// "No vector" in the MSI-X vector registers (§4.1.4.3).
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// The registers, by their names in the specification.
pub(crate) struct Common<M: Mmio> {
    device_feature_select: M::Register<u32>,
    device_feature: M::Register<u32>,
    driver_feature_select: M::Register<u32>,
    driver_feature: M::Register<u32>,
    config_msix_vector: M::Register<u16>,
    num_queues: M::Register<u16>,
    device_status: M::Register<u8>,
    config_generation: M::Register<u8>,
    queue_select: M::Register<u16>,
    queue_size: M::Register<u16>,
    queue_msix_vector: M::Register<u16>,
    queue_enable: M::Register<u16>,
    queue_notify_off: M::Register<u16>,
    queue_desc: Wide<M>,
    queue_driver: Wide<M>,
    queue_device: Wide<M>,
}

/// A 64-bit register as its halves.
struct Wide<M: Mmio> {
    low: M::Register<u32>,
    high: M::Register<u32>,
}

impl<M: Mmio> Wide<M> {
    fn at(mmio: &M, offset: u64) -> Result<Wide<M>, Error> {
        Ok(Wide { low: mmio.register(offset)?, high: mmio.register(offset + 4)? })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of the value")]
    fn write(&self, value: u64) {
        self.low.write(value as u32);
        self.high.write((value >> 32) as u32);
    }
}

impl<M: Mmio> Common<M> {
    pub(crate) fn new(mmio: &M) -> Result<Common<M>, Error> {
        Ok(Common {
            device_feature_select: mmio.register(0x00)?,
            device_feature: mmio.register(0x04)?,
            driver_feature_select: mmio.register(0x08)?,
            driver_feature: mmio.register(0x0c)?,
            config_msix_vector: mmio.register(0x10)?,
            num_queues: mmio.register(0x12)?,
            device_status: mmio.register(0x14)?,
            config_generation: mmio.register(0x15)?,
            queue_select: mmio.register(0x16)?,
            queue_size: mmio.register(0x18)?,
            queue_msix_vector: mmio.register(0x1a)?,
            queue_enable: mmio.register(0x1c)?,
            queue_notify_off: mmio.register(0x1e)?,
            queue_desc: Wide::at(mmio, 0x20)?,
            queue_driver: Wide::at(mmio, 0x28)?,
            queue_device: Wide::at(mmio, 0x30)?,
        })
    }

    pub(crate) fn read_features(&self) -> u64 {
        self.device_feature_select.write(0);
        let low = self.device_feature.read();
        self.device_feature_select.write(1);
        u64::from(low) | u64::from(self.device_feature.read()) << 32
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of the value")]
    pub(crate) fn write_features(&self, features: u64) {
        self.driver_feature_select.write(0);
        self.driver_feature.write(features as u32);
        self.driver_feature_select.write(1);
        self.driver_feature.write((features >> 32) as u32);
    }

    pub(crate) fn read_status(&self) -> Status {
        Status(self.device_status.read())
    }

    pub(crate) fn write_status(&self, status: Status) {
        self.device_status.write(status.0);
    }

    pub(crate) fn read_generation(&self) -> u8 {
        self.config_generation.read()
    }

    pub(crate) fn read_queues(&self) -> u16 {
        self.num_queues.read()
    }

    pub(crate) fn select_queue(&self, index: u16) {
        self.queue_select.write(index);
    }

    /// Entries of the selected queue, 0 where it does not exist.
    pub(crate) fn read_queue_size(&self) -> u16 {
        self.queue_size.read()
    }

    pub(crate) fn read_notify_offset(&self) -> u16 {
        self.queue_notify_off.read()
    }

    /// Binds the selected queue to a vector; `false` where the device has none to give.
    pub(crate) fn set_vector(&self, vector: u16) -> bool {
        self.queue_msix_vector.write(vector);
        self.queue_msix_vector.read() == vector
    }

    /// Binds configuration changes to a vector; `false` where the device has none to give.
    pub(crate) fn set_config_vector(&self, vector: u16) -> bool {
        self.config_msix_vector.write(vector);
        self.config_msix_vector.read() == vector
    }

    pub(crate) fn enable_queue(&self, entries: u16, addresses: QueueAddresses) {
        self.queue_size.write(entries);
        self.queue_desc.write(addresses.desc.0);
        self.queue_driver.write(addresses.driver.0);
        self.queue_device.write(addresses.device.0);
        self.queue_enable.write(1);
    }
}
