//! `weir new`: a working application to start from.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::NewOptions;
use crate::workspace;

/// What the new application consists of, below the workspace: where, and what, with `NAME` in both.
const FILES: [(&str, &str); 4] = [
    ("apps/NAME/Cargo.toml", include_str!("../templates/app/Cargo.toml.txt")),
    ("apps/NAME/src/main.rs", include_str!("../templates/app/main.rs.txt")),
    ("apps/NAME/README.md", include_str!("../templates/app/README.md.txt")),
    ("apps/manifests/NAME.toml", include_str!("../templates/app/manifest.toml.txt")),
];
/// Bytes of a process's name, which ends with a zero.
const LONGEST: usize = weir_abi::info::NAME_BYTES - 1;

/// Writes the files, and the package into the lock file.
///
/// # Errors
/// The name is none, or is taken; the files cannot be written.
pub fn write(options: &NewOptions) -> Result<ExitCode> {
    let name = options.name.as_str();
    check(name)?;
    let filled = |text: &str| text.replace("NAME", name);
    let files = FILES.map(|(place, text)| (workspace::root().join(filled(place)), filled(text)));
    if let Some((taken, _)) = files.iter().find(|(file, _)| file.exists()) {
        bail!("{} is there already; choose another name, or remove it", workspace::shown(taken));
    }
    ensure!(
        !workspace::root().join("apps").join(name).exists(),
        "apps/{name} is there already; choose another name"
    );
    for (file, text) in &files {
        write_file(file, text)?;
        println!("{}", workspace::shown(file));
    }
    let lock = workspace::cargo()
        .args(["update", "--workspace", "--offline", "--quiet"])
        .status()
        .context("cannot run cargo")?;
    ensure!(lock.success(), "cargo does not accept the new package; its words are above");
    println!("\nnow:  ./weir run {name}");
    Ok(ExitCode::SUCCESS)
}

/// A name for a folder, a package, a program and a grant.
fn check(name: &str) -> Result<()> {
    let is_good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.ends_with('-')
        && name.len() <= LONGEST;
    ensure!(
        is_good,
        "`{name}` is no name for an application: small letters, digits and hyphens, at most {LONGEST}, such as my-app"
    );
    Ok(())
}

fn write_file(file: &Path, text: &str) -> Result<()> {
    let told = || format!("cannot write {}", workspace::shown(file));
    fs::create_dir_all(file.parent().context("a file in a folder")?).with_context(told)?;
    fs::write(file, text).with_context(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words() {
        for good in ["a", "my-app", "kv2", &"a".repeat(LONGEST)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "My", "2", "-a", "a-", "a_b", "a/b", "..", &"a".repeat(LONGEST + 1), "ä"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
