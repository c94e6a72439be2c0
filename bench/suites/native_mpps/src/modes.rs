//! The loops, as DPDK's testpmd has them: transmit only, receive only, send back (`io`), send back with the Ethernet
//! addresses swapped (`macswap`). Each touches of a frame what testpmd touches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use weir_hal::Error as HostError;
use weir_pool::{Burst, Pool};
use weir_vhost_user::{MonotonicClock, VhostUser};
use weir_virtio::Error;
use weir_virtio::net::{Net, RxQueue, TxQueue};

use crate::tally::Tally;

/// Packets per poll, as testpmd's default.
pub(crate) const BURST: usize = 32;
/// Length of the frames that are made here.
const FRAME_LEN: u16 = 64;
/// Polls between two looks at whether to end.
const POLLS: usize = 1024;
/// How often the first packet is sent, and how long each is waited for.
const TRIES: usize = 100;
const PATIENCE: Duration = Duration::from_millis(100);

/// What to do with packets.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// Transmit only
    Tx,
    /// Receive only
    Rx,
    /// Send back what comes
    Io,
    /// The same, with the Ethernet addresses swapped
    Macswap,
}

/// A started device.
pub(crate) struct Port {
    net: Net<VhostUser>,
    rx: RxQueue<VhostUser>,
    tx: TxQueue<VhostUser>,
    pool: Pool,
}

impl Port {
    pub(crate) fn start(
        mut net: Net<VhostUser>,
        mut rx: RxQueue<VhostUser>,
        mut tx: TxQueue<VhostUser>,
        mut pool: Pool,
    ) -> Result<Port, Error> {
        net.start(&mut rx, &mut tx, &mut pool, &MonotonicClock)?;
        Ok(Port { net, rx, tx, pool })
    }

    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock)
    }

    /// Works until `ends` is set.
    pub(crate) fn run(&mut self, mode: Mode, circulating: usize, ends: &AtomicBool) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        if matches!(mode, Mode::Io | Mode::Macswap) {
            self.inject(circulating)?;
        }
        while !ends.load(Ordering::Relaxed) {
            match mode {
                Mode::Tx => self.repeat(&mut tally, |port| port.transmit(BURST))?,
                Mode::Rx => self.repeat(&mut tally, Port::receive_burst)?,
                Mode::Io => self.repeat(&mut tally, |port| port.forward_burst(|_| ()))?,
                Mode::Macswap => self.repeat(&mut tally, |port| port.forward_burst(swap_addresses))?,
            }
        }
        Ok(tally)
    }

    #[inline]
    fn repeat(
        &mut self,
        tally: &mut Tally,
        poll: impl Fn(&mut Port) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        for _ in 0..POLLS {
            tally.time(|| poll(self))?;
        }
        Ok(())
    }

    /// Sends the packets that will circulate. A back end takes its two queues into service one after the other, and
    /// drops what it received in between: so the first packet is sent until it comes back.
    fn inject(&mut self, packets: usize) -> Result<(), Error> {
        for _ in 0..TRIES {
            self.transmit(1)?;
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                if self.receive_burst()? > 0 {
                    return self.transmit_all(packets);
                }
            }
        }
        Err(HostError::TimedOut { limit_us: 0 }.into())
    }

    fn transmit_all(&mut self, packets: usize) -> Result<(), Error> {
        let mut left = packets;
        while left > 0 {
            left -= self.transmit(left.min(BURST))?;
        }
        Ok(())
    }

    #[inline]
    fn transmit(&mut self, packets: usize) -> Result<usize, Error> {
        let mut burst = Burst::<BURST>::new();
        for _ in 0..packets {
            let Some(mut buf) = self.pool.take() else { break };
            if buf.set_len(FRAME_LEN) {
                write_headers(buf.frame_mut());
            }
            if let Err(buf) = burst.push(buf) {
                self.pool.put(buf);
            }
        }
        let sent = self.tx.transmit(&mut self.pool, &mut burst);
        self.put_all(&mut burst);
        sent
    }

    #[inline]
    fn receive_burst(&mut self) -> Result<usize, Error> {
        let mut burst = Burst::<BURST>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst);
        self.put_all(&mut burst);
        received
    }

    #[inline]
    fn forward_burst(&mut self, touch: impl Fn(&mut [u8])) -> Result<usize, Error> {
        let mut burst = Burst::<BURST>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst)?;
        if received == 0 {
            return Ok(0);
        }
        burst.iter_mut().for_each(|buf| touch(buf.frame_mut()));
        self.tx.transmit(&mut self.pool, &mut burst)?;
        // What the ring did not take is dropped, as testpmd does.
        self.put_all(&mut burst);
        Ok(received)
    }

    #[inline]
    fn put_all(&mut self, burst: &mut Burst<BURST>) {
        while let Some(buf) = burst.pop() {
            self.pool.put(buf);
        }
    }
}

/// What testpmd writes into each packet it makes: Ethernet, IPv4 and UDP headers.
#[inline]
fn write_headers(frame: &mut [u8]) {
    const HEADERS: [u8; 42] = [
        2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet: to, from, IPv4
        0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2, // IPv4: 50 bytes, UDP
        0, 9, 0, 9, 0, 30, 0, 0, // UDP: port 9 to port 9, 30 bytes
    ];
    if let Some(start) = frame.first_chunk_mut() {
        *start = HEADERS;
    }
}

#[inline]
fn swap_addresses(frame: &mut [u8]) {
    if let Some(addresses) = frame.first_chunk_mut::<12>() {
        addresses.rotate_left(6);
    }
}
