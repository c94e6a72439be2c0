//! Dividing the device: a pool of queues, an address and filters for each virtual function (82576 §7.10.3 "Packet Switching
//! (VMDq) Model").
//!
//! **Invariant: what goes to an address is received by the pool that has it, and by no other; a pool sends only from its
//! own address.** A pool is two queues, of which drivers here use the first. The last pool is the physical function's own,
//! so that there are [`MOST`] others.

use weir_gigabit::regs::{CTRL_EXT, MRQC, MTA, RAH, RCTL, Rctl};
use weir_gigabit::{Error, Registers};
use weir_hal::Mmio;

use crate::regs::{
    DTXSWC, FILTERS_VLAN, MRQC_POOLS, PF_RESET_DONE, PoolAddress, PoolSet, PoolVlan, RPLOLR, SwitchControl,
    VFRE, VFTA, VFTE, VLVF, VLVFS, VMOLR, VT_CTL, VtControl,
};

/// The pool, and queue, of the physical function.
pub(crate) const OWN: u16 = 7;
/// Virtual functions that a device is shared with, at most.
pub const MOST: u16 = 7;

/// Divides a device that was just reset: the physical function receives what is for it, up to `frame_limit` bytes where
/// frames may be longer than usual, and virtual functions nothing.
pub(crate) fn divide<M: Mmio>(regs: &Registers<M>, frame_limit: Option<u16>) -> Result<(), Error> {
    let own = regs.read::<PoolAddress>(RAH)?.with_pools(1 << OWN);
    regs.write(RAH, own)?;
    regs.write(MRQC, MRQC_POOLS)?;
    regs.write(VT_CTL, VtControl::new().with_has_no_default(true).with_replicates(true))?;
    for pool in 0..=OWN {
        regs.write(VMOLR + 4 * u64::from(pool), PoolSet::new())?;
    }
    regs.write(RPLOLR, PoolSet::new().with_strips_crc(true))?;
    // What one pool sends to another's address the device hands over itself.
    let checked = (1 << MOST) - 1;
    let switch = SwitchControl::new().with_checks_address(checked).with_checks_vlan(checked);
    regs.write(DTXSWC, switch.with_hands_over(true))?;
    (0..VLVFS).try_for_each(|number| regs.write(VLVF + 4 * number, PoolVlan::new()))?;
    (0..VFTA_REGISTERS).try_for_each(|number| regs.write(VFTA + 4 * number, 0u32))?;
    regs.write(VFRE, 0u32)?;
    regs.write(VFTE, 0u32)?;
    open(regs, OWN, frame_limit)?;
    regs.write(CTRL_EXT, regs.read::<u32>(CTRL_EXT)? | PF_RESET_DONE)
}

/// VLAN filter table: a bit each.
const VFTA_REGISTERS: u64 = 128;

/// Lets a pool send and receive; what is untagged, broadcast, or to groups asked for. `frame_limit` where frames may be
/// longer than usual.
pub(crate) fn open<M: Mmio>(regs: &Registers<M>, pool: u16, frame_limit: Option<u16>) -> Result<(), Error> {
    let set = PoolSet::new().with_untagged(true).with_broadcast(true).with_groups(true).with_strips_crc(true);
    let set = set.with_is_long(frame_limit.is_some()).with_frame_limit(frame_limit.unwrap_or(0));
    regs.write(VMOLR + 4 * u64::from(pool), set)?;
    for register in [VFRE, VFTE] {
        regs.write(register, regs.read::<u32>(register)? | 1 << pool)?;
    }
    Ok(())
}

/// Stops a pool, and takes its address and VLANs.
pub(crate) fn close<M: Mmio>(regs: &Registers<M>, pool: u16) -> Result<(), Error> {
    for register in [VFRE, VFTE] {
        regs.write(register, regs.read::<u32>(register)? & !(1 << pool))?;
    }
    regs.write(RAH + 8 * (1 + u64::from(pool)), PoolAddress::new())?;
    for number in 0..VLVFS {
        let vlan: PoolVlan = regs.read(VLVF + 4 * number)?;
        if vlan.is_valid() && vlan.pools() & 1 << pool != 0 {
            leave(regs, number, vlan, pool)?;
        }
    }
    Ok(())
}

/// Gives a virtual function's pool its address. Address 0 is the physical function's.
pub(crate) fn set_address<M: Mmio>(regs: &Registers<M>, pool: u16, mac: [u8; 6]) -> Result<(), Error> {
    let [a, b, c, d, e, f] = mac;
    let high = RAH + 8 * (1 + u64::from(pool));
    regs.write(high - 4, u32::from_le_bytes([a, b, c, d]))?;
    let address = PoolAddress::new().with_bytes(u16::from_le_bytes([e, f])).with_pools(1 << pool);
    regs.write(high, address.with_is_valid(true))
}

/// Makes the multicast table pass `hashes` and nothing else.
pub(crate) fn set_groups<M: Mmio>(
    regs: &Registers<M>,
    hashes: impl Iterator<Item = u16> + Clone,
) -> Result<(), Error> {
    for number in 0..128 {
        let of_register = hashes.clone().filter(|hash| hash >> 5 == number);
        let bits = of_register.fold(0u32, |bits, hash| bits | 1 << (hash & 31));
        regs.write(MTA + 4 * u64::from(number), bits)?;
    }
    Ok(())
}

/// Lets a pool receive frames of a VLAN. `false` where the device has no room for another.
pub(crate) fn join_vlan<M: Mmio>(regs: &Registers<M>, pool: u16, id: u16) -> Result<bool, Error> {
    let mut free = None;
    for number in 0..VLVFS {
        let vlan: PoolVlan = regs.read(VLVF + 4 * number)?;
        if vlan.is_valid() && vlan.id() == id {
            free = Some((number, vlan));
            break;
        }
        if !vlan.is_valid() && free.is_none() {
            free = Some((number, PoolVlan::new().with_id(id).with_is_valid(true)));
        }
    }
    let Some((number, vlan)) = free else { return Ok(false) };
    regs.write(VLVF + 4 * number, vlan.with_pools(vlan.pools() | 1 << pool))?;
    let filter = VFTA + 4 * u64::from(id >> 5);
    regs.write(filter, regs.read::<u32>(filter)? | 1 << (id & 31))?;
    // From the first VLAN on, tagged frames of others pass to nobody.
    let rctl = regs.read::<Rctl>(RCTL)?.into_bits() | FILTERS_VLAN;
    regs.write(RCTL, rctl)?;
    Ok(true)
}

/// Lets a pool no longer receive frames of a VLAN.
pub(crate) fn leave_vlan<M: Mmio>(regs: &Registers<M>, pool: u16, id: u16) -> Result<(), Error> {
    for number in 0..VLVFS {
        let vlan: PoolVlan = regs.read(VLVF + 4 * number)?;
        if vlan.is_valid() && vlan.id() == id {
            leave(regs, number, vlan, pool)?;
        }
    }
    Ok(())
}

fn leave<M: Mmio>(regs: &Registers<M>, number: u64, vlan: PoolVlan, pool: u16) -> Result<(), Error> {
    let left = vlan.with_pools(vlan.pools() & !(1 << pool));
    if left.pools() != 0 {
        return regs.write(VLVF + 4 * number, left);
    }
    regs.write(VLVF + 4 * number, PoolVlan::new())?;
    let filter = VFTA + 4 * u64::from(vlan.id() >> 5);
    regs.write(filter, regs.read::<u32>(filter)? & !(1 << (vlan.id() & 31)))
}
