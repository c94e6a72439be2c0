//! Where a PCI function is, as Linux writes it, and what Linux says about it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// The functions that `vfio-pci` has.
const BOUND: &str = "/sys/bus/pci/drivers/vfio-pci";

/// A PCI function: `0000:01:00.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl Address {
    /// The functions that `vfio-pci` has, in bus order.
    #[must_use]
    pub fn bound() -> Vec<Address> {
        let entries = fs::read_dir(BOUND).into_iter().flatten().flatten();
        // Beside the functions there are the driver's own files.
        let mut found: Vec<Address> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        found
    }

    /// The number of its IOMMU group: the smallest set of functions that can be confined apart from all others.
    pub(crate) fn group(self) -> Result<u32, Error> {
        let link = PathBuf::from(format!("/sys/bus/pci/devices/{self}/iommu_group"));
        let number = fs::read_link(link).ok().and_then(|to| to.file_name()?.to_str()?.parse().ok());
        number.ok_or(Error::NoGroup { address: self })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let parts = || {
            let (segment, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            Some(Address {
                segment: hexadecimal(segment, 4, 0xffff)?,
                bus: u8::try_from(hexadecimal(bus, 2, 0xff)?).ok()?,
                device: u8::try_from(hexadecimal(device, 2, 0x1f)?).ok()?,
                function: u8::try_from(hexadecimal(function, 1, 7)?).ok()?,
            })
        };
        parts().ok_or(Error::BadAddress)
    }
}

/// A number of exactly `digits` digits.
fn hexadecimal(text: &str, digits: usize, max: u16) -> Option<u16> {
    let is_whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u16::from_str_radix(text, 16).ok()?;
    (is_whole && number <= max).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_s_form_and_no_other() {
        for text in ["0000:01:00.0", "ffff:ff:1f.7", "0001:a0:0b.3"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in
            ["", "01:00.0", "0000:01:20.0", "0000:01:00.8", "0000:1:00.0", "0000:01:00.0 ", "0000:+1:00.0"]
        {
            assert_eq!(text.parse::<Address>(), Err(Error::BadAddress), "{text}");
        }
    }
}
