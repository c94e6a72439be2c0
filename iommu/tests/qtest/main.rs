//! The library against QEMU's `intel-iommu` and `amd-iommu`: the code that will run in the kernel programs the unit over qtest,
//! and `edu` devices do the DMA. One virtual machine per case, no guest code.
//!
//! What this cannot show (QEMU's model is too kind) the `strict` tests do.

mod amdvi;
mod board;
mod cases;
mod link;

use cases::Case;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};

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
    let has_amd_unit =
        qemu.as_deref().is_none_or(|qemu| link::major_version(qemu) >= Some(amdvi::OLDEST_MAJOR));
    if !has_amd_unit {
        println!("this QEMU's amd-iommu does not translate: its cases are left out");
    }
    let trial = |&(name, case): &Case, is_asked: bool| {
        let (qemu, problem) = (qemu.clone(), problem.clone());
        Trial::test(name, move || run(qemu, problem, case)).with_ignored_flag(!is_asked)
    };
    let intel = cases::ALL.iter().map(|case| trial(case, is_asked));
    let amd = amdvi::ALL.iter().map(|case| trial(case, is_asked && has_amd_unit));
    libtest_mimic::run(&arguments, intel.chain(amd).collect()).exit();
}

fn run(qemu: Option<PathBuf>, problem: Option<String>, case: fn(&Path)) -> Result<(), Failed> {
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    case(&qemu.ok_or("no QEMU")?);
    Ok(())
}
