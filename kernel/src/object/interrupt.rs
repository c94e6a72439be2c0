//! Device interrupts: from a vector of a CPU to an event.

use weir_abi::Error;
use weir_kernel::meter::{Finding, Meter};
use weir_kernel::refs::Ref;
use weir_kernel::vectors::{CpuVectors, USABLE, Vector};

use super::device::DeviceRef;
use super::event::Event;
use crate::arch::local::local;
use crate::arch::time;
use crate::cpus::MAX_CPUS;
use crate::sync::Lock;

/// One interrupt of a device, as its owner names it.
pub(crate) struct Interrupt {
    pub(crate) device: DeviceRef,
    pub(crate) index: u16,
}

impl Interrupt {
    /// A name for interrupt `index` of a device that does not keep it bound.
    pub(crate) fn source(device: &DeviceRef, index: u16) -> Source {
        Source { device: device.clone(), index }
    }
}

/// Where an interrupt comes from.
pub(crate) struct Source {
    device: DeviceRef,
    index: u16,
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.device.unbind(self.index);
    }
}

const VECTORS: usize = (*USABLE.end() - *USABLE.start()) as usize + 1;

/// What a vector leads to.
struct Target {
    event: Ref<Event>,
    source: Source,
    meter: Lock<Meter>,
}

/// What a CPU's vectors lead to.
struct Table {
    taken: CpuVectors,
    targets: [Option<Ref<Target>>; VECTORS],
}

static TABLES: [Lock<Table>; MAX_CPUS] =
    [const { Lock::new(Table { taken: CpuVectors::new(), targets: [const { None }; VECTORS] }) }; MAX_CPUS];

/// A vector of a CPU that leads to an event, until dropped.
pub(crate) struct Route {
    pub(crate) cpu: u32,
    vector: Vector,
    target: Ref<Target>,
}

impl Route {
    /// Takes a free vector of the running CPU and leads it from `source` to `event`, `budget` times per window.
    pub(crate) fn to(event: &Ref<Event>, source: Source, budget: u32) -> Result<Route, Error> {
        let cpu = local().index;
        let meter = Lock::new(Meter::new(budget));
        let target = Ref::try_new(Target { event: event.clone(), source, meter }).ok_or(Error::NoMemory)?;
        let mut table = TABLES[cpu as usize].lock();
        let vector = table.taken.allocate().ok_or(Error::NoMemory)?;
        table.targets[position(vector.0)] = Some(target.clone());
        Ok(Route { cpu, vector, target })
    }

    /// Counts in the event, as if the interrupt had come.
    pub(crate) fn signal(&self) {
        // An owner that is ending needs no interrupts.
        let _ = self.target.event.signal();
    }

    /// The vector's number.
    pub(crate) fn vector(&self) -> u8 {
        self.vector.0
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let target = {
            let mut table = TABLES[self.cpu as usize].lock();
            // It was allocated: this value is the proof.
            let _ = table.taken.free(self.vector);
            table.targets[position(self.vector.0)].take()
        };
        // Outside the lock: the last reference to the event may go with it.
        drop(target);
    }
}

fn position(vector: u8) -> usize {
    usize::from(vector - USABLE.start())
}

/// A device interrupt has arrived on this CPU: counts it, wakes who sleeps, stops it where it comes too often.
pub(crate) fn dispatch(vector: u8) {
    if !USABLE.contains(&vector) {
        return;
    }
    let target = TABLES[local().index as usize].lock().targets[position(vector)].clone();
    let Some(target) = target else { return };
    // An owner that is ending needs no interrupts.
    let _ = target.event.signal();
    let mut meter = target.meter.lock();
    if meter.count(time::now_ns()) != Finding::Calm {
        let (until_ns, is_first) = (meter.window_end_ns(), meter.is_first_storm());
        drop(meter);
        target.source.device.stop_interrupt(target.source.index, until_ns, is_first);
    }
}
