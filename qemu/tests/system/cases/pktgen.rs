//! The generator: every frame that it sends, counted and compared: by Linux's UDP and by a socket on Linux's link layer behind a
//! tap, and by a peer of the runner's, which loses none however fast they come.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pcap_file::pcap::PcapReader;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketType, eth, recv, socket};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{EthernetFrame, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{GUEST_MAC, Peer};
use weir_runner::vm::Outcome;
use weir_runner::workspace;

use super::tap::{LINK, boot_near, inside};
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tap::pktgen::linux_counts_virtio", || {
        inside("tap::pktgen::linux_counts_virtio", LINK, || linux_counts(VIRTIO))
    }),
    ("tap::pktgen::linux_counts_e1000e", || {
        inside("tap::pktgen::linux_counts_e1000e", LINK, || linux_counts(E1000E))
    }),
    ("tap::pktgen::linux_counts_igb", || inside("tap::pktgen::linux_counts_igb", LINK, || linux_counts(IGB))),
    ("tap::pktgen::replays_virtio", || inside("tap::pktgen::replays_virtio", LINK, || replays(VIRTIO))),
    ("tap::pktgen::replays_e1000e", || inside("tap::pktgen::replays_e1000e", LINK, || replays(E1000E))),
    ("tap::pktgen::replays_igb", || inside("tap::pktgen::replays_igb", LINK, || replays(IGB))),
    ("pktgen::as_fast_as_it_goes_virtio", || as_fast_as_it_goes(VIRTIO)),
    ("pktgen::as_fast_as_it_goes_packed", || as_fast_as_it_goes("q35-vtd-packed")),
    ("pktgen::as_fast_as_it_goes_e1000e", || as_fast_as_it_goes(E1000E)),
    ("pktgen::as_fast_as_it_goes_igb", || as_fast_as_it_goes(IGB)),
    ("pktgen::replays_at_a_rate_over_and_over", replays_at_a_rate),
    ("pktgen::ends_when_its_time_is_over", ends_in_time),
    ("pktgen::wrong_words_are_told", wrong_words_are_told),
];

const LIMIT: Duration = Duration::from_secs(60);
/// This host's end of the link.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Bytes before a datagram's payload.
const HEADERS_BYTES: usize = 42;
/// The first port that datagrams come from.
const PORT_FIRST: u16 = 49_152;
/// How much later than its time a frame may be stamped: the emulator's thread may have had to wait.
const LATE_NS: u64 = 200_000_000;
/// How much earlier than its time, counted from the first.
const EARLY_NS: u64 = 50_000_000;

/// What a payload says: number and time. Every byte behind is as documented.
fn read_payload(payload: &[u8]) -> Result<(u64, u64)> {
    let (number, rest) = payload.split_first_chunk().context("no number")?;
    let (time, filling) = rest.split_first_chunk().context("no time")?;
    let is_filling = |(at, byte): (usize, &u8)| at.to_le_bytes()[0] == *byte;
    ensure!(
        filling.iter().enumerate().all(|(at, byte)| is_filling((at + 16, byte))),
        "other bytes: {filling:x?}"
    );
    Ok((u64::from_be_bytes(*number), u64::from_be_bytes(*time)))
}

/// The last line, and the counters behind it: `frames` were sent, the kernel was not entered. Gives what was missed.
fn end(guest: &mut Guest, frames: u64) -> Result<u64> {
    let line = guest.console_line(&format!("sent {frames} frames"), LIMIT)?;
    guest.check(line.ends_with("kernel entries: 0"), &line)?;
    let app = guest.counted("pktgen", |app| app.state == "exited")?;
    let is_right = app.code == 0 && app.tx_packets == frames && app.data_path_kernel_entries == 0;
    guest.check(is_right && app.iommu_faults == 0 && app.device_errors == 0, &format!("{app:?}"))?;
    let missed = line.split("; ").find_map(|part| part.strip_suffix(" missed")).context("missed")?;
    Ok(missed.parse()?)
}

fn told<T>(guest: &Guest, result: Result<T>) -> Result<T> {
    result.map_err(|error| guest.failure(&format!("{error:#}")))
}

/// All datagrams reach a socket of Linux, which means that Linux found their checksums right: in order, each of its size, of its
/// flow, and not before its time.
fn linux_counts(machine: &'static str) -> Result<()> {
    const FRAMES: u64 = 4000;
    const STEP_NS: u64 = 1_000_000;
    let sink = UdpSocket::bind((HOST, 9009))?;
    set_socket_recv_buffer_size(&sink, 8 << 20)?;
    sink.set_read_timeout(Some(LIMIT))?;
    let mut guest = boot_near(Setup::new("pktgen").machine(machine))?;
    let (mut bytes, mut first_ns, mut last_ns, mut start) = ([0; 2000], 0, 0, None);
    for expected in 0..FRAMES {
        let came = sink.recv_from(&mut bytes).with_context(|| format!("frame {expected} does not come"));
        let (count, from) = told(&guest, came)?;
        let (number, time_ns) = told(&guest, read_payload(&bytes[..count]))?;
        guest.check(number == expected, &format!("frame {number} instead of {expected}"))?;
        let size = 60 + usize::try_from(number % 1455)?;
        guest
            .check(count + HEADERS_BYTES == size, &format!("frame {number} has {count} bytes of payload"))?;
        let flow = u16::try_from(number % 4)?;
        guest.check(from.port() == PORT_FIRST + flow, &format!("frame {number} comes from {from}"))?;
        if number == 0 {
            (first_ns, start) = (time_ns, Some(Instant::now()));
        }
        // The first may have been late itself.
        let early = (first_ns + number.saturating_sub(1) * STEP_NS).checked_sub(time_ns);
        guest.check(
            early.is_none_or(|ns| ns < EARLY_NS),
            &format!("frame {number} came {early:?} ns too early"),
        )?;
        guest.check(time_ns >= last_ns, &format!("frame {number} was made before the one before it"))?;
        last_ns = time_ns;
    }
    let took = start.map(|start| start.elapsed()).unwrap_or_default();
    let missed = end(&mut guest, FRAMES)?;
    // What was asked for and what was missed add up to the time it took, on the guest's clock and on ours.
    let due_ns = (FRAMES - 1 + missed) * STEP_NS;
    let late_ns = (last_ns - first_ns).abs_diff(due_ns);
    guest.check(late_ns < LATE_NS, &format!("{late_ns} ns off, {missed} missed"))?;
    let off = took.abs_diff(Duration::from_nanos(due_ns));
    guest.check(off < took / 5 + Duration::from_millis(300), &format!("{took:?} for {due_ns} ns"))?;
    guest.power_off()
}

/// Every frame that comes over a link of the namespace.
fn link_socket() -> Result<OwnedFd> {
    let socket = socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL))?;
    set_socket_recv_buffer_size(&socket, 8 << 20)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT))?;
    Ok(socket)
}

/// The frames of the file that the guest replays, and when they are due.
fn recorded() -> Result<Vec<(Duration, Vec<u8>)>> {
    let file = std::fs::File::open(workspace::root().join("qemu/tests/recordings/mixed.pcap"))?;
    let (mut reader, mut frames, mut start) = (PcapReader::new(file)?, Vec::new(), None);
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        let due = packet.timestamp - *start.get_or_insert(packet.timestamp);
        frames.push((due, packet.data.into_owned()));
    }
    Ok(frames)
}

/// The frames of a file come over Linux's link, byte by byte what they are, at their times.
fn replays(machine: &'static str) -> Result<()> {
    let frames = recorded()?;
    let link = link_socket()?;
    let mut guest = boot_near(Setup::new("pktgen-recorded").machine(machine))?;
    let (mut bytes, mut start) = ([0; 4000], None);
    for (number, (due, frame)) in frames.iter().enumerate() {
        let came = loop {
            let came = recv(&link, &mut bytes[..], RecvFlags::empty()).context(format!("frame {number}"));
            let (_, count) = told(&guest, came)?;
            // Linux itself has something to say on a new link.
            if bytes[6..11] == frame[6..11] {
                break &bytes[..count];
            }
        };
        guest.check(came == frame, &format!("frame {number}: {came:x?} and not {frame:x?}"))?;
        let at = start.get_or_insert_with(Instant::now).elapsed();
        // On this host's clock, and the first may have been on its way for longer than others.
        let is_near =
            due.saturating_sub(at) < Duration::from_millis(400) && at.saturating_sub(*due) < LIMIT / 20;
        guest.check(is_near, &format!("frame {number}, due after {due:?}, came after {at:?}"))?;
    }
    // On the guest's.
    let line = guest.console_line("kernel entries: ", LIMIT)?;
    let ms: u64 =
        line.split(" bytes in ").nth(1).and_then(|rest| rest.split(' ').next()).context("ms")?.parse()?;
    let wanted = u64::try_from(frames.last().context("frames")?.0.as_millis())?;
    guest.check((wanted..wanted + 1000).contains(&ms), &format!("{wanted} ms: {line}"))?;
    end(&mut guest, frames.len() as u64)?;
    guest.power_off()
}

/// Boots where a peer loses nothing.
fn boot(setup: Setup) -> Result<(Guest, Peer)> {
    let peer = Peer::new()?;
    let (guest, _) = setup.network(peer.netdev()).boot()?;
    Ok((guest, peer))
}

/// Number, size and flow of each frame, as smoltcp reads it. Behind an Intel device QEMU keeps ten thousand frames that a peer does not
/// take in time, and drops others: there are fewer here.
fn as_fast_as_it_goes(machine: &'static str) -> Result<()> {
    const FRAMES: u64 = 8000;
    const MIX: [usize; 12] = [60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590];
    let (mut guest, peer) = boot(Setup::new("pktgen-line").machine(machine))?;
    for number in 0..FRAMES {
        let frame = peer.next_frame(LIMIT)?.with_context(|| format!("frame {number} does not come"));
        let frame = told(&guest, frame)?;
        let place = usize::try_from(number % 12)?;
        guest.check(frame.len() == MIX[place], &format!("frame {number} has {} bytes", frame.len()))?;
        told(&guest, is_datagram(number, &frame).with_context(|| format!("frame {number}: {frame:x?}")))?;
    }
    let missed = end(&mut guest, FRAMES)?;
    guest.check(missed == 0, "at no rate nothing can be missed")?;
    let more = peer.next_frame(Duration::from_millis(300))?;
    guest.check(more.is_none(), &format!("it sent too many: {more:?}"))?;
    guest.power_off()
}

/// It is the generator's datagram with that number, whole.
fn is_datagram(number: u64, frame: &[u8]) -> Result<()> {
    let checksums = ChecksumCapabilities::default();
    let ethernet = EthernetFrame::new_checked(frame)?;
    ensure!((ethernet.src_addr().0, ethernet.dst_addr().0) == (GUEST_MAC.0, [2, 0xfe, 0, 0, 0, 1]));
    let packet = Ipv4Packet::new_checked(ethernet.payload())?;
    let ip = Ipv4Repr::parse(&packet, &checksums)?;
    ensure!((ip.src_addr.octets(), ip.dst_addr.octets()) == ([10, 0, 0, 2], [10, 0, 0, 1]), "{ip:?}");
    let datagram = UdpPacket::new_checked(packet.payload())?;
    let udp = UdpRepr::parse(&datagram, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums)?;
    ensure!((udp.src_port, udp.dst_port) == (PORT_FIRST + u16::try_from(number % 3)?, 9), "{udp:?}");
    let (carried, _) = read_payload(datagram.payload())?;
    ensure!(carried == number, "it says that it is {carried}");
    Ok(())
}

/// Three times through the file.
fn replays_at_a_rate() -> Result<()> {
    let frames = recorded()?;
    let (mut guest, peer) = boot(Setup::new("pktgen-recorded-rate"))?;
    for number in 0..3 * frames.len() {
        let came = peer.next_frame(LIMIT)?.with_context(|| format!("frame {number} does not come"));
        let came = told(&guest, came)?;
        guest.check(came == frames[number % frames.len()].1, &format!("frame {number}: {came:x?}"))?;
    }
    end(&mut guest, 3 * frames.len() as u64)?;
    guest.power_off()
}

/// Two seconds, in which a line is told after the first.
fn ends_in_time() -> Result<()> {
    let (mut guest, peer) = boot(Setup::new("pktgen-seconds"))?;
    let mut frames = 0;
    while peer.next_frame(Duration::from_secs(if frames == 0 { 20 } else { 1 }))?.is_some() {
        frames += 1;
    }
    guest.console_line("1 s: ", LIMIT)?;
    let line = guest.console_line("missed; kernel entries: 0", LIMIT)?;
    guest.check(frames % 5 == 0, &format!("{frames} frames are no bursts of 5"))?;
    let missed = end(&mut guest, frames)?;
    // A hundred bursts a second; what was missed in the end is not counted where nothing was due after it.
    guest.check((150..=200).contains(&(frames / 5 + missed)), &format!("{line}, {frames} came"))?;
    guest.power_off()
}

/// Each gets one line, and ends its application alone.
fn wrong_words_are_told() -> Result<()> {
    let (mut guest, _) = Setup::new("pktgen-wrong").boot()?;
    let (outcome, status) = guest.end(LIMIT)?;
    let status = status.context("no status")?;
    for (name, line) in [
        ("fast", "unknown word `fast`; there are: ADDRESS/PREFIX, to=ADDRESS:PORT, "),
        ("size", "`size=59` is not possible; a frame has 60 to 1514 bytes"),
        ("nobody", "say to whom: to=ADDRESS:PORT"),
        ("both", "`size=` does not go together with pcap="),
        ("missing", "there is no file `other.pcap`; the manifest's files= names a folder"),
        ("text", "README.md: not a pcap file: it begins with "),
        ("far", "10.0.3.2 is not on the network 10.0.2.15/24; say who forwards to it: gateway=ADDRESS"),
        ("mix", "`size=` is not possible; all probes have one size"),
    ] {
        let lines = guest.count_said(&format!("] {name}: "));
        let is_told = lines == 1 && guest.has_said(&format!("] {name}: {line}"));
        guest.check(is_told, &format!("{lines} lines of {name}, not `{line}`"))?;
        let app = status.app(name);
        let has_ended = app.is_some_and(|app| app.state == "exited" && app.code == 1);
        guest.check(has_ended, &format!("{app:?}"))?;
    }
    guest.check(outcome == Outcome::ApplicationFailed, &format!("the machine ended with {outcome:?}"))
}
