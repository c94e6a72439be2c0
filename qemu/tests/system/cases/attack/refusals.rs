//! What is not granted at all, whoever asks: devices that cannot be confined or are somebody's, pages that hold interrupt
//! tables or are shared, more than the quota.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use weir_attack_orders::{Answer, Order};
use weir_runner::guest::{Guest, Setup};

use super::outside::{Function, Outside, Waiting};
use super::puppet::Puppet;
use super::ram::PAGE;
use super::rig::{LIMIT, root_port};
use crate::cases::{Case, VIRTIO};

pub(super) const CASES: [(&str, Case); 4] = [
    ("attack::what_cannot_be_granted_is_refused", what_cannot_be_granted_is_refused),
    (
        "attack::interrupt_tables_and_shared_pages_are_not_mapped",
        interrupt_tables_and_shared_pages_are_not_mapped,
    ),
    ("attack::a_million_map_calls_cost_no_memory", a_million_map_calls_cost_no_memory),
    ("attack::sixty_four_devices", sixty_four_devices),
];

/// Devices of `manifests/attack-refusals.toml`, by port from the second on.
const DEVICES: [&str; 6] = [
    "virtio-rng-pci,disable-legacy=on,iommu_platform=on",
    "e1000e",
    "igb",
    "nvme,serial=x,drive=disk",
    "qemu-xhci",
    "virtio-rng-pci,disable-legacy=on,iommu_platform=on,addr=0.0,multifunction=on",
];
const OTHERS: [&str; 8] = [
    "virtio-rng-pci,disable-legacy=on,iommu_platform=on,bus=port7,addr=0.1",
    "edu,bus=pcie.0,addr=0x10",
    "pcie-pci-bridge,id=bridge,bus=port9",
    "edu,bus=bridge,addr=1",
    "edu,bus=bridge,addr=2",
    // A bus that no unit covers.
    "pxb-pcie,id=uncovered,bus_nr=64,bus=pcie.0,bypass_iommu=on",
    "pcie-root-port,id=port65,bus=uncovered,chassis=65,slot=65",
    "edu,bus=port65",
];

/// A machine whose first application is a puppet.
struct Small {
    guest: Guest,
    first: Puppet,
    outside: Outside,
    _small: Puppet,
}

impl Small {
    fn boot() -> Result<Small> {
        let (first, small, waiting) = (Puppet::new()?, Puppet::new()?, Waiting::new()?);
        let mut words = waiting.options().to_vec();
        words.extend(
            ["-drive", "if=none,id=disk,file.driver=null-co,file.size=1048576,format=raw"].map(str::to_owned),
        );
        for bus in 1..=9 {
            words.extend(["-device".into(), root_port(bus)]);
        }
        words.extend(first.options("port1"));
        words.extend(small.options("port8"));
        for (bus, device) in (2..).zip(DEVICES) {
            words.extend(["-device".into(), format!("{device},bus=port{bus}")]);
        }
        words.extend(OTHERS.iter().flat_map(|device| ["-device".to_owned(), (*device).to_owned()]));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut guest = Setup::new("attack-refusals").machine(VIRTIO).with(&words).start()?;
        let outside = waiting.connect()?;
        guest.wait_ready()?;
        guest.status_until("the first application", |status| {
            status.app("first").is_some_and(|app| app.ready)
        })?;
        Ok(Small { guest, first, outside, _small: small })
    }

    fn run(check: impl FnOnce(&mut Small) -> Result<()>) -> Result<()> {
        let mut small = Small::boot()?;
        check(&mut small).map_err(|error| small.guest.failure(&format!("{error:#}")))?;
        // Applications that were refused count as failed.
        small.guest.type_line("poweroff")
    }

    /// Whether `first` may map `bytes` at `offset` of a BAR.
    fn can_map(&mut self, device: &str, bar: u8, offset: u64, bytes: u64) -> Result<bool> {
        match self.first.try_order(&Order::MapBar { device: device.into(), bar, offset, bytes })? {
            Answer::Done => Ok(true),
            Answer::Failed(why) if why.contains("argument out of range") => Ok(false),
            other => bail!("{device} BAR {bar} at {offset:#x}: {other:?}"),
        }
    }
}

/// Applications of the manifest that ask for what they cannot have, and why they cannot.
const REFUSED: [(&str, &str); 5] = [
    ("other-half", "device cannot be isolated"),
    ("second-owner", "owned by another process"),
    ("no-reset", "device cannot be isolated"),
    ("behind-bridge", "device cannot be isolated"),
    ("uncovered", "no IOMMU covers the device"),
];

fn what_cannot_be_granted_is_refused() -> Result<()> {
    Small::run(|small| {
        for (app, why) in REFUSED {
            let line = small.guest.console_line(&format!("app {app} is not started"), LIMIT)?;
            ensure!(line.contains(why), "{line}");
            println!("{app}: refused: {why}");
        }
        let status = small.guest.status()?;
        let is_none = |name: &str| status.app(name).is_some_and(|app| app.state != "running" && !app.ready);
        ensure!(REFUSED.iter().all(|(name, _)| is_none(name)), "{status:?}");
        ensure!(
            status.app("first").is_some_and(|app| app.state == "running"),
            "the owner suffered: {status:?}"
        );
        Ok(())
    })
}

fn interrupt_tables_and_shared_pages_are_not_mapped() -> Result<()> {
    Small::run(|small| {
        for (bus, device) in (2..).zip(["rng", "e1000e", "igb", "nvme", "xhci"]) {
            tables_are_not_mapped(small, bus, device)?;
        }
        no_option_rom_decodes(small)?;
        a_small_bar_is_mapped_alone(small)
    })
}

/// Every page of every memory BAR: those with a part of the MSI-X table or its pending bits are refused, the others not.
fn tables_are_not_mapped(small: &mut Small, bus: u8, device: &str) -> Result<()> {
    let Answer::Info { bar_bytes, .. } = small.first.order(&Order::Info { device: device.into() })? else {
        bail!("no description of {device}");
    };
    let tables = interrupt_tables(&small.outside.function(bus))?;
    let (mut refused, mut mapped) = (0, 0);
    for (bar, bytes) in (0u8..).zip(bar_bytes) {
        for offset in (0..bytes).step_by(PAGE) {
            let is_held = tables
                .iter()
                .any(|(its, range)| *its == bar && range.start < offset + PAGE as u64 && offset < range.end);
            let can = small.can_map(device, bar, offset, PAGE as u64)?;
            ensure!(
                can != is_held,
                "{device} BAR {bar} at {offset:#x}: mapped {can}, interrupt table {is_held}"
            );
            if can { mapped += 1 } else { refused += 1 }
        }
        // Nor with its neighbours.
        if tables.iter().any(|(its, _)| *its == bar) {
            ensure!(!small.can_map(device, bar, 0, bytes)?, "{device} BAR {bar} was mapped whole");
        }
    }
    ensure!(refused > 0, "{device} has no interrupt table");
    println!("{device}: {refused} pages with interrupt tables refused, {mapped} others mapped");
    Ok(())
}

/// MSI-X table and pending bits: BAR and range (PCIe 6.0 §7.7.2 "MSI-X Capability and Table Structure").
fn interrupt_tables(function: &Function) -> Result<Vec<(u8, Range<u64>)>> {
    let at = function.capability(0x11)?;
    let entries = u64::from(function.config32(at)? >> 16 & 0x7ff) + 1;
    let range = |offset: u16, bytes: u64| -> Result<(u8, Range<u64>)> {
        let word = function.config32(at + offset)?;
        let start = u64::from(word & !7);
        Ok((u8::try_from(word & 7)?, start..start + bytes))
    };
    Ok(vec![range(4, 16 * entries)?, range(8, entries.div_ceil(64) * 8)?])
}

/// Code that devices bring along is neither run nor reachable.
fn no_option_rom_decodes(small: &mut Small) -> Result<()> {
    let roms = (2..7).map(|bus| small.outside.function(bus).config32(0x30)).collect::<Result<Vec<_>>>()?;
    ensure!(roms.iter().all(|rom| rom & 1 == 0), "a ROM decodes: {roms:x?}");
    Ok(())
}

/// `ivshmem-plain` has 256 bytes of registers: their page is mapped because nobody else's registers are in it.
fn a_small_bar_is_mapped_alone(small: &mut Small) -> Result<()> {
    let page = |address: u64| address / PAGE as u64;
    let its = page(small.outside.function(8).bar(0)?);
    let others = (1..8).flat_map(|bus| (0..6).map(move |bar| (bus, bar)));
    for (bus, bar) in others {
        ensure!(
            page(small.outside.function(bus).bar(bar)?) != its,
            "{bus:02x}:00.0 BAR {bar} shares its page"
        );
    }
    ensure!(small.can_map("small", 0, 0, PAGE as u64)?, "its own page was refused");
    for (offset, bytes) in
        [(0, 256), (0, 2 * PAGE as u64), (PAGE as u64, PAGE as u64), (256, PAGE as u64), (0, 0)]
    {
        ensure!(!small.can_map("small", 0, offset, bytes)?, "{bytes} bytes at {offset} were mapped");
    }
    println!("256 bytes of registers: their page is mapped, nothing beside it");
    Ok(())
}

/// Calls; far more than any quota.
const CALLS: u64 = 1_000_000;

fn a_million_map_calls_cost_no_memory() -> Result<()> {
    Small::run(|small| {
        // Once, so that tables that stay are there.
        small.first.order(&Order::MapMany { times: 1_000 })?;
        let before = small.guest.status()?.frames_free;
        let Answer::Counted { count, quota } = small.first.order(&Order::MapMany { times: CALLS })? else {
            bail!("another answer");
        };
        let after = small.guest.status()?.frames_free;
        ensure!(count == CALLS && quota > CALLS - 1_000, "{quota} of {count} calls met the quota");
        ensure!(before == after, "{before} free frames became {after}");
        println!("{count} calls: {quota} refused by the quota, no frame lost");
        Ok(())
    })
}

const MANY: u16 = 64;
/// Where the kernel lies in physical memory.
const KERNEL: u64 = 0x20_0000;

/// One application with 64 devices: each reaches its memory, none the kernel.
fn sixty_four_devices() -> Result<()> {
    let (mut puppet, waiting) = (Puppet::new()?, Waiting::new()?);
    let mut words = waiting.options().to_vec();
    for bus in 1..=u8::try_from(MANY + 1)? {
        let (slot, function) = (3 + (bus - 1) / 8, (bus - 1) % 8);
        let port = format!("{},addr={slot:#x}.{function},multifunction=on,hotplug=off", root_port(bus));
        words.extend(["-device".into(), port]);
        if bus > 1 {
            words.extend(["-device".into(), format!("edu,dma_mask=0xffffffffffffffff,bus=port{bus}")]);
        }
    }
    words.extend(puppet.options("port1"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut guest = Setup::new("attack-many").machine(VIRTIO).with(&words).start()?;
    let outside = waiting.connect()?;
    guest.wait_ready()?;
    let is_ready = |status: &weir_runner::report::Status| status.app("attack").is_some_and(|app| app.ready);
    guest.status_when("64 devices", Duration::from_secs(60), is_ready)?;
    let all = all_devices(&mut puppet, &outside);
    all.map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.power_off()
}

fn all_devices(puppet: &mut Puppet, outside: &Outside) -> Result<()> {
    let faults = |puppet: &mut Puppet| match puppet.order(&Order::Faults)? {
        Answer::Faults { written, lost } => Ok(written + lost),
        other => bail!("{other:?}"),
    };
    let (slot, iova) = puppet.map(PAGE as u64, 1)?;
    for number in 0..MANY {
        // Each device writes a word of its empty buffer.
        puppet.order(&Order::Forge { address: iova + 8 * u64::from(number), first: number, count: 1 })?;
    }
    let page = puppet.page(slot)?;
    let words = page.chunks_exact(8).take(MANY.into());
    ensure!(words.clone().all(|word| word[..4] == [0; 4]), "not every device wrote: {page:x?}");
    ensure!(faults(puppet)? == 0, "an access of its own was blocked");
    let before = outside.read(KERNEL, 8)?;
    puppet.order(&Order::Forge { address: KERNEL, first: 0, count: MANY })?;
    let deadline = Instant::now() + LIMIT;
    while faults(puppet)? == 0 {
        ensure!(Instant::now() < deadline, "no fault was recorded");
    }
    ensure!(outside.read(KERNEL, 8)? == before, "the kernel was written to");
    Ok(())
}
