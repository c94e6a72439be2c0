//! Beyond ordinary frames: long ones, and Intel's checksums (`apps/swap`); the shortest and longest rings of Intel's controllers.

use std::time::Duration;

use anyhow::Result;
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{FRAME_LONG_BYTES, FRAME_MIN_BYTES, Peer};

use super::{Case, E1000E, IGB, VIRTIO, echo};

pub(super) const CASES: &[(&str, Case)] = &[
    ("frames::vtd_e1000e::long_frames", || long_frames(E1000E)),
    ("frames::vtd_igb::long_frames", || long_frames(IGB)),
    ("frames::amdvi_e1000e::long_frames", || long_frames("q35-amdvi-e1000e")),
    ("frames::amdvi_igb::long_frames", || long_frames("q35-amdvi-igb")),
    ("frames::vtd_virtio::long_frames", || long_frames(VIRTIO)),
    ("frames::vtd_packed::long_frames", || long_frames("q35-vtd-packed")),
    ("frames::amdvi_virtio::long_frames", || long_frames("q35-amdvi")),
    ("frames::amdvi_packed::long_frames", || long_frames("q35-amdvi-packed")),
    ("frames::vtd_e1000e::checksums", || checksums(E1000E)),
    ("frames::vtd_igb::checksums", || checksums(IGB)),
    ("frames::amdvi_e1000e::checksums", || checksums("q35-amdvi-e1000e")),
    ("frames::amdvi_igb::checksums", || checksums("q35-amdvi-igb")),
    ("frames::vtd_igb::queues", || queues(IGB)),
    ("frames::amdvi_igb::queues", || queues("q35-amdvi-igb")),
    ("frames::vtd_e1000e::short_ring", || echo::every_size_by_eight(E1000E)),
    ("frames::vtd_igb::short_ring", || echo::every_size_by_eight(IGB)),
    ("frames::vtd_e1000e::long_ring", || long_ring(E1000E)),
    ("frames::vtd_igb::long_ring", || long_ring(IGB)),
];

/// How long the application may take to start.
const LIMIT: Duration = Duration::from_secs(20);
/// Frames of each case, and a step that is prime to the number of sizes.
const FRAMES: usize = 2000;
const STEP: usize = 37;
/// Bytes in front of a payload of TCP over IPv4.
const HEADERS_BYTES: usize = 14 + 20 + 20;

fn boot(manifest: &'static str, machine: &'static str) -> Result<(Guest, Peer)> {
    let peer = Peer::new()?;
    let (mut guest, _) = Setup::new(manifest).machine(machine).network(peer.netdev()).boot()?;
    guest.status_when("a running data path", LIMIT, |status| {
        status.app("swap").is_some_and(|app| app.ready)
    })?;
    Ok((guest, peer))
}

/// All came back, and no access was blocked.
fn end(mut guest: Guest, outcome: Result<()>) -> Result<()> {
    outcome.map_err(|error| guest.failure(&format!("{error:#}")))?;
    let app = guest.counted("swap", |app| app.tx_packets >= FRAMES as u64)?;
    let status = guest.status()?;
    guest.check(app.iommu_faults == 0 && status.faults == 0, &format!("faults: {app:?}"))?;
    guest.power_off()
}

/// Two pairs of queues: which gets a frame is the hash's answer.
fn queues(machine: &'static str) -> Result<()> {
    let (guest, mut peer) = boot("swap-pairs", machine)?;
    let outcome = peer.spread(FRAMES, |number| 18 + number * STEP % 1400, 2);
    end(guest, outcome)
}

fn long_ring(machine: &'static str) -> Result<()> {
    echo::every_size_of(Setup::new("echo-long").machine(machine))
}

/// From the shortest frame to one with 9,000 bytes of payload.
fn long_frames(machine: &'static str) -> Result<()> {
    let (guest, mut peer) = boot("swap-long", machine)?;
    let sizes = FRAME_LONG_BYTES - FRAME_MIN_BYTES + 1;
    let outcome = peer.swap(FRAMES, |number| FRAME_LONG_BYTES - number * STEP % sizes);
    end(guest, outcome)
}

/// UDP and TCP, right and wrong.
fn checksums(machine: &'static str) -> Result<()> {
    let (guest, mut peer) = boot("swap-checksums", machine)?;
    let sizes = FRAME_LONG_BYTES - HEADERS_BYTES - 18;
    let outcome = peer.checksums(FRAMES, |number| 18 + number * STEP % sizes);
    end(guest, outcome)
}
