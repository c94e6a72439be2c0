//! Words, and what is said of those that mean nothing.

use weir_net::{Ipv4Address, MacAddress};
use weir_traffic::size::Sizes;
use weir_traffic::words::{BadWord, End, Generate, Probe, Target, What};

fn generate(words: &str) -> Result<Generate, BadWord> {
    Generate::parse(words.split_whitespace())
}

fn probe(words: &str) -> Result<Probe, BadWord> {
    Probe::parse(words.split_whitespace())
}

const ENDLESS: End = End { frames: u64::MAX, ns: u64::MAX };
const ROUTE: &str = "10.0.2.15/24 to=10.0.2.2:9";

#[test]
fn a_generator_is_told_what_to_send() {
    let plain = generate(ROUTE).unwrap();
    assert_eq!((plain.rate, plain.burst, plain.end), (None, 32, ENDLESS));
    let What::Datagrams { route, port, flows, sizes } = plain.what else { panic!("datagrams") };
    assert_eq!(
        (route.next_hop, route.mac, port, flows, sizes),
        (Ipv4Address([10, 0, 2, 2]), None, 9, 1, Sizes::One(64))
    );
    let full = generate(
        "to=192.168.0.9:7 rate=1000 size=imix count=5 seconds=3 flows=16384 burst=4 10.0.2.15/24 gateway=10.0.2.1 mac=52:54:00:12:34:56",
    );
    let full = full.unwrap();
    assert_eq!((full.rate, full.burst), (Some(1000), 4));
    assert_eq!(full.end, End { frames: 5, ns: 3_000_000_000 });
    let What::Datagrams { route, flows, sizes, .. } = full.what else { panic!("datagrams") };
    assert_eq!((route.next_hop, flows, sizes), (Ipv4Address([10, 0, 2, 1]), 16_384, Sizes::Mix));
    assert_eq!(route.mac, Some(MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
    assert_eq!(generate(&format!("{ROUTE} rate=5")).unwrap().burst, 1);
    assert_eq!(generate(&format!("{ROUTE} rate=line")).unwrap().rate, None);
    let timed = generate("pcap=a.pcap").unwrap();
    assert_eq!(timed.what, What::Recording { file: "a.pcap".into(), is_timed: true });
    for words in ["pcap=a.pcap rate=line", "pcap=a.pcap rate=7"] {
        let What::Recording { is_timed: false, .. } = generate(words).unwrap().what else {
            panic!("{words}")
        };
    }
}

#[test]
fn a_prober_is_told_whom_to_ask() {
    let plain = probe("10.0.2.15/24 to=10.0.2.2").unwrap();
    assert_eq!((plain.target, plain.rate, plain.frame_bytes), (Target::Ping, 1000, 64));
    assert_eq!((plain.end, plain.wait_ns), (End { frames: u64::MAX, ns: 10_000_000_000 }, 1_000_000_000));
    let full = probe("10.0.2.15/24 to=10.0.2.2:7 rate=5 size=1514 count=9 wait=20").unwrap();
    assert_eq!((full.target, full.rate, full.frame_bytes), (Target::Udp(7), 5, 1514));
    assert_eq!((full.end, full.wait_ns), (End { frames: 9, ns: u64::MAX }, 20_000_000));
}

#[test]
fn every_wrong_word_gets_a_line() {
    let lines = [
        ("", "say to whom: to=ADDRESS:PORT such as to=10.0.2.2:9, or pcap=FILE for the frames of a file"),
        (
            "10.0.2.15/24 to=10.0.2.2",
            "say to whom: to=ADDRESS:PORT such as to=10.0.2.2:9, or pcap=FILE for the frames of a file",
        ),
        ("to=10.0.2.2:9", "say who sends: ADDRESS/PREFIX such as 10.0.2.15/24"),
        (
            "fast",
            "unknown word `fast`; there are: ADDRESS/PREFIX, to=ADDRESS:PORT, mac=, gateway=, rate=N|line, size=N|N-N|imix, count=N, seconds=N, flows=N, burst=N, pcap=FILE",
        ),
        (
            "10.0.2.15/33",
            "`10.0.2.15/33` is not possible; who sends is a host's ADDRESS/PREFIX such as 10.0.2.15/24",
        ),
        (
            "to=10.0.2.2:0",
            "`to=10.0.2.2:0` is not possible; it is ADDRESS or ADDRESS:PORT such as 10.0.2.2:9",
        ),
        (
            "to=224.0.0.1:9",
            "`to=224.0.0.1:9` is not possible; it is ADDRESS or ADDRESS:PORT such as 10.0.2.2:9",
        ),
        ("rate=0", "`rate=0` is not possible; rate=N is 1 to 1000000000 frames a second"),
        ("rate=1000000001", "`rate=1000000001` is not possible; rate=N is 1 to 1000000000 frames a second"),
        (
            "size=59",
            "`size=59` is not possible; a frame has 60 to 1514 bytes without checksum: size=64, size=60-1514 or size=imix",
        ),
        ("count=0", "`count=0` is not possible; it is a number, 1 or more"),
        (
            "seconds=18446744073709551615",
            "`seconds=18446744073709551615` is not possible; it is a number, 1 or more",
        ),
        ("flows=16385", "`flows=16385` is not possible; flows=N is 1 to 16384"),
        ("burst=33", "`burst=33` is not possible; burst=N is 1 to 32 frames"),
        (
            "mac=01:00:5e:00:00:01",
            "`mac=01:00:5e:00:00:01` is not possible; it is an address such as 52:54:00:12:34:56 that a host can have",
        ),
        (
            "gateway=0.0.0.0",
            "`gateway=0.0.0.0` is not possible; it is an address such as 10.0.2.2 that a host can have",
        ),
        (
            "10.0.2.15/24 to=10.0.3.2:9",
            "10.0.3.2 is not on the network 10.0.2.15/24; say who forwards to it: gateway=ADDRESS, or its address on the link: mac=ADDRESS",
        ),
        ("rate=line rate=5 pcap=a", "`rate=line` does not go together with another rate="),
        ("pcap=a size=64", "`size=` does not go together with pcap=, whose frames go out as they are"),
        ("pcap=a to=10.0.2.2:9", "`to=` does not go together with pcap=, whose frames go out as they are"),
        ("pcap=a flows=2", "`flows=` does not go together with pcap=, whose frames go out as they are"),
        (
            "pcap=a burst=2",
            "`burst=` does not go together with pcap= without rate=, whose frames go out in their own time",
        ),
    ];
    for (words, line) in lines {
        assert_eq!(generate(words).unwrap_err().to_string(), line, "{words}");
    }
    let lines = [
        (
            "10.0.2.15/24",
            "say to whom: to=ADDRESS for ping, such as to=10.0.2.2, or to=ADDRESS:PORT for a service that sends datagrams back",
        ),
        (
            "flows=2",
            "unknown word `flows=2`; there are: ADDRESS/PREFIX, to=ADDRESS|ADDRESS:PORT, mac=, gateway=, rate=N, size=N, count=N, seconds=N, wait=MS",
        ),
        ("wait=60001", "`wait=60001` is not possible; wait=MS is 1 to 60000 milliseconds"),
        ("10.0.2.15/24 to=10.0.2.2 size=imix", "`size=` is not possible; all probes have one size: size=64"),
        ("rate=line", "`rate=line` is not possible; rate=N is 1 to 1000000000 frames a second"),
    ];
    for (words, line) in lines {
        assert_eq!(probe(words).unwrap_err().to_string(), line, "{words}");
    }
}
