//! Writes a file tree in the form that Linux unpacks at boot ("initramfs buffer format", Linux Documentation,
//! driver-api/early-userspace/buffer-format): a `cpio` archive of kind `newc`.
//!
//! **Invariant: a file's folders come before it**: the kernel makes none by itself.

use std::collections::BTreeSet;

/// Kinds of file, as `st_mode` has them.
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that grows.
#[derive(Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Cpio {
    /// Adds a file that may be run.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, REGULAR | 0o755, (0, 0), contents);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a folder, where it is not there yet.
    pub fn folder(&mut self, path: &str) {
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER | 0o755, (0, 0), &[]);
        }
    }

    /// Adds the special file of the character device with these numbers.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// The archive, with its trailer.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.append("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.append(path, mode, device, contents);
    }

    fn append(&mut self, path: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).expect("files of an initramfs are below 4 GiB");
        // Inode number, mode, user, group, links, time, file size, device (2), device of a special file (2),
        // bytes of the name with its zero, checksum (unused).
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            length(contents.len()),
            0,
            0,
            device.0,
            device.1,
            length(path.len() + 1),
            0,
        ];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(contents);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packed by hand from the format's description.
    #[test]
    fn one_file_and_the_trailer() {
        let mut cpio = Cpio::default();
        cpio.file("a/b", b"hello");
        let expected = [
            "070701",
            "00000001",
            "000041ED",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000002",
            "00000000",
            "a\0",
            "070701",
            "00000002",
            "000081ED",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000005",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000004",
            "00000000",
            "a/b\0\0\0",
            "hello\0\0\0",
            "070701",
            "00000003",
            "00000000",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "0000000B",
            "00000000",
            "TRAILER!!!\0\0\0\0",
        ];
        assert_eq!(String::from_utf8(cpio.finish()).unwrap(), expected.concat());
    }

    #[test]
    fn a_folder_comes_once_and_first() {
        let mut cpio = Cpio::default();
        cpio.file("lib/x/one", b"");
        cpio.file("lib/x/two", b"");
        cpio.link("lib/three", "x/one");
        let text = String::from_utf8(cpio.finish()).unwrap();
        let place = |name: &str| text.find(name).unwrap();
        assert!(place("lib\0") < place("lib/x\0") && place("lib/x\0") < place("lib/x/one\0"));
        assert_eq!(text.matches("lib/x\0").count(), 1);
    }
}
