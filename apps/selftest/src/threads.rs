//! Threads: progress, storage, stacks, granted cores.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use weir_rt::clock::now_ns;
use weir_rt::thread::{JoinHandle, STACK_BYTES, kernel_entries, slot, spawn, yield_now};
use weir_rt::{Env, Error};

use crate::quotas::held;
use crate::{Verdict, ensure};

/// More than any test machine's CPUs.
const THREADS: usize = 16;
const SECOND_NS: u64 = 1_000_000_000;

/// Starts `THREADS` threads that run `work` with their number, and waits for all.
pub(crate) fn run_all(work: impl Fn(usize) + Send + Sync + 'static) -> Result<(), Error> {
    let work = Arc::new(work);
    let start = |number| {
        let work = Arc::clone(&work);
        spawn(STACK_BYTES, None, move || work(number))
    };
    let started: Vec<Result<JoinHandle, Error>> = (0..THREADS).map(start).collect();
    let mut result = Ok(());
    for thread in started {
        match thread {
            Ok(thread) => thread.join(),
            Err(error) => result = Err(error),
        }
    }
    result
}

/// Sixteen threads that spin for each other without a system call: only preemption lets them meet.
pub(crate) fn progress(_: &mut Env) -> Result<(), Verdict> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let (counter, deadline) = (Arc::clone(&arrived), now_ns() + 20 * SECOND_NS);
    let met = Arc::new(AtomicUsize::new(0));
    let meeting = Arc::clone(&met);
    run_all(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        while counter.load(Ordering::SeqCst) < THREADS && now_ns() < deadline {
            core::hint::spin_loop();
        }
        meeting.fetch_add(usize::from(counter.load(Ordering::SeqCst) == THREADS), Ordering::SeqCst);
    })?;
    let met = met.load(Ordering::SeqCst);
    ensure!(met == THREADS, "{met} of {THREADS} threads met");
    let [_, _, threads, _] = held()?;
    ensure!(threads == 1, "{threads} threads are left of 1");
    Ok(())
}

/// The FS base and slot of the calling thread.
fn identity() -> (u64, usize) {
    let base: u64;
    // SAFETY: the first word at the FS base is its address (`weir-rt`'s thread-local storage).
    unsafe { core::arch::asm!("mov {}, fs:[0]", out(reg) base, options(nostack, readonly)) };
    (base, slot())
}

/// Each thread keeps its own FS base and slot while others run.
pub(crate) fn storage(_: &mut Env) -> Result<(), Verdict> {
    let before = identity();
    let slots = Arc::new(AtomicU64::new(1 << before.1));
    let changed = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (seen, wrong, arrived) = (Arc::clone(&slots), Arc::clone(&changed), Arc::clone(&waiting));
    run_all(move |_| {
        let own = identity();
        seen.fetch_or(1 << own.1, Ordering::SeqCst);
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < THREADS {
            yield_now();
            wrong.fetch_add(usize::from(identity() != own), Ordering::SeqCst);
        }
    })?;
    let changed = changed.load(Ordering::SeqCst);
    ensure!(changed == 0, "{changed} times another thread's storage");
    let slots = slots.load(Ordering::SeqCst).count_ones() as usize;
    ensure!(slots == THREADS + 1, "{slots} slots for {} threads", THREADS + 1);
    ensure!(identity() == before, "the first thread's storage changed");
    Ok(())
}

/// Stacks of ended threads are used again: two hundred threads, one after the other.
pub(crate) fn stacks(_: &mut Env) -> Result<(), Verdict> {
    let sum = Arc::new(AtomicU64::new(0));
    for number in 0..200 {
        let sum = Arc::clone(&sum);
        spawn(STACK_BYTES, None, move || {
            let mut page = [number; 4096];
            core::hint::black_box(&mut page);
            sum.fetch_add(page[4095], Ordering::SeqCst);
        })?
        .join();
    }
    let sum = sum.load(Ordering::SeqCst);
    ensure!(sum == 199 * 100, "the threads' sum is {sum}");
    Ok(())
}

/// On a granted core a thread that asks for nothing is not interrupted: no kernel entry in 200 ms.
pub(crate) fn granted_core(env: &mut Env) -> Result<(), Verdict> {
    let Ok(core) = env.core("core0") else {
        return Err(Verdict::Skipped("no core granted"));
    };
    let entries = Arc::new(AtomicU64::new(u64::MAX));
    let counted = Arc::clone(&entries);
    spawn(STACK_BYTES, Some(&core), move || {
        let until = now_ns() + SECOND_NS / 5;
        let before = kernel_entries();
        while now_ns() < until {
            core::hint::spin_loop();
        }
        counted.store(kernel_entries() - before, Ordering::SeqCst);
    })?
    .join();
    let entries = entries.load(Ordering::SeqCst);
    ensure!(entries == 0, "{entries} kernel entries in 200 ms");
    Ok(())
}
