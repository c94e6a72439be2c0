//! Every way to confine devices: the same cases on a machine of each kind.

use anyhow::Result;

use super::{Case, boot, confinement, echo, restart, selftest};
use weir_runner::guest::Setup;

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
    let machines = [every_case!("q35-amdvi-x2apic", "amd-vi"), few_cases!("q35-amdvi", "amd-vi").to_vec()];
    machines.concat()
}

fn boots_in(machine: &'static str, mode: &str) -> Result<()> {
    boot::boots(Setup::new("echo").machine(machine), 4, 512, mode)
}
