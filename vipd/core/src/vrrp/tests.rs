//! The statements of the conformance list that one machine can show; in `table` every state against every event.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::*;
use crate::time::Instant;

mod inherited;
mod table;

const ID: InstanceId = InstanceId(7);
const START: Instant = Instant::from_nanos(1_000_000_000_000);
/// Active_Down_Interval at priority 100 and 1 s.
const DOWN: Duration = Duration::from_nanos(3_609_375_000);

pub(super) fn settings(priority: u8) -> Settings {
    Settings {
        version: Version::V3,
        family: Family::V4,
        vrid: Vrid::new(51).unwrap(),
        priority: Priority::new(priority),
        advert_interval: secs(1),
        down_timer_adverts: 3,
        preempt: true,
        preempt_delay: Duration::ZERO,
        lease: LeasePolicy::Overlap,
        garp: GarpTiming { delay: None, lower_prio_delay: None, ..GarpTiming::default() },
        lower_prio_no_advert: false,
        checksum: ChecksumForm::PseudoHeader,
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn own() -> IpAddr {
    ip("192.0.2.2")
}

/// An advert from 192.0.2.9, above us, every second.
fn advert(priority: u8, received_at: Instant) -> Advert {
    Advert {
        source: ip("192.0.2.9"),
        priority: Priority::new(priority),
        interval: secs(1),
        checksum: ChecksumForm::PseudoHeader,
        received_at,
    }
}

/// One machine, its actions written short, and a driver that sends every advert at once.
struct Rig {
    machine: Machine,
    /// When adverts were sent, and the priority in them.
    sent: Vec<(Instant, u8)>,
    sending_works: bool,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self { machine: Machine::new(ID, settings), sent: Vec::new(), sending_works: true }
    }

    fn backup(settings: Settings) -> Self {
        let mut rig = Self::new(settings);
        rig.event(Event::Ready { address: own() }, START);
        assert_eq!(rig.state(), "BACKUP");
        rig
    }

    /// Became master at the returned time.
    fn master(settings: Settings) -> (Self, Instant) {
        let mut rig = Self::new(settings);
        rig.event(Event::Ready { address: own() }, START);
        let at = rig.snapshot().master_down_at.unwrap_or(START);
        rig.event(Event::Timeout, at);
        assert_eq!(rig.state(), "MASTER");
        (rig, at)
    }

    fn event(&mut self, event: Event, now: Instant) -> String {
        let mut queue = VecDeque::new();
        self.machine.handle(event, now, &mut queue);
        assert!(queue.len() <= MAX_ACTIONS, "{queue:?}");
        let mut words = Vec::new();
        while let Some(action) = queue.pop_front() {
            words.push(self.perform(action, now));
        }
        words.join(" ")
    }

    fn hear(&mut self, advert: Advert) -> String {
        self.event(Event::Advert { advert, revoked: false }, advert.received_at)
    }

    fn perform(&mut self, action: Action, now: Instant) -> String {
        match action {
            Action::Advertise { priority, renew_for, .. } => {
                if self.sending_works {
                    self.sent.push((now, priority.get()));
                }
                let mut none = VecDeque::new();
                match renew_for {
                    Some(d) if self.sending_works => {
                        self.machine.handle(
                            Event::AdvertSent { at: now, lease_until: now + d },
                            now,
                            &mut none,
                        );
                    }
                    Some(_) | None => {}
                }
                assert!(none.is_empty());
                format!("adv{priority}{}", if renew_for.is_some() { "+" } else { "" })
            }
            Action::Release { .. } => "release".into(),
            Action::Announce { repeat, .. } => format!("ann{repeat}"),
            Action::CancelAnnounce { .. } => "cancel".into(),
            Action::Publish { rank: Rank { participating: false, .. }, .. } => "pub-".into(),
            Action::Publish { rank, .. } => format!("pub{}", rank.priority),
            Action::Shorten { until, .. } => format!("until+{}", until.saturating_since(now).as_millis()),
            Action::Mirroring { .. } => "mirror".into(),
            Action::Transition { to, reason, .. } => format!("{to}:{reason:?}"),
            Action::Finished => "finished".into(),
        }
    }

    /// Runs the timers up to and including `until`.
    fn run(&mut self, until: Instant) -> String {
        let mut words = Vec::new();
        while let Some(at) = self.machine.deadline().filter(|at| *at <= until) {
            words.push(self.event(Event::Timeout, at));
            assert!(self.machine.deadline().is_none_or(|next| next > at), "the timer did not advance");
        }
        words.retain(|w| !w.is_empty());
        words.join(" ")
    }

    fn snapshot(&self) -> Snapshot {
        self.machine.snapshot()
    }

    fn state(&self) -> &'static str {
        let snapshot = self.snapshot();
        if snapshot.leaving { "LEAVING" } else { snapshot.state.as_str() }
    }

    fn down_at(&self) -> Instant {
        self.snapshot().master_down_at.unwrap()
    }
}

// ---- start

#[test]
fn f01_an_owner_is_master_at_once() {
    let mut rig = Rig::new(settings(255));
    assert_eq!(
        rig.event(Event::Ready { address: own() }, START),
        "pub255 adv255+ ann5 MASTER:Owner",
        "XDP has the rank before the lease"
    );
}

#[test]
fn f02_f03_a_silent_lan_is_taken_after_the_down_interval() {
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.run(START + DOWN - Duration::from_nanos(1)), "");
    assert_eq!(rig.state(), "BACKUP");
    assert_eq!(rig.run(START + DOWN), "adv100+ ann5 MASTER:MasterDown");
    assert_eq!(rig.sent, [(START + DOWN, 100)]);
}

#[test]
fn f04_takeover_is_advert_announcement_and_the_next_advert_after_the_local_interval() {
    let garp = GarpTiming {
        delay: Some(secs(5)),
        refresh: Some(secs(8)),
        refresh_repeat: 2,
        ..GarpTiming::default()
    };
    let mut rig = Rig::backup(Settings { garp, ..settings(100) });
    let t = START + DOWN;
    assert_eq!(rig.run(t), "adv100+ ann5 MASTER:MasterDown");
    assert_eq!(rig.run(t + ms(4999)), ["adv100+"; 4].join(" "));
    assert_eq!(rig.run(t + secs(5)), "adv100+ ann5", "second burst after garp.delay");
    assert_eq!(rig.run(t + secs(16)), {
        let mut words = ["adv100+"; 13].to_vec();
        words[2] = "adv100+ ann2";
        words[10] = "adv100+ ann2";
        words[..11].join(" ")
    });
}

// ---- backup

#[test]
fn f07_f08_f13_f28_v03_intervals_are_learned_from_the_master_that_is_followed() {
    let v2 = Settings { version: Version::V2, ..settings(100) };
    let nopreempt = Settings { preempt: false, ..settings(100) };
    let hear = |settings: Settings, priority, interval_ms| {
        let mut rig = Rig::backup(settings);
        rig.hear(Advert { interval: ms(interval_ms), ..advert(priority, START + secs(1)) });
        rig.down_at().saturating_since(START + secs(1))
    };
    assert_eq!(hear(settings(100), 200, 500), Duration::from_nanos(1_804_687_500), "F-07");
    assert_eq!(hear(settings(100), 200, 4000), Duration::from_nanos(14_437_500_000), "F-08");
    assert_eq!(
        hear(nopreempt, 50, 500),
        Duration::from_nanos(1_804_687_500),
        "nopreempt follows a lower one"
    );
    assert_eq!(
        hear(settings(100), 50, 40_950),
        DOWN - secs(1),
        "F-13: nothing learned of a discarded advert"
    );
    assert_eq!(hear(v2, 200, 5000), DOWN, "V-03");

    let (mut rig, t) = Rig::master(settings(100));
    rig.hear(Advert { interval: ms(500), ..advert(200, t + ms(300)) });
    assert_eq!(rig.down_at(), t + ms(300) + Duration::from_nanos(1_804_687_500), "F-28");
}

#[test]
fn f09_a_promoted_backup_uses_its_own_interval() {
    let mut rig = Rig::backup(settings(100));
    rig.hear(Advert { interval: ms(500), ..advert(200, START) });
    let t = START + Duration::from_nanos(1_804_687_500);
    assert_eq!(rig.run(t), "adv100+ ann5 MASTER:MasterDown");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1)));
    assert_eq!(rig.snapshot().interval, secs(1));
}

#[test]
fn f10_f11_a_goodbye_leaves_the_skew_time() {
    let skew = Duration::from_nanos(609_375_000);
    let mut rig = Rig::backup(settings(100));
    rig.hear(advert(200, START));
    rig.hear(advert(0, START + secs(1)));
    assert_eq!(rig.down_at(), START + secs(1) + skew, "F-10");
    rig.hear(advert(0, START + ms(1500)));
    assert_eq!(rig.down_at(), START + ms(1500) + skew, "F-11: each restarts it");
    rig.hear(advert(50, START + ms(1550)));
    assert_eq!(rig.down_at(), START + ms(1500) + skew, "a lower one does not");
    rig.hear(advert(200, START + ms(1600)));
    assert_eq!(rig.down_at(), START + ms(1600) + DOWN, "F-11: a better master restores the full timer");
    rig.hear(advert(0, START + secs(2)));
    assert!(rig.run(START + secs(2) + skew).ends_with("MASTER:MasterLeft"), "O-03");

    let mut v2 = Rig::backup(Settings { version: Version::V2, advert_interval: secs(10), ..settings(100) });
    v2.hear(Advert { interval: secs(10), ..advert(0, START) });
    assert_eq!(v2.down_at(), START + skew, "V-01: not ten times that");
}

#[test]
fn f12_a_preempting_backup_does_not_wait_for_a_lower_master() {
    let mut rig = Rig::backup(settings(100));
    for s in 1..4 {
        rig.hear(advert(50, START + secs(s)));
        assert_eq!(rig.down_at(), START + DOWN);
        rig.event(Event::Heard { at: START + secs(s) + ms(1) }, START + secs(s) + ms(2));
        assert_eq!(rig.down_at(), START + DOWN, "nor for its stamps");
    }
    assert!(rig.run(START + DOWN).ends_with("MASTER:Preempting"), "O-03");
}

#[test]
fn f14_nopreempt_follows_a_lower_master() {
    let mut rig = Rig::backup(Settings { preempt: false, ..settings(100) });
    rig.hear(advert(50, START));
    for s in 1..10 {
        assert_eq!(rig.run(START + secs(s)), "");
        rig.event(Event::Heard { at: START + secs(s) }, START + secs(s));
        assert_eq!(rig.down_at(), START + secs(s) + DOWN, "stamps count as adverts do");
    }
}

#[test]
fn f15_an_equal_master_is_followed_whatever_its_address() {
    for source in ["192.0.2.1", "192.0.2.9"] {
        let mut rig = Rig::backup(settings(100));
        rig.hear(Advert { source: ip(source), ..advert(100, START + secs(2)) });
        assert_eq!(rig.down_at(), START + secs(2) + DOWN, "from {source}");
    }
}

#[test]
fn f16_an_owner_preempts_although_told_not_to() {
    let mut rig = Rig::new(Settings { preempt: false, preempt_delay: secs(60), ..settings(255) });
    rig.event(Event::Ready { address: own() }, START);
    // As a backup, which an owner is only after it lost its lease.
    rig.event(Event::LeaseLost, START + ms(1));
    let down_at = rig.down_at();
    rig.hear(advert(254, START + secs(1)));
    assert_eq!(rig.down_at(), down_at);
}

#[test]
fn x06_timers_run_from_the_time_of_reception() {
    let mut rig = Rig::backup(settings(100));
    let late = START + secs(3);
    rig.event(Event::Advert { advert: advert(200, START + secs(1)), revoked: false }, late);
    assert_eq!(rig.down_at(), START + secs(1) + DOWN);
    let due = rig.down_at();
    assert!(rig.machine.is_due(due) && !rig.machine.is_due(due - Duration::from_nanos(1)));
    rig.event(Event::Heard { at: START + secs(4) }, due);
    assert_eq!(rig.down_at(), START + secs(4) + DOWN, "the stamp is looked at before the timer acts");
    rig.event(Event::Heard { at: START + secs(2) }, due);
    assert_eq!(rig.down_at(), START + secs(4) + DOWN, "an older stamp says nothing");
    assert_eq!(rig.event(Event::Timeout, due), "");
}

/// A whole machine that slept has heard nothing, not even in XDP.
#[test]
fn x06_a_timer_that_fired_long_ago_waits_for_one_more_advert() {
    let awake = START + DOWN + secs(1) + Duration::from_nanos(1);
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.event(Event::Timeout, awake), "");
    let skew = DOWN - secs(3);
    assert_eq!(rig.down_at(), awake + secs(1) + skew, "one interval and the skew time");
    rig.hear(advert(200, awake + ms(500)));
    assert_eq!(rig.down_at(), awake + ms(500) + DOWN, "the master is well");

    let mut rig = Rig::backup(settings(100));
    rig.event(Event::Timeout, awake);
    // Once: a machine that is always late takes over all the same.
    assert!(rig.event(Event::Timeout, awake + secs(10)).contains("MASTER:MasterDown"));

    let mut rig = Rig::backup(settings(100));
    let in_time = awake - Duration::from_nanos(1);
    assert!(rig.event(Event::Timeout, in_time).contains("MASTER:MasterDown"), "late by an interval");
}

#[test]
fn a_stamp_repeats_an_advert_reported_before_this_backup_was_one() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.hear(advert(200, t + ms(10)));
    rig.event(Event::Fault { reason: FaultReason::LinkDown }, t + ms(20));
    rig.event(Event::Ready { address: own() }, t + secs(10));
    rig.event(Event::Heard { at: t + secs(11) }, t + secs(12));
    assert_eq!(rig.down_at(), t + secs(11) + DOWN);
}

#[test]
fn preempt_delay_tolerates_a_lower_master_from_its_first_advert_on() {
    let delayed = Settings { preempt_delay: secs(5), ..settings(100) };
    let mut rig = Rig::backup(delayed.clone());
    assert_eq!(rig.run(START + DOWN - ms(1)), "");
    for s in 1..=5 {
        rig.hear(advert(50, START + secs(s)));
        assert_eq!(rig.down_at(), START + secs(s) + DOWN, "within the delay");
    }
    rig.hear(advert(50, START + secs(6)));
    assert_eq!(rig.down_at(), START + secs(5) + DOWN, "5 s after the first at 1 s");
    rig.hear(advert(200, START + secs(7)));
    rig.hear(advert(50, START + secs(8)));
    assert_eq!(rig.down_at(), START + secs(8) + DOWN, "a better master starts it anew");

    let mut alone = Rig::backup(delayed);
    assert!(
        alone.run(START + DOWN).ends_with("MASTER:MasterDown"),
        "without a master the plain timer applies"
    );
}

// ---- master

#[test]
fn f17_a_thousand_adverts_without_drift() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    for n in 1..=1000 {
        let deadline = t + secs(n);
        assert_eq!(rig.snapshot().next_advert, Some(deadline));
        let late = deadline + Duration::from_micros((n * 7919) % 5000);
        rig.event(Event::Timeout, late);
    }
    assert_eq!(rig.sent.len(), 1000);
    assert!(rig.snapshot().counters.advert_lateness_max >= ms(4));
    // Late by two and a half intervals, within the lease: one advert, on the old grid.
    assert_eq!(rig.event(Event::Timeout, t + ms(1_003_500)), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1004)));
}

#[test]
fn f18_f19_f20_f21_a_better_router_is_yielded_to() {
    let rows = [
        // ours, own address, theirs, their address, yields
        (100, "192.0.2.2", 101, "192.0.2.1", true),
        (100, "192.0.2.2", 100, "192.0.2.3", true),
        (100, "192.0.2.2", 100, "192.0.2.1", false),
        (100, "192.0.2.2", 99, "192.0.2.3", false),
        (100, "100.0.0.1", 100, "200.0.0.1", true),
        (100, "200.0.0.1", 100, "100.0.0.1", false),
        (100, "192.0.2.10", 100, "192.0.2.9", false),
        (100, "fe80::10", 100, "fe80::ffff:0:0:1", true),
        (100, "fe80::ffff:0:0:1", 100, "fe80::10", false),
        (255, "192.0.2.2", 255, "192.0.2.3", true),
        (255, "192.0.2.2", 255, "192.0.2.1", false),
        (255, "192.0.2.2", 254, "192.0.2.3", false),
    ];
    for preempt in [true, false] {
        for (ours, address, theirs, source, yields) in rows {
            let row = format!("{ours} {address} hears {theirs} {source}, preempt {preempt}");
            let mut rig = Rig::new(Settings { preempt, ..settings(ours) });
            rig.event(Event::Ready { address: ip(address) }, START);
            rig.run(START + DOWN);
            assert_eq!(rig.state(), "MASTER", "{row}");
            let now = START + DOWN + ms(300);
            let words = rig.hear(Advert { source: ip(source), ..advert(theirs, now) });
            if yields {
                assert_eq!(words, format!("adv{ours} release cancel BACKUP:BetterMaster"), "{row}");
                rig.sent.clear();
                rig.run(now + secs(3));
                assert_eq!(rig.sent, [], "F-18: no further adverts: {row}");
            } else {
                assert!(words.starts_with(&format!("adv{ours}+")), "F-22, F-23: {row}: {words}");
            }
        }
    }
}

#[test]
fn f22_f23_an_immediate_advert_leaves_the_period_alone() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.hear(advert(99, t + ms(600))), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1)));
    assert_eq!(rig.snapshot().lease_until, Some(t + ms(4600)), "it renews like any other");
}

#[test]
fn f24_lower_prio_no_advert_discards_silently_but_announces() {
    for version in [Version::V2, Version::V3] {
        let settings = Settings { version, lower_prio_no_advert: true, ..settings(100) };
        let (mut rig, t) = Rig::master(settings);
        assert_eq!(rig.hear(advert(99, t + secs(1))), "ann5");
    }
}

#[test]
fn f25_a_goodbye_restarts_the_advert_timer() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.hear(advert(0, t + ms(600))), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + ms(1600)));
}

#[test]
fn a_flood_of_goodbyes_does_not_silence_a_master() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    for n in 1..=100_000 {
        let now = t + Duration::from_micros(n * 100);
        rig.run(now);
        rig.hear(advert(0, now));
    }
    assert_eq!(rig.state(), "MASTER");
    assert!((10..=50).contains(&rig.sent.len()), "{} adverts in 10 s", rig.sent.len());
}

#[test]
fn x02_x04_our_own_address_is_never_answered() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    for n in 1..=10_000 {
        let now = t + ms(n);
        rig.run(now);
        for priority in [0, 1, 100, 200] {
            assert_eq!(rig.hear(Advert { source: own(), ..advert(priority, now) }), "");
        }
    }
    assert_eq!(rig.sent.len(), 10, "the plain rate");
    assert_eq!(rig.snapshot().counters.own_source_heard, 40_000);
}

#[test]
fn x03_immediate_adverts_and_announcements_have_a_ceiling_and_a_last_word() {
    let (mut rig, t) = Rig::master(settings(100));
    let mut announced = Vec::new();
    rig.sent.clear();
    let (start, flood) = (t + secs(10), secs(2));
    rig.run(start);
    rig.sent.clear();
    for n in 0..20_000 {
        let now = start + Duration::from_micros(n * 100);
        let words = rig.run(now) + &rig.hear(advert(99, now));
        if words.contains("ann5") {
            announced.push(now);
        }
    }
    // One a quarter of a second, and the regular ones.
    assert!((8..=11).contains(&rig.sent.len()), "{:?}", rig.sent);
    let counters = rig.snapshot().counters;
    assert_eq!(counters.rivals_heard, 20_000);
    assert!(counters.immediate_adverts <= 9, "{counters:?}");
    assert!(counters.immediate_adverts_suppressed >= 20_000 - 9, "{counters:?}");
    assert_eq!(announced, [start, start + secs(1)]);
    let words = rig.run(start + flood + secs(5));
    assert_eq!(words.matches("ann5").count(), 1, "one announcement after the last rival: {words}");

    // At 10 ms the ceiling is one in 10 ms.
    let (mut fast, t) = Rig::master(Settings { advert_interval: ms(10), ..settings(100) });
    fast.sent.clear();
    for n in 1..=10_000 {
        let now = t + Duration::from_micros(n * 100);
        fast.run(now);
        fast.hear(advert(99, now));
    }
    assert!(fast.sent.len() <= 201, "{}", fast.sent.len());
}

#[test]
fn a_rival_that_may_not_be_answered_at_once_is_answered_when_it_may() {
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(rig.hear(advert(99, t + ms(100))), "adv100+");
    assert_eq!(rig.hear(advert(99, t + ms(200))), "");
    assert_eq!(rig.run(t + ms(349)), "");
    assert_eq!(rig.run(t + ms(350)), "adv100+");
    assert_eq!(rig.snapshot().next_advert, Some(t + secs(1)));
}

#[test]
fn a_rival_is_followed_by_a_second_announcement() {
    let garp = GarpTiming {
        delay: None,
        lower_prio_delay: Some(secs(5)),
        lower_prio_repeat: 3,
        ..GarpTiming::default()
    };
    let (mut rig, t) = Rig::master(Settings { garp, ..settings(100) });
    rig.run(t + secs(3));
    assert_eq!(rig.hear(advert(99, t + ms(3500))), "adv100+ ann3");
    assert_eq!(rig.run(t + ms(8499)), ["adv100+"; 5].join(" "));
    assert_eq!(rig.run(t + ms(8500)), "ann3");
}

#[test]
fn x05_a_frozen_master_steps_down_before_anything_else() {
    let inputs: [fn(Instant) -> Event; 6] = [
        |_| Event::Timeout,
        |t| Event::Advert { advert: advert(200, t), revoked: false },
        |t| Event::Advert { advert: advert(50, t), revoked: true },
        |at| Event::AdvertSent { at, lease_until: at + secs(4) },
        |_| Event::AdvertFailed,
        |_| Event::LeaseLost,
    ];
    for make in inputs {
        let (mut rig, t) = Rig::master(settings(100));
        let lease_until = rig.snapshot().lease_until.unwrap();
        assert_eq!(lease_until, t + secs(4));
        assert_eq!(
            rig.event(make(lease_until), lease_until),
            "release cancel BACKUP:LeaseLapsed",
            "{:?}",
            make(lease_until)
        );
        assert_eq!(rig.sent.len(), 1, "nothing is sent");
    }
    let (mut rig, t) = Rig::master(settings(100));
    assert_eq!(
        rig.event(Event::Shutdown, t + secs(4)),
        "release cancel BACKUP:LeaseLapsed pub- STOP:Shutdown",
        "no goodbye for what is another's"
    );
}

#[test]
fn a_master_that_cannot_send_gives_up() {
    let mut rig = Rig::backup(settings(100));
    rig.sending_works = false;
    rig.run(START + DOWN);
    assert_eq!(rig.event(Event::AdvertFailed, START + DOWN), "release cancel BACKUP:SendFailed", "the first");
    assert_eq!(rig.down_at(), START + DOWN + DOWN);

    let (mut rig, t) = Rig::master(settings(100));
    rig.sending_works = false;
    for n in 1..=3 {
        assert_eq!(rig.run(t + secs(n)), "adv100+");
        assert_eq!(rig.event(Event::AdvertFailed, t + secs(n)), "", "a later one only does not renew");
    }
    assert_eq!(rig.run(t + secs(4)), "release cancel BACKUP:LeaseLapsed");
}

#[test]
fn a_failure_takes_back_what_is_still_queued() {
    let takeover = |at| {
        let mut rig = Rig::backup(settings(100));
        let mut queue = VecDeque::new();
        rig.machine.handle(Event::Timeout, START + DOWN, &mut queue);
        assert!(matches!(queue[0], Action::Advertise { .. }));
        (rig.machine, queue.split_off(at))
    };
    for (done, failure) in [(1, Event::AdvertFailed), (1, Event::LeaseLost)] {
        let (mut machine, mut queue) = takeover(done);
        machine.handle(failure, START + DOWN, &mut queue);
        let on_the_wire = |a: &&Action| matches!(a, Action::Advertise { .. } | Action::Announce { .. });
        assert_eq!(queue.iter().find(on_the_wire), None, "{failure:?} after {done} actions");
    }
}

#[test]
fn a_revocation_of_an_earlier_lease_is_not_of_this_one() {
    let (mut rig, t) = Rig::master(settings(100));
    let stale = Event::Advert { advert: advert(50, t - ms(1)), revoked: true };
    assert_eq!(rig.event(stale, t + ms(1)), "adv100+");
}

#[test]
fn a_superseded_master_waits_a_full_timer_before_it_preempts() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::Advert { advert: advert(50, t + secs(2)), revoked: true }, t + ms(2500));
    assert_eq!(rig.down_at(), t + secs(2) + DOWN);
    rig.hear(advert(50, t + secs(3)));
    assert!(rig.run(t + secs(2) + DOWN).ends_with("MASTER:Preempting"));
}

#[test]
fn a13_nothing_is_announced_after_yielding() {
    let garp = GarpTiming { refresh: Some(secs(1)), ..GarpTiming::default() };
    let (mut rig, t) = Rig::master(Settings { garp, ..settings(100) });
    rig.hear(advert(99, t + ms(100)));
    let words = rig.hear(advert(200, t + ms(200)));
    assert_eq!(words, "adv100 release cancel BACKUP:BetterMaster");
    for s in 1..20 {
        let at = t + ms(200) + secs(s);
        assert_eq!(rig.run(at), "");
        rig.event(Event::Heard { at }, at);
    }
}

#[test]
fn a_v2_owner_is_deaf_but_for_its_lease() {
    let (mut rig, t) = Rig::master(Settings { version: Version::V2, ..settings(255) });
    assert_eq!(rig.hear(advert(255, t + ms(1))), "");
    assert_eq!(rig.hear(advert(0, t + ms(2))), "");
    let revoked = Event::Advert { advert: advert(100, t + secs(2)), revoked: true };
    assert_eq!(rig.event(revoked, t + secs(2)), "release cancel BACKUP:Superseded");
}

// ---- end

#[test]
fn f26_a_leaving_master_says_one_goodbye_and_answers_until_its_successor_speaks() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.sent.clear();
    assert_eq!(rig.event(Event::Shutdown, t + ms(100)), "until+1996 pub0 cancel adv0");
    assert_eq!(rig.state(), "LEAVING");
    assert_eq!(rig.run(t + ms(700)), "");
    assert_eq!(rig.hear(advert(1, t + ms(700))), "release cancel pub- STOP:HandedOver");
    assert_eq!(rig.sent, [(t + ms(100), 0)]);

    let (mut alone, t) = Rig::master(settings(100));
    alone.event(Event::Shutdown, t);
    let words = alone.run(t + secs(2));
    assert_eq!(words, "release cancel pub- STOP:NoSuccessor");

    let v2 = Settings { version: Version::V2, advert_interval: secs(10), ..settings(100) };
    let (mut v2, t) = Rig::master(v2);
    assert_eq!(
        v2.event(Event::Shutdown, t),
        "until+10996 pub0 cancel adv0",
        "skew under a second, one interval"
    );

    // It could not send for two intervals, and has no more than what its lease has left.
    let (mut mute, t) = Rig::master(Settings { lease: LeasePolicy::Strict, ..settings(100) });
    mute.sending_works = false;
    mute.run(t + ms(2500));
    assert_eq!(mute.event(Event::Shutdown, t + ms(2500)), "until+500 pub0 cancel adv0");
}

#[test]
fn f27_a_stopped_backup_sends_nothing() {
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.event(Event::Shutdown, START + secs(1)), "pub- STOP:Shutdown");
    assert_eq!(rig.run(START + secs(100)), "");
}

#[test]
fn f29_f30_link_and_address_changes() {
    let (mut rig, t) = Rig::master(settings(100));
    rig.event(Event::Ready { address: ip("192.0.2.200") }, t + ms(1));
    assert_eq!(rig.hear(advert(100, t + ms(300))), "adv100+", "F-30: the new address breaks the tie");
    rig.sent.clear();
    rig.event(Event::Fault { reason: FaultReason::NoAddress }, t + ms(400));
    rig.run(t + secs(60));
    assert_eq!(rig.sent, [], "F-29");
    assert_eq!(rig.event(Event::Ready { address: own() }, t + secs(60)), "pub100 BACKUP:Started");
    assert_eq!(rig.down_at(), t + secs(60) + DOWN);
}

#[test]
fn the_checksum_of_a_peer_is_mirrored_once_and_kept() {
    let message_only = |t| Advert { checksum: ChecksumForm::MessageOnly, ..advert(200, t) };
    let mut rig = Rig::backup(settings(100));
    assert_eq!(rig.hear(message_only(START)), "mirror");
    assert_eq!(rig.hear(message_only(START)), "");
    assert_eq!(rig.hear(advert(200, START)), "");
    assert_eq!(rig.snapshot().checksum, ChecksumForm::MessageOnly);

    for other in [
        Settings { version: Version::V2, ..settings(100) },
        Settings { family: Family::V6, ..settings(100) },
        Settings { checksum: ChecksumForm::MessageOnly, ..settings(100) },
    ] {
        let configured = other.checksum;
        let mut rig = Rig::backup(other);
        assert_eq!(rig.hear(message_only(START)), "");
        assert_eq!(rig.snapshot().checksum, configured);
    }
}
