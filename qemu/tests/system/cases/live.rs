//! The program that drives a device is replaced under load, and an owner dies under load: who waits how long, and who does not
//! notice at all.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use weir_runner::guest::Setup;
use weir_runner::namespace::LINK;
use weir_runner::peer::Peer;
use weir_runner::recovery::{Client, Load, Served};
use weir_runner::tools::{Redis, redis};

use super::tap::inside;
use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("tap::live::the_switch_is_replaced_under_redis_benchmark", || {
        // Fetched here: inside there is no other network.
        redis()?;
        inside("tap::live::the_switch_is_replaced_under_redis_benchmark", LINK, switch_is_replaced)
    }),
    ("tap::live::a_program_that_cannot_be_leaves_the_old_one", || {
        inside("tap::live::a_program_that_cannot_be_leaves_the_old_one", LINK, wrong_replacements)
    }),
    ("tap::live::kv_is_killed_under_load", || {
        inside("tap::live::kv_is_killed_under_load", LINK, || kv_is_killed(VIRTIO, "live-kill"))
    }),
    ("tap::live::kv_is_killed_under_load_and_its_device_is_quick", || {
        let case = "tap::live::kv_is_killed_under_load_and_its_device_is_quick";
        inside(case, LINK, || kv_is_killed(VIRTIO, "live-kill-quick"))
    }),
    ("tap::live::kv_is_killed_under_load_e1000e", || {
        inside("tap::live::kv_is_killed_under_load_e1000e", LINK, || kv_is_killed(E1000E, "live-kill-quick"))
    }),
    ("tap::live::kv_is_killed_under_load_igb", || {
        inside("tap::live::kv_is_killed_under_load_igb", LINK, || kv_is_killed(IGB, "live-kill-quick"))
    }),
];

const REPLACEMENTS: usize = 6;
const KILLS: usize = 12;
/// How long a client may wait. A frame that was under way is sent again after a second, by `kv` (RFC 6298 §2 (2.4)).
const WAIT_LIMIT: Duration = Duration::from_secs(4);
/// How long nobody may be answered after a kill, in the median; and in the worst case, which the load of this machine makes.
const KILL_LIMIT: Duration = Duration::from_secs(1);
const KILL_LIMIT_ONCE: Duration = Duration::from_secs(5);
/// QEMU's 82576 forgets its link in a reset, and takes half a second to negotiate another.
const NEGOTIATION: Duration = Duration::from_millis(500);
/// Load between two replacements.
const BETWEEN: Duration = Duration::from_millis(1000);
/// Between twenty frames to the neighbour and the next: it shares its core with the supervisor.
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);
const CLIENTS: &str = "24";

/// `redis-benchmark`, again and again.
fn benchmark(program: &std::path::Path, server: std::net::SocketAddr) -> Result<Child> {
    let address = ["-h", &server.ip().to_string(), "-p", &server.port().to_string()].map(str::to_owned);
    let load = ["-t", "set,get", "-c", CLIENTS, "-n", "40000", "-r", "1000", "-d", "64", "--csv"];
    let mut command = Command::new("timeout");
    let command = command.arg("120").arg(program).args(address).args(load);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// It must have ended well; its rates.
fn ended_well(child: Child) -> Result<String> {
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let rates =
        said.lines().filter(|line| line.starts_with("\"SET\"") || line.starts_with("\"GET\"")).count();
    ensure!(output.status.success() && rates == 2 && !said.contains("rror"), "redis-benchmark: {said}");
    Ok(said)
}

fn switch_is_replaced() -> Result<()> {
    let Redis { benchmark: program, .. } = redis()?;
    let mut served = Served::boot(Setup::new("live-switch").machine(VIRTIO), &[])?;
    let address = served.address();
    let mut idle = Client::connect(address, PATIENCE, PATIENCE)?;
    ensure!(idle.ask("SET before replacements")? == "+OK");
    let paced = weir_runner::recovery::Paced::begin(address)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&is_over);
    let load = thread::spawn(move || -> Result<Vec<String>> {
        let mut runs = Vec::new();
        while !theirs.load(Ordering::Acquire) {
            runs.push(ended_well(benchmark(&program, address)?)?);
        }
        Ok(runs)
    });
    thread::sleep(BETWEEN);
    let mut waits = Vec::new();
    for number in 0..REPLACEMENTS {
        served.guest.check(!load.is_finished(), "redis-benchmark ended")?;
        let waited = served.replace_switch(&paced)?;
        println!("replacement {number}: the paced client waited {} ms at most", waited.as_millis());
        waits.push(waited);
        thread::sleep(BETWEEN);
    }
    is_over.store(true, Ordering::Release);
    let runs = load.join().map_err(|_| anyhow!("the load panicked"))?;
    let runs = runs.map_err(|error| served.guest.failure(&format!("{error:#}")))?;
    println!("{}", runs.concat());
    let written = paced.end().map_err(|error| served.guest.failure(&format!("{error:#}")))?;
    println!("{written} acknowledged writes read back");
    ensure!(idle.ask("GET before")? == "replacements", "the connection from before answers otherwise");
    let longest = waits.iter().max().context("some")?;
    served.guest.check(*longest < WAIT_LIMIT, &format!("a client waited {longest:?}"))?;
    let status = served.guest.status()?;
    let [switch, kv] = ["switch", "kv"].map(|name| status.app(name).cloned());
    let is_well = kv.as_ref().is_some_and(|app| app.restarts == 0 && app.state == "running");
    let is_new = switch.as_ref().is_some_and(|app| app.restarts == REPLACEMENTS as u64);
    served.guest.check(is_well && is_new && status.faults == 0, &format!("{switch:?} {kv:?}"))?;
    served.guest.check(!served.guest.has_said("closed until"), "somebody broke the protocol")?;
    served.guest.power_off()
}

/// What is refused is refused before anything ends; and `ps` says what runs.
fn wrong_replacements() -> Result<()> {
    let mut served = Served::boot(Setup::new("live-switch").machine(VIRTIO), &[])?;
    for (line, answer) in [
        ("replace swich switch-2", "no application `swich`; see `ps`"),
        ("replace switch kv", "`switch` cannot become `kv`; its manifest entry says what: `replacements`"),
        ("replace switch", "usage: replace APP PROGRAM"),
    ] {
        served.guest.type_line(line)?;
        served.guest.console_line(answer, PATIENCE)?;
    }
    let status = served.guest.status()?;
    served.guest.check(status.app("switch").is_some_and(|app| app.restarts == 0), "it was restarted")?;
    served.guest.type_line("replace switch switch-2")?;
    served.guest.console_line("switch: `switch-2` takes the place of `switch`", PATIENCE)?;
    served.guest.console_line("switch: version 2, in its life 2", PATIENCE)?;
    served.guest.type_line("ps")?;
    served.guest.console_row(&["0", "switch-2"], PATIENCE)?;
    ensure!(Client::connect(served.address(), PATIENCE, PATIENCE)?.ask("PING")? == "+PONG");
    served.guest.power_off()
}

fn kv_is_killed(machine: &'static str, manifest: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let mut served = Served::boot(Setup::new(manifest).machine(machine), &[peer.netdev()])?;
    peer.find_guest()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&is_over);
    let neighbour = thread::spawn(move || -> Result<u64> {
        let mut echoed = 0;
        while !theirs.load(Ordering::Acquire) {
            peer.echo(20, |number| 64 + number)?;
            echoed += 20;
            thread::sleep(PAUSE);
        }
        Ok(echoed)
    });
    let load = Load::begin(served.address(), 2);
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let before = load.answered();
        let took = served.kill_kv()?;
        times.push(took);
        served.guest.check(load.answered() > before, "there was no load")?;
    }
    let answered = load.end()?;
    is_over.store(true, Ordering::Release);
    let echoed = neighbour.join().map_err(|_| anyhow!("the neighbour's peer panicked"))?;
    let echoed = echoed.map_err(|error| served.guest.failure(&format!("the neighbour: {error:#}")))?;
    times.sort();
    let (median, longest) = (times[times.len() / 2], times.last().copied().context("some")?);
    println!(
        "{machine}: {KILLS} kills, first answer after {} ms (median), {} ms (longest); {answered} answers to the load, {echoed} echoes",
        median.as_millis(),
        longest.as_millis()
    );
    let status = served.guest.status()?;
    let echo = status.app("echo").context("the report lacks echo")?;
    let is_undisturbed = echo.restarts == 0 && echo.state == "running" && echo.dropped == 0;
    served.guest.check(is_undisturbed && status.faults == 0, &format!("{status:?}"))?;
    let limit = if machine == IGB { KILL_LIMIT + NEGOTIATION } else { KILL_LIMIT };
    let is_quick = median < limit && longest < KILL_LIMIT_ONCE;
    served.guest.check(is_quick, &format!("nobody was answered for {median:?}, {longest:?}: {times:?}"))?;
    served.guest.power_off()
}
