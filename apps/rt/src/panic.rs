//! The end of an application that broke its own invariant: message, backtrace, exit code 101.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use weir_abi::info::name_text;

use crate::{log, process, tls};

/// Exit code of a panic.
pub const PANIC_CODE: u64 = 101;

/// Most frames of a backtrace.
const FRAMES: usize = 32;

#[cfg_attr(not(test), panic_handler)]
#[cfg_attr(test, expect(dead_code, reason = "tests run on the host, with the host's handler"))]
fn panic(info: &PanicInfo<'_>) -> ! {
    static IS_PANICKING: AtomicBool = AtomicBool::new(false);
    // A panic while telling of one: say no more.
    if !IS_PANICKING.swap(true, Ordering::Relaxed) {
        match info.location() {
            Some(location) => log!("panicked at {location}: {}", info.message()),
            None => log!("panicked: {}", info.message()),
        }
        log_backtrace();
    }
    process::exit(PANIC_CODE)
}

/// Logs the return addresses of the callers, one line each.
fn log_backtrace() {
    let own = process::own_info().unwrap_or_default();
    let frame: usize;
    // SAFETY: reads a register; `force-frame-pointers` makes it this function's frame.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let stack_end = tls::current().map_or(0, |control| control.stack_end);
    for address in (Frames { frame, stack_end }).take(FRAMES) {
        log!("[backtrace] app {} {address:#x}", name_text(&own.name));
    }
}

/// Return addresses along the chain of frame pointers.
///
/// **Invariant: reads only between this thread's present frame and the end of its stack, upwards.**
struct Frames {
    frame: usize,
    stack_end: usize,
}

impl Iterator for Frames {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        let is_inside = self.frame.checked_add(16)? <= self.stack_end;
        if self.frame == 0 || !self.frame.is_multiple_of(8) || !is_inside {
            return None;
        }
        // SAFETY: two aligned words between a live frame and the end of the stack, which is mapped.
        let [caller, address] =
            unsafe { core::ptr::with_exposed_provenance::<[usize; 2]>(self.frame).read() };
        // Frames lie upwards; anything else ends the walk.
        self.frame = if caller > self.frame { caller } else { 0 };
        (address != 0).then_some(address)
    }
}

/// The toolchain's `alloc` is compiled for programs that unwind and names these two. This program is not one
/// (`panic = "abort"`): nothing calls them.
#[cfg(not(test))]
mod unwinding {
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() -> ! {
        crate::process::exit(super::PANIC_CODE)
    }

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        crate::process::exit(super::PANIC_CODE)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn walks_upwards_and_stays_inside() {
        let stack = [const { Cell::new(0usize) }; 8];
        let start = stack.as_ptr().expose_provenance();
        let at = |i: usize| start + i * size_of::<usize>();
        let (a, b, end) = (at(0), at(4), at(7) + 8);
        stack[0].set(b);
        stack[1].set(0x1111);
        stack[4].set(a); // a loop downwards ends the walk
        stack[5].set(0x2222);
        let walk: Vec<usize> = Frames { frame: a, stack_end: end }.collect();
        assert_eq!(walk, [0x1111, 0x2222]);
        assert_eq!(Frames { frame: a + 1, stack_end: end }.count(), 0);
        assert_eq!(Frames { frame: a, stack_end: a + 15 }.count(), 0);
        assert_eq!(Frames { frame: usize::MAX - 7, stack_end: end }.count(), 0);
    }
}
