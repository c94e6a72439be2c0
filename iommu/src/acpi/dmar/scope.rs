//! Device scopes: how a structure names functions (VT-d 5.10 §8.3.1 "Device Scope Structure").
//!
//! **Invariant: a `Scope` has a path of at least one step.**

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// What a scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// One function.
    Endpoint,
    /// A bridge and everything below it.
    Bridge,
    /// An I/O APIC; the enumeration id is its APIC id.
    IoApic,
    /// A timer that sends messages; the enumeration id is its number.
    Hpet,
    /// A device named in ACPI only; the enumeration id is its number in an ANDD structure.
    Namespace,
    /// A type this revision does not know.
    Unknown(u8),
}

impl From<u8> for ScopeKind {
    fn from(kind: u8) -> Self {
        match kind {
            1 => ScopeKind::Endpoint,
            2 => ScopeKind::Bridge,
            3 => ScopeKind::IoApic,
            4 => ScopeKind::Hpet,
            5 => ScopeKind::Namespace,
            other => ScopeKind::Unknown(other),
        }
    }
}

/// Start of a device scope.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Prefix {
    kind: u8,
    length: u8,
    flags: u8,
    reserved: u8,
    enumeration: u8,
    start_bus: u8,
}
const _: () = assert!(size_of::<Prefix>() == 6);

/// One step of a path: a function on the bus reached so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Step {
    pub(super) device: u8,
    pub(super) function: u8,
}

/// One device scope.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'t> {
    /// What it names.
    pub kind: ScopeKind,
    /// Meaning depends on the kind.
    pub enumeration_id: u8,
    pub(super) start_bus: u8,
    pub(super) path: &'t [Step],
}

/// Iterates over the scopes at the end of a structure; the error says only that a length is impossible.
pub(super) struct Scopes<'t> {
    rest: &'t [u8],
}

impl<'t> Scopes<'t> {
    pub(super) fn new(bytes: &'t [u8]) -> Self {
        Scopes { rest: bytes }
    }

    fn cut(&mut self) -> Option<Scope<'t>> {
        let (prefix, _) = Prefix::read_from_prefix(self.rest).ok()?;
        let (scope, rest) = self.rest.split_at_checked(usize::from(prefix.length))?;
        let path = <[Step]>::ref_from_bytes(scope.get(size_of::<Prefix>()..)?).ok()?;
        self.rest = rest;
        let kind = ScopeKind::from(prefix.kind);
        let scope = Scope { kind, enumeration_id: prefix.enumeration, start_bus: prefix.start_bus, path };
        (!path.is_empty()).then_some(scope)
    }
}

impl<'t> Iterator for Scopes<'t> {
    type Item = Result<Scope<'t>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let scope = self.cut().ok_or(());
        if scope.is_err() {
            self.rest = &[];
        }
        Some(scope)
    }
}
