//! The engine thread's part of the status.

use std::collections::BTreeMap;

use vipd_common::{Family, Priority, abi::InstanceCounters};
use vipd_core::early::GroupEarly;

use super::{
    super::{
        messages::{AttachmentModes, EngineInstanceStatus},
        router::Router,
    },
    conflicts::Conflicts,
    handover::Handovers,
    instance::{EngineInstance, HeardRouter},
    io::EngineIo,
};
use crate::{
    control::model::{FaultStatus, InstanceStatus, MasterStatus, ProgramHook},
    coordinator::{Reason, Snapshot, StateName},
    dataplane::{Mode, Pages},
    time::Instant,
    tracking::Fault,
    vrrp::{GroupId, LeasePolicy, Peer, Settings},
};

/// What the status of an instance is made of, besides the instance.
#[derive(Clone, Copy, Debug)]
pub struct StatusInputs<'a> {
    pub io: &'a EngineIo,
    pub conflicts: &'a Conflicts,
    pub handovers: &'a Handovers,
    pub attachments: &'a AttachmentModes,
    /// Early takeover, by lease.
    pub early: &'a BTreeMap<GroupId, GroupEarly>,
    pub now: Instant,
}

/// The counters that belong to no instance.
pub fn counters(pages: &Pages) -> BTreeMap<String, u64> {
    let counters = pages.counters().unwrap_or_else(|error| {
        tracing::warn!(%error, "the XDP program's counters cannot be read");
        Default::default()
    });
    counters.iter().map(|(name, value)| (name.into(), value)).collect()
}

impl StatusInputs<'_> {
    /// What this thread knows of an instance.
    pub fn instance(&self, instance: &EngineInstance, snapshot: &Snapshot) -> EngineInstanceStatus {
        let router = instance.router();
        let Self { now, .. } = *self;
        let pages = self.io.pages();
        let slot = router.id().slot();
        let counters = pages.instance_counters(slot).unwrap_or_default();
        // A record of a router that had the slot before is no advert of ours.
        let heard = pages.instances().heard(slot).at;
        let heard = Some(heard).filter(|_| snapshot.last_source.is_some() && heard != Instant::default());
        let conflicts = self.conflicts.counts(router.id());
        let attachment = self.attachments.get(&router.link().wire().ifindex);
        let status = InstanceStatus {
            since_unix_ms: instance.since_unix_ms(),
            reason: snapshot.last_reason.map(|reason| self.io.reason_text(router.id(), reason)),
            faults: self.io.faults_since(router.id()).into_iter().map(|of| fault(of, now)).collect(),
            priority: Priority::get(snapshot.priority),
            master: master(instance, snapshot, heard, now),
            master_since_ms: instance.heard().map(|heard| now.millis_since(heard.since)),
            predecessor: instance
                .predecessor()
                .map(as_master)
                .filter(|_| snapshot.state == StateName::Master),
            handed_over: self.handovers.ranks_last(router.id()),
            lease_margin_least_us: instance.least_lease_margin(now).map(|margin| whole(margin.as_micros())),
            master_down_in_ms: down_at(snapshot, router.settings(), heard).map(|at| at.millis_since(now)),
            last_adv_age_ms: heard.map(|at| now.millis_since(at)),
            adverts_sent: instance.sent().adverts,
            adverts_received: counters.adverts_received,
            priority_zero_sent: instance.sent().priority_zero,
            priority_zero_received: counters.priority_zero_received,
            send_errors: instance.sent().errors,
            advert_error: instance.advert_error().map(str::to_owned),
            adverts_blocked: instance.is_unsent(),
            // By the transitions that were told: the election itself counts takeovers whose first advert does not leave.
            became_master: instance.masterships().begun,
            released_master: instance.masterships().ended,
            in_state_ms: now.millis_since(instance.since()),
            leases_revoked: counters.leases_revoked,
            split_brain: self.conflicts.is_split(router.id()),
            split_brains: conflicts.split_brains,
            address_conflicts: conflicts.address_conflicts,
            address_list_differs: counters.address_list_differs,
            discards: discards(&counters),
            lines: instance.heartbeats().status(
                router,
                pages.instances(),
                snapshot.state == StateName::Backup,
                now,
            ),
            xdp_mode: attachment.map_or(ProgramHook::Nowhere, |attachment| match attachment.mode {
                Mode::Native => ProgramHook::Native,
                Mode::Tc => ProgramHook::Tc,
            }),
            xdp_mode_reason: attachment.and_then(|attachment| attachment.reason.clone()),
            early: self.early.get(&instance.lease()).and_then(|group| {
                let around = self.io.surroundings();
                self.io.probes().early_status(instance, snapshot, group, around, now)
            }),
            ..configured(instance.router(), elected(instance.router(), snapshot, pages, now))
        };
        EngineInstanceStatus { id: router.id(), status }
    }
}

/// The master: this node, or the router that is followed; of an instance in FAULT the router that still advertises.
fn master(
    instance: &EngineInstance,
    snapshot: &Snapshot,
    heard: Option<Instant>,
    now: Instant,
) -> Option<MasterStatus> {
    let router = instance.router();
    let of = |peer: Peer| MasterStatus { address: peer.address, priority: peer.priority.get() };
    match snapshot.state {
        StateName::Master => {
            let own = |address| MasterStatus { address, priority: snapshot.priority.get() };
            router.address().map(own)
        }
        StateName::Init | StateName::Fault => {
            let last = snapshot.last_heard.filter(|last| !last.priority.is_leaving())?;
            let until = heard? + router.settings().master_down_interval(last.interval);
            (until > now).then(|| of(last))
        }
        StateName::Backup | StateName::Stopped => snapshot.master.map(of),
    }
}

fn fault((Fault { kind, what, ends_when }, since): (Fault, Option<Instant>), now: Instant) -> FaultStatus {
    let since_ms = since.map(|since| now.millis_since(since));
    FaultStatus { kind: kind.to_owned(), what, ends_when, since_ms }
}

fn as_master(heard: HeardRouter) -> MasterStatus {
    MasterStatus { address: heard.address, priority: heard.priority.get() }
}

/// What its configuration and its interfaces say, added to what the election says.
fn configured(router: &Router, elected: InstanceStatus) -> InstanceStatus {
    let spec = router.spec();
    InstanceStatus {
        name: spec.name.clone(),
        sync_group: router.sync_group().map(str::to_owned),
        interface: spec.interface.clone(),
        family: match spec.family {
            Family::V4 => "ipv4".into(),
            Family::V6 => "ipv6".into(),
        },
        base_priority: spec.priority.get(),
        preempt: router.settings().preempts(),
        preempt_delay_ms: whole(router.settings().preempt_delay().as_millis()),
        virtual_mac: router.virtual_mac().map(|mac| mac.to_string()),
        unicast_peers: spec.unicast.iter().flat_map(|u| &u.peers).map(|peer| peer.address).collect(),
        tracks_interface: spec.tracks_interface,
        accept: spec.accept,
        vrid: spec.vrid.get(),
        version: spec.version as u8,
        advert_interval_ms: whole(spec.advert_interval.as_millis()),
        address: router.address(),
        lease: match router.settings().lease {
            LeasePolicy::Overlap => "overlap".into(),
            LeasePolicy::Strict => "strict".into(),
        },
        lease_length_ms: whole(router.settings().lease_length().as_millis()),
        vips: spec.vips.iter().map(|vip| vip.address).collect(),
        vips_excluded: spec.excluded.iter().map(|vip| vip.address).collect(),
        ..elected
    }
}

/// What the election says, and the lease.
fn elected(router: &Router, snapshot: &Snapshot, pages: &Pages, now: Instant) -> InstanceStatus {
    let lease = pages.leases().read(router.lease().slot());
    let down_interval = router.settings().master_down_interval(snapshot.interval);
    InstanceStatus {
        state: snapshot.state.to_string(),
        reason_code: snapshot.last_reason.map(|reason| reason.code().to_owned()),
        preempt_delay_left_ms: snapshot.preempt_at.filter(|at| *at > now).map(|at| at.millis_since(now)),
        master_advert_interval_ms: whole(snapshot.interval.as_millis()),
        lease_remaining_ms: (lease > now).then(|| lease.millis_since(now)),
        fencing: snapshot.fencing,
        master_down_interval_cs: whole(down_interval.as_millis() / 10),
        skew_time_us: whole(router.settings().skew_time(snapshot.interval).as_micros()),
        last_adv_source: snapshot.last_source,
        new_master_reason: new_master_reason(snapshot).into(),
        advert_lateness_max_us: whole(snapshot.counters.advert_lateness_max.as_micros()),
        ..InstanceStatus::default()
    }
}

/// When a backup takes over if nothing is heard; `None` of others, and of one that waits for a fence.
///
/// Each advert of a master that is followed sets the timer back, of which the election learns only when it has fired.
fn down_at(snapshot: &Snapshot, settings: &Settings, heard: Option<Instant>) -> Option<Instant> {
    let at = snapshot.master_down_at.filter(|_| !snapshot.fencing)?;
    let settings = Settings { priority: snapshot.priority, ..*settings };
    let followed =
        snapshot.master.is_some_and(|master| master.priority >= settings.priority || !settings.preempts());
    let by_stamp = heard.filter(|_| followed).map(|at| at + settings.master_down_interval(snapshot.interval));
    Some(by_stamp.map_or(at, |by_stamp| at.max(by_stamp)))
}

fn discards(counters: &InstanceCounters) -> BTreeMap<String, u64> {
    counters
        .iter()
        .skip(InstanceCounters::FIRST_DISCARD)
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.into(), count))
        .collect()
}

fn whole(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// RFC 8347 new-master-reason, of the mastership that lasts.
fn new_master_reason(snapshot: &Snapshot) -> &'static str {
    match (snapshot.state, snapshot.last_reason) {
        (StateName::Master, Some(Reason::MasterLeft | Reason::Owner)) => "priority",
        (StateName::Master, Some(Reason::Preempting)) => "preempted",
        (StateName::Master, _) => "no-response",
        _ => "not-master",
    }
}
