//! `weir measure recovery`: how long clients of `kv` wait when the program that drives its device is replaced, and when it is
//! killed itself.
//!
//! **Invariant: every sample is a wait that a client of this host's saw**, on a tap's link in a namespace of its own; the
//! program runs itself again there. Nothing else is asked meanwhile; under load the same is checked by `tap::live`.

use std::env;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::guest::Setup;
use crate::machine::Machine;
use crate::namespace;
use crate::progress::Step;
use crate::recovery::{Paced, Served};

/// Machines by their network devices.
pub(super) const MACHINES: [&str; 3] = ["q35-vtd", "q35-vtd-e1000e", "q35-vtd-igb"];
/// The machine whose device lets frames to other addresses through, as a switch needs it.
const SWITCHING: &str = "q35-vtd";
const SAMPLES: usize = 20;
const QUICK_SAMPLES: usize = 2;

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    machine: String,
    what: &'static str,
    /// Milliseconds, in ascending order.
    samples_ms: Vec<f64>,
}

/// What it was measured on.
#[derive(Debug, Serialize)]
struct Recovery {
    accel: &'static str,
    qemu: String,
    cpus: u32,
    rows: Vec<Row>,
}

/// Measures on each of `machines`, prints a table and writes it as JSON.
///
/// # Errors
/// No namespace can be made; something does not build or start, or nobody is answered any more.
pub(super) fn run(machines: &[String], is_quick: bool, json: Option<File>) -> Result<ExitCode> {
    ensure!(namespace::is_possible(), "this needs {}", namespace::NEEDED);
    // Fetched here: inside there is no other network.
    let qemu = machines.iter().map(|name| Ok(Machine::named(name)?.qemu()?.version.to_string()));
    let qemu = qemu.collect::<Result<Vec<_>>>()?.into_iter().next().context("no machine")?;
    if !namespace::is_inside() {
        let mut again = namespace::with_network(namespace::LINK);
        let status = again.arg(env::current_exe()?).args(env::args_os().skip(1)).status()?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        return Ok(ExitCode::from(code));
    }
    let samples = if is_quick { QUICK_SAMPLES } else { SAMPLES };
    let mut rows = Vec::new();
    for machine in machines {
        if machine == SWITCHING {
            rows.push(replacements(machine, samples)?);
        }
        let kills = "kv killed: until the new one answers a new connection";
        rows.push(self::kills(machine, "live-kill", kills, samples)?);
        let quick = "the same, the device left alone for 5 ms after its reset, not 100";
        rows.push(self::kills(machine, "live-kill-quick", quick, samples)?);
    }
    let recovery = Recovery { accel: "tcg", qemu, cpus: 2, rows };
    print!("{}", recovery.render());
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &recovery).context("cannot write the result file")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn replacements(machine: &str, samples: usize) -> Result<Row> {
    let step = Step::begin(format!("replacing the switch {samples} times"));
    let mut served = Served::boot(Setup::new("live-switch").machine(machine), &[])?;
    let paced = Paced::begin(served.address())?;
    let waits = (0..samples).map(|number| {
        step.say(&format!("{} of {samples}", number + 1));
        served.replace_switch(&paced)
    });
    let waits = waits.collect::<Result<Vec<_>>>()?;
    paced.end()?;
    served.guest.power_off()?;
    step.done();
    let what = "switch replaced: longest wait on a connection that stays";
    Ok(row(machine, what, waits))
}

fn kills(machine: &str, manifest: &'static str, what: &'static str, samples: usize) -> Result<Row> {
    let step = Step::begin(format!("{machine}: killing kv {samples} times ({manifest})"));
    let neighbour = crate::peer::Peer::new()?;
    let mut served = Served::boot(Setup::new(manifest).machine(machine), &[neighbour.netdev()])?;
    let waits = (0..samples).map(|number| {
        step.say(&format!("{} of {samples}", number + 1));
        served.kill_kv()
    });
    let waits = waits.collect::<Result<Vec<_>>>()?;
    served.guest.power_off()?;
    step.done();
    Ok(row(machine, what, waits))
}

fn row(machine: &str, what: &'static str, mut waits: Vec<Duration>) -> Row {
    waits.sort();
    let ms = |wait: Duration| (wait.as_secs_f64() * 1e4).round() / 10.0;
    Row { machine: machine.into(), what, samples_ms: waits.into_iter().map(ms).collect() }
}

impl Recovery {
    fn render(&self) -> String {
        let Recovery { qemu, cpus, rows, .. } = self;
        let mut text = format!(
            "milliseconds that a client waits; {cpus} CPUs, QEMU {qemu} TCG: an emulator's on this machine under its load, not a \
             machine's\n{:16}{:68}{:>4}{:>9}{:>9}{:>9}\n",
            "machine", "what", "n", "median", "min", "max"
        );
        for Row { machine, what, samples_ms } in rows {
            let [median, min, max] = [(samples_ms.len().max(1) - 1) / 2, 0, samples_ms.len().max(1) - 1]
                .map(|at| samples_ms.get(at).copied().unwrap_or(f64::NAN));
            let count = samples_ms.len();
            text += &format!("{machine:16}{what:68}{count:>4}{median:>9.1}{min:>9.1}{max:>9.1}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_middle_and_both_ends() {
        let rows = vec![row("m", "w", [30, 10, 20, 40].map(Duration::from_millis).into())];
        let text = Recovery { accel: "tcg", qemu: "1".into(), cpus: 2, rows }.render();
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["m", "w", "4", "20.0", "10.0", "40.0"]);
    }
}
