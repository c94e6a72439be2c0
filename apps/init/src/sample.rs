//! What CPUs and applications had done at one moment, for `top`.

use alloc::vec::Vec;

use weir_abi::info::{CpuInfo, ProcessInfo};
use weir_rt::clock::now_ns;
use weir_rt::{System, kernel_page};

use crate::app::App;

/// Counters at one moment.
pub(crate) struct Sample {
    pub(crate) time_ns: u64,
    pub(crate) cpus: Vec<CpuInfo>,
    /// By application; `None` where it has no process.
    pub(crate) processes: Vec<Option<ProcessInfo>>,
}

impl Sample {
    pub(crate) fn take(system: System, apps: &[App]) -> Sample {
        let cpus = (0..kernel_page().cpus).filter_map(|cpu| system.info(cpu.into()).ok()).collect();
        Sample { time_ns: now_ns(), cpus, processes: apps.iter().map(App::info).collect() }
    }

    /// The applications that had the same process before, with both states.
    pub(crate) fn since<'a>(
        &'a self,
        before: &'a Sample,
        apps: &'a [App],
    ) -> impl Iterator<Item = (&'a str, ProcessInfo, ProcessInfo)> {
        let pairs = before.processes.iter().zip(&self.processes);
        apps.iter().zip(pairs).filter_map(|(app, (before, now))| {
            let (before, now) = ((*before)?, (*now)?);
            (before.id == now.id).then_some((app.name(), before, now))
        })
    }
}
