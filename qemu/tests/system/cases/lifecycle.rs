//! The life of a grant: devices that change hands at run time, that are reset while others work, and that storm.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Case, E1000E, IGB, VIRTIO};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] = &[
    ("lifecycle::handed_over_and_back", || handed_over_and_back(VIRTIO)),
    ("lifecycle::handed_over_and_back_e1000e", || handed_over_and_back(E1000E)),
    ("lifecycle::handed_over_and_back_igb", || handed_over_and_back(IGB)),
    ("lifecycle::a_reset_disturbs_nobody", || a_reset_disturbs_nobody(VIRTIO)),
    ("lifecycle::a_reset_disturbs_nobody_e1000e", || a_reset_disturbs_nobody(E1000E)),
    ("lifecycle::a_million_faults_are_few_entries", || a_million_faults_are_few_entries(E1000E)),
    ("lifecycle::a_million_faults_are_few_entries_igb", || a_million_faults_are_few_entries(IGB)),
    ("lifecycle::an_endless_storm_costs_the_device", || an_endless_storm_costs_the_device(E1000E)),
    ("lifecycle::too_many_interrupts_are_stopped", || too_many_interrupts_are_stopped(VIRTIO)),
    ("lifecycle::too_many_interrupts_are_stopped_igb", || too_many_interrupts_are_stopped(IGB)),
];

/// How long a line or a state may take to come.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends `count` datagrams, each of which must come back, once.
fn echo(guest: &Guest, peer: &mut Peer, count: usize) -> Result<()> {
    peer.echo(count, |number| 64 + number % 1000).map_err(|error| guest.failure(&format!("{error:#}")))
}

fn wait_ready(guest: &mut Guest, name: &str) -> Result<()> {
    guest.status_until(name, |status| status.app(name).is_some_and(|app| app.ready)).map(drop)
}

/// Kernel entries of an application's data path, but for the sleeps it asked for.
fn entries(guest: &mut Guest, name: &str) -> Result<u64> {
    let status = guest.status()?;
    let app = status.app(name).context("the application is in the report")?;
    Ok(app.data_path_kernel_entries - app.sleep_kernel_entries)
}

fn handed_over_and_back(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let setup = Setup::new("hand-over").machine(machine).cpus(3).network(peer.netdev());
    let (mut guest, _) = setup.boot()?;
    wait_ready(&mut guest, "first")?;
    echo(&guest, &mut peer, 200)?;
    let mut served = [("first", 200), ("second", 0)];
    for turn in 0..4 {
        let (to, from) = (served[(turn + 1) % 2].0, served[turn % 2].0);
        guest.type_line(&format!("handover 01:00.0 {to}"))?;
        wait_ready(&mut guest, to)?;
        guest.status_until("the former owner that knows", |status| {
            status.app(from).is_some_and(|app| app.state == "running" && !app.ready)
        })?;
        echo(&guest, &mut peer, 200)?;
        served[(turn + 1) % 2].1 += 200;
        for (name, packets) in served {
            guest.counted(name, |app| app.tx_packets >= packets)?;
        }
    }
    guest.check(guest.has_said("; waiting for another"), "it was not told")?;
    guest.check(guest.has_said("0000:01:00.0 was handed over to second"), "the supervisor did not say so")?;
    let status = guest.status()?;
    guest.check(status.faults == 0, &format!("the device was caught outside: {status:?}"))?;
    guest.power_off()
}

/// Resets of one device, each beside traffic on the other.
const RESETS: usize = 5;

fn a_reset_disturbs_nobody(machine: &'static str) -> Result<()> {
    let (mut steady, other) = (Peer::new()?, Peer::new()?);
    let setup = Setup::new("two-echoes").machine(machine).cpus(3);
    let (mut guest, _) = setup.network(steady.netdev()).network(other.netdev()).boot()?;
    wait_ready(&mut guest, "steady")?;
    echo(&guest, &mut steady, 500)?;
    for resets in 1..=RESETS {
        wait_ready(&mut guest, "other")?;
        guest.type_line("handover 02:00.0 other")?;
        // The console answers, and packets are answered, while the device is being reset.
        guest.type_line("lsdev")?;
        let deadline = Instant::now() + LIMIT;
        while guest.count_said("0000:02:00.0 was handed over to other") < resets {
            echo(&guest, &mut steady, 100)?;
            guest.status()?;
            guest.check(Instant::now() < deadline, "the device did not come back")?;
        }
    }
    wait_ready(&mut guest, "other")?;
    let seen = guest.count_said(" resetting ");
    guest.check(seen >= RESETS, &format!("a device was seen {seen} times while it was being reset"))?;
    let entries = entries(&mut guest, "steady")?;
    guest.check(entries == 0, &format!("{entries} kernel entries beside resets"))?;
    guest.power_off()
}

/// Faults that a device with a budget of 32 per 100 ms may have told in `seconds`: at most two budgets per window.
fn told_at_most(seconds: f64) -> f64 {
    (seconds * 10.0 + 2.0) * 2.0 * 33.0
}

fn a_million_faults_are_few_entries(machine: &'static str) -> Result<()> {
    let (mut steady, rogue) = (Peer::new()?, Peer::new()?);
    let setup = Setup::new("storm").machine(machine).cpus(3);
    let (mut guest, _) = setup.network(steady.netdev()).network(rogue.netdev()).boot()?;
    guest.console_line("storm: 1000000 reads of 0x200000 begin", LIMIT)?;
    while !guest.has_said("storm: 1000000 reads given") {
        echo(&guest, &mut steady, 500)?;
        guest.status()?;
    }
    let status = guest.status()?;
    let seconds = Duration::from_nanos(status.time_ns).as_secs_f64();
    let told = status.faults as f64;
    let what = format!("{told} of 1,000,000 faults told in {seconds} s");
    guest.check(told >= 32.0 && told < told_at_most(seconds), &what)?;
    let owner = status.app("rogue").map_or(0, |app| app.iommu_faults);
    guest.check(owner >= status.faults, &format!("the owner knows of {owner} faults only; {what}"))?;
    guest.type_line("lsdev")?;
    guest.console_line(" 32/10000 mute", LIMIT)?;
    guest.check(guest.has_said("too many faults; most are not recorded"), "nobody said so")?;
    let entries = entries(&mut guest, "steady")?;
    guest.check(entries == 0, &format!("{entries} kernel entries of the other data path"))?;
    guest.power_off()
}

fn an_endless_storm_costs_the_device(machine: &'static str) -> Result<()> {
    let (mut steady, rogue) = (Peer::new()?, Peer::new()?);
    let setup = Setup::new("storm-revoke").machine(machine).cpus(3);
    let (mut guest, _) = setup.network(steady.netdev()).network(rogue.netdev()).boot()?;
    guest.console_line("it faults without end: taken away", 3 * LIMIT)?;
    guest.console_line("app rogue exited with code 1", LIMIT)?;
    echo(&guest, &mut steady, 500)?;
    let status = guest.status()?;
    let (before, seconds) = (status.faults, Duration::from_nanos(status.time_ns).as_secs_f64());
    let is_bounded = before >= 32 && (before as f64) < told_at_most(seconds);
    guest.check(is_bounded, &format!("{before} faults were told in {seconds} s"))?;
    std::thread::sleep(Duration::from_millis(500));
    let after = guest.status()?.faults;
    guest.check(after == before, &format!("{} faults of a device that nobody owns", after - before))?;
    // An application that lost its device has failed, and the machine says so.
    guest.type_line("poweroff")
}

fn too_many_interrupts_are_stopped(machine: &'static str) -> Result<()> {
    let (mut steady, mut noisy) = (Peer::new()?, Peer::new()?);
    let setup = Setup::new("interrupt-storm").machine(machine).cpus(2);
    let (mut guest, _) = setup.network(steady.netdev()).network(noisy.netdev()).boot()?;
    wait_ready(&mut guest, "noisy")?;
    noisy.find_guest().map_err(|error| guest.failure(&format!("{error:#}")))?;
    // Far enough apart that each finds the application asleep, near enough to exceed the budget.
    for number in 0..100 {
        let is_back = noisy.echo_one(number, LIMIT)?;
        guest.check(is_back, &format!("packet {number} was not answered"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    guest.console_line("too many interrupts", LIMIT)?;
    guest.type_line("lsdev")?;
    let line = guest.console_line(" 64/5 revoke", LIMIT)?;
    let storms = line.split_whitespace().find_map(|word| word.strip_prefix("0+")?.parse::<u64>().ok());
    guest.check(storms.is_some_and(|storms| storms >= 2), &format!("no storm was counted: {line}"))?;
    echo(&guest, &mut steady, 500)?;
    let status = guest.status()?;
    guest.check(status.faults == 0, &format!("stopping interrupts made faults: {status:?}"))?;
    guest.power_off()
}
