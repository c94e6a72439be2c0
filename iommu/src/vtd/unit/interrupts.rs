//! The unit's interrupt half (VT-d 5.10 §5.1, §6.4 "Interrupt Entry Cache", §6.7 "Set Interrupt Remapping Table
//! Pointer Operation").
//!
//! **Invariant: once `enable_interrupt_remapping` returned `Ok`, only interrupts with a present entry arrive**, and
//! an entry's index is used again only after the unit confirmed that it forgot the entry, which also drains
//! interrupts under way (§6.5.5 "Interrupt Draining").

use super::super::fault::program_event;
use super::super::interrupt::{InterruptHandle, InterruptTable};
use super::super::registers::IRTA;
use super::{Request, Unit};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::interrupt::{ApicMode, InterruptRoute, check_target};

impl<R: Registers, M: TableMemory, C: Clock> Unit<R, M, C> {
    /// Whether interrupts can be remapped to local APICs in this mode.
    #[must_use]
    pub fn can_remap_interrupts(&self, mode: ApicMode) -> bool {
        self.ecap.ir() && (mode == ApicMode::XApic || self.ecap.eim())
    }

    /// Switches interrupt remapping on with every interrupt blocked, compatibility format included. Must come
    /// before any local APIC uses ids above 254.
    ///
    /// # Errors
    /// `NoInterruptRemapping`, `AlreadyEnabled`, `OutOfFrames`: nothing was changed.
    /// `Timeout`, `QueueError`, `Isolated`.
    pub fn enable_interrupt_remapping(&mut self, mode: ApicMode) -> Result<()> {
        if !self.can_remap_interrupts(mode) {
            return Err(Error::NoInterruptRemapping);
        }
        if self.interrupts.is_some() {
            return Err(Error::AlreadyEnabled);
        }
        self.guarded(|unit| {
            let table = InterruptTable::new(&unit.hardware.tables, mode)?;
            unit.switch_interrupt_remapping(false)?;
            unit.hardware.flush_write_buffer()?;
            unit.hardware.registers.write64(IRTA, table.register().into_bits());
            let (what, hardware) = (Wait::InterruptTableSet, &mut unit.hardware);
            hardware.command(what, |global| global.with_sirtp(true), |status| status.sirtp())?;
            unit.run(Request::AllInterrupts)?;
            let (what, hardware) = (Wait::CompatibilityBlocked, &mut unit.hardware);
            hardware.command(what, |global| global.with_cfi(false), |status| !status.cfi())?;
            unit.switch_interrupt_remapping(true)?;
            unit.interrupts = Some(table);
            Ok(())
        })
    }

    /// Lets `route.requester` raise `route.vector` at `route.apic_id`.
    ///
    /// # Errors
    /// `NotThisUnit` (interrupt remapping is off), `BadVector`, `BadDestination`, `OutOfInterrupts`: nothing
    /// was changed. `Timeout`, `QueueError`, `Isolated`.
    pub fn allocate_interrupt(&mut self, route: InterruptRoute) -> Result<InterruptHandle> {
        self.guarded(|unit| {
            let table = unit.interrupts.as_mut().ok_or(Error::NotThisUnit)?;
            table.check_route(route)?;
            let handle = table.take(unit.index)?;
            table.set(&unit.hardware.tables, &handle, Some(route));
            unit.hardware.flush_write_buffer()?;
            if unit.cap.cm() {
                unit.run(Request::Interrupt { index: handle.index() })?;
            }
            Ok(handle)
        })
    }

    /// Changes where an interrupt goes, or who may raise it. When this has returned `Ok` it no longer arrives at
    /// the old place.
    ///
    /// # Errors
    /// `NotThisUnit`, `BadVector`, `BadDestination`: nothing was changed. `Timeout`, `QueueError`, `Isolated`.
    pub fn redirect_interrupt(&mut self, handle: &InterruptHandle, route: InterruptRoute) -> Result<()> {
        self.guarded(|unit| {
            let table = unit.interrupts.as_ref().ok_or(Error::NotThisUnit)?;
            table.check(unit.index, handle)?;
            table.check_route(route)?;
            table.set(&unit.hardware.tables, handle, Some(route));
            unit.run(Request::Interrupt { index: handle.index() })
        })
    }

    /// Blocks an interrupt for good. When this has returned `Ok` it no longer arrives and its vector is free.
    ///
    /// # Errors
    /// `NotThisUnit`, `Timeout`, `QueueError`, `Isolated`: the entry is never used again, but the interrupt may
    /// still arrive, so its vector must not be used for anything else.
    pub fn free_interrupt(&mut self, handle: InterruptHandle) -> Result<()> {
        self.guarded(|unit| {
            let table = unit.interrupts.as_ref().ok_or(Error::NotThisUnit)?;
            table.check(unit.index, &handle)?;
            table.set(&unit.hardware.tables, &handle, None);
            unit.run(Request::Interrupt { index: handle.index() })?;
            unit.interrupts.as_mut().ok_or(Error::NotThisUnit)?.put_back(handle);
            Ok(())
        })
    }

    /// Has the unit send `vector` to `apic_id` when it records a fault. Not remapped (§5.1.6).
    ///
    /// # Errors
    /// `NoInterruptRemapping` (32-bit ids without extended interrupt mode), `BadVector`, `BadDestination`.
    pub fn enable_fault_event(&mut self, mode: ApicMode, vector: u8, apic_id: u32) -> Result<()> {
        if mode == ApicMode::X2Apic && !self.ecap.eim() {
            return Err(Error::NoInterruptRemapping);
        }
        check_target(mode, vector, apic_id)?;
        program_event(&mut self.hardware.registers, vector, apic_id);
        Ok(())
    }

    fn switch_interrupt_remapping(&mut self, on: bool) -> Result<()> {
        let what = Wait::InterruptRemappingSwitched;
        self.hardware.command(what, |global| global.with_ire(on), |status| status.ire() == on)
    }
}
