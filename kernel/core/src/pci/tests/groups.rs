use super::fake::{Fake, Machine, at};
use crate::pci::{Inventory, PciAddress};

/// The groups with more than one function, by address.
fn shared(inventory: &Inventory) -> Vec<Vec<PciAddress>> {
    let groups: Vec<usize> = (0..inventory.functions().len()).map(|index| inventory.group(index)).collect();
    let members = |group: usize| {
        let its = groups.iter().enumerate().filter(move |(_, its)| **its == group);
        its.map(|(index, _)| inventory.functions()[index].address).collect::<Vec<_>>()
    };
    let mut shared: Vec<_> = (0..groups.len()).map(members).filter(|members| members.len() > 1).collect();
    shared.iter_mut().for_each(|members| members.sort());
    shared
}

fn grouped(functions: impl IntoIterator<Item = (PciAddress, Fake)>) -> Vec<Vec<PciAddress>> {
    shared(&Machine::new(functions).enumerate())
}

fn requesters(inventory: &Inventory, address: PciAddress) -> Vec<PciAddress> {
    inventory.requesters(inventory.find(address).unwrap()).collect()
}

const NONE: [Vec<PciAddress>; 0] = [];

fn endpoint() -> Fake {
    Fake::endpoint(1234, 1, 0).express(0, true)
}

#[test]
fn devices_on_the_root_bus_are_alone() {
    let functions = [
        (at(0, 1, 0), Fake::edu(0)),
        (at(0, 2, 0), Fake::e1000e(0)),
        (at(0, 3, 0), Fake::edu(0)),
        (at(0, 4, 0), Fake::root_port(1, 1)),
    ];
    assert_eq!(grouped(functions), NONE);
}

#[test]
fn root_ports_with_access_control_separate() {
    let functions = [
        (at(0, 1, 0), Fake::root_port(1, 1)),
        (at(0, 2, 0), Fake::root_port(2, 2)),
        (at(1, 0, 0), endpoint()),
        (at(2, 0, 0), endpoint()),
    ];
    assert_eq!(grouped(functions), NONE);
}

#[test]
fn a_root_port_without_access_control_goes_with_what_is_behind_it() {
    let bare = |bus| Fake::bridge(bus, bus).express(4, false);
    let functions = [
        (at(0, 1, 0), bare(1)),
        (at(0, 2, 0), bare(2)),
        (at(1, 0, 0), endpoint()),
        (at(2, 0, 0), endpoint()),
    ];
    assert_eq!(grouped(functions), [[at(0, 1, 0), at(1, 0, 0)], [at(0, 2, 0), at(2, 0, 0)]]);
}

#[test]
fn ports_of_one_device_without_access_control_go_together() {
    let bare = |bus| Fake::bridge(bus, bus).express(4, false).multi_function();
    let functions = [
        (at(0, 1, 0), bare(1)),
        (at(0, 1, 1), bare(2)),
        (at(0, 1, 2), Fake::root_port(3, 3)),
        (at(1, 0, 0), endpoint()),
        (at(2, 0, 0), endpoint()),
        (at(3, 0, 0), endpoint()),
    ];
    assert_eq!(grouped(functions), [[at(0, 1, 0), at(0, 1, 1), at(1, 0, 0), at(2, 0, 0)]]);
}

#[test]
fn access_control_that_cannot_be_turned_on_does_not_count() {
    let stuck = Fake::bridge(1, 1).express(4, false).extended(0x0d, &[(0x5f, 0)]);
    let functions = [(at(0, 1, 0), stuck), (at(1, 0, 0), endpoint())];
    assert_eq!(grouped(functions), [[at(0, 1, 0), at(1, 0, 0)]]);
    // What is not offered as controllable is always on; a capability that offers nothing isolates.
    let fixed = Fake::bridge(1, 1).express(4, false).acs(0);
    assert_eq!(grouped([(at(0, 1, 0), fixed), (at(1, 0, 0), endpoint())]), NONE);
}

/// A switch with two devices; `port` adds access control to its downstream ports or not.
fn switch(upstream: Fake, port: impl Fn(Fake) -> Fake) -> [(PciAddress, Fake); 6] {
    [
        (at(0, 1, 0), Fake::root_port(1, 4)),
        (at(1, 0, 0), upstream),
        (at(2, 0, 0), port(Fake::downstream_port(3, 3))),
        (at(2, 1, 0), port(Fake::downstream_port(4, 4))),
        (at(3, 0, 0), endpoint()),
        (at(4, 0, 0), endpoint()),
    ]
}

#[test]
fn a_switch_separates_only_with_access_control() {
    let upstream = || Fake::upstream_port(2, 4);
    assert_eq!(grouped(switch(upstream(), |port| port.acs(0x5f))), NONE);
    let switch_and_devices = [[at(1, 0, 0), at(2, 0, 0), at(2, 1, 0), at(3, 0, 0), at(4, 0, 0)]];
    assert_eq!(grouped(switch(upstream(), |port| port)), switch_and_devices);
    // One port without is enough: it reaches the devices below the others.
    let mut one = switch(upstream(), |port| port.acs(0x5f));
    one[3].1 = Fake::downstream_port(4, 4);
    assert_eq!(grouped(one), switch_and_devices);
}

#[test]
fn one_bridge_without_access_control_on_the_way_up_is_enough() {
    let [_, rest @ ..] = switch(Fake::upstream_port(2, 4), |port| port.acs(0x5f));
    let bare = (at(0, 1, 0), Fake::bridge(1, 4).express(4, false));
    let everything: Vec<_> = core::iter::once(bare).chain(rest).collect();
    let addresses: Vec<_> = everything.iter().map(|(address, _)| *address).collect();
    assert_eq!(grouped(everything), [addresses]);
}

#[test]
fn functions_of_one_device_go_together_unless_they_have_access_control() {
    let on = |function| at(1, 0, function);
    let with = |fake: fn() -> Fake| {
        let functions = [(on(0), fake().multi_function()), (on(1), fake()), (on(2), fake().acs(0x5c))];
        grouped(core::iter::once((at(0, 1, 0), Fake::root_port(1, 1))).chain(functions))
    };
    assert_eq!(with(endpoint), [[on(0), on(1)]]);
    let integrated = || Fake::endpoint(1234, 1, 0).express(9, false);
    let functions = [(at(0, 2, 0), integrated().multi_function()), (at(0, 2, 5), integrated())];
    assert_eq!(grouped(functions), [[at(0, 2, 0), at(0, 2, 5)]]);
    let conventional = [(at(0, 2, 0), Fake::edu(0).multi_function()), (at(0, 2, 1), Fake::edu(0))];
    assert_eq!(grouped(conventional), [[at(0, 2, 0), at(0, 2, 1)]]);
}

#[test]
fn devices_behind_a_pci_bridge_share_its_group_and_requester() {
    let machine = Machine::new([
        (at(0, 4, 0), Fake::root_port(1, 2)),
        (at(1, 0, 0), Fake::pcie_pci_bridge(2, 2)),
        (at(2, 3, 0), Fake::edu(0)),
        (at(2, 4, 0), Fake::edu(0)),
        (at(0, 5, 0), Fake::edu(0)),
    ]);
    let inventory = machine.enumerate();
    assert_eq!(shared(&inventory), [[at(1, 0, 0), at(2, 3, 0), at(2, 4, 0)]]);
    assert_eq!(requesters(&inventory, at(2, 3, 0)), [at(2, 3, 0), at(2, 0, 0)]);
    assert_eq!(inventory.requester(inventory.find(at(2, 4, 0)).unwrap()), at(2, 0, 0));
    assert_eq!(requesters(&inventory, at(1, 0, 0)), [at(1, 0, 0)]);
    assert_eq!(requesters(&inventory, at(0, 5, 0)), [at(0, 5, 0)]);
}

#[test]
fn a_conventional_bridge_asks_in_its_own_name() {
    let machine = Machine::new([
        (at(0, 4, 0), Fake::bridge(1, 2)),
        (at(1, 0, 0), Fake::bridge(2, 2)),
        (at(2, 3, 0), Fake::edu(0)),
    ]);
    let inventory = machine.enumerate();
    assert_eq!(shared(&inventory), [[at(0, 4, 0), at(1, 0, 0), at(2, 3, 0)]]);
    assert_eq!(requesters(&inventory, at(2, 3, 0)), [at(2, 3, 0), at(1, 0, 0), at(0, 4, 0)]);
    assert_eq!(inventory.requester(inventory.find(at(2, 3, 0)).unwrap()), at(0, 4, 0));
}

#[test]
fn a_function_in_a_root_port_is_its_own_requester() {
    let machine = Machine::new(switch(Fake::upstream_port(2, 4), |port| port));
    let inventory = machine.enumerate();
    assert_eq!(requesters(&inventory, at(4, 0, 0)), [at(4, 0, 0)]);
}
