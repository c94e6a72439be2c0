//! What the device is asked for, what it tells of itself, and several pairs of queues.

mod rig;

use rig::{Device, Rig, frame};
use weir_hal::{DmaWindow, Error as HostError};
use weir_nic::{HashTypes, Lane, RSS_KEY_BYTES, Rss};
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_sim::virtio_net::{Behaviour, Malice, feature};
use weir_sim::{SimClock, SimDevice, SimWindow, VirtioNet};
use weir_virtio::net::{Net, Options, RxQueue, TxQueue};
use weir_virtio::{Error, Pci};

const RINGS: [u64; 2] = [0, feature::RING_PACKED];
const PAIRS: u16 = 4;

fn behaviour(ring: u64) -> Behaviour {
    let features = Behaviour::default().features | feature::COMMANDS | ring;
    Behaviour { features, entries: 16, pairs: PAIRS, ..Behaviour::default() }
}

#[test]
fn commands_reach_the_device() {
    for ring in RINGS {
        let mut rig = Rig::started(behaviour(ring), &Options::default());
        let Rig { net, clock, device, .. } = &mut rig;
        for on in [true, false] {
            assert_eq!(net.set_promiscuous(on, clock), Ok(()));
            assert_eq!(net.set_all_multicast(on, clock), Ok(()));
            let model = device.model();
            assert_eq!((model.wishes().is_promiscuous, model.wishes().all_multicast), (on, on));
        }
        assert_eq!(net.set_mac([2, 0, 0, 0, 0, 9], clock), Ok(()));
        assert_eq!(net.read_mac(), Ok(Some([2, 0, 0, 0, 0, 9])));
        // Through the wrap of the queue.
        for number in 0..100 {
            assert_eq!(net.set_promiscuous(number % 2 == 0, clock), Ok(()), "{number}");
        }
        assert_eq!(device.model().wishes().commands.len(), 105);
    }
}

#[test]
fn a_refused_command_is_told() {
    for ring in RINGS {
        let mut rig = Rig::started(behaviour(ring), &Options::default());
        rig.device.model().set_refuses_commands();
        let refused = Err(Error::Refused { class: 0, number: 0 });
        for _ in 0..10 {
            assert_eq!(rig.net.set_promiscuous(true, &rig.clock), refused);
        }
    }
}

#[test]
fn a_device_without_a_control_queue_takes_no_commands() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    let unsupported = Err(Error::Host(HostError::Unsupported));
    assert_eq!(rig.net.set_promiscuous(true, &rig.clock), unsupported);
    assert_eq!(rig.net.set_mac([2; 6], &rig.clock), unsupported);
}

#[test]
fn a_device_that_does_not_answer_ends_no_wait() {
    let mut rig = Rig::started(behaviour(0), &Options::default());
    // Without bus mastering it cannot answer.
    weir_hal::Device::bus_master(&rig.device, false).expect("it is there");
    let late = rig.net.set_promiscuous(true, &rig.clock);
    assert!(matches!(late, Err(Error::Host(HostError::TimedOut { .. }))));
    for _ in 0..3 {
        let busy = Err(Error::Host(HostError::Busy));
        assert_eq!(rig.net.set_promiscuous(true, &rig.clock), busy, "the first one is still the device's");
    }
    rig.start().expect("starts again");
    assert_eq!(rig.net.set_promiscuous(true, &rig.clock), Ok(()));
    let window = rig.window.clone();
    drop(rig);
    assert_eq!(window.allocations(), 0, "no buffer was lost, so all memory is given back");
}

#[test]
fn changes_of_link_and_wishes_are_news() {
    for ring in RINGS {
        let options = Options { interrupt: true, packed_events: true, ..Options::default() };
        let mut rig = Rig::started(behaviour(ring), &options);
        rig.net.has_news();
        assert!(!rig.net.has_news());
        for up in [false, true, false] {
            rig.device.model().set_link(up);
            assert!(rig.net.has_news() && !rig.net.has_news());
            assert_eq!(rig.net.read_link_up(), Ok(up));
        }
        assert_eq!(rig.net.read_wants_announcement(), Ok(false));
        rig.device.model().ask_for_announcement();
        assert!(rig.net.has_news());
        assert_eq!(rig.net.read_wants_announcement(), Ok(true));
        assert_eq!(rig.net.announced(&rig.clock), Ok(()));
        assert_eq!(rig.net.read_wants_announcement(), Ok(false));
        rig.start().expect("starts again");
        rig.device.model().set_link(true);
        assert!(rig.net.has_news(), "also after a restart");
    }
    let mut rig = Rig::started(behaviour(0), &Options::default());
    assert!(rig.net.has_news() && rig.net.has_news(), "who is not interrupted cannot know");
}

type Queues = Vec<(RxQueue<Pci<Device>>, TxQueue<Pci<Device>>)>;

/// A device with several pairs of queues, each with its pool.
struct Lanes {
    window: SimWindow,
    clock: SimClock,
    device: Device,
    net: Net<Pci<Device>>,
    queues: Queues,
    pools: Vec<Pool>,
}

impl Lanes {
    fn started(ring: u64, pairs: u16) -> Lanes {
        let window = SimWindow::default();
        let device = SimDevice::new(VirtioNet::new(&window, behaviour(ring)));
        let clock = SimClock::default();
        let options = Options { pairs, interrupt: true, packed_events: true, ..Options::default() };
        let opened = Net::open_pairs(device.clone(), &window, &clock, &options);
        let (net, queues) = opened.expect("an honest device opens");
        let pool =
            || Pool::new(window.allocate(64 * usize::from(BUF_BYTES)).expect("memory")).expect("buffers");
        let pools = queues.iter().map(|_| pool()).collect();
        let mut lanes = Lanes { window, clock, device, net, queues, pools };
        lanes.start().expect("an honest device starts");
        lanes
    }

    fn start(&mut self) -> Result<(), Error> {
        let queues = self.queues.iter_mut().zip(&mut self.pools);
        let mut lanes: Vec<_> = queues.map(|((rx, tx), pool)| Lane { rx, tx, pool }).collect();
        self.net.start_pairs(&mut lanes, &self.clock)
    }

    /// Frames that arrived, by queue; each is sent back by its queue.
    fn forward(&mut self) -> Vec<Vec<Vec<u8>>> {
        let mut came = Vec::new();
        for ((rx, tx), pool) in self.queues.iter_mut().zip(&mut self.pools) {
            let mut burst = Burst::<32>::new();
            rx.receive(pool, &mut burst).expect("honest");
            came.push(burst.iter().map(|buf| buf.frame().to_vec()).collect());
            tx.transmit(pool, &mut burst).expect("honest");
            assert!(burst.is_empty());
        }
        self.device.model().transmit();
        came
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.device.model().set_malice(Malice::none());
        let queues = self.queues.iter_mut().zip(&mut self.pools);
        let mut lanes: Vec<_> = queues.map(|((rx, tx), pool)| Lane { rx, tx, pool }).collect();
        assert!(self.net.stop_pairs(&mut lanes, &self.clock).is_ok() || std::thread::panicking());
    }
}

/// UDP over IPv4 from a port.
fn udp(port: u16) -> Vec<u8> {
    let mut bytes = frame(1, 64);
    bytes[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    bytes[23] = 17;
    bytes[34..36].copy_from_slice(&port.to_be_bytes());
    bytes
}

#[test]
fn as_many_pairs_as_both_have() {
    for (asked, made) in [(1, 1), (2, 2), (4, 4), (9, 4)] {
        let lanes = Lanes::started(0, asked);
        assert_eq!(lanes.queues.len(), made, "{asked}");
        let pairs_told = lanes.device.model().wishes().commands.contains(&(4, 0));
        assert_eq!(pairs_told, made > 1, "{asked}");
    }
}

#[test]
fn every_queue_carries_frames_and_keeps_its_buffers() {
    for ring in RINGS {
        let mut lanes = Lanes::started(ring, PAIRS);
        let available: Vec<_> = lanes.pools.iter().map(Pool::available).collect();
        let mut by_queue = [0; PAIRS as usize];
        for number in 0..400 {
            assert!(lanes.device.model().deliver(&frame(number, 60 + number % 7)));
            for (queue, frames) in lanes.forward().iter().enumerate() {
                by_queue[queue] += frames.len();
            }
            let sent = lanes.device.model().next_sent();
            assert_eq!(sent, Some(frame(number, 60 + number % 7)));
        }
        assert_eq!(by_queue.iter().sum::<usize>(), 400);
        assert!(by_queue.iter().all(|&count| count > 50), "{by_queue:?}");
        for ((_, tx), pool) in lanes.queues.iter_mut().zip(&mut lanes.pools) {
            tx.reclaim(pool).expect("honest");
        }
        assert_eq!(lanes.pools.iter().map(Pool::available).collect::<Vec<_>>(), available);
        assert_eq!(lanes.window.faults(), 0);
    }
}

#[test]
fn a_queue_may_move_to_another_thread() {
    let mut lanes = Lanes::started(feature::RING_PACKED, 2);
    (0..8).for_each(|number| assert!(lanes.device.model().deliver(&frame(number, 60))));
    let (mut queues, mut pools) = (std::mem::take(&mut lanes.queues), std::mem::take(&mut lanes.pools));
    let received: usize = std::thread::scope(|scope| {
        let work = queues.iter_mut().zip(&mut pools).map(|((rx, tx), pool)| {
            scope.spawn(move || {
                let mut burst = Burst::<32>::new();
                let received = rx.receive(pool, &mut burst).expect("honest");
                tx.transmit(pool, &mut burst).expect("honest");
                received
            })
        });
        work.collect::<Vec<_>>().into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(received, 8);
    (lanes.queues, lanes.pools) = (queues, pools);
}

#[test]
fn the_table_picks_the_queue() {
    for ring in RINGS {
        let mut lanes = Lanes::started(ring, PAIRS);
        let key: [u8; RSS_KEY_BYTES] = std::array::from_fn(|i| (i * 37 + 11).to_le_bytes()[0]);
        let mut seen = [0; PAIRS as usize];
        // Everything to one queue, each in turn; then spread.
        for queue in 0..PAIRS {
            let rss = Rss { key: &key, table: &[queue; 8], hashed: HashTypes::UDP4 };
            assert_eq!(lanes.net.set_rss(&rss, &lanes.clock), Ok(()));
            assert!(lanes.device.model().deliver(&udp(1000 + queue)));
            let came = lanes.forward();
            assert_eq!(came.iter().position(|frames| !frames.is_empty()), Some(queue.into()));
        }
        let rss = Rss { key: &key, table: &[0, 1, 2, 3, 0, 1, 2, 3], hashed: HashTypes::UDP4 };
        assert_eq!(lanes.net.set_rss(&rss, &lanes.clock), Ok(()));
        for port in 0..200 {
            for _ in 0..2 {
                assert!(lanes.device.model().deliver(&udp(port)));
            }
            let came = lanes.forward();
            let queue = came.iter().position(|frames| !frames.is_empty()).expect("it came");
            assert_eq!(came[queue].len(), 2, "a flow stays with its queue");
            seen[queue] += 1;
        }
        assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
    }
}

#[test]
fn what_the_device_cannot_steer_is_refused() {
    let mut lanes = Lanes::started(0, 2);
    let key = [1; RSS_KEY_BYTES];
    let mut set =
        |table: &[u16]| lanes.net.set_rss(&Rss { key: &key, table, hashed: HashTypes::UDP4 }, &lanes.clock);
    assert_eq!(set(&[0, 1]), Ok(()));
    assert_eq!(set(&[]), Err(Error::Host(HostError::OutOfRange)));
    assert_eq!(set(&[0, 1, 0]), Err(Error::Host(HostError::OutOfRange)));
    assert_eq!(set(&[0, 2]), Err(Error::Host(HostError::OutOfRange)));
    assert_eq!(set(&[0; 256]), Err(Error::Host(HostError::Unsupported)));
    let mut single = Rig::started(behaviour(0), &Options::default());
    let rss = Rss { key: &key, table: &[0], hashed: HashTypes::UDP4 };
    assert_eq!(single.net.set_rss(&rss, &single.clock), Err(Error::Host(HostError::Unsupported)));
}

#[test]
fn an_impossible_number_of_pairs_is_refused() {
    for pairs in [0, 0x8000, u16::MAX] {
        let window = SimWindow::default();
        let device = SimDevice::new(VirtioNet::new(&window, behaviour(0)));
        device.model().set_pairs_told(pairs);
        let options = Options { pairs: 2, packed_events: true, ..Options::default() };
        let opened = Net::open_pairs(device, &window, &SimClock::default(), &options);
        assert_eq!(opened.err(), Some(Error::BadPairs { pairs }));
    }
}

#[test]
fn lies_with_several_queues_are_survived() {
    let mut violations = 0;
    for seed in 1..if cfg!(miri) { 3 } else { 30 } {
        let mut lanes = Lanes::started(RINGS[usize::from(seed % 2 == 0)], PAIRS);
        lanes.device.model().set_malice(Malice::in_rings(seed, 1 + seed % 40));
        for number in 0..50 {
            for number in 0..number % 7 {
                lanes.device.model().deliver(&frame(number, 60));
            }
            lanes.device.model().transmit();
            let commands = number % 25 == 7;
            let mut failed = commands && lanes.net.set_promiscuous(true, &lanes.clock).is_err();
            for ((rx, tx), pool) in lanes.queues.iter_mut().zip(&mut lanes.pools) {
                let mut burst = Burst::<32>::new();
                failed |= rx.receive(pool, &mut burst).is_err();
                failed |= tx.transmit(pool, &mut burst).is_err();
                while let Some(buf) = burst.pop() {
                    pool.put(buf);
                }
            }
            if failed {
                violations += 1;
                let _ = lanes.start();
            }
        }
        lanes.device.model().set_malice(Malice::none());
        lanes.start().expect("an honest device starts");
        assert!(lanes.pools.iter().all(|pool| pool.available() == pool.buffers() - 16), "seed {seed}");
        assert_eq!(lanes.net.set_promiscuous(true, &lanes.clock), Ok(()));
    }
    assert!(cfg!(miri) || violations > 30, "{violations}");
}
