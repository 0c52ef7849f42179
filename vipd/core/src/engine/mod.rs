//! The election of all instances of one daemon: the machines of `vrrp` side by side.
//!
//! No clock, socket, task, map or log: the driver tells what happened and when, and does what the actions say.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use vipd_common::Priority;

pub use crate::vrrp::{
    Action, Advert, Counters, FaultReason, InstanceId, Peer, Rank, Reason, Snapshot, StateName,
};
use crate::{
    time::Instant,
    vrrp::{Event, Machine, Settings},
};

/// Something that happened. An instance that does not exist is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A valid advert of another router; `revoked`: XDP stored 0 in the lease word while processing it.
    Advert { instance: InstanceId, advert: Advert, revoked: bool },
    /// XDP's stamp: the advert last reported for this instance was heard again, last at `at`.
    Heard { instance: InstanceId, at: Instant },
    /// Before the first `Ready`: the lease word that a predecessor on this node left stands until `lease_until`.
    ///
    /// What is to be done with it comes as actions: nothing, if its mastership goes on.
    Inherited { instance: InstanceId, lease_until: Instant },
    /// The interface is up with this primary address: also when the address changes.
    Ready { instance: InstanceId, address: IpAddr },
    /// The interface is down or has no address, or what is tracked is not well.
    Fault { instance: InstanceId, reason: FaultReason },
    /// What is tracked has changed the priority, from now on.
    Priority { instance: InstanceId, priority: Priority },
    /// The lease word is not what we last wrote, or could not be acquired.
    LeaseLost { instance: InstanceId },
    /// An advert with `renew_for` was sent at `at`, and the lease renewed to `lease_until`.
    AdvertSent { instance: InstanceId, at: Instant, lease_until: Instant },
    /// An advert with `renew_for` could not be sent.
    AdvertFailed { instance: InstanceId },
    /// Hand everything over, then [`Action::Finished`].
    Shutdown,
}

/// All instances of one daemon.
///
/// After every `handle` and `handle_timeout` the driver drains [`poll_action`](Self::poll_action) to `None`, in
/// order. It may feed back the result of an action while it drains: what that causes is appended. Before
/// `handle_timeout` it first feeds every waiting advert and, for each instance in [`due`](Self::due), XDP's stamp
/// as [`Input::Heard`]: only then is an expired down timer known to mean silence.
///
/// The action queue is bounded by that rule: an input adds at most `MAX_ACTIONS` per instance it concerns (a
/// `Shutdown` or a timeout concerns all), and one `Finished`.
#[derive(Debug)]
pub struct Engine {
    machines: Vec<Machine>,
    actions: VecDeque<Action>,
    /// The last `now` of `handle_timeout`.
    timed_out_at: Option<Instant>,
    shutdown: Shutdown,
}

/// A backup whose down timer has fired, or will soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub instance: InstanceId,
    /// It has fired.
    pub now: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    Requested,
    Finished,
}

impl Engine {
    /// Instances in Init; the position in `instances` is the [`InstanceId`]. At most 65,536 count.
    pub fn new(instances: Vec<Settings>) -> Self {
        Self {
            machines: (0..=u16::MAX).zip(instances).map(|(i, s)| Machine::new(InstanceId(i), s)).collect(),
            actions: VecDeque::new(),
            timed_out_at: None,
            shutdown: Shutdown::No,
        }
    }

    /// Takes one input at `now`.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Advert { instance, advert, revoked } => {
                self.tell(instance, Event::Advert { advert, revoked }, now);
            }
            Input::Heard { instance, at } => self.tell(instance, Event::Heard { at }, now),
            Input::Inherited { instance, lease_until } => {
                self.tell(instance, Event::Inherited { lease_until }, now);
            }
            Input::Ready { instance, address } => self.tell(instance, Event::Ready { address }, now),
            Input::Fault { instance, reason } => self.tell(instance, Event::Fault { reason }, now),
            Input::Priority { instance, priority } => self.tell(instance, Event::Priority { priority }, now),
            Input::LeaseLost { instance } => self.tell(instance, Event::LeaseLost, now),
            Input::AdvertSent { instance, at, lease_until } => {
                self.tell(instance, Event::AdvertSent { at, lease_until }, now);
            }
            Input::AdvertFailed { instance } => self.tell(instance, Event::AdvertFailed, now),
            Input::Shutdown => {
                for machine in &mut self.machines {
                    machine.handle(Event::Shutdown, now, &mut self.actions);
                }
                if self.shutdown == Shutdown::No {
                    self.shutdown = Shutdown::Requested;
                }
            }
        }
        self.finish();
    }

    /// Runs every timer that has fired at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        for machine in &mut self.machines {
            if machine.deadline().is_some_and(|at| at <= now) {
                machine.handle(Event::Timeout, now, &mut self.actions);
            }
        }
        self.finish();
        self.timed_out_at = self.timed_out_at.max(Some(now));
        debug_assert!(
            self.machines.iter().filter_map(Machine::deadline).all(|at| at > now),
            "a timer did not advance past its firing at {now}"
        );
    }

    /// When `handle_timeout` is next wanted: strictly later than the `now` of the last one.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.machines.iter().filter_map(Machine::deadline).min()?;
        // An advert that was received long ago may set a timer that has already passed.
        Some(self.timed_out_at.map_or(next, |last| next.max(last + Duration::from_nanos(1))))
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Backups whose down timer has fired at `now`: read XDP's stamp of each before `handle_timeout(now)`.
    ///
    /// If there are any, also those whose timer will fire within an interval: so hundreds of routers take one look together,
    /// not one each.
    pub fn due(&self, now: Instant) -> Vec<Due> {
        let all = || (0..=u16::MAX).map(InstanceId).zip(&self.machines);
        if !all().any(|(_, machine)| machine.is_due(now)) {
            return Vec::new();
        }
        all()
            .filter(|(_, machine)| machine.is_due_soon(now))
            .map(|(instance, machine)| Due { instance, now: machine.is_due(now) })
            .collect()
    }

    /// When the lease of a master ends, by what it knows; `None` if it is none.
    pub fn lease_until(&self, instance: InstanceId) -> Option<Instant> {
        self.machines.get(usize::from(instance.0))?.lease_until()
    }

    /// The instance as it stands; `None` if there is no such instance.
    pub fn snapshot(&self, instance: InstanceId) -> Option<Snapshot> {
        self.machines.get(usize::from(instance.0)).map(Machine::snapshot)
    }

    fn tell(&mut self, instance: InstanceId, event: Event, now: Instant) {
        if let Some(machine) = self.machines.get_mut(usize::from(instance.0)) {
            machine.handle(event, now, &mut self.actions);
        }
    }

    fn finish(&mut self) {
        if self.shutdown == Shutdown::Requested && self.machines.iter().all(Machine::is_stopped) {
            self.shutdown = Shutdown::Finished;
            self.actions.push_back(Action::Finished);
        }
    }
}
