//! Hot-plug slots: the kernel's side of [`Slot`], for ports that the command line says are not the firmware's.
//!
//! **Invariant: what is in a slot is listed, and its functions can be granted, only between its arrival and its
//! departure; before power goes off in an orderly departure, and at once in any other, every function is revoked as by
//! its supervisor.**
//!
//! The first CPU does all of it: ports send their interrupts there, and its timer ends the waits, so nothing spins.
//! Glossary: *outline* — a slot's state as the supervisor sees it.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;

use weir_abi::Error;
use weir_abi::info::SlotInfo;
use weir_kernel::pci::{Action, DEVICE_FUNCTIONS, Function, Header, PciAddress, Request, Slot};
use weir_kernel::refs::Ref;

use crate::arch::{apic, time};
use crate::cpus;
use crate::object::device;
use crate::object::event::Event;
use crate::pci::{self, pci};
use crate::sched;
use crate::sync::Lock;

/// The CPU that does it.
const CPU: u32 = 0;

static SLOTS: Lock<Vec<Slot>> = Lock::new(Vec::new());
static WATCHER: Lock<Option<Ref<Event>>> = Lock::new(None);
/// When the slots are to be looked at without being told.
static DUE_NS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Finds the slots; says how many functions may come.
pub(crate) fn find() -> usize {
    let slots: Vec<Slot> = {
        let inventory = pci().inventory();
        inventory.functions().iter().filter_map(|port| Slot::of(port, &pci().ecam)).collect()
    };
    let spare = slots.len() * DEVICE_FUNCTIONS;
    *SLOTS.lock() = slots;
    spare
}

/// Takes the slots over, once their ports are devices. A slot whose port cannot tell is left alone.
pub(crate) fn start() {
    let now_us = now_us();
    let mut slots = SLOTS.lock();
    slots.retain(|slot| {
        match device::bind_port(slot.port(), slot.read_message(&pci().ecam).into(), apic::HOTPLUG) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("{}: {error}; its hot-plug slot is not driven", slot.port());
                false
            }
        }
    });
    for slot in slots.iter_mut() {
        let is_listed = pci().inventory().behind(slot.port()).next().is_some();
        slot.start(&pci().ecam, now_us, is_listed);
        log::info!("slot {} behind {}: {:?}", slot.number(), slot.port(), slot.outline());
    }
    drop(slots);
    look();
}

/// The alarm has gone off: looks at the slots if it is time.
pub(crate) fn work() {
    let due_ns = DUE_NS.load(Ordering::Relaxed);
    if due_ns <= time::now_ns() {
        look();
    } else if due_ns != u64::MAX {
        sched::set_alarm(due_ns);
    }
}

/// A port has told of its slot, somebody asked something of one, or it is time: does what there is to do.
pub(crate) fn look() {
    let changes = changes();
    let slots = SLOTS.lock().len();
    (0..slots).for_each(serve);
    let now_us = now_us();
    let due_us = SLOTS.lock().iter().map(|slot| slot.due_us(now_us)).min().unwrap_or(u64::MAX);
    let due_ns = due_us.saturating_mul(1000);
    DUE_NS.store(due_ns, Ordering::Relaxed);
    if due_ns != u64::MAX {
        sched::set_alarm(due_ns);
    }
    if changes != self::changes() {
        tell();
    }
}

fn now_us() -> u64 {
    time::now_ns() / 1000
}

fn changes() -> u64 {
    SLOTS.lock().iter().map(Slot::changes).sum()
}

/// Tells the supervisor that something came or went.
pub(crate) fn tell() {
    let watcher = WATCHER.lock().clone();
    if let Some(event) = watcher {
        // A watcher that is gone needs no telling.
        let _ = event.signal();
    }
}

/// Does what slot `index` needs. The list is not locked meanwhile: revocation waits for others, who may reset what is
/// in the slot ([`hold`]).
fn serve(index: usize) {
    loop {
        let (port, action) = {
            let slot = &mut SLOTS.lock()[index];
            (slot.port(), slot.poll(&pci().ecam, now_us()))
        };
        match action {
            None => return,
            Some(Action::Bring) => {
                let is_listed = bring(port);
                SLOTS.lock()[index].brought(is_listed);
            }
            Some(Action::Take) => {
                take(port);
                SLOTS.lock()[index].taken();
            }
        }
    }
}

/// Lists what came behind `port`; says whether it could.
fn bring(port: PciAddress) -> bool {
    let count = match pci().plug(port) {
        Ok(count) => count,
        Err(error) => {
            log::warn!("the device behind {port} is not used: {error}");
            return false;
        }
    };
    let is_behind = |function: &&Function| function.parent == pci().inventory().find(port);
    let arrived: heapless::Vec<Function, DEVICE_FUNCTIONS> =
        pci().inventory().functions().iter().filter(is_behind).copied().collect();
    if let Some(error) = arrived.iter().find_map(|function| device::add_newcomer(*function).err()) {
        log::warn!("the device behind {port} is not used: {error}");
        take(port);
        return false;
    }
    for Function { address, vendor, device, .. } in arrived {
        log::info!("{address}: {vendor:04x}:{device:04x} came, {count} function(s) behind {port}");
    }
    true
}

/// Takes everything behind `port` from its owners, and strikes it off.
fn take(port: PciAddress) {
    let owned = device::remove(|function| pci().inventory().behind(port).any(|behind| behind == function));
    pci().unplug(port);
    log::info!("the device behind {port} left, {owned} function(s) of it in use");
}

/// What the supervisor is told of slot `index`.
pub(crate) fn info(index: usize) -> Option<SlotInfo> {
    let slots = SLOTS.lock();
    let slot = slots.get(index)?;
    Some(SlotInfo {
        port: pci::number(slot.port()),
        bus: bus_behind(slot.port()).into(),
        number: slot.number().into(),
        state: slot.outline() as u32,
        changes: slot.changes(),
    })
}

fn bus_behind(port: PciAddress) -> u8 {
    let inventory = pci().inventory();
    let function = inventory.functions().iter().find(|function| function.address == port);
    match function.map(|function| function.header) {
        Some(Header::Bridge { secondary, .. }) => secondary,
        _ => 0,
    }
}

/// Asks something of slot `index`; the first CPU does it.
pub(crate) fn request(index: usize, request: Request) -> Result<(), Error> {
    let mut slots = SLOTS.lock();
    let slot = slots.get_mut(index).ok_or(Error::NotFound)?;
    if !slot.request(request) {
        return Err(Error::Busy);
    }
    drop(slots);
    apic::send(cpus::apic_id(CPU), apic::HOTPLUG);
    Ok(())
}

/// Sets or clears who is told of changes.
pub(crate) fn watch(event: Option<Ref<Event>>) {
    let old = core::mem::replace(&mut *WATCHER.lock(), event);
    // Outside the lock: the last reference to the event may go here.
    drop(old);
}

/// While it exists, the link of the slot that `function` is in may go down: it is being reset.
pub(crate) struct Hold(Option<PciAddress>);

/// Says that a function is being reset.
pub(crate) fn hold(function: PciAddress) -> Hold {
    let inventory = pci().inventory();
    let is_above = |slot: &&mut Slot| inventory.behind(slot.port()).any(|behind| behind == function);
    Hold(SLOTS.lock().iter_mut().find(is_above).map(|slot| {
        slot.hold();
        slot.port()
    }))
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(port) = self.0 else { return };
        if let Some(slot) = SLOTS.lock().iter_mut().find(|slot| slot.port() == port) {
            slot.release(&pci().ecam);
        }
        // What was not looked at meanwhile is looked at now.
        apic::send(cpus::apic_id(CPU), apic::HOTPLUG);
    }
}
