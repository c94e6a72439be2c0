//! Each step taken away, each two neighbours swapped: what breaks, or why nothing does.
//!
//! **Invariant: the table names every removal and every swap of every operation**, so a new step needs its lines here.

use super::protocol::Step::{self, *};
use super::protocol::{Protocol, Task};
use super::state::Promise::{self, *};
use super::{Revocation, worlds};

/// A change to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Without(Step),
    /// The first, now right before the second; it came after it.
    Before(Step, Step),
}
use Change::{Before, Without};

/// What comes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// This promise breaks (others may, too).
    Breaks(Promise),
    /// No promise breaks, but something never comes about: a new owner, the end of a process.
    Stuck,
    /// Nothing, for this reason.
    Harmless(&'static str),
}
use Effect::{Breaks, Harmless, Stuck};

const REVOCATION: &[(Change, Effect)] = &[
    (Without(MarkDead), Breaks(NoRegisters)),
    (Without(ZapRegisters), Breaks(NoRegisters)),
    (Without(ShootDown), Breaks(NoRegisters)),
    (Without(BusMasterOff), Breaks(Quiet)),
    (Without(BlockEntry), Breaks(NoDma)),
    (Without(InvalidateContext), Breaks(NoDma)),
    (Without(WaitContext), Breaks(NoDma)),
    (Without(InvalidateTranslations), Breaks(NoDma)),
    (Without(WaitTranslations), Breaks(NoDma)),
    (Without(MaskInterrupts), Breaks(Quiet)),
    (Without(ClearInterrupt), Breaks(NoInterrupt)),
    (Without(InvalidateInterrupt), Breaks(NoInterrupt)),
    (Without(WaitInterrupt), Breaks(NoInterrupt)),
    (Without(FreeVector), Breaks(NothingKept)),
    (Without(Reset), Breaks(NoLeftovers)),
    (Without(Tell), Breaks(Told)),
    (Before(ZapRegisters, MarkDead), Breaks(NoRegisters)),
    (Before(ShootDown, ZapRegisters), Breaks(NoRegisters)),
    (Before(BusMasterOff, ShootDown), Harmless("with the grant dead nobody sets the bit again")),
    (Before(BlockEntry, BusMasterOff), Harmless("the other order spares the record of faults")),
    (Before(InvalidateContext, BlockEntry), Breaks(NoDma)),
    (Before(WaitContext, InvalidateContext), Breaks(NoDma)),
    (Before(InvalidateTranslations, WaitContext), Breaks(NoDma)),
    (Before(WaitTranslations, InvalidateTranslations), Breaks(NoDma)),
    (Before(MaskInterrupts, WaitTranslations), Harmless("memory and interrupts do not depend on each other")),
    (Before(ClearInterrupt, MaskInterrupts), Harmless("the other order spares the record of faults")),
    (Before(InvalidateInterrupt, ClearInterrupt), Breaks(NoInterrupt)),
    (Before(WaitInterrupt, InvalidateInterrupt), Breaks(NoInterrupt)),
    (Before(FreeVector, WaitInterrupt), Breaks(NoInterrupt)),
    (Before(Reset, FreeVector), Harmless("the interrupt is drained already")),
    (Before(Tell, Reset), Harmless("a grant waits for the device's lock, which is held to the end")),
    // Not neighbours, but tempting: reset first, so that it takes its time while the rest is done.
    (Before(Reset, ZapRegisters), Breaks(NoLeftovers)),
    (Before(FreeVector, ClearInterrupt), Breaks(NoInterrupt)),
    (Before(BusMasterOff, MarkDead), Breaks(Quiet)),
];

const TEAR_DOWN: &[(Change, Effect)] = &[
    (Without(RevokeDevices), Breaks(NothingKept)),
    (Without(DestroyDomain), Breaks(NothingKept)),
    (Without(FreeFrames), Breaks(NothingKept)),
    (Without(Die), Stuck),
    (Before(DestroyDomain, RevokeDevices), Breaks(NoReuse)),
    (Before(FreeFrames, DestroyDomain), Harmless("no device is attached any more")),
    (Before(FreeFrames, RevokeDevices), Breaks(NoReuse)),
    (Before(Die, FreeFrames), Breaks(NothingKept)),
];

const GRANT: &[(Change, Effect)] = &[
    (Without(CheckFree), Breaks(NoLeftovers)),
    (Without(Attach), Stuck),
    (Without(HandOver), Stuck),
    (Without(BlockEntry), Breaks(NoReuse)),
    (Without(InvalidateContext), Breaks(NoReuse)),
    (Without(WaitContext), Breaks(NoReuse)),
    (Without(InvalidateTranslations), Breaks(NoReuse)),
    (Without(WaitTranslations), Breaks(NoReuse)),
    (Before(Attach, CheckFree), Breaks(NoReuse)),
    (Before(HandOver, Attach), Stuck),
    (Before(BlockEntry, HandOver), Stuck),
    (Before(InvalidateContext, BlockEntry), Breaks(NoReuse)),
    (Before(WaitContext, InvalidateContext), Breaks(NoReuse)),
    (Before(InvalidateTranslations, WaitContext), Breaks(NoReuse)),
    (Before(WaitTranslations, InvalidateTranslations), Breaks(NoReuse)),
];

const MAP: &[(Change, Effect)] = &[
    (Without(TakeFrame), Stuck),
    (Without(ZeroFrame), Breaks(NoLeftovers)),
    (Without(SetPage), Stuck),
    (Before(ZeroFrame, TakeFrame), Stuck),
    (Before(SetPage, ZeroFrame), Breaks(NoLeftovers)),
];

const UNMAP: &[(Change, Effect)] = &[
    (Without(ClearPage), Breaks(NoReuse)),
    (Without(InvalidatePage), Breaks(NoReuse)),
    (Without(WaitPage), Breaks(NoReuse)),
    (Without(FreeFrame), Stuck),
    (Before(InvalidatePage, ClearPage), Breaks(NoReuse)),
    (Before(WaitPage, InvalidatePage), Breaks(NoReuse)),
    (Before(FreeFrame, WaitPage), Breaks(NoReuse)),
];

impl Change {
    fn apply(self, steps: &mut Vec<Step>) {
        let position =
            |steps: &[Step], step| steps.iter().position(|s| *s == step).expect("a step of the list");
        match self {
            Without(step) => _ = steps.remove(position(steps, step)),
            Before(step, other) => {
                let step = steps.remove(position(steps, step));
                steps.insert(position(steps, other), step);
            }
        }
    }

    /// Every removal and every swap of neighbours.
    fn all(steps: &[Step]) -> Vec<Change> {
        let removals = steps.iter().map(|step| Without(*step));
        removals.chain(steps.windows(2).map(|pair| Before(pair[1], pair[0]))).collect()
    }
}

fn effect(protocol: &Protocol, expected: Effect) -> Effect {
    let mut is_stuck = false;
    let mut broken = Vec::new();
    for world in worlds() {
        let verdict = Revocation { protocol: protocol.clone(), world }.check();
        if verdict.broken.iter().any(|promise| expected == Breaks(*promise)) {
            return expected;
        }
        is_stuck |= verdict.is_stuck;
        broken.extend(verdict.broken);
    }
    match (broken.first(), is_stuck, expected) {
        (Some(promise), ..) => Breaks(*promise),
        (None, true, _) => Stuck,
        (None, false, Harmless(_)) => expected,
        (None, false, _) => Harmless("nobody knows why"),
    }
}

fn check(table: &[(Change, Effect)], task: Task, list: fn(&mut Protocol) -> &mut Vec<Step>) {
    for change in Change::all(Protocol::new().of(task)) {
        let lines = table.iter().filter(|(of, _)| *of == change).count();
        assert_eq!(lines, 1, "{change:?} is in the table once");
    }
    for (change, expected) in table {
        let mut protocol = Protocol::new();
        change.apply(list(&mut protocol));
        assert_eq!(effect(&protocol, *expected), *expected, "{task:?}, {change:?}");
    }
}

#[test]
fn every_step_of_a_revocation_is_needed() {
    check(REVOCATION, Task::Revoke { device: 0 }, |protocol| &mut protocol.revocation);
}

#[test]
fn every_step_of_a_tear_down_is_needed() {
    check(TEAR_DOWN, Task::TearDown { process: 0 }, |protocol| &mut protocol.tear_down);
}

#[test]
fn every_step_of_a_grant_is_needed() {
    check(GRANT, Task::Grant { device: 0 }, |protocol| &mut protocol.grant);
}

#[test]
fn every_step_of_a_mapping_is_needed() {
    check(MAP, Task::Map { process: 0 }, |protocol| &mut protocol.map);
    check(UNMAP, Task::Unmap { process: 0 }, |protocol| &mut protocol.unmap);
}

/// A unit that does not answer must not turn into frames that are used again.
#[test]
fn quarantine_is_needed() {
    let protocol = Protocol { has_quarantine: false, ..Protocol::new() };
    assert_eq!(effect(&protocol, Breaks(NoReuse)), Breaks(NoReuse));
}
