//! Quotas hold, and reaching one loses nothing.

use alloc::vec::Vec;

use weir_abi::call::MAP_READ;
use weir_abi::info::ProcessInfo;
use weir_rt::clock::{now_ns, sleep};
use weir_rt::process::own_info;
use weir_rt::{Env, Error, Handle, Rights};

use crate::kernel::{close, copy, map_page, memory_create, unmap};
use crate::{Verdict, ensure};

/// What a process holds: handles, mappings, threads, frames. A thread that was joined may still be on its way
/// out of the kernel: it is waited for.
pub(crate) fn held() -> Result<[u64; 4], Error> {
    let until = now_ns() + 1_000_000_000;
    while own_info()?.threads > 1 && now_ns() < until {
        sleep(1_000_000);
    }
    let ProcessInfo { handles, mappings, threads, frames, .. } = own_info()?;
    Ok([handles.into(), mappings.into(), threads.into(), frames])
}

/// Runs `round` twice; the second time, when page tables and the heap have grown, nothing may be left over.
fn leaves_nothing(mut round: impl FnMut() -> Result<(), Verdict>) -> Result<(), Verdict> {
    round()?;
    let before = held()?;
    round()?;
    let after = held()?;
    ensure!(before == after, "handles, mappings, threads, frames were {before:?}, are {after:?}");
    Ok(())
}

/// Asks `make` for `calls` things; it must give some, then refuse with `Quota` for good.
fn exhaust<T>(
    calls: u32,
    things: &mut Vec<T>,
    mut make: impl FnMut() -> Result<T, Error>,
) -> Result<(), Verdict> {
    let mut refused = 0;
    for call in 0..calls {
        match make() {
            Ok(thing) => {
                ensure!(refused == 0, "call {call} succeeded after {refused} refusals");
                things.push(thing);
            }
            Err(Error::Quota) => refused += 1,
            Err(error) => ensure!(false, "call {call}: {error} instead of the quota"),
        }
    }
    ensure!(refused > 0, "{calls} calls and no quota");
    ensure!(!things.is_empty(), "refused from the first call on");
    Ok(())
}

/// 100,000 mappings.
pub(crate) fn mappings(_: &mut Env) -> Result<(), Verdict> {
    let memory = memory_create(4096)?;
    let mut places = Vec::with_capacity(1024);
    let result = leaves_nothing(|| {
        let result = exhaust(100_000, &mut places, || map_page(memory, 0, MAP_READ));
        for place in places.drain(..) {
            // SAFETY: mapped by `exhaust`, never used.
            unsafe { unmap(place) }?;
        }
        result
    });
    close(memory)?;
    result
}

/// 10,000 handles.
pub(crate) fn handles(_: &mut Env) -> Result<(), Verdict> {
    let memory = memory_create(4096)?;
    let mut copies: Vec<Handle> = Vec::with_capacity(1024);
    let result = leaves_nothing(|| {
        let result = exhaust(10_000, &mut copies, || copy(memory, Rights::READ));
        copies.drain(..).try_for_each(close)?;
        result
    });
    close(memory)?;
    result
}

/// All the memory the process may have, a mebibyte at a time; then more than any quota at once.
pub(crate) fn frames(_: &mut Env) -> Result<(), Verdict> {
    let mut blocks: Vec<Handle> = Vec::with_capacity(1024);
    leaves_nothing(|| {
        let result = exhaust(200, &mut blocks, || memory_create(1 << 20));
        blocks.drain(..).try_for_each(close)?;
        result
    })?;
    for bytes in [1 << 40, 1 << 62, !4095] {
        let result = memory_create(bytes);
        let is_refused = matches!(result, Err(Error::Quota | Error::BadArgument));
        ensure!(is_refused, "{bytes:#x} bytes: {result:?}");
    }
    for bytes in [0, 1, 4095, 4097, u64::MAX] {
        let result = memory_create(bytes);
        ensure!(result == Err(Error::BadArgument), "{bytes:#x} bytes: {result:?}");
    }
    Ok(())
}
