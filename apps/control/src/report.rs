//! What is sent to the machine-readable port: one JSON object (RFC 8259) per line.

use alloc::string::String;
use core::fmt::Write;

use weir_abi::info::SystemInfo;
use weir_init_logic::report;
use weir_rt::clock::million_instructions;
use weir_rt::system::REPORTS;
use weir_rt::{System, kernel_page};

/// The way to the reader.
pub(crate) struct Report {
    system: System,
}

impl Report {
    /// Says what machine this is: how devices are confined, how fast the counter ticks, what it counts.
    pub(crate) fn begin(system: System) -> Report {
        let report = Report { system };
        // The record exists in every kernel of this interface version; zeros would be seen in the reports.
        let info: SystemInfo = system.info(0).unwrap_or_default();
        report.send(&report::ready(&info));
        report.samples("million_instructions", &[million_instructions()]);
        report.samples("tsc_hz", &[kernel_page().tsc_hz]);
        report
    }

    /// Sends the ticks that each performance of `name` took.
    pub(crate) fn samples(&self, name: &str, ticks: &[u64]) {
        let mut line = String::new();
        // Writing to a `String` cannot fail.
        let _ = writeln!(line, "{{\"type\":\"samples\",\"name\":\"{name}\",\"ticks\":{ticks:?}}}");
        self.send(&line);
    }

    fn send(&self, line: &str) {
        // A machine without a second serial port has nobody who listens.
        let _ = self.system.write_console(REPORTS, line.as_bytes());
    }
}
