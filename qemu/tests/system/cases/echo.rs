//! The echo application: nothing lost, nothing changed, and the kernel not entered.

use std::time::Duration;

use anyhow::Result;
use weir_runner::report::{App, Status};

use super::{Case, E1000E, IGB, VIRTIO};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{PAYLOAD_MAX_BYTES, Peer};

pub(super) const CASES: &[(&str, Case)] = &[
    ("echo::every_size_comes_back_intact", || every_size_comes_back_intact(VIRTIO)),
    ("echo::every_size_comes_back_intact_e1000e", || every_size_comes_back_intact(E1000E)),
    ("echo::every_size_comes_back_intact_igb", || every_size_comes_back_intact(IGB)),
    ("echo::no_kernel_entry_on_a_granted_core", || no_kernel_entry_on_a_granted_core(VIRTIO)),
    ("echo::no_kernel_entry_on_a_granted_core_e1000e", || no_kernel_entry_on_a_granted_core(E1000E)),
    ("echo::no_kernel_entry_on_a_granted_core_igb", || no_kernel_entry_on_a_granted_core(IGB)),
    ("echo::sleeps_and_wakes_on_a_shared_core", || sleeps_and_wakes_on_a_shared_core(VIRTIO)),
    ("echo::sleeps_and_wakes_on_a_shared_core_e1000e", || sleeps_and_wakes_on_a_shared_core(E1000E)),
    ("echo::sleeps_and_wakes_on_a_shared_core_igb", || sleeps_and_wakes_on_a_shared_core(IGB)),
    ("echo::malformed_frames_are_dropped", malformed_frames_are_dropped),
];

/// Boots the echo application on the peer's network.
fn boot(machine: &'static str, manifest: &'static str, cpus: u32) -> Result<(Guest, Peer)> {
    boot_setup(Setup::new(manifest).machine(machine).cpus(cpus))
}

/// The same, of a machine that lacks but the network.
pub(super) fn boot_setup(setup: Setup) -> Result<(Guest, Peer)> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = setup.network(peer.netdev()).boot()?;
    guest.status_when("a running data path", Duration::from_secs(20), |status| {
        status.app("echo").is_some_and(|app| app.ready)
    })?;
    match peer.find_guest() {
        Ok(_) => Ok((guest, peer)),
        Err(error) => Err(guest.failure(&error.to_string())),
    }
}

fn echo_app(guest: &Guest, status: &Status) -> Result<App> {
    status.app("echo").cloned().ok_or_else(|| guest.failure("the report has no application echo"))
}

/// Gives the network's error the guest's console.
fn with_console(guest: &Guest, result: Result<()>) -> Result<()> {
    result.map_err(|error| guest.failure(&format!("{error:#}")))
}

pub(super) fn every_size_comes_back_intact(machine: &'static str) -> Result<()> {
    every_size_of(Setup::new("echo").machine(machine))
}

pub(super) fn every_size_of(setup: Setup) -> Result<()> {
    let (guest, peer) = boot_setup(setup)?;
    every_size(guest, peer)
}

/// The same with rings of eight descriptors: as many frames are under way.
pub(super) fn every_size_by_eight(machine: &'static str) -> Result<()> {
    let (guest, mut peer) = boot_setup(Setup::new("echo-short").machine(machine))?;
    peer.set_window(8);
    every_size(guest, peer)
}

fn every_size(mut guest: Guest, mut peer: Peer) -> Result<()> {
    // 2,000 datagrams: every size from empty to a full frame, then again some.
    with_console(&guest, peer.echo(2000, |number| number % (PAYLOAD_MAX_BYTES + 1)))?;
    for (sequence, bytes) in [(1, 0), (2, 56), (3, 1400)] {
        with_console(&guest, peer.ping(sequence, bytes))?;
    }
    let app = guest.counted("echo", |app| app.rx_packets >= 2003 && app.tx_packets >= 2003)?;
    let status = guest.status()?;
    guest.check(
        app.device_errors == 0 && app.iommu_faults == 0 && status.faults == 0,
        &format!("faults: {app:?}"),
    )?;
    guest.power_off()
}

/// Packets of the long run.
const BURST: usize = 100_000;

pub(super) fn no_kernel_entry_on_a_granted_core(machine: &'static str) -> Result<()> {
    let (mut guest, mut peer) = boot(machine, "echo", 2)?;
    let status = guest.status()?;
    let before = echo_app(&guest, &status)?;
    with_console(&guest, peer.echo(BURST, |number| 18 + number % 1000))?;
    let after = guest.counted("echo", |app| app.rx_packets >= before.rx_packets + BURST as u64)?;
    let packets = after.rx_packets - before.rx_packets;
    let entries = after.data_path_kernel_entries;
    guest.check(entries == 0, &format!("{entries} kernel entries of the data path in {packets} packets"))?;
    guest.power_off()
}

pub(super) fn sleeps_and_wakes_on_a_shared_core(machine: &'static str) -> Result<()> {
    let (mut guest, mut peer) = boot(machine, "echo-shared", 1)?;
    with_console(&guest, peer.echo(500, |number| 64 + number))?;
    // Idle for long enough to sleep, then a single packet: an interrupt must wake it.
    for number in 0..5 {
        std::thread::sleep(Duration::from_millis(300));
        let is_back = peer.echo_one(number, Duration::from_secs(5))?;
        guest.check(is_back, &format!("packet {number} after a pause was not answered"))?;
    }
    let status = guest.status()?;
    let app = echo_app(&guest, &status)?;
    guest.check(app.sleep_kernel_entries > 0, &format!("it never slept: {app:?}"))?;
    guest.check(app.sleep_kernel_entries <= app.data_path_kernel_entries, &format!("{app:?}"))?;
    guest.power_off()
}

fn malformed_frames_are_dropped() -> Result<()> {
    let (mut guest, mut peer) = boot(VIRTIO, "echo", 2)?;
    let status = guest.status()?;
    let before = echo_app(&guest, &status)?;
    for frame in peer.malformed()? {
        peer.send(&frame)?;
    }
    with_console(&guest, peer.echo(100, |_| 64))?;
    let status = guest.status()?;
    let after = echo_app(&guest, &status)?;
    guest.check(after.dropped > before.dropped, &format!("nothing was dropped: {after:?}"))?;
    guest.check(after.restarts == 0 && after.device_errors == 0, &format!("{after:?}"))?;
    guest.power_off()
}
