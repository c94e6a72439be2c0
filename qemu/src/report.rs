//! What the guest says on its machine-readable port: one JSON object per line, written by the supervisor.
//!
//! The guest is not trusted to write well: a line that is no report is an error to show, never a crash.

use serde::{Deserialize, Serialize};

use crate::audit::reach::Reach;

/// One line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Report {
    /// All applications were started.
    Ready(Ready),
    /// Counters now.
    Status(Status),
    /// What was measured.
    Samples(Samples),
    /// Who reaches what.
    Audit(Reach),
    /// The machine is about to be switched off.
    End {
        /// The code it ends with.
        code: u32,
    },
}

/// How long each performance of one operation took.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Samples {
    /// Which operation.
    pub name: String,
    /// Ticks of the time-stamp counter.
    pub ticks: Vec<u64>,
}

/// The system is up.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Ready {
    /// How devices are confined.
    pub iommu: String,
    /// CPUs that run.
    pub cpus: u32,
    /// Nanoseconds from the kernel's first instruction to the supervisor's.
    pub boot_ns: u64,
}

/// Counters of the system.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Status {
    /// Nanoseconds since boot.
    pub time_ns: u64,
    /// Free frames of 4 KiB.
    pub frames_free: u64,
    /// Blocked accesses of devices since boot.
    pub faults: u64,
    /// The applications, in the manifest's order.
    pub apps: Vec<App>,
}

/// Counters of an application.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct App {
    /// Its name.
    pub name: String,
    /// `running`, `exited`, `crashed`, `killed` or `waiting`.
    pub state: String,
    /// Exit code or exception vector.
    pub code: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Whether its data path runs.
    pub ready: bool,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Violations by its devices.
    pub device_errors: u64,
    /// Kernel entries of its data-path threads, sleeps included.
    pub data_path_kernel_entries: u64,
    /// Of these, those of sleeps it asked for.
    pub sleep_kernel_entries: u64,
    /// Blocked accesses of its devices.
    pub iommu_faults: u64,
}

impl Status {
    /// The application called `name`.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// The sum of a counter over all applications.
    #[must_use]
    pub fn sum(&self, counter: impl Fn(&App) -> u64) -> u64 {
        self.apps.iter().map(counter).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_lines_are_understood() {
        let ready = r#"{"type":"ready","iommu":"vtd-legacy","cpus":2,"boot_ns":123}"#;
        let expected = Ready { iommu: "vtd-legacy".into(), cpus: 2, boot_ns: 123 };
        assert_eq!(serde_json::from_str::<Report>(ready).unwrap(), Report::Ready(expected));
        let status = r#"{"type":"status","time_ns":5,"frames_free":7,"faults":1,"apps":[
            {"name":"echo","state":"running","code":0,"restarts":2,"ready":true,"rx_packets":10,"tx_packets":9,
             "rx_bytes":640,"tx_bytes":576,"dropped":1,"device_errors":0,"data_path_kernel_entries":3,
             "sleep_kernel_entries":2,"iommu_faults":1}]}"#;
        let Report::Status(status) = serde_json::from_str(status).unwrap() else { panic!("a status") };
        let echo = status.app("echo").unwrap();
        assert_eq!((echo.restarts, echo.rx_packets, echo.data_path_kernel_entries), (2, 10, 3));
        assert_eq!(status.sum(|app| app.tx_packets), 9);
        let samples = r#"{"type":"samples","name":"revoke","ticks":[7, 5]}"#;
        let expected = Samples { name: "revoke".into(), ticks: vec![7, 5] };
        assert_eq!(serde_json::from_str::<Report>(samples).unwrap(), Report::Samples(expected));
        assert_eq!(
            serde_json::from_str::<Report>(r#"{"type":"end","code":16}"#).unwrap(),
            Report::End { code: 16 }
        );
    }

    #[test]
    fn anything_else_is_an_error() {
        for line in ["", "{", "{}", r#"{"type":"other"}"#, r#"{"type":"end"}"#, r#"{"type":"end","code":-1}"#]
        {
            assert!(serde_json::from_str::<Report>(line).is_err(), "{line}");
        }
    }
}
