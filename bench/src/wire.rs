//! Adverts on the wire, counted as they pass: who sends them, and how long the wire was without them.
//!
//! Nothing is kept per frame, so a watch may last as long as it likes. The bench itself may be starved meanwhile: times are
//! the kernel's, a filter in the kernel keeps all other traffic out of the socket, and what did not fit is told.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use vipd_tests::{
    Mac, Netns,
    probe::{
        capture::{Frame, parse},
        packet::PacketSocket,
    },
};

use crate::filter;

/// How often the socket is emptied. One that slept in it would be woken for each advert, and by the master: on veth a frame
/// is received before the call that sends it returns. On a virtual machine each takes it 10 us, at times 200.
const EMPTIED_EVERY: Duration = Duration::from_millis(5);

/// A running watch of one interface; dropping it stops it.
#[derive(Debug)]
pub struct Wire {
    socket: Arc<PacketSocket>,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

/// What passed since the last [`Wire::restart`], all virtual routers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Virtual routers that somebody advertises.
    pub routers: usize,
    /// Those whose last advert was the rightful master's.
    pub rightful: usize,
    /// Those that nobody has advertised for 10 intervals.
    pub silent: usize,
    /// Adverts by another sender than the one before of the same virtual router: a takeover and the return are two.
    pub changes: u64,
    /// Those of the changes that were away from the rightful master.
    pub takeovers: u64,
    /// Adverts more than 1.5 intervals after the one before.
    pub late: u64,
    pub longest_gap: Duration,
    /// Frames that the watch missed: the other figures are then too large.
    pub missed: u32,
}

impl Wire {
    /// Watches `eth0` in `ns`. `masters` are the addresses that adverts come from as long as nothing is wrong; frames
    /// of the station `stranger` are not looked at.
    pub fn watch(ns: &Netns, interval: Duration, masters: &[IpAddr], stranger: Option<Mac>) -> Result<Self> {
        let socket = ns.run(|| {
            let socket = PacketSocket::open("eth0", libc::ETH_P_ALL as u16)?;
            socket.attach_filter(&mut filter::adverts_but_of(stranger))?;
            anyhow::Ok(Arc::new(socket))
        })??;
        let tally = Arc::new(Mutex::new(Tally::new(interval, masters.to_vec())));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = ns.spawn("wire", {
            let (socket, tally, stop) = (Arc::clone(&socket), Arc::clone(&tally), Arc::clone(&stop));
            move || count(&socket, &tally, &stop)
        })?;
        Ok(Self { socket, tally, stop, thread: Some(thread) })
    }

    /// Begins to count anew, from now on.
    pub fn restart(&self) -> Result<()> {
        self.socket.dropped()?;
        self.lock().restart(SystemTime::now());
        Ok(())
    }

    /// What was seen; a silence that still lasts counts.
    pub fn seen(&self) -> Result<Seen> {
        let missed = self.socket.dropped()?;
        let mut tally = self.lock();
        tally.seen.missed += missed;
        Ok(tally.seen(SystemTime::now()))
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn count(socket: &PacketSocket, tally: &Mutex<Tally>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Some(frame) = socket.receive(Duration::ZERO).context("the watch's socket")? else {
            thread::sleep(EMPTIED_EVERY);
            continue;
        };
        if let Some(Frame::Advert(advert)) = parse(&frame.bytes) {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.advert(advert.src, advert.vrid, frame.stamp);
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Tally {
    interval: Duration,
    masters: Vec<IpAddr>,
    /// Of each virtual router, by family and id.
    last: BTreeMap<(bool, u8), Last>,
    seen: Seen,
}

#[derive(Debug)]
struct Last {
    sender: IpAddr,
    /// Of its advert, or the begin of the watch.
    at: SystemTime,
}

impl Tally {
    fn new(interval: Duration, masters: Vec<IpAddr>) -> Self {
        Self { interval, masters, last: BTreeMap::new(), seen: Seen::default() }
    }

    fn restart(&mut self, now: SystemTime) {
        self.seen = Seen::default();
        self.last.values_mut().for_each(|last| last.at = now);
    }

    fn advert(&mut self, sender: IpAddr, vrid: u8, now: SystemTime) {
        let last = self.last.entry((sender.is_ipv6(), vrid)).or_insert(Last { sender, at: now });
        // Frames from before the begin can still come out of the socket.
        let gap = now.duration_since(last.at).unwrap_or_default();
        self.seen.late += u64::from(gap > self.interval * 3 / 2);
        self.seen.longest_gap = self.seen.longest_gap.max(gap);
        if sender != last.sender {
            self.seen.changes += 1;
            self.seen.takeovers += u64::from(self.masters.contains(&last.sender));
        }
        *last = Last { sender, at: last.at.max(now) };
    }

    fn seen(&self, now: SystemTime) -> Seen {
        let silences = || self.last.values().filter_map(|last| now.duration_since(last.at).ok());
        Seen {
            routers: self.last.len(),
            rightful: self.last.values().filter(|last| self.masters.contains(&last.sender)).count(),
            silent: silences().filter(|silence| *silence > self.interval * 10).count(),
            longest_gap: silences().chain([self.seen.longest_gap]).max().unwrap_or_default(),
            ..self.seen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_late_adverts_and_gaps_are_counted() {
        let (master, backup): (IpAddr, IpAddr) = ([10, 0, 0, 5].into(), [10, 0, 0, 6].into());
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let mut tally = Tally::new(Duration::from_millis(10), vec![master]);
        tally.advert(master, 1, at(0));
        tally.restart(at(5));
        for (ms, sender) in [(10, master), (25, master), (41, master), (80, backup), (81, master)] {
            tally.advert(sender, 1, at(ms));
        }
        let seen = tally.seen(at(100));
        assert_eq!((seen.changes, seen.takeovers, seen.late), (2, 1, 2));
        assert_eq!((seen.routers, seen.rightful), (1, 1));
        assert_eq!(seen.longest_gap, Duration::from_millis(39));
        assert_eq!((seen.silent, tally.seen(at(182)).silent), (0, 1));
        assert_eq!(tally.seen(at(181)).longest_gap, Duration::from_millis(100));
    }
}
