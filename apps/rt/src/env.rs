//! What an application finds when it starts: its name, its words, its grants by name.
//!
//! **Invariant: a grant is taken at most once, so whoever took it owns it.**

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use weir_abi::call::MEMORY_INFO;
use weir_abi::start::{Channels, Start};
use weir_abi::stats::Stats;
use weir_abi::{Error, Handle};

use crate::call::{call, to_usize};
use crate::cores::Core;
use crate::device::Device;
use crate::event::reserve_bell;
use crate::memory::{Access, Mapping, Memory};
use crate::system::System;

/// The environment of this application.
#[derive(Debug)]
pub struct Env {
    start: Start,
    system: Option<System>,
}

/// Why a grant could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The manifest grants nothing of that name, or it was taken before.
    #[error("no grant named `{name}`; there are: {present}")]
    Missing {
        /// The name asked for.
        name: String,
        /// The names there are.
        present: Names,
    },
    /// The grant is there but unusable, or of another kind.
    #[error("grant `{name}`: {error}")]
    Unusable {
        /// Its name.
        name: String,
        /// What the kernel said.
        error: Error,
    },
}

impl GrantError {
    /// There is nothing of that name among these.
    pub(crate) fn missing(name: &str, present: impl Iterator<Item = String>) -> GrantError {
        GrantError::Missing { name: name.into(), present: Names(present.collect()) }
    }
}

/// Names, shown with commas.
#[derive(Debug)]
pub struct Names(Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

impl Env {
    /// Decodes the start block; without one (the supervisor), an empty environment.
    pub(crate) fn decode(block: &[u8]) -> Option<Env> {
        if block.is_empty() {
            let (name, args, grants) = (String::from("init"), Vec::new(), Vec::new());
            let start = Start { name, args, restarts: 0, grants, channels: None };
            return Some(Env { start, system: Some(System::of_supervisor()) });
        }
        let start: Start = postcard::from_bytes(block).ok()?;
        if start.channels.is_some() {
            reserve_bell();
        }
        Some(Env { start, system: None })
    }

    /// The right to rule the machine, which the supervisor has: the process that no process started.
    #[must_use]
    pub fn system(&self) -> Option<System> {
        self.system
    }

    /// The application's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// Its words, from the manifest.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.start.args
    }

    /// How often it was started before.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.start.restarts
    }

    /// Takes the device granted as `name`.
    ///
    /// # Errors
    /// Missing, or not a device.
    pub fn device(&mut self, name: &str) -> Result<Device, GrantError> {
        let device = Device::from_handle(self.take(name)?);
        match device.info() {
            Ok(_) => Ok(device),
            Err(error) => Err(GrantError::Unusable { name: name.into(), error }),
        }
    }

    /// Takes the core granted as `name` (`core0`, `core1` …).
    ///
    /// # Errors
    /// Missing.
    pub fn core(&mut self, name: &str) -> Result<Core, GrantError> {
        self.take(name).map(Core::from_handle)
    }

    /// Takes the memory granted as `name`.
    ///
    /// # Errors
    /// Missing, or not memory.
    pub fn memory(&mut self, name: &str) -> Result<Memory, GrantError> {
        let handle = self.take(name)?;
        // SAFETY: a query.
        unsafe { call(MEMORY_INFO, [handle.0, 0, 0, 0, 0, 0]) }
            .map(|_| Memory::from_handle(handle))
            .map_err(|error| GrantError::Unusable { name: name.into(), error })
    }

    /// Takes the counters shown to the supervisor (grant `stats`), for the program's life.
    ///
    /// # Errors
    /// Missing, or unusable.
    pub fn stats(&mut self) -> Result<&'static Stats, GrantError> {
        let unusable = |error| GrantError::Unusable { name: "stats".into(), error };
        let mapping = self.memory("stats")?.map(Access::ReadWrite).map_err(unusable)?;
        if mapping.bytes() < size_of::<Stats>() as u64 {
            return Err(unusable(Error::BadArgument));
        }
        // SAFETY: mapped for ever from here on, large enough, page-aligned; all fields are atomics.
        Ok(unsafe { &*(mapping.leak() as *const Stats) })
    }

    /// Takes what is granted of channels, all of it.
    ///
    /// # Errors
    /// There are none, or this was asked before.
    pub(crate) fn take_channels(&mut self) -> Result<Channels, GrantError> {
        self.start.channels.take().ok_or_else(|| GrantError::missing("channel", core::iter::empty()))
    }

    /// Takes the files that the manifest names (grant `files`), for the program's life: a bundle
    /// ([`weir_abi::bundle`]).
    ///
    /// # Errors
    /// Missing, or unusable.
    pub fn files(&mut self) -> Result<&'static [u8], GrantError> {
        let unusable = |error| GrantError::Unusable { name: "files".into(), error };
        let mapping = self.memory("files")?.map(Access::Read).map_err(unusable)?;
        let bytes = to_usize(mapping.bytes());
        // SAFETY: mapped for ever from here on; nobody writes to it: the supervisor, which made this program's code, too,
        // took away its own writable mapping before it started this program.
        Ok(unsafe { core::slice::from_raw_parts(mapping.leak() as *const u8, bytes) })
    }

    /// Takes a grant out of the list.
    fn take(&mut self, name: &str) -> Result<Handle, GrantError> {
        let grants = &mut self.start.grants;
        match grants.iter().position(|grant| grant.name == name) {
            Some(at) => Ok(grants.swap_remove(at).handle),
            None => {
                let present = Names(grants.iter().map(|grant| grant.name.clone()).collect());
                Err(GrantError::Missing { name: name.into(), present })
            }
        }
    }
}

/// Counters of an application, as its supervisor sees them.
#[derive(Debug)]
pub struct StatsView(Mapping);

impl StatsView {
    /// Maps `memory`, which must hold a [`Stats`], read-only.
    ///
    /// # Errors
    /// As [`Memory::map`]; `BadArgument` where it is too small.
    pub fn map(memory: &Memory) -> Result<StatsView, Error> {
        let mapping = memory.map(Access::Read)?;
        if mapping.bytes() < size_of::<Stats>() as u64 {
            Err(Error::BadArgument)
        } else {
            Ok(StatsView(mapping))
        }
    }
}

impl core::ops::Deref for StatsView {
    type Target = Stats;
    fn deref(&self) -> &Stats {
        // SAFETY: mapped while `self` lives, large enough, page-aligned; all fields are atomics.
        unsafe { &*(self.0.address() as *const Stats) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_abi::start::Grant;

    fn env(grants: &[(&str, u64)]) -> Env {
        let grants =
            grants.iter().map(|(name, h)| Grant { name: (*name).into(), handle: Handle(*h) }).collect();
        let (name, args) = ("echo".into(), alloc::vec!["10.0.0.2".into()]);
        let start = Start { name, args, restarts: 3, grants, channels: None };
        Env::decode(&postcard::to_allocvec(&start).unwrap()).unwrap()
    }

    #[test]
    fn decodes_what_the_supervisor_encodes() {
        let env = env(&[]);
        assert_eq!((env.name(), env.args()[0].as_str(), env.restarts()), ("echo", "10.0.0.2", 3));
        assert!(env.system().is_none());
        let supervisor = Env::decode(&[]).unwrap();
        assert!(supervisor.args().is_empty() && supervisor.system().is_some());
        assert!(Env::decode(&[0xff; 20]).is_none());
    }

    #[test]
    fn a_grant_is_taken_once_and_its_absence_is_explained() {
        let mut env = env(&[("nic", 7), ("stats", 8)]);
        assert_eq!(env.take("nic").unwrap(), Handle(7));
        let again = alloc::format!("{}", env.take("nic").unwrap_err());
        assert_eq!(again, "no grant named `nic`; there are: stats");
        env.take("stats").unwrap();
        assert_eq!(alloc::format!("{}", env.take("x").unwrap_err()), "no grant named `x`; there are: none");
    }
}
