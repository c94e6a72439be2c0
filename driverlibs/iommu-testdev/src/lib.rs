//! Driver library for QEMU's `iommu-testdev` (QEMU 11.1, "IOMMU test device for bare-metal testing",
//! docs/specs/iommu-testdev.rst; cited as "testdev §"): a device that writes a fixed pattern to any I/O address, within
//! the register access that asks for it, **whether it may master the bus or not**.
//!
//! **Invariant: a write happens only in [`Testdev::fire`], and has happened or been blocked when that returns.** It is
//! the fast rogue of the attack tests, and unlike a real device it learns whether the IOMMU let the write pass.
//!
//! Not here: attributes of other architectures. Its comparison with memory, which goes past the IOMMU by design of
//! the device, is ignored.
#![no_std]
#![forbid(unsafe_code)]

use weir_hal::{Device, DeviceInfo, Iova, Mmio, Register, RegisterOf};

const VENDOR: u16 = 0x1b36;
const DEVICE: u16 = 0x0005;

/// Registers of BAR 0, 32 bits each (testdev § "Device Interface").
const BAR_BYTES: u64 = 0x1000;
const TRIGGER: u64 = 0x00;
const IOVA_LOW: u64 = 0x04;
const IOVA_HIGH: u64 = 0x08;
const BYTES: u64 = 0x0c;
const RESULT: u64 = 0x10;
const DOORBELL: u64 = 0x14;

const ARM: u32 = 1;
/// Results: the write passed, and the device's own comparison held, failed, or could not be made; it was refused.
const EQUAL: u32 = 0;
const COMPARISON_FAILED: u32 = 0xdead_0003;
const DIFFERENT: u32 = 0xdead_0004;
const REFUSED: u32 = 0xdead_0002;

/// What it writes, over and over, little-endian.
pub const PATTERN: u32 = 0x1234_5678;

/// Longest write: the device would allocate what it is told.
pub const MAX_BYTES: u32 = 4096;

/// Why a driver call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused something. `Gone`: the device was revoked, or reads as all ones.
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    /// The function is another device.
    #[error("not an iommu-testdev: {vendor:04x}:{device:04x}")]
    OtherDevice {
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
    },
    /// Nothing, or more than [`MAX_BYTES`], is to be written.
    #[error("{bytes} bytes cannot be written at once")]
    BadLength {
        /// The length asked for.
        bytes: u32,
    },
    /// The device said something that it never says.
    #[error("impossible result {result:#x}")]
    BadResult {
        /// What it said.
        result: u32,
    },
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Written,
    /// It was blocked.
    Refused,
}

/// An `iommu-testdev`.
pub struct Testdev<D: Device> {
    function: D,
    trigger: RegisterOf<D, u32>,
    iova_low: RegisterOf<D, u32>,
    iova_high: RegisterOf<D, u32>,
    bytes: RegisterOf<D, u32>,
    result: RegisterOf<D, u32>,
    doorbell: RegisterOf<D, u32>,
}

impl<D: Device> Testdev<D> {
    /// Whether this driver is for a function. QEMU's `pci-testdev` has the same ids: the manifest has to know.
    #[must_use]
    pub fn is_for(info: &DeviceInfo) -> bool {
        (info.vendor, info.device) == (VENDOR, DEVICE)
    }

    /// Maps its registers. Bus mastering stays as it is: the device does not ask.
    ///
    /// # Errors
    /// `OtherDevice`; what the host says.
    pub fn open(function: D) -> Result<Testdev<D>, Error> {
        let info = function.info();
        if !Self::is_for(&info) {
            return Err(Error::OtherDevice { vendor: info.vendor, device: info.device });
        }
        let registers = function.map_bar(0, 0, BAR_BYTES)?;
        Ok(Testdev {
            trigger: registers.register(TRIGGER)?,
            iova_low: registers.register(IOVA_LOW)?,
            iova_high: registers.register(IOVA_HIGH)?,
            bytes: registers.register(BYTES)?,
            result: registers.register(RESULT)?,
            doorbell: registers.register(DOORBELL)?,
            function,
        })
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> &D {
        &self.function
    }

    /// Says where the next writes go, whoever's memory that is.
    ///
    /// # Errors
    /// `BadLength`.
    pub fn aim(&self, iova: Iova, bytes: u32) -> Result<(), Error> {
        if bytes == 0 || bytes > MAX_BYTES {
            return Err(Error::BadLength { bytes });
        }
        let [low, high] = halves(iova.0);
        self.iova_low.write(low);
        self.iova_high.write(high);
        self.bytes.write(bytes);
        Ok(())
    }

    /// Writes [`PATTERN`] there: three register accesses.
    ///
    /// # Errors
    /// `Gone`, `BadResult`.
    pub fn fire(&self) -> Result<Outcome, Error> {
        self.doorbell.write(ARM);
        self.trigger.read();
        match self.result.read() {
            EQUAL | COMPARISON_FAILED | DIFFERENT => Ok(Outcome::Written),
            REFUSED => Ok(Outcome::Refused),
            u32::MAX => Err(weir_hal::Error::Gone.into()),
            result => Err(Error::BadResult { result }),
        }
    }
}

/// The low and the high half.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
