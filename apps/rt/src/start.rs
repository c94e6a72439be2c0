//! From the first instruction to `main`.
//!
//! Order: stack and frame chain → relocation → kernel page checked → clock → thread-local storage (allocates,
//! so the heap grows here) → environment → `main`. **Invariant: nothing before relocation uses an address
//! stored in memory.** The program is mapped by the supervisor (for the supervisor, by the kernel), with its
//! segments' final permissions.

use weir_abi::Error;

use crate::call::to_usize;
use crate::env::Env;
use crate::tls::Block;
use crate::{clock, kernel_page, log, process};

/// What `main` may return.
pub trait Outcome {
    /// The exit code; what went wrong is logged.
    fn code(self) -> u64;
}

impl Outcome for () {
    fn code(self) -> u64 {
        0
    }
}

impl Outcome for u64 {
    fn code(self) -> u64 {
        self
    }
}

impl<E: core::fmt::Display> Outcome for Result<(), E> {
    fn code(self) -> u64 {
        match self {
            Ok(()) => 0,
            Err(error) => {
                log!("{error}");
                1
            }
        }
    }
}

/// Names the program's `main`: `fn main(env: Env)` returning `()`, an exit code, or a `Result`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn weir_main(env: $crate::Env) -> u64 {
            $crate::start::Outcome::code($main(env))
        }
    };
}

/// First instruction: `rdi`, `rsi` = the start block, `rdx` = the thread's slot, `rsp` = the stack.
#[cfg(not(test))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!(
        "xor ebp, ebp",
        "mov r12, rdi",
        "mov r13, rsi",
        "mov r14, rdx",
        "mov r15, rsp",
        "and rsp, -16",
        "lea rdi, [rip + __ehdr_start]",
        "lea rsi, [rip + _DYNAMIC]",
        "call {relocate}",
        "mov rdi, r12",
        "mov rsi, r13",
        "mov rdx, r14",
        "mov rcx, r15",
        "call {run}",
        "ud2",
        relocate = sym relocate,
        run = sym run,
    )
}

/// An entry of the dynamic section (System V gABI, "Dynamic Section").
#[repr(C)]
struct Dynamic {
    tag: u64,
    value: u64,
}

/// A relocation with addend (System V gABI, "Relocation").
#[repr(C)]
struct Rela {
    offset: u64,
    info: u64,
    addend: u64,
}

const DT_NULL: u64 = 0;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
/// The one kind a static position-independent program has: base + addend.
const R_X86_64_RELATIVE: u64 = 8;

/// Adds the load address where the program's relocations say so.
///
/// # Safety
/// `base` and `dynamic` are this program's image and dynamic section, mapped and not relocated yet.
unsafe extern "C" fn relocate(base: *mut u8, mut dynamic: *const Dynamic) {
    let (mut table, mut bytes) = (0, 0);
    // SAFETY: the linker ends the section with a DT_NULL entry.
    while let Dynamic { tag, value } = unsafe { dynamic.read() }
        && tag != DT_NULL
    {
        match tag {
            DT_RELA => table = value,
            DT_RELASZ => bytes = value,
            _ => {}
        }
        dynamic = dynamic.wrapping_add(1);
    }
    let table = base.wrapping_add(to_usize(table)).cast::<Rela>();
    for i in 0..to_usize(bytes) / size_of::<Rela>() {
        // SAFETY: entry `i` is inside the table.
        let Rela { offset, info, addend } = unsafe { table.wrapping_add(i).read() };
        if info == R_X86_64_RELATIVE {
            let place = base.wrapping_add(to_usize(offset)).cast::<u64>();
            // SAFETY: the linker's relocations lie in the program's writable data.
            unsafe { place.write_unaligned((base as u64).wrapping_add(addend)) };
        }
    }
}

/// Sets up, calls `main`, ends the process with its code.
#[cfg_attr(test, expect(dead_code, reason = "tests run on the host"))]
extern "C" fn run(block: *const u8, bytes: usize, slot: u64, stack_end: usize) -> ! {
    unsafe extern "Rust" {
        fn weir_main(env: Env) -> u64;
    }
    if !kernel_page::is_known() {
        log!("this program was built for another version of the kernel interface");
        process::exit(1);
    }
    clock::set_up();
    let storage = core::mem::ManuallyDrop::new(Block::new());
    Block::install(storage.control(), slot, stack_end);
    let block = if block.is_null() {
        &[]
    } else {
        // SAFETY: the supervisor mapped the block read-only for the program's life (`weir_abi::start`).
        unsafe { core::slice::from_raw_parts(block, bytes) }
    };
    let Some(env) = Env::decode(block) else {
        log!("the start block is malformed: {}", Error::BadArgument);
        process::exit(1);
    };
    // SAFETY: `entry!` defines it with this signature; without one the program does not link.
    process::exit(unsafe { weir_main(env) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image: 4 words of data, then a table of two relocations, of which one is of another kind.
    #[test]
    fn relocates_what_it_knows_and_nothing_else() {
        let mut image = [7u64, 7, 7, 7, 8, R_X86_64_RELATIVE, 0x20, 16, 1, 0x30];
        let entries = [(99, 5), (DT_RELA, 32), (DT_RELASZ, 48), (DT_NULL, 0), (DT_RELA, 0)];
        let dynamic = entries.map(|(tag, value)| Dynamic { tag, value });
        let base = image.as_mut_ptr().cast::<u8>();
        // SAFETY: table and places lie in `image`.
        unsafe { relocate(base, dynamic.as_ptr()) };
        assert_eq!(image[..4], [7, base as u64 + 0x20, 7, 7]);
    }
}
