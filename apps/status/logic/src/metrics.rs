//! The snapshot as Prometheus text (exposition format, version 0.0.4).
//!
//! **Invariant: each family has its `HELP` and `TYPE` once, before its samples, and no value of a label ends its quotes.**

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{Display, Write};

use weir_abi::device::PciAddress;
use weir_board::{Owner, Snapshot};

use crate::histogram::{BOUNDS, Histogram};

/// What the text is, for who asks.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const NS_PER_SECOND: u64 = 1_000_000_000;

/// A family of samples, written as it is filled.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// Adds a sample with `labels` (name, value).
    fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.add_named(self.name, labels, value);
    }

    fn add_named(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{name}{braces} {value}");
    }
}

fn family<'a>(text: &'a mut String, name: &'static str, kind: &str, help: &str) -> Family<'a> {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    Family { text, name }
}

/// A label's value as it stands between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Seconds of nanoseconds, exactly.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / NS_PER_SECOND, ns % NS_PER_SECOND)
}

/// The snapshot, and how long this page's own requests took.
#[must_use]
pub fn text(snapshot: &Snapshot, requests: &Histogram) -> String {
    let mut text = String::new();
    machine(&mut text, snapshot);
    traffic(&mut text, &snapshot.owners);
    owners(&mut text, &snapshot.owners);
    devices(&mut text, snapshot);
    cpus(&mut text, snapshot);
    durations(&mut text, requests);
    text
}

fn machine(text: &mut String, snapshot: &Snapshot) {
    family(
        text,
        "weir_iommu_info",
        "gauge",
        "How devices are confined; 1 where they are, 0 where nothing does.",
    )
    .add(&[("mode", &snapshot.iommu)], u8::from(snapshot.is_confined));
    family(text, "weir_uptime_seconds", "gauge", "Since the kernel's clock started.")
        .add(&[], seconds(snapshot.time_ns));
    let [total, free] = snapshot.memory_bytes;
    family(text, "weir_memory_bytes", "gauge", "Memory that the allocator was given.").add(&[], total);
    family(text, "weir_memory_free_bytes", "gauge", "Of it, free now.").add(&[], free);
    family(text, "weir_iommu_faults_recorded_total", "counter", "Blocked accesses recorded, of all devices.")
        .add(&[], snapshot.faults);
    family(text, "weir_iommu_faults_lost_total", "counter", "How often a unit had no room for a record.")
        .add(&[], snapshot.faults_lost);
}

/// A family with a value of each owner: name, help, value.
type Counter<T> = (&'static str, &'static str, fn(&Owner) -> T);

/// The label that names an owner's devices.
fn devices_of(owner: &Owner) -> String {
    let places: Vec<String> = owner.devices.iter().map(|address| PciAddress(*address).to_string()).collect();
    places.join(",")
}

fn traffic(text: &mut String, owners: &[Owner]) {
    let both: [Counter<[u64; 2]>; 2] = [
        ("weir_packets_total", "Packets of an owner's data path.", |owner| owner.packets),
        ("weir_bytes_total", "Bytes of these packets.", |owner| owner.bytes),
    ];
    for (name, help, values) in both {
        let mut family = family(text, name, "counter", help);
        for owner in owners {
            let device = devices_of(owner);
            for (direction, value) in ["rx", "tx"].into_iter().zip(values(owner)) {
                let labels = [("owner", &*owner.name), ("device", &*device), ("direction", direction)];
                family.add(&labels, value);
            }
        }
    }
    let counters: [Counter<u64>; 5] = [
        ("weir_packets_dropped_total", "Packets dropped.", |owner| owner.dropped),
        (
            "weir_data_path_kernel_entries_total",
            "Kernel entries of the thread that moves packets, since its data path began.",
            |owner| owner.data_path_kernel_entries,
        ),
        ("weir_sleep_kernel_entries_total", "Of these, for sleeping when idle.", |owner| {
            owner.sleep_kernel_entries
        }),
        (
            "weir_iommu_faults_total",
            "Blocked accesses of an owner's devices, as the kernel counted.",
            |owner| owner.iommu_faults,
        ),
        ("weir_device_errors_total", "Violations by a device that its driver noticed.", |owner| {
            owner.device_errors
        }),
    ];
    for (name, help, value) in counters {
        let mut family = family(text, name, "counter", help);
        for owner in owners {
            family.add(&[("owner", &owner.name), ("device", &devices_of(owner))], value(owner));
        }
    }
}

fn owners(text: &mut String, owners: &[Owner]) {
    let mut up = family(text, "weir_owner_up", "gauge", "1 while an owner runs.");
    for owner in owners {
        up.add(&[("owner", &owner.name)], u8::from(owner.state == "running"));
    }
    let mut restarts =
        family(text, "weir_owner_restarts_total", "counter", "How often it was started again.");
    for owner in owners {
        restarts.add(&[("owner", &owner.name)], owner.restarts);
    }
    let mut memory = family(text, "weir_owner_memory_bytes", "gauge", "Memory that an owner holds.");
    for owner in owners {
        memory.add(&[("owner", &owner.name)], owner.memory_bytes);
    }
    let help = "Kernel entries of all threads of an owner's present life.";
    let mut entries = family(text, "weir_owner_kernel_entries_total", "counter", help);
    for owner in owners {
        for (cause, value) in ["syscall", "interrupt", "exception"].into_iter().zip(owner.kernel_entries) {
            entries.add(&[("owner", &owner.name), ("cause", cause)], value);
        }
    }
}

fn devices(text: &mut String, snapshot: &Snapshot) {
    let help = "Blocked accesses of a device that were recorded, whoever owned it.";
    let mut faults = family(text, "weir_device_iommu_faults_total", "counter", help);
    for device in &snapshot.devices {
        faults.add(&[("device", &PciAddress(device.address).to_string())], device.faults);
    }
    let help = "How often faults or interrupts of a device came too fast.";
    let mut storms = family(text, "weir_device_storms_total", "counter", help);
    for device in &snapshot.devices {
        for (of, value) in ["faults", "interrupts"].into_iter().zip(device.storms) {
            storms.add(&[("device", &PciAddress(device.address).to_string()), ("of", of)], value);
        }
    }
}

fn cpus(text: &mut String, snapshot: &Snapshot) {
    let causes = ["syscall", "timer", "ipi", "device", "exception"];
    let mut entries = family(text, "weir_cpu_kernel_entries_total", "counter", "Kernel entries of a CPU.");
    for (number, cpu) in snapshot.cpus.iter().enumerate() {
        for (cause, value) in causes.into_iter().zip(cpu.kernel_entries) {
            entries.add(&[("cpu", &number.to_string()), ("cause", cause)], value);
        }
    }
    let mut idle = family(text, "weir_cpu_idle_seconds_total", "counter", "Time that a CPU was idle.");
    for (number, cpu) in snapshot.cpus.iter().enumerate() {
        idle.add(&[("cpu", &number.to_string())], seconds(cpu.idle_ns));
    }
}

fn durations(text: &mut String, requests: &Histogram) {
    let help = "From a whole request to the end of its answer, of this page's own requests.";
    let mut family = family(text, "weir_request_duration_seconds", "histogram", help);
    let mut count = 0;
    for (index, more) in requests.counts().iter().enumerate() {
        count += more;
        let bound = if index == BOUNDS { "+Inf".into() } else { seconds(Histogram::bound_us(index) * 1000) };
        family.add_named("weir_request_duration_seconds_bucket", &[("le", &bound)], count);
    }
    family.add_named("weir_request_duration_seconds_sum", &[], seconds(requests.sum_ns()));
    family.add_named("weir_request_duration_seconds_count", &[], count);
}
