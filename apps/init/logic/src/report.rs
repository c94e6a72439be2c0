//! The machine-readable reports: one JSON object (RFC 8259) per line.
//!
//! **Invariant: every line is one complete object with the keys listed here, in this order.**

use alloc::string::String;
use core::fmt::Write;

use weir_abi::info::SystemInfo;
use weir_abi::page::IommuMode;

use crate::counters::Counters;

/// An application in a status report.
#[derive(Clone, Copy, Debug)]
pub struct AppStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// `running`, `exited`, `crashed`, `killed` or `waiting` (to be started again).
    pub state: &'static str,
    /// Exit code, or exception vector.
    pub code: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether its data path runs.
    pub is_ready: bool,
    /// Its counters, over all its lives.
    pub counters: Counters,
}

/// The line sent once all applications were started.
#[must_use]
pub fn ready(system: &SystemInfo) -> String {
    let iommu = IommuMode::from_number(system.iommu_mode).name();
    let (cpus, boot_ns) = (system.cpus, system.boot_ns);
    alloc::format!(
        "{{\"type\":\"ready\",\"iommu\":{},\"cpus\":{cpus},\"boot_ns\":{boot_ns}}}\n",
        quoted(iommu)
    )
}

/// The line sent every second, on request and at the end.
#[must_use]
pub fn status<'a>(system: &SystemInfo, apps: impl Iterator<Item = AppStatus<'a>>) -> String {
    let mut line = String::from("{\"type\":\"status\"");
    number(&mut line, "time_ns", system.now_ns);
    number(&mut line, "frames_free", system.frames_free);
    number(&mut line, "faults", system.faults);
    line.push_str(",\"apps\":[");
    for (i, app) in apps.enumerate() {
        if i > 0 {
            line.push(',');
        }
        append_app(&mut line, &app);
    }
    line.push_str("]}\n");
    line
}

/// The last line.
#[must_use]
pub fn end(code: u64) -> String {
    alloc::format!("{{\"type\":\"end\",\"code\":{code}}}\n")
}

fn append_app(line: &mut String, app: &AppStatus<'_>) {
    line.push_str("{\"name\":");
    line.push_str(&quoted(app.name));
    line.push_str(",\"state\":");
    line.push_str(&quoted(app.state));
    number(line, "code", app.code);
    number(line, "restarts", app.restarts.into());
    line.push_str(if app.is_ready { ",\"ready\":true" } else { ",\"ready\":false" });
    let counters = &app.counters;
    number(line, "rx_packets", counters.rx_packets);
    number(line, "tx_packets", counters.tx_packets);
    number(line, "rx_bytes", counters.rx_bytes);
    number(line, "tx_bytes", counters.tx_bytes);
    number(line, "dropped", counters.dropped);
    number(line, "device_errors", counters.device_errors);
    number(line, "data_path_kernel_entries", counters.data_path_kernel_entries);
    number(line, "sleep_kernel_entries", counters.sleep_kernel_entries);
    number(line, "iommu_faults", counters.iommu_faults);
    line.push('}');
}

/// Appends `,"key":value`.
fn number(line: &mut String, key: &str, value: u64) {
    // Writing to a `String` cannot fail.
    let _ = write!(line, ",\"{key}\":{value}");
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                // Writing to a `String` cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> SystemInfo {
        let (cpus, iommu_mode, boot_ns) = (2, 1, 123);
        SystemInfo {
            cpus,
            iommu_mode,
            boot_ns,
            now_ns: 5,
            frames_free: 6,
            faults: 7,
            ..SystemInfo::default()
        }
    }

    #[test]
    fn lines_are_exact() {
        let expected = "{\"type\":\"ready\",\"iommu\":\"vtd-legacy\",\"cpus\":2,\"boot_ns\":123}\n";
        assert_eq!(ready(&system()), expected);
        let unconfined = SystemInfo { iommu_mode: 0, ..system() };
        assert!(ready(&unconfined).contains("\"iommu\":\"off (unsafe)\""));
        assert_eq!(end(16), "{\"type\":\"end\",\"code\":16}\n");
        let expected = "{\"type\":\"status\",\"time_ns\":5,\"frames_free\":6,\"faults\":7,\"apps\":[]}\n";
        assert_eq!(status(&system(), core::iter::empty()), expected);
    }

    #[test]
    fn an_application_has_every_key() {
        let counters = Counters {
            rx_packets: 11,
            tx_packets: 12,
            rx_bytes: 13,
            tx_bytes: 14,
            dropped: 15,
            device_errors: 16,
            data_path_kernel_entries: 17,
            sleep_kernel_entries: 18,
            iommu_faults: 19,
        };
        let app =
            AppStatus { name: "a\"\\\n", state: "crashed", code: 14, restarts: 2, is_ready: true, counters };
        let line = status(&system(), [app, AppStatus { name: "b", is_ready: false, ..app }].into_iter());
        let first = "{\"name\":\"a\\\"\\\\\\u000a\",\"state\":\"crashed\",\"code\":14,\"restarts\":2,\"ready\":true,\
            \"rx_packets\":11,\"tx_packets\":12,\"rx_bytes\":13,\"tx_bytes\":14,\"dropped\":15,\
            \"device_errors\":16,\"data_path_kernel_entries\":17,\"sleep_kernel_entries\":18,\
            \"iommu_faults\":19},{\"name\":\"b\",";
        assert!(line.contains(first), "{line}");
        assert!(line.contains("\"ready\":false") && line.ends_with("}]}\n"));
    }
}
