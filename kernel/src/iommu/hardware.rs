//! What the units' code asks of the kernel: registers, frames for tables, time.

use weir_iommu::address::PhysAddr as UnitPhysAddr;
use weir_iommu::environment::{Clock, Registers, TableMemory};

use crate::arch::{cpu, time};
use crate::mm::address::{Direct, PhysAddr};
use crate::mm::{ram, tlb, vmap};

/// A unit's registers, mapped for ever.
pub(super) struct UnitRegisters {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: device registers belong to no CPU; the unit is used under its lock.
unsafe impl Send for UnitRegisters {}

impl UnitRegisters {
    pub(super) fn map(base: u64, bytes: u64) -> UnitRegisters {
        UnitRegisters { base: vmap::map_registers(base, bytes), bytes: bytes as usize }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.bytes, "register beyond the unit");
        // SAFETY: inside the mapped range.
        unsafe { self.base.add(offset) }.cast()
    }
}

impl Registers for UnitRegisters {
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn read32(&self, offset: usize) -> u32 {
        // SAFETY: `at` is inside the mapped registers.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }
    fn read64(&self, offset: usize) -> u64 {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).read_volatile() }
    }
    fn write32(&mut self, offset: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.at::<u32>(offset).write_volatile(value) }
    }
    fn write64(&mut self, offset: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).write_volatile(value) }
    }
}

/// Frames for tables, from the one allocator, through the direct map.
#[derive(Clone, Copy)]
pub(super) struct TableFrames;

fn order_of(frames: usize) -> u8 {
    frames.next_power_of_two().ilog2() as u8
}

// SAFETY: the allocator hands a frame out once; the direct map reaches it; x86 stores are seen in order.
unsafe impl TableMemory for TableFrames {
    fn alloc(&self, frames: usize) -> Option<UnitPhysAddr> {
        ram::allocate_zeroed(order_of(frames)).map(|at| UnitPhysAddr(at.0))
    }
    unsafe fn free(&self, at: UnitPhysAddr, frames: usize) {
        ram::free(PhysAddr(at.0), order_of(frames));
    }
    unsafe fn read64(&self, at: UnitPhysAddr) -> u64 {
        // SAFETY: the caller's promise: an aligned word of a table frame.
        unsafe { PhysAddr(at.0).direct().cast::<u64>().read_volatile() }
    }
    unsafe fn write64(&self, at: UnitPhysAddr, value: u64) {
        // SAFETY: as above.
        unsafe { PhysAddr(at.0).direct().cast::<u64>().write_volatile(value) }
    }
    unsafe fn write128(&self, at: UnitPhysAddr, value: u128) {
        let target = PhysAddr(at.0).direct().cast::<u128>();
        let [low, high] = [value as u64, (value >> 64) as u64];
        // SAFETY: the caller's promise: 16 aligned bytes of a table frame. `cmpxchg16b` writes them at once; the
        // comparison value is what is there, so that the second try at the latest succeeds (nobody else writes).
        unsafe {
            core::arch::asm!(
                "xchg rbx, {low}",
                "mov rax, [rdi]",
                "mov rdx, [rdi + 8]",
                "2: lock cmpxchg16b [rdi]",
                "jnz 2b",
                "mov rbx, {low}",
                low = inout(reg) low => _,
                in("rdi") target,
                in("rcx") high,
                out("rax") _,
                out("rdx") _,
                options(nostack),
            );
        }
    }
    unsafe fn flush(&self, at: UnitPhysAddr, bytes: u64) {
        cpu::write_back(PhysAddr(at.0).direct(), bytes as usize);
    }
}

/// The kernel's clock.
pub(super) struct UnitClock;

impl Clock for UnitClock {
    fn now_us(&self) -> u64 {
        time::now_ns() / 1000
    }
    fn spin(&self) {
        tlb::serve();
        core::hint::spin_loop();
    }
}
