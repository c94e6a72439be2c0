//! Which kernel modules to load, and in which order.
//!
//! A module names those it needs in its section `.modinfo` ("depends="); the packages bring no list of that, because
//! one is made when they are installed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

/// The modules of a kernel, by name.
pub struct Modules {
    files: HashMap<String, PathBuf>,
}

impl Modules {
    /// Those in `folder` and its folders.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn below(folder: &Path) -> Result<Modules> {
        let mut files = HashMap::new();
        collect(folder, &mut files).with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(Modules { files })
    }

    /// The files of `names` and of all they need, each after those it needs. What is built into the kernel has no
    /// file and is not needed.
    ///
    /// # Errors
    /// There is no such module, or its file is no module.
    pub fn in_order(&self, names: &[&str]) -> Result<Vec<&Path>> {
        let mut order = Vec::new();
        for name in names {
            self.visit(name, &mut order)?;
        }
        Ok(order)
    }

    fn visit<'a>(&'a self, name: &str, order: &mut Vec<&'a Path>) -> Result<()> {
        let Some(file) = self.files.get(&plain(name)) else {
            bail!("the Linux kernel has no module {name}");
        };
        if order.contains(&file.as_path()) {
            return Ok(());
        }
        let bytes = fs::read(file)?;
        let needs = needs(&bytes).with_context(|| format!("{} is no module", file.display()))?;
        for needed in needs.split(',').filter(|needed| !needed.is_empty()) {
            self.visit(needed, order)?;
        }
        order.push(file);
        Ok(())
    }
}

fn collect(folder: &Path, files: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            files.insert(plain(&path.file_stem().unwrap_or_default().to_string_lossy()), path);
        }
    }
    Ok(())
}

/// A module's name: the kernel takes `-` and `_` for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// What follows "depends=" in `.modinfo`, a section of zero-terminated texts.
fn needs(module: &[u8]) -> Result<String> {
    let elf = ElfFile64::<object::Endianness>::parse(module)?;
    let section = elf.section_by_name(".modinfo").context("it has no section .modinfo")?;
    let texts = section.data()?.split(|byte| *byte == 0);
    let value = texts.into_iter().find_map(|text| text.strip_prefix(b"depends="));
    Ok(String::from_utf8(value.context("it does not say what it needs")?.to_vec())?)
}
