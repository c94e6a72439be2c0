//! A virtual function on a simulated device whose physical function's owner grants, refuses, says nothing, or lies.

use weir_hal::{DmaWindow, Error as HostError};
use weir_igb_vf::{Error, Net, Options, RxQueue, Statistics, TxQueue};
use weir_nic::{Checksum, Nic, NicError, Offloads, RxQueue as _, TxOffload, TxQueue as _};
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_sim::gigabit::mailbox::Answers;
use weir_sim::gigabit::{Behaviour, Kind, MAC};
use weir_sim::virtio_net::sum;
use weir_sim::{Gigabit, Malice, Model, SimClock, SimDevice, SimWindow};

type Device = SimDevice<Gigabit>;

struct Rig {
    window: SimWindow,
    clock: SimClock,
    device: Device,
    pool: Pool,
    net: Net<Device>,
    rx: RxQueue<Device>,
    tx: TxQueue<Device>,
}

impl Rig {
    fn open(answers: Answers, options: &Options) -> Result<Rig, Error> {
        let window = SimWindow::default();
        let behaviour = Behaviour { kind: Kind::I82576Vf, works_on_kick: true };
        let device = SimDevice::new(Gigabit::new(&window, behaviour));
        device.model().set_answers(answers);
        let clock = SimClock::default();
        let (net, rx, tx) = Net::open(device.clone(), &window, &clock, options)?;
        let buffers = 2 * usize::from(options.entries) + 32;
        let pool = Pool::new(window.allocate(buffers * usize::from(BUF_BYTES))?)?;
        Ok(Rig { window, clock, device, pool, net, rx, tx })
    }

    fn started(options: &Options) -> Rig {
        let mut rig = Rig::open(Answers::Grants, options).expect("opens");
        rig.start().expect("starts");
        rig
    }

    fn start(&mut self) -> Result<(), Error> {
        self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock)
    }

    /// Sends back what arrived.
    fn forward(&mut self) -> Result<usize, Error> {
        let mut burst = Burst::<32>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst);
        let sent = self.tx.transmit(&mut self.pool, &mut burst);
        while let Some(buf) = burst.pop() {
            self.pool.put(buf);
        }
        received.and(sent)
    }

    fn lost(&mut self) -> usize {
        self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock).expect("stops");
        self.pool.buffers() - self.pool.available()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.device.model().set_malice(Malice::none());
        // A device that was pulled out keeps its buffers.
        let _ = self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock);
    }
}

fn frame(number: usize, len: usize) -> Vec<u8> {
    let rest = (6..len).map(|at| (number.wrapping_mul(31) + at).to_le_bytes()[0]);
    MAC.into_iter().chain(rest).collect()
}

#[test]
fn every_length_passes_through_every_wrap() {
    let mut rig = Rig::started(&Options { entries: 8, ..Options::default() });
    assert_eq!(rig.net.read_mac(), Ok(Some(MAC)), "the one it was given");
    for len in 60..=1514 {
        let sent = frame(len, len);
        assert!(rig.device.model().deliver(&sent), "{len}");
        assert_eq!(rig.forward(), Ok(1), "{len}");
        assert_eq!(rig.device.model().next_sent(), Some(sent), "{len}");
    }
    assert_eq!((rig.window.faults(), rig.lost()), (0, 0));
}

#[test]
fn the_device_fills_in_checksums() {
    let mut rig = Rig::started(&Options::default());
    assert_eq!(rig.net.offloads(), Offloads { tx_checksum: true, ..Offloads::default() });
    for (start, offset) in [(34, 6), (34, 16), (54, 6), (54, 16)] {
        let mut burst = Burst::<4>::new();
        for number in 0..3 {
            let mut buf = rig.pool.take().expect("a buffer");
            assert!(buf.set_len(100));
            buf.frame_mut().copy_from_slice(&frame(number, 100));
            burst.push(buf).expect("room");
        }
        let offload = TxOffload { checksum: Some(Checksum { start, offset }), segments: None };
        assert_eq!(rig.tx.transmit_with(&mut rig.pool, &mut burst, |_| offload), Ok(3));
        for number in 0..3 {
            let (start, place) = (usize::from(start), usize::from(start + offset));
            let mut expected = frame(number, 100);
            let checksum = !sum(&expected[start..]);
            expected[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(rig.device.model().next_sent(), Some(expected), "{start} {offset}");
        }
    }
    assert_eq!((rig.lost(), rig.device.model().bad_descriptors()), (0, 0));
}

#[test]
fn a_sleeper_wakes() {
    let mut rig = Rig::started(&Options { interrupt: true, ..Options::default() });
    assert_eq!(rig.rx.wait(0), Ok(false), "nothing came");
    let device = rig.device.clone();
    let arrive = move || assert!(device.model().deliver(&frame(7, 64)));
    rig.device.model().interrupts().set_meanwhile(Some(Box::new(arrive)));
    for number in 1..10 {
        assert_eq!(rig.rx.wait(u64::MAX), Ok(true), "a frame came during the sleep");
        assert_eq!(rig.forward(), Ok(1));
        assert_eq!(rig.device.model().interrupts().count(0), number, "one interrupt per sleep");
    }
    rig.device.model().interrupts().set_meanwhile(None);
}

#[test]
fn without_leave_it_does_not_open() {
    let refused = |answers| Rig::open(answers, &Options::default()).err();
    let no = Some(Error::Host(HostError::NotPermitted));
    assert_eq!(refused(Answers::Refuses), no);
    assert_eq!(refused(Answers::Nonsense), no);
    assert!(matches!(refused(Answers::Silence), Some(Error::Host(HostError::TimedOut { .. }))));
}

#[test]
fn an_answer_is_a_yes_to_what_was_asked_and_nothing_else() {
    const RESET: u32 = 1;
    let [a, b, c, d, e, f] = MAC;
    let mac = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0])];
    let (granted, refused) = (1 << 31, 1 << 30);
    let answers = [
        ([RESET | granted, mac[0], mac[1]], None),
        ([RESET, mac[0], mac[1]], Some(HostError::NotPermitted)),
        ([RESET | granted | refused, mac[0], mac[1]], Some(HostError::NotPermitted)),
        ([2 | granted, mac[0], mac[1]], Some(HostError::NotPermitted)),
        // No station has these addresses.
        ([RESET | granted, 0, 0], Some(HostError::NotPermitted)),
        ([RESET | granted, mac[0] | 1, mac[1]], Some(HostError::NotPermitted)),
    ];
    for (words, error) in answers {
        let opened = Rig::open(Answers::Words(words), &Options::default());
        assert_eq!(opened.err(), error.map(Error::Host), "{words:x?}");
    }
}

#[test]
fn a_message_from_before_is_no_answer() {
    let mut rig = Rig::started(&Options::default());
    rig.device.model().set_answers(Answers::Silence);
    rig.device.model().leave_message([4 | 1 << 31, 0, 0]);
    let answer = rig.net.set_vlan(5, true, &rig.clock);
    assert!(matches!(answer, Err(Error::Host(HostError::TimedOut { .. }))), "{answer:?}");
}

#[test]
fn each_answer_is_taken_and_no_request_is_made_in_memory_that_is_in_use() {
    let mut rig = Rig::started(&Options::default());
    let taken = rig.device.model().taken();
    assert_eq!(rig.net.set_vlan(5, true, &rig.clock), Ok(()));
    assert_eq!(rig.device.model().taken(), taken + 1);
    let request = rig.device.model().request();
    rig.device.model().set_mailbox_kept(true);
    let kept = rig.net.set_vlan(6, true, &rig.clock);
    assert!(matches!(kept, Err(Error::Host(HostError::TimedOut { .. }))), "{kept:?}");
    assert_eq!(rig.device.model().request(), request, "nothing was asked");
}

#[test]
fn nothing_is_asked_of_a_physical_function_in_reset() {
    let window = SimWindow::default();
    let behaviour = Behaviour { kind: Kind::I82576Vf, works_on_kick: true };
    let device = SimDevice::new(Gigabit::new(&window, behaviour));
    let clock = SimClock::default();
    let opened = Net::open(device.clone(), &window, &clock, &Options::default());
    let (mut net, mut rx, mut tx) = opened.expect("opens");
    let mut pool = Pool::new(window.allocate(1 << 16).expect("memory")).expect("buffers");
    device.model().set_held_in_reset(true);
    let late = net.start(&mut rx, &mut tx, &mut pool, &clock);
    assert!(matches!(late, Err(Error::Host(HostError::TimedOut { .. }))), "{late:?}");
    assert_eq!(device.model().taken(), 0, "since it was reset");
    device.model().set_held_in_reset(false);
    assert_eq!(net.start(&mut rx, &mut tx, &mut pool, &clock), Ok(()));
    net.stop(&mut rx, &mut tx, &mut pool, &clock).expect("stops");
}

#[test]
fn another_device_is_not_opened() {
    let window = SimWindow::default();
    let behaviour = Behaviour { kind: Kind::I82576, works_on_kick: true };
    let device = SimDevice::new(Gigabit::new(&window, behaviour));
    let error = Net::open(device, &window, &SimClock::default(), &Options::default()).err();
    assert_eq!(error, Some(Error::OtherDevice { vendor: 0x8086, device: 0x10c9 }));
}

#[test]
fn statistics_count_on_through_the_wrap_and_begin_with_a_start() {
    let mut rig = Rig::started(&Options::default());
    let registers = [0x0f10, 0x0f18, 0x0f14, 0x0f34];
    let mut set = |value: u32| {
        registers.iter().for_each(|&at| rig.device.model().write(0, at, 4, value.into()));
        let counted = rig.net.read_statistics().expect("there");
        [counted.rx_frames, counted.rx_bytes, counted.tx_frames, counted.tx_bytes]
    };
    assert_eq!(set(5), [5; 4]);
    assert_eq!(set(7), [7; 4]);
    assert_eq!(set(u32::MAX), [u32::MAX.into(); 4]);
    assert_eq!(set(1), [u64::from(u32::MAX) + 2; 4]);
    rig.start().expect("starts");
    assert_eq!(rig.net.read_statistics(), Ok(Statistics::default()));
}

#[test]
fn requests_are_made_as_the_words_say() {
    let mut rig = Rig::started(&Options::default());
    let other = [2, 0, 0, 0x11, 0x22, 0x33];
    assert_eq!(rig.net.set_mac(other, &rig.clock), Ok(()));
    assert_eq!(rig.device.model().request(), [2, 0x1100_0002, 0x3322]);
    assert_eq!(rig.net.read_mac(), Ok(Some(other)));
    assert_eq!(rig.net.set_vlan(5, true, &rig.clock), Ok(()));
    assert_eq!(rig.device.model().request()[..2], [0x1_0004, 5]);
    let groups = [[1, 0, 0x5e, 0, 0, 0x10], [1, 0, 0x5e, 0, 0, 0x20]];
    assert_eq!(rig.net.set_groups(&groups, &rig.clock), Ok(()));
    assert_eq!(rig.device.model().request()[..2], [0x2_0003, 0x0200_0100]);
    let many = [[1, 0, 0, 0, 0, 0]; 31];
    assert_eq!(rig.net.set_groups(&many, &rig.clock), Err(Error::Host(HostError::OutOfRange)));
    rig.device.model().set_answers(Answers::Refuses);
    assert_eq!(rig.net.set_vlan(6, true, &rig.clock), Err(Error::Host(HostError::NotPermitted)));
}

#[test]
fn a_reset_of_the_physical_function_is_seen_and_survived() {
    let mut rig = Rig::started(&Options::default());
    assert!(rig.device.model().deliver(&frame(1, 64)));
    assert_eq!(rig.forward(), Ok(1));
    assert!(!rig.net.has_stopped());
    rig.device.model().reset_physical();
    assert!(rig.net.has_stopped());
    assert!(!rig.device.model().deliver(&frame(2, 64)), "it runs no more");
    rig.start().expect("starts again");
    assert!(!rig.net.has_stopped());
    assert!(rig.device.model().deliver(&frame(3, 64)));
    assert_eq!(rig.forward(), Ok(1));
    assert_eq!(rig.lost(), 0);
}

#[test]
fn a_function_that_left_is_gone() {
    let mut rig = Rig::started(&Options::default());
    rig.device.model().pull_out();
    assert!(rig.net.has_stopped());
    assert_eq!(rig.forward(), Ok(0));
    assert_eq!(rig.start(), Err(Error::Host(HostError::Gone)));
    let stopped = rig.net.stop(&mut rig.rx, &mut rig.tx, &mut rig.pool, &rig.clock);
    assert_eq!(stopped, Err(Error::Host(HostError::Gone)), "it may have the buffers still");
    assert_eq!(rig.net.read_statistics(), Err(Error::Host(HostError::Gone)));
}

#[test]
fn lies_are_found_and_survived() {
    let mut violations = 0;
    for seed in 1..=200 {
        let mut rig = Rig::started(&Options { entries: 8 << (seed % 4), ..Options::default() });
        rig.device.model().set_malice(Malice::in_rings(seed, 1 + seed % 40));
        for number in 0..100 {
            rig.device.model().deliver(&frame(number, 60 + number % 1400));
            if let Err(error) = rig.forward() {
                violations += u64::from(error.is_violation());
                rig.start().expect("registers are honest");
            }
        }
        rig.device.model().set_malice(Malice::none());
        rig.start().expect("starts");
        rig.device.model().set_malice(Malice::none());
        assert!(rig.device.model().deliver(&frame(1, 64)), "seed {seed}: works again");
        assert_eq!((rig.forward(), rig.window.faults()), (Ok(1), 0), "seed {seed}");
        assert_eq!(rig.lost(), 0, "seed {seed}");
    }
    assert!(violations > 200, "{violations} lies were found");
}
