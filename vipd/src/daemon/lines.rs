//! How the lines of a virtual router are, its own interface and its heartbeat lines: up or not, delivering or not,
//! sending or not. Told as events and by status; the election knows nothing of it.
//!
//! A backup knows: a line that has delivered nothing for as long as it would wait for a master, while another line does
//! deliver, is lost. A master hears nobody on any line, so only what its own links and sockets say is known to it.

#[cfg(test)]
mod tests;

use std::{io, mem, time::Duration};

use super::{clock, driver::Driver, effects::Slot, router::Router, status::ms};
use crate::{
    control::model::LineStatus,
    dataplane::InstancePage,
    engine::{InstanceId, StateName},
    time::Instant,
};

/// Between two looks at all lines.
const LOOK: Duration = Duration::from_millis(500);

/// The lines of one router, by their numbers: 0 is its own interface.
#[derive(Debug)]
pub struct Lines(Vec<Line>);

#[derive(Debug)]
struct Line {
    interface: String,
    health: Health,
    /// XDP's stamps from before are another line's.
    began: Instant,
    /// From when on adverts are waited for.
    since: Instant,
    sends_fail: bool,
    send_errors: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Down,
    /// For all that is known.
    Well,
    /// Up, and silent while another line is not.
    Lost,
}

/// A line as its link and XDP's stamp have it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    up: bool,
    heard: Instant,
}

/// What a backup waits for on each line.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    /// How long no advert is nothing to speak of.
    patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Down,
    Up,
    Lost,
    Heard,
}

impl Lines {
    pub fn new(router: &Router, now: Instant) -> Self {
        let line = |name: String| Line {
            interface: name,
            // What is not so is news of the first look.
            health: Health::Well,
            began: now,
            since: now,
            sends_fail: false,
            send_errors: 0,
        };
        Self(names(router).map(line).collect())
    }

    /// Follows another configuration. A line is the same while it has its number.
    pub fn renew(&mut self, router: &Router, now: Instant) {
        let mut before = mem::replace(self, Self::new(router, now)).0.into_iter();
        for line in &mut self.0 {
            if let Some(same) = before.next().filter(|before| before.interface == line.interface) {
                *line = same;
            }
        }
    }

    fn look(&mut self, seen: &[Seen], wait: Option<Wait>, now: Instant) -> Vec<(usize, News)> {
        let mut news = Vec::new();
        for (i, (line, seen)) in self.0.iter_mut().zip(seen).enumerate() {
            match (line.health, seen.up) {
                (Health::Well | Health::Lost, false) => {
                    line.health = Health::Down;
                    news.push((i, News::Down));
                }
                (Health::Down, true) => {
                    (line.health, line.since) = (Health::Well, now);
                    news.push((i, News::Up));
                }
                (Health::Down, false) | (Health::Well | Health::Lost, true) => {}
            }
            match wait {
                Some(wait) => line.since = line.since.max(wait.since),
                // Nothing is to be heard, and what was lost may be well by now.
                None if line.health == Health::Lost => (line.health, line.since) = (Health::Well, now),
                None => line.since = now,
            }
        }
        let Some(Wait { patience, .. }) = wait else { return news };
        let heard = |line: &Line, seen: &Seen| Some(seen.heard).filter(|at| *at >= line.since);
        let latest = self.0.iter().zip(seen).filter_map(|(line, seen)| heard(line, seen)).max();
        let is_delivered = latest.is_some_and(|at| now.saturating_since(at) < patience);
        for (i, (line, seen)) in self.0.iter_mut().zip(seen).enumerate() {
            let at = heard(line, seen);
            match line.health {
                Health::Lost if at.is_some() => {
                    line.health = Health::Well;
                    news.push((i, News::Heard));
                }
                Health::Well
                    if is_delivered && now.saturating_since(at.unwrap_or(line.since)) >= patience =>
                {
                    (line.health, line.since) = (Health::Lost, now);
                    news.push((i, News::Lost));
                }
                Health::Down | Health::Well | Health::Lost => {}
            }
        }
        news
    }

    /// Takes note of an advert that has left by a line, or not; returns whether that is another result than of the
    /// one before.
    pub fn sent(&mut self, number: usize, left: bool) -> bool {
        let Some(line) = self.0.get_mut(number) else { return false };
        line.send_errors += u64::from(!left);
        mem::replace(&mut line.sends_fail, !left) == left
    }

    fn interface(&self, number: usize) -> &str {
        self.0.get(number).map_or("", |line| &line.interface)
    }
}

impl Slot {
    /// Takes note of how an advert was sent: the lines that are named have refused it, the others have not.
    pub fn advert_left(&mut self, refused: &[(usize, io::Error)]) {
        let name = &self.router.spec.name;
        // Of links that are down it is known.
        let up = self.router.ports_of_lines().map(|port| port.up).enumerate().filter(|(_, up)| *up);
        for (number, _) in up {
            let error = refused.iter().find(|(line, _)| *line == number).map(|(_, error)| error);
            if !self.lines.sent(number, error.is_none()) {
                continue;
            }
            let interface = self.lines.interface(number);
            match error {
                Some(error) => tracing::warn!(
                    target: "vipd::event",
                    event = "advert_send_failed",
                    instance = name,
                    interface,
                    %error,
                    "adverts cannot be sent on this link"
                ),
                None => tracing::info!(
                    target: "vipd::event",
                    event = "advert_sent_again",
                    instance = name,
                    interface,
                    "adverts can be sent on this link again"
                ),
            }
        }
    }

    fn seen(&self, instances: &InstancePage) -> Vec<Seen> {
        let heard = |number| instances.line_heard(self.router.slot, number);
        let ports = self.router.ports_of_lines().enumerate();
        ports.map(|(number, port)| Seen { up: port.ifindex != 0 && port.up, heard: heard(number) }).collect()
    }

    fn tell(&self, number: usize, news: News) {
        let (name, interface) = (&self.router.spec.name, self.lines.interface(number));
        match news {
            // That its own interface is down is told by its state.
            News::Down | News::Up if number == 0 => {}
            News::Down => tracing::warn!(
                target: "vipd::event",
                event = "heartbeat_down",
                instance = name,
                interface,
                "a heartbeat link is down"
            ),
            News::Up => tracing::info!(
                target: "vipd::event",
                event = "heartbeat_up",
                instance = name,
                interface,
                "a heartbeat link is up"
            ),
            News::Lost => {
                let what = match number {
                    0 => {
                        "the instance's own interface, only on a heartbeat line: the VIP may be out of reach there"
                    }
                    _ => "a heartbeat line",
                };
                tracing::warn!(
                    target: "vipd::event",
                    event = "heartbeat_lost",
                    instance = name,
                    interface,
                    "no adverts on {what}"
                );
            }
            News::Heard => tracing::info!(
                target: "vipd::event",
                event = "heartbeat_heard",
                instance = name,
                interface,
                "adverts are heard on this link again"
            ),
        }
    }
}

impl Driver {
    /// Whether lines are to be looked at from now on.
    pub(super) fn plan_looks(&mut self) {
        let any = self.effects.slots.values().any(|slot| slot.lines.0.len() > 1);
        self.look_at = any.then(|| self.look_at.unwrap_or(clock::now() + LOOK));
    }

    /// Looks at all lines, if it is time.
    pub(super) fn look_at_lines(&mut self) {
        let now = clock::now();
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_at = Some(now + LOOK);
        for (id, slot) in &mut self.effects.slots {
            if slot.lines.0.len() < 2 {
                continue;
            }
            let backup = self.keeper.snapshot(*id).filter(|snapshot| snapshot.state == StateName::Backup);
            let wait = backup.map(|snapshot| Wait {
                since: slot.since,
                patience: slot.router.settings.master_down_interval(snapshot.interval),
            });
            let seen = slot.seen(self.effects.pages.instances());
            for (number, news) in slot.lines.look(&seen, wait, now) {
                slot.tell(number, news);
            }
        }
    }

    /// Each line of an instance for `status`.
    pub(super) fn line_status(&self, id: InstanceId, is_backup: bool, now: Instant) -> Vec<LineStatus> {
        let slot = &self.effects.slots[&id];
        let ports = slot.router.ports_of_lines();
        let seen = slot.seen(self.effects.pages.instances());
        let mut status = Vec::new();
        for (number, ((line, port), seen)) in slot.lines.0.iter().zip(ports).zip(seen).enumerate() {
            let state = match line.health {
                _ if port.ifindex == 0 => "absent",
                _ if !seen.up => "down",
                Health::Lost => "lost",
                Health::Well | Health::Down => "up",
            };
            let heard = Some(seen.heard).filter(|at| is_backup && *at >= line.began);
            status.push(LineStatus {
                interface: line.interface.clone(),
                heartbeat: number > 0,
                state: state.into(),
                heard_ms_ago: heard.map(|at| ms(at, now)),
                send_errors: line.send_errors,
                sends_fail: line.sends_fail,
            });
        }
        status
    }
}

fn names(router: &Router) -> impl Iterator<Item = String> {
    router.ports_of_lines().map(|port| port.name.to_owned())
}
