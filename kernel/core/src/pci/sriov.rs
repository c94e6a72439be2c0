//! Virtual functions (PCIe 6.0 chapter 9 "Single Root I/O Virtualization and Sharing").
//!
//! **Invariant: a virtual function that is listed has a place that no other function has, on the bus of its physical one,
//! and whole pages of registers in the windows of the bridge above; on an error none exists.**
//!
//! They come in two steps, because they must be left alone for 100 ms once they are switched on: [`Inventory::begin_virtual`]
//! holds their places and addresses, [`Inventory::end_virtual`] looks at them. How many there are, where, and how large
//! is what the physical function says, and checked. Does not use other buses, nor physical functions on a root bus, whose
//! windows only firmware knows. Glossary: *ARI* — alternative routing ids: device and function number are one number.

use core::ops::Range;

use pci_types::PciAddress;

use super::bar::{Bar, BarKind, Bars, ENDPOINT_BARS, size_registers};
use super::capability::{PortType, Sriov};
use super::config::{Config, ConfigSpace};
use super::enumerate::{Inventory, MAX_FUNCTIONS as MAX_LISTED};
use super::error::PciError;
use super::function::Function;
use super::plug;
use super::registers::{AriForwarding, SriovControl, SriovPlaces};
use super::window::Windows;
use crate::frames::{FRAME_BYTES, PhysAddr};

/// Virtual functions that one function is let have: a bound on the kernel memory they cost.
pub const MAX_FUNCTIONS: u16 = 64;
/// How long they must be left alone once they are switched on (§9.3.3.3.1 "VF Enable").
pub const QUIET_US: u64 = 100_000;
/// How long the capability must be left alone once they are switched off (the same).
pub const GONE_US: u64 = 1_000_000;

/// Offsets in the capability (§9.3.3 "SR-IOV Extended Capability").
const CONTROL: u16 = 0x08;
pub(super) const TOTALS: u16 = 0x0c;
const NUMBER: u16 = 0x10;
const PLACES: u16 = 0x14;
const DEVICE: u16 = 0x1a;
const PAGE_SIZE: u16 = 0x20;
const BARS: u16 = 0x24;
pub(super) const CAPABILITY_BYTES: u16 = 0x40;
/// Page size: units of 4 KiB.
const FOUR_KIB: u32 = 1;

/// Offsets in the PCI Express capability of a port.
const DEVICE_CAPABILITIES_2: u16 = 0x24;
const DEVICE_CONTROL_2: u16 = 0x28;

impl Inventory {
    /// Switches on `count` virtual functions of `physical`, and lists them without having looked at them. `reserved` is
    /// what no device may claim.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`] where it can have none, or has some already; [`PciError::OutOfRange`] for none or more than
    /// it can have; [`PciError::Malformed`] where they would lie on another bus, in others' places, or do not take
    /// addresses; [`PciError::SharesPage`] where their registers are no whole pages; [`PciError::NoRoom`],
    /// [`PciError::TooManyFunctions`] beyond what was reserved, [`PciError::Vanished`].
    pub fn begin_virtual(
        &mut self,
        space: &dyn ConfigSpace,
        physical: PciAddress,
        count: u16,
        reserved: &[Range<PhysAddr>],
    ) -> Result<(), PciError> {
        let index = self.find(physical).ok_or(PciError::NotPresent)?;
        let function = self.functions[index];
        // Each has function-level reset (§9.2.2.2 "FLR That Targets a PF"); without, nobody could be rid of them.
        let sriov = function.capabilities.sriov.filter(|_| function.has_flr()).ok_or(PciError::NotPresent)?;
        if self.virtual_of(physical).next().is_some() {
            return Err(PciError::NotPresent);
        }
        if count == 0 || count > sriov.functions {
            return Err(PciError::OutOfRange);
        }
        let limit = self.functions.capacity().min(MAX_LISTED);
        if self.functions.len() + usize::from(count) > limit {
            return Err(PciError::TooManyFunctions { limit });
        }
        let config = function.present(space)?;
        let control = SriovControl::new().with_has_ari(self.forwards_ari(space, &function));
        write_control(config, sriov.offset, control);
        let places = self.places(config, &sriov, &function, count, control.has_ari())?;
        let ranges = self.assign_ranges(space, config, &sriov, &function, count, reserved)?;
        let device = config.read_half(sriov.offset + DEVICE);
        for number in 0..count {
            let address = places.address(physical, number).ok_or(PciError::Malformed)?;
            let bars = ranges.map(|range| range.map(|range| part(&range, count, number)));
            self.functions.push(Function::announced(&function, address, number, device, bars));
        }
        write_control(config, sriov.offset, control.with_has_functions(true).with_decodes_memory(true));
        Ok(())
    }

    /// Looks at the virtual functions that were switched on [`QUIET_US`] ago. One that does not answer, or describes itself
    /// wrongly, stays listed as malformed.
    pub fn end_virtual(&mut self, space: &dyn ConfigSpace, physical: PciAddress) {
        for function in &mut self.functions {
            if function.virtual_of.is_some_and(|of| of.physical == physical) && function.is_malformed {
                // It stays malformed.
                let _ = function.discover_virtual(space);
            }
        }
    }

    /// Switches off the virtual functions of `physical` and strikes them off; needs no memory, and asks nothing of the
    /// device. For [`GONE_US`] its capability must be left alone.
    pub fn remove_virtual(&mut self, space: &dyn ConfigSpace, physical: PciAddress) {
        if let Some(index) = self.find(physical)
            && let Some(sriov) = self.functions[index].capabilities.sriov
        {
            write_control(Config::new(space, physical), sriov.offset, SriovControl::new());
        }
        // Nothing has a virtual function as its parent, and they are listed after everything that can be one.
        while let Some(gone) = self.functions.iter().rposition(|it| is_virtual_of(it, physical)) {
            self.strike(gone);
        }
    }

    /// The virtual functions of `physical`.
    pub fn virtual_of(&self, physical: PciAddress) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |function| is_virtual_of(function, physical))
    }

    /// Has the port above forward requests by alternative routing ids, where both ends can (§6.13 "Alternative
    /// Routing-ID Interpretation"); says whether it does.
    fn forwards_ari(&self, space: &dyn ConfigSpace, function: &Function) -> bool {
        let port = function.parent.map(|parent| self.functions[parent]);
        let express = port.and_then(|port| Some((port.address, port.capabilities.express?)));
        let Some((address, express)) = express else { return false };
        let is_port = matches!(express.port_type, PortType::RootPort | PortType::DownstreamPort);
        if !is_port || !function.capabilities.has_ari {
            return false;
        }
        let config = Config::new(space, address);
        let read = |at| AriForwarding::from_bits(config.read(express.offset + at));
        if read(DEVICE_CAPABILITIES_2).forwards() {
            let control = read(DEVICE_CONTROL_2).with_forwards(true);
            // The upper half is the status register, of which nothing is to be cleared.
            config.write(express.offset + DEVICE_CONTROL_2, control.into_bits() & 0xffff);
        }
        read(DEVICE_CONTROL_2).forwards()
    }

    /// Where `count` virtual functions are: on the same bus, where a link's other end reaches them, nobody else's places.
    fn places(
        &self,
        config: Config,
        sriov: &Sriov,
        function: &Function,
        count: u16,
        has_ari: bool,
    ) -> Result<Places, PciError> {
        config.write_half(sriov.offset + NUMBER, count);
        let word = SriovPlaces::from_bits(config.read(sriov.offset + PLACES));
        let places = Places { first: word.first(), stride: word.stride() };
        let is_sound = |number| {
            let address = places.address(function.address, number)?;
            // Without ARI a link has device 0 only.
            (has_ari || address.device() == 0).then_some(())?;
            self.find(address).is_none().then_some(())
        };
        let is_apart = places.first > 0 && (places.stride > 0 || count == 1);
        if is_apart && (0..count).all(|number| is_sound(number).is_some()) {
            Ok(places)
        } else {
            Err(PciError::Malformed)
        }
    }

    /// Sizes the registers and gives each memory range an address, the largest first: a range has the registers of all.
    fn assign_ranges(
        &self,
        space: &dyn ConfigSpace,
        config: Config,
        sriov: &Sriov,
        function: &Function,
        count: u16,
        reserved: &[Range<PhysAddr>],
    ) -> Result<Bars, PciError> {
        let bridge = function.parent.map(|parent| self.functions[parent].address);
        let windows = Windows::read(Config::new(space, bridge.ok_or(PciError::NoRoom)?));
        config.write(sriov.offset + PAGE_SIZE, FOUR_KIB);
        let sizes = read_sizes(config, sriov.offset + BARS)?;
        // Stands for all of them, so that one range is not put where another is.
        let mut all = Function { bars: Bars::default(), ..*function };
        let mut order = [0, 1, 2, 3, 4, 5];
        order.sort_unstable_by_key(|number| core::cmp::Reverse(sizes[*number].map(|bar| bar.bytes)));
        for number in order {
            let Some(one) = sizes[number] else { continue };
            let bytes = one.bytes.checked_mul(count.into()).ok_or(PciError::Malformed)?;
            let room = bytes.checked_next_power_of_two().ok_or(PciError::Malformed)?;
            let place = self.room(&Bar { bytes: room, ..one }, &[all], &windows, reserved);
            let address = place.ok_or(PciError::NoRoom)?;
            plug::write(config, sriov.offset + BARS, number, &one, address)?;
            all.bars[number] = Some(Bar { address, bytes, ..one });
        }
        Ok(all.bars)
    }
}

/// Switches virtual functions off, whatever firmware left; the other bits stay.
pub(super) fn switch_off(config: Config, at: u16) {
    let control = SriovControl::from_bits(config.read(at + CONTROL));
    write_control(config, at, control.with_has_functions(false).with_decodes_memory(false));
}

/// Writes the control register; the status register beside it stays as it is.
fn write_control(config: Config, at: u16, control: SriovControl) {
    config.write(at + CONTROL, control.with_status(0).into_bits());
}

fn is_virtual_of(function: &Function, physical: PciAddress) -> bool {
    function.virtual_of.is_some_and(|of| of.physical == physical)
}

/// The memory that one virtual function decodes in each register.
fn read_sizes(config: Config, first: u16) -> Result<Bars, PciError> {
    // What they hold is nobody's: without an address every size is right.
    (0..u16::from(ENDPOINT_BARS)).for_each(|number| config.write(first + 4 * number, 0));
    let mut bars = Bars::default();
    size_registers(config, first, ENDPOINT_BARS, &mut bars)?;
    for bar in bars.iter().flatten() {
        if !matches!(bar.kind, BarKind::Memory { .. }) {
            return Err(PciError::Malformed);
        }
        if !bar.bytes.is_multiple_of(FRAME_BYTES) {
            return Err(PciError::SharesPage);
        }
    }
    Ok(bars)
}

/// The registers of function `number` in a range that has those of `count`.
fn part(range: &Bar, count: u16, number: u16) -> Bar {
    let bytes = range.bytes / u64::from(count);
    Bar { address: range.address + u64::from(number) * bytes, bytes, kind: range.kind }
}

/// Distances between functions, in routing ids.
struct Places {
    first: u16,
    stride: u16,
}

impl Places {
    /// Where function `number` is; `None` on another bus than the physical one.
    fn address(&self, physical: PciAddress, number: u16) -> Option<PciAddress> {
        let own = u16::from(physical.device()) << 3 | u16::from(physical.function());
        let place = self.stride.checked_mul(number)?.checked_add(self.first)?.checked_add(own)?;
        let place = u8::try_from(place).ok()?;
        Some(PciAddress::new(physical.segment(), physical.bus(), place >> 3, place & 7))
    }
}
