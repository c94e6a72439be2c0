//! The kernel at work: who may start what, in which order steps are taken, under which locks.

use super::Revocation;
use super::protocol::{Step, Task};
use super::state::{B, Life, Promise, Run, State};
use super::steps::{Outcome, perform};

impl Revocation {
    /// Starts `task` on an idle CPU, where its kind and its locks allow.
    pub(crate) fn start(&self, state: &mut State, cpu: usize, task: Task) -> bool {
        if state.cpus[cpu].is_some() || !may_start(state, task) {
            return false;
        }
        let victim = take_locks(state, task);
        state.cpus[cpu] =
            Some(Run { task, at: 0, inner: None, victim, space: None, frame: None, has_failed: false });
        true
    }

    /// Takes the next step on `cpu`; false where it has to wait.
    pub(crate) fn step(&self, state: &mut State, cpu: usize) -> bool {
        let Some(mut run) = state.cpus[cpu].take() else { return false };
        let Some(step) = self.next_step(&run) else { return false };
        let space = space_of(&run);
        if step.needs_space() && run.space.is_none() {
            if state.is_space_locked(space) {
                return false;
            }
            run.space = Some(space);
        }
        match perform(&self.protocol, state, &mut run, step, space) {
            Outcome::Blocked => return false,
            Outcome::Stay => {}
            Outcome::Over => run.at = self.protocol.of(run.task).len(),
            Outcome::Done => self.advance(state, &mut run),
        }
        if !self.next_step(&run).is_some_and(Step::needs_space) {
            run.space = None;
        }
        if run.at == self.protocol.of(run.task).len() {
            finish(state, &run);
        } else {
            state.cpus[cpu] = Some(run);
        }
        true
    }

    /// The step to take now: of the operation, or of the revocation inside a tear-down.
    fn next_step(&self, run: &Run) -> Option<Step> {
        match run.inner {
            Some((_, at)) => self.protocol.revocation.get(at).copied(),
            None => self.protocol.of(run.task).get(run.at).copied(),
        }
    }

    fn advance(&self, state: &mut State, run: &mut Run) {
        let Some((device, at)) = run.inner else {
            run.at += 1;
            return;
        };
        run.inner = Some((device, at + 1));
        if at + 1 == self.protocol.revocation.len() {
            returned(state, device, run);
            run.inner = None;
        }
    }
}

fn may_start(state: &State, task: Task) -> bool {
    let runs = |process: usize| state.processes[process].life == Life::Running;
    let has_page = |process: usize| state.processes[process].page.is_some();
    match task {
        Task::Revoke { device } => {
            let device = &state.devices[device];
            // Once per grant: without the first step the model would start again and again.
            !device.is_changing && device.owner.is_some_and(|owner| !device.ended[owner])
        }
        Task::Grant { device } => {
            let device = &state.devices[device];
            !device.is_changing && device.last != B && runs(B) && !state.unit.is_dead
        }
        Task::TearDown { process } => {
            let is_on_cpu = state.cpus.iter().flatten().any(|run| {
                matches!(run.task, Task::Map { process: p } | Task::Unmap { process: p } if p == process)
            });
            state.processes[process].life == Life::Ending && !is_on_cpu
        }
        Task::Map { process } => runs(process) && !has_page(process) && !state.is_space_locked(process),
        Task::Unmap { process } => runs(process) && has_page(process) && !state.is_space_locked(process),
    }
}

/// Takes what an operation holds from its start; returns whose grant it ends.
fn take_locks(state: &mut State, task: Task) -> Option<usize> {
    match task {
        Task::Revoke { device } => {
            state.devices[device].is_changing = true;
            state.devices[device].owner
        }
        Task::Grant { device } => {
            state.devices[device].is_changing = true;
            None
        }
        Task::TearDown { process } => {
            state.processes[process].life = Life::Leaving;
            Some(process)
        }
        Task::Map { .. } | Task::Unmap { .. } => None,
    }
}

/// Whose address space an operation changes.
fn space_of(run: &Run) -> usize {
    match run.task {
        Task::Revoke { .. } => run.victim.expect("what is revoked has an owner"),
        Task::Grant { .. } => B,
        Task::TearDown { process } | Task::Map { process } | Task::Unmap { process } => process,
    }
}

fn finish(state: &mut State, run: &Run) {
    match run.task {
        Task::Revoke { device } => returned(state, device, run),
        Task::Grant { device } => state.devices[device].is_changing = false,
        Task::TearDown { .. } | Task::Map { .. } | Task::Unmap { .. } => {}
    }
}

/// A revocation returns. What it promises holds from now on, unless it had to say that the unit failed.
fn returned(state: &mut State, device: usize, run: &Run) {
    let victim = run.victim.expect("what is revoked has an owner");
    let it = &mut state.devices[device];
    it.is_changing = false;
    it.ended[victim] = !run.has_failed;
    if !std::mem::take(&mut it.was_told) {
        state.breaks(Promise::Told);
    }
}
