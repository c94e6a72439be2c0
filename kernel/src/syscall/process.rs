//! Calls on processes.

use weir_abi::info::{NAME_BYTES, Quota, STATE_EXITED, STATE_KILLED};
use weir_abi::{Error, Rights};
use weir_kernel::refs::Ref;

use super::{Call, Outcome, Result};
use crate::arch::time;
use crate::mm::user;
use crate::object::Object;
use crate::object::event::Event;
use crate::object::process::{self, Process, Report};
use crate::object::thread::State;
use crate::sched::SCHED;

pub(super) fn create(call: &Call<'_>) -> Result {
    call.system(0, Rights::MANAGE)?;
    let name = read_name(call.number(1), call.number(2))?;
    let quota: Quota = user::read(call.number(3))?;
    let process = Process::create(name, quota)?;
    let opened = call.open(Object::Process(process.clone()), Rights::ALL);
    if opened.is_err() {
        process::end(&process, Report::plain(STATE_EXITED, 0));
    }
    opened
}

fn read_name(address: u64, bytes: u64) -> Result<[u8; NAME_BYTES]> {
    let length =
        usize::try_from(bytes).ok().filter(|n| (1..=NAME_BYTES).contains(n)).ok_or(Error::BadArgument)?;
    let mut name = [0; NAME_BYTES];
    user::read_bytes(address, &mut name[..length])?;
    if name[..length].iter().all(u8::is_ascii_graphic) { Ok(name) } else { Err(Error::BadArgument) }
}

pub(super) fn exit(call: &Call<'_>) -> Result {
    process::end(call.process(), Report::plain(STATE_EXITED, call.number(0)));
    Ok(Outcome::Later)
}

pub(super) fn kill(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::MANAGE)?;
    if target.is_same(call.process()) {
        return Err(Error::BadArgument);
    }
    if !target.is_running(&SCHED.lock()) {
        return Err(Error::Gone);
    }
    process::end(&target, Report::plain(STATE_KILLED, 0));
    // Its threads leave their CPUs at the interrupt that was sent, and the last CPU tears it down. Two
    // processes may kill each other: then this thread is condemned itself, and must not wait.
    const LIMIT_US: u64 = 10_000_000;
    time::wait_until(LIMIT_US, || target.is_dead() || call.thread.state(&SCHED.lock()) == State::Dead);
    if target.is_dead() { Ok(().into()) } else { Err(Error::Hardware) }
}

pub(super) fn info(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::READ)?;
    user::write(call.number(1), &target.info())?;
    Ok(().into())
}

pub(super) fn watch(call: &Call<'_>) -> Result {
    let target: Ref<Process> = call.object(0, Rights::READ)?;
    if target.is_same(call.process()) {
        return Err(Error::BadArgument);
    }
    target.watch(call.optional::<Ref<Event>>(1, Rights::WRITE)?);
    Ok(().into())
}
