//! What `vipd status` is told.

use std::{collections::BTreeMap, net::IpAddr, path, process};

use nix::unistd::gethostname;
use vipd_common::{Family, Priority, abi::InstanceCounters};
use vipd_config::Unsupported;

use super::{
    clock,
    driver::Driver,
    router::{self, Router},
};
use crate::{
    control::model::{InstanceStatus, MasterStatus, ProgramHook, SCHEMA, Status, TrackedStatus},
    dataplane::{Dataplane, Mode},
    engine::{FaultReason, InstanceId, Reason, Snapshot, StateName},
    machine::Source,
    time::Instant,
    tracking::Health,
    vrrp::{LeasePolicy, Settings},
};

impl Driver {
    pub(super) fn status(&self) -> Status {
        let now = clock::now();
        let counters = self.effects.pages.counters().unwrap_or_else(|error| {
            tracing::warn!(%error, "the XDP program's counters cannot be read");
            Default::default()
        });
        // As in the configuration.
        let mut instances: Vec<InstanceId> = self.effects.slots.keys().copied().collect();
        instances.sort_by_key(|id| self.effects.slots[id].router.position);
        Status {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: process::id(),
            uptime_ms: ms(self.started, now),
            real_time: self.granted.real_time,
            drained: self.handovers.is_drained(),
            instances: instances.into_iter().filter_map(|id| self.instance_status(id, now)).collect(),
            counters: counters.iter().map(|(name, value)| (name.into(), value)).collect(),
            ..Status::default()
        }
    }

    fn instance_status(&self, id: InstanceId, now: Instant) -> Option<InstanceStatus> {
        let slot = &self.effects.slots[&id];
        let router = &slot.router;
        let snapshot = self.keeper.snapshot(id)?;
        let counters = self.effects.pages.instance_counters(router.slot).unwrap_or_default();
        let own = |address| MasterStatus { address, priority: snapshot.priority.get() };
        let master = match snapshot.state {
            StateName::Master => router.address.map(own),
            _ => snapshot
                .master
                .map(|peer| MasterStatus { address: peer.address, priority: peer.priority.get() }),
        };
        let lease = self.effects.pages.leases().read(router.group);
        // A record of a router that had the slot before is no advert of ours.
        let heard = self.effects.pages.instances().heard(router.slot).at;
        let heard = Some(heard).filter(|_| snapshot.last_source.is_some() && heard != Instant::default());
        let attachment = self.attachments.get(&router.link().wire.ifindex);
        Some(InstanceStatus {
            name: router.spec.name.clone(),
            state: snapshot.state.to_string(),
            since_unix_ms: slot.since_unix_ms,
            in_state_ms: ms(snapshot.since, now),
            reason: snapshot.last_reason.map(|reason| reason.to_string()),
            sync_group: router.sync_group.clone(),
            interface: router.spec.interface.clone(),
            family: match router.spec.family {
                Family::V4 => "ipv4".into(),
                Family::V6 => "ipv6".into(),
            },
            virtual_mac: router.virtual_mac().map(|mac| mac.to_string()),
            unicast_peers: router
                .spec
                .unicast
                .iter()
                .flat_map(|u| &u.peers)
                .map(|peer| peer.address)
                .collect(),
            accept: router.spec.accept,
            vrid: router.spec.vrid.get(),
            version: router.spec.version as u8,
            priority: Priority::get(snapshot.priority),
            handed_over: self.handovers.ranks_last(id),
            advert_interval_ms: whole(router.spec.advert_interval.as_millis()),
            master_advert_interval_ms: whole(snapshot.interval.as_millis()),
            address: router.address,
            master,
            lease: match router.settings.lease {
                LeasePolicy::Overlap => "overlap".into(),
                LeasePolicy::Strict => "strict".into(),
            },
            lease_remaining_ms: (lease > now).then(|| ms(now, lease)),
            lease_length_ms: whole(router.settings.lease_length().as_millis()),
            lease_margin_least_us: slot.lease_margin.get(now).map(|margin| whole(margin.as_micros())),
            fencing: snapshot.fencing,
            master_down_in_ms: down_at(&snapshot, &router.settings, heard).map(|at| ms(now, at)),
            master_down_interval_cs: whole(
                router.settings.master_down_interval(snapshot.interval).as_millis() / 10,
            ),
            skew_time_us: whole(router.settings.skew_time(snapshot.interval).as_micros()),
            last_adv_source: snapshot.last_source,
            last_adv_age_ms: heard.map(|at| ms(at, now)),
            new_master_reason: new_master_reason(&snapshot).into(),
            vips: router.spec.vips.iter().map(|vip| vip.address).collect(),
            vips_excluded: router.spec.excluded.iter().map(|vip| vip.address).collect(),
            // The main thread has the table of VIPs.
            vip_answers: BTreeMap::new(),
            adverts_sent: slot.adverts_sent,
            adverts_received: counters.adverts_received,
            priority_zero_sent: slot.priority_zero_sent,
            priority_zero_received: counters.priority_zero_received,
            send_errors: slot.send_errors,
            became_master: snapshot.counters.became_master,
            released_master: snapshot.counters.released_master,
            leases_revoked: counters.leases_revoked,
            split_brain: self.effects.watch.is_split(id),
            split_brains: slot.watched.split_brains,
            address_conflicts: slot.watched.address_conflicts,
            mismatches: Vec::new(),
            address_list_differs: counters.address_list_differs,
            discards: discards(&counters),
            advert_lateness_max_us: whole(snapshot.counters.advert_lateness_max.as_micros()),
            lines: self.line_status(id, snapshot.state == StateName::Backup, now),
            xdp_mode: attachment.map_or(ProgramHook::Nowhere, |attachment| match attachment.mode {
                Mode::Native => ProgramHook::Native,
                Mode::Tc => ProgramHook::Tc,
            }),
            xdp_mode_reason: attachment.and_then(|attachment| attachment.reason.clone()),
        })
    }
}

/// Says on which host the daemon runs, and what it was given.
pub(super) fn name_node(status: &mut Status, source: &Source, router_id: Option<&str>) {
    status.host = gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    status.router_id = router_id.map(str::to_owned);
    // An empty path, which was never read, has no absolute form.
    let file = path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
    status.config_file = file.display().to_string();
    status.config_id.clone_from(&source.config_id);
    status.allow_unsupported = source.unsupported == Unsupported::Ignored;
}

/// How something is that is tracked by a name.
pub(super) fn tracked((keyword, name, health): (&str, &str, Health)) -> TrackedStatus {
    TrackedStatus {
        keyword: keyword.to_owned(),
        name: name.to_owned(),
        well: match health {
            Health::Well => Some(true),
            Health::Unwell => Some(false),
            Health::Unknown | Health::Value(_) => None,
        },
        value: if let Health::Value(number) = health { Some(number) } else { None },
    }
}

/// The questions about each VIP that were answered, on all interfaces that it is on.
pub(super) fn vip_answers(router: &Router, dataplane: &Dataplane) -> BTreeMap<IpAddr, u64> {
    let mut answers = BTreeMap::new();
    for (key, _) in router.table() {
        *answers.entry(router::address(key.address)).or_default() += dataplane.replies(&key);
    }
    answers
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

/// The election knows that it is isolated, not from what.
pub(super) fn name_arbiters(instance: &mut InstanceStatus, names: &[&str]) {
    let isolated = Reason::Fault(FaultReason::Isolated).to_string();
    if instance.reason.as_ref() == Some(&isolated) {
        instance.reason = Some(format!("{isolated}: arbiter {}", names.join(", ")));
    }
}

/// The election knows that an interface is refused, not why.
pub(super) fn name_refusal(instance: &mut InstanceStatus, why: &str) {
    let refused = Reason::Fault(FaultReason::Refused).to_string();
    if instance.reason.as_ref() == Some(&refused) {
        instance.reason = Some(format!("{refused}: {why}"));
    }
}

/// The election knows that the source address is missing, not which.
pub(super) fn name_source(instance: &mut InstanceStatus, why: &str) {
    let missing = Reason::Fault(FaultReason::NoSource).to_string();
    if instance.reason.as_ref() == Some(&missing) {
        instance.reason = Some(format!("{missing}: {why}"));
    }
}

fn discards(counters: &InstanceCounters) -> BTreeMap<String, u64> {
    counters
        .iter()
        .skip(InstanceCounters::FIRST_DISCARD)
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.into(), count))
        .collect()
}

pub(super) fn ms(from: Instant, to: Instant) -> u64 {
    whole(to.saturating_since(from).as_millis())
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
