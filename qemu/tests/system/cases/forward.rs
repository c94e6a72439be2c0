//! The application `pktfwd` in every mode: each frame compared byte by byte with what the mode should make of it, and
//! the statistics with what was sent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{EthernetFrame, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{FRAME_MAX_BYTES, FRAME_MIN_BYTES, GUEST_MAC, Peer};
use weir_runner::{child, tools};

use super::tap::inside;
use super::{Case, E1000E, IGB, VIRTIO, web};

pub(super) const CASES: &[(&str, Case)] = &[
    ("forward::io", || sends_back(VIRTIO, "forward-io", |frame| frame)),
    ("forward::mac", || sends_back(E1000E, "forward-mac", |frame| readdressed(frame, 0))),
    ("forward::macswap", || sends_back(IGB, "forward-macswap", swapped)),
    ("forward::5tswap", || sends_back("q35-vtd-packed", "forward-5tswap", turned_round)),
    ("forward::rxonly", rxonly),
    ("forward::txonly", txonly),
    ("forward::flowgen", flowgen),
    (THROUGH, || {
        // Fetched here: inside there is no other network.
        tools::ping()?;
        inside(THROUGH, TWO_LINKS, two_hosts_of_linux)
    }),
    ("forward::of_two_ports_each_sends_what_the_other_received", two_ports),
];

/// Every size of a frame once; the manifests say so, too.
pub(super) const SIZES: usize = FRAME_MAX_BYTES - FRAME_MIN_BYTES + 1;
const LIMIT: Duration = Duration::from_secs(60);

/// Two taps, of which the second is moved to another host's namespace once QEMU has it.
const TWO_LINKS: &str = "
    ip link set lo up
    ip tuntap add dev left mode tap
    ip tuntap add dev right mode tap
    ip address add 10.9.0.1/24 dev left
    ip link set left up
    exec \"$@\"
";
const THROUGH: &str = "tap::forward::two_hosts_of_linux_talk_through_it";
/// Set where the case is the other host's program.
const OTHER_END: &str = "WEIR_TEST_OTHER_END";
/// The other host's address.
const FAR: &str = "10.9.0.2";

/// Boots a manifest on networks with peers.
fn boot<const N: usize>(machine: &'static str, manifest: &'static str) -> Result<(Guest, [Peer; N])> {
    let mut peers = Vec::new();
    let mut setup = Setup::new(manifest).machine(machine);
    for number in 0..N {
        let peer = Peer::of_pair(u8::try_from(number)?)?;
        setup = setup.network(peer.netdev());
        peers.push(peer);
    }
    let (mut guest, _) = setup.boot()?;
    guest.status_when("a running data path", LIMIT, |status| {
        status.app("pktfwd").is_some_and(|app| app.ready)
    })?;
    Ok((guest, peers.try_into().ok().context("as many as asked for")?))
}

/// Gives the network's error the guest's console.
fn with_console<T>(guest: &Guest, result: Result<T>) -> Result<T> {
    result.map_err(|error| guest.failure(&format!("{error:#}")))
}

/// Checks the statistics of all ports together, and that nothing was dropped.
fn check_totals(guest: &mut Guest, received: usize, sent: usize) -> Result<()> {
    guest.console_line("Accumulated forward statistics for all ports", LIMIT)?;
    let [received, sent] = [received, sent].map(|frames| frames.to_string());
    guest.console_row(&["RX-packets:", &received, "RX-dropped:", "0", "RX-total:", &received], LIMIT)?;
    guest.console_row(&["TX-packets:", &sent, "TX-dropped:", "0", "TX-total:", &sent], LIMIT)?;
    Ok(())
}

pub(super) fn swapped(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..12].rotate_left(6);
    frame
}

/// Addresses of IPv4 and ports of UDP, too.
fn turned_round(frame: Vec<u8>) -> Vec<u8> {
    let mut frame = swapped(frame);
    frame[26..34].rotate_left(4);
    frame[34..38].rotate_left(2);
    frame
}

/// From the guest's port, whose address QEMU counts up, to the peer that it takes for its own.
fn readdressed(mut frame: Vec<u8>, port: u8) -> Vec<u8> {
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, port]);
    frame[6..12].copy_from_slice(&GUEST_MAC.0);
    frame[11] += port;
    frame
}

fn sends_back(machine: &'static str, manifest: &'static str, mode: fn(Vec<u8>) -> Vec<u8>) -> Result<()> {
    let (mut guest, [mut peer]) = boot(machine, manifest)?;
    let frames: Vec<_> = (0..SIZES).map(|number| peer.datagram(number, FRAME_MIN_BYTES + number)).collect();
    let bounced = peer.bounce(SIZES, |number| (frames[number].clone(), mode(frames[number].clone())));
    with_console(&guest, bounced)?;
    check_totals(&mut guest, SIZES, SIZES)?;
    guest.power_off()
}

fn rxonly() -> Result<()> {
    let (mut guest, [peer]) = boot(VIRTIO, "forward-rxonly")?;
    let mut bytes = 0;
    for number in 0..SIZES {
        let frame = peer.datagram(number, FRAME_MIN_BYTES + number);
        bytes += frame.len();
        with_console(&guest, peer.send(&frame))?;
    }
    check_totals(&mut guest, SIZES, 0)?;
    guest.console_row(&["RX-bytes:", &bytes.to_string()], LIMIT)?;
    let silence = peer.next_frame(Duration::from_millis(300))?;
    guest.check(silence.is_none(), &format!("it sent {silence:?}"))?;
    guest.power_off()
}

/// Takes what the guest sends on its own account, and sees to it that it ends in order.
fn made(
    machine: &'static str,
    manifest: &'static str,
    check: impl Fn(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    const FRAMES: usize = 500;
    let peer = Peer::new()?;
    let (mut guest, _) = Setup::new(manifest).machine(machine).network(peer.netdev()).boot()?;
    for number in 0..FRAMES {
        let frame = peer.next_frame(LIMIT)?.with_context(|| format!("frame {number} does not come"));
        with_console(&guest, frame.and_then(|frame| check(number, &frame)))?;
    }
    guest.console_line("Accumulated forward statistics for all ports", LIMIT)?;
    guest.console_row(&["TX-packets:", &FRAMES.to_string()], LIMIT)?;
    let more = peer.next_frame(Duration::from_millis(300))?;
    guest.check(more.is_none(), &format!("it sent too many: {more:?}"))?;
    guest.power_off()
}

/// Addresses and ports of a datagram whose checksums are right.
fn read(frame: &[u8]) -> Result<(Ipv4Repr, UdpRepr)> {
    let checksums = ChecksumCapabilities::default();
    let ethernet = EthernetFrame::new_checked(frame)?;
    let packet = Ipv4Packet::new_checked(ethernet.payload())?;
    let ip = Ipv4Repr::parse(&packet, &checksums)?;
    let datagram = UdpPacket::new_checked(packet.payload())?;
    let udp = UdpRepr::parse(&datagram, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums)?;
    Ok((ip, udp))
}

fn txonly() -> Result<()> {
    made(E1000E, "forward-txonly", |number, frame| {
        let (ip, udp) = read(frame)?;
        let macs = [&[2, 0xfe, 0, 0, 0, 1], &GUEST_MAC.0[..]].concat();
        ensure!(frame.len() == 64 && frame[..12] == macs, "frame {number}: {frame:?}");
        ensure!((ip.src_addr.octets(), ip.dst_addr.octets()) == ([198, 18, 0, 1], [198, 18, 0, 2]), "{ip:?}");
        ensure!((udp.src_port, udp.dst_port) == (9, 9), "{udp:?}");
        Ok(())
    })
}

fn flowgen() -> Result<()> {
    made(IGB, "forward-flowgen", |number, frame| {
        let (ip, udp) = read(frame)?;
        let flow = u8::try_from(number % 70)?;
        ensure!(frame.len() == 90, "frame {number}: {frame:?}");
        ensure!(
            ip.src_addr.octets() == [10, 254, 0, 0] && ip.dst_addr.octets() == [10, 253, 0, flow],
            "{ip:?}"
        );
        ensure!((udp.src_port, udp.dst_port) == (1000, 1001), "{udp:?}");
        Ok(())
    })
}

fn two_ports() -> Result<()> {
    let (mut guest, [left, right]) = boot::<2>(VIRTIO, "forward-paired")?;
    for number in 0..SIZES {
        for (from, to, port) in [(&left, &right, 1), (&right, &left, 0)] {
            let frame = from.datagram(number, FRAME_MIN_BYTES + number);
            with_console(&guest, from.send(&frame))?;
            let came = with_console(&guest, to.next_frame(LIMIT))?;
            guest.check(
                came == Some(readdressed(frame, port)),
                &format!("frame {number} to port {port}: {came:?}"),
            )?;
        }
    }
    check_totals(&mut guest, 2 * SIZES, 2 * SIZES)?;
    guest.power_off()
}

/// A process in a network namespace of its own, which ends with the value.
struct OtherHost(std::process::Child);

impl Drop for OtherHost {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has then noticed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two hosts of Linux whose only link is the application: every size of ping, whose contents `ping` compares, and TCP.
fn two_hosts_of_linux() -> Result<()> {
    if std::env::var_os(OTHER_END).is_some() {
        return send_back();
    }
    let tap = |name: &str| format!("tap,ifname={name},script=no,downscript=no,vhost=off,vnet_hdr=off");
    let setup = Setup::new("forward-through").network(tap("left")).network(tap("right"));
    let (mut guest, _) = setup.boot()?;
    guest.status_when("a running data path", LIMIT, |status| {
        status.app("pktfwd").is_some_and(|app| app.ready)
    })?;
    // It waits for its device, takes it, and then serves one connection: what comes goes back.
    let script = format!(
        "until ip link set right up; do sleep 0.1; done; ip address add {FAR}/24 dev right; echo ready; exec sleep 120"
    );
    let mut other = Command::new("unshare");
    other.args(["--net", "--", "sh", "-ec", &script]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut other = OtherHost(other.spawn().context("no namespace")?);
    let pid = other.0.id().to_string();
    // Until `unshare` has done so, its namespace is this one, where the device is already.
    let own = std::fs::read_link("/proc/self/ns/net")?;
    while std::fs::read_link(format!("/proc/{pid}/ns/net"))? == own {
        std::thread::sleep(Duration::from_millis(10));
    }
    web::output(Command::new("ip").args(["link", "set", "right", "netns", &pid]))?;
    let mut ready = [0; 6];
    other.0.stdout.as_mut().context("piped above")?.read_exact(&mut ready)?;
    // The first finds the way: what is sent before the other's address is known may be lost. With a few bytes `ping` takes no time,
    // and does not wait for the last answers.
    for (count, bytes) in [("1", "56"), ("40", "57"), ("40", "56"), ("40", "1000"), ("40", "1472")] {
        let mut ping = child::bound(tools::ping()?);
        ping.args(["-q", "-c", count, "-i", "0.01", "-W", "5", "-p", "5a3c", "-s", bytes, FAR]);
        let said = String::from_utf8(with_console(&guest, web::output(&mut ping))?)?;
        let app = guest.counted("pktfwd", |app| app.rx_packets > 0)?;
        guest.check(
            said.contains(" 0% packet loss") && !said.contains("wrong data"),
            &format!("{said}{app:?}"),
        )?;
    }
    let sums = with_console(&guest, talk(&pid))?;
    guest.check(sums, "other bytes came back")?;
    let app =
        guest.counted("pktfwd", |app| app.rx_packets > 320 && app.tx_packets > 320 && app.dropped == 0)?;
    guest.check(app.data_path_kernel_entries == 0 && app.iommu_faults == 0, &format!("{app:?}"))?;
    guest.power_off()
}

/// Sends one connection's bytes back: the other host's part.
fn send_back() -> Result<()> {
    let (mut peer, _) = TcpListener::bind((FAR, 7))?.accept()?;
    let mut back = peer.try_clone()?;
    std::io::copy(&mut peer, &mut back)?;
    Ok(())
}

/// Sends a megabyte to the other host, and whether it came back.
fn talk(pid: &str) -> Result<bool> {
    const BYTES: usize = 1 << 20;
    let sent: Vec<u8> = (0..BYTES).map(|at| (at.wrapping_mul(31) ^ (at >> 8)).to_le_bytes()[0]).collect();
    // This case once more, as the program of the other host's.
    let mut server = Command::new("nsenter");
    server.arg(format!("--net=/proc/{pid}/ns/net")).arg("--").arg(std::env::current_exe()?);
    server.args(["--exact", THROUGH]).env(OTHER_END, "1").stdout(Stdio::null()).stderr(Stdio::null());
    let _server = OtherHost(server.spawn().context("nsenter")?);
    let deadline = Instant::now() + LIMIT;
    let mut stream = loop {
        match TcpStream::connect((FAR, 7)) {
            Ok(stream) => break stream,
            Err(error) => ensure!(Instant::now() < deadline, "no connection: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = stream.try_clone()?;
    let bytes = sent.clone();
    let sender = std::thread::spawn(move || writer.write_all(&bytes));
    let mut back = vec![0; BYTES];
    stream.read_exact(&mut back)?;
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(back == sent)
}
