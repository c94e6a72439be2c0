//! System calls: arguments out of registers, checked, then the object's own operation.
//!
//! The calls are documented in [`weir_abi::call`], in the same order as here.

mod console;
mod device;
mod handle;
mod info;
mod memory;
mod process;
mod thread;

use weir_abi::info::TraceKind;
use weir_abi::{Error, Handle, Rights, call};
use weir_kernel::refs::Ref;

use crate::object::process::Process;
use crate::object::thread::Thread;
use crate::object::{self, Kind, Object};
use crate::trace;

/// What became of a call.
enum Outcome {
    /// It returns this.
    Return(u64),
    /// The thread sleeps, or has ended: whoever wakes it stores the result.
    Later,
}

/// The result of a call's implementation.
type Result<T = Outcome> = core::result::Result<T, Error>;

impl From<u64> for Outcome {
    fn from(value: u64) -> Outcome {
        Outcome::Return(value)
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Outcome {
        Outcome::Return(0)
    }
}

impl From<Handle> for Outcome {
    fn from(handle: Handle) -> Outcome {
        Outcome::Return(handle.0)
    }
}

/// The caller and its six arguments.
struct Call<'a> {
    thread: &'a Thread,
    arguments: [u64; 6],
}

impl Call<'_> {
    fn process(&self) -> &Ref<Process> {
        &self.thread.process
    }

    /// Argument `index` as a number.
    fn number(&self, index: usize) -> u64 {
        self.arguments[index]
    }

    /// The object that argument `index` names, if the handle carries `rights`.
    fn object<T: Kind>(&self, index: usize, rights: Rights) -> Result<T> {
        let handles = self.process().handles.lock();
        let (object, held) = handles.get(Handle(self.arguments[index]))?;
        let object = object::expect::<T>(object)?;
        if !held.contains(rights) {
            return Err(Error::NoRight);
        }
        Ok(object.clone())
    }

    /// As [`Call::object`], where 0 means none.
    fn optional<T: Kind>(&self, index: usize, rights: Rights) -> Result<Option<T>> {
        if self.arguments[index] == 0 { Ok(None) } else { self.object(index, rights).map(Some) }
    }

    /// Checks that argument `index` is the supervisor's handle to the machine, with `rights`.
    fn system(&self, index: usize, rights: Rights) -> Result<()> {
        let handles = self.process().handles.lock();
        let (object, held) = handles.get(Handle(self.arguments[index]))?;
        match object {
            Object::System if held.contains(rights) => Ok(()),
            Object::System => Err(Error::NoRight),
            _ => Err(Error::WrongObject),
        }
    }

    /// Opens a handle in the calling process.
    fn open(&self, object: Object, rights: Rights) -> Result {
        Ok(self.process().adopt(object, rights)?.into())
    }
}

/// Performs the call the thread asks for in its frame, and stores the result there.
pub(crate) fn dispatch(thread: &Thread) {
    // SAFETY: the thread is in the kernel: nobody else uses its frame.
    let frame = unsafe { &*thread.frame() };
    let number = frame.rax;
    let arguments = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
    let result = perform(number, &Call { thread, arguments });
    let value = match result {
        Ok(Outcome::Later) => return,
        Ok(Outcome::Return(value)) => Ok(value),
        Err(error) => {
            trace::record(TraceKind::CallFailed, thread.process.id, [number, error as u64]);
            Err(error)
        }
    };
    // SAFETY: as above; the shared borrow has ended.
    unsafe { (*thread.frame()).set_result(value) };
}

fn perform(number: u64, call: &Call<'_>) -> Result {
    match number {
        call::LOG_WRITE => console::log_write(call),
        call::PROCESS_CREATE => process::create(call),
        call::PROCESS_EXIT => process::exit(call),
        call::PROCESS_KILL => process::kill(call),
        call::PROCESS_INFO => process::info(call),
        call::PROCESS_WATCH => process::watch(call),
        call::THREAD_CREATE => thread::create(call),
        call::THREAD_EXIT => thread::exit(call),
        call::THREAD_YIELD => thread::yield_now(),
        call::THREAD_SET_FS => thread::set_fs(call),
        call::EVENT_CREATE => thread::event_create(call),
        call::EVENT_WAIT => thread::event_wait(call),
        call::EVENT_SIGNAL => thread::event_signal(call),
        call::MEMORY_CREATE => memory::create(call),
        call::MEMORY_MAP => memory::map(call),
        call::MEMORY_UNMAP => memory::unmap(call),
        call::MEMORY_INFO => memory::info(call),
        call::HANDLE_CLOSE => handle::close(call),
        call::HANDLE_COPY => handle::copy(call),
        call::CORE_OPEN => handle::core_open(call),
        call::DEVICE_OPEN => device::open(call),
        call::DEVICE_ASSIGN => device::assign(call),
        call::DEVICE_REVOKE => device::revoke(call),
        call::DEVICE_INFO => device::info(call),
        call::DEVICE_CONFIG_READ => device::config_read(call),
        call::DEVICE_MAP_BAR => device::map_bar(call),
        call::DEVICE_CONTROL => device::control(call),
        call::DEVICE_WATCH => device::watch(call),
        call::INTERRUPT_CREATE => device::interrupt_create(call),
        call::INTERRUPT_CONTROL => device::interrupt_control(call),
        call::PCI_WATCH => device::pci_watch(call),
        call::SLOT_CONTROL => device::slot_control(call),
        call::SYSTEM_INFO => info::system_info(call),
        call::LOG_READ => console::log_read(call),
        call::CONSOLE_READ => console::read(call),
        call::CONSOLE_WRITE => console::write(call),
        call::CONSOLE_WATCH => console::watch(call),
        call::MEMORY_IO_ADDRESS => memory::io_address(call),
        call::POWER_OFF => console::power_off(call),
        call::DEVICE_PREPARE => device::prepare(call),
        call::DEVICE_ACCEPT => device::accept(call),
        call::DEVICE_POLICY => device::policy(call),
        call::DEVICE_SRIOV => device::sriov(call),
        _ => Err(Error::BadCall),
    }
}
