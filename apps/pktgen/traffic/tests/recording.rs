//! Files that another program wrote, in their own time; and files that are damaged.

use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;
use weir_forward::pcap::Error;
use weir_traffic::recording::{Recording, Taken};

const ORDERS: [Endianness; 2] = [Endianness::Little, Endianness::Big];
const UNITS: [TsResolution; 2] = [TsResolution::MicroSecond, TsResolution::NanoSecond];
/// The third goes back in time.
const TIMES_US: [u64; 5] = [5_000_000, 5_000_100, 4_000_000, 5_000_200, 7_000_000];

fn file(endianness: Endianness, ts_resolution: TsResolution, times_us: &[u64]) -> Vec<u8> {
    let header =
        PcapHeader { endianness, ts_resolution, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("a header");
    for (number, us) in times_us.iter().enumerate() {
        let frame = vec![u8::try_from(number).expect("few"); 60 + number];
        let bytes = u32::try_from(frame.len()).expect("short");
        writer.write_packet(&PcapPacket::new(Duration::from_micros(*us), bytes, &frame)).expect("a packet");
    }
    writer.into_writer()
}

#[test]
fn frames_come_in_their_own_time_and_then_again() {
    for (order, unit) in ORDERS.into_iter().flat_map(|order| UNITS.map(|unit| (order, unit))) {
        let file = file(order, unit, &TIMES_US);
        let mut recording = Recording::new(&file).expect("a good file");
        assert_eq!((recording.frames(), recording.length_ns()), (5, 2_000_000_000), "{order:?} {unit:?}");
        for _ in 0..3 {
            for (number, due_ns) in [0, 100_000, 100_000, 200_000, 2_000_000_000].into_iter().enumerate() {
                let frame = vec![u8::try_from(number).unwrap(); 60 + number];
                assert_eq!(recording.take(), Some(Taken { due_ns, frame: &frame }), "{order:?} {unit:?}");
            }
            assert_eq!(recording.take(), None);
        }
    }
}

#[test]
fn wrong_files_are_refused_by_name() {
    let good = file(Endianness::Little, TsResolution::NanoSecond, &[1]);
    let refused = |file: &[u8]| Recording::new(file).map(drop).unwrap_err();
    assert_eq!(refused(b""), Error::CutShort { offset: 0 });
    assert_eq!(refused(&good[..good.len() - 1]), Error::CutShort { offset: 24 });
    assert_eq!(refused(&good[..24]), Error::NoFrames);
    let mut huge = good.clone();
    huge[32..40].fill(0xff);
    assert_eq!(refused(&huge), Error::RecordLength { offset: 24, bytes: u32::MAX });
    assert!(matches!(refused(&[0; 100]), Error::NotPcap { magic: 0 }));
}

proptest! {
    #[test]
    fn damage_does_no_harm(at in 0_usize..500, bytes: [u8; 4], len in 0_usize..600, is_big: bool) {
        let mut file = file(ORDERS[usize::from(is_big)], TsResolution::MicroSecond, &TIMES_US);
        for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
        file.truncate(len);
        if let Ok(mut recording) = Recording::new(&file) {
            let mut last_ns = 0;
            for _ in 0..recording.frames() {
                let taken = recording.take();
                prop_assert!(taken.is_some());
                let Some(taken) = taken else { unreachable!() };
                prop_assert!(taken.due_ns >= last_ns && taken.due_ns <= recording.length_ns());
                prop_assert!((14..=1522).contains(&taken.frame.len()));
                last_ns = taken.due_ns;
            }
            prop_assert!(recording.take().is_none());
        }
    }
}
