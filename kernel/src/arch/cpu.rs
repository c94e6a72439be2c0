//! CPU features: what must be there, what is turned on where it is, and small privileged operations.

use raw_cpuid::CpuId;
use spin::Once;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, EferFlags};

use super::{gdt, idt, msr};

/// What the CPUs of this machine offer, read on the first one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) smep: bool,
    pub(crate) smap: bool,
    pub(crate) umip: bool,
    pub(crate) x2apic: bool,
    pub(crate) tsc_deadline: bool,
    pub(crate) huge_pages: bool,
    /// Extended state components the kernel switches (XCR0).
    pub(crate) xcr0: u64,
    /// Bytes of the XSAVE area for them.
    pub(crate) xsave_bytes: usize,
}

static FEATURES: Once<Features> = Once::new();

/// The features of this machine's CPUs.
pub(crate) fn features() -> &'static Features {
    FEATURES.call_once(detect)
}

fn detect() -> Features {
    let id = CpuId::new();
    let basic = id.get_feature_info().expect("CPUID leaf 1");
    let extended = id.get_extended_feature_info();
    let ext = |f: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(f);
    let xsave = id.get_extended_state_info();
    // x87 and SSE always; AVX and AVX-512 (which is three components) where the CPU has them.
    const WANTED: u64 = 0b1110_0111;
    let (xcr0, xsave_bytes) = match (&xsave, basic.has_xsave()) {
        (Some(_), true) => {
            // Leaf 0Dh gives the supported components; the size for the enabled ones is read after XSETBV.
            // SAFETY: CPUID has no side effects.
            let leaf = core::arch::x86_64::__cpuid_count(0xd, 0);
            let supported = u64::from(leaf.eax) | u64::from(leaf.edx) << 32;
            let mut xcr0 = supported & WANTED;
            if xcr0 & 0b1110_0000 != 0b1110_0000 || xcr0 & 0b100 == 0 {
                xcr0 &= 0b111;
            }
            (xcr0, leaf.ecx as usize)
        }
        _ => (0, 512),
    };
    Features {
        smep: ext(|e| e.has_smep()),
        smap: ext(|e| e.has_smap()),
        umip: ext(|e| e.has_umip()),
        x2apic: basic.has_x2apic(),
        tsc_deadline: basic.has_tsc_deadline(),
        huge_pages: id.get_extended_processor_and_feature_identifiers().is_some_and(|f| f.has_1gib_pages()),
        xcr0,
        xsave_bytes,
    }
}

/// Sets the running CPU's control registers and system call entry. The same on every CPU.
///
/// # Panics
/// Where the CPU lacks XSAVE: applications could not be given vector registers.
pub(crate) fn set_up() {
    let features = features();
    assert!(features.xcr0 & 0b11 == 0b11, "CPU without XSAVE: use -cpu max or a newer machine");
    let mut cr0 = Cr0::read();
    cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
    cr0.insert(Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR | Cr0Flags::WRITE_PROTECT);
    let mut cr4 = Cr4::read();
    cr4.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE | Cr4Flags::OSXSAVE | Cr4Flags::PAGE_GLOBAL);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.smep);
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.smap);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
    // User mode changes its segment bases by system call only: then the kernel's GS test at NMI is sound.
    cr4.remove(Cr4Flags::FSGSBASE);
    // SAFETY: only protections and state the kernel handles are turned on.
    unsafe {
        Cr0::write(cr0);
        Cr4::write(cr4);
        core::arch::asm!("xsetbv", in("ecx") 0, in("eax") features.xcr0 as u32,
            in("edx") (features.xcr0 >> 32) as u32, options(nostack, nomem));
    }
    let star = u64::from(gdt::KERNEL_DATA | 3) << 48 | u64::from(gdt::KERNEL_CODE) << 32;
    // Cleared at entry: trap, interrupt, direction, nested task, alignment check.
    let mask = 0x0004_4700;
    let entry = idt::syscall_entry as *const () as u64;
    // PAT: WB, WT, UC-, UC (as after reset), then WP→WC in entry 4: selected by the PAT bit alone.
    let pat = 0x0007_0401_0007_0406;
    // SAFETY: the values the entry code in `idt` is written for.
    unsafe {
        let efer = EferFlags::SYSTEM_CALL_EXTENSIONS | EferFlags::NO_EXECUTE_ENABLE;
        msr::write(msr::EFER, msr::read(msr::EFER) | efer.bits());
        msr::write(msr::STAR, star);
        msr::write(msr::LSTAR, entry);
        msr::write(msr::SFMASK, mask);
        msr::write(msr::PAT, pat);
    }
}

/// Waits for an interrupt on an empty kernel stack; the interrupt's handler goes on to the scheduler and
/// never returns here.
pub(crate) fn idle(stack_top: u64) -> ! {
    // SAFETY: everything on this CPU's kernel stack is dead: the entry that led here ends here.
    unsafe {
        core::arch::asm!("mov rsp, {0}", "xor ebp, ebp", "2:", "sti", "hlt", "cli", "jmp 2b",
            in(reg) stack_top, options(noreturn));
    }
}

/// Makes supervisor accesses to user pages fault, where the CPU has SMAP.
pub(crate) fn forbid_user_access() {
    if features().smap {
        // SAFETY: the CPU has the instruction; it clears a flag of this CPU.
        unsafe { core::arch::asm!("clac", options(nomem, nostack)) };
    }
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// Reads the time-stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Writes every cache line of the `bytes` at `start`, which are mapped, back to memory and waits for it: for readers
/// that do not look into the caches.
pub(crate) fn write_back(start: *const u8, bytes: usize) {
    const LINE: usize = 64;
    let skipped = start.addr() % LINE;
    for offset in (0..skipped + bytes).step_by(LINE) {
        let line = start.wrapping_sub(skipped).wrapping_add(offset);
        // SAFETY: flushing a cache line changes nothing but where its content is.
        unsafe { core::arch::asm!("clflush [{}]", in(reg) line, options(nostack)) };
    }
    // SAFETY: a fence.
    unsafe { core::arch::asm!("mfence", options(nostack)) };
}
