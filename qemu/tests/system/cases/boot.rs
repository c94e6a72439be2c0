//! Weir starts on machines of every size, and answers there.

use std::time::Duration;

use anyhow::Result;
use weir_runner::vm::Outcome;

use super::Case;
use weir_runner::guest::Setup;
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("boot::on_1_cpu", || boots(1, "512M")),
    ("boot::on_2_cpus", || boots(2, "512M")),
    ("boot::on_4_cpus", || boots(4, "512M")),
    ("boot::on_8_cpus", || boots(8, "512M")),
    ("boot::with_128_mib", || boots(2, "128M")),
    ("boot::with_8_gib", || boots(2, "8G")),
    ("boot::a_panic_shows_functions_files_and_lines", a_panic_shows_functions_files_and_lines),
];

fn boots(cpus: u32, memory: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, ready) = Setup::new("echo").cpus(cpus).memory(memory).network(peer.netdev()).boot()?;
    guest.check(ready.cpus == cpus, &format!("{} of {cpus} CPUs run", ready.cpus))?;
    guest.check(ready.iommu == "vtd-legacy", &format!("the IOMMU is {}", ready.iommu))?;
    let status = guest.status()?;
    let free_mib = status.frames_free / 256;
    let mib: u64 = if memory == "8G" { 8192 } else { memory.trim_end_matches('M').parse()? };
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
