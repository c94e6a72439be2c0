//! What Weir is compared with, in the same machine: DPDK's `testpmd` over VFIO, and the sockets of Linux. Here only that
//! they do what the comparison needs, with the same checks as for Weir.

use std::time::Duration;

use anyhow::Result;
use weir_runner::linux::{Linux, dpdk, programs};
use weir_runner::peer::{FRAME_MAX_BYTES, FRAME_MIN_BYTES, PAYLOAD_MAX_BYTES, Peer};

use super::vfio::MODULES;
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("peers::dpdk_swaps_on_virtio", || dpdk_swaps_on(VIRTIO)),
    ("peers::dpdk_swaps_on_e1000e", || dpdk_swaps_on(E1000E)),
    ("peers::dpdk_swaps_on_igb", || dpdk_swaps_on(IGB)),
    ("peers::linux_echoes_on_virtio", linux_echoes_on_virtio),
];

const LIMIT: Duration = Duration::from_secs(170);

/// One port, one core, bursts of 32: what comes in at the port goes out there. It ends with the next line typed.
const TESTPMD: &str = "network_to_vfio && mkdir -p /var/run /run && dpdk-testpmd --lcores 0@0,1@0 --no-telemetry \
    --in-memory --iova-mode=va -- --forward-mode=macswap --nb-cores=1 --burst=32 --total-num-mbufs=4096";

fn dpdk_swaps_on(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let linux = dpdk::add_to(Linux::new(TESTPMD))?.machine(machine).modules(&MODULES).huge_pages(64);
    let mut guest = linux.network(peer.netdev()).start()?;
    guest.console_line("Press enter to exit", LIMIT)?;
    let sizes = FRAME_MAX_BYTES - FRAME_MIN_BYTES + 1;
    let swapped = peer.swap(sizes, |number| FRAME_MIN_BYTES + number);
    swapped.map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}

/// The kernel's own driver and sockets.
const ECHO: &str = r#"
ip link set eth0 up && ip address add 10.0.0.2/24 dev eth0 && udp-echo &
until [ "$line" = poweroff ]; do read -r line; done
"#;

fn linux_echoes_on_virtio() -> Result<()> {
    let mut peer = Peer::new()?;
    let linux = Linux::new(ECHO).modules(&["virtio_pci", "virtio_net"]);
    let linux = linux.file("bin/udp-echo", programs::program("udp-echo")?);
    let mut guest = linux.network(peer.netdev()).start()?;
    guest.console_line("udp-echo: answering", LIMIT)?;
    let echoed = peer.find_guest().and_then(|_| peer.echo(2000, |number| number % (PAYLOAD_MAX_BYTES + 1)));
    echoed.map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}
