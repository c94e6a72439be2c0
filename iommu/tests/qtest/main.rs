//! The library against QEMU's `intel-iommu` and `amd-iommu`: the code that will run in the kernel programs the unit over qtest,
//! and `edu` devices do the DMA. One virtual machine per case, no guest code.
//!
//! What this cannot show (QEMU's model is too kind) the `strict` tests do.

mod amdvi;
mod board;
mod cases;
mod differential;
mod link;
#[path = "../owner/mod.rs"]
#[expect(dead_code, reason = "the strict cases ask for more")]
mod owner;
#[path = "../attacks/random.rs"]
mod random;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use weir_iommu::Mode;

/// The modes, and how the names of their cases begin.
const MODES: [(Mode, &str); 4] = [
    (Mode::VtdLegacy, ""),
    (Mode::VtdSecondStage, "second_stage_"),
    (Mode::VtdFirstStage, "first_stage_"),
    (Mode::AmdVi, "amd_"),
];

fn main() {
    let arguments = Arguments::from_args();
    let (qemu, problem) = match link::find_qemu() {
        Ok(qemu) => (qemu, None),
        Err(problem) => (None, Some(problem)),
    };
    if qemu.is_none() && problem.is_none() {
        println!("WEIR_QEMU names no QEMU and none on the path is new enough: cases were not asked for");
    }
    let is_asked = qemu.is_some() || problem.is_some();
    let is_new = qemu.as_deref().is_none_or(|qemu| link::major_version(qemu) >= Some(amdvi::OLDEST_MAJOR));
    if !is_new {
        println!("this QEMU's amd-iommu does not translate, and its scalable mode has other names: left out");
    }
    let trial = |name: String, needs_new: bool, case: Box<dyn Fn(&Path) + Send>| {
        let (qemu, problem) = (qemu.clone(), problem.clone());
        let is_ignored = !is_asked || needs_new && !is_new;
        Trial::test(name, move || run(qemu, problem, case)).with_ignored_flag(is_ignored)
    };
    let mut trials = Vec::new();
    for (mode, prefix) in MODES.into_iter().filter(|(mode, _)| *mode != Mode::AmdVi) {
        let legacy_too = if mode == Mode::VtdLegacy { cases::LEGACY } else { &[] };
        for &(name, case) in cases::ALL.iter().chain(legacy_too) {
            let case = Box::new(move |qemu: &Path| case(qemu, mode));
            trials.push(trial(format!("{prefix}{name}"), mode != Mode::VtdLegacy, case));
        }
    }
    trials.extend(amdvi::ALL.iter().map(|&(name, case)| trial(name.into(), true, Box::new(case))));
    for (mode, prefix) in MODES {
        let game = |changes| Box::new(move |qemu: &Path| differential::agrees(qemu, mode, changes));
        let (needs_new, rest) = (mode != Mode::VtdLegacy, "changes_have_the_answer_of_the_books");
        trials.push(trial(format!("{prefix}random_{rest}"), needs_new, game(differential::FEW)));
        let long = trial(format!("{prefix}ten_thousand_{rest}"), needs_new, game(differential::MANY));
        // Minutes.
        trials.push(long.with_ignored_flag(true));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(qemu: Option<PathBuf>, problem: Option<String>, case: impl FnOnce(&Path)) -> Result<(), Failed> {
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    case(&qemu.ok_or("no QEMU")?);
    Ok(())
}
