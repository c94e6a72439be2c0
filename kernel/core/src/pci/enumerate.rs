//! Finding all functions, by walking the buses the firmware numbered.
//!
//! **Invariant: every bus is scanned once, whatever bridges say about the buses behind them.**

use alloc::vec::Vec;

use pci_types::PciAddress;

use super::capability::PortType;
use super::config::ConfigSpace;
use super::error::PciError;
use super::function::{Function, Header};

/// Functions that are listed at most: a bound on the kernel memory a hostile device costs.
pub const MAX_FUNCTIONS: usize = 4096;

/// Buses that configuration space reaches: one entry of the ACPI table MCFG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRange {
    /// Their segment.
    pub segment: u16,
    /// The first bus.
    pub first: u8,
    /// The last bus.
    pub last: u8,
}

/// All functions of the machine, in the order they were found: a bridge before what is behind it.
#[derive(Debug)]
pub struct Inventory {
    pub(super) functions: Vec<Function>,
}

impl Inventory {
    /// The functions.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Index of the function at `address`.
    #[must_use]
    pub fn find(&self, address: PciAddress) -> Option<usize> {
        self.functions.iter().position(|function| function.address == address)
    }

    /// The bridges between a function and the root complex, nearest first.
    pub(super) fn bridges_above(&self, index: usize) -> impl Iterator<Item = usize> {
        core::iter::successors(self.functions[index].parent, |bridge| self.functions[*bridge].parent)
    }
}

/// Finds every function in `ranges` and makes it quiet: see [`Function`] and the module's head.
///
/// Bridges behind which the firmware numbered no bus, or numbered it so that two bridges claim it, are listed
/// without functions behind them. A bus behind no bridge is a root bus.
///
/// # Errors
///
/// [`PciError::BadBusRanges`], [`PciError::TooManyFunctions`], [`PciError::NoMemory`].
pub fn enumerate(space: &dyn ConfigSpace, ranges: &[BusRange]) -> Result<Inventory, PciError> {
    let mut functions = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        if range.first > range.last || ranges[..index].iter().any(|other| overlap(range, other)) {
            return Err(PciError::BadBusRanges { segment: range.segment });
        }
        let none = [false; 256];
        let mut scan = Scan { space, range: *range, scanned: none, behind_bridge: none, functions };
        // Bus numbers grow with the distance from the root: at its turn, a bus behind no bridge is a root bus.
        for bus in range.first..=range.last {
            scan.tree(bus)?;
        }
        functions = scan.functions;
    }
    Ok(Inventory { functions })
}

fn overlap(a: &BusRange, b: &BusRange) -> bool {
    a.segment == b.segment && a.first <= b.last && b.first <= a.last
}

type Buses = [bool; 256];

struct Scan<'a> {
    space: &'a dyn ConfigSpace,
    range: BusRange,
    scanned: Buses,
    /// In the range of a bridge; without a bridge that has it as its next bus, nothing real answers there.
    behind_bridge: Buses,
    functions: Vec<Function>,
}

impl Scan<'_> {
    /// Scans a root bus and everything behind its bridges.
    fn tree(&mut self, root: u8) -> Result<(), PciError> {
        if self.behind_bridge[usize::from(root)] {
            return Ok(());
        }
        let mut next = self.functions.len();
        self.bus(root, None)?;
        // Functions are appended as they are found, so this also reaches the bridges behind bridges.
        while let Some(function) = self.functions.get(next) {
            if let Some((secondary, subordinate)) = self.buses_behind(function) {
                self.behind_bridge[usize::from(secondary)..=usize::from(subordinate)].fill(true);
                self.bus(secondary, Some(next))?;
            }
            next += 1;
        }
        Ok(())
    }

    /// First and last bus behind a bridge, if no other has the first and the firmware can have meant them.
    fn buses_behind(&self, bridge: &Function) -> Option<(u8, u8)> {
        let Header::Bridge { secondary, subordinate } = bridge.header else { return None };
        let last = match bridge.parent.map(|parent| self.functions[parent].header) {
            Some(Header::Bridge { subordinate, .. }) => subordinate,
            _ => self.range.last,
        };
        let is_sound = bridge.address.bus() < secondary && secondary <= subordinate && subordinate <= last;
        (is_sound && !self.scanned[usize::from(secondary)]).then_some((secondary, subordinate))
    }

    fn bus(&mut self, bus: u8, parent: Option<usize>) -> Result<(), PciError> {
        self.scanned[usize::from(bus)] = true;
        // A link has one device, number 0; some answer to the other numbers as well.
        let port = parent.and_then(|parent| self.functions[parent].capabilities.express);
        let is_link =
            port.is_some_and(|port| matches!(port.port_type, PortType::RootPort | PortType::DownstreamPort));
        for device in 0..if is_link { 1 } else { 32 } {
            self.device(bus, device, parent)?;
        }
        Ok(())
    }

    fn device(&mut self, bus: u8, device: u8, parent: Option<usize>) -> Result<(), PciError> {
        let at = |function| PciAddress::new(self.range.segment, bus, device, function);
        let addresses = [0, 1, 2, 3, 4, 5, 6, 7].map(at);
        let Some(first) = Function::discover(self.space, addresses[0], parent) else { return Ok(()) };
        self.push(first)?;
        if first.is_multi_function {
            for address in &addresses[1..] {
                if let Some(function) = Function::discover(self.space, *address, parent) {
                    self.push(Function { is_multi_function: true, ..function })?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, function: Function) -> Result<(), PciError> {
        if self.functions.len() >= MAX_FUNCTIONS {
            return Err(PciError::TooManyFunctions { limit: MAX_FUNCTIONS });
        }
        self.functions.try_reserve(1).map_err(|_| PciError::NoMemory)?;
        self.functions.push(function);
        Ok(())
    }
}
