//! Which device a manifest means.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use weir_abi::device::{DeviceInfo, PciAddress};
use weir_abi::manifest::DeviceSelect;

/// The position in `devices` (bus order) of the one that `select` names.
#[must_use]
pub fn position(devices: &[DeviceInfo], select: DeviceSelect) -> Option<usize> {
    match select {
        DeviceSelect::Address(address) => devices.iter().position(|info| info.address == address),
        DeviceSelect::Virtual { physical, number } => {
            devices.iter().position(|info| (info.physical, info.virtual_number) == (physical, number))
        }
        DeviceSelect::Id { vendor, device, index } => devices
            .iter()
            .enumerate()
            .filter(|(_, info)| (info.vendor, info.device) == (vendor, device))
            .map(|(position, _)| position)
            .nth(usize::try_from(index).ok()?),
    }
}

/// The position in `devices` of the one at `place`, written `segment:bus:device.function`, or without a segment
/// where that is 0.
#[must_use]
pub fn at_place(devices: &[DeviceInfo], place: &str) -> Option<usize> {
    let full = if place.matches(':').count() == 1 { format!("0000:{place}") } else { String::from(place) };
    devices.iter().position(|info| PciAddress(info.address).to_string() == full)
}

/// Shows a selection as people write it.
#[derive(Clone, Copy, Debug)]
pub struct Selection(pub DeviceSelect);

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeviceSelect::Address(address) => PciAddress(address).fmt(f),
            DeviceSelect::Virtual { physical, number } => {
                write!(f, "virtual function {number} of {}", PciAddress(physical))
            }
            DeviceSelect::Id { vendor, device, index: 0 } => write!(f, "{vendor:04x}:{device:04x}"),
            DeviceSelect::Id { vendor, device, index } => {
                write!(f, "{vendor:04x}:{device:04x} number {index}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_by_place_and_by_id() {
        let device =
            |address, device| DeviceInfo { address, vendor: 0x1af4, device, ..DeviceInfo::default() };
        let devices = [device(0x08, 0x1000), device(0x10, 0x1041), device(0x18, 0x1041)];
        let id = |device, index| DeviceSelect::Id { vendor: 0x1af4, device, index };
        assert_eq!(position(&devices, DeviceSelect::Address(0x10)), Some(1));
        assert_eq!(position(&devices, DeviceSelect::Address(0x11)), None);
        assert_eq!(position(&devices, id(0x1041, 0)), Some(1));
        assert_eq!(position(&devices, id(0x1041, 1)), Some(2));
        assert_eq!(position(&devices, id(0x1041, 2)), None);
        assert_eq!(position(&devices, id(0x1042, 0)), None);
        assert_eq!(Selection(id(0x1041, 1)).to_string(), "1af4:1041 number 1");
        assert_eq!(at_place(&devices, "0000:00:02.0"), Some(1));
        assert_eq!(at_place(&devices, "00:03.0"), Some(2));
        assert_eq!(at_place(&devices, "00:04.0"), None);
        assert_eq!(at_place(&devices, "nonsense"), None);
        assert_eq!(Selection(DeviceSelect::Address(0x10)).to_string(), "0000:00:02.0");
    }

    #[test]
    fn selects_virtual_functions_by_number() {
        let of = |physical, virtual_number| DeviceInfo { physical, virtual_number, ..DeviceInfo::default() };
        let devices = [of(DeviceInfo::NOT_VIRTUAL, 0), of(0x100, 0), of(0x100, 1), of(0x200, 0)];
        let select = |physical, number| DeviceSelect::Virtual { physical, number };
        assert_eq!(position(&devices, select(0x100, 1)), Some(2));
        assert_eq!(position(&devices, select(0x200, 0)), Some(3));
        assert_eq!(position(&devices, select(0x200, 1)), None);
        assert_eq!(Selection(select(0x100, 1)).to_string(), "virtual function 1 of 0000:01:00.0");
    }
}
