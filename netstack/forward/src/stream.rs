//! A stream: what is received at one port and sent at another, or at the same.
//!
//! **Invariant: when a pass ends, every buffer it took is in the pool or with a device.** What the transmit ring has no
//! room for is dropped and counted, as a wire would drop it.

use weir_net::MacAddress;
use weir_nic::{RxQueue, TxQueue};
use weir_pool::{Buf, Burst, Pool};

use crate::pcap::Replay;
use crate::source::{Datagrams, Source};
use crate::{FRAME_MIN_BYTES, Mode, Received, Sent, Settings, five_tuple, mac};

/// Sees every frame received, as it came.
pub trait Capture {
    /// Sees one. It may be of any length.
    fn take(&mut self, frame: &[u8]);
}

/// Captures nothing.
impl Capture for () {
    #[inline]
    fn take(&mut self, _frame: &[u8]) {}
}

/// Captures where there is something to capture with.
impl<C: Capture> Capture for Option<C> {
    #[inline]
    fn take(&mut self, frame: &[u8]) {
        if let Some(capture) = self {
            capture.take(frame);
        }
    }
}

/// Addresses at the sending end.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The sending port's own.
    pub own: MacAddress,
    /// Whom it sends to, in modes that say.
    pub peer: MacAddress,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames received, without those dropped.
    pub received: usize,
    /// Frames sent.
    pub sent: usize,
}

impl Passed {
    /// Whether nothing was received or sent.
    #[must_use]
    pub fn is_idle(self) -> bool {
        self == Passed::default()
    }
}

/// What is done with the frames of a stream, and what was.
#[derive(Debug)]
pub struct Stream<'a, C = ()> {
    mode: Mode,
    /// For [`Mode::Mac`], as they lie in a frame.
    addresses: [u8; 12],
    source: Source<'a>,
    capture: C,
    /// Frames until it is done.
    left: u64,
    received: Received,
    sent: Sent,
}

impl<'a, C: Capture> Stream<'a, C> {
    /// One that sends to `ends`, and makes its own frames where the mode says so.
    pub fn new(settings: &Settings, ends: Ends, capture: C) -> Stream<'a, C> {
        let datagrams = match settings.mode {
            Mode::FlowGen => Datagrams::of_flows(settings.flows, settings.frame_bytes),
            _ => Datagrams::of_one_flow(ends.own, ends.peer, settings.frame_bytes),
        };
        Stream {
            mode: settings.mode,
            addresses: mac::pair(ends.peer, ends.own),
            source: Source::Datagrams(datagrams),
            capture,
            left: settings.frames,
            received: Received::default(),
            sent: Sent::default(),
        }
    }

    /// Has it send, in [`Mode::TxOnly`], the frames of a file, over and over.
    pub fn replay(&mut self, replay: Replay<'a>) {
        self.source = Source::Replay(replay);
    }

    /// What it received.
    #[must_use]
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// What it sent.
    #[must_use]
    pub fn sent(&self) -> &Sent {
        &self.sent
    }

    /// What sees the frames.
    pub fn capture(&mut self) -> &mut C {
        &mut self.capture
    }

    /// Ends it: what saw the frames.
    pub fn into_capture(self) -> C {
        self.capture
    }

    /// Whether the frames that it was to receive ([`Settings::frames`]), or to send where it makes them, were.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// One burst: receives at most `N` frames from `rx`, or makes them, and sends them by `tx`, as the mode says. Both
    /// queues take buffers from `pool`. Never waits.
    ///
    /// # Errors
    /// As of the queues. Where it is a violation, the device must be started again. A frame that is longer than `tx`
    /// sends is an error, too; devices of one kind receive none.
    #[inline]
    pub fn pass<R, T, const N: usize>(
        &mut self,
        rx: &mut R,
        tx: &mut T,
        pool: &mut Pool,
    ) -> Result<Passed, R::Error>
    where
        R: RxQueue,
        T: TxQueue<Error = R::Error>,
    {
        let mut burst = Burst::<N>::new();
        let passed = self.fill_and_send(rx, tx, pool, &mut burst);
        // What the ring had no room for; after an error, what is left.
        put_all(&mut burst, pool);
        passed
    }

    #[inline(always)]
    fn fill_and_send<R, T, const N: usize>(
        &mut self,
        rx: &mut R,
        tx: &mut T,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<Passed, R::Error>
    where
        R: RxQueue,
        T: TxQueue<Error = R::Error>,
    {
        let (mut passed, mut bytes) = (Passed::default(), 0);
        if self.mode != Mode::TxOnly {
            bytes = self.receive(rx, pool, burst)?;
            passed.received = burst.len();
        }
        if !self.mode.forwards() {
            bytes = self.exchange(pool, burst);
        }
        if !burst.is_empty() {
            passed.sent = self.send(tx, pool, burst, bytes)?;
        }
        let done = if self.mode.makes() { passed.sent } else { passed.received };
        self.left = self.left.saturating_sub(done as u64);
        Ok(passed)
    }

    /// Drops what was received, and makes frames in its place where the mode does. Gives their bytes.
    #[inline(never)]
    fn exchange<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> u64 {
        put_all(burst, pool);
        if self.mode.makes() { self.make(pool, burst) } else { 0 }
    }

    /// Receives, counts, drops what is no frame, and does with the others what the mode says. Gives their bytes.
    #[inline(always)]
    fn receive<R: RxQueue, const N: usize>(
        &mut self,
        rx: &mut R,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<u64, R::Error> {
        let result = rx.receive(pool, burst);
        self.received.bursts.count(burst.len());
        if let Err(error) = result {
            self.received.dropped += burst.len() as u64;
            return Err(error);
        }
        if burst.is_empty() {
            return Ok(0);
        }
        burst.iter().for_each(|buf| self.capture.take(buf.frame()));
        let (mut bytes, malformed) = match self.mode {
            Mode::Macswap => touch(burst, |frame| {
                mac::swap(frame);
                true
            }),
            Mode::Mac => {
                let addresses = self.addresses;
                touch(burst, |frame| {
                    mac::set(frame, &addresses);
                    true
                })
            }
            Mode::FiveTupleSwap => touch(burst, five_tuple::swap),
            _ => touch(burst, |_| true),
        };
        if malformed > 0 {
            bytes -= self.sort_out(pool, burst, malformed);
        }
        self.received.packets += burst.len() as u64;
        self.received.bytes += bytes;
        Ok(bytes)
    }

    /// Drops what is no frame, of the `malformed` in `burst`. Gives the bytes dropped.
    #[cold]
    fn sort_out<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>, malformed: u64) -> u64 {
        let (mut dropped, mut bytes) = (0, 0);
        for _ in 0..burst.len() {
            let Some(buf) = burst.pop() else { break };
            if is_frame(&buf) {
                // Into the room that it left.
                burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            } else {
                (dropped, bytes) = (dropped + 1, bytes + u64::from(buf.len()));
                pool.put(buf);
            }
        }
        self.received.dropped += dropped;
        self.received.malformed += malformed - dropped;
        bytes
    }

    /// Fills the burst with frames of its own, as long as there are buffers. Gives their bytes.
    #[inline]
    fn make<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> u64 {
        let mut bytes = 0;
        self.source.begin_burst();
        for _ in 0..self.left.min(N as u64) {
            let Some(mut buf) = pool.take() else { break };
            self.source.write(&mut buf);
            bytes += u64::from(buf.len());
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
        }
        bytes
    }

    /// Sends what the ring takes of the `bytes` in the burst, drops the others.
    #[inline(always)]
    fn send<T: TxQueue, const N: usize>(
        &mut self,
        tx: &mut T,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        bytes: u64,
    ) -> Result<usize, T::Error> {
        let frames = burst.len() as u64;
        let sent = match tx.transmit(pool, burst) {
            Ok(sent) => sent,
            Err(error) => {
                // Whether some of them left is not known.
                self.sent.dropped += frames;
                return Err(error);
            }
        };
        self.sent.packets += sent as u64;
        self.sent.bytes += bytes;
        self.sent.bursts.count(sent);
        if !burst.is_empty() {
            self.drop_unsent(burst, sent);
        }
        Ok(sent)
    }

    /// Counts as dropped what is left of a burst, of which `sent` frames were sent.
    #[cold]
    fn drop_unsent<const N: usize>(&mut self, burst: &Burst<N>, sent: usize) {
        self.sent.dropped += burst.len() as u64;
        self.sent.bytes -= burst.iter().map(|buf| u64::from(buf.len())).sum::<u64>();
        if self.mode.makes() {
            self.source.back_out(sent);
        }
    }
}

/// Whether it has a header.
#[inline]
fn is_frame(buf: &Buf) -> bool {
    buf.len() >= FRAME_MIN_BYTES
}

/// Changes all frames. Gives their bytes, and how many are malformed: no frames, or `change` says `false`.
#[inline(always)]
fn touch<const N: usize>(burst: &mut Burst<N>, change: impl Fn(&mut [u8]) -> bool) -> (u64, u64) {
    let (mut bytes, mut malformed) = (0, 0);
    for buf in burst.iter_mut() {
        bytes += u64::from(buf.len());
        if !is_frame(buf) || !change(buf.frame_mut()) {
            malformed += 1;
        }
    }
    (bytes, malformed)
}

#[inline]
fn put_all<const N: usize>(burst: &mut Burst<N>, pool: &mut Pool) {
    while let Some(buf) = burst.pop() {
        pool.put(buf);
    }
}
