//! DMA to what is not the owner's: read and written, and nothing changes or is learnt.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use weir_abi::layout::DMA_WINDOW_END;
use weir_attack_orders::{Answer, DATA_AT, Order};

use super::ram::{PAGE, page_from};
use super::rig::{EDU, Fault, LIMIT, Rig, VICTIM_LINK};
use super::{EXPECTED, Machine, Record};

/// First words of memories, by which they are found.
const OWN: u64 = 0x0123_4567_89ab_0000;
const WITHDRAWN: u64 = 0x1123_4567_89ab_0000;
const FREED: u64 = 0x2123_4567_89ab_0000;
const READ_ONLY: u64 = 0x4123_4567_89ab_0000;
const VICTIMS: u64 = 0x3123_4567_89ab_0000;
/// Pages of the victim's memory: more than the attacker has.
const VICTIM_PAGES: u64 = 16;
/// Where the kernel lies in physical memory (`kernel/linker.ld`).
const KERNEL: u64 = 0x20_0000;
/// And where it sees itself: tables shared with devices must not lead there.
const KERNEL_VIRTUAL: u64 = 0xffff_ffff_8020_0000;
/// Bytes of an access.
const BYTES: u16 = 256;

/// Something not the attacker's.
struct Target {
    what: &'static str,
    /// What the device is told.
    iova: u64,
    /// What must not change.
    proof: Proof,
}

/// Where a target's contents are seen.
enum Proof {
    /// A page of memory.
    Page(u64),
    /// The attacker's own private memory.
    Slot(usize),
    /// The memory of the victim's device.
    VictimLink,
    /// Registers of the unit.
    Unit,
    /// There is nothing there.
    Nothing,
}

/// Memory of an application in its window.
struct Own {
    slot: usize,
    iova: u64,
}

pub(super) fn all(machine: &'static Machine) -> Result<()> {
    Rig::run(machine, attack)
}

fn attack(rig: &mut Rig) -> Result<()> {
    let (slot, iova) = rig.attacker.map(PAGE as u64, OWN)?;
    let own = Own { slot, iova };
    let (slot, iova) = rig.victim.map(VICTIM_PAGES * PAGE as u64, VICTIMS)?;
    let victim = Own { slot, iova };
    works_where_it_may(rig, &own)?;
    a_read_only_page_is_read_and_not_written(rig, &own)?;
    for target in targets(rig, &own, &victim)? {
        let (name, record) = (target.what, rig.machine.record);
        read(rig, &own, &target, record).with_context(|| format!("DMA read of {name}"))?;
        write(rig, &own, &target, record).with_context(|| format!("DMA write to {name}"))?;
    }
    same_address_in_another_domain(rig, &own, &victim)?;
    a_partly_used_page_holds_nothing_else(rig)?;
    let status = rig.guest.status()?;
    let (written, lost) = rig.faults()?;
    let is_told = status.faults == written || matches!(rig.machine.record, Record::Missing { .. });
    rig.check(is_told && lost == 0, &format!("{written} records, {lost} lost, {status:?}"))
}

/// Otherwise "blocked" would mean nothing: the device reaches its owner's memory, both ways.
fn works_where_it_may(rig: &mut Rig, own: &Own) -> Result<()> {
    load(rig, own.iova, 0)?;
    store(rig, own.iova + 1024)?;
    let mut expected = page_from(OWN);
    let (front, rest) = expected.split_at_mut(1024);
    rest[..BYTES.into()].copy_from_slice(&front[..BYTES.into()]);
    ensure!(rig.attacker.page(own.slot)? == expected, "the device does not reach its owner's memory");
    let faults = rig.faults()?;
    rig.check(faults == (0, 0), "a permitted access was blocked")
}

/// What may be read must not be written. Written first: QEMU's intel-iommu blocks, but records no fault for, what an
/// entry that it has cached does not permit.
fn a_read_only_page_is_read_and_not_written(rig: &mut Rig, own: &Own) -> Result<()> {
    let (_, iova) = rig.attacker.place(&Order::MapReadOnly { word: READ_ONLY })?;
    let frame = rig.ram.page_of(READ_ONLY)?;
    let target = Target { what: "a page of its own for reading", iova, proof: Proof::Page(frame) };
    write(rig, own, &target, rig.machine.record)?;
    load(rig, iova, 0)?;
    store(rig, own.iova)?;
    let learnt = rig.attacker.page(own.slot)?;
    ensure!(learnt[..BYTES.into()] == page_from(READ_ONLY)[..BYTES.into()], "it cannot be read");
    Ok(())
}

fn targets(rig: &mut Rig, own: &Own, victim: &Own) -> Result<Vec<Target>> {
    let (slot, withdrawn) = rig.attacker.map(PAGE as u64, WITHDRAWN)?;
    let (free, freed) = rig.attacker.map(PAGE as u64, FREED)?;
    // The unit has seen both.
    for iova in [withdrawn, freed] {
        load(rig, iova, 0)?;
    }
    let frame = rig.ram.page_of(FREED)?;
    let (_, private) = rig.attacker.place(&Order::Withdraw { slot })?;
    rig.attacker.order(&Order::Free { slot: free })?;
    let victims = rig.ram.page_of(VICTIMS)?;
    let last = VICTIM_PAGES - 1;
    let last_frame = rig.ram.page_of(VICTIMS + last * (PAGE as u64 / 8))?;
    rig.victim.write(DATA_AT, &page_from(VICTIMS))?;
    let registers = rig.outside.function(VICTIM_LINK).bar(2)? + DATA_AT;
    let unit = rig.machine.unit[0] & !0xfff;
    let page = |what, iova| Target { what, iova, proof: Proof::Page(iova) };
    let mut targets = vec![
        page("the kernel", KERNEL),
        page("another application's DMA memory", victims),
        Target {
            what: "an address of another application's window",
            iova: victim.iova + last * PAGE as u64,
            proof: Proof::Page(last_frame),
        },
        Target { what: "memory that left the window", iova: withdrawn, proof: Proof::Slot(slot) },
        Target { what: "its owner's private memory", iova: private, proof: Proof::Slot(slot) },
        Target { what: "the kernel at its own address", iova: KERNEL_VIRTUAL, proof: Proof::Page(KERNEL) },
        Target { what: "memory that was given back", iova: freed, proof: Proof::Page(frame) },
        Target { what: "another device's registers", iova: registers, proof: Proof::VictimLink },
        Target { what: "the unit's registers", iova: unit, proof: Proof::Unit },
        Target { what: "the page before its own", iova: own.iova - PAGE as u64, proof: Proof::Nothing },
        Target { what: "what is above the window", iova: DMA_WINDOW_END, proof: Proof::Nothing },
    ];
    let tables = rig.ram.tables_of(victims)?;
    ensure!(!tables.is_empty(), "no page table of {victims:#x} was found");
    targets.extend(tables.into_iter().map(|table| page("a page table of the victim", table)));
    Ok(targets)
}

/// The device reads the target into its buffer and writes that into its owner's memory.
fn read(rig: &mut Rig, own: &Own, target: &Target, record: Record) -> Result<()> {
    let before = contents(rig, &target.proof)?;
    rig.attacker.order(&Order::Fill { slot: own.slot, word: OWN })?;
    load(rig, own.iova, 0)?;
    blocked(rig, target, false, record, |rig| load(rig, target.iova, 0))?;
    store(rig, own.iova)?;
    let learnt = rig.attacker.page(own.slot)?[..BYTES.into()].to_vec();
    let is_own = learnt == page_from(OWN)[..BYTES.into()];
    ensure!(is_own || learnt.iter().all(|byte| *byte == 0), "the device learnt {learnt:x?}");
    ensure!(before == contents(rig, &target.proof)?, "it changed");
    Ok(())
}

/// The device writes words of its own there.
fn write(rig: &mut Rig, own: &Own, target: &Target, record: Record) -> Result<()> {
    let before = contents(rig, &target.proof)?;
    rig.attacker.order(&Order::Fill { slot: own.slot, word: OWN })?;
    load(rig, own.iova, 0)?;
    blocked(rig, target, true, record, |rig| store(rig, target.iova))?;
    ensure!(before == contents(rig, &target.proof)?, "it changed");
    Ok(())
}

/// Does `act`, which must end in one more record with its owner and with the supervisor.
fn blocked(
    rig: &mut Rig,
    target: &Target,
    is_write: bool,
    record: Record,
    act: impl FnOnce(&mut Rig) -> Result<()>,
) -> Result<()> {
    let (seen, _) = rig.faults()?;
    act(rig)?;
    let (what, iova, way) = (target.what, target.iova, if is_write { "write" } else { "read" });
    match record {
        Record::Told => {
            let reason = told(rig, seen, iova & !0xfff, is_write)?;
            println!("{what}: DMA {way} at {iova:#x}: blocked, reason {reason:#x}, recorded, intact");
        }
        Record::Missing { why, model } => {
            let (written, _) = rig.faults()?;
            ensure!(written == seen, "this emulator records now what it did not: {written} records");
            println!(
                "{what}: DMA {way} at {iova:#x}: blocked, intact; no record, {EXPECTED}: {why}; see {model}"
            );
        }
    }
    Ok(())
}

/// The record number `seen` of the owner's ring, and the supervisor's of the same; gives the reason.
fn told(rig: &mut Rig, seen: u64, page: u64, is_write: bool) -> Result<u8> {
    let deadline = Instant::now() + LIMIT;
    while rig.faults()?.0 == seen {
        ensure!(Instant::now() < deadline, "the owner was told of no fault");
    }
    let fault = rig.fault(seen)?;
    let Fault { requester, iova, reason, .. } = fault;
    let expected = (u32::from(EDU) << 8, page, is_write);
    rig.check((requester, iova, fault.is_write) == expected && reason != 0, &format!("{fault:x?}"))?;
    rig.guest.type_line("faults")?;
    let way = if is_write { "write" } else { "read" };
    let words = [&format!("0000:{EDU:02x}:00.0"), "attack", way, &format!("{iova:#x}")];
    rig.guest.console_row(&words, LIMIT)?;
    Ok(reason)
}

/// What the target holds now.
fn contents(rig: &mut Rig, proof: &Proof) -> Result<Vec<u8>> {
    match proof {
        Proof::Page(at) => rig.ram.read(*at, PAGE),
        Proof::Slot(slot) => rig.attacker.page(*slot),
        Proof::VictimLink => rig.victim.read(DATA_AT, PAGE),
        Proof::Unit => {
            let values = rig.machine.unit.iter().map(|at| rig.outside.read(*at, 4));
            values.map(|value| Ok(value?.to_le_bytes())).collect::<Result<Vec<_>>>().map(|v| v.concat())
        }
        Proof::Nothing => Ok(vec![]),
    }
}

/// Both applications have memory at the same address: the attacker's device reaches the attacker's.
fn same_address_in_another_domain(rig: &mut Rig, own: &Own, victim: &Own) -> Result<()> {
    ensure!(own.iova == victim.iova, "{:#x} and {:#x} should be equal", own.iova, victim.iova);
    rig.attacker.order(&Order::Fill { slot: own.slot, word: 0 })?;
    store(rig, own.iova)?;
    ensure!(rig.attacker.page(own.slot)? != page_from(0), "the device did not write");
    ensure!(rig.victim.page(victim.slot)? == page_from(VICTIMS), "the victim's memory changed");
    println!("an address that two applications have: the device reached its owner's memory");
    Ok(())
}

/// A page of which a program asked for a few bytes: the device finds zeros in the rest, and no further page.
fn a_partly_used_page_holds_nothing_else(rig: &mut Rig) -> Result<()> {
    let Answer::Place { slot, address } = rig.attacker.order(&Order::Map { bytes: 100, word: 0 })? else {
        bail!("no place");
    };
    load(rig, address, 0)?;
    let after =
        Target { what: "behind a partly used page", iova: address + PAGE as u64, proof: Proof::Nothing };
    let record = rig.machine.record;
    blocked(rig, &after, false, record, |rig| load(rig, after.iova, 0))?;
    ensure!(rig.attacker.page(slot)? == page_from(0), "somebody else's words");
    Ok(())
}

fn load(rig: &mut Rig, iova: u64, offset: u16) -> Result<()> {
    rig.attacker.order(&Order::Load { device: "edu0".into(), iova, offset, bytes: BYTES }).map(drop)
}

fn store(rig: &mut Rig, iova: u64) -> Result<()> {
    rig.attacker.order(&Order::Store { device: "edu0".into(), iova, offset: 0, bytes: BYTES }).map(drop)
}
