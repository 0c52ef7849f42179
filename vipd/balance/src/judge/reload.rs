//! Reload: removed services go first, kept ones keep their verdicts, new ones start.

use std::collections::BTreeMap;

use vipd_core::time::Instant;

use super::{
    Judge, JudgeOutput,
    check::LiveCheck,
    probes::ProbeUser,
    service::{LeavingTarget, LiveService},
    target::{DrainState, LiveTarget},
};
use crate::{
    desired::DesiredChange,
    model::{BalanceConfig, ProbeUse, ServiceId, ServiceTarget, TargetId, VirtualServer},
    notice::{BalanceNotice, QuorumCause, TargetCause},
};

impl Judge {
    pub(super) fn reload(&mut self, config: BalanceConfig, now: Instant) {
        let init_notices = config.init_notices();
        let servers = config.into_servers();
        let mut old: BTreeMap<ServiceId, LiveService> =
            std::mem::take(&mut self.services).into_iter().map(|old| (old.id().clone(), old)).collect();
        let mut kept: Vec<Option<LiveService>> =
            servers.iter().map(|server| old.remove(&server.id)).collect();
        for service in old.into_values() {
            self.remove(service);
        }
        self.probes.clear_users();
        for (server, old) in servers.into_iter().zip(&mut kept) {
            match old.take() {
                None => self.start(server, init_notices, now),
                Some(old) => self.carry_over(old, server, now),
            }
        }
        self.probes.drop_unused();
        self.outputs.push_back(JudgeOutput::ProbesChanged);
    }

    /// A service that is gone.
    fn remove(&mut self, mut service: LiveService) {
        if service.published.take().is_some() {
            let service = service.id().clone();
            self.outputs.push_back(JudgeOutput::Change(DesiredChange::RemoveService { service }));
        }
        self.farewell(&mut service, TargetCause::Removed, QuorumCause::Removed);
    }

    /// A service that is new.
    fn start(&mut self, mut server: VirtualServer, init_notices: bool, now: Instant) {
        let configured = std::mem::take(&mut server.targets);
        let mut service = LiveService::new(VirtualServer { targets: configured.clone(), ..server });
        let mut notices = Vec::new();
        for config in configured {
            let mut target = self.new_target(config);
            // An earlier vipd may have found out that it is down.
            let told = target.judge(now);
            let cause = if target.alive { TargetCause::Start } else { target.cause(false, None) };
            let tell = if target.alive { init_notices } else { told.is_some() };
            if tell {
                notices.push(service.target_notice(&target, target.alive, cause));
            }
            service.targets.push(target);
        }
        self.enter(service, notices, QuorumCause::Start, now);
    }

    /// A service that stays.
    fn carry_over(&mut self, old: LiveService, mut server: VirtualServer, now: Instant) {
        let configured = std::mem::take(&mut server.targets);
        let mut service = LiveService::new(VirtualServer { targets: configured.clone(), ..server });
        (service.quorum_up, service.failed_serve) = (old.quorum_up, old.failed_serve);
        let mut there: BTreeMap<TargetId, LiveTarget> =
            old.targets.into_iter().map(|target| (target.config.id, target)).collect();
        (service.published, service.leaving) = (old.published, old.leaving);
        let mut notices = Vec::new();
        let mut targets = Vec::new();
        for config in configured {
            // It may come back while it leaves.
            service.leaving.remove(&config.id);
            let mut target = match there.remove(&config.id) {
                Some(old) => self.kept_target(old, config),
                None => {
                    let mut target = self.new_target(config);
                    target.join(now);
                    target
                }
            };
            if let Some(up) = target.judge(now) {
                notices.push(service.target_notice(&target, up, target.cause(up, None)));
            }
            targets.push(target);
        }
        let gone: Vec<_> = there.into_values().collect();
        let mut farewells = Vec::new();
        for target in gone {
            farewells.extend(leave(&mut service, &target, now));
        }
        service.targets = targets;
        farewells.extend(notices);
        self.enter(service, farewells, QuorumCause::Change, now);
    }

    /// Adds a service to the others and its checks to the users of their probes, then judges it.
    fn enter(
        &mut self,
        mut service: LiveService,
        notices: Vec<BalanceNotice>,
        cause: QuorumCause,
        now: Instant,
    ) {
        service.follow(&self.owned);
        let index = self.services.len();
        for (target, live) in service.targets.iter().enumerate() {
            for (check, live) in live.checks.iter().enumerate() {
                if let Some(probe) = self.probes.get_mut(live.id) {
                    probe.users.push(ProbeUser { service: index, target, check });
                }
            }
        }
        self.services.push(service);
        self.settle(index, notices, cause, now);
    }

    fn new_target(&mut self, mut config: ServiceTarget) -> LiveTarget {
        let checks = std::mem::take(&mut config.checks);
        let checks = checks.into_iter().map(|spec| self.new_check(spec, false)).collect();
        LiveTarget::new(config, checks)
    }

    fn kept_target(&mut self, mut old: LiveTarget, mut config: ServiceTarget) -> LiveTarget {
        let mut there = std::mem::take(&mut old.checks);
        let checks = std::mem::take(&mut config.checks);
        let checks = checks.into_iter().map(|spec| {
            // A check is the same if it sends the same and means the same by it; then its verdict stands.
            let same = |old: &LiveCheck| old.spec.probe == spec.probe && old.spec.weight == spec.weight;
            match there.iter().position(same) {
                Some(same) => there.swap_remove(same).reloaded(spec),
                None => self.new_check(spec, old.alive),
            }
        });
        let checks = checks.collect();
        old.reloaded(config, checks)
    }

    fn new_check(&mut self, spec: ProbeUse, serving: bool) -> LiveCheck {
        let id = self.probes.intern(&spec.probe);
        let known = self.probes.get(id).and_then(|probe| probe.known.as_ref());
        LiveCheck::new(spec, id, known, serving)
    }
}

/// Lets a target go that is no longer configured: at once, or with its connections for `drain_timeout`.
fn leave(service: &mut LiveService, target: &LiveTarget, now: Instant) -> Vec<BalanceNotice> {
    let mut notices = Vec::new();
    if target.alive {
        notices.push(service.target_notice(target, false, TargetCause::Removed));
    }
    let id = target.config.id;
    let is_there = service.published.as_ref().is_some_and(|published| published.targets.contains_key(&id));
    let until = match (target.drain, service.config.drain_timeout) {
        (DrainState::Ended, _) => None,
        (DrainState::Draining { until: Some(until) }, _) => Some(until),
        (DrainState::Draining { until: None } | DrainState::No, timeout) => {
            timeout.map(|timeout| now + timeout)
        }
    };
    if let Some(until) = until.filter(|until| is_there && *until > now) {
        service.leaving.insert(id, LeavingTarget { desired: target.desired(0), until });
        if target.drain == DrainState::No {
            notices.push(BalanceNotice::Draining { service: service.id().clone(), target: id });
        }
    }
    notices
}
