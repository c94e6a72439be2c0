//! Granting a device and taking it back.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;

use weir_abi::info::TraceKind;
use weir_abi::{Error, Handle, Rights, call};
use weir_kernel::pci::PciAddress;
use weir_kernel::refs::Ref;

use super::{Condition, Device, DeviceRef, Owner, devices};
use crate::arch::time;
use crate::object::Object;
use crate::object::process::Process;
use crate::pci::pci;
use crate::sync::Lock;
use crate::trace;

/// Held from the look at who owns the rest of a group until the new owner is entered: two functions of one group that
/// are granted at the same moment must not both find the group free.
static CHOOSING_OWNER: Lock<()> = Lock::new(());

impl Device {
    /// Makes `process` the owner.
    pub(crate) fn assign(device: &Ref<Device>, process: &Ref<Process>, flags: u64) -> Result<Handle, Error> {
        if flags & !(call::ASSIGN_UNCONFINED | call::ASSIGN_ANNOUNCE) != 0 {
            return Err(Error::BadArgument);
        }
        let accept_unconfined = flags & call::ASSIGN_UNCONFINED != 0;
        let mut condition = device.change.lock();
        let function = device.function();
        if device.owner.lock().is_some() {
            return Err(Error::Busy);
        }
        const BRIDGE_CLASS: u32 = 0x06;
        if function.is_bridge() || function.class >> 16 == BRIDGE_CLASS || function.is_malformed {
            return Err(Error::Unsupported);
        }
        if let Err(reason) = device.cover
            && !accept_unconfined
        {
            log::warn!("{}: not granted to {}: {reason}", function.address, process.name());
            return Err(Error::NoIommu);
        }
        if !device.has_reset() && !accept_unconfined {
            // The next owner would find what this one left.
            log::warn!("{}: not granted to {}: it has no reset of its own", function.address, process.name());
            return Err(Error::NotIsolated);
        }
        match *condition {
            Condition::Gone => return Err(Error::Gone),
            Condition::Failed => return Err(Error::Hardware),
            Condition::Used | Condition::Resetting(_) if device.has_reset() => return Err(Error::Busy),
            _ => {}
        }
        let _choosing = CHOOSING_OWNER.lock();
        device.check_group(process)?;
        function.set_memory_decode(&pci().ecam, true)?;
        device.leave_scratch()?;
        let attached = process.change_space(|space| match &device.cover {
            Ok(cover) => space.attach(cover),
            Err(_) => {
                space.set_unconfined();
                Ok(())
            }
        });
        if let Err(error) = attached {
            device.enter_scratch();
            return Err(error);
        }
        device.oversight.lock().begin_grant();
        let handle = Device::hand_over(device, process);
        match (&handle, &device.cover) {
            (Err(_), Ok(cover)) => {
                process.change_space(|space| space.detach(cover))?;
                device.enter_scratch();
            }
            (Err(_), Err(_)) => {}
            (Ok(handle), _) => {
                *condition = Condition::Used;
                if flags & call::ASSIGN_ANNOUNCE != 0 {
                    process.announce(*handle);
                }
            }
        }
        handle
    }

    fn hand_over(device: &Ref<Device>, process: &Ref<Process>) -> Result<Handle, Error> {
        static GRANTS: AtomicU64 = AtomicU64::new(1);
        let grant = GRANTS.fetch_add(1, Ordering::Relaxed);
        let mut interrupts = Vec::new();
        let count = usize::from(device.function().interrupts());
        interrupts.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        interrupts.resize_with(count, || None);
        let view = DeviceRef { device: device.clone(), grant: Some(grant) };
        let handle = process.adopt(Object::Device(view), Rights::READ.union(Rights::USE))?;
        let owner = Owner {
            process: process.clone(),
            handle,
            grant,
            watcher: None,
            interrupts,
            last_fault: None,
            faults_logged: 0,
            is_resetting: false,
        };
        *device.owner.lock() = Some(owner);
        trace::record(TraceKind::DeviceAssigned, process.id, [device.number().into(), handle.0]);
        Ok(handle)
    }

    /// Functions that can reach each other past the IOMMU have one owner.
    pub(super) fn check_group(&self, process: &Ref<Process>) -> Result<(), Error> {
        let inventory = pci().inventory();
        let group_of = |device: &Device| device.index(&inventory).map(|index| inventory.group(index));
        let group = group_of(self)?;
        let is_in_group = |d: &Ref<Device>| group_of(d) == Ok(group);
        // Asked first: few functions have an owner, and where one is in the list has to be looked for.
        let is_foreign =
            |d: &Ref<Device>| d.owner.lock().as_ref().is_some_and(|o| !o.process.is_same(process));
        let Some(other) = devices().filter(is_foreign).find(is_in_group) else { return Ok(()) };
        log::warn!(
            "{}: not granted to {}: {} has another owner, and these reach each other past the IOMMU:{}",
            self.function().address,
            process.name(),
            other.function().address,
            Addresses(|| devices().filter(is_in_group).map(|d| d.function().address)),
        );
        Err(Error::NotIsolated)
    }

    /// Takes the function away from its owner.
    pub(crate) fn revoke(&self) -> Result<(), Error> {
        self.take_away(&mut self.change.lock())
    }

    /// The revocation itself. All steps are taken whatever one of them returns.
    ///
    /// # Errors
    /// `NotFound`: nobody owns it. `Hardware`: it is over, but the device was not confirmed to be cut off; what it may
    /// still reach stays out of use.
    pub(super) fn take_away(&self, condition: &mut Condition) -> Result<(), Error> {
        // 0: its virtual functions are nobody's any more.
        self.end_virtuals();
        let start_ns = time::now_ns();
        // 1: the grant is dead: every later use of the owner's handle fails.
        let mut owner = self.owner.lock().take().ok_or(Error::NotFound)?;
        let function = self.function();
        let number = self.number();
        // 2: the owner no longer reaches the registers; a driver that polls them sees a device that is gone.
        let process = owner.process.clone();
        let zapped = process.change_space(|space| {
            space.poison_registers(number, &process.active);
            Ok(())
        });
        // 3: no new transfers. A function that is gone makes none.
        let quiet = function.set_bus_master(&pci().ecam, false);
        // 4 and 5: blocked, and the unit has forgotten and drained. If it does not confirm, it is isolated, and
        // the address space keeps its frames for ever.
        let cover = self.cover.as_ref().ok();
        let detached = cover.map(|cover| process.change_space(|space| space.detach(cover)));
        // By policy it reaches a page of its own from here on; one that leaves needs none.
        if detached == Some(Ok(())) && !matches!(condition, Condition::Gone) {
            self.enter_scratch();
        }
        // 6: no interrupt of it arrives.
        self.silence(&mut owner);
        let quiet_ns = time::now_ns() - start_ns;
        // A process or a function that is gone has nothing left to take away.
        let failed = [zapped.err(), quiet.err().map(Error::from), detached.and_then(Result::err)]
            .into_iter()
            .flatten()
            .find(|e| *e != Error::Gone);
        if let Some(error) = failed {
            log::error!("{}: revocation: {error}", function.address);
        }
        // 7: it forgets this owner's data from now on; whoever is next waits for the end of that.
        self.begin_reset(condition, None);
        self.oversight.lock().end_grant();
        // 8: the owner and the supervisor are told.
        trace::record(TraceKind::DeviceRevoked, process.id, [number.into(), quiet_ns]);
        owner.tell();
        let closed = process.handles.lock().remove(owner.handle);
        drop(closed);
        failed.map_or(Ok(()), |_| Err(Error::Hardware))
    }
}

/// Shows the addresses of some functions.
struct Addresses<F>(F);

impl<I: Iterator<Item = PciAddress>, F: Fn() -> I> core::fmt::Display for Addresses<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (self.0)().try_for_each(|address| write!(f, " {address}"))
    }
}
