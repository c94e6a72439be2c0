//! Plays in which every driver library meets a device that does what bytes say: a fuzzer's, or random ones.
//!
//! **Invariant: the bytes decide what the program does next and what the device answers: each register read, each byte
//! of configuration space, each thing written into a ring, and writes of the device's own to any memory it reaches; and
//! whatever they are, the play ends, nothing panics, no buffer is with the program twice, and a device that is honest
//! again is started again, works, and gives every buffer back.** What a driver allocated is freed in the end.
//!
//! Bytes that are used up mean an honest device, so short inputs are deep ones, too. Not here: lies that only one driver
//! can be told, with their names; those are in each driver's `tests/`.
//!
//! Reading order: this file · [`net`] · [`block`] · [`mailbox`], [`vhost_user`], [`rogues`].
#![forbid(unsafe_code)]

pub mod block;
pub mod mailbox;
pub mod net;
pub mod rogues;
pub mod vhost_user;

use std::ops::AddAssign;

use weir_sim::{Random, Script, SimWindow, script::FIRST_LIE};

/// What was counted in plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of a driver that the device could answer: set-up, a burst, a wait, a completion, a mailbox exchange.
    pub calls: u64,
    /// Of these, how many found a violation, by its name.
    pub violations: u64,
    /// Of these, how many failed otherwise: refused to open, to start, to be commanded.
    pub failures: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.calls += more.calls;
        self.violations += more.violations;
        self.failures += more.failures;
    }
}

impl Tally {
    /// Counts a call.
    fn count<T, E>(&mut self, result: &Result<T, E>, is_violation: impl Fn(&E) -> bool) {
        self.calls += 1;
        if let Err(error) = result {
            let is_violation = is_violation(error);
            self.violations += u64::from(is_violation);
            self.failures += u64::from(!is_violation);
        }
    }
}

/// A driver against what bytes say.
pub type Play = fn(&[u8]) -> Tally;

/// Every play, by the name of its fuzz target.
pub const PLAYS: [(&str, Play); 12] = [
    ("virtio_net_split", net::play::<net::Split>),
    ("virtio_net_packed", net::play::<net::Packed>),
    ("virtio_blk", block::play::<block::VirtioBlk>),
    ("e1000e", net::play::<net::E1000e>),
    ("igb", net::play::<net::Igb>),
    ("igb_vf", net::play::<net::IgbVf>),
    ("igb_mailbox", mailbox::play),
    ("nvme", block::play::<block::Nvme>),
    ("vhost_user", vhost_user::play),
    ("edu", rogues::edu),
    ("iommu_testdev", rogues::testdev),
    ("capabilities", net::capabilities),
];

/// Bytes for a play: some lies among much truth, how many depends on the seed.
#[must_use]
pub fn random_bytes(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // Neighbouring seeds differ in few bits, and so do the first numbers made of them.
    for _ in 0..4 {
        random.bits();
    }
    let length = 32 + random.bits() % 992;
    let once_in = 1 << (random.bits() % 9);
    let mut byte = || {
        let [byte, other, ..] = random.bits().to_be_bytes();
        if byte >= FIRST_LIE && !random.once_in(once_in) { other % FIRST_LIE } else { byte }
    };
    (0..length).map(|_| byte()).collect()
}

/// The device writes some bytes somewhere.
fn scribble(script: &Script, window: &SimWindow) {
    let [region, length] = script.bytes();
    let offset = usize::from(script.number());
    // Rings start where allocations do: half of the writes are near.
    let offset = if length & 0x80 == 0 { offset & 0xff } else { offset };
    let bytes: [u8; 16] = script.bytes();
    let (bytes, _) = bytes.split_at(1 + usize::from(length & 15));
    window.scribble(region.into(), offset, bytes);
}
