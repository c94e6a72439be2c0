//! Which requests a disk can be asked.

use weir_block::{BadRequest, Disk, Request};
use weir_hal::DmaWindow;
use weir_pool::{BlockBuf, BlockPool};
use weir_sim::SimWindow;

const DISK: Disk =
    Disk { block_shift: 9, blocks: 100, transfer_max_bytes: 4096, is_read_only: false, can_trim: true };

fn buffer(len: u32) -> BlockBuf {
    let memory = SimWindow::default().allocate(16384).expect("heap memory");
    let mut pool = BlockPool::new(memory, 16384).expect("one buffer");
    let mut buf = pool.take().expect("a buffer");
    assert!(buf.set_len(len));
    buf
}

#[test]
#[cfg_attr(miri, ignore = "leaks on purpose")]
fn reads_and_writes_are_whole_blocks_inside_the_disk() {
    let check = |block, len| {
        let read = DISK.check(&Request::read(0, block, buffer(len), 0));
        assert_eq!(read, DISK.check(&Request::write(0, block, buffer(len), 0)));
        read
    };
    assert_eq!(check(0, 512), Ok(1));
    assert_eq!(check(92, 4096), Ok(8));
    assert_eq!(check(93, 4096), Err(BadRequest::OutOfRange));
    assert_eq!(check(99, 512), Ok(1));
    assert_eq!(check(100, 512), Err(BadRequest::OutOfRange));
    assert_eq!(check(u64::MAX, 512), Err(BadRequest::OutOfRange));
    assert_eq!(check(0, 0), Err(BadRequest::OutOfRange));
    assert_eq!(check(0, 511), Err(BadRequest::Length));
    assert_eq!(check(0, 4608), Err(BadRequest::Length));
}

#[test]
fn trims_and_flushes() {
    assert_eq!(DISK.check(&Request::flush(0, 0)), Ok(0));
    assert_eq!(DISK.check(&Request::trim(0, 1, 99, 0)), Ok(99));
    assert_eq!(DISK.check(&Request::trim(0, 1, 100, 0)), Err(BadRequest::OutOfRange));
    assert_eq!(DISK.check(&Request::trim(0, 0, 0, 0)), Err(BadRequest::OutOfRange));
    let cannot = Disk { can_trim: false, ..DISK };
    assert_eq!(cannot.check(&Request::trim(0, 1, 99, 0)), Err(BadRequest::NoTrim));
}

#[test]
#[cfg_attr(miri, ignore = "leaks on purpose")]
fn a_read_only_disk_is_read_only() {
    let disk = Disk { is_read_only: true, ..DISK };
    assert_eq!(disk.check(&Request::read(0, 0, buffer(512), 0)), Ok(1));
    assert_eq!(disk.check(&Request::write(0, 0, buffer(512), 0)), Err(BadRequest::ReadOnly));
    assert_eq!(disk.check(&Request::trim(0, 0, 1, 0)), Err(BadRequest::ReadOnly));
}
