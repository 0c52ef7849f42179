//! Who vouches for this node, as an operator sees it: for the status, and an event when nobody has for a detection time.

use std::net::IpAddr;

use vipd_core::early::ProbeTiming;

use super::{HostProbes, LinkKey, ProbedLink, Surroundings, lapse::LapseNews, session::PeerSession};
use crate::{
    control::model::{EarlyArbiterStatus, EarlyBackupStatus, SponsorsStatus},
    dataplane::Pages,
    time::Instant,
};

impl HostProbes {
    /// Takes note of whether somebody vouches for the leases that need it, and tells who does not.
    pub(super) fn note_vouching(&mut self, around: Surroundings<'_>, sponsored: bool, now: Instant) {
        let Some(timing) = self.early_timing() else { return };
        let has_lease = || {
            let mut slots = self.sponsors.leases();
            slots.any(|slot| around.pages.leases().read(slot) > now)
        };
        let lapsed = !sponsored && has_lease();
        match self.lapse.note(lapsed, timing.detect(), now) {
            None => {}
            Some(LapseNews::Began) => {
                let Some(status) = self.sponsors_status(around.pages, now) else { return };
                let unreached = status.arbiters.iter().filter(|arbiter| !arbiter.reached);
                let silent = status.backups.iter().filter(|backup| !backup.vouches);
                tracing::error!(
                    target: "vipd::event",
                    event = "unvouched",
                    arbiters = joined(unreached.map(|arbiter| arbiter.name.clone())),
                    backups = joined(silent.filter_map(|backup| backup.peer).map(|peer| peer.to_string())),
                    "nobody vouches for this node: it answers for no VIP of an instance with `act takeover`"
                );
            }
            Some(LapseNews::Ended(lasted)) => tracing::info!(
                target: "vipd::event",
                event = "vouched_again",
                lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
                "somebody vouches for this node again"
            ),
        }
    }

    /// Who vouches for this node; `None` where nobody has to.
    pub fn sponsors_status(&self, pages: &Pages, now: Instant) -> Option<SponsorsStatus> {
        let timing = self.early_timing()?;
        let links = self.links.iter().filter(|(_, link)| link.is_early());
        let sessions: Vec<(&LinkKey, &ProbedLink, &PeerSession)> =
            links.flat_map(|(key, link)| link.sessions.values().map(move |s| (key, link, s))).collect();
        let backup = |(_, link, session): &(&LinkKey, &ProbedLink, &PeerSession)| {
            let known = pages.sponsors().backup(self.sponsors.index_of(session.slot)?);
            (known.probe_ns != 0).then(|| EarlyBackupStatus {
                interface: link.plan.interface.clone(),
                peer: Some(session.peer),
                probe_ms_ago: now.millis_since(Instant::from_nanos(known.probe_ns)),
                vouches: !known.is_stale(known.probe_ns, now.as_nanos()),
            })
        };
        let beat = pages.sponsors().beat_at();
        Some(SponsorsStatus {
            vouched_for: pages.sponsors().is_sponsored(now),
            unvouched_ms: self.lapse.since().map(|since| now.millis_since(since)),
            beat_ms_ago: (beat != Instant::default()).then(|| now.millis_since(beat)),
            backups: sessions.iter().filter_map(backup).collect(),
            uncounted: sessions
                .iter()
                .filter(|(_, link, s)| link.takes_over() && !self.sponsors.counts(s.slot))
                .count() as u64,
            arbiters: self.arbiters.reached().map(|(name, at)| arbiter(name, at, &timing, now)).collect(),
        })
    }

    /// Whether a lease counts only while somebody vouches for this node.
    pub fn needs_sponsor(&self, lease: u32) -> bool {
        self.sponsors.covers(lease)
    }

    /// The session with a host, by the number of its link.
    pub(super) fn session(&self, link: u32, peer: IpAddr) -> Option<(&ProbedLink, &PeerSession)> {
        let link = self.links.values().find(|known| known.number == link)?;
        Some((link, link.sessions.get(&peer)?))
    }
}

fn arbiter(name: &str, reached: Instant, timing: &ProbeTiming, now: Instant) -> EarlyArbiterStatus {
    let ever = reached != Instant::default();
    EarlyArbiterStatus {
        name: name.to_owned(),
        reached: ever && timing.is_arbitrated(Some(reached), now),
        reached_ms_ago: ever.then(|| now.millis_since(reached)),
    }
}

fn joined(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn an_arbiter_is_reached_for_two_intervals() {
        let timing = ProbeTiming::new(Duration::from_millis(10), 3, true);
        for (reached, now, expect) in
            [(1_000, 1_020, (true, Some(20))), (1_000, 1_021, (false, Some(21))), (0, 5, (false, None))]
        {
            let arbiter = arbiter("gw", at(reached), &timing, at(now));
            assert_eq!((arbiter.reached, arbiter.reached_ms_ago), expect, "{reached} {now}");
        }
    }
}
