//! Requests to an honest block device: contents, order, wrap of the rings, kicks, interrupts, restarts.

mod blk_rig;

use std::collections::BTreeMap;

use blk_rig::{BURST, Rig, data};
use proptest::prelude::*;
use weir_block::{BadRequest, BlockDevice, BlockQueue, Completion, Deque, Failure, Options, Request};
use weir_sim::Model;
use weir_sim::virtio_blk::{Behaviour, feature};
use weir_virtio::blk::Error;

const FEW: usize = if cfg!(miri) { 30 } else { 70_000 };

fn small() -> Options {
    Options { depth: 4, ..Options::default() }
}

fn read(rig: &mut Rig, block: u64, len: usize) -> Vec<u8> {
    let buffer = rig.buffer(&vec![0xee; len]);
    let completion = rig.perform(Request::read(0, block, buffer, 5));
    assert_eq!((completion.token, completion.result), (5, Ok(())));
    let bytes = completion.buffer.as_ref().map(|buf| buf.bytes().to_vec()).expect("the request's");
    rig.put_back(completion);
    bytes
}

fn write(rig: &mut Rig, block: u64, bytes: &[u8]) {
    let buffer = rig.buffer(bytes);
    let completion = rig.perform(Request::write(0, block, buffer, 6));
    assert_eq!((completion.token, completion.result), (6, Ok(())));
    rig.put_back(completion);
}

#[test]
fn what_is_written_is_on_the_disk_and_read_back_through_every_wrap() {
    for behaviour in [Behaviour::default(), Behaviour { entries: 4, ..Behaviour::default() }] {
        let mut rig = Rig::started(behaviour, &small());
        for number in 0..FEW {
            let (block, bytes) = (number as u64 % 4000, data(number, 512));
            write(&mut rig, block, &bytes);
            if number % 64 == 0 {
                assert_eq!(read(&mut rig, block, 512), bytes, "{number}");
                let at = 512 * (number % 4000);
                assert_eq!(&rig.device.model().disk()[at..at + 512], bytes, "{number}");
            }
        }
        assert_eq!(rig.window.faults(), 0);
    }
}

#[test]
fn places_are_counted_in_sectors_whatever_the_block_size() {
    let mut rig = Rig::started(Behaviour { block_bytes: 4096, ..Behaviour::default() }, &small());
    assert_eq!((rig.blk.disks()[0].block_bytes(), rig.blk.disks()[0].blocks), (4096, 512));
    write(&mut rig, 3, &data(1, 8192));
    assert_eq!(&rig.device.model().disk()[3 * 4096..5 * 4096], data(1, 8192));
    let completion = rig.perform(Request::trim(0, 4, 1, 8));
    assert_eq!(completion.result, Ok(()));
    let expected = [&data(1, 8192)[..4096], &[0; 4096]].concat();
    assert_eq!(read(&mut rig, 3, 8192), expected);
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Err(Error::BadRequest(BadRequest::Length)));
}

#[test]
fn flush_and_what_the_device_lacks() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    assert_eq!(rig.perform(Request::flush(0, 7)).result, Ok(()));
    assert_eq!(rig.device.model().flushes(), 1);
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(1, 0, buffer, 0)), Err(Error::BadRequest(BadRequest::NoDisk)));
    let features = Behaviour::default().features;
    let plain = Behaviour { features: features & !feature::DISCARD | feature::RO, ..Behaviour::default() };
    let mut plain = Rig::started(plain, &small());
    assert_eq!(plain.submit(Request::trim(0, 0, 1, 0)), Err(Error::BadRequest(BadRequest::NoTrim)));
    let buffer = plain.buffer(&[0; 512]);
    assert_eq!(plain.submit(Request::write(0, 0, buffer, 0)), Err(Error::BadRequest(BadRequest::ReadOnly)));
    for missing in [feature::FLUSH, feature::ACCESS_PLATFORM] {
        let without = Behaviour { features: features & !missing, ..Behaviour::default() };
        let error = Rig::open(without, &small()).err();
        let refused = matches!(error, Some(Error::Virtio(weir_virtio::Error::NoFeature { missing: m })) if m.bits() == missing);
        assert!(refused, "{error:?}");
    }
}

#[test]
fn a_full_queue_takes_what_fits_and_the_rest_later_in_any_order() {
    let behaviour = Behaviour { works_on_kick: false, shuffles: true, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &Options { depth: 7, ..small() });
    let mut requests = Deque::<Request, BURST>::new();
    for number in 0..20 {
        let buffer = rig.buffer(&data(number, 512));
        requests.push_back(Request::write(0, number as u64, buffer, number as u64)).expect("room");
    }
    let mut tokens = Vec::new();
    for fits in [7, 7, 6] {
        assert_eq!(rig.queues[0].submit(&mut requests), Ok(fits));
        assert_eq!(rig.queues[0].submit(&mut requests), Ok(0));
        rig.device.model().work();
        for completion in rig.complete().expect("honest") {
            assert_eq!(completion.result, Ok(()));
            tokens.push(completion.token);
            rig.put_back(completion);
        }
    }
    assert_ne!(tokens, (0..20).collect::<Vec<_>>(), "the device has an order of its own");
    tokens.sort_unstable();
    assert_eq!(tokens, (0..20).collect::<Vec<_>>());
    for number in 0..20 {
        assert_eq!(&rig.device.model().disk()[512 * number..512 * (number + 1)], data(number, 512));
    }
}

#[test]
fn a_burst_costs_one_kick() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    for round in 1..=20 {
        let mut requests = Deque::<Request, BURST>::new();
        for number in 0..32 {
            let buffer = rig.buffer(&[7; 512]);
            requests.push_back(Request::read(0, number, buffer, number)).expect("room");
        }
        assert_eq!(rig.queues[0].submit(&mut requests), Ok(32));
        rig.drain();
        assert_eq!(rig.device.model().kicks(), round);
    }
}

#[test]
fn queues_work_side_by_side() {
    let mut rig = Rig::started(Behaviour::default(), &Options { queues: 9, ..small() });
    assert_eq!(rig.queues.len(), 4, "as many as the device has");
    for number in 0..4usize {
        let buffer = rig.buffer(&data(number, 512));
        let mut requests = Deque::<Request, BURST>::new();
        requests.push_back(Request::write(0, number as u64, buffer, number as u64)).expect("room");
        assert_eq!(rig.queues[number].submit(&mut requests), Ok(1));
        let mut done = Deque::<Completion, BURST>::new();
        assert_eq!(rig.queues[number].complete(&mut done), Ok(1));
        let completion = done.pop_front().expect("one");
        assert_eq!((completion.token, completion.result), (number as u64, Ok(())));
        rig.put_back(completion);
        assert_eq!(&rig.device.model().disk()[512 * number..512 * (number + 1)], data(number, 512));
    }
}

#[test]
fn no_interrupt_while_polling_and_none_lost_when_sleeping() {
    let behaviour = Behaviour { works_on_kick: false, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &Options { interrupt: true, ..small() });
    let interrupts = rig.device.model().interrupts().clone();
    let submit = |rig: &mut Rig| {
        let buffer = rig.buffer(&[0; 512]);
        assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(1));
    };
    submit(&mut rig);
    rig.device.model().work();
    rig.drain();
    assert_eq!(interrupts.count(0), 0, "silent while nobody sleeps");
    submit(&mut rig);
    let device = rig.device.clone();
    interrupts.set_meanwhile(Some(Box::new(move || device.model().work())));
    assert_eq!(rig.queues[0].wait(u64::MAX), Ok(true));
    assert_eq!(interrupts.count(0), 1);
    rig.drain();
    interrupts.set_meanwhile(None);
    assert_eq!(rig.queues[0].wait(0), Ok(false));
    submit(&mut rig);
    rig.device.model().work();
    assert_eq!((rig.queues[0].wait(0), interrupts.count(0)), (Ok(true), 1));
    rig.drain();
}

#[test]
fn status_values_come_as_failures_and_a_restart_cuts_off() {
    let mut rig = Rig::started(Behaviour { works_on_kick: false, ..Behaviour::default() }, &small());
    for (status, failure) in [
        (1, Failure::Medium { status: 1 }),
        (2, Failure::Unsupported { status: 2 }),
        (255, Failure::Medium { status: 255 }),
    ] {
        rig.device.model().fail_next(status);
        let buffer = rig.buffer(&[0; 512]);
        assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(1));
        rig.device.model().work();
        let completion = rig.complete().expect("honest").remove(0);
        assert_eq!(completion.result, Err(failure));
        rig.put_back(completion);
    }
    let buffer = rig.buffer(&data(1, 512));
    assert_eq!(rig.submit(Request::write(0, 0, buffer, 3)), Ok(1));
    assert_eq!((rig.queues[0].tick(), rig.queues[0].tick()), (0, 1));
    assert_eq!(rig.blk.abort_late(&mut rig.queues[0], &rig.clock), Ok(0), "virtio has no abort");
    rig.start().expect("an honest device starts");
    let completion = rig.complete().expect("honest").remove(0);
    assert_eq!((completion.token, completion.result), (3, Err(Failure::Reset)));
    assert_eq!(completion.buffer.as_ref().map(|buf| buf.bytes().to_vec()), Some(data(1, 512)));
    rig.put_back(completion);
    assert_eq!((rig.queues[0].tick(), rig.queues[0].room()), (0, 4));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked for, and whenever completions are taken: each request ends once, and the disk is a plain array.
    #[test]
    fn any_schedule_is_that_of_an_array(
        steps in proptest::collection::vec((0u8..3, 0u16..16), 0..if cfg!(miri) { 20 } else { 300 }),
    ) {
        let mut rig = Rig::started(Behaviour::default(), &small());
        let mut array = vec![0; 16 * 512];
        let mut under_way = BTreeMap::new();
        for ((step, block), token) in steps.into_iter().zip(0..) {
            let (place, bytes) = (usize::from(block) * 512.., data(token, 512));
            let (place, number) = (&mut array[place][..512], token as u64);
            let (request, expected) = match step {
                0 => (Request::write(0, block.into(), rig.buffer(&bytes), number), bytes),
                1 => (Request::read(0, block.into(), rig.buffer(&[0xee; 512]), number), place.to_vec()),
                _ => {
                    take(&mut rig, &mut under_way);
                    continue;
                }
            };
            if rig.submit(request).expect("honest") == 1 {
                place.copy_from_slice(&expected);
                under_way.insert(number, expected);
            }
        }
        while !under_way.is_empty() {
            take(&mut rig, &mut under_way);
        }
        prop_assert_eq!(rig.window.faults(), 0);
    }
}

/// Takes what has ended: each is one of those under way, with the bytes that it should have.
fn take(rig: &mut Rig, under_way: &mut BTreeMap<u64, Vec<u8>>) {
    for completion in rig.complete().expect("honest") {
        let bytes = completion.buffer.as_ref().map(|buf| buf.bytes().to_vec());
        assert_eq!((completion.result, bytes), (Ok(()), under_way.remove(&completion.token)));
        rig.put_back(completion);
    }
}
