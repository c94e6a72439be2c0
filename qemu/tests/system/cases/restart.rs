//! An application that crashes for ever, beside one that must not notice.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Case;
use weir_runner::guest::Setup;
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] =
    &[("restart::crash_loop_next_to_traffic", crash_loop_next_to_traffic)];

/// Lives that the crashing application must have ended.
const CRASHES: u64 = 5;

fn crash_loop_next_to_traffic() -> Result<()> {
    let (mut steady, crasher) = (Peer::new()?, Peer::new()?);
    let setup = Setup::new("crash-loop").cpus(4).network(steady.netdev()).network(crasher.netdev());
    let (mut guest, _) = setup.boot()?;
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut echoed = 0;
    loop {
        steady.echo(500, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))?;
        echoed += 500;
        guest.counted("steady", |app| app.rx_packets >= echoed)?;
        let status = guest.status()?;
        let (Some(steady), Some(crasher)) = (status.app("steady"), status.app("crasher")) else {
            return Err(guest.failure("the report lacks an application"));
        };
        guest.check(
            steady.restarts == 0 && steady.state == "running",
            &format!("steady suffered: {steady:?}"),
        )?;
        if crasher.restarts >= CRASHES {
            break;
        }
        guest.check(Instant::now() < deadline, &format!("only {} restarts", crasher.restarts))?;
    }
    guest.check(guest.has_said("crasher: "), "no backtrace of the crashed application was printed")?;
    // An application that is still being restarted is no failure of the system.
    guest.type_line("poweroff")
}
