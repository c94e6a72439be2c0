//! The unit's interrupt half (48882 §2.2.5 "Interrupt Remapping Tables", §2.3.2).
//!
//! **Invariant: with interrupt remapping, once `enable_translation` returned `Ok`, only interrupts with a present entry
//! of their requester arrive**, and an entry is used again only after the unit confirmed that it forgot it.

use super::super::device_table::Interrupts;
use super::super::interrupt::{Format, InterruptHandle, ORDER, Remapping};
use super::super::registers::CONTROL;
use super::{Request, Unit};
use crate::address::PhysAddr;
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result};
use crate::interrupt::{ApicMode, InterruptRoute, Msi, Trigger, check_target};

impl<R: Registers, M: TableMemory, C: Clock> Unit<R, M, C> {
    /// Whether interrupts can be remapped to local APICs in this mode.
    #[must_use]
    pub fn can_remap_interrupts(&self, mode: ApicMode) -> bool {
        mode == ApicMode::XApic || (self.features.has_long_entries() && self.features.has_x2apic())
    }

    /// Prepares interrupt remapping with every interrupt blocked; in force with `enable_translation`, which must come
    /// after. Before any local APIC uses ids above 254.
    ///
    /// # Errors
    /// `NoInterruptRemapping` (32-bit ids without EFR.XTSup and EFR.GASup), `AlreadyEnabled` (this, or translation):
    /// nothing was changed. `Isolated`.
    pub fn enable_interrupt_remapping(&mut self, mode: ApicMode) -> Result<()> {
        if !self.can_remap_interrupts(mode) {
            return Err(Error::NoInterruptRemapping);
        }
        if self.interrupts.is_some() || self.is_translating {
            return Err(Error::AlreadyEnabled);
        }
        let (is_long, is_x2apic) = (self.features.has_long_entries(), mode == ApicMode::X2Apic);
        self.guarded(|unit| {
            unit.devices.block_all_interrupts(&unit.hardware.tables);
            unit.control = unit.control.with_long_entries(is_long).with_x2apic(is_x2apic);
            unit.interrupts =
                Some(Remapping { format: if is_long { Format::Long } else { Format::Short }, mode });
            Ok(())
        })
    }

    /// Lets `route.requester` raise `route.vector` at `route.apic_id`. The first interrupt of a requester takes a
    /// frame, which stays with it.
    ///
    /// # Errors
    /// `NotThisUnit` (interrupt remapping is off), `BadVector`, `BadDestination`, `OutOfInterrupts` (for level
    /// triggers: the vector is in use at this requester), `OutOfFrames`: nothing was changed. `Timeout`,
    /// `CommandError`, `Isolated`.
    pub fn allocate_interrupt(&mut self, route: InterruptRoute) -> Result<InterruptHandle> {
        self.guarded(|unit| {
            let remapping = unit.interrupts.ok_or(Error::NotThisUnit)?;
            remapping.check_route(route)?;
            let (tables, requester) = (&unit.hardware.tables, route.requester);
            let entry = unit.devices.interrupts(tables, requester);
            let table = match entry.remapping_table() {
                Some(table) => table,
                None => tables.alloc(1)?,
            };
            let slot = remapping.free_slot(tables, table, route)?;
            remapping.format.set(tables, table, slot, Some(route));
            if entry.remapping_table().is_none() {
                let entry = Interrupts::remapped(table, ORDER).with_is_muted(entry.is_muted());
                unit.devices.set_interrupts(tables, requester, entry);
                unit.forget([Request::DeviceEntry { requester }])?;
            }
            unit.forget([Request::InterruptTable { requester }])?;
            Ok(InterruptHandle::new(unit.index, requester, slot))
        })
    }

    /// Changes where an interrupt goes. When this has returned `Ok` it no longer arrives at the old place.
    ///
    /// # Errors
    /// `NotThisUnit`, `OtherRequester` (each has a table of its own), `BadVector` (also another vector for a level
    /// trigger), `BadDestination`: nothing was changed. `Timeout`, `CommandError`, `Isolated`.
    pub fn redirect_interrupt(&mut self, handle: &InterruptHandle, route: InterruptRoute) -> Result<()> {
        self.guarded(|unit| {
            let (remapping, table) = unit.table_of(handle)?;
            if route.requester != handle.requester() {
                return Err(Error::OtherRequester { requester: route.requester });
            }
            remapping.check_route(route)?;
            if route.trigger == Trigger::Level && route.vector != handle.slot() {
                return Err(Error::BadVector { vector: route.vector });
            }
            remapping.format.set(&unit.hardware.tables, table, handle.slot(), Some(route));
            unit.forget([Request::InterruptTable { requester: handle.requester() }])
        })
    }

    /// Blocks an interrupt for good. When this has returned `Ok` it no longer arrives and its vector is free.
    ///
    /// # Errors
    /// `NotThisUnit`, `Timeout`, `CommandError`, `Isolated`: the entry is never used again, but the interrupt may
    /// still arrive, so its vector must not be used for anything else.
    pub fn free_interrupt(&mut self, handle: InterruptHandle) -> Result<()> {
        self.guarded(|unit| {
            let (remapping, table) = unit.table_of(&handle)?;
            remapping.format.set(&unit.hardware.tables, table, handle.slot(), None);
            unit.forget([Request::InterruptTable { requester: handle.requester() }])
        })
    }

    /// Has the unit send `vector` to `apic_id` when it records a fault. The environment must program the message
    /// returned into the MSI capability of the unit's own function (of several the first in the list), and enable it.
    ///
    /// The message has 8 bits for the id, in every mode.
    ///
    /// # Errors
    /// `BadVector`, `BadDestination` (ids above 254), `Isolated`.
    pub fn enable_fault_event(&mut self, vector: u8, apic_id: u32) -> Result<Msi> {
        check_target(ApicMode::XApic, vector, apic_id)?;
        self.guarded(|unit| {
            unit.control = unit.control.with_event_interrupt(true);
            if unit.is_translating {
                unit.hardware.registers.write64(CONTROL, unit.control.into_bits());
            }
            Ok(Msi { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: u32::from(vector) })
        })
    }

    fn table_of(&self, handle: &InterruptHandle) -> Result<(Remapping, PhysAddr)> {
        let remapping = self.interrupts.filter(|_| handle.is_of(self.index)).ok_or(Error::NotThisUnit)?;
        let entry = self.devices.interrupts(&self.hardware.tables, handle.requester());
        Ok((remapping, entry.remapping_table().ok_or(Error::NotThisUnit)?))
    }
}
