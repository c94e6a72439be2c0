//! Deliberate crashes: a CPU exception ends this application and nothing else.

use weir_abi::layout::{KERNEL_PAGE, PAGE_BYTES};
use weir_rt::memory::Pages;
use weir_rt::{log, thread};

/// Crashes as `name` says. Returns false where it did not crash, or there is no such crash.
pub(crate) fn crash(name: &str) -> bool {
    log!("{name}: expecting the end");
    match name {
        "crash-null" => write(0x10),
        "crash-unmapped" => write(unmapped()),
        "crash-kernel-page" => write(KERNEL_PAGE),
        "crash-code" => write(crash as *const () as u64),
        "crash-kernel" => write(0xffff_ffff_8000_0000),
        "crash-execute" => execute_data(),
        // SAFETY: the exception ends the program: nothing runs afterwards.
        "crash-ud" => unsafe { core::arch::asm!("ud2") },
        // SAFETY: as above; `hlt` is the kernel's.
        "crash-gp" => unsafe { core::arch::asm!("hlt") },
        // SAFETY: as above; a division by zero.
        "crash-divide" => unsafe {
            core::arch::asm!("xor ecx, ecx", "div ecx", out("eax") _, out("edx") _, out("ecx") _)
        },
        "crash-stack" => {
            core::hint::black_box(deep(1));
        }
        "crash-panic" => panic!("a deliberate panic"),
        _ => {
            log!("there is no test {name}");
            return false;
        }
    }
    log!("test {name} FAILED: it went on");
    false
}

fn write(address: u64) {
    let address = core::hint::black_box(address as *mut u64);
    // SAFETY: none: the page fault is the test. Written in assembler, so that the compiler need not know.
    unsafe { core::arch::asm!("mov qword ptr [{}], 1", in(reg) address) };
}

/// An address that was mapped a moment ago.
fn unmapped() -> u64 {
    let pages = Pages::new(PAGE_BYTES);
    let address = pages.as_ref().map_or(0, |pages| pages.as_ptr() as u64);
    log!("crash-unmapped: {address:#x}");
    address
}

/// Runs bytes on the stack.
fn execute_data() {
    let code = core::hint::black_box([0xc3u8; 16]); // ret
    // SAFETY: none: the page fault is the test.
    let function: extern "C" fn() = unsafe { core::mem::transmute(code.as_ptr()) };
    function();
}

/// Uses up the stack.
fn deep(depth: u64) -> u64 {
    let mut page = [depth; 512];
    core::hint::black_box(&mut page);
    if thread::slot() > 1000 { page[0] } else { deep(depth + 1) + page[511] }
}
