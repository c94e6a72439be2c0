//! Programs of packages and the shared libraries they need, to run them here or in the guest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::FileHeader;

use crate::tools::Unpacked;

/// Where libraries are put.
pub const FOLDER: &str = "lib/x86_64-linux-gnu";
/// Where packages have them.
const FOLDERS: [&str; 2] = [FOLDER, "usr/lib/x86_64-linux-gnu"];
/// The loader: where a program expects it, and where the packages have it.
const LOADER: (&str, &str) = ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");

/// The loader, and every library that `files` of `packages` need, and that those need: by the path in the guest.
///
/// # Errors
/// A file is no ELF file, or a library is in none of the packages.
pub fn needed(packages: &Unpacked, files: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::from([(LOADER.0.to_owned(), packages.file(LOADER.1))]);
    let mut to_do: Vec<PathBuf> = files.iter().map(|file| packages.file(file)).collect();
    while let Some(file) = to_do.pop() {
        for name in names(&file).with_context(|| format!("cannot read {}", file.display()))? {
            let (path, library) = library(packages, &name)?;
            if found.insert(path, library.clone()).is_none() {
                to_do.push(library);
            }
        }
    }
    Ok(found)
}

/// A command that runs program `path` of `packages` here, by their loader and with their libraries.
#[must_use]
pub fn command(packages: &Unpacked, path: &str) -> Command {
    let folders = FOLDERS.map(|folder| packages.file(folder).display().to_string()).join(":");
    let mut command = Command::new(packages.file(LOADER.1));
    command.arg("--library-path").arg(folders).arg(packages.file(path));
    command
}

/// A library's path in the guest, and its file.
fn library(packages: &Unpacked, name: &str) -> Result<(String, PathBuf)> {
    let place =
        FOLDERS.iter().map(|folder| packages.file(&format!("{folder}/{name}"))).find(|file| file.exists());
    Ok((format!("{FOLDER}/{name}"), place.with_context(|| format!("the packages have no library {name}"))?))
}

/// The names of the libraries that an ELF file needs itself (System V gABI, "Dynamic Section", `DT_NEEDED`).
fn names(file: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(file)?;
    let header = FileHeader64::<Endianness>::parse(&*bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, &*bytes)?;
    let table = sections.dynamic_table(endian, &*bytes)?;
    let needed = table.iter().filter(|entry| entry.tag == DT_NEEDED);
    needed.map(|entry| Ok(String::from_utf8(table.string(entry)?.to_vec())?)).collect()
}
