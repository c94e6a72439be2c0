//! Marks for whoever watches from outside, such as QEMU's plugin in `qemu/plugin`.
//!
//! A region is a stretch of a CPU's execution between [`begin`] and [`end`]: whatever runs on that CPU meanwhile belongs to
//! it, the kernel, interrupts and other programs included. Both are one instruction that does nothing, a long no-operation,
//! `0F 1F /0` with a 32-bit displacement (Intel SDM volume 2, "NOP"): every x86-64 CPU executes it, in any mode, without
//! effect; the displacement says who is meant. Where nobody watches, it costs that, and nothing changes.
#![no_std]
#![expect(unsafe_code, reason = "the instruction has no intrinsic")]

/// Bytes of the instruction.
pub const BYTES: usize = 7;
/// Opcode and the byte that means "`[rax + displacement]`".
pub const OPCODE: [u8; 3] = [0x0f, 0x1f, 0x80];
/// Upper half of the displacement: "WR", by which the watcher knows its marks.
pub const SIGN: u32 = 0x5752_0000;
/// How many regions there can be.
pub const REGIONS: u8 = 16;

/// Region `REGION` begins here.
#[inline(always)]
pub fn begin<const REGION: u8>() {
    const { assert!(REGION < REGIONS, "there are 16 regions") };
    // SAFETY: a no-operation. As it might touch memory, the compiler moves no access of memory across it.
    unsafe {
        core::arch::asm!(
            ".byte {}, {}, {}", ".long {}",
            const OPCODE[0], const OPCODE[1], const OPCODE[2], const SIGN | (REGION as u32) << 1,
            options(nostack, preserves_flags)
        );
    }
}

/// Region `REGION` ends here.
#[inline(always)]
pub fn end<const REGION: u8>() {
    const { assert!(REGION < REGIONS, "there are 16 regions") };
    // SAFETY: as in `begin`.
    unsafe {
        core::arch::asm!(
            ".byte {}, {}, {}", ".long {}",
            const OPCODE[0], const OPCODE[1], const OPCODE[2], const SIGN | (REGION as u32) << 1 | 1,
            options(nostack, preserves_flags)
        );
    }
}
