//! The result file of `--json`.

use std::fs::File;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::report::{App, Ready, Status};

#[derive(Serialize)]
struct Final<'a> {
    /// Received and sent.
    packets: u64,
    data_path_kernel_entries: u64,
    iommu_faults: u64,
    /// How devices were confined; `unknown` where the guest never got so far.
    iommu: &'a str,
    owners: &'a [App],
    command: &'a [String],
    accel: &'static str,
}

/// Writes the final counters.
///
/// # Errors
/// The disk refuses.
pub(super) fn write(file: File, status: &Status, ready: Option<&Ready>, command: &[String]) -> Result<()> {
    let result = Final {
        packets: status.sum(|app| app.rx_packets.saturating_add(app.tx_packets)),
        data_path_kernel_entries: status.sum(|app| app.data_path_kernel_entries),
        iommu_faults: status.faults,
        iommu: ready.map_or("unknown", |ready| ready.iommu.as_str()),
        owners: &status.apps,
        command,
        accel: "tcg",
    };
    serde_json::to_writer_pretty(file, &result).context("cannot write the result file")
}
