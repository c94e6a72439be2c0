//! The owner of a physical function, asked by virtual ones that are right, wrong, and hostile.

use proptest::prelude::*;
use weir_hal::DmaWindow;
use weir_igb::message::{Head, address_words, kind};
use weir_igb::{Mailboxes, Net, Options, Served};
use weir_nic::Nic;
use weir_pool::Pool;
use weir_sim::gigabit::{Behaviour, Kind, MAC};
use weir_sim::{Gigabit, SimClock, SimDevice, SimWindow};

type Device = SimDevice<Gigabit>;

/// Registers: pools that receive and send; addresses; VLANs; the multicast table; a pool's filters.
const VFRE: u64 = 0x0c8c;
const VFTE: u64 = 0x0c90;
const RAL: u64 = 0x5400;
const VLVF: u64 = 0x5d00;
const VFTA: u64 = 0x5600;
const MTA: u64 = 0x5200;
const VMOLR: u64 = 0x5ad0;
const OWN: u32 = 1 << 7;

struct Rig {
    device: Device,
    net: Net<Device>,
    mailboxes: Mailboxes,
}

impl Rig {
    fn new(may_choose: bool) -> Rig {
        let window = SimWindow::default();
        let behaviour = Behaviour { kind: Kind::I82576, works_on_kick: true };
        let device = SimDevice::new(Gigabit::new(&window, behaviour));
        let options = Options { is_shared: true, entries: 8, ..Options::default() };
        let clock = SimClock::default();
        let (mut net, mut rx, mut tx) = Net::open(device.clone(), &window, &clock, &options).expect("opens");
        let mut pool = Pool::new(window.allocate(1 << 16).expect("memory")).expect("buffers");
        net.start(&mut rx, &mut tx, &mut pool, &clock).expect("starts");
        let mac = net.read_mac().expect("there").expect("an address");
        Rig { device, net, mailboxes: Mailboxes::new(mac, may_choose) }
    }

    fn serve(&mut self) -> Served {
        self.mailboxes.serve(self.net.registers()).expect("there")
    }

    /// Asks and gives the answer's words.
    fn ask(&mut self, number: u64, words: &[u32]) -> [u32; 3] {
        self.device.model().virtual_request(number, words);
        self.serve();
        self.device.model().virtual_answer(number).expect("an answer")
    }

    /// Whether a request is granted.
    fn grants(&mut self, number: u64, words: &[u32]) -> bool {
        Head::from_bits(self.ask(number, words)[0]).is_granted()
    }

    fn peek(&self, offset: u64) -> u32 {
        self.device.model().peek(offset)
    }

    fn address(&self, number: u64) -> (u32, u32) {
        (self.peek(RAL + 8 * number), self.peek(RAL + 4 + 8 * number))
    }
}

fn head(kind: u16, info: u8) -> u32 {
    Head::new().with_kind(kind).with_info(info).into_bits()
}

#[test]
fn a_reset_gives_an_address_and_leave() {
    let mut rig = Rig::new(false);
    assert_eq!((rig.peek(VFRE), rig.peek(VFTE)), (OWN, OWN), "its own pool only");
    assert_eq!(rig.peek(RAL + 4) >> 18 & 0xff, OWN, "its own address is its pool's");
    rig.device.model().virtual_reset(2);
    let [first, low, high] = rig.ask(2, &[head(kind::RESET, 0)]);
    let mac = rig.mailboxes.mac(2).expect("a function");
    assert_eq!((first, [low, high]), (0x8000_0001, address_words(mac)));
    assert_eq!(mac, [2, 3, MAC[2], MAC[3], MAC[4], MAC[5]]);
    assert_eq!((rig.peek(VFRE), rig.peek(VFTE)), (OWN | 4, OWN | 4));
    assert_eq!(rig.address(3), (low, high | 1 << 31 | 1 << 20));
    assert_eq!(rig.peek(VMOLR + 8) >> 24, 0x8b, "untagged, groups, broadcasts; without checksums");
    assert_eq!(rig.serve(), Served::default(), "its reset is not seen a second time");
    rig.device.model().set_late_resets(true);
    assert!(rig.grants(2, &[head(kind::RESET, 0)]));
    assert_eq!(rig.serve(), Served::default(), "not even one that showed after the last look");
    assert_eq!(rig.peek(VFRE), OWN | 4);
    rig.device.model().set_late_resets(false);
    rig.device.model().virtual_reset(2);
    assert_eq!(rig.serve().resets, 4);
    assert_eq!((rig.peek(VFRE), rig.address(3).1), (OWN, 0), "a reset takes all of it");
    assert!(!rig.grants(2, &[head(kind::SET_VLAN, 1), 5]), "and what it asked for before");
}

#[test]
fn an_address_is_its_own_or_nobodys() {
    let words = |mac| [vec![head(kind::SET_MAC, 0)], address_words(mac).to_vec()].concat();
    for may_choose in [false, true] {
        let mut rig = Rig::new(may_choose);
        assert!(!rig.grants(0, &words([2, 9, 9, 9, 9, 9])), "nothing before its reset");
        assert!(rig.grants(0, &[head(kind::RESET, 0)]));
        let own = rig.mailboxes.mac(0).expect("a function");
        assert!(rig.grants(0, &words(own)));
        assert!(!rig.grants(0, &words(MAC)), "the physical function's");
        let other = rig.mailboxes.mac(1).expect("a function");
        assert!(!rig.grants(0, &words(other)), "another one's");
        assert!(!rig.grants(0, &words([1, 0, 0, 0, 0, 1])) && !rig.grants(0, &words([0; 6])));
        assert_eq!(rig.grants(0, &words([2, 9, 9, 9, 9, 9])), may_choose);
        let low = rig.address(1).0;
        assert_eq!(low == u32::from_le_bytes([2, 9, 9, 9]), may_choose, "{low:#x}");
    }
}

#[test]
fn groups_and_vlans_are_shared_and_given_back() {
    let mut rig = Rig::new(false);
    assert!(rig.grants(0, &[head(kind::RESET, 0)]) && rig.grants(1, &[head(kind::RESET, 0)]));
    assert!(rig.grants(0, &[head(kind::SET_MULTICAST, 2), 0x0fff_0021]));
    assert!(rig.grants(1, &[head(kind::SET_MULTICAST, 1), 0x22]));
    assert_eq!((rig.peek(MTA + 4), rig.peek(MTA + 4 * 127)), (0b110, 1 << 31));
    assert!(!rig.grants(0, &[head(kind::SET_MULTICAST, 31)]), "more than a message holds");
    for number in [0, 1] {
        assert!(rig.grants(number, &[head(kind::SET_VLAN, 1), 100]));
    }
    assert_eq!((rig.peek(VLVF), rig.peek(VFTA + 12)), (1 << 31 | 3 << 12 | 100, 1 << 4));
    assert!(
        !rig.grants(0, &[head(kind::SET_VLAN, 1), 0]) && !rig.grants(0, &[head(kind::SET_VLAN, 1), 4095])
    );
    assert!(rig.grants(0, &[head(kind::SET_VLAN, 0), 100]));
    assert_eq!(rig.peek(VLVF), 1 << 31 | 2 << 12 | 100);
    rig.device.model().virtual_reset(1);
    rig.serve();
    assert_eq!((rig.peek(VLVF), rig.peek(VFTA + 12)), (0, 0), "the last one's reset frees it");
    assert_eq!((rig.peek(MTA + 4), rig.peek(MTA + 4 * 127)), (0b010, 1 << 31), "only its own groups go");
    for id in 1..=32 {
        assert!(rig.grants(0, &[head(kind::SET_VLAN, 1), id]));
    }
    assert!(!rig.grants(0, &[head(kind::SET_VLAN, 1), 33]), "as many as the device has");
}

#[test]
fn frame_limits_are_bounded() {
    let mut rig = Rig::new(false);
    assert!(rig.grants(0, &[head(kind::RESET, 0)]));
    assert!(rig.grants(0, &[head(kind::SET_FRAME_LIMIT, 0), 9018]));
    assert_eq!(rig.peek(VMOLR) & 0x1_3fff, 1 << 16 | 9018);
    for limit in [0, 63, 9729, u32::MAX] {
        assert!(!rig.grants(0, &[head(kind::SET_FRAME_LIMIT, 0), limit]), "{limit}");
    }
}

proptest! {
    /// Whatever virtual functions write: no panic, an answer to each, nobody has another's address or pool.
    #[test]
    fn hostile_requests_change_nothing_of_others(
        requests in prop::collection::vec((0u64..8, prop::collection::vec(any::<u32>(), 0..16), 0u32..8), 1..40)
    ) {
        let mut rig = Rig::new(true);
        for (number, mut words, kind) in requests {
            if let Some(first) = words.first_mut() {
                *first = *first & 0xffff_0000 | kind;
            }
            rig.device.model().virtual_request(number, &words);
            let served = rig.serve();
            prop_assert!(served.granted + served.refused <= 1);
            let own = MAC;
            let macs: Vec<[u8; 6]> = (0..7).filter_map(|number| rig.mailboxes.mac(number)).collect();
            for (number, mac) in macs.iter().enumerate() {
                prop_assert!(*mac != own && macs.iter().filter(|other| *other == mac).count() == 1);
                let (low, high) = rig.address(1 + number as u64);
                let [wanted_low, wanted_high] = address_words(*mac);
                let pool = 1u32 << 18 << number;
                prop_assert!(high == 0 || (low, high) == (wanted_low, wanted_high | 1 << 31 | pool));
            }
            prop_assert_eq!(rig.peek(VFRE) & OWN, OWN);
        }
    }
}
