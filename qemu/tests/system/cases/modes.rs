//! Every way to confine devices: the same cases on a machine of each kind.

use std::time::Duration;

use anyhow::Result;

use super::{Case, boot, confinement, echo, restart, selftest};
use weir_runner::guest::Setup;
use weir_runner::peer::Peer;

/// How long a line may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// The cases of a machine, which the kernel must confine in `mode`.
macro_rules! every_case {
    ($machine:literal, $mode:literal) => {
        [
            few_cases!($machine, $mode).as_slice(),
            &[
                (concat!("modes::", $machine, "::selftest"), || selftest::all_on($machine, 2)),
                (concat!("modes::", $machine, "::no_kernel_entry"), || {
                    echo::no_kernel_entry_on_a_granted_core($machine)
                }),
                (concat!("modes::", $machine, "::crash_loop"), || {
                    restart::crash_loop_next_to_traffic($machine)
                }),
                (concat!("modes::", $machine, "::twenty_crashes"), || {
                    restart::twenty_crashes_lose_no_frame($machine)
                }),
                (concat!("modes::", $machine, "::killed_and_back"), || {
                    restart::killed_at_full_traffic_and_back($machine)
                }),
            ],
        ]
        .concat()
    };
}

/// Those that a variant of a machine must pass, too.
macro_rules! few_cases {
    ($machine:literal, $mode:literal) => {
        [
            (concat!("modes::", $machine, "::boots"), (|| boots_in($machine, $mode)) as Case),
            (concat!("modes::", $machine, "::echo"), || echo::every_size_comes_back_intact($machine)),
            (concat!("modes::", $machine, "::wakes"), || echo::sleeps_and_wakes_on_a_shared_core($machine)),
            (concat!("modes::", $machine, "::bad_descriptor"), || {
                confinement::a_bad_descriptor_faults_and_changes_nothing($machine)
            }),
            (concat!("modes::", $machine, "::revoked"), || {
                confinement::a_revoked_device_is_gone_and_comes_back($machine)
            }),
        ]
    };
}

/// The default machine has its cases elsewhere, under names of their own.
pub(super) fn cases() -> Vec<(&'static str, Case)> {
    [
        every_case!("q35-scalable-first", "vtd-scalable-first"),
        every_case!("q35-scalable-second", "vtd-scalable-second"),
        every_case!("q35-amdvi-x2apic", "amd-vi"),
        few_cases!("q35-vtd-39", "vtd-legacy").to_vec(),
        few_cases!("q35-vtd-caching", "vtd-legacy").to_vec(),
        few_cases!("q35-scalable-first-caching", "vtd-scalable-first").to_vec(),
        few_cases!("q35-scalable-second-39", "vtd-scalable-second").to_vec(),
        few_cases!("q35-scalable-second-caching", "vtd-scalable-second").to_vec(),
        few_cases!("q35-amdvi", "amd-vi").to_vec(),
        CASES.to_vec(),
    ]
    .concat()
}

const CASES: &[(&str, Case)] = &[
    ("modes::a_forced_mode_is_met", a_forced_mode_is_met),
    ("modes::a_forced_mode_that_is_not_there_is_refused", a_forced_mode_that_is_not_there_is_refused),
    ("modes::an_unknown_mode_is_refused", an_unknown_mode_is_refused),
    ("modes::the_device_root_leads_to_user_memory_only", the_device_root_leads_to_user_memory_only),
];

/// The machine has a better mode, which would be taken unasked.
fn a_forced_mode_is_met() -> Result<()> {
    let setup = Setup::new("echo").machine("q35-scalable-first").words("iommu=legacy");
    boot::boots(setup, 2, 512, "vtd-legacy")
}

fn a_forced_mode_that_is_not_there_is_refused() -> Result<()> {
    let setup = Setup::new("echo").machine("q35-vtd").words("iommu=scalable-first");
    nothing_is_granted(
        setup,
        "iommu=scalable-first was asked for, and not every unit of this machine has that mode",
    )
}

fn an_unknown_mode_is_refused() -> Result<()> {
    let setup = Setup::new("echo").machine("q35-vtd").words("iommu=passthrough");
    nothing_is_granted(setup, "iommu= is none of auto, legacy, scalable-second, scalable-first, amd")
}

/// No weaker mode takes the place of the one that cannot be had.
fn nothing_is_granted(setup: Setup, reason: &str) -> Result<()> {
    let peer = Peer::new()?;
    let (mut guest, ready) = setup.network(peer.netdev()).boot()?;
    guest.console_line(reason, LIMIT)?;
    guest.check(ready.iommu.starts_with("off"), &format!("the IOMMU is {}", ready.iommu))?;
    let status = guest.status()?;
    let is_running = status.app("echo").is_some_and(|app| app.ready || app.state == "running");
    guest.check(!is_running, "the application got its device although nothing confines it")
}

/// The kernel itself walks the root that it gives to devices, whenever something in it changes (`check_tables=on`), and
/// panics where that leads to anything but memory of the owner that is mapped for DMA.
fn the_device_root_leads_to_user_memory_only() -> Result<()> {
    let mut peer = Peer::new()?;
    let setup = Setup::new("echo").machine("q35-scalable-first").words("log=debug").network(peer.netdev());
    let (mut guest, _) = setup.boot()?;
    guest.console_line("leaves, all of them memory mapped for DMA", LIMIT)?;
    peer.echo(100, |_| 64).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}

fn boots_in(machine: &'static str, mode: &str) -> Result<()> {
    boot::boots(Setup::new("echo").machine(machine), 4, 512, mode)
}
