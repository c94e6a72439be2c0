//! How each figure is had.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

use super::{Config, Effort, Figure, MACHINE, median};
use crate::guest::{Guest, Setup};
use crate::peer::Peer;
use crate::progress::Step;
use crate::report::Ready;
use crate::system::System;
use crate::vm::Outcome;

/// How long a step of the guest may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The application of the manifest `echo`.
const ECHO: &str = "echo";

/// Everything, in the order of the table.
pub(super) fn measure(qemu: &str, effort: Effort) -> Result<Vec<Figure>> {
    let config = |cpus, ready: &Ready, icount, samples| Config {
        accel: "tcg",
        qemu: qemu.to_owned(),
        machine: MACHINE,
        cpus,
        iommu: ready.iommu.clone(),
        icount,
        samples,
    };
    let echo = Setup::new(ECHO).build()?;
    let text = kernel_text(&echo)?;
    let traffic = boots(&echo, effort)?;
    let on_echo = config(2, &traffic.ready, false, effort.boots);
    let once = Config { samples: 1, ..on_echo.clone() };
    let (cost, ready) = syscall_cost()?;
    let figure = |metric, unit, value, config| Figure { metric, unit, value, config };
    Ok(vec![
        figure("boot_to_first_answer_wall", "ms", traffic.wall_ms, on_echo.clone()),
        figure("boot_to_data_path_guest", "ms", traffic.guest_ms, on_echo),
        figure("kernel_text", "bytes", text, once.clone()),
        figure("syscall_cost", "instructions", cost, config(1, &ready, true, 1)),
        figure("kernel_entries_per_packet", "entries", traffic.entries_per_packet, once),
    ])
}

/// Bytes of code in the kernel's file.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn kernel_text(system: &System) -> Result<f64> {
    let bytes = fs::read(&system.kernel).context("cannot read the kernel")?;
    let file = object::File::parse(bytes.as_slice())?;
    Ok(file.section_by_name(".text").context("the kernel has no code")?.size() as f64)
}

/// What booting the echo application and talking to it showed.
struct Traffic {
    ready: Ready,
    wall_ms: f64,
    guest_ms: f64,
    entries_per_packet: f64,
}

fn boots(system: &System, effort: Effort) -> Result<Traffic> {
    let step = Step::begin("booting, up to the first answered packet");
    let (mut walls, mut guests) = (Vec::new(), Vec::new());
    let mut last = None;
    for boot in 1..=effort.boots {
        step.say(&format!("{boot} of {}", effort.boots));
        let mut peer = Peer::new()?;
        let start = Instant::now();
        let mut guest = Setup::new(ECHO).network(peer.netdev()).start_built(system)?;
        if let Err(error) = peer.find_guest() {
            return Err(guest.failure(&format!("{error:#}")));
        }
        walls.push((start.elapsed().as_secs_f64() * 1e4).round() / 10.0);
        let ready = guest.wait_ready()?;
        guests.push(guest_ms(&guest.console_line("answering for", LIMIT)?)?);
        if let Some((earlier, _, _)) = last.replace((guest, peer, ready)) {
            power_off(earlier)?;
        }
    }
    step.done();
    let (mut guest, mut peer, ready) = last.context("one boot at least")?;
    let entries_per_packet = entries_per_packet(&mut guest, &mut peer, effort.packets)?;
    power_off(guest)?;
    let wall_ms = median(walls).context("one boot at least")?;
    let guest_ms = median(guests).context("one boot at least")?;
    Ok(Traffic { ready, wall_ms, guest_ms, entries_per_packet })
}

fn power_off(guest: Guest) -> Result<()> {
    guest.power_off().context("the guest did not end well")
}

/// The guest's time at which a line of its log was written, `[SECONDS.MICROSECONDS] …`.
fn guest_ms(line: &str) -> Result<f64> {
    let inside = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let seconds: f64 =
        inside.and_then(|(seconds, _)| seconds.trim().parse().ok()).context("no time in the log")?;
    Ok((seconds * 1e6).round() / 1e3)
}

/// Kernel entries of the thread that answers, sleeps included, for each packet that it got.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn entries_per_packet(guest: &mut Guest, peer: &mut Peer, packets: usize) -> Result<f64> {
    let step = Step::begin(format!("echoing {packets} packets"));
    let before = guest.counted(ECHO, |_| true)?;
    if let Err(error) = peer.echo(packets, |number| 18 + number % 1000) {
        return Err(guest.failure(&format!("{error:#}")));
    }
    let after = guest.counted(ECHO, |app| app.rx_packets >= before.rx_packets + packets as u64)?;
    step.done();
    let received = after.rx_packets - before.rx_packets;
    let entries = after.data_path_kernel_entries - before.data_path_kernel_entries;
    Ok(entries as f64 / received as f64)
}

/// Instructions of the shortest system call with a handle, the run time's wrapper included. One CPU, so that nobody
/// else's instructions are counted.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn syscall_cost() -> Result<(f64, Ready)> {
    let setup = Setup::new("syscall-cost").cpus(1).counting_instructions();
    let system = setup.build()?;
    let step = Step::begin("counting the instructions of a system call");
    let mut guest = setup.start_built(&system)?;
    let ready = guest.wait_ready()?;
    let ticks = number(&guest.console_line("measure syscall_tsc ", LIMIT)?)?;
    let million = number(&guest.console_line("measure million_instructions_tsc ", LIMIT)?)?;
    let (outcome, _) = guest.end(LIMIT)?;
    ensure!(outcome == Outcome::Success, guest.failure(&format!("the machine ended with {outcome:?}")));
    step.done();
    // A tick is an instruction, or this is no count of them. The two readings of the counter take a few.
    if !(1_000_000..1_000_100).contains(&million) {
        bail!("a million instructions took {million} ticks: this QEMU does not count as expected");
    }
    Ok((ticks as f64, ready))
}

/// The number at the end of a line.
fn number(line: &str) -> Result<u64> {
    line.rsplit(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no number in `{line}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_are_understood() {
        assert_eq!(guest_ms("[    0.123456] echo: answering for 10.0.0.2").unwrap(), 123.456);
        assert!(guest_ms("answering").is_err() && guest_ms("[soon] x").is_err());
        assert_eq!(number("[    0.5] selftest: measure syscall_tsc 312").unwrap(), 312);
        assert!(number("measure syscall_tsc many").is_err());
    }
}
