//! Asks the kernel who reaches what.

use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::device::DeviceInfo;
use weir_abi::handle::ObjectKind;
use weir_abi::info::{GrantInfo, InterruptInfo, ProcessInfo, name_text};
use weir_init_logic::audit::{Owner, line};
use weir_rt::System;

/// The audit's report, of every process there is.
/// `indices`: how many the kernel has used for functions.
pub(crate) fn report(system: System, devices: &[DeviceInfo], indices: u64) -> String {
    let processes = (0..).map_while(|position| system.info::<ProcessInfo>(position).ok());
    let owners: Vec<Owner> = processes.map(|process| owner(system, &process)).collect();
    let interrupts: Vec<_> = (0..indices).flat_map(|at| interrupts(system, at)).collect();
    line(&owners, devices, &interrupts)
}

fn owner(system: System, process: &ProcessInfo) -> Owner {
    let id = process.id;
    let first = u64::from(id) << 32;
    let grants = (first..).map_while(|index| system.info::<GrantInfo>(index).ok());
    let is_core = |grant: &GrantInfo| ObjectKind::from_number(grant.kind) == Some(ObjectKind::Core);
    Owner {
        name: name_text(&process.name).into(),
        process: id,
        cores: grants.filter(is_core).map(|grant| grant.detail).collect(),
        reach: system.reach(id).collect(),
        device_reach: system.device_reach(id).collect(),
        held: system.held(id).collect(),
    }
}

/// The bound interrupts of the function with this index.
fn interrupts(system: System, index: u64) -> impl Iterator<Item = InterruptInfo> {
    let mut next = 0;
    core::iter::from_fn(move || {
        let interrupt: InterruptInfo = system.info(index << 32 | next).ok()?;
        next = u64::from(interrupt.number) + 1;
        Some(interrupt)
    })
}
