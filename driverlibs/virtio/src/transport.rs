//! What carries a virtio device (virtio 1.2 §4 "Virtio Transport Options"): PCI registers, or messages to another
//! process.
//!
//! **Invariant: from a [`Transport::reset`] that succeeded to [`Transport::run`] the device touches no memory.** All
//! of this is set-up: on the data path a queue uses its doorbell, its memory, and nothing of its transport.

use core::ops::BitOr;

use weir_hal::{Clock, Interrupt, Iova, Register, Word};

use crate::{Error, Features};

/// Device status (§2.1 "Device Status Field").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// Reset, or being reset.
    pub const RESET: Status = Status(0);
    /// The driver has seen the device.
    pub const ACKNOWLEDGE: Status = Status(1);
    /// The driver knows how to drive it.
    pub const DRIVER: Status = Status(2);
    /// The device may run.
    pub const DRIVER_OK: Status = Status(4);
    /// The features are agreed on.
    pub const FEATURES_OK: Status = Status(8);
    /// The device stopped by itself and must be reset.
    pub const NEEDS_RESET: Status = Status(64);
    /// What a device that is gone reads as.
    pub const GONE: Status = Status(0xff);
    /// What a driver writes to let the device run.
    pub const RUNS: Status = Status(1 | 2 | 4 | 8);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub fn contains(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Status {
    type Output = Status;

    fn bitor(self, other: Status) -> Status {
        Status(self.0 | other.0)
    }
}

/// Where the three parts of a queue are: descriptors, and the areas of driver and device (§2.6 "Virtqueues"). The
/// same for split rings (available, used) and packed ones (event suppression structures).
#[derive(Clone, Copy, Debug)]
pub struct QueueAddresses {
    /// Descriptor area.
    pub desc: Iova,
    /// Driver area: what the driver writes.
    pub driver: Iova,
    /// Device area: what the device writes.
    pub device: Iova,
}

/// A virtio device, from how it is found to where its queues are.
///
/// What is read is the device's word: callers check it. A device that is gone reads as all ones and ignores writes,
/// as a register does.
pub trait Transport: Send {
    /// Without these a device on this transport is not driven.
    const REQUIRED: Features;
    /// Where a queue's number is written to make the device look.
    type Doorbell: Register<u16>;
    /// One of its interrupts.
    type Interrupt: Interrupt;

    /// Stops the device (§2.4 "Device Reset"): it accesses no memory when this returns, and its queues are as new.
    ///
    /// # Errors
    /// `Host(TimedOut)`, `Host(Gone)`: then it may still do so.
    fn reset(&self, clock: &impl Clock) -> Result<(), Error>;

    /// Reads the device status.
    fn read_status(&self) -> Status;

    /// Writes the device status; [`Transport::reset`] and [`Transport::run`] write the first and the last one.
    fn write_status(&self, status: Status);

    /// Reads what the device offers.
    fn read_features(&self) -> Features;

    /// Tells the device what the driver accepts.
    fn write_features(&self, features: Features);

    /// Entries that the device proposes for a queue; 0 where it has no such queue.
    fn read_queue_entries(&self, index: u16) -> u16;

    /// The doorbell of a queue. It stays good when the device is reset.
    ///
    /// # Errors
    /// The host's.
    fn doorbell(&self, index: u16) -> Result<Self::Doorbell, Error>;

    /// Binds interrupt `vector`. It starts masked, and stays good when the device is reset.
    ///
    /// # Errors
    /// The host's.
    fn interrupt(&self, vector: u16) -> Result<Self::Interrupt, Error>;

    /// Gives the device a queue. `vector`: one that was bound, or `None` for no interrupts.
    ///
    /// # Errors
    /// `NoVector`, and the host's.
    fn enable_queue(
        &self,
        index: u16,
        entries: u16,
        addresses: QueueAddresses,
        vector: Option<u16>,
    ) -> Result<(), Error>;

    /// Lets the device raise `vector`, one that was bound, when its configuration changes. Not every transport can.
    ///
    /// # Errors
    /// `Host(Unsupported)`, and the host's.
    fn enable_config_interrupt(&self, _vector: u16) -> Result<(), Error> {
        Err(weir_hal::Error::Unsupported.into())
    }

    /// Lets the device reach memory and run (§3.1.1 step 8).
    ///
    /// # Errors
    /// The host's.
    fn run(&self) -> Result<(), Error>;

    /// Reads a field of the device-specific configuration, with the width that it has (§4.1.3.1).
    ///
    /// # Errors
    /// The host's: `OutOfRange` past the end of what the device has.
    fn read_config<W: Word>(&self, offset: u64) -> Result<W, Error>;

    /// Reads what changes with the configuration.
    fn read_generation(&self) -> u8;
}

/// Agrees on those of `wanted` that the device offers (§3.1.1 "Driver Requirements: Device Initialization", steps
/// 2–6).
pub(crate) fn negotiate<T: Transport>(transport: &T, wanted: Features) -> Result<Features, Error> {
    let status = Status::ACKNOWLEDGE | Status::DRIVER;
    transport.write_status(Status::ACKNOWLEDGE);
    transport.write_status(status);
    let offered = transport.read_features();
    let missing = T::REQUIRED.difference(offered);
    if !missing.is_empty() {
        return Err(Error::NoFeature { missing });
    }
    let agreed = offered & (wanted | T::REQUIRED);
    transport.write_features(agreed);
    transport.write_status(status | Status::FEATURES_OK);
    if !transport.read_status().contains(Status::FEATURES_OK) {
        return Err(Error::FeaturesRefused);
    }
    Ok(agreed)
}

/// The size the device proposes for a queue, at most `entries_max`.
pub(crate) fn queue_entries(transport: &impl Transport, index: u16, entries_max: u16) -> Result<u16, Error> {
    let entries = transport.read_queue_entries(index);
    // A modern device's queue sizes are powers of two (§2.7 "Split Virtqueues"), 32768 at most. Those of packed rings
    // need not be (§2.8.10.1), but devices that do both have one size for both.
    if !entries.is_power_of_two() {
        return Err(Error::BadQueue { index, entries });
    }
    Ok(entries.min(entries_max))
}

/// Reads configuration that belongs together: again, until the device did not change it meanwhile (§2.5.1 "Driver
/// Requirements: Device Configuration Space"). Bounded; the last reading counts.
pub(crate) fn read_whole<T: Transport, R>(
    transport: &T,
    read: impl Fn(&T) -> Result<R, Error>,
) -> Result<R, Error> {
    const TRIES: usize = 16;
    let mut value = read(transport)?;
    for _ in 0..TRIES {
        let before = transport.read_generation();
        value = read(transport)?;
        if transport.read_generation() == before {
            break;
        }
    }
    Ok(value)
}
