//! The pool's promises, on simulated DMA memory. Also run under Miri.

use proptest::prelude::*;
use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Buf, Burst, FRAME_BYTES, HEADROOM_BYTES, Pool};
use weir_sim::SimWindow;

fn pool(window: &SimWindow, buffers: usize) -> Pool {
    let memory = window.allocate(buffers * usize::from(BUF_BYTES)).expect("heap memory");
    Pool::new(memory).expect("room for a buffer")
}

#[test]
fn every_buffer_is_given_once_and_keeps_its_bytes() {
    let mut pool = pool(&SimWindow::default(), 8);
    let mut bufs: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(bufs.len(), 8);
    for (number, buf) in (0u8..).zip(&mut bufs) {
        assert!(buf.set_len(FRAME_BYTES));
        buf.frame_mut().fill(number);
    }
    for (number, buf) in (0u8..).zip(bufs) {
        assert!(buf.frame().iter().all(|&byte| byte == number));
        pool.put(buf);
    }
    assert_eq!(pool.available(), 8);
}

#[test]
fn a_lent_buffer_is_what_the_device_reads_and_writes() {
    let window = SimWindow::default();
    let mut pool = pool(&window, 2);
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(4) && buf.prepend([9; 12]));
    buf.frame_mut()[12..].copy_from_slice(b"weir");
    let len = buf.len();
    let (in_flight, iova) = pool.lend(buf).expect("the pool's own");
    let mut seen = [0; 16];
    window.read(iova.0, &mut seen);
    assert_eq!((&seen[..12], &seen[12..]), (&[9; 12][..], &b"weir"[..]));
    window.write(iova.0 + 12, b"lock");
    let buf = in_flight.complete(HEADROOM_BYTES, u32::from(len - 12)).expect("inside");
    assert_eq!(buf.frame(), b"lock");
    assert_eq!(window.faults(), 0);
    pool.put(buf);
}

#[test]
fn a_frame_never_leaves_its_buffer() {
    let mut pool = pool(&SimWindow::default(), 2);
    let mut buf = pool.take().expect("a buffer");
    assert!(!buf.set_len(FRAME_BYTES + 1));
    assert!(buf.prepend([0; 64]));
    assert!(!buf.prepend([0; 1]));
    assert!(buf.set_len(BUF_BYTES));
    let (in_flight, _) = pool.lend(buf).expect("the pool's own");
    let in_flight = in_flight.complete(HEADROOM_BYTES, u32::from(FRAME_BYTES) + 1).expect_err("too long");
    let in_flight = in_flight.complete(u16::MAX, 0).expect_err("starts outside");
    let in_flight = in_flight.complete(u16::MAX, u32::MAX).expect_err("both");
    pool.put(in_flight.complete_empty());
    assert_eq!(pool.available(), 2);
}

#[test]
fn a_foreign_buffer_is_not_lent() {
    let window = SimWindow::default();
    let (mut ours, mut theirs) = (pool(&window, 2), pool(&window, 2));
    let buf = theirs.take().expect("a buffer");
    let buf = ours.lend(buf).expect_err("foreign");
    theirs.put(buf);
    assert_eq!((ours.available(), theirs.available()), (2, 2));
    let buf = ours.take().expect("its own is left");
    ours.put(buf);
}

#[test]
fn memory_goes_back_when_every_buffer_is_home() {
    let window = SimWindow::default();
    let mut pool = pool(&window, 2);
    let (in_flight, iova) = pool.take().map(|buf| pool.lend(buf).expect("own")).expect("a buffer");
    window.write(iova.0, &[1]);
    assert_eq!(window.faults(), 0);
    pool.put(in_flight.complete_empty());
    drop(pool);
    window.write(iova.0, &[1]);
    assert_eq!(window.faults(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "leaks on purpose")]
fn memory_stays_while_a_buffer_is_out() {
    let window = SimWindow::default();
    let mut pool = pool(&window, 2);
    let mut buf = pool.take().expect("a buffer");
    drop(pool);
    assert!(buf.set_len(1));
    buf.frame_mut()[0] = 7;
    assert_eq!(buf.frame(), [7]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// A burst is a bounded queue: like a `VecDeque` of the same operations.
    #[test]
    fn a_burst_is_a_queue(operations in proptest::collection::vec(any::<bool>(), 0..64)) {
        let mut pool = pool(&SimWindow::default(), 64);
        let mut burst = Burst::<4>::new();
        let mut model = std::collections::VecDeque::new();
        for (number, is_push) in (0u16..).zip(operations) {
            if is_push {
                let mut buf = pool.take().expect("64 buffers");
                prop_assert!(buf.set_len(number));
                match burst.push(buf) {
                    Ok(()) => model.push_back(number),
                    Err(buf) => {
                        prop_assert_eq!(model.len(), 4);
                        pool.put(buf);
                    }
                }
            } else {
                let popped = burst.pop().map(|buf| {
                    let len = buf.len();
                    pool.put(buf);
                    len
                });
                prop_assert_eq!(popped, model.pop_front());
            }
            prop_assert_eq!(burst.len(), model.len());
            prop_assert_eq!(burst.room(), 4 - model.len());
            prop_assert_eq!(burst.iter_mut().map(|buf| buf.len()).collect::<Vec<_>>(), Vec::from(model.clone()));
        }
        while let Some(buf) = burst.pop() {
            pool.put(buf);
        }
        prop_assert_eq!(pool.available(), pool.buffers());
    }
}

#[test]
fn a_burst_wraps_and_keeps_its_order() {
    let window = SimWindow::default();
    let mut pool = Pool::new(window.allocate(8 * usize::from(BUF_BYTES)).expect("memory")).expect("buffers");
    let mut burst = Burst::<4>::new();
    let (mut next, mut first) = (0_u16, 0_u16);
    for round in 0..40 {
        while burst.room() > round % 3 {
            let mut buf = pool.take().expect("a buffer");
            assert!(buf.set_len(next));
            burst.push(buf).expect("room");
            next += 1;
        }
        assert_eq!(burst.front().map(Buf::len), Some(first));
        let lens: Vec<_> = burst.iter().map(Buf::len).collect();
        assert_eq!(lens, (first..next).collect::<Vec<_>>());
        for _ in 0..1 + round % 2 {
            pool.put(burst.pop().expect("a buffer"));
            first += 1;
        }
    }
    while let Some(buf) = burst.pop() {
        pool.put(buf);
    }
    assert!(burst.front().is_none() && pool.available() == pool.buffers());
}

#[test]
fn a_header_is_stripped_where_there_is_one() {
    let window = SimWindow::default();
    let mut pool = Pool::new(window.allocate(usize::from(BUF_BYTES)).expect("memory")).expect("buffers");
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(3) && buf.strip::<4>().is_none());
    buf.frame_mut().copy_from_slice(&[1, 2, 3]);
    assert_eq!((buf.strip(), buf.frame()), (Some([1, 2]), &[3][..]));
    assert!(!buf.continues() && !buf.is_checksum_good());
    buf.set_continues(true);
    buf.set_checksum_good();
    assert!(buf.continues() && buf.is_checksum_good());
    pool.put(buf);
    let fresh = pool.take().expect("a buffer");
    assert!(!fresh.continues() && !fresh.is_checksum_good(), "a fresh buffer says nothing");
    pool.put(fresh);
}
