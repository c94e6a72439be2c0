//! Thread-local storage: one block per thread, found through the FS base.
//!
//! Layout of the x86-64 psABI, variant II (ELF Handling For Thread-Local Storage 0.21, §3 "Run-Time Handling"):
//! the program's initialized variables end at the thread pointer, where a word points to itself.
//! **Invariant: [`current`] is called only by threads that called [`Block::install`]**, which the start of
//! every thread does first.

use core::alloc::Layout;
use core::sync::atomic::{AtomicBool, Ordering};

use weir_abi::call::THREAD_SET_FS;

use crate::call::{call, to_usize};

const PT_TLS: u32 = 7;

/// What this runtime keeps for each thread, at its thread pointer.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Control {
    /// Address of this structure: the psABI's word.
    this: *const Control,
    /// Slot of the thread in the kernel page.
    pub(crate) slot: usize,
    /// End (exclusive) of its stack, for backtraces.
    pub(crate) stack_end: usize,
}

/// A program header (System V gABI, "Program Header", 64-bit).
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_bytes: u64,
    memory_bytes: u64,
    alignment: u64,
}

/// The ELF header (System V gABI, "ELF Header", 64-bit), as far as it is needed.
#[repr(C)]
struct FileHeader {
    ident: [u8; 16],
    kind_machine_version: [u32; 2],
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    sizes: [u16; 2],
    program_header_count: u16,
}

unsafe extern "C" {
    /// Start of the program's image; the linker defines it.
    static __ehdr_start: FileHeader;
}

/// The initial values of the program's thread-local variables.
struct Template {
    start: *const u8,
    file_bytes: usize,
    memory_bytes: usize,
    alignment: usize,
}

impl Template {
    /// Looks the template up in the program's own headers; without any, an empty one.
    fn of_this_program() -> Template {
        let image = &raw const __ehdr_start;
        // SAFETY: the image's first page is mapped and holds the header that the linker wrote.
        let (offset, count) = unsafe { ((*image).program_headers, (*image).program_header_count) };
        // SAFETY: the linker puts the program headers into the same, first segment.
        let headers = unsafe {
            let first = image.cast::<u8>().add(to_usize(offset)).cast::<ProgramHeader>();
            core::slice::from_raw_parts(first, usize::from(count))
        };
        let Some(header) = headers.iter().find(|h| h.kind == PT_TLS) else {
            return Template { start: image.cast(), file_bytes: 0, memory_bytes: 0, alignment: 1 };
        };
        Template {
            start: image.cast::<u8>().wrapping_add(to_usize(header.address)),
            file_bytes: to_usize(header.file_bytes),
            memory_bytes: to_usize(header.memory_bytes),
            alignment: to_usize(header.alignment).max(1),
        }
    }
}

/// The storage of one thread; freed when dropped.
#[derive(Debug)]
pub(crate) struct Block {
    start: *mut u8,
    layout: Layout,
    control: *mut Control,
}

// SAFETY: a block is plain memory; the thread that uses it has ended when its owner drops it (`thread`).
unsafe impl Send for Block {}

impl Block {
    /// Allocates a block with the program's initial values.
    pub(crate) fn new() -> Block {
        let template = Template::of_this_program();
        let alignment = template.alignment.max(align_of::<Control>());
        let variables = template.memory_bytes.next_multiple_of(alignment);
        let layout = Layout::from_size_align(variables + size_of::<Control>(), alignment)
            .expect("the linker's sizes are sane");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc::alloc::alloc_zeroed(layout) };
        if start.is_null() {
            alloc::alloc::handle_alloc_error(layout);
        }
        // SAFETY: both ranges are inside the block: file_bytes ≤ memory_bytes ≤ variables, by the linker.
        unsafe { core::ptr::copy_nonoverlapping(template.start, start, template.file_bytes) };
        Block { start, layout, control: start.wrapping_add(variables).cast() }
    }

    /// Makes it the storage of the calling thread.
    pub(crate) fn install(control: *mut Control, slot: u64, stack_end: usize) {
        // SAFETY: `control` is a block's and nobody else uses it yet; aligned, see `new`.
        unsafe { control.write(Control { this: control, slot: to_usize(slot), stack_end }) };
        // SAFETY: the thread has no thread-local state yet that could be lost.
        unsafe { call(THREAD_SET_FS, [control as u64, 0, 0, 0, 0, 0]) }.expect("a heap address is canonical");
        IS_READY.store(true, Ordering::Relaxed);
    }

    /// Where the thread pointer goes.
    pub(crate) fn control(&self) -> *mut Control {
        self.control
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { alloc::alloc::dealloc(self.start, self.layout) };
    }
}

/// Set once the first thread has its block: before, there is nothing to read.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// The calling thread's block, once it has one.
#[inline]
pub(crate) fn current() -> Option<&'static Control> {
    if !IS_READY.load(Ordering::Relaxed) {
        return None;
    }
    let control: *const Control;
    // SAFETY: the FS base is the block's address, whose first word is that address.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) control, options(nostack, readonly, preserves_flags));
    }
    // SAFETY: the block lives as long as its thread, and is not written any more.
    Some(unsafe { &*control })
}
