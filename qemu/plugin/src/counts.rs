//! What is counted, per CPU.

use std::collections::BTreeMap;
use std::ffi::c_uint;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::api;
use crate::marker::REGIONS;

static COUNTS: OnceLock<Counts> = OnceLock::new();

/// Makes the counters. Once, when QEMU loads the plugin.
pub(crate) fn set_up() {
    COUNTS.get_or_init(|| Counts { user: Counter::new(), kernel: Counter::new(), cpus: Mutex::default() });
}

/// The counters.
pub(crate) fn counts() -> &'static Counts {
    COUNTS.get().expect("made before anything is translated")
}

/// A counter that translated code adds to: one word per CPU.
pub(crate) struct Counter(api::Word);

// SAFETY: the word is QEMU's, which lets any thread ask for it.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

impl Counter {
    fn new() -> Counter {
        // SAFETY: no conditions; it is never freed.
        Counter(api::Word { board: unsafe { api::qemu_plugin_scoreboard_new(size_of::<u64>()) }, offset: 0 })
    }

    pub(crate) fn raw(&self) -> api::Word {
        self.0
    }

    fn of(&self, cpu: c_uint) -> u64 {
        // SAFETY: the board lives for ever; `cpu` is one of QEMU's.
        unsafe { api::qemu_plugin_u64_get(self.0, cpu) }
    }
}

/// All counters.
pub(crate) struct Counts {
    /// Instructions in the lower half of the address space.
    pub(crate) user: Counter,
    /// Instructions in the upper half.
    pub(crate) kernel: Counter,
    cpus: Mutex<Vec<Cpu>>,
}

/// What is counted where code of the guest's kernel or a marker runs.
#[derive(Default)]
struct Cpu {
    /// Instructions of user mode when the kernel last ran.
    user_seen: u64,
    /// Arrivals in the kernel after instructions of user mode.
    entries: u64,
    /// The same, by the address where the kernel began.
    entries_at: BTreeMap<u64, u64>,
    regions: [Region; REGIONS],
}

/// What passed between the markers of a region.
#[derive(Clone, Copy, Default)]
struct Region {
    begun: Option<Amount>,
    times: u64,
    total: Amount,
}

#[derive(Clone, Copy, Default)]
struct Amount {
    user: u64,
    kernel: u64,
    entries: u64,
}

impl Counts {
    /// A block of the kernel at `address` begins to run.
    pub(crate) fn arrived_in_kernel(&self, cpu: c_uint, address: u64) {
        let user = self.user.of(cpu);
        let mut cpus = self.cpus(cpu);
        let cpu = &mut cpus[cpu as usize];
        if cpu.user_seen != user {
            cpu.user_seen = user;
            cpu.entries += 1;
            *cpu.entries_at.entry(address).or_default() += 1;
        }
    }

    /// A region begins; one that has not ended begins anew.
    pub(crate) fn begin(&self, cpu: c_uint, region: usize) {
        let mut cpus = self.cpus(cpu);
        let now = self.amount(cpu, &cpus[cpu as usize]);
        cpus[cpu as usize].regions[region].begun = Some(now);
    }

    /// A region ends; one that has not begun does not.
    pub(crate) fn end(&self, cpu: c_uint, region: usize) {
        let mut cpus = self.cpus(cpu);
        let now = self.amount(cpu, &cpus[cpu as usize]);
        let region = &mut cpus[cpu as usize].regions[region];
        let Some(begun) = region.begun.take() else { return };
        region.times += 1;
        region.total.user += now.user - begun.user;
        region.total.kernel += now.kernel - begun.kernel;
        region.total.entries += now.entries - begun.entries;
    }

    fn amount(&self, number: c_uint, cpu: &Cpu) -> Amount {
        Amount { user: self.user.of(number), kernel: self.kernel.of(number), entries: cpu.entries }
    }

    fn cpus(&self, cpu: c_uint) -> MutexGuard<'_, Vec<Cpu>> {
        let mut cpus = self.cpus.lock().unwrap_or_else(PoisonError::into_inner);
        while cpus.len() <= cpu as usize {
            cpus.push(Cpu::default());
        }
        cpus
    }

    /// Everything so far, as one line of JSON: an array with an object per CPU.
    pub(crate) fn json(&self) -> String {
        // SAFETY: no conditions.
        let number = unsafe { api::qemu_plugin_num_vcpus() };
        let number = c_uint::try_from(number).unwrap_or(0);
        let each: Vec<String> = (0..number).map(|cpu| self.cpu_json(cpu)).collect();
        format!("[{}]", each.join(","))
    }

    fn cpu_json(&self, number: c_uint) -> String {
        let cpus = self.cpus(number);
        let cpu = &cpus[number as usize];
        let Amount { user, kernel, entries } = self.amount(number, cpu);
        let mut text =
            format!("{{\"user\":{user},\"kernel\":{kernel},\"entries\":{entries},\"entries_at\":{{");
        let places: Vec<String> =
            cpu.entries_at.iter().map(|(at, times)| format!("\"{at:#x}\":{times}")).collect();
        text += &places.join(",");
        text += "},\"regions\":{";
        let used = cpu.regions.iter().enumerate().filter(|(_, region)| region.times > 0);
        for (position, (index, Region { times, total, .. })) in used.enumerate() {
            let comma = if position > 0 { "," } else { "" };
            let Amount { user, kernel, entries } = total;
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "{comma}\"{index}\":{{\"times\":{times},\"user\":{user},\"kernel\":{kernel},\"entries\":{entries}}}"
            );
        }
        text + "}}"
    }
}
