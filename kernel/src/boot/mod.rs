//! From the loader's hands to the first process.

pub(crate) mod acpi;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod options;
pub(crate) mod pvh;
pub(crate) mod smp;

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use crate::arch::local::Local;
use crate::arch::{apic, cpu, gdt, idt, ioapic, serial, time};
use crate::mm::address::{Direct, PhysAddr, PhysRange};
use crate::mm::paging::{Access, PageTables};
use crate::mm::{heap, ram, vmap};
use crate::object::device;
use crate::{cpus, hotplug, iommu, log, pci, power, sched, trace};
use options::Options;
use pvh::BootInfo;

/// Bytes of a kernel stack.
const STACK_BYTES: u64 = 32 * 1024;
/// Bytes of a stack for double faults, NMI and machine checks.
const IST_BYTES: u64 = 8 * 1024;

static BOOT_NS: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds from the kernel's first instruction to the supervisor's.
pub(crate) fn boot_ns() -> u64 {
    BOOT_NS.load(Ordering::Relaxed)
}

/// Called by the entry stub, on the boot stack, with the boot tables.
#[unsafe(no_mangle)]
extern "C" fn boot_main(start_info: u64) -> ! {
    let start = cpu::tsc();
    serial::set_up();
    let boot = BootInfo::read(PhysAddr(start_info));
    let options = Options::parse(&boot.command_line);
    power::set_exit_port(options.exit_port);
    log::set_up(options.log_level);
    build_memory(&boot);
    heap::set_up();

    let acpi = acpi::Tables::open(boot.rsdp);
    time::set_up(start, acpi.hpet());
    apic::set_up();
    let me = cpus::add(apic::id());
    set_up_cpu(me);
    apic::set_up_timer();
    options.report_unknown();
    let (free, total) = ram::counts();
    ::log::info!(
        "{} MiB of memory, {} MiB free, clock {} MHz",
        total / 256,
        free / 256,
        time::tsc_hz() / 1_000_000
    );

    pci::set_up(&acpi, reserved(&boot, &acpi));
    iommu::set_up(&acpi, options.iommu, options.checks_tables);
    let slots = if options.drives_slots { hotplug::find() } else { 0 };
    device::set_up(pci::reserve(slots));
    hotplug::start();
    ioapic::set_up(&acpi);
    smp::start_others(&acpi);
    ::log::info!("{} CPU(s) running", cpus::count());

    init::start(boot.bundle);
    BOOT_NS.store(time::now_ns(), Ordering::Relaxed);
    leave_boot_stack()
}

/// What no device may claim: memory, interrupt controllers and timers, the units' registers.
fn reserved(boot: &BootInfo, acpi: &acpi::Tables) -> alloc::vec::Vec<core::ops::Range<PhysAddr>> {
    /// I/O APICs, HPET, local APICs and messages: fixed places of every PC.
    const PLATFORM: PhysRange = PhysRange { start: 0xfec0_0000, end: 0xff00_0000 };
    let units = iommu::reserved(acpi);
    let all = boot.ram.iter().chain(&units).chain([&PLATFORM]);
    all.map(|range| PhysAddr(range.start)..PhysAddr(range.end)).collect()
}

/// Everything a CPU needs before it can run threads; `index` is its own.
fn set_up_cpu(index: u32) {
    cpu::set_up();
    let stacks = core::array::from_fn(|_| x86_64::VirtAddr::new(vmap::new_stack(IST_BYTES)));
    let local = alloc::boxed::Box::leak(alloc::boxed::Box::new(Local::new(index, apic::id())));
    local.rsp0.set(gdt::load(stacks));
    idt::load();
    local.stack_top.set(vmap::new_stack(STACK_BYTES));
    local.root.set(cpus::kernel_root().0);
    local.install();
    trace::set_up(index);
    sched::join();
}

/// Goes on to the scheduler on this CPU's own stack.
fn leave_boot_stack() -> ! {
    let top = crate::arch::local::local().stack_top.get();
    // SAFETY: nothing on the old stack is used again.
    unsafe {
        core::arch::asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2",
            in(reg) top, sym resume, options(noreturn));
    }
}

extern "C" fn resume() -> ! {
    sched::resume()
}

/// Takes memory into use and replaces the boot tables by the kernel's own.
fn build_memory(boot: &BootInfo) {
    let image = image::all();
    let books = ram::set_up(boot, image);
    let mut tables = PageTables::new().expect("memory for page tables");
    for range in &boot.ram {
        map_direct(&mut tables, *range);
    }
    for (range, access) in image::sections() {
        let at = range.start + crate::mm::address::KERNEL_BASE;
        tables.map(at, PhysAddr(range.start), range.bytes(), access).expect("memory for page tables");
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| cpus::set_kernel_root(tables.root()));
    sched::load_root(tables.root().0);
    vmap::set_up(tables);
    ram::add_high(boot, image, books);
}

/// Maps RAM in the direct map: writable, but for the kernel's code and constants.
fn map_direct(tables: &mut PageTables, range: PhysRange) {
    let start = range.start.next_multiple_of(4096);
    let end = range.end & !4095;
    let constants = image::constants();
    let parts = [
        (start, end.min(constants.start), Access::KERNEL_DATA),
        (start.max(constants.start), end.min(constants.end), Access::KERNEL_CONSTANTS),
        (start.max(constants.end), end, Access::KERNEL_DATA),
    ];
    for (from, to, access) in parts.into_iter().filter(|(from, to, _)| from < to) {
        let at = PhysAddr(from).direct().expose_provenance() as u64;
        tables.map(at, PhysAddr(from), to - from, access).expect("memory for page tables");
    }
}
