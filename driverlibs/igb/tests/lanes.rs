//! Several queues: frames are spread, flows stay together, each lane has its own interrupt.

use weir_hal::{DmaWindow, Error as HostError};
use weir_igb::{Error, Net, Options, RxQueue, TxQueue};
use weir_nic::{HashTypes, Lane, MultiQueue, Queues, RSS_KEY_BYTES, Rss, RxQueue as _, TxQueue as _};
use weir_pool::{Burst, Pool};
use weir_sim::gigabit::{Behaviour, Kind, MAC};
use weir_sim::{Gigabit, Model, SimClock, SimDevice, SimWindow};

type Device = SimDevice<Gigabit>;
type Pair = (RxQueue<Device>, TxQueue<Device>);

struct Rig {
    device: Device,
    clock: SimClock,
    net: Net<Device>,
    lanes: Vec<Pair>,
    pools: Vec<Pool>,
}

impl Rig {
    fn open(count: u16, options: &Options) -> Result<Rig, Error> {
        let (window, clock) = (SimWindow::default(), SimClock::default());
        let behaviour = Behaviour { kind: Kind::I82576, works_on_kick: true };
        let device = SimDevice::new(Gigabit::new(&window, behaviour));
        let (net, lanes) = Net::open_pairs(device.clone(), &window, &clock, options, count)?;
        let pool = || Pool::new(window.allocate(1 << 19).expect("memory")).expect("buffers");
        let pools = lanes.iter().map(|_| pool()).collect();
        Ok(Rig { device, clock, net, lanes, pools })
    }

    fn started(count: u16, options: &Options) -> Rig {
        let mut rig = Rig::open(count, options).expect("opens");
        rig.start();
        rig
    }

    fn start(&mut self) {
        let lanes = self.lanes.iter_mut().zip(&mut self.pools);
        let mut in_use: Vec<_> = lanes.map(|((rx, tx), pool)| Lane { rx, tx, pool }).collect();
        self.net.start_pairs(&mut in_use, &self.clock).expect("starts");
    }

    /// Sends back what arrived in a lane; says how many.
    fn forward(&mut self, lane: usize) -> usize {
        let ((rx, tx), pool) = (&mut self.lanes[lane], &mut self.pools[lane]);
        let mut burst = Burst::<32>::new();
        let count = rx.receive(pool, &mut burst).expect("honest");
        assert_eq!(tx.transmit(pool, &mut burst), Ok(count));
        count
    }
}

/// A datagram between two ports, one way or the other.
fn datagram(flow: u16, is_answer: bool) -> Vec<u8> {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (ports, addresses) = ([20_000 + flow, 7], [client, server]);
    let order = if is_answer { [1, 0] } else { [0, 1] };
    let mut frame = MAC.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0]);
    order.iter().for_each(|at| frame.extend(addresses[*at]));
    order.iter().for_each(|at| frame.extend(ports[*at].to_be_bytes()));
    frame.resize(64, 0);
    frame
}

#[test]
fn flows_are_spread_and_each_stays_in_a_lane_both_ways() {
    let mut rig = Rig::started(4, &Options { entries: 64, ..Options::default() });
    let mut taken = [0; 4];
    for flow in 0..400 {
        let lane_of = |rig: &mut Rig, frame: Vec<u8>| {
            assert!(rig.device.model().deliver(&frame));
            let lane = (0..4).find(|lane| rig.forward(*lane) == 1).expect("it arrived");
            assert_eq!(rig.device.model().next_sent(), Some(frame), "and went back from there");
            lane
        };
        let lane = lane_of(&mut rig, datagram(flow, false));
        assert_eq!(lane_of(&mut rig, datagram(flow, true)), lane, "flow {flow}");
        taken[lane] += 1;
    }
    assert!(taken.iter().all(|count| *count > 50), "{taken:?}");
}

#[test]
fn each_lane_has_its_own_interrupt() {
    let options = Options { entries: 64, interrupt: true, ..Options::default() };
    let mut rig = Rig::started(2, &options);
    let device = rig.device.clone();
    let mut flow = 0;
    for lane in [0, 1, 0, 1, 1] {
        let before = [0, 1].map(|vector| device.model().interrupts().count(vector));
        // A flow of that lane: found by trying, since a frame that arrives elsewhere is taken there.
        loop {
            flow += 1;
            let frame = datagram(flow, false);
            assert!(device.model().deliver(&frame));
            let is_there = rig.forward(lane) == 1;
            rig.forward(1 - lane);
            device.model().next_sent();
            if is_there {
                break;
            }
        }
        let (frame, model) = (datagram(flow, false), device.clone());
        let arrive = move || assert!(model.model().deliver(&frame));
        device.model().interrupts().set_meanwhile(Some(Box::new(arrive)));
        assert_eq!(rig.lanes[lane].0.wait(u64::MAX), Ok(true));
        device.model().interrupts().set_meanwhile(None);
        assert_eq!(rig.forward(lane), 1);
        device.model().next_sent();
        let after = [0, 1].map(|vector| device.model().interrupts().count(vector));
        assert_eq!((after[lane], after[1 - lane]), (before[lane] + 1, before[1 - lane]));
    }
}

#[test]
fn lanes_start_again_together() {
    let mut rig = Rig::started(8, &Options { entries: 8, ..Options::default() });
    for round in 0..3 {
        for flow in 0..50 {
            rig.device.model().deliver(&datagram(flow, false));
        }
        let received: usize = (0..8).map(|lane| rig.forward(lane)).sum();
        assert!(received > 20, "round {round}: {received}");
        rig.start();
        assert!(rig.pools.iter().all(|pool| pool.available() == pool.buffers() - 7), "round {round}");
    }
}

#[test]
fn what_the_device_has_not_is_refused() {
    let shared = Options { is_shared: true, ..Options::default() };
    for (count, options) in [(0, Options::default()), (9, Options::default()), (2, shared)] {
        assert_eq!(Rig::open(count, &options).err(), Some(Error::Host(HostError::Unsupported)));
    }
}

#[test]
fn the_face_takes_as_many_pairs_as_there_are_and_no_other_lanes() {
    let (window, clock) = (SimWindow::default(), SimClock::default());
    let behaviour = Behaviour { kind: Kind::I82576, works_on_kick: true };
    let device = SimDevice::new(Gigabit::new(&window, behaviour));
    let opened = <Net<Device> as MultiQueue>::open_pairs(device, &window, &clock, 100, Queues::default());
    let (mut net, mut pairs) = opened.expect("opens");
    assert_eq!(pairs.len(), 8);
    let mut pool = Pool::new(window.allocate(1 << 19).expect("memory")).expect("buffers");
    let (rx, tx) = pairs.first_mut().expect("eight");
    let too_few = net.start_pairs(&mut [Lane { rx, tx, pool: &mut pool }], &clock);
    assert_eq!(too_few, Err(Error::Host(HostError::OutOfRange)));
}

#[test]
fn the_owner_says_which_queue_gets_what() {
    let mut rig = Rig::started(4, &Options { entries: 64, ..Options::default() });
    let lane_of = |rig: &mut Rig, flow: u16| {
        assert!(rig.device.model().deliver(&datagram(flow, false)));
        let lane = (0..4).find(|lane| rig.forward(*lane) == 1).expect("it arrived");
        rig.device.model().next_sent();
        lane
    };
    let key: [u8; RSS_KEY_BYTES] = std::array::from_fn(|at| u8::try_from(at * 5 + 1).expect("small"));
    let to = |table| Rss { key: &key, table, hashed: HashTypes::all() };
    rig.net.set_rss(&to(&[3]), &rig.clock).expect("possible");
    assert!((0..50).all(|flow| lane_of(&mut rig, flow) == 3));
    rig.net.set_rss(&to(&[1, 2]), &rig.clock).expect("possible");
    let lanes: Vec<_> = (0..100).map(|flow| lane_of(&mut rig, flow)).collect();
    assert!([1, 2].iter().all(|lane| lanes.iter().filter(|it| *it == lane).count() > 20), "{lanes:?}");
    // Not a power of two, none, too many; a queue that is not there.
    for table in [&[0, 1, 2][..], &[], &[0; 256], &[0, 4]] {
        let refused = rig.net.set_rss(&to(table), &rig.clock);
        assert_eq!(refused, Err(Error::Host(HostError::OutOfRange)), "{table:?}");
    }
    rig.start();
    let lanes: Vec<_> = (0..100).map(|flow| lane_of(&mut rig, flow)).collect();
    assert!((0..4).all(|lane| lanes.contains(&lane)), "a start spreads evenly again: {lanes:?}");
}
