//! Random requests of 4 KiB to a disk by Linux's io_uring: what Weir's `nvmeperf` is compared with.
//!
//! It does the jobs of `qemu/tests/manifests/block-cost.toml`. Each turn (requests prepared, one system call, completions
//! taken) is a region for who counts from outside: `BUSY` where something was submitted or done, `IDLE` where not.
//! **Invariant: Linux does what it does best**: full batches, as fio's `t/io_uring` makes them, and where the disk is polled it gets time
//! between two looks, so that completions come in batches, too.
//!
//! Reading order: this file · [`ring`].
#![deny(unsafe_code)]

mod ring;

use std::fs::OpenOptions;
use std::hint::spin_loop;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use weir_marker as marker;

use crate::ring::{Act, BYTES, DEPTH_MAX, Ring};

/// The jobs' part of the disk.
const REGION_BYTES: u64 = 16 << 20;
/// Requests submitted at once, and completions waited for, where so many are under way.
const BATCH: u16 = 32;
/// Where the disk is polled: time until the next look, longer after a look that did not find a batch.
const PAUSE: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// Why the program ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("say: DISK interrupts|polled REQUESTS")]
    Words,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a request moved {0} bytes")]
    Short(u32),
    #[error("there is no buffer {0}")]
    Slot(u64),
    #[error("the ring is full")]
    Full,
}

fn main() {
    if let Err(failure) = run() {
        println!("uring-block: {failure}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [disk, mode, requests] = words.as_slice() else { return Err(Failure::Words) };
    let is_polled = match mode.as_str() {
        "polled" => true,
        "interrupts" => false,
        _ => return Err(Failure::Words),
    };
    let many: u64 = requests.parse().map_err(|_| Failure::Words)?;
    let few = many / 10;
    let disk = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(disk)?;
    let mut uring = ring::open(is_polled)?;
    let mut jobs = Jobs::new(Ring::new(&mut uring, &disk)?, is_polled);
    jobs.run::<0, 1>(Act::Read, 1, few)?;
    jobs.run::<2, 3>(Act::Read, 32, many)?;
    jobs.run::<4, 5>(Act::Read, 128, many)?;
    jobs.run::<6, 7>(Act::Write, 1, few)?;
    jobs.run::<8, 9>(Act::Write, 32, many)?;
    jobs.run::<10, 11>(Act::Write, 128, many)?;
    println!("uring-block: all done");
    Ok(())
}

/// Jobs, one after the other.
struct Jobs<'a> {
    ring: Ring<'a>,
    is_polled: bool,
    random: u64,
    /// Buffers of no request.
    free: Vec<u16>,
}

/// What a job has still to do.
struct Job {
    act: Act,
    depth: u16,
    batch: u16,
    left: u64,
    under_way: u16,
}

impl<'a> Jobs<'a> {
    fn new(ring: Ring<'a>, is_polled: bool) -> Jobs<'a> {
        Jobs { ring, is_polled, random: 1, free: (0..DEPTH_MAX).collect() }
    }

    /// Makes `requests`, `depth` at once.
    fn run<const BUSY: u8, const IDLE: u8>(
        &mut self,
        act: Act,
        depth: u16,
        requests: u64,
    ) -> Result<(), Failure> {
        let mut job = Job { act, depth, batch: depth.min(BATCH), left: requests, under_way: 0 };
        let (mut turns, mut looks, mut pause) = (0_u64, 0_u64, PAUSE);
        while job.left > 0 || job.under_way > 0 {
            marker::begin::<BUSY>();
            marker::begin::<IDLE>();
            let (submitted, completed) = self.turn(&mut job)?;
            if submitted + completed > 0 {
                marker::end::<BUSY>();
                turns += 1;
            } else {
                marker::end::<IDLE>();
                looks += 1;
            }
            if self.is_polled && !job.submits() {
                pause = if completed < job.batch { (2 * pause).min(PAUSE_MAX) } else { PAUSE };
                wait(pause);
            }
        }
        println!("done {act:?} iodepth={depth} ios={requests} turns={turns} empty_looks={looks}");
        Ok(())
    }

    /// Makes a batch of requests, if there is room for one, and takes what is done: how many there were of each.
    #[inline(never)]
    fn turn(&mut self, job: &mut Job) -> Result<(u16, u16), Failure> {
        let mut submitted = 0;
        while job.submits_more(submitted)
            && let Some(slot) = self.free.pop()
        {
            let offset = self.place();
            self.ring.prepare(job.act, offset, slot)?;
            submitted += 1;
        }
        job.left -= u64::from(submitted);
        job.under_way += submitted;
        let mut completed = 0;
        let wait_for = if self.is_polled || job.submits() { 0 } else { job.batch.min(job.under_way) };
        self.ring.enter(wait_for.into(), |slot| {
            self.free.push(slot);
            completed += 1;
        })?;
        job.under_way -= completed;
        Ok((submitted, completed))
    }

    /// A random place, by xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
    #[inline]
    fn place(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d);
        // The region is a power of two of requests: the upper bits, so many as that needs.
        const UNITS: u64 = REGION_BYTES / BYTES as u64;
        const { assert!(UNITS.is_power_of_two()) };
        (bits >> (u64::BITS - UNITS.ilog2())) * u64::from(BYTES)
    }
}

impl Job {
    /// Whether the next turn submits: there is room for a batch.
    #[inline]
    fn submits(&self) -> bool {
        self.left > 0 && self.depth - self.under_way >= self.batch
    }

    /// Whether this turn, which has prepared `submitted`, prepares another.
    #[inline]
    fn submits_more(&self, submitted: u16) -> bool {
        self.submits() && submitted < self.batch && u64::from(submitted) < self.left
    }
}

/// Spins for `time`.
fn wait(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}
