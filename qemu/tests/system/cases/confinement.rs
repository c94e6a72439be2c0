//! What the IOMMU is for, and what happens without one.

use std::time::Duration;

use anyhow::Result;

use super::{Case, E1000E, IGB, VIRTIO};
use weir_runner::guest::Setup;
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("confinement::no_iommu_no_device", no_iommu_no_device),
    ("confinement::a_bad_descriptor_faults_and_changes_nothing", || {
        a_bad_descriptor_faults_and_changes_nothing(VIRTIO)
    }),
    ("confinement::a_bad_descriptor_faults_and_changes_nothing_e1000e", || {
        a_bad_descriptor_faults_and_changes_nothing(E1000E)
    }),
    ("confinement::a_bad_descriptor_faults_and_changes_nothing_igb", || {
        a_bad_descriptor_faults_and_changes_nothing(IGB)
    }),
    ("confinement::unsafe_manifest_is_named_unsafe", unsafe_manifest_is_named_unsafe),
    ("confinement::a_revoked_device_is_gone_and_comes_back", || {
        a_revoked_device_is_gone_and_comes_back(VIRTIO)
    }),
];

fn no_iommu_no_device() -> Result<()> {
    let peer = Peer::new()?;
    let (mut guest, ready) = Setup::new("echo").machine("q35-noiommu").network(peer.netdev()).boot()?;
    let status = guest.status()?;
    let is_running = status.app("echo").is_some_and(|app| app.ready || app.state == "running");
    guest.check(!is_running, "the application got its device although nothing confines it")?;
    guest.check(!ready.iommu.starts_with("vtd"), &format!("the report claims {}", ready.iommu))?;
    guest.console_line("IOMMU", Duration::from_secs(5))?;
    guest.check(guest.has_said("app echo is not started"), "nobody said that echo was not started")?;
    Ok(())
}

/// Taking a device from an application that polls it ends neither with a crash nor with silence.
pub(super) fn a_revoked_device_is_gone_and_comes_back(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = Setup::new("echo").machine(machine).network(peer.netdev()).boot()?;
    peer.echo(100, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.type_line("revoke 01:00.0")?;
    guest.console_line("is revoked", Duration::from_secs(10))?;
    guest.console_line("app echo exited with code 1", Duration::from_secs(10))?;
    guest.check(!guest.has_said("crashed"), "the application crashed instead of finding its device gone")?;
    // The next owner gets it reset.
    guest.type_line("restart echo")?;
    while !guest.status()?.app("echo").is_some_and(|app| app.ready) {}
    peer.echo(100, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))
}

/// Whatever the manifest accepts, nobody may read "confined"; and the device works.
fn unsafe_manifest_is_named_unsafe() -> Result<()> {
    let mut peer = Peer::new()?;
    let setup = Setup::new("echo-unsafe").machine("q35-noiommu").network(peer.netdev());
    let (mut guest, ready) = setup.boot()?;
    guest.check(ready.iommu.contains("unsafe"), &format!("the report says {}", ready.iommu))?;
    guest.console_line("UNSAFE", Duration::from_secs(5))?;
    peer.echo(200, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))
}

/// How long a line may take to come.
const LIMIT: Duration = Duration::from_secs(10);
/// Accesses that the device is told: reads and writes of three places.
const BLOCKED: u64 = 6;
/// Reasons of a unit in legacy mode for a page that may not be written or read (VT-d 5.10 §7.1.3 Table 30): no write
/// permission, no read permission.
const REASONS: [&str; 2] = ["5", "6"];

/// The device writes to a page of the window; the page leaves the window; the device is told to write there again,
/// where the program has the page privately, and over the kernel.
pub(super) fn a_bad_descriptor_faults_and_changes_nothing(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = Setup::new("bad-descriptor").machine(machine).network(peer.netdev()).boot()?;
    // The first frames are the ones that the device writes to wrong places; ARP is asked again until one arrives.
    peer.find_guest().map_err(|error| guest.failure(&format!("{error:#}")))?;
    let line = guest.console_line("the device wrote to 0x", LIMIT)?;
    let place = line.split("wrote to ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
    for (what, reason) in ["write to", "read of"].into_iter().zip(REASONS) {
        guest.console_line(&format!("{what} {place}, reason {reason}"), LIMIT)?;
        guest.console_line(&format!("{what} 0x200000, reason {reason}"), LIMIT)?;
    }
    guest.console_line(&format!("{BLOCKED} accesses blocked, canary intact"), LIMIT)?;
    guest.check(!guest.has_said("DAMAGED"), "the device changed memory that it may not reach")?;
    let status = guest.status()?;
    let owner = status.app("echo").map_or(0, |app| app.iommu_faults);
    guest.check((status.faults, owner) == (BLOCKED, BLOCKED), &format!("{status:?}"))?;
    guest.type_line("faults")?;
    // The first with this reason is the write to the page.
    let row = guest.console_line(" 0x05", LIMIT)?;
    guest.check(
        [" echo ", " write ", place].iter().all(|word| row.contains(word)),
        &format!("faults: {row}"),
    )?;
    peer.echo(100, |_| 64).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}
