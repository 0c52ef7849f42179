//! Whole rounds over made-up targets and a made-up kernel: schedule, judge, reconciler, with restarts, reloads and refusals.
//!
//! Everything follows from a seed, which a failure names.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use vipd_core::time::Instant;

use super::{ServiceTarget, at, backend::FakeKernel, heavy, id, probe, sorry, tcp, vip};
use crate::{
    Backend, BalanceConfig, DesiredTable, ForwardMethod, Judge, JudgeEvent, JudgeOutput, KernelBackend,
    OperationFailure, ProbeId, ProbeOutcome, ProbeSpec, ProbeUse, Reconcile, Reconciler, Schedule,
    TableOperation, TableService, TableTarget, VirtualServer,
};

/// What is planted in the driver, to see that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// EEXIST and ENOENT are taken for success, as keepalived does.
    TrustsExists,
    /// A reload forgets to bring the schedule up to date.
    ForgetsSync,
    /// A restart begins without reading the table.
    NeverReads,
}

struct World {
    rng: Rng,
    now: Instant,
    planted: Planted,
    /// Which targets are well, by last octet.
    well: BTreeMap<u8, bool>,
    config: Vec<VirtualServer>,
    judge: Judge,
    schedule: Schedule,
    running: BTreeMap<ProbeId, (Instant, ProbeOutcome)>,
    kernel: FakeKernel,
    table: DesiredTable,
    reconciler: Reconciler<KernelBackend>,
    /// Operations are refused by chance, and others change the table.
    trouble: bool,
    /// Somebody else is quicker by chance, and does what an operation was to do, in another way.
    races: bool,
}

const TARGETS: std::ops::Range<u8> = 11..19;

fn spec_number(spec: &ProbeSpec) -> u8 {
    match spec.peer().map(|peer| peer.to.ip()) {
        Some(std::net::IpAddr::V4(address)) => address.octets()[3],
        other => panic!("{other:?}"),
    }
}

impl World {
    fn new(seed: u64, planted: Planted) -> Self {
        let mut rng = Rng::with_seed(seed);
        let config = servers(&mut rng);
        let mut world = Self {
            rng,
            now: Instant::from_nanos(1_000_000_000),
            planted,
            well: TARGETS.map(|n| (n, true)).collect(),
            config,
            judge: Judge::new([]),
            schedule: Schedule::new(10),
            running: BTreeMap::new(),
            kernel: FakeKernel::default(),
            table: DesiredTable::default(),
            reconciler: Reconciler::new(KernelBackend::default()),
            trouble: true,
            races: true,
        };
        world.reload(true);
        world
    }

    fn reload(&mut self, start: bool) {
        let config = BalanceConfig::new(self.config.clone(), false).unwrap();
        self.handle(JudgeEvent::Reload(config));
        if start || self.planted != Planted::ForgetsSync {
            self.schedule.sync(self.judge.probes(), self.now);
        }
    }

    fn handle(&mut self, event: JudgeEvent) {
        self.judge.handle(event, self.now);
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.judge.poll_output() {
            if let JudgeOutput::Change(change) = output {
                self.table.apply(change);
                self.reconciler.handle_desired();
            }
        }
        self.reconcile();
    }

    fn reconcile(&mut self) {
        let mut turns = 0;
        while let Some(action) = self.reconciler.poll(&self.table, self.now) {
            turns += 1;
            assert!(turns < 10_000, "the reconciler never rests");
            match action {
                Reconcile::Read if self.trouble && self.rng.u8(..) < 10 => {
                    let refused = Err(OperationFailure::Refused("no buffer".to_owned()));
                    self.reconciler.handle_read(refused, self.now);
                }
                Reconcile::Read if self.planted == Planted::NeverReads => {
                    self.reconciler.handle_read(Ok(BTreeMap::new()), self.now);
                }
                Reconcile::Read => self.reconciler.handle_read(Ok(self.kernel.table.clone()), self.now),
                Reconcile::Apply(operation) => {
                    if self.trouble && self.rng.u8(..) < 10 {
                        self.meddle();
                    }
                    let result = self.apply(&operation);
                    self.reconciler.handle_applied(result);
                }
            }
        }
    }

    fn apply(&mut self, operation: &TableOperation) -> Result<(), OperationFailure> {
        if self.trouble && self.rng.u8(..) < 10 {
            return Err(OperationFailure::Refused("no memory".to_owned()));
        }
        if self.races && self.rng.u8(..) < 60 {
            self.race(operation);
        }
        let result = self.kernel.apply(operation);
        let trusts = matches!(self.planted, Planted::TrustsExists | Planted::NeverReads);
        if trusts && matches!(result, Err(OperationFailure::Exists | OperationFailure::Missing)) {
            return Ok(());
        }
        result
    }

    /// Somebody else is quicker, so that the operation is sure to fail.
    fn race(&mut self, operation: &TableOperation) {
        let table = &mut self.kernel.table;
        match *operation {
            TableOperation::NewService { service, .. } => {
                let targets = [(at(66), stray())].into();
                table.entry(service).or_insert_with(|| TableService { targets, ..TableService::default() });
            }
            TableOperation::NewTarget { service, target, .. } => {
                if let Some(there) = table.get_mut(&service) {
                    there.targets.entry(target).or_insert_with(stray);
                }
            }
            TableOperation::SetTarget { service, target, .. }
            | TableOperation::DelTarget { service, target } => {
                if let Some(there) = table.get_mut(&service) {
                    there.targets.remove(&target);
                }
            }
            TableOperation::SetService { service, .. } | TableOperation::DelService { service } => {
                table.remove(&service);
            }
        }
    }

    /// Somebody else changes the table.
    fn meddle(&mut self) {
        let services: Vec<_> = self.kernel.table.keys().copied().collect();
        let Some(&service) = services.get(self.rng.usize(..services.len().max(1))) else { return };
        let Some(there) = self.kernel.table.get_mut(&service) else { return };
        match self.rng.u8(..4) {
            0 => _ = self.kernel.table.remove(&service),
            1 => _ = there.targets.pop_first(),
            _ => {
                if let Some(row) = there.targets.values_mut().next() {
                    row.weight = 77;
                }
            }
        }
    }

    /// vipd is killed and started again: the table and what was kept of verdicts stay.
    fn restart(&mut self) {
        let known: Vec<_> = self.judge.known().cloned().collect();
        let own = self.reconciler.backend().own().clone();
        self.judge = Judge::new(known);
        self.reconciler = Reconciler::new(KernelBackend::new(own));
        self.schedule = Schedule::new(10);
        self.running.clear();
        self.table = DesiredTable::default();
        self.reload(true);
    }

    /// What happens at this moment.
    fn step(&mut self) {
        while let Some(id) = self.schedule.poll_due(self.now) {
            let Some(need) = self.judge.probes().find(|need| need.id == id) else { continue };
            let well = self.well[&spec_number(need.spec)];
            let outcome = match self.rng.u8(..) {
                0..3 if self.trouble => ProbeOutcome::NotSent("no socket".to_owned()),
                // Lost packets.
                3..9 if self.trouble => ProbeOutcome::Failed("timed out".to_owned()),
                _ if well => ProbeOutcome::Passed,
                _ => ProbeOutcome::Failed("connection refused".to_owned()),
            };
            self.running.insert(id, (self.now + Duration::from_millis(self.rng.u64(1..2_000)), outcome));
        }
        let ended: Vec<_> =
            self.running.iter().filter(|(_, (at, _))| *at <= self.now).map(|(&id, _)| id).collect();
        for probe in ended {
            let Some((_, outcome)) = self.running.remove(&probe) else { continue };
            self.handle(JudgeEvent::Probed { probe, outcome, took: Duration::ZERO });
            if let Some(pause) = self.judge.pause(probe) {
                self.schedule.ended(probe, pause, self.now);
            }
        }
        if self.judge.poll_timeout().is_some_and(|due| due <= self.now) {
            self.judge.handle_timeout(self.now);
            self.take_outputs();
        }
        self.reconcile();
    }

    /// Goes to the next moment at which something happens, at most `most` ahead.
    fn advance(&mut self, most: Duration) {
        let runs = self.running.values().map(|(at, _)| *at).min();
        let timers =
            [self.schedule.poll_timeout(), self.judge.poll_timeout(), self.reconciler.poll_timeout(), runs];
        let next = timers.into_iter().flatten().min().unwrap_or(self.now + most);
        self.now = next.clamp(self.now + Duration::from_millis(1), self.now + most);
        self.step();
    }

    fn mischief(&mut self) {
        let n = self.rng.u8(TARGETS);
        match self.rng.u8(..20) {
            0..9 => {
                let well = self.rng.bool();
                self.well.insert(n, well);
            }
            9..12 => {
                let until = self.rng.bool().then(|| self.now + Duration::from_secs(self.rng.u64(1..60)));
                self.handle(JudgeEvent::Drain { scope: scope(n), until });
            }
            12..15 => self.handle(JudgeEvent::Undrain { scope: scope(n) }),
            15..17 => {
                self.config = servers(&mut self.rng);
                self.reload(false);
            }
            17 => self.restart(),
            _ => self.meddle(),
        }
    }

    /// Whether everything is as it should be, some time after the last trouble.
    fn judge_calm(&self) -> Result<(), String> {
        for view in self.judge.views() {
            for target in &view.targets {
                let std::net::IpAddr::V4(address) = target.id.address else { unreachable!() };
                let well = self.well[&address.octets()[3]];
                if target.alive != well {
                    return Err(format!("{target:?} is well: {well}"));
                }
            }
            let service = self.judge.desired();
            let service = &service.services()[view.id];
            let any_well = view.targets.iter().any(|target| target.alive && target.full_weight > 0);
            let drained =
                view.targets.iter().all(|target| !target.alive || target.weight.is_none_or(|w| w == 0));
            if any_well && !drained && service.weight() == 0 {
                return Err(format!("{view:?}: nobody serves"));
            }
        }
        if self.table != self.judge.desired() {
            return Err("the differences do not lead to what is desired".to_owned());
        }
        let left = self.reconciler.backend().compare(&self.kernel.table, &self.judge.desired());
        if !left.is_empty() {
            return Err(format!("the kernel's table differs: {left:?}"));
        }
        Ok(())
    }

    fn run(seed: u64, planted: Planted) -> Result<(), String> {
        let mut world = Self::new(seed, planted);
        for round in 0..4 {
            (world.trouble, world.races) = (true, true);
            for _ in 0..200 {
                if world.rng.u8(..) < 25 {
                    world.mischief();
                }
                world.advance(Duration::from_secs(5));
            }
            // Calm: time enough for every retry, ramp, drain and wait.
            world.trouble = false;
            world.reconciler.handle_doubt();
            for races in [true, false] {
                world.races = races;
                let until = world.now + Duration::from_secs(200);
                while world.now < until {
                    world.advance(Duration::from_secs(5));
                }
            }
            world.judge_calm().map_err(|error| format!("seed {seed}, round {round}: {error}"))?;
        }
        Ok(())
    }
}

fn stray() -> TableTarget {
    TableTarget { weight: 77, forward: Some(ForwardMethod::Nat), upper_threshold: 0, lower_threshold: 0 }
}

fn scope(n: u8) -> crate::DrainScope {
    crate::DrainScope { service: None, address: at(n).address, port: None }
}

fn servers(rng: &mut Rng) -> Vec<VirtualServer> {
    let chosen: Vec<u8> = (1..4).filter(|_| rng.u8(..4) > 0).collect();
    chosen
        .into_iter()
        .map(|n| {
            let chosen: Vec<u8> = TARGETS.filter(|_| rng.bool()).collect();
            let targets: Vec<_> = chosen
                .into_iter()
                .map(|n| {
                    let check = ProbeUse {
                        alpha: rng.bool(),
                        retry: rng.u32(..4),
                        rise: rng.u32(1..4),
                        delay_loop: Duration::from_secs(rng.u64(1..20)),
                        delay_before_retry: Duration::from_secs(rng.u64(..4)),
                        probe: probe(n),
                        ..tcp(n)
                    };
                    let check = ProbeUse { warmup: check.delay_loop, ..check };
                    ServiceTarget { checks: vec![check], inhibit: rng.bool(), ..heavy(n, rng.u32(1..20)) }
                })
                .collect();
            VirtualServer {
                quorum: rng.u32(1..30),
                sorry: (targets.is_empty() || rng.bool()).then(|| sorry(99)).flatten(),
                ramp: Duration::from_secs(rng.u64(..30)),
                min_alive: if rng.bool() { rng.u8(..101) } else { 0 },
                drain_timeout: rng.bool().then(|| Duration::from_secs(rng.u64(..60))),
                targets,
                ..VirtualServer::new(id(n), vec![vip(n)])
            }
        })
        .collect()
}

#[test]
fn after_trouble_the_table_is_what_the_targets_are() {
    for seed in 0..60 {
        World::run(seed, Planted::Nothing).unwrap();
    }
}

#[test]
fn planted_faults_are_found() {
    for planted in [Planted::TrustsExists, Planted::ForgetsSync, Planted::NeverReads] {
        let found = (0..60).find_map(|seed| World::run(seed, planted).err());
        assert!(found.is_some(), "{planted:?} is not found");
    }
}
