//! Whatever configuration space answers, nothing panics, nothing loops and the promises hold.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::pci::{BarKind, BusRange, ConfigSpace, Inventory, PciAddress, enumerate};
use crate::testing::cases;
use crate::wait::tests::TestClock;

const RANGE: BusRange = BusRange { segment: 0, first: 0, last: 3 };

/// Answers with noise: of each address and register, or another with each read.
struct Noise {
    seed: u64,
    is_fickle: bool,
    reads: Cell<u64>,
    written: RefCell<BTreeMap<(PciAddress, u16), u32>>,
}

impl Noise {
    fn new(seed: u64, is_fickle: bool) -> Noise {
        Noise { seed, is_fickle, reads: Cell::new(0), written: RefCell::default() }
    }

    fn value(&self, address: PciAddress, offset: u16) -> u64 {
        let place = u64::from(address.bus()) << 32
            | u64::from(address.device()) << 24
            | u64::from(address.function()) << 16
            | u64::from(offset);
        let moment = if self.is_fickle { self.reads.get() << 40 } else { 0 };
        let mut value = self.seed ^ place ^ moment;
        for _ in 0..2 {
            value = (value ^ value >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        value ^ value >> 29
    }

    /// A 32-bit memory BAR of some size, at some address, or none.
    fn bar(&self, address: PciAddress, offset: u16, value: u64) -> u32 {
        let mask = match value >> 8 & 63 {
            exponent @ 4..32 => !0 << exponent,
            _ => return 0,
        };
        match self.written.borrow().get(&(address, offset)) {
            Some(&u32::MAX) => mask,
            _ => u32::try_from(value >> 32).unwrap() & mask,
        }
    }
}

impl ConfigSpace for Noise {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        self.reads.set(self.reads.get() + 1);
        let value = self.value(address, offset);
        let word = u32::try_from(value >> 32).unwrap();
        match offset {
            // A quarter of all functions is there, whether fickle or not.
            0 => [0x1234_5678, u32::MAX, u32::MAX, u32::MAX][usize::from(address.device() & 3)],
            4 => word | 1 << 20,
            // Bus numbers and header types that make sense now and then.
            0x18 => word & 0x0007_0703,
            0xc => word & 0xff81_ffff,
            0x10..0x28 if value & 31 != 0 => self.bar(address, offset, value),
            0x40.. if word & 3 != 0 => {
                // Capabilities that Weir reads, with links that often lead somewhere.
                let ids = [0x05, 0x10, 0x11, 0x13, 0x0d, 0x0f];
                let id = ids[usize::try_from(value % 6).unwrap()];
                let body = if value & 64 == 0 { 0xff00 } else { 0xffff_ff00 };
                if offset < 0x100 { word & body | id } else { word & 0xfff0_0000 | 1 << 16 | id }
            }
            _ => word,
        }
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < 0x1000);
        self.written.borrow_mut().insert((address, offset), value);
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        assert!(offset.is_multiple_of(2) && offset < 0x1000);
        self.written.borrow_mut().insert((address, offset & 0xffc), value.into());
    }
}

/// What holds for any inventory.
fn check(noise: &Noise, inventory: &Inventory) {
    for (index, function) in inventory.functions().iter().enumerate() {
        assert!(function.parent.is_none_or(|parent| parent < index));
        let command = noise.written.borrow()[&(function.address, 4)];
        assert!(function.is_bridge() || command & 4 == 0, "{} masters the bus", function.address);
        for bar in function.bars.iter().flatten() {
            assert!(bar.bytes.is_power_of_two() && bar.address.is_multiple_of(bar.bytes));
            assert!(bar.address + bar.bytes <= 1 << 52);
        }
        if let Some(msix) = function.capabilities.msix {
            for range in [msix.table, msix.pending] {
                let bar = function.bars[usize::from(range.bar)].unwrap();
                assert!(
                    matches!(bar.kind, BarKind::Memory { .. }) && range.offset + range.bytes <= bar.bytes
                );
            }
        }
        check_mappings(inventory, index);
        let requesters = inventory.requesters(index).count();
        assert!((1..=5).contains(&requesters));
    }
    let groups: Vec<usize> = (0..inventory.functions().len()).map(|index| inventory.group(index)).collect();
    for (index, group) in groups.iter().enumerate() {
        assert!(groups[*group] == *group && *group <= index);
    }
}

fn check_mappings(inventory: &Inventory, index: usize) {
    let function = &inventory.functions()[index];
    for bar in 0..6 {
        let Ok(pages) = inventory.mappable(index, bar, 0, 0x1000, &[]) else { continue };
        let its = function.bars[usize::from(bar)].unwrap().memory().unwrap();
        assert!(its.start < pages.end && pages.start < its.end);
        for (other_index, other) in inventory.functions().iter().enumerate() {
            for (other_bar, memory) in
                (0u8..).zip(other.bars.iter().map(|bar| bar.and_then(|bar| bar.memory())))
            {
                let is_same = (index, bar) == (other_index, other_bar);
                assert!(
                    is_same
                        || memory.is_none_or(|memory| memory.end <= pages.start || pages.end <= memory.start)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn noise_never_panics_or_loops(seed in any::<u64>(), is_fickle in any::<bool>()) {
        let noise = Noise::new(seed, is_fickle);
        let inventory = enumerate(&noise, &[RANGE]).unwrap();
        prop_assert!(!inventory.functions().is_empty());
        check(&noise, &inventory);
        for (index, function) in inventory.functions().iter().enumerate() {
            // Functions whose answers make no sense may fail in any way, but they end.
            let _ = super::resets::reset(&inventory, index, &noise, &TestClock::default());
            let command = noise.written.borrow()[&(function.address, 4)];
            prop_assert!(function.is_bridge() || command & 4 == 0);
        }
    }
}

#[test]
fn the_noise_is_worth_its_name() {
    // The property above would be empty if no function had the features that it is about.
    let mut seen = [0; 7];
    for seed in 0..64 {
        let inventory = enumerate(&Noise::new(seed, false), &[RANGE]).unwrap();
        for function in inventory.functions() {
            let capabilities = function.capabilities;
            seen[0] += u32::from(function.parent.is_some());
            seen[1] += u32::from(function.is_malformed);
            seen[2] += u32::from(capabilities.msi.is_some());
            seen[3] += u32::from(capabilities.express.is_some());
            seen[4] += u32::from(capabilities.acs.is_some());
            seen[5] += u32::from(capabilities.msix.is_some());
            seen[6] += u32::from(function.has_flr());
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}
