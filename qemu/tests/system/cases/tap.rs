//! What virtio devices do only where QEMU's back end can: checksums, segmentation and several queues, behind a tap of Linux.
//!
//! Each case runs again inside a network namespace, which a bridge of two taps is in. The guest is behind one of them, which takes
//! frames as its driver hands them over: sums unfinished, segments uncut. The other takes finished frames only, so Linux
//! finishes them by what the driver said; the host's end, behind it, compares every byte.

use std::env;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_runner::guest::{Guest, Setup};
use weir_runner::namespace;
pub(super) use weir_runner::namespace::{LINK, NEAR};
use weir_runner::peer::{FRAME_LONG_BYTES, Peer};

use super::{Case, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tap::vtd_virtio::checksums", || inside("tap::vtd_virtio::checksums", NETWORK, || checksums(VIRTIO))),
    ("tap::vtd_packed::checksums", || {
        inside("tap::vtd_packed::checksums", NETWORK, || checksums("q35-vtd-packed"))
    }),
    ("tap::amdvi_virtio::checksums", || {
        inside("tap::amdvi_virtio::checksums", NETWORK, || checksums("q35-amdvi"))
    }),
    ("tap::vtd_virtio::segments", || inside("tap::vtd_virtio::segments", NETWORK, || segments(VIRTIO))),
    ("tap::vtd_packed::segments", || {
        inside("tap::vtd_packed::segments", NETWORK, || segments("q35-vtd-packed"))
    }),
    ("tap::amdvi_virtio::segments", || {
        inside("tap::amdvi_virtio::segments", NETWORK, || segments("q35-amdvi"))
    }),
    ("tap::vtd_virtio::queues", || inside("tap::vtd_virtio::queues", NETWORK, || queues(VIRTIO))),
    ("tap::vtd_packed::queues", || inside("tap::vtd_packed::queues", NETWORK, || queues("q35-vtd-packed"))),
    ("tap::amdvi_virtio::queues", || inside("tap::amdvi_virtio::queues", NETWORK, || queues("q35-amdvi"))),
];

/// Makes the network and becomes the program in its arguments. Without IPv6, so that Linux itself sends nothing.
const NETWORK: &str = "
    echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
    ip link add wire type bridge forward_delay 0 mcast_snooping 0
    ip tuntap add dev guest mode tap vnet_hdr multi_queue
    ip tuntap add dev host mode tap
    for port in guest host; do ip link set $port mtu 9000 master wire up; done
    ip link set wire mtu 9000 up
    exec \"$@\"
";
/// How long the application may take to start.
const LIMIT: Duration = Duration::from_secs(20);
const FRAMES: usize = 1000;
/// A step that is prime to the number of sizes.
const STEP: usize = 37;
/// Bytes in front of a payload of TCP over IPv4, and of data in a piece (`apps/swap`).
const HEADERS_BYTES: usize = 14 + 20 + 20;
const DATA_BYTES: usize = 1000;

/// Whether taps can be made here.
pub(super) fn is_possible() -> bool {
    static IS_POSSIBLE: LazyLock<bool> = LazyLock::new(|| {
        let is_possible = namespace::is_possible();
        if !is_possible {
            eprintln!("the cases tap:: are skipped: they need {}", namespace::NEEDED);
        }
        is_possible
    });
    *IS_POSSIBLE
}

/// Does `work` in a namespace that the script `network` has set up: runs this case of this program there.
pub(super) fn inside(case: &str, network: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if namespace::is_inside() {
        return work();
    }
    let mut command = namespace::with_network(network);
    command.arg(env::current_exe()?).args(["--exact", case, "--nocapture"]);
    let output = command.output().context("no namespace")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    // What the case says, without the result of the program inside: this case has one of its own.
    let said = String::from_utf8_lossy(&said);
    let is_of_the_case = |line: &&str| !["running ", "test "].iter().any(|word| line.starts_with(word));
    said.lines().filter(is_of_the_case).for_each(|line| println!("{line}"));
    Ok(())
}

/// Boots a guest on [`LINK`].
pub(super) fn boot_near(setup: Setup) -> Result<Guest> {
    Ok(setup.network(namespace::TAP.into()).boot()?.0)
}

/// Every checksum that the device fills in is right.
fn checksums(machine: &'static str) -> Result<()> {
    exchange(machine, "swap-fill", "mq=off", |peer| peer.segments(FRAMES, any_size, usize::MAX))
}

/// Every piece that the device cuts is.
fn segments(machine: &'static str) -> Result<()> {
    exchange(machine, "swap-segments", "mq=off", |peer| peer.segments(FRAMES, any_size, DATA_BYTES))
}

/// Two pairs of queues: which gets a frame is the hash's answer.
fn queues(machine: &'static str) -> Result<()> {
    let size = |number| 18 + number * STEP % 1400;
    exchange(machine, "swap-pairs", "mq=on,rss=on", |peer| peer.spread(FRAMES, size, 2))
}

/// Up to 9,000 bytes of payload in the frame.
fn any_size(number: usize) -> usize {
    18 + number * STEP % (FRAME_LONG_BYTES - HEADERS_BYTES - 18)
}

fn exchange(
    machine: &'static str,
    manifest: &'static str,
    properties: &str,
    exchange: impl FnOnce(&mut Peer) -> Result<()>,
) -> Result<()> {
    let mut peer = Peer::new()?;
    let host = peer.netdev().replacen("dgram,", "dgram,id=peer,", 1);
    let tap = |name| format!("ifname={name},script=no,downscript=no");
    let network = format!("tap,{},vnet_hdr=on,queues=2", tap("guest"));
    let setup = Setup::new(manifest).machine(machine).network(network).nic_properties(properties);
    let setup =
        setup.with(&["-netdev", &format!("tap,id=host,{},vnet_hdr=off", tap("host")), "-netdev", &host]);
    let hub = ["-netdev", "hubport,id=a,hubid=9,netdev=host", "-netdev", "hubport,id=b,hubid=9,netdev=peer"];
    let (mut guest, _) = setup.with(&hub).boot()?;
    guest.status_when("a running data path", LIMIT, |status| {
        status.app("swap").is_some_and(|app| app.ready)
    })?;
    exchange(&mut peer).map_err(|error| guest.failure(&format!("{error:#}")))?;
    let app = guest.counted("swap", |app| app.tx_packets >= FRAMES as u64)?;
    let status = guest.status()?;
    guest.check(app.iommu_faults == 0 && status.faults == 0, &format!("faults: {app:?}"))?;
    guest.power_off()
}
