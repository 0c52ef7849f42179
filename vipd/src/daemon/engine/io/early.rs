//! What early takeover acts on: the sessions with hosts, the beat, the arbiters.

use vipd_core::early::{HostId, PeerStamps, ProbeDeparture, ProbeNode, ProbeTiming};

use super::EngineIo;
use crate::{coordinator::InstanceId, lease_manager::LeaseManager, time::Instant};

impl ProbeNode for EngineIo {
    /// Each link has its own, in the session.
    type Said = ();

    fn link(&mut self, instance: InstanceId) -> Option<u32> {
        self.probes.early_link(instance)
    }

    fn stamps(&mut self, peer: HostId) -> PeerStamps {
        let (probes, around) = self.probes_mut();
        probes.early_stamps(peer, around)
    }

    fn say(&mut self, leases: &LeaseManager, _timing: &ProbeTiming, leaving: bool, beats: bool, at: Instant) {
        let (probes, around) = self.probes_mut();
        probes.say_early(leases, around, (leaving, beats, at));
    }

    fn probe(&mut self, peer: HostId, at: Instant, (): &(), may_rest: bool) -> ProbeDeparture {
        self.probes.probe(peer, at, may_rest)
    }

    fn beat(&mut self, at: Instant) {
        self.pages.sponsors().beat(at);
    }

    fn is_sponsored(&mut self, now: Instant) -> bool {
        self.pages.sponsors().is_sponsored(now)
    }

    fn arbiter(&mut self) -> Option<Instant> {
        self.probes.arbiter()
    }
}
