//! The words that say what to do, and the text that says what was done.

use weir_abi::stats::Stats;
use weir_forward::statistics::{self, Bursts, OfAll, OfPort};
use weir_forward::{BadWords, HELP, Mode, Received, Sent, Settings, Topology};
use weir_net::MacAddress;

fn parse(words: &str) -> Result<Settings, BadWords> {
    Settings::parse(words.split_whitespace())
}

#[test]
fn every_mode_and_word_is_known_and_explained() {
    for mode in Mode::ALL {
        assert_eq!(parse(mode.name()).map(|settings| settings.mode), Ok(mode));
        assert!(HELP.contains(&format!("\n  {mode} ")), "{mode} is not explained");
    }
    for word in
        ["frames=", "topology=loop", "topology=paired", "peer=", "length=", "flows=", "replay=", "capture="]
    {
        assert!(HELP.contains(&format!("\n  {word}")), "{word} is not explained");
    }
    let all =
        "txonly frames=7 topology=paired peer=02:00:0A:00:0b:01 length=1514 flows=3 replay=a=b capture=c";
    let settings = parse(all).expect("good words");
    assert_eq!((settings.frames, settings.topology, settings.frame_bytes), (7, Topology::Paired, 1514));
    assert_eq!((settings.flows, settings.replay.as_deref()), (3, Some("a=b")));
    assert_eq!(settings.capture.as_deref(), Some("c"));
    assert_eq!(settings.peer_of(1), MacAddress([2, 0, 10, 0, 11, 1]));
    assert_eq!(parse("mac").expect("good").peer_of(1), MacAddress([2, 0, 0, 0, 0, 1]));
}

#[test]
fn other_words_are_refused() {
    for none in ["", "frames=1", "iO", "io,"] {
        assert_eq!(parse(none).map(drop), Err(BadWords::NoMode), "{none}");
    }
    for unknown in ["frames", "burst=3", "mac", "=", ""].into_iter().filter(|word| !word.is_empty()) {
        assert_eq!(parse(&format!("io {unknown}")).map(drop), Err(BadWords::Unknown(unknown.into())));
    }
    let bad = [
        "frames=0",
        "frames=-1",
        "frames=x",
        "topology=ring",
        "length=41",
        "length=1515",
        "flows=0",
        "peer=02:00:00:00:00",
        "peer=02:00:00:00:00:01:02",
        "peer=02:00:00:00:00:+1",
        "peer=2:0:0:0:0:1",
    ];
    for word in bad {
        assert_eq!(parse(&format!("mac {word}")).map(drop), Err(BadWords::BadValue(word.into())));
    }
    assert_eq!(parse("io replay=x").map(drop), Err(BadWords::ReplayElsewhere));
}

#[test]
fn ports_are_paired_by_two() {
    assert_eq!(Topology::Loop.sender(0, 1), Some(0));
    assert_eq!(Topology::Paired.sender(0, 1), None);
    assert_eq!([0, 1, 2].map(|port| Topology::Paired.sender(port, 3)), [Some(1), Some(0), None]);
}

fn figures() -> (Received, Sent) {
    let mut received =
        Received { packets: 1455, bytes: 1_145_085, dropped: 2, malformed: 3, ..Received::default() };
    for (frames, times) in [(0, 10), (32, 60), (8, 25), (1, 5)] {
        (0..times).for_each(|_| received.bursts.count(frames));
    }
    (received, Sent { packets: 1450, bytes: 1_140_000, dropped: 5, ..Sent::default() })
}

#[test]
fn the_text_is_testpmds() {
    let (received, sent) = figures();
    let port = OfPort { number: 0, received: &received, sent: &sent };
    let expected = "  \
---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 1455           RX-dropped: 2             RX-total: 1457           RX-bytes: 1145085
  TX-packets: 1450           TX-dropped: 5             TX-total: 1455           TX-bytes: 1140000
  RX-malformed: 3
  RX-bursts : 100 [10% of 0 pkts + 60% of 32 pkts + 25% of 8 pkts + 5% of other]
  TX-bursts : 0 [0% of 0 pkts]
  ----------------------------------------------------------------------------
";
    assert_eq!(port.to_string(), expected);
    let expected = "  \
+++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 2910           RX-dropped: 4             RX-total: 2914           RX-bytes: 2290170
  TX-packets: 2900           TX-dropped: 10            TX-total: 2910           TX-bytes: 2280000
  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++
";
    assert_eq!(OfAll(&[port, port]).to_string(), expected);
}

#[test]
fn bursts_are_told_by_the_most_frequent() {
    let text = |bursts: &[(usize, usize)]| {
        let mut counted = Bursts::default();
        for &(frames, times) in bursts {
            (0..times).for_each(|_| counted.count(frames));
        }
        counted.to_string()
    };
    assert_eq!(text(&[(0, 7)]), "7 [100% of 0 pkts]");
    assert_eq!(text(&[(64, 1)]), "1 [0% of 0 pkts + 100% of 64 pkts]");
    assert_eq!(text(&[(1000, 1), (64, 1)]), "2 [0% of 0 pkts + 100% of 64 pkts]");
    assert_eq!(
        text(&[(3, 1), (5, 1), (4, 1)]),
        "3 [0% of 0 pkts + 33% of 3 pkts + 33% of 4 pkts + 34% of other]"
    );
}

#[test]
fn a_supervisor_sees_the_sums() {
    let (received, sent) = figures();
    let port = OfPort { number: 0, received: &received, sent: &sent };
    let stats = Stats::default();
    statistics::publish(&[port, port], &stats);
    let shown = [&stats.rx_packets, &stats.rx_bytes, &stats.tx_packets, &stats.tx_bytes, &stats.dropped]
        .map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(shown, [2910, 2_290_170, 2900, 2_280_000, 14]);
}
