//! The kernel's end, and reports of crashed applications.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::local::{is_installed, local};
use crate::arch::{apic, serial, trap};
use crate::mm::user;
use crate::object::thread::{Frame, Thread};
use crate::{cpus, log, power};

static PANICKING: AtomicBool = AtomicBool::new(false);

/// Writes past every lock.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        serial::send_in_panic(text.as_bytes());
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    let _ = write!(Console, "\r\nKERNEL PANIC on CPU {}: {}\r\n", trap::cpu_index(), info);
    let frame_pointer: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack)) };
    finish(frame_pointer)
}

/// A CPU exception in the kernel: a bug.
pub(crate) fn exception(frame: &Frame, address: u64) -> ! {
    begin();
    let _ = write!(
        Console,
        "\r\nKERNEL PANIC on CPU {}: exception {} ({}), error code {:#x}, address {address:#x}\r\n",
        trap::cpu_index(),
        frame.vector,
        exception_name(frame.vector),
        frame.error_code,
    );
    let _ = write_registers(&mut Console, frame);
    let _ = write!(Console, "[backtrace] kernel {:#018x}\r\n", frame.rip);
    finish(frame.rbp)
}

/// Stops everybody else; a second panic on the same CPU ends at once.
fn begin() {
    if PANICKING.swap(true, Ordering::SeqCst) {
        if is_installed() && !local().is_panicking.get() {
            trap::stop();
        }
        power::off(power::KERNEL_PANIC);
    }
    if !is_installed() {
        return;
    }
    local().is_panicking.set(true);
    for cpu in (0..cpus::count()).filter(|cpu| *cpu != local().index) {
        apic::send_nmi(cpus::apic_id(cpu));
    }
}

fn finish(frame_pointer: u64) -> ! {
    for address in kernel_frames(frame_pointer) {
        let _ = write!(Console, "[backtrace] kernel {address:#018x}\r\n");
    }
    power::off(power::KERNEL_PANIC)
}

/// Return addresses up the kernel stack, by frame pointers; at most 32.
fn kernel_frames(frame_pointer: u64) -> impl Iterator<Item = u64> {
    const KERNEL: u64 = 0xffff_8000_0000_0000;
    let mut next = frame_pointer;
    let step = move || {
        if next < KERNEL || !next.is_multiple_of(8) {
            return None;
        }
        let pair: *const [u64; 2] = core::ptr::with_exposed_provenance(next as usize);
        // SAFETY: the kernel is built with frame pointers, so this is a saved one and a return address. Should
        // it not be, the fault ends in the second panic, which stops at once.
        let [caller, address] = unsafe { pair.read() };
        // Frames lie one above the other.
        next = if caller > next { caller } else { 0 };
        (address >= KERNEL).then_some(address)
    };
    core::iter::from_fn(step).take(32)
}

/// NMI: another CPU panicked, or the machine has something to say that we have no use for.
pub(crate) fn stop_if_panicking() {
    if PANICKING.load(Ordering::SeqCst) {
        trap::stop();
    }
}

/// Tells the log what happened to an application.
pub(crate) fn report_crash(thread: &Thread, frame: &Frame, address: u64) {
    let name = thread.process.name();
    log::line(
        "kernel",
        format_args!(
            "{name} crashed: exception {} ({}), error code {:#x}, at {:#x}, address {address:#x}",
            frame.vector,
            exception_name(frame.vector),
            frame.error_code,
            frame.rip
        ),
    );
    let mut text = heapless::String::<640>::new();
    // The buffer is large enough for all registers; a cut line would do no harm.
    let _ = write_registers(&mut text, frame);
    for line in text.lines() {
        log::line("kernel", format_args!("  {line}"));
    }
    log::line("kernel", format_args!("[backtrace] app {name} {:#018x}", frame.rip));
    let mut next = frame.rbp;
    for _ in 0..16 {
        // The stack is the application's: read, never believed.
        let Ok([caller, address]) = user::read::<[u64; 2]>(next) else { break };
        if address == 0 {
            break;
        }
        log::line("kernel", format_args!("[backtrace] app {name} {address:#018x}"));
        if caller <= next {
            break;
        }
        next = caller;
    }
}

fn write_registers(to: &mut impl Write, f: &Frame) -> core::fmt::Result {
    write!(to, "rip {:016x} rsp {:016x} rflags {:08x} cs {:x}\r\n", f.rip, f.rsp, f.rflags, f.cs)?;
    write!(to, "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\r\n", f.rax, f.rbx, f.rcx, f.rdx)?;
    write!(to, "rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\r\n", f.rsi, f.rdi, f.rbp, f.r8)?;
    write!(to, "r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\r\n", f.r9, f.r10, f.r11, f.r12)?;
    write!(to, "r13 {:016x} r14 {:016x} r15 {:016x}\r\n", f.r13, f.r14, f.r15)
}

fn exception_name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range",
        6 => "invalid opcode",
        7 => "no coprocessor",
        8 => "double fault",
        10 => "invalid task state",
        11 => "segment not present",
        12 => "stack fault",
        13 => "general protection",
        14 => "page fault",
        16 => "x87 error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD error",
        21 => "control protection",
        _ => "unexpected vector",
    }
}
