//! PVH entry (Xen "PVH direct boot" ABI, the x86/HVM direct boot ABI document): how QEMU's `-kernel` starts us.
//!
//! **Invariant: nothing here trusts more than the firmware's promise that the structures lie below 4 GiB;
//! they are copied before any frame is handed out.**
//!
//! Entered in 32-bit protected mode, paging off, `ebx` = physical address of `hvm_start_info`. The stub turns
//! on long mode with tables that map the first 4 GiB at 0, in the direct map, and behind the kernel image.

use core::arch::global_asm;

use heapless::Vec;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::mm::address::{Direct, PhysAddr, PhysRange};

global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18          /* name bytes, descriptor bytes, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_entry - {base}

    .section .boot, "ax"
    .code32
    .global pvh_entry
pvh_entry:
    cld
    mov esp, offset boot_stack_top - {base}
    mov esi, ebx                          /* start info, kept for boot_main */

    /* Four page directories of 2 MiB pages: the first 4 GiB. */
    mov edi, offset boot_directories - {base}
    mov eax, 0x83                         /* present, writable, large */
    xor edx, edx
    mov ecx, 2048
2:  mov [edi], eax
    mov [edi + 4], edx
    add eax, 0x200000
    add edi, 8
    dec ecx
    jnz 2b

    mov edi, offset boot_pdpt - {base}
    mov eax, offset boot_directories - {base} + 3
    mov ecx, 4
3:  mov [edi], eax
    add eax, 4096
    add edi, 8
    dec ecx
    jnz 3b
    mov edi, offset boot_pdpt_high - {base}
    mov eax, offset boot_directories - {base} + 3
    mov [edi + 510 * 8], eax              /* -2 GiB */

    mov edi, offset boot_pml4 - {base}
    mov eax, offset boot_pdpt - {base} + 3
    mov [edi], eax                        /* identity */
    mov [edi + 256 * 8], eax              /* direct map */
    mov eax, offset boot_pdpt_high - {base} + 3
    mov [edi + 511 * 8], eax

    mov eax, cr4
    or eax, 0x20                          /* PAE */
    mov cr4, eax
    mov cr3, edi
    mov ecx, 0xc0000080                   /* EFER */
    rdmsr
    or eax, 0x901                         /* SCE, LME, NXE */
    wrmsr
    mov eax, cr0
    or eax, 0x80010001                    /* PG, WP, PE */
    mov cr0, eax
    lgdt [boot_gdt_pointer - {base}]
    mov eax, 0x08
    push eax
    mov eax, offset pvh_long - {base}
    push eax
    retf

    .code64
pvh_long:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    lea rsp, [rip + boot_stack_top]
    movabs rax, offset pvh_high
    jmp rax
pvh_high:
    movabs rsp, offset boot_stack_top
    xor ebp, ebp
    mov edi, esi
    push 0
    jmp boot_main

    .section .rodata.boot, "a"
    .balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .long boot_gdt - {base}

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_pml4
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pdpt_high: .skip 4096
boot_directories: .skip 4 * 4096
    .skip 65536
    .global boot_stack_top
boot_stack_top:
    .text
"#,
    base = const crate::mm::address::KERNEL_BASE,
);

const MAGIC: u32 = 0x336e_c578;
const RAM: u32 = 1;

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Module {
    address: u64,
    bytes: u64,
    command_line: u64,
    reserved: u64,
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MapEntry {
    address: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

/// What the loader told us, copied out of its memory.
pub(crate) struct BootInfo {
    /// Usable RAM, as the firmware lists it.
    pub(crate) ram: Vec<PhysRange, 64>,
    /// The boot bundle.
    pub(crate) bundle: PhysRange,
    /// Root of the ACPI tables.
    pub(crate) rsdp: PhysAddr,
    /// The kernel's command line.
    pub(crate) command_line: heapless::String<512>,
}

impl BootInfo {
    /// Reads and copies the start info at `address`.
    ///
    /// # Panics
    /// Where the loader did not follow the protocol: there is nobody to report to.
    pub(crate) fn read(address: PhysAddr) -> BootInfo {
        let info: StartInfo = read_struct(address);
        assert!(info.magic == MAGIC && info.version >= 1, "not started by the PVH protocol, version 1");
        assert!(info.modules >= 1, "no boot bundle: give one with -initrd");
        let module: Module = read_struct(PhysAddr(info.module_list));
        let mut ram = Vec::new();
        for i in 0..u64::from(info.memory_map_entries) {
            let entry: MapEntry = read_struct(PhysAddr(info.memory_map + i * size_of::<MapEntry>() as u64));
            let range = PhysRange::new(entry.address, entry.bytes);
            // More ranges than fit are left unused: less memory, nothing wrong.
            if entry.kind == RAM && ram.push(range).is_err() {
                break;
            }
        }
        BootInfo {
            ram,
            bundle: PhysRange::new(module.address, module.bytes),
            rsdp: PhysAddr(info.rsdp),
            command_line: read_text(PhysAddr(info.command_line)),
        }
    }
}

fn read_struct<T: FromBytes>(address: PhysAddr) -> T {
    assert!(address.0 < 1 << 32, "boot structure above 4 GiB");
    // SAFETY: the boot tables map the first 4 GiB, and any bytes are a valid `T`.
    unsafe { core::ptr::read_unaligned(address.direct().cast::<T>()) }
}

fn read_text(address: PhysAddr) -> heapless::String<512> {
    let mut text = heapless::String::new();
    if address.0 == 0 {
        return text;
    }
    for offset in 0..512 {
        let byte: u8 = read_struct(PhysAddr(address.0 + offset));
        if byte == 0 || text.push(char::from(byte)).is_err() {
            break;
        }
    }
    text
}
