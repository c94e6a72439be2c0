//! The loop: from the device to the ports, from each port in its turn to the others and the device.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_bridge::{Bridge, Goes, Refused};
use weir_nic::{Nic, NicError, RxQueue, TxQueue};
use weir_pool::{Buf, Burst, Pool};
use weir_port::Port as Uplink;
use weir_rt::bell::Doorbell;
use weir_rt::clock::{self, now_ns};
use weir_rt::hal::Function;
use weir_rt::poll::{Poller, Step};
use weir_rt::{log, thread};

use crate::Failure;
use crate::port::Port;

/// Frames taken at once, from each.
pub(crate) const BURST: usize = 32;
/// Looks between two rounds.
const LOOKS_PER_ROUND: u32 = 1 << 12;
/// Time between two tellings of counters that changed.
const TELL_NS: u64 = 1_000_000_000;
/// Idle spinning before a sleep.
const SPIN_MIN_NS: u64 = 10_000;
const SPIN_MAX_NS: u64 = 200_000;
/// Longest sleep; shorter where some application is about to join.
const SLEEP_NS: u64 = 500_000_000;
const JOINING_NS: u64 = 1_000_000;
/// How long the device waits at the start for applications to join, which one of them may refuse.
const JOIN_NS: u64 = 50_000_000;
const JOIN_LOOK_NS: u64 = 200_000;

/// A switch, whose device's buffers only this program and the device reach.
pub(crate) struct Switch<N: Nic> {
    uplink: Uplink<N>,
    ports: Vec<Port>,
    bridge: Bridge,
    bell: Arc<Doorbell>,
    stats: &'static Stats,
    /// What came, from wherever is being looked at.
    came: Burst<BURST>,
    /// What goes out of the device.
    up: Burst<BURST>,
    next_tell_ns: u64,
}

impl<N: Nic<Device = Function>> Switch<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(
        uplink: Uplink<N>,
        ports: Vec<Port>,
        bell: Arc<Doorbell>,
        stats: &'static Stats,
    ) -> Switch<N> {
        let bridge = Bridge::new(ports.iter().map(Port::mac).collect());
        let (came, up) = (Burst::new(), Burst::new());
        Switch { uplink, ports, bridge, bell, stats, came, up, next_tell_ns: 0 }
    }

    /// Switches until something fails.
    pub(crate) fn run(mut self, is_alone: bool) -> Result<(), Failure> {
        self.join();
        self.uplink.start()?;
        let manner = if is_alone { "polling a core of its own" } else { "sleeping when idle" };
        log!("switching {} ports, {manner}", self.ports.len());
        self.stats.ready.store(1, Ordering::Release);
        let mut poller = Poller::new(SPIN_MIN_NS, SPIN_MAX_NS);
        let first_entries = thread::kernel_entries();
        loop {
            for _ in 0..LOOKS_PER_ROUND {
                let is_busy = self.look()?;
                if !is_alone && poller.step(is_busy) == Step::Sleep {
                    poller.sleep(|| self.sleep())?;
                    break;
                }
            }
            let entries = thread::kernel_entries().wrapping_sub(first_entries);
            self.stats.data_path_kernel_entries.store(entries, Ordering::Relaxed);
            self.stats.sleep_kernel_entries.store(poller.sleep_entries(), Ordering::Relaxed);
            self.tell();
        }
    }

    /// Waits, for a while, until the applications that are there have joined: what comes before that would be lost, and waits
    /// on the wire instead, while the device does not run.
    fn join(&mut self) {
        let deadline_ns = now_ns().saturating_add(JOIN_NS);
        while !self.look_at_all() && now_ns() < deadline_ns {
            clock::sleep(JOIN_LOOK_NS);
        }
    }

    /// Whether every application that is there has joined. Each port is looked at: looking is what joins.
    fn look_at_all(&mut self) -> bool {
        let ports = self.ports.iter_mut();
        ports.map(|port| port.share.look()).filter(|is_joined| *is_joined).count() == self.ports.len()
    }

    /// Moves what is there; `true` where something was.
    fn look(&mut self) -> Result<bool, Failure> {
        for number in 0..self.ports.len() {
            if self.ports[number].look() {
                self.bridge.forget(number);
            }
        }
        let mut is_busy = self.take_from_uplink()?;
        let now_ns = now_ns();
        for number in 0..self.ports.len() {
            is_busy |= self.take_from_port(number, now_ns)?;
        }
        self.ports.iter_mut().for_each(Port::flush);
        Ok(is_busy)
    }

    fn take_from_uplink(&mut self) -> Result<bool, Failure> {
        let Uplink { rx, pool, .. } = &mut self.uplink;
        let count = match rx.receive(pool, &mut self.came) {
            Ok(count) => count,
            Err(error) => return self.recover(error).map(|()| true),
        };
        while let Some(buf) = self.came.pop() {
            match self.bridge.from_uplink(buf.frame()) {
                Ok(Goes::To(port)) => self.ports[port].deliver(buf.frame()),
                Ok(Goes::Everywhere) => self.ports.iter_mut().for_each(|port| port.deliver(buf.frame())),
                Ok(Goes::Up) | Err(_) => add_one(&self.stats.dropped),
            }
            self.uplink.pool.put(buf);
        }
        self.stats
            .rx_packets
            .store(self.stats.rx_packets.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        Ok(count > 0)
    }

    /// Takes a burst from a port, if its limit allows.
    fn take_from_port(&mut self, number: usize, now_ns: u64) -> Result<bool, Failure> {
        let port = &mut self.ports[number];
        if !port.is_moving || !port.limit.allows(now_ns) {
            return Ok(false);
        }
        let came = port.receive(&mut self.came);
        port.limit.take(self.came.len() as u64);
        port.counters.from += self.came.len() as u64;
        while let Some(theirs) = self.came.pop() {
            let own = copy(&mut self.uplink.pool, &theirs);
            self.ports[number].share.pool.put(theirs);
            match own {
                Some(own) => self.forward(number, own)?,
                None => self.ports[number].counters.dropped += 1,
            }
        }
        self.send_up()?;
        Ok(came > 0)
    }

    /// Sends a frame, which is a copy by now, where its address says.
    fn forward(&mut self, from: usize, own: Buf) -> Result<(), Failure> {
        let goes = self.bridge.from_port(from, own.frame());
        match goes {
            Ok(Goes::To(port)) => self.ports[port].deliver(own.frame()),
            Ok(Goes::Everywhere) => {
                let others = self.ports.iter_mut().enumerate().filter(|(number, _)| *number != from);
                others.for_each(|(_, port)| port.deliver(own.frame()));
            }
            Ok(Goes::Up) => {}
            Err(Refused::Spoofed) => self.ports[from].counters.spoofed += 1,
            Err(_) => self.ports[from].counters.dropped += 1,
        }
        if !matches!(goes, Ok(Goes::Up | Goes::Everywhere)) {
            self.uplink.pool.put(own);
            return Ok(());
        }
        if self.up.room() == 0 {
            self.send_up()?;
        }
        if let Err(own) = self.up.push(own) {
            self.uplink.pool.put(own);
        }
        Ok(())
    }

    /// Sends what is to go out; a full ring drops the rest, as a wire would.
    fn send_up(&mut self) -> Result<(), Failure> {
        let Uplink { tx, pool, .. } = &mut self.uplink;
        match tx.transmit(pool, &mut self.up) {
            Ok(sent) => {
                let sent = self.stats.tx_packets.load(Ordering::Relaxed) + sent as u64;
                self.stats.tx_packets.store(sent, Ordering::Relaxed);
            }
            Err(error) => self.recover(error)?,
        }
        while let Some(buf) = self.up.pop() {
            add_one(&self.stats.dropped);
            self.uplink.pool.put(buf);
        }
        Ok(())
    }

    /// Sleeps until the device or a port rings.
    fn sleep(&mut self) -> Result<(), Failure> {
        self.bell.listen();
        let mut limit_ns = SLEEP_NS;
        let mut may = true;
        for port in &mut self.ports {
            if port.share.look() {
                may &= port.share.ends.iter_mut().all(|link| link.may_sleep());
            } else {
                limit_ns = JOINING_NS;
            }
        }
        let slept =
            if may { self.uplink.rx.wait(now_ns().saturating_add(limit_ns)).map(drop) } else { Ok(()) };
        let ends = self.ports.iter_mut().flat_map(|port| &mut port.share.ends);
        ends.for_each(|link| link.end.stay_awake());
        slept.or_else(|error| self.recover(error))
    }

    /// Tells of ports whose counters changed, once a second: the kernel is entered for that.
    fn tell(&mut self) {
        if now_ns() < self.next_tell_ns {
            return;
        }
        self.next_tell_ns = now_ns().saturating_add(TELL_NS);
        for port in self.ports.iter_mut().filter(|port| port.counters != port.told) {
            log!("port {}: {}", port.name(), port.counters);
            port.told = port.counters;
        }
        let ends = self.ports.iter().flat_map(|port| &port.share.ends);
        let violations = ends.map(|link| link.violations()).sum();
        self.stats.device_errors.store(violations, Ordering::Relaxed);
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: N::Error) -> Result<(), Failure> {
        if !error.is_violation() {
            return Err(error.into());
        }
        log!("nic: {error}; starting it again");
        Ok(self.uplink.start()?)
    }
}

/// The frame in a buffer of the switch's own, which nobody else writes.
fn copy(pool: &mut Pool, theirs: &Buf) -> Option<Buf> {
    let mut own = pool.take()?;
    if !own.set_len(theirs.len()) {
        pool.put(own);
        return None;
    }
    own.frame_mut().copy_from_slice(theirs.frame());
    Some(own)
}

fn add_one(counter: &core::sync::atomic::AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
