//! Which slots of `BFD_SESSIONS` are free: the one that has been free longest is taken first.
//!
//! A slot that has just been freed rests for a moment. The program may still be at a packet that it found the slot for, and would stamp the
//! next session for it.

use std::{collections::BTreeMap, time::Duration};

use crate::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct BfdSlots {
    /// Free ones, and since when.
    free: BTreeMap<u32, Option<Instant>>,
}

impl BfdSlots {
    /// So many, all free.
    pub fn new(count: u32) -> Self {
        Self { free: (0..count).map(|slot| (slot, None)).collect() }
    }

    /// A certain one is in use.
    pub fn claim(&mut self, slot: u32) {
        self.free.remove(&slot);
    }

    /// Takes a free one.
    pub fn take(&mut self, now: Instant) -> Option<u32> {
        let is_rested = |since: &Option<Instant>| since.is_none_or(|since| since + REST <= now);
        let rested = self.free.iter().filter(|(_, since)| is_rested(since));
        let slot = rested.min_by_key(|(_, since)| **since).map(|(slot, _)| *slot)?;
        self.free.remove(&slot);
        Some(slot)
    }

    /// Gives one back.
    pub fn free(&mut self, slot: u32, now: Instant) {
        self.free.insert(slot, Some(now));
    }

    /// Whether one can be taken when it has rested.
    pub fn has_resting(&self) -> bool {
        !self.free.is_empty()
    }
}

/// The program is done with a packet long before.
pub const REST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_slot_rests_before_it_is_taken_again() {
        let mut slots = BfdSlots::new(3);
        slots.claim(1);
        assert_eq!([slots.take(at(0)), slots.take(at(0)), slots.take(at(0))], [Some(0), Some(2), None]);
        assert!(!slots.has_resting());
        slots.free(2, at(10));
        slots.free(0, at(20));
        assert!(slots.has_resting());
        assert_eq!((slots.take(at(20)), slots.take(at(109))), (None, None));
        // The one that has been free longest.
        assert_eq!((slots.take(at(120)), slots.take(at(120))), (Some(2), Some(0)));
    }

    #[test]
    fn slots_that_were_never_used_come_first() {
        let mut slots = BfdSlots::new(2);
        assert_eq!(slots.take(at(0)), Some(0));
        slots.free(0, at(0));
        assert_eq!((slots.take(at(1_000)), slots.take(at(1_000))), (Some(1), Some(0)));
    }
}
