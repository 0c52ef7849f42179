//! Tells of conflicts over VIPs: in the log, as events, and to whoever is notified.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, wire::eth::MacAddr};

use super::{
    conflicts::{ConflictCounts, ConflictNews, Fact},
    instance::EngineInstance,
};
use crate::{
    detection::{Over, Rival},
    notify::{Change, Conflict, ConflictKind},
};

/// How a rival was found, and what to look for.
const HEARD: (&str, &str) = (
    "adverts",
    "it does not hear this router's adverts: look for a firewall on it, or a link that works one way",
);
const SILENT: (&str, &str) = (
    "claims",
    "its adverts do not come in: it is cut off, or its daemon was killed and has left the address on its interface",
);

const REFUSED: (&str, &str) = (
    "claims",
    "adverts arrive here and are refused: the event mismatch says what differs, such as the password",
);

const RIVAL_IS_HEARD: &str =
    "another router advertises that this one beats: it has not heard this one for a while";
const CLAIMS: &str = "another station claims a VIP";
const CLAIMED: &str = "another station has claimed a VIP";
const RIVAL_WAS_HEARD: &str = "another router has advertised that this one beats, and does no more";

/// What else is known when a fact is told.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// It is over meanwhile.
    pub is_over: bool,
    pub counts: ConflictCounts,
    /// Adverts for the instance have come in, and were refused.
    pub refuses: bool,
}

/// Logs it; returns whom it is to be told as. Of what is over no script is run, and no mail sent.
pub fn tell(fact: &Fact, instance: &EngineInstance, seen: Seen) -> Option<Change> {
    let Seen { is_over, counts, refuses } = seen;
    let (untold, ago) = fact.late.map(|late| (late.untold, late.ago)).unzip();
    let ago_ms = ago.map(millis);
    match fact.news {
        ConflictNews::Rival(rival) => {
            tell_of_rival(instance, &rival, (untold, ago_ms), is_over);
            None
        }
        ConflictNews::SplitBrain(rival, vip) => {
            let found = match (vip, refuses) {
                (None, _) => HEARD,
                (Some(_), true) => REFUSED,
                (Some(_), false) => SILENT,
            };
            tell_of_split_brain(instance, &rival, found, untold);
            let vip = vip.unwrap_or_else(|| first_vip(instance));
            Some(conflict(instance, ConflictKind::SplitBrain, vip, rival.mac, Some(rival.address)))
        }
        ConflictNews::SplitBrainOver(over) => {
            tell_of_end(instance, &over, untold);
            let (vip, Rival { mac, address, .. }) = (first_vip(instance), over.rival);
            Some(conflict(instance, ConflictKind::SplitBrainOver, vip, mac, Some(address)))
        }
        ConflictNews::Claim { vip, mac, address } => {
            let claimed = if is_over { CLAIMED } else { CLAIMS };
            tracing::warn!(
                target: "vipd::event",
                event = "address_conflict",
                instance = instance.name(),
                %vip,
                our_mac = %instance.mac_of(vip),
                their_mac = %mac,
                their_address = address.map(tracing::field::display),
                count = counts.address_conflicts,
                untold,
                ago_ms,
                "{claimed}"
            );
            (!is_over).then(|| conflict(instance, ConflictKind::AddressConflict, vip, mac, address))
        }
        ConflictNews::LowerHeard => (!is_over).then_some(Change::LowerHeard),
    }
}

fn tell_of_rival(
    instance: &EngineInstance,
    rival: &Rival,
    (untold, ago_ms): (Option<u64>, Option<u64>),
    is_over: bool,
) {
    let message = if is_over { RIVAL_WAS_HEARD } else { RIVAL_IS_HEARD };
    tracing::warn!(
        target: "vipd::event",
        event = "rival_heard",
        instance = instance.name(),
        rival = %rival.address,
        rival_mac = %rival.mac,
        rival_priority = rival.priority.map(Priority::get),
        untold,
        ago_ms,
        "{message}"
    );
}

/// `by`: how it was found, with what to look for.
fn tell_of_split_brain(
    instance: &EngineInstance,
    rival: &Rival,
    (by, hint): (&str, &str),
    untold: Option<u64>,
) {
    tracing::error!(
        target: "vipd::event",
        event = "split_brain",
        instance = instance.name(),
        rival = %rival.address,
        rival_mac = %rival.mac,
        rival_priority = rival.priority.map(Priority::get),
        by,
        hint,
        untold,
        "two masters: another router acts as the owner too and does not give way"
    );
}

fn tell_of_end(instance: &EngineInstance, Over { rival, lasted, .. }: &Over, untold: Option<u64>) {
    tracing::info!(
        target: "vipd::event",
        event = "split_brain_over",
        instance = instance.name(),
        rival = %rival.address,
        rival_mac = %rival.mac,
        lasted_ms = millis(*lasted),
        untold,
        "one master again"
    );
}

fn conflict(
    instance: &EngineInstance,
    kind: ConflictKind,
    vip: IpAddr,
    their_mac: MacAddr,
    their_address: Option<IpAddr>,
) -> Change {
    let (our_mac, our_address) = (instance.mac_of(vip), instance.router().address());
    Change::Conflict(Conflict { kind, vip, our_mac, our_address, their_mac, their_address })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Unspecified where a file is run without those of its lines that hold the VIPs.
fn first_vip(instance: &EngineInstance) -> IpAddr {
    let vips = &instance.router().spec().vips;
    vips.first().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |vip| vip.address)
}
