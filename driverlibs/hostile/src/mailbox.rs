//! The owner of a physical function, and what its virtual functions write into their mailboxes.

use weir_hal::DmaWindow;
use weir_igb::message::Head;
use weir_igb::{Mailboxes, Net, Options, VIRTUAL_FUNCTIONS};
use weir_nic::{Nic, NicError};
use weir_pool::Pool;
use weir_sim::gigabit::{Behaviour, Kind, MAC};
use weir_sim::{Gigabit, Malice, Script, SimClock, SimDevice, SimWindow};

use crate::Tally;

/// First address register, two words each; that of virtual function `k` is number `k + 1`.
const RAL: u64 = 0x5400;
const VALID: u32 = 1 << 31;

/// Plays what `bytes` say.
///
/// # Panics
/// A virtual function got what is another's.
#[must_use]
pub fn play(bytes: &[u8]) -> Tally {
    let (script, window, clock) = (Script::new(bytes), SimWindow::default(), SimClock::by(10_000));
    let behaviour = Behaviour { kind: Kind::I82576, works_on_kick: true };
    let device = SimDevice::new(Gigabit::new(&window, behaviour));
    let options = Options { is_shared: true, entries: 8, ..Options::default() };
    let (mut net, mut rx, mut tx) = Net::open(device.clone(), &window, &clock, &options).expect("honest");
    let mut pool = Pool::new(window.allocate(1 << 14).expect("memory")).expect("buffers");
    net.start(&mut rx, &mut tx, &mut pool, &clock).expect("honest");
    let choices = script.byte();
    let mut mailboxes = Mailboxes::new(MAC, choices & 1 != 0);
    let registers_lie = choices & 2 != 0;
    if registers_lie {
        device.model().set_malice(Malice::scripted(&script));
    }
    let mut tally = Tally::default();
    while !script.is_over() {
        disturb(&script, &device);
        let served = mailboxes.serve(net.registers());
        tally.count(&served, NicError::is_violation);
        if !registers_lie {
            assert_addresses_are_distinct(&device);
        }
    }
    device.model().set_malice(Malice::none());
    net.stop(&mut rx, &mut tx, &mut pool, &clock).expect("honest");
    assert_eq!(pool.available(), pool.buffers(), "every buffer came home");
    drop((net, rx, tx, pool));
    assert_eq!(window.allocations(), 0, "all memory is given back");
    tally
}

/// Virtual functions ask, or are reset.
fn disturb(script: &Script, device: &SimDevice<Gigabit>) {
    let [what, number, kind, info] = script.bytes();
    let number = u64::from(number) % u64::from(VIRTUAL_FUNCTIONS + 1);
    let head = Head::new().with_kind(u16::from(kind % 8)).with_info(info);
    let any = |_| u32::from_le_bytes(script.bytes());
    let mut model = device.model();
    match what % 8 {
        0 => model.virtual_reset(number),
        1 => model.set_late_resets(info & 1 != 0),
        2 => model.virtual_request(number, &[any(0), any(1), any(2)]),
        // An address: the physical function's, or one near another virtual function's.
        3 => {
            let [a, b, c, d, e, f] =
                if info & 1 == 0 { MAC } else { [2, info % 8, MAC[2], MAC[3], MAC[4], MAC[5]] };
            let words = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0])];
            model.virtual_request(number, &[head.with_kind(2).into_bits(), words[0], words[1]]);
        }
        _ => {
            let words: Vec<u32> = std::iter::once(head.into_bits()).chain((0..15).map(any)).collect();
            model.virtual_request(number, &words);
        }
    }
}

/// No address is received by two.
fn assert_addresses_are_distinct(device: &SimDevice<Gigabit>) {
    let model = device.model();
    let entry = |number: u64| (model.peek(RAL + 8 * number), model.peek(RAL + 4 + 8 * number));
    let used: Vec<_> = (0..=u64::from(VIRTUAL_FUNCTIONS))
        .map(entry)
        .filter(|(_, high)| high & VALID != 0)
        .map(|(low, high)| (low, high & 0xffff))
        .collect();
    for (number, address) in used.iter().enumerate() {
        assert!(!used[..number].contains(address), "an address is another's: {used:x?}");
    }
}
