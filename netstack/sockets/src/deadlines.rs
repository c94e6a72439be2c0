//! When each connection wants to be looked at next.
//!
//! A binary heap that knows where each member is, so that a deadline is moved in place: nothing is allocated once the
//! tables are as long as there are connections, and nothing stale is left behind.
//!
//! **Invariant: `heap[place[n]]` is `n`'s entry if `place[n]` is not [`NOWHERE`]; no entry is earlier than its parent.**

use alloc::vec::Vec;

use smoltcp::time::Instant;

/// The place of who has no deadline.
const NOWHERE: u32 = u32::MAX;

/// Deadlines of numbered members, the earliest at hand.
#[derive(Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    place: Vec<u32>,
}

impl Deadlines {
    /// The earliest.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.0)
    }

    /// Takes out one whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u32> {
        let &(deadline, number) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.set(number, None);
        Some(number)
    }

    /// Gives member `number` another deadline, or none.
    pub(crate) fn set(&mut self, number: u32, deadline: Option<Instant>) {
        let index = number as usize;
        if index >= self.place.len() {
            self.place.resize(index + 1, NOWHERE);
        }
        let place = self.place[index];
        match (deadline, place) {
            (None, NOWHERE) => {}
            (None, place) => self.remove(place as usize),
            (Some(deadline), NOWHERE) => {
                self.heap.push((deadline, number));
                self.settle(self.heap.len() - 1);
            }
            (Some(deadline), place) => {
                self.heap[place as usize].0 = deadline;
                self.settle(place as usize);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, number) = self.heap.swap_remove(place);
        self.place[number as usize] = NOWHERE;
        if place < self.heap.len() {
            self.settle(place);
        }
    }

    /// Moves the entry at `place` up or down to where it belongs.
    fn settle(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 && entry.0 < self.heap[(place - 1) / 2].0 {
            place = self.move_to(place, (place - 1) / 2);
        }
        loop {
            let children = 2 * place + 1..self.heap.len().min(2 * place + 3);
            let Some(child) = children.min_by_key(|&child| self.heap[child].0) else { break };
            if self.heap[child].0 >= entry.0 {
                break;
            }
            place = self.move_to(place, child);
        }
        self.put(place, entry);
    }

    /// Puts the entry at `from` into `place`; `from` is where the hole is now.
    fn move_to(&mut self, place: usize, from: usize) -> usize {
        self.put(place, self.heap[from]);
        from
    }

    fn put(&mut self, place: usize, entry: (Instant, u32)) {
        self.heap[place] = entry;
        #[expect(clippy::cast_possible_truncation, reason = "there are no more members than a u32 numbers")]
        let there = place as u32;
        self.place[entry.1 as usize] = there;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_earliest_comes_first_whatever_was_moved(changes in prop::collection::vec(
            (0..20u32, prop::option::of(0..50i64)), 0..200), now in 0..60i64) {
            let (mut deadlines, mut model) = (Deadlines::default(), BTreeMap::new());
            for (number, deadline) in changes {
                deadlines.set(number, deadline.map(Instant::from_micros));
                match deadline {
                    Some(deadline) => model.insert(number, deadline),
                    None => model.remove(&number),
                };
                prop_assert_eq!(deadlines.first(), model.values().min().map(|&at| Instant::from_micros(at)));
            }
            let mut due = std::vec::Vec::new();
            while let Some(number) = deadlines.take_due(Instant::from_micros(now)) {
                due.push(number);
            }
            prop_assert!(due.is_sorted_by_key(|number| model[number]));
            due.sort_unstable();
            let expected: std::vec::Vec<u32> =
                model.iter().filter(|entry| *entry.1 <= now).map(|entry| *entry.0).collect();
            prop_assert_eq!(due, expected);
        }
    }
}
