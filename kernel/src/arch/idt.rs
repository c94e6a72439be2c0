//! The interrupt table and the entry stubs.
//!
//! **Invariant: an entry from user mode pushes the registers straight into the running thread's
//! [`Frame`], then continues on the CPU's kernel stack**; so the thread's state is always in its frame while
//! the kernel runs, and switching threads is returning to another frame.
//! Entries from kernel mode happen in three cases only: an interrupt while idle (never returned from), a fault
//! of the user-copy routines (resumed at their error exit), and a bug (panic).

use core::arch::{global_asm, naked_asm};

use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::gdt;
use super::local::{LOCAL_FRAME, LOCAL_STACK_TOP, LOCAL_USER_RSP};
use crate::object::thread::Frame;

/// Value of [`Frame::vector`] for a system call.
pub(crate) const SYSCALL: u64 = 0x100;

// 256 stubs of 16 bytes: push an error code where the CPU does not, push the vector, go to `common_entry`.
global_asm!(
    r#"
    .text
    .balign 16
    .global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector != 8) && (vector != 10) && (vector != 11) && (vector != 12) && (vector != 13) && (vector != 14) && (vector != 17) && (vector != 21)
    push 0
    .endif
    push vector
    jmp {common}
    .set vector, vector + 1
    .endr
"#,
    common = sym common_entry,
);

unsafe extern "C" {
    static vector_stubs: u8;
}

/// All stubs meet here, with vector and error code pushed.
#[unsafe(naked)]
unsafe extern "C" fn common_entry() {
    naked_asm!(
        "cld",
        "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
        "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
        "mov rdi, rsp",
        "test byte ptr [rsp + {cs}], 3",
        "jz 2f",
        "swapgs",
        "mov rsp, gs:[{stack_top}]",
        "xor ebp, ebp",
        "call {from_user}",
        "ud2",
        // From kernel mode: stay on this stack (the stack grew by an unknown multiple of 8).
        "2:",
        "mov rbx, rsp",
        "and rsp, -16",
        "call {from_kernel}",
        "mov rsp, rbx",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
        "add rsp, 16",
        "iretq",
        cs = const core::mem::offset_of!(Frame, cs),
        stack_top = const LOCAL_STACK_TOP,
        from_user = sym super::trap::from_user,
        from_kernel = sym super::trap::from_kernel,
    )
}

/// Non-maskable interrupts, double faults and machine checks come at any time, also between an entry and its
/// `swapgs`: they stay on their own stack and use nothing that GS leads to.
#[unsafe(naked)]
unsafe extern "C" fn ist_entry() {
    naked_asm!(
        "cld",
        "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
        "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
        "mov rdi, rsp",
        "call {handle}",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
        "add rsp, 16",
        "iretq",
        handle = sym super::trap::from_anywhere,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn nmi_entry() {
    naked_asm!("push 0", "push 2", "jmp {common}", common = sym ist_entry)
}

#[unsafe(naked)]
unsafe extern "C" fn double_fault_entry() {
    naked_asm!("push 8", "jmp {common}", common = sym ist_entry)
}

#[unsafe(naked)]
unsafe extern "C" fn machine_check_entry() {
    naked_asm!("push 0", "push 18", "jmp {common}", common = sym ist_entry)
}

/// `syscall` lands here, interrupts off, on the user's stack. Builds the same frame as an interrupt does.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn syscall_entry() {
    naked_asm!(
        "swapgs",
        "mov gs:[{user_rsp}], rsp",
        "mov rsp, gs:[{frame}]",
        "add rsp, {frame_bytes}",
        "push {user_data}",
        "push gs:[{user_rsp}]",
        "push r11",
        "push {user_code}",
        "push rcx",
        "push 0",
        "push {syscall}",
        "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
        "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
        "cld",
        "mov rdi, rsp",
        "mov rsp, gs:[{stack_top}]",
        "xor ebp, ebp",
        "call {from_user}",
        "ud2",
        user_rsp = const LOCAL_USER_RSP,
        frame = const LOCAL_FRAME,
        frame_bytes = const size_of::<Frame>(),
        user_data = const gdt::USER_DATA as i32,
        user_code = const gdt::USER_CODE as i32,
        syscall = const SYSCALL as i32,
        stack_top = const LOCAL_STACK_TOP,
        from_user = sym super::trap::from_user,
    )
}

/// Returns to user mode with the registers in `frame`.
///
/// # Safety
/// `frame` is the frame of the thread this CPU is set up for (address space, FS base, RSP0, extended state),
/// and holds user selectors and a user-half instruction pointer.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn return_to_user(frame: *mut Frame) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
        "swapgs",
        "cmp dword ptr [rsp], {syscall}",
        "jne 2f",
        // System call: rcx and r11 are lost by its convention, so `sysret` may use them.
        "mov rcx, [rsp + 16]",
        "mov r11, [rsp + 32]",
        "mov rsp, [rsp + 40]",
        "sysretq",
        "2:",
        "add rsp, 16",
        "iretq",
        syscall = const SYSCALL as i32,
    )
}

static IDT: Once<InterruptDescriptorTable> = Once::new();

/// Loads the one interrupt table, made at the first call.
pub(crate) fn load() {
    IDT.call_once(build).load();
}

fn build() -> InterruptDescriptorTable {
    let mut idt = InterruptDescriptorTable::new();
    // SAFETY: each address is that of a stub above, which keeps all registers.
    unsafe {
        idt.divide_error.set_handler_addr(stub(0));
        idt.debug.set_handler_addr(stub(1));
        idt.non_maskable_interrupt.set_handler_addr(address(nmi_entry)).set_stack_index(gdt::IST_NMI);
        idt.breakpoint.set_handler_addr(stub(3)).set_privilege_level(x86_64::PrivilegeLevel::Ring3);
        idt.overflow.set_handler_addr(stub(4)).set_privilege_level(x86_64::PrivilegeLevel::Ring3);
        idt.bound_range_exceeded.set_handler_addr(stub(5));
        idt.invalid_opcode.set_handler_addr(stub(6));
        idt.device_not_available.set_handler_addr(stub(7));
        idt.double_fault.set_handler_addr(address(double_fault_entry)).set_stack_index(gdt::IST_DOUBLE_FAULT);
        idt.invalid_tss.set_handler_addr(stub(10));
        idt.segment_not_present.set_handler_addr(stub(11));
        idt.stack_segment_fault.set_handler_addr(stub(12));
        idt.general_protection_fault.set_handler_addr(stub(13));
        idt.page_fault.set_handler_addr(stub(14));
        idt.x87_floating_point.set_handler_addr(stub(16));
        idt.alignment_check.set_handler_addr(stub(17));
        idt.machine_check
            .set_handler_addr(address(machine_check_entry))
            .set_stack_index(gdt::IST_MACHINE_CHECK);
        idt.simd_floating_point.set_handler_addr(stub(19));
        idt.virtualization.set_handler_addr(stub(20));
        idt.cp_protection_exception.set_handler_addr(stub(21));
        for vector in 32..=255u8 {
            idt[vector].set_handler_addr(stub(u64::from(vector)));
        }
    }
    idt
}

fn address(entry: unsafe extern "C" fn()) -> VirtAddr {
    VirtAddr::new(entry as *const () as u64)
}

fn stub(vector: u64) -> VirtAddr {
    VirtAddr::new((&raw const vector_stubs).expose_provenance() as u64 + vector * 16)
}
