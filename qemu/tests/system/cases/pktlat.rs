//! Round trips: Linux answers, and a peer that loses, repeats, damages and reorders, whose faults are counted exactly.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::Peer;

use super::tap::{LINK, boot_near, inside};
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tap::pktlat::linux_answers_pings_virtio", || {
        inside("tap::pktlat::linux_answers_pings_virtio", LINK, || pings(VIRTIO))
    }),
    ("tap::pktlat::linux_answers_pings_e1000e", || {
        inside("tap::pktlat::linux_answers_pings_e1000e", LINK, || pings(E1000E))
    }),
    ("tap::pktlat::linux_answers_pings_igb", || {
        inside("tap::pktlat::linux_answers_pings_igb", LINK, || pings(IGB))
    }),
    ("tap::pktlat::a_socket_sends_datagrams_back", || {
        inside("tap::pktlat::a_socket_sends_datagrams_back", LINK, datagrams)
    }),
    ("pktlat::what_a_peer_does_wrong_is_counted_virtio", || wrongs(VIRTIO)),
    ("pktlat::what_a_peer_does_wrong_is_counted_e1000e", || wrongs(E1000E)),
    ("pktlat::what_a_peer_does_wrong_is_counted_igb", || wrongs(IGB)),
    ("pktlat::a_stall_of_the_peer_counts_for_all_that_it_delays", a_stall_counts),
    ("pktlat::silence_is_told", silence_is_told),
];

const LIMIT: Duration = Duration::from_secs(60);

/// The account, the quantiles behind it, and that the kernel was not entered. Gives the quantiles.
fn end(guest: &mut Guest, account: &str) -> Result<Vec<u64>> {
    guest.console_line(&format!("{account}; kernel entries: 0"), LIMIT)?;
    let line = guest.console_line("round trip in ns, from the time a probe was due: ", LIMIT)?;
    let (_, quantiles) = line.split_once("due: ").context("quantiles")?;
    let number = |part: &str| Ok(part.split_whitespace().nth(1).context("a number")?.parse()?);
    let numbers = quantiles.split(", ").map(number).collect::<Result<Vec<u64>>>()?;
    guest.check(numbers.len() == 6 && numbers[0] > 0 && numbers.is_sorted(), &line)?;
    guest.console_line("under an emulator these times are noise", LIMIT)?;
    let app = guest.counted("pktlat", |app| app.state == "exited")?;
    let is_right = app.code == 0 && app.data_path_kernel_entries == 0 && app.iommu_faults == 0;
    guest.check(is_right && app.device_errors == 0, &format!("{app:?}"))?;
    Ok(numbers)
}

fn pings(machine: &'static str) -> Result<()> {
    let mut guest = boot_near(Setup::new("pktlat").machine(machine))?;
    let account = "3000 probes sent, 3000 answered, 0 lost, 0 duplicate, 0 reordered, 0 damaged, 0 stray";
    end(&mut guest, account)?;
    guest.power_off()
}

/// The longest frames, by Linux's UDP and a socket.
fn datagrams() -> Result<()> {
    let service = UdpSocket::bind((Ipv4Addr::new(10, 0, 2, 2), 9007))?;
    set_socket_recv_buffer_size(&service, 8 << 20)?;
    service.set_read_timeout(Some(LIMIT))?;
    let mut guest = boot_near(Setup::new("pktlat-datagrams"))?;
    let mut bytes = [0; 2000];
    for number in 0..2000 {
        let (count, from) = service.recv_from(&mut bytes).with_context(|| format!("datagram {number}"))?;
        guest.check(count == 1514 - 42, &format!("datagram {number} has {count} bytes"))?;
        service.send_to(&bytes[..count], from)?;
    }
    let account = "2000 probes sent, 2000 answered, 0 lost, 0 duplicate, 0 reordered, 0 damaged, 0 stray";
    end(&mut guest, account)?;
    guest.power_off()
}

/// Our address on the link.
const OWN_MAC: [u8; 6] = [2, 0xfe, 0, 0, 0, 1];
/// Where in a datagram's frame what lies.
const UDP_CHECKSUM: usize = 40;
const NUMBER: usize = 42;
const FILLING: usize = 58;

/// Turns a frame round: addresses of Ethernet and IPv4, ports of UDP. Sums do not depend on the order.
fn turned(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..12].rotate_left(6);
    frame[6..12].copy_from_slice(&OWN_MAC);
    frame[26..34].rotate_left(4);
    frame[34..38].rotate_left(2);
    frame
}

/// The next datagram of the guest's; its question who has our address is answered.
fn next_probe(peer: &Peer) -> Result<(u64, Vec<u8>)> {
    loop {
        let frame = peer.next_frame(LIMIT)?.context("no probe comes")?;
        match frame[12..14] {
            [8, 6] => {
                let mut answer = turned_question(&frame);
                answer.resize(60, 0);
                peer.send(&answer)?;
            }
            [8, 0] => {
                ensure!(frame.len() == 100, "a probe of {} bytes", frame.len());
                let number = frame[NUMBER..].first_chunk().context("a number")?;
                return Ok((u64::from_be_bytes(*number), frame));
            }
            _ => bail!("the guest sent {frame:x?}"),
        }
    }
}

/// Answers an ARP question (RFC 826).
fn turned_question(frame: &[u8]) -> Vec<u8> {
    let (sender, target) = (&frame[22..32], &frame[38..42]);
    [&frame[6..12], &OWN_MAC, &frame[12..20], &[0, 2], &OWN_MAC, target, sender].concat()
}

/// Of ten probes each, one is lost, one answered twice, one damaged, one overtaken by the next, one answered under a number that
/// was never sent as well.
fn wrongs(machine: &'static str) -> Result<()> {
    const PROBES: u64 = 1000;
    let peer = Peer::new()?;
    let (mut guest, _) = Setup::new("pktlat-peer").machine(machine).network(peer.netdev()).boot()?;
    let mut held = None;
    for expected in 0..PROBES {
        let (number, probe) = next_probe(&peer).map_err(|error| guest.failure(&format!("{error:#}")))?;
        guest.check(number == expected, &format!("probe {number} instead of {expected}"))?;
        let mut answer = turned(probe);
        match number % 10 {
            1 => continue,
            2 => peer.send(&answer)?,
            3 => answer[FILLING + 7] ^= 0x10,
            4 => {
                held = Some(answer);
                continue;
            }
            6 => {
                let mut stray = answer.clone();
                stray[NUMBER] = 1;
                // Without a checksum, which IPv4 allows, it is whole.
                stray[UDP_CHECKSUM..NUMBER].fill(0);
                peer.send(&stray)?;
            }
            _ => {}
        }
        peer.send(&answer)?;
        if let Some(held) = held.take() {
            peer.send(&held)?;
        }
    }
    let account =
        "1000 probes sent, 800 answered, 200 lost, 100 duplicate, 100 reordered, 100 damaged, 100 stray";
    end(&mut guest, account)?;
    guest.power_off()
}

/// The peer does nothing for as long as probes are due. Some wait in its socket and in the device's ring, but most could not be sent
/// meanwhile: they count for as long as they were kept from it, too. A tool that counts from when it could send would see them answered
/// at once.
fn a_stall_counts() -> Result<()> {
    const PROBES: usize = 3000;
    const STALL: Duration = Duration::from_secs(3);
    let peer = Peer::new()?;
    let (mut guest, _) = Setup::new("pktlat-stall").network(peer.netdev()).boot()?;
    let mut stalled = None;
    for _ in 0..PROBES {
        let (number, probe) = next_probe(&peer).map_err(|error| guest.failure(&format!("{error:#}")))?;
        if number == 0 {
            let start = Instant::now();
            std::thread::sleep(STALL);
            stalled = Some(start.elapsed());
        }
        peer.send(&turned(probe))?;
    }
    let account = "3000 probes sent, 3000 answered, 0 lost, 0 duplicate, 0 reordered, 0 damaged, 0 stray";
    let quantiles = end(&mut guest, account)?;
    let stalled = stalled.context("probe 0 came")?.as_nanos();
    // p50, and the maximum.
    let is_seen = u128::from(quantiles[0]) > stalled / 4 && u128::from(quantiles[5]) > stalled * 9 / 10;
    guest.check(is_seen, &format!("{quantiles:?} after a stall of {stalled} ns"))?;
    guest.power_off()
}

fn silence_is_told() -> Result<()> {
    let peer = Peer::new()?;
    let (mut guest, _) = Setup::new("pktlat-peer").network(peer.netdev()).boot()?;
    guest.console_line("10.0.0.1 does not answer ARP; is it there? mac= names its address", LIMIT)?;
    // It goes on asking.
    while peer.next_frame(Duration::ZERO)?.is_some() {}
    let (number, _) = next_probe(&peer).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.check(number == 0, &format!("the first probe is {number}"))?;
    guest.power_off()
}
