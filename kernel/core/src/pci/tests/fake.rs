//! Configuration spaces that answer as hardware does: masks of writable bits, bits cleared by writing 1, resets.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use pci_types::PciAddress;

use crate::pci::config::ConfigSpace;
use crate::pci::{BusRange, Inventory, enumerate};

const WORDS: usize = 1024;

/// One function.
#[derive(Clone)]
pub(super) struct Fake {
    values: Vec<u32>,
    writable: Vec<u32>,
    cleared_by_one: Vec<u32>,
    /// Register and bit whose writing resets the function.
    reset_bit: Option<(u16, u32)>,
    /// How many reads after a reset are answered with "retry".
    pub(super) retries: u32,
    retries_left: u32,
    next_standard: u16,
    last_standard: u16,
    next_extended: u16,
    last_extended: u16,
}

impl Fake {
    fn new(id: u32, class: u32, layout: u32) -> Fake {
        let zeros = || vec![0; WORDS];
        let mut fake = Fake {
            values: zeros(),
            writable: zeros(),
            cleared_by_one: zeros(),
            reset_bit: None,
            retries: 0,
            retries_left: 0,
            next_standard: 0x40,
            last_standard: 0,
            next_extended: 0x100,
            last_extended: 0,
        };
        fake.set(0x00, id, 0);
        fake.set(0x04, 0x0000_0007, 0x0000_0547); // decodes and masters, as firmware may leave it
        fake.cleared_by_one[1] = 0xf900_0000;
        fake.values[1] |= 0x2000_0000; // "received master abort", which nobody asked us to clear
        fake.set(0x08, class << 8 | 1, 0);
        fake.set(0x0c, layout << 16, 0xff);
        fake
    }

    pub(super) fn endpoint(vendor: u16, device: u16, class: u32) -> Fake {
        let fake = Fake::new(u32::from(device) << 16 | u32::from(vendor), class, 0);
        fake.with(0x2c, 0x1100_1af4, 0).with(0x30, 1, 0xfffe_0001)
    }

    pub(super) fn bridge(secondary: u8, subordinate: u8) -> Fake {
        let buses = u32::from(secondary) << 8 | u32::from(subordinate) << 16;
        let mut fake = Fake::new(0x000c_1b36, 0x06_04_00, 1);
        fake.cleared_by_one[15] = 0x0400_0000;
        fake.with(0x18, buses, 0xff_ffff).with(0x38, 1, 0xfffe_0001).with(0x3c, 0x0402_0000, 0x03ff_00ff)
    }

    /// Sets a register and which of its bits can be written.
    pub(super) fn set(&mut self, at: u16, value: u32, writable: u32) {
        self.values[usize::from(at / 4)] = value;
        self.writable[usize::from(at / 4)] = writable;
    }

    pub(super) fn with(mut self, at: u16, value: u32, writable: u32) -> Fake {
        self.set(at, value, writable);
        self
    }

    pub(super) fn multi_function(mut self) -> Fake {
        self.values[3] |= 1 << 23;
        self
    }

    /// A 32-bit memory BAR.
    pub(super) fn memory(self, bar: u16, bytes: u32, address: u32) -> Fake {
        self.with(0x10 + 4 * bar, address, bytes.wrapping_neg())
    }

    /// A prefetchable 64-bit memory BAR.
    pub(super) fn memory_64(self, bar: u16, bytes: u64, address: u64) -> Fake {
        let (mask, at) = (bytes.wrapping_neg(), 0x10 + 4 * bar);
        self.with(at, low(address) | 0xc, low(mask)).with(at + 4, high(address), high(mask))
    }

    pub(super) fn ports(self, bar: u16, bytes: u32, address: u32) -> Fake {
        self.with(0x10 + 4 * bar, address | 1, bytes.wrapping_neg())
    }

    /// Appends a capability; of `words`, each with its writable bits, the first has its id and link filled in.
    pub(super) fn capability(mut self, id: u8, words: &[(u32, u32)]) -> Fake {
        let at = self.next_standard;
        self.values[1] |= 1 << 20;
        if self.last_standard == 0 {
            self.set(0x34, at.into(), 0);
        } else {
            self.values[usize::from(self.last_standard / 4)] |= u32::from(at) << 8;
        }
        for (offset, (value, writable)) in (at..).step_by(4).zip(words) {
            self.set(offset, *value, *writable);
        }
        self.values[usize::from(at / 4)] |= u32::from(id);
        self.last_standard = at;
        self.next_standard += 4 * u16::try_from(words.len()).unwrap();
        self
    }

    /// Appends an extended capability, in the same way.
    pub(super) fn extended(mut self, id: u16, words: &[(u32, u32)]) -> Fake {
        let at = self.next_extended;
        if self.last_extended != 0 {
            self.values[usize::from(self.last_extended / 4)] |= u32::from(at) << 20;
        }
        for (offset, (value, writable)) in (at + 4..).step_by(4).zip(words) {
            self.set(offset, *value, *writable);
        }
        self.set(at, 1 << 16 | u32::from(id), 0);
        self.last_extended = at;
        self.next_extended += 4 + 4 * u16::try_from(words.len()).unwrap();
        self
    }

    pub(super) fn express(self, port_type: u32, has_flr: bool) -> Fake {
        let at = self.next_standard;
        let capabilities = if has_flr { 0x1000_8000 } else { 0x8000 };
        let device = [(2 << 16 | port_type << 20, 0), (capabilities, 0), (0x0001_2810, 0x7fff), (0, 0)];
        // Firmware let a root port report system errors. It can forward by alternative routing ids.
        let root = [(0, 0), (0, 0), (0, 0), (0x17, 0x1f), (0, 0), (0x20, 0), (0, 0xffff)];
        let words = if port_type == 4 { [&device[..], &root].concat() } else { device.to_vec() };
        let mut fake = self.capability(0x10, &words);
        fake.cleared_by_one[usize::from(at / 4) + 2] = 0x000f_0000;
        if has_flr {
            fake.reset_bit = Some((at + 8, 1 << 15));
        }
        fake
    }

    pub(super) fn msix(self, entries: u32, table: u32, pending: u32) -> Fake {
        self.capability(0x11, &[((entries - 1) << 16 | 0x8000_0000, 0xc000_0000), (table, 0), (pending, 0)])
    }

    /// MSI above 4 GiB with masks.
    pub(super) fn msi(self, log2_vectors: u32) -> Fake {
        let control = (log2_vectors << 17 | 1 << 23 | 1 << 24 | 1 << 16, 0x0071_0000);
        self.capability(0x05, &[control, (0, !3), (0, !0), (0, 0xffff), (0, !0), (0, 0)])
    }

    pub(super) fn advanced_features(self) -> Fake {
        let at = self.next_standard;
        let mut fake = self.capability(0x13, &[(0x0306_0000, 0), (0, 0)]);
        fake.reset_bit = Some((at + 4, 1));
        fake
    }

    pub(super) fn acs(self, capable: u32) -> Fake {
        self.extended(0x0d, &[(capable, capable << 16)])
    }

    pub(super) fn root_port(secondary: u8, subordinate: u8) -> Fake {
        // Firmware left "direct translated" on.
        Fake::bridge(secondary, subordinate).express(4, false).extended(0x0d, &[(0x0040_005f, 0x005f_0000)])
    }

    pub(super) fn upstream_port(secondary: u8, subordinate: u8) -> Fake {
        Fake::bridge(secondary, subordinate).express(5, false)
    }

    pub(super) fn downstream_port(secondary: u8, subordinate: u8) -> Fake {
        Fake::bridge(secondary, subordinate).express(6, false)
    }

    pub(super) fn pcie_pci_bridge(secondary: u8, subordinate: u8) -> Fake {
        Fake::bridge(secondary, subordinate).express(7, false)
    }

    /// virtio-net in a root port.
    pub(super) fn virtio(base: u32) -> Fake {
        let fake = Fake::endpoint(0x1af4, 0x1041, 0x02_00_00).memory(1, 0x1000, base);
        let fake = fake.memory_64(4, 0x4000, u64::from(base) + 0x4000);
        fake.msix(4, 1, 0x801).express(0, true).extended(0x0f, &[(0x8000_0020, 0x801f_0000)])
    }

    /// e1000e on the root bus.
    pub(super) fn e1000e(base: u32) -> Fake {
        let fake = Fake::endpoint(0x8086, 0x10d3, 0x02_00_00);
        let fake = fake.memory(0, 0x2_0000, base).memory(1, 0x2_0000, base + 0x2_0000).ports(2, 32, 0xc040);
        fake.memory(3, 0x4000, base + 0x4_0000).msi(0).express(9, false).msix(5, 3, 0x2003)
    }

    /// igb, with SR-IOV.
    pub(super) fn igb(base: u32) -> Fake {
        let fake = Fake::endpoint(0x8086, 0x10c9, 0x02_00_00);
        let fake = fake.memory(0, 0x2_0000, base).memory_64(3, 0x4000, u64::from(base) + 0x4_0000);
        let fake = fake.msix(10, 3, 0x2003).express(0, true).extended(0x0e, &[(0, 0)]);
        let registers = (0xc, 0xffff_c000);
        let counts = [(0, 0), (0x9, 0x1f), (0x0008_0008, 0), (0, 0xffff), (0x0002_0080, 0), (0x10ca_0000, 0)];
        let pages = [(0x553, 0), (1, 0)];
        let bars = [registers, (0, !0), (0, 0), registers, (0, !0), (0, 0), (0, 0)];
        fake.extended(0x10, &[&counts[..], &pages, &bars].concat())
    }

    /// A virtual function of igb: without ids and addresses.
    pub(super) fn igb_virtual() -> Fake {
        Fake::igb_virtual_with_table(3)
    }

    pub(super) fn igb_virtual_with_table(table: u32) -> Fake {
        let fake = Fake::new(!0, 0x02_00_00, 0).with(0x04, 0x0010_0000, 0x404).with(0x2c, 0x1101_1af4, 0);
        fake.express(0, true).msix(3, table, 0x2003)
    }

    /// NVMe: its MSI-X table is in the BAR with its registers.
    pub(super) fn nvme(address: u64) -> Fake {
        let fake = Fake::endpoint(0x1b36, 0x0010, 0x01_08_02).memory_64(0, 0x4000, address);
        fake.msix(65, 0x2000, 0x3000).express(0, true)
    }

    /// edu: conventional PCI.
    pub(super) fn edu(base: u32) -> Fake {
        Fake::endpoint(0x1234, 0x11e8, 0xff_00_00).memory(0, 0x10_0000, base).msi(0)
    }

    fn write(&mut self, at: u16, value: u32) {
        let word = usize::from(at / 4);
        let kept = self.values[word] & !self.writable[word] & !(value & self.cleared_by_one[word]);
        self.values[word] = kept | value & self.writable[word];
        if self.reset_bit.is_some_and(|(register, bit)| register == at && value & bit != 0) {
            self.reset();
        }
    }

    fn reset(&mut self) {
        for (value, writable) in self.values.iter_mut().zip(&self.writable) {
            *value &= !writable;
        }
        self.retries_left = self.retries;
    }

    /// The buses that a write puts into reset.
    fn buses_reset(&self, at: u16, value: u32) -> Option<RangeInclusive<u8>> {
        let [_, secondary, subordinate, _] = self.values[6].to_le_bytes();
        let is_bridge = self.values[3] >> 16 & 0x7f == 1;
        (is_bridge && at == 0x3c && value & 1 << 22 != 0).then_some(secondary..=subordinate)
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap()
}

fn high(value: u64) -> u32 {
    low(value >> 32)
}

/// A machine: functions by address. It notices a BAR that is sized while its function decodes.
#[derive(Default)]
pub(super) struct Machine {
    functions: RefCell<BTreeMap<PciAddress, Fake>>,
    pub(super) sized_while_decoding: Cell<bool>,
}

impl Machine {
    pub(super) fn new(functions: impl IntoIterator<Item = (PciAddress, Fake)>) -> Machine {
        Machine { functions: RefCell::new(functions.into_iter().collect()), ..Machine::default() }
    }

    /// Everything on segment 0.
    pub(super) fn enumerate(&self) -> Inventory {
        enumerate(self, &[BusRange { segment: 0, first: 0, last: 255 }]).unwrap()
    }

    /// What a register holds.
    pub(super) fn value(&self, address: PciAddress, at: u16) -> u32 {
        self.functions.borrow()[&address].values[usize::from(at / 4)]
    }

    pub(super) fn change(&self, address: PciAddress, change: impl FnOnce(&mut Fake)) {
        change(self.functions.borrow_mut().get_mut(&address).unwrap());
    }

    pub(super) fn insert(&self, address: PciAddress, fake: Fake) {
        self.functions.borrow_mut().insert(address, fake);
    }

    pub(super) fn unplug(&self, address: PciAddress) {
        self.functions.borrow_mut().remove(&address);
    }

    /// All registers of all functions.
    pub(super) fn snapshot(&self) -> BTreeMap<PciAddress, Vec<u32>> {
        self.functions.borrow().iter().map(|(address, fake)| (*address, fake.values.clone())).collect()
    }
}

impl ConfigSpace for Machine {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 0x1000);
        let mut functions = self.functions.borrow_mut();
        let Some(fake) = functions.get_mut(&address) else { return u32::MAX };
        if fake.retries_left > 0 {
            fake.retries_left -= 1;
            return if offset == 0 { 0xffff_0001 } else { u32::MAX };
        }
        fake.values[usize::from(offset / 4)]
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        assert!(offset.is_multiple_of(2) && offset < 0x1000);
        let at = offset & !3;
        let mut functions = self.functions.borrow_mut();
        let Some(fake) = functions.get_mut(&address) else { return };
        // The other half is written as it reads, but clears nothing.
        let word = usize::from(at / 4);
        let (shift, mask) = if offset == at { (0, 0xffff) } else { (16, 0xffff_0000) };
        let other = fake.values[word] & !mask & !fake.cleared_by_one[word];
        drop(functions);
        self.write(address, at, other | u32::from(value) << shift);
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 0x1000);
        let mut functions = self.functions.borrow_mut();
        let Some(fake) = functions.get_mut(&address) else { return };
        if (0x10..0x28).contains(&offset) && value == u32::MAX && fake.values[1] & 3 != 0 {
            self.sized_while_decoding.set(true);
        }
        fake.write(offset, value);
        if let Some(buses) = fake.buses_reset(offset, value) {
            let below = functions.iter_mut().filter(|(address, _)| buses.contains(&address.bus()));
            below.for_each(|(_, fake)| fake.reset());
        }
    }
}

/// Bus, device, function of segment 0.
pub(super) fn at(bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress::new(0, bus, device, function)
}
