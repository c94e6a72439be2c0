//! What all connections share: the store, and how far its changes are on the disk.
//!
//! **Invariant: a change is in a batch from the moment it is made** (the next one, until it is taken); batches are kept in
//! their order, so that one number says what is on the disk.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

use weir_kv_logic::{Options, Store};
use weir_rt::clock::now_ns;
use weir_rt::random;

/// What connections share.
pub(crate) struct Contents {
    pub(crate) store: RefCell<Store>,
    /// Batches of changes taken by the log; batches that are on the disk.
    taken: Cell<u64>,
    kept: Cell<u64>,
    /// The contents are being written as a whole and must not change.
    is_held: Cell<bool>,
    /// What the clock is ahead of the machine's.
    ahead_ms: Cell<u64>,
    /// Connections that wait for the disk; the log that waits for changes.
    waiting: RefCell<Vec<Waker>>,
    log: RefCell<Option<Waker>>,
}

impl Contents {
    pub(crate) fn new(budget_bytes: usize, is_logged: bool) -> Contents {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&random::seed().to_le_bytes());
        seed[8..].copy_from_slice(&random::seed().to_le_bytes());
        let store = Store::new(&Options { budget_bytes, seed, is_logged });
        Contents {
            store: RefCell::new(store),
            taken: Cell::new(0),
            kept: Cell::new(0),
            is_held: Cell::new(false),
            ahead_ms: Cell::new(0),
            waiting: RefCell::default(),
            log: RefCell::default(),
        }
    }

    /// The time by which entries end: the machine's, which begins at its start, but never before what the disk has seen.
    pub(crate) fn now_ms(&self) -> u64 {
        (now_ns() / 1_000_000).saturating_add(self.ahead_ms.get())
    }

    /// The clock goes on from `time_ms`, if it is not that late yet.
    pub(crate) fn go_on_from(&self, time_ms: u64) {
        let behind_ms = time_ms.saturating_sub(self.now_ms());
        self.ahead_ms.set(self.ahead_ms.get().saturating_add(behind_ms));
    }

    /// Waits until the contents may change.
    pub(crate) async fn may_change(&self) {
        self.wait_until(|| !self.is_held.get()).await;
    }

    /// Waits until all changes made so far are on the disk.
    pub(crate) async fn are_kept(&self) {
        let has_new = !self.store.borrow().changes().is_empty();
        let batch = self.taken.get() + u64::from(has_new);
        if batch > self.kept.get() {
            self.wake_log();
            self.wait_until(|| self.kept.get() >= batch).await;
        }
    }

    /// Waits for changes, and moves them to the end of `out`.
    pub(crate) async fn take_changes(&self, out: &mut Vec<u8>) {
        poll_fn(|context| {
            let mut store = self.store.borrow_mut();
            if store.changes().is_empty() {
                *self.log.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            store.take_changes(out);
            self.taken.set(self.taken.get() + 1);
            Poll::Ready(())
        })
        .await;
    }

    /// All that was taken is on the disk.
    pub(crate) fn set_kept(&self) {
        self.kept.set(self.taken.get());
        self.wake_waiting();
    }

    /// The contents must not change, or may again.
    pub(crate) fn hold(&self, is_held: bool) {
        self.is_held.set(is_held);
        self.wake_waiting();
    }

    async fn wait_until(&self, condition: impl Fn() -> bool) {
        poll_fn(|context| {
            if condition() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn wake_log(&self) {
        if let Some(waker) = self.log.borrow_mut().take() {
            waker.wake();
        }
    }

    fn wake_waiting(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}
