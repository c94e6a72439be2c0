//! The loop that answers frames: the same steps as that of `apps/echo`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_abi::stats::Stats;
use weir_hal::Clock;
use weir_net::{Answer, EchoResponder};
use weir_nic::{Nic, NicError, RxQueue, TxQueue};
use weir_pool::Burst;
use weir_vfio::{Function, MonotonicClock};

use crate::{Failure, Port};

/// Frames taken at once.
const BURST: usize = 32;
/// Looks at the ring between two looks at what else there is.
const LOOKS_PER_ROUND: u32 = 1 << 10;
/// Longest sleep, so that a device that stopped is found.
const SLEEP_NS: u64 = 60_000_000_000;

/// What the loop works with.
pub(crate) struct DataPath<N: Nic> {
    port: Port<N>,
    responder: EchoResponder,
    stats: Arc<Stats>,
    received: Burst<BURST>,
    answers: Burst<BURST>,
}

impl<N: Nic<Device = Function>> DataPath<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(port: Port<N>, responder: EchoResponder, stats: Arc<Stats>) -> DataPath<N> {
        DataPath { port, responder, stats, received: Burst::new(), answers: Burst::new() }
    }

    /// Answers until something fails, or the process ends.
    pub(crate) fn run(mut self, is_sleeping: bool) -> Result<(), Failure> {
        self.stats.ready.store(1, Ordering::Release);
        loop {
            let mut is_idle = true;
            for _ in 0..LOOKS_PER_ROUND {
                is_idle &= !self.look()?;
            }
            if is_idle && is_sleeping {
                self.sleep()?;
            }
            if is_idle && self.port.net.has_stopped() {
                self.restart()?;
            }
        }
    }

    /// Takes what arrived and answers it; `true` where something did.
    fn look(&mut self) -> Result<bool, Failure> {
        let Port { rx, pool, .. } = &mut self.port;
        match rx.receive(pool, &mut self.received) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) => self.recover(error)?,
        }
        let (mut packets, mut bytes, mut sent_bytes) = (0, 0, 0);
        while let Some(mut buf) = self.received.pop() {
            packets += 1;
            bytes += u64::from(buf.len());
            if matches!(self.responder.answer(buf.frame_mut()), Answer::Send) {
                sent_bytes += u64::from(buf.len());
                // As many slots as were received: there is room.
                self.answers.push(buf).unwrap_or_else(|buf| self.port.pool.put(buf));
            } else {
                add(&self.stats.dropped, 1);
                self.port.pool.put(buf);
            }
        }
        add(&self.stats.rx_packets, packets);
        add(&self.stats.rx_bytes, bytes);
        self.send(sent_bytes)?;
        Ok(true)
    }

    /// Sends the answers, `bytes` in all; a full ring drops what it does not take, as a wire would.
    fn send(&mut self, mut bytes: u64) -> Result<(), Failure> {
        let Port { tx, pool, .. } = &mut self.port;
        match tx.transmit(pool, &mut self.answers) {
            Ok(sent) => add(&self.stats.tx_packets, sent as u64),
            Err(error) => self.recover(error)?,
        }
        while let Some(buf) = self.answers.pop() {
            bytes -= u64::from(buf.len());
            add(&self.stats.dropped, 1);
            self.port.pool.put(buf);
        }
        add(&self.stats.tx_bytes, bytes);
        Ok(())
    }

    /// Counts as one kernel entry: Linux tells a process of no others.
    fn sleep(&mut self) -> Result<(), Failure> {
        let deadline_ns = MonotonicClock.now_ns().saturating_add(SLEEP_NS);
        add(&self.stats.sleep_kernel_entries, 1);
        add(&self.stats.data_path_kernel_entries, 1);
        match self.port.rx.wait(deadline_ns) {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error),
        }
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: N::Error) -> Result<(), Failure> {
        if !error.is_violation() {
            return Err(error.into());
        }
        eprintln!("vfio-net: {error}");
        self.restart()
    }

    #[cold]
    fn restart(&mut self) -> Result<(), Failure> {
        eprintln!("vfio-net: starting the device again");
        add(&self.stats.device_errors, 1);
        self.port.start()
    }
}

/// Adds to a counter that only this thread writes.
#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
