//! Calls on handles, and on cores.

use weir_abi::{Error, Handle, Rights};
use weir_kernel::refs::Ref;

use super::{Call, Result};
use crate::object::Object;
use crate::object::core::Core;
use crate::object::process::Process;

pub(super) fn close(call: &Call<'_>) -> Result {
    let handle = Handle(call.number(0));
    if handle == Handle::SELF {
        return Err(Error::BadArgument);
    }
    let closed = call.process().handles.lock().remove(handle)?;
    // Outside the lock: the last reference to the object may go here.
    drop(closed);
    Ok(().into())
}

pub(super) fn copy(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::MANAGE)?;
    let (object, held) = {
        let handles = call.process().handles.lock();
        let (object, held) = handles.get(Handle(call.number(1)))?;
        (object.clone(), held)
    };
    if !held.contains(Rights::TRANSFER) {
        return Err(Error::NoRight);
    }
    if matches!(object, Object::Device(_) | Object::Interrupt(_) | Object::System) {
        return Err(Error::BadArgument);
    }
    let asked = u32::try_from(call.number(2)).map_err(|_| Error::BadArgument)?;
    Ok(target.adopt(object, held.intersect(Rights(asked)))?.into())
}

pub(super) fn core_open(call: &Call<'_>) -> Result {
    call.system(0, Rights::MANAGE)?;
    let core = Core::open(call.number(1))?;
    call.open(Object::Core(core), Rights::ALL)
}
