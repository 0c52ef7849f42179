//! Probes that several targets share, and what the schedule is told of them.

use std::time::Duration;

use super::{Play, ServiceTarget, id, probe, service, tcp, vip, web};
use crate::{ProbePause, ProbeSpec, ProbeUse, VirtualServer};

fn second(targets: Vec<ServiceTarget>) -> VirtualServer {
    VirtualServer { id: id(2), addresses: vec![vip(2)], ..service(targets) }
}

fn with(n: u8, delay_loop: u64, retry: u32, delay_before_retry: u64) -> ServiceTarget {
    let check = ProbeUse {
        retry,
        delay_loop: Duration::from_secs(delay_loop),
        delay_before_retry: Duration::from_secs(delay_before_retry),
        warmup: Duration::from_secs(delay_loop),
        ..tcp(n)
    };
    ServiceTarget { checks: vec![check], ..web(n) }
}

#[test]
fn equal_probes_are_one_with_the_smallest_interval() {
    let play =
        Play::new(vec![service([with(11, 10, 0, 1), with(12, 10, 0, 1)]), second(vec![with(11, 3, 2, 1)])]);
    let needs: Vec<_> = play.judge.probes().collect();
    assert_eq!(needs.len(), 2);
    assert_eq!(
        (needs[0].spec, needs[0].period, needs[0].warmup),
        (&probe(11), Duration::from_secs(3), Duration::from_secs(3))
    );
    assert_ne!(needs[0].id, needs[1].id);
}

#[test]
fn whatever_a_probe_sends_or_expects_makes_it_another() {
    let changes: [fn(&mut crate::ProbePeer); 7] = [
        |peer| peer.to.set_port(81),
        |peer| peer.from = Some([10, 0, 0, 1].into()),
        |peer| peer.from_port = Some(1),
        |peer| peer.interface = Some("eth0".to_owned()),
        |peer| peer.mark = 1,
        |peer| peer.connect_timeout = Duration::from_secs(1),
        |peer| peer.total_timeout = Some(Duration::from_secs(1)),
    ];
    for (row, change) in changes.into_iter().enumerate() {
        let mut other = probe(11);
        let ProbeSpec::Tcp { peer } = &mut other else { unreachable!() };
        change(peer);
        let target = ServiceTarget { checks: vec![ProbeUse::new(other)], ..web(11) };
        let play = Play::new(vec![service([web(11)]), second(vec![target])]);
        assert_eq!(play.judge.probes().count(), 2, "row {row}");
    }
}

#[test]
fn each_user_counts_its_own_retries() {
    let mut play = Play::new(vec![service([with(11, 10, 0, 1)]), second(vec![with(11, 10, 2, 1)])]);
    play.step("pass 11");
    play.news();
    let up = |play: &Play| play.judge.views().map(|service| service.targets[0].alive).collect::<Vec<_>>();
    for (expect, news) in [
        ([false, true], "11 down, quorum down"),
        ([false, true], ""),
        ([false, false], "11 down, quorum down"),
    ] {
        play.step("fail 11");
        play.step("wait 1");
        assert_eq!((up(&play), play.news()), (expect.to_vec(), news.to_owned()));
    }
    play.step("pass 11");
    assert_eq!(up(&play), [true, true]);
}

#[test]
fn a_forgiven_failure_is_tried_again_soon() {
    let mut play = Play::new(vec![service([with(11, 10, 1, 2)]), second(vec![with(11, 20, 0, 1)])]);
    let id = play.judge.probes().next().unwrap().id;
    let seconds = |n| Duration::from_secs(n);
    let pause = |play: &Play| play.judge.pause(id).unwrap();
    assert_eq!(pause(&play), ProbePause::Loop(seconds(10)));
    play.step("pass 11");
    // The first forgives it, the second does not.
    play.step("fail 11");
    assert_eq!(pause(&play), ProbePause::Retry(seconds(2)));
    play.step("wait 2");
    play.step("fail 11");
    assert_eq!(pause(&play), ProbePause::Loop(seconds(10)));
}

#[test]
fn an_id_stays_with_its_probe_and_is_never_given_again() {
    let ids = |play: &Play| play.judge.probes().map(|need| (need.spec.clone(), need.id)).collect::<Vec<_>>();
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    let before = ids(&play);
    play.reload(vec![service([web(12), web(13)])]);
    let after = ids(&play);
    assert_eq!(before[1], after[0]);
    play.reload(vec![service([web(11), web(12)])]);
    let again = ids(&play);
    assert!(
        again
            .iter()
            .all(|(spec, id)| *spec == probe(12) || before.iter().chain(&after).all(|(_, old)| old != id))
    );
}
