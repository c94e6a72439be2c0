//! Ports and their streams: devices opened, started, and started again when they break the protocol.
//!
//! All ports take buffers from one pool, so that a frame can go out at another port than it came in.

use alloc::vec::Vec;
use core::fmt::Display;

use weir_hal::{Clock, DmaWindow};
use weir_net::MacAddress;
use weir_nic::{Nic, NicError, Queues};
use weir_pool::{BUF_BYTES, Pool};

use crate::pcap::Replay;
use crate::statistics::OfPort;
use crate::{Capture, Ends, Passed, Settings, Stream, Topology};

/// Frames received or sent at once, as testpmd's default.
pub const BURST: usize = 32;
/// Buffers for the rings of a port, and as many again.
const BUFFERS_PER_PORT: usize = 1024;
/// How long all links may take to come up.
const LINK_LIMIT_US: u64 = 10_000_000;

/// Why ports cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E: Display> {
    /// The driver's.
    #[error("nic: {0}")]
    Nic(E),
    /// The host's.
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    /// A device has no address.
    #[error("port {port} has no MAC address")]
    NoMac {
        /// Which.
        port: usize,
    },
    /// The topology pairs a port with one that is not there.
    #[error("port {port} has no partner to send what it receives")]
    NoPartner {
        /// Which.
        port: usize,
    },
}

/// Devices of one kind.
struct Ports<N: Nic> {
    nets: Vec<N>,
    rx: Vec<N::Rx>,
    tx: Vec<N::Tx>,
    macs: Vec<MacAddress>,
}

/// Ports, and for each the stream of what it receives.
pub struct Forwarder<'a, N: Nic, K, C = ()> {
    ports: Ports<N>,
    pool: Pool,
    clock: K,
    topology: Topology,
    streams: Vec<Stream<'a, Option<C>>>,
    restarts: u64,
}

/// A stream with its queues.
pub struct Lane<'l, 'a, N: Nic, C> {
    stream: &'l mut Stream<'a, Option<C>>,
    rx: &'l mut N::Rx,
    tx: &'l mut N::Tx,
    pool: &'l mut Pool,
}

impl<N: Nic, C: Capture> Lane<'_, '_, N, C> {
    /// One burst: [`Stream::pass`].
    ///
    /// # Errors
    /// As there.
    // One copy for all callers: then the queues' functions have one caller, and are compiled into it.
    #[inline(never)]
    pub fn pass<const B: usize>(&mut self) -> Result<Passed, N::Error> {
        self.stream.pass::<_, _, B>(self.rx, self.tx, self.pool)
    }
}

impl<'a, N: Nic, K: Clock, C: Capture> Forwarder<'a, N, K, C> {
    /// Opens and starts devices, and waits for their links.
    ///
    /// # Errors
    /// A device is another, does not start, or has no address; a link stays down; the topology does not fit.
    pub fn open(
        devices: impl IntoIterator<Item = N::Device>,
        window: &impl DmaWindow,
        clock: K,
        settings: &Settings,
    ) -> Result<Forwarder<'a, N, K, C>, Error<N::Error>> {
        let mut ports = Ports { nets: Vec::new(), rx: Vec::new(), tx: Vec::new(), macs: Vec::new() };
        for (port, device) in devices.into_iter().enumerate() {
            let (net, rx, tx) = N::open(device, window, &clock, Queues::default()).map_err(Error::Nic)?;
            ports.macs.push(MacAddress(net.read_mac().map_err(Error::Nic)?.ok_or(Error::NoMac { port })?));
            ports.nets.push(net);
            ports.rx.push(rx);
            ports.tx.push(tx);
        }
        let count = ports.nets.len();
        let pool = Pool::new(window.allocate(count * BUFFERS_PER_PORT * usize::from(BUF_BYTES))?)?;
        let topology = settings.topology;
        let streams = (0..count).map(|port| {
            let sender = topology.sender(port, count).ok_or(Error::NoPartner { port })?;
            let ends = Ends { own: ports.macs[sender], peer: settings.peer_of(sender) };
            Ok(Stream::new(settings, ends, None))
        });
        let streams = streams.collect::<Result<_, Error<N::Error>>>()?;
        let mut forwarder = Forwarder { ports, pool, clock, topology, streams, restarts: 0 };
        (0..count).try_for_each(|port| forwarder.start(port)).map_err(Error::Nic)?;
        let is_up = |net: &N| matches!(net.read_link_up(), Ok(true));
        weir_hal::wait_until(&forwarder.clock, LINK_LIMIT_US, || forwarder.ports.nets.iter().all(is_up))?;
        Ok(forwarder)
    }

    /// Starts a device, or starts it again.
    fn start(&mut self, port: usize) -> Result<(), N::Error> {
        let Ports { nets, rx, tx, .. } = &mut self.ports;
        nets[port].start(&mut rx[port], &mut tx[port], &mut self.pool, &self.clock)
    }

    /// Shows `capture` what the first port receives.
    pub fn set_capture(&mut self, capture: C) {
        if let Some(stream) = self.streams.first_mut() {
            *stream.capture() = Some(capture);
        }
    }

    /// Has every port send the frames of a file, in [`crate::Mode::TxOnly`].
    pub fn set_replay(&mut self, replay: &Replay<'a>) {
        self.streams.iter_mut().for_each(|stream| stream.replay(replay.clone()));
    }

    /// How many ports there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.streams.len()
    }

    /// A port's address.
    #[must_use]
    pub fn mac(&self, port: usize) -> MacAddress {
        self.ports.macs[port]
    }

    /// The stream of what a port receives.
    pub fn stream(&mut self, port: usize) -> &mut Stream<'a, Option<C>> {
        &mut self.streams[port]
    }

    /// Whether all streams are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.streams.iter().all(Stream::is_done)
    }

    /// How often a device was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// What each port did.
    #[must_use]
    pub fn statistics(&self) -> Vec<OfPort<'_>> {
        let sender = |port| self.topology.sender(port, self.count());
        let of_port = |number| {
            // Who sends what this port received is also who receives what it sends.
            let sent = self.streams[sender(number).unwrap_or(number)].sent();
            OfPort { number, received: self.streams[number].received(), sent }
        };
        (0..self.count()).map(of_port).collect()
    }

    /// The stream of what `port` receives, with what it needs for a pass.
    pub fn lane(&mut self, port: usize) -> Lane<'_, 'a, N, C> {
        let sender = self.topology.sender(port, self.streams.len()).unwrap_or(port);
        let Ports { rx, tx, .. } = &mut self.ports;
        Lane { stream: &mut self.streams[port], rx: &mut rx[port], tx: &mut tx[sender], pool: &mut self.pool }
    }

    /// `times` bursts of every stream that is not done; a device that breaks the protocol is started again. Whether
    /// any frame was received or sent.
    ///
    /// # Errors
    /// As of the queues, and of a start.
    pub fn look(&mut self, times: usize) -> Result<bool, N::Error> {
        let mut is_busy = false;
        for _ in 0..times {
            for port in 0..self.count() {
                if self.streams[port].is_done() {
                    continue;
                }
                match self.lane(port).pass::<BURST>() {
                    Ok(passed) => is_busy |= !passed.is_idle(),
                    Err(error) => self.recover(port, error)?,
                }
            }
        }
        Ok(is_busy)
    }

    /// Starts devices again that stopped by themselves. Costs a register read of each.
    ///
    /// # Errors
    /// As of a start.
    pub fn restart_stopped(&mut self) -> Result<(), N::Error> {
        for port in 0..self.count() {
            if self.ports.nets[port].has_stopped() {
                self.restarts += 1;
                self.start(port)?;
            }
        }
        Ok(())
    }

    /// Starts both devices of a stream again, of which one broke the protocol. Every other error is final.
    #[cold]
    fn recover(&mut self, port: usize, error: N::Error) -> Result<(), N::Error> {
        if !error.is_violation() {
            return Err(error);
        }
        self.restarts += 1;
        let sender = self.topology.sender(port, self.count()).filter(|sender| *sender != port);
        self.start(port)?;
        sender.map_or(Ok(()), |sender| self.start(sender))
    }
}
