//! Forwards until all streams are done, and says what it did.

use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_forward::forwarder;
use weir_forward::statistics::{self, OfAll};
use weir_nic::Nic;
use weir_rt::thread;

use crate::{Failure, Forwards, say};

/// Bursts of each stream between two looks at what else there is.
const BURSTS_PER_LOOK: usize = 1 << 10;

pub(crate) fn forward<N: Nic>(mut forwarder: Forwards<N>, stats: &Stats) -> Result<(), Failure>
where
    Failure: From<forwarder::Error<N::Error>>,
{
    let entries = thread::kernel_entries();
    while !forwarder.is_done() {
        let is_busy = forwarder.look(BURSTS_PER_LOOK).map_err(forwarder::Error::Nic)?;
        if !is_busy {
            forwarder.restart_stopped().map_err(forwarder::Error::Nic)?;
        }
        statistics::publish(&forwarder.statistics(), stats);
        stats.device_errors.store(forwarder.restarts(), Ordering::Relaxed);
        stats.data_path_kernel_entries.store(thread::kernel_entries() - entries, Ordering::Relaxed);
    }
    let ports = forwarder.statistics();
    ports.iter().for_each(say);
    say(OfAll(&ports));
    Ok(())
}
