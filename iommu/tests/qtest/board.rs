//! The virtual machine as the library's environment, and `edu` devices that do DMA and raise interrupts on request.

use super::link::Link;
use super::owner::Owner;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use weir_iommu::address::{Iova, PhysAddr, RequesterId, UnitIndex};
use weir_iommu::domain::{DomainIds, Permissions, Unflushed};
use weir_iommu::environment::{Clock, Registers, TableMemory};
use weir_iommu::vtd::{Fault, Msi, Unit};
use weir_iommu::{Mode, Result};

/// Where QEMU puts the unit's registers.
const UNIT_AT: u64 = 0xfed9_0000;
/// Registers that decode.
const UNIT_BYTES: usize = 0x230;
/// Where the `edu` devices' registers go: one MiB each.
const EDU_AT: u64 = 0xe000_0000;
/// The device's own buffer, which only its DMA engine reaches: the words 0 to 255, then scratch space.
const EDU_BUFFER: u64 = 0x4_0000;
const EDU_SCRATCH: u64 = EDU_BUFFER + 256 * 8;
/// Virtual time one transfer takes: 100 ms.
const EDU_TRANSFER_NS: u64 = 100_000_000;
/// Where the devices get their words from at the start.
const WORDS_AT: u64 = 8 << 20;
/// Tables are allocated from here on.
const TABLES_AT: u64 = 16 << 20;

pub(crate) type TestUnit = Unit<Window, Ram, WallClock>;
pub(crate) type TestDomain = Owner<Ram>;

/// A machine with a unit and the `edu` devices 00:03.0, 00:04.0 and 00:11.0.
pub(crate) struct Board {
    link: Rc<RefCell<Link>>,
    ram: Ram,
    pub(crate) unit: TestUnit,
    pub(crate) ids: DomainIds,
    pub(crate) mode: Mode,
    host_bits: u8,
}

impl Board {
    /// Starts a machine whose unit offers `mode`; `unit` are more options of QEMU's `intel-iommu`.
    pub(crate) fn start(qemu: &Path, mode: Mode, unit: &str) -> Self {
        let scalable = match mode {
            Mode::VtdFirstStage => ",scalable-mode=on,fsts=on",
            Mode::VtdSecondStage => ",scalable-mode=on",
            Mode::VtdLegacy | Mode::AmdVi => "",
        };
        let unit = format!("intel-iommu,{unit}{scalable}");
        let edu = |slot| format!("edu,addr={slot:x},dma_mask=0xffffffffffffffff");
        let arguments = ["-device", &unit, "-device", &edu(3), "-device", &edu(4), "-device", &edu(17)];
        let link = Rc::new(RefCell::new(Link::start(qemu, &arguments)));
        let ram = Ram::new(&link);
        let host_bits = if unit.contains("aw-bits=39") { 39 } else { 46 };
        let unit = start_unit(&link, &ram, host_bits);
        let board = Board { link, ram, unit, ids: DomainIds::new(), mode, host_bits };
        [3, 4, 17].into_iter().for_each(|slot| board.edu(slot).switch_on());
        board
    }

    /// The same, with translation on and the first device in a domain.
    pub(crate) fn with_device(qemu: &Path, mode: Mode, unit: &str) -> (Self, TestDomain) {
        let mut board = Board::start(qemu, mode, unit);
        assert_eq!(board.unit.capabilities().best(), Some(mode));
        board.unit.enable_translation(mode).unwrap();
        let mut domain = board.domain();
        let device = board.edu(3).id();
        domain.attach(&mut board.unit, device).unwrap();
        (board, domain)
    }

    /// Forgets what is known of the unit and takes it over as it is.
    pub(crate) fn take_over_again(&mut self) {
        self.unit = start_unit(&self.link, &self.ram, self.host_bits);
    }

    pub(crate) fn domain(&mut self) -> TestDomain {
        Owner::new(&self.ram, &mut self.ids, self.unit.capabilities(), self.mode).unwrap()
    }

    pub(crate) fn edu(&self, slot: u8) -> Edu {
        Edu { link: self.link.clone(), slot }
    }

    pub(crate) fn map(&mut self, domain: &mut TestDomain, iova: u64, phys: u64, bytes: u64) {
        let mapped = domain.map(Iova(iova), PhysAddr(phys), bytes, Permissions::ReadWrite).unwrap();
        self.flush(mapped).unwrap();
    }

    pub(crate) fn flush(&mut self, change: Unflushed<'_, Ram>) -> Result<()> {
        change.flush(|_, what| self.unit.invalidate(what))
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

    /// Waits up to `limit` for an interrupt with `vector` at any APIC.
    pub(crate) fn sees_vector(&self, vector: u8, limit: Duration) -> bool {
        sees_vector(&self.link, vector, limit)
    }
}

/// Waits up to `limit` for an interrupt with `vector` at any APIC.
pub(crate) fn sees_vector(link: &RefCell<Link>, vector: u8, limit: Duration) -> bool {
    let start = Instant::now();
    let wanted = format!(" vector {vector} ");
    loop {
        if link.borrow().messages().lines().any(|line| line.contains(&wanted)) {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start_unit(link: &Rc<RefCell<Link>>, ram: &Ram, host_bits: u8) -> TestUnit {
    let window = Window { link: link.clone(), at: UNIT_AT, bytes: UNIT_BYTES };
    let clock = WallClock(Instant::now());
    Unit::new(UnitIndex::new(0).unwrap(), window, ram.clone(), clock, host_bits).unwrap()
}

/// A unit's registers.
pub(crate) struct Window {
    pub(crate) link: Rc<RefCell<Link>>,
    pub(crate) at: u64,
    pub(crate) bytes: usize,
}

impl Window {
    fn read(&self, command: &str, offset: usize) -> u64 {
        self.link.borrow_mut().number(&format!("{command} {:#x}", self.at + offset as u64))
    }

    fn write(&self, command: &str, offset: usize, value: u64) {
        self.link.borrow_mut().ask(&format!("{command} {:#x} {value:#x}", self.at + offset as u64));
    }
}

impl Registers for Window {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read32(&self, offset: usize) -> u32 {
        u32::try_from(self.read("readl", offset)).unwrap()
    }

    fn read64(&self, offset: usize) -> u64 {
        self.read("readq", offset)
    }

    fn write32(&mut self, offset: usize, value: u32) {
        self.write("writel", offset, u64::from(value));
    }

    fn write64(&mut self, offset: usize, value: u64) {
        self.write("writeq", offset, value);
    }
}

/// Guest memory for tables; single frames are used again.
#[derive(Clone)]
pub(crate) struct Ram {
    link: Rc<RefCell<Link>>,
    free: Rc<RefCell<Vec<u64>>>,
    next: Rc<RefCell<u64>>,
}

impl Ram {
    pub(crate) fn new(link: &Rc<RefCell<Link>>) -> Self {
        Ram { link: link.clone(), free: Rc::default(), next: Rc::new(RefCell::new(TABLES_AT)) }
    }
}

// SAFETY: frames come from a range of guest memory that nothing else in the tests uses, each is handed out once
// until freed; QEMU's model is the only other reader.
unsafe impl TableMemory for Ram {
    fn alloc(&self, frames: usize) -> Option<PhysAddr> {
        let reused = (frames == 1).then(|| self.free.borrow_mut().pop()).flatten();
        let at = reused.unwrap_or_else(|| self.next.replace_with(|next| *next + frames as u64 * 4096));
        self.link.borrow_mut().ask(&format!("memset {at:#x} {:#x} 0", frames * 4096));
        Some(PhysAddr(at))
    }

    unsafe fn free(&self, at: PhysAddr, frames: usize) {
        self.free.borrow_mut().extend((0..frames as u64).map(|frame| at.0 + frame * 4096));
    }

    unsafe fn read64(&self, at: PhysAddr) -> u64 {
        self.link.borrow_mut().number(&format!("readq {:#x}", at.0))
    }

    unsafe fn write64(&self, at: PhysAddr, value: u64) {
        self.link.borrow_mut().ask(&format!("writeq {:#x} {value:#x}", at.0));
    }

    unsafe fn write128(&self, at: PhysAddr, value: u128) {
        self.link.borrow_mut().write(at.0, &value.to_le_bytes());
    }

    unsafe fn flush(&self, _: PhysAddr, _: u64) {
        // QEMU's model reads guest memory directly.
    }
}

/// Real time.
pub(crate) struct WallClock(pub(crate) Instant);

impl Clock for WallClock {
    fn now_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }

    fn spin(&self) {
        std::thread::yield_now();
    }
}

/// One `edu` device.
pub(crate) struct Edu {
    pub(crate) link: Rc<RefCell<Link>>,
    pub(crate) slot: u8,
}

impl Edu {
    pub(crate) fn id(&self) -> RequesterId {
        RequesterId::new(0, self.slot, 0)
    }

    /// The device writes `value` to `iova`.
    pub(crate) fn write(&self, iova: u64, value: u8) {
        self.transfer(EDU_BUFFER + u64::from(value) * 8, iova, 2);
    }

    /// The device reads at `iova`.
    pub(crate) fn read(&self, iova: u64) {
        self.transfer(iova, EDU_SCRATCH, 0);
    }

    /// The device writes what it read last, zero where it was refused, to `to`.
    pub(crate) fn report(&self, to: u64) {
        self.transfer(EDU_SCRATCH, to, 2);
    }

    /// The device reads at `from` and writes what it got, zero where it was refused, to `to`.
    pub(crate) fn copy(&self, from: u64, to: u64) {
        self.read(from);
        self.report(to);
    }

    /// Programs the device's message.
    pub(crate) fn use_message(&self, msi: Msi) {
        self.configure(0x44, u32::try_from(msi.address).unwrap());
        self.configure(0x48, 0);
        self.configure(0x4c, msi.data);
        let control = self.configuration(0x40);
        assert_eq!(control & 0xff, 5, "the MSI capability");
        self.configure(0x40, control | 1 << 16);
    }

    /// The device raises its interrupt.
    pub(crate) fn interrupt(&self) {
        self.link.borrow_mut().ask(&format!("writel {:#x} 1", self.at() + 0x60));
        self.link.borrow_mut().ask(&format!("writel {:#x} 1", self.at() + 0x64));
    }

    /// Places and enables the registers, and lets the device be bus master.
    pub(crate) fn switch_on(&self) {
        self.configure(0x10, u32::try_from(self.at()).unwrap());
        self.configure(0x04, 0x6);
        let id = self.link.borrow_mut().number(&format!("readl {:#x}", self.at()));
        assert_eq!(id & 0xff, 0xed, "an edu device");
        self.load_words();
    }

    fn at(&self) -> u64 {
        EDU_AT + u64::from(self.slot) * (1 << 20)
    }

    /// Fills the buffer with what `write` may be asked for; needs untranslated access to memory.
    fn load_words(&self) {
        let words: Vec<u8> = (0..256u64).flat_map(u64::to_le_bytes).collect();
        self.link.borrow_mut().write(WORDS_AT, &words);
        self.transfer_bytes(WORDS_AT, EDU_BUFFER, 0, words.len() as u64);
    }

    /// Moves one word and lets the time pass that it takes.
    fn transfer(&self, source: u64, destination: u64, direction: u64) {
        self.transfer_bytes(source, destination, direction, 8);
    }

    fn transfer_bytes(&self, source: u64, destination: u64, direction: u64, bytes: u64) {
        self.set(0x80, source);
        self.set(0x88, destination);
        self.set(0x90, bytes);
        self.set(0x98, 1 | direction);
        self.link.borrow_mut().ask(&format!("clock_step {EDU_TRANSFER_NS}"));
        let command = self.link.borrow_mut().number(&format!("readq {:#x}", self.at() + 0x98));
        assert_eq!(command & 1, 0, "edu does not finish");
    }

    fn set(&self, register: u64, value: u64) {
        self.link.borrow_mut().ask(&format!("writeq {:#x} {value:#x}", self.at() + register));
    }

    fn configuration(&self, register: u32) -> u32 {
        self.select(register);
        u32::try_from(self.link.borrow_mut().number("inl 0xcfc")).unwrap()
    }

    fn configure(&self, register: u32, value: u32) {
        self.select(register);
        self.link.borrow_mut().ask(&format!("outl 0xcfc {value:#x}"));
    }

    fn select(&self, register: u32) {
        let address = 1 << 31 | u32::from(self.id().0) << 8 | register;
        self.link.borrow_mut().ask(&format!("outl 0xcf8 {address:#x}"));
    }
}
