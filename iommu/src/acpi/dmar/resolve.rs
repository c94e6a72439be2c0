//! From a function to the unit that covers it (VT-d 5.10 §8.3.1, §3.12.1 for bridges).
//!
//! **Invariant: no answer rather than a wrong one**: a path that does not lead through existing bridges names
//! nothing, and two units that name the same function cover it both not.

use super::{Devices, Dmar, ReservedRegion, Scope, ScopeKind, UnitDescription};
use crate::acpi::count::{Count, at_most_one};
use crate::address::RequesterId;

/// A PCI function. Virtual functions are covered where their physical function is (§8.3): ask for that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddress {
    /// Segment (domain) number.
    pub segment: u16,
    /// Bus, device, function.
    pub id: RequesterId,
}

/// How the buses hang together, as PCI enumeration found it.
pub trait Topology {
    /// The bus directly below the bridge, or `None` where the function is no bridge.
    fn secondary_bus(&self, bridge: PciAddress) -> Option<u8>;
    /// The bridge the bus hangs below, or `None` for a root bus.
    fn parent_bridge(&self, segment: u16, bus: u8) -> Option<RequesterId>;
}

/// No hierarchy is deeper than there are buses.
const DEPTH_LIMIT: usize = 256;

impl<'t> Dmar<'t> {
    /// The unit that translates `device`, or `None` if not exactly one does: such a device must not be granted.
    ///
    /// A unit that names the device, or a bridge above it, wins over one that takes all the rest.
    #[must_use]
    pub fn unit_of(&self, device: PciAddress, topology: &impl Topology) -> Option<UnitDescription<'t>> {
        let names = |unit: &UnitDescription<'_>| unit.devices.contain(unit.segment, device, topology);
        match at_most_one(self.units().filter(names)) {
            Count::One(unit) => Some(unit),
            Count::Several => None,
            Count::None => {
                let takes_rest =
                    |unit: &UnitDescription<'_>| unit.includes_all && unit.segment == device.segment;
                at_most_one(self.units().filter(takes_rest)).one()
            }
        }
    }

    /// The unit that remaps the interrupts of I/O APIC `apic_id`, and the requester id it sends them with.
    #[must_use]
    pub fn unit_of_io_apic(
        &self,
        apic_id: u8,
        topology: &impl Topology,
    ) -> Option<(UnitDescription<'t>, RequesterId)> {
        self.unit_of_platform_device(ScopeKind::IoApic, apic_id, topology)
    }

    /// The unit that remaps the messages of timer block `number`, and the requester id it sends them with.
    #[must_use]
    pub fn unit_of_hpet(
        &self,
        number: u8,
        topology: &impl Topology,
    ) -> Option<(UnitDescription<'t>, RequesterId)> {
        self.unit_of_platform_device(ScopeKind::Hpet, number, topology)
    }

    /// The memory regions `device` must go on reaching. If there is any, the device must not be granted.
    pub fn reserved_regions_of<'a>(
        &'a self,
        device: PciAddress,
        topology: &'a impl Topology,
    ) -> impl Iterator<Item = ReservedRegion<'t>> + 'a {
        let names =
            move |region: &ReservedRegion<'_>| region.devices.contain(region.segment, device, topology);
        self.reserved_regions().filter(names)
    }

    fn unit_of_platform_device(
        &self,
        kind: ScopeKind,
        number: u8,
        topology: &impl Topology,
    ) -> Option<(UnitDescription<'t>, RequesterId)> {
        let matches = self.units().flat_map(|unit| {
            let named = move |scope: &Scope<'_>| scope.kind == kind && scope.enumeration_id == number;
            unit.devices.iter().filter(named).map(move |scope| (unit, scope))
        });
        let (unit, scope) = at_most_one(matches).one()?;
        Some((unit, scope.target(unit.segment, topology)?.id))
    }
}

impl Devices<'_> {
    /// Whether `device` of the same segment is named here, or is below a bridge that is.
    #[must_use]
    pub fn contain(&self, segment: u16, device: PciAddress, topology: &impl Topology) -> bool {
        segment == device.segment && self.iter().any(|scope| scope.covers(device, topology))
    }
}

impl Scope<'_> {
    /// The function the path leads to.
    #[must_use]
    pub fn target(&self, segment: u16, topology: &impl Topology) -> Option<PciAddress> {
        let at = |bus, index: usize| {
            let step = self.path.get(index).filter(|step| step.device < 32 && step.function < 8)?;
            Some(PciAddress { segment, id: RequesterId::new(bus, step.device, step.function) })
        };
        let first = at(self.start_bus, 0)?;
        (1..self.path.len()).try_fold(first, |bridge, index| at(topology.secondary_bus(bridge)?, index))
    }

    fn covers(&self, device: PciAddress, topology: &impl Topology) -> bool {
        let Some(target) = self.target(device.segment, topology) else { return false };
        match self.kind {
            ScopeKind::Endpoint => target == device,
            ScopeKind::Bridge => {
                target == device || ancestors(device, topology).any(|bridge| bridge == target.id)
            }
            _ => false,
        }
    }
}

/// The bridges above `device`, nearest first.
fn ancestors(device: PciAddress, topology: &impl Topology) -> impl Iterator<Item = RequesterId> {
    let above = move |id: RequesterId| topology.parent_bridge(device.segment, id.bus());
    core::iter::successors(above(device.id), move |bridge| above(*bridge)).take(DEPTH_LIMIT)
}
