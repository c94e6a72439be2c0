//! Long frames and checksums, byte for byte.

mod rig;

use rig::{Rig, frame, inverted, on_both};
use weir_gigabit::{Chip, Error, FRAME_LONG_BYTES, Options, Violation};
use weir_nic::{Checksum, Nic, Offloads, RxQueue, Segments, TxOffload, TxQueue};
use weir_pool::{Buf, Burst, FRAME_BYTES, Pool};
use weir_sim::gigabit::{Behaviour, Kind};
use weir_sim::virtio_net::sum;

on_both!(
    long_frames_come_back_whole,
    a_long_frame_may_arrive_in_two_bursts,
    long_frames_need_as_many_descriptors_as_buffers,
    longer_than_asked_for_passes_only_where_nothing_limits_it,
    a_frame_may_be_sent_from_many_buffers,
    what_cannot_be_sent_is_refused_and_comes_back,
    lies_about_parts_are_found,
    good_checksums_are_marked,
    checksums_are_not_looked_at_unless_asked_for,
    checksums_are_filled_in,
    the_device_is_told_of_a_checksum_once,
    impossible_checksums_are_refused,
    abilities_are_those_asked_for,
);

const LONG: Options = Options {
    entries: 64,
    filter: weir_gigabit::Filter::Station,
    interrupt: false,
    is_shared: false,
    long_frames: true,
    rx_checksum: false,
};
const CHECKED: Options = Options { long_frames: false, rx_checksum: true, ..LONG };
const LONG_BYTES: usize = FRAME_LONG_BYTES as usize;
/// What a fresh buffer holds.
const FRESH_BYTES: usize = FRAME_BYTES as usize;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Puts a frame into as many buffers as it needs, of `most` bytes each.
fn put<const N: usize>(pool: &mut Pool, burst: &mut Burst<N>, frame: &[u8], most: usize) {
    let mut parts = frame.chunks(most).peekable();
    while let Some(part) = parts.next() {
        let mut buf = pool.take().expect("a buffer");
        assert!(buf.set_len(u16::try_from(part.len()).expect("short")));
        buf.frame_mut().copy_from_slice(part);
        buf.set_continues(parts.peek().is_some());
        burst.push(buf).expect("room");
    }
}

/// A frame of UDP or TCP with `data` bytes, its checksum right; and where that goes.
fn packet(is_ipv6: bool, protocol: u8, data: usize) -> (Vec<u8>, Checksum) {
    let start = if is_ipv6 { 54 } else { 34 };
    let (header, offset) = if protocol == TCP { (20, 16) } else { (8, 6) };
    let mut bytes = frame(data, start + header + data);
    let len = u16::try_from(header + data).expect("short");
    if is_ipv6 {
        bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        bytes[18..20].copy_from_slice(&len.to_be_bytes());
        bytes[20] = protocol;
    } else {
        bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        bytes[16..18].copy_from_slice(&(len + 20).to_be_bytes());
        bytes[23] = protocol;
        bytes[24..26].fill(0);
        let checksum = !sum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    let place = start + offset;
    let pseudo = pseudo(&bytes, is_ipv6, protocol, len);
    bytes[place..place + 2].copy_from_slice(&pseudo.to_be_bytes());
    let checksum = match !sum(&bytes[start..]) {
        0 => 0xffff,
        checksum => checksum,
    };
    bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
    let [start, offset] = [start, offset].map(|number| u16::try_from(number).expect("short"));
    (bytes, Checksum { start, offset })
}

/// The sum of the pseudo header.
fn pseudo(bytes: &[u8], is_ipv6: bool, protocol: u8, len: u16) -> u16 {
    let addresses = if is_ipv6 { 22..54 } else { 26..34 };
    sum(&[&bytes[addresses], &[0, protocol], &len.to_be_bytes()].concat())
}

/// The same frame as a program hands it over: the sum of the pseudo header where the checksum goes.
fn unfinished(bytes: &[u8], is_ipv6: bool, protocol: u8, checksum: Checksum) -> Vec<u8> {
    let (start, place) = (usize::from(checksum.start), usize::from(checksum.start + checksum.offset));
    let mut bytes = bytes.to_vec();
    let len = u16::try_from(bytes.len() - start).expect("short");
    let pseudo = pseudo(&bytes, is_ipv6, protocol, len);
    bytes[place..place + 2].copy_from_slice(&pseudo.to_be_bytes());
    bytes
}

fn asked(checksum: Checksum) -> TxOffload {
    TxOffload { checksum: Some(checksum), segments: None }
}

/// A frame to the wire, and what came out there.
fn send<C: Chip>(rig: &mut Rig<C>, bytes: &[u8], most: usize, offload: TxOffload) -> Option<Vec<u8>> {
    let mut burst = Burst::<32>::new();
    put(&mut rig.pool, &mut burst, bytes, most);
    assert_eq!(rig.tx.transmit_with(&mut rig.pool, &mut burst, |_| offload), Ok(1));
    rig.device.model().next_sent()
}

fn long_frames_come_back_whole<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &LONG);
    let step = if cfg!(miri) { 1501 } else { 3 };
    let edges = [2047, 2048, 2049, 4095, 4096, 4097, 8192, 9014, LONG_BYTES];
    for len in (60..LONG_BYTES).step_by(step).chain(edges) {
        let sent = frame(len, len);
        assert!(rig.device.model().deliver(&sent), "{len}");
        assert_eq!(rig.forward(), Ok(1), "{len}");
        let came = rig.device.model().next_sent();
        assert_eq!(came.as_deref(), Some(&inverted(&sent)[..]), "{len}");
    }
    assert_eq!((rig.window.faults(), rig.device.model().bad_descriptors()), (0, 0));
    assert_eq!(rig.lost(), 0);
}

fn a_long_frame_may_arrive_in_two_bursts<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &LONG);
    let arriving = [frame(1, 9000), frame(2, 100), frame(3, 2048)];
    arriving.iter().for_each(|frame| assert!(rig.device.model().deliver(frame)));
    let mut frames = vec![Vec::new()];
    for _ in 0..4 {
        let mut burst = Burst::<2>::new();
        let count = rig.rx.receive(&mut rig.pool, &mut burst).expect("honest");
        assert_eq!(count, burst.len());
        while let Some(buf) = burst.pop() {
            frames.last_mut().expect("never empty").extend_from_slice(buf.frame());
            if !buf.continues() {
                frames.push(Vec::new());
            }
            rig.pool.put(buf);
        }
    }
    assert_eq!(frames.split_last().map(|(_, frames)| frames), Some(&arriving[..]));
    assert_eq!(rig.lost(), 0);
}

fn long_frames_need_as_many_descriptors_as_buffers<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &Options { entries: 8, ..LONG });
    assert!(rig.device.model().deliver(&frame(1, LONG_BYTES)), "five of seven");
    assert!(!rig.device.model().deliver(&frame(2, LONG_BYTES)));
    assert!(rig.device.model().deliver(&frame(3, 4096)), "the other two");
    assert_eq!(rig.forward(), Ok(2));
    assert_eq!(rig.device.model().next_sent(), Some(inverted(&frame(1, LONG_BYTES))));
    assert_eq!(rig.device.model().next_sent(), Some(inverted(&frame(3, 4096))));
    for number in 0..100 {
        assert!(rig.device.model().deliver(&frame(number, LONG_BYTES)));
        assert_eq!(rig.forward(), Ok(1));
        assert_eq!(rig.device.model().next_sent(), Some(inverted(&frame(number, LONG_BYTES))));
    }
    assert_eq!(rig.lost(), 0);
}

/// The 82576 has a register for the limit. The 82574 takes up to 16 KiB, which is no lie.
fn longer_than_asked_for_passes_only_where_nothing_limits_it<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &LONG);
    let passes = rig.device.model().deliver(&frame(1, LONG_BYTES + 1));
    assert_eq!(passes, kind == Kind::I82574);
    let refused = Err(Error::BadFrame { len: FRAME_LONG_BYTES + 1 });
    assert_eq!(rig.forward(), if passes { refused } else { Ok(0) });
    assert!(rig.device.model().deliver(&frame(2, 100)));
    assert_eq!(rig.forward(), Ok(1));
    assert_eq!(rig.lost(), 0);
    let plain = Rig::<C>::started(kind, 64);
    assert!(!plain.device.model().deliver(&frame(1, 1519)), "where long frames were not asked for");
}

fn a_frame_may_be_sent_from_many_buffers<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 64);
    for round in 0..100 {
        for (len, most) in [(60, 14), (64, 20), (224, 14), (1514, 100), (1514, 1513), (1522, 1522)] {
            let sent = frame(round, len);
            assert_eq!(send(&mut rig, &sent, most, TxOffload::NONE), Some(sent), "{len} {most}");
        }
    }
    // Amid others, in order, with one doorbell.
    let before = rig.device.model().kicks()[1];
    let mut burst = Burst::<32>::new();
    let frames: Vec<_> = (0..8).map(|number| frame(number, 64 + number)).collect();
    for (number, frame) in frames.iter().enumerate() {
        put(&mut rig.pool, &mut burst, frame, if number % 3 == 1 { 25 } else { FRESH_BYTES });
    }
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(8));
    let sent: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
    assert_eq!((sent, rig.device.model().kicks()[1] - before), (frames, 1));
    assert_eq!((rig.lost(), rig.device.model().bad_descriptors()), (0, 0));
}

fn what_cannot_be_sent_is_refused_and_comes_back<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &LONG);
    let whole = frame(1, 100);
    // Length, bytes in each buffer; whether the last of them says that there is more.
    for (len, most, is_open) in
        [(LONG_BYTES + 1, FRESH_BYTES, false), (17 * 14, 14, false), (60, 13, false), (200, 100, true)]
    {
        let mut burst = Burst::<32>::new();
        put(&mut rig.pool, &mut burst, &whole, FRESH_BYTES);
        put(&mut rig.pool, &mut burst, &frame(2, len), most);
        if is_open {
            burst.iter_mut().last().expect("some").set_continues(true);
        } else {
            put(&mut rig.pool, &mut burst, &whole, FRESH_BYTES);
        }
        let refused = rig.tx.transmit(&mut rig.pool, &mut burst);
        assert!(matches!(refused, Err(Error::BadFrame { .. })), "{len} {most}: {refused:?}");
        assert_eq!(rig.device.model().next_sent(), Some(whole.clone()), "the one before it was sent");
        let left = usize::from(!is_open);
        assert_eq!(burst.len(), left, "the one after it stays");
        assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(left));
        assert_eq!(rig.device.model().next_sent().is_some(), left == 1);
    }
    // A part of another pool's: that buffer is lost to its pool, and nothing of the frame is sent.
    let mut other = Rig::<C>::started(kind, 8);
    let mut burst = Burst::<32>::new();
    put(&mut rig.pool, &mut burst, &frame(1, 60), FRESH_BYTES);
    burst.iter_mut().for_each(|buf| buf.set_continues(true));
    put(&mut other.pool, &mut burst, &frame(1, 60), FRESH_BYTES);
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Err(Error::BadBuffer));
    assert_eq!((rig.device.model().next_sent(), burst.len()), (None, 0));
    // Too many for the ring, at any time.
    let mut small = Rig::<C>::started(kind, 8);
    let mut burst = Burst::<32>::new();
    put(&mut small.pool, &mut burst, &frame(1, 7 * 20), 20);
    assert!(matches!(small.tx.transmit(&mut small.pool, &mut burst), Err(Error::BadFrame { .. })));
    let sent = frame(2, 6 * 20);
    assert_eq!(send(&mut small, &sent, 20, TxOffload::NONE), Some(sent));
    assert_eq!((rig.lost(), other.lost(), small.lost()), (0, 1, 0));
    assert_eq!(rig.device.model().bad_descriptors() + small.device.model().bad_descriptors(), 0);
}

/// The second word of a receive descriptor, in either format.
fn word(kind: Kind, len: usize, status: u64) -> u64 {
    if kind == Kind::I82574 { len as u64 | status << 32 } else { status | (len as u64) << 32 }
}

fn lies_about_parts_are_found<C: Chip>(kind: Kind) {
    const DONE: u64 = 1;
    const LAST: u64 = 3;
    let told = |options: &Options, words: &[(usize, u64)]| {
        let mut rig = Rig::<C>::started_with(kind, options);
        for (slot, (len, status)) in (0..).zip(words) {
            rig.device.model().forge(slot, word(kind, *len, *status));
        }
        let mut burst = Burst::<32>::new();
        let first = rig.rx.receive(&mut rig.pool, &mut burst);
        if first.is_err() {
            assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), first, "it stays so until the start");
        }
        while let Some(buf) = burst.pop() {
            rig.pool.put(buf);
        }
        rig.start().expect("starts again");
        let arriving = frame(1, if options.long_frames { 5000 } else { 500 });
        assert!(rig.device.model().deliver(&arriving));
        assert_eq!(rig.forward(), Ok(1), "works again");
        assert_eq!(rig.device.model().next_sent(), Some(inverted(&arriving)));
        assert_eq!(rig.lost(), 0);
        first
    };
    let length = |len| Err(Violation::Length { len }.into());
    for len in [0, 1, 2047, 2049, 65535] {
        assert_eq!(told(&LONG, &[(usize::from(len), DONE)]), length(len), "a part that fills no buffer");
        assert_eq!(told(&LONG, &[(2048, DONE), (usize::from(len), DONE)]), length(len));
    }
    assert_eq!(told(&LONG, &[(2049, LAST)]), length(2049));
    assert_eq!(told(&LONG, &[(13, LAST)]), length(13));
    assert_eq!(told(&LONG, &[(2048, DONE), (1, LAST), (13, LAST)]), length(13), "of a new frame");
    assert_eq!(told(&LONG, &[(2048, DONE); 9]), length(2048), "a frame without end");
    assert_eq!(told(&LONG, &[(2048, DONE), (2048, LAST), (64, LAST)]), Ok(3), "forged, but possible");
    for options in [CHECKED, Options { rx_checksum: false, ..CHECKED }] {
        let part = told(&options, &[(2048, DONE)]);
        assert!(matches!(part, Err(Error::Violation(_))), "{part:?}");
        assert_eq!(told(&options, &[(1523, LAST)]), length(1523));
        assert_eq!(told(&options, &[(1522, LAST)]), Ok(1));
    }
    let bad = if kind == Kind::I82574 { 0x8003 } else { 0x8000_0003 };
    let status = Err(Violation::Status { word: word(kind, 64, bad) }.into());
    assert_eq!((told(&LONG, &[(64, bad)]), told(&CHECKED, &[(64, bad)])), (status, status));
}

fn good_checksums_are_marked<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &Options { long_frames: true, ..CHECKED });
    let mut marks = |bytes: &[u8]| {
        assert!(rig.device.model().deliver(bytes));
        let mut burst = Burst::<32>::new();
        rig.rx.receive(&mut rig.pool, &mut burst).expect("honest");
        let mut marks = Vec::new();
        while let Some(buf) = burst.pop() {
            marks.push(buf.is_checksum_good());
            rig.pool.put(buf);
        }
        marks
    };
    for (is_ipv6, protocol) in [(false, UDP), (false, TCP), (true, UDP), (true, TCP)] {
        for data in [0, 1, 100, 1400, 8900] {
            let (bytes, _) = packet(is_ipv6, protocol, data);
            let came = marks(&bytes);
            let (last, rest) = came.split_last().expect("it came");
            assert!(*last && rest.iter().all(|mark| !mark), "{is_ipv6} {protocol} {data}: {came:?}");
            let mut wrong = bytes;
            *wrong.last_mut().expect("long") ^= 1;
            assert!(marks(&wrong).iter().all(|mark| !mark), "wrong");
        }
    }
    let (mut wrong, _) = packet(false, UDP, 100);
    // Time to live: the checksum behind the IP header is right, its own is not.
    wrong[22] ^= 1;
    assert_eq!((marks(&wrong), marks(&frame(1, 100))), (vec![false], vec![false]));
}

fn checksums_are_not_looked_at_unless_asked_for<C: Chip>(kind: Kind) {
    for options in [LONG, Options::default()] {
        let mut rig = Rig::<C>::started_with(kind, &options);
        assert!(rig.device.model().deliver(&packet(false, UDP, 100).0));
        let mut burst = Burst::<2>::new();
        assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(1));
        let buf = burst.pop().expect("received");
        assert!(!buf.is_checksum_good());
        rig.pool.put(buf);
    }
}

fn checksums_are_filled_in<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started_with(kind, &LONG);
    let step = if cfg!(miri) { 4000 } else { 37 };
    for (is_ipv6, protocol) in [(false, UDP), (false, TCP), (true, UDP), (true, TCP)] {
        for data in (0..8900).step_by(step) {
            let (bytes, checksum) = packet(is_ipv6, protocol, data);
            let handed = unfinished(&bytes, is_ipv6, protocol, checksum);
            let sent = send(&mut rig, &handed, FRESH_BYTES, asked(checksum)).expect("sent");
            assert_eq!(sent.get(..bytes.len()), Some(&bytes[..]), "{is_ipv6} {protocol} {data}");
        }
    }
    assert_eq!((rig.lost(), rig.device.model().bad_descriptors()), (0, 0));
}

/// One descriptor more for the first frame of a kind, none for those that follow, whatever is between them.
fn the_device_is_told_of_a_checksum_once<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 16);
    let [udp, tcp] = [UDP, TCP].map(|protocol| {
        let (bytes, checksum) = packet(false, protocol, 100);
        (unfinished(&bytes, false, protocol, checksum), checksum, bytes)
    });
    let plain = frame(1, 90);
    let offload = |buf: &Buf| {
        let of = |(bytes, checksum, _): &(Vec<u8>, Checksum, Vec<u8>)| {
            (buf.frame() == &bytes[..]).then_some(asked(*checksum))
        };
        of(&udp).or_else(|| of(&tcp)).unwrap_or(TxOffload::NONE)
    };
    for (round, (order, contexts)) in
        [("uupu", 1), ("upuu", 0), ("ttt", 1), ("utut", 4), ("pppp", 0), ("t", 0)]
            .into_iter()
            .cycle()
            .take(200)
            .enumerate()
    {
        let contexts = if round % 6 == 0 && round > 0 { 1 } else { contexts };
        let before = rig.device.model().contexts_read();
        let (mut burst, mut expected) = (Burst::<8>::new(), Vec::new());
        for letter in order.chars() {
            let (handed, whole) = match letter {
                'u' => (&udp.0, &udp.2),
                't' => (&tcp.0, &tcp.2),
                _ => (&plain, &plain),
            };
            put(&mut rig.pool, &mut burst, handed, FRESH_BYTES);
            expected.push(whole.clone());
        }
        while !burst.is_empty() {
            rig.tx.transmit_with(&mut rig.pool, &mut burst, offload).expect("honest");
        }
        let sent: Vec<_> = std::iter::from_fn(|| rig.device.model().next_sent()).collect();
        assert_eq!((sent, rig.device.model().contexts_read() - before), (expected, contexts), "{order}");
    }
    // A reset forgets it.
    rig.start().expect("starts");
    assert_eq!(send(&mut rig, &tcp.0, FRESH_BYTES, asked(tcp.1)), Some(tcp.2.clone()));
    assert_eq!((rig.lost(), rig.device.model().bad_descriptors()), (0, 0));
}

fn impossible_checksums_are_refused<C: Chip>(kind: Kind) {
    let mut rig = Rig::<C>::started(kind, 64);
    let (bytes, checksum) = packet(false, TCP, 0);
    let segments = Some(Segments { header_bytes: 54, data_bytes: 1000, is_ipv6: false });
    let outside = asked(Checksum { start: 40, offset: 16 });
    let too_far = asked(Checksum { start: 600, offset: 16 });
    let overflow = asked(Checksum { start: u16::MAX, offset: u16::MAX });
    for offload in [outside, too_far, overflow, TxOffload { segments, ..asked(checksum) }] {
        let mut burst = Burst::<4>::new();
        put(&mut rig.pool, &mut burst, &bytes, FRESH_BYTES);
        put(&mut rig.pool, &mut burst, &bytes, FRESH_BYTES);
        assert_eq!(rig.tx.transmit_with(&mut rig.pool, &mut burst, |_| offload), Err(Error::BadOffload));
        assert_eq!((burst.len(), rig.device.model().next_sent()), (1, None));
        assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(1));
        assert_eq!(rig.device.model().next_sent().map(|mut sent| sent.split_off(54).len()), Some(6));
    }
    assert_eq!((rig.lost(), rig.device.model().bad_descriptors()), (0, 0));
}

fn abilities_are_those_asked_for<C: Chip>(kind: Kind) {
    let offloads = |options: &Options| {
        let behaviour = Behaviour { kind, works_on_kick: true };
        Rig::<C>::open(behaviour, options).expect("opens").net.offloads()
    };
    let always = Offloads { tx_checksum: true, ..Offloads::default() };
    assert_eq!(offloads(&Options::default()), always);
    assert_eq!(offloads(&LONG), Offloads { several_buffers: true, ..always });
    assert_eq!(offloads(&CHECKED), Offloads { rx_checksum: true, ..always });
}
