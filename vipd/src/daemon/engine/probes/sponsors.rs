//! Which early backups the program counts, and for which leases (`SPONSORS`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vipd_common::abi::MAX_EARLY_BACKUPS;

use crate::{
    dataplane::{Pages, SponsorPage},
    time::Instant,
};

/// For how long a lease needs a sponsor after the last probe has listed its router: longer than whoever has not heard that probe is armed,
/// which is a second, and three detection times of a second at most.
const LINGERS: Duration = Duration::from_secs(4);

/// What is in `SPONSORS` besides stamps.
#[derive(Debug, Default)]
pub struct SponsorPlaces {
    /// By its index there: the slot of a peer whose probes are stamped.
    peers: BTreeMap<u32, u32>,
    /// Leases needed a sponsor when this process found the map.
    inherits: bool,
    /// The slots of the leases that need a sponsor, and until when they do if no probe lists them any more.
    leases: BTreeMap<u32, Option<Instant>>,
}

impl SponsorPlaces {
    /// Takes over what a predecessor has left. Returns whether it has told anybody that leases here need a sponsor.
    pub fn inherit(&mut self, page: &SponsorPage, now: Instant) -> bool {
        self.leases = page.leases().into_iter().map(|slot| (slot, Some(now + LINGERS))).collect();
        self.inherits = !self.leases.is_empty();
        self.inherits
    }

    /// Counts these peers, by their slots, as far as there is room, and has these leases need a sponsor.
    pub fn follow(&mut self, pages: &Pages, peers: &BTreeSet<u32>, listed: &BTreeSet<u32>, now: Instant) {
        let (probes, sponsors) = (pages.probes().page(), pages.sponsors());
        self.peers.retain(|index, slot| {
            // A slot may be another peer's by now, which the program does not stamp.
            let is_stamped = probes.sponsor(*slot) == Some(*index);
            let stays = is_stamped && peers.contains(slot);
            if !stays {
                if is_stamped {
                    probes.set_sponsor(*slot, None);
                }
                sponsors.clear(*index);
            }
            stays
        });
        // What a predecessor's program has stamped goes on to count, before anybody else gets a place.
        for slot in peers {
            if let Some(index) = probes.sponsor(*slot) {
                self.peers.entry(index).or_insert(*slot);
            }
        }
        for slot in peers {
            if self.counts(*slot) {
                continue;
            }
            let Some(index) = (0..MAX_EARLY_BACKUPS as u32).find(|index| !self.peers.contains_key(index))
            else {
                tracing::debug!(slot, "there are {MAX_EARLY_BACKUPS} early backups: one more does not count");
                continue;
            };
            sponsors.clear(index);
            probes.set_sponsor(*slot, Some(index));
            self.peers.insert(index, *slot);
        }
        for (slot, until) in &mut self.leases {
            *until = if listed.contains(slot) { None } else { until.or(Some(now + LINGERS)) };
        }
        self.leases.extend(listed.iter().map(|slot| (*slot, None)));
        self.leases.retain(|_, until| until.is_none_or(|at| now < at));
        sponsors.set_leases(self.leases.keys());
    }

    /// Whether a predecessor has told peers that leases here need a sponsor.
    pub fn inherits(&self) -> bool {
        self.inherits
    }

    /// Whether the peer's probes vouch for this node: else it is not told that it may take over early.
    pub fn counts(&self, slot: u32) -> bool {
        self.index_of(slot).is_some()
    }

    /// Where the probes of a peer are stamped.
    pub fn index_of(&self, slot: u32) -> Option<u32> {
        self.peers.iter().find(|(_, taken)| **taken == slot).map(|(index, _)| *index)
    }

    /// The slots of the leases that need a sponsor.
    pub fn leases(&self) -> impl Iterator<Item = u32> {
        self.leases.keys().copied()
    }

    /// Whether the lease in a slot does.
    pub fn covers(&self, lease: u32) -> bool {
        self.leases.contains_key(&lease)
    }
}
