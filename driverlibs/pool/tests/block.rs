//! The promises of the buffers for block devices, on simulated DMA memory. Also run under Miri.

use weir_hal::{DmaWindow, Error};
use weir_pool::{BLOCK_BUF_MAX_BYTES, BLOCK_BUF_MIN_BYTES, BlockPool};
use weir_sim::SimWindow;

fn pool(window: &SimWindow, buffers: usize, buffer_bytes: u32) -> BlockPool {
    let memory = window.allocate(buffers * buffer_bytes as usize).expect("heap memory");
    BlockPool::new(memory, buffer_bytes).expect("room for a buffer")
}

#[test]
fn every_buffer_is_given_once_and_keeps_its_bytes() {
    for buffer_bytes in [4096, 16384] {
        let mut pool = pool(&SimWindow::default(), 5, buffer_bytes);
        let mut bufs: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((bufs.len(), pool.available(), pool.buffers()), (5, 0, 5));
        for (number, buf) in (0u8..).zip(&mut bufs) {
            assert!(buf.is_empty() && buf.set_len(buffer_bytes));
            buf.bytes_mut().fill(number);
        }
        for (number, buf) in (0u8..).zip(bufs) {
            assert!(buf.bytes().iter().all(|&byte| byte == number));
            pool.put(buf);
        }
        assert_eq!(pool.available(), 5);
    }
}

#[test]
fn a_lent_buffer_is_what_the_device_reads_and_writes() {
    let window = SimWindow::default();
    let mut pool = pool(&window, 2, 4096);
    let _first = pool.take().expect("a buffer");
    let mut buf = pool.take().expect("a second");
    assert!(buf.set_len(512));
    buf.bytes_mut().fill(7);
    let (in_flight, iova) = buf.lend();
    assert!(iova.0.is_multiple_of(4096));
    let mut seen = [0; 512];
    window.read(iova.0, &mut seen);
    assert_eq!(seen, [7; 512]);
    window.write(iova.0 + 510, b"ok");
    let buf = in_flight.complete();
    assert_eq!((buf.len(), &buf.bytes()[509..]), (512, &b"\x07ok"[..]));
    assert_eq!(window.faults(), 0);
}

#[test]
fn data_never_leaves_its_buffer() {
    let mut pool = pool(&SimWindow::default(), 1, 8192);
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(8192) && !buf.set_len(8193) && !buf.set_len(u32::MAX));
    assert_eq!((buf.len(), buf.capacity(), buf.bytes().len()), (8192, 8192, 8192));
    pool.put(buf);
}

#[test]
fn impossible_sizes_are_refused() {
    let window = SimWindow::default();
    for buffer_bytes in [0, 512, BLOCK_BUF_MIN_BYTES - 1, 12288, BLOCK_BUF_MAX_BYTES * 2, u32::MAX] {
        let memory = window.allocate(4 << 20).expect("heap memory");
        assert_eq!(BlockPool::new(memory, buffer_bytes).err(), Some(Error::OutOfRange), "{buffer_bytes}");
    }
    let mut memory = window.allocate(8192).expect("heap memory");
    assert_eq!(memory.split_to(512).map(|part| part.bytes()), Ok(512));
    assert_eq!(BlockPool::new(memory, 4096).err(), Some(Error::OutOfRange), "within a page");
    let short = window.allocate(4096).expect("heap memory");
    assert_eq!(BlockPool::new(short, 8192).err(), Some(Error::OutOfRange), "too short");
}

#[test]
fn memory_goes_back_when_every_buffer_is_home() {
    let window = SimWindow::default();
    let mut pool = pool(&window, 2, 4096);
    let (in_flight, iova) = pool.take().expect("a buffer").lend();
    window.write(iova.0, &[1]);
    assert_eq!(window.faults(), 0);
    pool.put(in_flight.complete());
    drop(pool);
    window.write(iova.0, &[1]);
    assert_eq!(window.faults(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "leaks on purpose")]
fn memory_stays_while_a_device_has_a_buffer() {
    let window = SimWindow::default();
    let mut pool = pool(&window, 2, 4096);
    let (in_flight, iova) = pool.take().expect("a buffer").lend();
    drop(pool);
    window.write(iova.0, &[1]);
    assert_eq!(window.faults(), 0);
    assert!(in_flight.complete().is_empty());
}
