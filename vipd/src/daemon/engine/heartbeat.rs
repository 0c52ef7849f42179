//! How the heartbeat links of a virtual router are, and its own interface as one of them: up or not, delivering or not,
//! sending or not. Told as events and by status; the election knows nothing of it.
//!
//! A backup knows: a link that has delivered nothing for as long as it would wait for a master, while another link does
//! deliver, is lost. A master hears nobody on any link, so only what its own links and sockets say is known to it.

#[cfg(test)]
mod tests;

use std::{io, mem, time::Duration};

use super::super::router::Router;
use crate::{control::model::LineStatus, dataplane::InstancePage, time::Instant};

/// Between two looks at all links.
pub const PERIOD: Duration = Duration::from_millis(500);

/// The links of one router, by their numbers: 0 is its own interface.
#[derive(Debug)]
pub struct HeartbeatLinks(Vec<LinkMonitor>);

#[derive(Debug)]
struct LinkMonitor {
    interface: String,
    health: LinkHealth,
    /// XDP's stamps from before are another line's.
    began: Instant,
    /// From when on adverts are waited for.
    since: Instant,
    sends_fail: bool,
    send_errors: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkHealth {
    Down,
    /// For all that is known.
    Well,
    /// Up, and silent while another line is not.
    Lost,
}

/// A line as its link and XDP's stamp have it.
#[derive(Clone, Copy, Debug)]
struct LinkSeen {
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
enum HeartbeatNews {
    Down,
    Up,
    Lost,
    Heard,
}

impl HeartbeatLinks {
    pub fn new(router: &Router, now: Instant) -> Self {
        let line = |name: String| LinkMonitor {
            interface: name,
            // What is not so is news of the first look.
            health: LinkHealth::Well,
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

    fn compare(
        &mut self,
        seen: &[LinkSeen],
        wait: Option<Wait>,
        now: Instant,
    ) -> Vec<(usize, HeartbeatNews)> {
        let mut news = Vec::new();
        for (i, (line, seen)) in self.0.iter_mut().zip(seen).enumerate() {
            match (line.health, seen.up) {
                (LinkHealth::Well | LinkHealth::Lost, false) => {
                    line.health = LinkHealth::Down;
                    news.push((i, HeartbeatNews::Down));
                }
                (LinkHealth::Down, true) => {
                    (line.health, line.since) = (LinkHealth::Well, now);
                    news.push((i, HeartbeatNews::Up));
                }
                (LinkHealth::Down, false) | (LinkHealth::Well | LinkHealth::Lost, true) => {}
            }
            match wait {
                Some(wait) => line.since = line.since.max(wait.since),
                // Nothing is to be heard, and what was lost may be well by now.
                None if line.health == LinkHealth::Lost => {
                    (line.health, line.since) = (LinkHealth::Well, now)
                }
                None => line.since = now,
            }
        }
        let Some(Wait { patience, .. }) = wait else { return news };
        let heard = |line: &LinkMonitor, seen: &LinkSeen| Some(seen.heard).filter(|at| *at >= line.since);
        let latest = self.0.iter().zip(seen).filter_map(|(line, seen)| heard(line, seen)).max();
        let is_delivered = latest.is_some_and(|at| now.saturating_since(at) < patience);
        for (i, (line, seen)) in self.0.iter_mut().zip(seen).enumerate() {
            let at = heard(line, seen);
            match line.health {
                LinkHealth::Lost if at.is_some() => {
                    line.health = LinkHealth::Well;
                    news.push((i, HeartbeatNews::Heard));
                }
                LinkHealth::Well
                    if is_delivered && now.saturating_since(at.unwrap_or(line.since)) >= patience =>
                {
                    (line.health, line.since) = (LinkHealth::Lost, now);
                    news.push((i, HeartbeatNews::Lost));
                }
                LinkHealth::Down | LinkHealth::Well | LinkHealth::Lost => {}
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

    /// Whether there is more than its own interface.
    pub fn any(&self) -> bool {
        self.0.len() > 1
    }

    /// Takes note of how an advert was sent: the links that are named have refused it, the others have not.
    pub fn advert_left(&mut self, router: &Router, refused: &[(usize, io::Error)]) {
        // Of links that are down it is known.
        let up = router.advert_ports().map(|port| port.up).enumerate().filter(|(_, up)| *up);
        for (number, _) in up {
            let error = refused.iter().find(|(link, _)| *link == number).map(|(_, error)| error);
            if self.sent(number, error.is_none()) {
                tell_sent(router.name(), self.interface(number), error);
            }
        }
    }

    /// Looks at all links, and tells of those that are another way. `wait`: of a backup, since when it is one and for how long
    /// it would wait for a master.
    pub fn check(
        &mut self,
        router: &Router,
        wait: Option<(Instant, Duration)>,
        instances: &InstancePage,
        now: Instant,
    ) {
        let wait = wait.map(|(since, patience)| Wait { since, patience });
        for (number, news) in self.compare(&seen(router, instances), wait, now) {
            tell(router.name(), self.interface(number), number, news);
        }
    }

    /// Each link for `status`.
    pub fn status(
        &self,
        router: &Router,
        instances: &InstancePage,
        is_backup: bool,
        now: Instant,
    ) -> Vec<LineStatus> {
        let seen = seen(router, instances);
        let mut status = Vec::new();
        for (number, ((link, port), seen)) in self.0.iter().zip(router.advert_ports()).zip(seen).enumerate() {
            let state = match link.health {
                _ if port.ifindex == 0 => "absent",
                _ if !seen.up => "down",
                LinkHealth::Lost => "lost",
                LinkHealth::Well | LinkHealth::Down => "up",
            };
            let heard = Some(seen.heard).filter(|at| is_backup && *at >= link.began);
            status.push(LineStatus {
                interface: link.interface.clone(),
                heartbeat: number > 0,
                state: state.into(),
                heard_ms_ago: heard.map(|at| now.millis_since(at)),
                send_errors: link.send_errors,
                sends_fail: link.sends_fail,
            });
        }
        status
    }
}

fn seen(router: &Router, instances: &InstancePage) -> Vec<LinkSeen> {
    let heard = |number| instances.line_heard(router.id().slot(), number);
    let ports = router.advert_ports().enumerate();
    ports.map(|(number, port)| LinkSeen { up: port.exists() && port.up, heard: heard(number) }).collect()
}

fn tell_sent(instance: &str, interface: &str, error: Option<&io::Error>) {
    match error {
        Some(error) => tracing::warn!(
            target: "vipd::event",
            event = "advert_send_failed",
            instance,
            interface,
            %error,
            "adverts cannot be sent on this link"
        ),
        None => tracing::info!(
            target: "vipd::event",
            event = "advert_sent_again",
            instance,
            interface,
            "adverts can be sent on this link again"
        ),
    }
}

fn tell(instance: &str, interface: &str, number: usize, news: HeartbeatNews) {
    match news {
        // That its own interface is down is told by its state.
        HeartbeatNews::Down | HeartbeatNews::Up if number == 0 => {}
        HeartbeatNews::Down => tracing::warn!(
            target: "vipd::event",
            event = "heartbeat_down",
            instance,
            interface,
            "a heartbeat link is down"
        ),
        HeartbeatNews::Up => tracing::info!(
            target: "vipd::event",
            event = "heartbeat_up",
            instance,
            interface,
            "a heartbeat link is up"
        ),
        HeartbeatNews::Lost => {
            let what = match number {
                0 => {
                    "the instance's own interface, only on a heartbeat line: the VIP may be out of reach there"
                }
                _ => "a heartbeat line",
            };
            tracing::warn!(
                target: "vipd::event",
                event = "heartbeat_lost",
                instance,
                interface,
                "no adverts on {what}"
            );
        }
        HeartbeatNews::Heard => tracing::info!(
            target: "vipd::event",
            event = "heartbeat_heard",
            instance,
            interface,
            "adverts are heard on this link again"
        ),
    }
}

fn names(router: &Router) -> impl Iterator<Item = String> {
    router.advert_ports().map(|port| port.name.to_owned())
}
