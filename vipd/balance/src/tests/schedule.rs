//! When probes are due.

use std::{collections::BTreeMap, time::Duration};

use vipd_core::time::Instant;

use super::{Play, ServiceTarget, service, tcp, web};
use crate::{ForwardMethod, ProbeId, ProbePause, ProbeUse, Schedule, TargetId};

const fn ms(n: u64) -> Instant {
    Instant::from_nanos(n * 1_000_000)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A service of `count` targets, whose probes have the period and warmup `delay`.
fn probing(count: u16, delay: Duration) -> Play {
    Play::new(vec![service(probing_targets(count, delay))])
}

fn probing_targets(count: u16, delay: Duration) -> Vec<ServiceTarget> {
    (0..count)
        .map(|n| {
            let address = [10, 1, (n >> 8) as u8, n as u8];
            let check = ProbeUse {
                probe: crate::ProbeSpec::tcp((address, 80).into()),
                delay_loop: delay,
                warmup: delay,
                ..tcp(0)
            };
            let id = TargetId::new(address.into(), 80);
            ServiceTarget { checks: vec![check], ..ServiceTarget::new(id, ForwardMethod::Direct) }
        })
        .collect()
}

/// Runs a schedule whose runs take `took`; the times at which runs began.
fn run(
    schedule: &mut Schedule,
    pause: ProbePause,
    took: Duration,
    until: Instant,
) -> BTreeMap<ProbeId, Vec<Instant>> {
    let mut began: BTreeMap<ProbeId, Vec<Instant>> = BTreeMap::new();
    while let Some(now) = schedule.poll_timeout().filter(|due| *due <= until) {
        while let Some(id) = schedule.poll_due(now) {
            began.entry(id).or_default().push(now);
            schedule.ended(id, pause, now + took);
        }
    }
    began
}

#[test]
fn first_runs_are_spread_evenly_over_the_warmup() {
    for count in [1, 10, 100, 1_000] {
        let play = probing(count, seconds(10));
        let mut schedule = Schedule::new(0);
        schedule.sync(play.judge.probes(), ms(0));
        let mut dues = Vec::new();
        while let Some(due) = schedule.poll_timeout() {
            assert!(due > ms(1_000) && due < ms(11_000), "{due}: none without a part of its warmup");
            assert!(schedule.poll_due(due).is_some());
            dues.push(due.as_nanos());
        }
        assert_eq!(schedule.running(), usize::from(count));
        // The golden ratio leaves no gap above 2.2 times the mean.
        let mean = 10_000_000_000 / u64::from(count);
        let widest = dues.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        assert!(widest <= mean * 22 / 10, "{count}: {widest} ns, {mean} on average");
    }
}

#[test]
fn without_warmup_all_start_after_a_second() {
    let mut play = probing(5, seconds(10));
    let mut server = service([web(11), web(12)]);
    for target in &mut server.targets {
        target.checks[0].warmup = Duration::ZERO;
    }
    play.reload(vec![server]);
    let mut schedule = Schedule::new(10);
    schedule.sync(play.judge.probes(), ms(0));
    assert_eq!(schedule.poll_due(ms(999)), None);
    assert!(schedule.poll_due(ms(1_000)).is_some() && schedule.poll_due(ms(1_000)).is_some());
    assert_eq!(schedule.poll_timeout(), None);
}

#[test]
fn the_pause_follows_the_end_of_a_run() {
    let check = ProbeUse { warmup: Duration::ZERO, ..tcp(11) };
    let play = Play::new(vec![service([ServiceTarget { checks: vec![check], ..web(11) }])]);
    let mut schedule = Schedule::new(0);
    schedule.sync(play.judge.probes(), ms(0));
    let began = run(&mut schedule, ProbePause::Loop(seconds(10)), seconds(2), ms(50_000));
    let began: Vec<_> = began.values().next().unwrap().iter().map(|at| at.millis_since(ms(0))).collect();
    assert_eq!(began, [1_000, 13_000, 25_000, 37_000, 49_000]);
}

#[test]
fn the_period_of_a_command_is_counted_from_its_start() {
    let check = ProbeUse { warmup: Duration::ZERO, ..ProbeUse::new(super::misc(11)) };
    let play = Play::new(vec![service([ServiceTarget { checks: vec![check], ..web(11) }])]);
    for (took, expect) in [(2, [1_000, 11_000, 21_000]), (15, [1_000, 16_000, 31_000])] {
        let mut schedule = Schedule::new(0);
        schedule.sync(play.judge.probes(), ms(0));
        let began = run(&mut schedule, ProbePause::Loop(seconds(10)), seconds(took), ms(31_000));
        let began = &began.values().next().unwrap()[..3];
        assert_eq!(began, expect.map(ms), "{took} s");
    }
}

#[test]
fn jitter_shortens_periods_and_never_retries() {
    let play = probing(20, seconds(10));
    for (pause, least) in [(ProbePause::Loop(seconds(10)), 9_000), (ProbePause::Retry(seconds(10)), 10_000)] {
        let mut schedule = Schedule::new(10);
        schedule.sync(play.judge.probes(), ms(0));
        let began = run(&mut schedule, pause, Duration::ZERO, ms(300_000));
        let pauses: Vec<u64> = began
            .values()
            .flat_map(|at| at.windows(2).map(|pair| pair[1].millis_since(pair[0])).collect::<Vec<_>>())
            .collect();
        assert!(pauses.iter().all(|pause| (least..=10_000).contains(pause)), "{pauses:?}");
        let differ = pauses.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(if least < 10_000 { differ > 100 } else { differ == 1 }, "{differ}");
    }
}

#[test]
fn a_reload_delays_no_check() {
    let mut play = probing(50, seconds(10));
    let mut schedule = Schedule::new(0);
    schedule.sync(play.judge.probes(), ms(0));
    let _ = run(&mut schedule, ProbePause::Loop(seconds(10)), Duration::ZERO, ms(15_000));
    let before = schedule.poll_timeout();
    // The same again: nothing moves.
    schedule.sync(play.judge.probes(), ms(15_000));
    assert_eq!(schedule.poll_timeout(), before);
    // A shorter period counts at once.
    play.reload(vec![service(probing_targets(50, seconds(1)))]);
    schedule.sync(play.judge.probes(), ms(15_000));
    let mut due = 0;
    while schedule.poll_due(ms(16_000)).is_some() {
        due += 1;
    }
    assert_eq!(due, 50);
}

#[test]
fn a_run_goes_on_over_a_reload_and_one_that_is_unwanted_is_forgotten() {
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    let mut schedule = Schedule::new(0);
    schedule.sync(play.judge.probes(), ms(0));
    let first = schedule.poll_due(ms(61_000)).unwrap();
    let second = schedule.poll_due(ms(61_000)).unwrap();
    play.reload(vec![service([web(11)])]);
    schedule.sync(play.judge.probes(), ms(61_000));
    assert_eq!((schedule.running(), schedule.poll_timeout()), (1, None));
    for id in [first, second] {
        schedule.ended(id, ProbePause::Loop(seconds(60)), ms(62_000));
    }
    assert_eq!((schedule.running(), schedule.poll_timeout()), (0, Some(ms(122_000))));
    // Twice is once.
    schedule.ended(first, ProbePause::Loop(seconds(1)), ms(63_000));
    assert_eq!(schedule.poll_timeout(), Some(ms(122_000)));
}

#[test]
fn files_and_sessions_are_not_scheduled() {
    let check = ProbeUse::new(super::file(11));
    let play = Play::new(vec![service([ServiceTarget { checks: vec![check], ..web(11) }])]);
    let mut schedule = Schedule::new(0);
    schedule.sync(play.judge.probes(), ms(0));
    assert_eq!((play.judge.probes().count(), schedule.poll_timeout()), (1, None));
}

/// A run is judged after it has ended: its pause becomes another, counted from the same time.
#[test]
fn a_pause_is_changed_after_the_run() {
    let play = probing(1, seconds(10));
    let mut schedule = Schedule::new(50);
    schedule.sync(play.judge.probes(), ms(0));
    let id = play.judge.probes().next().unwrap().id;
    // Before its first run there is no pause.
    let first = schedule.poll_timeout().unwrap();
    schedule.set_pause(id, ProbePause::Retry(seconds(1)));
    assert_eq!(schedule.poll_timeout(), Some(first));
    assert_eq!(schedule.poll_due(first), Some(id));
    // While it runs neither.
    schedule.set_pause(id, ProbePause::Retry(seconds(1)));
    assert_eq!((schedule.running(), schedule.poll_timeout()), (1, None));
    let end = first + seconds(3);
    schedule.ended(id, ProbePause::Loop(seconds(10)), end);
    let due = schedule.poll_timeout().unwrap();
    assert!(due > end + seconds(4) && due <= end + seconds(10), "{due}");
    for pause in [1, 60] {
        schedule.set_pause(id, ProbePause::Retry(seconds(pause)));
        assert_eq!((schedule.running(), schedule.poll_timeout()), (0, Some(end + seconds(pause))));
    }
    // The same jitter as before.
    schedule.set_pause(id, ProbePause::Loop(seconds(10)));
    assert_eq!(schedule.poll_timeout(), Some(due));
    assert_eq!(schedule.poll_due(due), Some(id));
    assert_eq!(schedule.poll_due(due), None);
}
