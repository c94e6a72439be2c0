//! Traffic through an honest device: contents, order, wrap of the rings, kicks and interrupts.

mod rig;

use proptest::prelude::*;
use rig::{Rig, frame, inverted};
use weir_pool::{Burst, FRAME_BYTES};
use weir_sim::Model;
use weir_sim::virtio_net::{Behaviour, feature};
use weir_virtio::net::Options;
use weir_virtio::{Error, Features};

const FEW: usize = if cfg!(miri) { 40 } else { 70_000 };

/// Split and packed, each with and without event index, in order, out of order, and with few entries.
fn behaviours() -> Vec<Behaviour> {
    let base = Behaviour { entries: 16, ..Behaviour::default() };
    let plain = feature::NEEDED | feature::MAC;
    let in_order = Behaviour { features: base.features | feature::IN_ORDER, works_on_kick: true, ..base };
    let split = [
        base,
        Behaviour { shuffles: true, ..base },
        Behaviour { works_on_kick: true, ..base },
        Behaviour { features: plain, works_on_kick: true, ..base },
        Behaviour { features: plain, shuffles: true, ..base },
        in_order,
        Behaviour { skips: true, ..in_order },
        Behaviour { entries: 1, works_on_kick: true, ..base },
        Behaviour { entries: 2, works_on_kick: true, ..base },
        Behaviour { entries: 256, ..base },
    ];
    split.into_iter().chain(split.map(packed)).collect()
}

/// Each layout with each way of asking for interrupts.
const RINGS: [u64; 4] = [
    feature::NEEDED,
    feature::NEEDED | feature::EVENT_IDX,
    feature::NEEDED | feature::RING_PACKED,
    feature::NEEDED | feature::RING_PACKED | feature::EVENT_IDX,
];

fn packed(behaviour: Behaviour) -> Behaviour {
    Behaviour { features: behaviour.features | feature::RING_PACKED, ..behaviour }
}

#[test]
fn frames_come_back_whole_through_every_wrap() {
    for behaviour in behaviours() {
        let mut rig = Rig::started(behaviour, &Options::default());
        let buffers = rig.pool.buffers();
        // Through the wrap of 2¹⁶ positions once.
        for number in 0..FEW {
            let sent = frame(number, 1 + number % usize::from(FRAME_BYTES));
            assert!(rig.device.model().deliver(&sent), "{behaviour:?} {number}");
            assert_eq!(rig.forward(), Ok(1), "{behaviour:?} {number}");
            if !behaviour.works_on_kick {
                rig.device.model().transmit();
            }
            let came = rig.device.model().next_sent();
            assert_eq!(came.as_deref(), Some(&inverted(&sent)[..]), "{behaviour:?} {number}");
        }
        assert_eq!(rig.window.faults(), 0);
        rig.tx.reclaim(&mut rig.pool).expect("honest");
        assert_eq!(rig.tx.in_flight(), 0);
        assert_eq!(rig.pool.available(), buffers - usize::from(behaviour.entries));
    }
}

#[test]
fn a_burst_costs_one_kick() {
    for features in [feature::EVENT_IDX, feature::EVENT_IDX | feature::RING_PACKED] {
        one_kick(Behaviour {
            features: feature::NEEDED | features,
            works_on_kick: true,
            ..Behaviour::default()
        });
    }
}

fn one_kick(behaviour: Behaviour) {
    // Fewer than make the positions of a packed ring wrap, where an old wish of the device comes true once more.
    const ROUNDS: u64 = 7;
    let mut rig = Rig::started(behaviour, &Options::default());
    let before = rig.device.model().kicks();
    for round in 0..ROUNDS {
        for number in 0..32 {
            assert!(rig.device.model().deliver(&frame(number, 64)));
        }
        assert_eq!(rig.forward(), Ok(32), "round {round}");
    }
    let after = rig.device.model().kicks();
    assert_eq!(after[1] - before[1], ROUNDS, "one per burst sent");
    assert_eq!(after[0], before[0], "none for receiving: the device never ran dry");
}

#[test]
fn a_full_ring_sends_what_fits_and_the_rest_later() {
    let mut rig = Rig::started(Behaviour { entries: 4, ..Behaviour::default() }, &Options::default());
    let mut burst = Burst::<8>::new();
    for number in 0..7 {
        let mut buf = rig.pool.take().expect("a buffer");
        assert!(buf.set_len(60));
        buf.frame_mut().copy_from_slice(&frame(number, 60));
        burst.push(buf).expect("room");
    }
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(4));
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(0));
    rig.device.model().transmit();
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(3));
    rig.device.model().transmit();
    let sent: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
    assert_eq!(sent, (0..7).map(|number| frame(number, 60)).collect::<Vec<_>>());
}

#[test]
fn a_sleeper_wakes_for_every_frame() {
    for features in RINGS {
        let behaviour = Behaviour { features, works_on_kick: true, ..Behaviour::default() };
        let mut rig = Rig::started(behaviour, &Options { interrupt: true, ..Options::default() });
        assert_eq!(rig.rx.wait(0), Ok(false), "nothing came");
        for number in 0..100 {
            assert!(rig.device.model().deliver(&frame(number, 64)));
            assert_eq!(rig.rx.wait(u64::MAX), Ok(true), "a frame came before the sleep");
            assert_eq!(rig.forward(), Ok(1));
        }
        assert_eq!(rig.rx.wait(0), Ok(false), "all were taken");

        let device = rig.device.clone();
        let arrive = move || assert!(device.model().deliver(&frame(7, 64)));
        rig.device.model().interrupts().set_meanwhile(Some(Box::new(arrive)));
        for number in 0..100 {
            assert_eq!(rig.rx.wait(u64::MAX), Ok(true), "a frame came during the sleep");
            assert_eq!(rig.forward(), Ok(1));
            assert_eq!(rig.device.model().interrupts().count(0), number + 1, "one interrupt per sleep");
        }
        rig.device.model().interrupts().set_meanwhile(None);
    }
}

#[test]
fn a_polling_driver_is_not_interrupted() {
    for features in RINGS {
        let behaviour = Behaviour { features, works_on_kick: true, ..Behaviour::default() };
        let mut rig = Rig::started(behaviour, &Options { interrupt: true, ..Options::default() });
        let rounds = if cfg!(miri) { 10 } else { 70_000 };
        for number in 0..rounds {
            assert!(rig.device.model().deliver(&frame(number, 64)));
            assert_eq!(rig.forward(), Ok(1));
            rig.device.model().next_sent();
        }
        assert_eq!(rig.device.model().interrupts().count(0), 0);
    }
}

#[test]
fn bursts_of_any_size_come_back_through_every_wrap() {
    for behaviour in behaviours() {
        let mut rig = Rig::started(behaviour, &Options::default());
        let (mut number, most) = (0, usize::from(behaviour.entries).min(32));
        for round in 0..if cfg!(miri) { 5 } else { 500 } {
            let sent: Vec<_> = (0..1 + round % most).map(|i| frame(number + i, 60 + i)).collect();
            for frame in &sent {
                assert!(rig.device.model().deliver(frame), "{behaviour:?} {number}");
            }
            assert_eq!(rig.forward(), Ok(sent.len()), "{behaviour:?} {number}");
            rig.device.model().transmit();
            let mut came: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
            came.sort();
            let mut expected: Vec<_> = sent.iter().map(|frame| inverted(frame)).collect();
            expected.sort();
            assert_eq!(came, expected, "{behaviour:?} {number}");
            number += sent.len();
        }
    }
}

#[test]
fn without_an_interrupt_nobody_can_wait() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    assert_eq!(rig.rx.wait(0), Err(Error::Host(weir_hal::Error::Unsupported)));
}

#[test]
fn frames_are_lost_when_no_buffer_is_left_and_flow_again_afterwards() {
    let mut rig = Rig::started(Behaviour { entries: 8, ..Behaviour::default() }, &Options::default());
    let mut kept = Vec::new();
    while let Some(buf) = rig.pool.take() {
        kept.push(buf);
    }
    for number in 0..8 {
        assert!(rig.device.model().deliver(&frame(number, 64)));
    }
    assert!(!rig.device.model().deliver(&frame(8, 64)), "the ring is empty");
    let mut burst = Burst::<8>::new();
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(8));
    assert!(!rig.device.model().deliver(&frame(9, 64)), "and the pool too");
    kept.into_iter().for_each(|buf| rig.pool.put(buf));
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(0));
    assert!(rig.device.model().deliver(&frame(10, 64)), "the next poll refilled it");
    while let Some(buf) = burst.pop() {
        rig.pool.put(buf);
    }
}

#[test]
fn a_restart_brings_every_buffer_back() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    for number in 0..20 {
        assert!(rig.device.model().deliver(&frame(number, 64)));
    }
    assert_eq!(rig.forward(), Ok(20));
    rig.start().expect("starts again");
    assert_eq!(rig.pool.available(), rig.pool.buffers() - 256);
    assert!(rig.device.model().deliver(&frame(1, 64)));
    assert_eq!(rig.forward(), Ok(1));
}

#[test]
fn mac_link_and_features_are_read() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    assert_eq!(rig.net.read_mac(), Ok(Some([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
    assert_eq!(rig.net.read_link_up(), Ok(true));
    rig.device.model().set_link(false);
    assert_eq!(rig.net.read_link_up(), Ok(false));
    assert_eq!(
        rig.net.features(),
        Features::NET_MAC
            | Features::NET_STATUS
            | Features::EVENT_IDX
            | Features::VERSION_1
            | Features::ACCESS_PLATFORM
    );
    let bare = Behaviour { features: feature::NEEDED, ..Behaviour::default() };
    rig = Rig::started(bare, &Options::default());
    assert_eq!((rig.net.read_mac(), rig.net.read_link_up()), (Ok(None), Ok(true)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever arrives, whenever driver and device work: what was delivered comes back, in order.
    #[test]
    fn any_schedule_keeps_order(
        steps in proptest::collection::vec(0u8..3, 0..if cfg!(miri) { 40 } else { 600 }),
        behaviour in proptest::sample::select(behaviours()),
    ) {
        let mut rig = Rig::started(behaviour, &Options::default());
        let mut model = std::collections::VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                0 => {
                    let sent = frame(number, 60 + number % 100);
                    if rig.device.model().deliver(&sent) {
                        model.push_back(inverted(&sent));
                    }
                }
                1 => {
                    // A full transmit ring drops; keep the model in step by letting the device work first.
                    rig.device.model().transmit();
                    rig.forward().expect("an honest device");
                }
                _ => rig.device.model().transmit(),
            }
        }
        rig.forward().expect("an honest device");
        rig.device.model().transmit();
        let came: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
        prop_assert_eq!(came, Vec::from(model));
        prop_assert_eq!(rig.window.faults(), 0);
    }
}
