//! Checksums, segmentation and frames in several buffers, byte for byte.

mod rig;

use rig::{Rig, frame};
use weir_nic::{Checksum, Segments, TxOffload};
use weir_pool::{Buf, Burst, Pool};
use weir_sim::virtio_net::{Behaviour, Header, feature, sum};
use weir_virtio::net::Options;
use weir_virtio::{Error, Features, Violation};

/// Split and packed.
const RINGS: [u64; 2] = [0, feature::RING_PACKED];
const MAC_BYTES: usize = 14;
/// Longest frame of Ethernet with a payload of 9,000 bytes.
const JUMBO_BYTES: usize = 9000 + MAC_BYTES;

fn rig(ring: u64) -> Rig {
    let features = Behaviour::default().features | feature::OFFLOADS | ring;
    let behaviour = Behaviour { features, entries: 64, ..Behaviour::default() };
    Rig::started(behaviour, &Options { features: Features::all(), ..Options::default() })
}

/// Puts a frame into as many buffers as it needs, of `most` bytes each.
fn put(pool: &mut Pool, burst: &mut Burst<64>, frame: &[u8], most: usize) {
    let mut parts = frame.chunks(most).peekable();
    while let Some(part) = parts.next() {
        let mut buf = pool.take().expect("a buffer");
        assert!(buf.set_len(u16::try_from(part.len()).expect("short")));
        buf.frame_mut().copy_from_slice(part);
        buf.set_continues(parts.peek().is_some());
        burst.push(buf).expect("room");
    }
}

/// The frames of a burst, whose buffers go back.
fn frames(pool: &mut Pool, burst: &mut Burst<64>) -> Vec<Vec<u8>> {
    let (mut frames, mut frame) = (Vec::new(), Vec::new());
    while let Some(buf) = burst.pop() {
        frame.extend_from_slice(buf.frame());
        if !buf.continues() {
            frames.push(std::mem::take(&mut frame));
        }
        pool.put(buf);
    }
    assert!(frame.is_empty(), "the last frame has no end");
    frames
}

fn sent(rig: &Rig) -> Vec<Vec<u8>> {
    rig.device.model().transmit();
    std::iter::from_fn(|| rig.device.model().next_sent()).collect()
}

/// TCP with `data` bytes over IPv4 or IPv6; where the checksum goes, the sum of the pseudo header.
fn tcp(is_ipv6: bool, data: usize) -> (Vec<u8>, TxOffload) {
    let ip_bytes = if is_ipv6 { 40 } else { 20 };
    let start = MAC_BYTES + ip_bytes;
    let mut bytes = frame(3, start + 20 + data);
    let length = u16::try_from(20 + data).expect("short");
    if is_ipv6 {
        bytes[18..20].copy_from_slice(&length.to_be_bytes());
    } else {
        bytes[14] = 0x45;
        bytes[16..18].copy_from_slice(&(length + 20).to_be_bytes());
    }
    bytes[start + 12] = 0x50;
    bytes[start + 13] = 0x19;
    let addresses = if is_ipv6 { 22..54 } else { 26..34 };
    let pseudo = [&bytes[addresses], &[0, 6], &length.to_be_bytes()].concat();
    bytes[start + 16..start + 18].copy_from_slice(&sum(&pseudo).to_be_bytes());
    let checksum = Checksum { start: u16::try_from(start).expect("short"), offset: 16 };
    (bytes, TxOffload { checksum: Some(checksum), segments: None })
}

/// Whether the checksum of a frame of [`tcp`] is right.
fn is_right(frame: &[u8], is_ipv6: bool) -> bool {
    let (addresses, start) = if is_ipv6 { (22..54, 54) } else { (26..34, 34) };
    let length = u16::try_from(frame.len() - start).expect("short");
    let whole = [&frame[addresses], &[0, 6], &length.to_be_bytes(), &frame[start..]].concat();
    sum(&whole) == 0xffff
}

#[test]
fn long_frames_come_back_in_several_buffers() {
    for ring in RINGS {
        let mut rig = rig(ring);
        let buffers = rig.pool.available();
        let mut burst = Burst::<64>::new();
        for len in
            (60..JUMBO_BYTES).step_by(if cfg!(miri) { 3001 } else { 7 }).chain([1984, 1985, JUMBO_BYTES])
        {
            let arriving = frame(len, len);
            assert!(rig.device.model().deliver(&arriving), "{len}");
            assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok((len + 12).div_ceil(1996)));
            let came = frames(&mut rig.pool, &mut burst);
            assert_eq!(came, std::slice::from_ref(&arriving), "{len}");
            put(&mut rig.pool, &mut burst, &arriving, 1500);
            assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(1));
            assert_eq!(sent(&rig), [arriving], "{len}");
        }
        rig.tx.reclaim(&mut rig.pool).expect("honest");
        rig.rx.receive(&mut rig.pool, &mut burst).expect("honest");
        assert_eq!((rig.pool.available(), rig.window.faults()), (buffers, 0));
    }
}

#[test]
fn a_long_frame_may_arrive_in_two_bursts() {
    for ring in RINGS {
        let mut rig = rig(ring);
        let arriving = [frame(1, 9000), frame(2, 100)];
        arriving.iter().for_each(|frame| assert!(rig.device.model().deliver(frame)));
        let mut whole = Burst::<64>::new();
        loop {
            let mut burst = Burst::<2>::new();
            if rig.rx.receive(&mut rig.pool, &mut burst) == Ok(0) {
                break;
            }
            while let Some(buf) = burst.pop() {
                whole.push(buf).expect("room");
            }
        }
        assert_eq!(frames(&mut rig.pool, &mut whole), arriving);
    }
}

#[test]
fn more_long_frames_than_tables_wait_for_their_turn() {
    for ring in RINGS {
        let mut rig = rig(ring);
        let mut burst = Burst::<64>::new();
        let frames: Vec<_> = (0..40).map(|number| frame(number, 90 + number)).collect();
        // A short one in between, so that both kinds alternate.
        for (number, frame) in frames.iter().enumerate().take(32) {
            put(&mut rig.pool, &mut burst, frame, if number % 3 == 0 { 1500 } else { 80 });
        }
        assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Ok(32));
        for frame in &frames[32..] {
            put(&mut rig.pool, &mut burst, frame, 80);
        }
        let mut more = rig.tx.transmit(&mut rig.pool, &mut burst);
        assert!(more.is_ok_and(|count| count < 40));
        let mut came = sent(&rig);
        while !burst.is_empty() {
            more = rig.tx.transmit(&mut rig.pool, &mut burst);
            assert!(more.is_ok());
            came.append(&mut sent(&rig));
        }
        assert_eq!(came, frames);
    }
}

#[test]
fn the_device_fills_in_checksums() {
    for (ring, is_ipv6) in RINGS.into_iter().flat_map(|ring| [(ring, false), (ring, true)]) {
        let mut rig = rig(ring);
        let mut burst = Burst::<64>::new();
        for data in (0..1400).step_by(if cfg!(miri) { 333 } else { 1 }) {
            let (bytes, offload) = tcp(is_ipv6, data);
            put(&mut rig.pool, &mut burst, &bytes, 1984);
            assert_eq!(rig.tx.transmit_with(&mut rig.pool, &mut burst, |_| offload), Ok(1));
            let came = sent(&rig);
            assert_eq!(came.len(), 1);
            assert!(!is_right(&bytes, is_ipv6) && is_right(&came[0], is_ipv6), "{data}");
        }
    }
}

#[test]
fn the_device_cuts_segments() {
    for (ring, is_ipv6) in RINGS.into_iter().flat_map(|ring| [(ring, false), (ring, true)]) {
        let mut rig = rig(ring);
        let mut burst = Burst::<64>::new();
        for data in [1, 1459, 1460, 1461, 2920, 20_000, if cfg!(miri) { 9000 } else { 64_000 }] {
            let (bytes, mut offload) = tcp(is_ipv6, data);
            let header_bytes = if is_ipv6 { 74 } else { 54 };
            offload.segments = Some(Segments { header_bytes, data_bytes: 1460, is_ipv6 });
            put(&mut rig.pool, &mut burst, &bytes, 1984);
            assert_eq!(rig.tx.transmit_with(&mut rig.pool, &mut burst, |_| offload), Ok(1));
            let came = sent(&rig);
            assert_eq!(came.len(), data.div_ceil(1460));
            assert!(came.iter().all(|frame| is_right(frame, is_ipv6)), "{data}");
            let headers = usize::from(header_bytes);
            let whole: Vec<u8> = came.iter().flat_map(|frame| &frame[headers..]).copied().collect();
            assert!(whole == bytes[headers..], "{data}");
        }
    }
}

#[test]
fn checksums_of_received_frames_are_told_or_filled_in() {
    for (ring, is_ipv6) in RINGS.into_iter().flat_map(|ring| [(ring, false), (ring, true)]) {
        let mut rig = rig(ring);
        let mut burst = Burst::<64>::new();
        let mut receive = |header: Header, bytes: &[u8]| {
            assert!(rig.device.model().deliver_with(header, bytes));
            assert_eq!(rig.rx.receive(&mut rig.pool, &mut burst), Ok(1));
            let is_good = burst.front().is_some_and(Buf::is_checksum_good);
            (is_good, frames(&mut rig.pool, &mut burst).remove(0))
        };
        for data in (0..1400).step_by(if cfg!(miri) { 333 } else { 1 }) {
            let (bytes, _) = tcp(is_ipv6, data);
            assert_eq!(receive(Header::default(), &bytes), (false, bytes.clone()), "nothing is told");
            assert_eq!(receive(Header { flags: 2, ..Header::default() }, &bytes), (true, bytes.clone()));
            let csum_start = if is_ipv6 { 54 } else { 34 };
            let left_out = Header { flags: 1, csum_start, csum_offset: 16, ..Header::default() };
            let (is_good, came) = receive(left_out, &bytes);
            assert!(is_good && is_right(&came, is_ipv6), "{data}");
        }
    }
}

#[test]
fn a_checksum_or_a_count_of_buffers_that_cannot_be_is_refused() {
    for ring in RINGS {
        for (csum_start, csum_offset) in [(0, 63), (60, 3), (62, 1), (65, 0), (u16::MAX, u16::MAX)] {
            let mut rig = rig(ring);
            let header = Header { flags: 1, csum_start, csum_offset, ..Header::default() };
            assert!(rig.device.model().deliver_with(header, &frame(1, 64)));
            let violation = Violation::Checksum { start: csum_start, offset: csum_offset };
            let received = rig.rx.receive(&mut rig.pool, &mut Burst::<4>::new());
            assert_eq!(received, Err(Error::Violation(violation)));
        }
        for count in [0, 65, u16::MAX] {
            let mut rig = rig(ring);
            rig.device.model().set_buffers_told(count);
            assert!(rig.device.model().deliver(&frame(1, 64)));
            let received = rig.rx.receive(&mut rig.pool, &mut Burst::<4>::new());
            assert_eq!(received, Err(Error::Violation(Violation::MergedBuffers { count })));
        }
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let mut rig = rig(0);
    let buffers = rig.pool.available();
    let (bytes, offload) = tcp(false, 100);
    let outside = TxOffload { checksum: Some(Checksum { start: 140, offset: 16 }), segments: None };
    let segments = Some(Segments { header_bytes: 54, data_bytes: 0, is_ipv6: false });
    let no_data = TxOffload { segments, ..offload };
    let no_checksum =
        TxOffload { checksum: None, segments: segments.map(|s| Segments { data_bytes: 9, ..s }) };
    for offload in [outside, no_data, no_checksum] {
        let mut burst = Burst::<64>::new();
        put(&mut rig.pool, &mut burst, &bytes, 80);
        assert_eq!(rig.tx.transmit_with(&mut rig.pool, &mut burst, |_| offload), Err(Error::BadBuffer));
    }
    let mut burst = Burst::<64>::new();
    put(&mut rig.pool, &mut burst, &bytes, 80);
    burst.iter_mut().for_each(|buf| buf.set_continues(true));
    assert_eq!(rig.tx.transmit(&mut rig.pool, &mut burst), Err(Error::BadBuffer), "a frame without an end");
    assert_eq!(rig.pool.available(), buffers);

    let behaviour = Behaviour { entries: 64, ..Behaviour::default() };
    let mut plain = Rig::started(behaviour, &Options::default());
    put(&mut plain.pool, &mut burst, &bytes, 80);
    let sent = plain.tx.transmit(&mut plain.pool, &mut burst);
    assert_eq!(sent, Err(Error::Host(weir_hal::Error::Unsupported)), "no tables agreed on");
    frames(&mut plain.pool, &mut burst);
}

#[test]
fn capabilities_follow_what_is_agreed_on() {
    let rig = rig(0);
    let all = rig.net.offloads();
    assert!(all.rx_checksum && all.tx_checksum && all.tso4 && all.tso6 && all.several_buffers);
    assert_eq!(rig.net.read_mtu(), Ok(Some(9000)));
    let plain = Rig::started(Behaviour::default(), &Options::default());
    assert_eq!((plain.net.offloads(), plain.net.read_mtu()), (weir_nic::Offloads::default(), Ok(None)));
}
