//! What the IOMMU is for, and what happens without one.

use std::time::Duration;

use anyhow::Result;

use super::{Case, E1000E, IGB, VIRTIO};
use weir_runner::guest::{Guest, Setup};
use weir_runner::machine::Machine;
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
/// Accesses that the device is told: reads and writes of three places, a write to one that it may read.
const BLOCKED: u64 = 7;

/// Fault reasons of a mode (VT-d 5.10 §7.1.3 Table 30).
struct Reasons {
    /// Writing where nothing is mapped, reading there, writing where reading is allowed.
    absent: [u8; 2],
    read_only: u8,
}

/// Of second-stage tables, legacy mode included: no write permission, no read permission.
const SECOND_STAGE: Reasons = Reasons { absent: [0x5, 0x6], read_only: 0x5 };
/// Of first-stage tables: entry not present, no write permission.
const FIRST_STAGE: Reasons = Reasons { absent: [0x71, 0x71], read_only: 0x85 };

/// Why QEMU's AMD unit tells of none; `iommu/tests/amdvi/faults.rs` shows the others on the strict model.
const SILENT_EMULATOR: &str = "QEMU's amd-iommu blocks what has no page-table entry and what its entry does not permit, but its records, if any, name \
     neither device nor address, and so no owner";

/// The device writes to a page of the window; the page leaves the window; the device is told to write there again,
/// where the program has the page privately, and over the kernel.
pub(super) fn a_bad_descriptor_faults_and_changes_nothing(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, ready) = Setup::new("bad-descriptor").machine(machine).network(peer.netdev()).boot()?;
    // The first frames are the ones that the device writes to wrong places; ARP is asked again until one arrives.
    peer.find_guest().map_err(|error| guest.failure(&format!("{error:#}")))?;
    let line = guest.console_line("the device wrote to 0x", LIMIT)?;
    let place = line.split("wrote to ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
    let line = guest.console_line("which it may only read", LIMIT)?;
    let constant =
        line.split("told to write ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
    let reasons = if ready.iommu == "vtd-scalable-first" { FIRST_STAGE } else { SECOND_STAGE };
    let is_amd = Machine::named(machine)?.is_amd();
    let blocked = if is_amd { 0 } else { BLOCKED };
    if is_amd {
        eprintln!("expected on this emulator: {SILENT_EMULATOR}");
    } else {
        for (what, reason) in ["write to", "read of"].into_iter().zip(reasons.absent) {
            guest.console_line(&format!("{what} {place}, reason {reason}"), LIMIT)?;
            guest.console_line(&format!("{what} 0x200000, reason {reason}"), LIMIT)?;
        }
        guest.console_line(&format!("write to {constant}, reason {}", reasons.read_only), LIMIT)?;
        guest.console_line(&format!("{blocked} accesses blocked, canary intact"), LIMIT)?;
    }
    guest.console_line("wrong descriptors are used up, canary intact", LIMIT)?;
    guest.check(!guest.has_said("DAMAGED"), "the device changed memory that it may not reach")?;
    let status = guest.status()?;
    let owner = status.app("echo").map_or(0, |app| app.iommu_faults);
    guest.check(owner == blocked && (is_amd || status.faults == blocked), &format!("{status:?}"))?;
    if !is_amd {
        supervisor_has(&mut guest, reasons.read_only, constant)?;
    }
    peer.echo(100, |_| 64).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}

/// The supervisor's list has the write to the page at `place`.
fn supervisor_has(guest: &mut Guest, reason: u8, place: &str) -> Result<()> {
    guest.type_line("faults")?;
    guest.console_row(&["echo", "write", place, &format!("{reason:#04x}")], LIMIT).map(drop)
}
