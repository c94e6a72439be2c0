//! The stack as applications share it, and as whoever runs the device feeds it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{RefCell, RefMut};
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Poll, Waker};

use smoltcp::time::Instant;
use smoltcp::wire::{DnsQueryType, IpAddress, IpCidr, IpEndpoint, Ipv4Address};
use weir_pool::{Burst, Pool};

use crate::connections::Buffers;
use crate::datagram::{Datagram, Reply};
use crate::stack::Stack;
use crate::tcp::{Listener, TcpStream};
use crate::wire::OUT_FRAMES;
use crate::{Config, Counters, Error};

/// The network of one device and one thread. Its copies are the same network.
#[derive(Clone)]
pub struct Net(Rc<RefCell<Stack>>);

/// What runs the device uses these.
impl Net {
    /// A stack whose frames lie in `pool`.
    #[must_use]
    pub fn new(config: &Config, pool: Pool, now_ns: u64) -> Net {
        Net(Rc::new(RefCell::new(Stack::new(config, pool, instant(now_ns)))))
    }

    /// Takes in what the device has received. Wakes whom it concerns.
    pub fn input<const N: usize>(&self, now_ns: u64, burst: &mut Burst<N>) {
        let mut stack = self.stack();
        stack.now = instant(now_ns);
        while let Some(buf) = burst.pop() {
            stack.input(buf);
        }
    }

    /// Does what is due, and makes the frames that are to be sent.
    pub fn flush(&self, now_ns: u64) {
        let mut stack = self.stack();
        stack.now = instant(now_ns);
        stack.flush();
    }

    /// When [`Net::flush`] has something to do at the latest, should nothing be received until then.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.stack().deadline().map(nanoseconds)
    }

    /// Does something with the buffers and with the frames to be sent.
    pub fn with_frames<R>(&self, act: impl FnOnce(&mut Pool, &mut Burst<OUT_FRAMES>) -> R) -> R {
        let stack = &mut *self.stack();
        act(&mut stack.wire.pool, &mut stack.wire.out)
    }

    /// Shows every frame, without a tag of a virtual LAN, to `tap`, which must not call the network. Checksums that the
    /// device fills in ([`Config::tx_checksum`]) are not there yet.
    pub fn set_tap(&self, tap: impl FnMut(&[u8]) + 'static) {
        self.stack().wire.tap = Some(Box::new(tap));
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.stack().wire.counters
    }

    /// Connections in use, those that close and those in a handshake among them; and the latter alone.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let stack = self.stack();
        (stack.connections.len(), stack.connections.half_open())
    }

    pub(crate) fn stack(&self) -> RefMut<'_, Stack> {
        self.0.borrow_mut()
    }
}

/// Applications use these.
impl Net {
    /// Listens for connections to `port`. While `backlog` wait to be accepted no further handshake begins; its peer asks
    /// again. Those that are under way are still let in.
    ///
    /// # Errors
    /// `PortTaken`.
    pub fn listen(&self, port: u16, buffers: Buffers, backlog: usize) -> Result<Listener, Error> {
        self.stack().listen(port, buffers, backlog)?;
        Ok(Listener { net: self.clone(), port })
    }

    /// Connects with `remote`.
    ///
    /// # Errors
    /// `Unreachable`, `TooMany`, `NotAccepted`.
    pub async fn connect(&self, remote: IpEndpoint, buffers: Buffers) -> Result<TcpStream, Error> {
        let id = self.stack().connect(remote, buffers)?;
        let mut stream = TcpStream { net: self.clone(), id };
        match stream.connected().await {
            Ok(()) => {
                self.stack().opened(id.index);
                Ok(stream)
            }
            Err(()) => Err(Error::NotAccepted { remote }),
        }
    }

    /// Has `service` answer datagrams to `port`, where they lie. It must not call the network.
    ///
    /// # Errors
    /// `PortTaken`.
    pub fn serve_udp(
        &self,
        port: u16,
        service: impl FnMut(Datagram<'_>) -> Reply + 'static,
    ) -> Result<(), Error> {
        self.stack().serve_udp(port, Box::new(service))
    }

    /// Waits for an IPv4 address, and gives it.
    pub async fn addressed(&self) -> Ipv4Address {
        loop {
            if let Some(address) = self.addressed_anew(None).await {
                return address;
            }
        }
    }

    /// Waits until the IPv4 address is another one than `known`, and gives it; `None`: there is none, as when a server does
    /// not renew what it has given.
    pub async fn addressed_anew(&self, known: Option<Ipv4Address>) -> Option<Ipv4Address> {
        poll_fn(|context| {
            let mut stack = self.stack();
            match stack.ipv4() {
                address if address != known => Poll::Ready(address),
                _ => {
                    stack.wake_when_addressed(context.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The addresses of this host.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpCidr> {
        self.stack().addresses().to_vec()
    }

    /// Asks the name servers that DHCP has named for the addresses of a host.
    ///
    /// # Errors
    /// `BadName`, `NoSuchName`.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddress>, Error> {
        let query = self.stack().query(name, DnsQueryType::A)?;
        poll_fn(|context| match self.stack().query_result(query, context.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        })
        .await
    }

    /// The time of the last look at the device, in nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        nanoseconds(self.stack().now)
    }

    /// Waits until then.
    pub async fn sleep_until(&self, until_ns: u64) {
        let sleep = Sleep { net: self, until: instant(until_ns), number: None };
        let mut sleep = pin!(sleep);
        poll_fn(|context| sleep.poll(context.waker())).await;
    }

    /// The outcome of `work`; `None` where it has none by then.
    pub async fn within<T>(&self, until_ns: u64, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut sleep = Sleep { net: self, until: instant(until_ns), number: None };
        poll_fn(|context| {
            if let Poll::Ready(outcome) = work.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            sleep.poll(context.waker()).map(|()| None)
        })
        .await
    }
}

/// A wait for a time; dropped, it is forgotten.
struct Sleep<'a> {
    net: &'a Net,
    until: Instant,
    number: Option<u64>,
}

impl Sleep<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let mut stack = self.net.stack();
        if self.until <= stack.now {
            return Poll::Ready(());
        }
        // The same task may be looked at for another reason, and by another waker.
        if let Some(number) = self.number {
            stack.forget_sleep(self.until, number);
        }
        self.number = Some(stack.sleep(self.until, waker));
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.net.stack().forget_sleep(self.until, number);
        }
    }
}

fn instant(ns: u64) -> Instant {
    // Later than 290,000 years is never.
    Instant::from_micros(i64::try_from(ns / 1000).unwrap_or(i64::MAX))
}

fn nanoseconds(instant: Instant) -> u64 {
    u64::try_from(instant.total_micros()).unwrap_or(0).saturating_mul(1000)
}
