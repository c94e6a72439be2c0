//! A running `testpmd`: DPDK's program for trying out network drivers, as either end of vhost-user.
//!
//! **Invariant: it ends with this value, and with the thread that started it.** It runs without root, huge pages or
//! hardware, on the CPU it is told, and says its port's rates once a second; what it says goes to a file, which is
//! read again whenever something is asked.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::child;
use crate::tools::Testpmd as Program;

/// How long it may take to start, to say something, or to end.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// What to run.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// CPU for all its threads.
    pub cpu: usize,
    /// The port, in DPDK's words: `net_vhost0,iface=PATH` or `net_virtio_user0,path=PATH,…`.
    pub port: String,
    /// Forwarding mode: `io`, `macswap`, `rxonly`, `txonly`.
    pub mode: &'a str,
    /// Bursts to send at first, for modes that send back what they receive.
    pub first_bursts: usize,
}

/// Rates of the port, in packets per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

/// A running testpmd.
pub struct Testpmd {
    child: Child,
    folder: TempDir,
}

impl Testpmd {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Program, setup: &Setup<'_>) -> Result<Testpmd> {
        let folder = tempfile::Builder::new().prefix("weir-testpmd-").tempdir()?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = child::bound(&program.path);
        command.args(&program.drivers).args(words(setup));
        if setup.first_bursts > 0 {
            let file = folder.path().join("commands");
            writeln!(File::create(&file)?, "start tx_first {}", setup.first_bursts)?;
            command.arg(format!("--cmdline-file={}", file.display()));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start testpmd")?;
        Ok(Testpmd { child, folder })
    }

    /// Starts it as a back end and waits until its socket is there.
    ///
    /// # Errors
    /// It cannot be started, or ends; the message has its last words.
    pub fn back_end(program: &Program, socket: &Path, mode: &str, cpu: usize) -> Result<Testpmd> {
        let port = format!("net_vhost0,iface={},queues=1", socket.display());
        let mut testpmd = Testpmd::start(program, &Setup { cpu, port, mode, first_bursts: 0 })?;
        // The port's rates are said when all is set up, forwarding included.
        testpmd.next_rates()?;
        Ok(testpmd)
    }

    /// The rates of the next whole second.
    ///
    /// # Errors
    /// It has ended, or says nothing.
    pub fn next_rates(&mut self) -> Result<Rates> {
        // The next report may be of a second that began before.
        let known = rates(&self.said()?).len();
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(rates) = rates(&self.said()?).get(known + 1) {
                return Ok(*rates);
            }
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                bail!("testpmd says nothing more: {}", last_words(&self.said()?));
            }
            sleep(PAUSE);
        }
    }

    /// Ends it in order; everything that it said.
    ///
    /// # Errors
    /// It does not end, or failed.
    pub fn finish(mut self) -> Result<String> {
        let pid = Pid::from_child(&self.child);
        // It fails where it has ended by itself, which the status shows.
        let _ = kill_process(pid, Signal::INT);
        let deadline = Instant::now() + LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("testpmd does not end: {}", last_words(&self.said()?));
            }
            sleep(PAUSE);
        }
        self.said()
    }

    fn said(&self) -> Result<String> {
        let bytes = std::fs::read(self.log()).context("cannot read what testpmd said")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // Both fail where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn words(setup: &Setup<'_>) -> Vec<String> {
    let Setup { cpu, port, mode, .. } = setup;
    let text = format!(
        "--lcores 0@{cpu},1@{cpu} --no-huge -m 128 --no-pci --no-shconf --no-telemetry --log-level error --vdev {port} -- \
         --no-mlockall --nb-cores=1 --total-num-mbufs=8192 --record-core-cycles --stats-period=1 --forward-mode={mode}"
    );
    text.split(' ').map(str::to_owned).collect()
}

/// Each report's "Rx-pps" and "Tx-pps".
fn rates(text: &str) -> Vec<Rates> {
    let number = |line: &str, name: &str| -> Option<u64> {
        line.split_once(name)?.1.split_whitespace().next()?.parse().ok()
    };
    let received = text.lines().filter_map(|line| number(line, "Rx-pps:"));
    let sent = text.lines().filter_map(|line| number(line, "Tx-pps:"));
    received.zip(sent).map(|(received, sent)| Rates { received, sent }).collect()
}

/// Busy cycles per packet, of what it said at its end; `None` where it moved none.
#[must_use]
pub fn cycles_per_packet(text: &str) -> Option<f64> {
    text.rsplit_once("CPU cycles/packet=")?.1.split([' ', '\n']).next()?.parse().ok()
}

fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
  Throughput (since last show)
  Rx-pps:     31000512          Rx-bps:  15872262144
  Tx-pps:            7          Tx-bps:            0
  CPU cycles/packet=45.25 (busy cycles=45 / total io packets=1) at 2000 MHz Clock
Done.
";

    #[test]
    fn figures_are_found_in_what_testpmd_says() {
        assert_eq!(rates(SAID), [Rates { received: 31_000_512, sent: 7 }]);
        assert_eq!(rates(&SAID.repeat(2)).len(), 2);
        assert_eq!(cycles_per_packet(SAID), Some(45.25));
        assert_eq!(cycles_per_packet("Done."), None);
        assert_eq!(last_words("a\n\nb\nc\nd\n"), "b; c; d");
        assert_eq!(last_words(""), "");
    }
}
