//! Devices that go on by themselves: before any grant, while they are taken away, and afterwards. They are driven from
//! outside the guest, so that nobody's cooperation and no bus master bit stops them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use weir_attack_orders::{Answer, Order};
use weir_hal::{Device as _, Iova, Mmio, Register};
use weir_iommu_testdev::{Outcome, Testdev};

use super::Machine;
use super::outside::{Function, Outside};
use super::ram::{PAGE, page_from};
use super::rig::{EDU, LIMIT, ROGUE, Rig};

/// Attempts after the revocation and after the death.
const ATTEMPTS: u64 = 5_000;
/// Attempts after a page left the window.
const UNMAPPED: u64 = 1_000;
/// Attempts once the unit is on, before the device is anybody's.
const EARLY: u64 = 50;
/// A page of memory that nobody uses so early.
const EARLY_AT: u64 = 64 << 20;
const BYTES: u32 = 64;
const TAG: u64 = 0x5123_4567_89ab_0000;
const LOOK: Duration = Duration::from_millis(1);
/// Time between two attempts while the kernel starts. QEMU carries them out in the thread that the CPUs' accesses
/// to devices wait for, too: attempts without a pause slow a start down.
const BREATH: Duration = Duration::from_micros(300);

pub(super) fn all(machine: &'static Machine) -> Result<()> {
    let mut rig = Rig::start(machine)?;
    attack(&mut rig).map_err(|error| rig.guest.failure(&format!("{error:#}")))?;
    rig.guest.power_off()
}

fn attack(rig: &mut Rig) -> Result<()> {
    nothing_lands_before_a_grant(rig)?;
    rig.wait_ready()?;
    nothing_lands_after_an_unmap(rig)?;
    rogue_until_gone(rig)?;
    rig.restart()?;
    nothing_lands_after(rig, "revoke 04:00.0", "is revoked")?;
    rig.restart()?;
    nothing_lands_after(rig, "kill attack", "killed attack")?;
    rig.restart()?;
    no_interrupt_arrives_after_revocation(rig)
}

/// From the moment that the kernel says so, a device that never stops writing writes nothing, although nobody was
/// granted it yet; and no endpoint may master the bus.
fn nothing_lands_before_a_grant(rig: &mut Rig) -> Result<()> {
    // Not before: what it does to firmware is not what is asked here.
    rig.guest.console_line("MiB of memory", 3 * LIMIT)?;
    let flood = Flood::begin(&rig.outside, EARLY_AT, BREATH);
    rig.guest.console_line("kernel: IOMMU: ", 3 * LIMIT)?;
    let (before, _) = flood.counts();
    flood.forget();
    let masters = (1..=EDU).filter(|bus| rig.outside.function(*bus).is_bus_master().unwrap_or(true)).count();
    wait_for(|| flood.counts().1 >= EARLY || flood.counts().0 > 0)?;
    let (written, refused) = flood.counts();
    flood.stop()?;
    ensure!((written, masters) == (0, 0), "{written} writes landed, {masters} functions master the bus");
    println!("before any grant: {before} writes landed before the unit was on, 0 of {refused} afterwards");
    Ok(())
}

/// The device writes on and on while its owner takes the page out of the window; once that is done, nothing lands.
fn nothing_lands_after_an_unmap(rig: &mut Rig) -> Result<()> {
    let (slot, iova) = rig.attacker.map(PAGE as u64, TAG)?;
    let flood = Flood::begin(&rig.outside, iova, Duration::ZERO);
    wait_for(|| flood.counts().0 > 100).context("the device does not write where it may")?;
    rig.attacker.order(&Order::Withdraw { slot })?;
    flood.forget();
    rig.attacker.order(&Order::Fill { slot, word: TAG })?;
    wait_for(|| flood.counts().1 >= UNMAPPED || flood.counts().0 > 0)?;
    let (written, refused) = flood.counts();
    flood.stop()?;
    ensure!(written == 0, "{written} writes landed after the page had left the window");
    ensure!(rig.attacker.page(slot)? == page_from(TAG), "the page changed");
    println!("while its page leaves the window: 0 of {refused} writes landed afterwards");
    Ok(())
}

/// The application itself writes until it is stopped: it finds its device gone, nothing else happens to it.
fn rogue_until_gone(rig: &mut Rig) -> Result<()> {
    let (_, iova) = rig.attacker.map(PAGE as u64, TAG)?;
    rig.attacker.begin(&Order::Fire { iova, bytes: BYTES, times: u64::MAX })?;
    thread::sleep(Duration::from_millis(100));
    rig.guest.type_line("revoke 04:00.0")?;
    rig.guest.console_line("is revoked", LIMIT)?;
    let Answer::Fired { written, refused, is_gone } = rig.attacker.answer()? else { bail!("another answer") };
    ensure!(is_gone && written > 0, "{written} written, {refused} refused, gone: {is_gone}");
    println!("by its owner while it is taken away: {written} writes landed, then the device was gone");
    Ok(())
}

/// The device writes on and on while `command` is executed; once that `said` it is done, nothing lands any more.
fn nothing_lands_after(rig: &mut Rig, command: &str, said: &str) -> Result<()> {
    let tag = TAG + 0x10_0000;
    let (_, iova) = rig.attacker.map(PAGE as u64, tag)?;
    let frame = rig.ram.page_of(tag)?;
    let flood = Flood::begin(&rig.outside, iova, Duration::ZERO);
    wait_for(|| flood.counts().0 > 100).context("the device does not write where it may")?;
    let lines = rig.guest.count_said(said);
    rig.guest.type_line(command)?;
    let deadline = Instant::now() + LIMIT;
    while rig.guest.count_said(said) == lines {
        ensure!(Instant::now() < deadline, "{command} is not done");
        thread::sleep(LOOK);
    }
    let (during, blocked) = flood.counts();
    // What was under way when the line was read began before.
    flood.forget();
    let contents = rig.ram.read(frame, PAGE)?;
    wait_for(|| flood.counts().1 >= ATTEMPTS || flood.counts().0 > 0)?;
    let (written, refused) = flood.counts();
    flood.stop()?;
    ensure!(written == 0, "{written} writes landed after `{command}`");
    let now = rig.ram.read(frame, PAGE)?;
    let pattern = weir_iommu_testdev::PATTERN.to_le_bytes();
    ensure!(now == contents || now[..4] != pattern, "the frame was written to");
    println!(
        "`{command}`: {during} landed and {blocked} were blocked before it returned, 0 of {refused} landed after"
    );
    Ok(())
}

/// The device, taken away, still has its old message and sends it.
fn no_interrupt_arrives_after_revocation(rig: &mut Rig) -> Result<()> {
    const SENT: u32 = 100;
    let device = || "edu0".to_owned();
    rig.attacker.order(&Order::Listen { device: device() })?;
    rig.attacker.order(&Order::Raise { device: device() })?;
    let function = rig.outside.function(EDU);
    let at = function.msi()?;
    let message = [4, 8, 12].map(|offset| Ok((at + offset, function.config32(at + offset)?)));
    let message = message.into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(rig.attacker.count(&Order::Interrupts { device: device() })? > 0, "the interrupt did not come");
    let lines = rig.guest.count_said("is revoked");
    rig.guest.type_line("revoke 05:00.0")?;
    while rig.guest.count_said("is revoked") == lines {
        thread::sleep(LOOK);
    }
    // It is being reset, and forgets what is written to it meanwhile.
    wait_for(|| answers(&function))?;
    let before = rig.attacker.count(&Order::Interrupts { device: device() })?;
    let mut sent = 0;
    // While it is being reset it sends nothing.
    wait_for(|| {
        sent += u32::from(sends(&function, at, &message).unwrap_or(false));
        sent == SENT
    })?;
    let after = rig.attacker.count(&Order::Interrupts { device: device() })?;
    ensure!(before == after, "{} interrupts of a revoked device arrived", after - before);
    println!("interrupts of a revoked device: 0 of {SENT} arrived");
    Ok(())
}

/// Lets an `edu` send `message` (offsets in configuration space, and values); `false` where it cannot just now.
fn sends(function: &Function, msi: u16, message: &[(u16, u32)]) -> Result<bool> {
    const ENABLE: u32 = 1 << 16;
    const ID: u32 = 0x0100_00ed;
    function.decode()?;
    function.bus_master(true)?;
    for (offset, value) in message {
        function.set_config32(*offset, *value)?;
    }
    function.set_config32(msi, function.config32(msi)? | ENABLE)?;
    let registers = function.map_bar(0, 0, 0x1000)?;
    let (id, raise) = (registers.register::<u32>(0)?, registers.register::<u32>(0x60)?);
    let is_there = || Ok::<_, anyhow::Error>(id.read() == ID && function.config32(msi)? & ENABLE != 0);
    if !is_there()? {
        return Ok(false);
    }
    raise.write(1);
    is_there()
}

pub(super) fn wait_for(mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + 3 * LIMIT;
    while !condition() {
        ensure!(Instant::now() < deadline, "it does not happen");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// The fast rogue, writing to one address without end.
struct Flood {
    is_over: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    /// Attempts that began before are not counted.
    era: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    /// `pause`: between two attempts.
    fn begin(outside: &Outside, iova: u64, pause: Duration) -> Flood {
        let [written, refused, era] = [0; 3].map(|_| Arc::new(AtomicU64::new(0)));
        let is_over = Arc::new(AtomicBool::new(false));
        let function = outside.function(ROGUE);
        let flood = (is_over.clone(), written.clone(), refused.clone(), era.clone());
        let thread = thread::spawn(move || {
            let (is_over, written, refused, era) = flood;
            while !is_over.load(Ordering::SeqCst) {
                let Some(rogue) = aimed(&function, iova) else {
                    // QEMU answers from the thread that the firmware's accesses need, too.
                    thread::sleep(LOOK);
                    continue;
                };
                loop {
                    let began = era.load(Ordering::SeqCst);
                    let was_there = answers(&function);
                    let counter = match rogue.fire() {
                        Ok(Outcome::Written) => &written,
                        Ok(Outcome::Refused) => &refused,
                        // Reset, or not there: aim anew.
                        Err(_) => break,
                    };
                    // While it is being reset nobody answers, which reads as 0, which reads as a write that passed.
                    if !was_there || !answers(&function) {
                        break;
                    }
                    if era.load(Ordering::SeqCst) == began {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    if !pause.is_zero() {
                        thread::sleep(pause);
                    }
                }
            }
        });
        Flood { is_over, written, refused, era, thread }
    }

    /// Writes that landed, and that were blocked.
    fn counts(&self) -> (u64, u64) {
        (self.written.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst))
    }

    /// Counts from 0 again, and only attempts that begin from now on.
    fn forget(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
        self.written.store(0, Ordering::SeqCst);
        self.refused.store(0, Ordering::SeqCst);
    }

    fn stop(self) -> Result<()> {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the flood panicked"))
    }
}

/// Whether the function answers at its registers: its memory is decoded, and not at 0, where a reset puts it.
pub(super) fn answers(function: &Function) -> bool {
    const COMMAND: u16 = 0x04;
    const MEMORY: u32 = 1 << 1;
    const BAR: u16 = 0x10;
    let read = |at| function.config32(at).unwrap_or(0);
    read(COMMAND) & MEMORY != 0 && read(BAR) >> 4 != 0
}

/// The rogue, if it is there, told where to write.
pub(super) fn aimed(function: &Function, iova: u64) -> Option<Testdev<Function>> {
    function.decode().ok()?;
    let rogue = Testdev::open(function.clone()).ok()?;
    rogue.aim(Iova(iova), BYTES).ok()?;
    Some(rogue)
}
