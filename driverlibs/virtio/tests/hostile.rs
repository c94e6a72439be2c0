//! A device that lies, in its configuration, its registers and its rings: the driver refuses, reports, and goes on.

mod rig;

use rig::{Rig, frame};
use weir_pool::Burst;
use weir_sim::virtio_net::{Behaviour, Malice, feature};
use weir_sim::{Random, SimDevice, SimWindow, VirtioNet};
use weir_virtio::net::Options;
use weir_virtio::{Error, Features, Violation};

/// How many devices lie, each for a few hundred steps. The environment can ask for more.
fn liars() -> u64 {
    let asked = std::env::var("WEIR_HOSTILE_DEVICES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(miri) { 3 } else { 2_000 })
}

/// Buffers may be with the device, in the pool, or lost by a refused completion; never more than there are.
fn work(rig: &mut Rig, steps: usize) -> u64 {
    let mut violations = 0;
    for number in 0..steps {
        for _ in 0..number % 7 {
            rig.device.model().deliver(&frame(number, 60 + number % 1400));
        }
        rig.device.model().transmit();
        while rig.device.model().next_sent().is_some() {}
        if let Err(error) = rig.forward() {
            violations += u64::from(matches!(error, Error::Violation(_)));
            // A lying device may refuse to start; the next round tries again.
            let _ = rig.start();
        }
        assert!(rig.pool.available() <= rig.pool.buffers());
    }
    violations
}

#[test]
fn lies_in_rings_are_found_and_survived() {
    let mut violations = 0;
    for seed in 1..=liars() {
        let entries = 1 << (seed % 7);
        let in_order = if seed % 3 == 0 { feature::IN_ORDER } else { 0 };
        let packed = if seed % 2 == 0 { feature::RING_PACKED } else { 0 };
        let offloads = if seed % 5 < 2 { feature::OFFLOADS } else { 0 };
        let features = Behaviour::default().features | in_order | packed | offloads;
        let unmerged = if seed % 4 < 2 { Features::MRG_RXBUF } else { Features::empty() };
        let options =
            Options { features: Features::all() - unmerged, packed_events: true, ..Options::default() };
        let mut rig = Rig::started(Behaviour { entries, features, ..Behaviour::default() }, &options);
        rig.device.model().set_malice(Malice::in_rings(seed, 1 + seed % 40));
        violations += work(&mut rig, 100);
        rig.device.model().set_malice(Malice::none());
        rig.start().expect("an honest device starts");
        assert_eq!(
            rig.pool.available(),
            rig.pool.buffers() - usize::from(entries),
            "seed {seed}: no buffer lost"
        );
        assert!(rig.device.model().deliver(&frame(1, 64)));
        assert_eq!(rig.forward(), Ok(1), "seed {seed}: works again");
        // In a packed ring the device reads its own lies, too, where descriptors were.
        let is_clean = packed != 0 || rig.window.faults() == 0;
        assert!(is_clean, "seed {seed}: the driver itself gave only good addresses");
    }
    assert!(violations > liars(), "lies were told and found: {violations}");
}

#[test]
fn lies_everywhere_never_panic() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 1..=liars() {
        let window = SimWindow::default();
        let packed = if seed % 3 == 0 { feature::RING_PACKED } else { 0 };
        let features = Behaviour::default().features | feature::OFFLOADS | packed;
        let device = SimDevice::new(VirtioNet::new(&window, Behaviour { features, ..Behaviour::default() }));
        device.model().set_malice(Malice::everywhere(seed, 1 + seed % 100));
        match Rig::open_device(
            window,
            device,
            &Options {
                interrupt: seed % 2 == 0,
                features: Features::all(),
                packed_events: true,
                ..Options::default()
            },
        ) {
            Ok(mut rig) => {
                opened += 1;
                let _ = rig.start();
                let _ = (rig.net.read_mac(), rig.net.read_link_up(), rig.rx.wait(0));
                work(&mut rig, 20);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(cfg!(miri) || opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

#[test]
fn falsified_capabilities_never_lead_outside_a_bar() {
    let mut random = Random::new(7);
    for _ in 0..liars() {
        let window = SimWindow::default();
        let device = SimDevice::new(VirtioNet::new(&window, Behaviour::default()));
        for _ in 0..1 + random.bits() % 8 {
            let bits = random.bits();
            let offset = 0x34 + u16::try_from(bits % 0x60).expect("small");
            device.model().config().set(offset, bits.to_le_bytes()[7]);
        }
        if let Ok(mut rig) = Rig::open_device(window, device, &Options::default()) {
            let _ = rig.start();
        }
    }
}

#[test]
fn a_loop_of_capabilities_ends() {
    let window = SimWindow::default();
    let device = SimDevice::new(VirtioNet::new(&window, Behaviour::default()));
    device.model().config().set(0x41, 0x40);
    let error = Rig::open_device(window, device, &Options::default()).err();
    assert_eq!(error, Some(Error::NoCapability { kind: 4 }));
}

#[test]
fn a_device_that_would_pass_the_iommu_is_refused() {
    let features = Behaviour::default().features & !feature::ACCESS_PLATFORM;
    let error = Rig::open(Behaviour { features, ..Behaviour::default() }, &Options::default()).err();
    assert_eq!(error, Some(Error::NoFeature { missing: Features::ACCESS_PLATFORM }));
}

#[test]
fn each_lie_has_its_name() {
    let honest_len = 12 + 64;
    let lies = [
        (4, honest_len, 1, Violation::UsedId { id: 4 }),
        (0x1_0000, honest_len, 1, Violation::UsedId { id: 0x1_0000 }),
        (u32::MAX, honest_len, 1, Violation::UsedId { id: u32::MAX }),
        (0, 11, 1, Violation::UsedLength { len: 11 }),
        (0, 12 + 1985, 1, Violation::UsedLength { len: 12 + 1985 }),
        (0, u32::MAX, 1, Violation::UsedLength { len: u32::MAX }),
        (0, honest_len, 5, Violation::UsedIndex { jump: 5, in_flight: 4 }),
        (0, honest_len, u16::MAX, Violation::UsedIndex { jump: u16::MAX, in_flight: 4 }),
    ];
    for (id, len, index, violation) in lies {
        let mut rig = Rig::started(Behaviour { entries: 4, ..Behaviour::default() }, &Options::default());
        rig.device.model().forge_used(0, id, len, index);
        let mut burst = Burst::<4>::new();
        assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Err(Error::Violation(violation)));
    }
}

#[test]
fn a_device_in_order_names_the_next_buffer_or_lies() {
    let features = Behaviour::default().features | feature::IN_ORDER;
    let mut rig =
        Rig::started(Behaviour { entries: 4, features, ..Behaviour::default() }, &Options::default());
    rig.device.model().forge_used(0, 1, 12 + 64, 1);
    let mut burst = Burst::<4>::new();
    let violation = Violation::UsedId { id: 1 };
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Err(Error::Violation(violation)));
}

/// Flags of a used descriptor in the first lap of a packed ring: available and used as its wrap counter, written.
const USED: u16 = 1 << 15 | 1 << 7 | 2;

fn packed_rig(more: u64) -> Rig {
    let features = Behaviour::default().features | feature::RING_PACKED | more;
    Rig::started(Behaviour { entries: 4, features, ..Behaviour::default() }, &Options::default())
}

#[test]
fn each_lie_in_a_packed_ring_has_its_name() {
    let honest_len = 12 + 64;
    let lies = [
        (0, 4, honest_len, Violation::UsedId { id: 4 }),
        (0, u16::MAX, honest_len, Violation::UsedId { id: 0xffff }),
        (feature::IN_ORDER, 1, honest_len, Violation::UsedId { id: 1 }),
        (0, 0, 11, Violation::UsedLength { len: 11 }),
        (0, 0, 12 + 1985, Violation::UsedLength { len: 12 + 1985 }),
        (0, 0, u32::MAX, Violation::UsedLength { len: u32::MAX }),
    ];
    for (features, id, len, violation) in lies {
        let mut rig = packed_rig(features);
        rig.device.model().forge_packed(0, id, len, USED);
        let mut burst = Burst::<4>::new();
        assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Err(Error::Violation(violation)));
    }
}

#[test]
fn what_is_not_used_in_this_lap_is_not_taken() {
    let mut rig = packed_rig(0);
    for (slot, flags) in [(0, 0), (0, 1 << 7), (0, 1 << 15), (1, USED)] {
        rig.device.model().forge_packed(slot, 0, 76, flags);
        let mut burst = Burst::<4>::new();
        assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(0), "slot {slot}, flags {flags:#x}");
    }
}

#[test]
fn a_buffer_given_back_twice_in_a_packed_ring_is_found() {
    let mut rig = packed_rig(0);
    while let Some(buf) = rig.pool.take() {
        drop(buf); // an empty pool keeps the driver from offering the id again
    }
    let mut burst = Burst::<4>::new();
    rig.device.model().forge_packed(0, 2, 76, USED);
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(1));
    rig.device.model().forge_packed(1, 2, 76, USED);
    let twice = Err(Error::Violation(Violation::UsedId { id: 2 }));
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), twice);
}

#[test]
fn a_buffer_given_back_twice_is_found() {
    let mut rig = Rig::started(Behaviour { entries: 4, ..Behaviour::default() }, &Options::default());
    let mut burst = Burst::<1>::new();
    while let Some(buf) = rig.pool.take() {
        drop(buf); // an empty pool keeps the driver from offering descriptor 0 again
    }
    rig.device.model().forge_used(0, 0, 76, 1);
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(1));
    rig.device.model().forge_used(1, 0, 76, 2);
    let mut burst = Burst::<4>::new();
    let twice = Err(Error::Violation(Violation::UsedId { id: 0 }));
    assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), twice);
}

#[test]
fn a_wrong_address_is_blocked_and_the_ring_goes_on() {
    let mut rig = Rig::started(Behaviour { entries: 4, ..Behaviour::default() }, &Options::default());
    let buffers = rig.pool.available();
    assert_eq!(rig.tx.send_wrong_address(&mut rig.pool, weir_hal::Iova(0xdead_0000), 64), Ok(true));
    rig.device.model().transmit();
    assert_eq!(rig.window.faults(), 1);
    assert_eq!(rig.device.model().next_sent(), Some(vec![0; 52]), "it read nothing");
    rig.tx.reclaim(&mut rig.pool).expect("honest");
    assert_eq!(rig.pool.available(), buffers);
}
