//! Requests to an honest controller: contents, order, wrap of the rings, doorbells, interrupts, aborts, restarts.

mod rig;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rig::{BURST, FastClock, Rig, data, one};
use weir_block::{
    BadRequest, BlockDevice, BlockQueue, Completion, Deque, Failure, Operation, Options, Request,
};
use weir_nvme::{Error, Nvme};
use weir_sim::nvme::{Behaviour, Namespace};
use weir_sim::{Model, Nvme as Controller, SimDevice, SimWindow};

const FEW: usize = if cfg!(miri) { 30 } else { 70_000 };

fn small() -> Options {
    Options { depth: 7, ..Options::default() }
}

/// Reads `len` bytes at `block` of the first disk.
fn read(rig: &mut Rig, disk: u16, block: u64, len: usize) -> Vec<u8> {
    let buffer = rig.buffer(&vec![0xee; len]);
    let completion = rig.perform(Request::read(disk, block, buffer, 5));
    assert_eq!((completion.operation, completion.token, completion.result), (Operation::Read, 5, Ok(())));
    let bytes = completion.buffer.as_ref().map(|buf| buf.bytes().to_vec()).expect("the request's");
    rig.put_back(completion);
    bytes
}

fn write(rig: &mut Rig, disk: u16, block: u64, bytes: &[u8]) {
    let buffer = rig.buffer(bytes);
    let completion = rig.perform(Request::write(disk, block, buffer, 6));
    assert_eq!((completion.operation, completion.token, completion.result), (Operation::Write, 6, Ok(())));
    rig.put_back(completion);
}

#[test]
fn what_is_written_is_on_the_disk_and_read_back_through_every_wrap() {
    for behaviour in
        [Behaviour::default(), Behaviour { entries: 2, doorbell_stride: 3, ..Behaviour::default() }]
    {
        let mut rig = Rig::started(behaviour, &small());
        for number in 0..FEW {
            let (block, bytes) = (number as u64 % 4000, data(number, 512));
            write(&mut rig, 0, block, &bytes);
            if number % 64 == 0 {
                assert_eq!(read(&mut rig, 0, block, 512), bytes, "{number}");
                let at = 512 * (number % 4000);
                assert_eq!(&rig.device.model().disk(0)[at..at + 512], bytes, "{number}");
            }
        }
        let counts = rig.device.model().counts();
        assert_eq!((counts.bad_doorbells, rig.window.faults()), (0, 0));
    }
}

#[test]
fn every_length_finds_its_pages() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    for blocks in [1, 7, 8, 9, 15, 16, 17, 24, 25, 128] {
        let bytes = data(blocks, 512 * blocks);
        write(&mut rig, 0, 100, &bytes);
        assert_eq!(&rig.device.model().disk(0)[51200..51200 + bytes.len()], bytes, "{blocks}");
        assert_eq!(read(&mut rig, 0, 100, bytes.len()), bytes, "{blocks}");
    }
    assert_eq!(rig.window.faults(), 0);
}

/// 256 pages: 255 entries in the list.
#[test]
fn the_longest_request_fits_its_list() {
    let mut rig = Rig::started(Behaviour { transfer_shift: 0, ..Behaviour::default() }, &small());
    let memory = weir_hal::DmaWindow::allocate(&rig.window, 1 << 20).expect("memory");
    let mut pool = weir_pool::BlockPool::new(memory, 1 << 20).expect("one buffer");
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(1 << 20));
    buf.bytes_mut().copy_from_slice(&data(3, 1 << 20));
    let completion = rig.perform(Request::write(0, 8, buf, 1));
    assert_eq!(completion.result, Ok(()));
    pool.put(completion.buffer.expect("the request's"));
    assert_eq!(&rig.device.model().disk(0)[4096..4096 + (1 << 20)], data(3, 1 << 20));
    assert_eq!(rig.window.faults(), 0);
}

#[test]
fn namespaces_are_disks_and_unusable_ones_are_counted() {
    let namespaces = vec![
        Namespace { id: 2, ..Namespace::default() },
        Namespace { id: 3, metadata_bytes: 8, ..Namespace::default() },
        Namespace { id: 5, blocks: 64, block_shift: 12, is_read_only: true, ..Namespace::default() },
        Namespace { id: 9, block_shift: 3, ..Namespace::default() },
        Namespace { id: 10, blocks: 64, block_shift: 12, ..Namespace::default() },
    ];
    let mut rig = Rig::started(Behaviour { namespaces, ..Behaviour::default() }, &small());
    let disks: Vec<_> =
        rig.nvme.disks().iter().map(|d| (d.block_bytes(), d.bytes(), d.is_read_only)).collect();
    assert_eq!(disks, [(512, 2 << 20, false), (4096, 256 << 10, true), (4096, 256 << 10, false)]);
    assert_eq!(rig.nvme.unusable_namespaces(), 2);
    write(&mut rig, 2, 63, &data(1, 4096));
    assert_eq!(&rig.device.model().disk(4)[63 * 4096..], data(1, 4096));
    assert_eq!(read(&mut rig, 1, 0, 8192), vec![0; 8192]);
    let buffer = rig.buffer(&[0; 4096]);
    assert_eq!(rig.submit(Request::write(1, 0, buffer, 0)), Err(Error::BadRequest(BadRequest::ReadOnly)));
    let buffer = rig.buffer(&[0; 4096]);
    assert_eq!(rig.submit(Request::read(3, 0, buffer, 0)), Err(Error::BadRequest(BadRequest::NoDisk)));
}

#[test]
fn flush_and_trim() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    write(&mut rig, 0, 0, &data(1, 4096));
    assert_eq!(rig.perform(Request::flush(0, 7)).result, Ok(()));
    assert_eq!(rig.device.model().counts().flushes, 1);
    let completion = rig.perform(Request::trim(0, 1, 3, 8));
    assert_eq!((completion.operation, completion.token, completion.result), (Operation::Trim, 8, Ok(())));
    let mut expected = data(1, 4096);
    expected[512..2048].fill(0);
    assert_eq!(read(&mut rig, 0, 0, 4096), expected);
    let mut cannot = Rig::started(Behaviour { can_trim: false, ..Behaviour::default() }, &small());
    assert_eq!(cannot.submit(Request::trim(0, 1, 3, 8)), Err(Error::BadRequest(BadRequest::NoTrim)));
}

#[test]
fn a_burst_costs_two_doorbells() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    for round in 0..20u64 {
        let before = rig.device.model().counts();
        let mut requests = Deque::<Request, BURST>::new();
        for number in 0..32 {
            let buffer = rig.buffer(&[7; 512]);
            requests.push_back(Request::read(0, number, buffer, number)).expect("room");
        }
        assert_eq!(rig.queues[0].submit(&mut requests), Ok(32), "round {round}");
        rig.drain();
        let after = rig.device.model().counts();
        assert_eq!(after.tail_doorbells - before.tail_doorbells, 1, "one per burst submitted");
        // A second look found nothing, and rang nothing.
        assert_eq!(after.head_doorbells - before.head_doorbells, 1, "one per burst completed");
    }
}

#[test]
fn a_full_queue_takes_what_fits_and_the_rest_later_in_any_order() {
    let behaviour = Behaviour { works_on_doorbell: false, shuffles: true, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &small());
    let mut requests = Deque::<Request, BURST>::new();
    for number in 0..20 {
        let buffer = rig.buffer(&data(number, 512));
        requests.push_back(Request::write(0, number as u64, buffer, number as u64)).expect("room");
    }
    let mut tokens = Vec::new();
    for fits in [7, 7, 6] {
        assert_eq!(rig.queues[0].submit(&mut requests), Ok(fits));
        assert_eq!(rig.queues[0].submit(&mut requests), Ok(0));
        assert_eq!(rig.queues[0].in_flight(), u16::try_from(fits).expect("few"));
        rig.device.model().work();
        for completion in rig.complete().expect("honest") {
            assert_eq!(completion.result, Ok(()));
            tokens.push(completion.token);
            rig.put_back(completion);
        }
    }
    assert_eq!(rig.queues[0].in_flight(), 0);
    assert_ne!(tokens, (0..20).collect::<Vec<_>>(), "the controller has an order of its own");
    tokens.sort_unstable();
    assert_eq!(tokens, (0..20).collect::<Vec<_>>());
    for number in 0..20 {
        assert_eq!(&rig.device.model().disk(0)[512 * number..512 * (number + 1)], data(number, 512));
    }
}

#[test]
fn a_bad_request_stays_and_those_before_it_go() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    let (good, bad) = (rig.buffer(&[1; 512]), rig.buffer(&[2; 512]));
    let mut requests = one(Request::write(0, 0, good, 1));
    requests.push_back(Request::write(0, 4096, bad, 2)).expect("room");
    assert_eq!(rig.queues[0].submit(&mut requests), Err(Error::BadRequest(BadRequest::OutOfRange)));
    assert_eq!(requests.front().map(|request| request.token), Some(2));
    let done = rig.complete().expect("honest");
    assert_eq!(done.iter().map(|completion| completion.token).collect::<Vec<_>>(), [1]);
    done.into_iter().for_each(|completion| rig.put_back(completion));
    rig.pool.put(requests.pop_front().and_then(|request| request.buffer).expect("its buffer"));
}

#[test]
fn status_codes_come_as_failures() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    for (status, failure) in [
        (0x0281, Failure::Medium { status: 0x281 }),
        (0x4002, Failure::Unsupported { status: 2 }),
        (0x0006, Failure::Other { status: 6 }),
    ] {
        rig.device.model().fail_next(status);
        let buffer = rig.buffer(&[0; 512]);
        let completion = rig.perform(Request::read(0, 0, buffer, 0));
        assert_eq!(completion.result, Err(failure));
        rig.put_back(completion);
    }
}

#[test]
fn a_queue_that_does_not_run_takes_nothing() {
    let mut rig = Rig::open(Behaviour::default(), &small()).expect("an honest controller opens");
    assert_eq!(rig.queues[0].room(), 0);
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(0));
    rig.start().expect("an honest controller starts");
    assert_eq!(rig.queues[0].room(), 7);
    rig.device.model().set_stuck(true);
    assert!(rig.start().is_err());
    assert_eq!(rig.queues[0].room(), 7, "not reset, so what it has stays");
}

#[test]
fn queues_work_side_by_side() {
    let mut rig = Rig::started(Behaviour::default(), &Options { queues: 9, ..small() });
    assert_eq!(rig.queues.len(), 4, "as many as the controller grants");
    for number in 0..4u16 {
        let buffer = rig.buffer(&data(number.into(), 512));
        let mut requests = one(Request::write(0, number.into(), buffer, number.into()));
        assert_eq!(rig.queues[usize::from(number)].submit(&mut requests), Ok(1));
    }
    for number in 0..4 {
        let mut done = Deque::<Completion, BURST>::new();
        assert_eq!(rig.queues[number].complete(&mut done), Ok(1));
        let completion = done.pop_front().expect("one");
        assert_eq!((completion.token, completion.result), (number as u64, Ok(())));
        rig.put_back(completion);
        assert_eq!(&rig.device.model().disk(0)[512 * number..512 * (number + 1)], data(number, 512));
    }
}

#[test]
fn no_interrupt_while_polling_and_none_lost_when_sleeping() {
    let behaviour = Behaviour { works_on_doorbell: false, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &Options { interrupt: true, ..small() });
    let interrupts = rig.device.model().interrupts().clone();
    let submit = |rig: &mut Rig| {
        let buffer = rig.buffer(&[0; 512]);
        assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(1));
    };
    submit(&mut rig);
    rig.device.model().work();
    rig.drain();
    assert_eq!(interrupts.count(1), 0, "masked while nobody sleeps");
    // It ends while the program sleeps: the interrupt wakes it.
    submit(&mut rig);
    let device = rig.device.clone();
    interrupts.set_meanwhile(Some(Box::new(move || device.model().work())));
    assert_eq!(rig.queues[0].wait(u64::MAX), Ok(true));
    assert_eq!(interrupts.count(1), 1);
    rig.drain();
    // It has ended before: no sleep.
    interrupts.set_meanwhile(None);
    submit(&mut rig);
    rig.device.model().work();
    assert_eq!(rig.queues[0].wait(0), Ok(true));
    rig.drain();
    // Nothing ends: the deadline does.
    assert_eq!(rig.queues[0].wait(0), Ok(false));
    // After many looks without a sleep it is masked again.
    for _ in 0..300 {
        rig.drain();
    }
    let before = interrupts.count(1);
    submit(&mut rig);
    rig.device.model().work();
    rig.drain();
    assert_eq!(interrupts.count(1), before);
}

#[test]
fn without_interrupts_there_is_no_waiting() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    assert_eq!(rig.queues[0].wait(0), Err(Error::Host(weir_hal::Error::Unsupported)));
}

#[test]
fn a_late_request_is_aborted() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    rig.device.model().set_stalled(true);
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(0, 0, buffer, 3)), Ok(1));
    assert_eq!(rig.queues[0].tick(), 0, "no whole tick has passed");
    assert_eq!(rig.queues[0].tick(), 1);
    assert_eq!(rig.nvme.abort_late(&mut rig.queues[0], &rig.clock), Ok(1));
    let done = rig.complete().expect("honest");
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].token, done[0].result), (3, Err(Failure::Aborted { status: 7 })));
    done.into_iter().for_each(|completion| rig.put_back(completion));
    assert_eq!((rig.queues[0].tick(), rig.queues[0].in_flight()), (0, 0));
}

#[test]
fn a_restart_cuts_off_what_is_under_way_and_all_works_again() {
    let mut rig = Rig::started(Behaviour::default(), &Options { queues: 2, ..small() });
    rig.device.model().set_stalled(true);
    for number in 0..5 {
        let buffer = rig.buffer(&data(number, 512));
        assert_eq!(rig.submit(Request::write(0, number as u64, buffer, number as u64)), Ok(1));
    }
    assert_eq!(rig.pool.available(), rig.pool.buffers() - 5);
    rig.device.model().set_stalled(false);
    rig.start().expect("an honest controller starts");
    let mut done = rig.complete().expect("honest");
    done.sort_by_key(|completion| completion.token);
    assert_eq!(done.len(), 5);
    for (number, completion) in done.into_iter().enumerate() {
        assert_eq!((completion.token, completion.result), (number as u64, Err(Failure::Reset)));
        assert_eq!(completion.buffer.as_ref().map(|buf| buf.bytes().to_vec()), Some(data(number, 512)));
        rig.put_back(completion);
    }
    assert_eq!(rig.pool.available(), rig.pool.buffers());
    write(&mut rig, 0, 9, &data(9, 512));
    assert_eq!(read(&mut rig, 0, 9, 512), data(9, 512));
}

#[test]
fn a_controller_that_fails_or_is_pulled_out_is_noticed() {
    let mut rig = Rig::started(Behaviour::default(), &small());
    assert!(!rig.nvme.has_stopped());
    rig.device.model().fail();
    assert!(rig.nvme.has_stopped());
    rig.start().expect("a reset helps");
    assert!(!rig.nvme.has_stopped());
    // One of its own, because the rig expects that it can be started at the end.
    let window = SimWindow::default();
    let device = SimDevice::new(Controller::new(&window, Behaviour::default()));
    let clock = FastClock::default();
    let (mut nvme, mut queues) = Nvme::open(device.clone(), &window, &clock, &small()).expect("honest");
    nvme.start(&mut queues, &clock).expect("honest");
    device.model().pull_out();
    assert!(nvme.has_stopped());
    assert_eq!(nvme.start(&mut queues, &clock), Err(Error::Host(weir_hal::Error::Gone)));
    assert_eq!(Nvme::open(device, &window, &clock, &small()).err(), Some(Error::Host(weir_hal::Error::Gone)));
}

#[test]
fn a_controller_that_never_gets_ready_is_given_up() {
    let window = SimWindow::default();
    let device = SimDevice::new(Controller::new(&window, Behaviour::default()));
    device.model().set_stuck(true);
    let opened = Nvme::open(device, &window, &FastClock::default(), &small());
    assert_eq!(opened.err(), Some(Error::Host(weir_hal::Error::TimedOut { limit_us: 500_000 })));
}

#[test]
fn what_cannot_be_driven_is_refused() {
    let open = |behaviour, options: &Options| Rig::open(behaviour, options).err();
    let none = Behaviour { namespaces: vec![], ..Behaviour::default() };
    assert_eq!(open(none, &small()), Some(Error::NoNamespace));
    assert_eq!(open(Behaviour::default(), &Options { queues: 0, ..small() }), Some(Error::NoQueue));
    let tiny = open(Behaviour { entries: 1, ..Behaviour::default() }, &small());
    assert!(matches!(tiny, Some(Error::Unusable { .. })), "{tiny:?}");
    let window = SimWindow::default();
    let edu = weir_sim::Edu::new(&window);
    let error = Nvme::open(SimDevice::new(edu), &window, &FastClock::default(), &small()).err();
    assert_eq!(error, Some(Error::OtherDevice { vendor: 0x1234, device: 0x11e8, class: 0 }));
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
