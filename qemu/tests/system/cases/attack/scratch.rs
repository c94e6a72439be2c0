//! Devices that are taken from their owner and go on, under both policies: refused, or led to a page of their own. They
//! are driven from outside the guest, whether they may master the bus or not.

use anyhow::{Context, Result, ensure};
use weir_abi::layout::DMA_WINDOW_END;
use weir_hal::{Device as _, Mmio, Register};
use weir_iommu_testdev::{Outcome, PATTERN};

use super::ram::PAGE;
use super::revocation::{aimed, answers, wait_for};
use super::rig::{EDU, ROGUE, Rig};
use super::{AMD, EXPECTED, Machine, Record, SCALABLE_FIRST, VTD_LEGACY};
use crate::cases::Case;

pub(super) const CASES: [(&str, Case); 3] = [
    ("attack::scratch_on_vtd_legacy", || all(const { &VTD_LEGACY })),
    ("attack::scratch_on_scalable_first", || all(const { &SCALABLE_FIRST })),
    ("attack::scratch_on_amdvi", || all(const { &AMD })),
];

/// Where the kernel lies in physical memory (`kernel/linker.ld`).
const KERNEL: u64 = 0x20_0000;
const BYTES: u32 = 64;
const OWN: u64 = 0x6123_4567_89ab_0000;
const VICTIMS: u64 = 0x7123_4567_89ab_0000;

fn all(machine: &'static Machine) -> Result<()> {
    Rig::run(machine, refused)?;
    let mut rig = Rig::start_with(machine, "attack-scratch")?;
    rig.wait_ready()
        .and_then(|()| led_astray(&mut rig))
        .map_err(|error| rig.guest.failure(&format!("{error:#}")))?;
    rig.guest.power_off()
}

/// What a device without an owner asks for.
struct Target {
    iova: u64,
    /// The frame that would be changed; none where there is no memory.
    frame: Option<u64>,
}

impl Target {
    /// The kernel, the victim's memory and page tables, the former window, and beyond it.
    fn all(rig: &mut Rig) -> Result<Vec<Target>> {
        let (_, window) = rig.attacker.map(PAGE as u64, OWN)?;
        rig.victim.map(PAGE as u64, VICTIMS)?;
        let (own, victims) = (rig.ram.page_of(OWN)?, rig.ram.page_of(VICTIMS)?);
        let tables = rig.ram.tables_of(victims)?;
        ensure!(!tables.is_empty(), "no page table of {victims:#x} was found");
        let frames = [KERNEL, own, victims].into_iter().chain(tables);
        let nothing = [DMA_WINDOW_END - PAGE as u64, DMA_WINDOW_END];
        let memory = frames.map(|frame| Target { iova: frame, frame: Some(frame) });
        let window = [Target { iova: window, frame: Some(own) }];
        Ok(memory.chain(window).chain(nothing.map(|iova| Target { iova, frame: None })).collect())
    }

    /// What is where a write would land; the rest of the page may be the kernel's at work.
    fn contents(&self, rig: &Rig) -> Result<Option<Vec<u8>>> {
        self.frame.map(|at| rig.ram.read(at, BYTES as usize)).transpose()
    }

    /// The fast rogue writes there, with this outcome; what is there does not change.
    fn write(&self, rig: &Rig, expected: Outcome) -> Result<()> {
        let before = self.contents(rig)?;
        let outcome = fire(rig, self.iova)?;
        ensure!(outcome == expected, "a write to {:#x}: {outcome:?}", self.iova);
        let after = self.contents(rig)?;
        ensure!(before == after, "{:#x} changed", self.iova);
        Ok(())
    }
}

/// By default.
fn refused(rig: &mut Rig) -> Result<()> {
    let targets = Target::all(rig)?;
    revoke(rig, ROGUE)?;
    let faults = rig.guest.status()?.faults;
    targets.iter().try_for_each(|target| target.write(rig, Outcome::Refused))?;
    let sinks = rig.ram.sinks()?;
    ensure!(sinks.is_empty(), "nobody asked for a scratch page: {sinks:x?}");
    let recorded = rig.guest.status()?.faults - faults;
    match rig.machine.record {
        Record::Told => ensure!(recorded > 0, "no fault was recorded"),
        Record::Missing { why, model } => {
            ensure!(recorded == 0, "this emulator records now what it did not: {recorded} records");
            println!("no record of what is refused, {EXPECTED}: {why}; see {model}");
        }
    }
    println!("refused: 0 of {} writes landed, {recorded} recorded", targets.len());
    Ok(())
}

/// By the policy for devices that hang when they are refused.
fn led_astray(rig: &mut Rig) -> Result<()> {
    let targets = Target::all(rig)?;
    revoke(rig, ROGUE)?;
    revoke(rig, EDU)?;
    let faults = rig.guest.status()?.faults;
    let sinks = rig.ram.sinks()?;
    ensure!(sinks.len() == 2 && sinks[0] != sinks[1], "each has a page of its own: {sinks:x?}");
    for sink in &sinks {
        ensure!(is_zero(&rig.ram.read(*sink, PAGE)?), "the page at {sink:#x} held something");
    }
    targets.iter().try_for_each(|target| target.write(rig, Outcome::Written))?;
    let page = |rig: &Rig, at: u64| rig.ram.read(at, PAGE);
    let written = |page: &[u8]| page[..4] == PATTERN.to_le_bytes() && is_zero(&page[BYTES as usize..]);
    let [first, second] = [sinks[0], sinks[1]];
    let (rogues, edus) = if written(&page(rig, first)?) { (first, second) } else { (second, first) };
    ensure!(written(&page(rig, rogues)?), "the writes are not in {rogues:#x}");
    ensure!(is_zero(&page(rig, edus)?), "the writes are in the other device's page");
    nothing_is_learnt(rig, &targets, edus)?;
    let status = rig.guest.status()?;
    ensure!(status.faults == faults, "{} faults were recorded", status.faults - faults);
    println!("led astray: {} writes to {rogues:#x}, no fault, targets intact", targets.len());
    works_and_is_confined_again(rig, rogues)
}

/// The other rogue reads what is not its own, and shows it in its page: that page's own zeros.
fn nothing_is_learnt(rig: &Rig, targets: &[Target], sink: u64) -> Result<()> {
    /// The device's buffer and the registers of its DMA engine (QEMU docs/specs/edu.rst).
    const BUFFER: u64 = 0x4_0000;
    const FROM: u64 = 0x80;
    const TO: u64 = 0x88;
    const COUNT: u64 = 0x90;
    const COMMAND: u64 = 0x98;
    const START: u64 = 1;
    const TO_MEMORY: u64 = 2;
    let function = rig.outside.function(EDU);
    wait_for(|| answers(&function))?;
    function.bus_master(true)?;
    let registers = function.map_bar(0, 0, 0x1000)?;
    let transfer = |from: u64, to: u64, way: u64| {
        for (register, value) in [(FROM, from), (TO, to), (COUNT, 256), (COMMAND, START | way)] {
            registers.register::<u64>(register)?.write(value);
        }
        let command = registers.register::<u64>(COMMAND)?;
        wait_for(|| command.read() & START == 0)
    };
    for target in targets {
        transfer(target.iova, BUFFER, 0)?;
        transfer(BUFFER, KERNEL + 0x400, TO_MEMORY)?;
        ensure!(is_zero(&rig.ram.read(sink, PAGE)?), "it learnt what is at {:#x}", target.iova);
    }
    function.bus_master(false)?;
    println!("led astray: zeros read in {} places", targets.len());
    Ok(())
}

/// Its next owner's device reaches the owner's window and nothing else; taken away again, it finds zeros again.
fn works_and_is_confined_again(rig: &mut Rig, sink: u64) -> Result<()> {
    rig.restart()?;
    let (slot, window) = rig.attacker.map(PAGE as u64, OWN + 0x10_0000)?;
    let left = rig.ram.read(sink, PAGE)?;
    ensure!(fire(rig, KERNEL)? == Outcome::Refused, "a write to the kernel landed");
    ensure!(fire(rig, window)? == Outcome::Written, "the device does not reach its owner's memory");
    ensure!(rig.attacker.page(slot)?[..4] == PATTERN.to_le_bytes(), "the write went elsewhere");
    ensure!(rig.ram.read(sink, PAGE)? == left, "an owner's device reaches its scratch page");
    revoke(rig, ROGUE)?;
    ensure!(is_zero(&rig.ram.read(sink, PAGE)?), "the scratch page was not cleared");
    ensure!(fire(rig, window)? == Outcome::Written, "a write was refused");
    ensure!(rig.ram.read(sink, PAGE)?[..4] == PATTERN.to_le_bytes(), "the write went elsewhere");
    println!("granted again: it reaches its window and is confined; then {sink:#x} again, cleared");
    Ok(())
}

/// Takes the device on `bus` away, and waits until that is done.
fn revoke(rig: &mut Rig, bus: u8) -> Result<()> {
    let lines = rig.guest.count_said("is revoked");
    rig.guest.type_line(&format!("revoke {bus:02x}:00.0"))?;
    wait_for(|| rig.guest.count_said("is revoked") > lines).context("it is not revoked")
}

/// One write of the fast rogue; while it is being reset it answers nobody, and makes none.
fn fire(rig: &Rig, iova: u64) -> Result<Outcome> {
    let function = rig.outside.function(ROGUE);
    let mut outcome = None;
    wait_for(|| {
        let rogue = if answers(&function) { aimed(&function, iova) } else { None };
        outcome = rogue.and_then(|rogue| rogue.fire().ok()).filter(|_| answers(&function));
        outcome.is_some()
    })?;
    outcome.context("it never answered")
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
