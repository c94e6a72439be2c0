//! The cases of AMD units, on QEMU's `amd-iommu` (older ones do not translate as asked).
//!
//! QEMU's records leave out the address and the direction, and a blocked device leaves none.

use super::board::{Edu, Ram, WallClock, Window, sees_vector};
use super::cases::{Case, cases};
use super::link::Link;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use weir_iommu::acpi::ivrs::UnitFlags;
use weir_iommu::address::{Iova, PhysAddr, RequesterId, UnitIndex};
use weir_iommu::amdvi::{
    ApicMode, CapabilityHeader, Fault, FaultKind, FaultReason, InterruptRoute, Setup, Trigger, Unit,
};
use weir_iommu::domain::{Domain, DomainIds, Permissions};
use weir_iommu::{Error, Mode};

const WINDOW: u64 = 0x1_0000_0000;
const FRAME: u64 = 0x400_0000;
/// Where QEMU puts the unit's registers.
const UNIT_AT: u64 = 0xfed8_0000;
/// The unit's own function: QEMU gives it the first free slot.
const UNIT_SLOT: u8 = 1;

/// The oldest QEMU whose `amd-iommu` has what the cases need.
pub(crate) const OLDEST_MAJOR: u32 = 11;

pub(crate) const ALL: &[Case<fn(&Path)>] = cases![
    amd_mapping_is_reached_in_both_directions,
    amd_unmapped_and_unattached_are_refused,
    amd_permissions_hold,
    amd_stale_translation_is_gone_after_the_flush,
    amd_large_pages_and_deep_tables_translate,
    amd_detached_device_is_blocked,
    amd_faults_are_recorded_and_raise_the_event,
    amd_log_wraps,
    amd_interrupts_arrive_from_their_requester_only,
    amd_interrupts_in_xapic_mode,
    amd_unit_left_on_is_taken_over,
];

pub(crate) struct Machine {
    link: Rc<RefCell<Link>>,
    ram: Ram,
    pub(crate) unit: Unit<Window, Ram, WallClock>,
    pub(crate) ids: DomainIds,
}

impl Machine {
    /// `unit` are more options of QEMU's `amd-iommu`.
    pub(crate) fn start(qemu: &Path, unit: &str) -> Self {
        let unit = format!("amd-iommu,intremap=on,dma-remap=on,{unit}");
        let edu = |slot| format!("edu,addr={slot:x},dma_mask=0xffffffffffffffff");
        let arguments = ["-device", &unit, "-device", &edu(3), "-device", &edu(4), "-device", &edu(17)];
        let link = Rc::new(RefCell::new(Link::start(qemu, &arguments)));
        let ram = Ram::new(&link);
        let unit = take_over(&link, &ram);
        let machine = Machine { link, ram, unit, ids: DomainIds::new() };
        [3, 4, 17].into_iter().for_each(|slot| machine.edu(slot).switch_on());
        machine
    }

    /// The same, with translation on and the first device in a domain.
    fn with_device(qemu: &Path) -> (Self, Domain<Ram>) {
        let mut machine = Machine::start(qemu, "xtsup=on");
        machine.unit.enable_translation().unwrap();
        let mut domain = machine.domain(39);
        machine.unit.attach(machine.edu(3).id(), &mut domain).unwrap();
        (machine, domain)
    }

    pub(crate) fn domain(&mut self, bits: u8) -> Domain<Ram> {
        Domain::new(self.ram.clone(), &mut self.ids, self.unit.capabilities(), Mode::AmdVi, bits).unwrap()
    }

    pub(crate) fn edu(&self, slot: u8) -> Edu {
        Edu { link: self.link.clone(), slot }
    }

    fn map(&mut self, domain: &mut Domain<Ram>, iova: u64, phys: u64, bytes: u64) {
        let mapped = domain.map(Iova(iova), PhysAddr(phys), bytes, Permissions::ReadWrite).unwrap();
        mapped.flush(|_, what| self.unit.invalidate(what)).unwrap();
    }

    pub(crate) fn faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.unit.drain_faults(|fault| faults.push(fault));
        faults
    }

    pub(crate) fn read(&self, at: u64) -> u64 {
        self.link.borrow_mut().number(&format!("readq {at:#x}"))
    }

    pub(crate) fn write(&self, at: u64, value: u64) {
        self.link.borrow_mut().ask(&format!("writeq {at:#x} {value:#x}"));
    }

    /// Where the root of the host table of a device is, read as the unit does.
    fn root_of(&self, device: RequesterId) -> u64 {
        let table = self.read(UNIT_AT) & !0xfff;
        self.read(table + u64::from(device.0) * 32) & 0x000f_ffff_ffff_f000
    }

    /// Takes the permissions out of the root entry that covers the window, so that a walk finds a fault.
    fn spoil(&self, device: RequesterId) {
        let entry = self.root_of(device) + (WINDOW >> 30) * 8;
        self.write(entry, self.read(entry) & !(3 << 61));
    }

    fn sees_vector(&self, vector: u8, limit: Duration) -> bool {
        sees_vector(&self.link, vector, limit)
    }
}

/// Reads what the unit's function says of itself, and takes the unit over.
fn take_over(link: &Rc<RefCell<Link>>, ram: &Ram) -> Unit<Window, Ram, WallClock> {
    let setup = Setup {
        host_address_bits: 40,
        capability: CapabilityHeader::from_bits(configuration(link, 0x40)),
        extended_features: None,
        flags: UnitFlags::new().with_ht_tunnel(true),
    };
    assert!(setup.capability.caches_not_present() && setup.capability.has_extended_features());
    let window = Window { link: link.clone(), at: UNIT_AT, bytes: 0x4000 };
    Unit::new(UnitIndex::new(0).unwrap(), window, ram.clone(), WallClock(Instant::now()), setup).unwrap()
}

fn select(link: &RefCell<Link>, register: u32) {
    let function = u32::from(RequesterId::new(0, UNIT_SLOT, 0).0);
    link.borrow_mut().ask(&format!("outl 0xcf8 {:#x}", 1 << 31 | function << 8 | register));
}

fn configuration(link: &RefCell<Link>, register: u32) -> u32 {
    select(link, register);
    u32::try_from(link.borrow_mut().number("inl 0xcfc")).unwrap()
}

fn configure(link: &RefCell<Link>, register: u32, value: u32) {
    select(link, register);
    link.borrow_mut().ask(&format!("outl 0xcfc {value:#x}"));
}

fn amd_mapping_is_reached_in_both_directions(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x3000);
    let device = machine.edu(3);
    device.write(WINDOW + 0x2010, 0xa5);
    assert_eq!(machine.read(FRAME + 0x2010), 0xa5);
    machine.write(FRAME + 0x1008, 0x99aa_bbcc_ddee_ff00);
    device.copy(WINDOW + 0x1008, WINDOW + 0x2000);
    assert_eq!(machine.read(FRAME + 0x2000), 0x99aa_bbcc_ddee_ff00);
    assert_eq!(machine.faults(), []);
}

fn amd_unmapped_and_unattached_are_refused(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x1000);
    machine.write(FRAME + 0x1000, 0x77);
    machine.edu(3).write(WINDOW + 0x1000, 1);
    machine.edu(3).write(FRAME + 0x1000, 1);
    machine.edu(4).write(FRAME + 0x1000, 1);
    machine.edu(4).write(WINDOW, 1);
    assert_eq!((machine.read(FRAME), machine.read(FRAME + 0x1000)), (0, 0x77));
    machine.edu(3).copy(FRAME + 0x1000, WINDOW);
    assert_eq!(machine.read(FRAME), 0, "the physical address is not an address of the device");
}

fn amd_permissions_hold(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    for (at, permissions) in [(0, Permissions::ReadOnly), (0x1000, Permissions::WriteOnly)] {
        let mapped = domain.map(Iova(WINDOW + at), PhysAddr(FRAME + at), 0x1000, permissions).unwrap();
        mapped.flush(|_, what| machine.unit.invalidate(what)).unwrap();
    }
    machine.write(FRAME, 0x55);
    machine.edu(3).write(WINDOW, 1);
    assert_eq!(machine.read(FRAME), 0x55);
    machine.edu(3).copy(WINDOW, WINDOW + 0x1000);
    assert_eq!(machine.read(FRAME + 0x1000), 0x55);
    machine.write(FRAME + 0x1000, 0x66);
    machine.edu(3).copy(WINDOW + 0x1000, WINDOW + 0x1008);
    assert_eq!(machine.read(FRAME + 0x1008), 0, "what may not be read arrives as zero");
}

fn amd_stale_translation_is_gone_after_the_flush(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x1000);
    machine.edu(3).write(WINDOW, 1);
    let change = domain.unmap(Iova(WINDOW), 0x1000).unwrap();
    machine.edu(3).write(WINDOW, 2);
    assert_eq!(
        machine.read(FRAME),
        2,
        "before the flush the unit still translates: the case means something"
    );
    change.flush(|_, what| machine.unit.invalidate(what)).unwrap();
    machine.edu(3).write(WINDOW, 3);
    assert_eq!(machine.read(FRAME), 2);
}

fn amd_large_pages_and_deep_tables_translate(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x20_0000);
    machine.edu(3).write(WINDOW + 0x12_3008, 7);
    assert_eq!(machine.read(FRAME + 0x12_3008), 7);
    machine.map(&mut domain, WINDOW + (2 << 30), 0, 1 << 30);
    machine.edu(3).write(WINDOW + (2 << 30) + FRAME + 8, 8);
    assert_eq!(machine.read(FRAME + 8), 8);
    let id = machine.edu(4).id();
    let mut deep = machine.domain(48);
    machine.unit.attach(id, &mut deep).unwrap();
    let high = (1 << 48) - 0x1000;
    machine.map(&mut deep, high, FRAME + 0x1000, 0x1000);
    machine.edu(4).write(high, 9);
    assert_eq!(machine.read(FRAME + 0x1000), 9);
    let change = domain.unmap(Iova(WINDOW), 0x20_0000).unwrap();
    change.flush(|_, what| machine.unit.invalidate(what)).unwrap();
    machine.edu(3).write(WINDOW + 0x12_3008, 10);
    assert_eq!(machine.read(FRAME + 0x12_3008), 7);
}

fn amd_detached_device_is_blocked(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x1000);
    let device = machine.edu(3);
    device.write(WINDOW, 1);
    assert_eq!(machine.read(FRAME), 1);
    machine.unit.detach(device.id(), &mut domain).unwrap();
    device.write(WINDOW, 2);
    device.write(FRAME, 3);
    assert_eq!(machine.read(FRAME), 1);
    let mut next = machine.domain(39);
    machine.unit.attach(device.id(), &mut next).unwrap();
    device.write(WINDOW, 4);
    assert_eq!(machine.read(FRAME), 1, "the new domain is another one");
    machine.map(&mut next, WINDOW, FRAME + 0x1000, 0x1000);
    device.write(WINDOW, 5);
    assert_eq!((machine.read(FRAME), machine.read(FRAME + 0x1000)), (1, 5));
}

fn amd_faults_are_recorded_and_raise_the_event(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x1000);
    let msi = machine.unit.enable_fault_event(0x71, 0).unwrap();
    configure(&machine.link, 0x64, u32::try_from(msi.address).unwrap());
    configure(&machine.link, 0x68, 0);
    configure(&machine.link, 0x6c, msi.data);
    let control = configuration(&machine.link, 0x60);
    assert_eq!(control & 0xff, 5, "the MSI capability");
    configure(&machine.link, 0x60, control | 1 << 16);
    let device = machine.edu(3);
    machine.spoil(device.id());
    assert!(!machine.sees_vector(0x71, Duration::from_millis(50)));
    device.write(WINDOW + 0x10, 1);
    assert!(machine.sees_vector(0x71, Duration::from_secs(10)));
    let faults = machine.faults();
    assert!(!faults.is_empty());
    for fault in faults {
        assert_eq!((fault.requester, fault.kind), (device.id(), FaultKind::Dma));
        // QEMU leaves out the address, the domain and RW, and sets I.
        assert_eq!(fault.reason, FaultReason::CONTEXT_NOT_PRESENT);
    }
    assert_eq!(machine.read(FRAME), 0);
    assert_eq!(machine.faults(), []);
}

fn amd_log_wraps(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x1000);
    machine.spoil(machine.edu(3).id());
    let mut seen = 0;
    for _ in 0..3 {
        (0..100).for_each(|_| machine.edu(3).write(WINDOW, 1));
        seen += machine.faults().len();
    }
    assert!(seen >= 300, "{seen}");
}

fn amd_interrupts_arrive_from_their_requester_only(qemu: &Path) {
    let mut machine = Machine::start(qemu, "xtsup=on");
    machine.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    machine.unit.enable_translation().unwrap();
    let (owner, thief) = (machine.edu(3), machine.edu(4));
    let route = InterruptRoute { requester: owner.id(), vector: 0x61, apic_id: 0, trigger: Trigger::Edge };
    let handle = machine.unit.allocate_interrupt(route).unwrap();
    thief.use_message(handle.msi());
    thief.interrupt();
    assert!(!machine.sees_vector(0x61, Duration::from_millis(50)));
    owner.use_message(handle.msi());
    owner.interrupt();
    assert!(machine.sees_vector(0x61, Duration::from_secs(10)));
    machine.unit.redirect_interrupt(&handle, InterruptRoute { vector: 0x62, ..route }).unwrap();
    owner.interrupt();
    assert!(machine.sees_vector(0x62, Duration::from_secs(10)));
    let second = machine.unit.allocate_interrupt(InterruptRoute { vector: 0x63, ..route }).unwrap();
    machine.unit.free_interrupt(second).unwrap();
    owner.use_message(weir_iommu::amdvi::Msi { data: 1, ..handle.msi() });
    owner.interrupt();
    assert!(!machine.sees_vector(0x63, Duration::from_millis(50)));
}

fn amd_interrupts_in_xapic_mode(qemu: &Path) {
    let mut machine = Machine::start(qemu, "xtsup=off");
    let refused = machine.unit.enable_interrupt_remapping(ApicMode::X2Apic);
    assert_eq!(refused, Err(Error::NoInterruptRemapping));
    machine.unit.enable_interrupt_remapping(ApicMode::XApic).unwrap();
    machine.unit.enable_translation().unwrap();
    let device = machine.edu(3);
    let route = InterruptRoute { requester: device.id(), vector: 0x64, apic_id: 0, trigger: Trigger::Edge };
    let handle = machine.unit.allocate_interrupt(route).unwrap();
    device.use_message(handle.msi());
    device.interrupt();
    assert!(machine.sees_vector(0x64, Duration::from_secs(10)));
}

fn amd_unit_left_on_is_taken_over(qemu: &Path) {
    let (mut machine, mut domain) = Machine::with_device(qemu);
    machine.map(&mut domain, WINDOW, FRAME, 0x1000);
    let device = machine.edu(3);
    device.write(WINDOW, 1);
    assert_eq!(machine.read(FRAME), 1);
    machine.unit = take_over(&machine.link, &machine.ram);
    machine.unit.enable_translation().unwrap();
    device.write(WINDOW, 2);
    assert_eq!(machine.read(FRAME), 1, "what was attached before is blocked");
    let mut next = machine.domain(39);
    machine.map(&mut next, WINDOW, FRAME + 0x1000, 0x1000);
    machine.unit.attach(device.id(), &mut next).unwrap();
    device.write(WINDOW, 3);
    assert_eq!((machine.read(FRAME), machine.read(FRAME + 0x1000)), (1, 3));
}
