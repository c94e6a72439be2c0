//! An end of a channel as a network device, for an application that has none: what it sends goes to a switch, what comes
//! from there it receives. The same face as a driver's ([`weir_nic`]), so the application's data path is the same.
//!
//! **Invariant: the application's buffers are the channel's pool**, so nothing is copied on this side; at most half of
//! them stay here, so that the other side has some to fill. While the neighbour is gone the link is down.
//!
//! A neighbour may be ended and come again, or another version of it, under the application's traffic. What it had passed on is
//! received all the same; what it had not taken, and what is sent before it is back, is copied, a few frames of it, and sent
//! when it is: their buffers must go home before the next generation can begin. So less is left to who sends again what was
//! lost, which takes TCP a second.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use weir_hal::{Clock, DeviceInfo, DmaWindow, Iova};
use weir_nic::{Nic, NicError, Opened, Queues, RxQueue, TxOffload, TxQueue};
use weir_pool::{Buf, Burst, Pool};

use super::{Channels, Link, Member, Reach, Share, WAITING_NS};
use crate::bell::Doorbell;
use crate::clock::now_ns;
use crate::env::GrantError;

/// Why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("channel: {0}")]
    Kernel(weir_abi::Error),
}

impl NicError for Error {
    fn is_violation(&self) -> bool {
        false
    }
}

/// A channel to a switch, before it is opened.
pub struct Port {
    share: Share,
    bell: Arc<Doorbell>,
}

impl Channels {
    /// Takes the channel `name`, to be used as a network device.
    ///
    /// # Errors
    /// As [`Channels::join`].
    pub fn port(&mut self, name: &str) -> Result<Port, GrantError> {
        Ok(Port { share: self.join(name, Reach::Threads)?, bell: Arc::clone(self.bell()) })
    }
}

/// What device and queues share. One thread has all of them.
struct Inner {
    link: Link,
    member: Member,
    bell: Arc<Doorbell>,
    /// Frames that wait for the neighbour to be there again, the oldest first.
    kept: VecDeque<Vec<u8>>,
}

/// Frames kept at most.
const KEPT_FRAMES: usize = 128;

impl Inner {
    /// Whether data may move to and fro.
    #[inline]
    fn is_moving(&mut self, pool: &mut Pool) -> bool {
        if !self.member.is_current() {
            self.turn(pool);
        }
        self.member.is_current() && self.link.has_neighbour()
    }

    /// Goes on towards the new generation.
    #[cold]
    fn turn(&mut self, pool: &mut Pool) {
        if self.member.is_leaving() {
            let Inner { link, kept, .. } = self;
            link.end.take_back(pool, |frame| keep(kept, frame));
        }
        self.member.look(core::slice::from_mut(&mut self.link), pool);
    }

    /// Sends what was kept, as far as there are buffers for it.
    #[cold]
    fn send_kept(&mut self, pool: &mut Pool) {
        while let Some(frame) = self.kept.pop_front() {
            let Some(mut buf) = pool.take() else { return self.kept.push_front(frame) };
            let fits = u16::try_from(frame.len()).is_ok_and(|len| buf.set_len(len));
            if !fits {
                pool.put(buf);
                continue;
            }
            buf.frame_mut().copy_from_slice(&frame);
            let mut burst = Burst::<1>::new();
            // It has room for one.
            let _ = burst.push(buf);
            if self.link.send(pool, &mut burst) == 0 {
                burst.pop().into_iter().for_each(|buf| pool.put(buf));
                return self.kept.push_front(frame);
            }
        }
    }
}

fn keep(kept: &mut VecDeque<Vec<u8>>, frame: &[u8]) {
    if kept.len() < KEPT_FRAMES {
        kept.push_back(frame.to_vec());
    }
}

/// The device.
pub struct ChannelNic {
    inner: Rc<RefCell<Inner>>,
    pool: Option<Pool>,
}

/// What comes.
pub struct Rx(Rc<RefCell<Inner>>);

/// What goes.
pub struct Tx(Rc<RefCell<Inner>>);

impl Nic for ChannelNic {
    type Device = Port;
    type Rx = Rx;
    type Tx = Tx;
    type Error = Error;

    /// No PCI function is one.
    fn is_for(_: &DeviceInfo) -> bool {
        false
    }

    fn open(port: Port, _: &impl DmaWindow, _: &impl Clock, _: Queues) -> Result<Opened<Self>, Error> {
        let Share { pool, ends, member } = port.share;
        // A channel was asked for, so there is one.
        let link = ends.into_iter().next().ok_or(Error::Kernel(weir_abi::Error::NotFound))?;
        let inner = Rc::new(RefCell::new(Inner { link, member, bell: port.bell, kept: VecDeque::new() }));
        let (rx, tx) = (Rx(Rc::clone(&inner)), Tx(Rc::clone(&inner)));
        Ok((ChannelNic { inner, pool: Some(pool) }, rx, tx))
    }

    fn take_pool(&mut self) -> Option<Pool> {
        self.pool.take()
    }

    /// There is nothing to start: the other side comes and goes by itself.
    fn start(&mut self, _: &mut Rx, _: &mut Tx, _: &mut Pool, _: &impl Clock) -> Result<(), Error> {
        Ok(())
    }

    fn read_mac(&self) -> Result<Option<[u8; 6]>, Error> {
        Ok(self.inner.borrow().link.mac)
    }

    fn read_link_up(&self) -> Result<bool, Error> {
        let inner = &mut *self.inner.borrow_mut();
        Ok(inner.member.is_current() && inner.link.has_neighbour())
    }

    fn has_stopped(&self) -> bool {
        false
    }
}

impl RxQueue for Rx {
    type Error = Error;

    #[inline]
    fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        let inner = &mut *self.0.borrow_mut();
        let before = burst.len();
        if inner.member.is_leaving() {
            // The neighbour passed it on before it ended.
            inner.link.receive(pool, burst);
            if burst.len() > before {
                return Ok(burst.len() - before);
            }
        }
        if !inner.is_moving(pool) {
            return Ok(0);
        }
        if !inner.kept.is_empty() {
            inner.send_kept(pool);
        }
        inner.link.receive(pool, burst);
        inner.link.give_back(pool, pool.buffers() / 2);
        Ok(burst.len() - before)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        let Inner { link, member, bell, .. } = &mut *self.0.borrow_mut();
        bell.listen();
        let is_current = member.is_current();
        // The others' announcements ring no bell; and until they have come there is nothing to do, whatever is due.
        let deadline_ns = if is_current { deadline_ns } else { now_ns().saturating_add(WAITING_NS) };
        let has_frames = is_current && !link.may_sleep();
        let slept = if has_frames { Ok(0) } else { bell.wait(deadline_ns) };
        link.end.stay_awake();
        match slept {
            Ok(_) => Ok(has_frames),
            Err(weir_abi::Error::TimedOut) => Ok(false),
            Err(error) => Err(Error::Kernel(error)),
        }
    }

    /// There are no addresses here.
    fn offer_wrong_address(&mut self, _: &mut Pool, _: Iova) -> Result<bool, Error> {
        Ok(false)
    }
}

impl TxQueue for Tx {
    type Error = Error;

    /// A channel does nothing to frames, and says so.
    #[inline]
    fn transmit_with<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        _: impl FnMut(&Buf) -> TxOffload,
    ) -> Result<usize, Error> {
        let inner = &mut *self.0.borrow_mut();
        if inner.is_moving(pool) {
            return Ok(inner.link.send(pool, burst));
        }
        while let Some(buf) = burst.pop() {
            keep(&mut inner.kept, buf.frame());
            pool.put(buf);
        }
        Ok(0)
    }

    /// What was sent comes back with what is received.
    fn reclaim(&mut self, _: &mut Pool) -> Result<(), Error> {
        Ok(())
    }

    /// There are no addresses here.
    fn send_wrong_address(&mut self, _: &mut Pool, _: Iova, _: u16) -> Result<bool, Error> {
        Ok(false)
    }
}
