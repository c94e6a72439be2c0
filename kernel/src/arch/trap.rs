//! Entries into the kernel: what led here, counted and handed to whom it concerns.

use x86_64::registers::control::Cr2;

use weir_abi::info::STATE_CRASHED;
use weir_abi::layout::USER_END;

use super::local::{is_installed, local};
use super::{apic, cpu, idt};
use crate::console;
use crate::cpus;
use crate::hotplug;
use crate::mm::{tlb, user};
use crate::object::interrupt;
use crate::object::process::{self, Report};
use crate::object::thread::{Frame, Thread};
use crate::panic;
use crate::sched;
use crate::syscall;

const NMI: u64 = 2;
const PAGE_FAULT: u64 = 14;
const FIRST_INTERRUPT: u64 = 32;

/// An entry from user mode; `frame` is the running thread's.
pub(super) extern "C" fn from_user(frame: *mut Frame) -> ! {
    // SAFETY: entries from user mode push into the running thread's frame, which lives while it runs.
    let thread = unsafe { Thread::of_frame(frame) };
    // SAFETY: while the thread is in the kernel nobody else uses its frame.
    let vector = unsafe { (*frame).vector };
    // A system call clears the flag that lifts SMAP by itself; an interrupt leaves it as the user had it.
    cpu::forbid_user_access();
    let counters = thread.counters();
    match vector {
        idt::SYSCALL => {
            Thread::count(&counters.syscalls);
            count(|c| &c.syscalls);
            syscall::dispatch(thread);
            sched::return_from_call(thread)
        }
        FIRST_INTERRUPT..=255 => {
            Thread::count(&counters.interrupts);
            interrupt(vector as u8);
        }
        _ => {
            Thread::count(&counters.exceptions);
            count(|c| &c.exceptions);
            // SAFETY: as above.
            crash(thread, unsafe { &*frame });
        }
    }
    sched::resume()
}

/// An entry from kernel mode, on the kernel's stack. Returns to resume at `frame`.
pub(super) extern "C" fn from_kernel(frame: *mut Frame) {
    // SAFETY: the stub passes the frame it just pushed.
    let frame = unsafe { &mut *frame };
    match frame.vector {
        FIRST_INTERRUPT..=255 => {
            // Only an idle CPU has interrupts on.
            interrupt(frame.vector as u8);
            sched::resume()
        }
        PAGE_FAULT if Cr2::read_raw() < USER_END && user::recover(frame.rip).is_some() => {
            frame.rip = user::recover(frame.rip).unwrap_or(0);
        }
        _ => panic::exception(frame, Cr2::read_raw()),
    }
}

/// An exception that may come at any moment, on a stack of its own; GS may be the user's.
pub(super) extern "C" fn from_anywhere(frame: *mut Frame) {
    // SAFETY: the stub passes the frame it just pushed.
    let frame = unsafe { &*frame };
    match frame.vector {
        NMI => panic::stop_if_panicking(),
        _ => panic::exception(frame, Cr2::read_raw()),
    }
}

fn interrupt(vector: u8) {
    match vector {
        apic::TIMER => {
            count(|c| &c.timer);
            sched::timer_fired();
        }
        apic::RESCHEDULE => count(|c| &c.ipis),
        apic::SHOOTDOWN => {
            count(|c| &c.ipis);
            tlb::serve();
        }
        // Not acknowledged: it was never in service.
        apic::SPURIOUS => return,
        apic::IOMMU => {
            count(|c| &c.devices);
            crate::iommu::handle_fault_interrupt();
        }
        apic::HOTPLUG => {
            count(|c| &c.devices);
            hotplug::look();
        }
        apic::CONSOLE => {
            count(|c| &c.devices);
            console::received();
        }
        _ => {
            count(|c| &c.devices);
            interrupt::dispatch(vector);
        }
    }
    apic::end_of_interrupt();
}

fn count(which: impl Fn(&cpus::EntryCounters) -> &core::sync::atomic::AtomicU64) {
    Thread::count(which(cpus::entries(local().index)));
}

/// A thread caused a CPU exception: its process ends, with a report; nothing else does.
fn crash(thread: &Thread, frame: &Frame) {
    let address = if frame.vector == PAGE_FAULT { Cr2::read_raw() } else { 0 };
    panic::report_crash(thread, frame, address);
    let report = Report { state: STATE_CRASHED, code: frame.vector, rip: frame.rip, address };
    process::end(&thread.process, report);
}

/// Whether this CPU can be asked about itself yet.
pub(crate) fn cpu_index() -> u32 {
    if is_installed() { local().index } else { 0 }
}

/// Stops for good after a panic elsewhere.
pub(crate) fn stop() -> ! {
    cpu::halt()
}
