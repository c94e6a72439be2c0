//! The snapshot as JSON (RFC 8259). Addresses are text; counters are numbers.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Value, json};
use weir_abi::device::PciAddress;
use weir_board::{Cpu, Device, Fault, Owner, Snapshot};

use crate::histogram::{BOUNDS, Histogram};
use crate::reason;

/// The snapshot, and how long this page's own requests took.
#[must_use]
pub fn text(snapshot: &Snapshot, requests: &Histogram) -> String {
    let [total, free] = snapshot.memory_bytes;
    let is_vtd = snapshot.iommu.starts_with("vtd");
    let document = json!({
        "time_ns": snapshot.time_ns,
        "boot_ns": snapshot.boot_ns,
        "iommu": snapshot.iommu,
        "confined": snapshot.is_confined,
        "memory_bytes": total,
        "memory_free_bytes": free,
        "iommu_faults": snapshot.faults,
        "iommu_faults_lost": snapshot.faults_lost,
        "startable": snapshot.startable,
        "owners": list(&snapshot.owners, owner),
        "devices": list(&snapshot.devices, device),
        "cpus": list(&snapshot.cpus, cpu),
        "faults": list(&snapshot.last_faults, |one| fault(one, is_vtd)),
        "requests": histogram(requests),
    });
    document.to_string()
}

fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(value).collect()
}

fn place(address: u32) -> String {
    PciAddress(address).to_string()
}

fn owner(owner: &Owner) -> Value {
    let [syscalls, interrupts, exceptions] = owner.kernel_entries;
    json!({
        "name": owner.name,
        "state": owner.state,
        "code": owner.code,
        "restarts": owner.restarts,
        "ready": owner.is_ready,
        "devices": list(&owner.devices, |address| place(*address).into()),
        "memory_bytes": owner.memory_bytes,
        "cpu_ns": owner.cpu_ns,
        "syscalls": syscalls,
        "interrupts": interrupts,
        "exceptions": exceptions,
        "rx_packets": owner.packets[0],
        "tx_packets": owner.packets[1],
        "rx_bytes": owner.bytes[0],
        "tx_bytes": owner.bytes[1],
        "dropped": owner.dropped,
        "device_errors": owner.device_errors,
        "data_path_kernel_entries": owner.data_path_kernel_entries,
        "sleep_kernel_entries": owner.sleep_kernel_entries,
        "iommu_faults": owner.iommu_faults,
    })
}

fn device(device: &Device) -> Value {
    let [vendor, product] = device.id;
    json!({
        "address": place(device.address),
        "id": format!("{vendor:04x}:{product:04x}"),
        "owner": device.owner,
        "iommu": device.has_iommu,
        "muted": device.is_muted,
        "interrupts": device.interrupts,
        "iommu_faults": device.faults,
        "fault_storms": device.storms[0],
        "interrupt_storms": device.storms[1],
    })
}

fn cpu(cpu: &Cpu) -> Value {
    let [syscalls, timer, ipis, devices, exceptions] = cpu.kernel_entries;
    json!({
        "granted": cpu.is_granted,
        "syscalls": syscalls,
        "timer_interrupts": timer,
        "ipis": ipis,
        "device_interrupts": devices,
        "exceptions": exceptions,
        "idle_ns": cpu.idle_ns,
    })
}

fn fault(fault: &Fault, is_vtd: bool) -> Value {
    json!({
        "number": fault.number,
        "time_ns": fault.time_ns,
        "device": place(fault.device),
        "owner": fault.owner,
        "iova": format!("{:#x}", fault.iova),
        "write": fault.is_write,
        "reason": format!("{:#04x}", fault.reason),
        "why": if is_vtd { reason::words(fault.reason) } else { "blocked" },
    })
}

fn histogram(histogram: &Histogram) -> Value {
    let bounds: Vec<u64> = (0..BOUNDS).map(Histogram::bound_us).collect();
    json!({
        "bounds_us": bounds,
        "counts": histogram.counts().as_slice(),
        "count": histogram.count(),
        "sum_ns": histogram.sum_ns(),
    })
}
