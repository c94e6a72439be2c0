//! The audit as people read it.

use std::fmt::Write;

use weir_abi::channel::BUFFER_BYTES;
use weir_abi::device::PciAddress;
use weir_abi::info::ReachInfo;
use weir_abi::manifest::{DeviceSelect, Manifest};

use super::proof::Verdict;
use super::reach::{Owner, Reach, Run};

/// Rows of equal columns.
struct Table(Vec<[String; 4]>);

impl Table {
    fn new() -> Table {
        Table(vec![["OWNER", "WHAT", "HOW MUCH", "WHERE"].map(String::from)])
    }

    fn row(&mut self, owner: &str, what: &str, how_much: impl Into<String>, place: impl Into<String>) {
        self.0.push([owner.into(), what.into(), how_much.into(), place.into()]);
    }

    fn render(&self) -> String {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let [a, b, c] = [width(0), width(1), width(2)];
        let mut text = String::new();
        for [owner, what, how_much, place] in &self.0 {
            let line = format!("{owner:a$}  {what:b$}  {how_much:>c$}  {place}");
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// What a manifest grants. It has been checked: no device, by its selector, and no name twice.
#[must_use]
pub fn manifest(manifest: &Manifest) -> String {
    let mut table = Table::new();
    for app in &manifest.apps {
        let name = &app.name;
        table.row(name, "memory", kib(app.memory_bytes), "frames of its own, at most so many");
        for device in &app.devices {
            let select = selector(device.select);
            table.row(name, "registers", "all", format!("{} ({select})", device.name));
            table.row(name, "interrupts", "all", format!("{} ({select})", device.name));
        }
        match app.cores {
            0 => table.row(name, "cores", "0", "shared ones"),
            cores => table.row(name, "cores", cores.to_string(), "whole"),
        }
    }
    for channel in &manifest.channels {
        for app in channel.ends.iter().filter_map(|app| manifest.apps.get(*app as usize)) {
            let what = format!("{}: two rings, each of both ends", channel.name);
            table.row(&app.name, "shared", format!("{} entries", channel.entries), what);
        }
    }
    for (number, pool) in manifest.pools.iter().enumerate() {
        let of = manifest.channels.iter().find(|channel| channel.pool as usize == number);
        let name = of.map_or("", |channel| channel.name.as_str());
        for app in pool.users.iter().filter_map(|app| manifest.apps.get(*app as usize)) {
            let what = format!("{name}: the pool, of {} applications", pool.users.len());
            table.row(&app.name, "shared", kib(u64::from(pool.buffers) * BUFFER_BYTES), what);
        }
    }
    let mut text = table.render();
    text += "shared with the supervisor: one page of counters each\n";
    text += if manifest.unsafe_no_iommu {
        "NOT disjoint: unsafe_no_iommu accepts devices that nothing confines\n"
    } else {
        "disjoint: no selector can mean a device that another one names; a machine is audited with --machine\n"
    };
    text
}

fn selector(select: DeviceSelect) -> String {
    match select {
        DeviceSelect::Address(address) => PciAddress(address).to_string(),
        DeviceSelect::Virtual { physical, number } => {
            format!("virtual function {number} of {}", PciAddress(physical))
        }
        DeviceSelect::Id { vendor, device, index } => format!("{vendor:04x}:{device:04x} number {index}"),
    }
}

/// What owners have on a machine, and whether they are apart.
#[must_use]
pub fn machine(reach: &Reach, verdict: &Verdict, machine: &str, iommu: &str) -> String {
    let mut table = Table::new();
    for owner in &reach.owners {
        memory_rows(&mut table, owner);
        device_rows(&mut table, owner, reach);
        for core in owner.cores.iter().filter(|_| Some(owner.process) != reach.supervisor()) {
            table.row(&owner.name, "core", "1", format!("CPU {core}"));
        }
    }
    let mut text = format!("{machine}, IOMMU {iommu}\n{}", table.render());
    for shared in &verdict.shared {
        let writes = |(name, writes): &(String, bool)| {
            format!("{name} ({})", if *writes { "writes" } else { "reads" })
        };
        let [one, two] = shared.between.each_ref().map(writes);
        // Writing to a `String` cannot fail, here and below.
        let _ = writeln!(text, "shared: memory {}, {}: {one} and {two}", shared.memory, kib(shared.bytes));
    }
    for violation in &verdict.violations {
        let _ = writeln!(text, "VIOLATION: {violation}");
    }
    text += &conclusion(reach, verdict);
    text
}

fn conclusion(reach: &Reach, verdict: &Verdict) -> String {
    if !verdict.violations.is_empty() {
        return format!("NOT disjoint: {} violation(s)\n", verdict.violations.len());
    }
    let frames: u64 = reach.owners.iter().map(|owner| bytes(&memory(owner)) >> 12).sum();
    let all = reach.owners.iter().flat_map(|owner| &owner.reach);
    let registers: u64 = all.filter(|run| run.is_registers()).map(|run| run.bytes >> 12).sum();
    format!(
        "disjoint: {} owners, {frames} frames, {registers} register pages, {} interrupts\n",
        reach.owners.len(),
        reach.interrupts.len()
    )
}

fn memory_rows(table: &mut Table, owner: &Owner) {
    let (name, memory) = (&owner.name, memory(owner));
    let runs = |runs: &[Run]| format!("{} run(s)", runs.len());
    table.row(name, "memory", kib(bytes(&memory)), runs(&memory));
    if !owner.device_reach.is_empty() {
        let ranges: Vec<String> = owner.device_reach.iter().take(4).map(device_range).collect();
        let more = if owner.device_reach.len() > 4 { ", …" } else { "" };
        let place = format!("{}: {}{more}", runs(&owner.device_reach), ranges.join(", "));
        table.row(name, "DMA", kib(bytes(&owner.device_reach)), place);
    }
}

fn device_range(run: &Run) -> String {
    let access = if run.is_writable() { "" } else { " read-only" };
    format!("{:#x}+{}{access}", run.address, kib(run.bytes))
}

fn device_rows(table: &mut Table, owner: &Owner, reach: &Reach) {
    let name = &owner.name;
    for run in owner.reach.iter().filter(|run| run.is_registers()) {
        let device = PciAddress(run.device);
        table.row(name, "registers", kib(run.bytes), format!("{device} at {:#x}", run.phys));
    }
    for interrupt in reach.interrupts.iter().filter(|interrupt| interrupt.owner == owner.process) {
        let device = PciAddress(interrupt.device);
        let (cpu, vector, number) = (interrupt.cpu, interrupt.vector, interrupt.number);
        let (message, data) = (interrupt.message, interrupt.data);
        let place = format!(
            "{device} number {number}: CPU {cpu}, vector {vector:#x}, message {message:#x}/{data:#x}"
        );
        table.row(name, "interrupt", "1", place);
    }
}

/// What an owner reaches or holds of memory, each run once: the same bytes may be mapped, mapped again and held.
#[must_use]
pub fn memory(owner: &Owner) -> Vec<Run> {
    const OTHER: u32 = ReachInfo::REGISTERS | ReachInfo::KERNEL_PAGE;
    let mut runs: Vec<Run> =
        owner.reach.iter().chain(&owner.held).filter(|run| run.flags & OTHER == 0).copied().collect();
    runs.sort_by_key(|run| run.phys);
    runs.dedup_by(|run, earlier| {
        let touches = run.phys <= earlier.end();
        if touches {
            earlier.bytes = earlier.bytes.max(run.end() - earlier.phys);
        }
        touches
    });
    runs
}

fn bytes(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.bytes).sum()
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::check;

    #[test]
    fn a_manifest_is_golden() {
        let text = "[[app]]\nname = \"a\"\nprogram = \"p\"\nmemory = \"8M\"\ncores = 1\n\
            [[app.device]]\nname = \"nic\"\nid = \"1af4:1041\"\n\
            [[app]]\nname = \"second\"\nprogram = \"p\"\n[[app.device]]\nname = \"n\"\nid = \"1af4:1042\"\n";
        let expected = "\
OWNER   WHAT         HOW MUCH  WHERE
a       memory       8192 KiB  frames of its own, at most so many
a       registers         all  nic (1af4:1041 number 0)
a       interrupts        all  nic (1af4:1041 number 0)
a       cores               1  whole
second  memory      65536 KiB  frames of its own, at most so many
second  registers         all  n (1af4:1042 number 0)
second  interrupts        all  n (1af4:1042 number 0)
second  cores               0  shared ones
shared with the supervisor: one page of counters each
disjoint: no selector can mean a device that another one names; a machine is audited with --machine
";
        assert_eq!(manifest(&check(text, 2).unwrap().manifest), expected);
        let unsafe_ = check(&format!("unsafe_no_iommu = true\n{text}"), 2).unwrap().manifest;
        assert!(manifest(&unsafe_).contains("\nNOT disjoint: unsafe_no_iommu"));
    }
}
