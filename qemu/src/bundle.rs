//! Writes the boot bundle ([`weir_abi::bundle`]): manifest and programs in one file.
//!
//! Programs are stripped to what the kernel maps; the symbols stay on this side, in the files cargo built.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::elf::{FileHeader64, PT_NULL, SHN_UNDEF};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, U16, U64};
use weir_abi::bundle::{ENTRY_NAME_BYTES, Entry, Header, MAGIC, VERSION};
use zerocopy::IntoBytes;

use crate::workspace;

/// The bundle with `files`: (name, contents).
///
/// # Errors
/// A name is too long or there twice.
pub fn write(files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    let count = u32::try_from(files.len()).context("too many files")?;
    let header = Header { magic: MAGIC, version: VERSION.into(), entries: count.into() };
    let mut offset = page_end(size_of::<Header>() + files.len() * size_of::<Entry>());
    let mut bundle = header.as_bytes().to_vec();
    for (index, (name, contents)) in files.iter().enumerate() {
        if files[..index].iter().any(|(earlier, _)| earlier == name) {
            bail!("two files of the bundle are named {name}");
        }
        let entry = Entry {
            name: padded(name)?,
            offset: (offset as u64).into(),
            bytes: (contents.len() as u64).into(),
        };
        bundle.extend_from_slice(entry.as_bytes());
        offset = page_end(offset + contents.len());
    }
    for (_, contents) in files {
        bundle.resize(page_end(bundle.len()), 0);
        bundle.extend_from_slice(contents);
    }
    Ok(bundle)
}

/// The files below `folder` as a bundle of their own, by their paths from there, written with `/`.
///
/// # Errors
/// A file cannot be read, or its path does not fit.
pub fn folder(folder: &Path) -> Result<Vec<u8>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let shown = workspace::shown(&next);
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read the folder {shown}"))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .strip_prefix(folder)?
                .to_str()
                .with_context(|| format!("{shown}: a name is no UTF-8"))?;
            let contents =
                fs::read(&path).with_context(|| format!("cannot read {}", workspace::shown(&path)))?;
            files.push((name.to_owned(), contents));
        }
    }
    // A folder lists its files in no order that stays.
    files.sort();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, contents)| (name.as_str(), contents.clone())).collect();
    write(&files)
}

/// [`weir_abi::layout::PAGE_BYTES`] as a length on this side.
const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == weir_abi::layout::PAGE_BYTES);

fn page_end(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE)
}

fn padded(name: &str) -> Result<[u8; ENTRY_NAME_BYTES]> {
    let mut field = [0; ENTRY_NAME_BYTES];
    field
        .get_mut(..name.len())
        .with_context(|| format!("the name {name} is too long"))?
        .copy_from_slice(name.as_bytes());
    Ok(field)
}

/// The program without sections, symbols and debug information: what its program headers name.
///
/// # Errors
/// It is not a little-endian 64-bit ELF file.
pub fn stripped(elf: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(elf).context("not a 64-bit ELF file")?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, elf)?;
    let end_of = |s: &&_| ProgramHeader::p_type(*s, endian) != PT_NULL;
    let mut end = header.e_phoff(endian) + size_of_val(segments) as u64;
    for segment in segments.iter().filter(end_of) {
        end = end.max(segment.p_offset(endian).saturating_add(segment.p_filesz(endian)));
    }
    let mut kept = elf.get(..usize::try_from(end)?).context("a segment lies outside the file")?.to_vec();
    let (fields, _) = object::pod::from_bytes_mut::<FileHeader64<Endianness>>(&mut kept)
        .map_err(|()| anyhow::anyhow!("the ELF header is cut off"))?;
    fields.e_shoff = U64::new(endian, 0);
    fields.e_shnum = U16::new(endian, 0);
    fields.e_shstrndx = U16::new(endian, SHN_UNDEF);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_abi::bundle::{entries, find};

    #[test]
    fn what_is_written_is_found() {
        let files = [("manifest", vec![1, 2, 3]), ("init", vec![7; 5000]), ("echo", vec![])];
        let bundle = write(&files).unwrap();
        assert_eq!(entries(&bundle).unwrap().len(), 3);
        for (name, contents) in &files {
            assert_eq!(find(&bundle, name), Some(contents.as_slice()), "{name}");
        }
        assert!(entries(&bundle).unwrap().iter().all(|entry| entry.offset.get() % PAGE as u64 == 0));
        assert_eq!(find(&bundle, "other"), None);
    }

    #[test]
    fn a_folder_is_a_bundle_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("index.html"), "<p>").unwrap();
        fs::write(dir.path().join("a/b/c.txt"), "").unwrap();
        let bundle = folder(dir.path()).unwrap();
        assert_eq!(entries(&bundle).unwrap().len(), 2);
        assert_eq!(find(&bundle, "index.html"), Some(&b"<p>"[..]));
        assert_eq!(find(&bundle, "a/b/c.txt"), Some(&b""[..]));
        assert!(folder(&dir.path().join("other")).is_err());
    }

    #[test]
    fn bad_names_are_refused() {
        assert!(write(&[("a", vec![]), ("a", vec![])]).is_err());
        assert!(write(&[(&"x".repeat(ENTRY_NAME_BYTES + 1), vec![])]).is_err());
    }

    #[test]
    fn a_stripped_program_still_runs() {
        use std::os::unix::fs::PermissionsExt;
        let bytes = std::fs::read("/bin/true").unwrap();
        let bytes = stripped(&bytes).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("true");
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(std::process::Command::new(file).status().unwrap().success());
    }

    #[test]
    fn stripping_makes_smaller_and_refuses_what_is_no_elf() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(stripped(&own).unwrap().len() < own.len());
        assert!(stripped(b"#!/bin/sh").is_err());
    }
}
