//! Early takeover of an instance, for the status and the events.

use vipd_core::early::{GroupEarly, HostId, ProbeBlock, ProbeTiming};

use super::{HostProbes, Surroundings, status};
use crate::{
    control::model::EarlyStatus,
    coordinator::{Snapshot, StateName},
    daemon::engine::instance::EngineInstance,
    time::Instant,
};

/// The least priority of a master that is not claimed from, unless the address decides.
const UNCLAIMED: u8 = 254;

impl HostProbes {
    /// What `group`, of the instance's lease, is about; `None` of an instance without `act takeover` whose lease counts alone, too.
    pub fn early_status(
        &self,
        instance: &EngineInstance,
        snapshot: &Snapshot,
        group: &GroupEarly,
        around: Surroundings<'_>,
        now: Instant,
    ) -> Option<EarlyStatus> {
        let timing = self.early_timing()?;
        let slot = instance.lease().slot();
        let (acts, needs_sponsor) =
            (self.early_link(instance.router().id()).is_some(), self.needs_sponsor(slot));
        if !acts && !needs_sponsor {
            return None;
        }
        let has_lease = snapshot.state == StateName::Master && around.pages.leases().read(slot) > now;
        let is_backup = acts && snapshot.state == StateName::Backup;
        Some(EarlyStatus {
            armed: group.is_armed,
            acts_after_us: status::us(timing.detect()),
            unarmed_reason: (is_backup && !group.is_armed)
                .then(|| self.unarmed(instance, snapshot, group, now)),
            follows: group.follows.iter().map(|host| host.address).collect(),
            claims: group.claims,
            one_way: group.one_way.iter().map(|host| host.address).collect(),
            disarmed_left_ms: group.disarmed_until.map(|until| until.millis_since(now)),
            claims_made: group.figures.claims,
            claims_in_vain: group.figures.in_vain,
            false_alarms: group.figures.false_alarms,
            needs_sponsor,
            unvouched: has_lease && needs_sponsor && !around.pages.sponsors().is_sponsored(now),
        })
    }

    /// Why a backup would not act on a silence.
    fn unarmed(
        &self,
        instance: &EngineInstance,
        snapshot: &Snapshot,
        group: &GroupEarly,
        now: Instant,
    ) -> String {
        if group.disarmed_until.is_some() {
            return "its last claim was a false alarm".to_owned();
        }
        if let Some(host) = group.one_way.first() {
            return format!("{} does not hear this node", host.address);
        }
        if group.follows.is_empty() {
            return match snapshot.master {
                _ if instance.router().spec().fence.is_some() => "`fence_script` comes first".to_owned(),
                None => "it follows no master".to_owned(),
                Some(master) if master.priority.get() >= UNCLAIMED => {
                    format!("{} has priority {}", master.address, master.priority.get())
                }
                Some(_) if instance.router().sync_group().is_some() => {
                    "not every member of its sync group follows a master that can be outbid".to_owned()
                }
                Some(master) => format!("{} cannot be outbid", master.address),
            };
        }
        let mut hosts = group.follows.iter();
        let unready = hosts.find_map(|host| self.unready(*host, now));
        unready.unwrap_or_else(|| "it has followed its master for less than a second".to_owned())
    }

    /// Why nothing would be claimed from a master's host.
    fn unready(&self, host: HostId, now: Instant) -> Option<String> {
        let address = host.address;
        match self.session(host.link, address) {
            None => Some(format!("{address} is not probed")),
            Some((link, session)) => {
                let (own, is_armed) = (&link.plan.timing, session.measured.is_armed(&link.plan.timing, now));
                unready(session.said(), own, is_armed).map(|why| format!("{address} {why}"))
            }
        }
    }
}

/// What is missing of a host that has `said` this last.
fn unready(said: Option<&ProbeBlock>, own: &ProbeTiming, is_armed: bool) -> Option<String> {
    let Some(said) = said else { return Some("sends no probes".to_owned()) };
    if said.leaving {
        return Some("has said that it stops".to_owned());
    }
    if !said.takes_over {
        return Some("does not say `act takeover`".to_owned());
    }
    if (said.interval, said.multiplier) != (own.interval, own.multiplier) {
        let theirs = said.interval.as_micros();
        let theirs = f64::from(u32::try_from(theirs).unwrap_or(u32::MAX)) / 1_000.0;
        return Some(format!("probes {} x {theirs} ms", said.multiplier));
    }
    (!is_armed).then(|| "has not answered without a gap for a second".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_keeps_a_host_from_being_claimed_from_is_named() {
        let own = ProbeTiming::new(Duration::from_millis(10), 3, true);
        let well = ProbeBlock {
            interval: own.interval,
            multiplier: own.multiplier,
            takes_over: true,
            leaving: false,
            routers: Vec::new(),
        };
        let quick = ProbeBlock { interval: Duration::from_micros(3_300), ..well.clone() };
        let measures = ProbeBlock { takes_over: false, ..quick.clone() };
        let leaves = ProbeBlock { leaving: true, ..measures.clone() };
        for (said, armed, expect) in [
            (Some(&well), true, None),
            (Some(&well), false, Some("has not answered without a gap for a second")),
            (Some(&quick), false, Some("probes 3 x 3.3 ms")),
            (Some(&measures), false, Some("does not say `act takeover`")),
            (Some(&leaves), false, Some("has said that it stops")),
            (None, false, Some("sends no probes")),
        ] {
            assert_eq!(unready(said, &own, armed).as_deref(), expect);
        }
    }
}
