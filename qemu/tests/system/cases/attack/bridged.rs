//! A device behind a bridge to conventional PCI, which asks in the bridge's name: confined, told and heard all the same.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use weir_attack_orders::{Answer, Order};
use weir_runner::guest::Setup;

use super::outside::{Outside, Waiting};
use super::puppet::Puppet;
use super::ram::{PAGE, page_from};
use super::rig::{LIMIT, root_port};
use crate::cases::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("attack::bridged_vtd_legacy", || bridged("q35-vtd", Told::Always)),
    ("attack::bridged_scalable_first", || bridged("q35-scalable-first", Told::Always)),
    ("attack::bridged_scalable_second", || bridged("q35-scalable-second", Told::Always)),
    ("attack::bridged_amdvi", || bridged("q35-amdvi-x2apic", Told::OfSpoiledTables)),
];

/// Which blocked accesses the emulated unit records.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Always,
    /// QEMU's AMD unit: only those that an entry above the last forbids to everybody, and as the fault of a function on
    /// bus 0, so that the supervisor is told and nobody else. The kernel never writes such an entry, so the case does,
    /// from outside.
    OfSpoiledTables,
}

const EDU: &str = "edu0";
/// The device, as the system names it: 03:03.0.
const NUMBER: u32 = 3 << 8 | 3 << 3;
const WORD: u64 = 0x5123_4567_89ab_0000;
/// Where the kernel lies in physical memory (`kernel/linker.ld`).
const KERNEL: u64 = 0x20_0000;
const BYTES: u16 = 64;

struct Bridged {
    puppet: Puppet,
    outside: Outside,
}

fn bridged(machine: &'static str, told: Told) -> Result<()> {
    let (puppet, waiting) = (Puppet::new()?, Waiting::new()?);
    let mut words = waiting.options().to_vec();
    let device = |text: String| ["-device".to_owned(), text];
    words.extend(device(root_port(1)));
    words.extend(puppet.options("port1"));
    words.extend(device(root_port(2)));
    words.extend(device("pcie-pci-bridge,id=bridge,bus=port2".into()));
    words.extend(device("edu,dma_mask=0xffffffffffffffff,bus=bridge,addr=3".into()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut guest = Setup::new("bridged").machine(machine).with(&words).start()?;
    let mut bridged = Bridged { puppet, outside: waiting.connect()? };
    guest.wait_ready()?;
    guest.status_until("the application", |status| status.app("attack").is_some_and(|app| app.ready))?;
    let outcome = bridged.run(told);
    let faults = outcome.map_err(|error| guest.failure(&format!("{error:#}")))?;
    if told == Told::OfSpoiledTables {
        guest.status_until("a record of the supervisor's", |status| status.faults > 0)?;
        return guest.power_off();
    }
    let (status, mismatch) = (guest.status()?, format!("not the owner's {faults} records"));
    guest.check(status.faults == faults, &mismatch)?;
    guest.type_line("faults")?;
    guest.console_row(&["0000:03:03.0", "attack"], LIMIT)?;
    guest.power_off()
}

impl Bridged {
    /// Gives the records that there must be.
    fn run(&mut self, told: Told) -> Result<u64> {
        let (slot, iova) = self.puppet.map(PAGE as u64, WORD)?;
        self.works(slot, iova)?;
        self.is_heard()?;
        let before = self.outside.read(KERNEL, 8)?;
        self.store(KERNEL)?;
        ensure!(self.outside.read(KERNEL, 8)? == before, "the kernel was written to");
        if told == Told::OfSpoiledTables {
            println!("EXPECTED ON THIS EMULATOR: QEMU's AMD unit records no fault where an entry is missing");
            ensure!(self.faults()? == 0, "a fault was recorded");
            // A page that the unit has not seen.
            let (_, unseen) = self.puppet.map(PAGE as u64, WORD)?;
            self.spoil()?;
            self.store(unseen)?;
            return Ok(0);
        }
        self.is_told(KERNEL)?;
        self.faults()
    }

    /// It reaches its owner's memory, both ways.
    fn works(&mut self, slot: usize, iova: u64) -> Result<()> {
        let load = Order::Load { device: EDU.into(), iova, offset: 0, bytes: BYTES };
        self.puppet.order(&load)?;
        self.store(iova + 1024)?;
        let mut expected = page_from(WORD);
        let (front, rest) = expected.split_at_mut(1024);
        rest[..BYTES.into()].copy_from_slice(&front[..BYTES.into()]);
        ensure!(self.puppet.page(slot)? == expected, "the device does not reach its owner's memory");
        ensure!(self.faults()? == 0, "a permitted access was blocked");
        Ok(())
    }

    /// Its interrupt, which carries the bridge's id too, arrives.
    fn is_heard(&mut self) -> Result<()> {
        self.puppet.order(&Order::Listen { device: EDU.into() })?;
        self.puppet.order(&Order::Raise { device: EDU.into() })?;
        let count = self.puppet.count(&Order::Interrupts { device: EDU.into() })?;
        ensure!(count == 1, "{count} interrupts");
        Ok(())
    }

    fn is_told(&mut self, iova: u64) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.faults()? == 0 {
            ensure!(Instant::now() < deadline, "the owner was told of nothing");
        }
        let Answer::Fault { requester, iova: at, is_write, .. } =
            self.puppet.order(&Order::Fault { number: 0 }).context("the owner's first record")?
        else {
            bail!("another answer");
        };
        ensure!(requester == NUMBER, "the record names {requester:#x}");
        ensure!((at, is_write) == (iova, true), "{at:#x}, write {is_write}");
        Ok(())
    }

    fn store(&mut self, iova: u64) -> Result<()> {
        self.puppet.order(&Order::Store { device: EDU.into(), iova, offset: 0, bytes: BYTES }).map(drop)
    }

    fn faults(&mut self) -> Result<u64> {
        match self.puppet.order(&Order::Faults)? {
            Answer::Faults { written, lost } => Ok(written + lost),
            other => bail!("{other:?}"),
        }
    }

    /// Takes the permissions out of the first entries of every table that a device of the machine is led to (AMD 48882
    /// §2.2.2, §2.2.3: V, TV, root in bits 51:12, permissions in 62:61).
    fn spoil(&mut self) -> Result<()> {
        const UNIT: u64 = 0xfed8_0000;
        let devices = self.outside.read(UNIT, 8)? & 0x000f_ffff_ffff_f000;
        let mut spoiled = 0;
        for requester in 0x300..0x320 {
            let entry = self.outside.read(devices + requester * 32, 8)?;
            if entry & 3 != 3 {
                continue;
            }
            for index in 0..8 {
                let at = (entry & 0x000f_ffff_ffff_f000) + index * 8;
                let link = self.outside.read(at, 8)?;
                self.outside.write(at, 8, link & !(3 << 61))?;
                spoiled += u64::from(link != 0);
            }
        }
        ensure!(spoiled > 0, "no device on bus 3 has a table");
        Ok(())
    }
}
