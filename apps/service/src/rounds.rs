//! The loop: receive, tasks, send; sleep where nothing is to do.

use weir_abi::stats::Stats;
use weir_executor::Executor;
use weir_nic::{Checksum, Nic, NicError, Offloads, RxQueue, TxOffload, TxQueue};
use weir_pool::{Buf, Burst};
use weir_rt::clock::now_ns;
use weir_rt::hal::TscClock;
use weir_rt::log;
use weir_rt::poll::{Poller, Step};
use weir_sockets::{CHECKSUM_OFFSET, Net, unfinished_checksum};

use crate::Failure;
use crate::blocking::Round;
use crate::counts::{Counts, off_path};

/// Frames taken at once.
const BURST: usize = 32;
/// Looks at the device between two looks at everything else: a millisecond or so.
const LOOKS_PER_ROUND: u32 = 1 << 12;
/// Time between two readings of the device's registers.
const VISIT_NS: u64 = 100_000_000;
/// Idle spinning before a sleep.
const SPIN_MIN_NS: u64 = 10_000;
const SPIN_MAX_NS: u64 = 200_000;
/// Longest sleep, so that counters and link get their turn.
const SLEEP_NS: u64 = 500_000_000;

/// What a device that fills in checksums is to do with a frame.
#[inline]
fn finish(front: &Buf) -> TxOffload {
    let checksum =
        unfinished_checksum(front.frame()).map(|start| Checksum { start, offset: CHECKSUM_OFFSET });
    TxOffload { checksum, segments: None }
}

/// Who looks after the device.
pub(crate) enum Care<N> {
    /// This thread, which has all of its queues and may start it again.
    Own(N),
    /// This thread, but others have queues of it, too.
    Watched(N),
    /// Another thread.
    Elsewhere,
}

impl<N> Care<N> {
    /// The device, where it is looked after here.
    fn nic(&self) -> Option<&N> {
        match self {
            Care::Own(nic) | Care::Watched(nic) => Some(nic),
            Care::Elsewhere => None,
        }
    }
}

/// The device, the network over it, and the tasks.
pub(crate) struct Rounds<N: Nic> {
    care: Care<N>,
    rx: N::Rx,
    tx: N::Tx,
    net: Net,
    pub(crate) executor: Executor,
    counts: Counts,
    received: Burst<BURST>,
    poller: Poller,
    /// Looks since everything else was looked at.
    looks: u32,
    /// Nothing else runs on this core: never sleep.
    is_alone: bool,
    is_link_up: bool,
    /// The device fills in checksums.
    tx_checksum: bool,
    /// When the device's registers are read next.
    next_visit_ns: u64,
}

impl<N: Nic> Rounds<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(
        care: Care<N>,
        rx: N::Rx,
        tx: N::Tx,
        net: Net,
        stats: &'static Stats,
        offloads: Offloads,
        is_alone: bool,
    ) -> Rounds<N> {
        let (executor, counts) = (Executor::new(), Counts::new(stats));
        Rounds {
            care,
            rx,
            tx,
            net,
            executor,
            counts,
            received: Burst::new(),
            poller: Poller::new(SPIN_MIN_NS, SPIN_MAX_NS),
            looks: 0,
            is_alone,
            is_link_up: true,
            tx_checksum: offloads.tx_checksum,
            next_visit_ns: 0,
        }
    }

    /// Starts the device, or starts it again: what it held is lost, and sent again where somebody cares.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let Rounds { care: Care::Own(nic), rx, tx, net, .. } = self else { return Err(Failure::Stopped) };
        Ok(net.with_frames(|pool, _| nic.start(rx, tx, pool, &TscClock))?)
    }

    /// Goes round until something fails.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        self.begin();
        loop {
            self.step()?;
        }
    }

    /// Takes what arrived, lets tasks work, sends what there is; `true` where something happened.
    fn look(&mut self) -> Result<bool, Failure> {
        let Rounds { rx, net, received, .. } = self;
        let (received, waiting) = net.with_frames(|pool, out| (rx.receive(pool, received), out.len()));
        let count = match received {
            Ok(count) => count,
            Err(error) => {
                self.recover(error)?;
                0
            }
        };
        let now_ns = now_ns();
        let is_due = self.net.deadline_ns().is_some_and(|deadline| deadline <= now_ns);
        let has_ready = self.executor.has_ready();
        if count == 0 && waiting == 0 && !is_due && !has_ready {
            return Ok(false);
        }
        self.net.input(now_ns, &mut self.received);
        self.executor.run_ready();
        self.net.flush(now_ns);
        let sent = self.send()?;
        // What is due and cannot be sent, because there is nowhere to put it, keeps nobody awake.
        Ok(count > 0 || has_ready || sent > 0)
    }

    /// Sends what there is; gives how many frames left.
    fn send(&mut self) -> Result<usize, Failure> {
        let Rounds { tx, net, tx_checksum, .. } = self;
        let sent = net.with_frames(|pool, out| match tx_checksum {
            true => tx.transmit_with(pool, out, finish),
            false => tx.transmit(pool, out),
        });
        match sent {
            Ok(sent) => Ok(sent),
            Err(error) => self.recover(error).map(|()| 0),
        }
    }

    fn sleep(&mut self) -> Result<(), Failure> {
        let latest_ns = now_ns().saturating_add(SLEEP_NS);
        let deadline_ns = self.net.deadline_ns().map_or(latest_ns, |deadline| deadline.min(latest_ns));
        let Rounds { rx, poller, .. } = self;
        match poller.sleep(|| rx.wait(deadline_ns)) {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error),
        }
    }

    /// Looks at the device's registers now and then.
    fn visit(&mut self) -> Result<(), Failure> {
        let now_ns = now_ns();
        if now_ns < self.next_visit_ns {
            return Ok(());
        }
        self.next_visit_ns = now_ns.saturating_add(VISIT_NS);
        let Some(nic) = self.care.nic() else { return Ok(()) };
        let (is_up, has_stopped) = (nic.read_link_up()?, nic.has_stopped());
        if is_up != self.is_link_up {
            self.is_link_up = is_up;
            let what = if is_up { "up" } else { "down: nothing is received or sent until it is up" };
            off_path(|| log!("nic: the link is {what}"));
        }
        if has_stopped {
            off_path(|| log!("nic: it stopped; starting it again"));
            self.counts.count_device_error();
            self.start()?;
        }
        Ok(())
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: N::Error) -> Result<(), Failure> {
        if !error.is_violation() || !matches!(self.care, Care::Own(_)) {
            return Err(error.into());
        }
        off_path(|| log!("nic: {error}; starting it again"));
        self.counts.count_device_error();
        self.start()
    }
}

impl<N: Nic> Round for Rounds<N>
where
    Failure: From<N::Error>,
{
    fn begin(&mut self) {
        self.counts.begin();
    }

    #[inline]
    fn step(&mut self) -> Result<(), Failure> {
        let is_busy = self.look()?;
        self.looks += 1;
        let must_sleep = !self.is_alone && self.poller.step(is_busy) == Step::Sleep;
        if must_sleep {
            self.sleep()?;
        }
        if must_sleep || self.looks >= LOOKS_PER_ROUND {
            self.looks = 0;
            self.counts.publish(&self.net, self.poller.sleep_entries());
            self.visit()?;
        }
        Ok(())
    }
}
