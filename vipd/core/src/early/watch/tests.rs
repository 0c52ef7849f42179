//! A claim is judged by what is heard of the master after it.

use super::*;

const T: ProbeTiming = ProbeTiming::new(Duration::from_millis(10), 3, true);
const MINUTE: Duration = Duration::from_secs(60);

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// A claim from a master at `ms`, which VRRP would have replaced 3 s later; the master is heard again `after` it.
fn judge(watch: &mut GroupWatch, ms: u64, after: Duration) -> Vec<EarlyChange> {
    let master = HostId { link: 1, address: "10.0.0.6".parse().unwrap() };
    let claimed_at = at(ms);
    let down_at = claimed_at + Duration::from_secs(3);
    watch.alarm = Some(Alarm { masters: vec![(InstanceId(0), master)], at: claimed_at, down_at });
    let mut session = ProbeSession::default();
    session.stamps.heard = claimed_at + after;
    watch.judge(&BTreeMap::from([(master, session)]), &T);
    watch.take_changes().collect()
}

fn false_alarm(after: Duration, disarmed_for: Duration) -> Vec<EarlyChange> {
    vec![EarlyChange::FalseAlarm { after, disarmed_for }]
}

#[test]
fn each_false_alarm_disarms_for_twice_as_long_as_the_last() {
    let mut watch = GroupWatch::default();
    let soon = Duration::from_millis(7);
    for (ms, halves) in [(1_000, 1), (100_000, 2), (300_000, 4), (600_000, 8), (1_200_000, 16)] {
        let disarmed_for = MINUTE / 2 * halves;
        assert_eq!(judge(&mut watch, ms, soon), false_alarm(soon, disarmed_for), "{ms}");
        assert_eq!(watch.disarmed_until, at(ms) + soon + disarmed_for);
    }
    // Ten minutes are the most.
    assert_eq!(judge(&mut watch, 3_000_000, soon), false_alarm(soon, MINUTE * 10));
    assert_eq!(watch.figures, EarlyFigures { false_alarms: 6, ..EarlyFigures::default() });
    // A master that was dead for as long as VRRP waits was dead: the next one begins anew.
    assert_eq!(judge(&mut watch, 9_000_000, Duration::from_secs(3)), []);
    assert_eq!(judge(&mut watch, 9_900_000, soon), false_alarm(soon, MINUTE / 2));
}

#[test]
fn a_master_that_stays_silent_is_not_judged() {
    let mut watch = GroupWatch::default();
    assert_eq!(judge(&mut watch, 1_000, Duration::ZERO), []);
    assert!(watch.alarm.is_some() && watch.disarmed_until == Instant::default());
}
