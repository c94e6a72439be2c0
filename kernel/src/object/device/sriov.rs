//! Virtual functions: they come when the owner of their physical function asks for them.
//!
//! **Invariant: virtual functions exist only while their physical function has the owner that asked for them; before that
//! one is taken from it, or reset, they are taken from their owners and switched off.** What they are is found out by
//! [`weir_kernel::pci::sriov`]; a virtual function is a [`Device`] like any other.

use weir_abi::Error;
use weir_kernel::pci::{Function, sriov};

use super::{Device, DeviceRef, add_newcomer, devices};
use crate::arch::time;
use crate::hotplug;
use crate::pci::pci;
use crate::sched;

/// How it is with a function's virtual functions. Locked after `change`.
#[derive(Clone, Copy)]
pub(super) enum Virtuals {
    /// There are none; the capability may be used from then on.
    None {
        /// On the kernel's clock.
        from_ns: u64,
    },
    /// They are switched on, and may be looked at from then on.
    Coming {
        /// On the kernel's clock.
        due_ns: u64,
    },
    /// They are devices.
    There,
}

impl Virtuals {
    /// Those of a function that is quiet.
    pub(super) const NONE: Virtuals = Virtuals::None { from_ns: 0 };
}

impl DeviceRef {
    /// Gives the function `count` virtual functions, or with 0 takes them away.
    pub(crate) fn set_virtuals(&self, count: u64) -> Result<(), Error> {
        let count = u16::try_from(count).map_err(|_| Error::BadArgument)?;
        // Neither revocation nor reset comes between.
        let _change = self.device.change.lock();
        self.with_owner(|_, owner| owner.check_ready())?;
        if count == 0 {
            self.device.end_virtuals();
            return Ok(());
        }
        self.device.begin_virtuals(count)
    }
}

impl Device {
    fn begin_virtuals(&self, count: u16) -> Result<(), Error> {
        let mut virtuals = self.virtuals.lock();
        let now_ns = time::now_ns();
        if !matches!(*virtuals, Virtuals::None { from_ns } if from_ns <= now_ns) {
            return Err(Error::Busy);
        }
        pci().begin_virtual(self.function.address, count)?;
        let due_ns = now_ns + sriov::QUIET_US * 1000;
        *virtuals = Virtuals::Coming { due_ns };
        sched::set_alarm(due_ns);
        Ok(())
    }

    /// Makes devices of virtual functions whose time has come; says when to look again.
    pub(super) fn advance_virtuals(&self) -> Option<u64> {
        let _change = self.change.lock();
        let mut virtuals = self.virtuals.lock();
        let Virtuals::Coming { due_ns } = *virtuals else { return None };
        if time::now_ns() < due_ns {
            return Some(due_ns);
        }
        *virtuals = Virtuals::There;
        drop(virtuals);
        let address = self.function.address;
        pci().end_virtual(address);
        // One at a time: all at once would be much for the stack.
        let functions = (0..).map_while(|number| pci().virtual_function(address, number));
        functions.for_each(|function| self.list(&function));
        self.tell_owner_of_change();
        hotplug::tell();
        None
    }

    fn list(&self, function: &Function) {
        let Function { address, vendor, device, .. } = *function;
        match add_newcomer(*function) {
            Ok(()) => log::info!("{address}: {vendor:04x}:{device:04x} came, of {}", self.function.address),
            Err(error) => log::warn!("{address}: {error}; it cannot be granted"),
        }
    }

    /// Takes the virtual functions from their owners, and switches them off. The caller holds `change`.
    pub(super) fn end_virtuals(&self) {
        let mut virtuals = self.virtuals.lock();
        if matches!(*virtuals, Virtuals::None { .. }) {
            return;
        }
        let address = self.function.address;
        let is_its = |device: &Device| device.function.virtual_of.is_some_and(|of| of.physical == address);
        let owned = devices().filter(|device| is_its(device)).filter(|device| device.leave()).count();
        pci().remove_virtual(address);
        *virtuals = Virtuals::None { from_ns: time::now_ns() + sriov::GONE_US * 1000 };
        log::info!("the virtual functions of {address} left, {owned} of them in use");
        hotplug::tell();
    }

    fn tell_owner_of_change(&self) {
        if let Some(owner) = &*self.owner.lock() {
            owner.tell();
        }
    }
}
