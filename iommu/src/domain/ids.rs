//! Domain ids: the tags under which units cache a domain's translations.
//!
//! **Invariant: an id is handed out again only after its domain was destroyed**, and a domain is destroyed only when
//! every unit has confirmed that it forgot the id (the last step of each detach).

use crate::address::DomainId;
use crate::error::{Error, Result};
use crate::id_set::IdSet;

/// Ids kept track of; a unit may have up to 65536, a machine never has as many owners.
const TRACKED: usize = 4096;

/// The ids of one machine; one set for all its units.
pub struct DomainIds {
    taken: IdSet<{ TRACKED / 64 }>,
}

impl DomainIds {
    /// All ids free but 0, which units with caching mode keep for themselves
    /// (VT-d 5.10 §6.2.2.1 "Context-Entry Programming Considerations").
    #[must_use]
    pub fn new() -> Self {
        let mut taken = IdSet::new();
        taken.take(1);
        DomainIds { taken }
    }

    /// Takes the lowest free id below 2^`bits`.
    pub(crate) fn take(&mut self, bits: u8) -> Result<DomainId> {
        self.taken.take(1 << bits).map(DomainId).ok_or(Error::OutOfDomainIds)
    }

    pub(crate) fn put_back(&mut self, id: DomainId) {
        self.taken.put_back(id.0);
    }
}

impl Default for DomainIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_run_out_and_come_back() {
        let mut ids = DomainIds::new();
        for expected in 1..16 {
            assert_eq!(ids.take(4), Ok(DomainId(expected)));
        }
        assert_eq!(ids.take(4), Err(Error::OutOfDomainIds));
        ids.put_back(DomainId(7));
        assert_eq!(ids.take(4), Ok(DomainId(7)));
        assert_eq!(ids.take(16), Ok(DomainId(16)), "a wider unit set still has ids");
    }

    #[test]
    fn ids_run_out_at_the_tracked_limit() {
        let mut ids = DomainIds::new();
        assert_eq!((1..TRACKED).filter(|_| ids.take(16).is_ok()).count(), TRACKED - 1);
        assert_eq!(ids.take(16), Err(Error::OutOfDomainIds));
    }
}
