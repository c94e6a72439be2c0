//! What the manifest's `args` say: the options of a job, named as fio names them.

use alloc::string::String;
use alloc::vec::Vec;

use weir_pool::BLOCK_BUF_MAX_BYTES;

/// What the job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RandRead,
    RandWrite,
    Read,
    Write,
    /// Write, flush, read back, compare.
    Verify,
    /// Read and compare with what an earlier job wrote.
    Check,
    Trim,
}

impl Kind {
    const NAMES: [(&str, Kind); 7] = [
        ("randread", Kind::RandRead),
        ("randwrite", Kind::RandWrite),
        ("read", Kind::Read),
        ("write", Kind::Write),
        ("verify", Kind::Verify),
        ("check", Kind::Check),
        ("trim", Kind::Trim),
    ];

    pub(crate) fn is_random(self) -> bool {
        matches!(self, Kind::RandRead | Kind::RandWrite)
    }
}

/// The words, understood.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) kind: Kind,
    /// Bytes of a request.
    pub(crate) bs: u32,
    /// Requests under way, per queue.
    pub(crate) iodepth: u16,
    /// Requests per queue; none: a pass over the region, or until `runtime_s`.
    pub(crate) ios: Option<u64>,
    pub(crate) runtime_s: Option<u64>,
    /// Passes over the region; 0: without end.
    pub(crate) passes: u64,
    pub(crate) queues: u16,
    pub(crate) disk: u16,
    /// The region, in bytes; without a size, to the disk's end.
    pub(crate) offset: u64,
    pub(crate) size: Option<u64>,
    /// Of contents and of random places. A pass has the seed of the pass before, plus 1.
    pub(crate) seed: u64,
    /// Sleep when nothing completes, instead of polling.
    pub(crate) sleep: bool,
}

/// A word that means nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown word `{0}`; there are: rw=randread|randwrite|read|write|verify|check|trim, bs, iodepth, ios, runtime, passes, \
     queues, disk, offset, size, seed (each =NUMBER), poll, sleep, then"
)]
pub(crate) struct BadWord(String);

impl Default for Words {
    fn default() -> Words {
        Words {
            kind: Kind::RandRead,
            bs: 4096,
            iodepth: 32,
            ios: None,
            runtime_s: None,
            passes: 1,
            queues: 1,
            disk: 0,
            offset: 0,
            size: None,
            seed: 1,
            sleep: false,
        }
    }
}

impl Words {
    /// The jobs, one after the other: after `then`, what is not said stays as it was.
    pub(crate) fn parse(words: &[String]) -> Result<Vec<Words>, BadWord> {
        let mut job = Words::default();
        let mut jobs = Vec::new();
        for word in words {
            match word.as_str() {
                "then" => jobs.push(job.clone()),
                _ => job.take(word).ok_or_else(|| BadWord(word.clone()))?,
            }
        }
        jobs.push(job);
        Ok(jobs)
    }

    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "sleep" => self.sleep = true,
            None if word == "poll" => self.sleep = false,
            Some(("rw", name)) => self.kind = Kind::NAMES.iter().find(|(known, _)| *known == name)?.1,
            Some(("bs", size)) => self.bs = u32::try_from(bytes(size)?).ok().filter(is_request)?,
            Some(("iodepth", number)) => self.iodepth = number.parse().ok().filter(|n| *n > 0)?,
            Some(("ios", number)) => self.ios = Some(number.parse().ok()?),
            Some(("runtime", number)) => self.runtime_s = Some(number.parse().ok()?),
            Some(("passes", number)) => self.passes = number.parse().ok()?,
            Some(("queues", number)) => self.queues = number.parse().ok().filter(|n| *n > 0)?,
            Some(("disk", number)) => self.disk = number.parse().ok()?,
            Some(("offset", size)) => self.offset = bytes(size)?,
            Some(("size", size)) => self.size = Some(bytes(size)?),
            Some(("seed", number)) => self.seed = number.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

/// Whether a request may have so many bytes: a power of two, so that requests lie on multiples of their size.
fn is_request(bytes: &u32) -> bool {
    bytes.is_power_of_two() && (512..=BLOCK_BUF_MAX_BYTES).contains(bytes)
}

/// A number of bytes, such as `512` or `4K`.
fn bytes(text: &str) -> Option<u64> {
    let unit = match text.bytes().last()? {
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1 << 30,
        _ => return text.parse().ok(),
    };
    text.get(..text.len() - 1)?.parse::<u64>().ok()?.checked_mul(unit)
}
