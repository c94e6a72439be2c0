use super::fake::{Fake, Machine, at};
use crate::pci::{BarRange, Function, Msi, PortType, Sriov};

const PLACE: (u8, u8, u8) = (0, 1, 0);

fn discover(fake: Fake) -> Function {
    let (bus, device, function) = PLACE;
    Machine::new([(at(bus, device, function), fake)]).enumerate().functions()[0]
}

fn plain() -> Fake {
    Fake::endpoint(1234, 1, 0)
}

#[test]
fn devices_of_the_test_machine() {
    let virtio = discover(Fake::virtio(0xfe00_0000));
    let msix = virtio.capabilities.msix.unwrap();
    assert_eq!((msix.entries, virtio.interrupts()), (4, 4));
    assert_eq!(msix.table, BarRange { bar: 1, offset: 0, bytes: 64 });
    assert_eq!(msix.pending, BarRange { bar: 1, offset: 0x800, bytes: 8 });
    assert_eq!(virtio.capabilities.express.unwrap().port_type, PortType::Endpoint);
    assert!(virtio.has_flr() && virtio.capabilities.ats == Some(0x100));

    let e1000e = discover(Fake::e1000e(0xfe00_0000));
    assert_eq!(e1000e.capabilities.express.unwrap().port_type, PortType::IntegratedEndpoint);
    assert!(!e1000e.has_flr());
    assert_eq!(e1000e.interrupts(), 5);
    assert_eq!(
        e1000e.capabilities.msi,
        Some(Msi { offset: 0x40, vectors: 1, is_64_bit: true, has_mask: true })
    );

    let igb = discover(Fake::igb(0xfe00_0000));
    assert_eq!(igb.capabilities.sriov, Some(Sriov { offset: 0x108, functions: 8 }));
    assert!(igb.capabilities.has_ari);
    let nvme = discover(Fake::nvme(1 << 40));
    assert_eq!(nvme.capabilities.msix.unwrap().table, BarRange { bar: 0, offset: 0x2000, bytes: 65 * 16 });
    assert_eq!(nvme.capabilities.msix.unwrap().pending.bytes, 16);

    let edu = discover(Fake::edu(0xfe00_0000));
    assert_eq!((edu.capabilities.express, edu.capabilities.msix, edu.interrupts()), (None, None, 1));
    assert!(!edu.has_flr());
}

#[test]
fn without_the_status_bit_there_is_no_list() {
    let fake = Fake::edu(0xfe00_0000).with(0x04, 7, 0x547);
    assert_eq!(discover(fake).capabilities.msi, None);
}

#[test]
fn loops_end_and_what_was_found_counts() {
    let looped = plain().msi(2).with(0x58, 0x4009, 0).with(0x40, 0x5805 | 2 << 17, 0);
    assert_eq!(discover(looped).interrupts(), 4);
    let itself = plain().msi(1).with(0x40, 0x4005 | 1 << 17, 0);
    assert_eq!(discover(itself).interrupts(), 2);
    let into_header = plain().msi(1).with(0x40, 0x0405 | 1 << 17, 0);
    assert_eq!(discover(into_header).interrupts(), 2);
    let extended = plain().express(0, true).extended(0x0d, &[(0, 0)]).with(0x100, 0x1001_000d, 0);
    assert_eq!(discover(extended).capabilities.acs, Some(0x100));
    let extended_back = plain().express(0, true).extended(0x0f, &[(0, 0)]).with(0x100, 0x0401_000f, 0);
    assert_eq!(discover(extended_back).capabilities.ats, Some(0x100));
}

#[test]
fn the_lowest_bits_of_a_link_do_not_count() {
    let fake = plain().msi(1).with(0x34, 0x43, 0);
    assert_eq!(discover(fake).interrupts(), 2);
}

#[test]
fn the_first_of_two_counts() {
    let fake = plain().memory(0, 0x2000, 0xfe00_0000).msix(4, 0, 0x800).msix(9, 0x1000, 0x1800);
    assert_eq!(discover(fake).interrupts(), 4);
}

#[test]
fn a_capability_at_the_end_must_fit() {
    let placed = |at: u16, word| plain().with(0x34, at.into(), 0).with(4, 1 << 20, 0).with(at, word, 0);
    assert_eq!(discover(placed(0xf0, 0x05)).capabilities.msi.map(|msi| msi.offset), Some(0xf0));
    assert!(discover(placed(0xf4, 0x05 | 1 << 23)).is_malformed);
    assert!(discover(placed(0xfc, 0x11)).is_malformed);
    assert!(!discover(placed(0xfc, 0x09)).is_malformed);
    let extended = plain().express(0, false).with(0x100, 0xffc1_0001, 0).with(0xffc, 0x0001_000d, 0);
    assert!(discover(extended).is_malformed);
}

#[test]
fn a_conventional_function_has_no_extended_capabilities() {
    assert_eq!(discover(plain().msi(0).acs(0x5f)).capabilities.acs, None);
}

#[test]
fn a_table_outside_of_the_memory_is_malformed() {
    let memory = || plain().memory(0, 0x1000, 0xfe00_0000).ports(1, 0x1000, 0x1000);
    assert!(!discover(memory().msix(0x80, 0, 0x800)).is_malformed);
    let malformed = [
        ("table in ports", memory().msix(1, 1, 0x800)),
        ("table in a BAR that is not there", memory().msix(1, 2, 0x800)),
        ("table in a BAR number that cannot be", memory().msix(1, 7, 0x800)),
        ("table past the end", memory().msix(0x80, 0x808, 0)),
        ("pending bits past the end", memory().msix(65, 0, 0xff8)),
        ("offset of 4 GiB", memory().msix(2048, 0xffff_fff8, 0)),
    ];
    for (what, fake) in malformed {
        let function = discover(fake);
        assert!(function.is_malformed && function.interrupts() == 0, "{what}");
    }
}

#[test]
fn port_types() {
    let expected = [
        PortType::Endpoint,
        PortType::Endpoint,
        PortType::Unknown(2),
        PortType::Unknown(3),
        PortType::RootPort,
        PortType::UpstreamPort,
        PortType::DownstreamPort,
        PortType::ToPci,
        PortType::FromPci,
        PortType::IntegratedEndpoint,
        PortType::EventCollector,
        PortType::Unknown(11),
    ];
    for (number, expected) in (0..).zip(expected) {
        assert_eq!(
            discover(plain().express(number, false)).capabilities.express.unwrap().port_type,
            expected
        );
    }
}
