//! What the supervisor publishes ([`weir_board`]), out of the kernel's records.

use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::device::DeviceInfo;
use weir_abi::info::{CpuInfo, FaultInfo, ProcessInfo, SystemInfo};
use weir_abi::layout::PAGE_BYTES;
use weir_abi::page::IommuMode;
use weir_board::{Cpu, Device, Fault, Owner, Snapshot};

use crate::report::AppStatus;

/// Blocked accesses shown.
pub const FAULTS_SHOWN: u64 = 32;

/// The machine, without what is in it.
#[must_use]
pub fn machine(system: &SystemInfo) -> Snapshot {
    let mode = IommuMode::from_number(system.iommu_mode);
    Snapshot {
        time_ns: system.now_ns,
        boot_ns: system.boot_ns,
        iommu: mode.name().into(),
        is_confined: mode != IommuMode::Off,
        memory_bytes: [system.frames_total, system.frames_free].map(|frames| frames * PAGE_BYTES),
        faults: system.faults,
        faults_lost: system.faults_lost,
        ..Snapshot::default()
    }
}

/// An application, its process if it has one, and the functions that its manifest grants.
#[must_use]
pub fn owner(app: &AppStatus<'_>, process: Option<&ProcessInfo>, devices: Vec<u32>) -> Owner {
    let process = process.copied().unwrap_or_default();
    let counters = &app.counters;
    Owner {
        name: app.name.into(),
        state: app.state.into(),
        code: app.code,
        restarts: app.restarts,
        is_ready: app.is_ready,
        devices,
        memory_bytes: process.frames * PAGE_BYTES,
        cpu_ns: process.cpu_ns,
        kernel_entries: [process.syscalls, process.interrupts, process.exceptions],
        packets: [counters.rx_packets, counters.tx_packets],
        bytes: [counters.rx_bytes, counters.tx_bytes],
        dropped: counters.dropped,
        device_errors: counters.device_errors,
        data_path_kernel_entries: counters.data_path_kernel_entries,
        sleep_kernel_entries: counters.sleep_kernel_entries,
        iommu_faults: counters.iommu_faults,
    }
}

/// A PCI function and the name of its owner.
#[must_use]
pub fn device(info: &DeviceInfo, owner: Option<String>) -> Device {
    Device {
        address: info.address,
        id: [info.vendor, info.device],
        owner,
        has_iommu: info.flags & DeviceInfo::HAS_IOMMU != 0,
        is_muted: info.flags & DeviceInfo::IS_MUTED != 0,
        interrupts: info.interrupts,
        faults: info.faults,
        storms: [info.fault_storms, info.interrupt_storms],
    }
}

/// A CPU.
#[must_use]
pub fn cpu(info: &CpuInfo) -> Cpu {
    let CpuInfo { syscalls, timer_interrupts, ipis, device_interrupts, exceptions, .. } = *info;
    Cpu {
        is_granted: info.granted != 0,
        kernel_entries: [syscalls, timer_interrupts, ipis, device_interrupts, exceptions],
        idle_ns: info.idle_ns,
    }
}

/// Blocked access `number`, and the name of who owned the device then.
#[must_use]
pub fn fault(number: u64, info: &FaultInfo, owner: Option<String>) -> Fault {
    let FaultInfo { requester, iova, is_write, reason, time_ns, .. } = *info;
    Fault { number, time_ns, device: requester, owner, iova, is_write: is_write != 0, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    #[test]
    fn each_number_is_where_it_belongs() {
        let system = SystemInfo {
            iommu_mode: 1,
            frames_total: 3,
            frames_free: 2,
            now_ns: 9,
            faults: 4,
            ..SystemInfo::default()
        };
        let shown = machine(&system);
        assert_eq!((shown.iommu.as_str(), shown.is_confined, shown.time_ns), ("vtd-legacy", true, 9));
        assert_eq!((shown.memory_bytes, shown.faults), ([12_288, 8192], 4));
        assert!(!machine(&SystemInfo { iommu_mode: 0, ..system }).is_confined);

        let counters = Counters {
            rx_packets: 1,
            tx_packets: 2,
            rx_bytes: 3,
            tx_bytes: 4,
            dropped: 5,
            device_errors: 6,
            data_path_kernel_entries: 7,
            sleep_kernel_entries: 8,
            iommu_faults: 9,
        };
        let app = AppStatus { name: "a", state: "running", code: 0, restarts: 3, is_ready: true, counters };
        let process =
            ProcessInfo { frames: 2, syscalls: 10, interrupts: 11, exceptions: 12, ..ProcessInfo::default() };
        let shown = owner(&app, Some(&process), alloc::vec![0x100]);
        assert_eq!((shown.packets, shown.bytes, shown.dropped, shown.device_errors), ([1, 2], [3, 4], 5, 6));
        assert_eq!(
            (shown.data_path_kernel_entries, shown.sleep_kernel_entries, shown.iommu_faults),
            (7, 8, 9)
        );
        assert_eq!(
            (shown.kernel_entries, shown.memory_bytes, shown.devices),
            ([10, 11, 12], 8192, alloc::vec![0x100])
        );
        assert_eq!(owner(&app, None, Vec::new()).memory_bytes, 0);

        let info = DeviceInfo {
            flags: DeviceInfo::HAS_IOMMU,
            fault_storms: 1,
            interrupt_storms: 2,
            ..DeviceInfo::default()
        };
        let shown = device(&info, None);
        assert!(shown.has_iommu && !shown.is_muted && shown.storms == [1, 2]);
        let info = CpuInfo {
            granted: 1,
            syscalls: 1,
            timer_interrupts: 2,
            ipis: 3,
            device_interrupts: 4,
            exceptions: 5,
            ..CpuInfo::default()
        };
        assert_eq!((cpu(&info).is_granted, cpu(&info).kernel_entries), (true, [1, 2, 3, 4, 5]));
        let info =
            FaultInfo { requester: 0x208, iova: 0x1000, is_write: 1, reason: 5, ..FaultInfo::default() };
        let shown = fault(7, &info, Some("rogue".into()));
        assert_eq!((shown.number, shown.device, shown.is_write, shown.reason), (7, 0x208, true, 5));
    }
}
