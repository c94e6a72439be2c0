//! An application's program: which bytes of an ELF file go where, with what access.
//!
//! **Invariant: the segments of a [`Program`] lie on disjoint pages inside the program area, none is both
//! writable and executable, and their file ranges lie inside the file.** The file is hostile until checked.
//! Does not relocate: the program does that itself (`weir-rt`).

use alloc::vec::Vec;
use core::ops::Range;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;
use weir_abi::layout::{PAGE_BYTES, PROGRAM_BASE, PROGRAM_END};

/// Most segments of a program.
const SEGMENTS_MAX: usize = 16;

/// What a segment permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Reading and executing.
    Execute,
}

/// One segment, to be mapped on pages of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address, page-aligned.
    pub address: u64,
    /// Bytes to map, whole pages.
    pub bytes: u64,
    /// Where in these its contents start; everything else is zero.
    pub offset: u64,
    /// Where in the file its contents are.
    pub file: Range<usize>,
    /// What it permits.
    pub permission: Permission,
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Address of its first instruction.
    pub entry: u64,
    /// Its segments, by ascending address.
    pub segments: Vec<Segment>,
}

/// What is wrong with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// Not ELF, or its headers lie outside the file.
    #[error("not an ELF file")]
    NotElf,
    /// ELF, but not a static position-independent program for x86-64.
    #[error("not a static position-independent x86-64 program")]
    WrongKind,
    /// No segment, or too many.
    #[error("{count} segments, allowed are 1 to {SEGMENTS_MAX}")]
    SegmentCount {
        /// How many it has.
        count: usize,
    },
    /// Contents outside the file, or more contents than room.
    #[error("segment {index}: contents out of range")]
    Contents {
        /// Which segment.
        index: usize,
    },
    /// Outside the program area, not after the previous segment's pages, or empty.
    #[error("segment {index}: bad place")]
    Place {
        /// Which segment.
        index: usize,
    },
    /// Both writable and executable, or not readable.
    #[error("segment {index}: bad permissions")]
    Permissions {
        /// Which segment.
        index: usize,
    },
    /// The first instruction is in no executable segment.
    #[error("entry point not executable")]
    Entry,
}

impl Program {
    /// Checks `file` and says what to map.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Program, ProgramError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| ProgramError::NotElf)?;
        let header = elf.ehdr;
        if (header.class, header.e_type, header.e_machine) != (Class::ELF64, ET_DYN, EM_X86_64) {
            return Err(ProgramError::WrongKind);
        }
        let table = elf.segments().ok_or(ProgramError::WrongKind)?;
        if table.iter().any(|segment| segment.p_type == PT_INTERP) {
            return Err(ProgramError::WrongKind);
        }
        let count = table.iter().filter(|segment| segment.p_type == PT_LOAD).count();
        if count == 0 || count > SEGMENTS_MAX {
            return Err(ProgramError::SegmentCount { count });
        }
        let mut segments = Vec::with_capacity(count);
        let mut free_from = PROGRAM_BASE;
        for (index, header) in table.iter().filter(|segment| segment.p_type == PT_LOAD).enumerate() {
            let segment = check(index, &header, free_from, file.len())?;
            free_from = segment.address + segment.bytes;
            segments.push(segment);
        }
        let entry = PROGRAM_BASE.checked_add(header.e_entry).ok_or(ProgramError::Entry)?;
        let holds_entry = |s: &Segment| {
            s.permission == Permission::Execute && (s.address..s.address + s.bytes).contains(&entry)
        };
        if segments.iter().any(holds_entry) {
            Ok(Program { entry, segments })
        } else {
            Err(ProgramError::Entry)
        }
    }
}

/// Checks one segment, which must lie at or above `free_from`.
fn check(
    index: usize,
    header: &ProgramHeader,
    free_from: u64,
    file_bytes: usize,
) -> Result<Segment, ProgramError> {
    let start = usize::try_from(header.p_offset).map_err(|_| ProgramError::Contents { index })?;
    let length = usize::try_from(header.p_filesz).map_err(|_| ProgramError::Contents { index })?;
    let end = start.checked_add(length).ok_or(ProgramError::Contents { index })?;
    if end > file_bytes || header.p_filesz > header.p_memsz {
        return Err(ProgramError::Contents { index });
    }
    let (address, bytes, offset) = place(header, free_from).ok_or(ProgramError::Place { index })?;
    let permission = permission(header.p_flags).ok_or(ProgramError::Permissions { index })?;
    Ok(Segment { address, bytes, offset, file: start..end, permission })
}

/// First page, bytes and offset of the contents, where they lie in the program area above `free_from`.
fn place(header: &ProgramHeader, free_from: u64) -> Option<(u64, u64, u64)> {
    let first = PROGRAM_BASE.checked_add(header.p_vaddr)?;
    let end = first.checked_add(header.p_memsz)?.checked_next_multiple_of(PAGE_BYTES)?;
    let address = first & !(PAGE_BYTES - 1);
    let is_inside = address >= free_from && end <= PROGRAM_END && header.p_memsz > 0;
    is_inside.then_some((address, end - address, first - address))
}

fn permission(flags: u32) -> Option<Permission> {
    match flags & (PF_R | PF_W | PF_X) {
        PF_R => Some(Permission::Read),
        flags if flags == PF_R | PF_W => Some(Permission::Write),
        flags if flags == PF_R | PF_X => Some(Permission::Execute),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
