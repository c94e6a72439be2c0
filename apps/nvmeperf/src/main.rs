//! Owns a block device, whichever it is given, and reads, writes, trims or verifies it as fast as it goes.
//!
//! **Invariant: while a job polls, no request enters the kernel**; the result says how many entries there were.
//!
//! Reading order: [`words`] (what it is told) · this file (set-up, phases, results) · [`plan`] (which requests) ·
//! [`job`] (the loop) · [`pattern`], [`latency`].
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod job;
mod latency;
mod pattern;
mod plan;
mod words;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_block::{BlockDevice, Disk, Options};
use weir_nvme::Nvme;
use weir_rt::clock::{million_instructions, now_ns};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Core, Env, GrantError, kernel_page, log, process, thread};

use crate::job::{Job, Measured};
use crate::plan::{Act, Plan, Region};
use crate::words::{Kind, Words};

weir_rt::entry!(main);

/// Deep enough for the vector instructions of a debug build, too.
const STACK_BYTES: u64 = 256 << 10;

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Words(#[from] words::BadWord),
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("block: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("block: {0}")]
    Nvme(#[from] weir_nvme::Error),
    #[error("block: there is no disk {0}")]
    NoDisk(u16),
    #[error("block: the region has no room for a request, or the disk no blocks so small")]
    NoRegion,
    #[error("block: a request failed: {0}")]
    Io(weir_block::Failure),
    #[error("block: {0} requests failed, the first so: {1}")]
    ManyIo(u64, weir_block::Failure),
    #[error("block: a request was not answered")]
    Late,
    #[error("block: {0} requests read something else than was written")]
    Wrong(u64),
}

fn main(mut env: Env) -> Result<(), Failure> {
    let jobs = Words::parse(env.args())?;
    let stats = env.stats()?;
    let function = Function::new(env.device("disk")?)?;
    let cores = (0..).map_while(|number| env.core(&alloc::format!("core{number}")).ok()).collect();
    serve::<Nvme<Function>>(function, jobs, stats, cores)
}

/// Opens the device, gives each queue a thread, and a core while there are some, and waits for them.
fn serve<B>(
    function: Function,
    jobs: Vec<Words>,
    stats: &'static Stats,
    cores: Vec<Core>,
) -> Result<(), Failure>
where
    B: BlockDevice<Device = Function> + Send + 'static,
    Failure: From<B::Error>,
{
    let (mut device, mut queues) = B::open(function, &Window, &TscClock, &options(&jobs))?;
    let disks = Arc::new(device.disks().to_vec());
    disks.iter().enumerate().for_each(tell_disk);
    device.start(&mut queues, &TscClock)?;
    log!("a million instructions take {} ticks", million_instructions());
    let count = queues.len() as u64;
    let (mut device, mut threads) = (Some(device), Vec::new());
    for (number, queue) in (0..).zip(queues) {
        let own = if count == 1 { device.take() } else { None };
        let (jobs, disks, core) = (jobs.clone(), Arc::clone(&disks), cores.get(threads.len()));
        let work = move || {
            if let Err(failure) = work(own, queue, stats, &jobs, &disks, (number, count)) {
                log!("{failure}");
                process::exit(1)
            }
        };
        threads.push(thread::spawn(STACK_BYTES, core, work)?);
    }
    stats.ready.store(1, Ordering::Release);
    threads.into_iter().for_each(thread::JoinHandle::join);
    log!("all done");
    Ok(())
}

/// What all jobs can do with.
fn options(jobs: &[Words]) -> Options {
    Options {
        queues: jobs.iter().map(|words| words.queues).max().unwrap_or(1),
        depth: jobs.iter().map(|words| words.iodepth).max().unwrap_or(1),
        interrupt: jobs.iter().any(|words| words.sleep),
    }
}

fn tell_disk((number, disk): (usize, &Disk)) {
    let Disk { blocks, is_read_only, can_trim, transfer_max_bytes, .. } = disk;
    let bytes = disk.block_bytes();
    log!(
        "disk {number}: {blocks} blocks of {bytes} bytes, up to {transfer_max_bytes} bytes at once, trim {can_trim}, \
         read-only {is_read_only}"
    );
}

/// Does the jobs with one queue, the `number`-th of `count`.
fn work<B>(
    mut device: Option<B>,
    mut queue: B::Queue,
    stats: &'static Stats,
    jobs: &[Words],
    disks: &[Disk],
    (number, count): (u64, u64),
) -> Result<(), Failure>
where
    B: BlockDevice<Device = Function>,
    Failure: From<B::Error>,
{
    for words in jobs {
        let disk = *disks.get(usize::from(words.disk)).ok_or(Failure::NoDisk(words.disk))?;
        let region = part(region(words, &disk)?, number, count)?;
        let mut job = Job::new(device, queue, stats, words, disk)?;
        phases(&mut job, words, region, number)?;
        (device, queue) = job.end();
    }
    Ok(())
}

/// The region of the words, in units of a request.
fn region(words: &Words, disk: &Disk) -> Result<Region, Failure> {
    let bs = u64::from(words.bs);
    let (first, bytes) = (words.offset / bs, disk.bytes().saturating_sub(words.offset));
    let units = words.size.unwrap_or(bytes).min(bytes) / bs;
    let is_possible = words.bs >= disk.block_bytes() && words.bs <= disk.transfer_max_bytes;
    if is_possible && units > 0 { Ok(Region { first, units }) } else { Err(Failure::NoRegion) }
}

/// The `number`-th of `count` equal parts.
fn part(region: Region, number: u64, count: u64) -> Result<Region, Failure> {
    let units = region.units / count;
    if units == 0 {
        return Err(Failure::NoRegion);
    }
    Ok(Region { first: region.first + number * units, units })
}

/// Does what the words say, with one queue.
fn phases<B>(job: &mut Job<B>, words: &Words, region: Region, number: u64) -> Result<(), Failure>
where
    B: BlockDevice<Device = Function>,
    Failure: From<B::Error>,
{
    let mut phase = |act, pass| phase(job, words, region, number, act, pass);
    let passes = if words.passes == 0 || words.kind.is_random() { u64::MAX } else { words.passes };
    match words.kind {
        Kind::RandRead => phase(Act::Read, 0),
        Kind::RandWrite => phase(Act::Overwrite, 0),
        Kind::Read => (0..passes).try_for_each(|pass| phase(Act::Read, pass)),
        Kind::Write => (0..passes).try_for_each(|pass| phase(Act::Write, pass)),
        Kind::Check => phase(Act::Check, 0),
        Kind::Trim => phase(Act::Trim, 0),
        Kind::Verify => (0..passes).try_for_each(|pass| {
            phase(Act::Write, pass)?;
            phase(Act::Check, pass)
        }),
    }
}

/// One pass of one kind of request, its flush, and its result.
fn phase<B>(
    job: &mut Job<B>,
    words: &Words,
    region: Region,
    number: u64,
    act: Act,
    pass: u64,
) -> Result<(), Failure>
where
    B: BlockDevice<Device = Function>,
    Failure: From<B::Error>,
{
    let ios = match (words.ios, words.runtime_s) {
        (Some(ios), _) => ios,
        (None, Some(_)) => u64::MAX,
        (None, None) => region.units,
    };
    let runtime_ns = words.runtime_s.map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000_000_000));
    let is_random = words.kind.is_random();
    // Places differ from queue to queue, contents must not: only those that nobody checks are random.
    let seed = words.seed.wrapping_add(if is_random { number } else { pass });
    let mut plan = Plan::new(act, region, is_random, ios, seed, words.iodepth);
    let measured = job.run(&mut plan, now_ns().saturating_add(runtime_ns))?;
    if matches!(act, Act::Write | Act::Overwrite | Act::Trim) {
        job.flush()?;
    }
    tell(&measured, words, act, number, pass);
    match (measured.first_failure, measured.wrong) {
        (Some(first), _) => Err(Failure::ManyIo(measured.failed, first)),
        (None, 0) => Ok(()),
        (None, wrong) => Err(Failure::Wrong(wrong)),
    }
}

/// One line, `key=value`, for people and programs.
fn tell(measured: &Measured, words: &Words, act: Act, number: u64, pass: u64) {
    let Measured { ios, wrong, cut_off, failed, ns, entries, sleep_entries, latency, .. } = measured;
    let per = |total: u64, count: u64| total / count.max(1);
    let iops = u128::from(*ios) * 1_000_000_000 / u128::from((*ns).max(1));
    let [p50, p99, p999] = [500, 990, 999].map(|per_mille| to_ns(latency.percentile(per_mille)));
    log!(
        "done {act:?} bs={} iodepth={} queue={number} pass={pass} ios={ios} failed={failed} wrong={wrong} cut_off={cut_off} \
         ms={} iops={iops} p50_ns={p50} p99_ns={p99} p999_ns={p999} max_ns={} kernel_entries={entries} \
         sleep_entries={sleep_entries} ticks_per_io={} ticks_per_empty_look={}",
        words.bs,
        words.iodepth,
        ns / 1_000_000,
        to_ns(latency.max()),
        per(measured.busy_ticks, *ios),
        per(measured.idle_ticks, measured.idle_turns),
    );
}

fn to_ns(ticks: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(kernel_page().tsc_hz.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}
