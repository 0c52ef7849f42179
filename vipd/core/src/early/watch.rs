//! One sync group, or one router alone: from its master's silence to a claim, and from the claim back to its own priority.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{ProbeNode, ProbeTiming, RouterFlags, session::ProbeSession};
use crate::{
    coordinator::Input,
    lease_manager::LeaseManager,
    time::Instant,
    vrrp::{Advert, InstanceId, Reason, StateName},
};

/// R3: how long after the decision the first advert may leave.
const CLAIM_WITHIN: Duration = Duration::from_millis(1);
/// R3: how long after the claim its advert is repeated.
const REPEATS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(3)];
/// R5: how long a master that was outbid may still be heard as the owner after the challenge: longer than both ways and a wake-up.
const CHALLENGE: Duration = Duration::from_millis(8);
/// R6: how long it must have been heard, and not as the owner, in probe intervals.
const SETTLED_AFTER: u32 = 4;

type Sessions = BTreeMap<IpAddr, ProbeSession>;

/// What is known of the masters that a group follows, and of the claim that it has made.
#[derive(Debug, Default)]
pub(super) struct GroupWatch {
    /// The masters, one for each member, and since when.
    following: Option<(Vec<IpAddr>, Instant)>,
    silence: Option<HostSilence>,
    /// When the skew of a silence is over.
    claims_at: Option<Instant>,
    /// Since when everybody who could own the addresses says that he does not.
    orphaned_since: Option<Instant>,
    claimed: Option<Claimed>,
    alarm: Option<Alarm>,
    /// R2: nothing is claimed until then; and for how long after the next false alarm.
    disarmed_until: Instant,
    damping: Option<Duration>,
}

/// All masters' hosts are silent.
#[derive(Clone, Copy, Debug)]
struct HostSilence {
    /// When that was seen.
    at: Instant,
    /// R2, at each look since.
    armed: bool,
}

/// A claim that stands.
#[derive(Clone, Debug)]
struct Claimed {
    masters: Vec<IpAddr>,
    at: Instant,
    repeats: usize,
    /// When the lease of the master has run out at the latest.
    ends_at: Instant,
    /// The masters are silent, or have become so again.
    silent: bool,
    challenged_at: Option<Instant>,
    /// Since when a master is heard that does not say it owns.
    quiet_since: Option<Instant>,
}

/// A silence that was acted on, until it is known what it was.
#[derive(Clone, Debug)]
struct Alarm {
    masters: Vec<IpAddr>,
    at: Instant,
    /// When VRRP would have taken over.
    down_at: Instant,
}

impl GroupWatch {
    /// When something may be due besides the next probe.
    pub fn deadline(&self, sessions: &Sessions, timing: &ProbeTiming) -> Option<Instant> {
        if let Some(claimed) = &self.claimed {
            return REPEATS.get(claimed.repeats).map(|after| claimed.at + *after);
        }
        let (masters, _) = self.following.as_ref()?;
        if self.silence.is_some() {
            return self.claims_at;
        }
        let silent_at = |peer| sessions.get(peer)?.silent_at(timing);
        masters.iter().map(silent_at).collect::<Option<Vec<_>>>()?.into_iter().max()
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
        let masters = leases.outbids(first);
        if self.following.as_ref().is_none_or(|(before, _)| *before != masters) {
            (self.silence, self.orphaned_since) = (None, None);
            self.following = Some((masters.clone(), now));
        }
        if !timing.takes_over || leaving {
            return;
        }
        let Some((due, reason)) = self.due(members, &masters, sessions, timing, leases, now) else {
            return;
        };
        let dead: &[IpAddr] = if reason == Reason::HostSilent { &masters } else { &[] };
        let skew = timing.early_skew(better_backups(first, dead, sessions, timing, leases, now));
        self.claims_at = Some(due + skew);
        if now < due + skew || reason == Reason::HostSilent && !reaches_arbiter(&masters, sessions, node) {
            return;
        }
        self.claim(first, masters, reason, leases, node, now);
    }

    /// Since when a claim is called for, and why.
    fn due(
        &mut self,
        members: &[InstanceId],
        masters: &[IpAddr],
        sessions: &Sessions,
        timing: &ProbeTiming,
        leases: &LeaseManager,
        now: Instant,
    ) -> Option<(Instant, Reason)> {
        // R1.
        let silent = |peer: &IpAddr| sessions.get(peer).is_some_and(|session| session.is_silent(timing, now));
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
        let orphaned = members.iter().all(|member| is_orphan(*member, sessions, timing, leases, now));
        if !orphaned {
            self.orphaned_since = None;
            return None;
        }
        let since = *self.orphaned_since.get_or_insert(now);
        Some((since + timing.detect(), Reason::Orphaned))
    }

    fn is_armed(&self, masters: &[IpAddr], sessions: &Sessions, timing: &ProbeTiming, now: Instant) -> bool {
        let followed =
            self.following.as_ref().is_some_and(|(_, since)| now.saturating_since(*since) >= timing.steady);
        let armed = |peer: &IpAddr| sessions.get(peer).is_some_and(|session| session.is_armed(timing, now));
        followed && now >= self.disarmed_until && masters.iter().all(armed)
    }

    /// R3: rank and advert above the master's, then the lease.
    #[allow(clippy::too_many_arguments, reason = "the parts of one look")]
    fn claim(
        &mut self,
        first: InstanceId,
        masters: Vec<IpAddr>,
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
            self.alarm = Some(Alarm { masters: masters.clone(), at: now, down_at });
            self.claimed = Some(Claimed {
                masters,
                at: now,
                repeats: 0,
                ends_at: now + lease + lease / 2048,
                silent: true,
                challenged_at: None,
                quiet_since: None,
            });
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
        let heard = last_heard(&claimed.masters, sessions);

        if leases.claim(first).is_none() {
            // Outbid in turn, or at fault: it is over.
            return;
        }
        let mut assert = None;
        if REPEATS.get(claimed.repeats).is_some_and(|after| now >= claimed.at + *after) {
            claimed.repeats += 1;
            assert = Some(false);
        }
        let is_heard = heard > claimed.at && now.saturating_since(heard) < timing.detect();
        if is_heard && claimed.silent {
            // R8: what the other's kernel has answered meanwhile is corrected.
            assert = Some(true);
        }
        claimed.silent = !is_heard;
        let owner_at =
            owner_heard_at(first, &claimed.masters, sessions, leases).filter(|at| *at > claimed.at);
        match (owner_at, claimed.challenged_at) {
            // R5: its word and our claim may have crossed on the wire.
            (Some(_), None) => {
                claimed.challenged_at = Some(now);
                claimed.quiet_since = None;
                assert = Some(assert.unwrap_or(false));
            }
            (Some(_), Some(_)) => claimed.quiet_since = None,
            // R6.
            (None, _) if is_heard => _ = claimed.quiet_since.get_or_insert(now),
            (None, _) => claimed.quiet_since = None,
        }
        // R5: it hears us when its program has answered a probe that bears the claim, and then it owns no more.
        let in_vain = |challenged: Instant| {
            let unheard = last_answered(&claimed.masters, sessions) < claimed.at;
            now >= challenged + CHALLENGE
                && (unheard || owner_at.is_some_and(|at| at > challenged + CHALLENGE))
        };
        if claimed.challenged_at.is_some_and(in_vain) {
            return leases.input(Input::Settle { instance: first, yields: true }, node);
        }
        let settled = claimed
            .quiet_since
            .is_some_and(|since| now.saturating_since(since) >= timing.interval * SETTLED_AFTER);
        if settled || now >= claimed.ends_at && !is_heard {
            return leases.input(Input::Settle { instance: first, yields: false }, node);
        }
        if let Some(announce) = assert {
            leases.input(Input::Assert { instance: first, announce }, node);
        }
        if leases.claim(first).is_some() {
            self.claimed = Some(claimed);
        }
    }

    /// R2: a master that is heard again before VRRP would have replaced it was no dead one.
    fn judge(&mut self, sessions: &Sessions, timing: &ProbeTiming) {
        let heard =
            self.alarm.as_ref().map(|alarm| (last_heard(&alarm.masters, sessions), alarm.at, alarm.down_at));
        let Some((heard, _, down_at)) = heard.filter(|(heard, at, _)| heard > at) else { return };
        self.alarm = None;
        if heard < down_at {
            let damping = self.damping.unwrap_or(timing.damping);
            self.disarmed_until = heard + damping;
            self.damping = Some((damping * 2).min(timing.damping_max));
        } else {
            self.damping = None;
        }
    }
}

/// When anything of any of the masters' hosts was heard last.
fn last_heard(masters: &[IpAddr], sessions: &Sessions) -> Instant {
    let heard = masters.iter().filter_map(|peer| sessions.get(peer)).map(|session| session.stamps.heard);
    heard.max().unwrap_or_default()
}

/// When the newest probe was sent that the masters' hosts have all answered.
fn last_answered(masters: &[IpAddr], sessions: &Sessions) -> Instant {
    let answers = masters.iter().filter_map(|peer| sessions.get(peer)).map(|session| session.stamps.answers);
    answers.min().unwrap_or_default()
}

/// What a peer says of the router of an instance, with its last probe.
fn flags<'s>(
    instance: InstanceId,
    session: &'s ProbeSession,
    leases: &LeaseManager,
) -> Option<&'s RouterFlags> {
    let settings = leases.settings(instance)?;
    session.stamps.block.as_ref()?.router(settings.family, settings.vrid)
}

/// R7: whether everybody who could own a router's addresses is there and says that he does not.
///
/// Where nobody was heard to be a master nobody is missed: a router that starts waits as ever. And who is heard by adverts alone cannot
/// say so: after him, too, the down timer is waited for.
fn is_orphan(
    instance: InstanceId,
    sessions: &Sessions,
    timing: &ProbeTiming,
    leases: &LeaseManager,
    now: Instant,
) -> bool {
    if !leases.is_free(instance) {
        return false;
    }
    let says = |session: &ProbeSession| flags(instance, session, leases).copied();
    let Some((settings, [Some(last), before])) =
        leases.settings(instance).zip(Some(leases.heard_lately(instance)))
    else {
        return false;
    };
    // A loser's last word may have hidden the winner's first.
    let down = |advert: &Advert| advert.received_at + settings.master_down_interval(advert.interval);
    let mut sources = [Some(last), before.filter(|advert| now < down(advert))].into_iter().flatten();
    let speaks = |advert: Advert| {
        let session = sessions.get(&advert.source);
        session.is_some_and(|session| session.is_live(timing, now) && says(session).is_some())
    };
    let owned = sessions.values().any(|session| says(session).is_some_and(|router| router.owner));
    !owned && sources.all(speaks)
}

/// When one of the masters that were outbid was last heard to own the addresses.
fn owner_heard_at(
    instance: InstanceId,
    masters: &[IpAddr],
    sessions: &Sessions,
    leases: &LeaseManager,
) -> Option<Instant> {
    let owners = masters
        .iter()
        .filter_map(|peer| sessions.get(peer))
        .filter(|session| flags(instance, session, leases).is_some_and(|router| router.owner));
    owners.map(|session| session.stamps.probed).max()
}

/// How many backups that are alive, besides the masters, come before this one.
fn better_backups(
    instance: InstanceId,
    masters: &[IpAddr],
    sessions: &Sessions,
    timing: &ProbeTiming,
    leases: &LeaseManager,
    now: Instant,
) -> u32 {
    let Some(own) = leases.snapshot(instance).filter(|own| own.state == StateName::Backup) else { return 0 };
    let others =
        sessions.iter().filter(|(peer, session)| !masters.contains(peer) && session.is_heard(timing, now));
    let better = others.filter(|(peer, session)| {
        flags(instance, session, leases).is_some_and(|router| {
            router.participates && (router.priority, Some(**peer)) > (own.priority, own.address)
        })
    });
    better.count() as u32
}

/// Whether this node's arbiter has answered something that was asked since the masters fell silent; without one there is none to ask.
fn reaches_arbiter(masters: &[IpAddr], sessions: &Sessions, node: &mut impl ProbeNode) -> bool {
    node.arbiter().is_none_or(|asked| asked > last_heard(masters, sessions))
}
