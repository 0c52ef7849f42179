//! Stories of few nodes, told by hand; the seeds tell the others.

use std::time::Duration;

use vipd_core::vrrp::{FaultReason, LeasePolicy, Reason, Settings, StateName};
use vipd_sim::{
    clock::{SECOND, Time},
    plan::{Fault, Plan, settings},
    world::{Change, World},
};

const INTERVAL: Duration = Duration::from_secs(1);
/// For longer than any of these takes.
const FOR_GOOD: Time = 1000 * SECOND;
/// Between two nodes, of a `quiet` network of this interval, and until a process has woken up.
const DELAY: Time = SECOND / 1000;
const WAKE: Time = 20_000;

fn cluster(priorities: &[u8]) -> Plan {
    Plan::quiet(priorities.iter().map(|priority| vec![settings(51, *priority, INTERVAL)]).collect())
}

fn cluster_of(nodes: &[Settings]) -> Plan {
    Plan::quiet(nodes.iter().map(|node| vec![*node]).collect())
}

/// Lets it run until `until`, in which no invariant breaks.
fn run(world: &mut World, until: Time) {
    world.run_until(until);
    assert!(world.violation.is_none(), "{}", world.violation.as_ref().expect("just seen"));
}

fn run_all(plan: Plan) -> World {
    let mut world = World::new(plan, false);
    world.run();
    assert!(world.violation.is_none(), "{}", world.violation.as_ref().expect("just seen"));
    world
}

fn changes(world: &World, node: usize) -> Vec<(StateName, Reason)> {
    world.history.iter().filter(|c| c.node == node).map(|Change { to, reason, .. }| (*to, *reason)).collect()
}

#[test]
fn f33_two_equal_routers_started_together() {
    let mut world = World::new(cluster(&[100, 100]), false);
    run(&mut world, SECOND + 3_609_375_000 + 2 * SECOND);
    assert_eq!(world.owners(0), [1], "the greater address wins");
    assert!(world.stats.longest_overlap <= DELAY);
}

/// F-33, I1, I3: whatever the routers, and whenever they start, they settle on one.
#[test]
fn f33_a_faultless_lan_has_one_master() {
    for seed in 0..300 {
        run_all(Plan::of(seed).faultless());
    }
}

#[test]
fn f34_the_highest_survivor_takes_over_and_nobody_else_advertises() {
    let die = |node| Fault::Kill { node, for_: FOR_GOOD };
    let plan = cluster(&[200, 150, 100]).with(10 * SECOND, die(0)).with(20 * SECOND, die(1));
    let mut world = World::new(plan, false);
    for (survivor, until) in [(0, 10), (1, 20), (2, 30)] {
        run(&mut world, until * SECOND - 1);
        assert_eq!(world.owners(0), [survivor]);
        for node in survivor + 1..3 {
            assert_eq!(world.adverts(node, 0), 0, "node {node}");
        }
    }
}

#[test]
fn f35_a_handover_and_return_is_one_transition_each() {
    let plan = cluster(&[200, 100]).with(10 * SECOND, Fault::Stop { node: 0, for_: 10 * SECOND });
    let world = run_all(plan);
    assert_eq!(world.owners(0), [0]);
    use Reason::{BetterMaster, HandedOver, MasterDown, MasterLeft, Preempting, Started};
    use StateName::{Backup, Master, Stopped};
    let first = [(Backup, Started), (Master, MasterDown), (Stopped, HandedOver)];
    assert_eq!(changes(&world, 0), [&first[..], &[(Backup, Started), (Master, Preempting)]].concat());
    assert_eq!(changes(&world, 1), [(Backup, Started), (Master, MasterLeft), (Backup, BetterMaster)]);
    let at = |node, reason| world.history.iter().find(|c| c.node == node && c.reason == reason).unwrap().at;
    // The goodbye is sent as the process wakes up, and the skew time of priority 100 runs from its arrival.
    let taken = at(1, MasterLeft);
    let expected = 10 * SECOND + WAKE + DELAY + 609_375_000;
    assert!((expected..=expected + 2 * WAKE).contains(&taken), "{taken}");
    // And the old master answers until the successor is heard.
    let released = at(0, HandedOver);
    assert!((taken + DELAY..=taken + DELAY + 2 * WAKE).contains(&released), "{released}");
}

#[test]
fn x04_two_routers_of_one_address_do_not_storm() {
    // Two priorities and one address: each takes the other's adverts for its own.
    let mut plan = cluster(&[200, 100]);
    plan.nodes[1].address = plan.nodes[0].address;
    plan.end = 60 * SECOND;
    let world = run_all(plan);
    let sent = world.adverts(0, 0) + world.adverts(1, 0);
    assert!((60..=2 * 60).contains(&sent), "{sent} adverts in 60 s");
}

#[test]
fn x05_a_thawed_master_yields_to_its_nopreempt_successor_without_an_advert() {
    let nopreempt = |priority| Settings { preempt: false, ..settings(51, priority, INTERVAL) };
    let freeze = Fault::Freeze { node: 0, for_: 8 * SECOND };
    let mut world =
        World::new(cluster_of(&[nopreempt(200), nopreempt(100)]).with(10 * SECOND, freeze), false);
    run(&mut world, 10 * SECOND);
    assert_eq!(world.owners(0), [0]);
    let sent = world.adverts(0, 0);
    run(&mut world, 18 * SECOND - 1);
    assert_eq!(world.owners(0), [1], "XDP gave the address up while the process was frozen");
    run(&mut world, 40 * SECOND);
    assert_eq!((world.adverts(0, 0), world.owners(0)), (sent, vec![1]));
    assert!(world.stats.longest_overlap <= DELAY);
}

#[test]
fn x06_a_frozen_backup_does_not_take_over_when_it_wakes() {
    let freeze = Fault::Freeze { node: 1, for_: 20 * SECOND };
    let world = run_all(cluster(&[200, 100]).with(10 * SECOND, freeze));
    assert_eq!((world.adverts(1, 0), world.owners(0)), (0, vec![0]));
}

/// I1: when neither process nor host speaks any more, two own the address for less than an interval; with strict leases
/// never.
#[test]
fn i1_a_partition_has_two_owners_for_less_than_an_interval() {
    for (lease, limit) in [(LeasePolicy::Overlap, SECOND), (LeasePolicy::Strict, 0)] {
        for priority in [1, 100, 253] {
            let node = |priority| Settings { lease, ..settings(51, priority, INTERVAL) };
            let plan = cluster_of(&[node(254), node(priority)])
                .with(10 * SECOND, Fault::Partition { side: 1, for_: FOR_GOOD })
                .with(10 * SECOND, Fault::Freeze { node: 0, for_: FOR_GOOD });
            let mut world = World::new(plan, false);
            run(&mut world, 20 * SECOND);
            assert_eq!(world.owners(0), [1]);
            let overlap = world.stats.longest_overlap;
            assert!(overlap <= limit && (overlap > 0) == (limit > 0), "{lease:?}, {priority}: {overlap}");
        }
    }
}

/// Nodes with three routers each, which are one sync group.
fn groups(priorities: &[u8]) -> Plan {
    let node = |priority: &u8| (51..54).map(|vrid| settings(vrid, *priority, INTERVAL)).collect();
    Plan::quiet(priorities.iter().map(node).collect()).grouped()
}

/// Why each router of a node has left or entered a state last.
fn reasons(world: &World, node: usize, to: StateName) -> Vec<Reason> {
    let last = |router: usize| {
        let mut changes = world.history.iter().rev();
        changes.find(|c| (c.node, c.router, c.to) == (node, router, to)).expect("it was there").reason
    };
    (0..3).map(last).collect()
}

fn all_owned_by(world: &World, node: usize) -> bool {
    (0..world.plan.groups.len()).all(|router| world.owners(router) == [node])
}

#[test]
fn a_group_moves_when_one_of_it_is_in_fault_and_comes_back() {
    let fault = Fault::Tracked { node: 0, router: 1, for_: 10 * SECOND };
    let mut world = World::new(groups(&[200, 100]).with(10 * SECOND, fault), false);
    run(&mut world, 10 * SECOND);
    assert!(all_owned_by(&world, 0));
    run(&mut world, 11 * SECOND);
    assert!(all_owned_by(&world, 1), "after the skew time");
    let of = |reason| Reason::Fault(reason);
    let (group, tracked) = (of(FaultReason::Group), of(FaultReason::Tracked));
    assert_eq!(reasons(&world, 0, StateName::Fault), [group, tracked, group]);
    assert_eq!(reasons(&world, 1, StateName::Master), [Reason::MasterLeft; 3]);
    run(&mut world, 30 * SECOND);
    assert!(all_owned_by(&world, 0));
    assert_eq!(reasons(&world, 0, StateName::Master), [Reason::Preempting; 3]);
}

#[test]
fn a_group_whose_master_is_killed_is_taken_over_whole() {
    let plan = groups(&[200, 100]).with(10 * SECOND, Fault::Kill { node: 0, for_: FOR_GOOD });
    let mut world = World::new(plan, false);
    run(&mut world, 10 * SECOND);
    assert!(all_owned_by(&world, 0));
    run(&mut world, 14 * SECOND);
    assert!(all_owned_by(&world, 1));
    assert_eq!(reasons(&world, 1, StateName::Master), [Reason::MasterDown; 3]);
    assert!(world.stats.longest_overlap <= DELAY, "the first advert of any of them ends it");
}

#[test]
fn a_group_is_handed_over_without_a_gap() {
    let plan = groups(&[200, 100]).with(10 * SECOND, Fault::Stop { node: 0, for_: FOR_GOOD });
    let mut world = World::new(plan, false);
    run(&mut world, 10 * SECOND - 1);
    while world.now < 20 * SECOND {
        assert!(world.step());
        assert!((0..3).all(|router| !world.owners(router).is_empty()), "at {}", world.now);
    }
    run(&mut world, 20 * SECOND);
    assert!(all_owned_by(&world, 1));
    assert_eq!(reasons(&world, 0, StateName::Stopped), [Reason::HandedOver; 3]);
    assert!(world.stats.longest_overlap <= DELAY + 2 * WAKE);
}

/// From 1 s to 100 ms, whichever node is first: nothing changes io.
#[test]
fn a_shorter_interval_is_rolled_out_without_a_loss() {
    let fast = Duration::from_millis(100);
    for (first, second) in [(0, 1), (1, 0)] {
        let reload = |node: usize| {
            let priority = [200, 100][node];
            Fault::Reload { node, instances: Some(vec![settings(51, priority, fast)]) }
        };
        let plan = cluster(&[200, 100]).with(10 * SECOND, reload(first)).with(13 * SECOND, reload(second));
        let mut world = World::new(plan, false);
        run(&mut world, 10 * SECOND - 1);
        let (changes, sent) = (world.history.len(), world.adverts(0, 0));
        while world.now < 20 * SECOND {
            assert!(world.step());
            assert_eq!(world.owners(0), [0], "at {}", world.now);
        }
        assert_eq!(world.history.len(), changes);
        assert!(world.adverts(0, 0) - sent > 60, "it advertises every 100 ms");
    }
}

#[test]
fn a_reload_of_what_there_is_changes_nothing() {
    let plan = groups(&[200, 100]);
    let reload = |node| Fault::Reload { node, instances: None };
    let reloaded = plan.clone().with(10 * SECOND, reload(0)).with(10 * SECOND, reload(1));
    let story = |plan| {
        let mut world = World::new(plan, false);
        run(&mut world, 20 * SECOND);
        let adverts: Vec<u64> = (0..3).map(|router| world.adverts(0, router)).collect();
        (world.history.len(), world.stats.adverts, adverts)
    };
    assert_eq!(story(plan), story(reloaded));
}

#[test]
fn a_router_that_is_removed_hands_over_and_comes_back_when_it_is_added() {
    let node = |priority| vec![settings(51, priority, INTERVAL), settings(52, priority, INTERVAL)];
    let remove = Fault::Remove { node: 0, router: 0, for_: 10 * SECOND };
    let plan = Plan::quiet(vec![node(200), node(100)]).with(10 * SECOND, remove);
    let mut world = World::new(plan, false);
    run(&mut world, 12 * SECOND);
    assert_eq!((world.owners(0), world.owners(1)), (vec![1], vec![0]), "the other has not noticed");
    run(&mut world, 40 * SECOND);
    assert!(all_owned_by(&world, 0));
    let first = world.history.iter().filter(|c| c.router == 1).count();
    assert_eq!(first, 3, "BACKUP on both, MASTER on one");
}

/// A few hundred seeds in every `cargo test`; `cargo xtask sim` runs more.
#[test]
fn every_invariant_holds_under_mixed_faults() {
    let report = vipd_sim::runner::run_all(1_000_000..1_000_300, None, 2);
    assert!(report.failed.is_none(), "{:?}", report.failed);
    assert_eq!(report.seeds, 300);
}

#[test]
fn a_seed_is_one_story() {
    let story = || {
        let mut world = World::new(Plan::of(42), true);
        world.run();
        world.log().to_vec()
    };
    let (first, second) = (story(), story());
    assert!(first.len() > 100);
    assert_eq!(first, second);
}
