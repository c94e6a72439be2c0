//! What the IOMMU is for, and what happens without one.

use std::time::Duration;

use anyhow::Result;

use super::Case;
use crate::guest::Setup;
use crate::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("confinement::no_iommu_no_device", no_iommu_no_device),
    ("confinement::unsafe_manifest_is_named_unsafe", unsafe_manifest_is_named_unsafe),
    ("confinement::a_revoked_device_is_gone_and_comes_back", a_revoked_device_is_gone_and_comes_back),
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
fn a_revoked_device_is_gone_and_comes_back() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = Setup::new("echo").network(peer.netdev()).boot()?;
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
