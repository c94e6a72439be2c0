//! A port: a channel to an application, with what is counted of it.

use core::fmt;

use weir_bridge::Limit;
use weir_net::MacAddress;
use weir_pool::Burst;
use weir_rt::channel::Share;

use crate::switch::BURST;

/// What a port did so far, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// From its application.
    pub(crate) from: u64,
    /// To its application.
    pub(crate) to: u64,
    /// From it, with a source address that is not its own.
    pub(crate) spoofed: u64,
    /// From it, that went nowhere for another reason; or to it, for which it had no room.
    pub(crate) dropped: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { from, to, spoofed, dropped } = self;
        write!(f, "{from} frames from it, {to} to it, {spoofed} spoofed, {dropped} dropped")
    }
}

/// A port.
pub(crate) struct Port {
    pub(crate) share: Share,
    pub(crate) limit: Limit,
    pub(crate) counters: Counters,
    /// What the counters were when they were told last.
    pub(crate) told: Counters,
    /// The generation that was seen last.
    pub(crate) generation: u64,
    /// It may send now, and may be sent to.
    pub(crate) is_moving: bool,
    /// Copies on their way to it.
    out: Burst<BURST>,
}

impl Port {
    pub(crate) fn new(share: Share, limit: Limit) -> Port {
        Port {
            share,
            limit,
            counters: Counters::default(),
            told: Counters::default(),
            generation: 0,
            is_moving: false,
            out: Burst::new(),
        }
    }

    /// The channel's name.
    pub(crate) fn name(&self) -> &str {
        self.share.ends.first().map_or("", |link| &link.name)
    }

    /// The address that its application was given.
    pub(crate) fn mac(&self) -> Option<MacAddress> {
        self.share.ends.first().and_then(|link| link.mac).map(MacAddress)
    }

    /// Looks whether its application is there; `true` where it is another life than before.
    pub(crate) fn look(&mut self) -> bool {
        let Share { ends, .. } = &mut self.share;
        let has_neighbour = ends.first_mut().is_some_and(|link| link.has_neighbour());
        self.is_moving = self.share.look() && has_neighbour;
        let is_new = self.is_moving && self.share.generation() != self.generation;
        if is_new {
            self.generation = self.share.generation();
        }
        is_new
    }

    /// Takes frames that its application sent.
    pub(crate) fn receive(&mut self, burst: &mut Burst<BURST>) -> usize {
        let Share { ends, pool, .. } = &mut self.share;
        ends.first_mut().map_or(0, |link| link.receive(pool, burst))
    }

    /// Has a copy of a frame go to its application, with [`Port::flush`] at the latest. What it has no buffer for is
    /// dropped: who does not read in time loses frames, as on a wire.
    pub(crate) fn deliver(&mut self, frame: &[u8]) {
        if !self.is_moving {
            return;
        }
        if self.out.room() == 0 {
            self.flush();
        }
        let Some(mut buf) = self.share.pool.take() else {
            self.counters.dropped += 1;
            return;
        };
        let fits = u16::try_from(frame.len()).is_ok_and(|len| buf.set_len(len));
        if fits {
            buf.frame_mut().copy_from_slice(frame);
        }
        let refused = if fits { self.out.push(buf).err() } else { Some(buf) };
        if let Some(buf) = refused {
            self.counters.dropped += 1;
            self.share.pool.put(buf);
        }
    }

    /// Sends what was copied, and gives buffers back beyond the half that it keeps.
    pub(crate) fn flush(&mut self) {
        let Share { ends, pool, .. } = &mut self.share;
        if let Some(link) = ends.first_mut().filter(|_| self.is_moving) {
            self.counters.to += link.send(pool, &mut self.out) as u64;
            link.give_back(pool, pool.buffers() / 2);
        }
        while let Some(buf) = self.out.pop() {
            self.counters.dropped += 1;
            pool.put(buf);
        }
    }
}
