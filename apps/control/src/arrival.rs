//! From the device's message, or from an access that was blocked, to the owner: one that polls, one that sleeps.
//!
//! Both threads share one CPU. The time from which a sample counts is the last one at which nothing had come yet, so a
//! sample is too long by one turn of the polling loop at most, and never too short.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::layout::DMA_WINDOW_END;
use weir_hal::{Device as _, Interrupt as _};
use weir_rt::clock::{now_ns, sleep, ticks};
use weir_rt::hal::{Function, Message};
use weir_rt::thread::{STACK_BYTES, spawn};

use crate::Failure;
use crate::edu::{DMA_DELAY_NS, Edu, Machine};
use crate::report::Report;

/// How long the owner waits for what must come.
const LIMIT_NS: u64 = 1_000_000_000;
/// Nobody maps the last page of the window.
const UNMAPPED: u64 = DMA_WINDOW_END - 4096;
/// What the polling starts before the device's time, whose clock has milliseconds.
const EARLY_NS: u64 = 1_500_000;

/// Measures interrupts and faults.
pub(crate) fn measure(machine: &Machine, samples: usize, report: &Report) -> Result<(), Failure> {
    let function = Function::new(machine.edu.assign_here(true)?)?;
    let edu = Edu::new(&function)?;
    // Its event counts the device's faults as well.
    let message = Arc::new(function.interrupt(0)?);
    message.unmask()?;
    function.bus_master(true)?;
    let interrupt = || {
        edu.raise();
    };
    let fault = || {
        edu.write_memory(UNMAPPED);
        sleep(DMA_DELAY_NS - EARLY_NS);
    };
    let quiet = || edu.acknowledge();
    for (name, provoke) in [("interrupt", &interrupt as &dyn Fn()), ("fault", &fault)] {
        report.samples(&format!("{name}_to_poll"), &polled(&message, samples, provoke, &quiet)?);
        report.samples(&format!("{name}_to_wake"), &slept(&message, samples, provoke, &quiet)?);
    }
    Ok(())
}

/// An owner that looks at the counter all the time.
fn polled(
    message: &Message,
    samples: usize,
    provoke: &dyn Fn(),
    quiet: &dyn Fn(),
) -> Result<Vec<u64>, Failure> {
    (0..samples)
        .map(|_| {
            let (seen, mut last, end_ns) = (message.count(), ticks(), now_ns() + LIMIT_NS);
            provoke();
            loop {
                let before = ticks();
                if message.count() != seen {
                    let sample = ticks() - last;
                    quiet();
                    return Ok(sample);
                }
                if now_ns() > end_ns {
                    return Err(Failure::Silence { what: "the event" });
                }
                last = before;
            }
        })
        .collect()
}

/// What the sleeping thread and the one that provokes tell each other.
struct Meeting {
    message: Arc<Message>,
    /// When nothing had come yet.
    last: AtomicU64,
    /// How long after that the sleeper ran; 0 until it has.
    sample: AtomicU64,
}

/// An owner that sleeps until the event, while another thread keeps the CPU busy.
fn slept(
    message: &Arc<Message>,
    samples: usize,
    provoke: &dyn Fn(),
    quiet: &dyn Fn(),
) -> Result<Vec<u64>, Failure> {
    let (last, sample) = (AtomicU64::new(0), AtomicU64::new(0));
    let meeting = Arc::new(Meeting { message: message.clone(), last, sample });
    let theirs = meeting.clone();
    let sleeper = spawn(STACK_BYTES, None, move || sleep_through(&theirs, samples))?;
    // It runs up to its first wait.
    sleep(1_000_000);
    let taken: Result<Vec<u64>, Failure> = (0..samples)
        .map(|_| {
            let end_ns = now_ns() + LIMIT_NS;
            meeting.last.store(ticks(), Ordering::Relaxed);
            provoke();
            loop {
                match meeting.sample.swap(0, Ordering::Acquire) {
                    0 if now_ns() > end_ns => return Err(Failure::Silence { what: "the event" }),
                    0 => meeting.last.store(ticks(), Ordering::Relaxed),
                    sample => {
                        quiet();
                        return Ok(sample);
                    }
                }
            }
        })
        .collect();
    let taken = taken?;
    sleeper.join();
    Ok(taken)
}

/// The sleeper.
fn sleep_through(meeting: &Meeting, samples: usize) {
    for _ in 0..samples {
        // Nobody counts between two waits: the next thing is provoked when this sample was seen.
        let seen = meeting.message.count();
        if meeting.message.wait(seen, u64::MAX).is_err() {
            return;
        }
        let sample = ticks().saturating_sub(meeting.last.load(Ordering::Relaxed));
        meeting.sample.store(sample.max(1), Ordering::Release);
    }
}
