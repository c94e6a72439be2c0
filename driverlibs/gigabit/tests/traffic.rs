//! Traffic through an honest device: contents, order, wrap of the rings, doorbells, interrupts, filters.

mod rig;

use std::collections::VecDeque;

use proptest::prelude::*;
use rig::{Rig, frame, inverted, on_both};
use weir_gigabit::{Chip, Error, Filter, Options, Violation};
use weir_hal::Error as HostError;
use weir_nic::{Nic, RxQueue, TxQueue};
use weir_pool::{Burst, Pool};
use weir_sim::Model;
use weir_sim::gigabit::{Behaviour, Kind, MAC};

const FEW: usize = if cfg!(miri) { 40 } else { 200_000 };

on_both!(
    frames_come_back_whole_through_every_wrap,
    every_length_passes,
    a_burst_costs_one_doorbell,
    a_full_ring_sends_what_fits_and_the_rest_later,
    a_sleeper_wakes_for_every_frame,
    a_polling_driver_is_not_interrupted,
    without_an_interrupt_nobody_can_wait,
    frames_are_lost_when_no_buffer_is_left_and_flow_again_afterwards,
    a_restart_brings_every_buffer_back,
    address_link_and_statistics_are_read,
    filters_let_pass_what_they_say,
    impossible_frames_and_rings_are_refused,
    a_device_that_was_pulled_out_is_gone,
    another_device_is_refused,
    any_schedule_keeps_order,
);

fn frames_come_back_whole_through_every_wrap<C: Chip>(kind: Kind) {
    for entries in [8, 64, 256] {
        let mut rig = Rig::<C>::started(kind, entries);
        for number in 0..FEW / usize::from(entries) * 8 {
            let sent = frame(number, 60 + number % 1455);
            assert!(rig.device.model().deliver(&sent), "{entries} {number}");
            assert_eq!(rig.forward(), Ok(1), "{entries} {number}");
            let came = rig.device.model().next_sent();
            assert_eq!(came.as_deref(), Some(&inverted(&sent)[..]), "{entries} {number}");
        }
        assert_eq!((rig.window.faults(), rig.device.model().bad_descriptors()), (0, 0));
        rig.tx.reclaim(&mut rig.pool);
        assert_eq!((rig.tx.in_flight(), rig.lost()), (0, 0));
    }
}

fn every_length_passes<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 64);
    for len in (60..=1514).step_by(if cfg!(miri) { 200 } else { 1 }) {
        let sent = frame(len, len);
        assert!(rig.device.model().deliver(&sent));
        assert_eq!(rig.forward(), Ok(1), "{len}");
        assert_eq!(rig.device.model().next_sent(), Some(inverted(&sent)), "{len}");
    }
}

fn a_burst_costs_one_doorbell<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 256);
    let before = rig.device.model().kicks();
    for round in 0..20 {
        for number in 0..32 {
            assert!(rig.device.model().deliver(&frame(number, 64)));
        }
        assert_eq!(rig.forward(), Ok(32), "round {round}");
    }
    let after = rig.device.model().kicks();
    assert_eq!((after[0] - before[0], after[1] - before[1]), (20, 20));
}

fn burst_of<const N: usize>(pool: &mut Pool, lengths: &[usize]) -> Burst<N> {
    let mut burst = Burst::new();
    for (number, &len) in lengths.iter().enumerate() {
        let mut buf = pool.take().expect("a buffer");
        assert!(buf.set_len(u16::try_from(len).expect("short")));
        buf.frame_mut().copy_from_slice(&frame(number, len)[..len]);
        burst.push(buf).expect("room");
    }
    burst
}

fn a_full_ring_sends_what_fits_and_the_rest_later<C: Chip>(kind: Kind) {
    let behaviour = Behaviour { kind, works_on_kick: false };
    let mut rig = Rig::<C>::open(behaviour, &Options { entries: 8, ..Options::default() }).expect("opens");
    rig.start().expect("starts");
    let mut burst = burst_of::<16>(&mut rig.pool, &[60; 12]);
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(7), "one descriptor stays free");
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(0));
    rig.device.model().transmit();
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(5));
    rig.device.model().transmit();
    let sent: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
    assert_eq!(sent, (0..12).map(|number| frame(number, 60)).collect::<Vec<_>>());
}

fn a_sleeper_wakes_for_every_frame<C: Chip>(kind: Kind) {
    let options = Options { interrupt: true, ..Options::default() };
    let mut rig = Rig::<C>::started_with(kind, &options);
    assert_eq!(rig.rx.wait(0), Ok(false), "nothing came");
    for number in 0..100 {
        assert!(rig.device.model().deliver(&frame(number, 64)));
        assert_eq!(rig.rx.wait(u64::MAX), Ok(true), "a frame came before the sleep");
        assert_eq!(rig.forward(), Ok(1));
    }
    assert_eq!(rig.rx.wait(0), Ok(false), "all were taken");
    assert_eq!(rig.device.model().interrupts().count(0), 0, "no frame came during a sleep");

    let device = rig.device.clone();
    let arrive = move || assert!(device.model().deliver(&frame(7, 64)));
    rig.device.model().interrupts().set_meanwhile(Some(Box::new(arrive)));
    for number in 0..100 {
        assert_eq!(rig.rx.wait(u64::MAX), Ok(true), "a frame came during the sleep");
        assert_eq!(rig.forward(), Ok(1));
        assert_eq!(rig.device.model().interrupts().count(0), number + 1, "one interrupt per sleep");
        assert!(rig.device.model().deliver(&frame(8, 64)), "leaves a cause behind");
        assert_eq!(rig.forward(), Ok(1));
    }
    rig.device.model().interrupts().set_meanwhile(None);
}

fn a_polling_driver_is_not_interrupted<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &Options { interrupt: true, ..Options::default() });
    for number in 0..if cfg!(miri) { 10 } else { 70_000 } {
        assert!(rig.device.model().deliver(&frame(number, 64)));
        assert_eq!(rig.forward(), Ok(1));
        rig.device.model().next_sent();
    }
    assert_eq!(rig.device.model().interrupts().count(0), 0);
}

fn without_an_interrupt_nobody_can_wait<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 256);
    assert_eq!(rig.rx.wait(0), Err(Error::Host(HostError::Unsupported)));
}

fn frames_are_lost_when_no_buffer_is_left_and_flow_again_afterwards<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 8);
    let kept: Vec<_> = std::iter::from_fn(|| rig.pool.take()).collect();
    for number in 0..7 {
        assert!(rig.device.model().deliver(&frame(number, 64)));
    }
    assert!(!rig.device.model().deliver(&frame(7, 64)), "the ring is empty");
    let mut burst = Burst::<8>::new();
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(7));
    assert!(!rig.device.model().deliver(&frame(8, 64)), "and the pool too");
    kept.into_iter().for_each(|buf| rig.pool.put(buf));
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(0));
    assert!(rig.device.model().deliver(&frame(9, 64)), "the next poll refilled it");
    assert_eq!(rig.net.read_statistics().expect("there").no_buffer, 2);
    while let Some(buf) = burst.pop() {
        rig.pool.put(buf);
    }
}

fn a_restart_brings_every_buffer_back<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 256);
    for number in 0..20 {
        assert!(rig.device.model().deliver(&frame(number, 64)));
    }
    assert_eq!(rig.forward(), Ok(20));
    rig.start().expect("starts again");
    assert_eq!(rig.pool.available(), rig.pool.buffers() - 255);
    assert!(rig.device.model().deliver(&frame(1, 64)));
    assert_eq!(rig.forward(), Ok(1));
    assert_eq!(rig.lost(), 0);
}

fn address_link_and_statistics_are_read<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 256);
    assert_eq!(rig.net.read_mac(), Ok(Some(MAC)));
    assert_eq!(rig.net.read_link_up(), Ok(true));
    rig.device.model().set_link(false);
    assert_eq!(rig.net.read_link_up(), Ok(false));
    assert!(!rig.device.model().deliver(&frame(1, 64)), "no cable");
    rig.device.model().set_link(true);
    for _ in 0..2 {
        assert!(rig.device.model().deliver(&frame(1, 64)));
        assert_eq!(rig.forward(), Ok(1));
        rig.net.read_statistics().expect("there");
    }
    let statistics = rig.net.read_statistics().expect("there");
    assert_eq!((statistics.rx_frames, statistics.tx_frames), (2, 2), "read several times, counted once");
    assert_eq!((statistics.rx_bytes, statistics.tx_bytes), (136, 136));
    rig.start().expect("starts again");
    assert_eq!(rig.net.read_statistics().expect("there").rx_frames, 0);
}

fn filters_let_pass_what_they_say<C: Chip>(kind: Kind) {
    let to = |address: [u8; 6]| [&address[..], &frame(1, 64)[6..]].concat();
    let (broadcast, multicast) = (to([0xff; 6]), to([0x33, 0x33, 0, 0, 0, 1]));
    // The second receive address holds this at power-up; it must not be left on.
    let (other, junk) = (to([2, 0, 0, 0, 0, 9]), to([0, 0, 0, 0, 1, 2]));
    for (filter, passes) in [
        (Filter::Station, [true, false, false]),
        (Filter::Multicast, [true, true, false]),
        (Filter::Promiscuous, [true, true, true]),
    ] {
        let rig = Rig::<C>::started_with(kind, &Options { filter, ..Options::default() });
        let came = [&broadcast, &multicast, &other].map(|frame| rig.device.model().deliver(frame));
        assert_eq!(came, passes, "{filter:?}");
        assert_eq!(rig.device.model().deliver(&junk), passes[2], "{filter:?}");
    }
}

fn impossible_frames_and_rings_are_refused<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 8);
    for len in [13, 1523] {
        let mut burst = burst_of::<4>(&mut rig.pool, &[60, len, 60]);
        let refused = Err(Error::BadFrame { len: u16::try_from(len).expect("short") });
        assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), refused);
        assert!(rig.device.model().next_sent().is_some(), "the one before it was sent");
        assert_eq!(burst.len(), 1, "the one after it stays");
        assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(1));
    }
    assert_eq!((rig.lost(), rig.device.model().bad_descriptors()), (0, 0));
    for entries in [0, 4, 100, 8192, 32768] {
        let behaviour = Behaviour { kind, works_on_kick: true };
        let error = Rig::<C>::open(behaviour, &Options { entries, ..Options::default() }).err();
        assert_eq!(error, Some(Error::BadRing { entries }));
    }
}

fn a_device_that_was_pulled_out_is_gone<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 256);
    assert!(!rig.net.has_stopped());
    rig.device.model().pull_out();
    let gone = Error::Host(HostError::Gone);
    assert!(rig.net.has_stopped());
    assert_eq!(rig.forward(), Ok(0), "the rings just fall silent");
    assert_eq!((rig.net.read_mac(), rig.net.read_link_up()), (Err(gone), Err(gone)));
    assert_eq!(rig.net.read_statistics(), Err(gone));
    assert_eq!(rig.start(), Err(gone));
}

fn another_device_is_refused<C: Chip>(kind: Kind) {
    let kind = if kind == Kind::I82574 { Kind::I82576 } else { Kind::I82574 };
    let error = Rig::<C>::open(Behaviour { kind, works_on_kick: true }, &Options::default()).err();
    assert!(matches!(error, Some(Error::OtherDevice { vendor: 0x8086, .. })), "{error:?}");
}

/// Words a device could write, for both formats at once: see `hostile.rs` for random ones.
#[test]
fn each_lie_has_its_name() {
    fn told<C: Chip>(kind: Kind, word: u64) -> Result<usize, Error> {
        let mut rig = Rig::<C>::started(kind, 8);
        rig.device.model().forge(0, word);
        let first = rig.forward();
        if first.is_err() {
            assert_eq!(rig.forward(), first, "it stays so until the start");
        }
        rig.start().expect("starts again");
        assert!(rig.device.model().deliver(&frame(1, 64)));
        assert_eq!(rig.forward(), Ok(1), "works again");
        assert_eq!(rig.lost(), 0);
        first
    }
    let legacy = |len: u64, status: u64| told::<weir_e1000e::I82574>(Kind::I82574, len | status << 32);
    let advanced = |len: u64, status: u64| told::<weir_igb::I82576>(Kind::I82576, status | len << 32);
    for len in [0, 13, 1523, 2048, 65535] {
        let violation = Violation::Length { len: u16::try_from(len).expect("16 bits") };
        assert_eq!(legacy(len, 3), Err(violation.into()));
        assert_eq!(advanced(len, 3), Err(violation.into()));
    }
    assert_eq!((legacy(64, 3), advanced(64, 3)), (Ok(1), Ok(1)), "forged, but possible");
    assert_eq!((legacy(64, 2), advanced(64, 2)), (Ok(0), Ok(0)), "not done");
    for status in [1, 0x103, 0x203, 0x403, 0x1003, 0x8003] {
        let word = 64 | status << 32;
        assert_eq!(legacy(64, status), Err(Violation::Status { word }.into()));
    }
    for status in [1, 0x8000_0003] {
        let word = status | 64 << 32;
        assert_eq!(advanced(64, status), Err(Violation::Status { word }.into()));
    }
}

/// Whatever arrives, whenever driver and device work: what was delivered comes back, in order.
fn any_schedule_keeps_order<C: Chip>(kind: Kind) {
    let cases = if cfg!(miri) { 4 } else { 256 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let steps = proptest::collection::vec(0u8..3, 0..if cfg!(miri) { 40 } else { 600 });
    let entries = proptest::sample::select(vec![8, 16, 64]);
    proptest!(config, |(steps in steps, entries in entries, works_on_kick: bool)| {
        let options = Options { entries, ..Options::default() };
        let mut rig = Rig::<C>::open(Behaviour { kind, works_on_kick }, &options).expect("honest");
        rig.start().expect("honest");
        let mut model = VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                0 => {
                    let sent = frame(number, 60 + number % 100);
                    if rig.device.model().deliver(&sent) {
                        model.push_back(inverted(&sent));
                    }
                }
                1 => {
                    // A full transmit ring drops: the device works first.
                    rig.device.model().transmit();
                    rig.forward().expect("honest");
                }
                _ => rig.device.model().transmit(),
            }
        }
        rig.device.model().transmit();
        while rig.forward().expect("honest") > 0 {
            rig.device.model().transmit();
        }
        let came: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
        prop_assert_eq!(came, Vec::from(model));
        prop_assert_eq!((rig.window.faults(), rig.device.model().bad_descriptors()), (0, 0));
    });
}
