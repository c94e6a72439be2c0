//! Calls on threads and events.

use core::sync::atomic::Ordering;

use weir_abi::layout::USER_END;
use weir_abi::{Error, Handle, Rights};
use weir_kernel::refs::Ref;

use super::{Call, Outcome, Result};
use crate::arch::{msr, time};
use crate::object::Object;
use crate::object::core::Core;
use crate::object::event::Event;
use crate::object::process::{self, Process};
use crate::object::thread::Start;
use crate::sched::{self, SCHED};

pub(super) fn create(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::MANAGE)?;
    let start =
        Start { entry: call.number(1), stack: call.number(2), arguments: [call.number(3), call.number(4)] };
    let core: Option<Ref<Core>> = call.optional(5, Rights::USE)?;
    if start.entry >= USER_END || start.stack >= USER_END || !start.stack.is_multiple_of(16) {
        return Err(Error::BadArgument);
    }
    let thread = Process::spawn(&target, start, core)?;
    // It starts only once its creator can name it.
    let handle = call.process().adopt(Object::Thread(thread.clone()), Rights::ALL)?;
    if let Err(error) = Process::launch(&thread) {
        let closed = call.process().handles.lock().remove(handle);
        drop(closed);
        return Err(error);
    }
    Ok(handle.into())
}

pub(super) fn exit(call: &Call<'_>) -> Result {
    process::end_thread(call.thread);
    Ok(Outcome::Later)
}

pub(super) fn yield_now() -> Result {
    sched::yield_now();
    Ok(().into())
}

pub(super) fn set_fs(call: &Call<'_>) -> Result {
    let base = call.number(0);
    if base >= USER_END {
        return Err(Error::BadArgument);
    }
    call.thread.fs_base.store(base, Ordering::Relaxed);
    // SAFETY: the base is in the user half.
    unsafe { msr::write(msr::FS_BASE, base) };
    Ok(().into())
}

pub(super) fn event_create(call: &Call<'_>) -> Result {
    let other: Option<Ref<Process>> = call.optional(1, Rights::MANAGE)?;
    let event = Event::create(other.as_ref().unwrap_or(call.process()), call.number(0))?;
    call.open(Object::Event(event), Rights::ALL)
}

pub(super) fn event_wait(call: &Call<'_>) -> Result {
    let (seen, deadline_ns) = (call.number(1), call.number(2));
    if Handle(call.number(0)) == Handle::NONE {
        if deadline_ns <= time::now_ns() {
            return Ok(().into());
        }
        sched::block(&mut SCHED.lock(), call.thread, core::ptr::null(), deadline_ns);
        return Ok(Outcome::Later);
    }
    let event: Ref<Event> = call.object(0, Rights::READ)?;
    if !event.process.is_same(call.process()) {
        return Err(Error::BadArgument);
    }
    Ok(event.wait(call.thread, seen, deadline_ns)?.map_or(Outcome::Later, Outcome::Return))
}

pub(super) fn event_signal(call: &Call<'_>) -> Result {
    let event: Ref<Event> = call.object(0, Rights::WRITE)?;
    event.signal()?;
    Ok(().into())
}
