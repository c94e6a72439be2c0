//! Device interrupts: from a vector of a CPU to an event.

use weir_abi::Error;
use weir_kernel::refs::Ref;
use weir_kernel::vectors::{CpuVectors, USABLE, Vector};

use super::device::DeviceRef;
use super::event::Event;
use crate::arch::local::local;
use crate::cpus::MAX_CPUS;
use crate::sync::Lock;

/// One interrupt of a device, as its owner names it.
pub(crate) struct Interrupt {
    pub(crate) device: DeviceRef,
    pub(crate) index: u16,
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.device.unbind(self.index);
    }
}

const VECTORS: usize = (*USABLE.end() - *USABLE.start()) as usize + 1;

/// What a CPU's vectors lead to.
struct Table {
    taken: CpuVectors,
    events: [Option<Ref<Event>>; VECTORS],
}

static TABLES: [Lock<Table>; MAX_CPUS] =
    [const { Lock::new(Table { taken: CpuVectors::new(), events: [const { None }; VECTORS] }) }; MAX_CPUS];

/// A vector of a CPU that leads to an event, until dropped.
pub(crate) struct Route {
    pub(crate) cpu: u32,
    vector: Vector,
}

impl Route {
    /// Takes a free vector of the running CPU and leads it to `event`.
    pub(crate) fn to(event: &Ref<Event>) -> Result<Route, Error> {
        let cpu = local().index;
        let mut table = TABLES[cpu as usize].lock();
        let vector = table.taken.allocate().ok_or(Error::NoMemory)?;
        table.events[position(vector.0)] = Some(event.clone());
        Ok(Route { cpu, vector })
    }

    /// The vector's number.
    pub(crate) fn vector(&self) -> u8 {
        self.vector.0
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let event = {
            let mut table = TABLES[self.cpu as usize].lock();
            // It was allocated: this value is the proof.
            let _ = table.taken.free(self.vector);
            table.events[position(self.vector.0)].take()
        };
        // Outside the lock: the last reference to the event may go here.
        drop(event);
    }
}

fn position(vector: u8) -> usize {
    usize::from(vector - USABLE.start())
}

/// A device interrupt has arrived on this CPU: counts it, wakes who sleeps.
pub(crate) fn dispatch(vector: u8) {
    if !USABLE.contains(&vector) {
        return;
    }
    let event = TABLES[local().index as usize].lock().events[position(vector)].clone();
    if let Some(event) = event {
        // An owner that is ending needs no interrupts.
        let _ = event.signal();
    }
}
