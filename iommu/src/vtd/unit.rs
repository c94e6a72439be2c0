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
use super::context::{ContextEntry, RootTable};
use super::fault::{FaultRecords, mask_event};
use super::interrupt::InterruptTable;
use super::queue::{Drain, Queue, Request};
use super::registers::{
    self, CAP, Cap, ECAP, Ecap, FIXED_END, PMEN, ProtectedMemory, RTADDR, RootTableAddress,
};
use crate::address::{RequesterId, UnitIndex};
use crate::domain::{Domain, Invalidation};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::fault::{Drained, Fault};
use crate::hardware::{COMMAND_LIMIT_US, Hardware};
use crate::tables::Tables;

/// One remapping unit in legacy mode.
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
    is_translating: bool,
    is_isolated: bool,
}

impl<R: Registers, M: TableMemory, C: Clock> Unit<R, M, C> {
    /// Takes a unit over from firmware: fault events masked, old fault records dropped, invalidation queue ours.
    /// Translation and interrupt remapping stay as firmware left them.
    ///
    /// `index` is the unit's place in the environment's list, `host_address_bits` comes from the DMAR header.
    ///
    /// # Errors
    /// `Unsupported` (no queued invalidation, no usable table depth, registers not all mapped), `OutOfFrames`,
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
        if !ecap.qi() || capabilities.depths == 0 || registers.bytes() < end {
            return Err(Error::Unsupported);
        }
        mask_event(&mut registers);
        let tables = Tables::new(memory, ecap.c());
        let mut hardware = Hardware { registers, tables, clock, needs_write_buffer_flush: cap.rwbf() };
        faults.drain(&mut hardware, |_| {});
        let root = RootTable::new(&hardware.tables)?;
        let queue = Queue::start(&mut hardware)?;
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
            is_translating: false,
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

    /// Switches DMA remapping on with every requester blocked but those attached before.
    ///
    /// A unit that firmware left translating in legacy mode goes on doing so until the new root table is in
    /// force, so there is no moment without protection. Firmware's protected memory regions end afterwards.
    ///
    /// # Errors
    /// `AlreadyEnabled`, `Timeout`, `QueueError`, `Isolated`.
    pub fn enable_translation(&mut self) -> Result<()> {
        if self.is_translating {
            return Err(Error::AlreadyEnabled);
        }
        self.guarded(|unit| {
            unit.stop_foreign_mode()?;
            unit.hardware.flush_write_buffer()?;
            unit.set_root_table()?;
            // §6.6: context cache before IOTLB. Units that do both by themselves (ESRTPS) lose nothing.
            unit.run(Request::AllContexts)?;
            unit.run(Request::AllTranslations(unit.drain()))?;
            let (what, hardware) = (Wait::TranslationSwitched, &mut unit.hardware);
            hardware.command(what, |global| global.with_te(true), |status| status.te())?;
            unit.is_translating = true;
            unit.end_protected_regions()
        })
    }

    /// Puts `requester` into `domain`: from now on it reaches what is mapped there.
    ///
    /// # Errors
    /// `AlreadyAttached`, `IncompatibleDomain`, `OutOfFrames`: nothing was changed.
    /// `Timeout`, `QueueError`, `Isolated`.
    pub fn attach<D: TableMemory>(&mut self, requester: RequesterId, domain: &mut Domain<D>) -> Result<()> {
        self.guarded(|unit| {
            let format = domain.format();
            if !unit.capabilities.includes(format.capabilities()) {
                return Err(Error::IncompatibleDomain);
            }
            if unit.root.entry(&unit.hardware.tables, requester).present() {
                return Err(Error::AlreadyAttached { requester });
            }
            let entry = ContextEntry::translated(domain.root(), format.address_width_code(), domain.id());
            unit.root.set(&unit.hardware.tables, requester, entry)?;
            // Counted before anything can fail: a domain the unit may know is never destroyed.
            domain.count_attached(unit.index);
            unit.hardware.flush_write_buffer()?;
            if unit.cap.cm() {
                unit.run(Request::AllContexts)?;
                unit.run(Request::Domain { domain: domain.id(), drain: unit.drain() })?;
            }
            Ok(())
        })
    }

    /// Blocks `requester`, which was in `domain`. When this has returned `Ok` no access of it lands any more.
    ///
    /// # Errors
    /// `NotAttached`: nothing was changed. `Timeout`, `QueueError`, `Isolated`: the domain stays attached.
    pub fn detach<D: TableMemory>(&mut self, requester: RequesterId, domain: &mut Domain<D>) -> Result<()> {
        self.guarded(|unit| {
            if !unit.root.entry(&unit.hardware.tables, requester).is_in(domain.id()) {
                return Err(Error::NotAttached { requester });
            }
            unit.root.set(&unit.hardware.tables, requester, ContextEntry::blocked())?;
            // §6.5.3.3: context cache before IOTLB, or a translation could come back through a stale context.
            unit.run(Request::Context { domain: domain.id(), requester })?;
            unit.run(Request::Domain { domain: domain.id(), drain: unit.drain() })?;
            domain.count_detached(unit.index);
            Ok(())
        })
    }

    /// Stops (or starts again) recording faults of `requester`, against storms. Its access rights do not change.
    /// Attaching and detaching start recording again.
    ///
    /// # Errors
    /// `OutOfFrames`: nothing was changed. `Timeout`, `QueueError`, `Isolated`.
    pub fn mute_faults(&mut self, requester: RequesterId, is_muted: bool) -> Result<()> {
        self.guarded(|unit| {
            let entry = unit.root.entry(&unit.hardware.tables, requester);
            unit.root.set(&unit.hardware.tables, requester, entry.with_is_muted(is_muted))?;
            unit.run(Request::AllContexts)
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
        match u8::try_from(order) {
            Ok(order) if self.cap.psi() && order <= self.cap.mamv() => {
                Request::Pages { domain, page: first >> order << order, order, drain }
            }
            _ => Request::Domain { domain, drain },
        }
    }

    fn drain(&self) -> Drain {
        Drain { reads: self.cap.drd(), writes: self.cap.dwd() }
    }

    fn run(&mut self, request: Request) -> Result<()> {
        self.queue.run(&mut self.hardware, request)
    }

    /// Switches translation off where firmware left it on in another table mode than ours: a root table of one
    /// mode must not be read in the other.
    fn stop_foreign_mode(&mut self) -> Result<()> {
        let mode = RootTableAddress::from_bits(self.hardware.registers.read64(RTADDR)).ttm();
        if !self.hardware.status().te() || mode == 0 {
            return Ok(());
        }
        self.hardware.command(
            Wait::TranslationSwitched,
            |global| global.with_te(false),
            |status| !status.te(),
        )
    }

    /// Makes our root table the one in force (§6.6 "Set Root Table Pointer Operation"), legacy mode.
    fn set_root_table(&mut self) -> Result<()> {
        self.hardware.registers.write64(RTADDR, self.root.at().0);
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
        // whether it still does this changes nothing in what is reported.
        let _ = self.hardware.flush_write_buffer().and_then(|()| self.set_root_table());
    }
}
