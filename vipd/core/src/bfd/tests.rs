//! The table of RFC 5880 6.2, timers, polls, and pairs of sessions under loss.

use std::time::Duration;

use vipd_common::wire::bfd::{
    Diagnostic, Repr,
    SessionState::{self, AdminDown, Down, Init, Up},
    flag,
};

use super::{BfdLeft, BfdSession, BfdSettings, IntervalsInForce};
use crate::time::Instant;

const SETTINGS: BfdSettings = BfdSettings {
    min_tx_us: 10_000,
    min_rx_us: 20_000,
    idle_tx_us: 1_000_000,
    multiplier: 3,
    passive: false,
};
const OURS: u32 = 7;
const THEIRS: u32 = 9;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 + ms * 1_000_000)
}

fn packet(state: SessionState, yours: u32) -> Repr {
    Repr {
        diagnostic: Diagnostic::NONE,
        state,
        flags: 0,
        multiplier: 4,
        authentication_length: 0,
        my_discriminator: THEIRS,
        your_discriminator: yours,
        desired_min_tx_us: 30_000,
        required_min_rx_us: 15_000,
        required_min_echo_rx_us: 0,
    }
}

/// A session in a state, at 0 ms, without anything to be sent or told.
fn session(state: SessionState) -> BfdSession {
    let mut session = BfdSession::new(SETTINGS, OURS, 1, at(0));
    match state {
        Down => {}
        AdminDown => session.handle_end(at(0)),
        Init => assert!(session.handle_packet(&packet(Down, 0), at(0), at(0))),
        Up => assert!(session.handle_packet(&packet(Init, OURS), at(0), at(0))),
    }
    assert_eq!(session.state(), state);
    while session.poll_transmit(at(0)).is_some() {}
    while session.poll_change().is_some() {}
    session
}

/// RFC 5880 6.2 and 6.8.6, and what ends a session without a packet.
#[test]
fn every_state_hears_every_state() {
    let signaled = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
    for (state, [admin_down, down, init, up]) in [
        (Down, [Down, Init, Up, Down]),
        (Init, [Down, Init, Up, Up]),
        (Up, [Down, Down, Up, Up]),
        (AdminDown, [AdminDown; 4]),
    ] {
        for (heard, wanted) in [(AdminDown, admin_down), (Down, down), (Init, init), (Up, up)] {
            let mut session = session(state);
            assert!(session.handle_packet(&packet(heard, OURS), at(1), at(1)), "{state} hears {heard}");
            assert_eq!(session.state(), wanted, "{state} hears {heard}");
            let change = session.poll_change();
            assert_eq!(change.is_some(), wanted != state, "{state} hears {heard}: {change:?}");
            if let Some(change) = change {
                assert_eq!((change.from, change.to, change.at), (state, wanted, at(1)));
                assert_eq!(change.remote, Some(heard), "{state} hears {heard}");
                let why = if wanted == Down { signaled } else { Diagnostic::NONE };
                assert_eq!((change.diagnostic, session.diagnostic()), (why, why), "{state} hears {heard}");
                // One packet at once tells it, and no more.
                let told = session.poll_transmit(at(1)).expect("a packet at once");
                assert_eq!((told.state, told.diagnostic, told.your_discriminator), (wanted, why, THEIRS));
                assert_eq!(session.poll_transmit(at(1)), None);
            }
        }
    }
}

#[test]
fn a_detection_time_without_a_packet_is_the_end() {
    for (state, heard) in [(Down, AdminDown), (Down, Up), (Init, Down), (Up, Up), (AdminDown, Up)] {
        let mut session = session(state);
        assert!(session.handle_packet(&packet(heard, OURS), at(0), at(0)));
        assert_eq!((session.state(), session.poll_change()), (state, None), "{state} hears {heard}");
        // Its multiplier times the greater of its interval and ours.
        assert_eq!(session.detection_time(), Some(Duration::from_millis(4 * 30)), "{state}");
        let before = session.diagnostic();
        session.handle_timeout(at(119));
        assert_eq!((session.state(), session.poll_change()), (state, None));
        assert_eq!(session.remote().map(|remote| remote.state), Some(heard), "{state}");
        session.handle_timeout(at(121));
        // RFC 5880 6.8.1: whatever the state, the neighbor's discriminator is known no longer.
        assert_eq!((session.remote(), session.detection_time()), (None, None), "{state}");
        let (to, diagnostic) = match state {
            Init | Up => (Down, Diagnostic::DETECTION_TIME_EXPIRED),
            Down | AdminDown => (state, before),
        };
        assert_eq!((session.state(), session.diagnostic()), (to, diagnostic), "{state} hears {heard}");
        let told = session.poll_change().map(|change| (change.from, change.to, change.remote));
        assert_eq!(told, (to != state).then_some((state, Down, None)), "{state} hears {heard}");
        assert!(!session.is_reached(), "{state}");
    }
}

/// What is to become of a neighbor that was reached, by what it says and when, in milliseconds; `None`: the time alone passes.
#[test]
fn a_neighbor_out_of_service_stays_reached_until_it_is_known_better() {
    // As every second from 10 ms on, until a second before `end`.
    let goes_on = |end: u64| (0..end / 1_000).map(|second| (second * 1_000 + 10, Some(AdminDown)));
    let row = |first: &[(u64, Option<SessionState>)]| first.to_vec();
    for (what, heard, reached_at_the_end) in [
        ("it goes on", row(&[(100, Some(Up)), (110, None)]), true),
        ("it is silent", row(&[(500, None)]), false),
        ("it signals Down", row(&[(10, Some(Down)), (20, None)]), false),
        (
            "out of service, silent from then on",
            row(&[(10, Some(AdminDown)), (5_000, None), (3_600_000, None)]),
            true,
        ),
        ("out of service and goes on", goes_on(100_000).chain([(99_100, None)]).collect(), true),
        ("out of service for long, then silent", goes_on(100_000).chain([(104_000, None)]).collect(), false),
        (
            "back within a moment",
            row(&[(10, Some(AdminDown)), (20, Some(Down)), (30, Some(Init)), (9_000, None)]),
            false,
        ),
        (
            "back, and goes on",
            row(&[(10, Some(AdminDown)), (20, Some(Down)), (30, Some(Init)), (40, Some(Up)), (100, None)]),
            true,
        ),
        ("back, coming up", row(&[(10, Some(AdminDown)), (20, Some(Down)), (30, None)]), true),
        // It does not hear us: its Down comes again and again, and we stay in Init.
        (
            "back, one way",
            [(10, AdminDown)]
                .into_iter()
                .chain((0..50).map(|i| (100 + i * 100, Down)))
                .map(|(at, state)| (at, Some(state)))
                .collect(),
            false,
        ),
        ("back, and silent", row(&[(10, Some(AdminDown)), (20, Some(Down)), (500, None)]), false),
        (
            "out of service again",
            row(&[(10, Some(AdminDown)), (20, Some(Down)), (30, Some(AdminDown)), (40, None)]),
            true,
        ),
    ] {
        let mut session = session(Up);
        assert!(session.is_reached());
        for (ms, state) in heard {
            // As the daemon does: whenever something is due.
            while let Some(due) = session.poll_timeout().filter(|due| *due <= at(ms)) {
                session.handle_timeout(due);
                while session.poll_transmit(due).is_some() {}
            }
            if let Some(state) = state {
                // RFC 5880 6.8.3: once a second while not Up.
                let desired_min_tx_us = if state == AdminDown { 1_000_000 } else { 30_000 };
                let heard = Repr { desired_min_tx_us, ..packet(state, OURS) };
                assert!(session.handle_packet(&heard, at(ms), at(ms)), "{what}");
            }
        }
        assert_eq!(session.is_reached(), reached_at_the_end, "{what}: {session:?}");
    }
    // Who never was stays so.
    let mut session = session(Down);
    session.handle_packet(&packet(AdminDown, OURS), at(1), at(1));
    assert!(!session.is_reached());
}

/// Two changes between two looks are two changes, each with what the neighbor said then.
#[test]
fn no_change_is_lost_within_a_turn() {
    let mut session = session(Up);
    for state in [AdminDown, Down, Init] {
        session.handle_packet(&packet(state, OURS), at(1), at(1));
    }
    let changes: Vec<_> =
        std::iter::from_fn(|| session.poll_change()).map(|change| (change.to, change.remote)).collect();
    assert_eq!(changes, [(Down, Some(AdminDown)), (Init, Some(Down)), (Up, Some(Init))]);
}

/// What a discriminator has to be (RFC 5880 6.8.6).
#[test]
fn packets_of_other_sessions_are_none() {
    for (what, heard, yours, is_ours) in [
        ("ours", Up, OURS, true),
        ("another's", Up, OURS + 1, false),
        ("another's, Down", Down, OURS + 1, false),
        ("none, Down", Down, 0, true),
        ("none, AdminDown", AdminDown, 0, true),
        ("none, Init", Init, 0, false),
        ("none, Up", Up, 0, false),
    ] {
        let mut session = session(Up);
        assert_eq!(session.handle_packet(&packet(heard, yours), at(1), at(1)), is_ours, "{what}");
        assert_eq!(session.state() == Up, !is_ours || heard == Up, "{what}");
    }
}

/// A process that was late does not take a path for dead: it looks at the stamps first, and if there are none it waits once more.
#[test]
fn a_late_look_spares_the_session_once() {
    let mut late = session(Up);
    late.handle_heard(at(400));
    late.handle_timeout(at(500));
    assert_eq!(late.state(), Up, "packets came in time");
    let mut slept = session(Up);
    slept.handle_timeout(at(10_000));
    assert_eq!(slept.state(), Up);
    slept.handle_timeout(at(10_029));
    assert_eq!(slept.state(), Up);
    // An old stamp is no sign of life.
    slept.handle_heard(at(0));
    slept.handle_timeout(at(10_031));
    assert_eq!((slept.state(), slept.diagnostic()), (Down, Diagnostic::DETECTION_TIME_EXPIRED));
    let mut alive = session(Up);
    alive.handle_timeout(at(10_000));
    alive.handle_heard(at(10_010));
    alive.handle_timeout(at(10_100));
    assert_eq!(alive.state(), Up);
    alive.handle_timeout(at(10_131));
    assert_eq!(alive.state(), Down);
}

/// Packets that are due from `from` on, in milliseconds, until `until`.
fn sent(session: &mut BfdSession, from: u64, until: u64) -> Vec<(u64, Repr)> {
    let mut sent = Vec::new();
    for us in (from * 1_000..until * 1_000).step_by(100) {
        let now = Instant::from_nanos(at(0).as_nanos() + us * 1_000);
        while let Some(packet) = session.poll_transmit(now) {
            sent.push((us, packet));
        }
    }
    sent
}

#[test]
fn intervals_are_negotiated_and_jittered() {
    // Theirs is the longer: 15 ms.
    let mut up = session(Up);
    let all = sent(&mut up, 0, 3_000);
    let gaps: Vec<u64> = all.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (11_200..=15_100).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 12_500) && gaps.iter().any(|gap| *gap > 14_000), "{gaps:?}");
    // Not Up: one in a second at most.
    let mut down = BfdSession::new(SETTINGS, OURS, 3, at(0));
    let all = sent(&mut down, 0, 30_000);
    let gaps: Vec<u64> = all.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (749_000..=1_000_100).contains(gap)) && gaps.len() > 25, "{gaps:?}");
    assert_eq!(all[0].1.desired_min_tx_us, 1_000_000);
    // Multiplier 1: never the whole interval.
    let mut one = BfdSession::new(BfdSettings { multiplier: 1, ..SETTINGS }, OURS, 3, at(0));
    let all = sent(&mut one, 0, 60_000);
    assert!(all.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 900_100));
    // The neighbor wants none.
    let mut unwanted = session(Up);
    let none = Repr { required_min_rx_us: 0, ..packet(Up, OURS) };
    unwanted.handle_packet(&none, at(1), at(1));
    assert_eq!(sent(&mut unwanted, 1, 1_000), []);
    // Nor in demand mode, while no poll is under way.
    let mut demand = session(Up);
    let wish = Repr { flags: flag::DEMAND | flag::FINAL, ..packet(Up, OURS) };
    demand.handle_packet(&wish, at(1), at(1));
    assert_eq!(sent(&mut demand, 1, 1_000), []);
}

#[test]
fn a_passive_session_speaks_when_spoken_to() {
    let mut passive = BfdSession::new(BfdSettings { passive: true, ..SETTINGS }, OURS, 1, at(0));
    assert_eq!(sent(&mut passive, 0, 5_000), []);
    assert_eq!(passive.poll_timeout(), None);
    passive.handle_packet(&packet(Down, 0), at(5_000), at(5_000));
    let first = sent(&mut passive, 5_000, 5_010);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].1.state, first[0].1.your_discriminator), (Init, THEIRS));
}

/// RFC 5880 6.5: P until F; each P is answered at once, with F and without P.
#[test]
fn polls_end_with_final() {
    let mut ours = session(Init);
    ours.handle_packet(&packet(Up, OURS), at(1), at(1));
    let polls = sent(&mut ours, 1, 100);
    assert!(polls.len() > 3 && polls.iter().all(|(_, packet)| packet.flags == flag::POLL), "{polls:?}");
    assert!(polls.iter().all(|(_, packet)| packet.desired_min_tx_us == 10_000));
    ours.handle_packet(&Repr { flags: flag::POLL, ..packet(Up, OURS) }, at(100), at(100));
    let answer = ours.poll_transmit(at(100)).expect("an answer at once");
    assert_eq!(answer.flags, flag::FINAL);
    ours.handle_packet(&Repr { flags: flag::FINAL, ..packet(Up, OURS) }, at(101), at(101));
    let after = sent(&mut ours, 101, 200);
    assert!(after.len() > 3 && after.iter().all(|(_, packet)| packet.flags == 0), "{after:?}");
}

/// RFC 5880 6.8.3: what would have the other end lose us waits until it has agreed.
#[test]
fn changed_settings_take_effect_when_it_is_safe() {
    let final_ = Repr { flags: flag::FINAL, ..packet(Up, OURS) };
    let detection = |session: &BfdSession| session.detection_time().unwrap().as_millis();
    let mut ours = session(Up);
    ours.handle_packet(&final_, at(1), at(1));
    let slower = BfdSettings { min_tx_us: 500_000, min_rx_us: 100_000, ..SETTINGS };
    ours.handle_settings(slower, at(2));
    // Longer: packets go on at 15 ms, their detection time is longer at once.
    assert_eq!((ours.transmit_interval().as_millis(), detection(&ours)), (15, 400));
    let told = ours.poll_transmit(at(2)).expect("told at once");
    assert_eq!((told.flags, told.desired_min_tx_us, told.required_min_rx_us), (flag::POLL, 500_000, 100_000));
    ours.handle_packet(&final_, at(3), at(3));
    assert_eq!((ours.transmit_interval().as_millis(), detection(&ours)), (500, 400));
    // Shorter: the other way round.
    ours.handle_settings(SETTINGS, at(4));
    ours.poll_transmit(at(4)).expect("told at once");
    assert_eq!((ours.transmit_interval().as_millis(), detection(&ours)), (15, 400));
    ours.handle_packet(&final_, at(5), at(5));
    assert_eq!((ours.transmit_interval().as_millis(), detection(&ours)), (15, 120));
    assert_eq!(ours.state(), Up);
}

/// RFC 5880 6.5: one poll at a time. What is new waits until the neighbor has answered for the former, or its answer would be taken for one
/// that it has not given.
#[test]
fn settings_that_change_during_a_poll_wait_for_its_end() {
    let final_ = Repr { flags: flag::FINAL, ..packet(Up, OURS) };
    let detection = |session: &BfdSession| session.detection_time().unwrap().as_millis();
    let mut ours = session(Up);
    ours.handle_packet(&final_, at(1), at(1));
    let longer = BfdSettings { min_rx_us: 200_000, ..SETTINGS };
    ours.handle_settings(longer, at(2));
    assert_eq!(ours.poll_transmit(at(2)).map(|told| told.required_min_rx_us), Some(200_000));
    let shorter = BfdSettings { min_rx_us: 20_000, ..SETTINGS };
    ours.handle_settings(shorter, at(3));
    ours.handle_packet(&final_, at(4), at(4));
    // The F was for 200 ms, which the neighbor may go by.
    assert_eq!(detection(&ours), 800);
    let told = ours.poll_transmit(at(4)).expect("a poll of its own");
    assert_eq!((told.required_min_rx_us, told.flags), (20_000, flag::POLL));
    ours.handle_packet(&final_, at(5), at(5));
    assert_eq!((detection(&ours), ours.settings()), (120, &shorter));
    // Back to what is in force: nothing is left to do.
    ours.handle_settings(longer, at(6));
    ours.poll_transmit(at(6)).expect("told");
    ours.handle_settings(shorter, at(7));
    ours.handle_settings(longer, at(8));
    ours.handle_packet(&final_, at(9), at(9));
    assert_eq!((detection(&ours), ours.settings()), (800, &longer));
}

/// An F that comes before P was sent is an answer to an earlier poll.
#[test]
fn a_final_before_the_poll_ends_nothing() {
    let final_ = Repr { flags: flag::FINAL, ..packet(Up, OURS) };
    let mut ours = session(Up);
    ours.handle_packet(&final_, at(1), at(1));
    ours.handle_settings(BfdSettings { min_tx_us: 500_000, ..SETTINGS }, at(2));
    ours.handle_packet(&final_, at(3), at(3));
    assert_eq!(ours.transmit_interval().as_millis(), 15);
    assert_eq!(ours.poll_transmit(at(3)).map(|told| told.flags), Some(flag::POLL));
    ours.handle_packet(&final_, at(4), at(4));
    assert_eq!(ours.transmit_interval().as_millis(), 500);
}

/// RFC 5880 6.8.16: more than once, since one may be lost.
#[test]
fn a_session_that_ends_says_so_three_times() {
    for state in [Init, Up] {
        let mut ours = session(state);
        let interval = ours.transmit_interval();
        ours.handle_end(at(1));
        assert!(!ours.is_over());
        ours.handle_end(at(2));
        let told = sent(&mut ours, 1, 10_000);
        let what = |(_, packet): &(u64, Repr)| (packet.state, packet.diagnostic, packet.your_discriminator);
        let expected = (AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, THEIRS);
        assert_eq!(told.iter().map(what).collect::<Vec<_>>(), [expected; 3], "{state}");
        assert_eq!(told[0].0, 1_000, "the first at once");
        let most = u64::try_from(interval.as_micros()).unwrap() * 2 + 1_200;
        assert!(told[2].0 <= most, "as often as before: {told:?}");
        assert!(ours.is_over(), "{state}");
    }
    // Who has heard nobody says it once, and who is passive says nothing.
    let mut alone = session(Down);
    alone.handle_end(at(1));
    assert_eq!(sent(&mut alone, 1, 10_000).len(), 1);
    assert!(alone.is_over());
    let mut passive = BfdSession::new(BfdSettings { passive: true, ..SETTINGS }, OURS, 1, at(0));
    passive.handle_end(at(1));
    assert!(passive.is_over() && sent(&mut passive, 1, 10_000).is_empty());
    // To who wants none it is news all the same, once.
    let mut unwanted = session(Up);
    unwanted.handle_packet(&Repr { required_min_rx_us: 0, ..packet(Up, OURS) }, at(1), at(1));
    unwanted.handle_end(at(2));
    assert_eq!(sent(&mut unwanted, 2, 1_000).len(), 1);
    assert!(unwanted.is_over());
}

/// What a process has left that had `SETTINGS`, and was told `state` last, at 90 ms.
fn left(state: SessionState) -> BfdLeft {
    let intervals = IntervalsInForce { tx_us: SETTINGS.min_tx_us, rx_us: SETTINGS.min_rx_us };
    BfdLeft { discriminator: OURS, intervals, packet: packet(state, OURS), heard_at: at(90) }
}

#[test]
fn a_resumed_session_goes_on() {
    let mut ours = BfdSession::resumed(SETTINGS, &left(Up), 1, at(100));
    assert_eq!((ours.state(), ours.poll_change(), ours.is_reached()), (Up, None, true));
    let first = ours.poll_transmit(at(100)).expect("at once");
    assert_eq!((first.state, first.your_discriminator, first.flags), (Up, THEIRS, flag::POLL));
    ours.handle_timeout(at(211));
    assert_eq!(ours.state(), Down, "its neighbor was heard at 90");
}

/// The neighbor knows the settings of the process before, and sends by them until it has answered.
#[test]
fn a_resumed_session_goes_by_what_its_neighbor_knows() {
    let fast = BfdSettings { min_tx_us: 500_000, min_rx_us: 1_000, ..SETTINGS };
    let slow = IntervalsInForce { tx_us: 200_000, rx_us: 300_000 };
    let mut ours = BfdSession::resumed(fast, &BfdLeft { intervals: slow, ..left(Up) }, 1, at(100));
    assert_eq!(ours.detection_time(), Some(Duration::from_millis(4 * 300)));
    assert_eq!(ours.transmit_interval().as_millis(), 200);
    assert_eq!(ours.intervals(), slow, "what the next process is to know");
    let told = ours.poll_transmit(at(100)).expect("at once");
    assert_eq!((told.flags, told.required_min_rx_us, told.desired_min_tx_us), (flag::POLL, 1_000, 500_000));
    ours.handle_packet(&Repr { flags: flag::FINAL, ..packet(Up, OURS) }, at(101), at(101));
    assert_eq!(ours.detection_time(), Some(Duration::from_millis(4 * 30)));
    assert_eq!(ours.transmit_interval().as_millis(), 500);
}

/// The process before may have died before it read the last packet.
#[test]
fn a_resumed_session_follows_what_was_said_last() {
    for (state, to, is_reached) in
        [(Up, Up, true), (Init, Up, true), (Down, Down, false), (AdminDown, Down, true)]
    {
        let mut ours = BfdSession::resumed(SETTINGS, &left(state), 1, at(100));
        assert_eq!((ours.state(), ours.is_reached()), (to, is_reached), "{state}");
        let change = ours.poll_change().map(|change| (change.from, change.to, change.remote));
        assert_eq!(change, (to != Up).then_some((Up, Down, Some(state))), "{state}");
    }
}

/// Two sessions over a network that loses and delays; the clock of the second runs faster or slower.
struct Pair {
    sessions: [BfdSession; 2],
    /// Arrival in microseconds, to whom, what.
    wire: Vec<(u64, usize, Repr)>,
    random: u64,
    now_us: u64,
    loss_percent: u64,
    rate_ppm: i64,
}

impl Pair {
    fn new(settings: [BfdSettings; 2], seed: u64, loss_percent: u64, rate_ppm: i64) -> Self {
        let new = |i: usize| BfdSession::new(settings[i], 100 + i as u32, seed + i as u64, at(0));
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { sessions: [new(0), new(1)], wire: Vec::new(), random, now_us: 0, loss_percent, rate_ppm }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Time as one of them has it.
    fn clock(&self, who: usize) -> Instant {
        let skew = if who == 1 { self.now_us as i64 * self.rate_ppm / 1_000_000 } else { 0 };
        Instant::from_nanos(at(0).as_nanos() + (self.now_us as i64 + skew) as u64 * 1_000)
    }

    fn run(&mut self, ms: u64) {
        let end = self.now_us + ms * 1_000;
        while self.now_us < end {
            self.now_us += 250;
            for who in 0..2 {
                let now = self.clock(who);
                let arrived: Vec<_> =
                    self.wire.extract_if(.., |(at, to, _)| *to == who && *at <= self.now_us).collect();
                for (_, _, packet) in arrived {
                    self.sessions[who].handle_packet(&packet, now, now);
                }
                self.sessions[who].handle_timeout(now);
                while let Some(packet) = self.sessions[who].poll_transmit(now) {
                    let (lost, delay) = (self.random() % 100 < self.loss_percent, self.random() % 2_000);
                    if !lost {
                        self.wire.push((self.now_us + delay, 1 - who, packet));
                    }
                }
            }
        }
    }

    fn states(&self) -> [SessionState; 2] {
        [self.sessions[0].state(), self.sessions[1].state()]
    }
}

/// Whatever is lost meanwhile, two ends come up, agree, and both go down when the way is cut; and a way without loss keeps them Up.
#[test]
fn pairs_come_up_and_stay_up() {
    let fast = BfdSettings { min_rx_us: 10_000, ..SETTINGS };
    let slow = BfdSettings { min_tx_us: 50_000, min_rx_us: 70_000, multiplier: 5, ..SETTINGS };
    let passive = BfdSettings { passive: true, ..slow };
    let one = BfdSettings { multiplier: 1, min_tx_us: 40_000, min_rx_us: 40_000, ..SETTINGS };
    for settings in [[fast, fast], [fast, slow], [slow, passive], [passive, fast], [one, one]] {
        for seed in 1..20 {
            for rate_ppm in [-200, 0, 200] {
                let mut pair = Pair::new(settings, seed, 30, rate_ppm);
                pair.run(15_000);
                pair.loss_percent = 0;
                pair.run(8_000);
                assert_eq!(pair.states(), [Up; 2], "{settings:?}, seed {seed}, {rate_ppm} ppm");
                for session in &mut pair.sessions {
                    while session.poll_change().is_some() {}
                }
                pair.run(5_000);
                assert!(
                    pair.sessions.iter_mut().all(|session| session.poll_change().is_none()),
                    "seed {seed}"
                );
                // Both have the other's intervals.
                let [a, b] = &pair.sessions;
                let detects = |one: &BfdSession, other: &BfdSession| {
                    one.detection_time().unwrap()
                        == Duration::from_micros(
                            u64::from(other.settings().multiplier)
                                * u64::from(other.settings().min_tx_us.max(one.settings().min_rx_us)),
                        )
                };
                assert!(detects(a, b) && detects(b, a), "{settings:?}, seed {seed}");
                pair.loss_percent = 100;
                pair.run(2_000);
                assert_eq!(pair.states(), [Down; 2], "{settings:?}, seed {seed}");
            }
        }
    }
}
