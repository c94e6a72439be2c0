//! PCI functions: as their owner uses them, and as the supervisor hands them out.
//!
//! **Invariant: device registers are never a Rust reference; [`Registers`] gives an address for volatile use.**

use weir_abi::call::{
    ASSIGN_ANNOUNCE, ASSIGN_UNCONFINED, DEVICE_ACCEPT, DEVICE_ASSIGN, DEVICE_BUS_MASTER_OFF,
    DEVICE_BUS_MASTER_ON, DEVICE_CONFIG_READ, DEVICE_CONTROL, DEVICE_INFO, DEVICE_MAP_BAR, DEVICE_OPEN,
    DEVICE_POLICY, DEVICE_PREPARE, DEVICE_RESET, DEVICE_REVOKE, DEVICE_SRIOV, DEVICE_WATCH,
};
use weir_abi::device::{DeviceInfo, DevicePolicy};
use weir_abi::{Error, Handle};

use crate::call::{call, to_usize};
use crate::clock;
use crate::event::Event;
use crate::handle::{Object, Owned, object};
use crate::memory::unmap;
use crate::process::Process;
use crate::system::System;

/// Time between two looks for the end of a reset, which takes at least 100 ms.
const RESET_LOOK_NS: u64 = 5_000_000;

/// A PCI function.
#[derive(Debug)]
pub struct Device(Owned);

object!(Device);

/// How a device is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Accept a function that no IOMMU confines.
    pub accept_unconfined: bool,
    /// The process runs: let it find the device by [`Device::accept`].
    pub announce: bool,
}

/// An operation on a device that its owner may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Control {
    /// Let it read and write memory and send interrupts.
    BusMasterOn = DEVICE_BUS_MASTER_ON,
    /// Stop that.
    BusMasterOff = DEVICE_BUS_MASTER_OFF,
    /// Reset it; afterwards bus mastering is off and interrupts are masked.
    Reset = DEVICE_RESET,
}

impl Device {
    /// The supervisor's handle to function `index`: `device_open`.
    ///
    /// # Errors
    /// `NotFound` (past the last), `NoMemory`.
    pub fn open(_: &System, index: u64) -> Result<Device, Error> {
        // SAFETY: nothing of this program's memory is concerned.
        let handle = unsafe { call(DEVICE_OPEN, [Handle::SYSTEM.0, index, 0, 0, 0, 0]) }?;
        Ok(Device::from_handle(Handle(handle)))
    }

    /// Takes over a handle to a `Device`.
    pub(crate) fn from_handle(handle: Handle) -> Device {
        Device(Owned::new(handle))
    }

    /// Begins the reset that a new owner needs, unless it is under way or done: `device_prepare`. Says whether it is
    /// under way.
    ///
    /// # Errors
    /// `Busy` (owned), `Hardware`.
    pub fn prepare(&self) -> Result<bool, Error> {
        // SAFETY: a device that nobody owns uses no memory of anybody.
        unsafe { call(DEVICE_PREPARE, [self.0.raw(), 0, 0, 0, 0, 0]) }.map(|state| state != 0)
    }

    /// As [`Device::prepare`], and sleeps until it is done.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_and_wait(&self) -> Result<(), Error> {
        if self.prepare()? { self.await_reset() } else { Ok(()) }
    }

    /// Sets what it may do: `device_policy`.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn set_policy(&self, policy: &DevicePolicy) -> Result<(), Error> {
        let policy = core::ptr::from_ref(policy) as u64;
        // SAFETY: the kernel reads the policy, borrowed for the call.
        unsafe { call(DEVICE_POLICY, [self.0.raw(), policy, 0, 0, 0, 0]) }.map(drop)
    }

    /// Makes `process` its one owner, and gives the handle there: `device_assign`.
    ///
    /// # Errors
    /// `Busy` (owned, or not reset), `NoIommu`, `NotIsolated`, `Hardware`, `Unsupported`, `Gone`, `Quota`, `NoMemory`.
    pub fn assign(&self, process: &Process, terms: Terms) -> Result<Handle, Error> {
        self.assign_to(process.handle(), terms)
    }

    fn assign_to(&self, process: Handle, terms: Terms) -> Result<Handle, Error> {
        let unconfined = if terms.accept_unconfined { ASSIGN_UNCONFINED } else { 0 };
        let flags = unconfined | if terms.announce { ASSIGN_ANNOUNCE } else { 0 };
        // SAFETY: a handle concerns no memory; what the device may reach, it reaches through the handle's owner.
        unsafe { call(DEVICE_ASSIGN, [self.0.raw(), process.0, flags, 0, 0, 0]) }.map(Handle)
    }

    /// Makes this process its one owner, and gives the owner's handle: `device_assign`.
    ///
    /// # Errors
    /// As [`Device::assign`].
    pub fn assign_here(&self, accept_unconfined: bool) -> Result<Device, Error> {
        self.assign_to(Handle::SELF, Terms { accept_unconfined, announce: false }).map(Device::from_handle)
    }

    /// Takes it away from its owner: `device_revoke`.
    ///
    /// # Errors
    /// `NotFound` (nobody owns it).
    pub fn revoke(&self) -> Result<(), Error> {
        // SAFETY: the owner's registers become poison pages, which stay mapped; no reference leads there.
        unsafe { call(DEVICE_REVOKE, [self.0.raw(), 0, 0, 0, 0, 0]) }.map(drop)
    }

    /// What the kernel knows about it: `device_info`.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn info(&self) -> Result<DeviceInfo, Error> {
        let mut info = DeviceInfo::default();
        let buffer = core::ptr::from_mut(&mut info) as u64;
        // SAFETY: the kernel fills the whole record, any bytes of which are a value of the type.
        unsafe { call(DEVICE_INFO, [self.0.raw(), buffer, 0, 0, 0, 0]) }?;
        Ok(info)
    }

    /// Reads `width` (1, 2 or 4) bytes of its config space: `device_config_read`.
    ///
    /// # Errors
    /// `BadArgument`, `Gone`.
    pub fn config_read(&self, offset: u64, width: u64) -> Result<u64, Error> {
        // SAFETY: a query.
        unsafe { call(DEVICE_CONFIG_READ, [self.0.raw(), offset, width, 0, 0, 0]) }
    }

    /// Maps registers of `bar`: `device_map_bar`. `flags` as there.
    ///
    /// # Errors
    /// `BadArgument`, `Gone`, `Quota`, `NoMemory`.
    pub fn map_bar(&self, bar: u64, offset: u64, bytes: u64, flags: u64) -> Result<Registers, Error> {
        // SAFETY: the kernel maps at free addresses, so nothing this program uses changes.
        let address = unsafe { call(DEVICE_MAP_BAR, [self.0.raw(), bar, offset, bytes, flags, 0]) }?;
        Ok(Registers { address, bytes })
    }

    /// The oldest device that this running program was given and has not accepted; `None` where there is none yet:
    /// `device_accept`. `event` counts at every one from now on.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn accept(event: &Event) -> Result<Option<Device>, Error> {
        // SAFETY: a handle to a device concerns no memory.
        match unsafe { call(DEVICE_ACCEPT, [event.handle().0, 0, 0, 0, 0, 0]) } {
            Ok(handle) => Ok(Some(Device::from_handle(Handle(handle)))),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Controls it: `device_control`. A reset sleeps until it is done.
    ///
    /// # Errors
    /// `Unsupported`, `Busy` (another thread resets it), `Gone`, `Hardware`.
    pub fn control(&self, operation: Control) -> Result<(), Error> {
        self.begin(operation)?;
        if operation == Control::Reset { self.await_reset() } else { Ok(()) }
    }

    /// Gives it `count` virtual functions, or with 0 takes them away: `device_sriov`. They come 100 ms later, to be
    /// granted by the supervisor.
    ///
    /// # Errors
    /// `Unsupported` (it can have none), `BadArgument` (so many), `Busy` (there are some, or went less than a second ago),
    /// `NotIsolated`, `NoMemory`, `Gone`.
    pub fn set_virtual_functions(&self, count: u16) -> Result<(), Error> {
        // SAFETY: functions that nobody owns use no memory of anybody, and come to no registers that are mapped.
        unsafe { call(DEVICE_SRIOV, [self.0.raw(), count.into(), 0, 0, 0, 0]) }.map(drop)
    }

    /// Sleeps until a reset that is under way has ended.
    fn await_reset(&self) -> Result<(), Error> {
        while self.info()?.flags & DeviceInfo::IS_RESETTING != 0 {
            clock::sleep(RESET_LOOK_NS);
        }
        Ok(())
    }

    fn begin(&self, operation: Control) -> Result<(), Error> {
        // SAFETY: a device that masters the bus reaches the DMA window only, of which no reference to plain
        // bytes exists (`hal`).
        unsafe { call(DEVICE_CONTROL, [self.0.raw(), operation as u64, 0, 0, 0, 0]) }.map(drop)
    }

    /// Signals `event` at each fault, at the end of a reset and at revocation; the supervisor's at the end of a reset
    /// and in a storm: `device_watch`.
    ///
    /// # Errors
    /// `Gone`.
    pub fn watch(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(DEVICE_WATCH, [self.0.raw(), event.handle().0, 0, 0, 0, 0]) }.map(drop)
    }
}

/// Device registers in this address space, unmapped when dropped.
#[derive(Debug)]
pub struct Registers {
    address: u64,
    bytes: u64,
}

impl Registers {
    /// Where they start, for volatile accesses.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.address as *mut u8
    }

    /// How many bytes are mapped.
    #[must_use]
    pub fn bytes(&self) -> usize {
        to_usize(self.bytes)
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: whoever uses the address promises to keep `self` for as long. It cannot fail: it is mapped.
        let _ = unsafe { unmap(self.address) };
    }
}
