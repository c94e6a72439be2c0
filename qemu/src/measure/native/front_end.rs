//! One run of one system: the end of the rings whose driver is compared.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Mode;
use crate::child;
use crate::testpmd::{Setup, Testpmd, cycles_per_packet};
use crate::tools;

/// Packets in flight where they circulate: half a ring, so that none is ever dropped.
const CIRCULATING: usize = 128;
/// Testpmd's burst.
const BURST: usize = 32;
const ENTRIES: usize = 256;

/// Whose driver it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    WeirSplit,
    DpdkSplit,
    WeirPacked,
    DpdkPacked,
}

impl System {
    /// In the order of a round: Weir's, then DPDK's with the same rings.
    pub(super) const ALL: [System; 4] =
        [System::WeirSplit, System::DpdkSplit, System::WeirPacked, System::DpdkPacked];

    pub(super) fn word(self) -> &'static str {
        match self {
            System::WeirSplit => "weir-split",
            System::DpdkSplit => "dpdk-split",
            System::WeirPacked => "weir-packed",
            System::DpdkPacked => "dpdk-packed",
        }
    }
}

/// What runs, and where.
pub(super) struct Place {
    pub(super) testpmd: tools::Testpmd,
    pub(super) program: PathBuf,
    /// The back end's and the front end's.
    pub(super) cpus: [usize; 2],
}

/// A running front end.
pub(super) enum FrontEnd {
    Weir(Child),
    Dpdk(Testpmd),
}

/// Starts one; packets move when this returns, or soon.
pub(super) fn start(place: &Place, system: System, mode: Mode, socket: &Path) -> Result<FrontEnd> {
    let cpu = place.cpus[1];
    let rings = match system {
        System::WeirSplit => return weir(place, mode, socket, "split"),
        System::WeirPacked => return weir(place, mode, socket, "packed"),
        System::DpdkSplit => "in_order=1,mrg_rxbuf=0",
        System::DpdkPacked => "packed_vq=1,in_order=1,mrg_rxbuf=0,vectorized=1",
    };
    let port = format!("net_virtio_user0,path={},queues=1,queue_size={ENTRIES},{rings}", socket.display());
    let first_bursts = if mode.is_loop() { CIRCULATING / BURST } else { 0 };
    let setup = Setup { cpu, port, mode: mode.at_front_end(), first_bursts };
    let mut testpmd = Testpmd::start(&place.testpmd, &setup)?;
    testpmd.next_rates()?;
    Ok(FrontEnd::Dpdk(testpmd))
}

fn weir(place: &Place, mode: Mode, socket: &Path, rings: &str) -> Result<FrontEnd> {
    let mut command = child::bound(&place.program);
    let circulating = if mode.is_loop() { CIRCULATING } else { 0 };
    command.arg(socket).args(["--rings", rings, "--cpu", &place.cpus[1].to_string()]);
    command.args(["--entries", &ENTRIES.to_string(), "--circulating", &circulating.to_string()]);
    command.arg(mode.at_front_end());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    std::thread::sleep(Duration::from_secs(1));
    Ok(FrontEnd::Weir(child.context("cannot start Weir's front end")?))
}

/// What Weir's program says in its last line.
#[derive(Deserialize)]
struct Said {
    packets: u64,
    busy_cycles: u64,
}

impl FrontEnd {
    /// Ends it: busy cycles per packet.
    pub(super) fn finish(self) -> Result<f64> {
        match self {
            FrontEnd::Dpdk(testpmd) => {
                let text = testpmd.finish()?;
                cycles_per_packet(&text).context("testpmd counted no cycles")
            }
            FrontEnd::Weir(mut child) => {
                drop(child.stdin.take());
                let mut text = String::new();
                child.stdout.take().context("piped")?.read_to_string(&mut text)?;
                if !child.wait()?.success() {
                    bail!("Weir's front end failed");
                }
                let Said { packets, busy_cycles } =
                    serde_json::from_str(text.lines().last().unwrap_or_default())?;
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let cycles = busy_cycles as f64 / packets.max(1) as f64;
                Ok(cycles)
            }
        }
    }
}
