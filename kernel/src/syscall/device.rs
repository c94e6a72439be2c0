//! Calls on devices and interrupts.

use weir_abi::{Error, Rights, call};
use weir_kernel::pci::Request;
use weir_kernel::refs::Ref;

use super::{Call, Result};
use crate::hotplug;
use crate::mm::user;
use crate::object::Object;
use crate::object::device::{self, DeviceRef};
use crate::object::event::Event;
use crate::object::interrupt::Interrupt;
use crate::object::process::Process;

pub(super) fn open(call: &Call<'_>) -> Result {
    call.system(0, Rights::MANAGE)?;
    let position = usize::try_from(call.number(1)).map_err(|_| Error::NotFound)?;
    let device = device::at(position)?;
    call.open(Object::Device(device), Rights::READ.union(Rights::MANAGE))
}

pub(super) fn assign(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::MANAGE)?;
    let target: Ref<Process> = call.object(1, Rights::MANAGE)?;
    Ok(device.assign(&target, call.number(2))?.into())
}

pub(super) fn revoke(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::MANAGE)?;
    device.revoke()?;
    Ok(().into())
}

pub(super) fn prepare(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::MANAGE)?;
    Ok(u64::from(device.prepare()?).into())
}

pub(super) fn accept(call: &Call<'_>) -> Result {
    let event: Ref<Event> = call.object(0, Rights::WRITE)?;
    if !event.process.is_same(call.process()) {
        return Err(Error::BadArgument);
    }
    Ok(call.process().accept(event)?.into())
}

pub(super) fn policy(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::MANAGE)?;
    device.set_policy(user::read(call.number(1))?)?;
    Ok(().into())
}

pub(super) fn info(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::READ)?;
    user::write(call.number(1), &device.info()?)?;
    Ok(().into())
}

pub(super) fn config_read(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::READ)?;
    Ok(device.config_read(call.number(1), call.number(2))?.into())
}

pub(super) fn map_bar(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::USE)?;
    let [_, bar, offset, bytes, flags, _] = call.arguments;
    Ok(device.map_bar(call.process(), bar, offset, bytes, flags)?.into())
}

pub(super) fn control(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::USE)?;
    device.control(call.number(1))?;
    Ok(().into())
}

pub(super) fn sriov(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::USE)?;
    device.set_virtuals(call.number(1))?;
    Ok(().into())
}

pub(super) fn watch(call: &Call<'_>) -> Result {
    let device: DeviceRef = match call.object(0, Rights::USE) {
        Err(Error::NoRight) => call.object(0, Rights::MANAGE)?,
        used => used?,
    };
    device.watch(call.optional::<Ref<Event>>(1, Rights::WRITE)?)?;
    Ok(().into())
}

pub(super) fn interrupt_create(call: &Call<'_>) -> Result {
    let device: DeviceRef = call.object(0, Rights::USE)?;
    let event: Ref<Event> = call.object(2, Rights::WRITE)?;
    if !event.process.is_same(call.process()) {
        return Err(Error::BadArgument);
    }
    let interrupt = device.bind(call.number(1), &event)?;
    let interrupt = Ref::try_new(interrupt).ok_or(Error::NoMemory)?;
    call.open(Object::Interrupt(interrupt), Rights::READ.union(Rights::USE))
}

pub(super) fn interrupt_control(call: &Call<'_>) -> Result {
    let interrupt: Ref<Interrupt> = call.object(0, Rights::USE)?;
    let is_masked = match call.number(1) {
        call::INTERRUPT_MASK => true,
        call::INTERRUPT_UNMASK => false,
        _ => return Err(Error::BadArgument),
    };
    interrupt.device.mask(interrupt.index, is_masked)?;
    Ok(().into())
}

pub(super) fn pci_watch(call: &Call<'_>) -> Result {
    call.system(0, Rights::READ)?;
    hotplug::watch(call.optional::<Ref<Event>>(1, Rights::WRITE)?);
    Ok(().into())
}

pub(super) fn slot_control(call: &Call<'_>) -> Result {
    call.system(0, Rights::MANAGE)?;
    let slot = usize::try_from(call.number(1)).map_err(|_| Error::NotFound)?;
    let request = match call.number(2) {
        call::SLOT_EJECT => Request::Eject,
        call::SLOT_CUT => Request::Cut,
        call::SLOT_SWITCH_ON => Request::On,
        _ => return Err(Error::BadArgument),
    };
    hotplug::request(slot, request)?;
    Ok(().into())
}
