//! An end of a channel as a network device, for an application that has none: what it sends goes to a switch, what comes
//! from there it receives. The same face as a driver's ([`weir_nic`]), so the application's data path is the same.
//!
//! **Invariant: the application's buffers are the channel's pool**, so nothing is copied on this side; at most half of
//! them stay here, so that the other side has some to fill. While the neighbour is gone the link is down, and frames to be
//! sent are not taken.

use alloc::rc::Rc;
use alloc::sync::Arc;
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
}

impl Inner {
    /// Whether data may move to and fro.
    #[inline]
    fn is_moving(&mut self, pool: &mut Pool) -> bool {
        self.member.look(core::slice::from_mut(&mut self.link), pool) && self.link.has_neighbour()
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
        let inner = Rc::new(RefCell::new(Inner { link, member, bell: port.bell }));
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
        if !inner.is_moving(pool) {
            return Ok(0);
        }
        let before = burst.len();
        inner.link.receive(pool, burst);
        inner.link.give_back(pool, pool.buffers() / 2);
        Ok(burst.len() - before)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        let Inner { link, member, bell } = &mut *self.0.borrow_mut();
        bell.listen();
        let is_current = member.is_current();
        // The others' announcements ring no bell.
        let deadline_ns =
            if is_current { deadline_ns } else { deadline_ns.min(now_ns().saturating_add(WAITING_NS)) };
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
        Ok(if inner.is_moving(pool) { inner.link.send(pool, burst) } else { 0 })
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
