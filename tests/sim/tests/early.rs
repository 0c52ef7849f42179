//! Stories of early takeover: what 7.5 of the design promises, told by hand and measured; the seeds tell the others.
//!
//! Probes every 3.3 ms, three of them a silence; adverts every second.

use std::time::Duration;

use vipd_common::Version;
use vipd_core::{
    early::ProbeTiming,
    vrrp::{LeasePolicy, Reason, Settings, StateName},
};
use vipd_sim::{
    clock::{MILLI, SECOND, Time},
    plan::{Fault, Plan, settings},
    runner,
    world::World,
};

const INTERVAL: Duration = Duration::from_secs(1);
const FOR_GOOD: Time = 1000 * SECOND;
/// Of a frame, in these plans.
const DELAY: Time = MILLI / 10;
/// Until which nothing happens.
const BEGIN: Time = 20 * SECOND;
const DETECT: Time = 9_900_000;
/// A silence, the answer that the last probe may still have, and an engine that wakes up.
const CLAIMS_WITHIN: Time = DETECT + 2 * MILLI + MILLI / 10;

fn timing() -> ProbeTiming {
    ProbeTiming::new(Duration::from_micros(3_300), 3, true)
}

fn of(nodes: &[Settings]) -> Plan {
    Plan::quiet(nodes.iter().map(|node| vec![*node]).collect()).probing(timing())
}

fn cluster(priorities: &[u8]) -> Plan {
    let nodes: Vec<Settings> = priorities.iter().map(|priority| settings(1, *priority, INTERVAL)).collect();
    of(&nodes)
}

/// What came of a plan from [`BEGIN`] on.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The longest that nobody owned, and that two did.
    none: Time,
    two: Time,
    /// Who became master, and why, in this order.
    masters: Vec<(usize, Reason)>,
    owners: Vec<usize>,
}

fn tell(plan: Plan, for_: Time) -> Outcome {
    let mut world = World::new(Plan { end: BEGIN + for_, ..plan }, false);
    world.run_until(BEGIN - 1);
    assert_eq!(world.owners(0), [0], "the first is the best, and settled");
    let before = world.history.len();
    let (mut none, mut ownerless) = (0, None);
    while world.step() {
        match (world.owners(0).is_empty(), ownerless) {
            (true, None) => ownerless = Some(world.now),
            (false, Some(since)) => (none, ownerless) = (none.max(world.now - since), None),
            _ => {}
        }
    }
    assert!(world.violation.is_none(), "{}", world.violation.as_ref().expect("just seen"));
    let masters = world.history[before..].iter().filter(|change| change.to == StateName::Master);
    let masters = masters.map(|change| (change.node, change.reason)).collect();
    Outcome { none, two: world.stats.longest_overlap, masters, owners: world.owners(0) }
}

fn with(plan: Plan, faults: &[(Time, Fault)], for_: Time) -> Outcome {
    tell(faults.iter().fold(plan, |plan, (after, fault)| plan.with(BEGIN + after, fault.clone())), for_)
}

fn cut(from: usize, to: usize, for_: Time) -> Fault {
    Fault::Cut { from, to, for_ }
}

const SILENT: Reason = Reason::HostSilent;

#[test]
fn a_dead_host_is_replaced_within_a_detection_time() {
    for fault in [Fault::Crash { node: 0, for_: FOR_GOOD }, Fault::LinkDown { node: 0, for_: FOR_GOOD }] {
        for after in (0..4 * MILLI).step_by(310_000) {
            let outcome = with(cluster(&[150, 100]), &[(after, fault.clone())], 4 * SECOND);
            assert_eq!(outcome.masters, [(1, SILENT)]);
            assert_eq!((outcome.two, outcome.owners), (0, vec![1]));
            assert!((8 * MILLI..=CLAIMS_WITHIN).contains(&outcome.none), "{}", outcome.none);
        }
    }
}

/// Each claim takes its time, and all of them together longer than two probe intervals: for so long the claimant must not seem to sleep.
#[test]
fn a_dead_host_of_many_routers_is_replaced_in_all_of_them() {
    let routers = |priority| (1..=30).map(|vrid| settings(vrid, priority, INTERVAL)).collect();
    for seed in [1, 2] {
        let mut plan = Plan { seed, ..Plan::quiet(vec![routers(150), routers(100)]).probing(timing()) };
        (plan.network.stall, plan.network.stall_at_most, plan.calm) = (1_000_000, MILLI / 4, FOR_GOOD);
        let outcome = with(plan, &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], SECOND);
        assert_eq!(outcome.masters, [(1, SILENT); 30]);
    }
}

#[test]
fn a_dead_daemon_is_nobodys_loss() {
    for fault in [Fault::Kill { node: 0, for_: 2 * SECOND }, Fault::Freeze { node: 0, for_: 2 * SECOND }] {
        let outcome = with(cluster(&[150, 100]), &[(0, fault)], 5 * SECOND);
        assert_eq!(
            outcome,
            Outcome { none: 0, two: 0, masters: vec![], owners: vec![0] }.inherited(&outcome)
        );
    }
    // Longer than the lease: VRRP's own takeover, as without probes.
    let outcome = with(cluster(&[150, 100]), &[(0, Fault::Kill { node: 0, for_: FOR_GOOD })], 5 * SECOND);
    assert_eq!((outcome.none, &outcome.masters[..]), (0, &[(1, Reason::MasterDown)][..]));
    assert!(outcome.two <= DELAY, "{}", outcome.two);
}

impl Outcome {
    /// A daemon that is started again goes on with what it inherits.
    fn inherited(self, found: &Self) -> Self {
        let inherits = found.masters == [(0, Reason::Inherited)];
        if inherits { Self { masters: found.masters.clone(), ..self } } else { self }
    }
}

/// Both sponsors gone: the master falls silent before the backup claims.
#[test]
fn a_frozen_daemon_that_is_cut_off_has_no_second_owner() {
    for after in (0..4 * MILLI).step_by(500_000) {
        let faults = [(after, Fault::Freeze { node: 0, for_: 6 * SECOND }), (2 * MILLI, cut(1, 0, FOR_GOOD))];
        let outcome = with(cluster(&[150, 100]), &faults, 5 * SECOND);
        assert_eq!((outcome.two, &outcome.masters[..]), (0, &[(1, SILENT)][..]));
        assert!(outcome.none < DETECT, "{}", outcome.none);
    }
}

/// The way to the master is cut long before its daemon freezes: the backup knows, and VRRP's timer stands alone.
#[test]
fn a_backup_that_gets_no_answers_leaves_it_to_vrrp() {
    for after in [35 * MILLI, 100 * MILLI, 3 * SECOND] {
        let faults = [(0, cut(1, 0, FOR_GOOD)), (after, Fault::Freeze { node: 0, for_: FOR_GOOD })];
        let outcome = with(cluster(&[150, 100]), &faults, 10 * SECOND);
        assert_eq!((outcome.none, &outcome.masters[..]), (0, &[(1, Reason::MasterDown)][..]));
        assert!(outcome.two < SECOND, "{}", outcome.two);
    }
}

#[test]
fn a_machine_that_slept_finds_its_successor() {
    for after in [0, 1_700_000] {
        let pause = Fault::Pause { node: 0, for_: 300 * MILLI, clock_stops: false };
        let outcome = with(cluster(&[150, 100]), &[(after, pause.clone())], 600 * MILLI);
        assert_eq!((outcome.two, outcome.masters, outcome.owners), (0, vec![(1, SILENT)], vec![1]));
        assert!(outcome.none <= CLAIMS_WITHIN, "{}", outcome.none);
        // And takes it back as it is configured to.
        let outcome = with(cluster(&[150, 100]), &[(after, pause)], 5 * SECOND);
        assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::Preempting)]);
    }
    // The clock stood still too: it answers until the first probe with a claim, which does not rest, however long nothing is heard.
    for for_ in [300 * MILLI, 3_900 * MILLI] {
        let pause = Fault::Pause { node: 0, for_, clock_stops: true };
        let outcome = with(cluster(&[150, 100]), &[(0, pause)], 9 * SECOND);
        assert!(outcome.two <= 3_300_000 + DELAY + MILLI / 10, "{}", outcome.two);
    }
}

#[test]
fn a_false_alarm_has_two_owners_for_the_delay_of_the_claim() {
    let outcome = with(cluster(&[150, 100]), &[(0, cut(0, 1, 30 * MILLI))], 5 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::Preempting)]);
    assert!(outcome.two <= DELAY && outcome.none == 0, "{outcome:?}");
    // For good, where VRRP has two owners all the time: also when the claim is settled.
    let outcome = with(cluster(&[150, 100]), &[(0, cut(0, 1, FOR_GOOD))], 30 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT)]);
    assert!(outcome.two <= DELAY && outcome.none == 0, "{outcome:?}");
    // Who is heard again preempts as ever.
    let outcome = with(cluster(&[150, 100]), &[(0, cut(0, 1, 20 * SECOND))], 30 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::Preempting)]);
    assert!(outcome.two <= DELAY && outcome.none == 0, "{outcome:?}");
}

/// R11: who takes part and does not hear this node would be a second owner beside it.
#[test]
fn who_is_not_heard_preempts_nobody() {
    // One that comes back to a way that is dark in one direction.
    let faults = [(0, Fault::Stop { node: 0, for_: SECOND }), (500 * MILLI, cut(0, 1, 10 * SECOND))];
    let outcome = with(cluster(&[150, 100]), &faults, 9 * SECOND);
    assert!(outcome.two <= DELAY && outcome.none == 0 && outcome.owners == [1], "{outcome:?}");
    let outcome = with(cluster(&[150, 100]), &faults, 20 * SECOND);
    assert!(outcome.two <= DELAY && outcome.none == 0 && outcome.owners == [0], "{outcome:?}");
    // A third that hears it preempts the claimant, and is not preempted.
    let outcome = with(cluster(&[150, 100, 120]), &[(0, cut(0, 1, FOR_GOOD))], 30 * SECOND);
    assert!(outcome.two <= DELAY && outcome.none == 0 && outcome.owners == [2], "{outcome:?}");
    // The deaf one dies: the down timer is as ever.
    let faults = [(0, cut(0, 1, FOR_GOOD)), (20 * SECOND, Fault::Kill { node: 1, for_: FOR_GOOD })];
    let outcome = with(cluster(&[150, 100]), &faults, 30 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::MasterDown)]);
    let faults = [(0, cut(0, 1, FOR_GOOD)), (20 * SECOND, Fault::Crash { node: 1, for_: FOR_GOOD })];
    let outcome = with(cluster(&[150, 100]), &faults, 30 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::MasterDown)]);
    assert!(outcome.none < 4 * SECOND, "{outcome:?}");
}

/// R11: of two masters the one that is not heard gives way, since the other does not know. Whatever made them masters: the other's way back from a
/// restart, from the dead or from a fault, or an offer that nobody takes.
#[test]
fn a_master_that_is_not_heard_gives_way() {
    let faults = [
        Fault::Restart { node: 1, for_: 6 * SECOND, instances: None },
        Fault::Kill { node: 1, for_: 8 * SECOND },
        Fault::Freeze { node: 1, for_: 8 * SECOND },
        Fault::Tracked { node: 1, router: 0, for_: 8 * SECOND },
        Fault::HandOver { node: 1, router: 0, lowers: false, for_: 0 },
        Fault::Stop { node: 1, for_: 8 * SECOND },
    ];
    for fault in faults {
        let dark = (0, cut(0, 1, FOR_GOOD));
        let outcome = with(cluster(&[150, 100]), &[dark, (10 * SECOND, fault.clone())], 40 * SECOND);
        // The other's first advert, and the one by which that is known to go on.
        assert!(outcome.two <= 2 * SECOND + 10 * MILLI && outcome.owners == [1], "{fault:?}: {outcome:?}");
    }
    // The way is dead before the other is there.
    let faults = [(0, Fault::Stop { node: 1, for_: 2 * SECOND }), (SECOND, cut(0, 1, FOR_GOOD))];
    let outcome = with(cluster(&[150, 100]), &faults, 20 * SECOND);
    assert!(outcome.two <= 2 * SECOND + 10 * MILLI && outcome.owners == [1], "{outcome:?}");
}

/// R11: a backup that another one does not hear does not claim beside it.
#[test]
fn who_is_not_heard_does_not_claim() {
    let faults = [(0, cut(1, 2, FOR_GOOD)), (5 * SECOND, Fault::Crash { node: 0, for_: FOR_GOOD })];
    let outcome = with(cluster(&[200, 150, 100]), &faults, 20 * SECOND);
    assert_eq!((outcome.masters, outcome.owners), (vec![(2, SILENT)], vec![2]));
    assert!(outcome.two == 0 && outcome.none <= CLAIMS_WITHIN + 10 * MILLI, "{}", outcome.none);
}

#[test]
fn the_price_is_a_path_that_is_dark_both_ways() {
    let outcome =
        with(cluster(&[150, 100]), &[(0, Fault::Partition { side: 1, for_: 30 * MILLI })], 5 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::Preempting)]);
    let rest = 30 * MILLI - 8 * MILLI + 3_300_000 + 2 * DELAY;
    assert!(outcome.none == 0 && outcome.two <= rest, "{outcome:?}");
}

/// R2: after a false alarm nothing is claimed for half a minute; VRRP is as it was.
#[test]
fn a_false_alarm_disarms() {
    let dark = Fault::Partition { side: 1, for_: 30 * MILLI };
    let faults = [
        (0, dark.clone()),
        (10 * SECOND, dark.clone()),
        (35 * SECOND, dark.clone()),
        (70 * SECOND, dark.clone()),
    ];
    let claims = |faults: &[(Time, Fault)], for_| {
        let outcome = with(cluster(&[150, 100]), faults, for_);
        outcome.masters.iter().filter(|(_, reason)| *reason == SILENT).count()
    };
    assert_eq!(claims(&faults[..2], 20 * SECOND), 1);
    assert_eq!(claims(&faults[..3], 40 * SECOND), 2);
    // The second has doubled it.
    assert_eq!(claims(&faults, 80 * SECOND), 2);
}

#[test]
fn what_befalls_the_backup_or_the_way_to_the_master_moves_nothing() {
    let faults = [
        cut(1, 0, FOR_GOOD),
        Fault::Freeze { node: 1, for_: 2 * SECOND },
        Fault::Kill { node: 1, for_: FOR_GOOD },
        Fault::Crash { node: 1, for_: FOR_GOOD },
        Fault::Pause { node: 1, for_: 300 * MILLI, clock_stops: false },
        Fault::Freeze { node: 0, for_: 30 * MILLI },
        Fault::Restart { node: 0, for_: 200 * MILLI, instances: None },
    ];
    for fault in faults {
        let outcome = with(cluster(&[150, 100]), &[(0, fault.clone())], 6 * SECOND);
        let moved = outcome.masters.iter().any(|(_, reason)| *reason != Reason::Inherited);
        assert!(!moved && outcome.none == 0 && outcome.two == 0, "{fault:?}: {outcome:?}");
    }
}

#[test]
fn without_preemption_the_claimant_keeps_what_it_has_taken() {
    let nopreempt = |priority| Settings { preempt: false, ..settings(1, priority, INTERVAL) };
    let pause = Fault::Pause { node: 0, for_: 300 * MILLI, clock_stops: false };
    let outcome = with(of(&[nopreempt(150), nopreempt(100)]), &[(0, pause)], 10 * SECOND);
    assert_eq!((outcome.masters, outcome.owners), (vec![(1, SILENT)], vec![1]));
}

#[test]
fn of_three_the_better_backup_claims_and_the_other_follows() {
    let crash = |node| Fault::Crash { node, for_: FOR_GOOD };
    let outcome = with(cluster(&[150, 100, 120]), &[(0, crash(0))], 4 * SECOND);
    assert_eq!((outcome.two, outcome.masters), (0, vec![(2, SILENT)]));
    assert!(outcome.none <= CLAIMS_WITHIN);
    // Both at once: the last waits for the better one.
    let outcome = with(cluster(&[150, 100, 120]), &[(0, crash(0)), (MILLI, crash(2))], 4 * SECOND);
    assert_eq!((outcome.two, outcome.masters), (0, vec![(1, SILENT)]));
    assert!(outcome.none <= CLAIMS_WITHIN + MILLI + 3_300_000 + 3 * MILLI / 2, "{}", outcome.none);
}

#[test]
fn a_claim_is_settled_when_the_lease_it_has_outbid_is_over() {
    // A third that is better than the claimant, and was away, preempts as it is configured to.
    let faults =
        [(0, Fault::Freeze { node: 1, for_: 300 * MILLI }), (0, Fault::Crash { node: 0, for_: FOR_GOOD })];
    let outcome = with(cluster(&[150, 120, 100]), &faults, 12 * SECOND);
    assert_eq!(outcome.masters, [(2, SILENT), (1, Reason::Preempting)]);
    assert_eq!(outcome.owners, [1]);
}

#[test]
fn a_group_is_claimed_whole() {
    let node = |priority: u8| (1..4).map(|vrid| settings(vrid, priority, INTERVAL)).collect();
    let plan = Plan::quiet(vec![node(200), node(100)]).grouped().probing(timing());
    let outcome = with(plan, &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], 4 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT); 3]);
    assert!(outcome.none <= CLAIMS_WITHIN && outcome.two == 0);
}

#[test]
fn a_handover_and_a_tracked_fault_are_no_silence() {
    for fault in
        [Fault::Stop { node: 0, for_: FOR_GOOD }, Fault::Tracked { node: 0, router: 0, for_: 5 * SECOND }]
    {
        let outcome = with(cluster(&[150, 100]), &[(0, fault)], 3 * SECOND);
        assert!(outcome.masters.iter().all(|(_, reason)| *reason != SILENT), "{outcome:?}");
        assert_eq!(outcome.owners, [1]);
    }
}

#[test]
fn who_fences_its_master_does_not_claim() {
    let fences = Settings { fence: true, ..settings(1, 100, INTERVAL) };
    let crash = Fault::Crash { node: 0, for_: FOR_GOOD };
    let outcome = with(of(&[settings(1, 150, INTERVAL), fences]), &[(0, crash)], 20 * SECOND);
    assert_eq!(outcome.masters, [(1, Reason::MasterDown)]);
}

/// No claim is higher than 254: a master of that priority is outbid by a greater address, or not at all.
#[test]
fn the_priority_of_an_owner_is_not_claimed() {
    let crash = Fault::Crash { node: 0, for_: FOR_GOOD };
    let outcome = with(cluster(&[254, 100]), &[(0, crash.clone())], 6 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT)], "its address is greater");
    let mut plan = cluster(&[254, 100]);
    plan.nodes[1].address = [192, 0, 2, 0].into();
    assert_eq!(with(plan, &[(0, crash.clone())], 6 * SECOND).masters, [(1, Reason::MasterDown)]);
    assert_eq!(with(cluster(&[255, 100]), &[(0, crash)], 6 * SECOND).masters, [(1, Reason::MasterDown)]);
}

/// Over version 2 it is the same. An address owner there discards adverts: it is not claimed from, and a probe does not outrank it either.
#[test]
fn version_2_is_taken_over_as_early() {
    let of = |priorities: [u8; 2]| {
        of(&priorities.map(|priority| Settings { version: Version::V2, ..settings(1, priority, INTERVAL) }))
    };
    let outcome = with(of([150, 100]), &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], 4 * SECOND);
    assert_eq!((outcome.two, outcome.masters, outcome.owners), (0, vec![(1, SILENT)], vec![1]));
    assert!(outcome.none <= CLAIMS_WITHIN, "{}", outcome.none);
    let outcome = with(of([150, 100]), &[(0, cut(0, 1, 30 * MILLI))], 5 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (0, Reason::Preempting)]);
    assert!(outcome.two <= DELAY && outcome.none == 0, "{outcome:?}");
    // Its successor is heard as soon as it has one.
    let outcome = with(of([255, 100]), &[(0, Fault::Freeze { node: 0, for_: FOR_GOOD })], 6 * SECOND);
    assert_eq!((outcome.none, outcome.masters, outcome.owners), (0, vec![(1, Reason::MasterDown)], vec![1]));
    assert!(outcome.two <= DELAY, "{}", outcome.two);
    // Two of them are a mistake that probes do not undo.
    let mut world = World::new(Plan { end: BEGIN, ..of([255, 255]) }, false);
    world.run();
    assert_eq!((world.owners(0), world.history.len()), (vec![0, 1], 2));
    assert!(world.violation.is_none());
}

/// With an arbiter nobody claims who does not reach it, and a master that does not reach it is silent when the other claims.
#[test]
fn an_arbiter_decides_who_is_alone() {
    let plan = || Plan { arbiter: true, ..cluster(&[150, 100]) };
    // A side has those with its bit, and the arbiter is with the others.
    let part = |side| Fault::Partition { side, for_: 2 * SECOND };
    let outcome = with(plan(), &[(0, part(2))], 1900 * MILLI);
    assert_eq!((outcome.masters, outcome.owners), (vec![], vec![0]), "the backup is alone");
    let outcome = with(plan(), &[(0, part(1))], 1900 * MILLI);
    assert_eq!((outcome.masters, outcome.owners), (vec![(1, SILENT)], vec![1]), "the master is");
    assert!(outcome.two <= 2 * 3_300_000 + MILLI, "{}", outcome.two);
    // The arbiter's own death is nobody's.
    let faults = [
        (0, Fault::CutArbiter { node: 0, for_: FOR_GOOD }),
        (0, Fault::CutArbiter { node: 1, for_: FOR_GOOD }),
    ];
    let outcome = with(plan(), &faults, 6 * SECOND);
    assert_eq!((outcome.none, outcome.masters, outcome.owners), (0, vec![], vec![0]));
}

/// Whatever is heard on a heartbeat line is heard.
#[test]
fn a_heartbeat_line_keeps_a_dark_path_from_being_a_death() {
    let plan = || Plan { heartbeat: true, ..cluster(&[150, 100]) };
    let outcome = with(plan(), &[(0, Fault::Partition { side: 1, for_: 10 * SECOND })], 8 * SECOND);
    assert_eq!((outcome.none, outcome.two, outcome.masters), (0, 0, vec![]));
    let outcome = with(plan(), &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], 4 * SECOND);
    assert_eq!((outcome.two, outcome.masters), (0, vec![(1, SILENT)]));
    assert!(outcome.none <= CLAIMS_WITHIN);
    // A dead link is told by the master itself.
    let outcome = with(plan(), &[(0, Fault::LinkDown { node: 0, for_: FOR_GOOD })], 4 * SECOND);
    assert!(outcome.masters.iter().all(|(node, _)| *node == 1) && outcome.none < 700 * MILLI, "{outcome:?}");
}

#[test]
fn a_strict_lease_has_no_second_owner_either() {
    let strict = |priority| Settings { lease: LeasePolicy::Strict, ..settings(1, priority, INTERVAL) };
    let crash = Fault::Crash { node: 0, for_: FOR_GOOD };
    let outcome = with(of(&[strict(150), strict(100)]), &[(0, crash)], 4 * SECOND);
    assert_eq!((outcome.two, outcome.masters), (0, vec![(1, SILENT)]));
}

/// Who only measures takes nothing, and is waited for by nobody.
#[test]
fn measuring_moves_nothing() {
    let mut plan = cluster(&[150, 100]);
    plan.nodes[1].probes = Some(ProbeTiming { takes_over: false, ..timing() });
    let outcome = with(plan.clone(), &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], 6 * SECOND);
    assert_eq!(outcome.masters, [(1, Reason::MasterDown)]);
    let faults = [(0, Fault::Freeze { node: 0, for_: 2 * SECOND }), (0, cut(1, 0, FOR_GOOD))];
    let outcome = with(plan, &faults, 2500 * MILLI);
    assert_eq!((outcome.none, outcome.masters), (0, vec![]), "the lease alone counts");
}

/// R2, R9: a master that only measures asks for no sponsors. Its lease alone counts, and nobody outbids it for its silence.
#[test]
fn a_master_that_measures_is_not_claimed_from() {
    let mut plan = cluster(&[150, 100]);
    plan.nodes[0].probes = Some(ProbeTiming { takes_over: false, ..timing() });
    let outcome = with(plan.clone(), &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], 6 * SECOND);
    assert_eq!(outcome.masters, [(1, Reason::MasterDown)]);
    let faults = [(0, Fault::Freeze { node: 0, for_: 2 * SECOND }), (0, cut(1, 0, FOR_GOOD))];
    let outcome = with(plan, &faults, 2500 * MILLI);
    assert_eq!((outcome.none, outcome.two, outcome.masters), (0, 0, vec![]));
}

/// R2, R9: a program has places for so many early backups. Who has none is not told that the other takes over early, and does not claim.
#[test]
fn who_is_not_counted_does_not_claim() {
    let crash = || Fault::Crash { node: 0, for_: FOR_GOOD };
    let freeze = || (0, Fault::Freeze { node: 0, for_: 2 * SECOND });
    // The master's program counts the second node alone; the third is better.
    let mut plan = cluster(&[150, 100, 120]);
    plan.nodes[0].backups = 1;
    let outcome = with(plan.clone(), &[(0, crash())], 3 * SECOND);
    assert_eq!((outcome.two, &outcome.masters[..1]), (0, &[(1, SILENT)][..]));
    assert!(outcome.none <= CLAIMS_WITHIN + 3_300_000 + 3 * MILLI / 2, "{}", outcome.none);
    let outcome = with(plan, &[freeze(), (0, cut(2, 0, FOR_GOOD))], 2500 * MILLI);
    assert_eq!((outcome.none, outcome.two, outcome.masters), (0, 0, vec![]));
    // The backup's program does not count its master, so it is no sponsor of it.
    let mut plan = cluster(&[150, 100]);
    plan.nodes[1].backups = 0;
    let outcome = with(plan.clone(), &[(0, crash())], 6 * SECOND);
    assert_eq!(outcome.masters, [(1, Reason::MasterDown)]);
    let outcome = with(plan, &[freeze(), (0, cut(1, 0, FOR_GOOD))], 2500 * MILLI);
    assert_eq!((outcome.none, outcome.two, outcome.masters), (0, 0, vec![]));
}

/// R2: one of two routers has no `probe` on its master, so its lease needs no sponsor there.
#[test]
fn a_router_that_is_not_probed_is_not_claimed() {
    let node = |priority: u8| (1..3).map(|vrid| settings(vrid, priority, INTERVAL)).collect();
    let mut plan = Plan::quiet(vec![node(150), node(100)]).probing(timing());
    plan.nodes[0].unlisted = Some(1);
    let outcome = with(plan, &[(0, Fault::Crash { node: 0, for_: FOR_GOOD })], 6 * SECOND);
    assert_eq!(outcome.masters, [(1, SILENT), (1, Reason::MasterDown)]);
}

/// R9: a daemon is told to measure from now on, and freezes before its backup has heard of it.
#[test]
fn sponsors_are_asked_for_until_the_peers_can_know_better() {
    // It is told a tenth of a millisecond later.
    for after in (0..4 * MILLI).step_by(250_000) {
        let measures = ProbeTiming { takes_over: false, ..timing() };
        let faults = [
            (after, Fault::Reprobe { node: 0, timing: measures }),
            (150_000 + after, cut(1, 0, FOR_GOOD)),
            (150_000 + after, Fault::Freeze { node: 0, for_: FOR_GOOD }),
        ];
        let outcome = with(cluster(&[150, 100]), &faults, SECOND);
        assert_eq!((outcome.two, outcome.masters), (0, vec![(1, SILENT)]), "{after}");
    }
    // In time it needs them no more.
    let faults = [
        (0, Fault::Reprobe { node: 0, timing: ProbeTiming { takes_over: false, ..timing() } }),
        (1200 * MILLI, cut(1, 0, FOR_GOOD)),
        (1200 * MILLI, Fault::Freeze { node: 0, for_: 2 * SECOND }),
    ];
    let outcome = with(cluster(&[150, 100]), &faults, 3500 * MILLI);
    assert_eq!((outcome.none, outcome.two, outcome.masters), (0, 0, vec![]));
}

/// R5: its program would answer for the rest of its lease, since its daemon has outlived the last probe that it heard by far.
#[test]
fn a_master_that_falls_silent_after_a_word_has_not_heard_the_claim() {
    // It is heard once more, at 31 ms.
    for after in (31_200_000..34 * MILLI).step_by(400_000) {
        let faults = [
            (0, cut(1, 0, FOR_GOOD)),
            (14 * MILLI, cut(0, 1, 15_900_000)),
            (after, Fault::Freeze { node: 0, for_: FOR_GOOD }),
        ];
        let outcome = with(cluster(&[150, 100]), &faults, SECOND);
        assert_eq!((outcome.none, outcome.masters, outcome.owners), (0, vec![(1, SILENT)], vec![0]));
        assert!(outcome.two < 24 * MILLI, "{}", outcome.two);
    }
}

/// R9: a claim on one router takes nothing from the master of another, and leaves it its sponsor.
#[test]
fn who_claims_one_router_vouches_for_the_master_of_another() {
    let node = |first: u8, second: u8| vec![settings(1, first, INTERVAL), settings(2, second, INTERVAL)];
    let plan = || Plan::quiet(vec![node(150, 50), node(100, 100), node(50, 150)]).probing(timing());
    // The third node owns the second router, and dies: the claim on it stands for seconds.
    let dies = (0, Fault::Crash { node: 2, for_: FOR_GOOD });
    let faults = [dies.clone(), (300 * MILLI, Fault::Freeze { node: 0, for_: SECOND })];
    let outcome = with(plan(), &faults, 2 * SECOND);
    assert_eq!((outcome.none, outcome.two, outcome.owners), (0, 0, vec![0]));
    assert_eq!(outcome.masters, [(1, SILENT)], "of the second router");
    let freezes = (302 * MILLI, Fault::Freeze { node: 0, for_: FOR_GOOD });
    let outcome = with(plan(), &[dies, (300 * MILLI, cut(1, 0, FOR_GOOD)), freezes], 2 * SECOND);
    assert_eq!((outcome.two, outcome.owners), (0, vec![1]));
    assert!(outcome.none < DETECT, "{}", outcome.none);
}

/// R3: the advert that says so is lost, and a probe is not.
#[test]
fn a_claim_outbids_what_the_last_probe_says() {
    let faults = [
        (0, cut(0, 1, 2 * MILLI)),
        (MILLI, Fault::Priority { node: 0, router: 0, priority: 200, for_: FOR_GOOD }),
        (60 * MILLI, cut(0, 1, FOR_GOOD)),
    ];
    let outcome = with(cluster(&[150, 100]), &faults, 500 * MILLI);
    assert_eq!((outcome.none, outcome.masters), (0, vec![(1, SILENT)]));
    assert!(outcome.two <= DELAY, "{}", outcome.two);
}

/// R10: it has heard its successor in neither of its short spells.
#[test]
fn a_machine_that_sleeps_while_it_listens_listens_anew() {
    for second in (1..6).map(|i| i * MILLI) {
        let sleeps = |for_| Fault::Pause { node: 0, for_, clock_stops: false };
        // The heartbeat of the successor is lost once more.
        let faults = [
            (0, sleeps(30 * MILLI)),
            (30 * MILLI, cut(1, 0, 6 * MILLI + second)),
            (31 * MILLI, sleeps(5 * MILLI + second)),
        ];
        let outcome = with(cluster(&[150, 100]), &faults, 300 * MILLI);
        assert_eq!((outcome.two, outcome.masters, outcome.owners), (0, vec![(1, SILENT)], vec![1]));
    }
}

/// R7: a master that nobody vouches for is no orphan's cause to who does not reach the arbiter.
#[test]
fn without_the_arbiter_nobody_takes_an_orphan() {
    let plan = Plan { arbiter: true, ..cluster(&[150, 100, 120]) };
    let lost = |node| (0, Fault::CutArbiter { node, for_: FOR_GOOD });
    let faults = [lost(0), lost(1), lost(2), (50 * MILLI, Fault::Freeze { node: 2, for_: 300 * MILLI })];
    let outcome = with(plan, &faults, 2 * SECOND);
    assert_eq!((outcome.two, outcome.masters, outcome.owners), (0, vec![], vec![0]));
}

/// R7: it is the master that comes back to the arbiter a little later that owns, since it needs nobody's leave.
#[test]
fn who_is_back_at_the_arbiter_waits_for_its_master() {
    let plan = || Plan { arbiter: true, ..cluster(&[150, 100, 120]) };
    for later in (0..6 * MILLI).step_by(500_000) {
        let faults = [
            (0, Fault::Crash { node: 1, for_: FOR_GOOD }),
            (0, Fault::CutArbiter { node: 0, for_: 300 * MILLI + later }),
            (0, Fault::CutArbiter { node: 2, for_: 300 * MILLI }),
        ];
        let outcome = with(plan(), &faults, SECOND);
        assert_eq!((outcome.two, outcome.masters, outcome.owners), (0, vec![], vec![0]), "{later}");
    }
}

/// R8: it cannot say so at once.
#[test]
fn a_master_that_returns_is_told_as_soon_as_an_advert_leaves() {
    let faults = [
        (0, Fault::Crash { node: 0, for_: 60 * MILLI }),
        (50 * MILLI, Fault::SendFails { node: 1, for_: 18 * MILLI }),
    ];
    let outcome = with(cluster(&[150, 100]), &faults, 300 * MILLI);
    assert_eq!((outcome.two, outcome.masters), (0, vec![(1, SILENT)]));
}

/// A few seeds in every `cargo test`.
#[test]
fn every_rule_holds_under_mixed_faults() {
    let report = runner::run_plans(Plan::early, 1_000_000..1_000_060, None, 2);
    assert!(report.failed.is_none(), "{:?}", report.failed);
    assert_eq!(report.seeds, 60);
}

#[test]
#[ignore = "long tier: 100,000 clusters, an hour on two cores"]
fn every_rule_holds_in_100_000_clusters() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = runner::run_plans(Plan::early, 0..100_000, None, threads);
    assert!(report.failed.is_none(), "{:?}", report.failed);
    assert_eq!(report.seeds, 100_000);
}
