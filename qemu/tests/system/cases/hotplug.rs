//! Devices that come and go while the machine runs, asked and unasked: the owner is told and ends in order, the next
//! device is granted and serves.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Case, E1000E, IGB, VIRTIO};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{Flood, Peer};
use weir_runner::report::Status;

pub(super) const CASES: &[(&str, Case)] = &[
    ("hotplug::a_device_comes_and_serves", || a_device_comes_and_serves(VIRTIO)),
    ("hotplug::a_device_comes_and_serves_e1000e", || a_device_comes_and_serves(E1000E)),
    ("hotplug::a_device_comes_and_serves_igb", || a_device_comes_and_serves(IGB)),
    ("hotplug::the_button_takes_it_under_traffic", || the_button_takes_it_under_traffic(VIRTIO)),
    ("hotplug::the_button_takes_it_under_traffic_e1000e", || the_button_takes_it_under_traffic(E1000E)),
    ("hotplug::power_lost_under_traffic", || power_lost_under_traffic(VIRTIO)),
    ("hotplug::power_lost_under_traffic_e1000e", || power_lost_under_traffic(E1000E)),
    ("hotplug::power_lost_under_traffic_igb", || power_lost_under_traffic(IGB)),
    ("hotplug::power_lost_under_traffic_scalable_first", || power_lost_under_traffic("q35-scalable-first")),
    ("hotplug::power_lost_under_traffic_amdvi", || power_lost_under_traffic("q35-amdvi-x2apic")),
    ("hotplug::a_device_of_the_first_hour_leaves", a_device_of_the_first_hour_leaves),
    ("hotplug::twenty_comings_and_goings_lose_no_frame", || twenty_cycles_lose_no_frame(VIRTIO)),
    ("hotplug::twenty_comings_and_goings_lose_no_frame_e1000e", || twenty_cycles_lose_no_frame(E1000E)),
];

/// How long the guest's next sign may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Comings and goings whose frames are counted.
const CYCLES: usize = 20;

/// A machine whose first slot, number 1, is empty, and the other end of the slot's network.
fn boot(machine: &'static str) -> Result<(Guest, Peer)> {
    let peer = Peer::new()?;
    let setup = Setup::new("hotplug").machine(machine).driving_slots().slot(&peer.netdev());
    let (mut guest, _) = setup.boot()?;
    guest.console_line("app echo is not started: there is no device", LIMIT)?;
    Ok((guest, peer))
}

fn is_ready(status: &Status) -> bool {
    status.app("echo").is_some_and(|app| app.ready)
}

fn is_down(status: &Status) -> bool {
    status.app("echo").is_some_and(|app| app.state == "exited" && app.code == 1)
}

/// Plugs the device in and waits until the application serves with it.
fn plug(guest: &mut Guest) -> Result<()> {
    guest.plug(0)?;
    guest.status_until("a running data path", is_ready).map(drop)
}

/// What holds when the device has left: its owner found it gone and ended in order, and nothing escaped.
fn check_departure(guest: &mut Guest) -> Result<()> {
    guest.wait_unplugged(0, LIMIT)?;
    let status = guest.status_until("the owner's end", is_down)?;
    guest.check(!guest.has_said("crashed"), "the owner crashed instead of finding its device gone")?;
    guest.check(status.faults == 0, &format!("the device was caught outside: {status:?}"))
}

fn serve(guest: &Guest, peer: &mut Peer, count: usize) -> Result<()> {
    peer.echo(count, |number| 64 + number % 1000).map_err(|error| guest.failure(&format!("{error:#}")))
}

fn a_device_comes_and_serves(machine: &'static str) -> Result<()> {
    let (mut guest, mut peer) = boot(machine)?;
    guest.type_line("slots")?;
    guest.console_line("01   empty", LIMIT)?;
    plug(&mut guest)?;
    serve(&guest, &mut peer, 1000)?;
    let status = guest.status()?;
    guest.check(status.faults == 0, &format!("faults: {status:?}"))?;
    guest.type_line("slots")?;
    guest.console_line("01   on", LIMIT)?;
    guest.power_off()
}

/// Traffic that does not stop while the device goes and comes again.
fn flood(guest: &Guest, mut peer: Peer) -> Result<Flood> {
    peer.find_guest().map_err(|error| guest.failure(&format!("{error:#}")))?;
    let flood = peer.flood()?;
    answers(guest, &flood, 1000)?;
    Ok(flood)
}

/// Waits for `count` more answers.
fn answers(guest: &Guest, flood: &Flood, count: u64) -> Result<()> {
    let (first, deadline) = (flood.answered(), Instant::now() + LIMIT);
    while flood.answered() < first + count {
        guest.check(Instant::now() < deadline, &format!("{} answers", flood.answered() - first))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn the_button_takes_it_under_traffic(machine: &'static str) -> Result<()> {
    let (mut guest, peer) = boot(machine)?;
    plug(&mut guest)?;
    let flood = flood(&guest, peer)?;
    guest.press_button(0)?;
    guest.console_line("slot 1 is leaving", LIMIT)?;
    // Until the time to press again is over, it serves.
    answers(&guest, &flood, 100)?;
    check_departure(&mut guest)?;
    plug(&mut guest)?;
    answers(&guest, &flood, 1000)?;
    flood.stop().map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}

/// The registers read as ones, and the driver may see it before the kernel does.
fn power_lost_under_traffic(machine: &'static str) -> Result<()> {
    let (mut guest, peer) = boot(machine)?;
    plug(&mut guest)?;
    let flood = flood(&guest, peer)?;
    guest.type_line("cut 1")?;
    check_departure(&mut guest)?;
    plug(&mut guest)?;
    answers(&guest, &flood, 1000)?;
    flood.stop().map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}

/// Found at boot, it leaves like any other; another one comes in its place.
fn a_device_of_the_first_hour_leaves() -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = Setup::new("hotplug").driving_slots().network(peer.netdev()).boot()?;
    guest.status_until("a running data path", is_ready)?;
    serve(&guest, &mut peer, 100)?;
    guest.type_line("eject 1")?;
    guest.console_line("slot 1 is empty", LIMIT)?;
    guest.status_until("the owner's end", is_down)?;
    plug(&mut guest)?;
    serve(&guest, &mut peer, 100)?;
    guest.power_off()
}

fn twenty_cycles_lose_no_frame(machine: &'static str) -> Result<()> {
    let (mut guest, mut peer) = boot(machine)?;
    let mut frames = None;
    for cycle in 0..CYCLES {
        plug(&mut guest)?;
        serve(&guest, &mut peer, 50)?;
        guest.type_line(if cycle % 4 == 3 { "cut 1" } else { "eject 1" })?;
        check_departure(&mut guest)?;
        let now = guest.status()?.frames_free;
        let before = *frames.get_or_insert(now);
        guest.check(now == before, &format!("{before} free frames became {now} in cycle {cycle}"))?;
        // Without the pause that the supervisor makes between short lives.
        guest.type_line("restart echo")?;
    }
    guest.type_line("poweroff")
}
