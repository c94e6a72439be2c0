//! The cases, one function each.

use super::board::Board;
use std::path::Path;
use std::time::Duration;
use weir_iommu::address::{Iova, PhysAddr};
use weir_iommu::domain::Permissions;
use weir_iommu::vtd::{ApicMode, Fault, FaultKind, FaultReason, InterruptRoute, Trigger};
use weir_iommu::{Error, Mode};

const WINDOW: u64 = 0x1_0000_0000;
const FRAME: u64 = 0x400_0000;
/// With remapping of interrupts to 32-bit ids.
pub(crate) const USUAL: &str = "intremap=on,eim=on";

/// What a case is called, and the case.
pub(crate) type Case<F> = (&'static str, F);
/// A case that is run in some mode.
pub(crate) type InMode = fn(&Path, Mode);

/// Names each function after itself.
macro_rules! cases {
    ($($case:ident),* $(,)?) => { &[$((stringify!($case), $case)),*] };
}
pub(crate) use cases;

/// In every mode.
pub(crate) const ALL: &[Case<InMode>] = cases![
    a_mapping_is_reached_in_both_directions,
    what_is_not_mapped_faults_with_the_right_record,
    read_only_holds,
    a_stale_translation_is_gone_after_the_flush,
    a_detached_device_is_blocked,
    large_pages_translate,
    a_table_that_comes_back_holds_what_it_should,
    caching_mode,
    snoop_control,
    overflow_is_reported_and_recording_goes_on,
    a_muted_device_is_blocked_in_silence,
    a_unit_left_on_is_taken_over,
    devices_of_both_halves_of_a_bus,
    another_mode_takes_over,
];

/// What depends on no mode, or is only in legacy mode.
pub(crate) const LEGACY: &[Case<InMode>] = cases![
    write_only_holds,
    three_levels_only,
    interrupts_arrive_from_their_requester_only,
    fault_events_arrive,
    interrupts_in_xapic_mode,
];

/// Which reasons QEMU gives in a mode.
struct Reasons {
    /// A write where nothing is mapped.
    unmapped_write: FaultReason,
    /// A read where nothing is mapped.
    unmapped_read: FaultReason,
    /// A write to what is mapped read-only.
    forbidden_write: FaultReason,
}

fn reasons(mode: Mode) -> Reasons {
    let of = |unmapped_write, unmapped_read, forbidden_write| Reasons {
        unmapped_write,
        unmapped_read,
        forbidden_write,
    };
    match mode {
        Mode::VtdFirstStage => of(
            FaultReason::FIRST_STAGE_NOT_PRESENT,
            FaultReason::FIRST_STAGE_NOT_PRESENT,
            FaultReason::SCALABLE_WRITE,
        ),
        _ => of(FaultReason::WRITE, FaultReason::READ, FaultReason::WRITE),
    }
}

fn dma_fault(slot: u8, iova: u64, is_write: bool, reason: FaultReason) -> Fault {
    let requester = weir_iommu::address::RequesterId::new(0, slot, 0);
    Fault { requester, iova: Iova(iova), is_write, reason, kind: FaultKind::Dma }
}

fn a_mapping_is_reached_in_both_directions(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    board.map(&mut domain, WINDOW, FRAME, 0x3000);
    let device = board.edu(3);
    device.write(WINDOW + 0x2010, 0xa5);
    assert_eq!(board.read(FRAME + 0x2010), 0xa5);
    board.write(FRAME + 0x1008, 0x99aa_bbcc_ddee_ff00);
    device.copy(WINDOW + 0x1008, WINDOW + 0x2000);
    assert_eq!(board.read(FRAME + 0x2000), 0x99aa_bbcc_ddee_ff00);
    assert_eq!(board.faults(), []);
}

fn what_is_not_mapped_faults_with_the_right_record(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    board.write(FRAME + 0x1000, 0x77);
    board.edu(3).write(WINDOW + 0x1000, 1);
    assert_eq!(board.faults(), [dma_fault(3, WINDOW + 0x1000, true, reasons(mode).unmapped_write)]);
    assert_eq!(board.read(FRAME + 0x1000), 0x77);
    board.edu(3).copy(FRAME + 0x1000, WINDOW);
    assert_eq!(board.faults(), [dma_fault(3, FRAME + 0x1000, false, reasons(mode).unmapped_read)]);
    assert_eq!(board.read(FRAME), 0, "the physical address is not an address of the device");
    board.edu(4).read(WINDOW);
    assert_eq!(board.faults(), [dma_fault(4, WINDOW, false, FaultReason::CONTEXT_NOT_PRESENT)]);
}

fn read_only_holds(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    let mapped = domain.map(Iova(WINDOW), PhysAddr(FRAME), 0x1000, Permissions::ReadOnly).unwrap();
    board.flush(mapped).unwrap();
    board.map(&mut domain, WINDOW + 0x1000, FRAME + 0x1000, 0x1000);
    // The refused access first: QEMU refuses, but does not record, what an IOTLB entry forbids.
    board.write(FRAME, 0x55);
    board.edu(3).write(WINDOW, 1);
    assert_eq!(board.read(FRAME), 0x55);
    assert_eq!(board.faults(), [dma_fault(3, WINDOW, true, reasons(mode).forbidden_write)]);
    board.edu(3).copy(WINDOW, WINDOW + 0x1000);
    assert_eq!(board.read(FRAME + 0x1000), 0x55);
    board.edu(3).write(WINDOW, 1);
    assert_eq!(board.read(FRAME), 0x55);
}

fn write_only_holds(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    let mapped = domain.map(Iova(WINDOW), PhysAddr(FRAME), 0x1000, Permissions::WriteOnly).unwrap();
    board.flush(mapped).unwrap();
    board.edu(3).read(WINDOW);
    assert_eq!(board.faults(), [dma_fault(3, WINDOW, false, FaultReason::READ)]);
    board.edu(3).write(WINDOW, 1);
    assert_eq!(board.read(FRAME), 1);
}

fn a_stale_translation_is_gone_after_the_flush(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    board.edu(3).write(WINDOW, 1);
    let change = domain.unmap(Iova(WINDOW), 0x1000).unwrap();
    board.edu(3).write(WINDOW, 2);
    assert_eq!(board.read(FRAME), 2, "before the flush the unit still translates: the case means something");
    board.flush(change).unwrap();
    board.edu(3).write(WINDOW, 3);
    assert_eq!(board.read(FRAME), 2);
    assert_eq!(board.faults(), [dma_fault(3, WINDOW, true, reasons(mode).unmapped_write)]);
    board.map(&mut domain, WINDOW, FRAME + 0x1000, 0x1000);
    board.edu(3).write(WINDOW, 4);
    assert_eq!((board.read(FRAME), board.read(FRAME + 0x1000)), (2, 4));
}

fn a_detached_device_is_blocked(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    let (first, second) = (board.edu(3), board.edu(4));
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    domain.attach(&mut board.unit, second.id()).unwrap();
    first.write(WINDOW, 1);
    second.write(WINDOW + 8, 1);
    domain.detach(&mut board.unit, first.id()).unwrap();
    first.write(WINDOW, 2);
    assert_eq!(board.read(FRAME), 1);
    assert_eq!(board.faults(), [dma_fault(3, WINDOW, true, FaultReason::CONTEXT_NOT_PRESENT)]);
    second.write(WINDOW + 8, 2);
    assert_eq!(board.read(FRAME + 8), 2, "the other device of the domain goes on");
    let mut next = board.domain();
    board.map(&mut next, WINDOW, FRAME + 0x1000, 0x1000);
    next.attach(&mut board.unit, first.id()).unwrap();
    first.write(WINDOW, 3);
    assert_eq!((board.read(FRAME), board.read(FRAME + 0x1000)), (1, 3));
    domain.detach(&mut board.unit, second.id()).unwrap();
    assert!(domain.destroy(&mut board.ids));
    assert_eq!(board.faults(), []);
}

fn large_pages_translate(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    // 2 MiB, 1 GiB that starts at physical 0, and a run of both kinds of small pages around a large one.
    board.map(&mut domain, WINDOW, FRAME, 0x20_0000);
    board.map(&mut domain, 2 * WINDOW, 0, 1 << 30);
    board.map(&mut domain, 3 * WINDOW - 0x1000, FRAME - 0x1000, 0x20_2000);
    for (iova, lands, value) in [
        (WINDOW + 0x1f_fff8, FRAME + 0x1f_fff8, 1),
        (2 * WINDOW + FRAME + 0x30_0000, FRAME + 0x30_0000, 2),
        (3 * WINDOW - 0x8, FRAME - 8, 3),
        (3 * WINDOW + 0x10_0000, FRAME + 0x10_0000, 4),
        (3 * WINDOW + 0x20_0ff8, FRAME + 0x20_0ff8, 5),
    ] {
        board.edu(3).write(iova, value);
        assert_eq!(board.read(lands), u64::from(value), "{iova:#x}");
    }
    assert_eq!(board.faults(), []);
    let change = domain.unmap(Iova(WINDOW), 0x20_0000).unwrap();
    board.flush(change).unwrap();
    board.edu(3).write(WINDOW + 0x1f_fff8, 9);
    assert_eq!(board.faults(), [dma_fault(3, WINDOW + 0x1f_f000, true, reasons(mode).unmapped_write)]);
}

/// A page-table frame is taken out, given back and used again, as another table of the same range.
fn a_table_that_comes_back_holds_what_it_should(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    for round in 0..3u8 {
        board.map(&mut domain, WINDOW + 0x1000, FRAME + 0x1000, 0x1000);
        board.edu(3).write(WINDOW + 0x1000, 1 + round);
        assert_eq!(board.read(FRAME + 0x1000), u64::from(1 + round));
        let change = domain.unmap(Iova(WINDOW + 0x1000), 0x1000).unwrap();
        board.flush(change).unwrap();
        board.map(&mut domain, WINDOW, FRAME + 0x20_0000, 0x20_0000);
        board.edu(3).write(WINDOW + 0x1000, 11 + round);
        assert_eq!(board.read(FRAME + 0x20_1000), u64::from(11 + round));
        let change = domain.unmap(Iova(WINDOW), 0x20_0000).unwrap();
        board.flush(change).unwrap();
    }
    assert_eq!(domain.quarantined_frames(), 0);
    assert_eq!(board.faults(), []);
}

fn three_levels_only(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, "intremap=on,eim=on,aw-bits=39");
    let last = (1 << 39) - 0x1000;
    board.map(&mut domain, last, FRAME, 0x1000);
    board.edu(3).write(last + 8, 5);
    assert_eq!(board.read(FRAME + 8), 5);
    board.edu(3).write(1 << 39, 6);
    assert_eq!(board.faults(), [dma_fault(3, 1 << 39, true, FaultReason::BEYOND_WIDTH)]);
}

fn caching_mode(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, "intremap=on,eim=on,caching-mode=on");
    board.edu(3).write(WINDOW, 1);
    assert_eq!(board.faults().len(), 1);
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    board.edu(3).write(WINDOW, 2);
    assert_eq!(board.read(FRAME), 2);
    let change = domain.unmap(Iova(WINDOW), 0x1000).unwrap();
    board.flush(change).unwrap();
    board.edu(3).write(WINDOW, 3);
    assert_eq!((board.read(FRAME), board.faults().len()), (2, 1));
}

fn snoop_control(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, "intremap=on,eim=on,snoop-control=on");
    board.map(&mut domain, WINDOW, FRAME, 0x20_1000);
    for offset in [0, 0x20_0000] {
        board.edu(3).write(WINDOW + offset, 7);
        assert_eq!(board.read(FRAME + offset), 7);
    }
    assert_eq!(board.faults(), []);
}

fn overflow_is_reported_and_recording_goes_on(qemu: &Path, mode: Mode) {
    let (mut board, _domain) = Board::with_device(qemu, mode, USUAL);
    board.edu(3).write(WINDOW, 1);
    board.edu(4).write(WINDOW, 1);
    let mut faults = Vec::new();
    let drained = board.unit.drain_faults(|fault| faults.push(fault));
    assert_eq!(faults, [dma_fault(3, WINDOW, true, reasons(mode).unmapped_write)]);
    assert!(drained.is_overflow);
    assert_eq!(board.faults(), []);
    board.edu(4).write(WINDOW, 1);
    assert_eq!(board.faults(), [dma_fault(4, WINDOW, true, FaultReason::CONTEXT_NOT_PRESENT)]);
}

fn a_muted_device_is_blocked_in_silence(qemu: &Path, mode: Mode) {
    let (mut board, _domain) = Board::with_device(qemu, mode, USUAL);
    for slot in [3, 4] {
        let device = board.edu(slot);
        board.unit.mute_faults(device.id(), true).unwrap();
        board.write(FRAME, 0x55);
        device.write(FRAME, 1);
        assert_eq!((board.read(FRAME), board.faults().len()), (0x55, 0));
        board.unit.mute_faults(device.id(), false).unwrap();
        device.write(FRAME, 1);
        assert_eq!((board.read(FRAME), board.faults().len()), (0x55, 1));
    }
}

fn interrupts_arrive_from_their_requester_only(qemu: &Path, mode: Mode) {
    let mut board = Board::start(qemu, mode, USUAL);
    board.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    let (owner, thief) = (board.edu(3), board.edu(4));
    let route = InterruptRoute { requester: owner.id(), vector: 0x61, apic_id: 0, trigger: Trigger::Edge };
    let handle = board.unit.allocate_interrupt(route).unwrap();
    thief.use_message(handle.msi());
    thief.interrupt();
    let refused = board.faults();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].requester, refused[0].reason), (thief.id(), FaultReason::INTERRUPT_SOURCE));
    assert_eq!(refused[0].kind, FaultKind::Interrupt { index: handle.index() });
    assert!(!board.sees_vector(0x61, Duration::from_millis(50)));
    owner.use_message(handle.msi());
    owner.interrupt();
    assert!(board.sees_vector(0x61, Duration::from_secs(10)));
    board.unit.redirect_interrupt(&handle, InterruptRoute { vector: 0x62, ..route }).unwrap();
    owner.interrupt();
    assert!(board.sees_vector(0x62, Duration::from_secs(10)));
    assert_eq!(board.faults(), []);
    board.unit.free_interrupt(handle).unwrap();
    owner.interrupt();
    let refused = board.faults();
    assert_eq!((refused.len(), refused[0].reason), (1, FaultReason::INTERRUPT_NOT_PRESENT));
}

fn a_unit_left_on_is_taken_over(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    board.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    board.edu(3).write(WINDOW, 1);
    assert_eq!(board.read(FRAME), 1);
    board.take_over_again();
    board.unit.enable_translation(mode).unwrap();
    board.edu(3).write(WINDOW, 2);
    assert_eq!(board.read(FRAME), 1, "what was attached before is blocked");
    assert_eq!(board.faults(), [dma_fault(3, WINDOW, true, FaultReason::ROOT_NOT_PRESENT)]);
    board.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    assert_eq!(board.unit.enable_translation(mode), Err(Error::AlreadyEnabled));
    let mut next = board.domain();
    board.map(&mut next, WINDOW, FRAME + 0x1000, 0x1000);
    let device = board.edu(3);
    next.attach(&mut board.unit, device.id()).unwrap();
    device.write(WINDOW, 3);
    assert_eq!((board.read(FRAME), board.read(FRAME + 0x1000)), (1, 3));
}

/// Scalable mode has a context table for devices 0 to 15 of a bus and one for the others.
fn devices_of_both_halves_of_a_bus(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    let upper = board.edu(17);
    upper.write(WINDOW, 1);
    assert_eq!(board.read(FRAME), 0);
    assert_eq!(board.faults().len(), 1);
    domain.attach(&mut board.unit, upper.id()).unwrap();
    upper.write(WINDOW, 2);
    board.edu(3).write(WINDOW + 8, 3);
    assert_eq!((board.read(FRAME), board.read(FRAME + 8)), (2, 3));
    domain.detach(&mut board.unit, upper.id()).unwrap();
    upper.write(WINDOW, 4);
    assert_eq!((board.read(FRAME), board.faults().len()), (2, 1));
}

/// What one kernel left on in legacy mode the next takes over in its own, and the other way round.
fn another_mode_takes_over(qemu: &Path, mode: Mode) {
    let (mut board, mut domain) = Board::with_device(qemu, mode, USUAL);
    board.map(&mut domain, WINDOW, FRAME, 0x1000);
    board.edu(3).write(WINDOW, 1);
    let others = board.unit.capabilities().modes().filter(|&other| other != mode);
    for other in others.chain([mode]) {
        board.take_over_again();
        board.mode = other;
        board.unit.enable_translation(other).unwrap();
        board.edu(3).write(WINDOW, 2);
        assert_eq!((board.read(FRAME), board.faults().len()), (1, 1), "what was attached is blocked");
        let mut next = board.domain();
        board.map(&mut next, WINDOW, FRAME + 0x1000, 0x1000);
        let device = board.edu(3);
        next.attach(&mut board.unit, device.id()).unwrap();
        device.write(WINDOW, 3);
        assert_eq!((board.read(FRAME), board.read(FRAME + 0x1000)), (1, 3));
        board.write(FRAME + 0x1000, 0);
    }
}

fn fault_events_arrive(qemu: &Path, mode: Mode) {
    let (mut board, _domain) = Board::with_device(qemu, mode, USUAL);
    board.edu(3).write(WINDOW, 1);
    assert!(!board.sees_vector(0x71, Duration::from_millis(50)));
    board.faults();
    board.unit.enable_fault_event(ApicMode::XApic, 0x71, 0).unwrap();
    board.edu(3).write(WINDOW, 1);
    assert!(board.sees_vector(0x71, Duration::from_secs(10)));
    assert_eq!(board.faults().len(), 1);
}

fn interrupts_in_xapic_mode(qemu: &Path, mode: Mode) {
    let mut board = Board::start(qemu, mode, "intremap=on,eim=off");
    assert_eq!(board.unit.enable_interrupt_remapping(ApicMode::X2Apic), Err(Error::NoInterruptRemapping));
    board.unit.enable_interrupt_remapping(ApicMode::XApic).unwrap();
    let device = board.edu(3);
    let route = InterruptRoute { requester: device.id(), vector: 0x63, apic_id: 0, trigger: Trigger::Edge };
    let handle = board.unit.allocate_interrupt(route).unwrap();
    device.use_message(handle.msi());
    device.interrupt();
    assert!(board.sees_vector(0x63, Duration::from_secs(10)));
    assert_eq!(board.faults(), []);
}
