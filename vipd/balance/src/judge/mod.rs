//! The judge: effects of probes, leases, operators, reloads and time on targets, quorums and sorry servers.
//!
//! A state by event table. It has no clock and sends nothing: [`Judge::handle`] takes an event, [`Judge::poll_output`] gives the outputs:
//! differences of desired state first, then notices.
//!
//! | event | what changes | table | notices |
//! |---|---|---|---|
//! | start | checks are up, with `alpha` down | each live target; at 0 if inhibited; the sorry server if there is no quorum | quorum |
//! | probe passed | its checks come up, `rise` permitting | a target whose checks are all up enters, unless the sorry server serves | target up, quorum up |
//! | probe failed | its checks go down, `retry` permitting | a target with a failed check leaves, or has weight 0 if inhibited | target down, quorum down |
//! | probe not sent | nothing | | |
//! | a number of MISC_CHECK or FILE_CHECK | the target's weight | its weight, if it serves | weight, quorum |
//! | quorum lost | | the sorry server enters, then the others leave; without one nothing changes | quorum down |
//! | quorum gained | | the live targets enter, then the sorry server leaves | quorum up |
//! | live share below `min_alive` | | failed targets serve too, unless there is a sorry server and no quorum | failed targets serve |
//! | drain | counts no more for the quorum | weight 0; at the deadline it leaves | draining, drained, quorum |
//! | undrain | counts again | enters with the first step of its ramp | undrained, quorum |
//! | VIP owned, lost | whether the probes of a service with `ha_suspend` count | | |
//! | time | the step of a ramp, the end of a drain | weights | drained |
//! | reload | services and targets go, stay or start; verdicts stand | the difference | target down and up, weight, quorum |
//! | stop | | everything leaves | with `omega`: all targets and quorums down |

mod check;
mod probes;
mod reload;
mod service;
mod target;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use vipd_core::time::Instant;

use self::{
    probes::ProbeSet,
    service::LiveService,
    target::{DrainState, LiveTarget},
};
pub use self::{
    probes::{KnownVerdict, ProbeNeed, ProbePause},
    view::{JudgedService, JudgedTarget, TargetReason},
};
use crate::{
    desired::{DesiredChange, DesiredTable, differences},
    model::{BalanceConfig, ProbeId, ProbeOutcome, ServiceId, TargetId},
    notice::{BalanceNotice, QuorumCause, TargetCause},
};

/// Which targets a drain is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainScope {
    /// Of this service; `None`: of all.
    pub service: Option<ServiceId>,
    /// With this address.
    pub address: IpAddr,
    /// And this port; `None`: any.
    pub port: Option<u16>,
}

impl DrainScope {
    fn covers(&self, service: &ServiceId, target: TargetId) -> bool {
        self.service.as_ref().is_none_or(|only| only == service)
            && self.address == target.address
            && self.port.is_none_or(|port| port == target.port)
    }
}

/// Input of the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgeEvent {
    /// A configuration, the first or another. Verdicts of unchanged probes stand.
    Reload(BalanceConfig),
    /// A run of a probe has ended. A probe that is no longer wanted is ignored.
    Probed {
        /// Which.
        probe: ProbeId,
        /// Its outcome.
        outcome: ProbeOutcome,
        /// How long the run took.
        took: Duration,
    },
    /// This node owns an address, or no longer: `ha_suspend` follows it.
    Vip {
        /// The VIP.
        address: IpAddr,
        /// Its lease is held here.
        owned: bool,
    },
    /// An operator takes targets out: weight 0, so that connections end by themselves.
    Drain {
        /// Which.
        scope: DrainScope,
        /// When the rest of them is removed; `None`: as `drain_timeout` says.
        until: Option<Instant>,
    },
    /// An operator brings targets back.
    Undrain {
        /// Which.
        scope: DrainScope,
    },
    /// vipd stops: everything goes, with notices where `omega` is on.
    Stop,
}

/// Output of the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgeOutput {
    /// The table is to differ.
    Change(DesiredChange),
    /// Something is to be told.
    Notice(BalanceNotice),
    /// [`Judge::probes`] says something else than before.
    ProbesChanged,
}

/// Judges all services.
///
/// Call [`handle`](Self::handle) or [`handle_timeout`](Self::handle_timeout), then [`poll_output`](Self::poll_output) until `None`.
///
/// ```
/// use std::{net::{IpAddr, Ipv4Addr, SocketAddr}, time::Duration};
///
/// use vipd_balance::{
///     BalanceConfig, ForwardMethod, Judge, JudgeEvent, ProbeOutcome, ProbeSpec, ProbeUse, ServiceAddress, ServiceId,
///     ServiceTarget, TargetId, TransportProtocol, VirtualServer,
/// };
/// use vipd_core::time::Instant;
///
/// let vip = ServiceAddress::Socket {
///     protocol: TransportProtocol::Tcp,
///     address: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
///     port: 80,
/// };
/// let web = SocketAddr::from(([10, 0, 0, 1], 80));
/// let mut target = ServiceTarget::new(TargetId::from(web), ForwardMethod::Direct);
/// target.checks.push(ProbeUse::new(ProbeSpec::tcp(web)));
/// let mut server = VirtualServer::new(ServiceId::Single(vip), vec![vip]);
/// server.targets.push(target);
///
/// let (mut judge, now) = (Judge::new([]), Instant::from_nanos(0));
/// judge.handle(JudgeEvent::Reload(BalanceConfig::new(vec![server], false)?), now);
/// // Without `alpha` a target serves before its first check.
/// assert_eq!(judge.desired().services()[&ServiceId::Single(vip)].weight(), 1);
///
/// let probe = judge.probes().next().expect("one check").id;
/// let outcome = ProbeOutcome::Failed("connection refused".to_owned());
/// judge.handle(JudgeEvent::Probed { probe, outcome, took: Duration::ZERO }, now);
/// assert_eq!(judge.desired().services()[&ServiceId::Single(vip)].weight(), 0);
/// # Ok::<(), (ServiceId, vipd_balance::ServiceFault)>(())
/// ```
#[derive(Debug)]
pub struct Judge {
    services: Vec<LiveService>,
    probes: ProbeSet,
    owned: BTreeSet<IpAddr>,
    outputs: VecDeque<JudgeOutput>,
}

impl Judge {
    /// A judge without services. `known`: verdicts of an earlier vipd, for the first configuration.
    pub fn new(known: impl IntoIterator<Item = KnownVerdict>) -> Self {
        Self {
            services: Vec::new(),
            probes: ProbeSet::new(known),
            owned: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one event at `now`.
    pub fn handle(&mut self, event: JudgeEvent, now: Instant) {
        match event {
            JudgeEvent::Reload(config) => self.reload(config, now),
            JudgeEvent::Probed { probe, outcome, took } => self.probed(probe, outcome, took, now),
            JudgeEvent::Vip { address, owned } => self.set_owned(address, owned),
            JudgeEvent::Drain { scope, until } => self.drain(&scope, until, now),
            JudgeEvent::Undrain { scope } => self.undrain(&scope, now),
            JudgeEvent::Stop => self.stop(),
        }
        self.check_invariants();
    }

    /// Lets time take effect: weights that rise, drains that end.
    pub fn handle_timeout(&mut self, now: Instant) {
        for service in 0..self.services.len() {
            if self.services[service].due.is_some_and(|due| due <= now) {
                self.settle(service, Vec::new(), QuorumCause::Change, now);
            }
        }
        debug_assert!(self.poll_timeout().is_none_or(|due| due > now), "time does not advance");
        self.check_invariants();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted; later than the last one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.services.iter().filter_map(|service| service.due).min()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<JudgeOutput> {
        self.outputs.pop_front()
    }

    /// The probes that are wanted, by their identity. Those of suspended services are not.
    pub fn probes(&self) -> impl Iterator<Item = ProbeNeed<'_>> {
        self.probes.iter().filter_map(|(id, probe)| {
            let users = || self.checks_of(id).map(|check| &check.spec);
            let period = users().map(|user| user.delay_loop).min()?;
            let warmup = users().map(|user| user.warmup).min()?;
            Some(ProbeNeed { id, spec: &probe.spec, period, warmup })
        })
    }

    /// The pause until the next run of a probe, after one has been judged: the shortest that any user asks for. `None`: it is not wanted.
    pub fn pause(&self, probe: ProbeId) -> Option<ProbePause> {
        let pauses = self.checks_of(probe).map(|check| {
            if check.is_retrying() {
                ProbePause::Retry(check.spec.delay_before_retry)
            } else {
                ProbePause::Loop(check.spec.delay_loop)
            }
        });
        pauses.min_by_key(|pause| pause.length())
    }

    /// Everything that is to be in the table.
    pub fn desired(&self) -> DesiredTable {
        let published = |service: &LiveService| Some((service.id().clone(), service.published.clone()?));
        self.services.iter().filter_map(published).collect()
    }

    /// The verdicts, to be kept over a restart.
    pub fn known(&self) -> impl Iterator<Item = &KnownVerdict> {
        self.probes.iter().filter_map(|(_, probe)| probe.known.as_ref())
    }

    /// Whether a drain would find anything.
    pub fn has_target(&self, scope: &DrainScope) -> bool {
        self.services
            .iter()
            .any(|service| service.targets.iter().any(|target| scope.covers(service.id(), target.config.id)))
    }

    /// The services and why each target is in or out, in the order of the configuration.
    pub fn views(&self) -> impl Iterator<Item = JudgedService<'_>> {
        self.services.iter().map(view::of)
    }

    /// The checks of services that are not suspended.
    fn checks_of(&self, probe: ProbeId) -> impl Iterator<Item = &check::LiveCheck> {
        let users = self.probes.get(probe).map_or(&[][..], |probe| &probe.users);
        users.iter().filter_map(|user| {
            let service = self.services.get(user.service).filter(|service| !service.suspended)?;
            service.targets.get(user.target)?.checks.get(user.check)
        })
    }

    fn probed(&mut self, id: ProbeId, outcome: ProbeOutcome, took: Duration, now: Instant) {
        let Some(probe) = self.probes.get(id) else { return };
        // Runs are apart from start to start, or from end to start: never less than that is what `delay_before_retry` is compared with.
        let counted_at = if probe.spec.counts_from_start() { now - took } else { now };
        let users = probe.users.clone();
        let mut notices: BTreeMap<usize, Vec<BalanceNotice>> = BTreeMap::new();
        let mut counts = false;
        for user in users {
            let service = &mut self.services[user.service];
            if service.suspended {
                // The last verdict stands, whoever else sends the probe.
                continue;
            }
            let target = &mut service.targets[user.target];
            let check = &mut target.checks[user.check];
            let changed = check.handle(&outcome, counted_at);
            counts |= !check.is_retrying();
            if !changed {
                continue;
            }
            let told = target.judge(now);
            let target = &service.targets[user.target];
            let told = told.map(|up| service.target_notice(target, up, target.cause(up, Some(user.check))));
            notices.entry(user.service).or_default().extend(told);
        }
        // A failure that all users still forgive is no verdict.
        let verdict = match outcome {
            ProbeOutcome::NotSent(_) => false,
            ProbeOutcome::Passed => true,
            ProbeOutcome::Failed(_) | ProbeOutcome::Exited(_) | ProbeOutcome::Value(_) => counts,
        };
        if verdict
            && let Some(probe) = self.probes.get_mut(id)
            && probe.known.as_ref().is_none_or(|known| known.outcome != outcome)
        {
            let spec = (*probe.spec).clone();
            probe.known = Some(KnownVerdict { probe: spec, outcome });
        }
        for (service, notices) in notices {
            self.settle(service, notices, QuorumCause::Change, now);
        }
    }

    fn set_owned(&mut self, address: IpAddr, owned: bool) {
        if owned {
            self.owned.insert(address);
        } else {
            self.owned.remove(&address);
        }
        let mut changed = false;
        for service in &mut self.services {
            changed |= service.follow(&self.owned);
        }
        if changed {
            self.outputs.push_back(JudgeOutput::ProbesChanged);
        }
    }

    fn drain(&mut self, scope: &DrainScope, until: Option<Instant>, now: Instant) {
        let notice = |service, target| BalanceNotice::Draining { service, target };
        self.for_targets(scope, now, notice, |target, timeout| {
            let until = until.or_else(|| timeout.map(|timeout| now + timeout));
            let before = std::mem::replace(&mut target.drain, DrainState::Draining { until });
            before == DrainState::No
        });
    }

    fn undrain(&mut self, scope: &DrainScope, now: Instant) {
        let notice = |service, target| BalanceNotice::Undrained { service, target };
        self.for_targets(scope, now, notice, |target, _| {
            let before = std::mem::replace(&mut target.drain, DrainState::No);
            let drained = before != DrainState::No;
            if drained {
                target.join(now);
            }
            drained
        });
    }

    /// Calls `act` for the targets in `scope`, with the `drain_timeout` of their service. Where it returns true, `notice` is put out.
    fn for_targets(
        &mut self,
        scope: &DrainScope,
        now: Instant,
        notice: impl Fn(ServiceId, TargetId) -> BalanceNotice,
        mut act: impl FnMut(&mut LiveTarget, Option<Duration>) -> bool,
    ) {
        for index in 0..self.services.len() {
            let service = &mut self.services[index];
            let (id, timeout) = (service.config.id.clone(), service.config.drain_timeout);
            let (mut any, mut notices) = (false, Vec::new());
            for target in service.targets.iter_mut().filter(|target| scope.covers(&id, target.config.id)) {
                any = true;
                if act(target, timeout) {
                    notices.push(notice(id.clone(), target.config.id));
                }
            }
            if any {
                self.settle(index, notices, QuorumCause::Change, now);
            }
        }
    }

    fn stop(&mut self) {
        let services = std::mem::take(&mut self.services);
        for mut service in services {
            if service.published.take().is_some() {
                let service = service.id().clone();
                self.outputs.push_back(JudgeOutput::Change(DesiredChange::RemoveService { service }));
            }
            if service.config.omega {
                self.farewell(&mut service, TargetCause::Stop, QuorumCause::Stop);
            }
        }
        self.probes.clear_users();
        self.probes.drop_unused();
        self.outputs.push_back(JudgeOutput::ProbesChanged);
    }

    /// Tells of everything of a service that goes.
    fn farewell(&mut self, service: &mut LiveService, cause: TargetCause<'_>, quorum: QuorumCause) {
        let told: Vec<_> = service.targets.iter().filter(|target| target.alive).collect();
        let notices: Vec<_> = told.iter().map(|target| service.target_notice(target, false, cause)).collect();
        service.targets.clear();
        self.outputs.extend(notices.into_iter().map(JudgeOutput::Notice));
        // keepalived tells of each quorum when it stops, also of one that was lost before.
        if service.quorum_up || quorum == QuorumCause::Stop {
            let threshold = service.effective_quorum.saturating_sub(u64::from(service.config.hysteresis));
            let notice = service.quorum_notice(false, quorum, threshold);
            self.outputs.push_back(JudgeOutput::Notice(notice));
        }
    }

    /// Judges a service anew, and puts out the differences, then `notices` and those of the service.
    fn settle(&mut self, index: usize, mut notices: Vec<BalanceNotice>, cause: QuorumCause, now: Instant) {
        let service = &mut self.services[index];
        notices.extend(service.advance(now));
        for target in 0..service.targets.len() {
            let target = &mut service.targets[target];
            let to = target.effective_weight();
            let from = std::mem::replace(&mut target.weight_told, to);
            // The weight of a failed target goes back to the configured one, which is no news.
            if from != to && target.alive {
                let (service, target) = (service.config.id.clone(), target.config.id);
                notices.push(BalanceNotice::Weight { service, target, from, to });
            }
        }
        notices.extend(service.judge_quorum(cause));
        notices.extend(service.judge_min_alive());
        let desired = service.desired(now);
        let changes = differences(service.id(), service.published.as_ref(), Some(&desired));
        service.published = Some(desired);
        service.due = service.next_due(now);
        self.outputs.extend(changes.into_iter().map(JudgeOutput::Change));
        self.outputs.extend(notices.into_iter().map(JudgeOutput::Notice));
    }

    /// Asserts the invariants, in debug builds.
    fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        for service in &self.services {
            let id = service.id();
            let Some(published) = &service.published else { continue };
            let serving = published.targets.iter().filter(|(_, target)| target.weight > 0);
            match service.serving_sorry() {
                Some(sorry) => {
                    let serving: Vec<_> = serving.map(|(&target, _)| target).collect();
                    assert_eq!(serving, [sorry.id], "{id}: without a quorum the sorry server serves alone");
                }
                None => assert!(
                    service.live_weight() == 0 || serving.count() > 0,
                    "{id}: a target is alive and none serves"
                ),
            }
            for target in &service.targets {
                let there = published.targets.get(&target.config.id).filter(|there| !there.sorry);
                let weight = there.map(|there| there.weight);
                let drained = target.drain != DrainState::No;
                assert!(!drained || matches!(weight, None | Some(0)), "{id}: a drained target serves");
                assert_eq!(
                    target.alive,
                    target.checks.iter().all(|check| check.up),
                    "{id}: alive without its checks"
                );
            }
        }
    }
}
