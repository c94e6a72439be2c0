//! Pools whose buffers several owners have. Also run under Miri.

use std::num::NonZeroU8;

use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Pool, Refused};
use weir_sim::SimWindow;

const ONE: NonZeroU8 = NonZeroU8::MIN;
const TWO: NonZeroU8 = NonZeroU8::new(2).unwrap();

fn pool() -> Pool {
    let memory = SimWindow::default().allocate(4 * usize::from(BUF_BYTES)).expect("heap memory");
    Pool::new(memory).expect("room for buffers").shared()
}

#[test]
fn a_buffer_comes_back_from_who_has_it_and_nobody_else() {
    let mut pool = pool();
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(5));
    buf.frame_mut().copy_from_slice(b"river");
    let start = buf.start();
    let number = pool.lend_to(TWO, buf).expect("the pool's own");
    assert_eq!((pool.available(), pool.lent(), pool.is_at_rest()), (3, 1, true));
    assert_eq!(pool.redeem(ONE, number, start, 5).err(), Some(Refused::NotTheirs));
    assert_eq!(pool.redeem(TWO, number + 1, start, 5).err(), Some(Refused::NotTheirs));
    assert_eq!(pool.redeem(TWO, u32::MAX, 0, 0).err(), Some(Refused::NotTheirs));
    assert_eq!(pool.redeem(TWO, number, 1, BUF_BYTES).err(), Some(Refused::OutOfBuffer));
    assert_eq!(pool.redeem(TWO, number, u16::MAX, 1).err(), Some(Refused::OutOfBuffer));
    let buf = pool.redeem(TWO, number, start, 5).expect("it has it");
    assert_eq!(buf.frame(), b"river");
    assert_eq!(pool.redeem(TWO, number, start, 5).err(), Some(Refused::NotTheirs), "twice");
    assert!(!pool.is_at_rest());
    pool.put(buf);
    assert_eq!((pool.available(), pool.lent(), pool.is_at_rest()), (4, 0, true));
}

#[test]
fn everything_is_taken_back_once() {
    let mut pool = pool();
    let (kept, lent) = (pool.take().expect("a buffer"), pool.take().expect("a buffer"));
    pool.lend_to(ONE, lent).expect("the pool's own");
    assert_eq!(pool.surrender(TWO), 2);
    assert!(pool.take().is_none());
    assert_eq!((pool.reclaim(), pool.reclaim()), (3, 0));
    pool.put(kept);
    let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(all.len(), 4);
}

/// Who is between two others passes a buffer on to one and, anew, may get it from the other only.
#[test]
fn after_surrender_everything_is_one_neighbours() {
    let mut pool = pool();
    let buf = pool.take().expect("a buffer");
    let number = pool.lend_to(TWO, buf).expect("the pool's own");
    assert_eq!((pool.surrender(ONE), pool.lent()), (3, 4));
    assert_eq!(pool.redeem(TWO, number, 0, 0).err(), Some(Refused::NotTheirs));
    let buf = pool.redeem(ONE, number, 0, 0).expect("it has it now");
    pool.put(buf);
}

#[test]
fn a_pool_that_is_not_shared_lends_nothing() {
    let memory = SimWindow::default().allocate(usize::from(BUF_BYTES)).expect("heap memory");
    let mut pool = Pool::new(memory).expect("room for a buffer");
    assert_eq!((pool.surrender(ONE), pool.available()), (0, pool.buffers()));
    let buf = pool.take().expect("a buffer");
    let buf = pool.lend_to(ONE, buf).expect_err("nobody else has any");
    assert!(pool.redeem(ONE, 0, 0, 0).is_err());
    pool.put(buf);
    assert_eq!(pool.reclaim(), 0);
}
