//! What the console's commands print.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use weir_abi::Rights;
use weir_abi::device::{DeviceInfo, DevicePolicy, PciAddress};
use weir_abi::handle::ObjectKind;
use weir_abi::info::{
    CpuInfo, FaultInfo, GrantInfo, ProcessInfo, SLOT_COMING, SLOT_EMPTY, SLOT_GOING, SLOT_LEAVING, SLOT_OFF,
    SLOT_ON, SlotInfo, SystemInfo, TraceInfo, TraceKind,
};

use crate::report::AppStatus;
use crate::table::Align::{Left, Right};
use crate::table::Table;

/// Frames of 4 KiB in a mebibyte.
const FRAMES_PER_MIB: u64 = 256;
const NS_PER_MS: u64 = 1_000_000;

/// `ps`: applications with their programs, and with what the kernel says of their processes, where they have one.
pub fn applications<'a>(rows: impl Iterator<Item = (AppStatus<'a>, &'a str, Option<ProcessInfo>)>) -> String {
    let mut table = Table::new([
        ("APP", Left),
        ("STATE", Left),
        ("CODE", Right),
        ("RESTARTS", Right),
        ("PROCESS", Right),
        ("THREADS", Right),
        ("MiB", Right),
        ("DEVICES", Right),
        ("CPU ms", Right),
        ("SYSCALLS", Right),
        ("FAULTS", Right),
        ("PROGRAM", Left),
    ]);
    for (app, program, info) in rows {
        let info = info.unwrap_or_default();
        table.row([
            &app.name,
            &app.state,
            &app.code,
            &app.restarts,
            &info.id,
            &info.threads,
            &info.frames.div_ceil(FRAMES_PER_MIB),
            &info.devices,
            &(info.cpu_ns / NS_PER_MS),
            &info.syscalls,
            &app.counters.iommu_faults,
            &program,
        ]);
    }
    table.render("no applications")
}

/// `lsdev`. `owner` names a process.
pub fn devices(devices: &[DeviceInfo], owner: impl Fn(u32) -> String) -> String {
    let mut table = Table::new([
        ("ADDRESS", Left),
        ("ID", Left),
        ("CLASS", Left),
        ("IRQS", Right),
        ("GROUP", Right),
        ("IOMMU", Left),
        ("RESET", Left),
        ("OWNER", Left),
        ("STATE", Left),
        ("FAULTS", Right),
        ("STORMS", Right),
        ("POLICY", Left),
    ]);
    for info in devices {
        let flag = |bit, text| if info.flags & bit != 0 { text } else { "-" };
        table.row([
            &PciAddress(info.address),
            &format!("{:04x}:{:04x}", info.vendor, info.device),
            &format!("{:02x}.{:02x} {}", info.class >> 16, info.class >> 8 & 0xff, class(info.class)),
            &info.interrupts,
            &info.group,
            &flag(DeviceInfo::HAS_IOMMU, "yes"),
            &flag(DeviceInfo::HAS_RESET, "reset"),
            &if info.owner == 0 { String::from("-") } else { owner(info.owner) },
            &state(info.flags),
            &info.faults,
            &format!("{}+{}", info.fault_storms, info.interrupt_storms),
            &policy(info.policy),
        ]);
    }
    table.render("no PCI functions")
}

/// What a new owner would have to wait for, and what is kept from the present one.
fn state(flags: u32) -> &'static str {
    let states = [
        (DeviceInfo::HAS_FAILED, "FAILED"),
        (DeviceInfo::IS_RESETTING, "resetting"),
        (DeviceInfo::IS_MUTED, "muted"),
        (DeviceInfo::IS_CLEAN, "clean"),
    ];
    states.iter().find(|(flag, _)| flags & flag != 0).map_or("used", |(_, text)| *text)
}

/// Budgets of faults and of interrupts per window, what an endless storm leads to, and what the device reaches without an
/// owner if that is not nothing, and how long it is left alone after a reset if less than any device.
fn policy(policy: DevicePolicy) -> String {
    let storm = if policy.has(DevicePolicy::REVOKE_ON_STORM) { "revoke" } else { "mute" };
    let revoked = if policy.has(DevicePolicy::SCRATCH) { " scratch" } else { "" };
    let reset = match policy.reset_us {
        0 => String::new(),
        us => format!(" reset={us}us"),
    };
    format!("{}/{} {storm}{revoked}{reset}", policy.fault_budget, policy.interrupt_budget)
}

/// `faults`, first part: what was recorded and what was not.
#[must_use]
pub fn fault_counts(system: &SystemInfo, devices: &[DeviceInfo]) -> String {
    let storms: u64 = devices.iter().map(|info| info.fault_storms).sum();
    let failed = devices.iter().filter(|info| info.flags & DeviceInfo::HAS_FAILED != 0).count();
    format!(
        "{} recorded, {} times no room for more, {storms} storms muted; in quarantine: {failed} devices, {} frames\n",
        system.faults, system.faults_lost, system.frames_quarantined
    )
}

/// The base class by name (PCI Code and ID Assignment Specification 1.11, §1 "Class Codes").
fn class(class: u32) -> &'static str {
    match class >> 16 {
        0x01 => "storage",
        0x02 => "network",
        0x03 => "display",
        0x04 => "multimedia",
        0x06 => "bridge",
        0x07 => "communication",
        0x08 => "system",
        0x0c => "serial bus",
        _ => "other",
    }
}

/// `slots`.
pub fn slots(slots: &[SlotInfo]) -> String {
    let mut table =
        Table::new([("SLOT", Right), ("PORT", Left), ("BUS", Left), ("STATE", Left), ("CHANGES", Right)]);
    for info in slots {
        let bus = format!("{:02x}", info.bus);
        table.row([&info.number, &PciAddress(info.port), &bus, &slot_state(info), &info.changes]);
    }
    table.render("no hot-plug slots that the kernel drives")
}

/// A slot's state in a word.
#[must_use]
pub fn slot_state(info: &SlotInfo) -> &'static str {
    match info.state {
        SLOT_EMPTY => "empty",
        SLOT_COMING => "coming",
        SLOT_ON => "on",
        SLOT_LEAVING => "leaving",
        SLOT_GOING => "going",
        SLOT_OFF => "off",
        _ => "unknown",
    }
}

/// `grants`: each row with its holder's name.
pub fn grants<'a>(rows: impl Iterator<Item = (&'a str, GrantInfo)>) -> String {
    let mut table =
        Table::new([("APP", Left), ("HANDLE", Right), ("KIND", Left), ("RIGHTS", Left), ("WHAT", Left)]);
    for (app, grant) in rows {
        let kind = ObjectKind::from_number(grant.kind);
        let name = kind.map_or_else(|| format!("kind {}", grant.kind), |kind| format!("{kind:?}"));
        let what = match kind {
            Some(ObjectKind::Memory) => format!("{} KiB", grant.detail / 1024),
            // The kernel gives a 32-bit PCI address.
            Some(ObjectKind::Device) => {
                PciAddress(u32::try_from(grant.detail).unwrap_or(u32::MAX)).to_string()
            }
            Some(ObjectKind::Core) => format!("CPU {}", grant.detail),
            Some(ObjectKind::Process) => format!("process {}", grant.detail),
            Some(ObjectKind::Event) => format!("slot {}", grant.detail),
            _ => String::new(),
        };
        table.row([&app, &grant.handle.index(), &name, &RightNames(grant.rights), &what]);
    }
    table.render("no grants")
}

/// Rights, a letter each: read, write, execute, use, manage, transfer.
struct RightNames(Rights);

impl fmt::Display for RightNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (Rights::READ, 'r'),
            (Rights::WRITE, 'w'),
            (Rights::EXECUTE, 'x'),
            (Rights::USE, 'u'),
            (Rights::MANAGE, 'm'),
            (Rights::TRANSFER, 't'),
        ];
        letters.iter().try_for_each(|(right, letter)| {
            fmt::Write::write_char(f, if self.0.contains(*right) { *letter } else { '-' })
        })
    }
}

/// `faults`: oldest first. `owner` names a process.
pub fn faults(faults: &[FaultInfo], owner: impl Fn(u32) -> String) -> String {
    let mut table = Table::new([
        ("SECONDS", Right),
        ("DEVICE", Left),
        ("OWNER", Left),
        ("ACCESS", Left),
        ("ADDRESS", Right),
        ("REASON", Right),
    ]);
    for fault in faults {
        table.row([
            &Seconds(fault.time_ns),
            &PciAddress(fault.requester),
            &if fault.owner == 0 { String::from("-") } else { owner(fault.owner) },
            &if fault.is_write == 1 { "write" } else { "read" },
            &format!("{:#x}", fault.iova),
            &format!("{:#04x}", fault.reason),
        ]);
    }
    table.render("no faults")
}

/// `trace`: events with their CPU, oldest first.
pub fn trace(events: &[(u64, TraceInfo)]) -> String {
    let mut table = Table::new([
        ("SECONDS", Right),
        ("CPU", Right),
        ("NUMBER", Right),
        ("PROCESS", Right),
        ("EVENT", Left),
    ]);
    for (cpu, event) in events {
        table.row([&Seconds(event.time_ns), cpu, &event.number, &event.process, &TraceText(event)]);
    }
    table.render("no events")
}

/// A trace event in words.
struct TraceText<'a>(&'a TraceInfo);

impl fmt::Display for TraceText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.0.values;
        let device = PciAddress(u32::try_from(a).unwrap_or(u32::MAX));
        match TraceKind::from_number(self.0.kind) {
            Some(TraceKind::CallFailed) => match weir_abi::Error::from_status(b) {
                Some(error) => write!(f, "call {a:#x} failed: {error}"),
                None => write!(f, "call {a:#x} failed"),
            },
            Some(TraceKind::ProcessCreated) => write!(f, "created: {a} handles, {b} frames at most"),
            Some(TraceKind::ProcessEnded) => write!(f, "ended: state {a}, code {b}"),
            Some(TraceKind::DeviceAssigned) => write!(f, "device {device} assigned, handle {b:#x}"),
            Some(TraceKind::DeviceRevoked) => write!(f, "device {device} revoked in {b} ns"),
            Some(TraceKind::Fault) => write!(f, "device {device} blocked at {b:#x}"),
            Some(TraceKind::Switch) => write!(f, "thread {a} runs on CPU {b}"),
            Some(TraceKind::Shootdown) => write!(f, "TLB shootdown on {a} CPUs, {b:#x}"),
            None => write!(f, "kind {}: {a:#x} {b:#x}", self.0.kind),
        }
    }
}

/// A time in seconds, to the microsecond.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0 / 1000;
        write!(f, "{}.{:06}", us / 1_000_000, us % 1_000_000)
    }
}

/// `top`, first part: what CPUs did between two samples, `interval_ns` apart.
pub fn cpus(before: &[CpuInfo], now: &[CpuInfo], interval_ns: u64) -> String {
    let mut table = Table::new([
        ("CPU", Right),
        ("USE", Left),
        ("BUSY %", Right),
        ("THREADS", Right),
        ("SYSCALLS/s", Right),
        ("TIMER/s", Right),
        ("IPI/s", Right),
        ("DEVICE/s", Right),
        ("EXCEPTIONS/s", Right),
    ]);
    for (cpu, (before, now)) in before.iter().zip(now).enumerate() {
        let rate = |before: u64, now: u64| per_second(now.saturating_sub(before), interval_ns);
        let idle = percent(now.idle_ns.saturating_sub(before.idle_ns), interval_ns);
        table.row([
            &cpu,
            &if now.granted == 1 { "granted" } else { "shared" },
            &(100 - idle.min(100)),
            &now.runnable,
            &rate(before.syscalls, now.syscalls),
            &rate(before.timer_interrupts, now.timer_interrupts),
            &rate(before.ipis, now.ipis),
            &rate(before.device_interrupts, now.device_interrupts),
            &rate(before.exceptions, now.exceptions),
        ]);
    }
    table.render("no CPUs")
}

/// `top`, second part: name, CPU time and system calls of each process between two samples.
pub fn load<'a>(rows: impl Iterator<Item = (&'a str, ProcessInfo, ProcessInfo)>, interval_ns: u64) -> String {
    let mut table =
        Table::new([("APP", Left), ("CPU %", Right), ("SYSCALLS/s", Right), ("INTERRUPTS/s", Right)]);
    for (name, before, now) in rows {
        table.row([
            &name,
            &percent(now.cpu_ns.saturating_sub(before.cpu_ns), interval_ns),
            &per_second(now.syscalls.saturating_sub(before.syscalls), interval_ns),
            &per_second(now.interrupts.saturating_sub(before.interrupts), interval_ns),
        ]);
    }
    table.render("no applications run")
}

/// `report`: packet counters.
pub fn counters<'a>(apps: impl Iterator<Item = AppStatus<'a>>) -> String {
    let mut table = Table::new([
        ("APP", Left),
        ("READY", Left),
        ("RX", Right),
        ("TX", Right),
        ("RX KiB", Right),
        ("TX KiB", Right),
        ("DROPPED", Right),
        ("DEVICE ERRORS", Right),
        ("KERNEL ENTRIES", Right),
        ("OF THESE SLEEP", Right),
    ]);
    for app in apps {
        let counters = &app.counters;
        table.row([
            &app.name,
            &if app.is_ready { "yes" } else { "no" },
            &counters.rx_packets,
            &counters.tx_packets,
            &(counters.rx_bytes / 1024),
            &(counters.tx_bytes / 1024),
            &counters.dropped,
            &counters.device_errors,
            &counters.data_path_kernel_entries,
            &counters.sleep_kernel_entries,
        ]);
    }
    table.render("no applications")
}

fn percent(part_ns: u64, interval_ns: u64) -> u64 {
    u64::try_from(u128::from(part_ns) * 100 / u128::from(interval_ns.max(1))).unwrap_or(u64::MAX)
}

fn per_second(count: u64, interval_ns: u64) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(interval_ns.max(1))).unwrap_or(u64::MAX)
}

/// The last `count` lines of `text`.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let Some(skip) = count.checked_sub(1) else { return "" };
    match text.rmatch_indices('\n').nth(skip) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

#[cfg(test)]
mod tests;
