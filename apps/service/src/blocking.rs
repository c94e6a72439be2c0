//! For programs that do one thing after the other: waiting is a call, which goes round the device, the network and the tasks
//! until there is an outcome.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use weir_sockets::Net;

use crate::{Failure, Spawner};

/// What goes round.
pub(crate) trait Round {
    /// What the thread did before is no part of the data path.
    fn begin(&mut self);

    /// Looks at the device once, and does what is due; sleeps where nothing is and it may.
    fn step(&mut self) -> Result<(), Failure>;
}

/// The network, for a program that waits.
///
/// ```ignore
/// weir_service::run_blocking(&mut env, &network, |host| {
///     let net = host.net().clone();
///     let mut stream = host.wait(net.connect(remote, Buffers::default()))??;
///     host.wait(stream.write_all(b"hello"))??;
///     Ok(())
/// })
/// ```
pub struct Host<'a> {
    net: Net,
    spawner: Spawner,
    rounds: &'a mut dyn Round,
    woken: Arc<Woken>,
}

/// Whether what is waited for wants to be looked at.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Woken>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Woken>) {
        self.0.store(true, Ordering::Release);
    }
}

impl<'a> Host<'a> {
    pub(crate) fn new(net: Net, spawner: Spawner, rounds: &'a mut dyn Round) -> Host<'a> {
        Host { net, spawner, rounds, woken: Arc::new(Woken(AtomicBool::new(false))) }
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// What adds tasks, which have their turns during every wait.
    #[must_use]
    pub fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// What was done before is no part of the data path.
    pub(crate) fn begin(&mut self) {
        self.rounds.begin();
    }

    /// Waits until `work` is done, and gives its outcome.
    ///
    /// # Errors
    /// The device failed.
    pub fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = pin!(work);
        let waker = Waker::from(self.woken.clone());
        let mut context = Context::from_waker(&waker);
        self.woken.0.store(true, Ordering::Relaxed);
        loop {
            if self.woken.0.swap(false, Ordering::Acquire)
                && let Poll::Ready(outcome) = work.as_mut().poll(&mut context)
            {
                return Ok(outcome);
            }
            self.rounds.step()?;
        }
    }
}
