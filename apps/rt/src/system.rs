//! The machine, as the supervisor rules it.

use weir_abi::call::{
    CONSOLE_READ, CONSOLE_WATCH, CONSOLE_WRITE, CORE_OPEN, LOG_READ, PCI_WATCH, POWER_OFF, SLOT_CONTROL,
    SLOT_CUT, SLOT_EJECT, SLOT_SWITCH_ON, SYSTEM_INFO,
};
use weir_abi::device::DeviceInfo;
use weir_abi::info::{
    CpuInfo, FaultInfo, GrantInfo, InterruptInfo, KIND_CPU, KIND_DEVICE, KIND_DEVICE_REACH, KIND_FAULT,
    KIND_GRANT, KIND_HELD, KIND_INTERRUPT, KIND_PROCESS, KIND_REACH, KIND_SLOT, KIND_SYSTEM, KIND_TRACE,
    ProcessInfo, REACH_PAGE_BITS, ReachInfo, SlotInfo, SystemInfo, TraceInfo,
};
use weir_abi::layout::PAGE_BYTES;
use weir_abi::{Error, Handle};
use zerocopy::FromBytes;

use crate::call::{call, to_usize};
use crate::cores::Core;
use crate::event::Event;
use crate::handle::Object;
use crate::memory::{Access, Memory};

/// Serial port of the console.
pub const CONSOLE: u64 = 0;
/// Serial port of the machine-readable reports.
pub const REPORTS: u64 = 1;
/// Most bytes of one `console_write`.
const CONSOLE_WRITE_BYTES: usize = 4096;

/// The right to rule the machine.
///
/// **Invariant: exists in the supervisor only** ([`crate::Env::system`]), where the handles that its calls name
/// mean what they should.
#[derive(Clone, Copy, Debug)]
pub struct System(());

/// What the supervisor asks of a hot-plug slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum SlotControl {
    /// Take the functions from their owners, then switch it off.
    Eject = SLOT_EJECT,
    /// Switch it off under whoever uses it.
    Cut = SLOT_CUT,
    /// Use what is in it.
    SwitchOn = SLOT_SWITCH_ON,
}

/// A record that `system_info` gives.
pub trait Record: FromBytes {
    /// Its number.
    const KIND: u64;
}

macro_rules! records {
    ($($record:ty = $kind:expr,)*) => { $(impl Record for $record { const KIND: u64 = $kind; })* };
}
records! {
    SystemInfo = KIND_SYSTEM,
    CpuInfo = KIND_CPU,
    ProcessInfo = KIND_PROCESS,
    DeviceInfo = KIND_DEVICE,
    GrantInfo = KIND_GRANT,
    FaultInfo = KIND_FAULT,
    TraceInfo = KIND_TRACE,
    InterruptInfo = KIND_INTERRUPT,
    SlotInfo = KIND_SLOT,
}

impl System {
    /// For the supervisor's [`crate::Env`].
    pub(crate) fn of_supervisor() -> System {
        System(())
    }

    /// Record `index` of its kind: `system_info`.
    ///
    /// # Errors
    /// `NotFound` (index past the last).
    pub fn info<R: Record>(&self, index: u64) -> Result<R, Error> {
        self.record(R::KIND, index)
    }

    /// What threads of process `id` reach, run by run, in order of address.
    pub fn reach(&self, id: u32) -> impl Iterator<Item = ReachInfo> {
        self.runs(KIND_REACH, id)
    }

    /// What devices of process `id` reach, run by run, in order of address.
    pub fn device_reach(&self, id: u32) -> impl Iterator<Item = ReachInfo> {
        self.runs(KIND_DEVICE_REACH, id)
    }

    /// The memory that process `id` has handles to, mapped or not.
    pub fn held(&self, id: u32) -> impl Iterator<Item = ReachInfo> {
        let (system, first) = (*self, u64::from(id) << 32);
        (first..).map_while(move |index| system.record(KIND_HELD, index).ok())
    }

    fn runs(&self, kind: u64, id: u32) -> impl Iterator<Item = ReachInfo> {
        let (system, mut address) = (*self, 0);
        core::iter::from_fn(move || {
            let index = (u64::from(id) << REACH_PAGE_BITS) | (address / PAGE_BYTES);
            let run: ReachInfo = system.record(kind, index).ok()?;
            address = run.address + run.bytes;
            Some(run)
        })
    }

    fn record<R: FromBytes>(&self, kind: u64, index: u64) -> Result<R, Error> {
        let mut record = R::new_zeroed();
        let buffer = core::ptr::from_mut(&mut record) as u64;
        let arguments = [Handle::SYSTEM.0, kind, index, buffer, size_of::<R>() as u64, 0];
        // SAFETY: the kernel fills at most the whole record, any bytes of which are a value of the type.
        unsafe { call(SYSTEM_INFO, arguments) }?;
        Ok(record)
    }

    /// Takes CPU `index` out of the shared pool: `core_open`.
    ///
    /// # Errors
    /// `NotFound`, `Busy`, `BadArgument` (CPU 0).
    pub fn open_core(&self, index: u64) -> Result<Core, Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(CORE_OPEN, [Handle::SYSTEM.0, index, 0, 0, 0, 0]) }
            .map(|handle| Core::from_handle(Handle(handle)))
    }

    /// The boot bundle, mapped for the program's life. Once: the handle to it is closed.
    ///
    /// # Errors
    /// `Quota`, `NoMemory`.
    pub fn bundle(&self) -> Result<&'static [u8], Error> {
        let mapping = Memory::from_handle(Handle::BUNDLE).map(Access::Read)?;
        let bytes = to_usize(mapping.bytes());
        // SAFETY: mapped from here on for ever; the bundle is a read-only `Memory`, so that nobody changes it.
        Ok(unsafe { core::slice::from_raw_parts(mapping.leak() as *const u8, bytes) })
    }

    /// Copies log text from position `from` on into `buffer`; gives the position of the text and the number
    /// of its bytes, which stand at the start of `buffer`: `log_read`.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn read_log(&self, from: u64, buffer: &mut [u8]) -> Result<(u64, usize), Error> {
        let arguments = [Handle::SYSTEM.0, from, buffer.as_mut_ptr() as u64, buffer.len() as u64, 0, 0];
        // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
        let bytes = to_usize(unsafe { call(LOG_READ, arguments) }?).min(buffer.len().saturating_sub(8));
        let (position, _) = buffer.split_first_chunk::<8>().ok_or(Error::BadArgument)?;
        let position = u64::from_le_bytes(*position);
        buffer.copy_within(8.., 0);
        Ok((position, bytes))
    }

    /// Reads what a serial port received so far: `console_read`. May be nothing.
    ///
    /// # Errors
    /// `NotFound` (no such port).
    pub fn read_console(&self, port: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let arguments = [Handle::SYSTEM.0, port, buffer.as_mut_ptr() as u64, buffer.len() as u64, 0, 0];
        // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
        Ok(to_usize(unsafe { call(CONSOLE_READ, arguments) }?).min(buffer.len()))
    }

    /// Writes to a serial port: `console_write`, as often as it takes.
    ///
    /// # Errors
    /// `NotFound` (no such port).
    pub fn write_console(&self, port: u64, text: &[u8]) -> Result<(), Error> {
        for part in text.chunks(CONSOLE_WRITE_BYTES) {
            let arguments = [Handle::SYSTEM.0, port, part.as_ptr() as u64, part.len() as u64, 0, 0];
            // SAFETY: the kernel reads `part`, borrowed for the call.
            unsafe { call(CONSOLE_WRITE, arguments) }?;
        }
        Ok(())
    }

    /// Signals `event` when the console receives bytes: `console_watch`.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn watch_console(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(CONSOLE_WATCH, [Handle::SYSTEM.0, event.handle().0, 0, 0, 0, 0]) }.map(drop)
    }

    /// Signals `event` when the state of a hot-plug slot changes, or virtual functions come or go: `pci_watch`.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn watch_pci(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(PCI_WATCH, [Handle::SYSTEM.0, event.handle().0, 0, 0, 0, 0]) }.map(drop)
    }

    /// Asks something of hot-plug slot `index`: `slot_control`.
    ///
    /// # Errors
    /// `NotFound` (no such slot), `Busy` (it makes no sense in the slot's state).
    pub fn control_slot(&self, index: u64, operation: SlotControl) -> Result<(), Error> {
        // SAFETY: as for `device_revoke`: what drivers here have mapped stays mapped.
        unsafe { call(SLOT_CONTROL, [Handle::SYSTEM.0, index, operation as u64, 0, 0, 0]) }.map(drop)
    }

    /// Ends the machine: `power_off`.
    ///
    /// # Errors
    /// Returns only if the kernel refuses: `NoRight`, `BadHandle`.
    pub fn power_off(&self, code: u64) -> Error {
        // SAFETY: nothing runs afterwards; if it is refused, nothing happened.
        unsafe { call(POWER_OFF, [Handle::SYSTEM.0, code, 0, 0, 0, 0]) }.err().unwrap_or(Error::BadCall)
    }
}
