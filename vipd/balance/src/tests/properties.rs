//! Sequences of events: what holds after each of them. The judge's own invariants are asserted in it.

use std::time::Duration;

use proptest::prelude::*;

use super::{Play, ServiceTarget, at, backend::FakeKernel, heavy, id, probe, sorry, tcp, vip};
use crate::{
    Backend, BalanceConfig, DesiredTable, DrainScope, ForwardMethod, Judge, JudgeEvent, JudgeOutput,
    KernelBackend, ProbeOutcome, ProbeUse, ServiceAddress, SorryServer, TableService, VirtualServer,
};

/// Targets 11 to 16 in two services.
const TARGETS: std::ops::Range<u8> = 11..17;

#[derive(Clone, Debug)]
enum Act {
    Probe { n: u8, passed: bool },
    Wait { ms: u64 },
    Drain { n: u8, service: Option<u8>, s: Option<u64> },
    Undrain { n: u8, service: Option<u8> },
    Vip { n: u8, owned: bool },
    Reload { servers: Vec<VirtualServer> },
}

fn check(n: u8) -> impl Strategy<Value = ProbeUse> {
    (any::<bool>(), 0..3u32, 1..4u32, 0..3u64).prop_map(move |(alpha, retry, rise, delay)| ProbeUse {
        alpha,
        retry,
        rise,
        delay_before_retry: Duration::from_secs(delay),
        ..tcp(n)
    })
}

fn target(n: u8) -> impl Strategy<Value = ServiceTarget> {
    let checks = prop_oneof![
        5 => check(n).prop_map(|check| vec![check]),
        1 => Just(Vec::new()),
        2 => (check(n), check(21)).prop_map(|(own, common)| vec![own, common]),
    ];
    (checks, 0..12u32, any::<bool>()).prop_map(move |(checks, weight, inhibit)| ServiceTarget {
        checks,
        inhibit,
        ..heavy(n, weight)
    })
}

fn server(n: u8) -> impl Strategy<Value = VirtualServer> {
    let targets = TARGETS.map(target).collect::<Vec<_>>();
    let chosen = proptest::collection::vec(any::<bool>(), TARGETS.len());
    // The sorry server may be one of the targets.
    let sorries = prop_oneof![Just(None), (prop_oneof![Just(99u8), Just(12)], any::<bool>()).prop_map(Some)];
    let own = (0..30u64, prop_oneof![Just(0u8), 0..=100u8], proptest::option::of(0..20u64), any::<bool>());
    (targets, chosen, 1..20u32, 0..5u32, sorries, own).prop_map(
        move |(targets, chosen, quorum, hysteresis, with_sorry, (ramp, min_alive, drain, ha_suspend))| {
            let targets: Vec<_> = targets
                .into_iter()
                .zip(chosen)
                .filter_map(|(target, chosen)| chosen.then_some(target))
                .collect();
            let lone = targets.is_empty().then_some((99, false));
            VirtualServer {
                quorum,
                hysteresis: hysteresis.min(quorum - 1),
                sorry: with_sorry.or(lone).map(|(n, inhibit)| SorryServer { inhibit, ..sorry(n).unwrap() }),
                ramp: Duration::from_secs(ramp),
                min_alive,
                drain_timeout: drain.map(Duration::from_secs),
                ha_suspend,
                targets,
                ..VirtualServer::new(id(n), vec![vip(n)])
            }
        },
    )
}

fn servers() -> impl Strategy<Value = Vec<VirtualServer>> {
    (server(1), proptest::option::of(server(2)))
        .prop_map(|(first, second)| std::iter::once(first).chain(second).collect())
}

fn act() -> impl Strategy<Value = Act> {
    let which = || prop_oneof![6 => TARGETS, 1 => Just(21u8)];
    let of = || proptest::option::of(1..3u8);
    prop_oneof![
        12 => (which(), prop::bool::weighted(0.6)).prop_map(|(n, passed)| Act::Probe { n, passed }),
        4 => (0..5_000u64).prop_map(|ms| Act::Wait { ms }),
        2 => (TARGETS, of(), proptest::option::of(0..10u64)).prop_map(|(n, service, s)| Act::Drain { n, service, s }),
        2 => (TARGETS, of()).prop_map(|(n, service)| Act::Undrain { n, service }),
        1 => (1..3u8, any::<bool>()).prop_map(|(n, owned)| Act::Vip { n, owned }),
        1 => servers().prop_map(|servers| Act::Reload { servers }),
    ]
}

fn scope(n: u8, service: Option<u8>) -> DrainScope {
    DrainScope { service: service.map(id), address: super::ip(n), port: None }
}

fn outcome(passed: bool) -> ProbeOutcome {
    if passed { ProbeOutcome::Passed } else { ProbeOutcome::Failed("refused".to_owned()) }
}

fn perform(play: &mut Play, act: &Act) {
    match act {
        Act::Probe { n, passed } => play.probed(&probe(*n), outcome(*passed)),
        Act::Wait { ms } => play.wait(Duration::from_millis(*ms)),
        Act::Drain { n, service, s } => {
            let until = s.map(|s| play.now + Duration::from_secs(s));
            play.handle(JudgeEvent::Drain { scope: scope(*n, *service), until });
        }
        Act::Undrain { n, service } => play.handle(JudgeEvent::Undrain { scope: scope(*n, *service) }),
        Act::Vip { n, owned } => {
            play.handle(JudgeEvent::Vip { address: [10, 9, 0, *n].into(), owned: *owned });
        }
        Act::Reload { servers } => play.reload(servers.clone()),
    }
}

/// The outputs of one event.
fn outputs(judge: &mut Judge) -> Vec<JudgeOutput> {
    std::iter::from_fn(|| judge.poll_output()).collect()
}

/// Who is alive, and who serves how.
fn picture(judge: &Judge) -> Vec<String> {
    judge.views().map(|view| format!("{view:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_table_follows_what_is_desired(start in servers(), acts in proptest::collection::vec(act(), 1..60)) {
        let mut play = Play::new(start);
        let mut whole = Vec::new();
        for act in &acts {
            // `Play` compares the table with what is desired, and looks for services that are empty in between.
            perform(&mut play, act);
            for view in play.judge.views() {
                let there = &play.table.services()[view.id];
                let positive: Vec<_> = there.targets.iter().filter(|(_, target)| target.weight > 0).collect();
                if view.sorry {
                    prop_assert!(positive.len() == 1 && positive[0].1.sorry, "{view:?}: {there:?}");
                }
                for target in &view.targets {
                    prop_assert!(target.weight.is_none_or(|weight| weight <= target.full_weight));
                    let serves = target.weight.is_some_and(|weight| weight > 0);
                    prop_assert!(!serves || target.alive || view.failed_serve, "{target:?}");
                }
            }
            whole.push(play.table.clone());
        }
        // Time brings every ramp and every drain to its end, and then nothing is due.
        play.wait(Duration::from_secs(100_000));
        prop_assert_eq!(play.judge.poll_timeout(), None);
    }

    #[test]
    fn the_same_configuration_again_changes_nothing(start in servers(), acts in proptest::collection::vec(act(), 1..40)) {
        let mut play = Play::new(start.clone());
        let mut config = start;
        for act in &acts {
            perform(&mut play, act);
            if let Act::Reload { servers } = act {
                config.clone_from(servers);
            }
        }
        let before = (picture(&play.judge), play.judge.probes().map(|need| need.id).collect::<Vec<_>>());
        play.judge.handle_timeout(play.now);
        outputs(&mut play.judge);
        play.judge.handle(JudgeEvent::Reload(BalanceConfig::new(config, false).unwrap()), play.now);
        let after = (picture(&play.judge), play.judge.probes().map(|need| need.id).collect::<Vec<_>>());
        prop_assert_eq!(after, before);
        prop_assert_eq!(outputs(&mut play.judge), [JudgeOutput::ProbesChanged]);
    }

    #[test]
    fn a_known_verdict_survives_a_restart(start in servers(), acts in proptest::collection::vec(act(), 1..40)) {
        // Whatever a probe has said last, without failures that are forgiven and successes that are too few.
        let plain = |mut servers: Vec<VirtualServer>| {
            for check in servers.iter_mut().flat_map(|server| &mut server.targets).flat_map(|target| &mut target.checks) {
                (check.retry, check.rise) = (0, 1);
            }
            servers.iter_mut().for_each(|server| server.ha_suspend = false);
            servers
        };
        let config = plain(start);
        let mut play = Play::new(config.clone());
        for act in acts.iter().filter(|act| matches!(act, Act::Probe { .. } | Act::Wait { .. })) {
            perform(&mut play, act);
        }
        let mut judge = Judge::new(play.judge.known().cloned());
        judge.handle(JudgeEvent::Reload(BalanceConfig::new(config, false).unwrap()), play.now);
        let alive = |judge: &Judge| -> Vec<Vec<bool>> {
            judge.views().map(|view| view.targets.iter().map(|target| target.alive).collect()).collect()
        };
        prop_assert_eq!(alive(&judge), alive(&play.judge));
        // The table of the new one is complete.
        let mut table = DesiredTable::default();
        for output in outputs(&mut judge) {
            if let JudgeOutput::Change(change) = output {
                table.apply(change);
            }
        }
        prop_assert_eq!(table, judge.desired());
    }

    /// From whatever is there, no operation fails, and no service that serves before and after is empty in between.
    #[test]
    fn operations_lead_from_any_table_to_the_desired_one(
        before in servers(),
        after in servers(),
        acts in proptest::collection::vec(act(), 0..30),
        weight in 0..3u32,
    ) {
        let mut backend = KernelBackend::new([vip(1), vip(2)]);
        let mut play = Play::new(before);
        let mut kernel = FakeKernel::default();
        for operation in backend.compare(&kernel.table, &play.table) {
            prop_assert_eq!(kernel.apply(&operation), Ok(()));
        }
        // What somebody else left.
        if let Some(row) = kernel.table.values_mut().next().and_then(|service| service.targets.values_mut().next()) {
            (row.weight, row.forward) = (weight, None);
        }
        play.reload(after);
        for act in &acts {
            perform(&mut play, act);
        }
        let serves = |kernel: &FakeKernel| -> Vec<ServiceAddress> {
            let serving = |service: &&TableService| service.targets.values().any(|row| row.weight > 0);
            kernel.table.iter().filter(|(_, service)| serving(service)).map(|(&address, _)| address).collect()
        };
        let (start, mut known) = (serves(&kernel), kernel.table.clone());
        let operations = backend.compare(&kernel.table, &play.table);
        let mut states = Vec::new();
        for operation in &operations {
            prop_assert_eq!(kernel.apply(operation), Ok(()), "{:?}", operation);
            backend.applied(&mut known, operation);
            states.push(serves(&kernel));
        }
        prop_assert_eq!(&known, &kernel.table);
        prop_assert_eq!(backend.compare(&kernel.table, &play.table), []);
        let end = serves(&kernel);
        for address in start.iter().filter(|address| end.contains(address)) {
            prop_assert!(states.iter().all(|state| state.contains(address)), "{} is empty in between", address);
        }
    }

    /// An independent reading of retry and rise for one check: strings of results.
    #[test]
    fn retry_and_rise_count_runs_of_results(
        results in proptest::collection::vec(any::<bool>(), 1..40),
        (alpha, retry, rise) in (any::<bool>(), 0..4usize, 1..4usize),
    ) {
        let check = ProbeUse {
            alpha,
            retry: retry as u32,
            rise: rise as u32,
            delay_before_retry: Duration::ZERO,
            ..tcp(11)
        };
        let target = ServiceTarget { checks: vec![check], ..ServiceTarget::new(at(11), ForwardMethod::Direct) };
        let mut play = Play::new(vec![super::service([target])]);
        let mut up = !alpha;
        for (n, passed) in results.iter().enumerate() {
            play.probed(&probe(11), outcome(*passed));
            let run = results[..=n].iter().rev().take_while(|result| *result == passed).count();
            let needed = match (n, passed) {
                (0, _) => 1,
                (_, true) => rise,
                (_, false) => retry + 1,
            };
            // The first result has been counted already where it took effect at once.
            let turned = *passed != up && run >= needed;
            up = if turned { *passed } else { up };
            let alive = play.judge.views().next().unwrap().targets[0].alive;
            prop_assert_eq!(alive, up, "after {:?}", &results[..=n]);
        }
    }
}
