//! A process's open handles.
//!
//! **Invariant: a handle names the object it was made for or nothing; once closed, the same number never names
//! anything again.** An index is reused with the next generation, and no longer once its generations are used up.
//!
//! Does not know what a right permits or what an object is; does not lock.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use weir_abi::{Error, Handle, Rights};

/// Handles to objects of type `T`.
pub struct HandleTable<T> {
    entries: Vec<Entry<T>>,
    /// First of the closed entries that can be reused.
    reusable: Option<u32>,
    open: u32,
    limit: u32,
}

struct Entry<T> {
    generation: u32,
    slot: Slot<T>,
}

enum Slot<T> {
    Open { object: T, rights: Rights },
    Closed { next_reusable: Option<u32> },
}

impl<T> HandleTable<T> {
    /// Makes an empty table in which at most `limit` handles can be open at once. Allocates nothing.
    #[must_use]
    pub const fn new(limit: u32) -> HandleTable<T> {
        HandleTable { entries: Vec::new(), reusable: None, open: 0, limit }
    }

    /// Opens a handle. In a new table the first has index 0, the next 1, and so on, all of generation 1.
    ///
    /// # Errors
    ///
    /// [`Error::Quota`] at the limit, [`Error::NoMemory`] where the table cannot grow; `object` is then dropped.
    pub fn insert(&mut self, object: T, rights: Rights) -> Result<Handle, Error> {
        if self.open >= self.limit {
            return Err(Error::Quota);
        }
        let index = self.take_index()?;
        let entry = &mut self.entries[index as usize];
        entry.slot = Slot::Open { object, rights };
        self.open += 1;
        Ok(Handle::new(index, entry.generation))
    }

    /// The object and rights a handle stands for.
    ///
    /// # Errors
    ///
    /// [`Error::BadHandle`] where it is not open.
    pub fn get(&self, handle: Handle) -> Result<(&T, Rights), Error> {
        match self.entries.get(handle.index() as usize) {
            Some(Entry { generation, slot: Slot::Open { object, rights } })
                if *generation == handle.generation() =>
            {
                Ok((object, *rights))
            }
            _ => Err(Error::BadHandle),
        }
    }

    /// Closes a handle.
    ///
    /// # Errors
    ///
    /// [`Error::BadHandle`] where it is not open.
    pub fn remove(&mut self, handle: Handle) -> Result<(T, Rights), Error> {
        self.get(handle)?;
        self.close(handle.index()).ok_or(Error::BadHandle)
    }

    /// The open handles in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T, Rights)> {
        (0u32..).zip(&self.entries).filter_map(|(index, entry)| match &entry.slot {
            Slot::Open { object, rights } => Some((Handle::new(index, entry.generation), object, *rights)),
            Slot::Closed { .. } => None,
        })
    }

    /// Closes all handles, one per step of the iterator: those not reached stay open.
    pub fn drain(&mut self) -> impl Iterator<Item = (T, Rights)> {
        let mut index = 0;
        core::iter::from_fn(move || {
            while (index as usize) < self.entries.len() {
                index += 1;
                if let Some(closed) = self.close(index - 1) {
                    return Some(closed);
                }
            }
            None
        })
    }

    /// How many handles are open.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.open
    }

    /// Whether no handle is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The index of a closed entry that nothing else will reuse.
    fn take_index(&mut self) -> Result<u32, Error> {
        if let Some(index) = self.reusable
            && let Slot::Closed { next_reusable } = self.entries[index as usize].slot
        {
            self.reusable = next_reusable;
            return Ok(index);
        }
        let index = u32::try_from(self.entries.len()).map_err(|_| Error::NoMemory)?;
        self.entries.try_reserve(1).map_err(|_| Error::NoMemory)?;
        self.entries.push(Entry { generation: 1, slot: Slot::Closed { next_reusable: None } });
        Ok(index)
    }

    /// Closes an entry if it is open. One whose generations are used up is not offered for reuse.
    fn close(&mut self, index: u32) -> Option<(T, Rights)> {
        let entry = &mut self.entries[index as usize];
        let Slot::Open { .. } = entry.slot else { return None };
        let mut closed = Slot::Closed { next_reusable: None };
        if let Some(generation) = entry.generation.checked_add(1) {
            entry.generation = generation;
            closed = Slot::Closed { next_reusable: self.reusable.replace(index) };
        }
        self.open -= 1;
        match core::mem::replace(&mut entry.slot, closed) {
            Slot::Open { object, rights } => Some((object, rights)),
            Slot::Closed { .. } => None,
        }
    }
}
