//! The revocation protocol, checked in every interleaving: an owner that runs, requests and messages under way, maps,
//! unmaps, revocations and deaths on two CPUs, one device or two, and a second owner who is given them next.
//!
//! **Invariant: the steps have the names and the order of `kernel/src/object/device/grant.rs`, and every step is
//! needed**: `mutations.rs` takes each away and swaps each two neighbours, and each time either a promise breaks or the
//! table says why it does not matter.
//!
//! The reset (7) is asynchronous here: it ends at any time later, and the device cannot be granted before.
//! The model says nothing about time, and nothing about what one step does inside.
#![cfg(not(miri))]

mod devices;
mod kernel;
mod mutations;
mod protocol;
mod state;
mod steps;

use protocol::{Protocol, Task};
use state::{A, B, CPUS, Life, Promise, Request, State};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

/// Who takes part.
#[derive(Clone, Copy, Debug)]
struct World {
    devices: usize,
    /// Devices ask for nothing when told not to.
    devices_obey: bool,
    has_dma: bool,
    /// Owners map and unmap.
    has_maps: bool,
    /// Again and again, in both directions.
    has_loops: bool,
    has_interrupts: bool,
    has_registers: bool,
    /// The unit may stop answering.
    unit_dies: bool,
}

/// The model: a protocol in a world.
#[derive(Clone, Debug)]
struct Revocation {
    protocol: Protocol,
    world: World,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start(usize, Task),
    Step(usize),
    Kill(usize),
    Issue(usize),
    Land(usize),
    Raise(usize),
    Deliver(usize),
    CarryOut(Request),
    UnitDies,
    EndReset(usize),
    Touch { process: usize, cpu: usize, device: usize },
    Use { process: usize, device: usize },
}

impl Model for Revocation {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.world.devices)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What has gone wrong stays wrong: no need to look further.
        if !state.broken.is_empty() {
            return;
        }
        actions.extend((0..CPUS).map(Action::Step));
        // The CPUs are alike but for what they remember of registers: the second need not begin.
        let idle = if self.world.has_registers || state.cpus[0].is_some() { 0..CPUS } else { 0..1 };
        for cpu in idle {
            let tasks = (0..self.world.devices)
                .flat_map(|device| [Task::Revoke { device }, Task::Grant { device }])
                .chain([A, B].map(|process| Task::TearDown { process }))
                .chain([A, B].map(|process| Task::Map { process }))
                .chain([A, B].map(|process| Task::Unmap { process }));
            actions.extend(tasks.filter(|task| self.has(*task)).map(|task| Action::Start(cpu, task)));
        }
        actions.extend([A, B].map(Action::Kill));
        for device in 0..self.world.devices {
            actions.extend([Action::Issue, Action::Land].map(|action| action(device)));
            actions.extend([Action::Raise, Action::Deliver].map(|action| action(device)));
            actions.push(Action::EndReset(device));
            for process in [A, B] {
                actions.push(Action::Use { process, device });
                actions.extend((0..CPUS).map(|cpu| Action::Touch { process, cpu, device }));
            }
        }
        actions.extend(state.unit.requests.iter().map(|request| Action::CarryOut(*request)));
        actions.push(Action::UnitDies);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let world = self.world;
        let has_happened = match action {
            Action::Start(cpu, task) => self.start(&mut state, cpu, task),
            Action::Step(cpu) => self.step(&mut state, cpu),
            Action::Kill(process) => {
                let life = std::mem::replace(&mut state.processes[process].life, Life::Ending);
                life == Life::Running
            }
            Action::Issue(device) => world.has_dma && self.issue(&mut state, device),
            Action::Land(device) => self.land(&mut state, device),
            Action::Raise(device) => world.has_interrupts && self.raise(&mut state, device),
            Action::Deliver(device) => self.deliver(&mut state, device),
            Action::CarryOut(request) => self.carry_out(&mut state, request),
            Action::UnitDies => world.unit_dies && !std::mem::replace(&mut state.unit.is_dead, true),
            Action::EndReset(device) => self.end_reset(&mut state, device),
            Action::Touch { process, cpu, device } => {
                world.has_registers && self.touch(&mut state, process, cpu, device)
            }
            Action::Use { process, device } => self.use_grant(&mut state, process, device),
        };
        (has_happened && state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const PROMISE: usize>(_: &Revocation, state: &State) -> bool {
            !state.broken.contains(&PROMISES[PROMISE])
        }
        let mut properties = vec![
            Property::always(PROMISES[0].name(), holds::<0>),
            Property::always(PROMISES[1].name(), holds::<1>),
            Property::always(PROMISES[2].name(), holds::<2>),
            Property::always(PROMISES[3].name(), holds::<3>),
            Property::always(PROMISES[4].name(), holds::<4>),
            Property::always(PROMISES[5].name(), holds::<5>),
            Property::always(PROMISES[6].name(), holds::<6>),
            Property::always(PROMISES[7].name(), holds::<7>),
        ];
        properties.push(Property::sometimes("B uses the device", |_: &Revocation, state: &State| {
            let device = &state.devices[0];
            let is_attached = device.entry.is_some_and(|(_, process)| process == B);
            is_attached && device.owner == Some(B) && device.traces == Some(B)
        }));
        properties.push(Property::sometimes("both end", |_: &Revocation, state: &State| {
            [A, B].into_iter().all(|p| state.processes[p].life == Life::Dead && !state.keeps(p))
        }));
        if self.world.has_maps {
            properties.push(Property::sometimes("B's device writes", |_: &Revocation, state: &State| {
                state.frames.iter().any(|frame| frame.data == Some(B))
            }));
            properties.push(Property::sometimes("what A unmaps is B's", |_: &Revocation, state: &State| {
                state.frames[0].holder == Some(B) && state.processes[A].life == Life::Running
            }));
        }
        properties
    }
}

const PROMISES: [Promise; 8] = [
    Promise::NoDma,
    Promise::NoInterrupt,
    Promise::NoRegisters,
    Promise::NoReuse,
    Promise::NothingKept,
    Promise::NoLeftovers,
    Promise::Quiet,
    Promise::Told,
];

impl Revocation {
    /// Whether the world has use for the task.
    fn has(&self, task: Task) -> bool {
        match task {
            // A has its page at the start.
            Task::Unmap { process: A } | Task::Map { process: B } => self.world.has_maps,
            Task::Map { .. } | Task::Unmap { .. } => self.world.has_maps && self.world.has_loops,
            _ => true,
        }
    }

    /// The promises that break; where none does, what never comes about.
    fn check(&self) -> Verdict {
        let checker = self.clone().checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
        let found = checker.spawn_bfs().join().discoveries();
        let has = |name: &'static str| found.contains_key(name);
        let broken: Vec<_> = PROMISES.into_iter().filter(|promise| has(promise.name())).collect();
        let is_stuck = broken.is_empty()
            && self
                .properties()
                .iter()
                .any(|property| property.expectation == Expectation::Sometimes && !has(property.name));
        Verdict { broken, is_stuck }
    }
}

/// What a search found.
struct Verdict {
    broken: Vec<Promise>,
    /// Nothing breaks, but something that should be possible never comes about.
    is_stuck: bool,
}

const NOTHING: World = World {
    devices: 1,
    devices_obey: false,
    has_dma: false,
    has_maps: false,
    has_loops: false,
    has_interrupts: false,
    has_registers: false,
    unit_dies: false,
};

/// Worlds that are searched through in a second, each with another part of what may go wrong.
fn worlds() -> [World; 5] {
    [
        World { has_interrupts: true, ..NOTHING },
        World { has_registers: true, ..NOTHING },
        World { has_dma: true, has_interrupts: true, devices_obey: true, ..NOTHING },
        World { has_dma: true, unit_dies: true, ..NOTHING },
        World { has_dma: true, has_maps: true, ..NOTHING },
    ]
}

fn holds_in(worlds: impl IntoIterator<Item = World>) {
    for world in worlds {
        let model = Revocation { protocol: Protocol::new(), world };
        let checker = model.checker().threads(2).spawn_bfs().join();
        println!("{} states: {world:?}", checker.unique_state_count());
        checker.assert_properties();
    }
}

#[test]
fn every_promise_holds_in_every_interleaving() {
    holds_in(worlds());
    holds_in([World { devices: 2, has_dma: true, ..NOTHING }]);
}

#[test]
#[ignore = "minutes: 12 million states; cargo test --test revocation -- --ignored"]
fn every_promise_holds_in_large_worlds() {
    let maps = World { has_dma: true, has_maps: true, ..NOTHING };
    holds_in([
        World { devices: 2, has_dma: true, unit_dies: true, ..NOTHING },
        World { devices: 2, ..maps },
        World { has_loops: true, unit_dies: true, ..maps },
        World { has_registers: true, has_interrupts: true, ..maps },
    ]);
}
