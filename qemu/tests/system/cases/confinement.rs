//! What the IOMMU is for, and what happens without one.

use std::time::Duration;

use anyhow::Result;

use super::Case;
use weir_runner::guest::Setup;
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("confinement::no_iommu_no_device", no_iommu_no_device),
    ("confinement::unsafe_manifest_is_named_unsafe", unsafe_manifest_is_named_unsafe),
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

/// Whatever the manifest accepts, nobody may read "confined".
fn unsafe_manifest_is_named_unsafe() -> Result<()> {
    let peer = Peer::new()?;
    let setup = Setup::new("echo-unsafe").machine("q35-noiommu").network(peer.netdev());
    let (mut guest, ready) = setup.boot()?;
    guest.check(ready.iommu.contains("unsafe"), &format!("the report says {}", ready.iommu))?;
    guest.console_line("UNSAFE", Duration::from_secs(5)).map(drop)
}
