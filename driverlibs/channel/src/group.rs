//! The users of one pool, beginning anew together.
//!
//! When a user ends, nobody knows which buffers it had passed on. So all begin a new generation: each lets go of every
//! buffer that is not its own, and announces that; when all who are there have, the *home* of
//! the pool takes every buffer back, and data moves again. **Invariant: between its announcement and everybody's, a user
//! touches neither ring nor buffer of others.** A user that lies about this spoils frames, or keeps the group waiting;
//! nobody hangs, since nothing here waits.
//!
//! Who is there, and which generation it is, comes from somebody who is trusted; the announcements are words in memory that
//! all users write.

use core::sync::atomic::Ordering;

use crate::cells::SharedWords;

/// How a user stands to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the present generation: data may move.
    Joined,
    /// There is a new one: let go of everything that is others', then [`Group::announce`].
    Leaving,
    /// Announced; others have not yet.
    Waiting,
    /// All have announced, just now. Where the pool has its home, it takes all buffers back; data may move.
    Joining,
}

/// What is known of a group from who is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The generation, counted from 1; 0: not yet.
    pub generation: u64,
    /// A bit for each user that lives.
    pub there: u64,
}

/// One user's place in its group.
pub struct Group {
    words: SharedWords,
    user: usize,
    users: usize,
    announced: u64,
    joined: u64,
}

impl Group {
    /// User `user` of `users`, who announce in `words`.
    #[must_use]
    pub fn new(words: SharedWords, user: usize, users: usize) -> Group {
        Group { words, user, users, announced: 0, joined: 0 }
    }

    /// The generation that this user is in.
    #[must_use]
    #[inline]
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// Whether `generation` is a new one, and this user has not let go of the one it is in.
    #[must_use]
    pub fn is_leaving(&self, generation: u64) -> bool {
        self.joined != 0 && generation != self.joined && generation != self.announced
    }

    /// How this user stands, given the news.
    pub fn standing(&mut self, news: News) -> Standing {
        if news.generation == self.joined && self.joined != 0 {
            return Standing::Joined;
        }
        if news.generation == 0 {
            return Standing::Waiting;
        }
        if news.generation != self.announced {
            return Standing::Leaving;
        }
        let is_there = |user: &usize| news.there >> user & 1 == 1;
        let has_announced =
            |user| self.words.word(user).is_some_and(|w| w.load(Ordering::Acquire) == news.generation);
        if !(0..self.users).filter(is_there).all(has_announced) {
            return Standing::Waiting;
        }
        self.joined = news.generation;
        Standing::Joining
    }

    /// Tells the others that this user has let go.
    pub fn announce(&mut self, generation: u64) {
        self.announced = generation;
        if let Some(word) = self.words.word(self.user) {
            word.store(generation, Ordering::Release);
        }
    }
}
