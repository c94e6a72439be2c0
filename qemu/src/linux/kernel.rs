//! The kernel of the packages, as the ELF file that it is inside: QEMU starts that as it starts Weir (PVH).
//!
//! The image that the packages have unpacks itself, which takes as long as all the rest of a boot where each
//! instruction is emulated. Here it is unpacked once.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::libraries;
use super::setup::packages;
use crate::tools::Unpacked;

/// The package of the program that unpacks.
pub(super) const PACKAGE: &str = "xz-utils";
const PROGRAM: &str = "usr/bin/xz";

/// Offsets in the image (Linux 6.1 Documentation, x86/boot "The Real-Mode Kernel Header"): sectors of the part for real
/// mode, less one; the magic number; the version; where the rest has the packed kernel, and how many bytes.
const SECTORS: usize = 0x1f1;
const MAGIC: (usize, &[u8]) = (0x202, b"HdrS");
const VERSION: usize = 0x206;
const PAYLOAD: usize = 0x248;
const PAYLOAD_BYTES: usize = 0x24c;
/// The version from which on there is a payload.
const VERSION_MIN: u32 = 0x208;
const SECTOR_BYTES: usize = 512;
/// The payload ends with the length of what is packed.
const LENGTH_BYTES: usize = 4;

/// The unpacked kernel of `system`; made where it is not there yet.
pub(super) fn unpacked(system: &Unpacked) -> Result<PathBuf> {
    let file = system.file("boot/vmlinux");
    if !file.exists() {
        let image = fs::read(image(system)?)?;
        let packed = payload(&image).context("the image of the Linux kernel is cut short")?;
        unpack(packed.context("the image of the Linux kernel is of an unknown kind")?, &file)?;
    }
    Ok(file)
}

/// The one image in the packages.
fn image(system: &Unpacked) -> Result<PathBuf> {
    let boot = system.file("boot");
    let files = fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?.flatten();
    let is_image = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with("vmlinuz-");
    files.into_iter().find(is_image).map(|file| file.path()).context("the packages have no kernel")
}

/// The packed kernel: `None` where the image is too short, and in it `None` where it is no image that has one.
fn payload(image: &[u8]) -> Option<Option<&[u8]>> {
    let word = |offset: usize| Some(u32::from_le_bytes(*image.get(offset..)?.first_chunk()?) as usize);
    let is_known =
        image.get(MAGIC.0..)?.starts_with(MAGIC.1) && word(VERSION)? & 0xffff >= VERSION_MIN as usize;
    if !is_known {
        return Some(None);
    }
    let start = (usize::from(*image.get(SECTORS)?) + 1) * SECTOR_BYTES + word(PAYLOAD)?;
    let bytes = word(PAYLOAD_BYTES)?.checked_sub(LENGTH_BYTES)?;
    Some(Some(image.get(start..)?.get(..bytes)?))
}

/// Unpacks into `file`, which is there in full or not at all.
fn unpack(packed: &[u8], file: &PathBuf) -> Result<()> {
    let mut input = tempfile::tempfile()?;
    input.write_all(packed)?;
    input.rewind()?;
    let output = tempfile::NamedTempFile::new_in(file.parent().context("a file has a folder")?)?;
    let mut command = libraries::command(&packages(&[PACKAGE])?, PROGRAM);
    let status = command.arg("-dc").stdin(input).stdout(File::create(output.path())?).status()?;
    if !status.success() {
        bail!("xz cannot unpack the Linux kernel: {status}");
    }
    ensure!(fs::read(output.path())?.starts_with(b"\x7fELF"), "the Linux kernel is no ELF file");
    output.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sectors for real mode; the rest has 3 bytes of something, then the payload.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR_BYTES];
        image[SECTORS] = 1;
        image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        image[0x248..0x250].copy_from_slice(&[3, 0, 0, 0, 10, 0, 0, 0]);
        image.extend(b"...packed\x40\0\0\0behind");
        image
    }

    #[test]
    fn the_payload_without_its_length() {
        assert_eq!(payload(&image()), Some(Some(&b"packed"[..])));
    }

    #[test]
    fn another_kind_and_a_cut_one_are_told_apart() {
        let mut old = image();
        old[0x206] = 7;
        assert_eq!(payload(&old), Some(None));
        let whole = image();
        for bytes in [0, 0x200, 0x24e, 2 * SECTOR_BYTES, 2 * SECTOR_BYTES + 8] {
            assert_eq!(payload(&whole[..bytes]), None, "{bytes}");
        }
    }
}
