//! The physical function's end of the mailboxes: gives virtual functions what they ask for, if they may have it.
//!
//! **Invariant: a virtual function gets what is its own and nothing of another's**: its address is the one its physical
//! function's owner chose, or one that nobody has, where that is allowed. What a virtual function writes is hostile: each
//! word is read once, and what makes no sense is refused. It can keep nobody busy: [`Mailboxes::serve`] answers each at most
//! once.

use weir_gigabit::{Error, Registers};
use weir_hal::Mmio;

use crate::message::{HASHES, Head, WORDS, address_words, kind, station};
use crate::pools::{self, MOST};
use crate::regs::{MBVFICR, MailboxCauses, P2VMAILBOX, PfMailbox, VFLRE, VMBMEM, VMBMEM_BYTES};

/// Longest frame of a virtual function, checksum and tag included: what its pool's buffers take.
const FRAME_LIMIT: core::ops::RangeInclusive<u32> = 64..=9728;

/// What the owner of a physical function has for each virtual one.
#[derive(Debug)]
pub struct Mailboxes {
    own: [u8; 6],
    may_choose: bool,
    tenants: [Tenant; MOST as usize],
}

/// A virtual function, as seen from here.
#[derive(Clone, Copy, Debug, Default)]
struct Tenant {
    mac: [u8; 6],
    /// It was reset, and asked for its address.
    is_ready: bool,
    hashes: [u16; HASHES],
    groups: usize,
}

impl Tenant {
    fn groups(&self) -> &[u16] {
        self.hashes.get(..self.groups).unwrap_or(&[])
    }
}

/// What happened in a call of [`Mailboxes::serve`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Virtual functions that were reset, a bit each.
    pub resets: u8,
    /// Requests that were granted.
    pub granted: u32,
    /// Requests that were refused.
    pub refused: u32,
}

impl Mailboxes {
    /// For a physical function whose address is `own`: each virtual one gets an address made from it. `may_choose`: it may
    /// have another one that nobody here has.
    #[must_use]
    pub fn new(own: [u8; 6], may_choose: bool) -> Mailboxes {
        let [_, _, c, d, e, f] = own;
        let mut number = 0;
        let tenants = [(); MOST as usize].map(|()| {
            number += 1;
            // Locally administered: differs from every address that a maker gave.
            Tenant { mac: [0x02, number, c, d, e, f], ..Tenant::default() }
        });
        Mailboxes { own, may_choose, tenants }
    }

    /// The address of virtual function `number`.
    #[must_use]
    pub fn mac(&self, number: usize) -> Option<[u8; 6]> {
        self.tenants.get(number).map(|tenant| tenant.mac)
    }

    /// Gives virtual function `number` another address; it hears of it when it is reset next.
    pub fn set_mac(&mut self, number: usize, mac: [u8; 6]) {
        if let Some(tenant) = self.tenants.get_mut(number) {
            tenant.mac = mac;
        }
    }

    /// Does what virtual functions ask for now. `regs`: of the physical function, which was started to be shared.
    ///
    /// # Errors
    /// `Gone`.
    pub fn serve<M: Mmio>(&mut self, regs: &Registers<M>) -> Result<Served, Error> {
        let mut served = Served::default();
        let [resets, ..] = regs.read::<u32>(VFLRE)?.to_le_bytes();
        regs.write(VFLRE, u32::from(resets))?;
        served.resets = resets;
        for number in bits(resets) {
            self.forget(regs, number)?;
        }
        let causes: MailboxCauses = regs.read(MBVFICR)?;
        regs.write(MBVFICR, causes)?;
        for number in bits(causes.requests()) {
            let is_granted = self.answer(regs, number)?;
            served.granted += u32::from(is_granted);
            served.refused += u32::from(!is_granted);
        }
        Ok(served)
    }

    /// A virtual function was reset: it has nothing until it asks.
    fn forget<M: Mmio>(&mut self, regs: &Registers<M>, number: u16) -> Result<(), Error> {
        pools::close(regs, number)?;
        if let Some(tenant) = self.tenants.get_mut(usize::from(number)) {
            *tenant = Tenant { mac: tenant.mac, ..Tenant::default() };
        }
        self.set_groups(regs)
    }

    /// Answers a virtual function's request; says whether it was granted.
    fn answer<M: Mmio>(&mut self, regs: &Registers<M>, number: u16) -> Result<bool, Error> {
        let memory = VMBMEM + VMBMEM_BYTES * u64::from(number);
        let head = regs.read::<u32>(memory)?;
        let mut words = [0; WORDS - 1];
        for (offset, word) in (memory + 4..).step_by(4).zip(&mut words) {
            *word = regs.read(offset)?;
        }
        let end = P2VMAILBOX + 4 * u64::from(number);
        regs.write(end, PfMailbox::new().with_acknowledges(true))?;
        let head = Head::from_bits(head);
        let is_granted = self.obey(regs, number, head, &words)?;
        let is_reset = head.kind() == kind::RESET;
        let answer = Head::new().with_kind(head.kind()).with_is_ready(!is_reset);
        let answer = answer.with_is_granted(is_granted).with_is_refused(!is_granted);
        regs.write(end, PfMailbox::new().with_is_ours(true))?;
        if !regs.read::<PfMailbox>(end)?.is_ours() {
            // It keeps the memory, against the protocol: it gets no answer.
            return Ok(false);
        }
        let mac = self.mac(number.into()).unwrap_or_default();
        let [low, high] = address_words(mac);
        for (offset, word) in (memory..).step_by(4).zip([answer.into_bits(), low, high]) {
            regs.write(offset, word)?;
        }
        regs.write(end, PfMailbox::new().with_sends(true))?;
        Ok(is_granted)
    }

    fn obey<M: Mmio>(
        &mut self,
        regs: &Registers<M>,
        number: u16,
        head: Head,
        words: &[u32; WORDS - 1],
    ) -> Result<bool, Error> {
        let Some(tenant) = self.tenants.get(usize::from(number)).copied() else { return Ok(false) };
        match head.kind() {
            kind::RESET => self.admit(regs, number, tenant.mac).map(|()| true),
            _ if !tenant.is_ready => Ok(false),
            kind::SET_MAC => self.change_mac(regs, number, [words[0], words[1]]),
            kind::SET_MULTICAST => self.change_groups(regs, number, head.info().into(), words),
            kind::SET_VLAN => change_vlan(regs, number, head.info() != 0, words[0]),
            kind::SET_FRAME_LIMIT if FRAME_LIMIT.contains(&words[0]) => {
                let limit = u16::try_from(words[0]).unwrap_or(u16::MAX);
                pools::open(regs, number, Some(limit)).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Gives a virtual function that was reset its address, and lets it send and receive.
    fn admit<M: Mmio>(&mut self, regs: &Registers<M>, number: u16, mac: [u8; 6]) -> Result<(), Error> {
        // The reset that it tells of: not to be seen as another one afterwards.
        regs.write(VFLRE, 1u32 << number)?;
        self.forget(regs, number)?;
        pools::set_address(regs, number, mac)?;
        if let Some(tenant) = self.tenants.get_mut(usize::from(number)) {
            tenant.is_ready = true;
        }
        pools::open(regs, number, None)
    }

    fn change_mac<M: Mmio>(
        &mut self,
        regs: &Registers<M>,
        number: u16,
        words: [u32; 2],
    ) -> Result<bool, Error> {
        let Some(mac) = station(words) else { return Ok(false) };
        let index = usize::from(number);
        let is_its_own = self.mac(index) == Some(mac);
        let is_taken = mac == self.own || self.tenants.iter().any(|tenant| tenant.mac == mac);
        if !is_its_own && (is_taken || !self.may_choose) {
            return Ok(false);
        }
        self.set_mac(index, mac);
        pools::set_address(regs, number, mac).map(|()| true)
    }

    fn change_groups<M: Mmio>(
        &mut self,
        regs: &Registers<M>,
        number: u16,
        count: usize,
        words: &[u32; WORDS - 1],
    ) -> Result<bool, Error> {
        let Some(tenant) = self.tenants.get_mut(usize::from(number)).filter(|_| count <= HASHES) else {
            return Ok(false);
        };
        let halves = words.iter().flat_map(|word| {
            let [a, b, c, d] = word.to_le_bytes();
            [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
        });
        for (hash, half) in tenant.hashes.iter_mut().zip(halves) {
            *hash = half & 0xfff;
        }
        tenant.groups = count;
        self.set_groups(regs).map(|()| true)
    }

    fn set_groups<M: Mmio>(&self, regs: &Registers<M>) -> Result<(), Error> {
        pools::set_groups(regs, self.tenants.iter().flat_map(Tenant::groups).copied())
    }
}

fn change_vlan<M: Mmio>(regs: &Registers<M>, number: u16, is_added: bool, id: u32) -> Result<bool, Error> {
    // 0 means "no VLAN", 4095 is reserved (IEEE 802.1Q-2018 Table 9-2).
    match u16::try_from(id) {
        Ok(id @ 1..=4094) if is_added => pools::join_vlan(regs, number, id),
        Ok(id @ 1..=4094) => pools::leave_vlan(regs, number, id).map(|()| true),
        _ => Ok(false),
    }
}

/// The numbers of the bits that are set and mean a virtual function.
fn bits(set: u8) -> impl Iterator<Item = u16> {
    (0..MOST).filter(move |number| set & 1 << number != 0)
}
