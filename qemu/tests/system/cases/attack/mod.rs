//! Attacks: devices that ask for what is not theirs, on every kind of unit.
//!
//! **Invariant: an attack passes as blocked only if its target is unchanged, nothing of it was learnt, and the record
//! of the fault reached the owner and the supervisor.** What the emulator lets through although the code is right is
//! told as "expected on this emulator", with the reason and the test on the strict model that blocks it.
//!
//! Reading order: here (the machines) · [`rig`] (a machine with rogues) · [`puppet`], [`ram`], [`outside`] (its parts) ·
//! [`dma`], [`messages`], [`revocation`] (the attacks on every machine) · [`bridged`] (in the name of a bridge) ·
//! [`scratch`] (devices that are not refused but led astray) · [`refusals`] (what is not granted at all) · [`kills`] (owners that die).

mod bridged;
mod dma;
mod kills;
mod messages;
mod outside;
mod puppet;
mod ram;
mod refusals;
mod revocation;
mod rig;
mod scratch;

use super::Case;

/// A machine to attack.
pub(super) struct Machine {
    /// Of `qemu/machines`.
    file: &'static str,
    /// More options.
    options: &'static [&'static str],
    /// How the system says that devices are confined.
    mode: &'static str,
    /// Where the unit's registers are, and which of them show that nobody changed it.
    unit: &'static [u64],
    /// What becomes of the fault of an access for which there is no entry.
    record: Record,
    /// Whether the emulator delivers messages in compatibility format that a device writes as data.
    passes_compatible: bool,
}

/// What becomes of a fault.
#[derive(Clone, Copy)]
enum Record {
    /// The owner and the supervisor are told.
    Told,
    /// The emulator records none, although a unit must.
    Missing {
        /// Which part of the emulator.
        why: &'static str,
        /// The test on the strict model.
        model: &'static str,
    },
}

/// How tests say that the emulator, not the code, is to blame.
const EXPECTED: &str = "EXPECTED ON THIS EMULATOR";

/// Global status, root table address, interrupt remapping table address (VT-d 5.10 §11.4.4.2, §11.4.5, §11.4.11.1).
const VTD: &[u64] = &[0xfed9_001c, 0xfed9_0020, 0xfed9_00b8];

/// Device table base, control (AMD I/O Virtualization, 48882 revision 3.11, §3.4 "MMIO Registers").
const AMDVI: &[u64] = &[0xfed8_0000, 0xfed8_0018];

/// The attacks on each of the machines.
macro_rules! machines {
    ($($name:literal: $machine:expr),* $(,)?) => {
        const ON_MACHINES: &[(&str, Case)] = &[$(
            (concat!("attack::dma_on_", $name), || dma::all(const { &$machine })),
            (concat!("attack::messages_on_", $name), || messages::all(const { &$machine })),
            (concat!("attack::revocation_on_", $name), || revocation::all(const { &$machine })),
        )*];
    };
}

/// All attacks.
pub(super) fn cases() -> Vec<(&'static str, Case)> {
    [ON_MACHINES, &scratch::CASES, &refusals::CASES, bridged::CASES, &kills::CASES].concat()
}

/// Tests on the strict models that block what the emulator lets through.
const VTD_MESSAGES: &str = "weir-iommu strict interrupts::an_interrupt_arrives_from_its_requester_only";
const AMDVI_MESSAGES: &str = "weir-iommu amdvi interrupts::an_interrupt_arrives_from_its_requester_only";
const AMDVI_FAULTS: &str = "weir-iommu amdvi faults::a_refused_access_is_reported_once";
pub(super) const MODEL_TESTS: [&str; 3] = [VTD_MESSAGES, AMDVI_MESSAGES, AMDVI_FAULTS];

/// VT-d in the mode that the system calls `mode`.
const fn vtd(mode: &'static str, file: &'static str, options: &'static [&'static str]) -> Machine {
    Machine { file, options, mode, unit: VTD, record: Record::Told, passes_compatible: true }
}

/// AMD-Vi.
const fn amdvi(file: &'static str) -> Machine {
    let why = "QEMU's AMD unit names neither device nor address in its records, and so no owner";
    let record = Record::Missing { why, model: AMDVI_FAULTS };
    Machine { file, options: &[], mode: "amd-vi", unit: AMDVI, record, passes_compatible: false }
}

/// Machines with a unit of each kind.
const VTD_LEGACY: Machine = vtd(LEGACY, "q35-vtd", &[]);
const SCALABLE_FIRST: Machine = vtd(FIRST, "q35-scalable-first", &[]);
const AMD: Machine = amdvi("q35-amdvi");

const LEGACY: &str = "vtd-legacy";
const FIRST: &str = "vtd-scalable-first";
const SECOND: &str = "vtd-scalable-second";
const CACHING: &[&str] = &["-global", "intel-iommu.caching-mode=on"];

machines! {
    "vtd_legacy": VTD_LEGACY,
    "vtd_legacy_caching": vtd(LEGACY, "q35-vtd-caching", &[]),
    "vtd_legacy_39": vtd(LEGACY, "q35-vtd-39", &[]),
    "vtd_legacy_39_caching": vtd(LEGACY, "q35-vtd-39", CACHING),
    "scalable_first": SCALABLE_FIRST,
    "scalable_first_caching": vtd(FIRST, "q35-scalable-first-caching", &[]),
    "scalable_second": vtd(SECOND, "q35-scalable-second", &[]),
    "scalable_second_caching": vtd(SECOND, "q35-scalable-second-caching", &[]),
    "scalable_second_39": vtd(SECOND, "q35-scalable-second-39", &[]),
    "scalable_second_39_caching": vtd(SECOND, "q35-scalable-second-39", CACHING),
    "amdvi": AMD,
    "amdvi_x2apic": amdvi("q35-amdvi-x2apic"),
}
