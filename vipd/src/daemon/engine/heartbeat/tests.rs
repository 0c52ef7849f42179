//! Heartbeat links that fall silent, come back, go down.

use super::*;

const PATIENCE: Duration = Duration::from_secs(3);

fn at(ms: u64) -> Instant {
    // Not the beginning of time: a stamp of 0 says that nothing was heard.
    Instant::from_nanos(1_000_000_000_000 + ms * 1_000_000)
}

fn lines(count: usize) -> HeartbeatLinks {
    let line = |i: usize| LinkMonitor {
        interface: format!("eth{i}"),
        health: LinkHealth::Well,
        began: at(0),
        since: at(0),
        sends_fail: false,
        send_errors: 0,
    };
    HeartbeatLinks((0..count).map(line).collect())
}

/// A line that is up, with an advert heard then.
fn heard(ms: u64) -> LinkSeen {
    LinkSeen { up: true, heard: at(ms) }
}

const SILENT: LinkSeen = LinkSeen { up: true, heard: Instant::from_nanos(0) };
const DOWN: LinkSeen = LinkSeen { up: false, heard: Instant::from_nanos(0) };

fn backup(since_ms: u64) -> Option<Wait> {
    Some(Wait { since: at(since_ms), patience: PATIENCE })
}

#[test]
fn a_line_is_lost_when_only_others_deliver() {
    let mut lines = lines(3);
    for (what, now, seen, news) in [
        ("all deliver", 1_000, [heard(900), heard(900), heard(900)], &[][..]),
        ("two are silent, not for long", 3_800, [heard(3_700), heard(900), heard(900)], &[]),
        (
            "for long",
            3_900,
            [heard(3_800), heard(900), heard(900)],
            &[(1, HeartbeatNews::Lost), (2, HeartbeatNews::Lost)],
        ),
        ("it is told once", 7_000, [heard(6_900), heard(900), heard(900)], &[]),
        ("one delivers again", 8_000, [heard(7_900), heard(7_900), heard(900)], &[(1, HeartbeatNews::Heard)]),
        (
            "the first falls silent",
            12_000,
            [heard(7_900), heard(11_900), heard(900)],
            &[(0, HeartbeatNews::Lost)],
        ),
        ("all are back", 13_000, [heard(12_900); 3], &[(0, HeartbeatNews::Heard), (2, HeartbeatNews::Heard)]),
    ] {
        assert_eq!(lines.compare(&seen, backup(0), at(now)), news, "{what}");
    }
}

/// When no line delivers the master is silent, which is the election's matter.
#[test]
fn a_silent_master_loses_no_line() {
    let mut lines = lines(2);
    assert_eq!(lines.compare(&[heard(900), heard(900)], backup(0), at(1_000)), []);
    assert_eq!(lines.compare(&[heard(900), heard(900)], backup(0), at(10_000)), []);
    // It speaks again, and is heard on one line a little earlier.
    assert_eq!(lines.compare(&[heard(11_000), heard(900)], backup(10_500), at(11_000)), []);
    assert_eq!(
        lines.compare(&[heard(14_000), heard(900)], backup(10_500), at(14_000)),
        [(1, HeartbeatNews::Lost)]
    );
}

#[test]
fn a_line_that_was_never_heard_has_its_time() {
    let mut lines = lines(2);
    assert_eq!(lines.compare(&[heard(2_900), SILENT], backup(0), at(2_900)), []);
    assert_eq!(lines.compare(&[heard(3_000), SILENT], backup(0), at(3_000)), [(1, HeartbeatNews::Lost)]);
}

#[test]
fn a_line_that_is_down_is_not_lost_and_begins_anew_when_it_is_up() {
    let mut lines = lines(2);
    assert_eq!(lines.compare(&[heard(100), DOWN], backup(0), at(200)), [(1, HeartbeatNews::Down)]);
    assert_eq!(lines.compare(&[heard(9_000), DOWN], backup(0), at(9_000)), []);
    assert_eq!(lines.compare(&[heard(9_100), SILENT], backup(0), at(9_100)), [(1, HeartbeatNews::Up)]);
    assert_eq!(lines.compare(&[heard(12_000), SILENT], backup(0), at(12_000)), []);
    assert_eq!(lines.compare(&[heard(12_100), SILENT], backup(0), at(12_100)), [(1, HeartbeatNews::Lost)]);
    assert_eq!(lines.compare(&[heard(12_200), DOWN], backup(0), at(12_200)), [(1, HeartbeatNews::Down)]);
}

/// A master hears nobody; what it knew as a backup is forgotten without a word.
#[test]
fn only_a_backup_misses_adverts() {
    let mut lines = lines(2);
    assert_eq!(lines.compare(&[heard(3_000), SILENT], backup(0), at(3_000)), [(1, HeartbeatNews::Lost)]);
    assert_eq!(lines.compare(&[heard(3_000), SILENT], None, at(4_000)), []);
    assert_eq!(lines.compare(&[heard(3_000), SILENT], None, at(60_000)), []);
    // A backup again: from then on.
    assert_eq!(lines.compare(&[heard(62_900), SILENT], backup(60_000), at(62_900)), []);
    assert_eq!(
        lines.compare(&[heard(63_000), SILENT], backup(60_000), at(63_000)),
        [(1, HeartbeatNews::Lost)]
    );
}

#[test]
fn what_a_socket_refuses_is_news_once() {
    let mut lines = lines(2);
    let told = [true, false, false, true, true].map(|left| lines.sent(1, left));
    assert_eq!(told, [false, true, false, true, false]);
    assert_eq!((lines.0[1].send_errors, lines.0[0].send_errors), (2, 0));
}
