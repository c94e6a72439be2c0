//! `weir image`: the files that boot, for use without the runner.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::ImageOptions;
use crate::system::System;
use crate::workspace;

/// Writes kernel and bundle.
///
/// # Errors
/// The system does not build, or the directory cannot be written.
pub fn write(options: &ImageOptions) -> Result<ExitCode> {
    let system = System::build(&options.system)?;
    fs::create_dir_all(&options.out).with_context(|| format!("cannot create {}", options.out.display()))?;
    for notice in &system.notices {
        eprintln!("note: {notice}");
    }
    for (from, name) in [(&system.kernel, "weir-kernel"), (&system.bundle, "bundle")] {
        let to = options.out.join(name);
        let bytes = fs::copy(from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        println!("{} ({} KiB)", workspace::shown(&to), bytes / 1024);
    }
    println!("boot: an ELF kernel with a PVH entry, and one initrd module");
    if let Some(choice) = system.iommu {
        println!("command line: iommu={}", choice.word());
    }
    Ok(ExitCode::SUCCESS)
}
