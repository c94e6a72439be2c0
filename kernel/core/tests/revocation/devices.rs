//! Everybody else: devices, the unit, the owners' threads. What they do is hostile, and comes at any time.

use super::Revocation;
use super::state::{Life, Promise, Registers, Request, State};

impl Revocation {
    /// The device asks for its one page: the request is translated, or refused.
    pub(crate) fn issue(&self, state: &mut State, at: usize) -> bool {
        let device = &state.devices[at];
        let (entry, last) = (device.entry, device.last);
        let may = !self.world.devices_obey || device.is_master;
        if device.write.is_some() || !may {
            return false;
        }
        if self.world.devices_obey && device.owner.is_none() && device.ended[last] {
            state.breaks(Promise::Quiet);
        }
        let Some((id, process)) = state.unit.contexts[at].or(entry) else { return true };
        state.unit.contexts[at] = Some((id, process));
        if state.unit.pages[id].is_none() {
            if state.processes[process].domain != Some(id) {
                // The unit walks tables that are somebody else's by now.
                state.breaks(Promise::NoReuse);
            }
            state.unit.pages[id] = state.processes[process].page;
        }
        state.devices[at].write = state.unit.pages[id].map(|frame| (frame, process));
        true
    }

    /// A translated write reaches memory.
    pub(crate) fn land(&self, state: &mut State, at: usize) -> bool {
        let device = &mut state.devices[at];
        let Some((frame, of)) = device.write.take() else { return false };
        if device.ended[of] {
            state.breaks(Promise::NoDma);
        }
        if state.frames[frame].holder != Some(of) {
            state.breaks(Promise::NoReuse);
        }
        state.frames[frame].data = Some(of);
        true
    }

    /// The device sends its message: it is remapped, or refused.
    pub(crate) fn raise(&self, state: &mut State, at: usize) -> bool {
        let device = &mut state.devices[at];
        let may = !self.world.devices_obey || !device.is_masked;
        if device.message.is_some() || !may {
            return false;
        }
        let is_over = device.owner.is_none() && device.ended[device.last];
        let cached = &mut state.unit.interrupts[at];
        *cached = cached.or(device.interrupt);
        device.message = cached.map(|vector| (vector, device.last));
        if self.world.devices_obey && is_over {
            state.breaks(Promise::Quiet);
        }
        true
    }

    /// A message arrives at a CPU.
    pub(crate) fn deliver(&self, state: &mut State, at: usize) -> bool {
        let device = &mut state.devices[at];
        let Some((vector, of)) = device.message.take() else { return false };
        if device.ended[of] || state.vectors[vector] != Some((at, of)) {
            state.breaks(Promise::NoInterrupt);
        }
        true
    }

    /// The unit carries out one request, once what it drains is through.
    pub(crate) fn carry_out(&self, state: &mut State, request: Request) -> bool {
        let is_under_way = match request {
            Request::Context(_) => false,
            Request::Pages(_) => state.devices.iter().any(|device| device.write.is_some()),
            Request::Interrupt(device) => state.devices[device].message.is_some(),
        };
        if is_under_way || state.unit.is_dead || !state.unit.requests.remove(&request) {
            return false;
        }
        match request {
            Request::Context(device) => state.unit.contexts[device] = None,
            Request::Pages(id) => state.unit.pages[id] = None,
            Request::Interrupt(device) => state.unit.interrupts[device] = None,
        }
        true
    }

    /// The reset that the kernel started is done.
    pub(crate) fn end_reset(&self, state: &mut State, at: usize) -> bool {
        let device = &mut state.devices[at];
        if !std::mem::take(&mut device.is_resetting) {
            return false;
        }
        (device.is_master, device.is_masked, device.traces) = (false, true, None);
        true
    }

    /// A thread of the owner writes the device's registers, on `cpu`.
    pub(crate) fn touch(&self, state: &mut State, process: usize, cpu: usize, at: usize) -> bool {
        let owner = &mut state.processes[process];
        let lives = matches!(owner.life, Life::Running | Life::Ending);
        let sees = owner.cached[at][cpu] || owner.registers[at] == Registers::Real;
        if !lives || !sees || state.cpus[cpu].is_some() {
            return false;
        }
        owner.cached[at][cpu] = true;
        let device = &mut state.devices[at];
        device.traces = Some(process);
        if device.ended[process] {
            state.breaks(Promise::NoRegisters);
        }
        true
    }

    /// System calls of the owner that are one step: they look at the grant under its lock.
    pub(crate) fn use_grant(&self, state: &mut State, process: usize, at: usize) -> bool {
        let lives = state.processes[process].life == Life::Running;
        if !lives || state.devices[at].owner != Some(process) || state.is_space_locked(process) {
            return false;
        }
        let before = state.clone();
        if self.world.has_registers {
            state.processes[process].registers[at] = Registers::Real;
        }
        let device = &mut state.devices[at];
        (device.is_master, device.traces) = (true, Some(process));
        let wants_vector = self.world.has_interrupts && device.interrupt.is_none() && !state.unit.is_dead;
        if let Some(vector) = state.vectors.iter().position(Option::is_none).filter(|_| wants_vector) {
            state.vectors[vector] = Some((at, process));
            (device.interrupt, device.is_masked) = (Some(vector), false);
        }
        *state != before
    }
}
