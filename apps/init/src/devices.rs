//! The machine's PCI functions, opened anew when some come or go.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::device::{DeviceInfo, PciAddress};
use weir_abi::info::SystemInfo;
use weir_abi::manifest::DeviceGrant;
use weir_abi::{Error, Handle};
use weir_init_logic::select::{Selection, at_place, position};
use weir_rt::device::Terms;
use weir_rt::{Device, Event, Process, System, log};

use crate::launch::LaunchError;

/// A device on its way to a running application.
pub(crate) struct HandOver {
    /// The function's place.
    pub(crate) place: PciAddress,
    /// The process's number.
    pub(crate) to: u32,
}

/// How often functions came or went.
fn changes(system: System) -> u64 {
    // The record exists in every kernel of this interface version.
    system.info(0).map_or(0, |info: SystemInfo| info.device_changes)
}

fn is_resetting(info: &DeviceInfo) -> bool {
    info.flags & DeviceInfo::IS_RESETTING != 0
}

/// Every function, in bus order.
pub(crate) struct Devices {
    devices: Vec<Device>,
    /// The kernel's indices of functions, those that left included.
    indices: u64,
    /// Comings and goings, when looked at last.
    changes: u64,
    /// The manifest's `unsafe_no_iommu`.
    accept_unconfined: bool,
}

impl Devices {
    /// Opens them all; `wake` hears what happens to them. Where the kernel refuses, the console still comes up, and
    /// says so.
    pub(crate) fn open(system: System, accept_unconfined: bool, wake: &Event) -> Devices {
        let mut devices = Devices { devices: Vec::new(), indices: 0, changes: 0, accept_unconfined };
        devices.open_again(system, wake);
        devices
    }

    /// Opens them anew if some came or went; says whether.
    pub(crate) fn look(&mut self, system: System, wake: &Event) -> bool {
        let has_changed = changes(system) != self.changes;
        if has_changed {
            self.open_again(system, wake);
        }
        has_changed
    }

    /// Opens those that are there now.
    fn open_again(&mut self, system: System, wake: &Event) {
        // Before the functions: what comes meanwhile is a change.
        self.changes = changes(system);
        self.devices.clear();
        let watched = |device: Device| device.watch(wake).map(|()| device);
        for index in 0.. {
            self.indices = index;
            match Device::open(&system, index).and_then(watched) {
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

    /// Has the functions that `grants` name reset, where that is needed. What cannot be reset is refused later.
    pub(crate) fn prepare(&self, grants: &[DeviceGrant]) {
        let infos = self.infos();
        for position in grants.iter().filter_map(|grant| position(&infos, grant.select)) {
            // Owned, or broken: `assign` says so.
            let _ = self.devices[position].prepare();
        }
    }

    /// Whether one of the functions that `grants` name is being reset.
    pub(crate) fn are_resetting(&self, grants: &[DeviceGrant]) -> bool {
        let infos = self.infos();
        let mut positions = grants.iter().filter_map(|grant| position(&infos, grant.select));
        positions.any(|position| is_resetting(&infos[position]))
    }

    /// Makes `process` the owner of the function that `grant` names.
    pub(crate) fn assign(&self, grant: &DeviceGrant, process: &Process) -> Result<Handle, LaunchError> {
        let (name, selection) = (grant.name.clone(), Selection(grant.select));
        let Some(position) = position(&self.infos(), grant.select) else {
            return Err(LaunchError::NoDevice { name, selection });
        };
        let device = &self.devices[position];
        let terms = Terms { accept_unconfined: self.accept_unconfined, announce: false };
        let assigned = device.set_policy(&grant.policy).and_then(|()| device.assign(process, terms));
        assigned.map_err(|error| LaunchError::Device { name, selection, error })
    }

    /// The function at `place`, or what to say where there is none.
    fn at(&self, place: &str) -> Result<usize, String> {
        let nothing = || format!("no device at {place}; `lsdev` shows them all\n");
        at_place(&self.infos(), place).ok_or_else(nothing)
    }

    /// Takes the function at `place` away from its owner, if it has one, for the process with number `to`.
    pub(crate) fn begin_hand_over(&self, place: &str, to: u32) -> Result<HandOver, String> {
        let position = self.at(place)?;
        let device = &self.devices[position];
        match device.revoke() {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(format!("{place} cannot be revoked: {error}\n")),
        }
        device.prepare().map_err(|error| format!("{place} cannot be reset: {error}\n"))?;
        Ok(HandOver { place: PciAddress(device.info().unwrap_or_default().address), to })
    }

    /// Ends a hand-over to `process`, which runs, once the function is reset; `None` until then.
    pub(crate) fn end_hand_over(&self, hand_over: &HandOver, process: &Process) -> Option<Result<(), Error>> {
        let is_it = |device: &&Device| device.info().is_ok_and(|info| info.address == hand_over.place.0);
        let Some(device) = self.devices.iter().find(is_it) else { return Some(Err(Error::Gone)) };
        if device.info().is_ok_and(|info| is_resetting(&info)) {
            return None;
        }
        let terms = Terms { accept_unconfined: self.accept_unconfined, announce: true };
        Some(device.assign(process, terms).map(drop))
    }

    /// Takes the function at `place` away from its owner; says what came of it.
    pub(crate) fn revoke(&self, place: &str) -> String {
        let position = match self.at(place) {
            Ok(position) => position,
            Err(nothing) => return nothing,
        };
        match self.devices[position].revoke() {
            Ok(()) => format!("{place} is revoked\n"),
            Err(Error::NotFound) => format!("nobody owns {place}\n"),
            Err(error) => format!("{place} cannot be revoked: {error}\n"),
        }
    }
}
