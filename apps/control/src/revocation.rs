//! Granting a device and taking it back, again and again.

use alloc::format;
use alloc::vec::Vec;

use weir_abi::info::{TraceInfo, TraceKind};
use weir_hal::{Device as _, Interrupt as _, Mmio, Register as _};
use weir_rt::hal::Function;
use weir_rt::{Device, Mapping, Memory, System, kernel_page};

use crate::machine::Machine;
use crate::mapping::map_for_devices;
use crate::report::Report;
use crate::{Failure, timed};

/// Mappings that the owner's devices reach.
const MAPPINGS: [usize; 2] = [1, 1000];

/// Measures both devices with each number of mappings, and the one with many registers.
pub(crate) fn measure(machine: &Machine, samples: usize, report: &Report) -> Result<(), Failure> {
    for count in MAPPINGS {
        let memory = Memory::create(4096)?;
        let window: Result<Vec<Mapping>, _> = (0..count).map(|_| map_for_devices(&memory, 4096)).collect();
        let _window = window?;
        for (kind, device) in [("", &machine.edu), ("_flr", &machine.resettable)] {
            again(machine.system, device, 0, samples)?.send(&format!("{kind}_{count}"), report);
        }
    }
    again(machine.system, &machine.large, 2, samples)?.send("_large", report);
    Ok(())
}

/// Ticks of each grant, of each revocation, and of the steps after which the device is harmless.
#[derive(Default)]
struct Ticks {
    grants: Vec<u64>,
    revocations: Vec<u64>,
    quiet: Vec<u64>,
}

impl Ticks {
    fn send(&self, suffix: &str, report: &Report) {
        report.samples(&format!("grant{suffix}"), &self.grants);
        report.samples(&format!("revoke_steps_1_to_6{suffix}"), &self.quiet);
        report.samples(&format!("revoke{suffix}"), &self.revocations);
    }
}

/// Grants `device`, uses it as a driver does (registers of `bar` mapped, an interrupt bound where it has one, mastering the
/// bus), revokes it, and sees that the registers are gone.
fn again(system: System, device: &Device, bar: u8, samples: usize) -> Result<Ticks, Failure> {
    let mut ticks = Ticks::default();
    let mut trace = Trace::now(system);
    for _ in 0..samples {
        // The reset is not part of a grant: it has its specification's own time, and nobody waits for it in the kernel.
        device.prepare_and_wait()?;
        let (owned, grant) = timed(|| device.assign_here(true));
        let function = Function::new(owned?)?;
        let registers = function.map_bar(bar, 0, function.info().bar_bytes[usize::from(bar)])?;
        let interrupt = (function.info().interrupts > 0).then(|| function.interrupt(0)).transpose()?;
        interrupt.as_ref().map_or(Ok(()), |interrupt| interrupt.unmask())?;
        function.bus_master(true)?;
        let (revoked, revocation) = timed(|| device.revoke());
        revoked?;
        check_gone(&registers)?;
        ticks.grants.push(grant);
        ticks.revocations.push(revocation);
        ticks.quiet.push(trace.next_quiet_ticks()?);
    }
    Ok(ticks)
}

/// A device that is gone reads as all ones, everywhere.
fn check_gone(registers: &impl Mmio) -> Result<(), Failure> {
    let last = registers.bytes() - 4;
    for offset in [0, registers.bytes() / 2, last] {
        if registers.register::<u32>(offset)?.read() != u32::MAX {
            return Err(Failure::StillThere);
        }
    }
    Ok(())
}

/// The kernel's trace, read from where it was last read.
struct Trace {
    system: System,
    /// By CPU.
    next: Vec<u64>,
}

impl Trace {
    /// Skips what has happened so far.
    fn now(system: System) -> Trace {
        let mut trace = Trace { system, next: (0..kernel_page().cpus).map(|_| 0).collect() };
        while trace.next_event().is_some() {}
        trace
    }

    /// The next event of any CPU.
    fn next_event(&mut self) -> Option<TraceInfo> {
        /// Where a CPU's number stands in the index of an event.
        const CPU_SHIFT: u32 = 48;
        let system = self.system;
        (0u64..).zip(&mut self.next).find_map(|(cpu, next)| {
            let event: TraceInfo = system.info(cpu << CPU_SHIFT | *next).ok()?;
            *next = event.number + 1;
            Some(event)
        })
    }

    /// The ticks from the mark to quiet of the revocation that the trace tells of next.
    fn next_quiet_ticks(&mut self) -> Result<u64, Failure> {
        let revoked = TraceKind::DeviceRevoked as u32;
        while let Some(event) = self.next_event() {
            if event.kind == revoked {
                return Ok(to_ticks(event.values[1]));
            }
        }
        Err(Failure::Silence { what: "the trace of a revocation" })
    }
}

/// Nanoseconds of the kernel's clock as ticks of the counter it is made of.
fn to_ticks(ns: u64) -> u64 {
    const NS_PER_SECOND: u128 = 1_000_000_000;
    let ticks = u128::from(ns) * u128::from(kernel_page().tsc_hz);
    u64::try_from(ticks.div_ceil(NS_PER_SECOND)).unwrap_or(u64::MAX)
}
