//! Holds the VFIO host to what the traits of `weir-hal` promise, with any network device that `vfio-pci` has.
//!
//! It prints each promise that was not kept, and fails then. Traffic is `vfio-net`'s business.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weir_hal::{Clock, Device, DmaMemory, DmaWindow, Error, Interrupt, Mmio, Register};
use weir_vfio::{Address, Function, MonotonicClock, Window};

/// Offsets in configuration space (PCI 3.0 §6.1): vendor id, command and its bit for bus mastering.
const VENDOR: u16 = 0;
const COMMAND: u16 = 4;
const BUS_MASTER: u32 = 1 << 2;
const PAGE_BYTES: u64 = 4096;
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// The checks, and how many failed.
#[derive(Default)]
struct Checks {
    failed: u32,
}

impl Checks {
    fn check(&mut self, what: &str, is_kept: bool) {
        if !is_kept {
            println!("vfio-check: not kept: {what}");
            self.failed += 1;
        }
    }
}

fn main() -> ExitCode {
    let mut checks = Checks::default();
    match run(&mut checks) {
        Ok(()) if checks.failed == 0 => {
            println!("vfio-check: every promise kept");
            ExitCode::SUCCESS
        }
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            println!("vfio-check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(checks: &mut Checks) -> Result<(), Box<dyn std::error::Error>> {
    let addresses = Address::bound();
    let (window, functions) = weir_vfio::open(&addresses)?;
    checks.check("a function has one owner", weir_vfio::open(&addresses).is_err());
    for function in &functions {
        identity(checks, function)?;
        registers(checks, function)?;
        interrupts(checks, function)?;
        reset(checks, function)?;
    }
    memory(checks, &window)?;
    // Nothing holds the functions now: they can be had again.
    drop((window, functions));
    checks.check("what was dropped can be opened again", weir_vfio::open(&addresses).is_ok());
    let far = "0000:ff:1f.7".parse()?;
    checks.check("a function that is not there is refused", weir_vfio::open(&[far]).is_err());
    Ok(())
}

fn identity(checks: &mut Checks, function: &Function) -> Result<(), Error> {
    let info = function.info();
    let read = function.config_read(VENDOR, 2)?;
    checks.check("the vendor is what configuration space says", u32::from(info.vendor) == read);
    checks.check("it is a network device", info.class >> 16 == 2);
    checks.check("it has messages", info.interrupts > 0);
    for (offset, bytes) in [(1, 2), (2, 4), (0, 3), (0, 0), (0, 8), (4096, 4), (u16::MAX, 1)] {
        let refused = function.config_read(offset, bytes) == Err(Error::OutOfRange);
        checks.check(&format!("{bytes} bytes at {offset} of configuration space are refused"), refused);
    }
    Ok(())
}

fn registers(checks: &mut Checks, function: &Function) -> Result<(), Error> {
    let sizes = function.info().bar_bytes;
    let mut tables = 0;
    for (bar, size) in (0u8..).zip(sizes) {
        let refused = |offset, bytes| matches!(function.map_bar(bar, offset, bytes), Err(Error::OutOfRange));
        checks.check(&format!("nothing past the end of BAR {bar}"), refused(size, 1) && refused(0, size + 1));
        checks.check("no overflow", refused(u64::MAX, 2) && refused(0, 0));
        for page in 0..size.min(1 << 20) / PAGE_BYTES {
            match function.map_bar(bar, page * PAGE_BYTES + 8, 8) {
                Ok(registers) => check_bounds(checks, &registers),
                Err(Error::OutOfRange) => tables += 1,
                Err(error) => return Err(error),
            }
        }
    }
    checks.check("no BAR 6", matches!(function.map_bar(6, 0, 4), Err(Error::OutOfRange)));
    checks.check("the pages of the MSI-X table, and no others, are refused", tables == 1);
    Ok(())
}

/// `registers` are 8 bytes.
fn check_bounds(checks: &mut Checks, registers: &impl Mmio) {
    checks.check("registers span what was asked for", registers.bytes() == 8);
    let is_refused = registers.register::<u32>(8).is_err() && registers.register::<u32>(2).is_err();
    checks.check("a register past the end, or across, is refused", is_refused);
}

fn interrupts(checks: &mut Checks, function: &Function) -> Result<(), Error> {
    let count = function.info().interrupts;
    let refused = matches!(function.interrupt(count), Err(Error::OutOfRange));
    checks.check("no message past the last", refused);
    for round in 0..2 {
        let message = function.interrupt(0)?;
        let last = if count > 1 { Some(function.interrupt(count - 1)?) } else { None };
        for _ in 0..2 {
            checks.check("a message is bound once", matches!(function.interrupt(0), Err(Error::Busy)));
        }
        message.unmask()?;
        message.mask()?;
        message.unmask()?;
        let deadline_ns = MonotonicClock.now_ns() + 20_000_000;
        let waited = message.wait(message.count(), deadline_ns);
        checks.check("a wait for nothing times out", matches!(waited, Err(Error::TimedOut { .. })));
        checks.check("and not before its time", MonotonicClock.now_ns() >= deadline_ns);
        let at_once = message.wait(message.count().wrapping_sub(1), u64::MAX);
        checks.check(&format!("a count that is old ends a wait at once, round {round}"), at_once.is_ok());
        drop(last);
    }
    Ok(())
}

fn reset(checks: &mut Checks, function: &Function) -> Result<(), Error> {
    let is_master = || function.config_read(COMMAND, 2).map(|command| command & BUS_MASTER != 0);
    checks.check("bus mastering is off at first", !is_master()?);
    function.bus_master(true)?;
    checks.check("bus mastering can be switched on", is_master()?);
    function.reset()?;
    checks.check("a reset switches it off", !is_master()?);
    function.bus_master(true)?;
    function.bus_master(false)?;
    checks.check("bus mastering can be switched off", !is_master()?);
    let bar = (0u8..).zip(function.info().bar_bytes).find(|(_, bytes)| *bytes >= PAGE_BYTES);
    let (bar, _) = bar.ok_or(Error::Unsupported)?;
    let register = function.map_bar(bar, 0, 4)?.register::<u32>(0)?;
    checks.check("registers can be read after a reset", register.read() != u32::MAX);
    Ok(())
}

fn memory(checks: &mut Checks, window: &Window) -> Result<(), Error> {
    checks.check("no memory of 0 bytes", matches!(window.allocate(0), Err(Error::OutOfRange)));
    checks.check("no more memory than there is", window.allocate(usize::MAX).is_err());
    checks.check("no more memory than there is", window.allocate(1 << 40).is_err());
    for round in 0..50 {
        // More large pages than are set aside: the last ones lie on small pages.
        let sizes = [1, 4096, 4097, 1 << 16, LARGE_PAGE_BYTES, LARGE_PAGE_BYTES + 1, 3 * LARGE_PAGE_BYTES];
        let mut runs: Vec<DmaMemory> = Vec::new();
        for bytes in sizes {
            let run = window.allocate(bytes)?;
            let is_aligned =
                run.base().as_ptr().addr().is_multiple_of(4096) && run.iova().0.is_multiple_of(4096);
            checks
                .check(&format!("{bytes} bytes are enough, and aligned"), run.bytes() >= bytes && is_aligned);
            runs.push(run);
        }
        checks.check(&format!("no byte is there twice, round {round}"), are_apart(&runs));
    }
    Ok(())
}

fn are_apart(runs: &[DmaMemory]) -> bool {
    let mut spans: Vec<(u64, u64)> = runs.iter().map(|run| (run.iova().0, run.bytes() as u64)).collect();
    spans.sort_unstable();
    spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0)
}
