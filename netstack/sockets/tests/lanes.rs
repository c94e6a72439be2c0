//! A device with three pairs of queues, a stack behind each: the host at the other end sees one host.

mod rig;

use std::cell::Cell;
use std::rc::Rc;

use rig::{Host, SECOND, World, at, config};
use weir_sockets::{Buffers, Config, HASH_KEY_BYTES, Lane, Net, Reply};

const PORT: u16 = 7;
const LANES: u16 = 3;
const BUFFERS: Buffers = Buffers { rx_bytes: 4096, tx_bytes: 4096 };
const KEY: [u8; HASH_KEY_BYTES] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// What the device does: the hash, bit by bit as it is defined, of what is TCP or UDP over IPv4.
fn queue_of(frame: &[u8]) -> usize {
    if frame[12..14] != [8, 0] || ![6, 17].contains(&frame[23]) {
        return 0;
    }
    let key_bit = |bit: usize| u32::from(KEY[bit / 8] >> (7 - bit % 8) & 1);
    let window = |bit: usize| (bit..bit + 32).fold(0, |window, bit| window << 1 | key_bit(bit));
    let input = &frame[26..38];
    let is_set = |bit: &usize| input[bit / 8] >> (7 - bit % 8) & 1 == 1;
    let hash = (0..input.len() * 8).filter(is_set).fold(0, |hash, bit| hash ^ window(bit));
    usize::try_from(hash % 128).expect("small") % usize::from(LANES)
}

/// Host 0 at one end; a host for each lane at the other.
fn world() -> World {
    let lane = |lane| Host::new(&Config { lane: Some(lane), ..config(2) });
    let lanes = Lane::all(LANES, KEY).into_iter().map(lane);
    let mut world = World::new([Host::new(&config(1))].into_iter().chain(lanes).collect());
    world.reaches = |frame, to| match to {
        0 => frame[5] != 2,
        to => frame[5] != 1 && queue_of(frame) == to - 1,
    };
    world
}

/// Sends a byte and waits for it to come back.
fn ask(from: &Host, to: u8, done: &Rc<Cell<u32>>) {
    let (net, done) = (from.net.clone(), done.clone());
    from.executor.spawner().spawn(async move {
        let mut stream = net.connect(at(to, PORT), BUFFERS).await.expect("a listener");
        stream.write_all(b"?").await.expect("open");
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await, Ok(1));
        done.set(done.get() + 1);
    });
}

fn serve(host: &Host) {
    let listener = host.net.listen(PORT, BUFFERS, 100).expect("a free port");
    let tasks = host.executor.spawner();
    host.executor.spawner().spawn(async move {
        loop {
            let mut stream = listener.accept().await;
            tasks.spawn(async move {
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte).await {
                    stream.write_all(&byte).await.expect("open");
                }
            });
        }
    });
}

fn opened(net: &Net) -> u64 {
    net.counters().opened
}

#[test]
fn connections_are_spread_and_each_is_served() {
    let mut world = world();
    world.hosts[1..].iter().for_each(serve);
    let done = Rc::default();
    (0..90).for_each(|_| ask(&world.hosts[0], 2, &done));
    world.run_until(10 * SECOND, |_| done.get() == 90);
    let counts: Vec<_> = world.hosts[1..].iter().map(|host| opened(&host.net)).collect();
    assert!(counts.iter().all(|count| *count >= 15), "{counts:?}");
    world.hosts.iter().for_each(Host::assert_none_lost);
}

#[test]
fn every_lane_connects_with_others() {
    let mut world = world();
    serve(&world.hosts[0]);
    let done = Rc::default();
    // Nobody knows anybody's hardware address yet: the answer comes to the first lane.
    for lane in [3, 2, 1] {
        (0..20).for_each(|_| ask(&world.hosts[lane], 1, &done));
    }
    world.run_until(10 * SECOND, |_| done.get() == 60);
    world.hosts.iter().for_each(Host::assert_none_lost);
}

#[test]
fn datagrams_are_answered_by_the_lane_they_come_to() {
    let mut world = world();
    let answered: Vec<Rc<Cell<u32>>> = (0..LANES).map(|_| Rc::default()).collect();
    for (host, count) in world.hosts[1..].iter().zip(&answered) {
        let count = count.clone();
        let service = move |datagram: weir_sockets::Datagram<'_>| {
            count.set(count.get() + 1);
            Reply::InPlace(datagram.data.len())
        };
        host.net.serve_udp(9, service).expect("a free port");
    }
    for port in 0..60 {
        let frame = datagram(5000 + port);
        world.send(0, &frame);
    }
    world.run_for(SECOND);
    let counts: Vec<_> = answered.iter().map(|count| count.get()).collect();
    assert!(counts.iter().sum::<u32>() == 60 && counts.iter().all(|count| *count > 5), "{counts:?}");
}

/// A datagram of the first host's, from a port; its checksum is left out, as IPv4 allows.
fn datagram(port: u16) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let udp = [&port.to_be_bytes()[..], &9_u16.to_be_bytes(), &[0, 16, 0, 0], b"datagram"].concat();
    [&ethernet[..], &ip, &udp].concat()
}
