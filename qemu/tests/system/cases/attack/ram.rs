//! The guest's memory as the host sees it: a file that QEMU maps. Where things are is found by looking, not by asking
//! the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

pub(super) const PAGE: usize = 4096;
/// Address bits of a table entry of every format used (VT-d 5.10 §9.7, §9.8; AMD I/O Virtualization §2.2.3).
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The file.
pub(super) struct Ram {
    file: NamedTempFile,
    mib: u64,
}

impl Ram {
    /// Room for `mib` MiB of memory; less than ends below the hole under 4 GiB, so that file offset and physical
    /// address are the same.
    pub(super) fn new(mib: u64) -> Result<Ram> {
        ensure!(mib <= 2048, "offset and address would differ");
        Ok(Ram { file: memory_file(mib << 20)?, mib })
    }

    /// QEMU's options.
    pub(super) fn options(&self) -> [String; 4] {
        let path = self.file.path().display();
        let object = format!("memory-backend-file,id=ram,size={}M,mem-path={path},share=on", self.mib);
        ["-object".into(), object, "-machine".into(), "memory-backend=ram".into()]
    }

    pub(super) fn read(&self, at: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.file.as_file().read_exact_at(&mut buffer, at).context("not memory")?;
        Ok(buffer)
    }

    /// The one page whose words count up from `word`.
    pub(super) fn page_of(&self, word: u64) -> Result<u64> {
        let wanted = page_from(word);
        let found: Vec<u64> = self
            .pages()?
            .enumerate()
            .filter_map(|(n, page)| (page == wanted).then_some(n as u64 * PAGE as u64))
            .collect();
        ensure!(found.len() == 1, "the page from {word:#x} is at {found:x?}");
        Ok(found[0])
    }

    /// Pages with a word that could be a valid table entry for `frame`: its page tables, the CPU's and the devices'.
    pub(super) fn tables_of(&self, frame: u64) -> Result<Vec<u64>> {
        let is_entry = |word: &[u8]| {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            word & ADDRESS == frame && word & 1 == 1
        };
        let has_entry = |page: &Vec<u8>| page.chunks_exact(8).any(is_entry);
        Ok(self
            .pages()?
            .enumerate()
            .filter_map(|(n, page)| has_entry(&page).then_some(n as u64 * PAGE as u64))
            .collect())
    }

    /// The sinks of devices that are led astray: where a table leads all of whose entries are equal, to which another such
    /// table leads, and which is none itself.
    pub(super) fn sinks(&self) -> Result<Vec<u64>> {
        let target = |page: &Vec<u8>| {
            let word = u64::from_le_bytes(page[..8].try_into().unwrap_or_default());
            let is_table = word & 1 == 1 && page.chunks_exact(8).all(|other| other == word.to_le_bytes());
            Some(word & ADDRESS).filter(|at| is_table && *at != 0 && *at < self.mib << 20)
        };
        let pages = (0..).step_by(PAGE).zip(self.pages()?);
        let tables: BTreeMap<u64, u64> = pages.filter_map(|(at, page)| Some((at, target(&page)?))).collect();
        let is_led_to = |at: u64| tables.values().any(|target| *target == at);
        let last = tables.iter().filter(|(at, target)| is_led_to(**at) && !tables.contains_key(target));
        Ok(last.map(|(_, target)| *target).collect())
    }

    fn pages(&self) -> Result<impl Iterator<Item = Vec<u8>>> {
        let all = std::fs::read(self.file.path())?;
        Ok((0..all.len() / PAGE).map(move |n| all[n * PAGE..(n + 1) * PAGE].to_vec()))
    }
}

/// A page whose words count up from `word`.
pub(super) fn page_from(word: u64) -> Vec<u8> {
    (0..PAGE as u64 / 8).flat_map(|i| word.wrapping_add(i).to_le_bytes()).collect()
}

/// A file of `bytes` zeros, in memory where the host has a place for that.
pub(super) fn memory_file(bytes: u64) -> Result<NamedTempFile> {
    let folder = Path::new("/dev/shm");
    let folder = if folder.is_dir() { folder.to_owned() } else { std::env::temp_dir() };
    let file = tempfile::Builder::new().prefix("weir-").tempfile_in(folder)?;
    File::set_len(file.as_file(), bytes)?;
    Ok(file)
}
