//! `system_info`: records about the machine, for the supervisor.

use weir_abi::info::{self, CpuInfo, GrantInfo, ReachInfo, SystemInfo};
use weir_abi::layout::PAGE_BYTES;
use weir_abi::{Error, Rights};
use zerocopy::{Immutable, IntoBytes};

use core::sync::atomic::Ordering;

use super::{Call, Result};
use crate::arch::time;
use crate::mm::space::{self, Space};
use crate::mm::{heap, ram, user};
use crate::object::Object;
use crate::object::{device, process};
use crate::sched::SCHED;
use crate::{boot, cpus, faults, hotplug, kernel_page, trace};

pub(super) fn system_info(call: &Call<'_>) -> Result {
    call.system(0, Rights::READ)?;
    let (kind, index) = (call.number(1), call.number(2));
    let position = usize::try_from(index).map_err(|_| Error::NotFound)?;
    match kind {
        info::KIND_SYSTEM if index == 0 => give(call, &system()),
        info::KIND_CPU => give(call, &cpu(index)?),
        info::KIND_PROCESS => give(call, &process::at(position).ok_or(Error::NotFound)?.info()),
        info::KIND_DEVICE => give(call, &device::at(position)?.info()?),
        info::KIND_GRANT => give(call, &grant(index)?),
        info::KIND_REACH => give(call, &reach(index, Space::reach)?),
        info::KIND_DEVICE_REACH => give(call, &reach(index, Space::device_reach)?),
        info::KIND_HELD => give(call, &held(index)?),
        info::KIND_INTERRUPT => {
            let (device, number) = ((index >> 32) as usize, (index & 0xffff_ffff) as usize);
            let device = device::at(device)?;
            give(call, &device.interrupt_info(number).ok_or(Error::NotFound)?)
        }
        info::KIND_SLOT => give(call, &hotplug::info(position).ok_or(Error::NotFound)?),
        info::KIND_FAULT => give(call, &faults::get(index).ok_or(Error::NotFound)?),
        info::KIND_TRACE => {
            const NUMBER_BITS: u32 = 48;
            let cpu = usize::try_from(index >> NUMBER_BITS).map_err(|_| Error::NotFound)?;
            give(call, &trace::get(cpu, index & ((1 << NUMBER_BITS) - 1)).ok_or(Error::NotFound)?)
        }
        _ => Err(Error::NotFound),
    }
}

fn give<T: IntoBytes + Immutable>(call: &Call<'_>, record: &T) -> Result {
    let bytes = size_of::<T>() as u64;
    if call.number(4) != bytes {
        return Err(Error::BadArgument);
    }
    user::write(call.number(3), record)?;
    Ok(bytes.into())
}

fn system() -> SystemInfo {
    let (frames_free, frames_total) = ram::counts();
    let (heap_bytes, heap_used_bytes) = heap::bytes();
    SystemInfo {
        cpus: cpus::count(),
        iommu_mode: kernel_page::iommu_mode() as u32,
        frames_total,
        frames_free,
        kernel_text_bytes: boot::image::text().bytes(),
        heap_bytes,
        heap_used_bytes,
        tsc_hz: time::tsc_hz(),
        now_ns: time::now_ns(),
        boot_ns: boot::boot_ns(),
        faults: faults::count(),
        faults_lost: faults::lost(),
        frames_quarantined: space::quarantined_frames(),
        devices: device::count() as u32,
        processes: process::count() as u32,
        device_changes: device::changes(),
    }
}

fn cpu(index: u64) -> Result<CpuInfo> {
    let cpu = u32::try_from(index).ok().filter(|cpu| *cpu < cpus::count()).ok_or(Error::NotFound)?;
    let entries = cpus::entries(cpu);
    let (is_granted, runnable) = {
        let mut sched = SCHED.lock();
        sched.settle();
        sched.cpu_state(cpu)
    };
    Ok(CpuInfo {
        apic_id: cpus::apic_id(cpu),
        granted: is_granted.into(),
        syscalls: entries.syscalls.load(Ordering::Relaxed),
        timer_interrupts: entries.timer.load(Ordering::Relaxed),
        ipis: entries.ipis.load(Ordering::Relaxed),
        device_interrupts: entries.devices.load(Ordering::Relaxed),
        exceptions: entries.exceptions.load(Ordering::Relaxed),
        runnable,
        reserved: 0,
        idle_ns: entries.idle_ns.load(Ordering::Relaxed),
    })
}

fn grant(index: u64) -> Result<GrantInfo> {
    let (id, position) = ((index >> 32) as u32, (index & 0xffff_ffff) as usize);
    let process = process::by_id(id).ok_or(Error::NotFound)?;
    let handles = process.handles.lock();
    let (handle, object, rights) = handles.iter().nth(position).ok_or(Error::NotFound)?;
    Ok(GrantInfo { handle, kind: object.kind() as u32, rights, detail: object.detail() })
}

fn reach(index: u64, from: fn(&Space, u64) -> Option<ReachInfo>) -> Result<ReachInfo> {
    let id = u32::try_from(index >> info::REACH_PAGE_BITS).map_err(|_| Error::NotFound)?;
    let address = (index & ((1 << info::REACH_PAGE_BITS) - 1)) * PAGE_BYTES;
    let process = process::by_id(id).ok_or(Error::NotFound)?;
    let space = process.space.lock();
    space.as_ref().and_then(|space| from(space, address)).ok_or(Error::NotFound)
}

fn held(index: u64) -> Result<ReachInfo> {
    let (id, position) = ((index >> 32) as u32, (index & 0xffff_ffff) as usize);
    let process = process::by_id(id).ok_or(Error::NotFound)?;
    let handles = process.handles.lock();
    let memories = handles.iter().filter_map(|(_, object, rights)| match object {
        Object::Memory(memory) => Some((memory, rights)),
        _ => None,
    });
    let mut runs = memories.flat_map(|(memory, rights)| {
        let flag = |right, flag| if rights.contains(right) { flag } else { 0 };
        let flags = flag(Rights::WRITE, ReachInfo::WRITE) | flag(Rights::EXECUTE, ReachInfo::EXECUTE);
        memory.runs(0, memory.bytes()).map(move |run| ReachInfo {
            phys: run.start,
            bytes: run.bytes(),
            memory: memory.number,
            flags,
            ..ReachInfo::default()
        })
    });
    runs.nth(position).ok_or(Error::NotFound)
}
