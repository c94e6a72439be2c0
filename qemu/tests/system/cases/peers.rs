//! What Weir is compared with, in the same machine: DPDK's `testpmd` over VFIO, and the sockets of Linux. Here only that
//! they do what the comparison needs, with the same checks as for Weir, and that Weir's counts stay below theirs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_runner::linux::{Linux, dpdk, programs};
use weir_runner::measure::{block, packets};
use weir_runner::peer::{FRAME_MAX_BYTES, FRAME_MIN_BYTES, PAYLOAD_MAX_BYTES, Peer};

use super::vfio::MODULES;
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("peers::dpdk_swaps_on_virtio", || dpdk_swaps_on(VIRTIO)),
    ("peers::dpdk_swaps_on_e1000e", || dpdk_swaps_on(E1000E)),
    ("peers::dpdk_swaps_on_igb", || dpdk_swaps_on(IGB)),
    ("peers::linux_echoes_on_virtio", linux_echoes_on_virtio),
    ("peers::dpdk_takes_more_instructions_virtio", || dpdk_takes_more(VIRTIO, 487.0)),
    ("peers::dpdk_takes_more_instructions_packed", || dpdk_takes_more("q35-vtd-packed", 422.0)),
    ("peers::dpdk_takes_more_instructions_e1000e", || dpdk_takes_more(E1000E, 272.0)),
    ("peers::dpdk_takes_more_instructions_igb", || dpdk_takes_more(IGB, 294.0)),
    ("peers::linux_takes_more_instructions_nvme", || linux_takes_more(VIRTIO, 3)),
    ("peers::linux_takes_more_instructions_virtio_blk", || linux_takes_more("q35-vtd-virtio-blk", 1)),
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

/// Weir's instructions per frame, in proportion to DPDK's, in bursts of more than one.
const DPDK_PART_MAX: f64 = 0.7;
/// How far testpmd's count may be from what was measured by other means on the same versions.
const DPDK_SPREAD: f64 = 0.1;

/// `known`: testpmd's instructions per frame in bursts of 32. Another figure would mean that this one is taken wrongly.
fn dpdk_takes_more(machine: &str, known: f64) -> Result<()> {
    let rows = packets::measure_beside(machine, true)?;
    ensure!(rows.len() == 3, "{rows:?}");
    for row in &rows {
        let peer = row.peer.as_ref().context("a figure of DPDK")?;
        let part = row.instructions_per_frame / peer.instructions_per_frame;
        let part_max = if row.burst == 1 { 1.0 } else { DPDK_PART_MAX };
        ensure!(part <= part_max, "Weir takes {part} of DPDK's instructions: {row:?}");
        #[expect(clippy::cast_precision_loss, reason = "at most 32")]
        let burst = row.burst as f64;
        // testpmd does not wait for bursts to fill, and a loaded machine fills them more slowly.
        ensure!(peer.frames_per_burst <= burst && peer.frames_per_burst >= burst / 4.0, "{row:?}");
    }
    let theirs = rows.last().and_then(|row| row.peer.as_ref()).context("three rows")?.instructions_per_frame;
    ensure!((theirs / known - 1.0).abs() <= DPDK_SPREAD, "testpmd took {theirs}, and {known} before");
    Ok(())
}

/// Linux's instructions per request, in proportion to Weir's: the aim. Linux that confines no device takes 6 times as many.
const LINUX_RATIO_MIN: f64 = 3.0;

/// Reads and writes at three depths, in `modes` modes: with interrupts, polled, and without an IOMMU.
fn linux_takes_more(machine: &str, modes: usize) -> Result<()> {
    let table = block::measure(machine, Some(block::PEER_IOS_QUICK))?;
    ensure!(table.rows.len() == 6 && table.peers.len() == 6 * modes, "{table:?}");
    for peer in &table.peers {
        ensure!(peer.ratio >= LINUX_RATIO_MIN, "{peer:?}");
        // A system call for each batch at least, and hardly more than two, and an interrupt, for each request.
        let batch = f64::from(peer.depth.min(32));
        let entries = peer.kernel_entries_per_io * batch;
        ensure!((0.9..4.0).contains(&entries), "{peer:?}");
        ensure!(peer.user_per_io > 20 && peer.kernel_per_io > 500, "{peer:?}");
    }
    Ok(())
}
