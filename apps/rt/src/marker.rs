//! Marks for whoever watches from outside, such as QEMU's plugin in `qemu/plugin`.
//!
//! A region is a stretch of a thread's execution between [`begin`] and [`end`]. Both are one instruction that does nothing
//! (`NOP` with a displacement, Intel SDM volume 2): where nobody watches, it costs that, and nothing changes.

/// Upper half of the displacement: "WR", by which the watcher knows its marks.
const SIGN: i32 = 0x5752_0000;

/// Region `REGION` (0 to 15) begins here.
#[inline(always)]
pub fn begin<const REGION: u8>() {
    const { assert!(REGION < 16, "there are 16 regions") };
    // SAFETY: a no-operation. As it might touch memory, the compiler moves no access of memory across it.
    unsafe {
        core::arch::asm!(
            ".byte 0x0f, 0x1f, 0x80", ".long {}",
            const SIGN | (REGION as i32) << 1,
            options(nostack, preserves_flags)
        );
    }
}

/// Region `REGION` ends here.
#[inline(always)]
pub fn end<const REGION: u8>() {
    const { assert!(REGION < 16, "there are 16 regions") };
    // SAFETY: as in `begin`.
    unsafe {
        core::arch::asm!(
            ".byte 0x0f, 0x1f, 0x80", ".long {}",
            const SIGN | (REGION as i32) << 1 | 1,
            options(nostack, preserves_flags)
        );
    }
}
