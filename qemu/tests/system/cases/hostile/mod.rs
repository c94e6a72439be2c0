//! Floods of what no honest host sends, while an honest client on the same link is served: by Linux's own TCP on a tap.
//!
//! Reading order: `frames` (what is sent) · `client` (who is served) · this file (the cases).

mod client;
mod frames;

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use client::{Client, Served};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::Peer;

use super::Case;
use super::tap::{NEAR, inside};

/// A flood's frame of that number.
type Frame = fn(u32) -> Vec<u8>;

pub(super) const CASES: &[(&str, Case)] = &[
    ("tap::hostile::handshakes", || inside("tap::hostile::handshakes", BRIDGE, handshakes)),
    ("tap::hostile::fragments_questions_and_pings", || {
        inside("tap::hostile::fragments_questions_and_pings", BRIDGE, fragments_questions_and_pings)
    }),
];

/// A bridge, which is this host's end of the link: behind one tap is the guest, behind the other whoever sends floods.
const BRIDGE: &str = "
    ip link set lo up
    ip link add wire type bridge forward_delay 0 mcast_snooping 0
    for port in guest flood; do ip tuntap add dev $port mode tap; ip link set $port master wire up; done
    ip link set wire address 02:fe:00:00:00:02 up
    ip address add 10.0.2.2/24 dev wire
    exec \"$@\"
";
/// How long the application may take to start.
const LIMIT: Duration = Duration::from_secs(30);
const SERVICE: (Ipv4Addr, u16) = (NEAR, 7);
/// Frames of each flood.
const FRAMES: u32 = 20_000;
/// Frames between two looks at what came back, and between two pauses of a flood that is no faster than its link allows.
const BETWEEN_LOOKS: u32 = 16;
const PAUSE: Duration = Duration::from_millis(8);
/// How long a client may wait, whatever others do: Linux sends again what was lost after a second, and after three.
const PATIENCE: Duration = Duration::from_secs(8);
/// Frames of memory that a flood may cost for good, once every connection has had its memory.
const GROWTH_FRAMES: u64 = 64;

/// Requests for connections, at a rate at which an honest client's handshake is quicker than the queue of handshakes turns over;
/// and as many as the link carries: then nobody new gets in, but whoever is in is served, and everybody is when it is over.
fn handshakes() -> Result<()> {
    let (mut guest, peer) = boot()?;
    for (name, syn) in
        [("strangers'", frames::syn_of_stranger as Frame), ("neighbours'", frames::syn_of_neighbour)]
    {
        let slow =
            flood(&mut guest, &peer, &format!("{name} handshakes, slowly"), Some(PAUSE), FRAMES / 5, syn)?;
        guest.check(slow.connections > 10 * slow.turned_away, &format!("{name}: {slow:?}"))?;
        guest.check(slow.longest_connection < PATIENCE, &format!("{name}: {slow:?}"))?;
        twice(&mut guest, &peer, &format!("{name} handshakes"), syn)?;
        let after = flood(&mut guest, &peer, "none", Some(PAUSE), BETWEEN_LOOKS * 10, frames::nothing)?;
        guest.check(after.connections > 0 && after.turned_away == 0, &format!("afterwards: {after:?}"))?;
    }
    end(guest)
}

/// Each of these costs work, and none costs a client its service.
fn fragments_questions_and_pings() -> Result<()> {
    let (mut guest, peer) = boot()?;
    let kinds = [
        ("fragments", frames::fragment as Frame),
        ("fragments over IPv6", frames::fragment_ipv6),
        ("questions for addresses", frames::arp),
        ("pings and datagrams for nobody", frames::ping),
    ];
    for (name, frame) in kinds {
        for served in twice(&mut guest, &peer, name, frame)? {
            let is_served =
                served.connections > 0 && served.turned_away == 0 && served.longest_connection < PATIENCE;
            guest.check(is_served, &format!("{name}: {served:?}"))?;
        }
    }
    end(guest)
}

fn boot() -> Result<(Guest, Peer)> {
    let peer = Peer::new()?;
    let own = peer.netdev().replacen("dgram,", "dgram,id=peer,", 1);
    let network = "tap,ifname=guest,script=no,downscript=no,vhost=off".to_owned();
    let setup = Setup::new("tcp-flood").network(network);
    let setup = setup.with(&["-netdev", "tap,id=host,ifname=flood,script=no,downscript=no", "-netdev", &own]);
    let hub = ["-netdev", "hubport,id=a,hubid=9,netdev=host", "-netdev", "hubport,id=b,hubid=9,netdev=peer"];
    let (mut guest, _) = setup.with(&hub).boot()?;
    guest.console_line("serving at 10.0.2.15", LIMIT)?;
    Ok((guest, peer))
}

/// The second time, a flood costs no memory.
fn twice(guest: &mut Guest, peer: &Peer, name: &str, frame: Frame) -> Result<[Served; 2]> {
    let first = flood(guest, peer, name, None, FRAMES, frame)?;
    let before = guest.status()?.frames_free;
    let second = flood(guest, peer, name, None, FRAMES, |number| frame(FRAMES + number))?;
    let after = guest.status()?.frames_free;
    let what = format!("{name}: {before} frames were free, and {after} are");
    guest.check(after + GROWTH_FRAMES >= before, &what)?;
    Ok([first, second])
}

/// Sends so many frames; what the client was given meanwhile.
fn flood(
    guest: &mut Guest,
    peer: &Peer,
    name: &str,
    pause: Option<Duration>,
    count: u32,
    frame: impl Fn(u32) -> Vec<u8>,
) -> Result<Served> {
    let received = guest.status()?.sum(|app| app.rx_packets);
    let client =
        Client::begin(SERVICE.into()).map_err(|error| guest.failure(&format!("{name}: {error:#}")))?;
    let begin = Instant::now();
    for number in 0..count {
        peer.send(&frame(number))?;
        if number.is_multiple_of(BETWEEN_LOOKS) {
            peer.drain()?;
            pause.into_iter().for_each(thread::sleep);
        }
    }
    let took = begin.elapsed();
    let served = client.stop().map_err(|error| guest.failure(&format!("{name}: {error:#}")))?;
    let received = guest.status()?.sum(|app| app.rx_packets) - received;
    println!("{name}: {count} in {took:?}, {received} received with the client's; {served:?}");
    guest.check(served.answers > 0 && served.longest_answer < PATIENCE, &format!("{name}: {served:?}"))?;
    // What the guest's queue does not take is lost, as on any link.
    guest.check(received > u64::from(count) / 10, &format!("{name}: {received} frames arrived"))?;
    Ok(served)
}

fn end(mut guest: Guest) -> Result<()> {
    let app = guest.counted("echo", |app| app.rx_packets > u64::from(FRAMES))?;
    let status = guest.status()?;
    guest.check(app.restarts == 0 && app.device_errors == 0, &format!("{app:?}"))?;
    guest.check(app.iommu_faults == 0 && status.faults == 0, &format!("faults: {app:?}"))?;
    guest.power_off()
}
