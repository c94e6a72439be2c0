//! The board, written and read at the same time, by hostile bytes, and full.

use std::sync::atomic::{AtomicU8, Ordering};

use proptest::prelude::*;
use weir_board::{BOARD_BYTES, Error, Fault, Owner, Publisher, Snapshot, read};

/// Memory that both sides map.
struct Memory(Vec<AtomicU8>);

impl Memory {
    fn new(bytes: u64) -> Memory {
        Memory((0..bytes).map(|_| AtomicU8::new(0)).collect())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let place = self.0.get(start..start.checked_add(data.len())?)?;
        place.iter().zip(data).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
        Some(())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let place = self.0.get(start..start.checked_add(buffer.len())?)?;
        buffer.iter_mut().zip(place).for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
        Some(())
    }

    fn snapshot(&self) -> Result<Snapshot, Error> {
        read(|offset, buffer| self.read(offset, buffer))
    }
}

/// A snapshot all of whose parts say `number`.
fn numbered(number: u64) -> Snapshot {
    let owner = Owner { name: number.to_string(), packets: [number; 2], ..Owner::default() };
    let fault = Fault { number, ..Fault::default() };
    let last_faults = vec![fault; usize::try_from(number % 7).unwrap()];
    Snapshot { time_ns: number, owners: vec![owner; 3], last_faults, ..Snapshot::default() }
}

#[test]
fn what_is_published_is_read() {
    let (memory, mut publisher) = (Memory::new(BOARD_BYTES), Publisher::default());
    assert_eq!(memory.snapshot(), Err(Error::Empty));
    // Past the sequence byte's end.
    for number in 0..300 {
        publisher.publish(&numbered(number), |offset, data| memory.write(offset, data)).unwrap();
        assert_eq!(memory.snapshot(), Ok(numbered(number)));
    }
}

#[test]
fn what_does_not_fit_leaves_the_board_as_it_was() {
    let (memory, mut publisher) = (Memory::new(BOARD_BYTES), Publisher::default());
    publisher.publish(&numbered(1), |offset, data| memory.write(offset, data)).unwrap();
    let long = Snapshot { owners: vec![Owner::default(); 5000], ..Snapshot::default() };
    let refused = publisher.publish(&long, |offset, data| memory.write(offset, data));
    assert_eq!(refused, Err(Error::TooLong));
    assert_eq!(memory.snapshot(), Ok(numbered(1)));
    let small = Memory::new(16);
    let refused = Publisher::default().publish(&long.clone(), |offset, data| small.write(offset, data));
    assert_eq!(refused, Err(Error::TooLong));
    let refused = Publisher::default().publish(&numbered(1), |offset, data| small.write(offset, data));
    assert_eq!(refused, Err(Error::NoBoard));
    assert_eq!(small.snapshot(), Err(Error::Busy), "half a board is not believed");
}

#[test]
fn a_reader_never_gets_parts_of_two() {
    const PUBLISHED: u64 = 3000;
    let (memory, mut publisher) = (Memory::new(BOARD_BYTES), Publisher::default());
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=PUBLISHED {
                publisher.publish(&numbered(number), |offset, data| memory.write(offset, data)).unwrap();
            }
            is_done.store(true, Ordering::Release);
        });
        let mut newest = 0;
        while !is_done.load(Ordering::Acquire) {
            match memory.snapshot() {
                Ok(snapshot) => {
                    assert_eq!(snapshot, numbered(snapshot.time_ns));
                    assert!(snapshot.time_ns >= newest, "time goes back");
                    newest = snapshot.time_ns;
                }
                Err(error) => assert!(matches!(error, Error::Busy | Error::Empty), "{error}"),
            }
        }
    });
    assert_eq!(memory.snapshot(), Ok(numbered(PUBLISHED)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let memory = Memory::new(BOARD_BYTES);
        memory.write(0, &bytes).unwrap();
        // Whatever it is: no panic, and no more memory than the board has.
        let _ = memory.snapshot();
    }
}
