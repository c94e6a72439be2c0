//! pcap files: written by another program and read here, the other way round, and damaged.

mod rig;

use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;
use rig::{ENDS, ENTRIES, Rig};
use weir_forward::pcap::{self, Error, Reader, Record, Replay};
use weir_forward::{Capture, Mode, Settings, Stream};

const ORDERS: [Endianness; 2] = [Endianness::Little, Endianness::Big];
const UNITS: [TsResolution; 2] = [TsResolution::MicroSecond, TsResolution::NanoSecond];

fn frames() -> Vec<Vec<u8>> {
    (0..70_usize).map(|number| vec![number.to_le_bytes()[0]; 14 + number * 21]).collect()
}

/// Microseconds, so that both units can say it.
fn time(number: usize) -> Duration {
    Duration::new(1_700_000_000 + number as u64, 123_456_000)
}

/// A file as `pcap-file` writes it.
fn file(endianness: Endianness, ts_resolution: TsResolution, frames: &[Vec<u8>]) -> Vec<u8> {
    let header =
        PcapHeader { endianness, ts_resolution, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("a header");
    for (number, frame) in frames.iter().enumerate() {
        let bytes = u32::try_from(frame.len()).expect("short");
        let packet = PcapPacket::new(time(number), bytes, frame);
        writer.write_packet(&packet).expect("a packet");
    }
    writer.into_writer()
}

#[test]
fn both_orders_and_both_units_are_read() {
    for (order, unit) in ORDERS.into_iter().flat_map(|order| UNITS.map(|unit| (order, unit))) {
        let file = file(order, unit, &frames());
        let records: Vec<Record<'_>> =
            Reader::new(&file).expect("a pcap file").collect::<Result<_, _>>().expect("good records");
        assert_eq!(records.len(), frames().len());
        for (number, (record, frame)) in records.iter().zip(frames()).enumerate() {
            assert_eq!(record.frame, frame);
            assert_eq!(u128::from(record.time_ns), time(number).as_nanos(), "{order:?} {unit:?}");
            assert_eq!(record.original_bytes as usize, frame.len());
        }
    }
}

/// A pcap file in memory.
struct File(Vec<u8>);

impl Capture for File {
    fn take(&mut self, frame: &[u8]) {
        let time_ns = 5_000_000_123 + 1_000_000_000 * self.0.len() as u64;
        self.0.extend(pcap::record_header(time_ns, frame));
        self.0.extend(frame);
    }
}

#[test]
fn what_is_captured_another_program_reads() {
    let mut rig = Rig::with_ports(1);
    let mut stream = Stream::new(&Settings::of(Mode::Macswap), ENDS, File(pcap::file_header().to_vec()));
    // Also what is dropped as no frame, and each as it was before its addresses were swapped.
    let frames = [vec![1; 3], (0..64).collect(), vec![2; 1514], vec![3; 1900]];
    frames.iter().for_each(|frame| rig.ports[0].deliver(frame));
    rig.pass(&mut stream).expect("an honest device");
    let file = stream.capture().0.clone();
    let mut reader = PcapReader::new(&file[..]).expect("a pcap file");
    assert_eq!(reader.header().datalink, DataLink::ETHERNET);
    let mut bytes = pcap::FILE_HEADER_BYTES as u64;
    for frame in frames {
        let packet = reader.next_packet().expect("another").expect("good");
        assert_eq!((packet.data.as_ref(), packet.orig_len as usize), (&frame[..], frame.len()));
        assert_eq!(packet.timestamp, Duration::new(5 + bytes, 123));
        bytes += (pcap::RECORD_HEADER_BYTES + frame.len()) as u64;
    }
    assert!(reader.next_packet().is_none());
}

#[test]
fn a_file_is_replayed_over_and_over() {
    let file = file(Endianness::Big, TsResolution::MicroSecond, &frames());
    let mut rig = Rig::with_ports(1);
    let settings = Settings { frames: 500, ..Settings::of(Mode::TxOnly) };
    let replay = Replay::new(&file).expect("a good file");
    assert_eq!(replay.frames(), 70);
    let mut stream = Stream::new(&settings, ENDS, ());
    stream.replay(replay);
    let (mut sent, mut round) = (Vec::new(), 0);
    while !stream.is_done() {
        rig.pass(&mut stream).expect("an honest device");
        // The device gets on with it every third time: the ring is full in between.
        round += 1;
        if round % 3 == 0 {
            sent.extend(rig.ports[0].sent());
        }
    }
    sent.extend(rig.ports[0].sent());
    let expected: Vec<Vec<u8>> = frames().into_iter().cycle().take(500).collect();
    assert!(sent == expected);
    assert!(
        stream.sent().dropped > 0 && stream.sent().bursts.of(0) > 0,
        "a ring of {ENTRIES} was never full"
    );
}

#[test]
fn every_wrong_file_is_refused_by_name() {
    let one = [vec![7; 64]];
    let good = file(Endianness::Little, TsResolution::NanoSecond, &one);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Replay::new(&file).map(drop).unwrap_err()
    };
    assert!(Replay::new(&good).is_ok());
    assert_eq!(with(0, &[0x0a, 0x0d, 0x0d, 0x0a]), Error::NotPcap { magic: 0x0a0d_0d0a });
    assert_eq!(with(4, &[2, 0, 3, 0]), Error::Version { major: 2, minor: 3 });
    assert_eq!(with(20, &[113, 0, 0, 0]), Error::LinkType { number: 113 });
    assert_eq!(with(28, &1_000_000_000_u32.to_le_bytes()), Error::RecordTime { offset: 24 });
    assert_eq!(with(32, &[65, 0, 0, 0]), Error::RecordLength { offset: 24, bytes: 65 });
    assert_eq!(with(32, &[0xff; 8]), Error::RecordLength { offset: 24, bytes: u32::MAX });
    assert_eq!(with(32, &[65, 0, 0, 0, 65, 0, 0, 0]), Error::CutShort { offset: 24 });
    let replay = |frames: &[Vec<u8>]| {
        Replay::new(&file(Endianness::Big, TsResolution::MicroSecond, frames)).map(drop).unwrap_err()
    };
    assert_eq!(replay(&[]), Error::NoFrames);
    assert_eq!(replay(&[vec![7; 64], vec![7; 13]]), Error::FrameLength { number: 2, bytes: 13 });
    assert_eq!(replay(&[vec![7; 1523]]), Error::FrameLength { number: 1, bytes: 1523 });
    for len in 0..good.len() {
        let expected = match len {
            0..24 => Error::CutShort { offset: 0 },
            24 => Error::NoFrames,
            _ => Error::CutShort { offset: 24 },
        };
        assert_eq!(Replay::new(&good[..len]).map(drop).unwrap_err(), expected, "{len} bytes");
    }
}

proptest! {
    #[test]
    fn damage_is_refused_or_read_and_never_panics(at in 0_usize..600, byte: u8, len in 0_usize..700, is_big: bool) {
        let order = ORDERS[usize::from(is_big)];
        let mut file = file(order, TsResolution::MicroSecond, &frames()[..6]);
        let place = at % file.len();
        file[place] = byte;
        file.truncate(len.max(1));
        if let Ok(reader) = Reader::new(&file) {
            prop_assert!(reader.clone().count() <= 40);
        }
        if let Ok(mut replay) = Replay::new(&file) {
            for _ in 0..2 * replay.frames() {
                prop_assert!(replay.next_frame().len() >= 14);
            }
        }
    }
}
