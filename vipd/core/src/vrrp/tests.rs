//! The statements of the conformance list that one machine can show; in `table` every state against every event.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::*;
use crate::time::Instant;

mod backup;
mod claim;
mod configured;
mod handover;
mod inherited;
mod leaving;
mod master;
mod one_way;
mod table;
mod tracking;

const ID: InstanceId = InstanceId(7);
const START: Instant = Instant::from_nanos(1_000_000_000_000);
/// Active_Down_Interval at priority 100 and 1 s.
const DOWN: Duration = Duration::from_nanos(3_609_375_000);

pub(crate) fn settings(priority: u8) -> Settings {
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
        garp: GarpTiming { master_delay: None, lower_prio_delay: None, ..GarpTiming::default() },
        lower_prio_no_advert: false,
        checksum: ChecksumForm::PseudoHeader,
        fence: false,
        shared: None,
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
    lower_heard: u32,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self { machine: Machine::new(ID, settings), sent: Vec::new(), sending_works: true, lower_heard: 0 }
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
            match action {
                // It says only that there was a rival, of which the others are the answer.
                Action::LowerHeard { .. } => self.lower_heard += 1,
                action => words.push(self.perform(action, now)),
            }
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
            Action::LowerHeard { .. } => unreachable!("counted by `event`"),
            Action::Transition { to, reason, .. } => format!("{to}:{reason:?}"),
            Action::Fence { .. } | Action::Prepare { .. } => unreachable!("the coordinator's"),
            Action::Removed { .. } => "removed".into(),
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
