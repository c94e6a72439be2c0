//! A rogue: it tells its device, which copies to any address, addresses that are not its own. The IOMMU has to stop it.
//!
//! **Invariant: it succeeds only if the memory that its device was told to overwrite is as it was**: the kernel would not
//! run on if its own had changed.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::num::ParseIntError;
use core::sync::atomic::Ordering;

use weir_abi::device::PciAddress;
use weir_abi::layout::PAGE_BYTES;
use weir_edu::{Direction, Edu, Span};
use weir_hal::Iova;
use weir_rt::hal::{Function, TscClock};
use weir_rt::{Access, Env, GrantError, Mapping, Memory, clock, kernel_page, log};

weir_rt::entry!(main);

/// Accesses, unless the manifest says otherwise: each kind at each place, and a half.
const ACCESSES: u32 = 9;
/// Where the kernel lies in physical memory (`kernel/linker.ld`).
const KERNEL: Iova = Iova(0x20_0000);
/// Where nothing is.
const NOWHERE: Iova = Iova(0xdead_d000);
/// How long to wait for the record of a blocked access.
const FAULT_LIMIT_NS: u64 = 300_000_000;
const LOOK_NS: u64 = 1_000_000;
/// What is in the memory that must stay.
const PATTERN: [u8; 64] = [0x5a; 64];

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("the kernel refused: {0}")]
    Kernel(#[from] weir_abi::Error),
    #[error("edu: {0}")]
    Device(#[from] weir_edu::Error),
    #[error("the word must be a number of accesses: {0}")]
    Word(ParseIntError),
    #[error("the device changed memory that it may not reach")]
    Damaged,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let accesses = env.args().first().map_or(Ok(ACCESSES), |word| word.parse()).map_err(Failure::Word)?;
    let edu = Edu::open(Function::new(env.device("edu")?)?)?;
    let memory = Memory::create(PAGE_BYTES)?.map(Access::ReadWrite)?;
    // A page has as many bytes.
    let _ = memory.write(0, &PATTERN);
    let places = [KERNEL, Iova(memory.address()), NOWHERE];
    let directions = [Direction::DeviceWrites, Direction::DeviceReads];
    let kinds = directions.into_iter().flat_map(|direction| places.map(|place| (direction, place)));
    for (_, (direction, place)) in (0..accesses).zip(kinds.cycle()) {
        attack(&edu, direction, place)?;
    }
    let ring = &kernel_page().faults;
    let [told, muted] = [&ring.written, &ring.muted].map(|counter| counter.load(Ordering::Acquire));
    log!("rogue: {accesses} accesses tried, {told} told as blocked, {muted} times too fast to be told");
    if has_pattern(&memory) { Ok(()) } else { Err(Failure::Damaged) }
}

/// Has the device access `place`, and tells what this program was told of it.
fn attack(edu: &Edu<Function>, direction: Direction, place: Iova) -> Result<(), Failure> {
    const SPAN: Span = Span::new(0, 64).expect("the buffer has them");
    let faults = &kernel_page().faults;
    let seen = faults.written.load(Ordering::Acquire);
    edu.transfer(direction, place, SPAN, &TscClock)?;
    let until = clock::now_ns().saturating_add(FAULT_LIMIT_NS);
    while faults.written.load(Ordering::Acquire) == seen && clock::now_ns() < until {
        clock::sleep(LOOK_NS);
    }
    match faults.get(seen) {
        Some(fault) => {
            let what = if fault.is_write { "write to" } else { "read of" };
            let (who, iova, reason) = (PciAddress(fault.requester), fault.iova, fault.reason);
            log!("rogue: blocked: {who} {what} {iova:#x}, reason {reason:#x}");
        }
        None => log!("rogue: {direction:?} at {place}: nothing was told"),
    }
    Ok(())
}

fn has_pattern(mapping: &Mapping) -> bool {
    let mut bytes = [0; PATTERN.len()];
    mapping.read(0, &mut bytes).is_some() && bytes == PATTERN
}
