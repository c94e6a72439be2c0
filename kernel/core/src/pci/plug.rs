//! Functions that come and go while the machine runs.
//!
//! **Invariant: a function that came is as quiet as one that was found at boot, and its registers lie inside the
//! windows of the bridge above it, in pages of their own; on an error nothing was listed.**
//!
//! Functions come behind a port, as device 0. What is behind a bridge that comes is not looked at: it has no bus
//! numbers and no windows. I/O ports are not assigned.

use core::ops::Range;

use heapless::Vec as FixedVec;
use pci_types::PciAddress;

use super::bar::{Bar, BarKind, ENDPOINT_BARS};
use super::config::{Config, ConfigSpace};
use super::enumerate::{Inventory, MAX_FUNCTIONS};
use super::error::PciError;
use super::function::{Function, Header};
use super::mapping::{overlap, whole_pages};
use super::registers::{BarWord, offset};
use super::window::Windows;
use crate::frames::PhysAddr;

/// Functions of one device, at most.
pub const DEVICE_FUNCTIONS: usize = 8;
const BARS: usize = DEVICE_FUNCTIONS * ENDPOINT_BARS as usize;

/// A device's functions, before they are listed.
type Arrived = FixedVec<Function, DEVICE_FUNCTIONS>;

impl Inventory {
    /// Makes room for functions that come later: they cost no memory then.
    ///
    /// # Errors
    /// [`PciError::NoMemory`].
    pub fn reserve(&mut self, functions: usize) -> Result<(), PciError> {
        self.functions.try_reserve_exact(functions).map_err(|_| PciError::NoMemory)
    }

    /// The addresses of all functions behind a bridge, nearest bridges first.
    pub fn behind(&self, bridge: PciAddress) -> impl Iterator<Item = PciAddress> {
        let index = self.find(bridge);
        let is_behind = move |its: &usize| index.is_some_and(|index| self.is_behind(*its, index));
        (0..self.functions.len()).filter(is_behind).map(|its| self.functions[its].address)
    }

    /// The memory windows of a bridge.
    pub fn read_windows(&self, space: &dyn ConfigSpace, bridge: PciAddress) -> Option<Windows> {
        let function = &self.functions[self.find(bridge)?];
        function.is_bridge().then(|| Windows::read(Config::new(space, bridge)))
    }

    /// Lists the device that came behind `port`, once it is quiet and its registers have addresses. `reserved` is what
    /// no device may claim: memory, and registers that are the kernel's. Returns how many functions it has.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`] where `port` is no bridge, leads to no bus, or something is behind it already;
    /// [`PciError::Vanished`] where nothing answers (any more), [`PciError::NoRoom`], [`PciError::Malformed`] where a
    /// register does not take its address, [`PciError::TooManyFunctions`] beyond what was reserved.
    pub fn plug(
        &mut self,
        space: &dyn ConfigSpace,
        port: PciAddress,
        reserved: &[Range<PhysAddr>],
    ) -> Result<usize, PciError> {
        let parent = self.find(port).ok_or(PciError::NotPresent)?;
        let Header::Bridge { secondary, .. } = self.functions[parent].header else {
            return Err(PciError::NotPresent);
        };
        if secondary <= port.bus() || self.behind(port).next().is_some() {
            return Err(PciError::NotPresent);
        }
        let mut arrived = Arrived::new();
        self.discover(space, PciAddress::new(port.segment(), secondary, 0, 0), parent, &mut arrived);
        let windows = Windows::read(Config::new(space, port));
        self.assign(space, &mut arrived, &windows, reserved)?;
        if arrived.is_empty() {
            return Err(PciError::Vanished);
        }
        let limit = self.functions.capacity().min(MAX_FUNCTIONS);
        if self.functions.len() + arrived.len() > limit {
            return Err(PciError::TooManyFunctions { limit });
        }
        let count = arrived.len();
        self.functions.extend(arrived);
        Ok(count)
    }

    /// Strikes all functions behind `port` off the list; nothing is asked of them. Needs no memory.
    pub fn unplug(&mut self, port: PciAddress) {
        let Some(bridge) = self.find(port) else { return };
        // A bridge is listed before what is behind it: from the end, nobody loses a parent, nor does `port` move.
        while let Some(gone) = (0..self.functions.len()).rfind(|index| self.is_behind(*index, bridge)) {
            self.strike(gone);
        }
    }

    /// Strikes off one function, which is nobody's parent.
    pub(super) fn strike(&mut self, gone: usize) {
        self.functions.remove(gone);
        for parent in self.functions.iter_mut().filter_map(|function| function.parent.as_mut()) {
            *parent -= usize::from(*parent > gone);
        }
    }

    fn is_behind(&self, index: usize, bridge: usize) -> bool {
        self.bridges_above(index).any(|above| above == bridge)
    }

    fn discover(&self, space: &dyn ConfigSpace, first: PciAddress, parent: usize, arrived: &mut Arrived) {
        let Some(function) = Function::discover(space, first, Some(parent)) else { return };
        let is_multi_function = function.is_multi_function;
        let others = (1..8).filter(|_| is_multi_function).filter_map(|number| {
            let address = PciAddress::new(first.segment(), first.bus(), 0, number);
            let other = Function::discover(space, address, Some(parent))?;
            Some(Function { is_multi_function: true, ..other })
        });
        // As many as there is room for.
        arrived.extend(core::iter::once(function).chain(others));
    }

    /// Gives every memory BAR an address, the largest first: so none is left without for want of alignment.
    fn assign(
        &self,
        space: &dyn ConfigSpace,
        arrived: &mut Arrived,
        windows: &Windows,
        reserved: &[Range<PhysAddr>],
    ) -> Result<(), PciError> {
        // Whatever went meanwhile read as ones: what was learnt is worth nothing then, and this finds it gone.
        for function in arrived.iter().filter(|function| !function.is_malformed) {
            function.set_memory_decode(space, false)?;
        }
        for (function, number) in by_size(arrived) {
            let Some(bar) = arrived[function].bars[number] else { continue };
            let address = self.room(&bar, arrived, windows, reserved).ok_or(PciError::NoRoom)?;
            let config = arrived[function].present(space)?;
            write(config, offset::BARS, number, &bar, address)?;
            arrived[function].bars[number] = Some(Bar { address, ..bar });
        }
        Ok(())
    }

    /// Where nothing lies yet that is listed, has just arrived, or is reserved.
    pub(super) fn room(
        &self,
        bar: &Bar,
        arrived: &[Function],
        windows: &Windows,
        reserved: &[Range<PhysAddr>],
    ) -> Option<u64> {
        let listed = self.functions.iter().chain(arrived.iter()).flat_map(Function::memory);
        let taken = |pages: &Range<PhysAddr>| {
            let held = listed.clone().chain(reserved.iter().cloned()).map(|range| whole_pages(&range));
            held.filter(|held| overlap(held, pages)).map(|held| held.end).max()
        };
        windows.place(bar.kind, bar.bytes, taken)
    }
}

/// The memory BARs of all functions as (function, number), and their old addresses forgotten.
fn by_size(arrived: &mut Arrived) -> FixedVec<(usize, usize), BARS> {
    let mut all = FixedVec::<(u64, usize, usize), BARS>::new();
    for (function, arrival) in arrived.iter_mut().enumerate() {
        for (number, bar) in arrival.bars.iter_mut().enumerate() {
            let Some(bar) = bar.as_mut().filter(|bar| matches!(bar.kind, BarKind::Memory { .. })) else {
                continue;
            };
            bar.address = 0;
            // There are as many places as BARs.
            let _ = all.push((bar.bytes, function, number));
        }
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.into_iter().map(|(_, function, number)| (function, number)).collect()
}

/// Writes the address of register `number` of those from `first` on, and looks whether it was taken.
pub(super) fn write(
    config: Config,
    first: u16,
    number: usize,
    bar: &Bar,
    address: u64,
) -> Result<(), PciError> {
    let at = first + 4 * u16::try_from(number).unwrap_or(0);
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    config.write(at, low);
    let mut is_taken = BarWord::from_bits(config.read(at)).address() == BarWord::from_bits(low).address();
    if matches!(bar.kind, BarKind::Memory { is_64_bit: true, .. }) {
        config.write(at + 4, high);
        is_taken &= config.read(at + 4) == high;
    }
    if is_taken { Ok(()) } else { Err(PciError::Malformed) }
}

impl Function {
    /// What its memory BARs decode.
    pub(super) fn memory(&self) -> impl Iterator<Item = Range<PhysAddr>> + Clone {
        self.bars.iter().flatten().filter_map(Bar::memory)
    }
}
