//! Attacks: devices that ask for what is not theirs, on every kind of unit.
//!
//! **Invariant: an attack passes as blocked only if its target is unchanged, nothing of it was learnt, and the record
//! of the fault reached the owner and the supervisor.** What the emulator lets through although the code is right is
//! told as "expected on this emulator", with the reason and the test on the strict model that blocks it.
//!
//! Reading order: here (the machines) · [`rig`] (a machine with rogues) · [`puppet`], [`ram`], [`outside`] (its parts) ·
//! [`dma`], [`messages`], [`revocation`] (the attacks on every machine) · [`refusals`] (what is not granted at all).

mod dma;
mod outside;
mod puppet;
mod ram;
mod rig;

use super::Case;

/// A machine to attack.
pub(super) struct Machine {
    /// Of `qemu/machines`.
    file: &'static str,
    /// More options.
    options: &'static [&'static str],
    /// How the system says devices are confined.
    mode: &'static str,
    /// Where the unit's registers are, and which of them show that nobody changed it.
    unit: &'static [u64],
}

/// Global status, root table address, interrupt remapping table address (VT-d 5.10 §11.4.4.2, §11.4.5, §11.4.11.1).
const VTD: &[u64] = &[0xfed9_001c, 0xfed9_0020, 0xfed9_00b8];

/// The attacks on each of the machines.
macro_rules! machines {
    ($($name:literal: $machine:expr),* $(,)?) => {
        pub(super) const CASES: &[(&str, Case)] = &[$(
            (concat!("attack::dma_on_", $name), || { const M: Machine = $machine; dma::all(&M) }),
        )*];
    };
}

/// VT-d in legacy mode.
const fn legacy(options: &'static [&'static str]) -> Machine {
    Machine { file: "q35-vtd", options, mode: "vtd-legacy", unit: VTD }
}

const BITS_39: &str = "intel-iommu.aw-bits=39";
const CACHING: &str = "intel-iommu.caching-mode=on";

machines! {
    "vtd_legacy_48": legacy(&[]),
    "vtd_legacy_48_caching": legacy(&["-global", CACHING]),
    "vtd_legacy_39": legacy(&["-global", BITS_39]),
    "vtd_legacy_39_caching": legacy(&["-global", BITS_39, "-global", CACHING]),
}
