//! What each step of the kernel does.

use super::protocol::{Protocol, Step, Task};
use super::state::{B, CPUS, Device, FRAMES, Life, Promise, Registers, Request, Run, State, TAGS};

/// What became of a step.
pub(crate) enum Outcome {
    Done,
    /// Done, and the same step comes again.
    Stay,
    /// What it waits for is not there yet.
    Blocked,
    /// The rest of the operation is left out.
    Over,
}

/// Takes one step of `run`, which works on the address space of `process`.
pub(crate) fn perform(
    protocol: &Protocol,
    state: &mut State,
    run: &mut Run,
    step: Step,
    process: usize,
) -> Outcome {
    match run.inner.map(|(device, _)| device).or(device_of(run.task)) {
        Some(device) => on_device(protocol, state, run, step, (device, process)),
        None => on_process(protocol, state, run, step, process),
    }
}

fn device_of(task: Task) -> Option<usize> {
    match task {
        Task::Revoke { device } | Task::Grant { device } => Some(device),
        Task::TearDown { .. } | Task::Map { .. } | Task::Unmap { .. } => None,
    }
}

fn on_device(
    protocol: &Protocol,
    state: &mut State,
    run: &mut Run,
    step: Step,
    (at, process): (usize, usize),
) -> Outcome {
    let device = &mut state.devices[at];
    match step {
        Step::MarkDead => device.owner = None,
        Step::ZapRegisters => {
            let entry = &mut state.processes[process].registers[at];
            if *entry == Registers::Real {
                *entry = Registers::Poison;
            }
        }
        Step::ShootDown => state.processes[process].cached[at] = [false; CPUS],
        Step::BusMasterOff => device.is_master = false,
        Step::BlockEntry => device.entry = None,
        Step::InvalidateContext => ask(state, Request::Context(at)),
        Step::WaitContext => return wait(protocol, state, run, Request::Context(at), process),
        Step::InvalidateTranslations => {
            if let Some(id) = state.processes[process].domain {
                ask(state, Request::Pages(id));
            }
        }
        Step::WaitTranslations => {
            let Some(id) = state.processes[process].domain else { return Outcome::Done };
            let outcome = wait(protocol, state, run, Request::Pages(id), process);
            if matches!(outcome, Outcome::Done) && !run.has_failed {
                state.devices[at].attached = None;
            }
            return outcome;
        }
        Step::MaskInterrupts => device.is_masked = true,
        Step::ClearInterrupt => device.interrupt = None,
        Step::InvalidateInterrupt => ask(state, Request::Interrupt(at)),
        Step::WaitInterrupt => return wait(protocol, state, run, Request::Interrupt(at), process),
        Step::FreeVector => free_vector(protocol, state, run, at, process),
        Step::Reset => device.is_resetting = true,
        Step::Tell => device.was_told = true,
        Step::CheckFree => {
            if device.owner.is_some() || device.is_resetting {
                return Outcome::Over;
            }
        }
        Step::Attach => attach(state, at, process),
        Step::HandOver => return hand_over(state, at),
        other => unreachable!("{other:?} is no step on a device"),
    }
    Outcome::Done
}

fn on_process(protocol: &Protocol, state: &mut State, run: &mut Run, step: Step, process: usize) -> Outcome {
    match step {
        Step::TakeFrame => {
            let is_free = |frame: &usize| state.frames[*frame].holder.is_none();
            // Another thread may have mapped the page first.
            run.frame = (0..FRAMES).find(is_free).filter(|_| state.processes[process].page.is_none());
            let Some(frame) = run.frame else { return Outcome::Over };
            state.frames[frame].holder = Some(process);
        }
        Step::ZeroFrame => {
            let Some(frame) = run.frame else { return Outcome::Over };
            state.frames[frame].data = None;
        }
        Step::SetPage => {
            let Some(frame) = run.frame else { return Outcome::Over };
            if state.frames[frame].data.is_some_and(|of| of != process) {
                state.breaks(Promise::NoLeftovers);
            }
            state.processes[process].page = Some(frame);
        }
        Step::ClearPage => {
            run.frame = state.processes[process].page.take();
            if run.frame.is_none() {
                // Another thread was first.
                return Outcome::Over;
            }
        }
        Step::InvalidatePage => {
            if let Some(id) = attached_id(state, process) {
                ask(state, Request::Pages(id));
            }
        }
        Step::WaitPage => {
            let Some(id) = attached_id(state, process) else { return Outcome::Done };
            return wait(protocol, state, run, Request::Pages(id), process);
        }
        Step::FreeFrame => free_frame(protocol, state, run, process),
        Step::RevokeDevices => return revoke_next(state, run, process),
        Step::DestroyDomain => {
            if !state.processes[process].is_quarantined {
                state.processes[process].domain = None;
            }
        }
        Step::FreeFrames => {
            state.processes[process].page = None;
            let is_kept = state.processes[process].is_quarantined;
            let its = state.frames.iter_mut().filter(|frame| frame.holder == Some(process) && !is_kept);
            its.for_each(|frame| frame.holder = None);
        }
        Step::Die => {
            state.processes[process].life = Life::Dead;
            if !state.processes[process].is_quarantined && state.keeps(process) {
                state.breaks(Promise::NothingKept);
            }
        }
        other => unreachable!("{other:?} is no step on a process"),
    }
    Outcome::Done
}

fn ask(state: &mut State, request: Request) {
    state.unit.requests.insert(request);
}

/// Waits for a request; a dead unit fails the wait in bounded time, and what is concerned goes into quarantine.
fn wait(protocol: &Protocol, state: &mut State, run: &mut Run, request: Request, process: usize) -> Outcome {
    if state.unit.is_dead {
        run.has_failed = true;
        state.processes[process].is_quarantined = protocol.has_quarantine;
        return Outcome::Done;
    }
    if state.unit.requests.contains(&request) { Outcome::Blocked } else { Outcome::Done }
}

/// The id of the process's domain, if the unit has anything to do with it.
fn attached_id(state: &State, process: usize) -> Option<usize> {
    let is_attached = state.devices.iter().any(|device| device.attached == Some(process));
    state.processes[process].domain.filter(|_| is_attached)
}

fn attach(state: &mut State, device: usize, process: usize) {
    let Some(id) = state.processes[process].domain.or_else(|| state.free_id()) else { return };
    state.processes[process].domain = Some(id);
    state.devices[device].attached = Some(process);
    state.devices[device].entry = Some((id, process));
}

/// The new owner gets the device, unless it has ended in the meantime: then the rest of the grant detaches it.
fn hand_over(state: &mut State, at: usize) -> Outcome {
    let is_running = state.processes[B].life == Life::Running;
    let device = &mut state.devices[at];
    if !is_running {
        return Outcome::Done;
    }
    (device.owner, device.last) = (Some(B), B);
    if device.traces.is_some() || device.is_resetting {
        state.breaks(Promise::NoLeftovers);
    }
    Outcome::Over
}

fn free_vector(protocol: &Protocol, state: &mut State, run: &Run, device: usize, process: usize) {
    if run.has_failed && protocol.has_quarantine {
        return;
    }
    for vector in 0..TAGS {
        if state.vectors[vector] == Some((device, process)) {
            state.vectors[vector] = None;
        }
    }
}

fn free_frame(protocol: &Protocol, state: &mut State, run: &Run, process: usize) {
    if run.has_failed && protocol.has_quarantine {
        return;
    }
    if let Some(frame) = run.frame.or(state.processes[process].page) {
        state.frames[frame].holder = None;
    }
}

/// Starts the revocation of the next device of an ending process; each device's lock is waited for.
fn revoke_next(state: &mut State, run: &mut Run, process: usize) -> Outcome {
    if state.devices.iter().any(|device| device.is_changing) {
        return Outcome::Blocked;
    }
    let is_its = |device: &Device| device.owner == Some(process) && !device.ended[process];
    let Some(next) = state.devices.iter().position(is_its) else { return Outcome::Done };
    state.devices[next].is_changing = true;
    run.inner = Some((next, 0));
    Outcome::Stay
}
