//! Are owners apart? Checked on the report alone, without believing what it calls things.
//!
//! **Invariant: two owners reach the same byte of physical memory only if it is in `shared`, where both reach it as a
//! part of one `Memory`** that somebody granted to both; registers are never shared. The supervisor counts as an owner
//! like any other, but for cores, of which it keeps a handle to what it grants.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use weir_abi::device::PciAddress;
use weir_abi::info::ReachInfo;
use weir_abi::page::IommuMode;

use super::reach::{Owner, Reach, Run};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// What two owners share although they must not, and other breaches; empty: they are apart.
    pub violations: Vec<String>,
    /// Memory that two owners were granted.
    pub shared: Vec<Shared>,
}

/// Memory of two owners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Shared {
    /// Number of the `Memory`.
    pub memory: u64,
    /// The two, by name, and whether each may write.
    pub between: [(String, bool); 2],
    /// How much.
    pub bytes: u64,
}

/// Looks for everything that two owners share.
#[must_use]
pub fn prove(reach: &Reach, iommu: &str) -> Verdict {
    let mut verdict = Verdict::default();
    if reach.owners.is_empty() {
        verdict.violations.push("the report names no owner".into());
    }
    if iommu == IommuMode::Off.name() {
        verdict.violations.push("nothing confines devices: they reach all of memory".into());
    }
    frames(reach, &mut verdict);
    for owner in &reach.owners {
        permissions(owner, &mut verdict);
        registers(owner, reach, &mut verdict);
        devices_reach_no_more(owner, &mut verdict);
    }
    groups(reach, &mut verdict);
    interrupts(reach, &mut verdict);
    cores(reach, &mut verdict);
    verdict
}

/// Everything that some owner reaches, by physical address: no two overlap, or they are one `Memory`.
fn frames(reach: &Reach, verdict: &mut Verdict) {
    let mut runs: Vec<(&Owner, Run)> = Vec::new();
    for owner in &reach.owners {
        let all = [&owner.reach, &owner.device_reach, &owner.held].into_iter().flatten();
        runs.extend(all.map(|run| (owner, *run)));
    }
    runs.sort_by_key(|(_, run)| run.phys);
    let mut shared: BTreeMap<(u64, u32, u32), Shared> = BTreeMap::new();
    let mut said = BTreeSet::new();
    // Those that began before and have not ended.
    let mut open: Vec<(&Owner, Run)> = Vec::new();
    for (owner, run) in runs {
        open.retain(|(_, earlier)| earlier.end() > run.phys);
        for (other, earlier) in open.iter().filter(|(other, _)| other.process != owner.process) {
            let is_one = run.memory != 0 && run.memory == earlier.memory;
            if is_one && !run.is_registers() && !earlier.is_registers() {
                let bytes = run.end().min(earlier.end()) - run.phys;
                share(&mut shared, (owner, run), (other, *earlier), bytes);
            } else if said.insert((owner.process, other.process, run.phys)) {
                let (one, two) = (&owner.name, &other.name);
                verdict.violations.push(format!("{one} and {two} both reach {:#x}", run.phys));
            }
        }
        open.push((owner, run));
    }
    verdict.shared.extend(shared.into_values());
}

fn share(
    shared: &mut BTreeMap<(u64, u32, u32), Shared>,
    (owner, run): (&Owner, Run),
    (other, earlier): (&Owner, Run),
    bytes: u64,
) {
    let mut two = [(owner, run), (other, earlier)];
    two.sort_by_key(|(owner, _)| owner.process);
    let [(one, _), (two_, _)] = two;
    let entry = shared.entry((run.memory, one.process, two_.process)).or_insert_with(|| Shared {
        memory: run.memory,
        between: [(one.name.clone(), false), (two_.name.clone(), false)],
        bytes: 0,
    });
    for ((_, writes), (_, run)) in entry.between.iter_mut().zip(two) {
        *writes |= run.is_writable();
    }
    // The same bytes may be mapped and held: what is shared is the largest part seen.
    entry.bytes = entry.bytes.max(bytes);
}

/// Nothing is both written and executed.
fn permissions(owner: &Owner, verdict: &mut Verdict) {
    const BOTH: u32 = ReachInfo::WRITE | ReachInfo::EXECUTE;
    for run in owner.reach.iter().filter(|run| run.flags & BOTH == BOTH) {
        verdict.violations.push(format!("{} may write and execute {:#x}", owner.name, run.address));
    }
}

/// Registers are those of the owner's own devices.
fn registers(owner: &Owner, reach: &Reach, verdict: &mut Verdict) {
    for run in owner.reach.iter().filter(|run| run.is_registers()) {
        let device = reach.devices.iter().find(|device| device.address == run.device);
        if device.is_none_or(|device| device.owner != owner.process) {
            let (name, device) = (&owner.name, PciAddress(run.device));
            verdict.violations.push(format!("{name} reaches registers of {device}, which it does not own"));
        }
    }
}

/// A device reaches memory that its owner has, as its owner may, and no registers.
fn devices_reach_no_more(owner: &Owner, verdict: &mut Verdict) {
    let memory: Vec<&Run> =
        owner.reach.iter().chain(&owner.held).filter(|run| run.memory != 0 && !run.is_registers()).collect();
    for run in &owner.device_reach {
        let mut at = run.phys;
        while at < run.end() {
            let covers = |m: &&&Run| m.phys <= at && at < m.end() && (m.is_writable() || !run.is_writable());
            let Some(covering) = memory.iter().filter(covers).max_by_key(|m| m.end()) else {
                let name = &owner.name;
                verdict.violations.push(format!("devices of {name} reach {at:#x}, which it has not itself"));
                break;
            };
            at = covering.end();
        }
    }
}

/// Functions that reach each other past the unit have one owner.
fn groups(reach: &Reach, verdict: &mut Verdict) {
    let mut owners: BTreeMap<u32, u32> = BTreeMap::new();
    for device in reach.devices.iter().filter(|device| device.owner != 0) {
        let first = *owners.entry(device.group).or_insert(device.owner);
        if first != device.owner {
            let (one, two) = (reach.name_of(first), reach.name_of(device.owner));
            verdict.violations.push(format!("{one} and {two} own parts of group {}", device.group));
        }
    }
}

/// A vector of a CPU, and a message, lead to one owner, who owns the device and, if it was granted, the CPU.
fn interrupts(reach: &Reach, verdict: &mut Verdict) {
    let mut vectors = BTreeMap::new();
    let mut messages = BTreeMap::new();
    for interrupt in &reach.interrupts {
        let name = reach.name_of(interrupt.owner);
        let owner = reach.devices.iter().find(|d| d.address == interrupt.device).map_or(0, |d| d.owner);
        if owner != interrupt.owner || owner == 0 {
            let device = PciAddress(interrupt.device);
            verdict
                .violations
                .push(format!("an interrupt of {device} leads to {name}, which does not own it"));
        }
        let vector = (interrupt.cpu, interrupt.vector);
        if let Some(other) = vectors.insert(vector, name) {
            let (cpu, vector) = vector;
            verdict
                .violations
                .push(format!("vector {vector:#x} of CPU {cpu} leads to {other} and to {name}"));
        }
        if let Some(other) = messages.insert((interrupt.message, interrupt.data), name) {
            let (address, data) = (interrupt.message, interrupt.data);
            verdict.violations.push(format!("message {address:#x}/{data:#x} is {other}'s and {name}'s"));
        }
        for owner in granted_cores(reach).filter(|(core, _)| *core == interrupt.cpu).map(|(_, owner)| owner) {
            if owner.process != interrupt.owner {
                let core = interrupt.cpu;
                verdict
                    .violations
                    .push(format!("an interrupt of {name} arrives at {}'s core {core}", owner.name));
            }
        }
    }
}

/// A whole core has one owner.
fn cores(reach: &Reach, verdict: &mut Verdict) {
    let mut owners: BTreeMap<u64, &Owner> = BTreeMap::new();
    for (core, owner) in granted_cores(reach) {
        let first = *owners.entry(core).or_insert(owner);
        if first.process != owner.process {
            verdict.violations.push(format!("{} and {} have core {core}", first.name, owner.name));
        }
    }
}

/// Cores of applications: the supervisor keeps a handle to what it grants.
fn granted_cores(reach: &Reach) -> impl Iterator<Item = (u64, &Owner)> {
    let supervisor = reach.supervisor();
    let apps = reach.owners.iter().filter(move |owner| Some(owner.process) != supervisor);
    apps.flat_map(|owner| owner.cores.iter().map(move |core| (*core, owner)))
}

#[cfg(test)]
mod tests;
