//! One DMA remapping unit: what it is told, in which order (VT-d 5.10 §6 "Caching Translation Information", §11).
//!
//! **Invariant 1: once `enable_translation` returned `Ok`, a requester reaches memory only through the domain it is
//! attached to; everybody else is blocked.**
//! **Invariant 2: a call that takes something away (`detach`, `invalidate`, `free_interrupt`) returns `Ok` only
//! after the unit confirmed that it forgot it and drained what was under way.**
//! **Invariant 3: a unit that breaks down (time-out, queue error) is isolated: its root table is emptied and every
//! later call fails.** What its caches hold is then unknown: the environment must switch bus mastering off
//! for its requesters and keep their frames out of use. Interrupt entries stay as they are.
//!
//! Call with interrupts off and exclusive access (a lock); every wait is bounded. Does not resolve which
//! functions it covers (see [`acpi`](crate::acpi)).

mod interrupts;

use super::Capabilities;
use super::fault::{FaultRecords, mask_event};
use super::interrupt::InterruptTable;
use super::pasid::Snooping;
use super::queue::{Drain, Queue, Request};
use super::registers::{
    self, CAP, Cap, ECAP, Ecap, FIXED_END, PMEN, ProtectedMemory, RTADDR, RootTableAddress,
};
use super::root::RootTable;
use crate::address::{RequesterId, UnitIndex};
use crate::capabilities::Mode;
use crate::domain::{AnyDomain, Invalidation, Walk};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::fault::{Drained, Fault};
use crate::hardware::{COMMAND_LIMIT_US, Hardware};
use crate::tables::Tables;

/// One remapping unit.
pub struct Unit<R, M, C> {
    index: UnitIndex,
    hardware: Hardware<R, M, C>,
    cap: Cap,
    ecap: Ecap,
    capabilities: Capabilities,
    faults: FaultRecords,
    queue: Queue,
    root: RootTable,
    interrupts: Option<InterruptTable>,
    /// The mode our root table is in, once there is one.
    mode: Option<Mode>,
    is_isolated: bool,
}

impl<R: Registers, M: TableMemory, C: Clock> Unit<R, M, C> {
    /// Takes a unit over from firmware: fault events masked, old fault records dropped, invalidation queue ours.
    /// Translation and interrupt remapping stay as firmware left them.
    ///
    /// `index` is the unit's place in the environment's list, `host_address_bits` comes from the DMAR header.
    ///
    /// # Errors
    /// `Unsupported` (no queued invalidation, no usable mode, registers not all mapped), `OutOfFrames`,
    /// `Timeout`. The requesters of such a unit must not be granted to anybody; frames it was given are lost.
    pub fn new(
        index: UnitIndex,
        mut registers: R,
        memory: M,
        clock: C,
        host_address_bits: u8,
    ) -> Result<Self> {
        let cap = Cap::from_bits(registers.read64(CAP));
        let ecap = Ecap::from_bits(registers.read64(ECAP));
        let capabilities = registers::capabilities(cap, ecap, host_address_bits);
        let faults = FaultRecords { offset: usize::from(cap.fro()) * 16, count: usize::from(cap.nfr()) + 1 };
        let end = FIXED_END.max(faults.offset + faults.count * 16);
        if !ecap.qi() || capabilities.best().is_none() || registers.bytes() < end {
            return Err(Error::Unsupported);
        }
        mask_event(&mut registers);
        let tables = Tables::new(memory, ecap.c());
        let mut hardware = Hardware { registers, tables, clock, needs_write_buffer_flush: cap.rwbf() };
        faults.drain(&mut hardware, |_| {});
        let root = RootTable::new(&hardware.tables)?;
        let queue = Queue::start(&mut hardware, ecap.smts())?;
        Ok(Unit {
            index,
            hardware,
            cap,
            ecap,
            capabilities,
            faults,
            queue,
            root,
            interrupts: None,
            mode: None,
            is_isolated: false,
        })
    }

    /// What the unit can do; domains are built for the intersection over all units.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether the unit broke down.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.is_isolated
    }

    /// Switches DMA remapping on in `mode`, with every requester blocked.
    ///
    /// A unit that firmware left translating with a root table of the same kind goes on doing so until the new one is
    /// in force, so there is no moment without protection. Firmware's protected memory regions end afterwards.
    ///
    /// # Errors
    /// `AlreadyEnabled`, `Unsupported` (the mode is not offered): nothing was changed.
    /// `Timeout`, `QueueError`, `Isolated`.
    pub fn enable_translation(&mut self, mode: Mode) -> Result<()> {
        self.guarded(|unit| {
            if unit.mode.is_some() {
                return Err(Error::AlreadyEnabled);
            }
            if !unit.capabilities.offers(mode) {
                return Err(Error::Unsupported);
            }
            unit.root.set_layout(mode.is_scalable());
            unit.stop_foreign_mode()?;
            unit.mode = Some(mode);
            unit.hardware.flush_write_buffer()?;
            unit.set_root_table(unit.root.table_mode())?;
            // §6.6: contexts, PASIDs, IOTLB, in this order. Units that do all by themselves (ESRTPS) lose nothing.
            unit.forget_contexts()?;
            unit.run(Request::AllTranslations(unit.drain()))?;
            let (what, hardware) = (Wait::TranslationSwitched, &mut unit.hardware);
            hardware.command(what, |global| global.with_te(true), |status| status.te())?;
            unit.end_protected_regions()
        })
    }

    /// Puts `requester` into `domain`: from now on it reaches what is mapped there.
    ///
    /// # Errors
    /// `NotEnabled`, `AlreadyAttached`, `IncompatibleDomain`, `OutOfFrames`: nothing was changed.
    /// `Timeout`, `QueueError`, `Isolated`.
    pub fn attach(&mut self, requester: RequesterId, domain: &mut impl AnyDomain) -> Result<()> {
        let domain = domain.membership();
        self.guarded(|unit| {
            unit.check_walk(domain.walk())?;
            if unit.root.holder(&unit.hardware.tables, requester).is_some() {
                return Err(Error::AlreadyAttached { requester });
            }
            let what = (domain.walk(), domain.id());
            unit.root.admit(&unit.hardware.tables, requester, what, unit.snooping())?;
            // Counted before anything can fail: a domain the unit may know is never destroyed.
            domain.count_attached(unit.index);
            unit.hardware.flush_write_buffer()?;
            if unit.cap.cm() {
                unit.forget_contexts()?;
                unit.run(Request::Domain { domain: domain.id(), drain: unit.drain() })?;
            }
            Ok(())
        })
    }

    /// Blocks `requester`, which was in `domain`. When this has returned `Ok` no access of it lands any more.
    ///
    /// # Errors
    /// `NotAttached`: nothing was changed. `Timeout`, `QueueError`, `Isolated`: the domain stays attached.
    pub fn detach(&mut self, requester: RequesterId, domain: &mut impl AnyDomain) -> Result<()> {
        let membership = domain.membership();
        let domain = membership.id();
        self.guarded(|unit| {
            if unit.root.holder(&unit.hardware.tables, requester) != Some(domain) {
                return Err(Error::NotAttached { requester });
            }
            let left_over = unit.root.block(&unit.hardware.tables, requester)?;
            // §6.5.3.3: contexts before PASIDs before IOTLB, or what was dropped could come back through what was not.
            unit.run(Request::Context { domain, requester })?;
            if left_over.is_some() {
                unit.run(Request::DomainPasids { domain })?;
            }
            // Of every stage: this request knows domains, not tables.
            unit.run(Request::Domain { domain, drain: unit.drain() })?;
            left_over.into_iter().for_each(|pasids| pasids.free(&unit.hardware.tables));
            membership.count_detached(unit.index);
            Ok(())
        })
    }

    /// Stops (or starts again) recording faults of `requester`, against storms. Its access rights do not change.
    /// Attaching and detaching start recording again.
    ///
    /// # Errors
    /// `NotEnabled`, `OutOfFrames`: nothing was changed. `Timeout`, `QueueError`, `Isolated`.
    pub fn mute_faults(&mut self, requester: RequesterId, is_muted: bool) -> Result<()> {
        self.guarded(|unit| {
            unit.mode.ok_or(Error::NotEnabled)?;
            unit.root.mute(&unit.hardware.tables, requester, is_muted)?;
            unit.forget_contexts()
        })
    }

    /// Makes the unit take note of a changed domain; called back from
    /// [`Unflushed::flush`](crate::domain::Unflushed::flush).
    ///
    /// Additions cost nothing but on units with caching mode or a write buffer (§6.1, §6.8).
    ///
    /// # Errors
    /// `Timeout`, `QueueError`, `Isolated`: the unit may still use what was unmapped.
    pub fn invalidate(&mut self, change: &Invalidation) -> Result<()> {
        self.guarded(|unit| {
            if change.is_removal || unit.cap.cm() {
                return unit.run(unit.covering(change));
            }
            unit.hardware.flush_write_buffer()
        })
    }

    /// Reports and clears the recorded faults, each record once.
    pub fn drain_faults(&mut self, report: impl FnMut(Fault)) -> Drained {
        self.faults.drain(&mut self.hardware, report)
    }

    /// The smallest request that covers a change: one aligned block of pages, else the domain.
    fn covering(&self, change: &Invalidation) -> Request {
        let (domain, drain) = (change.domain, self.drain());
        let (first, last) = (change.range.start >> 12, (change.range.end - 1) >> 12);
        let order = u64::BITS - (first ^ last).leading_zeros();
        let block = u8::try_from(order).ok().filter(|&order| self.cap.psi() && order <= self.cap.mamv());
        match (block, self.mode == Some(Mode::VtdFirstStage)) {
            (Some(order), false) => Request::Pages { domain, page: first >> order << order, order, drain },
            (Some(order), true) => Request::FirstStagePages { domain, page: first >> order << order, order },
            (None, false) => Request::Domain { domain, drain },
            (None, true) => Request::FirstStage { domain },
        }
    }

    fn drain(&self) -> Drain {
        Drain { reads: self.cap.drd(), writes: self.cap.dwd() }
    }

    fn snooping(&self) -> Snooping {
        Snooping { walks: self.ecap.smpwc(), pages: self.ecap.sc() }
    }

    fn check_walk(&self, walk: Walk) -> Result<()> {
        let mode = self.mode.ok_or(Error::NotEnabled)?;
        if mode != walk.mode || !self.capabilities.includes(walk.capabilities) {
            return Err(Error::IncompatibleDomain);
        }
        Ok(())
    }

    fn run(&mut self, request: Request) -> Result<()> {
        self.queue.run(&mut self.hardware, request)
    }

    /// Drops every cached context entry and what was found through it.
    fn forget_contexts(&mut self) -> Result<()> {
        self.run(Request::AllContexts)?;
        if self.mode.is_some_and(Mode::is_scalable) {
            self.run(Request::AllPasids)?;
        }
        Ok(())
    }

    /// Switches translation off where firmware left it on in another table mode than ours: a root table of one
    /// mode must not be read in the other.
    fn stop_foreign_mode(&mut self) -> Result<()> {
        if !self.hardware.status().te() || self.table_mode_in_force() == self.root.table_mode() {
            return Ok(());
        }
        self.hardware.command(
            Wait::TranslationSwitched,
            |global| global.with_te(false),
            |status| !status.te(),
        )
    }

    fn table_mode_in_force(&self) -> u8 {
        RootTableAddress::from_bits(self.hardware.registers.read64(RTADDR)).ttm()
    }

    /// Makes our root table the one in force (§6.6 "Set Root Table Pointer Operation").
    fn set_root_table(&mut self, table_mode: u8) -> Result<()> {
        self.hardware.registers.write64(RTADDR, self.root.register(table_mode).into_bits());
        self.hardware.command(Wait::RootTableSet, |global| global.with_srtp(true), |status| status.srtp())
    }

    /// Ends the memory protection firmware may have used before translation (CAP.PLMR, CAP.PHMR).
    fn end_protected_regions(&mut self) -> Result<()> {
        if !self.cap.plmr() && !self.cap.phmr() {
            return Ok(());
        }
        self.hardware.registers.write32(PMEN, ProtectedMemory::new().into_bits());
        self.hardware.wait_until(Wait::ProtectedRegionsOff, COMMAND_LIMIT_US, |hardware| {
            Ok(!ProtectedMemory::from_bits(hardware.registers.read32(PMEN)).prs())
        })
    }

    /// Runs `step` unless the unit broke down before, and isolates it if it breaks down now.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.is_isolated {
            return Err(Error::Isolated);
        }
        step(self).inspect_err(|error| {
            if error.is_breakdown() {
                self.isolate();
            }
        })
    }

    /// Blocks every requester as well as a unit that does not answer can be made to.
    fn isolate(&mut self) {
        self.is_isolated = true;
        self.root.block_all(&self.hardware.tables);
        // Setting the root table again empties the caches of units with ESRTPS. The unit has failed already:
        // whether it still does this changes nothing in what is reported. The table mode must not change while
        // translation is on, and an empty table blocks in each.
        let table_mode = self.table_mode_in_force();
        let _ = self.hardware.flush_write_buffer().and_then(|()| self.set_root_table(table_mode));
        self.queue.abandon(&mut self.hardware);
    }
}
