//! Calls on memory.

use weir_abi::layout::PAGE_BYTES;
use weir_abi::{Error, Rights, call};
use weir_kernel::refs::Ref;

use super::{Call, Result};
use crate::mm::memory::Memory;
use crate::mm::space::Request;
use crate::object::Object;
use crate::object::process::Process;

pub(super) fn create(call: &Call<'_>) -> Result {
    let (bytes, flags) = (call.number(0), call.number(1));
    let is_contiguous = flags & call::MEMORY_CONTIGUOUS != 0;
    let fits = bytes > 0 && bytes % PAGE_BYTES == 0 && flags & !call::MEMORY_CONTIGUOUS == 0;
    if !fits || (is_contiguous && !bytes.is_power_of_two()) {
        return Err(Error::BadArgument);
    }
    let memory = Memory::allocate(call.process(), bytes, is_contiguous)?;
    let memory = Ref::try_new(memory).ok_or(Error::NoMemory)?;
    call.open(Object::Memory(memory), Rights::ALL)
}

pub(super) fn map(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::MANAGE)?;
    let request = Request {
        offset: call.number(2),
        bytes: call.number(3),
        address: call.number(4),
        flags: call.number(5),
    };
    let mut needed = Rights::READ;
    if request.flags & call::MAP_WRITE != 0 {
        needed = needed.union(Rights::WRITE);
    }
    if request.flags & call::MAP_EXECUTE != 0 {
        needed = needed.union(Rights::EXECUTE);
    }
    let memory: Ref<Memory> = call.object(1, needed)?;
    Ok(target.map(&memory, request)?.into())
}

pub(super) fn unmap(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::MANAGE)?;
    target.unmap(call.number(1))?;
    Ok(().into())
}

pub(super) fn io_address(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::READ)?;
    Ok(target.change_space(|space| space.io_address(call.number(1)))?.into())
}

pub(super) fn info(call: &Call<'_>) -> Result {
    let memory: Ref<Memory> = call.object(0, Rights::READ)?;
    Ok(memory.bytes().into())
}
