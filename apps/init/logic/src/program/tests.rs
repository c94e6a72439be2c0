use proptest::prelude::*;

use super::*;

const CODE: u32 = PF_R | PF_X;
const DATA: u32 = PF_R | PF_W;

/// Type, flags, offset, address, file bytes, memory bytes.
type Header = (u32, u32, u64, u64, u64, u64);

/// An ELF file of 0x3000 bytes with these program headers, packed by hand (System V gABI, "ELF Header").
fn file(kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    bytes.extend(kind.to_le_bytes());
    bytes.extend(62u16.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(entry.to_le_bytes());
    bytes.extend(64u64.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    for half in [64, 56, u16::try_from(headers.len()).unwrap(), 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for (kind, flags, offset, address, file_bytes, memory_bytes) in headers {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for word in [offset, address, address, file_bytes, memory_bytes, &0x1000] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes.resize(0x3000, 0x5a);
    bytes
}

fn parse(headers: &[Header]) -> Result<Program, ProgramError> {
    Program::parse(&file(ET_DYN, 0x2040, headers))
}

const TEXT: Header = (PT_LOAD, CODE, 0x2000, 0x2000, 0x800, 0x800);

#[test]
fn a_good_program_is_laid_out_by_pages() {
    let program = parse(&[
        (PT_LOAD, PF_R, 0, 0, 0x1234, 0x1234),
        TEXT,
        (PT_LOAD, DATA, 0x2800, 0x3810, 0x100, 0x2000),
        (7, PF_R, 0, 0, u64::MAX, 0), // PT_TLS: the program's own business
    ])
    .unwrap();
    assert_eq!(program.entry, PROGRAM_BASE + 0x2040);
    let layout: Vec<_> = program
        .segments
        .iter()
        .map(|s| (s.address - PROGRAM_BASE, s.bytes, s.offset, s.file.clone()))
        .collect();
    assert_eq!(
        layout,
        [
            (0, 0x2000, 0, 0..0x1234),
            (0x2000, 0x1000, 0, 0x2000..0x2800),
            (0x3000, 0x3000, 0x810, 0x2800..0x2900),
        ]
    );
    let permissions: Vec<_> = program.segments.iter().map(|s| s.permission).collect();
    assert_eq!(permissions, [Permission::Read, Permission::Execute, Permission::Write]);
}

#[test]
fn hostile_programs_are_refused() {
    let bad = |header| parse(&[TEXT, header]).unwrap_err();
    let contents = ProgramError::Contents { index: 1 };
    let place = ProgramError::Place { index: 1 };
    let permissions = ProgramError::Permissions { index: 1 };
    assert_eq!(bad((PT_LOAD, DATA, 0x2fff, 0x5000, 2, 2)), contents);
    assert_eq!(bad((PT_LOAD, DATA, u64::MAX, 0x5000, 2, 2)), contents);
    assert_eq!(bad((PT_LOAD, DATA, 0, 0x5000, 3, 2)), contents, "more contents than room");
    assert_eq!(bad((PT_LOAD, DATA, 0, 0x2fff, 0, 1)), place, "shares the code's page");
    assert_eq!(bad((PT_LOAD, DATA, 0, 0, 0, 1)), place, "descending");
    assert_eq!(bad((PT_LOAD, DATA, 0, 0x5000, 0, 0)), place, "empty");
    assert_eq!(bad((PT_LOAD, DATA, 0, 0x5000, 0, u64::MAX)), place);
    assert_eq!(bad((PT_LOAD, DATA, 0, u64::MAX - 5, 0, 1)), place);
    assert_eq!(bad((PT_LOAD, DATA, 0, PROGRAM_END - PROGRAM_BASE, 0, 1)), place);
    assert_eq!(bad((PT_LOAD, DATA | PF_X, 0, 0x5000, 0, 1)), permissions);
    assert_eq!(bad((PT_LOAD, PF_W, 0, 0x5000, 0, 1)), permissions);
    assert_eq!(bad((PT_INTERP, PF_R, 0, 0, 0, 0)), ProgramError::WrongKind);
    assert_eq!(parse(&[]), Err(ProgramError::SegmentCount { count: 0 }));
    assert_eq!(parse(&[TEXT; 17]), Err(ProgramError::SegmentCount { count: 17 }));
    assert_eq!(Program::parse(&file(2, 0x2040, &[TEXT])), Err(ProgramError::WrongKind), "not PIE");
    assert_eq!(Program::parse(&file(ET_DYN, 0x3000, &[TEXT])), Err(ProgramError::Entry));
    assert_eq!(Program::parse(&file(ET_DYN, u64::MAX, &[TEXT])), Err(ProgramError::Entry));
    assert_eq!(Program::parse(b"\x7fELF"), Err(ProgramError::NotElf));
    assert_eq!(Program::parse(&file(ET_DYN, 0, &[TEXT])[..100]).unwrap_err(), ProgramError::NotElf);
}

/// What the module head promises, for whatever was accepted.
fn assert_invariant(program: &Program, file_bytes: usize) {
    let mut free_from = PROGRAM_BASE;
    for segment in &program.segments {
        assert!(segment.address >= free_from && segment.address.is_multiple_of(PAGE_BYTES));
        assert!(segment.bytes > 0 && segment.bytes.is_multiple_of(PAGE_BYTES));
        free_from = segment.address + segment.bytes;
        assert!(segment.file.end <= file_bytes && segment.file.start <= segment.file.end);
        assert!(segment.offset + segment.file.len() as u64 <= segment.bytes);
    }
    assert!(free_from <= PROGRAM_END);
}

proptest! {
    #[test]
    fn whatever_is_accepted_keeps_the_invariant(
        entry in 0u64..0x4000,
        headers in prop::collection::vec(
            (0u32..4, 0u32..8, 0u64..0x4000, 0u64..0x8000, 0u64..0x2000, prop_oneof![0u64..0x3000, any::<u64>()]),
            0..5,
        ),
        flips in prop::collection::vec((0usize..0x200, any::<u8>()), 0..3),
    ) {
        let mut bytes = file(ET_DYN, entry, &headers);
        for (at, value) in flips {
            bytes[at] = value;
        }
        if let Ok(program) = Program::parse(&bytes) {
            assert_invariant(&program, bytes.len());
        }
    }
}
