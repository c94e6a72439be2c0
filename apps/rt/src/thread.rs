//! Threads of this process.
//!
//! **Invariant: a thread's stack and storage outlive it**: [`JoinHandle::join`] frees them only after the
//! thread's last signal, from which on it touches neither. Below every stack is a gap, so that an overflow is
//! a page fault.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::call::{THREAD_CREATE, THREAD_EXIT, THREAD_YIELD};
use weir_abi::layout::{PAGE_BYTES, PROGRAM_END};
use weir_abi::page::MAX_THREADS;
use weir_abi::{Error, Handle};

use crate::call::{call, to_usize};
use crate::cores::Core;
use crate::event::{Event, take_bit};
use crate::handle::{Object, Owned};
use crate::kernel_page::kernel_page;
use crate::memory::Pages;
use crate::tls::{self, Block, Control};

/// A thread, as the kernel names it. Dropping it closes the handle; the thread goes on.
#[derive(Debug)]
pub struct Thread(#[expect(dead_code, reason = "owned for its drop")] Owned);

impl Thread {
    /// Takes over a handle to a `Thread`.
    pub(crate) fn from_handle(handle: Handle) -> Thread {
        Thread(Owned::new(handle))
    }
}

/// Address space per stack, of which the stack takes the upper end.
const STACK_STRIDE: u64 = 64 << 20;
/// Where stacks lie: at the end of the program area, where the kernel places nothing by itself.
const STACKS_START: u64 = PROGRAM_END - STACK_STRIDE * MAX_THREADS as u64;
/// Longest stack: the rest of the stride is the gap.
const STACK_BYTES_MAX: u64 = STACK_STRIDE - (1 << 20);
/// A good size for a stack.
pub const STACK_BYTES: u64 = 256 << 10;

const _: () = assert!(MAX_THREADS <= 64, "one word of bits");

/// The end (exclusive) of stack `index`. The supervisor puts a program's first stack at index 0.
#[must_use]
pub const fn stack_end(index: u64) -> u64 {
    STACKS_START + (index + 1) * STACK_STRIDE
}

/// Which stacks are taken, a bit each; the first is the first thread's.
static STACKS: AtomicU64 = AtomicU64::new(1);

/// A stack, given back when dropped (first the pages, then the place: fields drop in order).
#[derive(Debug)]
struct Stack {
    _pages: Pages,
    place: Place,
}

#[derive(Debug)]
struct Place(usize);

impl Drop for Place {
    fn drop(&mut self) {
        STACKS.fetch_and(!(1 << self.0), Ordering::Release);
    }
}

impl Stack {
    fn new(bytes: u64) -> Result<Stack, Error> {
        let place = Place(take_bit(&STACKS).ok_or(Error::Quota)?);
        let bytes = bytes.clamp(PAGE_BYTES, STACK_BYTES_MAX).next_multiple_of(PAGE_BYTES);
        let pages = Pages::at(stack_end(place.0 as u64) - bytes, bytes)?;
        Ok(Stack { _pages: pages, place })
    }

    fn end(&self) -> u64 {
        stack_end(self.place.0 as u64)
    }
}

/// What a thread is started with; freed by the thread.
struct Work {
    run: Box<dyn FnOnce() + Send>,
    control: *mut Control,
    stack_end: u64,
    ended: Handle,
}

/// A started thread. Dropping it without [`JoinHandle::join`] lets it run on, and keeps its stack for ever.
#[derive(Debug)]
#[must_use = "a thread that nobody joins keeps its stack for ever"]
pub struct JoinHandle(core::mem::ManuallyDrop<Running>);

#[derive(Debug)]
struct Running {
    ended: Event,
    seen: u64,
    _stack: Stack,
    _block: Block,
    _thread: Thread,
}

impl JoinHandle {
    /// Waits until the thread has ended, then frees its stack.
    pub fn join(self) {
        let running = core::mem::ManuallyDrop::into_inner(self.0);
        while running.ended.count() == running.seen {
            // `Ok` or a spurious error: the counter decides.
            let _ = running.ended.wait(running.seen, u64::MAX);
        }
    }
}

/// Starts a thread that runs `run`, with `stack_bytes` of stack, on `core` or on the shared cores.
///
/// # Errors
/// `Quota` (64 threads, events, handles, memory), `NoMemory`.
pub fn spawn(
    stack_bytes: u64,
    core: Option<&Core>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle, Error> {
    let (stack, block, ended) = (Stack::new(stack_bytes)?, Block::new(), Event::create()?);
    let work =
        Work { run: Box::new(run), control: block.control(), stack_end: stack.end(), ended: ended.handle() };
    let (seen, work) = (ended.count(), Box::into_raw(Box::new(work)));
    let core = core.map_or(Handle::NONE, Object::handle);
    let arguments =
        [Handle::SELF.0, first_instruction as *const () as u64, stack.end(), work as u64, 0, core.0];
    // SAFETY: `first_instruction` is a thread's entry; its stack, block and work live until it has ended.
    match unsafe { call(THREAD_CREATE, arguments) } {
        Ok(handle) => Ok(JoinHandle(core::mem::ManuallyDrop::new(Running {
            ended,
            seen,
            _stack: stack,
            _block: block,
            _thread: Thread::from_handle(Handle(handle)),
        }))),
        Err(error) => {
            // SAFETY: made by `into_raw` above, and no thread took it.
            drop(unsafe { Box::from_raw(work) });
            Err(error)
        }
    }
}

/// First instructions of a spawned thread: end the chain of frames, call [`run`].
#[unsafe(naked)]
extern "C" fn first_instruction() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "call {run}", "ud2", run = sym run)
}

/// Runs the work, then signals and ends.
extern "C" fn run(work: *mut Work, _: u64, slot: u64) -> ! {
    // SAFETY: `spawn` made it for this thread alone.
    let work = *unsafe { Box::from_raw(work) };
    Block::install(work.control, slot, to_usize(work.stack_end));
    (work.run)();
    leave(work.ended)
}

/// Signals `ended` and ends the thread, without the stack: once the signal is sent, it may be unmapped.
fn leave(ended: Handle) -> ! {
    // SAFETY: two system calls, of which the second does not return; no memory is touched in between.
    unsafe {
        core::arch::asm!(
            "syscall",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            exit = const THREAD_EXIT,
            in("rax") weir_abi::call::EVENT_SIGNAL,
            in("rdi") ended.0,
            options(noreturn, nostack),
        )
    }
}

/// Lets another runnable thread of this core run first: `thread_yield`.
pub fn yield_now() {
    // SAFETY: nothing of this program's memory is concerned. It cannot fail.
    let _ = unsafe { call(THREAD_YIELD, [0; 6]) };
}

/// The calling thread's slot in the kernel page.
#[must_use]
pub fn slot() -> usize {
    tls::current().map_or(0, |control| control.slot)
}

/// Kernel entries of the calling thread so far. No kernel entry.
#[inline]
#[must_use]
pub fn kernel_entries() -> u64 {
    kernel_page().threads.get(slot()).map_or(0, weir_abi::page::ThreadCounters::entries)
}
