//! What is particular to the virtio network device: packed rings, devices that work in order, queue sizes, its link.
//! Split rings have the cases of every other file.

use std::time::Duration;

use anyhow::Result;
use weir_runner::guest::Setup;

use super::{Case, echo, restart};

/// How long a line may take to come: the application looks at its link ten times a second.
const LIMIT: Duration = Duration::from_secs(20);

/// The cases of a machine.
macro_rules! cases {
    ($name:literal, $machine:literal) => {
        [
            (
                concat!("virtio::", $name, "::every_size"),
                (|| echo::every_size_comes_back_intact($machine)) as Case,
            ),
            (concat!("virtio::", $name, "::no_kernel_entry"), || {
                echo::no_kernel_entry_on_a_granted_core($machine)
            }),
            (concat!("virtio::", $name, "::wakes"), || echo::sleeps_and_wakes_on_a_shared_core($machine)),
            (concat!("virtio::", $name, "::link"), || the_link_goes_down_and_comes_back($machine)),
            (concat!("virtio::", $name, "::in_order"), || with_properties($machine, "in_order=on")),
            (concat!("virtio::", $name, "::no_event_index"), || with_properties($machine, "event_idx=off")),
            (concat!("virtio::", $name, "::no_tables"), || with_properties($machine, "indirect_desc=off")),
            (concat!("virtio::", $name, "::long_ring"), || {
                let long = Setup::new("echo-long").machine($machine);
                echo::every_size_of(long.nic_properties("rx_queue_size=1024"))
            }),
            (concat!("virtio::", $name, "::short_ring"), || echo::every_size_by_eight($machine)),
        ]
    };
}

/// Packed rings with either IOMMU; of split ones what the other files have not.
pub(super) fn cases() -> Vec<(&'static str, Case)> {
    let split = |(name, _): &(&'static str, Case)| {
        ["link", "in_order", "no_event_index", "long_ring", "short_ring"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let mut all: Vec<(&'static str, Case)> = vec![
        ("virtio::packed_vtd::killed_and_back", || {
            restart::killed_at_full_traffic_and_back("q35-vtd-packed")
        }),
        ("virtio::packed_amdvi::killed_and_back", || {
            restart::killed_at_full_traffic_and_back("q35-amdvi-packed")
        }),
    ];
    all.extend(cases!("packed_vtd", "q35-vtd-packed"));
    all.extend(cases!("packed_amdvi", "q35-amdvi-packed"));
    all.extend(cases!("split_vtd", "q35-vtd").into_iter().filter(split));
    all.extend(cases!("split_amdvi", "q35-amdvi").into_iter().filter(split));
    all
}

fn with_properties(machine: &'static str, properties: &str) -> Result<()> {
    echo::every_size_of(Setup::new("echo").machine(machine).nic_properties(properties))
}

fn the_link_goes_down_and_comes_back(machine: &'static str) -> Result<()> {
    let (mut guest, mut peer) = echo::boot_setup(Setup::new("echo").machine(machine))?;
    guest.set_link(0, false)?;
    guest.console_line("nic: the link is down", LIMIT)?;
    guest.set_link(0, true)?;
    guest.console_line("nic: the link is up", LIMIT)?;
    peer.echo(100, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}
