//! Who answers for a VIP, and do two? Asks by broadcast ARP, all the time.
//!
//! Each question uses another sender address (`.101` to `.250` of the target's /24), which the answer repeats as
//! its target, so that answers find their question: two stations answering one question are two owners.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    Mac,
    capture::{Arp, Frame, parse},
    packet::PacketSocket,
};
use crate::Netns;

/// A running prober; dropping it stops it.
#[derive(Debug)]
pub struct ArpProber {
    timeline: Arc<Mutex<Vec<Probe>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
    period: Duration,
}

/// One question and what came back.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Questions of one round (all targets) share it.
    pub id: u64,
    pub target: Ipv4Addr,
    pub sent: Instant,
    pub answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub at: Instant,
    pub mac: Mac,
}

/// A time without answers: from the last one before to the first one after.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    pub from: Instant,
    pub to: Instant,
}

impl Gap {
    pub fn length(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

impl Probe {
    /// The distinct stations that answered.
    pub fn owners(&self) -> BTreeSet<Mac> {
        self.answers.iter().map(|a| a.mac).collect()
    }
}

impl ArpProber {
    /// Asks for every target once each `period`.
    pub fn start(ns: &Netns, ifname: &str, targets: &[Ipv4Addr], period: Duration) -> Result<Self> {
        ensure!(!targets.is_empty(), "nothing to ask for");
        let timeline = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = ns.run(|| PacketSocket::open(ifname, libc::ETH_P_ARP as u16))??;
        let targets = targets.to_vec();
        let thread = ns.spawn("arp-prober", {
            let (timeline, stop) = (timeline.clone(), stop.clone());
            move || probe(&socket, &targets, period, &timeline, &stop)
        })?;
        Ok(Self { timeline, stop, thread: Some(thread), period })
    }

    /// Stops asking (after a last moment for answers) and returns the whole timeline.
    pub fn stop(mut self) -> Result<Vec<Probe>> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the ARP prober panicked"))???;
        }
        Ok(self.timeline())
    }

    /// Everything so far.
    pub fn timeline(&self) -> Vec<Probe> {
        self.lock().clone()
    }

    /// The greatest number of stations that answered one question.
    pub fn owners_seen_together(&self) -> usize {
        self.lock().iter().map(|p| p.owners().len()).max().unwrap_or(0)
    }

    /// The greatest number of stations that answered two questions in a row.
    ///
    /// That is more than one only if they owned the address together for a whole period. One question can be answered by
    /// two in the instant between a takeover and the arrival of its advert.
    pub fn owners_seen_twice(&self) -> usize {
        let probes = self.lock();
        let pairs = probes.windows(2).map(|pair| pair[0].owners().intersection(&pair[1].owners()).count());
        pairs.max().unwrap_or(0)
    }

    /// As [`owners_seen_together`](Self::owners_seen_together), for questions asked in a span of time.
    pub fn owners_seen_between(&self, from: Instant, to: Instant) -> usize {
        self.lock()
            .iter()
            .filter(|p| from <= p.sent && p.sent < to)
            .map(|p| p.owners().len())
            .max()
            .unwrap_or(0)
    }

    /// The questions that two or more stations answered.
    pub fn overlaps(&self) -> Vec<Probe> {
        self.lock().iter().filter(|p| p.owners().len() > 1).cloned().collect()
    }

    /// The times without an answer for a target that are longer than four periods.
    pub fn gaps_for(&self, target: Ipv4Addr) -> Vec<Gap> {
        let times = self.answer_times(|p| p.target == target);
        let gaps = times.windows(2).map(|w| Gap { from: w[0], to: w[1] });
        gaps.filter(|g| g.length() > 4 * self.period).collect()
    }

    /// The longest time without an answer for a target that ends in a span, or is still open at its end.
    pub fn longest_gap(&self, target: Ipv4Addr, from: Instant, to: Instant) -> Duration {
        let times = self.answer_times(|p| p.target == target);
        let before = times.iter().rev().find(|&&t| t < from).copied().unwrap_or(from);
        let mut points = vec![before];
        points.extend(times.iter().filter(|&&t| from <= t && t < to));
        points.push(to);
        points.windows(2).map(|w| w[1].saturating_duration_since(w[0])).max().unwrap_or_default()
    }

    /// Answers that arrived in a span of time.
    pub fn answers_between(&self, from: Instant, to: Instant) -> Vec<Answer> {
        let answers = |p: &Probe| p.answers.clone();
        let mut all: Vec<_> =
            self.lock().iter().flat_map(answers).filter(|a| from <= a.at && a.at < to).collect();
        all.sort_by_key(|a| a.at);
        all
    }

    /// When a station last answered.
    pub fn last_answer_by(&self, mac: Mac) -> Option<Instant> {
        self.lock().iter().flat_map(|p| &p.answers).filter(|a| a.mac == mac).map(|a| a.at).max()
    }

    /// When a station first answered a question that was asked after `after`.
    pub fn first_answer_by(&self, mac: Mac, after: Instant) -> Option<Instant> {
        let timeline = self.lock();
        let later = timeline.iter().rev().take_while(|p| p.sent >= after);
        later.flat_map(|p| &p.answers).filter(|a| a.mac == mac).map(|a| a.at).min()
    }

    /// Who answered last, and when. Looks at the newest questions only.
    pub fn current_owner(&self, target: Ipv4Addr) -> Option<Answer> {
        let timeline = self.lock();
        timeline
            .iter()
            .rev()
            .take(4096)
            .filter(|p| p.target == target)
            .find_map(|p| p.answers.first().copied())
    }

    fn answer_times(&self, of: impl Fn(&Probe) -> bool) -> Vec<Instant> {
        let mut times: Vec<_> =
            self.lock().iter().filter(|p| of(p)).flat_map(|p| &p.answers).map(|a| a.at).collect();
        times.sort();
        times
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Probe>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ArpProber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn probe(
    socket: &PacketSocket,
    targets: &[Ipv4Addr],
    period: Duration,
    timeline: &Mutex<Vec<Probe>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut newest: HashMap<(Ipv4Addr, Ipv4Addr), usize> = HashMap::new();
    let mut next = Instant::now();
    let mut id = 0;
    let mut ends = None;
    loop {
        let now = Instant::now();
        if stop.load(Ordering::Relaxed) && ends.is_none() {
            ends = Some(now + LAST_MOMENT);
        }
        if ends.is_some_and(|end| now >= end) {
            return Ok(());
        }
        if now >= next && ends.is_none() {
            for &target in targets {
                let sender = sender(target, id);
                let frame = request(socket.mac(), sender, target);
                let mut timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
                if timeline.len() < MAX_PROBES {
                    newest.insert((target, sender), timeline.len());
                    timeline.push(Probe { id, target, sent: Instant::now(), answers: Vec::new() });
                }
                drop(timeline);
                // Fails while the prober's own link is down: a question without answers.
                let _ = socket.send(&frame);
            }
            id += 1;
            // Starved for a while: ask on from here rather than in a burst.
            next = (next + period).max(now);
        }
        let wait = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(50));
        let Some(frame) = socket.receive(wait).context("the ARP prober's socket")? else {
            continue;
        };
        let Some(Frame::Arp(arp)) = parse(&frame.bytes) else {
            continue;
        };
        if frame.outgoing || arp.operation != Arp::REPLY {
            continue;
        }
        if let Some(&index) = newest.get(&(arp.sender_ip, arp.target_ip)) {
            let answer = Answer { at: frame.at, mac: arp.sender_mac };
            let mut timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(probe) = timeline.get_mut(index) {
                probe.answers.push(answer);
            }
        }
    }
}

fn sender(target: Ipv4Addr, id: u64) -> Ipv4Addr {
    let [a, b, c, _] = target.octets();
    Ipv4Addr::new(a, b, c, 101 + (id % SENDERS) as u8)
}

/// An ARP request, as a client's kernel sends it.
pub fn request(from: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(from.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(from.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

const SENDERS: u64 = 150;
const LAST_MOMENT: Duration = Duration::from_millis(50);
/// Over an hour at one question each 2 ms; later ones are not asked about.
const MAX_PROBES: usize = 2_000_000;
