//! The ring in all interleavings of two threads, with all values that loads may return: `loom`.
//!
//! Sequentially consistent fences are modelled; the words and entries are `loom`'s, reached through the same `Cells` that
//! shared memory is.

use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU64, fence};
use loom::sync::{Arc, Condvar, Mutex};
use weir_channel::{Cells, Consumer, Desc, Producer, Word};

/// The words of a ring of two entries.
struct Words {
    tail: AtomicU64,
    head: AtomicU64,
    asleep: AtomicU64,
    entries: [AtomicU64; 2],
}

#[derive(Clone)]
struct Model(Arc<Words>);

impl Model {
    fn new() -> Model {
        let word = || AtomicU64::new(0);
        let entries = [AtomicU64::new(0), AtomicU64::new(0)];
        Model(Arc::new(Words { tail: word(), head: word(), asleep: word(), entries }))
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        match word {
            Word::Tail => &self.0.tail,
            Word::Head => &self.0.head,
            Word::Asleep => &self.0.asleep,
        }
    }
}

impl Cells for Model {
    fn entries(&self) -> u32 {
        2
    }
    fn load(&self, word: Word, order: Ordering) -> u64 {
        self.word(word).load(order)
    }
    fn store(&self, word: Word, value: u64, order: Ordering) {
        self.word(word).store(value, order);
    }
    fn load_entry(&self, index: u32) -> u64 {
        self.0.entries[index as usize & 1].load(Ordering::Relaxed)
    }
    fn store_entry(&self, index: u32, value: u64) {
        self.0.entries[index as usize & 1].store(value, Ordering::Relaxed);
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// The kernel's event: a counter that one can wait for.
#[derive(Default)]
struct Event {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Event {
    fn count(&self) -> u64 {
        *self.count.lock().unwrap()
    }
    fn signal(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }
    fn wait(&self, seen: u64) {
        let mut count = self.count.lock().unwrap();
        while *count == seen {
            count = self.changed.wait(count).unwrap();
        }
    }
}

fn desc(number: u32) -> Desc {
    Desc::new().with_number(number).with_bytes(60)
}

/// What is read is what was written, in order, and an entry is not overwritten before it was read.
#[test]
fn entries_arrive_whole_and_in_order() {
    loom::model(|| {
        let words = Model::new();
        let mut producer = Producer::new(words.clone());
        let mut consumer = Consumer::new(words);
        let writer = loom::thread::spawn(move || {
            let mut written = 0;
            while written < 3 {
                if producer.room(1).unwrap() == 0 {
                    loom::thread::yield_now();
                    continue;
                }
                producer.write(desc(written));
                assert!(!producer.publish(), "nobody sleeps");
                written += 1;
            }
        });
        let mut read = 0;
        while read < 3 {
            if consumer.available().unwrap() == 0 {
                loom::thread::yield_now();
                continue;
            }
            assert_eq!(consumer.read(), desc(read));
            consumer.release();
            read += 1;
        }
        assert_eq!(consumer.available(), Ok(0));
        writer.join().unwrap();
    });
}

/// With at most three changes of thread at places where neither waits: all of them take minutes, and find nothing more.
fn bounded() -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model
}

/// A lost wake-up would leave the consumer asleep for ever, which `loom` reports as a deadlock.
#[test]
fn no_wake_up_is_lost() {
    bounded().check(|| {
        let (words, event) = (Model::new(), Arc::new(Event::default()));
        let mut producer = Producer::new(words.clone());
        let mut consumer = Consumer::new(words);
        let bell = Arc::clone(&event);
        let writer = loom::thread::spawn(move || {
            for number in 0..2 {
                producer.write(desc(number));
                if producer.publish() {
                    bell.signal();
                }
            }
        });
        let mut read = 0;
        while read < 2 {
            let seen = event.count();
            if consumer.available().unwrap() > 0 {
                assert_eq!(consumer.read(), desc(read));
                consumer.release();
                read += 1;
            } else {
                if consumer.may_sleep().unwrap() {
                    event.wait(seen);
                }
                consumer.stay_awake();
            }
        }
        writer.join().unwrap();
    });
}
