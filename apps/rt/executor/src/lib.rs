//! Runs the `async` tasks of one thread.
//!
//! **Invariant: a task is looked at only after something woke it**, however many tasks there are. Nothing here sleeps
//! or enters a kernel: whoever runs the tasks decides what happens when none is ready.
//!
//! ```
//! let mut executor = weir_executor::Executor::new();
//! executor.spawner().spawn(async { /* … */ });
//! executor.run_ready();
//! assert!(executor.is_empty());
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Takes tasks for an [`Executor`]; any of its tasks can hold one.
#[derive(Clone)]
pub struct Spawner(Rc<RefCell<Vec<Task>>>);

impl Spawner {
    /// Adds a task; it is first looked at when the executor runs next.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(Box::pin(task));
    }
}

/// The tasks of one thread.
pub struct Executor {
    tasks: FuturesUnordered<Task>,
    new: Spawner,
    news: Arc<News>,
}

/// Whether some task was woken.
struct News(AtomicBool);

impl Wake for News {
    fn wake(self: Arc<News>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<News>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Executor {
    /// One without tasks.
    #[must_use]
    pub fn new() -> Executor {
        let news = Arc::new(News(AtomicBool::new(false)));
        Executor { tasks: FuturesUnordered::new(), new: Spawner(Rc::default()), news }
    }

    /// What adds tasks.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.new.clone()
    }

    /// Whether every task has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.new.0.borrow().is_empty()
    }

    /// Whether a task waits for its turn. One load.
    #[inline]
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.news.0.load(Ordering::Acquire) || !self.new.0.borrow().is_empty()
    }

    /// Gives each task that was woken a turn, and those that they wake a chance of one; ends soon, whatever tasks wake.
    pub fn run_ready(&mut self) {
        self.tasks.extend(self.new.0.take());
        // Cleared first: who is woken while this runs sets it again.
        self.news.0.store(false, Ordering::Release);
        let waker = Waker::from(self.news.clone());
        let mut context = Context::from_waker(&waker);
        while let Poll::Ready(Some(())) = self.tasks.poll_next_unpin(&mut context) {}
    }
}

impl Default for Executor {
    fn default() -> Executor {
        Executor::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::cell::Cell;
    use core::future::poll_fn;

    /// A task that counts its looks and ends when told.
    fn counting(
        looks: &Rc<Cell<u32>>,
        waker: &Rc<RefCell<Option<Waker>>>,
    ) -> impl Future<Output = ()> + use<> {
        let (looks, waker) = (looks.clone(), waker.clone());
        poll_fn(move |context| {
            looks.set(looks.get() + 1);
            *waker.borrow_mut() = Some(context.waker().clone());
            if looks.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    #[test]
    fn a_task_is_looked_at_when_woken_and_only_then() {
        let mut executor = Executor::new();
        let (looks, waker) = <(Rc<Cell<u32>>, Rc<RefCell<Option<Waker>>>)>::default();
        executor.spawner().spawn(counting(&looks, &waker));
        for _ in 0..100 {
            executor.spawner().spawn(core::future::pending());
        }
        executor.run_ready();
        executor.run_ready();
        assert_eq!(looks.get(), 1);
        assert!(!executor.has_ready());
        for expected in 2..=3 {
            waker.borrow_mut().take().unwrap().wake();
            assert!(executor.has_ready());
            executor.run_ready();
            assert_eq!(looks.get(), expected);
        }
        waker.borrow_mut().take().unwrap().wake();
        executor.run_ready();
        assert_eq!(looks.get(), 3, "it has ended");
    }

    #[test]
    fn a_task_that_wakes_itself_for_ever_does_not_keep_the_thread() {
        let mut executor = Executor::new();
        executor.spawner().spawn(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        executor.run_ready();
        assert!(executor.has_ready() && !executor.is_empty());
    }

    #[test]
    fn tasks_begin_tasks() {
        let mut executor = Executor::new();
        let spawner = executor.spawner();
        let ended = Rc::new(Cell::new(false));
        let mark = ended.clone();
        executor.spawner().spawn(async move { spawner.spawn(async move { mark.set(true) }) });
        executor.run_ready();
        assert!(executor.has_ready());
        executor.run_ready();
        assert!(ended.get() && executor.is_empty());
    }
}
