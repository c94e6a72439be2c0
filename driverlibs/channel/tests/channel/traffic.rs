//! Two honest sides.

use super::sides::{BUFFERS, Side, sides};
use weir_channel::group::News;
use weir_channel::{End, Standing};
use weir_pool::{Burst, Pool};

fn fill(pool: &mut Pool, burst: &mut Burst<8>, count: u8) {
    for number in 0..count {
        let mut buf = pool.take().expect("a buffer");
        assert!(buf.set_len(60));
        buf.frame_mut().fill(number);
        burst.push(buf).expect("room");
    }
}

#[test]
fn frames_go_and_buffers_come_back_without_a_copy() {
    let (_pool, _rings, mut home, mut guest) = sides();
    let mut burst = Burst::<8>::new();
    for _ in 0..100 {
        fill(&mut home.pool, &mut burst, 5);
        let places: Vec<*const u8> = burst.iter().map(|buf| buf.frame().as_ptr()).collect();
        assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(5));
        assert_eq!((home.pool.available(), home.pool.lent()), (BUFFERS - 5, 5));
        assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(5));
        for (number, place) in (0..).zip(places) {
            let mut buf = burst.pop().expect("it came");
            assert_eq!((buf.frame(), buf.frame().as_ptr()), (&[number; 60][..], place));
            // The last goes back as a frame, the others as buffers.
            if number == 4 {
                assert!(buf.prepend([7; 4]));
                burst.push(buf).expect("room");
                break;
            }
            guest.pool.put(buf);
        }
        assert_eq!(guest.end.send(&mut guest.pool, &mut burst), Ok(1));
        assert_eq!(guest.end.give_back(&mut guest.pool, 0), Ok(4));
        assert_eq!(home.end.receive(&mut home.pool, &mut burst), Ok(5));
        let back = burst.pop().expect("the frame");
        assert_eq!((back.len(), &back.frame()[..5]), (64, &[7, 7, 7, 7, 4][..]));
        home.pool.put(back);
        assert!(burst.is_empty() && home.pool.available() == BUFFERS);
    }
}

#[test]
fn who_sleeps_is_rung_once_and_who_does_not_never() {
    let (_pool, _rings, mut home, mut guest) = sides();
    let mut burst = Burst::<8>::new();
    let rung = |side: &Side| side.rang.0.load(std::sync::atomic::Ordering::Relaxed);
    fill(&mut home.pool, &mut burst, 1);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(1));
    assert_eq!(rung(&home), 0);
    assert_eq!(guest.end.may_sleep(), Ok(false), "there is something to read");
    guest.end.stay_awake();
    assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(1));
    assert_eq!(guest.end.may_sleep(), Ok(true));
    fill(&mut home.pool, &mut burst, 2);
    let buf = burst.pop().expect("the one that came");
    guest.pool.put(buf);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(2));
    fill(&mut home.pool, &mut burst, 1);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(1));
    assert_eq!(rung(&home), 1);
    guest.end.stay_awake();
    fill(&mut home.pool, &mut burst, 1);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(1));
    assert_eq!(rung(&home), 1);
}

#[test]
fn a_full_ring_takes_no_more_and_loses_none() {
    let (_pool, _rings, mut home, mut guest) = sides();
    let mut burst = Burst::<8>::new();
    // The ring has as many entries as the pool has buffers: the same ones twice would be needed to fill it over.
    fill(&mut home.pool, &mut burst, 8);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(8));
    assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(8));
    for buf in std::iter::from_fn(|| burst.pop()) {
        guest.pool.put(buf);
    }
    assert_eq!(guest.end.give_back(&mut guest.pool, 3), Ok(5));
    assert_eq!(home.end.receive(&mut home.pool, &mut burst), Ok(5));
    assert_eq!((home.pool.available(), guest.pool.available()), (5, 3));
}

/// One side's part of a new generation; `true` once it has joined.
fn step(side: &mut Side, news: News, is_home: bool) -> bool {
    match side.group.standing(news) {
        Standing::Joined => return true,
        Standing::Waiting => {}
        Standing::Leaving => {
            side.end.reset(news.generation);
            if !is_home {
                side.pool.surrender(End::neighbour(&side.end));
            }
            side.group.announce(news.generation);
        }
        Standing::Joining => {
            if is_home {
                side.pool.reclaim();
            }
            return true;
        }
    }
    false
}

#[test]
fn a_new_generation_begins_when_all_have_let_go_and_nothing_is_lost() {
    let (_pool, _rings, mut home, mut guest) = sides();
    let mut burst = Burst::<8>::new();
    for generation in 1..20 {
        let news = News { generation, there: 3 };
        assert!(!step(&mut home, news, true), "it announces");
        assert!(!step(&mut home, news, true), "the other has not");
        assert!(!step(&mut guest, news, false));
        assert!(step(&mut guest, news, false) && step(&mut home, news, true));
        assert_eq!((home.pool.available(), guest.pool.lent()), (BUFFERS, BUFFERS));
        fill(&mut home.pool, &mut burst, 5);
        assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(5));
        // Two are read, three are still in the ring when the generation ends.
        let mut two = Burst::<2>::new();
        assert_eq!(guest.end.receive(&mut guest.pool, &mut two), Ok(2));
        for buf in std::iter::from_fn(|| two.pop()) {
            guest.pool.put(buf);
        }
    }
    // The other died: home does not wait for it.
    let alone = News { generation: 20, there: 1 };
    assert!(!step(&mut home, alone, true) && step(&mut home, alone, true));
    assert_eq!(home.pool.available(), BUFFERS);
    // And nothing moves before there is a generation at all.
    assert_eq!(sides().2.group.standing(News { generation: 0, there: 0 }), Standing::Waiting);
}

/// Whoever is quicker in a new generation is not taken for a liar by who is still in the old one, nor the other way round.
#[test]
fn what_another_generation_wrote_says_nothing() {
    let (_pool, _rings, mut home, mut guest) = sides();
    let mut burst = Burst::<8>::new();
    fill(&mut home.pool, &mut burst, 5);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(5));
    guest.end.reset(7);
    assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(0), "of the old generation");
    home.end.reset(8);
    home.pool.reclaim();
    fill(&mut home.pool, &mut burst, 3);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(3));
    assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(0), "of the next one");
    guest.end.reset(8);
    assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(3));
}

#[test]
fn what_a_neighbour_that_ended_did_not_take_is_there_again() {
    let (_pool, _rings, mut home, mut guest) = sides();
    let mut burst = Burst::<8>::new();
    fill(&mut home.pool, &mut burst, 3);
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(3));
    assert_eq!(guest.end.receive(&mut guest.pool, &mut burst), Ok(3));
    burst.pop().into_iter().for_each(drop);
    fill(&mut home.pool, &mut burst, 2);
    while burst.len() > 2 {
        burst.pop().into_iter().for_each(drop);
    }
    assert_eq!(home.end.send(&mut home.pool, &mut burst), Ok(2));
    assert_eq!(home.end.give_back(&mut home.pool, 0), Ok(3));
    let mut kept = Vec::new();
    home.end.take_back(&mut home.pool, |frame| kept.push(frame.to_vec()));
    assert_eq!(
        kept,
        [vec![0; 60], vec![1; 60]],
        "the three that were taken are not among them, nor are empty ones"
    );
    assert_eq!((home.pool.available(), home.pool.lent()), (BUFFERS - 3, 3));
    home.end.take_back(&mut home.pool, |_| panic!("once is all"));
    home.end.reset(2);
    home.end.take_back(&mut home.pool, |_| panic!("a new generation begins empty"));
}
