//! Events wake sleepers, and deadlines end sleeps.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use weir_abi::page::MAX_EVENTS;
use weir_rt::clock::{now_ns, sleep_until};
use weir_rt::thread::{STACK_BYTES, spawn};
use weir_rt::{Env, Error, Event};

use crate::{Verdict, ensure};

const ROUNDS: u32 = 200;
const SECOND_NS: u64 = 1_000_000_000;

/// Two threads wake each other two hundred times, each waiting for the other.
pub(crate) fn wake(_: &mut Env) -> Result<(), Verdict> {
    let (ping, pong) = (Arc::new(Event::create()?), Arc::new(Event::create()?));
    let heard = Arc::new(AtomicU32::new(0));
    let (start, deadline) = (ping.count(), now_ns() + 20 * SECOND_NS);
    let partner = {
        let (ping, pong, heard) = (Arc::clone(&ping), Arc::clone(&pong), Arc::clone(&heard));
        spawn(STACK_BYTES, None, move || {
            let mut seen = start;
            for _ in 0..ROUNDS {
                let Ok(count) = ping.wait(seen, deadline) else { return };
                seen = count;
                heard.fetch_add(1, Ordering::Relaxed);
                let _ = pong.signal();
            }
        })?
    };
    for round in 0..ROUNDS {
        let seen = pong.count();
        ping.signal()?;
        let result = pong.wait(seen, deadline);
        ensure!(result == Ok(seen + 1), "round {round}: {result:?} after {seen}");
    }
    partner.join();
    let heard = heard.load(Ordering::Relaxed);
    ensure!(heard == ROUNDS, "the partner heard {heard} of {ROUNDS}");
    Ok(())
}

/// A deadline ends a wait, not before its time; a counter that has moved ends it at once.
pub(crate) fn deadline(_: &mut Env) -> Result<(), Verdict> {
    let event = Event::create()?;
    let seen = event.count();
    let until = now_ns() + 5_000_000;
    let result = event.wait(seen, until);
    ensure!(result == Err(Error::TimedOut), "no signal: {result:?}");
    ensure!(now_ns() + 1_000 >= until, "{} ns early", until.saturating_sub(now_ns()));
    let result = event.wait(seen, 0);
    ensure!(result == Err(Error::TimedOut), "a deadline in the past: {result:?}");
    event.signal()?;
    let result = event.wait(seen, u64::MAX);
    ensure!(result == Ok(seen + 1) && event.count() == seen + 1, "a signal before the wait: {result:?}");
    let until = now_ns() + 2_000_000;
    sleep_until(until);
    ensure!(now_ns() >= until, "sleep_until ended early");
    Ok(())
}

/// Every slot can be taken once, and again after it was given back.
pub(crate) fn slots(_: &mut Env) -> Result<(), Verdict> {
    for round in 0..2 {
        let mut events = Vec::with_capacity(MAX_EVENTS);
        let refused = loop {
            match Event::create() {
                Ok(event) => events.push(event),
                Err(error) => break error,
            }
        };
        ensure!(refused == Error::Quota, "round {round}: {refused} instead of the quota");
        ensure!(events.len() == MAX_EVENTS, "round {round}: {} of {MAX_EVENTS} slots", events.len());
        let counts: Vec<u64> = events.iter().map(Event::count).collect();
        events[7].signal()?;
        for (slot, (event, before)) in events.iter().zip(counts).enumerate() {
            let expected = before + u64::from(slot == 7);
            ensure!(event.count() == expected, "slot {slot} counts {} for {expected}", event.count());
        }
    }
    Ok(())
}
