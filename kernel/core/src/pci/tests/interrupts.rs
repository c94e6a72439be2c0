use std::cell::RefCell;

use super::fake::{Fake, Machine, at};
use crate::pci::{Function, Message, MsixState, MsixTable, PciError, TableRegisters};

const PLACE: (u8, u8, u8) = (0, 1, 0);
const MESSAGE: Message = Message { address: 0x1_fee0_1000, data: 0x42 };

fn machine(fake: Fake) -> (Function, Machine) {
    let (bus, device, function) = PLACE;
    let machine = Machine::new([(at(bus, device, function), fake)]);
    let function = machine.enumerate().functions()[0];
    (function, machine)
}

/// A table that insists on the invariant.
struct Table(RefCell<Vec<u32>>);

impl TableRegisters for &Table {
    fn read(&self, offset: u64) -> u32 {
        self.0.borrow()[usize::try_from(offset / 4).unwrap()]
    }

    fn write(&self, offset: u64, value: u32) {
        assert!(offset.is_multiple_of(4));
        let (word, mut words) = (usize::try_from(offset / 4).unwrap(), self.0.borrow_mut());
        assert!(word % 4 == 3 || words[word | 3] & 1 == 1, "an unmasked entry is written");
        words[word] = value;
    }
}

#[test]
fn entries_are_programmed_masked_and_unmasked() {
    let (function, _) = machine(Fake::virtio(0xfe00_0000));
    let memory = Table(RefCell::new(vec![0xabcd_0000; 16]));
    let table = MsixTable::new(&function.capabilities.msix.unwrap(), &memory);
    table.mask_all();
    assert!(memory.0.borrow().chunks(4).all(|entry| entry[3] == 0xabcd_0001), "other bits are kept");
    table.program(3, MESSAGE).unwrap();
    assert_eq!(memory.0.borrow()[12..], [0xfee0_1000, 1, 0x42, 0xabcd_0001]);
    table.set_masked(3, false).unwrap();
    assert_eq!(memory.0.borrow()[15], 0xabcd_0000);
    table.program(3, Message { data: 0x43, ..MESSAGE }).unwrap();
    assert_eq!(memory.0.borrow()[12..], [0xfee0_1000, 1, 0x43, 0xabcd_0001]);
    assert_eq!(table.program(4, MESSAGE), Err(PciError::OutOfRange));
    assert_eq!(table.set_masked(4, false), Err(PciError::OutOfRange));
}

#[test]
fn msix_as_a_whole() {
    let (function, machine) = machine(Fake::virtio(0xfe00_0000));
    let control = || machine.value(function.address, function.capabilities.msix.unwrap().offset) >> 16;
    for (state, expected) in [(MsixState::On, 0x8003), (MsixState::Masked, 0xc003), (MsixState::Off, 0x4003)]
    {
        function.set_msix(&machine, state).unwrap();
        assert_eq!(control(), expected);
    }
    assert_eq!(function.set_msi(&machine, true), Err(PciError::NotPresent));
    machine.unplug(function.address);
    assert_eq!(function.set_msix(&machine, MsixState::On), Err(PciError::Vanished));
}

#[test]
fn msi_is_programmed_off_and_masked() {
    let (function, machine) = machine(Fake::endpoint(1234, 1, 0).msi(3));
    let word = |offset: u16| machine.value(function.address, 0x40 + offset);
    function.set_msi(&machine, true).unwrap();
    let message = Message { address: 0x1_fee0_1000, data: 0x48 };
    function.program_msi(&machine, message, 2).unwrap();
    assert_eq!(word(0) >> 16 & 0x71, 0x20, "off, four messages");
    assert_eq!([word(4), word(8), word(0xc), word(0x10)], [0xfee0_1000, 1, 0x48, u32::MAX]);
    function.set_msi_masked(&machine, 1, false).unwrap();
    assert_eq!(word(0x10), !2);
    function.set_msi_masked(&machine, 1, true).unwrap();
    assert_eq!(word(0x10), !0);
    function.set_msi(&machine, true).unwrap();
    assert_eq!(word(0) >> 16 & 0x71, 0x21);
    assert_eq!(function.set_msi_masked(&machine, 8, true), Err(PciError::OutOfRange));
}

#[test]
fn msi_without_masks_and_below_four_gibibytes() {
    let small = Fake::endpoint(1234, 1, 0).capability(5, &[(0, 0x0071_0000), (0, !3), (0xaaaa_0000, 0xffff)]);
    let (function, machine) = machine(small);
    function.program_msi(&machine, Message { address: 0xfee0_1000, data: 0xffff }, 0).unwrap();
    assert_eq!(machine.value(function.address, 0x44), 0xfee0_1000);
    assert_eq!(machine.value(function.address, 0x48), 0xaaaa_ffff);
    assert_eq!(function.set_msi_masked(&machine, 0, true), Err(PciError::NotPresent));
    let refused = [
        (Message { address: 0x1_fee0_1000, data: 0 }, 0),
        (Message { address: 0xfee0_1000, data: 0x1_0000 }, 0),
        (Message { address: 0xfee0_1000, data: 0 }, 1),
        (Message { address: 0xfee0_1000, data: 0 }, 255),
    ];
    for (message, log2_count) in refused {
        assert_eq!(function.program_msi(&machine, message, log2_count), Err(PciError::OutOfRange));
    }
}

#[test]
fn data_whose_low_bits_the_function_fills_in_are_clear() {
    let (function, machine) = machine(Fake::endpoint(1234, 1, 0).msi(2));
    let odd = Message { address: 0xfee0_0000, data: 0x42 };
    assert_eq!(function.program_msi(&machine, odd, 2), Err(PciError::OutOfRange));
    function.program_msi(&machine, odd, 1).unwrap();
}
