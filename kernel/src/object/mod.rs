//! Kernel objects: what handles name.

pub(crate) mod core;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod interrupt;
pub(crate) mod process;
pub(crate) mod thread;

use weir_abi::Error;
use weir_abi::handle::ObjectKind;
use weir_kernel::refs::Ref;

use crate::mm::memory::Memory;

/// A reference to an object of any kind.
#[derive(Clone)]
pub(crate) enum Object {
    Process(Ref<process::Process>),
    Thread(Ref<thread::Thread>),
    Memory(Ref<Memory>),
    Device(device::DeviceRef),
    Interrupt(Ref<interrupt::Interrupt>),
    Event(Ref<event::Event>),
    Core(Ref<core::Core>),
    System,
}

impl Object {
    /// Its kind.
    pub(crate) fn kind(&self) -> ObjectKind {
        match self {
            Object::Process(_) => ObjectKind::Process,
            Object::Thread(_) => ObjectKind::Thread,
            Object::Memory(_) => ObjectKind::Memory,
            Object::Device(_) => ObjectKind::Device,
            Object::Interrupt(_) => ObjectKind::Interrupt,
            Object::Event(_) => ObjectKind::Event,
            Object::Core(_) => ObjectKind::Core,
            Object::System => ObjectKind::System,
        }
    }

    /// The number shown beside it in listings ([`weir_abi::info::GrantInfo::detail`]).
    pub(crate) fn detail(&self) -> u64 {
        match self {
            Object::Process(process) => process.id.into(),
            Object::Memory(memory) => memory.bytes(),
            Object::Device(device) => device.address().into(),
            Object::Event(event) => event.slot as u64,
            Object::Core(core) => core.cpu.into(),
            Object::Thread(thread) => thread.slot as u64,
            Object::Interrupt(interrupt) => interrupt.index.into(),
            Object::System => 0,
        }
    }
}

/// Kinds of object a system call can ask a handle for.
pub(crate) trait Kind: Sized + Clone {
    /// The object, if it is of this kind.
    fn from_object(object: &Object) -> Option<&Self>;
}

macro_rules! kind {
    ($variant:ident, $type:ty) => {
        impl Kind for $type {
            fn from_object(object: &Object) -> Option<&$type> {
                if let Object::$variant(value) = object { Some(value) } else { None }
            }
        }
    };
}
kind!(Process, Ref<process::Process>);
kind!(Memory, Ref<Memory>);
kind!(Device, device::DeviceRef);
kind!(Interrupt, Ref<interrupt::Interrupt>);
kind!(Event, Ref<event::Event>);
kind!(Core, Ref<core::Core>);

/// What `object` is as a `T`.
pub(crate) fn expect<T: Kind>(object: &Object) -> Result<&T, Error> {
    T::from_object(object).ok_or(Error::WrongObject)
}
