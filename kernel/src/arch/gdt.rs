//! Segments and task state: one table per CPU, in the order `syscall`/`sysret` want.

use alloc::boxed::Box;

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

pub(crate) const KERNEL_CODE: u16 = 0x08;
pub(crate) const KERNEL_DATA: u16 = 0x10;
pub(crate) const USER_DATA: u16 = 0x18 | 3;
pub(crate) const USER_CODE: u16 = 0x20 | 3;
const TASK_STATE: u16 = 0x28;

/// Interrupt-stack-table slots (0-based): exceptions that may hit a broken stack.
pub(crate) const IST_DOUBLE_FAULT: u16 = 0;
pub(crate) const IST_NMI: u16 = 1;
pub(crate) const IST_MACHINE_CHECK: u16 = 2;

/// Loads this CPU's segments and task state; `stacks` are the tops of the three IST stacks.
/// Returns where the CPU reads the stack for entries from user mode.
pub(crate) fn load(stacks: [VirtAddr; 3]) -> *mut u64 {
    let tss = Box::leak(Box::new(TaskStateSegment::new()));
    let [double_fault, nmi, machine_check] = stacks;
    let unused = VirtAddr::zero();
    tss.interrupt_stack_table = [double_fault, nmi, machine_check, unused, unused, unused, unused];
    let rsp0 = (&raw mut tss.privilege_stack_table).cast::<u64>();
    let gdt = Box::leak(Box::new(GlobalDescriptorTable::new()));
    gdt.append(Descriptor::kernel_code_segment());
    gdt.append(Descriptor::kernel_data_segment());
    gdt.append(Descriptor::user_data_segment());
    gdt.append(Descriptor::user_code_segment());
    // SAFETY: the task state lives for ever; only RSP0 changes, by its own CPU with interrupts off.
    gdt.append(unsafe { Descriptor::tss_segment_unchecked(tss) });
    gdt.load();
    let selector = |raw: u16| SegmentSelector(raw);
    // SAFETY: the selectors are those of the table just loaded.
    unsafe {
        CS::set_reg(selector(KERNEL_CODE));
        DS::set_reg(selector(0));
        ES::set_reg(selector(0));
        SS::set_reg(selector(KERNEL_DATA));
        load_tss(selector(TASK_STATE));
    }
    rsp0
}
