//! Devices: PCI functions, each with one owner at most.
//!
//! **Invariant: a function masters the bus only while it has an owner, and then reaches only what its owner
//! mapped for DMA** (unless the supervisor asked for an unconfined grant, which is said everywhere).
//!
//! Reading order: here (the list) · [`grant`] (giving and taking) · [`reset`] (between owners) · [`view`] (using) ·
//! [`message`] (interrupts) · [`fault`] (blocked accesses) · [`storm`] (too many of either) · [`scratch`] (not blocked,
//! but led astray) · [`sriov`] (virtual functions).

mod fault;
mod grant;
mod message;
mod reset;
mod scratch;
mod sriov;
mod storm;
mod view;

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;

use weir_abi::page::FaultRecord;
use weir_abi::{Error, Handle};
use weir_iommu::acpi::Refusal;
use weir_kernel::pci::{Function, Inventory, MsixTable, PciAddress};
use weir_kernel::refs::Ref;

use super::event::Event;
use super::process::Process;
use crate::iommu::{self, Cover, Scratch};
use crate::pci::{self, pci};
use crate::sched;
use crate::sync::Lock;
pub(crate) use fault::deliver as deliver_fault;
use message::{Bound, Registers};
use reset::Condition;
use sriov::Virtuals;
use storm::Oversight;

/// A function and who owns it. A function that comes later is another device, even where it comes to the same place.
pub(crate) struct Device {
    function: Function,
    /// How it is confined, or why it may be granted unconfined at most.
    cover: Result<Cover, Refusal>,
    msix: Option<MsixTable<Registers>>,
    /// Held while the function changes hands; never by who only uses it.
    change: Lock<Condition>,
    owner: Lock<Option<Owner>>,
    oversight: Lock<Oversight>,
    /// Locked after `change`.
    virtuals: Lock<Virtuals>,
    /// What it reaches without an owner, where the policy is not to block it. Locked after `change`.
    scratch: Lock<Option<Scratch>>,
}

/// The current grant.
struct Owner {
    process: Ref<Process>,
    /// The owner's handle.
    handle: Handle,
    /// Distinguishes this grant from earlier ones.
    grant: u64,
    watcher: Option<Ref<Event>>,
    /// By MSI-X entry or MSI vector.
    interrupts: Vec<Option<Bound>>,
    /// The last fault, to count repetitions in place.
    last_fault: Option<FaultRecord>,
    /// Faults of this grant that were written to the log.
    faults_logged: u32,
    /// The owner asked for a reset, which is under way.
    is_resetting: bool,
}

impl Owner {
    /// Tells the owner that something happened.
    fn tell(&self) {
        if let Some(event) = &self.watcher {
            // An owner that is ending needs no telling.
            let _ = event.signal();
        }
    }
}

/// A handle's view of a device: the supervisor's, or that of one grant.
#[derive(Clone)]
pub(crate) struct DeviceRef {
    device: Ref<Device>,
    /// `None` for the supervisor.
    grant: Option<u64>,
}

/// By position; `None` where the function left. Never longer than what was reserved at boot.
static DEVICES: Lock<Vec<Option<Ref<Device>>>> = Lock::new(Vec::new());

static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Makes a device of every function, once the units are known, and room for `spare` functions that come later.
pub(crate) fn set_up(spare: usize) {
    let functions: Vec<Function> = pci().inventory().functions().to_vec();
    *DEVICES.lock() = Vec::with_capacity(functions.len() + spare);
    for function in functions {
        let msix = Registers::map(&function);
        if let Err(error) = add(function, msix) {
            log::error!("{}: {error}; it cannot be granted", function.address);
        }
    }
}

/// Makes a device of a function; `msix` is its table.
fn add(function: Function, msix: Option<MsixTable<Registers>>) -> Result<(), Error> {
    let device = Device {
        cover: iommu::cover(&function),
        function,
        msix,
        change: Lock::new(Condition::Used),
        owner: Lock::new(None),
        oversight: Lock::new(Oversight::new()),
        virtuals: Lock::new(Virtuals::NONE),
        scratch: Lock::new(None),
    };
    let device = Some(Ref::try_new(device).ok_or(Error::NoMemory)?);
    let mut devices = DEVICES.lock();
    if let Some(place) = devices.iter_mut().find(|place| place.is_none()) {
        *place = device;
    } else if devices.len() < devices.capacity() {
        devices.push(device);
    } else {
        return Err(Error::NoMemory);
    }
    Ok(())
}

/// Makes a device of a function that came after boot.
pub(crate) fn add_newcomer(function: Function) -> Result<(), Error> {
    CHANGES.fetch_add(1, Ordering::Relaxed);
    add(function, Registers::of_newcomer(&function))
}

/// How often functions came or went.
pub(crate) fn changes() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// Leads interrupt `index` of a port to `vector` of the first CPU, for the kernel's own use.
pub(crate) fn bind_port(port: PciAddress, index: u16, vector: u8) -> Result<(), Error> {
    let mut all = devices();
    all.find(|device| device.function.address == port).ok_or(Error::NotFound)?.bind_for_kernel(index, vector)
}

/// The functions that `leaves` names leave the machine: each is taken from its owner, whose driver finds it gone, and
/// never has another. Says how many had one.
pub(crate) fn remove(leaves: impl Fn(PciAddress) -> bool) -> usize {
    let leaving = devices().filter(|device| leaves(device.function.address));
    leaving.filter(|device| device.leave()).count()
}

/// Those that are there. The list is locked for each step only.
fn devices() -> impl Iterator<Item = Ref<Device>> {
    let place = |position| DEVICES.lock().get(position).cloned();
    (0..).map_while(place).flatten()
}

/// How many there are.
pub(crate) fn count() -> usize {
    devices().count()
}

/// The supervisor's view of device `position`.
///
/// # Errors
/// `NotFound` past the last, `Gone` where the function left.
pub(crate) fn at(position: usize) -> Result<DeviceRef, Error> {
    let place = DEVICES.lock().get(position).cloned().ok_or(Error::NotFound)?;
    place.map(|device| DeviceRef { device, grant: None }).ok_or(Error::Gone)
}

/// How many devices `process` owns.
pub(crate) fn owned_by(process: &Process) -> u32 {
    devices().filter(|device| device.is_owned_by(process)).count() as u32
}

/// Takes everything away from a process that has ended.
pub(crate) fn revoke_all(process: &Ref<Process>) {
    for device in devices() {
        // An assignment under way ends first; then it is seen here, or has seen that the process has ended.
        let mut condition = device.change.lock();
        if device.is_owned_by(process) {
            // It is owned: just seen.
            let _ = device.take_away(&mut condition);
        }
    }
}

/// Does what has become due: resets that go on, storms whose window is over.
pub(crate) fn work() {
    let due = devices().flat_map(|device| {
        let reset = device.advance(&mut device.change.lock());
        reset.into_iter().chain(device.end_storms()).chain(device.advance_virtuals())
    });
    if let Some(due_ns) = due.min() {
        sched::set_alarm(due_ns);
    }
}

impl Device {
    fn function(&self) -> &Function {
        &self.function
    }

    fn number(&self) -> u32 {
        pci::number(self.function.address)
    }

    /// Whether it left the machine.
    fn is_gone(&self) -> bool {
        matches!(*self.change.lock(), Condition::Gone)
    }

    /// Its place among the machine's functions.
    fn index(&self, inventory: &Inventory) -> Result<usize, Error> {
        inventory.find(self.function.address).ok_or(Error::Gone)
    }

    /// Says whether it had an owner.
    fn leave(&self) -> bool {
        let had_owner = {
            let mut condition = self.change.lock();
            // A reset under way is of no more interest.
            *condition = Condition::Gone;
            let had_owner = self.take_away(&mut condition) != Err(Error::NotFound);
            // Giving a page back cannot fail.
            let _ = self.want_scratch(false);
            had_owner
        };
        CHANGES.fetch_add(1, Ordering::Relaxed);
        let mut devices = DEVICES.lock();
        let is_it =
            |place: &&mut Option<Ref<Device>>| place.as_deref().is_some_and(|it| core::ptr::eq(it, self));
        let struck = devices.iter_mut().find(is_it).and_then(Option::take);
        drop(devices);
        // Outside the lock: the last reference may go here.
        drop(struck);
        had_owner
    }

    fn has_reset(&self) -> bool {
        let inventory = pci().inventory();
        self.index(&inventory).is_ok_and(|index| inventory.has_reset(index))
    }

    fn is_owned_by(&self, process: &Process) -> bool {
        self.owner.lock().as_ref().is_some_and(|o| core::ptr::eq(&*o.process, process))
    }
}
