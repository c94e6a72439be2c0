//! Classic pcap files ("PCAP Capture File Format", draft-ietf-opsawg-pcap-04): read in both byte orders, with micro- or
//! nanoseconds; written in the machine's order, with nanoseconds.
//!
//! **Invariant: a file that was read to its end once is good**: [`Replay`] does that before its first frame goes out, so a
//! hostile file is refused by name, and nothing is checked, and nothing can fail, while frames are sent.
//! Ethernet only. Not here: pcapng, and files themselves: a file is bytes that a host has read, or that it writes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{FRAME_MAX_BYTES, FRAME_MIN_BYTES};

/// First word of a file with microseconds, and with nanoseconds (§4 "File Header").
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The only version there is.
const VERSION: (u16, u16) = (2, 4);
/// Link type "Ethernet"; the upper half of the word says how long a frame's checksum is.
const ETHERNET: u32 = 1;
const LINK_TYPE: u32 = 0xffff;
/// Most bytes of a record: what writers of such files use.
const RECORD_MAX_BYTES: u32 = 262_144;

/// Why a file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is of another kind.
    #[error("not a pcap file: it begins with {magic:#010x}")]
    NotPcap {
        /// Its first word.
        magic: u32,
    },
    /// It ends in a header, or in a frame.
    #[error("the pcap file is cut short at byte {offset}")]
    CutShort {
        /// Where what is cut short begins.
        offset: usize,
    },
    /// It is of another version.
    #[error("pcap version {major}.{minor} is not known")]
    Version {
        /// Before the point.
        major: u16,
        /// Behind it.
        minor: u16,
    },
    /// Its frames are not Ethernet's.
    #[error("the pcap file's link type is {number}, not Ethernet (1)")]
    LinkType {
        /// What they are.
        number: u32,
    },
    /// A record claims more bytes than any has, or more than its frame.
    #[error("the record at byte {offset} of the pcap file claims {bytes} bytes")]
    RecordLength {
        /// Where the record begins.
        offset: usize,
        /// What it claims.
        bytes: u32,
    },
    /// A record's part of a second is a second or more.
    #[error("the record at byte {offset} of the pcap file has no valid time")]
    RecordTime {
        /// Where the record begins.
        offset: usize,
    },
    /// A frame is shorter or longer than Ethernet's.
    #[error("frame {number} of the pcap file has {bytes} bytes and cannot be sent")]
    FrameLength {
        /// Which, from 1.
        number: usize,
        /// Its length.
        bytes: usize,
    },
    /// There is nothing to replay.
    #[error("the pcap file has no frames")]
    NoFrames,
}

/// Start of a file, in the byte order of who wrote it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
struct FileHeader {
    magic: u32,
    major: u16,
    minor: u16,
    reserved: [u32; 2],
    snap_bytes: u32,
    link_type: u32,
}
const _: () = assert!(size_of::<FileHeader>() == FILE_HEADER_BYTES);

/// Start of a record (§5 "Packet Record").
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
struct RecordHeader {
    seconds: u32,
    fraction: u32,
    captured_bytes: u32,
    original_bytes: u32,
}
const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER_BYTES);

/// Bytes of a file's header.
pub const FILE_HEADER_BYTES: usize = 24;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 16;

/// A frame, and when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Bytes it had; the file may have only the first of them.
    pub original_bytes: u32,
    /// The frame.
    pub frame: &'a [u8],
}

/// Reads a file, record by record.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    file: &'a [u8],
    offset: usize,
    is_swapped: bool,
    /// Nanoseconds in the unit of a time's fraction.
    unit_ns: u32,
}

impl<'a> Reader<'a> {
    /// Reads the header of `file`.
    ///
    /// # Errors
    /// `NotPcap`, `CutShort`, `Version`, `LinkType`.
    pub fn new(file: &'a [u8]) -> Result<Reader<'a>, Error> {
        let cut_short = Error::CutShort { offset: 0 };
        let (header, _) = FileHeader::read_from_prefix(file).map_err(|_| cut_short)?;
        let magic = header.magic;
        let (is_swapped, unit_ns) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (false, 1000),
            (NANOSECONDS, _) => (false, 1),
            (_, MICROSECONDS) => (true, 1000),
            (_, NANOSECONDS) => (true, 1),
            _ => return Err(Error::NotPcap { magic }),
        };
        let reader = Reader { file, offset: FILE_HEADER_BYTES, is_swapped, unit_ns };
        let half = |half: u16| if is_swapped { half.swap_bytes() } else { half };
        let (major, minor) = (half(header.major), half(header.minor));
        if (major, minor) != VERSION {
            return Err(Error::Version { major, minor });
        }
        match reader.word(header.link_type) & LINK_TYPE {
            ETHERNET => Ok(reader),
            number => Err(Error::LinkType { number }),
        }
    }

    /// A word of the file.
    fn word(&self, word: u32) -> u32 {
        if self.is_swapped { word.swap_bytes() } else { word }
    }

    fn read_record(&self) -> Result<Record<'a>, Error> {
        let offset = self.offset;
        let cut_short = Error::CutShort { offset };
        let (header, rest) = RecordHeader::read_from_prefix(&self.file[offset..]).map_err(|_| cut_short)?;
        let (bytes, original_bytes) = (self.word(header.captured_bytes), self.word(header.original_bytes));
        if bytes > RECORD_MAX_BYTES || bytes > original_bytes {
            return Err(Error::RecordLength { offset, bytes });
        }
        let frame = rest.get(..bytes as usize).ok_or(cut_short)?;
        let part_ns = u64::from(self.word(header.fraction)) * u64::from(self.unit_ns);
        if part_ns >= 1_000_000_000 {
            return Err(Error::RecordTime { offset });
        }
        let time_ns = u64::from(self.word(header.seconds)) * 1_000_000_000 + part_ns;
        Ok(Record { time_ns, original_bytes, frame })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, Error>;

    /// The next record; after an error, none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.file.len() {
            return None;
        }
        let record = self.read_record();
        self.offset = match record {
            Ok(Record { frame, .. }) => self.offset + RECORD_HEADER_BYTES + frame.len(),
            Err(_) => self.file.len(),
        };
        Some(record)
    }
}

/// The frames of a file, over and over; their times are not kept.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    first: Reader<'a>,
    next: Reader<'a>,
    frames: usize,
    /// How many of them were given, since the first of the file.
    given: usize,
    /// Where the burst under way began: the reader's offset, and `given`.
    mark: (usize, usize),
}

impl<'a> Replay<'a> {
    /// Reads the whole file.
    ///
    /// # Errors
    /// Whatever is wrong with it; `NoFrames`, `FrameLength`.
    pub fn new(file: &'a [u8]) -> Result<Replay<'a>, Error> {
        let first = Reader::new(file)?;
        let mut frames = 0;
        for record in first.clone() {
            frames += 1;
            let bytes = record?.frame.len();
            if !(usize::from(FRAME_MIN_BYTES)..=FRAME_MAX_BYTES.into()).contains(&bytes) {
                return Err(Error::FrameLength { number: frames, bytes });
            }
        }
        if frames == 0 {
            return Err(Error::NoFrames);
        }
        let mark = (first.offset, 0);
        Ok(Replay { next: first.clone(), first, frames, given: 0, mark })
    }

    /// How many frames it has.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The next frame.
    #[inline]
    pub fn next_frame(&mut self) -> &'a [u8] {
        if self.given == self.frames {
            (self.next, self.given) = (self.first.clone(), 0);
        }
        self.given += 1;
        // All records were read once, so there is one, and it is good.
        self.next.next().and_then(Result::ok).map_or(&[], |record| record.frame)
    }

    /// A burst begins here.
    #[inline]
    pub(crate) fn begin_burst(&mut self) {
        self.mark = (self.next.offset, self.given);
    }

    /// Goes back to where only `sent` frames of the burst had been given.
    pub(crate) fn back_out(&mut self, sent: usize) {
        (self.next.offset, self.given) = self.mark;
        for _ in 0..sent {
            self.next_frame();
        }
    }
}

/// The header of a file that is written.
#[must_use]
pub fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let (major, minor) = VERSION;
    let header = FileHeader {
        magic: NANOSECONDS,
        major,
        minor,
        reserved: [0; 2],
        snap_bytes: RECORD_MAX_BYTES,
        link_type: ETHERNET,
    };
    zerocopy::transmute!(header)
}

/// What stands before `frame` in a file that is written, if it was seen at `time_ns` after 1970.
#[must_use]
pub fn record_header(time_ns: u64, frame: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
    // Seconds wrap in 2106, as the format has it; the buffer of a frame is far shorter than 4 GiB.
    let word = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let bytes = word(frame.len() as u64);
    let header = RecordHeader {
        seconds: word(time_ns / 1_000_000_000),
        fraction: word(time_ns % 1_000_000_000),
        captured_bytes: bytes,
        original_bytes: bytes,
    };
    zerocopy::transmute!(header)
}
