//! A device that lies, in its registers and its rings: the driver refuses, reports, and goes on.

mod rig;

use rig::{Rig, frame, on_both};
use weir_gigabit::{Chip, Options};
use weir_hal::Iova;
use weir_nic::{Nic, NicError, RxQueue, TxQueue};
use weir_sim::gigabit::{Behaviour, Kind};
use weir_sim::{Gigabit, Malice, SimDevice, SimWindow};

on_both!(
    lies_in_rings_are_found_and_survived,
    lies_everywhere_never_panic,
    a_wrong_address_is_blocked_and_the_rings_go_on,
);

/// How many devices lie, each for a few hundred steps. The environment can ask for more.
fn liars() -> u64 {
    let asked = std::env::var("WEIR_HOSTILE_DEVICES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(miri) { 2 } else { 1_000 })
}

/// Buffers may be with the device or in the pool; never more than there are.
fn work<C: Chip>(rig: &mut Rig<C>, steps: usize) -> u64 {
    let mut violations = 0;
    for number in 0..steps {
        for _ in 0..number % 7 {
            // Long ones are lost where they were not asked for.
            let len = if number % 5 == 4 { 60 + number % 1000 * 8 } else { 60 + number % 1400 };
            rig.device.model().deliver(&frame(number, len));
        }
        while rig.device.model().next_sent().is_some() {}
        if let Err(error) = rig.forward() {
            violations += u64::from(error.is_violation());
            // A lying device may refuse to start; the next round tries again.
            let _ = rig.start();
        }
        // A device that never says "done" is no violation, and would be silent from then on.
        if number % 8 == 7 {
            let _ = rig.start();
        }
        assert!(rig.pool.available() <= rig.pool.buffers());
    }
    violations
}

fn lies_in_rings_are_found_and_survived<C: Chip>(kind: Kind) {
    let mut violations = 0;
    for seed in 1..=liars() {
        let entries = 8 << (seed % 6);
        let (long_frames, rx_checksum) = (seed % 4 >= 2, seed % 8 >= 4);
        let options = Options { entries, long_frames, rx_checksum, ..Options::default() };
        let mut rig = Rig::<C>::started_with(kind, &options);
        rig.device.model().set_malice(Malice::in_rings(seed, 1 + seed % 40));
        violations += work(&mut rig, if cfg!(miri) { 16 } else { 100 });
        rig.device.model().set_malice(Malice::none());
        rig.start().expect("an honest device starts");
        assert!(rig.device.model().deliver(&frame(1, 64)));
        assert_eq!(rig.forward(), Ok(1), "seed {seed}: works again");
        assert_eq!(rig.window.faults(), 0, "seed {seed}: the driver itself gave only good addresses");
        assert_eq!(rig.lost(), 0, "seed {seed}: no buffer lost");
    }
    assert!(cfg!(miri) || violations > liars(), "lies were told and found: {violations}");
}

fn lies_everywhere_never_panic<C: Chip>(kind: Kind) {
    let (mut started, mut refused) = (0, 0);
    for seed in 1..=liars() / 4 + 1 {
        let window = SimWindow::default();
        let behaviour = Behaviour { kind, works_on_kick: true };
        let device = SimDevice::new(Gigabit::new(&window, behaviour));
        device.model().set_malice(Malice::everywhere(seed, 1 + seed % 100));
        let (interrupt, long_frames) = (seed % 2 == 0, seed % 3 == 0);
        let options = Options { interrupt, long_frames, ..Options::default() };
        match Rig::<C>::open_device(window, device, &options) {
            Ok(mut rig) => {
                let is_started = rig.start().is_ok();
                started += u32::from(is_started);
                refused += u32::from(!is_started);
                let _ =
                    (rig.net.read_mac(), rig.net.read_link_up(), rig.rx.wait(0), rig.net.read_statistics());
                work(&mut rig, 20);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(cfg!(miri) || started > 0, "{started} started, {refused} refused");
}

fn a_wrong_address_is_blocked_and_the_rings_go_on<C: Chip>(kind: Kind) {
    let mut rig =
        Rig::<C>::open(Behaviour { kind, works_on_kick: true }, &Options::default()).expect("opens");
    let bufs: Vec<_> = std::iter::from_fn(|| rig.pool.take()).collect();
    rig.start().expect("starts");
    bufs.into_iter().for_each(|buf| rig.pool.put(buf));
    assert_eq!(rig.tx.send_wrong_address(&mut rig.pool, Iova(0xdead_0000), 64), Ok(true));
    assert_eq!(rig.device.model().next_sent(), Some(vec![0; 64]), "it read nothing");
    assert_eq!(rig.rx.offer_wrong_address(&mut rig.pool, Iova(0xdead_0000)), Ok(true));
    assert!(rig.device.model().deliver(&frame(1, 64)));
    assert_eq!(rig.window.faults(), 2, "blocked reading and writing");
    assert_eq!(rig.forward(), Ok(1), "what it says it wrote is not there");
    rig.device.model().next_sent();
    assert!(rig.device.model().deliver(&frame(2, 64)));
    assert_eq!(rig.forward(), Ok(1));
    assert_eq!(rig.lost(), 0);
}
