//! Forged interrupt messages: written as data, and sent as messages.

use anyhow::{Result, ensure};
use weir_attack_orders::Order;

use super::ram::PAGE;
use super::rig::{EDU, Fault, LIMIT, Rig, VICTIM_EDU, edus};
use super::{AMDVI_MESSAGES, EXPECTED, Machine, Record, VTD_MESSAGES};

/// Where messages in compatibility format go (Intel SDM volume 3, "Message Address Register Format"): to a CPU that
/// does not exist, so that what an emulator lets through changes nothing.
const NOBODY: u8 = 0x7e;
const COMPATIBLE: u64 = 0xfee0_0000 | (NOBODY as u64) << 12;
const VECTORS: u16 = 256;
/// Reason "source of the request is not the one of the entry" (VT-d 5.10 §5.1.4.1 Table 15).
const WRONG_SOURCE: u8 = 0x26;

pub(super) fn all(machine: &'static Machine) -> Result<()> {
    Rig::run(machine, |rig| {
        let victim = listen_to_victim(rig)?;
        all_vectors_in_compatibility_format(rig)?;
        the_victims_message_written_as_data(rig, &victim)?;
        the_victims_message_sent_as_a_message(rig, &victim)
    })
}

/// A message, as the device that may send it has it.
struct Message {
    address: u64,
    data: u32,
}

fn victims_interrupts(rig: &mut Rig) -> Result<u64> {
    rig.victim.count(&Order::Interrupts { device: "edu0".into() })
}

/// The victim's interrupt works; gives its message.
fn listen_to_victim(rig: &mut Rig) -> Result<Message> {
    rig.victim.order(&Order::Listen { device: "edu0".into() })?;
    rig.victim.order(&Order::Raise { device: "edu0".into() })?;
    ensure!(victims_interrupts(rig)? == 1, "the victim's interrupt did not come");
    let function = rig.outside.function(VICTIM_EDU);
    let at = function.msi()?;
    let [low, high, data] = [4, 8, 12].map(|offset| function.config32(at + offset));
    Ok(Message { address: u64::from(high?) << 32 | u64::from(low?), data: data? & 0xffff })
}

/// Every vector, to a CPU that is not there: what reaches the interrupt controllers is seen there.
fn all_vectors_in_compatibility_format(rig: &mut Rig) -> Result<()> {
    let (_, iova) = rig.attacker.map(PAGE as u64, 0)?;
    for device in edus() {
        rig.attacker.order(&Order::Load { device, iova, offset: 0, bytes: 4096 })?;
    }
    rig.attacker.order(&Order::Forge { address: COMPATIBLE, first: 0, count: VECTORS })?;
    let delivered = (0..=u8::MAX).map(|vector| rig.delivered(NOBODY, vector));
    let delivered = delivered.collect::<Result<Vec<_>>>()?.into_iter().filter(|count| *count > 0).count();
    if rig.machine.passes_compatible {
        ensure!(
            delivered == usize::from(VECTORS),
            "only {delivered} vectors pass now: change what is expected"
        );
        println!(
            "256 vectors in compatibility format, written as data: delivered, {EXPECTED}: QEMU's intel-iommu lets \
             this format pass although GCMD.CFI is 0; blocked in {VTD_MESSAGES}"
        );
    } else {
        ensure!(delivered == 0, "{delivered} vectors were delivered");
        println!("256 vectors in compatibility format, written as data: none delivered");
    }
    ensure!(victims_interrupts(rig)? == 1, "one reached the victim");
    Ok(())
}

/// The attacker's device writes the victim's message to memory: it does not come as a message of this device.
fn the_victims_message_written_as_data(rig: &mut Rig, message: &Message) -> Result<()> {
    let (_, iova) = rig.attacker.map(PAGE as u64, message.data.into())?;
    let device = || "edu0".to_owned();
    rig.attacker.order(&Order::Load { device: device(), iova, offset: 0, bytes: 8 })?;
    rig.attacker.order(&Order::Store { device: device(), iova: message.address, offset: 0, bytes: 4 })?;
    let came = victims_interrupts(rig)? - 1;
    match came {
        0 => println!("the victim's message, written as data: not delivered"),
        _ => println!(
            "the victim's message, written as data: delivered, {EXPECTED}: QEMU's units do not know which device wrote \
             data, so that they cannot check the source; blocked in {}",
            match rig.machine.record {
                Record::Told => VTD_MESSAGES,
                Record::Missing { .. } => AMDVI_MESSAGES,
            }
        ),
    }
    Ok(())
}

/// The attacker's device has the victim's message as its own: whoever owns a device cannot write it there, but a
/// hostile device needs nobody for that.
fn the_victims_message_sent_as_a_message(rig: &mut Rig, message: &Message) -> Result<()> {
    let before = victims_interrupts(rig)?;
    let (seen, _) = rig.faults()?;
    rig.attacker.order(&Order::Listen { device: "edu0".into() })?;
    let function = rig.outside.function(EDU);
    let at = function.msi()?;
    let [low, high] = [message.address & 0xffff_ffff, message.address >> 32];
    for (offset, value) in [(4, low), (8, high), (12, message.data.into())] {
        function.set_config32(at + offset, u32::try_from(value)?)?;
    }
    rig.attacker.order(&Order::Raise { device: "edu0".into() })?;
    ensure!(victims_interrupts(rig)? == before, "the victim was interrupted");
    match rig.machine.record {
        Record::Told => {
            while rig.faults()?.0 == seen {}
            let fault = rig.fault(seen)?;
            let Fault { requester, iova, reason, .. } = fault;
            let handle = message.address >> 5 & 0x7fff | (message.address >> 2 & 1) << 15;
            let expected = (u32::from(EDU) << 8, handle << 48, WRONG_SOURCE);
            ensure!((requester, iova, reason) == expected, "{fault:x?}, expected {expected:x?}");
            rig.guest.type_line("faults")?;
            rig.guest.console_row(&["attack", "write", &format!("{iova:#x}"), "0x26"], LIMIT)?;
            println!("the victim's message, sent as a message: blocked, reason {reason:#x}, recorded");
        }
        Record::Missing { .. } => println!(
            "the victim's message, sent as a message: not delivered to the victim; no record, {EXPECTED}: QEMU's AMD unit \
             records none for messages; see {AMDVI_MESSAGES}"
        ),
    }
    Ok(())
}
