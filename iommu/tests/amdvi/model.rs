//! An IOMMU that is as strict as the specification allows.

mod remap;

use super::memory::Memory;
use super::walk::{Device, Translation};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use weir_iommu::environment::{Clock, Registers};

const ENABLED: u64 = 1;
const EVENT_LOG: u64 = 1 << 2;
const EVENT_INTERRUPT: u64 = 1 << 3;
const COHERENT: u64 = 1 << 10;
const COMMANDS: u64 = 1 << 12;
const LONG_ENTRIES: u64 = 1 << 17;
const X2APIC: u64 = 1 << 50;
const OVERFLOW: u64 = 1;

/// What a unit can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// EFR; 0 for a unit without one.
    pub(crate) features: u64,
    pub(crate) is_coherent: bool,
    pub(crate) caches_not_present: bool,
}

/// QEMU's features with x2APIC.
pub(crate) const FULL: Kind = Kind { features: 0x29d7, is_coherent: true, caches_not_present: false };
/// Nothing extended: 32-bit interrupt entries, nothing to forget everything with.
pub(crate) const OLD: Kind = Kind { features: 0, is_coherent: true, caches_not_present: false };

/// What goes wrong on purpose.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sabotage {
    /// Commands are not carried out any more.
    pub(crate) is_stuck: bool,
    /// Command number n (1 = the next) is found illegal.
    pub(crate) illegal_at: Option<u32>,
    /// Completion words are not stored.
    pub(crate) stores_nothing: bool,
    /// Command processing does not start.
    pub(crate) commands_never_run: bool,
    /// Command processing does not stop.
    pub(crate) commands_never_stop: bool,
    /// Records are not written, although the tail moves.
    pub(crate) writes_no_records: bool,
}

/// What the unit was asked, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Control(u64),
    Command([u64; 2]),
}

#[derive(Clone, Copy, Debug)]
struct CachedPage {
    domain: u16,
    first: u64,
    translation: Option<Translation>,
}

impl CachedPage {
    fn order(&self) -> u32 {
        self.translation.map_or(0, |translation| translation.order)
    }
}

/// A table a walk went through: it stands for 2^`order` pages from `first` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CachedTable {
    domain: u16,
    first: u64,
    order: u32,
    frame: u64,
}

/// The model's inside; tests reach in.
pub(crate) struct State {
    kind: Kind,
    memory: Memory,
    pub(crate) control: u64,
    pub(crate) status: u64,
    pub(crate) exclusion: u64,
    pub(crate) sabotage: Sabotage,
    pub(crate) events: Vec<Event>,
    /// Event messages sent.
    pub(crate) messages: u32,
    pub(crate) now_us: u64,
    pub(crate) is_stopped: bool,
    /// The log found no room, and stands still until it is switched off and on.
    is_log_stopped: bool,
    pub(crate) device_table: u64,
    commands: u64,
    command_head: u64,
    command_tail: u64,
    log: u64,
    log_head: u64,
    log_tail: u64,
    /// Records whose place the tail has passed already.
    late_records: Vec<(u64, [u64; 2])>,
    devices: BTreeMap<u16, Device>,
    pages: Vec<CachedPage>,
    tables: BTreeSet<CachedTable>,
    interrupts: BTreeMap<(u16, u16), u128>,
}

/// A handle; clones are the same unit. One is its registers, one its clock, one the test's.
#[derive(Clone)]
pub(crate) struct Model(pub(crate) Rc<RefCell<State>>);

impl Model {
    pub(crate) fn new(kind: Kind) -> Self {
        Model(Rc::new(RefCell::new(State {
            kind,
            memory: Memory::new(kind.is_coherent, false),
            control: 0,
            status: 0,
            exclusion: 0,
            sabotage: Sabotage::default(),
            events: Vec::new(),
            messages: 0,
            now_us: 0,
            is_stopped: false,
            is_log_stopped: false,
            device_table: 0,
            commands: 0,
            command_head: 0,
            command_tail: 0,
            log: 0,
            log_head: 0,
            log_tail: 0,
            late_records: Vec::new(),
            devices: BTreeMap::new(),
            pages: Vec::new(),
            tables: BTreeSet::new(),
            interrupts: BTreeMap::new(),
        })))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.borrow().kind
    }

    pub(crate) fn memory(&self) -> Memory {
        self.0.borrow().memory.clone()
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

    /// A device writes to what it says is a physical address: where it lands.
    pub(crate) fn translated(&self, requester: u16, phys: u64) -> Option<u64> {
        self.0.borrow_mut().translated(requester, phys)
    }

    /// A device sends a message: vector and destination of the interrupt.
    pub(crate) fn message(&self, requester: u16, data: u32) -> Option<(u8, u32)> {
        self.0.borrow_mut().message(requester, data)
    }

    /// The unit as firmware left it: on, with a device table that blocks everybody and 32-bit interrupt entries.
    pub(crate) fn left_on_by_firmware(&self, device_table: u64) {
        let mut state = self.0.borrow_mut();
        state.device_table = device_table;
        state.control = ENABLED | EVENT_LOG | COMMANDS;
        state.exclusion = 0x8000_0001;
    }
}

impl Clock for Model {
    fn now_us(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.now_us += 10;
        state.now_us
    }

    fn spin(&self) {
        let mut state = self.0.borrow_mut();
        state.advance();
        state.write_late_records();
    }
}

impl Registers for Model {
    fn bytes(&self) -> usize {
        0x4000
    }

    fn read32(&self, offset: usize) -> u32 {
        panic!("32-bit read at {offset:#x}")
    }

    fn read64(&self, offset: usize) -> u64 {
        let state = self.0.borrow();
        match offset {
            0x18 => state.control,
            0x30 => {
                assert_ne!(state.kind.features, 0, "a register that is not there");
                state.kind.features
            }
            0x2018 => state.log_tail,
            0x2020 => state.status(),
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write32(&mut self, offset: usize, _: u32) {
        panic!("32-bit write at {offset:#x}")
    }

    fn write64(&mut self, offset: usize, value: u64) {
        self.0.borrow_mut().write(offset, value);
    }
}

impl State {
    fn write(&mut self, offset: usize, value: u64) {
        match offset {
            0x00 => {
                assert_eq!(value & 0xfff, 511, "an entry for every id");
                self.device_table = value & 0x000f_ffff_ffff_f000;
            }
            0x08 => {
                assert!(!self.runs(COMMANDS), "command buffer moved while on");
                self.commands = one_frame(value);
            }
            0x10 => {
                assert!(!self.runs(EVENT_LOG), "event log moved while on");
                self.log = one_frame(value);
            }
            0x18 => self.switch(value),
            0x20 => self.exclusion = value,
            0x2000 => {
                assert!(!self.runs(COMMANDS) && value == 0, "the head is the unit's while it runs");
                self.command_head = value;
            }
            0x2008 => self.command_tail = value,
            0x2010 => self.log_head = value,
            0x2018 => {
                assert!(!self.runs(EVENT_LOG) && value == 0, "the tail is the unit's while it runs");
                self.log_tail = value;
            }
            0x2020 => {
                assert!(value & 1 == 0 || !self.runs(EVENT_LOG), "overflow cleared while logging");
                self.status &= !(value & 7);
            }
            _ => panic!("write at {offset:#x}"),
        }
    }

    fn switch(&mut self, value: u64) {
        let known = ENABLED | EVENT_LOG | EVENT_INTERRUPT | COMMANDS | COHERENT | LONG_ENTRIES | X2APIC;
        assert_eq!(value & !known, 0, "control {value:#x}");
        let (features, changed) = (self.kind.features, self.control ^ value);
        assert!(value & LONG_ENTRIES == 0 || features >> 7 & 1 == 1, "long entries");
        assert!(value & X2APIC == 0 || features >> 2 & 1 == 1 && value & LONG_ENTRIES != 0, "x2apic");
        if self.control & value & ENABLED != 0 {
            assert_eq!(
                changed & (LONG_ENTRIES | X2APIC),
                0,
                "entries of another size under a unit that is on"
            );
        }
        if value & ENABLED != 0 && changed & ENABLED != 0 {
            assert_ne!(self.device_table, 0, "switched on without a device table");
            assert_eq!(self.control & COMMANDS, COMMANDS, "translation last");
        }
        if self.kind.is_coherent && value & ENABLED != 0 && changed & ENABLED != 0 {
            assert_eq!(value & COHERENT, COHERENT);
        }
        if changed & value & COMMANDS != 0 {
            assert_eq!(self.command_head, self.command_tail, "switched on with old commands in the buffer");
            self.is_stopped = false;
        }
        if changed & value & EVENT_LOG != 0 {
            assert_eq!(self.status & OVERFLOW, 0, "logging started over an overflow");
            self.is_log_stopped = false;
        }
        self.control = value;
        self.events.push(Event::Control(value));
    }

    fn runs(&self, what: u64) -> bool {
        let is_on = self.control & (ENABLED | what) == ENABLED | what;
        match what {
            COMMANDS => {
                let sabotage = self.sabotage;
                (is_on && !self.is_stopped && !sabotage.commands_never_run) || sabotage.commands_never_stop
            }
            _ => is_on && !self.is_log_stopped,
        }
    }

    fn status(&self) -> u64 {
        self.status | u64::from(self.runs(EVENT_LOG)) << 3 | u64::from(self.runs(COMMANDS)) << 4
    }

    /// One command: the head moves with one call, the work is done with the next.
    fn advance(&mut self) {
        if self.sabotage.is_stuck || !self.runs(COMMANDS) || self.command_head == self.command_tail {
            return;
        }
        let at = self.commands + self.command_head;
        let command = [self.memory.cpu_view(at), self.memory.cpu_view(at + 8)];
        if let Some(nth) = self.sabotage.illegal_at.take() {
            if nth == 1 {
                self.is_stopped = true;
                return self.record([5 << 60, at]);
            }
            self.sabotage.illegal_at = Some(nth - 1);
        }
        self.command_head = (self.command_head + 16) % 4096;
        self.events.push(Event::Command(command));
        self.execute(command);
    }

    fn execute(&mut self, [low, high]: [u64; 2]) {
        let (requester, domain) = (low as u16, (low >> 32) as u16);
        match low >> 60 {
            1 => {
                assert_eq!(low & 0x0ff0_0000_0000_0007, 1, "stores, and nothing else");
                if !self.sabotage.stores_nothing {
                    self.memory.write_by_unit(low & 0x000f_ffff_ffff_fff8, &[high]);
                }
            }
            2 => {
                assert_eq!((low & 0x0fff_ffff_ffff_0000, high), (0, 0));
                self.devices.remove(&requester);
            }
            3 => {
                assert_eq!((low & 0x0fff_0000_ffff_ffff, high & 0xffc), (0, 0), "no PASID, no guest tables");
                let (page, is_range) = (high >> 12, high & 1 == 1);
                let order = if is_range { page.trailing_ones() + 1 } else { 0 };
                let first = page >> order << order;
                let pages = if order >= 52 { 0..u64::MAX >> 1 } else { first..first + (1 << order) };
                self.forget(domain, pages, high & 2 != 0);
            }
            5 => {
                assert_eq!((low & 0x0fff_ffff_ffff_0000, high), (0, 0));
                self.interrupts.retain(|(of, _), _| *of != requester);
            }
            8 => {
                assert_eq!((low << 4, high), (0, 0));
                assert_eq!(
                    self.kind.features >> 6 & 1,
                    1,
                    "forget everything, which this unit does not know"
                );
                self.forget_everything();
            }
            _ => panic!("command {low:#x} {high:#x}"),
        }
    }

    /// Moves the tail now and writes the record later.
    fn record(&mut self, record: [u64; 2]) {
        self.write_late_records();
        if !self.runs(EVENT_LOG) {
            return;
        }
        let next = (self.log_tail + 16) % 4096;
        if next == self.log_head {
            self.status |= OVERFLOW;
            self.is_log_stopped = true;
        } else {
            self.late_records.push((self.log + self.log_tail, record));
            self.log_tail = next;
        }
        if self.control & EVENT_INTERRUPT != 0 && self.status & 2 == 0 {
            self.messages += 1;
        }
        self.status |= 2;
    }

    fn write_late_records(&mut self) {
        if self.sabotage.writes_no_records {
            return;
        }
        for (at, words) in std::mem::take(&mut self.late_records) {
            assert_eq!(self.memory.cpu_view(at), 0, "a record read before is still there");
            self.memory.write_by_unit(at, &words);
        }
    }
}

fn one_frame(base: u64) -> u64 {
    assert_eq!(base & 0xfff0_0000_0000_0fff, 8 << 56, "256 entries");
    base & 0x000f_ffff_ffff_f000
}
