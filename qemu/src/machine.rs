//! The machines of `qemu/machines`: what kind of computer QEMU plays.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use weir_abi::choice::IommuChoice;
use weir_abi::page::IommuMode;

use crate::tools::{self, Qemu, Series};
use crate::workspace;

/// Modes of the IOMMU and a machine that has each; the first also where nothing is asked for.
const OF_MODE: [(IommuMode, &str); 4] = [
    (IommuMode::VtdLegacy, "q35-vtd"),
    (IommuMode::VtdScalableSecond, "q35-scalable-second"),
    (IommuMode::VtdScalableFirst, "q35-scalable-first"),
    (IommuMode::AmdVi, "q35-amdvi-x2apic"),
];

/// The machine for who asks for a mode and names none.
#[must_use]
pub fn for_choice(choice: Option<IommuChoice>) -> &'static str {
    let fits = |(mode, _): &&(IommuMode, &str)| choice == Some(IommuChoice::Only(*mode));
    OF_MODE.iter().find(fits).unwrap_or(&OF_MODE[0]).1
}

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// One line about it.
    pub about: String,
    /// QEMU options that make it.
    pub options: Vec<String>,
    /// Its network device, as an argument of `-device` without `netdev` and `bus`.
    pub nic: String,
    /// Its disks, as an argument of `-device` without `drive` and `bus`.
    #[serde(default = "nvme")]
    pub disk: String,
    /// The oldest major version of QEMU that plays it right, where not every one does.
    pub oldest_qemu: Option<u32>,
}

/// The disks of a machine that does not say.
fn nvme() -> String {
    "nvme,serial=weir".into()
}

impl Machine {
    /// The machine called `name`.
    ///
    /// # Errors
    /// There is none, or its file is wrong.
    pub fn named(name: &str) -> Result<Machine> {
        let file = workspace::root().join("qemu/machines").join(format!("{name}.toml"));
        let Ok(text) = fs::read_to_string(&file) else {
            bail!("there is no machine {name}; machines: {}", names().join(", "));
        };
        toml::from_str(&text).with_context(|| format!("{} is wrong", workspace::shown(&file)))
    }

    /// Whether its IOMMU is AMD's.
    #[must_use]
    pub fn is_amd(&self) -> bool {
        self.options.iter().any(|option| option.starts_with("amd-iommu"))
    }

    /// The QEMU that plays it: the usual one, or a private copy where that is too old.
    ///
    /// # Errors
    /// There is none and none can be had.
    pub fn qemu(&self) -> Result<Qemu> {
        let usual = tools::qemu(Series::Any)?;
        match self.oldest_qemu {
            Some(major) if usual.version.major < major => tools::qemu(Series::Major(major)),
            _ => Ok(usual),
        }
    }
}

/// The names of all machines.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(workspace::root().join("qemu/machines"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_can_be_read() {
        let names = names();
        assert!(names.contains(&"q35-vtd".to_owned()) && names.contains(&"q35-noiommu".to_owned()));
        for name in names {
            Machine::named(&name).unwrap();
        }
    }

    #[test]
    fn every_mode_has_a_machine() {
        assert_eq!(for_choice(None), "q35-vtd");
        for (_, choice) in IommuChoice::WORDS {
            Machine::named(for_choice(Some(choice))).unwrap();
        }
        assert_eq!(for_choice(IommuChoice::from_word("scalable-first")), "q35-scalable-first");
    }

    #[test]
    fn an_unknown_machine_is_refused_with_the_known_ones() {
        let message = Machine::named("pdp11").unwrap_err().to_string();
        assert!(message.contains("pdp11") && message.contains("q35-vtd"), "{message}");
    }
}
