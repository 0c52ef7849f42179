//! One sync group, or one router alone: from its master's silence to a claim, and from the claim back to its own priority.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use super::{
    EarlyChange, EarlyFigures, HostId, ProbeNode, ProbeTiming, RouterFlags, claimed::Claimed,
    session::ProbeSession,
};
use crate::{
    coordinator::Input,
    lease_manager::LeaseManager,
    time::Instant,
    vrrp::{Advert, InstanceId, Reason, StateName},
};

/// R3: how long after the decision the first advert may leave.
const CLAIM_WITHIN: Duration = Duration::from_millis(1);
pub(super) type Sessions = BTreeMap<HostId, ProbeSession>;
/// A member of a group, and the host of the master that it follows.
pub(super) type Followed = (InstanceId, HostId);

/// What is known of the masters that a group follows, and of the claim that it has made.
#[derive(Debug, Default)]
pub(super) struct GroupWatch {
    /// The masters, one for each member, and since when.
    following: Option<(Vec<Followed>, Instant)>,
    silence: Option<HostSilence>,
    /// Until when the node is to be prepared for a takeover, since a probe has gone unanswered.
    suspects_until: Instant,
    /// When the skew of a silence is over.
    claims_at: Option<Instant>,
    /// Since when everybody who could own the addresses says that he does not.
    orphaned_since: Option<Instant>,
    claimed: Option<Claimed>,
    /// R11: who is heard, and does not hear this node.
    one_way: Vec<HostId>,
    one_way_since: Option<Instant>,
    /// It was told.
    is_one_way: bool,
    alarm: Option<Alarm>,
    /// R2: nothing is claimed until then; and for how long after the next false alarm.
    disarmed_until: Instant,
    damping: Option<Duration>,
    figures: EarlyFigures,
    /// Of the last look.
    changes: Vec<EarlyChange>,
}

/// A group as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEarly {
    /// A claim stands.
    pub claims: bool,
    /// A silence of all masters that begins now would be acted on.
    pub is_armed: bool,
    /// R11: hosts that take part and are heard, and that do not hear this one: meanwhile it preempts nobody.
    pub one_way: Vec<HostId>,
    /// The hosts of the masters that it follows.
    pub follows: Vec<HostId>,
    /// R2: until when the last false alarm keeps it from acting.
    pub disarmed_until: Option<Instant>,
    /// What has been counted.
    pub figures: EarlyFigures,
}

/// All masters' hosts are silent.
#[derive(Clone, Copy, Debug)]
struct HostSilence {
    /// When that was seen.
    at: Instant,
    /// R2, at each look since.
    armed: bool,
}

/// A silence that was acted on, until it is known what it was.
#[derive(Clone, Debug)]
struct Alarm {
    masters: Vec<Followed>,
    at: Instant,
    /// When VRRP would have taken over.
    down_at: Instant,
}

impl GroupWatch {
    /// When something may be due besides the next probe.
    pub fn deadline(&self, sessions: &Sessions, timing: &ProbeTiming) -> Option<Instant> {
        if let Some(claimed) = &self.claimed {
            return claimed.repeats_at();
        }
        let (masters, _) = self.following.as_ref()?;
        if self.silence.is_some() {
            return self.claims_at;
        }
        let silent_at = |(_, peer): &Followed| sessions.get(peer)?.silent_at(timing);
        masters.iter().map(silent_at).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// What it is about, for an operator.
    pub fn state(&self, sessions: &Sessions, timing: &ProbeTiming, now: Instant) -> GroupEarly {
        let masters = || self.following.iter().flat_map(|(masters, _)| masters);
        GroupEarly {
            claims: self.claims(),
            one_way: self.one_way.clone(),
            is_armed: self.one_way.is_empty()
                && self.following.as_ref().is_some_and(|(masters, _)| {
                    !masters.is_empty() && self.is_armed(masters, sessions, timing, now)
                }),
            follows: masters().map(|(_, master)| *master).collect(),
            disarmed_until: (now < self.disarmed_until).then_some(self.disarmed_until),
            figures: self.figures,
        }
    }

    /// The hosts of the masters that it has outbid, while the claim stands.
    pub fn claimed_from(&self) -> impl Iterator<Item = HostId> {
        self.claimed.iter().flat_map(Claimed::from)
    }

    /// Whether a claim stands.
    pub fn claims(&self) -> bool {
        self.claimed.is_some()
    }

    /// What the last look has changed.
    pub fn take_changes(&mut self) -> impl Iterator<Item = EarlyChange> {
        self.changes.drain(..)
    }

    /// Whether the node is to be prepared for a claim: routes stand before the first packet comes, so it begins with the first probe that goes
    /// unanswered, and ends a while after the last.
    pub fn suspects(&mut self, sessions: &Sessions, timing: &ProbeTiming, now: Instant) -> bool {
        let waits = |(_, peer): &Followed| {
            sessions.get(peer).is_some_and(|session| session.is_waited_for(timing, now))
        };
        let masters = self.following.as_ref().map_or(&[][..], |(masters, _)| masters);
        if timing.takes_over && !masters.is_empty() && masters.iter().all(waits) {
            self.suspects_until = now + timing.steady;
        }
        now < self.suspects_until
    }

    /// One look at the sessions of the group's masters.
    #[allow(clippy::too_many_arguments, reason = "the parts of one look")]
    pub fn look(
        &mut self,
        members: &[InstanceId],
        sessions: &mut Sessions,
        timing: &ProbeTiming,
        leaving: bool,
        leases: &mut LeaseManager,
        node: &mut impl ProbeNode,
        now: Instant,
    ) {
        let Some(first) = members.first().copied() else { return };
        self.judge(sessions, timing);
        if self.claimed.is_some() {
            self.follow_claim(first, sessions, timing, leases, node, now);
        }
        let links = members.iter().map(|member| node.link(*member)).collect::<Option<Vec<u32>>>();
        let links = links.unwrap_or_default();
        let followed = members.iter().zip(links.iter().zip(leases.outbids(first)));
        let masters: Vec<Followed> =
            followed.map(|(member, (link, address))| (*member, HostId { link: *link, address })).collect();
        if self.following.as_ref().is_none_or(|(before, _)| *before != masters) {
            (self.silence, self.orphaned_since) = (None, None);
            self.following = Some((masters.clone(), now));
        }
        let acts = timing.takes_over && !leaving && !links.is_empty();
        self.one_way = if acts { one_way((members, &links), sessions, leases) } else { Vec::new() };
        if leases.is_one_way(first) == self.one_way.is_empty() {
            leases.input(Input::OneWay { instance: first, one_way: !self.one_way.is_empty() }, node);
        }
        self.tell_one_way(timing, now);
        if self.claimed.is_none() && self.is_rivalled((members, &links), leases, now) {
            leases.input(Input::GiveWay { instance: first }, node);
        }
        if !acts {
            return;
        }
        let Some((due, reason)) = self.due((members, &links), &masters, sessions, timing, leases, now) else {
            return;
        };
        let dead: &[Followed] = if reason == Reason::HostSilent { &masters } else { &[] };
        let skew = timing.early_skew(better_backups((first, links[0]), dead, sessions, timing, leases, now));
        self.claims_at = Some(due + skew);
        let arbitrated = match reason {
            Reason::HostSilent => reaches_arbiter(&masters, sessions, node),
            // One that would not vouch for itself does not own.
            _ => timing.is_arbitrated(node.arbiter(), now),
        };
        if !arbitrated {
            // R7: its master may be about to be back too, and gets the time to say so.
            self.orphaned_since = None;
            return;
        }
        if now < due + skew {
            return;
        }
        // The claims of other groups have taken their time, and their masters' hosts may have spoken meanwhile.
        let now = node.now();
        for (_, master) in &masters {
            let stamps = node.stamps(*master);
            if let Some(session) = sessions.get_mut(master) {
                session.look(stamps, timing, now);
            }
        }
        let still = self.due((members, &links), &masters, sessions, timing, leases, now);
        if still.is_none_or(|(_, still)| still != reason) {
            return;
        }
        if reason == Reason::HostSilent {
            // Its priority may have risen since its last advert, and its probes say so sooner.
            for (member, master) in &masters {
                let said = sessions.get(master).and_then(|session| flags(*member, session, leases));
                // R2: a router that its probes do not list is not probed there, and its lease needs no sponsor.
                let Some(RouterFlags { priority, .. }) = said.copied() else { return };
                leases.input(Input::MasterRank { instance: *member, priority }, node);
            }
        }
        self.claim(first, masters, reason, leases, node, now);
    }

    /// Since when a claim is called for, and why.
    fn due(
        &mut self,
        (members, links): (&[InstanceId], &[u32]),
        masters: &[Followed],
        sessions: &Sessions,
        timing: &ProbeTiming,
        leases: &LeaseManager,
        now: Instant,
    ) -> Option<(Instant, Reason)> {
        if !self.one_way.is_empty() {
            // R11: whoever does not hear this node may claim too, and it hears that one.
            (self.silence, self.orphaned_since) = (None, None);
            return None;
        }
        // R1.
        let silent =
            |(_, peer): &Followed| sessions.get(peer).is_some_and(|session| session.is_silent(timing, now));
        if !masters.is_empty() && masters.iter().all(silent) {
            // R2: from when the silence is complete until the claim. Who waits may see the last answer grow too old meanwhile.
            let armed = self.is_armed(masters, sessions, timing, now);
            let silence = self.silence.get_or_insert(HostSilence { at: now, armed });
            silence.armed &= armed;
            self.orphaned_since = None;
            return silence.armed.then_some((silence.at, Reason::HostSilent));
        }
        self.silence = None;
        // R7.
        let mut routers = members.iter().copied().zip(links.iter().copied());
        let orphaned = routers.all(|router| is_orphan(router, sessions, timing, leases, now));
        if !orphaned {
            self.orphaned_since = None;
            return None;
        }
        let since = *self.orphaned_since.get_or_insert(now);
        Some((since + timing.detect(), Reason::Orphaned))
    }

    fn is_armed(
        &self,
        masters: &[Followed],
        sessions: &Sessions,
        timing: &ProbeTiming,
        now: Instant,
    ) -> bool {
        let followed =
            self.following.as_ref().is_some_and(|(_, since)| now.saturating_since(*since) >= timing.steady);
        let armed =
            |(_, peer): &Followed| sessions.get(peer).is_some_and(|session| session.is_armed(timing, now));
        followed && now >= self.disarmed_until && masters.iter().all(armed)
    }

    /// R3: rank and advert above the master's, then the lease.
    #[allow(clippy::too_many_arguments, reason = "the parts of one look")]
    fn claim(
        &mut self,
        first: InstanceId,
        masters: Vec<Followed>,
        reason: Reason,
        leases: &mut LeaseManager,
        node: &mut impl ProbeNode,
        now: Instant,
    ) {
        let Some(snapshot) = leases.snapshot(first) else { return };
        let Some(settings) = leases.settings(first) else { return };
        let lease =
            settings.lease_length().max(snapshot.interval * (u32::from(settings.down_timer_adverts) + 1));
        let down_at = now + settings.master_down_interval(snapshot.interval);
        (self.silence, self.orphaned_since) = (None, None);
        leases.input(Input::Claim { instance: first, reason, until: now + CLAIM_WITHIN }, node);
        if leases.claim(first).is_some() {
            self.figures.claims += 1;
            self.alarm = Some(Alarm { masters: masters.clone(), at: now, down_at });
            self.claimed = Some(Claimed::new(masters, now, now + lease + lease / 2048));
        }
    }

    /// R3, R5, R6 and R8 of a claim that stands.
    fn follow_claim(
        &mut self,
        first: InstanceId,
        sessions: &Sessions,
        timing: &ProbeTiming,
        leases: &mut LeaseManager,
        node: &mut impl ProbeNode,
        now: Instant,
    ) {
        let Some(mut claimed) = self.claimed.take() else { return };
        if leases.claim(first).is_none() {
            // Outbid in turn, or at fault: it is over.
            return;
        }
        let assert = claimed.hear(first, sessions, timing, leases, now);
        let after = now.saturating_since(claimed.made_at());
        if claimed.is_in_vain(sessions, leases, now) {
            self.figures.in_vain += 1;
            self.changes.push(EarlyChange::InVain { after });
            return leases.input(Input::Settle { instance: first, yields: true }, node);
        }
        if claimed.is_settled(timing, now) {
            self.changes.push(EarlyChange::Settled { after });
            return leases.input(Input::Settle { instance: first, yields: false }, node);
        }
        if let Some(announce) = assert {
            leases.input(Input::Assert { instance: first, announce }, node);
        }
        if leases.claim(first).is_some() {
            self.claimed = Some(claimed);
        }
    }

    /// R11: whether this node is master of a router, and somebody is too who does not hear it: a word of that from after it was known.
    fn is_rivalled(
        &self,
        (members, links): (&[InstanceId], &[u32]),
        leases: &LeaseManager,
        now: Instant,
    ) -> bool {
        let Some(since) = self.one_way_since else { return false };
        members.iter().zip(links).any(|(member, link)| {
            let master = leases.snapshot(*member).filter(|own| own.state == StateName::Master);
            let rival = leases.heard_lately(*member).next().filter(|advert| !advert.priority.is_leaving());
            master.zip(rival).zip(leases.settings(*member)).is_some_and(|((own, rival), settings)| {
                let host = HostId { link: *link, address: rival.source };
                rival.received_at >= since.max(own.since)
                    && now < rival.received_at + settings.master_down_interval(rival.interval)
                    && self.one_way.contains(&host)
            })
        })
    }

    /// R11: one that begins is heard before it can have answered, which is nothing to tell.
    fn tell_one_way(&mut self, timing: &ProbeTiming, now: Instant) {
        let Some(peer) = self.one_way.first() else {
            self.one_way_since = None;
            if std::mem::take(&mut self.is_one_way) {
                self.changes.push(EarlyChange::OneWayEnded);
            }
            return;
        };
        let since = *self.one_way_since.get_or_insert(now);
        if !self.is_one_way && now.saturating_since(since) >= timing.steadiness() {
            self.is_one_way = true;
            self.changes.push(EarlyChange::OneWay { peer: *peer });
        }
    }

    /// R2: a master that is heard again before VRRP would have replaced it was no dead one.
    fn judge(&mut self, sessions: &Sessions, timing: &ProbeTiming) {
        let heard =
            self.alarm.as_ref().map(|alarm| (last_heard(&alarm.masters, sessions), alarm.at, alarm.down_at));
        let Some((heard, at, down_at)) = heard.filter(|(heard, at, _)| heard > at) else { return };
        self.alarm = None;
        if heard < down_at {
            let damping = self.damping.unwrap_or(timing.damping);
            self.disarmed_until = heard + damping;
            self.damping = Some((damping * 2).min(timing.damping_max));
            self.figures.false_alarms += 1;
            let after = heard.saturating_since(at);
            self.changes.push(EarlyChange::FalseAlarm { after, disarmed_for: damping });
        } else {
            self.damping = None;
        }
    }
}

/// When anything of any of the masters' hosts was heard last.
pub(super) fn last_heard(masters: &[Followed], sessions: &Sessions) -> Instant {
    let heard = masters.iter().filter_map(|(_, peer)| sessions.get(peer)).map(|session| session.stamps.heard);
    heard.max().unwrap_or_default()
}

/// What a peer says of the router of an instance, with its last probe.
pub(super) fn flags<'s>(
    instance: InstanceId,
    session: &'s ProbeSession,
    leases: &LeaseManager,
) -> Option<&'s RouterFlags> {
    let settings = leases.settings(instance)?;
    session.stamps.block.as_ref()?.router(settings.family, settings.vrid)
}

/// The sessions with the hosts of one link: on another a VRID is another router.
fn on_link(link: u32, sessions: &Sessions) -> impl Iterator<Item = (&HostId, &ProbeSession)> {
    sessions.iter().filter(move |(peer, _)| peer.link == link)
}

/// R7: whether everybody who could own a router's addresses is there and says that he does not.
///
/// Where nobody was heard to be a master nobody is missed: a router that starts waits as ever. And who is heard by adverts alone cannot
/// say so: after him, too, the down timer is waited for.
fn is_orphan(
    (instance, link): (InstanceId, u32),
    sessions: &Sessions,
    timing: &ProbeTiming,
    leases: &LeaseManager,
    now: Instant,
) -> bool {
    if !leases.is_free(instance) {
        return false;
    }
    let says = |session: &ProbeSession| flags(instance, session, leases).copied();
    let mut sources = leases.heard_lately(instance);
    let Some((settings, last)) = leases.settings(instance).zip(sources.next()) else { return false };
    // A loser's last word may have hidden the winner's first.
    let down = |advert: &Advert| advert.received_at + settings.master_down_interval(advert.interval);
    let before = sources.filter(|advert| now < down(advert));
    let mut sources = std::iter::once(last).chain(before);
    let speaks = |advert: &Advert| {
        let session = sessions.get(&HostId { link, address: advert.source });
        session.is_some_and(|session| session.is_live(timing, now) && says(session).is_some())
    };
    let owned = on_link(link, sessions).any(|(_, session)| says(session).is_some_and(|router| router.owner));
    !owned && sources.all(speaks)
}

/// How many backups that are alive, besides the masters, come before this one.
fn better_backups(
    (instance, link): (InstanceId, u32),
    masters: &[Followed],
    sessions: &Sessions,
    timing: &ProbeTiming,
    leases: &LeaseManager,
    now: Instant,
) -> u32 {
    let Some(own) = leases.snapshot(instance).filter(|own| own.state == StateName::Backup) else { return 0 };
    let is_dead = |peer: &HostId| masters.iter().any(|(_, master)| master == peer);
    let others =
        on_link(link, sessions).filter(|(peer, session)| !is_dead(peer) && session.is_heard(timing, now));
    let better = others.filter(|(peer, session)| {
        flags(instance, session, leases).is_some_and(|router| {
            router.participates && (router.priority, Some(peer.address)) > (own.priority, own.address)
        })
    });
    better.count() as u32
}

/// R11: who takes part in a router of the group, is heard, and does not hear this node.
fn one_way(
    (members, links): (&[InstanceId], &[u32]),
    sessions: &Sessions,
    leases: &LeaseManager,
) -> Vec<HostId> {
    let mut peers: Vec<HostId> = Vec::new();
    for (member, link) in members.iter().zip(links) {
        let takes_part = |session: &ProbeSession| {
            flags(*member, session, leases).is_some_and(|router| router.participates)
        };
        let deaf =
            on_link(*link, sessions).filter(|(_, session)| session.is_one_way() && takes_part(session));
        peers.extend(deaf.map(|(peer, _)| *peer));
    }
    peers.sort();
    peers.dedup();
    peers
}

/// Whether this node's arbiter has answered something that was asked since the masters fell silent; without one there is none to ask.
fn reaches_arbiter(masters: &[Followed], sessions: &Sessions, node: &mut impl ProbeNode) -> bool {
    node.arbiter().is_none_or(|asked| asked > last_heard(masters, sessions))
}
