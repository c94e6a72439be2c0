//! The first process: the supervisor, out of the boot bundle.

use elf::ElfBytes;
use elf::abi::{PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

use weir_abi::info::{NAME_BYTES, Quota};
use weir_abi::layout::{PAGE_BYTES, PROGRAM_BASE};
use weir_abi::{Handle, Rights, bundle, call};
use weir_kernel::refs::Ref;

use crate::mm::address::{Direct, PhysAddr, PhysRange};
use crate::mm::memory::Memory;
use crate::mm::space::Request;
use crate::object::Object;
use crate::object::process::Process;
use crate::object::thread::Start;

/// Bytes of the supervisor's stack.
const STACK_BYTES: u64 = 256 * 1024;
const READ_WRITE: u64 = call::MAP_READ | call::MAP_WRITE;

/// Makes and starts the supervisor.
///
/// # Panics
/// Where the bundle or the program in it is not usable: there is nothing to run.
pub(super) fn start(module: PhysRange) {
    // SAFETY: the loader put the bundle there; its frames were never given to the allocator.
    let bytes =
        unsafe { core::slice::from_raw_parts(PhysAddr(module.start).direct(), module.bytes() as usize) };
    let program = bundle::find(bytes, bundle::INIT).expect("the boot bundle has an entry 'init'");
    let mut name = [0; NAME_BYTES];
    name[..4].copy_from_slice(b"init");
    let quota = Quota { frames: u64::MAX, handles: 4096, mappings: 4096 };
    let process = Process::create(name, quota).expect("memory for the first process");
    let entry = load(&process, program);

    let system = process.adopt(Object::System, Rights::ALL.without(Rights::TRANSFER));
    assert!(system == Ok(Handle::SYSTEM));
    let memory = Ref::try_new(Memory::boot(module)).expect("kernel heap at boot");
    let rights = Rights::READ.union(Rights::TRANSFER);
    assert!(process.adopt(Object::Memory(memory), rights) == Ok(Handle::BUNDLE));

    let stack = map_new(&process, STACK_BYTES, 0, READ_WRITE).0;
    let start = Start { entry, stack: stack + STACK_BYTES, arguments: [0, 0] };
    let thread = Process::spawn(&process, start, None).expect("memory for the first thread");
    Process::launch(&thread).expect("the first process runs");
}

/// Maps the program's segments; returns its entry point.
fn load(process: &Ref<Process>, program: &[u8]) -> u64 {
    let file = ElfBytes::<LittleEndian>::minimal_parse(program).expect("'init' is an ELF file");
    let segments = file.segments().expect("'init' has program headers");
    for segment in segments.iter().filter(|s| s.p_type == PT_LOAD) {
        load_segment(process, &segment, file.segment_data(&segment).expect("'init' is whole"));
    }
    PROGRAM_BASE + file.ehdr.e_entry
}

fn load_segment(process: &Ref<Process>, segment: &ProgramHeader, data: &[u8]) {
    let skip = segment.p_vaddr % PAGE_BYTES;
    let bytes = (skip + segment.p_memsz).next_multiple_of(PAGE_BYTES);
    let flags = match segment.p_flags & (PF_W | PF_X) {
        PF_W => READ_WRITE,
        PF_X => call::MAP_READ | call::MAP_EXECUTE,
        0 => call::MAP_READ,
        _ => panic!("'init' has a segment both writable and executable"),
    };
    let (_, memory) = map_new(process, bytes, PROGRAM_BASE + segment.p_vaddr - skip, flags);
    memory.fill(skip, data);
}

fn map_new(process: &Ref<Process>, bytes: u64, address: u64, flags: u64) -> (u64, Ref<Memory>) {
    let memory = Memory::allocate(process, bytes, false).expect("memory for the first process");
    let memory = Ref::try_new(memory).expect("kernel heap at boot");
    let at = process.map(&memory, Request { offset: 0, bytes, address, flags });
    (at.expect("the first process's segments do not overlap"), memory)
}
