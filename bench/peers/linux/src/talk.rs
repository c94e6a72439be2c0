//! Commands from the console, reports on the second serial port.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{process, thread};

use weir_abi::info::SystemInfo;
use weir_abi::stats::Stats;
use weir_hal::Clock;
use weir_init_logic::counters::Counters;
use weir_init_logic::report::{self, AppStatus};
use weir_vfio::MonotonicClock;

/// The machine-readable port.
const REPORTS: &str = "/dev/ttyS1";

/// Says that the program is up, and listens from now on, on a thread of its own. `poweroff` ends the program. Reports
/// call it `name`: that of the application which does the same on Weir.
///
/// # Errors
/// There is no second serial port.
pub fn begin(name: &'static str, stats: Arc<Stats>) -> io::Result<()> {
    let mut port = OpenOptions::new().write(true).open(REPORTS)?;
    let (cpus, boot_ns) = (thread::available_parallelism()?, MonotonicClock.now_ns());
    writeln!(port, "{{\"type\":\"ready\",\"iommu\":\"vfio\",\"cpus\":{cpus},\"boot_ns\":{boot_ns}}}")?;
    thread::spawn(move || match listen(&mut port, name, &stats) {
        Ok(()) => process::exit(0),
        Err(error) => {
            eprintln!("{name}: {error}");
            process::exit(1)
        }
    });
    Ok(())
}

/// Obeys until the console says `poweroff`, or is closed.
fn listen(port: &mut File, name: &str, stats: &Stats) -> io::Result<()> {
    for line in io::stdin().lines() {
        match line?.trim() {
            "report" => port.write_all(status(name, stats).as_bytes())?,
            "poweroff" => break,
            _ => {}
        }
    }
    port.write_all(status(name, stats).as_bytes())
}

/// The counters. Linux tells of blocked accesses on its console, and of frames elsewhere: both are 0 here.
fn status(name: &str, stats: &Stats) -> String {
    let system = SystemInfo { now_ns: MonotonicClock.now_ns(), ..SystemInfo::default() };
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = Counters {
        rx_packets: number(&stats.rx_packets),
        tx_packets: number(&stats.tx_packets),
        rx_bytes: number(&stats.rx_bytes),
        tx_bytes: number(&stats.tx_bytes),
        dropped: number(&stats.dropped),
        device_errors: number(&stats.device_errors),
        data_path_kernel_entries: number(&stats.data_path_kernel_entries),
        sleep_kernel_entries: number(&stats.sleep_kernel_entries),
        iommu_faults: 0,
    };
    let is_ready = number(&stats.ready) != 0;
    let app = AppStatus { name, state: "running", code: 0, restarts: 0, is_ready, counters };
    report::status(&system, [app].into_iter())
}
