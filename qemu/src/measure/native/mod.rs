//! `weir measure native`: Weir's virtio library and DPDK's virtio-user driver, natively, against the same back end.
//!
//! **Invariant: rates are compared only within a round, in which all systems ran one after the other against one back
//! end; and only medians of such ratios are reported, with their spread.** What each row is, and what it cannot show:
//! `bench/suites/native_mpps/README.md`.
//!
//! Reading order: this file (the rounds) · [`front_end`] (one run of one system) · [`table`] (medians, table, JSON).

mod front_end;
mod table;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use self::front_end::{Place, System};
use self::table::{Row, Sample};
use crate::build;
use crate::progress::Step;
use crate::testpmd::{Rates, Testpmd};
use crate::tools;

/// What is done with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Transmit,
    Receive,
    Io,
    Macswap,
}

impl Mode {
    const ALL: [Mode; 4] = [Mode::Transmit, Mode::Receive, Mode::Io, Mode::Macswap];

    /// Its name in the table.
    fn word(self) -> &'static str {
        match self {
            Mode::Transmit => "tx",
            Mode::Receive => "rx",
            Mode::Io => "io",
            Mode::Macswap => "macswap",
        }
    }

    /// Testpmd's mode at this end.
    fn at_front_end(self) -> &'static str {
        match self {
            Mode::Transmit => "txonly",
            Mode::Receive => "rxonly",
            Mode::Io => "io",
            Mode::Macswap => "macswap",
        }
    }

    /// Testpmd's mode at the other end.
    fn at_back_end(self) -> &'static str {
        match self {
            Mode::Transmit => "rxonly",
            Mode::Receive => "txonly",
            Mode::Io | Mode::Macswap => "io",
        }
    }

    /// What the back end counts.
    fn counted(self, rates: Rates) -> u64 {
        if self == Mode::Receive { rates.sent } else { rates.received }
    }

    /// Whether packets circulate.
    fn is_loop(self) -> bool {
        matches!(self, Mode::Io | Mode::Macswap)
    }
}

/// Measures, prints a table and writes the result file.
///
/// # Errors
/// DPDK cannot be had, something does not build, or a run moved no packets.
pub(super) fn run(quick: bool, json: Option<File>) -> Result<ExitCode> {
    let (rounds, modes) = if quick { (1, &[Mode::Transmit, Mode::Macswap][..]) } else { (6, &Mode::ALL[..]) };
    let place = Place { testpmd: tools::testpmd()?, program: build_program()?, cpus: two_cpus()? };
    let load = load()?;
    let mut rows = Vec::new();
    for &mode in modes {
        rows.push(measure(&place, mode, rounds)?);
    }
    print!("{}", table::text(&rows, load));
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &table::figures(&rows, load))
            .context("cannot write the result file")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All rounds of a mode, against one back end.
fn measure(place: &Place, mode: Mode, rounds: usize) -> Result<Row> {
    let folder = tempfile::Builder::new().prefix("weir-native-").tempdir()?;
    let socket = folder.path().join("socket");
    let step = Step::begin(format!("native {}", mode.word()));
    let mut back_end = Testpmd::back_end(&place.testpmd, &socket, mode.at_back_end(), place.cpus[0])?;
    let mut row = Row { mode: mode.word(), samples: Vec::new() };
    for round in 0..rounds {
        let mut sample = Vec::new();
        for system in System::ALL {
            step.say(&format!("round {} of {rounds}, {}", round + 1, system.word()));
            sample.push(sample_of(place, system, mode, &socket, &mut back_end)?);
        }
        row.samples.push(sample);
    }
    step.done();
    Ok(row)
}

/// One run of one system.
fn sample_of(
    place: &Place,
    system: System,
    mode: Mode,
    socket: &std::path::Path,
    back_end: &mut Testpmd,
) -> Result<Sample> {
    let front_end = front_end::start(place, system, mode, socket)?;
    // The second that is under way may have begun before the packets did; the one after it is warm-up enough.
    let mut counted = 0;
    for _ in 0..2 {
        counted = mode.counted(back_end.next_rates()?);
    }
    let cycles = front_end.finish()?;
    ensure!(counted > 0, "{}, {}: no packets", mode.word(), system.word());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let mpps = counted as f64 / 1e6;
    Ok(Sample { mpps, cycles })
}

fn build_program() -> Result<PathBuf> {
    build::host_program("weir-native-mpps", "vhost-pktfwd")
}

/// The CPUs of the back end and of the front end.
fn two_cpus() -> Result<[usize; 2]> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let cpus: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).take(2).collect();
    <[usize; 2]>::try_from(cpus).ok().context("two CPUs are needed, one for each end")
}

/// How many programs wanted to run here in the last minute, this one not included.
fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}
