use super::*;
use crate::control::model::samples;

fn first(change: impl FnOnce(&mut Vec<NodeStatus>)) -> InstanceStatus {
    let mut i = samples::cluster().instances.remove(0);
    i.nodes.truncate(1);
    change(&mut i.nodes);
    i
}

#[test]
fn what_is_wrong_is_named() {
    let status = samples::cluster();
    let view = ClusterView::of(&status);
    assert_eq!(
        view.routers[0].problems,
        [
            "lb02.example.net is in FAULT: check chk_nginx failed (exit code 1)",
            "lb03.example.net is lost: no report for 120 s",
            "nodes run different versions of vipd: 0.1.0, 0.2.0",
        ]
    );
    assert_eq!(view.routers[1].problems, Vec::<String>::new());
}

#[test]
fn two_masters_are_named_and_a_report_from_before_a_takeover_is_none() {
    let master = |in_state_ms, heard_ms_ago| NodeStatus {
        in_state_ms: Some(in_state_ms),
        heard_ms_ago: Some(heard_ms_ago),
        ..samples::reported("lb02", "10.0.0.6", "MASTER", 140)
    };
    // lb01 has been master for 61 s.
    let both = first(|nodes| nodes.push(master(90_000, 2_000)));
    assert_eq!(problems(&both, true), ["split brain: 2 masters: lb01.example.net, lb02"]);
    let before = first(|nodes| {
        nodes[0].in_state_ms = Some(1_000);
        nodes.push(master(90_000, 2_000));
    });
    assert_eq!(problems(&before, true), Vec::<String>::new());
    let lost = first(|nodes| nodes.push(NodeStatus { lost: true, ..master(90_000, 70_000) }));
    assert_eq!(problems(&lost, true), ["lb02 is lost: no report for 70 s"]);
}

/// Early takeover: a master that is silent by itself, and a way that is dead in one direction.
#[test]
fn what_a_node_says_of_its_ways_is_named() {
    let unvouched = first(|nodes| nodes[0].unvouched = true);
    assert_eq!(
        problems(&unvouched, false),
        ["lb01.example.net is master and answers for no VIP: nobody vouches for it"]
    );
    let one_way = first(|nodes| nodes[0].one_way = true);
    assert_eq!(
        problems(&one_way, false),
        ["lb01.example.net hears a node that does not hear it: a way is dead in one direction"]
    );
}

#[test]
fn nobody_else_and_no_master_are_problems() {
    assert_eq!(problems(&first(|_| {}), true), ["no other node is heard"]);
    assert_eq!(problems(&first(|_| {}), false), Vec::<String>::new());
    let backup = first(|nodes| nodes[0].state = Some("BACKUP".into()));
    assert_eq!(problems(&backup, false), ["no node is known to be the master"]);
}
