//! What a system call costs.

use weir_rt::clock::ticks;
use weir_rt::{Env, Memory, log};

use crate::{Verdict, ensure};

const CALLS: u64 = 100_000;
/// Instructions of [`counted_loop`].
const COUNTED: u64 = 1_000_000;

/// Measures `memory_info`: one handle looked up, nothing else done. And a loop of a known number of instructions,
/// which says whether a tick is an instruction here (an emulator can be told to make it so).
pub(crate) fn syscall_cost(_: &mut Env) -> Result<(), Verdict> {
    let memory = Memory::create(4096)?;
    let before = ticks();
    for _ in 0..CALLS {
        let bytes = memory.bytes()?;
        ensure!(bytes == 4096, "{bytes} bytes of 4096");
    }
    let ticks = ticks() - before;
    log!("measure syscall_tsc {}", ticks / CALLS);
    log!("measure million_instructions_tsc {}", counted_loop());
    Ok(())
}

/// Runs a million instructions and gives the ticks they took.
fn counted_loop() -> u64 {
    let before = ticks();
    // SAFETY: counts a register down to 0, touches nothing else.
    unsafe {
        core::arch::asm!("2: dec {0}", "jnz 2b", inout(reg) COUNTED / 2 => _, options(nomem, nostack));
    }
    ticks() - before
}
