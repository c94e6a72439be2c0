//! The loop that answers packets.
//!
//! **Invariant: between two looks at the device nothing allocates, locks, copies a frame, or enters the kernel**;
//! what needs more is done once in [`LOOKS_PER_ROUND`] looks.

use weir_net::{Answer, EchoResponder};
use weir_nic::{Nic, NicError, RxQueue, TxQueue};
use weir_pool::Burst;
use weir_port::Port;
use weir_rt::clock::now_ns;
use weir_rt::poll::{Poller, Step};
use weir_rt::{log, thread};

use crate::Failure;
use crate::watch::Watch;

/// Frames taken at once.
const BURST: usize = 32;
/// Looks at the ring between two rounds: a millisecond or so.
const LOOKS_PER_ROUND: u32 = 1 << 14;
/// Time between two readings of the device's registers.
const VISIT_NS: u64 = 100_000_000;
/// Idle spinning before a sleep.
const SPIN_MIN_NS: u64 = 10_000;
const SPIN_MAX_NS: u64 = 200_000;
/// Longest sleep, so that the watch gets its turn.
const SLEEP_NS: u64 = 500_000_000;

/// What the loop works with.
pub(crate) struct DataPath<N: Nic> {
    port: Port<N>,
    responder: EchoResponder,
    watch: Watch,
    received: Burst<BURST>,
    answers: Burst<BURST>,
    /// Answers until the crash that was asked for.
    crash_after: Option<u64>,
    /// When the device's registers are read next.
    next_visit_ns: u64,
}

/// What one look did, in packets and bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) dropped: u64,
}

impl<N: Nic> DataPath<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(
        port: Port<N>,
        responder: EchoResponder,
        watch: Watch,
        crash_after: Option<u64>,
    ) -> DataPath<N> {
        let (received, answers) = (Burst::new(), Burst::new());
        DataPath { port, responder, watch, received, answers, crash_after, next_visit_ns: 0 }
    }

    /// Answers until something fails. `is_alone`: never sleep.
    pub(crate) fn run(mut self, is_alone: bool) -> Result<(), Failure> {
        let mut poller = Poller::new(SPIN_MIN_NS, SPIN_MAX_NS);
        self.watch.watch_link(&self.port.nic)?;
        self.watch.begin();
        loop {
            let mut must_sleep = false;
            for _ in 0..LOOKS_PER_ROUND {
                let is_busy = self.look()?;
                must_sleep = !is_alone && poller.step(is_busy) == Step::Sleep;
                if must_sleep {
                    break;
                }
            }
            if must_sleep {
                self.sleep(&mut poller)?;
            }
            self.round(poller.sleep_entries())?;
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
        let mut work = Work::default();
        while let Some(mut buf) = self.received.pop() {
            work.rx_packets += 1;
            work.rx_bytes += u64::from(buf.len());
            match self.responder.answer(buf.frame_mut()) {
                Answer::Send => {
                    work.tx_bytes += u64::from(buf.len());
                    // As many slots as were received: there is room.
                    self.answers.push(buf).unwrap_or_else(|buf| self.port.pool.put(buf));
                }
                Answer::Ignore(_) => {
                    work.dropped += 1;
                    self.port.pool.put(buf);
                }
            }
        }
        self.send(&mut work)?;
        self.watch.count(&work);
        Ok(true)
    }

    /// Sends the answers; a full ring drops what it does not take, as a wire would.
    fn send(&mut self, work: &mut Work) -> Result<(), Failure> {
        let Port { tx, pool, .. } = &mut self.port;
        match tx.transmit(pool, &mut self.answers) {
            Ok(sent) => work.tx_packets = sent as u64,
            Err(error) => self.recover(error)?,
        }
        while let Some(buf) = self.answers.pop() {
            work.dropped += 1;
            work.tx_bytes -= u64::from(buf.len());
            self.port.pool.put(buf);
        }
        self.crash_if_asked(work.tx_packets);
        Ok(())
    }

    fn sleep(&mut self, poller: &mut Poller) -> Result<(), Failure> {
        let rx = &mut self.port.rx;
        let deadline_ns = now_ns().saturating_add(SLEEP_NS);
        match poller.sleep(|| rx.wait(deadline_ns)) {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error),
        }
    }

    /// What is done now and then.
    fn round(&mut self, sleep_entries: u64) -> Result<(), Failure> {
        self.watch.publish(thread::kernel_entries(), sleep_entries);
        if now_ns() < self.next_visit_ns {
            return Ok(());
        }
        self.next_visit_ns = now_ns().saturating_add(VISIT_NS);
        self.watch.watch_link(&self.port.nic)?;
        if self.port.nic.has_stopped() {
            log!("nic: it stopped; starting it again");
            self.watch.count_device_error();
            self.port.start()?;
        }
        Ok(())
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: N::Error) -> Result<(), Failure> {
        if !error.is_violation() {
            return Err(error.into());
        }
        log!("nic: {error}; starting it again");
        self.watch.count_device_error();
        Ok(self.port.start()?)
    }

    fn crash_if_asked(&mut self, sent: u64) {
        if let Some(left) = &mut self.crash_after {
            *left = left.saturating_sub(sent);
            assert!(*left > 0, "crashing on purpose, as `crash-after` says");
        }
    }
}
