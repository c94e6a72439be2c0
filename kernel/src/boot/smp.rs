//! Starting the other CPUs, one after the other (Intel SDM volume 3, "MP Initialization Protocol").

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use super::acpi::Tables;
use crate::arch::local::local;
use crate::arch::{apic, time};
use crate::mm::address::{Direct, KERNEL_BASE, PhysAddr};
use crate::{cpus, sched};

/// Where the start code is copied: a page below 1 MiB, which the frame allocator never gets.
const TRAMPOLINE: u64 = 0x8000;

// Real mode to long mode on the boot tables, then to `ap_main` on a stack of the kernel image.
global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .code16
    .global trampoline_start
    .global trampoline_end
trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    .byte 0x66, 0x0f, 0x01, 0x16          /* lgdt with a 32-bit base, 16-bit offset */
    .word trampoline_gdt_pointer - trampoline_start
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    .byte 0x66, 0xea                      /* far jump, 32-bit offset */
    .long {at} + trampoline_32 - trampoline_start
    .word 0x08

    .code32
trampoline_32:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, offset boot_pml4 - {base}
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    mov eax, cr0
    or eax, 0x80010001
    mov cr0, eax
    .byte 0xea
    .long {at} + trampoline_64 - trampoline_start
    .word 0x18

    .code64
trampoline_64:
    xor eax, eax
    mov fs, ax
    mov gs, ax
    movabs rsp, offset ap_stack_top
    xor ebp, ebp
    movabs rax, offset {main}
    call rax
    ud2

    .balign 8
trampoline_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
trampoline_gdt_pointer:
    .word 31
    .long {at} + trampoline_gdt - trampoline_start
trampoline_end:

    .section .bss.ap, "aw", @nobits
    .balign 16
    .skip 16384
ap_stack_top:
    .text
"#,
    at = const TRAMPOLINE,
    base = const KERNEL_BASE,
    main = sym ap_main,
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

/// CPUs that have left the shared start stack.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

/// Starts every CPU the firmware lists but this one. One that does not come up is left out.
pub(super) fn start_others(acpi: &Tables) {
    const LIMIT_US: u64 = 1_000_000;
    let code = &raw const trampoline_start;
    let bytes = (&raw const trampoline_end).addr() - code.addr();
    // SAFETY: the page is RAM that nobody else uses; the code fits a page.
    unsafe { core::ptr::copy_nonoverlapping(code, PhysAddr(TRAMPOLINE).direct(), bytes) };
    let me = local().apic_id;
    for id in acpi.apic_ids().into_iter().filter(|id| *id != me) {
        let before = ARRIVED.load(Ordering::SeqCst);
        apic::start_cpu(id, (TRAMPOLINE >> 12) as u8);
        if !time::wait_until(LIMIT_US, || ARRIVED.load(Ordering::SeqCst) != before) {
            log::error!("CPU with APIC id {id} does not start; going on without it and those after it");
            break;
        }
    }
}

/// First code of another CPU.
extern "C" fn ap_main() -> ! {
    sched::load_root(cpus::kernel_root().0);
    apic::set_up();
    let index = cpus::add(apic::id());
    super::set_up_cpu(index);
    apic::set_up_timer();
    let top = local().stack_top.get();
    // SAFETY: the shared start stack is left for this CPU's own; nothing on it is used again.
    unsafe {
        core::arch::asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2",
            in(reg) top, sym arrived, options(noreturn));
    }
}

extern "C" fn arrived() -> ! {
    ARRIVED.fetch_add(1, Ordering::SeqCst);
    sched::resume()
}
