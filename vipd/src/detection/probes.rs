//! When a master sends probes for its own VIPs, and for which: a few each time, all of them in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{time::Instant, vrrp::InstanceId};

/// VIPs probed at once.
const AT_ONCE: usize = 4;
/// Every VIP is probed within so many periods: with more than 240 VIPs there are several turns a period.
const ROUND: usize = 60;

/// The turns of all masters.
#[derive(Debug, Default)]
pub struct Probes {
    due: BTreeSet<(Instant, InstanceId)>,
    turns: BTreeMap<InstanceId, Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Instant,
    /// The VIP that comes next.
    next: usize,
}

impl Probes {
    /// An instance sends probes from now on, first at `at`. No effect if it already does.
    pub fn begin(&mut self, instance: InstanceId, at: Instant) {
        if !self.turns.contains_key(&instance) {
            self.set(instance, Turn { at, next: 0 });
        }
    }

    /// An instance sends no more probes.
    pub fn end(&mut self, instance: InstanceId) {
        if let Some(turn) = self.turns.remove(&instance) {
            self.due.remove(&(turn.at, instance));
        }
    }

    /// Moves the next turn of an instance forward to `at`, for this VIP, unless it is sooner.
    pub fn hasten(&mut self, instance: InstanceId, vip: usize, at: Instant) {
        if let Some(turn) = self.turns.get(&instance).filter(|turn| at < turn.at) {
            self.due.remove(&(turn.at, instance));
            self.set(instance, Turn { at, next: vip });
        }
    }

    fn set(&mut self, instance: InstanceId, turn: Turn) {
        self.turns.insert(instance, turn);
        self.due.insert((turn.at, instance));
    }

    /// When [`Self::due`] is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An instance whose turn it is; it has to be given to [`Self::take`] or [`Self::end`].
    pub fn due(&self, now: Instant) -> Option<InstanceId> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, instance)| *instance)
    }

    /// The VIPs, of `count`, to probe now. `chance` moves the next turn by a quarter of its wait at most, so that masters which
    /// began together do not probe together.
    pub fn take(
        &mut self,
        instance: InstanceId,
        count: usize,
        period: Duration,
        chance: u8,
        now: Instant,
    ) -> Vec<usize> {
        let Some(turn) = self.turns.get(&instance).copied() else { return Vec::new() };
        self.due.remove(&(turn.at, instance));
        let asked = (0..count.min(AT_ONCE)).map(|n| (turn.next + n) % count).collect();
        let next = (turn.next + AT_ONCE) % count.max(1);
        let wait = wait(count, period) * (768 + 2 * u32::from(chance)) / 1024;
        self.set(instance, Turn { at: now + wait.max(Duration::from_millis(1)), next });
        asked
    }
}

/// From one turn to the next.
fn wait(count: usize, period: Duration) -> Duration {
    let turns = count.div_ceil(AT_ONCE);
    if turns <= ROUND {
        return period;
    }
    period * u32::try_from(ROUND).unwrap_or(u32::MAX) / u32::try_from(turns).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstanceId = InstanceId(1);
    const TWO: InstanceId = InstanceId(2);
    const PERIOD: Duration = Duration::from_secs(30);
    const MIDDLE: u8 = 128;

    fn at(s: u64) -> Instant {
        Instant::from_nanos(s * 1_000_000_000)
    }

    /// The VIPs asked for in the first `turns` turns, and how long those took.
    fn turns(count: usize, turns: usize) -> (Vec<usize>, Duration) {
        let mut probes = Probes::default();
        probes.begin(ONE, at(1));
        let mut asked = Vec::new();
        for _ in 0..turns {
            let now = probes.poll_timeout().unwrap();
            assert_eq!(probes.due(now), Some(ONE));
            asked.extend(probes.take(ONE, count, PERIOD, MIDDLE, now));
            assert_eq!(probes.due(now), None, "time goes on");
        }
        (asked, probes.poll_timeout().unwrap().saturating_since(at(1)))
    }

    #[test]
    fn all_vips_have_their_turn() {
        assert_eq!(turns(0, 3), (vec![], PERIOD * 3));
        assert_eq!(turns(1, 2), (vec![0, 0], PERIOD * 2));
        assert_eq!(turns(3, 2).0, [0, 1, 2, 1, 2, 0]);
        assert_eq!(turns(6, 3).0, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]);
    }

    /// Half an hour by default, however many there are, and no burst.
    #[test]
    fn a_round_over_many_vips_takes_no_longer() {
        let (mut asked, took) = turns(10_000, 2_500);
        assert!(took <= PERIOD * 60 && took > PERIOD * 59, "{took:?}");
        asked.sort_unstable();
        assert!(asked.into_iter().eq(0..10_000));
    }

    #[test]
    fn chance_moves_a_turn_by_a_quarter() {
        for (chance, least, most) in [(0, 22, 23), (MIDDLE, 29, 30), (255, 37, 38)] {
            let mut probes = Probes::default();
            probes.begin(ONE, at(0));
            probes.take(ONE, 1, PERIOD, chance, at(0));
            let next = probes.poll_timeout().unwrap();
            assert!(next >= at(least) && next <= at(most), "{chance}: {next}");
        }
    }

    #[test]
    fn a_claim_is_asked_for_soon() {
        let mut probes = Probes::default();
        probes.hasten(ONE, 3, at(5));
        assert_eq!(probes.poll_timeout(), None, "it does not ask");
        probes.begin(ONE, at(10));
        probes.begin(TWO, at(20));
        probes.hasten(TWO, 3, at(5));
        probes.hasten(ONE, 3, at(15));
        assert_eq!(probes.due(at(7)), Some(TWO));
        assert_eq!(probes.take(TWO, 5, PERIOD, MIDDLE, at(7)), [3, 4, 0, 1]);
        assert_eq!(probes.due(at(12)), Some(ONE));
        assert_eq!(probes.take(ONE, 5, PERIOD, MIDDLE, at(12)), [0, 1, 2, 3]);
        probes.begin(ONE, at(13));
        assert_eq!(probes.due(at(30)), None, "it goes on as it was");
        probes.end(ONE);
        probes.end(TWO);
        assert_eq!(probes.poll_timeout(), None);
    }
}
