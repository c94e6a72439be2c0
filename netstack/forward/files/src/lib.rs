//! pcap files for `weir-forward`, on hosts that have files and a clock that knows the date.
//!
//! **Invariant: what a closed file holds is what was received**: an error, such as a full disk, ends the capture and is
//! told when it is closed.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

use weir_forward::{Capture, pcap};

/// A file that receives frames.
#[derive(Debug)]
pub struct PcapFile {
    file: BufWriter<File>,
    failure: Option<io::Error>,
}

impl PcapFile {
    /// Creates it, or replaces what was there.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(path: impl AsRef<Path>) -> io::Result<PcapFile> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&pcap::file_header())?;
        Ok(PcapFile { file, failure: None })
    }

    /// Writes what is left to write.
    ///
    /// # Errors
    /// The first that there was.
    pub fn close(mut self) -> io::Result<()> {
        self.failure.map_or_else(|| self.file.flush(), Err)
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
        self.file.write_all(&pcap::record_header(time_ns, frame))?;
        self.file.write_all(frame)
    }
}

impl Capture for PcapFile {
    /// Costs a copy, and a system call for each 8 KiB.
    fn take(&mut self, frame: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.write(frame).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_forward::pcap::Reader;

    #[test]
    fn a_file_holds_what_was_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pcap");
        let begin = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
        let mut file = PcapFile::create(&path).expect("a file");
        let frames: Vec<Vec<u8>> = (60..1000).map(|len| vec![7; len]).collect();
        frames.iter().for_each(|frame| file.take(frame));
        file.close().expect("room");
        let bytes = std::fs::read(&path).expect("the file");
        let mut last = begin;
        for (record, frame) in Reader::new(&bytes).expect("a pcap file").zip(&frames) {
            let record = record.expect("a good record");
            assert_eq!(record.frame, frame);
            assert!(u128::from(record.time_ns) >= last);
            last = record.time_ns.into();
        }
        assert_eq!(Reader::new(&bytes).expect("a pcap file").count(), frames.len());
    }

    #[test]
    fn a_full_disk_is_told() {
        let Ok(mut file) = PcapFile::create("/dev/full") else { return };
        (0..100).for_each(|_| file.take(&[7; 1000]));
        assert_eq!(file.close().map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }
}
