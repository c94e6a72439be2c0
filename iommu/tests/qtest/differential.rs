//! QEMU's units against the books, over changes at random: who has which device, and which frames are mapped where.
//!
//! **Invariant: each access of a device reaches the frame the books say, or none, and leaves the records QEMU leaves of
//! such a refusal** (`Wall::records`; on the strict models it is always one). What was taken away is tried again at once,
//! by the device that had used it and by the others. The same seed plays the same game; a failure says which it was.
//!
//! The game of `tests/attacks` on the strict models is the harder one: this one shows that units which we did not write
//! give the same answers. Interrupts are not played: QEMU lets forged messages pass.

mod books;
mod game;
mod walls;

use super::board::{Board, Edu};
use super::{amdvi, cases};
use books::Refusal;
use game::play;
use std::ops::RangeInclusive;
use std::path::Path;
use weir_iommu::address::{Iova, PhysAddr, RequesterId};
use weir_iommu::domain::Permissions;
use weir_iommu::vtd::Fault;
use weir_iommu::{Mode, Result};

/// Changes in every run of the tests.
pub(crate) const FEW: u64 = 200;
/// Changes where somebody asks for it.
pub(crate) const MANY: u64 = 10_000;

/// A machine's unit, and the devices behind it.
trait Wall {
    /// What an owner's devices reach.
    type Domain;

    fn new_domain(&mut self) -> Self::Domain;
    fn destroy(&mut self, domain: Self::Domain);
    /// What devices are allowed where this is asked for.
    fn granted(&self, permissions: Permissions) -> Permissions;
    /// Maps, and tells the unit.
    fn map(
        &mut self,
        domain: &mut Self::Domain,
        iova: Iova,
        phys: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<()>;
    /// Unmaps, and tells the unit.
    fn unmap(&mut self, domain: &mut Self::Domain, iova: Iova, bytes: u64) -> Result<()>;
    fn attach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()>;
    fn detach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()>;
    fn edu(&self, slot: u8) -> Edu;
    /// The word in memory at `at`.
    fn read(&self, at: u64) -> u64;
    fn write(&self, at: u64, value: u64);
    /// How many records QEMU's unit leaves of a refusal.
    fn records(refusal: Refusal) -> RangeInclusive<usize>;
    /// Whether a record says what QEMU's unit says of a refusal.
    fn is_record(fault: &Fault, access: &Access, refusal: Refusal) -> bool;
    /// What was recorded since the last call.
    fn faults(&mut self) -> Vec<Fault>;
}

/// What a device does.
#[derive(Debug)]
struct Access {
    device: RequesterId,
    iova: u64,
    is_write: bool,
}

/// Plays `changes` changes in `mode`.
pub(crate) fn agrees(qemu: &Path, mode: Mode, changes: u64) {
    let tally = if mode == Mode::AmdVi {
        let mut machine = amdvi::Machine::start(qemu, "xtsup=on");
        machine.unit.enable_translation().unwrap();
        play(&mut machine, 1, changes)
    } else {
        let mut board = Board::start(qemu, mode, cases::USUAL);
        board.unit.enable_translation(mode).unwrap();
        play(&mut board, 1, changes)
    };
    println!("{mode:?}: {tally:?}");
    assert!(tally.refused > tally.accesses / 4 && tally.refused < tally.accesses * 4 / 5, "{tally:?}");
}
