//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use weir_abi::choice::IommuChoice;

/// Weir: an operating system in which a device driver is a library inside the application that owns the
/// device.
#[derive(Debug, Parser)]
#[command(name = "weir", bin_name = "./weir", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ./weir run                          build and boot the default system; Ctrl-C ends it
  ./weir run --serial                 the same, with the supervisor's console on this terminal
  ./weir run --timeout 20 --json out  twenty seconds, final counters into the file `out`
  ./weir new my-app                   an application to start from; ./weir run my-app boots it
  ./weir test                         every test, on the host and in QEMU
  ./weir test boot                    the tests whose name contains `boot`
  ./weir audit --machine q35-vtd      who reaches what in the default system on that machine
  ./weir measure                      figures of this tree, in a table
  ./weir measure control              what the control path costs
  ./weir measure recovery             how long clients wait for an owner that comes again
  ./weir measure native               packets per second against DPDK, without a machine

WEIR_QEMU=/path/to/qemu-system-x86_64 chooses the QEMU; otherwise the system's is taken if it is recent
enough, or a private copy is unpacked into the cache directory of the user.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a system and boot it in QEMU
    Run(RunOptions),
    /// Run the tests: on the host, and in QEMU with one machine per case
    Test(TestOptions),
    /// Say who can reach which memory, registers and interrupts, and prove that owners are apart
    Audit(AuditOptions),
    /// Measure boot, kernel size, system-call cost and kernel entries per packet
    Measure(MeasureOptions),
    /// Make a working application to start from, in apps/NAME
    New(NewOptions),
    /// Write kernel and bundle as files, and say how to boot them
    Image(ImageOptions),
    /// Only make sure that everything needed is there (Rust targets, QEMU)
    Setup,
    /// Write docs/system-calls.md anew from the source
    Docs,
    /// Run the host tests of what has `unsafe` under Miri (needs a nightly toolchain; minutes)
    Miri,
}

/// Which system, and how it is built.
#[derive(Clone, Debug, Args)]
pub struct SystemOptions {
    /// Name of a manifest in apps/manifests, or the path of one
    #[arg(default_value = "default")]
    pub system: String,
    /// Manifest file, in place of SYSTEM
    #[arg(long, value_name = "FILE", conflicts_with = "system")]
    pub manifest: Option<PathBuf>,
    /// Number of CPUs (1 to 255)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub cpus: u32,
    /// Build with optimization (the default)
    #[arg(long, conflicts_with = "debug")]
    pub release: bool,
    /// Build with the checks of a debug build
    #[arg(long)]
    pub debug: bool,
}

/// Options of `weir run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Which system, and how it is built
    #[command(flatten)]
    pub system: SystemOptions,
    /// Machine, a file of qemu/machines (default: one that has the mode asked for, else q35-vtd)
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// How the kernel confines devices, in place of the manifest's `iommu`: met or refused. One of auto, legacy,
    /// scalable-second, scalable-first, amd
    #[arg(long, value_name = "MODE", value_parser = iommu_choice)]
    pub iommu: Option<IommuChoice>,
    /// Memory of the machine, such as 512M or 8G
    #[arg(long, default_value = "512M", value_name = "SIZE")]
    pub memory: String,
    /// Image file of a disk (raw; written to); may be given again for more
    #[arg(long, value_name = "FILE")]
    pub disk: Vec<PathBuf>,
    /// Port of this host that leads to the guest's first port: the first `[[port]]` of the manifest, else UDP port 7
    /// (default: what the manifest says, else 7007, or the next free one)
    #[arg(long)]
    pub port: Option<u16>,
    /// Attach this terminal to the guest's serial console (default: only show its log)
    #[arg(long)]
    pub serial: bool,
    /// End by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Write the final counters as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write every packet of the network device to a capture file
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Wait for a debugger before the first instruction
    #[arg(long)]
    pub gdb: bool,
}

fn iommu_choice(word: &str) -> Result<IommuChoice, String> {
    IommuChoice::from_word(word).ok_or_else(|| format!("the modes are {}", IommuChoice::LIST))
}

/// Options of `weir new`.
#[derive(Debug, Args)]
pub struct NewOptions {
    /// The application's name, such as my-app
    pub name: String,
}

/// Options of `weir test`.
#[derive(Debug, Args)]
pub struct TestOptions {
    /// Run only tests whose name contains this
    pub filter: Option<String>,
    /// Show the names, run nothing
    #[arg(long)]
    pub list: bool,
    /// How many tests run at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
}

/// Options of `weir audit`.
#[derive(Debug, Args)]
pub struct AuditOptions {
    /// Which system, and how it is built
    #[command(flatten)]
    pub system: SystemOptions,
    /// Boot it on this machine, a file of qemu/machines, and audit what is there (default: only the manifest)
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// Memory of the machine, such as 512M or 8G
    #[arg(long, default_value = "512M", value_name = "SIZE")]
    pub memory: String,
    /// Network devices of the machine
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub networks: usize,
    /// Write what was found as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a drawing of who reaches what
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// A table of `weir measure`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Table {
    /// Boot, kernel size, a system call, kernel entries per packet
    Basics,
    /// Mapping, granting, revoking, interrupts and faults: instructions and time
    Control,
    /// Receiving a frame and sending it back: instructions and kernel entries, counted from outside
    Packets,
    /// Requests to a disk: instructions
    Block,
    /// How long clients wait when a driver's program is replaced, and when a device's owner is killed
    Recovery,
    /// The virtio driver against DPDK's, natively over vhost-user: packets per second
    Native,
    /// Nothing: writes the README's table anew, from bench/figures.md and the result files in bench/results
    Readme,
}

/// Options of `weir measure`.
#[derive(Debug, Args)]
pub struct MeasureOptions {
    /// What to measure
    #[arg(default_value = "basics", value_name = "TABLE")]
    pub table: Table,
    /// Machine to measure `control`, `packets`, `block` or `recovery` on, a file of qemu/machines; several may be given
    /// [default: q35-vtd; for packets and recovery one machine for each network device]
    #[arg(long, value_name = "NAME")]
    pub machine: Vec<String>,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// For `packets` and `block`: measure what Weir is compared with, too, in the same machine (Debian's Linux and DPDK)
    #[arg(long)]
    pub peers: bool,
    /// For `packets`: ten million frames, in bursts of 32 only (minutes for each machine)
    #[arg(long)]
    pub long: bool,
    /// One boot, fewer packets and samples: to see that it works, not for figures to keep
    #[arg(long)]
    pub quick: bool,
}

/// Options of `weir image`.
#[derive(Debug, Args)]
pub struct ImageOptions {
    /// Which system, and how it is built
    #[command(flatten)]
    pub system: SystemOptions,
    /// Directory to write to
    #[arg(long, default_value = "target/image", value_name = "DIR")]
    pub out: PathBuf,
}

/// Reads the command line. A wrong one gets one line on standard error and status 2.
///
/// # Errors
/// The exit status, where the answer was already given (help, version, a wrong option).
pub fn parse() -> Result<Command, ExitCode> {
    Cli::try_parse().map(|cli| cli.command).map_err(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        eprintln!("weir: {}", one_line(&error));
        ExitCode::from(2)
    })
}

/// The first paragraph of clap's message: what is wrong, without the usage text.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "say what to do: run, test, audit, measure, image, setup, docs or miri (./weir --help)"
            .into();
    }
    let text = error.to_string();
    let first: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    format!("{} (./weir --help shows the options)", first.join(" ").trim_start_matches("error: "))
}
