//! Processes: this one, and those the supervisor makes.

use weir_abi::call::{
    HANDLE_COPY, MEMORY_MAP, PROCESS_CREATE, PROCESS_EXIT, PROCESS_INFO, PROCESS_KILL, PROCESS_WATCH,
    THREAD_CREATE,
};
use weir_abi::info::{ProcessInfo, Quota};
use weir_abi::{Error, Handle, Rights};

use crate::call::call;
use crate::cores::Core;
use crate::event::Event;
use crate::handle::{Object, Owned, object};
use crate::memory::{Access, Memory};
use crate::system::System;
use crate::thread::Thread;

/// Another process, which the holder rules.
#[derive(Debug)]
pub struct Process(Owned);

object!(Process);

/// A range of a `Memory`, and where and how another process is to see it.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// First byte of the range.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Address in the other process; 0 lets the kernel choose.
    pub address: u64,
    /// What the process may do there.
    pub access: Access,
}

impl Process {
    /// Makes an empty process: `process_create`.
    ///
    /// # Errors
    /// `BadArgument` (a bad name), `NoMemory`, `Quota`.
    pub fn create(_: &System, name: &str, quota: &Quota) -> Result<Process, Error> {
        let quota = core::ptr::from_ref(quota) as u64;
        let arguments = [Handle::SYSTEM.0, name.as_ptr() as u64, name.len() as u64, quota, 0, 0];
        // SAFETY: the kernel reads the name and the quota, both borrowed for the call.
        let handle = unsafe { call(PROCESS_CREATE, arguments) }?;
        Ok(Process(Owned::new(Handle(handle))))
    }

    /// Maps a range of `memory` into it, and gives the address: `memory_map`.
    ///
    /// # Errors
    /// `BadArgument`, `Busy`, `NoRight`, `Quota`, `NoMemory`, `Gone`.
    pub fn map(&self, memory: &Memory, place: Placement) -> Result<u64, Error> {
        let Placement { offset, bytes, address, access } = place;
        let arguments = [self.0.raw(), memory.handle().0, offset, bytes, address, access.flags()];
        // SAFETY: another process's address space changes, not this one's: `create` is the only source of
        // a `Process`.
        unsafe { call(MEMORY_MAP, arguments) }
    }

    /// Starts a thread in it, on `core` or on the shared ones: `thread_create`.
    ///
    /// # Errors
    /// `BadArgument`, `Quota`, `NoMemory`, `Gone`.
    pub fn start_thread(
        &self,
        entry: u64,
        stack: u64,
        arguments: [u64; 2],
        core: Option<&Core>,
    ) -> Result<Thread, Error> {
        let core = core.map_or(Handle::NONE, Object::handle);
        let arguments = [self.0.raw(), entry, stack, arguments[0], arguments[1], core.0];
        // SAFETY: the thread runs in another process's address space, as in `map`.
        let handle = unsafe { call(THREAD_CREATE, arguments) }?;
        Ok(Thread::from_handle(Handle(handle)))
    }

    /// Gives it a handle to `object` with those of `rights` that are held: `handle_copy`.
    ///
    /// # Errors
    /// `NoRight` without `TRANSFER`, `BadArgument` (devices: use `Device::assign`), `Quota`, `Gone`.
    pub fn give(&self, object: &impl Object, rights: Rights) -> Result<Handle, Error> {
        let arguments = [self.0.raw(), object.handle().0, u64::from(rights.0), 0, 0, 0];
        // SAFETY: a handle in another process concerns no memory of this one.
        unsafe { call(HANDLE_COPY, arguments) }.map(Handle)
    }

    /// Ends it, wherever it is: `process_kill`.
    ///
    /// # Errors
    /// `Gone` (it is dead).
    pub fn kill(&self) -> Result<(), Error> {
        // SAFETY: another process ends, not this one.
        unsafe { call(PROCESS_KILL, [self.0.raw(), 0, 0, 0, 0, 0]) }.map(drop)
    }

    /// Its state and what it holds: `process_info`. Works on the dead, too.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn info(&self) -> Result<ProcessInfo, Error> {
        info(self.handle())
    }

    /// Signals `event` when it ends: `process_watch`.
    ///
    /// # Errors
    /// Those every call can give.
    pub fn watch(&self, event: &Event) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(PROCESS_WATCH, [self.0.raw(), event.handle().0, 0, 0, 0, 0]) }.map(drop)
    }
}

/// What this process holds and did.
///
/// # Errors
/// Those every call can give.
pub fn own_info() -> Result<ProcessInfo, Error> {
    info(Handle::SELF)
}

fn info(process: Handle) -> Result<ProcessInfo, Error> {
    let mut info = ProcessInfo::default();
    let buffer = core::ptr::from_mut(&mut info) as u64;
    // SAFETY: the kernel fills the whole record, any bytes of which are a value of the type.
    unsafe { call(PROCESS_INFO, [process.0, buffer, 0, 0, 0, 0]) }?;
    Ok(info)
}

/// Ends this process: `process_exit`.
pub fn exit(code: u64) -> ! {
    // SAFETY: nothing runs afterwards.
    let _ = unsafe { call(PROCESS_EXIT, [code, 0, 0, 0, 0, 0]) };
    unreachable!("process_exit returned")
}
