//! One service: quorum, sorry server, and its part of the desired table.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use vipd_core::time::Instant;

use super::target::{DrainState, LiveTarget};
use crate::{
    desired::{DesiredService, DesiredTarget},
    model::{ServiceAddress, ServiceId, SorryServer, TargetId, VirtualServer},
    notice::{self, BalanceNotice, QuorumCause, TargetCause},
};

/// A target that a reload has removed, and that keeps its connections for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeavingTarget {
    pub(super) desired: DesiredTarget,
    pub(super) until: Instant,
}

/// A service and its state. The targets of `config` are in `targets`.
#[derive(Debug)]
pub(super) struct LiveService {
    pub(super) config: VirtualServer,
    /// Of the configured weights.
    pub(super) total_weight: u64,
    pub(super) effective_quorum: u64,
    pub(super) targets: Vec<LiveTarget>,
    pub(super) leaving: BTreeMap<TargetId, LeavingTarget>,
    pub(super) quorum_up: bool,
    /// `min_alive` is not reached, so failed targets serve too.
    pub(super) failed_serve: bool,
    /// `ha_suspend`: no address is owned here.
    pub(super) suspended: bool,
    /// As it was last put out.
    pub(super) published: Option<DesiredService>,
    /// When time changes something.
    pub(super) due: Option<Instant>,
}

impl LiveService {
    /// A service without targets and without quorum.
    pub(super) fn new(mut config: VirtualServer) -> Self {
        let (total_weight, effective_quorum) = (config.total_weight(), config.effective_quorum());
        config.targets.clear();
        Self {
            config,
            total_weight,
            effective_quorum,
            targets: Vec::new(),
            leaving: BTreeMap::new(),
            quorum_up: false,
            failed_serve: false,
            suspended: false,
            published: None,
            due: None,
        }
    }

    pub(super) const fn id(&self) -> &ServiceId {
        &self.config.id
    }

    /// Follows the addresses that this node owns. Returns whether that changed something.
    pub(super) fn follow(&mut self, owned: &BTreeSet<IpAddr>) -> bool {
        let mut addresses = self.config.addresses.iter().filter_map(ServiceAddress::address);
        let suspended = self.config.ha_suspend && !addresses.any(|address| owned.contains(&address));
        std::mem::replace(&mut self.suspended, suspended) != suspended
    }

    pub(super) fn live_weight(&self) -> u64 {
        self.targets.iter().map(LiveTarget::live_weight).sum()
    }

    /// The sorry server, if it is to serve.
    pub(super) fn serving_sorry(&self) -> Option<SorryServer> {
        self.config.sorry.filter(|_| !self.quorum_up)
    }

    /// The weight that gains the quorum, or that keeps it.
    fn threshold(&self, up: bool) -> u64 {
        let (quorum, hysteresis) = (self.effective_quorum, u64::from(self.config.hysteresis));
        if up {
            return quorum.saturating_sub(hysteresis);
        }
        // DEVIATION: at most the weight of all targets. keepalived's quorum would be lost for good.
        (quorum + hysteresis).min(self.total_weight.max(1))
    }

    /// Judges the quorum anew.
    pub(super) fn judge_quorum(&mut self, cause: QuorumCause) -> Option<BalanceNotice> {
        let (was_up, weight) = (self.quorum_up, self.live_weight());
        let threshold = self.threshold(was_up);
        let up = weight >= threshold && weight > 0;
        // A service that starts without a quorum is told if its sorry server serves from the start.
        let starts_down = cause == QuorumCause::Start && !up && self.config.sorry.is_some();
        if up == was_up && !starts_down {
            return None;
        }
        self.quorum_up = up;
        Some(self.quorum_notice(up, cause, threshold))
    }

    pub(super) fn quorum_notice(&self, up: bool, cause: QuorumCause, threshold: u64) -> BalanceNotice {
        let (config, weight) = (&self.config, self.live_weight());
        let quorum = (self.effective_quorum, u64::from(config.hysteresis));
        let mail = || notice::quorum_mail(&config.id, up, cause, quorum, (threshold, weight));
        BalanceNotice::Quorum {
            service: config.id.clone(),
            up,
            cause,
            weight,
            threshold,
            command: if up { config.quorum_up.clone() } else { config.quorum_down.clone() },
            fifo: format!("VS {} {}", config.id, notice::word(up)),
            mail: config.mail.then(mail),
        }
    }

    pub(super) fn target_notice(
        &self,
        target: &LiveTarget,
        up: bool,
        cause: TargetCause<'_>,
    ) -> BalanceNotice {
        let service = &self.config.id;
        let protocol = self.config.addresses.iter().find_map(|address| match address {
            ServiceAddress::Socket { protocol, .. } => Some(protocol.name()),
            ServiceAddress::Mark { .. } => None,
        });
        let name = notice::target_name(target.config.id, protocol);
        let mail = || notice::target_mail(&name, service, up, cause);
        BalanceNotice::Target {
            service: service.clone(),
            target: target.config.id,
            up,
            reason: cause.to_string(),
            command: if up { target.config.notify_up.clone() } else { target.config.notify_down.clone() },
            fifo: format!("RS {name} {service} {}", notice::word(up)),
            mail: target.config.mail.then(mail),
        }
    }

    /// Targets that are not drained, and how many of them are alive. Those that have never been checked are neither.
    fn alive_of(&self) -> (usize, usize) {
        let counted =
            || self.targets.iter().filter(|target| target.drain == DrainState::No && !target.is_waiting());
        (counted().filter(|target| target.alive).count(), counted().count())
    }

    /// Judges `min_alive` anew.
    pub(super) fn judge_min_alive(&mut self) -> Option<BalanceNotice> {
        let (alive, of) = self.alive_of();
        let short = alive * 100 < of * usize::from(self.config.min_alive);
        let on = short && self.serving_sorry().is_none();
        if std::mem::replace(&mut self.failed_serve, on) == on {
            return None;
        }
        Some(BalanceNotice::FailedServe { service: self.config.id.clone(), on, alive, of })
    }

    /// The weight that a target is to have, and `None` if it is not to be in the table.
    pub(super) fn desired_weight(&self, target: &LiveTarget, now: Instant) -> Option<u32> {
        let inhibited = target.config.inhibit.then_some(0);
        match target.drain {
            DrainState::Ended => None,
            DrainState::Draining { .. } => Some(0),
            DrainState::No if self.serving_sorry().is_some() => inhibited,
            DrainState::No if target.alive => Some(target.ramped_weight(self.config.ramp, now)),
            DrainState::No if self.failed_serve && !target.is_waiting() => Some(target.effective_weight()),
            DrainState::No => inhibited,
        }
    }

    /// Its part of the desired table.
    pub(super) fn desired(&self, now: Instant) -> DesiredService {
        let mut targets: BTreeMap<_, _> =
            self.leaving.iter().map(|(&id, leaving)| (id, leaving.desired)).collect();
        for target in &self.targets {
            if let Some(weight) = self.desired_weight(target, now) {
                targets.insert(target.config.id, target.desired(weight));
            }
        }
        if let Some(sorry) = self.config.sorry {
            let desired = |weight| DesiredTarget {
                weight,
                forward: sorry.forward,
                upper_threshold: 0,
                lower_threshold: 0,
                sorry: true,
            };
            if self.serving_sorry().is_some() {
                // It may be one of the targets too.
                targets.insert(sorry.id, desired(1));
            } else if sorry.inhibit {
                targets.entry(sorry.id).or_insert_with(|| desired(0));
            }
        }
        let (addresses, settings) = (self.config.addresses.clone(), self.config.settings);
        DesiredService { addresses, settings, targets }
    }

    /// Lets time take effect: drains that end, targets that have left.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<BalanceNotice> {
        let mut drained = Vec::new();
        for target in &mut self.targets {
            if matches!(target.drain, DrainState::Draining { until: Some(until) } if until <= now) {
                target.drain = DrainState::Ended;
                drained.push(target.config.id);
            }
        }
        self.leaving.retain(|&id, leaving| {
            let stays = leaving.until > now;
            if !stays {
                drained.push(id);
            }
            stays
        });
        let service = self.id();
        drained
            .into_iter()
            .map(|target| BalanceNotice::Drained { service: service.clone(), target })
            .collect()
    }

    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let targets = self.targets.iter().filter_map(|target| target.due(self.config.ramp, now));
        targets.chain(self.leaving.values().map(|leaving| leaving.until)).min()
    }
}
