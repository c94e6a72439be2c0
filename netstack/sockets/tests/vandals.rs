//! Frames of every kind that a stack knows, damaged at every field, without end: nothing panics, no memory is lost, and good
//! clients are still served.

mod rig;

use rig::MS;
use rig::victim::{LIMIT, TCP_PORT, UDP_PORT, mend, victim};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;

/// A small generator (xorshift64*), so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn happens(&mut self, one_in: u64) -> bool {
        self.next().is_multiple_of(one_in)
    }
}

fn ethernet(kind: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_dst_addr(rig::mac(1));
    frame.set_src_addr(rig::mac(2));
    frame.set_ethertype(kind);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

fn ip(source: IpAddress, destination: IpAddress, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = IpRepr::new(source, destination, protocol, payload.len(), 255);
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut bytes[..], &ChecksumCapabilities::default());
    let header = repr.header_len();
    bytes[header..].copy_from_slice(payload);
    let kind =
        if matches!(source, IpAddress::Ipv4(_)) { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
    ethernet(kind, &bytes)
}

const HERE: IpAddress = IpAddress::v4(10, 0, 0, 1);
const THERE: IpAddress = IpAddress::v4(10, 0, 0, 2);
const HERE6: IpAddress = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
const THERE6: IpAddress = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 2);

fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).expect("short");
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], data].concat()
}

fn tcp(random: &mut Random) -> Vec<u8> {
    const FLAGS: [u8; 8] = [0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x12, 0x38];
    let from = 1000 + u16::try_from(random.below(20)).expect("small");
    let options: &[u8] = if random.happens(2) { &[2, 4, 5, 0xb4, 3, 3, 7, 1] } else { &[] };
    let data = vec![7; random.below(40)];
    let numbers = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
    let words = u8::try_from(5 + options.len() / 4).expect("small") << 4;
    let flags = FLAGS[random.below(FLAGS.len())];
    [
        &from.to_be_bytes()[..],
        &TCP_PORT.to_be_bytes(),
        &numbers[4..12],
        &[words, flags, 4, 0, 0, 0, 0, 0],
        options,
        &data,
    ]
    .concat()
}

/// An answer of a DHCP server that gives 10.0.0.1; its transaction is the client's only by luck, or by what was overheard.
fn dhcp(random: &mut Random, transaction: [u8; 4]) -> Vec<u8> {
    let kind = [2, 5, 6][random.below(3)];
    let mut bytes = vec![2, 1, 6, 0];
    bytes.extend(transaction);
    bytes.extend([0; 8]);
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0]);
    bytes.extend(rig::mac(1).0);
    bytes.extend([0; 10 + 192]);
    bytes.extend([
        99, 130, 83, 99, 53, 1, kind, 54, 4, 10, 0, 0, 2, 51, 4, 0, 0, 0, 60, 1, 4, 255, 255, 255, 0,
    ]);
    bytes.extend([3, 4, 10, 0, 0, 2, 6, 4, 10, 0, 0, 2, 255]);
    udp(67, 68, &bytes)
}

fn dns(id: [u8; 2], port: u16) -> Vec<u8> {
    let name = b"\x04weir\x04test\x00";
    let head = [id[0], id[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    let answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 9];
    udp(53, port, &[&head[..], name, &[0, 1, 0, 1], &answer].concat())
}

fn arp(random: &mut Random) -> Vec<u8> {
    let operation = 1 + u8::try_from(random.below(2)).expect("small");
    let body = [
        &[0, 1, 8, 0, 6, 4, 0, operation][..],
        &rig::mac(2).0,
        &[10, 0, 0, 2],
        &rig::mac(1).0,
        &[10, 0, 0, 1],
    ]
    .concat();
    ethernet(EthernetProtocol::Arp, &body)
}

fn icmp(random: &mut Random) -> Vec<u8> {
    const TYPES: [u8; 5] = [8, 0, 3, 11, 5];
    let mut bytes = vec![TYPES[random.below(5)], 0, 0, 0, 1, 2, 3, 4];
    bytes.extend(vec![9; random.below(60)]);
    bytes
}

/// Neighbour and router discovery, echo, multicast listeners.
fn icmpv6(random: &mut Random) -> Vec<u8> {
    const TYPES: [u8; 8] = [128, 129, 133, 134, 135, 136, 130, 1];
    let mut bytes = vec![TYPES[random.below(8)], 0, 0, 0, 0x60, 0, 0, 0];
    bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1]);
    bytes.extend([1, 1, 2, 0, 0, 0, 0, 2, 3, 4, 64, 0xc0, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0x20, 1]);
    bytes.extend([0; 14]);
    bytes
}

/// What was overheard of the victim, for answers that it expects.
#[derive(Default)]
struct Overheard {
    transaction: [u8; 4],
    query: [u8; 2],
    query_port: u16,
    /// The last segments that it sent, to be answered in sequence.
    segments: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Overheard {
    fn hear(&mut self, frame: &[u8], random: &mut Random) {
        if frame.get(12..14) != Some(&[8, 0]) || frame.len() < 54 {
            return;
        }
        match (frame[23], &frame[36..38]) {
            (17, [0, 67]) => self.transaction.copy_from_slice(&frame[46..50]),
            (17, [0, 53]) => {
                self.query.copy_from_slice(&frame[42..44]);
                self.query_port = u16::from_be_bytes([frame[34], frame[35]]);
            }
            (6, _) => {
                self.last = frame.to_vec();
                match self.segments.len() {
                    16 => self.segments[random.below(16)] = frame.to_vec(),
                    _ => self.segments.push(frame.to_vec()),
                }
            }
            _ => {}
        }
    }

    /// A segment in the sequence of a connection of the victim's.
    fn answer(&self, random: &mut Random) -> Option<Vec<u8>> {
        let last = Some(&self.last).filter(|last| !last.is_empty() && random.happens(2));
        let heard = last.or_else(|| self.segments.get(random.below(16)))?;
        let word = |at: usize| u32::from_be_bytes(heard[at..at + 4].try_into().expect("four"));
        let length = u32::from(heard[47] & 1) + u32::from(heard[47] >> 1 & 1);
        let flags = [0x10, 0x10, 0x10, 0x12, 0x18, 0x11, 0x14][random.below(7)];
        let data = vec![5; random.below(50)];
        let payload = [
            &heard[36..38],
            &heard[34..36],
            &heard[42..46],
            &word(38).wrapping_add(length).to_be_bytes(),
            &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0],
            &data,
        ]
        .concat();
        let from: [u8; 4] = heard[30..34].try_into().expect("four");
        let to: [u8; 4] = heard[26..30].try_into().expect("four");
        Some(ip(Ipv4Address::from(from).into(), Ipv4Address::from(to).into(), IpProtocol::Tcp, &payload))
    }
}

fn good_frame(random: &mut Random, overheard: &Overheard) -> Vec<u8> {
    let port = if random.happens(2) { UDP_PORT } else { 99 };
    match random.below(12) {
        0 => arp(random),
        1 => ip(THERE, HERE, IpProtocol::Icmp, &icmp(random)),
        2 => ip(THERE6, HERE6, IpProtocol::Icmpv6, &icmpv6(random)),
        3 => ip(THERE, HERE, IpProtocol::Udp, &udp(4000, port, &vec![1; random.below(100)])),
        4 => ip(THERE6, HERE6, IpProtocol::Udp, &udp(4000, port, b"over IPv6")),
        5 => ip(THERE, HERE, IpProtocol::Udp, &dhcp(random, overheard.transaction)),
        6 => ip(THERE, HERE, IpProtocol::Udp, &dns(overheard.query, overheard.query_port)),
        7 => ip(THERE6, HERE6, IpProtocol::Tcp, &tcp(random)),
        8 => {
            // A fragment.
            let mut frame = ip(THERE, HERE, IpProtocol::Icmp, &icmp(random));
            frame[20] = if random.happens(2) { 0x20 } else { 0 };
            frame[21] = u8::try_from(random.below(8)).expect("small");
            frame
        }
        9 | 10 => match overheard.answer(random) {
            Some(frame) => frame,
            None => ip(THERE, HERE, IpProtocol::Tcp, &tcp(random)),
        },
        _ => ip(THERE, HERE, IpProtocol::Tcp, &tcp(random)),
    }
}

/// Overwrites fields, cuts, lengthens.
fn damage(frame: &mut Vec<u8>, random: &mut Random) {
    const VALUES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x45, 0x60, 4];
    for _ in 0..random.below(4) {
        let at = random.below(frame.len());
        frame[at] = if random.happens(2) { VALUES[random.below(8)] } else { random.next().to_le_bytes()[0] };
    }
    if random.happens(16) {
        frame.truncate(1 + random.below(frame.len()));
    }
    if random.happens(32) {
        frame.resize(frame.len() + random.below(1400), 0xa5);
    }
}

/// How far the vandals got.
#[derive(Debug, Default)]
struct Reached {
    opened: u64,
    addressed: u64,
    answers: u64,
}

fn vandalise(count: u64, seed: u64) -> Reached {
    let (mut host, mut random) = (victim(), Random(seed));
    let (mut overheard, mut reached, mut now_ns) = (Overheard::default(), Reached::default(), 0);
    for number in 0..count {
        now_ns += random.next() % (if random.happens(1000) { 5000 * MS } else { MS });
        let mut frame = good_frame(&mut random, &overheard);
        if random.happens(2) {
            damage(&mut frame, &mut random);
        }
        if !random.happens(4) {
            mend(&mut frame);
        }
        frame.truncate(9000);
        host.take(now_ns, &frame);
        for answer in host.work(now_ns) {
            reached.answers += 1;
            overheard.hear(&answer, &mut random);
        }
        if number % 1024 == 0 {
            host.assert_none_lost();
            let (all, half_open) = host.net.connections();
            assert!(all <= LIMIT && half_open <= LIMIT / 4, "{all} connections, {half_open} half open");
            reached.addressed += u64::from(host.net.addresses().iter().any(|cidr| cidr.address() == HERE));
        }
    }
    reached.opened = host.net.counters().opened;
    reached
}

#[test]
fn nothing_breaks() {
    let reached = vandalise(60_000, 0x5eed);
    // They get behind the handshake, behind DHCP, and are answered.
    assert!(reached.opened > 10 && reached.addressed > 5 && reached.answers > 5_000, "{reached:?}");
}

/// `cargo test --release -p weir-sockets --test vandals -- --ignored --nocapture`
#[test]
#[ignore = "a hundred million frames take minutes"]
fn nothing_breaks_in_a_hundred_million_frames() {
    let total: u64 = 100_000_000;
    let start = std::time::Instant::now();
    let reached = std::thread::scope(|scope| {
        let halves = [1u64, 2].map(|seed| scope.spawn(move || vandalise(total / 2, seed << 20 | 1)));
        halves.map(|half| half.join().expect("no panic"))
    });
    println!("{total} frames in {:?}: {reached:?}", start.elapsed());
}
