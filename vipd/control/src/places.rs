//! ClientSlots for clients: a limit on connections. When all are taken, a new client gets the place of the client that has been idle for
//! longest, so that idle clients keep nobody out.

use std::{cell::RefCell, os::fd::AsRawFd, rc::Rc};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{sync::Notify, time::Instant};

use crate::events::SAY_EVERY;

/// Descriptors reserved for the election, checks and notify scripts.
const RESERVE: u64 = 64;

/// The places of one server, on one thread.
#[derive(Clone, Debug)]
pub struct ClientSlots {
    server: &'static str,
    limit: usize,
    taken: Rc<RefCell<TakenSlot>>,
}

#[derive(Debug, Default)]
struct TakenSlot {
    /// The oldest first.
    places: Vec<Entry>,
    /// The last number.
    number: u64,
    /// Clients refused since the last event.
    away: u64,
    said_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Idle since; `None` while the client waits for an answer.
    idle_since: Option<Instant>,
    given_up: Rc<Notify>,
}

/// A client's place; dropping it frees the place.
#[derive(Debug)]
pub struct ClientSlot {
    number: u64,
    given_up: Rc<Notify>,
    taken: Rc<RefCell<TakenSlot>>,
}

/// Why a client gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("vipd already serves {0} clients: try again later")]
    Clients(usize),
    #[error(
        "vipd has {0} of {1} descriptors in use, and keeps the rest for the election and the checks: raise its limit \
         (LimitNOFILE= of the unit, ulimit -n)"
    )]
    Descriptors(u64, u64),
}

impl ClientSlots {
    /// `server`: `control` or `metrics`.
    pub fn new(server: &'static str, limit: usize) -> Self {
        Self { server, limit, taken: Rc::default() }
    }

    /// A place for a client that was just accepted, and counts as idle. If no place is free, or descriptors are scarce, it is the
    /// place of the client that has been idle for longest.
    ///
    /// # Errors
    ///
    /// Every other client waits for an answer, or almost no descriptors are left.
    pub fn take(&self, client: &impl AsRawFd) -> Result<ClientSlot, Full> {
        let mut taken = self.taken.borrow_mut();
        let (scarce, exhausted) = descriptors(client);
        let full = (taken.places.len() >= self.limit).then_some(Full::Clients(self.limit)).or(scarce);
        if let Some(full) = full {
            self.say(&mut taken, full);
            let idle =
                taken.places.iter().enumerate().filter_map(|(at, entry)| Some((entry.idle_since?, at)));
            let (_, at) = idle.min().filter(|_| !exhausted).ok_or(full)?;
            taken.places.remove(at).given_up.notify_one();
        }
        taken.number += 1;
        let (number, given_up) = (taken.number, Rc::new(Notify::new()));
        let idle_since = Some(Instant::now());
        taken.places.push(Entry { number, idle_since, given_up: Rc::clone(&given_up) });
        Ok(ClientSlot { number, given_up, taken: Rc::clone(&self.taken) })
    }

    fn say(&self, taken: &mut TakenSlot, why: Full) {
        taken.away += 1;
        let now = Instant::now();
        if taken.said_at.is_some_and(|at| now < at + SAY_EVERY) {
            return;
        }
        taken.said_at = Some(now);
        tracing::warn!(
            target: "vipd::event",
            event = "clients_turned_away",
            server = self.server,
            count = std::mem::take(&mut taken.away),
            %why,
            "too many clients at once: some are turned away, idle ones first"
        );
    }
}

impl ClientSlot {
    /// The client waits for an answer from now on: it keeps its place.
    pub fn is_served(&self) {
        self.set(None);
    }

    /// The client is idle from now on: vipd waits for its request, or for it to read an answer.
    pub fn is_waited_for(&self) {
        self.set(Some(Instant::now()));
    }

    fn set(&self, idle_since: Option<Instant>) {
        let mut taken = self.taken.borrow_mut();
        if let Some(entry) = taken.places.iter_mut().find(|entry| entry.number == self.number) {
            entry.idle_since = idle_since;
        }
    }

    /// Waits until another client gets the place.
    pub async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.taken.borrow_mut().places.retain(|entry| entry.number != self.number);
    }
}

/// Whether descriptors are scarce, and whether almost none are left. The kernel gives the lowest free descriptor, so a high one means
/// that few are left.
fn descriptors(client: &impl AsRawFd) -> (Option<Full>, bool) {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return (None, false) };
    let used = u64::try_from(client.as_raw_fd()).unwrap_or_default();
    let reserve = RESERVE.min(limit / 2);
    let scarce = used >= limit.saturating_sub(reserve);
    (scarce.then_some(Full::Descriptors(used, limit)), used >= limit.saturating_sub(reserve / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_makes_room_and_one_that_waits_for_an_answer_does_not() {
        let places = ClientSlots::new("test", 3);
        let client = std::io::stdin();
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(places.take(&client).unwrap());
        }
        taken[0].is_served();
        let fourth = places.take(&client).unwrap();
        // Not the first, which waits for an answer.
        taken[1].given_up().await;
        taken[2].is_served();
        fourth.is_served();
        assert_eq!(places.take(&client).unwrap_err(), Full::Clients(3));
        taken[0].is_waited_for();
        assert!(places.take(&client).is_ok());
        taken[0].given_up().await;
        drop(taken);
        // What is dropped is free, and what was given up is not freed twice.
        let more: Vec<_> = (0..2).map(|_| places.take(&client).unwrap()).collect();
        more.iter().for_each(ClientSlot::is_served);
        assert_eq!(places.take(&client).unwrap_err(), Full::Clients(3));
    }
}
