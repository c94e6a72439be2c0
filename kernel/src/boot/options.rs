//! The kernel's command line: words `key=value`.
//!
//! `log=error|warn|info|debug` · `exit_port=HEX` (QEMU's exit device) · `iommu=WORD`
//! ([`IommuChoice`]) · `check_tables=on` (walk what devices walk whenever a device changes hands, for tests) ·
//! `hotplug=native|off` (off: slots are the firmware's).

use heapless::Vec;
use weir_abi::choice::IommuChoice;

/// What the command line asks for.
pub(crate) struct Options<'a> {
    pub(crate) log_level: Option<&'a str>,
    pub(crate) exit_port: Option<u16>,
    /// `None`: a word that means nothing was given, so that no mode will do.
    pub(crate) iommu: Option<IommuChoice>,
    pub(crate) checks_tables: bool,
    /// The kernel drives hot-plug slots.
    pub(crate) drives_slots: bool,
    unknown: Vec<&'a str, 8>,
}

impl<'a> Options<'a> {
    /// Reads the command line; what is not understood is kept for [`Options::report_unknown`].
    pub(crate) fn parse(line: &'a str) -> Options<'a> {
        let mut options = Options {
            log_level: None,
            exit_port: None,
            iommu: Some(IommuChoice::Auto),
            checks_tables: false,
            drives_slots: false,
            unknown: Vec::new(),
        };
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("log", level)) => options.log_level = Some(level),
                Some(("exit_port", port)) => {
                    options.exit_port = u16::from_str_radix(port.trim_start_matches("0x"), 16).ok();
                }
                Some(("iommu", choice)) => options.iommu = IommuChoice::from_word(choice),
                Some(("check_tables", "on")) => options.checks_tables = true,
                Some(("hotplug", "native")) => options.drives_slots = true,
                Some(("hotplug", "off")) => options.drives_slots = false,
                // More than the list holds are not worth naming.
                _ => drop(options.unknown.push(word)),
            }
        }
        options
    }

    /// Warns of words that mean nothing.
    pub(crate) fn report_unknown(&self) {
        for word in &self.unknown {
            log::warn!("command line: unknown option '{word}'");
        }
    }
}
