//! Every mode, against a model that knows frames by their offsets only, through a simulated device.

mod rig;

use proptest::prelude::*;
use rig::{BURST, ENDS, OWN, PEER, Port, Rig};
use weir_forward::{Mode, Settings, Stream, five_tuple};

/// What becomes of a frame in a mode that forwards, and whether its headers are good; `None`: it is dropped.
fn model(mode: Mode, frame: &[u8]) -> Option<(Vec<u8>, bool)> {
    if frame.len() < 14 {
        return None;
    }
    let mut out = frame.to_vec();
    let mut is_good = true;
    match mode {
        Mode::Io => {}
        Mode::Mac => {
            out[..6].copy_from_slice(&PEER.0);
            out[6..12].copy_from_slice(&OWN.0);
        }
        Mode::Macswap => swap(&mut out, 0, 6),
        Mode::FiveTupleSwap => is_good = turn_round(&mut out),
        _ => panic!("{mode} does not forward"),
    }
    Some((out, is_good))
}

/// Swaps `bytes` bytes at `at` with those behind them.
fn swap(frame: &mut [u8], at: usize, bytes: usize) {
    frame[at..at + 2 * bytes].rotate_left(bytes);
}

fn turn_round(frame: &mut [u8]) -> bool {
    let len = frame.len();
    swap(frame, 0, 6);
    let mut kind = 12;
    while matches!(frame[kind..kind + 2], [0x81, 0] | [0x88, 0xa8]) {
        kind += 4;
        if kind + 2 > len {
            return false;
        }
    }
    let ip = kind + 2;
    let (addresses, bytes, ports, protocol, has_ports) = match frame[kind..ip] {
        [8, 0] => {
            let words = frame.get(ip).map_or(0, |byte| usize::from(byte & 15));
            if len < ip + 20 || frame[ip] >> 4 != 4 || words < 5 || len < ip + 4 * words {
                return false;
            }
            let is_first = frame[ip + 6] & 0x1f == 0 && frame[ip + 7] == 0;
            (ip + 12, 4, ip + 4 * words, frame[ip + 9], is_first)
        }
        [0x86, 0xdd] => {
            if len < ip + 40 || frame[ip] >> 4 != 6 {
                return false;
            }
            (ip + 8, 16, ip + 40, frame[ip + 6], true)
        }
        _ => return true,
    };
    swap(frame, addresses, bytes);
    if !has_ports || !matches!(protocol, 6 | 17) {
        return true;
    }
    if len < ports + 4 {
        return false;
    }
    swap(frame, ports, 2);
    true
}

/// Frames whose headers are mostly right, cut short anywhere, and frames of noise.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        4 => Just([8, 0]),
        4 => Just([0x86, 0xdd]),
        1 => Just([0x81, 0]),
        1 => any::<[u8; 2]>()
    ];
    let tags =
        prop::collection::vec((prop_oneof![Just([0x81, 0]), Just([0x88, 0xa8])], any::<[u8; 2]>()), 0..3);
    let protocol = prop_oneof![Just(6), Just(17), Just(1), any::<u8>()];
    let version = prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let noise = prop::collection::vec(any::<u8>(), 120);
    (kind, tags, protocol, version, 5_u8..=15, any::<bool>(), noise, 0_usize..=120).prop_map(
        |(kind, tags, protocol, version, words, is_fragment, noise, len)| {
            let mut frame = noise[..12].to_vec();
            for (tag, control) in tags {
                frame.extend([tag, control].concat());
            }
            frame.extend(kind);
            let ip = frame.len();
            frame.extend(&noise[12..]);
            frame[ip] = version.unwrap_or(if kind == [8, 0] { 0x40 | words } else { 0x60 });
            frame[ip + if kind == [8, 0] { 9 } else { 6 }] = protocol;
            if kind == [8, 0] && !is_fragment {
                frame[ip + 6..ip + 8].copy_from_slice(&[0x40, 0]);
            }
            frame.truncate(len);
            frame
        },
    )
}

/// Also frames of any length that noise fills.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => frame(),
        1 => prop::collection::vec(any::<u8>(), 0..=usize::from(weir_pool::FRAME_BYTES))
    ]
}

fn forwarding_mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(&Mode::ALL[..4])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn forwards_what_the_model_says(mode in forwarding_mode(), frames in prop::collection::vec(any_frame(), 1..50)) {
        let mut rig = Rig::with_ports(1);
        let mut stream = Stream::new(&Settings::of(mode), ENDS, ());
        let (mut expected, mut malformed, mut dropped) = (Vec::new(), 0, 0);
        for frame in &frames {
            rig.ports[0].deliver(frame);
            match model(mode, frame) {
                Some((out, is_good)) => {
                    expected.push(out);
                    malformed += u64::from(!is_good);
                }
                None => dropped += 1,
            }
        }
        let mut came = Vec::new();
        for _ in 0..frames.len().div_ceil(BURST) {
            rig.pass(&mut stream).expect("an honest device");
            came.extend(rig.ports[0].sent());
        }
        let bytes: usize = expected.iter().map(Vec::len).sum();
        let (received, sent) = (stream.received(), stream.sent());
        prop_assert_eq!(
            (received.packets, received.bytes, received.dropped, received.malformed),
            (expected.len() as u64, bytes as u64, dropped, malformed)
        );
        prop_assert_eq!((sent.packets, sent.bytes, sent.dropped), (expected.len() as u64, bytes as u64, 0));
        prop_assert_eq!(came, expected);
    }

    #[test]
    fn a_packet_turned_round_twice_is_as_it_was(frame in frame()) {
        let mut twice = frame.clone();
        let is_good = five_tuple::swap(&mut twice);
        prop_assert_eq!(five_tuple::swap(&mut twice), is_good);
        prop_assert_eq!(twice, frame);
    }
}

#[test]
fn receiving_only_sends_nothing() {
    let mut rig = Rig::with_ports(1);
    let mut stream = Stream::new(&Settings { frames: 3, ..Settings::of(Mode::RxOnly) }, ENDS, ());
    for len in [60, 5, 1514, 13, 64] {
        assert!(!stream.is_done());
        rig.ports[0].deliver(&vec![7; len]);
    }
    rig.pass(&mut stream).expect("an honest device");
    assert!(stream.is_done());
    let received = stream.received();
    assert_eq!((received.packets, received.bytes, received.dropped), (3, 60 + 1514 + 64, 2));
    assert_eq!(stream.sent().packets, 0);
    assert!(rig.ports[0].sent().is_empty());
}

#[test]
fn of_two_ports_each_sends_what_the_other_received() {
    let mut rig = Rig::with_ports(2);
    let settings = Settings::of(Mode::Mac);
    let mut streams = [(); 2].map(|()| Stream::new(&settings, ENDS, ()));
    for number in 0..100_u8 {
        let (from, to) = (usize::from(number % 2), usize::from(1 - number % 2));
        rig.ports[from].deliver(&[number; 64]);
        let [left, right] = &mut rig.ports[..] else { panic!("two ports") };
        let (receiver, sender) = if from == 0 { (left, right) } else { (right, left) };
        let passed = streams[from].pass::<_, _, BURST>(&mut receiver.rx, &mut sender.tx, &mut rig.pool);
        assert_eq!(passed.map(|passed| (passed.received, passed.sent)), Ok((1, 1)));
        assert!(rig.ports[from].sent().is_empty());
        let sent = rig.ports[to].sent();
        assert_eq!(sent, [model(Mode::Mac, &[number; 64]).expect("a frame").0]);
    }
}

#[test]
fn what_the_ring_has_no_room_for_is_dropped_and_counted() {
    let mut rig = Rig::with_ports(1);
    let mut stream = Stream::new(&Settings::of(Mode::Io), ENDS, ());
    // The device takes nothing: after so many frames the transmit ring is full.
    for number in 0..100 {
        rig.ports[0].deliver(&[number; 64]);
        rig.pass(&mut stream).expect("an honest device");
    }
    let sent = stream.sent();
    assert_eq!((sent.packets, sent.bytes, sent.dropped), (64, 64 * 64, 36));
    assert_eq!((stream.received().packets, rig.ports[0].sent().len()), (100, 64));
}

#[test]
fn a_device_that_lies_costs_no_buffer() {
    let mut rig = Rig::with_ports(1);
    let mut stream = Stream::new(&Settings::of(Mode::Macswap), ENDS, ());
    rig.ports[0].deliver(&[1; 64]);
    let Port { device, .. } = &rig.ports[0];
    device.model().forge_used(1, 5000, 76, 2);
    assert!(rig.pass(&mut stream).is_err());
    assert_eq!(rig.lost(), 0);
    assert_eq!(stream.received().packets + stream.received().dropped, 1);
}
