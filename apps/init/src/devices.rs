//! The machine's PCI functions, opened anew when some come or go.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::device::DeviceInfo;
use weir_abi::manifest::DeviceGrant;
use weir_abi::{Error, Handle};
use weir_init_logic::select::{Selection, at_place, position};
use weir_rt::{Device, Process, System, log};

use crate::launch::LaunchError;

/// Every function, in bus order.
pub(crate) struct Devices {
    devices: Vec<Device>,
    /// The kernel's indices of functions, those that left included.
    indices: u64,
    /// The manifest's `unsafe_no_iommu`.
    accept_unconfined: bool,
}

impl Devices {
    /// Opens them all. Where the kernel refuses, the console still comes up, and says so.
    pub(crate) fn open(system: System, accept_unconfined: bool) -> Devices {
        let mut devices = Devices { devices: Vec::new(), indices: 0, accept_unconfined };
        devices.open_again(system);
        devices
    }

    /// Opens those that are there now.
    pub(crate) fn open_again(&mut self, system: System) {
        self.devices.clear();
        for index in 0.. {
            self.indices = index;
            match Device::open(&system, index) {
                Ok(device) => self.devices.push(device),
                Err(Error::Gone) => {}
                Err(Error::NotFound) => break,
                Err(error) => {
                    log!("only {} PCI functions are usable: {error}", self.devices.len());
                    break;
                }
            }
        }
        // What came later is numbered after what was there.
        self.devices.sort_by_key(|device| device.info().map_or(u32::MAX, |info| info.address));
    }

    /// How many indices of functions the kernel has used: no function has a higher one.
    pub(crate) fn indices(&self) -> u64 {
        self.indices
    }

    /// What they are and who owns them.
    pub(crate) fn infos(&self) -> Vec<DeviceInfo> {
        // An open handle's query cannot fail; a default keeps positions equal if it did.
        self.devices.iter().map(|device| device.info().unwrap_or_default()).collect()
    }

    /// Makes `process` the owner of the function that `grant` names.
    pub(crate) fn assign(&self, grant: &DeviceGrant, process: &Process) -> Result<Handle, LaunchError> {
        let (name, selection) = (grant.name.clone(), Selection(grant.select));
        match position(&self.infos(), grant.select) {
            None => Err(LaunchError::NoDevice { name, selection }),
            Some(position) => self.devices[position]
                .assign(process, self.accept_unconfined)
                .map_err(|error| LaunchError::Device { name, selection, error }),
        }
    }

    /// Takes the function at `place` away from its owner; says what came of it.
    pub(crate) fn revoke(&self, place: &str) -> String {
        let Some(position) = at_place(&self.infos(), place) else {
            return format!("no device at {place}; `lsdev` shows them all\n");
        };
        match self.devices[position].revoke() {
            Ok(()) => format!("{place} is revoked\n"),
            Err(Error::NotFound) => format!("nobody owns {place}\n"),
            Err(error) => format!("{place} cannot be revoked: {error}\n"),
        }
    }
}
