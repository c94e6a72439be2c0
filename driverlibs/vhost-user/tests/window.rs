//! The window's allocator.

use weir_hal::{DmaWindow, Error};
use weir_vhost_user::Window;

const PAGE: usize = 4096;

#[test]
fn runs_are_disjoint_zeroed_and_given_back_whole() {
    let window = Window::new(1).expect("memory");
    assert_eq!(window.bytes(), 2 << 20);
    let mut runs: Vec<_> = (0..512).map(|_| window.allocate(1).expect("room")).collect();
    assert_eq!(window.allocate(1).err(), Some(Error::NoMemory));
    let mut places: Vec<u64> = runs.iter().map(|run| run.iova().0).collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] == PAGE as u64));
    // Every second one first, so that holes appear; then the others, so that they close.
    let mut index = 0;
    runs.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    assert_eq!(window.allocate(2 * PAGE).err(), Some(Error::NoMemory), "only single pages are free");
    runs.clear();
    assert!(window.allocate(2 << 20).is_ok(), "one run again");
}

#[test]
fn impossible_lengths_are_refused() {
    let window = Window::new(1).expect("memory");
    assert_eq!(window.allocate(0).err(), Some(Error::OutOfRange));
    assert_eq!(window.allocate(usize::MAX).err(), Some(Error::OutOfRange));
    assert_eq!(window.allocate((2 << 20) + 1).err(), Some(Error::NoMemory));
}

#[test]
fn a_part_keeps_the_whole() {
    let window = Window::new(1).expect("memory");
    let mut whole = window.allocate(2 << 20).expect("room");
    let part = whole.split_to(PAGE).expect("longer");
    drop(whole);
    assert_eq!(window.allocate(1).err(), Some(Error::NoMemory), "the part is in use");
    drop(part);
    assert!(window.allocate(2 << 20).is_ok());
}

#[test]
fn what_was_used_before_comes_zeroed() {
    let window = Window::new(1).expect("memory");
    let mut pool = weir_pool::Pool::new(window.allocate(PAGE).expect("room")).expect("buffers");
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(64));
    buf.frame_mut().fill(0xee);
    pool.put(buf);
    drop(pool);
    let mut pool = weir_pool::Pool::new(window.allocate(PAGE).expect("room")).expect("buffers");
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(64));
    assert_eq!(buf.frame_mut(), [0; 64]);
    pool.put(buf);
}
