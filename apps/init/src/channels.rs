//! Channels between applications: the memory that they share, granted at each start, and who is there.
//!
//! **Invariant: a pool's generation counts up with every life of a user that ends or begins, and every living user is
//! told, with a handle to the bell of each neighbour that lives.** Pools and rings last as long as the system; what an
//! application left in them is seen only by those whom the manifest names with it.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use weir_abi::channel::{News, pool_bytes, rings_bytes};
use weir_abi::manifest::{self, Manifest};
use weir_abi::page::IommuMode;
use weir_abi::start::{ChannelEnd, Channels as Granted};
use weir_abi::{Error, Rights};
use weir_rt::channel::NewsPage;
use weir_rt::event::{Event, RemoteEvent};
use weir_rt::{Memory, Process, kernel_page, log};

use crate::app::App;

/// A life's side of its channels.
pub(crate) struct Ends {
    /// Its bell.
    bell: RemoteEvent,
    /// What it reads.
    news: NewsPage,
}

/// All of them.
pub(crate) struct Channels {
    pools: Vec<Pool>,
    channels: Vec<Channel>,
}

struct Pool {
    manifest: manifest::Pool,
    memory: Memory,
    generation: u64,
    /// The process of each user, when looked at last.
    lives: Vec<Option<u32>>,
}

struct Channel {
    manifest: manifest::Channel,
    rings: Memory,
    /// Of each end: its process, its neighbour's, and the handle that the one has to the other's bell.
    tied: [Option<(u32, u32, u64)>; 2],
}

/// An end of an application: the channel, which of its ends, the pool's number among the application's.
struct Place {
    channel: usize,
    end: usize,
    pool_number: usize,
}

impl Channels {
    /// Makes what the manifest names.
    pub(crate) fn create(manifest: &Manifest) -> Result<Channels, Error> {
        let pools = manifest.pools.iter().cloned().map(|manifest| {
            let memory = pool_memory(pool_bytes(manifest.buffers))?;
            let lives = manifest.users.iter().map(|_| None).collect();
            Ok(Pool { manifest, memory, generation: 0, lives })
        });
        let channels = manifest.channels.iter().cloned().map(|manifest| {
            let rings = Memory::create(rings_bytes(manifest.entries))?;
            Ok(Channel { manifest, rings, tied: [None; 2] })
        });
        Ok(Channels {
            pools: pools.collect::<Result<_, Error>>()?,
            channels: channels.collect::<Result<_, Error>>()?,
        })
    }

    /// The ends of application `app`, in the manifest's order.
    fn places(&self, app: usize) -> Vec<Place> {
        let mut pools = Vec::new();
        let mut places = Vec::new();
        for (channel, of) in self.channels.iter().enumerate() {
            let Some(end) = of.manifest.ends.iter().position(|end| *end as usize == app) else { continue };
            let number = pools.iter().position(|pool| *pool == of.manifest.pool).unwrap_or(pools.len());
            if number == pools.len() {
                pools.push(of.manifest.pool);
            }
            places.push(Place { channel, end, pool_number: number });
        }
        places
    }

    /// Grants a new process of application `app` its ends; `None` where it has none.
    pub(crate) fn grant(&self, app: usize, process: &Process) -> Result<Option<(Granted, Ends)>, Error> {
        let places = self.places(app);
        if places.is_empty() {
            return Ok(None);
        }
        let both = Rights::READ.union(Rights::WRITE);
        let (bell, page) = (Event::create_bell(process)?, Memory::create(size_of::<News>() as u64)?);
        let ends =
            places.iter().map(|place| self.end(app, place, process)).collect::<Result<Vec<_>, Error>>()?;
        let granted =
            Granted { bell: process.give(&bell, both)?, news: process.give(&page, Rights::READ)?, ends };
        Ok(Some((granted, Ends { bell, news: NewsPage::map(&page)? })))
    }

    fn end(&self, app: usize, place: &Place, process: &Process) -> Result<ChannelEnd, Error> {
        let both = Rights::READ.union(Rights::WRITE);
        let channel = &self.channels[place.channel];
        let pool = &self.pools[channel.manifest.pool as usize];
        let user = pool.manifest.users.iter().position(|user| *user as usize == app);
        Ok(ChannelEnd {
            name: channel.manifest.name.clone(),
            rings: process.give(&channel.rings, both)?,
            entries: channel.manifest.entries,
            is_near: place.end == 0,
            pool: process.give(&pool.memory, both)?,
            pool_number: number(place.pool_number),
            buffers: pool.manifest.buffers,
            // The host's check: who has an end uses the pool.
            user: user.map(number).ok_or(Error::BadArgument)?,
            users: number(pool.manifest.users.len()),
        })
    }

    /// Begins new generations where lives ended or began.
    pub(crate) fn look(&mut self, apps: &[App]) {
        for index in 0..self.pools.len() {
            let pool = &mut self.pools[index];
            let lives = pool.manifest.users.iter().map(|user| process_of(apps, *user)).collect();
            if pool.lives == lives {
                continue;
            }
            pool.lives = lives;
            pool.generation += 1;
            self.tie_bells(index, apps);
            self.tell(index, apps);
        }
    }

    /// Gives the neighbours on a pool handles to each other's bells.
    fn tie_bells(&mut self, pool: usize, apps: &[App]) {
        for channel in self.channels.iter_mut().filter(|channel| channel.manifest.pool as usize == pool) {
            for end in 0..2 {
                let [own, other] = [end, 1 - end].map(|end| channel.manifest.ends[end]);
                let lives = process_of(apps, own).zip(process_of(apps, other));
                let known = channel.tied[end].filter(|(own, other, _)| lives == Some((*own, *other)));
                channel.tied[end] = known.or_else(|| {
                    let (own_id, other_id) = lives?;
                    let handle = hand_bell(apps, own, other)?;
                    Some((own_id, other_id, handle))
                });
            }
        }
    }

    /// Tells the living users of a pool.
    fn tell(&self, index: usize, apps: &[App]) {
        let pool = &self.pools[index];
        let there = pool.lives.iter().enumerate().filter(|(_, life)| life.is_some());
        let there = there.fold(0, |bits, (user, _)| bits | 1u64 << user);
        for user in &pool.manifest.users {
            let Some(ends) = ends_of(apps, *user) else { continue };
            let places = self.places(*user as usize);
            for (bell, place) in ends.news.bells.iter().zip(&places) {
                let tied = self.channels[place.channel].tied[place.end];
                bell.store(tied.map_or(0, |(_, _, handle)| handle), Ordering::Relaxed);
            }
            let is_it = |place: &&Place| self.channels[place.channel].manifest.pool as usize == index;
            let Some(place) = places.iter().find(is_it) else { continue };
            let news = &ends.news.pools[place.pool_number];
            news.there.store(there, Ordering::Relaxed);
            news.generation.store(pool.generation, Ordering::Release);
            // It ended meanwhile: the next look finds that.
            let _ = ends.bell.signal();
        }
    }
}

/// Memory of a pool. Where nothing confines devices they use physical addresses, and it must be one run.
fn pool_memory(bytes: u64) -> Result<Memory, Error> {
    if IommuMode::from_number(kernel_page().iommu_mode) == IommuMode::Off {
        Memory::create_contiguous(bytes.next_power_of_two())
    } else {
        Memory::create(bytes)
    }
}

fn number(number: usize) -> u32 {
    // Numbers of a manifest, which has them in 32 bits.
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn process_of(apps: &[App], app: u32) -> Option<u32> {
    apps.get(app as usize)?.life().map(|life| life.id)
}

fn ends_of(apps: &[App], app: u32) -> Option<&Ends> {
    apps.get(app as usize)?.life()?.ends.as_ref()
}

/// Gives `to` a handle to the bell of `of`; both live.
fn hand_bell(apps: &[App], to: u32, of: u32) -> Option<u64> {
    let process = &apps.get(to as usize)?.life()?.process;
    match process.give(&ends_of(apps, of)?.bell, Rights::WRITE) {
        Ok(handle) => Some(handle.0),
        Err(error) => {
            log!("{} cannot ring {}: {error}", apps[to as usize].name(), apps[of as usize].name());
            None
        }
    }
}
