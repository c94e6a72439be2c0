//! Handles name what they were opened for, or nothing.

use weir_abi::call::{MAP_READ, MAP_WRITE};
use weir_rt::{Env, Error, Event, Handle, Object, Rights};

use crate::kernel::{close, copy, map_page, memory_create, memory_info, unmap};
use crate::{Verdict, ensure};

/// A closed handle stays closed, also when its place is used again.
pub(crate) fn stale(_: &mut Env) -> Result<(), Verdict> {
    let old = memory_create(4096)?;
    ensure!(memory_info(old) == Ok(4096), "an open handle: {:?}", memory_info(old));
    close(old)?;
    for round in 0..100 {
        let new = memory_create(8192)?;
        let result = memory_info(old);
        close(new)?;
        ensure!(new != old, "round {round}: the same handle again");
        ensure!(result == Err(Error::BadHandle), "round {round}: {result:?}");
    }
    let result = close(old);
    ensure!(result == Err(Error::BadHandle), "closed twice: {result:?}");
    Ok(())
}

/// A handle of another kind, or none at all, is refused.
pub(crate) fn kinds(_: &mut Env) -> Result<(), Verdict> {
    let event = Event::create()?;
    let result = memory_info(event.handle());
    ensure!(result == Err(Error::WrongObject), "an event: {result:?}");
    let result = memory_info(Handle::SELF);
    ensure!(result == Err(Error::WrongObject), "a process: {result:?}");
    for handle in [0, 1, u64::MAX, 1 << 63, 0xffff_ffff, Handle::new(u32::MAX, 1).0, Handle::new(0, 2).0] {
        let result = memory_info(Handle(handle));
        ensure!(result == Err(Error::BadHandle), "handle {handle:#x}: {result:?}");
    }
    let result = close(Handle::SELF);
    ensure!(result == Err(Error::BadArgument), "closing itself: {result:?}");
    Ok(())
}

/// A copy has at most the rights of its original.
pub(crate) fn rights(_: &mut Env) -> Result<(), Verdict> {
    let all = memory_create(4096)?;
    let passable = copy(all, Rights::READ.union(Rights::TRANSFER))?;
    let more = copy(passable, Rights::ALL)?;
    let fixed = copy(all, Rights::READ.union(Rights::WRITE))?;
    let blind = copy(all, Rights::TRANSFER)?;
    let write = map_page(more, 0, MAP_READ | MAP_WRITE);
    ensure!(write == Err(Error::NoRight), "writing without the right: {write:?}");
    let read = map_page(more, 0, MAP_READ)?;
    // SAFETY: mapped just now, never used.
    unsafe { unmap(read) }?;
    let onward = copy(fixed, Rights::READ);
    ensure!(onward == Err(Error::NoRight), "passing on without the right: {onward:?}");
    let looked = memory_info(blind);
    ensure!(looked == Err(Error::NoRight), "looking without the right: {looked:?}");
    [all, passable, more, fixed, blind].into_iter().try_for_each(close)?;
    Ok(())
}
