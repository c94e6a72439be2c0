//! What a system call costs.

use weir_rt::clock::{million_instructions, ticks};
use weir_rt::{Env, Memory, log, marker, thread};

use crate::{Verdict, ensure};

const CALLS: u64 = 100_000;
/// What who counts from outside calls the calls.
const REGION: u8 = 15;

/// Measures `memory_info`: one handle looked up, nothing else done. And a loop of a known number of instructions,
/// which says whether a tick is an instruction here (an emulator can be told to make it so).
pub(crate) fn syscall_cost(_: &mut Env) -> Result<(), Verdict> {
    let memory = Memory::create(4096)?;
    let entries = thread::kernel_entries();
    marker::begin::<REGION>();
    let before = ticks();
    for _ in 0..CALLS {
        let bytes = memory.bytes()?;
        ensure!(bytes == 4096, "{bytes} bytes of 4096");
    }
    let ticks = ticks() - before;
    marker::end::<REGION>();
    log!("measure kernel_entries {}", thread::kernel_entries() - entries);
    log!("measure syscall_tsc {}", ticks / CALLS);
    log!("measure million_instructions_tsc {}", million_instructions());
    Ok(())
}
