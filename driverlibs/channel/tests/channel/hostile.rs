//! A neighbour that writes anything anywhere: nothing panics, nothing is here twice, nothing is lost.

use super::sides::{BUFFERS, ENTRIES, Shared, Side, sides};
use proptest::prelude::*;
use weir_channel::{Desc, PeerCorrupt};
use weir_pool::{BUF_BYTES, Burst};

/// Words before the entries of a ring, and from one ring to the other.
const ENTRIES_AT: usize = 3 * 128 / 8;
const NEXT_RING: usize = weir_channel::Mapped::bytes(ENTRIES) / 8;
/// The ring towards home.
const TAIL: usize = NEXT_RING;
const FIRST_ENTRY: usize = NEXT_RING + ENTRIES_AT;

#[derive(Clone, Debug)]
enum Move {
    /// The victim sends a frame that it has or makes.
    Send,
    Receive,
    GiveBack,
    /// It puts what it received back into its pool.
    Drop,
    Sleep,
    /// It takes back what it has sent.
    TakeBack,
    /// The neighbour writes a word of the rings, or of the pool.
    Rings(usize, u64),
    Pool(usize, u64),
    /// It publishes one more entry, whatever stands there.
    Publish(u64),
}

fn entry() -> impl Strategy<Value = u64> {
    let buffers = u32::try_from(BUFFERS).expect("few");
    let near = (0..2 * buffers, 0..4096u16, 0..4096u16, any::<bool>()).prop_map(|(n, start, len, more)| {
        Desc::new().with_number(n).with_start(start).with_bytes(len).with_continues(more).into_bits()
    });
    let good = (0..buffers, 0..64u16, 0..1500u16)
        .prop_map(|(n, start, len)| Desc::new().with_number(n).with_start(start).with_bytes(len).into_bits());
    prop_oneof![3 => good, 2 => near, 1 => any::<u64>()]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let any_move = prop_oneof![
        4 => Just(Move::Send),
        4 => Just(Move::Receive),
        1 => Just(Move::GiveBack),
        2 => Just(Move::Drop),
        1 => Just(Move::Sleep),
        1 => Just(Move::TakeBack),
        1 => (0..2 * NEXT_RING, any::<u64>()).prop_map(|(at, value)| Move::Rings(at, value)),
        1 => (any::<usize>(), any::<u64>()).prop_map(|(at, value)| Move::Pool(at, value)),
        6 => entry().prop_map(Move::Publish),
    ];
    proptest::collection::vec(any_move, 0..80)
}

/// What the hostile neighbour knows of its own ring.
struct Rogue<'a> {
    rings: &'a Shared,
    pool: &'a Shared,
    tail: u32,
}

impl Rogue<'_> {
    fn publish(&mut self, entry: u64) {
        self.rings.write(FIRST_ENTRY + (self.tail % ENTRIES) as usize, entry);
        self.tail = self.tail.wrapping_add(1);
        self.rings.write(TAIL, self.tail.into());
    }
}

/// Plays, and checks after each move that every buffer is in one place.
fn play(moves: Vec<Move>) {
    let (pool, rings, mut home, _guest) = sides();
    let mut rogue = Rogue { rings: &rings, pool: &pool, tail: 0 };
    let mut held = Burst::<8>::new();
    for one in moves {
        step(&mut home, &mut rogue, &mut held, one);
        assert_eq!(home.pool.available() + home.pool.lent() + held.len(), BUFFERS);
        let mut places: Vec<_> = held.iter().map(|buf| buf.frame().as_ptr_range()).collect();
        places.sort_by_key(|range| range.start);
        assert!(places.windows(2).all(|two| two[0].end <= two[1].start), "a buffer is here twice");
        assert!(held.iter().all(|buf| buf.start() + buf.len() <= BUF_BYTES));
    }
    // A new generation: everything is here again.
    home.end.reset(1);
    for buf in std::iter::from_fn(|| held.pop()) {
        home.pool.put(buf);
    }
    home.pool.reclaim();
    assert_eq!((home.pool.available(), home.pool.lent()), (BUFFERS, 0));
    let all: Vec<_> = std::iter::from_fn(|| home.pool.take()).collect();
    assert_eq!(all.len(), BUFFERS);
}

fn step(home: &mut Side, rogue: &mut Rogue<'_>, held: &mut Burst<8>, one: Move) {
    // Every error is one of the neighbour's, and is said again at each call; what matters is checked by the caller.
    match one {
        Move::Send => {
            if held.is_empty()
                && let Some(mut buf) = home.pool.take()
            {
                assert!(buf.set_len(60));
                held.push(buf).expect("it is empty");
            }
            let _ = home.end.send(&mut home.pool, held);
        }
        Move::Receive => drop(home.end.receive(&mut home.pool, held)),
        Move::GiveBack => drop(home.end.give_back(&mut home.pool, 2)),
        Move::Drop => {
            if let Some(buf) = held.pop() {
                home.pool.put(buf);
            }
        }
        Move::Sleep => {
            let _ = home.end.may_sleep();
            home.end.stay_awake();
        }
        Move::TakeBack => {
            let mut shown = 0;
            home.end.take_back(&mut home.pool, |_| shown += 1);
            assert!(shown <= BUFFERS);
        }
        Move::Rings(at, value) => rogue.rings.write(at, value),
        Move::Pool(at, value) => rogue.pool.write(at, value),
        Move::Publish(entry) => rogue.publish(entry),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { 2000 }))]

    #[test]
    fn whatever_it_writes_every_buffer_is_in_one_place(moves in moves()) {
        play(moves);
    }
}

/// Home with three buffers lent, and a neighbour that publishes `entry`.
fn after(entry: Desc) -> (Side, Result<usize, PeerCorrupt>) {
    let (pool, rings, mut home, _guest) = sides();
    let mut burst = Burst::<8>::new();
    assert_eq!(home.end.give_back(&mut home.pool, 5), Ok(3));
    Rogue { rings: &rings, pool: &pool, tail: 0 }.publish(entry.into_bits());
    let result = home.end.receive(&mut home.pool, &mut burst);
    (home, result)
}

#[test]
fn each_lie_has_its_name_and_closes_the_channel() {
    let number = |n| Desc::new().with_number(n);
    let outside = PeerCorrupt::OutOfBuffer { number: 1, start: 1000, len: 1049 };
    let cases = [
        (number(7), PeerCorrupt::NotTheirs { number: 7 }),
        (number(8), PeerCorrupt::NotTheirs { number: 8 }),
        (number(u32::MAX), PeerCorrupt::NotTheirs { number: u32::MAX }),
        (number(1).with_start(1000).with_bytes(1049), outside),
    ];
    for (entry, expected) in cases {
        let (mut home, result) = after(entry);
        assert_eq!(result, Err(expected));
        assert_eq!(home.end.give_back(&mut home.pool, 0), Err(expected));
        assert_eq!(home.end.may_sleep(), Err(expected));
        home.end.reset(1);
        assert_eq!(home.pool.reclaim(), 3);
    }
    let (_, result) = after(number(1).with_start(1000).with_bytes(1048));
    assert_eq!(result, Ok(1));
}

#[test]
fn an_index_that_jumps_is_noticed_on_both_sides() {
    let (_pool, rings, mut home, _guest) = sides();
    let mut burst = Burst::<8>::new();
    rings.write(TAIL, u64::from(ENTRIES) + 1);
    let jumped = PeerCorrupt::Index { ahead: ENTRIES + 1, entries: ENTRIES };
    assert_eq!(home.end.receive(&mut home.pool, &mut burst), Err(jumped));
    // The reader's index of the other ring: further than what was written.
    let (_pool, rings, mut home, _guest) = sides();
    assert_eq!(home.end.give_back(&mut home.pool, 0), Ok(BUFFERS));
    rings.write(128 / 8, u64::from(ENTRIES) + 5);
    home.pool.reclaim();
    assert_eq!(home.end.give_back(&mut home.pool, 0), Err(PeerCorrupt::Index { ahead: 5, entries: ENTRIES }));
}
