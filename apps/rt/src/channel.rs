//! Channels to other applications: what the supervisor granted, mapped and kept up to date.
//!
//! **Invariant: a pool is mapped once, and the program's data moves only in a generation that all its users have
//! joined** ([`weir_channel::group`]). Looking whether there is a new one is a load.
//!
//! ```text
//! let mut channels = env.channels()?;
//! let mut share = channels.join("frames", Reach::Devices)?;
//! loop {
//!     if share.look() { share.ends[0].end.receive(&mut share.pool, …) } else { give everything back to the pool }
//! }
//! ```

pub mod nic;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use weir_abi::call::{MAP_DMA, MAP_READ, MAP_WRITE};
use weir_abi::channel::{BUFFER_BYTES, MAX_ENDS, News, USERS_BYTES, pool_bytes, rings_bytes};
use weir_abi::start::ChannelEnd;
use weir_abi::{Error, Handle};
use weir_channel::cells::SharedWords;
use weir_channel::group::News as GroupNews;
use weir_channel::{Bell, End, Group, Mapped, Neighbour, PeerCorrupt, Standing};
use weir_hal::{DmaMemory, Iova};
use weir_pool::{Burst, Pool};

use crate::bell::Doorbell;
use crate::call::to_usize;
use crate::clock::now_ns;
use crate::env::{Env, GrantError};
use crate::event::{Event, RemoteEvent};
use crate::log;
use crate::memory::{Access, Mapping, Memory};

/// Who of this program is to reach a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its threads.
    Threads,
    /// Its devices, too.
    Devices,
}

/// The channels of this application.
pub struct Channels {
    bell: Arc<Doorbell>,
    news: &'static News,
    /// Those not taken yet, with their numbers.
    ends: Vec<(usize, ChannelEnd)>,
}

impl Env {
    /// Takes the channels.
    ///
    /// # Errors
    /// The manifest grants none, or they were taken before.
    pub fn channels(&mut self) -> Result<Channels, GrantError> {
        let granted = self.take_channels()?;
        let news = Memory::from_handle(granted.news);
        let mapping =
            news.map(Access::Read).map_err(|error| GrantError::Unusable { name: "channel".into(), error })?;
        Ok(Channels {
            bell: Arc::new(Doorbell::new(Event::bell(granted.bell))),
            // SAFETY: the supervisor made it for this, one page; mapped for ever from here on; all fields are atomics.
            news: unsafe { &*(mapping.leak() as *const News) },
            ends: granted.ends.into_iter().enumerate().take(MAX_ENDS).collect(),
        })
    }
}

/// One end, connected to its neighbour while that is there.
pub struct Link {
    /// The channel's name.
    pub name: String,
    /// The end.
    pub end: End<Mapped, Rope>,
    /// The MAC address of the application at the far end, where the near one is a switch.
    pub mac: Option<[u8; 6]>,
    number: usize,
    /// Violations of the neighbours so far.
    violations: u64,
}

impl Link {
    /// As [`End::send`]; a violation is told once, and then nothing is sent until the next generation.
    #[inline]
    pub fn send<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> usize {
        let sent = self.end.send(pool, burst);
        sent.unwrap_or_else(|violation| self.tell(violation))
    }

    /// As [`End::receive`]; a violation is told once, and then nothing comes until the next generation.
    #[inline]
    pub fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> usize {
        let received = self.end.receive(pool, burst);
        received.unwrap_or_else(|violation| self.tell(violation))
    }

    /// As [`End::give_back`], with the same about violations.
    #[inline]
    pub fn give_back(&mut self, pool: &mut Pool, keep: usize) -> usize {
        let given = self.end.give_back(pool, keep);
        given.unwrap_or_else(|violation| self.tell(violation))
    }

    /// Says that this side is about to sleep, and looks once more: whether it may. A closed channel keeps nobody awake.
    pub fn may_sleep(&mut self) -> bool {
        let may = self.end.may_sleep();
        may.unwrap_or_else(|violation| self.tell(violation) == 0)
    }

    /// How often a neighbour broke the protocol.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.violations
    }

    #[cold]
    fn tell(&mut self, violation: PeerCorrupt) -> usize {
        if self.end.take_news() {
            self.violations += 1;
            log!(
                "channel {}: {violation}; closed until an application on its pool is started again",
                self.name
            );
        }
        0
    }

    /// Whether the neighbour lived when the present generation began.
    #[must_use]
    pub fn has_neighbour(&mut self) -> bool {
        self.end.bell_mut().0.is_some()
    }
}

/// What rings the neighbour's bell.
#[derive(Debug, Default)]
pub struct Rope(Option<(u64, RemoteEvent)>);

impl Rope {
    /// Takes the handle that the news name; the one before is closed.
    fn tie(&mut self, handle: u64) {
        if self.0.as_ref().map_or(0, |(tied, _)| *tied) != handle {
            self.0 = (handle != 0).then(|| (handle, RemoteEvent::from_handle(Handle(handle))));
        }
    }
}

impl Bell for Rope {
    fn ring(&self) {
        if let Some((_, event)) = &self.0 {
            // It may have ended: then the supervisor tells.
            let _ = event.signal();
        }
    }
}

/// Time between two looks whether the others have announced.
const WAITING_NS: u64 = 1_000_000;

/// A pool that this application shares, with all its channels on that pool.
pub struct Share {
    /// The buffers. Those that do not come from here are others'.
    pub pool: Pool,
    /// The channels, in the manifest's order.
    pub ends: Vec<Link>,
    member: Member,
}

/// This application's place among the users of a pool.
struct Member {
    group: Group,
    news: &'static News,
    number: usize,
    /// Whose all buffers are that others do not have.
    is_home: bool,
}

impl Channels {
    /// What rings for all of them.
    #[must_use]
    pub fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// The names of the channels not taken yet, of each pool the first.
    #[must_use]
    pub fn pools(&self) -> Vec<String> {
        let is_first = |at: usize, end: &ChannelEnd| {
            self.ends[..at].iter().all(|(_, earlier)| earlier.pool_number != end.pool_number)
        };
        let firsts = self.ends.iter().enumerate().filter(|(at, (_, end))| is_first(*at, end));
        firsts.map(|(_, (_, end))| end.name.clone()).collect()
    }

    /// Takes the channel `name`, with its pool and the other channels on that.
    ///
    /// # Errors
    /// There is none, or it was taken; the kernel's.
    pub fn join(&mut self, name: &str, reach: Reach) -> Result<Share, GrantError> {
        let Some(first) = self.ends.iter().find(|(_, end)| end.name == name).map(|(_, end)| end.clone())
        else {
            return Err(GrantError::missing(name, self.ends.iter().map(|(_, end)| end.name.clone())));
        };
        let on_pool = |(_, end): &mut (usize, ChannelEnd)| end.pool_number == first.pool_number;
        let ends: Vec<_> = self.ends.extract_if(.., on_pool).collect();
        let unusable = |error| GrantError::Unusable { name: name.into(), error };
        Share::map(&first, ends, self.news, reach).map_err(unusable)
    }
}

impl Share {
    fn map(
        first: &ChannelEnd,
        ends: Vec<(usize, ChannelEnd)>,
        news: &'static News,
        reach: Reach,
    ) -> Result<Share, Error> {
        let memory = Memory::from_handle(first.pool);
        let buffers_bytes = pool_bytes(first.buffers) - USERS_BYTES;
        let flags = MAP_READ | MAP_WRITE | if reach == Reach::Devices { MAP_DMA } else { 0 };
        let mut buffers = owned(memory.map_range(0, buffers_bytes, 0, flags)?, reach)?;
        let mut users =
            owned(memory.map_range(buffers_bytes, USERS_BYTES, 0, MAP_READ | MAP_WRITE)?, Reach::Threads)?;
        let (user, count) = (first.user as usize, first.users as usize);
        let words = SharedWords::take_from(&mut users, count).map_err(|_| Error::BadArgument)?;
        let buffers = buffers.split_to(to_usize(u64::from(first.buffers) * BUFFER_BYTES));
        let pool = buffers.and_then(Pool::new).map_err(|_| Error::BadArgument)?.shared();
        let ends = ends.into_iter().zip(1..).map(|((number, end), neighbour)| link(number, end, neighbour));
        let ends = ends.collect::<Result<Vec<_>, Error>>()?;
        let group = Group::new(words, user, count);
        let number = first.pool_number as usize;
        let mut share = Share { pool, ends, member: Member { group, news, number, is_home: user == 0 } };
        share.member.let_go(&share.ends, &mut share.pool);
        Ok(share)
    }

    /// Whether data may move now. If not, give every buffer that is not on its way to a device back to the pool, take back
    /// what devices have, and look again.
    #[inline]
    pub fn look(&mut self) -> bool {
        self.member.look(&mut self.ends, &mut self.pool)
    }

    /// The generation that this application joined last; 0: none yet.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> u64 {
        self.member.group.joined()
    }

    /// Sleeps until a neighbour or a device rings, or `deadline_ns`; `wait` is what sleeps then. Does not, where there is
    /// something to do.
    pub fn sleep<R>(&mut self, bell: &Doorbell, deadline_ns: u64, wait: impl FnOnce(u64) -> R) -> Option<R> {
        bell.listen();
        if !self.look() {
            // The others' announcements ring no bell.
            return Some(wait(deadline_ns.min(now_ns().saturating_add(WAITING_NS))));
        }
        let may = self.ends.iter_mut().all(Link::may_sleep);
        let result = may.then(|| wait(deadline_ns));
        self.ends.iter_mut().for_each(|link| link.end.stay_awake());
        result
    }
}

impl Member {
    fn generation(&self) -> u64 {
        self.news.pools[self.number].generation.load(Ordering::Acquire)
    }

    /// Whether the present generation is joined.
    #[inline]
    fn is_current(&self) -> bool {
        let generation = self.generation();
        generation == self.group.joined() && generation != 0
    }

    /// Whether a new generation has begun, and this application is still in the one before.
    fn is_leaving(&self) -> bool {
        self.group.is_leaving(self.generation())
    }

    /// As [`Share::look`].
    #[inline]
    fn look(&mut self, ends: &mut [Link], pool: &mut Pool) -> bool {
        self.is_current() || self.step(ends, pool)
    }

    #[cold]
    fn step(&mut self, ends: &mut [Link], pool: &mut Pool) -> bool {
        let generation = self.generation();
        let there = self.news.pools[self.number].there.load(Ordering::Relaxed);
        match self.group.standing(GroupNews { generation, there }) {
            Standing::Joined => true,
            Standing::Waiting => false,
            Standing::Leaving => {
                if self.let_go(ends, pool) {
                    ends.iter_mut().for_each(|link| link.end.reset(generation));
                    self.group.announce(generation);
                }
                false
            }
            Standing::Joining => {
                if self.is_home {
                    pool.reclaim();
                }
                for Link { end, number, .. } in ends {
                    end.bell_mut().tie(self.news.bells[*number].load(Ordering::Relaxed));
                }
                true
            }
        }
    }

    /// Lets go of every buffer, which at home is none; whether that is all.
    fn let_go(&self, ends: &[Link], pool: &mut Pool) -> bool {
        if !self.is_home {
            // The first channel on a pool is the one by which the application came to it: it leads home.
            pool.surrender(ends.first().map_or(Neighbour::MIN, |link| link.end.neighbour()));
        }
        self.is_home || pool.lent() == pool.buffers()
    }
}

fn link(number: usize, end: ChannelEnd, neighbour: u8) -> Result<Link, Error> {
    let memory = Memory::from_handle(end.rings);
    if memory.bytes()? < rings_bytes(end.entries) {
        return Err(Error::BadArgument);
    }
    let mut memory = owned(memory.map(Access::ReadWrite)?, Reach::Threads)?;
    let mut ring = || Mapped::take_from(&mut memory, end.entries).map_err(|_| Error::BadArgument);
    let (to_far, to_near) = (ring()?, ring()?);
    let (out, back) = if end.is_near { (to_far, to_near) } else { (to_near, to_far) };
    let neighbour = Neighbour::new(neighbour).ok_or(Error::BadArgument)?;
    let ChannelEnd { name, mac, .. } = end;
    Ok(Link { name, mac, end: End::new(out, back, neighbour, Rope::default()), number, violations: 0 })
}

/// A mapping as memory to be given out.
fn owned(mapping: Mapping, reach: Reach) -> Result<DmaMemory, Error> {
    let iova = match reach {
        Reach::Devices => mapping.io_address()?,
        Reach::Threads => mapping.address(),
    };
    let base = NonNull::new(mapping.address() as *mut u8).ok_or(Error::BadAddress)?;
    let bytes = to_usize(mapping.bytes());
    // SAFETY: zeroed when made, and mapped until `mapping`, the keeper, is dropped; the keeper gives no access, and the
    // handle, granted once, is closed when this returns, so this value is the program's only way to it. What other owners
    // do there is what pools and rings expect of the other side.
    Ok(unsafe { DmaMemory::new(base, Iova(iova), bytes, Arc::new(mapping)) })
}

/// What the supervisor tells an application.
#[derive(Debug)]
pub struct NewsPage(Mapping);

impl NewsPage {
    /// Maps `memory`, of at least a page, to be written.
    ///
    /// # Errors
    /// As [`Memory::map`]; `BadArgument` where it is too small.
    pub fn map(memory: &Memory) -> Result<NewsPage, Error> {
        let mapping = memory.map(Access::ReadWrite)?;
        if mapping.bytes() < size_of::<News>() as u64 {
            Err(Error::BadArgument)
        } else {
            Ok(NewsPage(mapping))
        }
    }
}

impl core::ops::Deref for NewsPage {
    type Target = News;
    fn deref(&self) -> &News {
        // SAFETY: mapped while `self` lives, large enough, page-aligned; all fields are atomics.
        unsafe { &*(self.0.address() as *const News) }
    }
}
