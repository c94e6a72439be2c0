//! Which unit confines a function, and under which requesters it sends.
//!
//! **Invariant: a [`Cover`] lists every requester that a transfer of the function can carry**, so that attaching all of
//! them confines it and blocking all of them cuts it off.

use heapless::Vec as FixedVec;

use weir_iommu::acpi::{PciAddress, Refusal};
use weir_iommu::address::RequesterId;
use weir_kernel::pci::Function;

use super::UNITS;
use crate::pci::{self, Hierarchy, pci};

/// Requesters of one function: its own and the aliases of bridges above it. Deeper chains of conventional bridges are
/// refused.
pub(super) const MOST: usize = 8;

/// How a function is confined.
#[derive(Clone, Debug)]
pub(crate) struct Cover {
    pub(super) unit: usize,
    pub(super) requesters: FixedVec<RequesterId, MOST>,
    /// The one its messages carry.
    pub(super) sender: RequesterId,
}

impl Cover {
    /// Whether something that `unit` saw from `requester` can be this function's.
    pub(crate) fn is_from(&self, unit: usize, requester: RequesterId) -> bool {
        self.unit == unit && self.requesters.contains(&requester)
    }
}

/// How a function is confined.
///
/// # Errors
/// Why it must not be granted.
pub(crate) fn cover(function: &Function) -> Result<Cover, Refusal> {
    let units = UNITS.get().ok_or(Refusal::NoUnit)?;
    // Firmware names physical functions only; a virtual one is under the unit of its physical one (VT-d 5.10 §8.3 "DMA
    // Remapping Hardware Unit Definition Structure").
    let named = function.virtual_of.map_or(function.address, |of| of.physical);
    let address = PciAddress { segment: named.segment(), id: pci::requester(named) };
    let inventory = pci().inventory();
    let index = inventory.find(function.address).ok_or(Refusal::NoUnit)?;
    let seen_as = pci::requester(inventory.requester(index));
    let found = units.firmware.cover(address, seen_as, &Hierarchy)?;
    let mut requesters = FixedVec::new();
    for requester in inventory.requesters(index).map(pci::requester).chain([found.sender]) {
        if !requesters.contains(&requester) {
            requesters.push(requester).map_err(|_| Refusal::NoUnit)?;
        }
    }
    Ok(Cover { unit: found.unit, requesters, sender: found.sender })
}
