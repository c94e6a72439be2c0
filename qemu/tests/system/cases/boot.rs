//! Weir starts on machines of every size, and answers there.

use std::time::Duration;

use anyhow::Result;
use weir_runner::vm::Outcome;

use super::Case;
use weir_runner::guest::Setup;
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("boot::on_1_cpu", || boots(Setup::new("echo"), 1, 512, VTD)),
    ("boot::on_2_cpus", || boots(Setup::new("echo"), 2, 512, VTD)),
    ("boot::on_4_cpus", || boots(Setup::new("echo"), 4, 512, VTD)),
    ("boot::on_8_cpus", || boots(Setup::new("echo"), 8, 512, VTD)),
    ("boot::with_128_mib", || boots(Setup::new("echo").memory("128M"), 2, 128, VTD)),
    ("boot::with_8_gib", || boots(Setup::new("echo").memory("8G"), 2, 8192, VTD)),
    ("boot::a_panic_shows_functions_files_and_lines", a_panic_shows_functions_files_and_lines),
];

/// How the default machine confines devices.
const VTD: &str = "vtd-legacy";

/// A machine with so much memory as given starts, confines devices as it should, and answers.
pub(super) fn boots(setup: Setup, cpus: u32, mib: u64, mode: &str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, ready) = setup.cpus(cpus).network(peer.netdev()).boot()?;
    guest.check(ready.cpus == cpus, &format!("{} of {cpus} CPUs run", ready.cpus))?;
    guest.check(ready.iommu == mode, &format!("the IOMMU is {}", ready.iommu))?;
    let status = guest.status()?;
    let free_mib = status.frames_free / 256;
    // Kernel, programs and bundle stay below 64 MiB, the records of frames take 1/128; the rest must be usable,
    // above 4 GiB too.
    guest.check(
        (mib - 64 - mib / 128..mib).contains(&free_mib),
        &format!("{free_mib} of {mib} MiB are free"),
    )?;
    if let Err(error) = peer.ping(1, 56) {
        return Err(guest.failure(&error.to_string()));
    }
    guest.power_off()
}

/// A bundle that is none: the kernel cannot start its first process.
fn a_panic_shows_functions_files_and_lines() -> Result<()> {
    let mut guest = Setup::new("idle").bundle(b"no bundle".to_vec()).start()?;
    let (outcome, _) = guest.end(Duration::from_secs(20))?;
    guest.check(outcome == Outcome::Panic, &format!("the machine ended with {outcome:?}"))?;
    guest.check(guest.has_said("PANIC"), "the console names no panic")?;
    guest.check(guest.has_said("(kernel/src/boot/init.rs:"), "the backtrace names no source line")
}
