//! The boot bundle: programs and manifest in one file, which the loader hands to the kernel as a module.
//!
//! Layout: [`Header`], `entries` × [`Entry`], then the contents, each starting on a 4096-byte boundary.
//! All numbers little-endian. Names are unique. [`find`] believes nothing: offsets and lengths are checked.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of a bundle.
pub const MAGIC: [u8; 8] = *b"WEIRBNDL";
/// Layout version.
pub const VERSION: u32 = 1;
/// Longest entry name.
pub const ENTRY_NAME_BYTES: usize = 48;
/// Entry that holds the encoded [`crate::manifest::Manifest`].
pub const MANIFEST: &str = "manifest";
/// Entry that holds the supervisor's program.
pub const INIT: &str = "init";

/// Start of a bundle.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: U32,
    /// Number of entries.
    pub entries: U32,
}

/// One file of a bundle.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// Name, padded with zeros.
    pub name: [u8; ENTRY_NAME_BYTES],
    /// Where its bytes start, from the start of the bundle.
    pub offset: U64,
    /// How many there are.
    pub bytes: U64,
}

/// The entries of a bundle, or `None` where `bundle` is not one.
#[must_use]
pub fn entries(bundle: &[u8]) -> Option<&[Entry]> {
    let (header, rest) = Header::ref_from_prefix(bundle).ok()?;
    if header.magic != MAGIC || header.version.get() != VERSION {
        return None;
    }
    let count = usize::try_from(header.entries.get()).ok()?;
    let bytes = count.checked_mul(size_of::<Entry>())?;
    <[Entry]>::ref_from_bytes(rest.get(..bytes)?).ok()
}

/// The contents of entry `name`.
#[must_use]
pub fn find<'a>(bundle: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let entry = entries(bundle)?.iter().find(|e| crate::info::name_text(&e.name) == name)?;
    let start = usize::try_from(entry.offset.get()).ok()?;
    let end = start.checked_add(usize::try_from(entry.bytes.get()).ok()?)?;
    bundle.get(start..end)
}
