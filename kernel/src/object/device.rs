//! Devices: PCI functions, each with one owner at most.
//!
//! **Invariant: a function masters the bus only while it has an owner, and then reaches only what its owner
//! mapped for DMA** (unless the supervisor asked for an unconfined grant, which is said everywhere).
//!
//! Reading order: here (the list) · [`grant`] (giving and taking) · [`reset`] (between owners) · [`view`] (using) ·
//! [`message`] (interrupts) · [`fault`] (blocked accesses) · [`storm`] (too many of either).

mod fault;
mod grant;
mod message;
mod reset;
mod storm;
mod view;

use alloc::vec::Vec;
use spin::Once;

use weir_abi::Handle;
use weir_abi::page::FaultRecord;
use weir_iommu::acpi::Refusal;
use weir_kernel::pci::{Function, MsixTable};
use weir_kernel::refs::Ref;

use super::event::Event;
use super::process::Process;
use crate::iommu::{self, Cover};
use crate::pci::{self, pci};
use crate::sched;
use crate::sync::Lock;
pub(crate) use fault::deliver as deliver_fault;
use message::{Bound, Registers};
use reset::Condition;
use storm::Oversight;

/// A function and who owns it.
pub(crate) struct Device {
    index: usize,
    /// How it is confined, or why it may be granted unconfined at most.
    cover: Result<Cover, Refusal>,
    msix: Option<MsixTable<Registers>>,
    /// Held while the function changes hands; never by who only uses it.
    change: Lock<Condition>,
    owner: Lock<Option<Owner>>,
    oversight: Lock<Oversight>,
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
    device: &'static Device,
    /// `None` for the supervisor.
    grant: Option<u64>,
}

static DEVICES: Once<Vec<Device>> = Once::new();

/// Makes a device of every function, once the units are known.
pub(crate) fn set_up() {
    let functions = pci().inventory.functions();
    let device = |(index, function): (usize, &'static Function)| Device {
        index,
        cover: iommu::cover(function),
        msix: Registers::map(function),
        change: Lock::new(Condition::Used),
        owner: Lock::new(None),
        oversight: Lock::new(Oversight::new()),
    };
    DEVICES.call_once(|| functions.iter().enumerate().map(device).collect());
}

fn devices() -> &'static [Device] {
    DEVICES.get().map_or(&[], Vec::as_slice)
}

/// How many there are.
pub(crate) fn count() -> usize {
    devices().len()
}

/// The supervisor's view of device `position`.
pub(crate) fn at(position: usize) -> Option<DeviceRef> {
    devices().get(position).map(|device| DeviceRef { device, grant: None })
}

/// How many devices `process` owns.
pub(crate) fn owned_by(process: &Process) -> u32 {
    devices().iter().filter(|d| d.is_owned_by(process)).count() as u32
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
    let due = devices().iter().flat_map(|device| {
        let reset = device.advance(&mut device.change.lock());
        reset.into_iter().chain(device.end_storms())
    });
    if let Some(due_ns) = due.min() {
        sched::set_alarm(due_ns);
    }
}

impl Device {
    fn function(&self) -> &'static Function {
        &pci().inventory.functions()[self.index]
    }

    fn number(&self) -> u32 {
        pci::number(self.function().address)
    }

    fn has_reset(&self) -> bool {
        pci().inventory.has_reset(self.index)
    }

    fn is_owned_by(&self, process: &Process) -> bool {
        self.owner.lock().as_ref().is_some_and(|o| core::ptr::eq(&*o.process, process))
    }
}
