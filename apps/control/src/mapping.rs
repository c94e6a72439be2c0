//! Mapping memory for devices, and taking it out of their reach.

use alloc::vec::Vec;

use weir_abi::call::{MAP_DMA, MAP_READ, MAP_WRITE};
use weir_rt::{Error, Mapping, Memory};

use crate::machine::Machine;
use crate::report::Report;
use crate::{Failure, timed};

/// What is mapped: a page, a large page, and thirty-two of those.
const SIZES: [(&str, u64); 3] = [("4k", 4 << 10), ("2m", 2 << 20), ("64m", 64 << 20)];

/// Maps and unmaps each size, with a device attached, in a window that already holds something.
pub(crate) fn measure(machine: &Machine, samples: usize, report: &Report) -> Result<(), Failure> {
    let _owned = machine.edu.assign_here(true)?;
    let _neighbour = map_for_devices(&Memory::create(4096)?, 4096)?;
    for (size, bytes) in SIZES {
        let memory = Memory::create(bytes)?;
        let (mut maps, mut unmaps) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        for _ in 0..samples {
            let (mapping, ticks) = timed(|| map_for_devices(&memory, bytes));
            maps.push(ticks);
            let mapping = mapping?;
            let (unmapped, ticks) = timed(|| mapping.unmap());
            unmaps.push(ticks);
            unmapped?;
        }
        report.samples(&alloc::format!("map_{size}"), &maps);
        report.samples(&alloc::format!("unmap_{size}"), &unmaps);
    }
    Ok(machine.edu.revoke()?)
}

/// Maps the first `bytes` of `memory` where this process's devices reach them.
pub(crate) fn map_for_devices(memory: &Memory, bytes: u64) -> Result<Mapping, Error> {
    memory.map_part(bytes, 0, MAP_READ | MAP_WRITE | MAP_DMA)
}
