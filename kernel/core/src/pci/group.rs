//! Who can reach whom past the IOMMU.
//!
//! **Invariant: two functions are in different groups only if every transfer between them passes the IOMMU, as far as
//! the machine says.**
//!
//! The rules are those of Linux, which take a missing statement for "not isolated", and one more: a switch with one
//! port that does not send everything up is one group, because that port reaches all others. As for Linux, different
//! root ports are taken to reach each other only through the IOMMU. What a function says wrongly about itself is not
//! found out. Glossary: *alias* — a requester under which a bridge passes on the transfers of another
//! function (PCI Express to PCI/PCI-X Bridge Specification 1.0 §2.3).

use pci_types::PciAddress;

use super::capability::PortType;
use super::enumerate::Inventory;
use super::function::{Function, Header, ISOLATING};
use super::registers::AcsFlags;

impl Inventory {
    /// The requesters that transfers of a function can carry: its own, then the aliases that bridges above it use,
    /// the one nearest to the IOMMU last.
    pub fn requesters(&self, index: usize) -> impl Iterator<Item = PciAddress> {
        let aliases = self.bridges_above(index).filter_map(|bridge| self.functions[bridge].alias());
        core::iter::once(self.functions[index].address).chain(aliases)
    }

    /// The requester that the IOMMU sees: the last of [`Inventory::requesters`].
    #[must_use]
    pub fn requester(&self, index: usize) -> PciAddress {
        self.requesters(index).last().unwrap_or(self.functions[index].address)
    }

    /// The isolation group of a function: the index of the first function in it. Equal as long as no function comes or
    /// goes.
    #[must_use]
    pub fn group(&self, index: usize) -> usize {
        let mut reach = index;
        // Without access control on the way up, transfers turn round at the bridge and come down elsewhere. A bridge
        // with an alias, under which the IOMMU cannot tell functions apart, never has access control.
        while let Some(bridge) = self.functions[reach].parent
            && (self.is_in_leaking_switch(reach) || !self.is_path_isolating(bridge))
        {
            reach = bridge;
        }
        self.first_connected(reach)
    }

    /// Whether a bridge and every one above it send everything up.
    fn is_path_isolating(&self, bridge: usize) -> bool {
        let mut path = core::iter::once(bridge).chain(self.bridges_above(bridge));
        path.all(|bridge| self.functions[bridge].is_isolating() && !self.is_in_leaking_switch(bridge))
    }

    /// Whether it is a downstream port of a switch one of whose downstream ports lets transfers turn round.
    fn is_in_leaking_switch(&self, index: usize) -> bool {
        let (port, is_downstream) = (&self.functions[index], Function::is_downstream_port);
        let mut siblings =
            self.functions.iter().filter(|other| other.parent == port.parent && is_downstream(other));
        is_downstream(port) && siblings.any(|sibling| !sibling.is_isolating())
    }

    /// The first of the functions of one device that are connected inside of it to `index`.
    fn first_connected(&self, index: usize) -> usize {
        let function = &self.functions[index];
        if !function.is_multi_function || function.is_isolating() {
            return index;
        }
        let is_connected = |other: &Function| is_same_device(other, function) && !other.is_isolating();
        self.functions.iter().position(is_connected).unwrap_or(index)
    }
}

fn is_same_device(a: &Function, b: &Function) -> bool {
    let device = |f: &Function| (f.address.segment(), f.address.bus(), f.address.device());
    device(a) == device(b)
}

impl Function {
    /// The requester this bridge passes transfers on with, if it is not the original one.
    fn alias(&self) -> Option<PciAddress> {
        let Header::Bridge { secondary, .. } = self.header else { return None };
        match self.capabilities.express.map(|express| express.port_type) {
            Some(PortType::ToPci) => Some(PciAddress::new(self.address.segment(), secondary, 0, 0)),
            Some(PortType::RootPort | PortType::UpstreamPort | PortType::DownstreamPort) => None,
            // Conventional PCI above: the bridge asks in its own name.
            _ => Some(self.address),
        }
    }

    fn is_downstream_port(&self) -> bool {
        self.capabilities.express.is_some_and(|express| express.port_type == PortType::DownstreamPort)
    }

    /// Whether transfers that enter this function leave it only upwards (PCIe 6.0 §6.12.1 "ACS Component Capability
    /// Requirements").
    fn is_isolating(&self) -> bool {
        let Some(express) = self.capabilities.express else { return false };
        match express.port_type {
            PortType::RootPort | PortType::DownstreamPort => self.has_isolating_acs(),
            // A single function has nobody to talk to inside its device.
            PortType::Endpoint | PortType::UpstreamPort | PortType::IntegratedEndpoint => {
                !self.is_multi_function || self.has_isolating_acs()
            }
            PortType::ToPci | PortType::FromPci | PortType::EventCollector | PortType::Unknown(_) => false,
        }
    }

    /// What a function with ACS does not offer to control, it does always; egress control apart, which Weir leaves off.
    fn has_isolating_acs(&self) -> bool {
        let needed = |capable: AcsFlags| ISOLATING.into_bits() & capable.into_bits();
        self.acs.is_some_and(|acs| acs.enabled().into_bits() & needed(acs.capable()) == needed(acs.capable()))
    }
}
