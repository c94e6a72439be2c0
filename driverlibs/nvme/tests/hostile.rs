//! A controller that lies, in its completions, its registers and its identify data: the driver refuses, reports, and goes on.

mod rig;

use rig::{Rig, data};
use weir_block::{BlockDevice, BlockQueue, Options, Request};
use weir_nvme::{Error, Violation};
use weir_sim::nvme::{Behaviour, Malice, Namespace};
use weir_sim::{Nvme as Model, SimDevice, SimWindow};

/// How many controllers lie, each for some hundred requests. The environment can ask for more.
fn liars() -> u64 {
    let asked = std::env::var("WEIR_HOSTILE_DEVICES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(miri) { 3 } else { 500 })
}

fn behaviour(seed: u64) -> Behaviour {
    let namespaces =
        vec![Namespace::default(), Namespace { id: 3, blocks: 64, block_shift: 12, ..Namespace::default() }];
    Behaviour {
        entries: 2 << (seed % 6),
        shuffles: seed.is_multiple_of(2),
        namespaces,
        ..Behaviour::default()
    }
}

/// Submits and completes; buffers are with the controller, in the pool, or in what was cut off, never lost.
fn work(rig: &mut Rig, steps: usize) -> u64 {
    let mut violations = 0;
    for number in 0..steps {
        let blocks = 1 + number % 3;
        if rig.queues[0].room() == 0 && rig.queues[0].in_flight() == 0 {
            // It refused to start before.
            let _ = rig.start();
        }
        let result = if rig.queues[0].room() > 0 {
            let disk = u16::from(number % 5 == 0 && rig.nvme.disks().len() > 1);
            let buffer = rig.buffer(&data(number, 4096 * blocks));
            let request = if number % 2 == 0 { Request::write } else { Request::read };
            let submitted = rig.submit(request(disk, number as u64 % 32, buffer, number as u64));
            submitted.and_then(|_| rig.complete())
        } else {
            rig.queues[0].tick();
            rig.complete()
        };
        match result {
            Ok(done) => done.into_iter().for_each(|completion| rig.put_back(completion)),
            Err(error) => {
                violations += u64::from(matches!(error, Error::Violation(_)));
                // A lying controller may refuse to start; the next round tries again.
                let _ = rig.start();
                rig.drain();
            }
        }
        if rig.queues[0].tick() > 2 {
            let late = rig.nvme.abort_late(&mut rig.queues[0], &rig.clock);
            if late.is_err() {
                let _ = rig.start();
            }
        }
    }
    violations
}

#[test]
fn lies_in_completions_are_found_and_survived() {
    let mut violations = 0;
    for seed in 1..=liars() {
        let mut rig = Rig::started(behaviour(seed), &Options { depth: 31, ..Options::default() });
        rig.device.model().set_malice(Malice::in_rings(seed, 1 + seed % 60));
        violations += work(&mut rig, 100);
        rig.device.model().set_malice(Malice::none());
        rig.start().expect("an honest controller starts");
        rig.drain();
        assert_eq!(rig.pool.available(), rig.pool.buffers(), "seed {seed}: no buffer lost");
        let buffer = rig.buffer(&data(1, 4096));
        let completion = rig.perform(Request::write(0, 0, buffer, 1));
        assert_eq!(completion.result, Ok(()), "seed {seed}: works again");
        rig.put_back(completion);
        assert_eq!(rig.window.faults(), 0, "seed {seed}: the driver itself gave only good addresses");
        assert_eq!(rig.device.model().counts().bad_doorbells, 0, "seed {seed}");
    }
    assert!(violations > liars(), "lies were told and found: {violations}");
}

#[test]
fn lies_everywhere_never_panic() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 1..=liars() {
        let window = SimWindow::default();
        let device = SimDevice::new(Model::new(&window, behaviour(seed)));
        device.model().set_malice(Malice::everywhere(seed, 1 + seed % 1500));
        let options = Options { queues: 3, depth: 15, interrupt: seed % 2 == 0 };
        match Rig::open_device(window, device, &options) {
            Ok(mut rig) => {
                opened += 1;
                let _ = rig.start();
                let _ = (rig.queues[0].wait(0), rig.nvme.has_stopped());
                // Disks may have become as large or as odd as identify data can say.
                work(&mut rig, 20);
                rig.device.model().set_malice(Malice::none());
                let _ = rig.start();
            }
            Err(_) => refused += 1,
        }
    }
    assert!(cfg!(miri) || opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

/// A started driver with command 0 under way, which its controller does not do.
fn with_one_under_way() -> Rig {
    let mut rig = Rig::started(
        Behaviour { works_on_doorbell: false, ..Behaviour::default() },
        &Options { depth: 3, ..Options::default() },
    );
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(1));
    rig
}

#[test]
fn each_lie_has_its_name() {
    let lies = [
        (1, 1, 1, Violation::CommandId { cid: 1 }),
        (1, 1, 4, Violation::CommandId { cid: 4 }),
        (1, 1, 0xffff, Violation::CommandId { cid: 0xffff }),
        (4, 1, 0, Violation::Head { head: 4, entries: 4 }),
        (0xffff, 1, 0, Violation::Head { head: 0xffff, entries: 4 }),
        (1, 0, 0, Violation::QueueId { queue: 0, expected: 1 }),
        (1, 2, 0, Violation::QueueId { queue: 2, expected: 1 }),
    ];
    for (head, queue, cid, violation) in lies {
        let mut rig = with_one_under_way();
        rig.device.model().forge(1, head, queue, cid, 0);
        assert_eq!(rig.complete().err(), Some(Error::Violation(violation)));
    }
}

#[test]
fn a_command_completed_twice_is_found() {
    let mut rig = with_one_under_way();
    rig.device.model().forge(1, 1, 1, 0, 0);
    let done = rig.complete().expect("the first is good");
    assert_eq!(done.len(), 1);
    done.into_iter().for_each(|completion| rig.put_back(completion));
    rig.device.model().forge(1, 1, 1, 0, 0);
    assert_eq!(rig.complete().err(), Some(Error::Violation(Violation::CommandId { cid: 0 })));
}

#[test]
fn a_list_of_namespaces_that_goes_back_is_refused() {
    let namespaces = [4, 2].map(|id| Namespace { id, ..Namespace::default() }).to_vec();
    let error = Rig::open(Behaviour { namespaces, ..Behaviour::default() }, &Options::default()).err();
    assert_eq!(error, Some(Error::Violation(Violation::Namespace { namespace: 2 })));
}
