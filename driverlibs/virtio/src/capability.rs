//! Finding the register structures (virtio 1.2 §4.1.4 "Virtio Structure PCI Capabilities").
//!
//! **Invariant: a [`Structure`] lies inside a memory BAR**, whatever the capability said.

use weir_hal::{Device, Error as HostError};

use crate::Error;

/// PCI status register, bit 4: there is a capability list (PCI Local Bus 3.0 §6.2.3 "Device Status").
const STATUS_OFFSET: u16 = 0x06;
const STATUS_HAS_CAPABILITIES: u32 = 1 << 4;
/// Offset of the first capability (PCI Local Bus 3.0 §6.7 "Capabilities List").
const CAPABILITIES_OFFSET: u16 = 0x34;
/// Vendor-specific capability.
const VENDOR_SPECIFIC: u32 = 0x09;
/// A list longer than this many 4-byte-aligned entries between 0x40 and 0xff has a loop.
const MOST_CAPABILITIES: usize = 48;

/// `cfg_type` of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Common = 1,
    Notify = 2,
    Device = 4,
}

/// Where a structure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Structure {
    pub(crate) bar: u8,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Configuration space offset of the capability.
    capability: u16,
}

impl Structure {
    /// The first structure of `kind` that lies inside a BAR and has at least `bytes_min` bytes. Others are passed
    /// over, as §4.1.4.1 "Driver Requirements" demands.
    pub(crate) fn find(device: &impl Device, kind: Kind, bytes_min: u64) -> Result<Structure, Error> {
        let mut at = first_capability(device)?;
        for _ in 0..MOST_CAPABILITIES {
            if at < 0x40 {
                break;
            }
            if let Some(structure) = Structure::read(device, at, kind)?
                && structure.bytes >= bytes_min
            {
                return Ok(structure);
            }
            at = read_pointer(device, at + 1)?;
        }
        Err(Error::NoCapability { kind: kind as u8 })
    }

    fn read(device: &impl Device, at: u16, kind: Kind) -> Result<Option<Structure>, HostError> {
        // struct virtio_pci_cap: cap_vndr 0, cap_next 1, cap_len 2, cfg_type 3, bar 4, id 5, offset 8, length 12.
        if device.config_read(at, 1)? != VENDOR_SPECIFIC || device.config_read(at + 3, 1)? != kind as u32 {
            return Ok(None);
        }
        let Ok(bar) = u8::try_from(device.config_read(at + 4, 1)?) else { return Ok(None) };
        let offset = u64::from(device.config_read(at + 8, 4)?);
        let bytes = u64::from(device.config_read(at + 12, 4)?);
        let bar_bytes = device.info().bar_bytes.get(usize::from(bar)).copied().unwrap_or(0);
        let fits = offset + bytes <= bar_bytes;
        Ok(fits.then_some(Structure { bar, offset, bytes, capability: at }))
    }

    /// `notify_off_multiplier`, which follows the capability of the notification structure (§4.1.4.4).
    pub(crate) fn notify_multiplier(&self, device: &impl Device) -> Result<u32, HostError> {
        device.config_read(self.capability + 16, 4)
    }
}

fn first_capability(device: &impl Device) -> Result<u16, HostError> {
    let status = device.config_read(STATUS_OFFSET, 2)?;
    if status & STATUS_HAS_CAPABILITIES == 0 {
        return Ok(0);
    }
    read_pointer(device, CAPABILITIES_OFFSET)
}

/// A capability pointer; its two low bits are reserved and masked.
fn read_pointer(device: &impl Device, at: u16) -> Result<u16, HostError> {
    // One byte was asked for; masking makes that so for a host that returns more.
    let byte = device.config_read(at, 1)? & 0xfc;
    u16::try_from(byte).map_err(|_| HostError::OutOfRange)
}
