//! From the device's message, or from an access that was blocked, to the owner: one that polls, one that sleeps.
//!
//! Both threads share one CPU. The time from which a sample counts is the last one at which nothing had come yet, so a
//! sample is too long by one turn of the polling loop at most, and never too short.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_abi::layout::DMA_WINDOW_END;
use weir_abi::page::IommuMode;
use weir_edu::{Direction, Edu, Span};
use weir_hal::{Device as _, Interrupt as _, Iova};
use weir_rt::clock::{now_ns, sleep, ticks};
use weir_rt::hal::{Function, Message, TscClock};
use weir_rt::kernel_page;
use weir_rt::thread::{STACK_BYTES, spawn};

use crate::Failure;
use crate::machine::Machine;
use crate::report::Report;

/// How long the owner waits for what must come.
const LIMIT_NS: u64 = 10_000_000_000;
/// Nobody maps the last page of the window.
const UNMAPPED: u64 = DMA_WINDOW_END - 4096;
/// Time from the command to the access, in whole milliseconds of the device's clock (edu § "MMIO area spec").
const DMA_DELAY_NS: u64 = 100_000_000;
/// How long before that the polling begins.
const EARLY_NS: u64 = 1_500_000;
/// The cause of the interrupts.
const CAUSE: u32 = 1;

/// Measures interrupts and faults.
pub(crate) fn measure(machine: &Machine, samples: usize, report: &Report) -> Result<(), Failure> {
    let edu = Edu::open(Function::new(machine.edu.assign_here(true)?)?)?;
    // Its event counts the device's faults as well.
    let message = Arc::new(edu.function().interrupt(0)?);
    message.unmask()?;
    let span = Span::new(0, 8).ok_or(Failure::NoDevice("edu with a buffer"))?;
    let interrupt = || {
        edu.raise(CAUSE);
        Ok(())
    };
    let fault = || {
        edu.start(Direction::DeviceWrites, Iova(UNMAPPED), span, false)?;
        sleep(DMA_DELAY_NS - EARLY_NS);
        Ok(())
    };
    // After a fault the transfer ends by itself: the interrupt comes from within it.
    let quiet = || {
        edu.acknowledge(CAUSE);
        Ok(edu.finish(&TscClock)?)
    };
    // QEMU's amd-iommu blocks an access without a page-table entry, and records no fault for it.
    let tells_faults = IommuMode::from_number(kernel_page().iommu_mode) != IommuMode::AmdVi;
    let faults = tells_faults.then_some(("fault", Kind::Later(&fault)));
    for (name, kind) in [("interrupt", Kind::AtOnce(&interrupt))].into_iter().chain(faults) {
        report.samples(&format!("{name}_to_poll"), &polled(&message, samples, &kind, &quiet)?);
        report.samples(&format!("{name}_to_wake"), &slept(&message, samples, &kind, &quiet, &interrupt)?);
    }
    Ok(())
}

/// Something to do with the device.
type Step<'a> = dyn Fn() -> Result<(), Failure> + 'a;

/// How the device is made to act.
enum Kind<'a> {
    /// It acts before the step has ended: an interrupt.
    AtOnce(&'a Step<'a>),
    /// It acts some time after the step, and is blocked; where this thread slept too long, before that, and then the try counts for
    /// nothing.
    Later(&'a Step<'a>),
}

impl Kind<'_> {
    /// What to say where the owner heard nothing.
    fn silence(&self) -> Failure {
        let what = match self {
            Kind::AtOnce(_) => "an interrupt",
            Kind::Later(_) => "the word of a blocked access",
        };
        Failure::Silence { what }
    }
}

/// An owner that looks at the counter all the time.
fn polled(message: &Message, samples: usize, kind: &Kind<'_>, quiet: &Step<'_>) -> Result<Vec<u64>, Failure> {
    let mut taken = Vec::with_capacity(samples);
    while taken.len() < samples {
        let (seen, mut last, end_ns) = (message.count(), ticks(), now_ns() + LIMIT_NS);
        match kind {
            Kind::AtOnce(step) => step()?,
            Kind::Later(step) => {
                step()?;
                last = ticks();
                if message.count() != seen {
                    quiet()?;
                    continue;
                }
            }
        }
        loop {
            let before = ticks();
            if message.count() != seen {
                break;
            }
            if now_ns() > end_ns {
                return Err(kind.silence());
            }
            last = before;
        }
        taken.push(ticks() - last);
        quiet()?;
    }
    Ok(taken)
}

/// What the sleeping thread and the one that provokes tell each other.
struct Meeting {
    message: Arc<Message>,
    /// When nothing had come yet.
    last: AtomicU64,
    /// How long after that the sleeper ran; 0 until it has.
    sample: AtomicU64,
    /// The sleeper is to sleep no more.
    is_over: AtomicBool,
}

/// An owner that sleeps until the event, while another thread keeps the CPU busy; `wake` ends the last sleep.
fn slept(
    message: &Arc<Message>,
    samples: usize,
    kind: &Kind<'_>,
    quiet: &Step<'_>,
    wake: &Step<'_>,
) -> Result<Vec<u64>, Failure> {
    let (last, sample, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let meeting = Arc::new(Meeting { message: message.clone(), last, sample, is_over });
    let theirs = meeting.clone();
    let sleeper = spawn(STACK_BYTES, None, move || sleep_through(&theirs))?;
    // It runs up to its first wait.
    sleep(1_000_000);
    let mut taken = Vec::with_capacity(samples);
    while taken.len() < samples {
        let end_ns = now_ns() + LIMIT_NS;
        meeting.last.store(ticks(), Ordering::Relaxed);
        match kind {
            Kind::AtOnce(step) => step()?,
            Kind::Later(step) => {
                step()?;
                meeting.last.store(ticks(), Ordering::Relaxed);
                if meeting.sample.swap(0, Ordering::Acquire) != 0 {
                    quiet()?;
                    continue;
                }
            }
        }
        loop {
            match meeting.sample.swap(0, Ordering::Acquire) {
                0 if now_ns() > end_ns => return Err(kind.silence()),
                0 => meeting.last.store(ticks(), Ordering::Relaxed),
                sample => {
                    taken.push(sample);
                    break;
                }
            }
        }
        quiet()?;
    }
    meeting.is_over.store(true, Ordering::Relaxed);
    wake()?;
    sleeper.join();
    quiet()?;
    Ok(taken)
}

/// The sleeper.
fn sleep_through(meeting: &Meeting) {
    let mut seen = meeting.message.count();
    while !meeting.is_over.load(Ordering::Relaxed) {
        // What it is woken with is what it has seen: nothing that comes before it sleeps again is missed.
        let Ok(count) = meeting.message.wait(seen, u64::MAX) else { return };
        seen = count;
        let sample = ticks().saturating_sub(meeting.last.load(Ordering::Relaxed));
        meeting.sample.store(sample.max(1), Ordering::Release);
    }
}
