//! The kernel's side: each operation as the list of its steps, in the words of `kernel/src/object/device/grant.rs`.
//!
//! The lists are data so that the tests can remove a step or swap two.

use super::state::Promise;

/// One step; nothing of another CPU, of a device or of the unit comes in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// 1: the grant is dead; every later use of the owner's handle fails.
    MarkDead,
    /// 2: the owner's page-table entries for the registers lead to the poison page.
    ZapRegisters,
    /// 2: no CPU remembers the old entries.
    ShootDown,
    /// 3: no new transfers.
    BusMasterOff,
    /// 4: the context entry says *blocked*.
    BlockEntry,
    /// 5: the unit is asked to forget the context,
    InvalidateContext,
    /// 5: has done so,
    WaitContext,
    /// 5: is asked to forget the domain's translations, draining,
    InvalidateTranslations,
    /// 5: and has done so.
    WaitTranslations,
    /// 6: masked at the device.
    MaskInterrupts,
    /// 6: the remapping entry is not present,
    ClearInterrupt,
    /// 6: the unit is asked to forget it, draining,
    InvalidateInterrupt,
    /// 6: and has done so.
    WaitInterrupt,
    /// 6: the vector is free.
    FreeVector,
    /// 7: the reset starts; the device is not grantable until it is done.
    Reset,
    /// 8: owner and supervisor are told.
    Tell,

    /// Grant: nobody has it and it is reset.
    CheckFree,
    /// Grant: the context entry leads to the new owner's domain, which is made if there is none.
    Attach,
    /// Grant: the new owner has it, unless it has ended; then the entry is blocked again by what follows.
    HandOver,

    /// Mapping: a frame of nobody's,
    TakeFrame,
    /// Mapping: zeroed,
    ZeroFrame,
    /// Mapping: is where devices find it.
    SetPage,
    /// Unmapping: the table no longer leads there,
    ClearPage,
    /// Unmapping: the unit is asked to forget it, draining,
    InvalidatePage,
    /// Unmapping: has done so,
    WaitPage,
    /// Unmapping: and the frame is nobody's.
    FreeFrame,

    /// Tear-down: every device of the process is revoked.
    RevokeDevices,
    /// Tear-down: tables and domain id are free.
    DestroyDomain,
    /// Tear-down: the frames are nobody's.
    FreeFrames,
    /// Tear-down: the process is dead.
    Die,
}

/// What the kernel is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    Revoke { device: usize },
    TearDown { process: usize },
    Grant { device: usize },
    Map { process: usize },
    Unmap { process: usize },
}

/// The steps of every operation.
#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) revocation: Vec<Step>,
    pub(crate) tear_down: Vec<Step>,
    pub(crate) grant: Vec<Step>,
    pub(crate) map: Vec<Step>,
    pub(crate) unmap: Vec<Step>,
    /// What the unit did not confirm stays out of use.
    pub(crate) has_quarantine: bool,
}

impl Protocol {
    /// As it is built.
    pub(crate) fn new() -> Protocol {
        use Step::*;
        let detach = [BlockEntry, InvalidateContext, WaitContext, InvalidateTranslations, WaitTranslations];
        let begin = [MarkDead, ZapRegisters, ShootDown, BusMasterOff];
        let end =
            [MaskInterrupts, ClearInterrupt, InvalidateInterrupt, WaitInterrupt, FreeVector, Reset, Tell];
        Protocol {
            revocation: [&begin[..], &detach, &end].concat(),
            tear_down: vec![RevokeDevices, DestroyDomain, FreeFrames, Die],
            grant: [&[CheckFree, Attach, HandOver][..], &detach].concat(),
            map: vec![TakeFrame, ZeroFrame, SetPage],
            unmap: vec![ClearPage, InvalidatePage, WaitPage, FreeFrame],
            has_quarantine: true,
        }
    }

    pub(crate) fn of(&self, task: Task) -> &[Step] {
        match task {
            Task::Revoke { .. } => &self.revocation,
            Task::TearDown { .. } => &self.tear_down,
            Task::Grant { .. } => &self.grant,
            Task::Map { .. } => &self.map,
            Task::Unmap { .. } => &self.unmap,
        }
    }
}

impl Step {
    /// Whether the step is done under the lock of the process's address space.
    pub(crate) fn needs_space(self) -> bool {
        use Step::*;
        match self {
            ZapRegisters
            | ShootDown
            | BlockEntry
            | InvalidateContext
            | WaitContext
            | InvalidateTranslations
            | WaitTranslations
            | Attach => true,
            TakeFrame | ZeroFrame | SetPage | ClearPage | InvalidatePage | WaitPage | FreeFrame => true,
            MarkDead | BusMasterOff | MaskInterrupts | ClearInterrupt | InvalidateInterrupt
            | WaitInterrupt | FreeVector | Reset | Tell | CheckFree | HandOver | RevokeDevices
            | DestroyDomain | FreeFrames | Die => false,
        }
    }
}

impl Promise {
    /// For reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Promise::NoDma => "G3: no DMA lands after revoke",
            Promise::NoInterrupt => "G3: no interrupt arrives after revoke",
            Promise::NoRegisters => "G3: registers are out of reach after revoke",
            Promise::NoReuse => "G4: nothing is used again while a device can reach it",
            Promise::NothingKept => "G4: the dead hold nothing",
            Promise::NoLeftovers => "G5: zeroed frames and a reset device",
            Promise::Quiet => "an obedient device is quiet after revoke",
            Promise::Told => "the supervisor is told",
        }
    }
}
