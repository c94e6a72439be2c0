//! When frames are due.
//!
//! **Invariant: a time is computed from the start of all, never from the time before it**, so nothing adds up: the hundred
//! millionth frame is as punctual as the first.

/// Times at one rate: tick n, of `burst` frames, is due n × burst / rate seconds after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    start_ns: u64,
    /// Frames in a second, 1 to [`RATE_MAX`].
    rate: u64,
    /// Nanoseconds, times the rate, of a tick.
    step: u64,
}

/// Most frames in a second that can be asked for.
pub const RATE_MAX: u64 = 1_000_000_000;
/// Most frames of a tick.
pub const BURST_MAX: u64 = 32;

impl Pace {
    /// `rate` frames in a second, `burst` at a time.
    #[must_use]
    pub fn new(start_ns: u64, rate: u64, burst: u64) -> Pace {
        let (rate, burst) = (rate.clamp(1, RATE_MAX), burst.clamp(1, BURST_MAX));
        Pace { start_ns, rate, step: burst * 1_000_000_000 }
    }

    /// When a tick is due. Ticks beyond what a clock of 64 bits can say are due at its end.
    #[must_use]
    #[inline]
    pub fn due_ns(&self, tick: u64) -> u64 {
        let after = u128::from(tick) * u128::from(self.step) / u128::from(self.rate);
        u64::try_from(after).map_or(u64::MAX, |after| self.start_ns.saturating_add(after))
    }

    /// How many ticks are due by then, `now_ns` included.
    #[must_use]
    pub fn ticks_by(&self, now_ns: u64) -> u64 {
        let Some(elapsed) = now_ns.checked_sub(self.start_ns) else { return 0 };
        let within = (u128::from(elapsed) + 1) * u128::from(self.rate) - 1;
        u64::try_from(within / u128::from(self.step)).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Who sends at a pace and does not make up for what was missed: a frame that could not go out in its time would only
/// burst into the time of others. What was missed is counted.
#[derive(Clone, Copy, Debug)]
pub struct Ticker {
    /// Where there is none, every look is a tick.
    pace: Option<Pace>,
    tick: u64,
    next_ns: u64,
    missed: u64,
}

impl Ticker {
    /// Ticks at that pace; without one, as often as asked.
    #[must_use]
    pub fn new(pace: Option<Pace>) -> Ticker {
        Ticker { pace, tick: 0, next_ns: pace.map_or(0, |pace| pace.due_ns(0)), missed: 0 }
    }

    /// Takes a tick, if one is due. Those between it and now are missed.
    #[inline]
    pub fn take(&mut self, now_ns: u64) -> bool {
        if now_ns < self.next_ns {
            return false;
        }
        if let Some(pace) = self.pace {
            self.tick += 1;
            self.next_ns = pace.due_ns(self.tick);
            if self.next_ns <= now_ns {
                let due = pace.ticks_by(now_ns);
                self.missed = self.missed.saturating_add(due.saturating_sub(self.tick));
                self.tick = due;
                self.next_ns = pace.due_ns(due);
            }
        }
        true
    }

    /// Ticks in whose time nothing could be sent.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_adds_up() {
        // A third of a microsecond and a bit: no whole number of nanoseconds.
        let pace = Pace::new(5, 3_000_001, 1);
        assert_eq!(pace.due_ns(3_000_001 * 100), 100_000_000_005);
        assert_eq!(Pace::new(0, 7, 7).due_ns(1_000), 1_000_000_000_000);
        assert_eq!(pace.due_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_is_missed_is_counted_and_not_made_up_for() {
        let mut ticker = Ticker::new(Some(Pace::new(1000, 1_000_000, 1)));
        assert!(!ticker.take(999));
        assert!(ticker.take(1000) && !ticker.take(1999) && ticker.take(2000));
        assert_eq!(ticker.missed(), 0);
        // Due at 3000; those of 4000 to 9000 are over, too.
        assert!(ticker.take(9500) && !ticker.take(9999));
        assert_eq!(ticker.missed(), 6);
        assert!(ticker.take(10_000));
        let mut free = Ticker::new(None);
        assert!((0..100).all(|now| free.take(now)) && free.missed() == 0);
    }

    proptest! {
        #[test]
        fn ticks_and_times_agree(
            start in 0_u64..u64::MAX / 2, rate in 1_u64..=RATE_MAX, burst in 1_u64..=BURST_MAX,
            elapsed in 0_u64..100_000_000_000,
        ) {
            let pace = Pace::new(start, rate, burst);
            let ticks = pace.ticks_by(start + elapsed);
            prop_assert!(ticks > 0 && pace.due_ns(ticks - 1) <= start + elapsed);
            prop_assert!(pace.due_ns(ticks) > start + elapsed);
            prop_assert_eq!(Pace::new(start + 1, rate, burst).ticks_by(start), 0);
        }

        #[test]
        fn taken_and_missed_are_all_that_were_due(
            rate in 1_u64..10_000_000, steps in prop::collection::vec(0_u64..5_000_000, 1..200),
        ) {
            let pace = Pace::new(0, rate, 1);
            let (mut ticker, mut now, mut taken) = (Ticker::new(Some(pace)), 0, 0);
            for step in steps {
                now += step;
                while ticker.take(now) {
                    taken += 1;
                }
                prop_assert_eq!(taken + ticker.missed(), pace.ticks_by(now));
            }
        }
    }
}
