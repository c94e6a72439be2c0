//! The pieces that every host shares: mapped registers, DMA memory, bounded waits. Also run under Miri.
#![expect(unsafe_code, reason = "the test is the host here")]

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_hal::{Clock, DmaMemory, Error, Iova, MappedMmio, Mmio, Register, wait_until};

/// Counts how many keepers were dropped.
struct Keeper(Arc<AtomicUsize>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn memory() -> (NonNull<u8>, Arc<AtomicUsize>) {
    let leaked = Box::leak(Box::new([0u64; 8]));
    (NonNull::from(leaked).cast(), Arc::default())
}

#[test]
fn registers_lie_inside_their_mapping() {
    let (base, dropped) = memory();
    // SAFETY: 64 bytes, leaked, used through this value only.
    let mmio = unsafe { MappedMmio::new(base, 62, Arc::new(Keeper(dropped.clone()))) };
    let word = mmio.register::<u32>(56).expect("inside");
    let half = mmio.register::<u16>(60).expect("the last that fits");
    word.write(0x1234_5678);
    half.write(0xabcd);
    assert_eq!((word.read(), half.read()), (0x1234_5678, 0xabcd));
    assert_eq!(mmio.register::<u8>(56).expect("inside").read(), 0x78);
    for offset in [61, 62, 63, u64::MAX, u64::MAX - 1] {
        assert_eq!(mmio.register::<u16>(offset).err(), Some(Error::OutOfRange), "{offset}");
    }
    assert_eq!(mmio.register::<u64>(4).err(), Some(Error::OutOfRange), "not aligned");
    drop((mmio, half));
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "a register still needs the mapping");
    drop(word);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn parts_of_memory_are_disjoint_and_keep_it() {
    let (base, dropped) = memory();
    // SAFETY: 64 bytes, leaked, used through this value only; no device.
    let mut rest = unsafe { DmaMemory::new(base, Iova(0x1000), 64, Arc::new(Keeper(dropped.clone()))) };
    let front = rest.split_to(24).expect("enough");
    assert_eq!((front.iova(), front.bytes()), (Iova(0x1000), 24));
    assert_eq!((rest.iova(), rest.bytes()), (Iova(0x1018), 40));
    assert_eq!(rest.base().as_ptr().addr() - front.base().as_ptr().addr(), 24);
    assert_eq!(rest.split_to(41).err(), Some(Error::OutOfRange));
    let all = rest.split_to(40).expect("exactly");
    assert_eq!((all.bytes(), rest.bytes()), (40, 0));
    drop((front, rest));
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(all);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

struct Steps(Cell<u64>);

impl Clock for Steps {
    fn now_ns(&self) -> u64 {
        self.0.replace(self.0.get() + 1000)
    }
}

#[test]
fn waits_end() {
    let clock = Steps(Cell::new(0));
    assert_eq!(wait_until(&clock, 5, || false), Err(Error::TimedOut { limit_us: 5 }));
    let mut asked = 0;
    let third = || {
        asked += 1;
        asked == 3
    };
    assert_eq!(wait_until(&clock, 100, third), Ok(()));
    assert_eq!(wait_until(&clock, 0, || true), Ok(()), "asked once even without time");
    assert_eq!(wait_until(&clock, u64::MAX, || true), Ok(()), "no overflow");
}
