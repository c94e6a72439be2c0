//! A remapping unit that is as strict as the specification allows: registers take one width only, commands change
//! one bit, nothing is forgotten unless an invalidation says so, the queue advances only while software waits.

mod caches;
mod queue;
mod remap;

use super::memory::Memory;
use super::walk::{Features, Root};
use caches::Caches;
pub(crate) use caches::InFlight;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use weir_iommu::Mode;
use weir_iommu::environment::{Clock, Registers};

const TE: u32 = 1 << 31;
const SRTP: u32 = 1 << 30;
const WBF: u32 = 1 << 27;
const QIE: u32 = 1 << 26;
const IRE: u32 = 1 << 25;
const SIRTP: u32 = 1 << 24;
const CFI: u32 = 1 << 23;

/// Offset of the fault records.
pub(crate) const RECORDS: usize = 0x220;
/// QEMU's values: 16-bit domain ids, 3 and 4 levels, 48 bits, large pages, page-selective up to 2^18, draining.
pub(crate) const CAP: u64 = 0x00d2_008c_222f_0606;
/// Queue, interrupt remapping, extended mode, coherent.
pub(crate) const ECAP: u64 = 0x00f0_0f5b;
/// Of ECAP.
pub(crate) const COHERENT: u64 = 1;
pub(crate) const SNOOP_CONTROL: u64 = 1 << 7;
pub(crate) const SCALABLE: u64 = 1 << 43;
pub(crate) const SECOND_STAGE: u64 = 1 << 46;
pub(crate) const FIRST_STAGE: u64 = 1 << 47;
pub(crate) const COHERENT_WALKS: u64 = 1 << 48;
/// Of CAP.
pub(crate) const CACHING_MODE: u64 = 1 << 7;
pub(crate) const WRITE_BUFFER: u64 = 1 << 4;
pub(crate) const PAGE_SELECTIVE: u64 = 1 << 39;
pub(crate) const HUGE_FIRST_STAGE: u64 = 1 << 56;
/// Setting the root table drops everything cached.
pub(crate) const ENHANCED_SET_ROOT: u64 = 1 << 63;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sabotage {
    /// Command bits that are never acknowledged.
    pub(crate) deaf_to: u32,
    /// Bits of FSTS to raise instead of processing descriptor number n (1 = the next).
    pub(crate) queue_error: Option<(u32, u32)>,
    /// The queue stands still.
    pub(crate) is_stuck: bool,
}

/// What the unit was asked, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Command(u32),
    Descriptor([u64; 2]),
}

/// The model's inside; tests reach in.
pub(crate) struct State {
    id: usize,
    pub(crate) cap: u64,
    pub(crate) ecap: u64,
    pub(crate) memory: Memory,
    pub(crate) status: u32,
    pub(crate) sabotage: Sabotage,
    pub(crate) events: Vec<Event>,
    pub(crate) fault_status: u32,
    pub(crate) records: Vec<u128>,
    pub(crate) now_us: u64,
    pub(crate) protected_memory: u32,
    pub(crate) fault_event: [u32; 4],
    /// Fault events sent.
    pub(crate) fault_messages: usize,
    next_record: usize,
    root_register: u64,
    root: Root,
    irta_register: u64,
    irta: u64,
    queue: u64,
    is_queue_wide: bool,
    head: u64,
    tail: u64,
    caches: Caches,
    /// The last request of each requester that landed: address, and whether it wrote.
    last_request: BTreeMap<u16, (u64, bool)>,
    interrupts: BTreeMap<u16, u128>,
}

/// A handle; clones are the same unit. One is its registers, one its clock, one the test's.
#[derive(Clone)]
pub(crate) struct Model(pub(crate) Rc<RefCell<State>>);

impl Model {
    pub(crate) fn new(cap: u64, ecap: u64) -> Self {
        let memory = Memory::new(ecap & COHERENT != 0, cap & WRITE_BUFFER != 0);
        Self::with_memory(0, cap, ecap, memory)
    }

    /// Unit number `id`; `memory` must suit `cap` and `ecap`.
    pub(crate) fn with_memory(id: usize, cap: u64, ecap: u64, memory: Memory) -> Self {
        let records = vec![0; (cap >> 40 & 0xff) as usize + 1];
        Model(Rc::new(RefCell::new(State {
            id,
            cap,
            ecap,
            memory,
            status: 0,
            sabotage: Sabotage::default(),
            events: Vec::new(),
            fault_status: 0,
            records,
            now_us: 0,
            protected_memory: 0,
            fault_event: [1 << 31, 0, 0, 0],
            fault_messages: 0,
            next_record: 0,
            root_register: 0,
            root: Root::default(),
            irta_register: 0,
            irta: 0,
            queue: 0,
            is_queue_wide: false,
            head: 0,
            tail: 0,
            caches: Caches::default(),
            last_request: BTreeMap::new(),
            interrupts: BTreeMap::new(),
        })))
    }

    pub(crate) fn memory(&self) -> Memory {
        self.0.borrow().memory.clone()
    }

    /// For page tables, as the unit sees them in `mode`.
    pub(crate) fn page_table_memory(&self, mode: Mode) -> Memory {
        let state = self.0.borrow();
        let coherency = if mode == Mode::VtdLegacy { COHERENT } else { COHERENT_WALKS };
        state.memory.for_tables(state.ecap & coherency != 0, mode == Mode::VtdFirstStage)
    }

    pub(crate) fn sabotage(&self, sabotage: Sabotage) {
        self.0.borrow_mut().sabotage = sabotage;
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.borrow_mut().events)
    }

    /// A device reads or writes one word: where it lands.
    pub(crate) fn dma(&self, requester: u16, iova: u64, is_write: bool) -> Option<u64> {
        self.0.borrow_mut().dma(requester, iova, is_write)
    }

    /// Requests that were translated and not drained since.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.0.borrow().caches.in_flight.clone().into_iter()
    }

    /// A device writes to what it says is a physical address: where it lands.
    pub(crate) fn translated(&self, requester: u16, phys: u64) -> Option<u64> {
        self.0.borrow_mut().translated(requester, phys)
    }

    /// A device writes a message: vector and destination of the interrupt.
    pub(crate) fn message(&self, requester: u16, address: u64) -> Option<(u8, u32)> {
        self.0.borrow_mut().message(requester, address)
    }

    /// The unit as firmware left it: translating with a root table at `root`, queue on and worked off.
    pub(crate) fn left_on_by_firmware(&self, root: u64, queue: u64) {
        let mut state = self.0.borrow_mut();
        state.status = TE | QIE;
        (state.root_register, state.queue) = (root, queue);
        (state.head, state.tail) = (0x40, 0x40);
        state.root = Root { at: root & !0xfff, is_scalable: root >> 10 & 3 == 1 };
    }
}

impl Clock for Model {
    fn now_us(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.now_us += 10;
        assert!(state.now_us < 1_000_000_000, "a wait without a limit");
        state.now_us
    }

    fn spin(&self) {
        let mut state = self.0.borrow_mut();
        state.protected_memory = state.protected_memory & 1 << 31 | state.protected_memory >> 31;
        state.advance_queue();
    }
}

impl Registers for Model {
    fn bytes(&self) -> usize {
        0x1000
    }

    fn read32(&self, offset: usize) -> u32 {
        let state = self.0.borrow();
        match offset {
            0x1c => state.status,
            0x34 => state.fault_status,
            0x64 => state.protected_memory,
            _ => panic!("32-bit read at {offset:#x}"),
        }
    }

    fn read64(&self, offset: usize) -> u64 {
        let state = self.0.borrow();
        match offset {
            0x08 => state.cap,
            0x10 => state.ecap,
            0x20 => state.root_register,
            0x80 => state.head,
            0x88 => state.tail,
            _ => {
                let record = state.records[(offset - RECORDS) / 16];
                (record >> (offset % 16 * 8)) as u64
            }
        }
    }

    fn write32(&mut self, offset: usize, value: u32) {
        let mut state = self.0.borrow_mut();
        match offset {
            0x18 => state.command(value),
            0x34 => state.clear_faults(value),
            0x38 | 0x3c | 0x40 | 0x44 => state.fault_event[(offset - 0x38) / 4] = value,
            // The status, bit 0, follows later.
            0x64 => state.protected_memory = state.protected_memory & 1 | value & 1 << 31,
            _ => panic!("32-bit write at {offset:#x}"),
        }
    }

    fn write64(&mut self, offset: usize, value: u64) {
        let mut state = self.0.borrow_mut();
        match offset {
            0x20 => state.root_register = value,
            0x88 => state.tail = value,
            0x90 => {
                assert_eq!(state.status & QIE, 0, "queue moved while on");
                let is_wide = value & 1 << 11 != 0;
                assert_eq!(value & 0x7ff, 0, "one frame");
                assert!(!is_wide || state.ecap & SCALABLE != 0, "wide descriptors without scalable mode");
                (state.queue, state.is_queue_wide, state.head) = (value & !0xfff, is_wide, 0);
            }
            0xb8 => state.irta_register = value,
            _ => state.clear_record(offset, value),
        }
    }
}

impl State {
    fn features(&self) -> Features {
        Features {
            sagaw: self.cap >> 8 & 0x1f,
            large_pages: self.cap >> 34 & 3,
            has_huge_first_stage: self.cap & HUGE_FIRST_STAGE != 0,
            has_snoop_control: self.ecap & SNOOP_CONTROL != 0,
            may_snoop_walks: self.ecap & COHERENT_WALKS != 0,
            host_bits: 46,
            input_bits: (self.cap >> 16 & 0x3f) as u32 + 1,
            domain_id_bits: 4 + 2 * (self.cap & 7) as u32,
            has_caching_mode: self.has_caching_mode(),
        }
    }

    fn has_caching_mode(&self) -> bool {
        self.cap & CACHING_MODE != 0
    }

    fn command(&mut self, value: u32) {
        const ONE_SHOT: u32 = SRTP | WBF | SIRTP;
        let changed = (self.status ^ value) & !(ONE_SHOT | 1 << 29);
        assert!(changed.count_ones() + (value & ONE_SHOT).count_ones() <= 1, "several commands: {value:#x}");
        self.events.push(Event::Command(value));
        let heard = value & !self.sabotage.deaf_to;
        if heard & SRTP != 0 {
            self.set_root_table();
        }
        if heard & SIRTP != 0 {
            self.irta = self.irta_register;
            let entries_log2 = (self.irta & 0xf) + 1;
            self.memory.assert_seen(self.irta & !0xfff, (16 << entries_log2) / 4096);
        }
        if heard & !self.status & QIE != 0 {
            assert_eq!(self.tail, 0, "queue switched on with a tail of firmware's");
        }
        if heard & WBF != 0 {
            assert_ne!(self.cap & WRITE_BUFFER, 0, "write buffer flushed where there is none");
            self.memory.drain_write_buffer();
        }
        if value & WBF != 0 && heard & WBF == 0 {
            self.status |= WBF;
        }
        let switches = TE | QIE | IRE | CFI;
        let deaf = self.sabotage.deaf_to;
        self.status = self.status & (!switches | deaf) | value & switches & !deaf | heard & (SRTP | SIRTP);
    }

    /// Sets bits of FSTS; an event is sent where none was set before (11.4.7.2, IP).
    fn raise(&mut self, bits: u32) {
        let is_new_condition = self.fault_status & 0x73 == 0;
        self.fault_status |= bits;
        if is_new_condition && self.fault_event[0] >> 31 == 0 {
            self.fault_messages += 1;
        }
    }

    fn clear_faults(&mut self, value: u32) {
        self.fault_status &= !(value & 0x71);
    }

    fn clear_record(&mut self, offset: usize, value: u64) {
        assert!(offset >= RECORDS && offset % 16 == 8, "64-bit write at {offset:#x}");
        assert_eq!(value, 1 << 63, "clears F and nothing else");
        self.records[(offset - RECORDS) / 16] &= !(1 << 127);
        if self.records.iter().all(|record| record >> 127 == 0) {
            self.fault_status &= !2;
        }
    }

    /// A table mode the unit has, with a queue that suits it, and never another one while translation is on.
    fn set_root_table(&mut self) {
        let mode = self.root_register >> 10 & 3;
        assert!(mode == 0 || mode == 1 && self.ecap & SCALABLE != 0 && self.is_queue_wide, "mode {mode}");
        assert_eq!(self.root_register & 0x3ff, 0, "reserved bits of RTADDR");
        let root = Root { at: self.root_register & !0xfff, is_scalable: mode == 1 };
        let is_change = root.is_scalable != self.root.is_scalable;
        assert!(self.status & TE == 0 || !is_change, "table mode changed while translation is on");
        self.memory.assert_seen(root.at, 1);
        self.root = root;
        if self.cap & ENHANCED_SET_ROOT != 0 {
            self.forget_everything();
        }
    }
}
