//! A model of keepalived 2.2 as a peer: the same protocol, and addresses that the kernel keeps until they are removed.
//!
//! It has the world's clock. Adverts wait in a socket buffer while the process does not run.

use std::collections::VecDeque;

use vipd_common::{Priority, Version};
use vipd_core::vrrp::Settings;

use crate::{
    clock::{Time, ns},
    node::Packet,
};

/// Adverts that a socket buffer holds.
const BUFFER: usize = 200;

#[derive(Debug, Default)]
pub struct Peer {
    routers: Vec<Router>,
    pub inbox: VecDeque<Packet>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Router {
    state: State,
    /// On an interface of the machine; not a matter of the process.
    address: bool,
    /// The interval followed.
    interval: Time,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Not begun, or at fault.
    #[default]
    Idle,
    Backup {
        down_at: Time,
        /// From when on a lower master is no longer tolerated.
        preempt_at: Option<Time>,
    },
    Master {
        next: Time,
    },
}

/// An advert that it wants to send.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub instance: usize,
    pub priority: Priority,
}

impl Peer {
    pub fn new(instances: usize) -> Self {
        Self { routers: vec![Router::default(); instances], inbox: VecDeque::new() }
    }

    pub fn has_address(&self, instance: usize) -> bool {
        self.routers[instance].address
    }

    pub fn is_master(&self, instance: usize) -> bool {
        matches!(self.routers[instance].state, State::Master { .. })
    }

    pub fn receive(&mut self, packet: &Packet) {
        if self.inbox.len() < BUFFER {
            self.inbox.push_back(*packet);
        }
    }

    /// A new process: removes what it finds, and begins as BACKUP once the link is up.
    pub fn start(&mut self) {
        self.routers.fill(Router::default());
        self.inbox.clear();
    }

    pub fn link(&mut self, up: bool, settings: &[Settings], now: Time) {
        for (router, settings) in self.routers.iter_mut().zip(settings) {
            match (up, router.state) {
                (false, _) => *router = Router::default(),
                (true, State::Idle) => {
                    router.interval = ns(settings.advert_interval);
                    let wait = if settings.priority.is_owner() { 0 } else { down(settings, router.interval) };
                    router.state = State::Backup { down_at: now + wait, preempt_at: None };
                }
                (true, State::Backup { .. } | State::Master { .. }) => {}
            }
        }
    }

    /// SIGTERM: the goodbyes to send. The addresses are gone at once.
    pub fn stop(&mut self) -> Vec<Wanted> {
        let goodbyes = (0..self.routers.len()).filter(|i| self.is_master(*i));
        let goodbyes = goodbyes.map(|instance| Wanted { instance, priority: Priority::LEAVING }).collect();
        self.routers.fill(Router::default());
        goodbyes
    }

    pub fn deadline(&self) -> Option<Time> {
        self.routers
            .iter()
            .filter_map(|router| match router.state {
                State::Idle => None,
                State::Backup { down_at, .. } => Some(down_at),
                State::Master { next } => Some(next),
            })
            .min()
    }

    /// Reads what waits, then looks at the timers.
    pub fn turn(&mut self, settings: &[Settings], own: std::net::Ipv4Addr, now: Time) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        while let Some(packet) = self.inbox.pop_front() {
            self.hear(&packet, &settings[packet.instance], own, now, &mut wanted);
        }
        for (instance, (router, settings)) in self.routers.iter_mut().zip(settings).enumerate() {
            match router.state {
                State::Backup { down_at, .. } if down_at <= now => {
                    router.address = true;
                    router.state = State::Master { next: now + ns(settings.advert_interval) };
                }
                State::Master { next } if next <= now => {
                    router.state = State::Master { next: now + ns(settings.advert_interval) };
                }
                State::Idle | State::Backup { .. } | State::Master { .. } => continue,
            }
            wanted.push(Wanted { instance, priority: settings.priority });
        }
        wanted
    }

    fn hear(
        &mut self,
        packet: &Packet,
        settings: &Settings,
        own: std::net::Ipv4Addr,
        now: Time,
        wanted: &mut Vec<Wanted>,
    ) {
        let v2 = settings.version == Version::V2;
        if packet.version != settings.version || v2 && packet.interval != settings.advert_interval {
            return;
        }
        let router = &mut self.routers[packet.instance];
        let heard = ns(packet.interval);
        match &mut router.state {
            State::Idle => {}
            State::Backup { down_at, preempt_at } => {
                if packet.priority.is_leaving() {
                    *down_at = now + skew(settings, router.interval);
                    return;
                }
                let lower = packet.priority < settings.priority;
                if lower && settings.preempts() {
                    let delay = ns(settings.preempt_delay());
                    if delay == 0 || now >= *preempt_at.get_or_insert(now + delay) {
                        return;
                    }
                } else {
                    *preempt_at = None;
                }
                router.interval = heard;
                *down_at = now + down(settings, heard);
            }
            State::Master { .. } => {
                let beats = (packet.priority, packet.source) > (settings.priority, own);
                if beats {
                    router.address = false;
                    router.interval = heard;
                    let down_at = now + down(settings, heard);
                    router.state = State::Backup { down_at, preempt_at: None };
                } else if packet.priority.is_leaving() || !settings.lower_prio_no_advert {
                    wanted.push(Wanted { instance: packet.instance, priority: settings.priority });
                }
            }
        }
    }
}

fn skew(settings: &Settings, interval: Time) -> Time {
    let unit = if settings.version == Version::V2 { 1_000_000_000 } else { interval };
    unit * (256 - Time::from(settings.priority.get())) / 256
}

fn down(settings: &Settings, interval: Time) -> Time {
    Time::from(settings.down_timer_adverts) * interval + skew(settings, interval)
}
