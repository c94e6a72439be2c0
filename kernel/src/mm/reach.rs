//! What a process and its devices reach, read back from the tables: for those who check that owners are apart.
//!
//! **Invariant: where, how and whether is what the tables say; the book only names what it should be.**

use weir_abi::info::ReachInfo;
use weir_abi::layout::KERNEL_PAGE;

use super::paging::Leaf;
use super::space::{Mapping, Space};

/// Most leaves joined to one run: a call looks at no more.
const JOINED: usize = 512;

impl Space {
    /// The run that threads reach at `address`, else the first one above.
    pub(crate) fn reach(&self, address: u64) -> Option<ReachInfo> {
        join(address, |at| {
            let leaf = self.tables.next_leaf(at)?;
            let Leaf { address, to, bytes, write, execute } = leaf;
            let flag = |is_set, flag| if is_set { flag } else { 0 };
            let flags = flag(write, ReachInfo::WRITE) | flag(execute, ReachInfo::EXECUTE);
            Some(self.named(ReachInfo { address, phys: to.0, bytes, flags, ..ReachInfo::default() }))
        })
    }

    /// The run that devices reach at `address`, else the first one above.
    pub(crate) fn device_reach(&self, address: u64) -> Option<ReachInfo> {
        let domain = self.domain.as_ref()?;
        join(address, |at| {
            let leaf = domain.next_leaf(at)?;
            let flags = if leaf.permissions.allows_write() { ReachInfo::WRITE } else { 0 };
            let (address, phys, bytes) = (leaf.iova.0, leaf.phys.0, leaf.bytes);
            Some(self.named(ReachInfo { address, phys, bytes, flags, ..ReachInfo::default() }))
        })
    }

    /// Says what the book has where the tables lead.
    fn named(&self, reach: ReachInfo) -> ReachInfo {
        let plain = |flag| ReachInfo { flags: reach.flags | flag, ..reach };
        match self.regions.find_containing(reach.address).map(|region| region.value()) {
            Some(Mapping::Memory { memory, .. }) => ReachInfo { memory: memory.number, ..reach },
            Some(Mapping::Registers { device }) => {
                ReachInfo { device: *device, ..plain(ReachInfo::REGISTERS) }
            }
            Some(Mapping::Poison) => plain(ReachInfo::POISON),
            None if reach.address >= KERNEL_PAGE => plain(ReachInfo::KERNEL_PAGE),
            None => reach,
        }
    }
}

/// The first leaf that `next` gives from `address` on, with those that continue it.
fn join(address: u64, next: impl Fn(u64) -> Option<ReachInfo>) -> Option<ReachInfo> {
    let mut run = next(address)?;
    for _ in 1..JOINED {
        let Some(leaf) = next(run.address + run.bytes) else { break };
        let what = |reach: &ReachInfo| (reach.memory, reach.flags, reach.device);
        let continues = (leaf.address, leaf.phys) == (run.address + run.bytes, run.phys + run.bytes);
        if !continues || what(&leaf) != what(&run) {
            break;
        }
        run.bytes += leaf.bytes;
    }
    Some(run)
}
