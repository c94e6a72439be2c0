//! Connections between two stacks on a simulated wire, good and bad.

mod rig;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rig::{Faults, Host, MS, SECOND, World, at, config};
use weir_sockets::{Buffers, Config, Error, IpEndpoint, Net, TcpStream};

const BUFFERS: Buffers = Buffers { rx_bytes: 4096, tx_bytes: 4096 };
const PORT: u16 = 80;

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]
}

/// Sends back what comes, on every connection.
fn serve_echo(host: &Host, backlog: usize) {
    let listener = host.net.listen(PORT, BUFFERS, backlog).expect("a free port");
    let spawner = host.executor.spawner();
    host.executor.spawner().spawn(async move {
        loop {
            let mut stream = listener.accept().await;
            spawner.spawn(async move {
                let mut bytes = [0; 3000];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Sends `total` bytes and reads them back at the same time; sets `done` if all came as they were sent.
fn exchange(host: &Host, to: IpEndpoint, total: usize, done: &Rc<Cell<usize>>) {
    let (net, done) = (host.net.clone(), done.clone());
    host.executor.spawner().spawn(async move {
        let mut stream = net.connect(to, BUFFERS).await.expect("a listener");
        let (mut sent, mut received, mut bytes) = (0, 0, [0; 2000]);
        while received < total {
            if sent < total && sent - received < 3000 {
                let chunk: Vec<u8> = (sent..total.min(sent + 1000)).map(byte).collect();
                stream.write_all(&chunk).await.expect("an open connection");
                sent += chunk.len();
            }
            let count = stream.read(&mut bytes).await.expect("an open connection");
            assert!(count > 0, "closed early");
            assert!(
                bytes[..count].iter().enumerate().all(|(at, b)| *b == byte(received + at)),
                "other bytes"
            );
            received += count;
        }
        stream.close();
        assert_eq!(stream.read(&mut bytes).await, Ok(0), "the peer closes, too");
        done.set(done.get() + 1);
    });
}

fn exchanged(faults: Faults, total: usize, limit_ns: u64) -> World {
    let mut world = World::of(2);
    world.faults = faults;
    serve_echo(&world.hosts[0], 8);
    let done = Rc::default();
    exchange(&world.hosts[1], at(1, PORT), total, &done);
    world.run_until(limit_ns, |_| done.get() == 1);
    world.faults = Faults::default();
    world.run_for(90 * SECOND);
    world.hosts.iter().for_each(Host::assert_none_lost);
    let open: Vec<_> = world.hosts.iter().map(|host| host.net.connections()).collect();
    assert_eq!(open, [(0, 0), (0, 0)], "connections end");
    world
}

#[test]
fn bytes_come_back_in_order() {
    exchanged(Faults::default(), 1_000_000, 60 * SECOND);
}

#[test]
fn bytes_come_back_over_a_bad_wire() {
    exchanged(Faults { lost: 50, ..Faults::default() }, 200_000, 1000 * SECOND);
    exchanged(Faults { repeated: 100, jitter_ns: 2 * MS, ..Faults::default() }, 200_000, 1000 * SECOND);
    let world = exchanged(Faults { damaged: 50, ..Faults::default() }, 200_000, 1000 * SECOND);
    let damaged: u64 = world.hosts.iter().map(|host| host.net.counters().bad_checksums).sum();
    assert!(damaged > 0, "damage is seen");
    exchanged(Faults { lost: 30, repeated: 30, damaged: 30, jitter_ns: 5 * MS }, 200_000, 1000 * SECOND);
}

#[test]
fn a_day_of_small_questions_over_a_bad_wire() {
    let mut world = World::of(2);
    world.faults = Faults { lost: 10, repeated: 10, damaged: 5, jitter_ns: 20 * MS };
    serve_echo(&world.hosts[0], 8);
    let asked = Rc::new(Cell::new(0));
    let (net, count) = (world.hosts[1].net.clone(), asked.clone());
    world.hosts[1].executor.spawner().spawn(async move {
        for number in 0u64..24 * 60 {
            let Ok(mut stream) = net.connect(at(1, PORT), BUFFERS).await else { continue };
            let question = number.to_le_bytes();
            stream.write_all(&question).await.expect("open");
            let mut answer = [0; 8];
            let mut read = 0;
            while read < 8 {
                read += stream.read(&mut answer[read..]).await.expect("open");
            }
            assert_eq!(answer, question);
            drop(stream);
            count.set(count.get() + 1);
            net.sleep_until((number + 1) * 60 * SECOND).await;
        }
    });
    world.run_for(24 * 3600 * SECOND);
    assert!(asked.get() > 24 * 60 - 5, "{} of the day's questions were answered", asked.get());
    world.run_for(100 * SECOND);
    assert_eq!(world.hosts[0].net.connections(), (0, 0));
}

/// The acceptance of issue's number: as many connections at once on one stack, each of which carries data.
#[test]
fn ten_thousand_connections_at_once() {
    const COUNT: usize = 10_000;
    let limits = |number| Config { connections: COUNT, half_open: 1000, ..config(number) };
    let mut world = World::new(vec![Host::new(&limits(1)), Host::new(&limits(2))]);
    serve_echo(&world.hosts[0], 1000);
    let (open, answered) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut begun = 0;
    let streams = Rc::new(RefCell::new(Vec::new()));
    while open.get() < COUNT {
        for _ in 0..100.min(COUNT - begun) {
            begun += 1;
            let (net, open, streams) = (world.hosts[1].net.clone(), open.clone(), streams.clone());
            world.hosts[1].executor.spawner().spawn(async move {
                let small = Buffers { rx_bytes: 256, tx_bytes: 256 };
                let stream = net.connect(at(1, PORT), small).await.expect("a listener");
                streams.borrow_mut().push(stream);
                open.set(open.get() + 1);
            });
        }
        let target = begun;
        world.run_until(100 * SECOND, |_| open.get() == target);
    }
    assert_eq!(world.hosts[0].net.connections(), (COUNT, 0));
    for (number, mut stream) in streams.take().into_iter().enumerate() {
        let answered = answered.clone();
        world.hosts[1].executor.spawner().spawn(async move {
            stream.write_all(&number.to_le_bytes()).await.expect("open");
            let mut bytes = [0; 8];
            assert_eq!(stream.read(&mut bytes).await, Ok(8));
            assert_eq!(bytes, number.to_le_bytes());
            answered.set(answered.get() + 1);
        });
    }
    world.run_until(100 * SECOND, |_| answered.get() == COUNT);
}

#[test]
fn one_more_than_there_is_room_for_is_turned_down_and_the_others_stay() {
    let few = Config { connections: 4, half_open: 2, ..config(1) };
    let mut world = World::new(vec![Host::new(&few), Host::new(&config(2))]);
    serve_echo(&world.hosts[0], 8);
    let streams = Rc::new(RefCell::new(Vec::<TcpStream>::new()));
    for count in 1..=4 {
        let (net, streams) = (world.hosts[1].net.clone(), streams.clone());
        let kept = streams.clone();
        world.hosts[1].executor.spawner().spawn(async move {
            let stream = net.connect(at(1, PORT), BUFFERS).await.expect("room");
            kept.borrow_mut().push(stream);
        });
        world.run_until(SECOND, |_| streams.borrow().len() == count);
    }
    let outcome = Rc::new(Cell::new(None));
    let (net, end) = (world.hosts[1].net.clone(), outcome.clone());
    world.hosts[1].executor.spawner().spawn(async move {
        end.set(Some(net.connect(at(1, PORT), BUFFERS).await.err()));
    });
    world.run_until(100 * SECOND, |_| outcome.get().is_some());
    assert_eq!(outcome.get(), Some(Some(Error::NotAccepted { remote: at(1, PORT) })));
    assert!(world.hosts[0].net.counters().refused > 0);
    // One goes, another one comes.
    streams.borrow_mut().pop();
    let done = Rc::default();
    exchange(&world.hosts[1], at(1, PORT), 10_000, &done);
    world.run_until(100 * SECOND, |_| done.get() == 1);
}

#[test]
fn nobody_listens_there() {
    let mut world = World::of(2);
    let outcome = Rc::new(Cell::new(None));
    for (number, to) in [at(1, 9), at(77, 9)].into_iter().enumerate() {
        let (net, end) = (world.hosts[1].net.clone(), outcome.clone());
        world.hosts[1].executor.spawner().spawn(async move {
            end.set(Some((number, net.connect(to, BUFFERS).await.err())));
        });
        world.run_until(100 * SECOND, |_| outcome.get().is_some_and(|(of, _)| of == number));
        assert_eq!(outcome.get(), Some((number, Some(Error::NotAccepted { remote: to }))));
    }
    let far = IpEndpoint::new("192.168.1.1".parse().expect("an address"), 1);
    let net = world.hosts[1].net.clone();
    let end = outcome.clone();
    world.hosts[1].executor.spawner().spawn(async move {
        end.set(Some((2, net.connect(far, BUFFERS).await.err())));
    });
    world.run_until(100 * SECOND, |_| outcome.get().is_some_and(|(of, _)| of == 2));
}

#[test]
fn a_port_has_one_listener() {
    let world = World::of(1);
    let first = world.hosts[0].net.listen(PORT, BUFFERS, 1).expect("a free port");
    let again = world.hosts[0].net.listen(PORT, BUFFERS, 1).err();
    assert_eq!(again, Some(Error::PortTaken { port: PORT }));
    drop(first);
    assert!(world.hosts[0].net.listen(PORT, BUFFERS, 1).is_ok());
}

#[test]
fn a_peer_that_vanishes_is_noticed() {
    let mut world = World::of(2);
    let outcome = Rc::new(Cell::new(None));
    let (net, end) = (world.hosts[0].net.clone(), outcome.clone());
    let listener = net.listen(PORT, BUFFERS, 1).expect("a free port");
    world.hosts[0].executor.spawner().spawn(async move {
        let mut stream = listener.accept().await;
        let result = loop {
            if let Err(error) = stream.write_all(&[0; 1000]).await {
                break error;
            }
        };
        end.set(Some(result));
    });
    let (net, connected) = (world.hosts[1].net.clone(), Rc::new(Cell::new(false)));
    let mark = connected.clone();
    world.hosts[1].executor.spawner().spawn(async move {
        let _stream = net.connect(at(1, PORT), BUFFERS).await.expect("a listener");
        mark.set(true);
        std::future::pending::<()>().await;
    });
    world.run_until(SECOND, |_| connected.get());
    world.faults.lost = 1000;
    world.run_until(200 * SECOND, |_| outcome.get().is_some());
    assert_eq!(outcome.get(), Some(Error::Reset));
}

#[test]
fn who_closes_with_unread_bytes_breaks_off() {
    let mut world = World::of(2);
    let listener = world.hosts[0].net.listen(PORT, BUFFERS, 1).expect("a free port");
    let net = world.hosts[0].net.clone();
    world.hosts[0].executor.spawner().spawn(async move {
        let stream = listener.accept().await;
        net.sleep_until(SECOND).await;
        drop(stream);
    });
    let (net, outcome) = (world.hosts[1].net.clone(), Rc::new(Cell::new(None)));
    let end = outcome.clone();
    world.hosts[1].executor.spawner().spawn(async move {
        let mut stream = net.connect(at(1, PORT), BUFFERS).await.expect("a listener");
        stream.write_all(b"nobody reads this").await.expect("open");
        end.set(Some(stream.read(&mut [0; 9]).await));
    });
    world.run_until(5 * SECOND, |_| outcome.get().is_some());
    assert_eq!(outcome.get(), Some(Err(Error::Reset)));
    world.run_for(SECOND);
    assert_eq!(world.hosts[0].net.connections(), (0, 0), "nothing is left of it");
}

#[test]
fn a_wait_ends_in_time() {
    let mut world = World::of(2);
    let listener = world.hosts[0].net.listen(PORT, BUFFERS, 1).expect("a free port");
    let (net, outcome) = (world.hosts[0].net.clone(), Rc::new(Cell::new(None)));
    let end = outcome.clone();
    world.hosts[0].executor.spawner().spawn(async move {
        let waited = net.within(3 * SECOND, listener.accept()).await.is_none();
        end.set(Some((waited, net.now_ns())));
    });
    world.run_until(5 * SECOND, |_| outcome.get().is_some());
    assert_eq!(outcome.get(), Some((true, 3 * SECOND)));
    assert_eq!(
        world.hosts[0].net.deadline_ns().filter(|&ns| ns < 100 * SECOND),
        None,
        "nothing is left to wait for"
    );
}

/// A stranger asks for connections without end, from made-up addresses.
#[test]
fn a_flood_of_handshakes_costs_bounded_memory_and_no_service() {
    let limits = Config { connections: 100, half_open: 16, ..config(1) };
    let mut world = World::new(vec![Host::new(&limits), Host::new(&config(2))]);
    serve_echo(&world.hosts[0], 8);
    let done = Rc::default();
    for round in 0u32..200 {
        for number in 0..20u32 {
            let syn = rig_syn(round * 20 + number);
            let now_ns = world.now_ns;
            world.hosts[0].take(now_ns, &syn);
        }
        if round == 50 {
            exchange(&world.hosts[1], at(1, PORT), 5_000, &done);
        }
        world.run_for(MS);
        let (all, half_open) = world.hosts[0].net.connections();
        assert!(half_open <= 16 && all <= 18, "{all} connections, {half_open} of them half open");
    }
    world.run_until(60 * SECOND, |_| done.get() == 1);
    assert!(world.hosts[0].net.counters().half_open_evicted > 3000);
    world.run_for(120 * SECOND);
    assert_eq!(world.hosts[0].net.connections(), (0, 0));
}

/// A request for a connection from a made-up address, by smoltcp's own types.
fn rig_syn(number: u32) -> Vec<u8> {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::*;
    let [_, b, c, d] = number.to_be_bytes();
    let source = Ipv4Address::new(10, 1 + b, c, d);
    let tcp = TcpRepr {
        src_port: 1000,
        dst_port: PORT,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(7),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: Ipv4Address::new(10, 0, 0, 1),
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 14 + ip.buffer_len() + tcp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_dst_addr(rig::mac(1));
    frame.set_src_addr(EthernetAddress([2, 9, 9, b, c, d]));
    frame.set_ethertype(EthernetProtocol::Ipv4);
    let caps = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &caps);
    let (from, to) = (source.into(), Ipv4Address::new(10, 0, 0, 1).into());
    tcp.emit(&mut TcpPacket::new_unchecked(packet.payload_mut()), &from, &to, &caps);
    bytes
}

#[test]
fn the_same_over_ipv6() {
    let mut world = World::of(2);
    // Addresses of the link are tried before they are used.
    world.run_for(5 * SECOND);
    serve_echo(&world.hosts[0], 8);
    let link = world.hosts[0].net.addresses().into_iter().map(|cidr| cidr.address());
    let peer = link.into_iter().find(|address| !address.to_string().contains("10.0.0")).expect("an address");
    let done = Rc::default();
    exchange(&world.hosts[1], IpEndpoint::new(peer, PORT), 100_000, &done);
    world.run_until(60 * SECOND, |_| done.get() == 1);
}

#[test]
fn in_a_virtual_lan_and_with_long_frames() {
    long_frames_in_a_virtual_lan(false);
}

/// The peer, which looks at every sum, takes what a device has finished.
#[test]
fn a_device_finishes_checksums() {
    long_frames_in_a_virtual_lan(true);
    let mut world = World::of(2);
    world.hosts[1] = Host::new(&Config { tx_checksum: true, ..config(2) });
    world.run_for(5 * SECOND);
    serve_echo(&world.hosts[0], 8);
    let link = world.hosts[0].net.addresses().into_iter().map(|cidr| cidr.address());
    for address in link.collect::<Vec<_>>() {
        let done = Rc::default();
        exchange(&world.hosts[1], IpEndpoint::new(address, PORT), 100_000, &done);
        world.run_until(60 * SECOND, |_| done.get() == 1);
    }
    assert_eq!(world.hosts[0].net.counters().bad_checksums, 0);
}

fn long_frames_in_a_virtual_lan(tx_checksum: bool) {
    let tagged = |number| Config { vlan: Some(7), mtu: 9000, tx_checksum, ..config(number) };
    let stranger = Config { vlan: Some(8), ..config(3) };
    let mut world = World::new(vec![Host::new(&tagged(1)), Host::new(&tagged(2)), Host::new(&stranger)]);
    let listener = world.hosts[0]
        .net
        .listen(PORT, Buffers { rx_bytes: 65536, tx_bytes: 65536 }, 1)
        .expect("a free port");
    let received = Rc::new(RefCell::new(Vec::new()));
    let all = received.clone();
    world.hosts[0].executor.spawner().spawn(async move {
        let mut stream = listener.accept().await;
        let mut bytes = vec![0; 65536];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            all.borrow_mut().extend_from_slice(&bytes[..count]);
        }
    });
    let net: Net = world.hosts[1].net.clone();
    world.hosts[1].executor.spawner().spawn(async move {
        let large = Buffers { rx_bytes: 65536, tx_bytes: 65536 };
        let mut stream = net.connect(at(1, PORT), large).await.expect("a listener");
        let bytes: Vec<u8> = (0..500_000).map(byte).collect();
        stream.write_all(&bytes).await.expect("open");
    });
    world.run_until(60 * SECOND, |_| received.borrow().len() == 500_000);
    assert!(received.borrow().iter().enumerate().all(|(at, b)| *b == byte(at)));
    let packets = world.hosts[1].net.counters().tx_packets;
    assert!(packets < 500_000 / 8000 + 100, "{packets} packets: long ones");
    let counters = world.hosts[2].net.counters();
    assert!(counters.rx_dropped > 50, "the stranger sees none of it: {counters:?}");
    world.hosts.iter().for_each(Host::assert_none_lost);
}
