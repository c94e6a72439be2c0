//! Vector registers belong to their thread.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use weir_abi::call::THREAD_YIELD;
use weir_rt::Env;
use weir_rt::log;

use crate::threads::run_all;
use crate::{Verdict, ensure};

/// Bytes of a vector register and of all sixteen.
const REGISTER_BYTES: usize = 32;
const STATE_BYTES: usize = 16 * REGISTER_BYTES;
const ROUNDS: u64 = 300;
const SPINS: u64 = 500;

/// Sixteen registers' contents.
#[repr(C, align(32))]
#[derive(Clone, PartialEq)]
struct State([u8; STATE_BYTES]);

/// Loads, waits, stores with one kind of move.
macro_rules! through_registers {
    ($name:ident, $move:literal, $register:literal, $feature:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Safety
        /// The CPU and the kernel have these registers.
        #[target_feature(enable = $feature)]
        unsafe fn $name(state: &State, after: &mut State) {
            // SAFETY: aligned loads and stores of whole `State`s; the calls in between touch no memory.
            unsafe {
                core::arch::asm!(
                    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    concat!($move, " ", $register, "\\n, [{state} + 32*\\n]"),
                    ".endr",
                    "2:",
                    "mov {spin}, {spins}",
                    "3:",
                    "pause",
                    "dec {spin}",
                    "jnz 3b",
                    "mov eax, {yield_call}",
                    "syscall",
                    "dec {rounds}",
                    "jnz 2b",
                    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    concat!($move, " [{after} + 32*\\n], ", $register, "\\n"),
                    ".endr",
                    state = in(reg) state,
                    after = in(reg) after,
                    rounds = inout(reg) ROUNDS => _,
                    spin = out(reg) _,
                    spins = const SPINS,
                    yield_call = const THREAD_YIELD,
                    out("rax") _, out("rcx") _, out("rdx") _, out("r11") _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                    out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                    out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    options(nostack),
                );
            }
        }
    };
}
through_registers!(
    through_xmm,
    "movaps",
    "xmm",
    "sse2",
    "Puts the low halves of `state` into xmm0–15, lets others run, reads them back."
);
through_registers!(
    through_ymm,
    "vmovaps",
    "ymm",
    "avx",
    "Puts `state` into ymm0–15, lets others run, reads them back."
);

/// Whether the CPU has AVX and the kernel keeps its registers.
fn has_avx() -> bool {
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    let features = core::arch::x86_64::__cpuid(1).ecx;
    if features & OSXSAVE_AND_AVX != OSXSAVE_AND_AVX {
        return false;
    }
    let enabled: u32;
    // SAFETY: OSXSAVE says that user mode may read the register.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack));
    }
    enabled & 6 == 6
}

/// Sixteen threads with a pattern each, on fewer CPUs.
pub(crate) fn kept(_: &mut Env) -> Result<(), Verdict> {
    let is_wide = has_avx();
    let wrong = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wrong);
    run_all(move |number| {
        let state = State(core::array::from_fn(|i| (number * 16 + i / REGISTER_BYTES).to_le_bytes()[0]));
        let mut after = state.clone();
        if is_wide {
            after.0.fill(0);
            // SAFETY: just asked.
            unsafe { through_ymm(&state, &mut after) };
        } else {
            // Only the low halves are stored.
            after.0.chunks_mut(REGISTER_BYTES).for_each(|register| register[..16].fill(0));
            // SAFETY: every x86-64 CPU has them.
            unsafe { through_xmm(&state, &mut after) };
        }
        count.fetch_add(usize::from(after != state), Ordering::SeqCst);
    })?;
    let wrong = wrong.load(Ordering::SeqCst);
    ensure!(wrong == 0, "{wrong} threads lost their registers");
    if !is_wide {
        log!("vectors: no AVX here, 128-bit registers tested");
    }
    Ok(())
}
