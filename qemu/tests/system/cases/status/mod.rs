//! The status page and what it shows.

use std::time::Duration;

use anyhow::Result;

use super::Case;
use weir_runner::guest::Setup;

pub(super) const CASES: &[(&str, Case)] =
    &[("status::a_rogue_is_stopped_and_told", a_rogue_is_stopped_and_told)];

/// How long a line may take to come.
const LIMIT: Duration = Duration::from_secs(20);

/// What the button starts: each access blocked, told to its owner, and nothing changed.
fn a_rogue_is_stopped_and_told() -> Result<()> {
    let (mut guest, _) = Setup::new("rogue").edu().boot()?;
    guest.console_line("rogue: blocked: 0000:01:00.0 write to 0x200000, reason 0x5", LIMIT)?;
    guest.console_line("rogue: blocked: 0000:01:00.0 read of 0xdeadd000, reason 0x6", LIMIT)?;
    guest.console_line("rogue: 9 accesses tried, 9 told as blocked", LIMIT)?;
    guest.console_line("app rogue exited", LIMIT)?;
    let status = guest.status()?;
    let rogue = status.app("rogue").cloned().unwrap_or_default();
    guest.check(
        rogue.state == "exited" && rogue.code == 0 && rogue.iommu_faults == 9,
        &format!("{status:?}"),
    )?;
    guest.power_off()
}
