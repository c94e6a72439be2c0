use alloc::vec;

use proptest::prelude::*;

use super::*;

const fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn frame(to: MacAddress, from: MacAddress) -> Vec<u8> {
    [&to.0[..], &from.0[..], &[8, 0]].concat()
}

/// Ports 0 and 1 with addresses, port 2 without.
fn bridge() -> Bridge {
    Bridge::new(vec![Some(mac(1)), Some(mac(2)), None])
}

#[test]
fn frames_go_where_their_address_is() {
    let mut bridge = bridge();
    assert_eq!(bridge.from_port(0, &frame(mac(2), mac(1))), Ok(Goes::To(1)));
    assert_eq!(bridge.from_port(0, &frame(mac(9), mac(1))), Ok(Goes::Up));
    assert_eq!(bridge.from_port(0, &frame(mac(1), mac(1))), Err(Refused::NotHere));
    assert_eq!(bridge.from_port(0, &frame(MacAddress([0xff; 6]), mac(1))), Ok(Goes::Everywhere));
    assert_eq!(bridge.from_uplink(&frame(mac(2), mac(9))), Ok(Goes::To(1)));
    assert_eq!(bridge.from_uplink(&frame(mac(7), mac(9))), Err(Refused::NotHere));
    assert_eq!(bridge.from_uplink(&frame(MacAddress([1; 6]), mac(9))), Ok(Goes::Everywhere));
}

#[test]
fn spoofed_sources_go_nowhere() {
    let mut bridge = bridge();
    for source in [mac(2), mac(3), MacAddress([0xff; 6])] {
        assert_eq!(bridge.from_port(0, &frame(mac(9), source)), Err(Refused::Spoofed));
    }
    assert_eq!(bridge.from_port(2, &frame(mac(9), mac(1))), Err(Refused::Spoofed));
    assert_eq!(bridge.from_uplink(&frame(mac(2), mac(1))), Err(Refused::Spoofed));
    assert_eq!(bridge.from_port(3, &frame(mac(9), mac(1))), Err(Refused::Spoofed), "no such port");
}

#[test]
fn a_port_without_an_address_learns_a_few_and_is_forgotten() {
    let mut bridge = bridge();
    for number in 10..10 + 16 {
        assert_eq!(bridge.from_port(2, &frame(mac(9), mac(number))), Ok(Goes::Up));
    }
    assert_eq!(bridge.from_port(2, &frame(mac(9), mac(99))), Err(Refused::Spoofed), "too many");
    assert_eq!(bridge.from_uplink(&frame(mac(12), mac(9))), Ok(Goes::To(2)));
    bridge.forget(2);
    assert_eq!(bridge.from_uplink(&frame(mac(12), mac(9))), Err(Refused::NotHere));
    assert_eq!(bridge.from_port(2, &frame(mac(9), mac(99))), Ok(Goes::Up));
}

proptest! {
    /// Whatever the ports send, none gets out with an address that is another's.
    #[test]
    fn no_port_ever_sends_in_anothers_name(
        frames in proptest::collection::vec((0..4usize, proptest::collection::vec(0..4u8, 0..20)), 0..200),
    ) {
        let mut bridge = Bridge::new(vec![Some(MacAddress([0, 1, 2, 3, 0, 0])), None, None]);
        let mut owners: Vec<(Vec<u8>, Port)> = vec![(vec![0, 1, 2, 3, 0, 0], 0)];
        for (port, bytes) in frames {
            if bridge.from_port(port, &bytes).is_ok() {
                let source = bytes[6..12].to_vec();
                match owners.iter().find(|(address, _)| *address == source) {
                    Some((_, owner)) => prop_assert_eq!(*owner, port),
                    None => owners.push((source, port)),
                }
            }
        }
    }
}
