//! The local interrupt controller: through its registers in memory, and as x2APIC once it is known that devices'
//! interrupts can be remapped to such ids, or nothing remaps them
//! (Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller").

use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;

use super::cpu::features;
use super::{msr, time};
use crate::mm::vmap;

/// Vectors the kernel keeps for itself; devices get 0x30 to 0xef.
pub(crate) const RESCHEDULE: u8 = 0xf0;
pub(crate) const SHOOTDOWN: u8 = 0xf1;
pub(crate) const TIMER: u8 = 0xf2;
pub(crate) const IOMMU: u8 = 0xf3;
pub(crate) const CONSOLE: u8 = 0xf4;
pub(crate) const HOTPLUG: u8 = 0xf5;
pub(crate) const SPURIOUS: u8 = 0xff;

/// Register numbers: the x2APIC MSR is 0x800 plus these, the memory offset 16 times these.
#[derive(Clone, Copy)]
enum Register {
    Id = 0x02,
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0b,
    Spurious = 0x0f,
    Command = 0x30,
    CommandHigh = 0x31,
    TimerEntry = 0x32,
    LintEntry0 = 0x35,
    LintEntry1 = 0x36,
    TimerInitial = 0x38,
    TimerCurrent = 0x39,
    TimerDivide = 0x3e,
}

const ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const MODE_DEADLINE: u32 = 2 << 17;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;
const SEND_PENDING: u32 = 1 << 12;
const GLOBAL_ENABLE: u64 = 1 << 11;
const X2_ENABLE: u64 = 1 << 10;

/// Whether the CPUs are, or are to be, in x2APIC mode.
static IS_X2APIC: AtomicBool = AtomicBool::new(false);
/// The registers in memory, for a CPU that is not in x2APIC mode; set once.
static MEMORY: Once<usize> = Once::new();
/// Timer ticks per millisecond.
static TICKS_PER_MS: Once<u64> = Once::new();

/// Turns this CPU's controller on, everything masked but what the kernel sends itself.
pub(crate) fn set_up() {
    // SAFETY: every x86-64 CPU has the register.
    let base = unsafe { msr::read(msr::APIC_BASE) };
    if base & X2_ENABLE != 0 {
        // Firmware chose; there is no way back but through switching the controller off.
        IS_X2APIC.store(true, Ordering::Relaxed);
    }
    // SAFETY: turning the controller on changes nothing else.
    unsafe { msr::write(msr::APIC_BASE, base | GLOBAL_ENABLE) };
    if is_x2apic() {
        enter_x2apic();
    } else {
        MEMORY.call_once(|| vmap::map_registers(base & 0xf_ffff_ffff_f000, 4096) as usize);
    }
    write(Register::TaskPriority, 0);
    write(Register::LintEntry0, MASKED);
    write(Register::LintEntry1, DELIVERY_NMI);
    write(Register::TimerEntry, MASKED);
    write(Register::Spurious, ENABLE | u32::from(SPURIOUS));
}

/// Whether the CPUs can be in x2APIC mode.
pub(crate) fn can_x2apic() -> bool {
    features().x2apic
}

/// Whether they are.
pub(crate) fn is_x2apic() -> bool {
    IS_X2APIC.load(Ordering::Relaxed)
}

/// Puts this CPU, and those that start later, into x2APIC mode, where they have it. What was programmed stays.
pub(crate) fn enter_x2apic() {
    if !can_x2apic() {
        return;
    }
    // SAFETY: x2APIC is there, and xAPIC mode or x2APIC mode is on: both transitions are architectural.
    unsafe { msr::write(msr::APIC_BASE, msr::read(msr::APIC_BASE) | X2_ENABLE) };
    IS_X2APIC.store(true, Ordering::Relaxed);
}

/// Calibrates the timer against the time-stamp counter (first CPU), then programs the timer's vector.
pub(crate) fn set_up_timer() {
    if features().tsc_deadline {
        write(Register::TimerEntry, u32::from(TIMER) | MODE_DEADLINE);
        return;
    }
    const DIVIDE_BY_16: u32 = 0b0011;
    write(Register::TimerDivide, DIVIDE_BY_16);
    TICKS_PER_MS.call_once(|| {
        const SAMPLE_MS: u64 = 10;
        write(Register::TimerInitial, u32::MAX);
        let (start, first) = time::tight_pair(|| read(Register::TimerCurrent));
        time::spin_us(SAMPLE_MS * 1000);
        let (end, last) = time::tight_pair(|| read(Register::TimerCurrent));
        write(Register::TimerInitial, 0);
        let ns = u128::from(time::ticks_to_ns(end - start)).max(1);
        u64::try_from(u128::from(first - last) * 1_000_000 / ns).unwrap_or(u64::MAX).max(1)
    });
    write(Register::TimerEntry, u32::from(TIMER));
}

/// Asks for a timer interrupt at `deadline_ns` since boot (at once if that has passed).
pub(crate) fn arm_timer(deadline_ns: u64) {
    if features().tsc_deadline {
        // SAFETY: the CPU has the register. 0 would disarm; the counter is past 0 by now.
        unsafe { msr::write(msr::TSC_DEADLINE, time::ns_to_tsc(deadline_ns).max(1)) };
        return;
    }
    let wait_ns = deadline_ns.saturating_sub(time::now_ns());
    let per_ms = *TICKS_PER_MS.get().expect("calibrated at boot");
    let ticks = u128::from(wait_ns) * u128::from(per_ms) / 1_000_000 + 1;
    write(Register::TimerInitial, u32::try_from(ticks).unwrap_or(u32::MAX));
}

/// No timer interrupt until armed again.
pub(crate) fn disarm_timer() {
    if features().tsc_deadline {
        // SAFETY: the CPU has the register.
        unsafe { msr::write(msr::TSC_DEADLINE, 0) };
    } else {
        write(Register::TimerInitial, 0);
    }
}

/// Says that the interrupt being handled is done.
pub(crate) fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// This CPU's APIC id.
pub(crate) fn id() -> u32 {
    let id = read(Register::Id);
    if is_x2apic() { id } else { id >> 24 }
}

/// Sends an interrupt to another CPU.
pub(crate) fn send(apic_id: u32, vector: u8) {
    command(apic_id, u32::from(vector) | LEVEL_ASSERT);
}

/// Sends a non-maskable interrupt to another CPU.
pub(crate) fn send_nmi(apic_id: u32) {
    command(apic_id, DELIVERY_NMI | LEVEL_ASSERT);
}

/// Starts another CPU at the real-mode page `page` (Intel SDM volume 3, "MP Initialization Protocol").
pub(crate) fn start_cpu(apic_id: u32, page: u8) {
    command(apic_id, DELIVERY_INIT | LEVEL_ASSERT);
    time::spin_us(10_000);
    for _ in 0..2 {
        command(apic_id, DELIVERY_STARTUP | LEVEL_ASSERT | u32::from(page));
        time::spin_us(200);
    }
}

fn command(apic_id: u32, low: u32) {
    if is_x2apic() {
        // Make what the message announces visible first: the x2APIC write is not serializing.
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        // SAFETY: the CPU is in x2APIC mode.
        unsafe { msr::write(0x800 + Register::Command as u32, u64::from(apic_id) << 32 | u64::from(low)) };
        return;
    }
    // The previous message leaves within microseconds; a controller that never sends it is beyond help.
    time::wait_until(1000, || read(Register::Command) & SEND_PENDING == 0);
    write(Register::CommandHigh, apic_id << 24);
    write(Register::Command, low);
}

/// The registers, where they are in memory.
fn memory() -> Option<&'static usize> {
    MEMORY.get().filter(|_| !is_x2apic())
}

fn read(register: Register) -> u32 {
    match memory() {
        // SAFETY: `MEMORY` is the mapped register page; all registers are 32 bits wide, 16 bytes apart.
        Some(base) => unsafe { ((base + register as usize * 16) as *const u32).read_volatile() },
        // SAFETY: the CPU is in x2APIC mode.
        None => unsafe { msr::read(0x800 + register as u32) as u32 },
    }
}

fn write(register: Register, value: u32) {
    match memory() {
        // SAFETY: as in `read`.
        Some(base) => unsafe { ((base + register as usize * 16) as *mut u32).write_volatile(value) },
        // SAFETY: as in `read`.
        None => unsafe { msr::write(0x800 + register as u32, u64::from(value)) },
    }
}
