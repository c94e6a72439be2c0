//! Ten thousand system calls with random numbers and arguments leave the process as it was.
//!
//! **Invariant: whatever call succeeded is undone at once, so the comparison is exact.** Left out are the calls
//! whose success ends the program (`process_exit`, `thread_exit`), starts a thread at a random address, or
//! unmaps, closes or overwrites what this program uses.

use weir_abi::call::{
    END, EVENT_CREATE, EVENT_WAIT, HANDLE_CLOSE, HANDLE_COPY, LOG_WRITE, MEMORY_CREATE, MEMORY_MAP,
    MEMORY_UNMAP, PROCESS_EXIT, THREAD_CREATE, THREAD_EXIT, THREAD_SET_FS,
};
use weir_abi::layout::{PRIVATE_START, USER_END};
use weir_rt::call::call;
use weir_rt::memory::Pages;
use weir_rt::{Env, Error, Event, Handle, Memory, Object};

use crate::kernel::{close, unmap};
use crate::quotas::held;
use crate::{Numbers, Verdict, ensure};

const CALLS: u32 = 10_000;
/// Where random mappings may land; its page tables exist after the first round.
const SPOT: u64 = PRIVATE_START + (1 << 41);

/// What a hostile program has to offer.
struct Arguments {
    numbers: Numbers,
    handles: [u64; 4],
    scratch: u64,
}

impl Arguments {
    /// Anything: open and stale handles, good and bad addresses, small numbers, noise.
    fn any(&mut self) -> u64 {
        let noise = self.numbers.next();
        let interesting = [
            0,
            1,
            4,
            4096,
            8192,
            u64::MAX,
            1 << 63,
            USER_END,
            USER_END - 8,
            0xffff_8000_0000_0000,
            0xffff_ffff_8000_0000,
            SPOT + 1,
            self.scratch,
            self.scratch + 4090,
            Handle::SYSTEM.0,
            noise & 0xff,
            noise & 0xffff_f000,
            noise,
        ];
        match self.numbers.below(3) {
            0 => self.handles[self.numbers.below(self.handles.len())],
            1 => interesting[self.numbers.below(interesting.len())],
            _ => noise,
        }
    }

    /// A call that cannot hurt this program, if the kernel keeps its promises.
    fn harmless_call(&mut self) -> (u64, [u64; 6]) {
        loop {
            // Mostly calls that exist, sometimes any number (those below 0x1000 do not exist, either).
            let beyond = self.numbers.next();
            let number =
                if self.numbers.below(8) == 0 { beyond } else { 0x1000 + beyond % (END - 0x1000 + 4) };
            let mut arguments: [u64; 6] = core::array::from_fn(|_| self.any());
            match number {
                PROCESS_EXIT | THREAD_EXIT => continue,
                THREAD_CREATE | MEMORY_UNMAP if arguments[0] == Handle::SELF.0 => continue,
                // A handle that is open here, or may be by chance, is not closed.
                HANDLE_CLOSE if (arguments[0] & 0xffff_ffff) < 1 << 16 => continue,
                EVENT_WAIT => arguments[2] = 0,
                // Keeps the log readable: only bad addresses.
                LOG_WRITE => arguments[0] |= 1 << 63,
                MEMORY_MAP => arguments[4] = if arguments[4] & 1 == 0 { 0 } else { SPOT },
                _ => {}
            }
            return (number, arguments);
        }
    }
}

/// Undoes a call that succeeded.
fn undo(number: u64, arguments: [u64; 6], value: u64, fs_base: u64) -> Result<(), Error> {
    match number {
        MEMORY_CREATE | EVENT_CREATE => close(Handle(value)),
        HANDLE_COPY if arguments[0] == Handle::SELF.0 => close(Handle(value)),
        // SAFETY: mapped by the call just made, never used.
        MEMORY_MAP if arguments[0] == Handle::SELF.0 => unsafe { unmap(value) },
        // SAFETY: this thread's own base, read before.
        THREAD_SET_FS => unsafe { call(THREAD_SET_FS, [fs_base, 0, 0, 0, 0, 0]) }.map(drop),
        _ => Ok(()),
    }
}

/// Makes the calls; gives how many succeeded.
fn round(arguments: &mut Arguments) -> Result<u32, Verdict> {
    let fs_base: u64;
    // SAFETY: the first word at the FS base is its address (`weir-rt`'s thread-local storage).
    unsafe { core::arch::asm!("mov {}, fs:[0]", out(reg) fs_base, options(nostack, readonly)) };
    let mut succeeded = 0;
    for count in 0..CALLS {
        let (number, words) = arguments.harmless_call();
        // SAFETY: `harmless_call` promises that what this program uses stays; the kernel writes to `scratch` only.
        let result = unsafe { call(number, words) };
        let Ok(value) = result else { continue };
        succeeded += 1;
        let is_known = (0x1000..END).contains(&number);
        ensure!(is_known, "call {count}: there is no {number:#x}, but it succeeded");
        if let Err(error) = undo(number, words, value, fs_base) {
            ensure!(false, "call {count}: {number:#x} {words:x?} gave {value:#x}, undoing: {error}");
        }
    }
    Ok(succeeded)
}

pub(crate) fn random_calls(_: &mut Env) -> Result<(), Verdict> {
    let (memory, event, scratch) = (Memory::create(8192)?, Event::create()?, Pages::new(8192)?);
    let stale = {
        let closed = Memory::create(4096)?;
        closed.handle().0
    };
    let handles = [Handle::SELF.0, memory.handle().0, event.handle().0, stale];
    let mut arguments = Arguments { numbers: Numbers(0x5eed), handles, scratch: scratch.as_ptr() as u64 };
    // The first round makes the page tables that the second needs, too.
    round(&mut arguments)?;
    let before = held()?;
    let succeeded = round(&mut arguments)?;
    let after = held()?;
    ensure!(before == after, "handles, mappings, threads, frames were {before:?}, are {after:?}");
    ensure!(succeeded > 0, "no call of {CALLS} succeeded: the arguments test nothing");
    drop(scratch);
    Ok(())
}
