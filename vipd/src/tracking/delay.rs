//! `interface_up_down_delays`: links that count as up or down only after a while.

use std::collections::HashMap;

use tokio::time::Instant;
use vipd_config::LinkDelay;

use crate::host::{LinkChange, LinkState};

/// Delays changes of links. A change that is undone within its delay is never reported.
#[derive(Debug, Default)]
pub struct LinkDelays {
    delays: Vec<LinkDelay>,
    links: HashMap<u32, Known>,
}

#[derive(Debug)]
struct Known {
    /// The reported state.
    up: bool,
    /// The delayed state, and when to report it.
    held: Option<(Instant, LinkState)>,
}

impl LinkDelays {
    pub fn new(delays: Vec<LinkDelay>) -> Self {
        Self { delays, links: HashMap::new() }
    }

    /// Uses other delays from now on; delayed changes keep their times.
    pub fn reload(&mut self, delays: Vec<LinkDelay>) {
        self.delays = delays;
    }

    /// A link is known to be up, or not.
    pub fn known(&mut self, ifindex: u32, up: bool) {
        self.links.entry(ifindex).or_insert(Known { up, held: None });
    }

    /// The reported state of a link, or the given one if it is new.
    pub fn settled(&self, link: LinkState) -> LinkState {
        let delayed = self.delays.iter().any(|delay| delay.interface == link.name);
        let known = self.links.get(&link.ifindex).filter(|_| delayed);
        LinkState { up: known.map_or(link.up, |known| known.up), ..link }
    }

    /// The part of a change to report now. The first state of a link is not delayed.
    pub fn pass(&mut self, change: LinkChange, now: Instant) -> LinkChange {
        let link = match change {
            LinkChange::State(link) => link,
            LinkChange::Gone { ifindex } => {
                self.links.remove(&ifindex);
                return change;
            }
        };
        let Some(delay) = self.delays.iter().find(|delay| delay.interface == link.name) else {
            self.links.remove(&link.ifindex);
            return LinkChange::State(link);
        };
        let known = self.links.entry(link.ifindex).or_insert(Known { up: link.up, held: None });
        let delay = if link.up { delay.up } else { delay.down };
        if link.up == known.up || delay.is_zero() {
            (known.up, known.held) = (link.up, None);
            return LinkChange::State(link);
        }
        let at = known.held.as_ref().map_or(now + delay, |(at, _)| *at);
        known.held = Some((at, link.clone()));
        LinkChange::State(LinkState { up: known.up, ..link })
    }

    /// When [`Self::take_due`] is next wanted.
    pub fn next(&self) -> Option<Instant> {
        self.links.values().filter_map(|known| known.held.as_ref().map(|(at, _)| *at)).min()
    }

    /// A change whose delay is over.
    pub fn take_due(&mut self, now: Instant) -> Option<LinkChange> {
        let is_due = |known: &&mut Known| known.held.as_ref().is_some_and(|(at, _)| *at <= now);
        let known = self.links.values_mut().find(is_due)?;
        let (_, link) = known.held.take()?;
        known.up = link.up;
        Some(LinkChange::State(link))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn link(up: bool, mtu: u32) -> LinkChange {
        LinkChange::State(LinkState { ifindex: 3, mtu, up, enabled: true, ..LinkState::absent("eth0") })
    }

    #[test]
    fn what_flaps_has_not_changed() {
        let ms = Duration::from_millis;
        let delay = |down, up| LinkDelay { interface: "eth0".into(), down: ms(down), up: ms(up) };
        let mut delays = LinkDelays::new(vec![delay(500, 100)]);
        let t = Instant::now();
        assert_eq!(delays.pass(link(true, 1), t), link(true, 1), "the first");
        assert_eq!(delays.pass(link(false, 2), t), link(true, 2), "held back, but for the rest of it");
        assert_eq!(delays.next(), Some(t + ms(500)));
        assert_eq!(delays.pass(link(false, 3), t + ms(400)), link(true, 3), "as long as from the first");
        assert_eq!(delays.next(), Some(t + ms(500)));
        assert_eq!(delays.pass(link(true, 4), t + ms(499)), link(true, 4));
        assert_eq!((delays.next(), delays.take_due(t + ms(900))), (None, None));

        delays.pass(link(false, 5), t + ms(1000));
        assert_eq!(delays.take_due(t + ms(1499)), None);
        assert_eq!(delays.take_due(t + ms(1500)), Some(link(false, 5)));
        assert_eq!(delays.pass(link(false, 6), t + ms(1600)), link(false, 6));
        assert_eq!(delays.pass(link(true, 7), t + ms(1700)), link(false, 7));
        assert_eq!(delays.next(), Some(t + ms(1800)));

        // One that nobody has spoken of yet: it is known how it was.
        let mut fresh = LinkDelays::new(vec![delay(500, 100)]);
        fresh.known(3, true);
        assert_eq!(fresh.pass(link(false, 1), t), link(true, 1));
        let LinkChange::State(state) = link(false, 2) else { unreachable!() };
        assert!(fresh.settled(state).up, "to who looks by himself too");

        delays.reload(vec![delay(0, 0)]);
        assert_eq!(delays.pass(link(true, 8), t + ms(1750)), link(true, 8), "no delay any more");
        assert_eq!(delays.next(), None);
        assert_eq!(delays.pass(LinkChange::Gone { ifindex: 3 }, t), LinkChange::Gone { ifindex: 3 });
        assert_eq!(delays.pass(link(false, 9), t), link(false, 9), "another link of that index");
    }
}
