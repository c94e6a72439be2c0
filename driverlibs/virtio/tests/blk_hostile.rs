//! A block device that lies, in its rings, its registers and its configuration: the driver refuses, reports, and goes on.

mod blk_rig;

use blk_rig::{Rig, data};
use weir_block::{BlockQueue, Options, Request};
use weir_sim::virtio_blk::{Behaviour, Malice};
use weir_sim::{SimDevice, SimWindow, VirtioBlk};
use weir_virtio::Violation;
use weir_virtio::blk::Error;

/// How many devices lie, each for some hundred requests. The environment can ask for more.
fn liars() -> u64 {
    let asked = std::env::var("WEIR_HOSTILE_DEVICES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(miri) { 3 } else { 500 })
}

fn behaviour(seed: u64) -> Behaviour {
    Behaviour { entries: 4 << (seed % 6), shuffles: seed.is_multiple_of(2), ..Behaviour::default() }
}

/// Submits and completes; buffers are with the device, in the pool, or in what was cut off, never lost.
fn work(rig: &mut Rig, steps: usize) -> u64 {
    let mut violations = 0;
    for number in 0..steps {
        let mut result = Ok(0);
        if rig.queues[0].room() > 0 {
            let buffer = rig.buffer(&data(number, 512 * (1 + number % 9)));
            let request = if number % 2 == 0 { Request::write } else { Request::read };
            result = rig.submit(request(0, number as u64, buffer, number as u64));
        }
        match result.and_then(|_| rig.complete()) {
            Ok(done) if !done.is_empty() => done.into_iter().for_each(|done| rig.put_back(done)),
            // Nothing came: it forgot, or it did not start.
            Ok(_) => drop(rig.start()),
            Err(error) => {
                violations += u64::from(matches!(error, Error::Virtio(weir_virtio::Error::Violation(_))));
                let _ = rig.start();
                rig.drain();
            }
        }
    }
    violations
}

#[test]
fn lies_in_rings_are_found_and_survived() {
    let mut violations = 0;
    for seed in 1..=liars() {
        let mut rig = Rig::started(behaviour(seed), &Options::default());
        rig.device.model().set_malice(Malice::in_rings(seed, 1 + seed % 40));
        violations += work(&mut rig, 100);
        rig.device.model().set_malice(Malice::none());
        rig.start().expect("an honest device starts");
        rig.drain();
        assert_eq!(rig.pool.available(), rig.pool.buffers(), "seed {seed}: no buffer lost");
        let buffer = rig.buffer(&data(1, 512));
        let completion = rig.perform(Request::write(0, 0, buffer, 1));
        assert_eq!(completion.result, Ok(()), "seed {seed}: works again");
        rig.put_back(completion);
        assert_eq!(rig.window.faults(), 0, "seed {seed}: the driver itself gave only good addresses");
    }
    assert!(violations > liars(), "lies were told and found: {violations}");
}

#[test]
fn lies_everywhere_never_panic() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 1..=liars() {
        let window = SimWindow::default();
        let device = SimDevice::new(VirtioBlk::new(&window, behaviour(seed)));
        device.model().set_malice(Malice::everywhere(seed, 1 + seed % 200));
        let options = Options { queues: 3, interrupt: seed.is_multiple_of(2), ..Options::default() };
        match Rig::open_device(window, device, &options) {
            Ok(mut rig) => {
                opened += 1;
                let _ = (rig.start(), rig.queues[0].wait(0));
                work(&mut rig, 5);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(cfg!(miri) || opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

#[test]
fn a_start_mends_whatever_the_device_wrote_into_its_memory() {
    let mut rig = Rig::started(behaviour(0), &Options::default());
    for region in 0..rig.window.allocations() {
        for page in 0..4 {
            rig.window.scribble(region, 4096 * page, &[0xff; 4096]);
        }
    }
    rig.start().expect("an honest device starts");
    for (number, request) in [Request::write, Request::read].into_iter().enumerate() {
        let buffer = rig.buffer(&data(1, 512));
        let completion = rig.perform(request(0, 0, buffer, number as u64));
        assert_eq!(completion.result, Ok(()));
        rig.put_back(completion);
    }
    assert_eq!(rig.window.faults(), 0);
}

#[test]
fn each_lie_has_its_name() {
    let lies = [
        (4, 513, 1, Violation::UsedId { id: 4 }),
        (1, 513, 1, Violation::UsedId { id: 1 }),
        (u32::MAX, 513, 1, Violation::UsedId { id: u32::MAX }),
        (3, 514, 1, Violation::UsedLength { len: 514 }),
        (3, u32::MAX, 1, Violation::UsedLength { len: u32::MAX }),
        (3, 513, 2, Violation::UsedIndex { jump: 2, in_flight: 1 }),
        (3, 513, u16::MAX, Violation::UsedIndex { jump: u16::MAX, in_flight: 1 }),
    ];
    for (id, len, index, violation) in lies {
        let behaviour = Behaviour { works_on_kick: false, ..Behaviour::default() };
        let mut rig = Rig::started(behaviour, &Options { depth: 4, ..Options::default() });
        let buffer = rig.buffer(&[0; 512]);
        // The last slot is the first that is used.
        assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(1));
        rig.device.model().forge_used(0, id, len, index);
        assert_eq!(rig.complete().err(), Some(Error::from(violation)));
    }
}
