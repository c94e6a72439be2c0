//! An attack on the program itself: the device is told to read and to overwrite memory that it may not reach.
//! The IOMMU, not the driver, has to stop it.
//!
//! The memory is one that the device did reach: it was in the DMA window, the device wrote to it there, then it was
//! taken out. Only the IOMMU, and only one that has forgotten the old translation, stands between the two.
//! Other memory is in the window for reading only, and the device is told to write there.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use weir_abi::call::{MAP_DMA, MAP_READ, MAP_WRITE};
use weir_abi::layout::PAGE_BYTES;
use weir_hal::Iova;
use weir_nic::{Nic, RxQueue, TxQueue};
use weir_port::Port;
use weir_rt::memory::Mapping;
use weir_rt::{Access, Memory, clock, kernel_page, log};

use crate::Failure;

const BYTES: usize = 4096;
const _: () = assert!(BYTES as u64 == PAGE_BYTES);
/// What the memory is filled with.
const PATTERN: [u8; BYTES] = [0x5a; BYTES];
/// Where the kernel lies in physical memory (`kernel/linker.ld`): a device whose accesses were not translated would
/// read or overwrite it.
const KERNEL: Iova = Iova(0x20_0000);
/// Bytes the device is told to send.
const SENT_BYTES: u16 = 60;
/// How long to wait for a fault; a write needs a frame that arrives.
const FAULT_LIMIT_NS: u64 = 1_000_000_000;
/// Time between two looks for a frame or a fault.
const LOOK_NS: u64 = 1_000_000;

/// Memory of this program with known contents, which no device of it may change.
pub(crate) struct Canary {
    memory: [Mapping; 2],
    /// Where the device may read the second.
    window: Mapping,
}

impl Canary {
    /// How it is, in words.
    pub(crate) fn state(&self) -> &'static str {
        if self.memory.iter().all(has_pattern) { "canary intact" } else { "canary DAMAGED" }
    }
}

fn has_pattern(mapping: &Mapping) -> bool {
    let mut bytes = [0; BYTES];
    mapping.read(0, &mut bytes).is_some() && bytes == PATTERN
}

/// Starts the device with wrong descriptors: it sends what it can read, and writes the first frames that arrive over
/// the same places.
pub(crate) fn attack<N: Nic>(port: &mut Port<N>) -> Result<Canary, Failure>
where
    Failure: From<N::Error>,
{
    // With an empty pool the receive ring starts empty, so the wrong descriptors are the first of it.
    let bufs: Vec<_> = core::iter::from_fn(|| port.pool.take()).collect();
    port.start()?;
    bufs.into_iter().for_each(|buf| port.pool.put(buf));
    let (memory, constant) = (Memory::create(PAGE_BYTES)?, Memory::create(PAGE_BYTES)?);
    // Mapped first, and for as long as the other: their addresses differ.
    let window = constant.map_with(0, MAP_READ | MAP_DMA)?;
    let former = let_device_write(port, &memory)?;
    let canary =
        Canary { memory: [memory.map(Access::ReadWrite)?, constant.map(Access::ReadWrite)?], window };
    // It has as many bytes as the pattern.
    let _ = canary.memory[1].write(0, &PATTERN);
    log!("bad-descriptor: {former} taken out of the window, {}", canary.state());
    let place = Iova(canary.window.io_address()?);
    let is_given = one_fault(|| port.rx.offer_wrong_address(&mut port.pool, place))?;
    log!("bad-descriptor: device told to write {place}, which it may only read, given: {is_given}");
    for place in [former, Iova(canary.memory[0].address()), KERNEL] {
        let reads = one_fault(|| port.tx.send_wrong_address(&mut port.pool, place, SENT_BYTES))?;
        let writes = one_fault(|| port.rx.offer_wrong_address(&mut port.pool, place))?;
        log!("bad-descriptor: device told to read and write {place}, given: {}", reads && writes);
    }
    Ok(canary)
}

/// Tells the device to read memory that it may not reach `count` times, as fast as it can.
pub(crate) fn storm<N: Nic>(port: &mut Port<N>, count: u64) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    log!("storm: {count} reads of {KERNEL} begin");
    for _ in 0..count {
        while !port.tx.send_wrong_address(&mut port.pool, KERNEL, SENT_BYTES)? {
            if port.nic.has_stopped() {
                return Err(weir_hal::Error::Gone.into());
            }
        }
    }
    let faults = &kernel_page().faults;
    let [recorded, muted] = [&faults.written, &faults.muted].map(|counter| counter.load(Ordering::Acquire));
    log!("storm: {count} reads given, {recorded} faults told, {muted} times muted");
    Ok(())
}

/// Gives an order and waits for the fault, or until it is clear that none comes: a unit may have room for a single
/// record, and loses what is blocked before the kernel has read it.
fn one_fault<E>(order: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
    let written = || kernel_page().faults.written.load(Ordering::Acquire);
    let (seen, until) = (written(), clock::now_ns() + FAULT_LIMIT_NS);
    let is_given = order()?;
    while written() == seen && clock::now_ns() < until {
        clock::sleep(LOOK_NS);
    }
    Ok(is_given)
}

/// Maps `memory` in the window until the device has written a frame to it, and fills it anew. Gives the address
/// where it was.
fn let_device_write<N: Nic>(port: &mut Port<N>, memory: &Memory) -> Result<Iova, Failure>
where
    Failure: From<N::Error>,
{
    let window = memory.map_with(0, MAP_READ | MAP_WRITE | MAP_DMA)?;
    let place = Iova(window.io_address()?);
    // It has as many bytes as the pattern.
    let _ = window.write(0, &PATTERN);
    port.rx.offer_wrong_address(&mut port.pool, place)?;
    log!("bad-descriptor: waiting for a frame at {place}");
    while has_pattern(&window) {
        clock::sleep(LOOK_NS);
    }
    log!("bad-descriptor: the device wrote to {place}, which is in its window");
    let _ = window.write(0, &PATTERN);
    Ok(place)
}
