use super::fake::{Fake, Machine, at};
use crate::frames::PhysAddr;
use crate::pci::{Bar, BarKind, Function, PciError};

fn discover(fake: Fake) -> (Function, Machine) {
    let machine = Machine::new([(at(0, 1, 0), fake)]);
    let function = machine.enumerate().functions()[0];
    (function, machine)
}

fn memory_32(address: u64, bytes: u64) -> Option<Bar> {
    let kind = BarKind::Memory { is_prefetchable: false, is_64_bit: false };
    Some(Bar { kind, address, bytes })
}

fn memory_64(address: u64, bytes: u64) -> Option<Bar> {
    let kind = BarKind::Memory { is_prefetchable: true, is_64_bit: true };
    Some(Bar { kind, address, bytes })
}

#[test]
fn sizes_kinds_and_addresses() {
    let ports = Some(Bar { kind: BarKind::Ports, address: 0xc040, bytes: 32 });
    let e1000e = discover(Fake::e1000e(0xfe00_0000)).0;
    let expected = [
        memory_32(0xfe00_0000, 0x2_0000),
        memory_32(0xfe02_0000, 0x2_0000),
        ports,
        memory_32(0xfe04_0000, 0x4000),
        None,
        None,
    ];
    assert_eq!(e1000e.bars, expected);
    let virtio = discover(Fake::virtio(0xfe00_0000)).0;
    let expected = [None, memory_32(0xfe00_0000, 0x1000), None, None, memory_64(0xfe00_4000, 0x4000), None];
    assert_eq!(virtio.bars, expected);
}

#[test]
fn the_largest_and_the_smallest() {
    let fake = Fake::endpoint(1234, 1, 0).memory(0, 16, 0xfe00_0010).memory(1, 1 << 31, 1 << 31);
    let fake = fake.memory_64(2, 1 << 40, 3 << 40).memory_64(4, 1 << 32, 1 << 32);
    let expected = [
        memory_32(0xfe00_0010, 16),
        memory_32(1 << 31, 1 << 31),
        memory_64(3 << 40, 1 << 40),
        None,
        memory_64(1 << 32, 1 << 32),
        None,
    ];
    assert_eq!(discover(fake).0.bars, expected);
}

#[test]
fn ports_may_have_sixteen_bits() {
    let fake = Fake::endpoint(1234, 1, 0).with(0x10, 0xc001, 0xffe0).ports(1, 4, 0xd004);
    let bars = discover(fake).0.bars;
    assert_eq!(bars[0], Some(Bar { kind: BarKind::Ports, address: 0xc000, bytes: 32 }));
    assert_eq!(bars[1], Some(Bar { kind: BarKind::Ports, address: 0xd004, bytes: 4 }));
    assert_eq!(bars[0].and_then(|bar| bar.memory()), None);
}

#[test]
fn unassigned_bars_have_a_size_and_no_memory() {
    let bar = discover(Fake::endpoint(1234, 1, 0).memory(0, 0x1000, 0)).0.bars[0].unwrap();
    assert_eq!((bar.bytes, bar.memory()), (0x1000, None));
    let bar = discover(Fake::endpoint(1234, 1, 0).memory(0, 0x1000, 0x1000)).0.bars[0].unwrap();
    assert_eq!(bar.memory(), Some(PhysAddr(0x1000)..PhysAddr(0x2000)));
}

#[test]
fn every_register_reads_as_before_and_decoding_is_off_meanwhile() {
    let fake = Fake::endpoint(1234, 1, 0).memory_64(0, 1 << 33, 1 << 33).ports(2, 8, 0xc008).memory(
        5,
        64,
        0x8000_0040,
    );
    let before = Machine::new([(at(0, 1, 0), fake.clone())]).snapshot();
    let (_, machine) = discover(fake);
    let words = 0x10 / 4..0x28 / 4;
    assert_eq!(machine.snapshot()[&at(0, 1, 0)][words.clone()], before[&at(0, 1, 0)][words]);
    assert_eq!(machine.value(at(0, 1, 0), 4) & 3, 3, "decodes again");
    assert!(!machine.sized_while_decoding.get());
}

#[test]
fn a_host_bridge_goes_on_decoding() {
    let (function, machine) =
        discover(Fake::endpoint(0x8086, 0x29c0, 0x06_00_00).memory(0, 0x1000, 0xfe00_0000));
    assert_eq!(function.bars, [None; 6]);
    assert!(!machine.sized_while_decoding.get());
}

#[test]
fn bars_that_cannot_be_are_malformed() {
    let plain = || Fake::endpoint(1234, 1, 0);
    let malformed = [
        ("holes in the size", plain().with(0x10, 0, 0xffff_5000)),
        ("top of the size missing", plain().with(0x10, 0, 0x7fff_f000)),
        ("address off its size", plain().with(0x10, 0xfe00_1000, 0xffff_0000)),
        ("reserved width", plain().with(0x10, 6, 0xffff_f000)),
        ("64 bits in the last register", plain().with(0x24, 4, 0xffff_f000)),
        ("64 bits with a hole", plain().with(0x10, 4, 0xffff_f000).with(0x14, 0, 0xffff_fffe)),
        ("64 bits beyond the physical addresses", plain().memory_64(0, 0x1000, 1 << 52)),
        ("64 bits around the end", plain().memory_64(0, 1 << 62, 3 << 62)),
        ("ports with a hole", plain().with(0x10, 1, 0xffff_ff50)),
    ];
    for (what, fake) in malformed {
        let (function, machine) = discover(fake.memory(3, 0x1000, 0xfd00_0000));
        assert!(function.is_malformed, "{what}");
        assert_eq!((function.bars[0], function.interrupts()), (None, 0), "{what}");
        assert_eq!(function.bars[3], memory_32(0xfd00_0000, 0x1000), "{what}: the others are known");
        assert_eq!(machine.value(at(0, 1, 0), 0x1c), 0xfd00_0000, "{what}: and put back");
        assert!(!machine.sized_while_decoding.get(), "{what}");
        assert_eq!(function.set_bus_master(&machine, true), Err(PciError::Malformed), "{what}");
        assert_eq!(function.set_bus_master(&machine, false), Ok(()), "{what}");
        assert!(!function.read_bus_master(&machine), "{what}");
    }
}
