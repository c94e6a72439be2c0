//! Mapping and unmapping.

use weir_abi::call::{MAP_EXECUTE, MAP_READ, MAP_WRITE};
use weir_abi::layout::{DMA_WINDOW_START, KERNEL_PAGE, PRIVATE_START, PROGRAM_BASE, REGISTERS_START};
use weir_rt::memory::Pages;
use weir_rt::{Access, Env, Error, Memory, Object};

use crate::kernel::{self, map_page};
use crate::{Verdict, ensure};

/// Fresh memory is zero, also where somebody wrote before.
pub(crate) fn zeroed(_: &mut Env) -> Result<(), Verdict> {
    for bytes in [4096, 64 << 10, 2 << 20, (2 << 20) + 4096] {
        for round in 0..3 {
            let mut pages = Pages::new(bytes)?;
            ensure!(pages.len() as u64 == bytes, "{bytes} bytes asked for, {} mapped", pages.len());
            let dirty = pages.iter().position(|byte| *byte != 0);
            ensure!(dirty.is_none(), "{bytes} bytes, round {round}: not zero at {dirty:?}");
            pages.fill(0xa5);
        }
    }
    Ok(())
}

/// Two mappings of one object show the same bytes; one goes without the other.
pub(crate) fn shared(_: &mut Env) -> Result<(), Verdict> {
    let memory = Memory::create(8192)?;
    let (first, second) = (memory.map(Access::ReadWrite)?, memory.map(Access::Read)?);
    drop(memory);
    let mut buffer = [0; 5];
    ensure!(first.write(4094, b"water").is_some(), "no room for 5 bytes");
    ensure!(second.read(4094, &mut buffer).is_some() && &buffer == b"water", "second mapping: {buffer:?}");
    drop(first);
    ensure!(second.read(4094, &mut buffer).is_some() && &buffer == b"water", "afterwards: {buffer:?}");
    Ok(())
}

/// Addresses that are taken, unaligned, the kernel's or the devices' are refused.
pub(crate) fn places(_: &mut Env) -> Result<(), Verdict> {
    let memory = Memory::create(4096)?;
    let taken = memory.map(Access::Read)?;
    let refused = |address| map_page(memory.handle(), address, MAP_READ).err();
    let result = refused(taken.address());
    ensure!(result == Some(Error::Busy), "a taken address: {result:?}");
    let bad = [
        ("unaligned", taken.address() + 1),
        ("the lowest page", 4096),
        ("the DMA window without DMA", DMA_WINDOW_START),
        ("where device registers go", REGISTERS_START),
        ("the kernel page", KERNEL_PAGE),
        ("the kernel's half", 0xffff_8000_0000_0000),
        ("not canonical", 0x8000_0000_0000),
        ("the last page", 0xffff_ffff_ffff_f000),
    ];
    for (what, address) in bad {
        let result = refused(address);
        ensure!(result == Some(Error::BadArgument), "{what}: {result:?}");
    }
    let result = refused(PROGRAM_BASE);
    ensure!(result == Some(Error::Busy), "this program's own pages: {result:?}");
    let free = PRIVATE_START + (1 << 40);
    let placed = memory.map_at(free, Access::Read)?;
    ensure!(placed.address() == free, "asked for {free:#x}, got {:#x}", placed.address());
    Ok(())
}

/// No mapping is both writable and executable, none is unreadable.
pub(crate) fn write_xor_execute(_: &mut Env) -> Result<(), Verdict> {
    let memory = Memory::create(4096)?;
    let bad = [0, MAP_WRITE, MAP_EXECUTE, MAP_READ | MAP_WRITE | MAP_EXECUTE, MAP_READ | 1 << 17, u64::MAX];
    for flags in bad {
        let result = map_page(memory.handle(), 0, flags);
        ensure!(result == Err(Error::BadArgument), "flags {flags:#x}: {result:?}");
    }
    Ok(())
}

/// Code that was written through one mapping runs through another.
pub(crate) fn execute(_: &mut Env) -> Result<(), Verdict> {
    const RETURN_42: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3]; // mov eax, 42; ret
    let memory = Memory::create(4096)?;
    ensure!(memory.map(Access::ReadWrite)?.write(0, &RETURN_42).is_some(), "no room");
    let address = kernel::map_page(memory.handle(), 0, MAP_READ | MAP_EXECUTE)?;
    // SAFETY: the bytes above are a function of this type, mapped executable.
    let function: extern "C" fn() -> u32 = unsafe { core::mem::transmute(address) };
    let value = function();
    // SAFETY: mapped above, and the function is not called any more.
    unsafe { kernel::unmap(address) }?;
    ensure!(value == 42, "returned {value}");
    Ok(())
}
