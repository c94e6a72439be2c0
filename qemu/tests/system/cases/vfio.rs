//! Weir's driver libraries in a process of Linux: the same device, the same peer, the same checks as on Weir.

use std::time::Duration;

use anyhow::Result;
use weir_runner::guest::Guest;
use weir_runner::linux::{Linux, programs};
use weir_runner::peer::{FRAME_MIN_BYTES, PAYLOAD_MAX_BYTES, Peer};
use weir_runner::vm::Outcome;

use super::forward::{SIZES, swapped};
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("vfio::traffic_on_virtio", || traffic_on(VIRTIO, "its own address")),
    ("vfio::traffic_on_e1000e", || traffic_on(E1000E, "its own address")),
    ("vfio::traffic_on_igb", || traffic_on(IGB, "its own address")),
    // The IOMMU translates 39 bits, and a process has addresses of 47.
    ("vfio::traffic_where_addresses_are_chosen", || traffic_on("q35-vtd-39", "a chosen address")),
    ("vfio::forwards_captures_and_replays", forwards_captures_and_replays),
    ("vfio::the_host_keeps_its_promises", the_host_keeps_its_promises),
];

/// Half of the pools and rings of `vfio-check` fit on large pages.
const LARGE_PAGES: u32 = 4;
/// How long Linux may take to start, with the machine loaded.
const LIMIT: Duration = Duration::from_secs(170);
/// What gives functions to programs.
pub(super) const MODULES: [&str; 2] = ["vfio-pci", "vfio_iommu_type1"];

/// Boots `vfio-net WORDS` on a network with a peer.
fn boot(machine: &str, words: &str) -> Result<(Guest, Peer)> {
    let peer = Peer::new()?;
    let program = programs::program("vfio-net")?;
    let linux = Linux::new(format!("network_to_vfio && vfio-net {words}"));
    let linux = linux.machine(machine).huge_pages(LARGE_PAGES).modules(&MODULES);
    let mut guest = linux.file("bin/vfio-net", program).network(peer.netdev()).start()?;
    guest.wait_ready_within(LIMIT)?;
    Ok((guest, peer))
}

/// Gives the network's error the guest's console.
fn with_console(guest: &Guest, result: Result<()>) -> Result<()> {
    result.map_err(|error| guest.failure(&format!("{error:#}")))
}

/// Every size from an empty datagram to a full frame, and again some; sleeping when idle.
fn traffic_on(machine: &'static str, place: &str) -> Result<()> {
    let (mut guest, mut peer) = boot(machine, "10.0.0.2/24 sleep")?;
    let line = guest.console_line("memory for frames at ", LIMIT)?;
    guest.check(line.contains(place) && line.contains("on large pages"), &line)?;
    with_console(&guest, peer.find_guest().map(drop))?;
    with_console(&guest, peer.echo(2000, |number| number % (PAYLOAD_MAX_BYTES + 1)))?;
    for (sequence, bytes) in [(1, 0), (2, 56), (3, 1400)] {
        with_console(&guest, peer.ping(sequence, bytes))?;
    }
    // Idle for long enough to sleep, then a single packet: an interrupt must wake it.
    for number in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        let is_back = peer.echo_one(number, Duration::from_secs(20))?;
        guest.check(is_back, &format!("packet {number} after a pause was not answered"))?;
    }
    let app = guest.counted("echo", |app| app.rx_packets >= 2006 && app.tx_packets >= 2006)?;
    guest.check(app.device_errors == 0, &format!("violations: {app:?}"))?;
    guest.check(app.sleep_kernel_entries > 0, &format!("it never slept: {app:?}"))?;
    let faults = guest.count_said("DMAR: [DMA");
    guest.check(faults == 0, "Linux tells of blocked accesses")?;
    guest.power_off()
}

/// `vfio-pktfwd` sends every size of frame back with its addresses swapped, and captures what it received; then it replays
/// that.
fn forwards_captures_and_replays() -> Result<()> {
    let mut peer = Peer::new()?;
    let program = programs::program("vfio-pktfwd")?;
    let linux = Linux::new(format!(
        "network_to_vfio && vfio-pktfwd macswap frames={SIZES} capture=/tmp/pcap && \
         vfio-pktfwd txonly frames={SIZES} replay=/tmp/pcap"
    ));
    let linux = linux.machine(E1000E).huge_pages(LARGE_PAGES).modules(&MODULES);
    let mut guest = linux.file("bin/vfio-pktfwd", program).network(peer.netdev()).start()?;
    guest.wait_ready_within(LIMIT)?;
    let frames: Vec<_> = (0..SIZES).map(|number| peer.datagram(number, FRAME_MIN_BYTES + number)).collect();
    let bounced = peer.bounce(SIZES, |number| (frames[number].clone(), swapped(frames[number].clone())));
    with_console(&guest, bounced)?;
    for (number, frame) in frames.iter().enumerate() {
        let came = peer.next_frame(LIMIT)?;
        guest.check(came.as_ref() == Some(frame), &format!("frame {number} was replayed as {came:?}"))?;
    }
    let (outcome, _) = guest.end(LIMIT)?;
    guest.check(outcome == Outcome::Success, &format!("it ended with {outcome:?}"))?;
    for row in [["RX-packets:", &SIZES.to_string()], ["TX-packets:", &SIZES.to_string()]] {
        guest.console_row(&row, Duration::ZERO)?;
    }
    Ok(())
}

/// `vfio-check`, with two devices that share a window.
fn the_host_keeps_its_promises() -> Result<()> {
    let program = programs::program("vfio-check")?;
    let linux = Linux::new("network_to_vfio && vfio-check").modules(&MODULES).huge_pages(LARGE_PAGES);
    let linux = linux.machine(IGB).network("user".into()).network("user".into());
    let mut guest = linux.file("bin/vfio-check", program).start()?;
    let (outcome, _) = guest.end(LIMIT)?;
    guest.check(outcome == Outcome::Success, &format!("it ended with {outcome:?}"))?;
    guest.console_line("every promise kept", Duration::ZERO).map(drop)
}
