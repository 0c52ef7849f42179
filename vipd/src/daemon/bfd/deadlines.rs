//! When something is due for which session: a turn of the loop looks at those alone.

use std::collections::{BTreeSet, HashMap};

use crate::time::Instant;

/// One deadline for each slot that has one.
#[derive(Debug, Default)]
pub struct Deadlines {
    order: BTreeSet<(Instant, u32)>,
    of_slot: HashMap<u32, Instant>,
}

impl Deadlines {
    /// Something is due for a slot at that time, and at no other one.
    pub fn set(&mut self, slot: u32, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.of_slot.insert(slot, at),
            None => self.of_slot.remove(&slot),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, slot));
        }
        self.order.extend(at.map(|at| (at, slot)));
    }

    /// The first one.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The slots that something is due for by `now`.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = u32> {
        self.order.iter().take_while(move |(at, _)| *at <= now).map(|(_, slot)| *slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_deadline() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        deadlines.set(7, Some(at(30)));
        deadlines.set(3, Some(at(20)));
        deadlines.set(7, Some(at(10)));
        deadlines.set(7, Some(at(10)));
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.due(at(9)).count(), 0);
        assert_eq!(deadlines.due(at(10)).collect::<Vec<_>>(), [7]);
        assert_eq!(deadlines.due(at(30)).collect::<Vec<_>>(), [7, 3]);
        deadlines.set(7, None);
        deadlines.set(5, None);
        assert_eq!(deadlines.due(at(30)).collect::<Vec<_>>(), [3]);
    }
}
