//! A host on a link that owns its network device: answers for its address, finds its neighbour, sends, and counts.
//!
//! **Invariant: between [`Station::begin`] and [`Station::finish`] the kernel is entered for lines of the log alone**, and those
//! entries are counted apart.
//!
//! Reading order: this file (set-up, frames) · [`Watch`] (what is counted) · [`Failure`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod failure;
mod watch;

use weir_abi::stats::Stats;
use weir_hal::wait_until;
use weir_net::{Answer, EchoResponder, Ipv4Network, MacAddress};
use weir_nic::{Nic, NicError, Queues, RxQueue, TxQueue};
use weir_pool::{Buf, Burst};
use weir_port::Port;
use weir_rt::clock::now_ns;
use weir_rt::hal::{Function, TscClock};
use weir_rt::log;
use weir_traffic::neighbour;
use weir_traffic::words::Route;

pub use failure::Failure;
pub use watch::Watch;

/// Frames received or sent at once.
pub const BURST: usize = 32;
/// Buffers for both rings, and as many again.
const POOL_BYTES: usize = 2 << 20;
/// How long the link may take to come up.
const LINK_LIMIT_US: u64 = 10_000_000;
/// Time between two questions for a neighbour, and until its silence is told.
const ASK_NS: u64 = 200_000_000;
const PATIENCE_NS: u64 = 5_000_000_000;
/// How long the device may take to send what it has.
const SENDING_NS: u64 = 2_000_000_000;

/// What a frame is to who looks at it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was awaited.
    Taken,
    /// The station may answer it.
    Left,
}

/// The host.
pub struct Station<N: Nic> {
    port: Port<N>,
    mac: MacAddress,
    /// Answers ARP, ping and UDP echo, where the host has an address.
    responder: Option<EchoResponder>,
    received: Burst<BURST>,
    answers: Burst<BURST>,
    /// Buffers that nobody has while nothing is being sent.
    at_rest: usize,
    /// What it counts.
    pub watch: Watch,
}

impl<N: Nic<Device = Function>> Station<N>
where
    Failure: From<N::Error>,
{
    /// Opens and starts the device, and waits for its link.
    ///
    /// # Errors
    /// The device is another or does not start; the link stays down.
    pub fn open(
        function: Function,
        own: Option<Ipv4Network>,
        stats: &'static Stats,
    ) -> Result<Station<N>, Failure> {
        let mut port = Port::<N>::open::<Failure>(function, Queues::default(), POOL_BYTES)?;
        let mac = MacAddress(port.read_mac::<Failure>()?);
        port.start()?;
        let is_up = || matches!(port.nic.read_link_up(), Ok(true));
        wait_until(&TscClock, LINK_LIMIT_US, is_up).map_err(|_| Failure::LinkDown)?;
        let responder = own.map(|own| EchoResponder::new(mac, own));
        let (received, answers) = (Burst::new(), Burst::new());
        let at_rest = port.pool.available();
        Ok(Station { port, mac, responder, received, answers, at_rest, watch: Watch::new(stats) })
    }

    /// The host's address on the link.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Asks the link for the neighbour to whom frames of `route` go, until it answers; tells of its silence.
    ///
    /// # Errors
    /// The device's.
    pub fn find(&mut self, route: &Route) -> Result<MacAddress, Failure> {
        if let Some(mac) = route.mac {
            return Ok(mac);
        }
        let request = neighbour::request(self.mac, route.own.address, route.next_hop);
        let (mut found, mut next_ask_ns, mut patience_ns) = (None, 0, now_ns() + PATIENCE_NS);
        let mac = self.mac;
        loop {
            let now = now_ns();
            if now >= next_ask_ns {
                next_ask_ns = now + ASK_NS;
                self.say(&request)?;
            }
            if now >= patience_ns {
                patience_ns = now + PATIENCE_NS;
                log!(
                    "{} does not answer ARP; is it there? mac= names its address on the link",
                    route.next_hop
                );
            }
            self.receive(|frame| {
                found = found.or(neighbour::answer(frame, mac, route.next_hop));
                if found.is_some() { Seen::Taken } else { Seen::Left }
            })?;
            if let Some(mac) = found {
                return Ok(mac);
            }
        }
    }

    /// Sends a frame of the host's own; where there is no room, it is as good as lost on the wire.
    fn say(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let Some(mut buf) = self.port.pool.take() else { return Ok(()) };
        if u16::try_from(frame.len()).is_ok_and(|len| buf.set_len(len)) {
            buf.frame_mut().copy_from_slice(frame);
        }
        if let Err(buf) = self.answers.push(buf) {
            self.port.pool.put(buf);
        }
        self.answer()
    }

    /// Shows `see` what arrived, and answers what it leaves.
    ///
    /// # Errors
    /// The device's, where starting it again does not help.
    #[inline]
    pub fn receive(&mut self, mut see: impl FnMut(&[u8]) -> Seen) -> Result<(), Failure> {
        match self.port.rx.receive(&mut self.port.pool, &mut self.received) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => self.recover(error)?,
        }
        while let Some(mut buf) = self.received.pop() {
            self.watch.count_received(buf.len());
            let is_left = see(buf.frame()) == Seen::Left;
            let may_answer = self.responder.as_ref().filter(|_| is_left);
            let is_answer =
                may_answer.is_some_and(|responder| responder.answer(buf.frame_mut()) == Answer::Send);
            if is_left && !is_answer {
                self.watch.count_dropped();
            }
            // As many slots as were received: there is room.
            let kept = if is_answer { self.answers.push(buf).err() } else { Some(buf) };
            if let Some(buf) = kept {
                self.port.pool.put(buf);
            }
        }
        if self.answers.is_empty() { Ok(()) } else { self.answer() }
    }

    /// Sends the answers; a full ring drops what it does not take, as a wire would.
    fn answer(&mut self) -> Result<(), Failure> {
        let Port { tx, pool, .. } = &mut self.port;
        let sent = tx.transmit(pool, &mut self.answers);
        while let Some(buf) = self.answers.pop() {
            pool.put(buf);
        }
        match sent {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error),
        }
    }

    /// An empty buffer; where all are on their way, `None`, and those that were sent come back.
    ///
    /// # Errors
    /// The device's, where starting it again does not help.
    #[inline]
    pub fn take(&mut self) -> Result<Option<Buf>, Failure> {
        match self.port.pool.take() {
            Some(buf) => Ok(Some(buf)),
            None => self.reclaim().map(|()| None),
        }
    }

    /// Takes back a buffer that was not used.
    pub fn put(&mut self, buf: Buf) {
        self.port.pool.put(buf);
    }

    /// Sends from the front of `burst` what the device takes; the rest stays. Returns how many.
    ///
    /// # Errors
    /// The device's, where starting it again does not help.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst<BURST>) -> Result<usize, Failure> {
        let bytes = |burst: &Burst<BURST>| burst.iter().map(|buf| u64::from(buf.len())).sum::<u64>();
        let before = bytes(burst);
        match self.port.tx.transmit(&mut self.port.pool, burst) {
            Ok(sent) => {
                self.watch.count_sent(sent as u64, before - bytes(burst));
                Ok(sent)
            }
            Err(error) => self.recover(error).map(|()| 0),
        }
    }

    fn reclaim(&mut self) -> Result<(), Failure> {
        match self.port.tx.reclaim(&mut self.port.pool) {
            Ok(()) => Ok(()),
            Err(error) => self.recover(error),
        }
    }

    /// The data path begins.
    pub fn begin(&mut self) {
        self.watch.begin();
    }

    /// What is done now and then: a device that stopped by itself is started again.
    ///
    /// # Errors
    /// It does not start.
    pub fn visit(&mut self) -> Result<(), Failure> {
        if self.port.nic.has_stopped() {
            self.watch.off_path(|| log!("nic: it stopped; starting it again"));
            self.watch.count_device_error();
            self.port.start()?;
        }
        Ok(())
    }

    /// Lets the device send what it has, and shows the counters. The program may end then.
    ///
    /// # Errors
    /// The device's; it does not give back what it was told to send.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let end_ns = now_ns() + SENDING_NS;
        while self.port.pool.available() < self.at_rest {
            self.reclaim()?;
            // Receiving offers the device as many buffers as it takes.
            self.receive(|_| Seen::Left)?;
            if now_ns() >= end_ns {
                return Err(Failure::Stuck);
            }
        }
        self.watch.publish();
        Ok(())
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: N::Error) -> Result<(), Failure> {
        if !error.is_violation() {
            return Err(error.into());
        }
        self.watch.off_path(|| log!("nic: {error}; starting it again"));
        self.watch.count_device_error();
        Ok(self.port.start()?)
    }
}
