//! A peer that answers, is silent for a while, dies, leaves; and this node late.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::early::ProbeBlock;

const INTERVAL: Duration = Duration::from_millis(10);
const TIMING: ProbeTiming = ProbeTiming::new(INTERVAL, 3, false);
const ROUND_TRIP: Duration = Duration::from_micros(200);
const REPLACED_AFTER: Duration = Duration::from_secs(3);

/// This node, with one peer.
struct Node {
    session: MeasuredSession,
    now: Instant,
    stamps: PeerStamps,
    is_leaving: bool,
    changes: Vec<(SessionState, SessionState)>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Node {
    fn new() -> Self {
        let now = Instant::default() + Duration::from_secs(100);
        let block = ProbeBlock {
            interval: INTERVAL,
            multiplier: 3,
            takes_over: false,
            leaving: false,
            routers: Vec::new(),
        };
        Self {
            session: MeasuredSession::new(now),
            now,
            stamps: PeerStamps { block: Some(Arc::new(block)), ..PeerStamps::default() },
            is_leaving: false,
            changes: Vec::new(),
        }
    }

    fn look(&mut self) {
        let stamps = self.stamps.clone();
        let change = self.session.look(stamps, self.is_leaving, &TIMING, REPLACED_AFTER, self.now);
        self.changes.extend(change.map(|change| (change.from, change.to)));
    }

    /// One probe, and the time up to the next, with the looks that the session asks for; `answers` if the peer's host does.
    fn probe(&mut self, answers: bool) {
        self.look();
        let at = self.now;
        self.session.sent(at, at, &TIMING);
        let next = self.session.next_after(at, &TIMING, at);
        if answers {
            self.stamps.answers = at;
            self.stamps.answered = at + ROUND_TRIP;
            self.stamps.probed = at + ROUND_TRIP;
            self.stamps.heard = at + ROUND_TRIP;
        }
        while let Some(wanted) =
            self.session.silent_at(&TIMING).filter(|wanted| *wanted > self.now && *wanted < next)
        {
            self.now = wanted;
            self.look();
        }
        self.now = next;
    }

    fn run(&mut self, for_: Duration, answers: bool) {
        let until = self.now + for_;
        while self.now < until {
            self.probe(answers);
        }
        self.look();
    }
}

fn steady() -> Node {
    let mut node = Node::new();
    node.run(Duration::from_secs(3), true);
    assert_eq!(node.session.state(), SessionState::Up);
    assert!(node.session.is_armed(&TIMING, node.now));
    node
}

#[test]
fn a_peer_that_answers_is_measured() {
    let node = steady();
    let figures = node.session.figures();
    assert_eq!(figures.round_trips.least(), Some(ROUND_TRIP));
    assert_eq!(figures.round_trips.greatest(), Some(ROUND_TRIP));
    assert!(figures.sent > 150 && figures.round_trips.count() > 150, "{figures:?}");
    assert_eq!((figures.lost, figures.false_alarms, figures.downs, figures.late), (0, 0, 0, 0));
    assert_eq!(figures.longest_silence, INTERVAL);
    assert_eq!(node.changes, [(SessionState::Down, SessionState::Up)]);
}

/// Each row: for how long nothing is heard, and how many false alarms that is.
#[test]
fn a_silence_that_ends_is_a_false_alarm_if_it_was_long_enough() {
    for (silence, false_alarms) in [(10, 0), (20, 0), (30, 1), (40, 1), (50, 1), (500, 1), (2_000, 1)] {
        let mut node = steady();
        node.run(ms(silence), false);
        node.run(ms(1_500), true);
        let figures = node.session.figures();
        assert_eq!(
            (figures.false_alarms, figures.downs, figures.deaths),
            (false_alarms, false_alarms, 0),
            "{silence}"
        );
        assert_eq!(figures.last_false_alarm.is_some(), false_alarms > 0);
        assert_eq!(figures.longest_silence, ms(silence) + INTERVAL, "{silence}");
        // While it is down none is lost.
        assert_eq!(figures.lost, (silence / 10).min(3), "{silence}");
        assert_eq!(node.session.state(), SessionState::Up);
    }
}

#[test]
fn a_peer_that_dies_is_no_false_alarm() {
    let mut node = steady();
    node.run(Duration::from_secs(60), false);
    let figures = node.session.figures();
    assert_eq!((figures.false_alarms, figures.deaths, figures.downs), (0, 1, 1));
    assert_eq!(figures.longest_silence, INTERVAL);
    assert_eq!(node.session.state(), SessionState::Down);
    let at = node.now;
    assert_eq!(node.session.next_after(at, &TIMING, at), at + SLOW_PACE);
    // It comes back, and is measured as before.
    node.run(Duration::from_secs(3), true);
    assert_eq!(node.session.state(), SessionState::Up);
    assert_eq!(node.session.figures().longest_silence, INTERVAL);
    assert!(node.session.is_armed(&TIMING, node.now));
}

#[test]
fn a_peer_that_leaves_is_no_alarm() {
    let mut node = steady();
    node.is_leaving = true;
    let block = ProbeBlock { leaving: true, ..(**node.stamps.block.as_ref().unwrap()).clone() };
    node.stamps.block = Some(Arc::new(block));
    node.run(ms(100), true);
    assert_eq!(node.session.state(), SessionState::AdminDown);
    node.run(Duration::from_secs(60), false);
    let figures = node.session.figures();
    assert_eq!((figures.false_alarms, figures.deaths, figures.downs), (0, 0, 0));
    assert_eq!(node.session.state(), SessionState::AdminDown);
}

/// This node cannot tell its own sleep from the peer's.
#[test]
fn a_node_that_is_late_itself_counts_that() {
    for late in [25, 100, 1_000] {
        let mut node = steady();
        // Its last probe was answered; it sends the next one late.
        node.now = node.now + ms(late);
        node.run(ms(1_500), true);
        let figures = node.session.figures();
        assert_eq!((figures.late, figures.false_alarms, figures.lost), (1, 0, 0), "{late}");
        assert_eq!(figures.longest_silence, INTERVAL, "{late}");
    }
}

/// Until both have heard each other for a second nothing would be acted on.
#[test]
fn a_silence_at_the_beginning_is_no_alarm() {
    let mut node = Node::new();
    node.run(ms(1_500), true);
    node.run(ms(100), false);
    node.run(ms(100), true);
    let figures = node.session.figures();
    assert_eq!((figures.false_alarms, figures.downs), (0, 1));
}

/// Another interval at the peer: it is measured, and no takeover would follow.
#[test]
fn a_peer_with_another_interval_is_never_acted_on() {
    let mut node = Node::new();
    let block = ProbeBlock { interval: ms(20), ..(**node.stamps.block.as_ref().unwrap()).clone() };
    node.stamps.block = Some(Arc::new(block));
    node.run(Duration::from_secs(3), true);
    assert!(!node.session.is_armed(&TIMING, node.now));
    node.run(ms(100), false);
    node.run(ms(100), true);
    let figures = node.session.figures();
    assert_eq!((figures.false_alarms, figures.downs), (0, 1));
    assert!(figures.round_trips.count() > 100);
}

#[test]
fn another_configuration_begins_anew() {
    let mut node = steady();
    node.session.configure(node.now);
    let figures = node.session.figures();
    assert_eq!((figures.sent, figures.round_trips.count(), figures.since), (0, 0, node.now));
    assert_eq!(node.session.state(), SessionState::Up);
}
