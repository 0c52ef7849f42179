//! Who answers for a VIP, and do two? Asks by broadcast ARP or multicast neighbour solicitation, all the time.
//!
//! Each question is asked from another address, which the answer repeats as its target or destination, so that answers
//! find their question: two stations answering one question are two owners.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
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
    decode::{Frame, NeighbourAdvert, mac, parse},
    packet::{self, PacketSocket},
    question::{Form, Question, answered},
};
use crate::Netns;

/// A running prober; dropping it stops it.
#[derive(Debug)]
pub struct NeighbourProber {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
    period: Duration,
}

/// The prober under the name of what it asks for an IPv4 address with.
pub type ArpProber = NeighbourProber;

/// One question and what came back.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Questions of one round (all targets) share it.
    pub id: u64,
    pub target: IpAddr,
    pub sent: Instant,
    pub answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub at: Instant,
    /// Where packets for the address are to be sent; what the message says, else the frame's source.
    pub mac: Mac,
    /// The source of the frame.
    pub src_mac: Mac,
    /// The whole answer to a solicitation.
    pub neighbour_advert: Option<NeighbourAdvert>,
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

impl NeighbourProber {
    /// Asks for every target once each `period`, one after the other, as a client does.
    pub fn start<A: Into<IpAddr> + Copy>(
        ns: &Netns,
        ifname: &str,
        targets: &[A],
        period: Duration,
    ) -> Result<Self> {
        Self::start_as(Form::Resolve, ns, ifname, targets, period)
    }

    /// The same, asking in another form. Answers to [`Form::Claim`] count for the newest question for their address.
    pub fn start_as<A: Into<IpAddr> + Copy>(
        form: Form,
        ns: &Netns,
        ifname: &str,
        targets: &[A],
        period: Duration,
    ) -> Result<Self> {
        let targets: Vec<IpAddr> = targets.iter().map(|&target| target.into()).collect();
        ensure!(!targets.is_empty(), "nothing to ask for");
        let ethertype = match (targets.iter().any(IpAddr::is_ipv4), targets.iter().any(IpAddr::is_ipv6)) {
            (true, false) => libc::ETH_P_ARP,
            (false, true) => libc::ETH_P_IPV6,
            _ => libc::ETH_P_ALL,
        };
        let record = Arc::new(Mutex::new(Record::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = ns.run(|| PacketSocket::open(ifname, ethertype as u16))??;
        let asking = Asking { form, socket, targets, period, record: record.clone(), stop: stop.clone() };
        let thread = ns.spawn("neighbour-prober", move || asking.run())?;
        Ok(Self { record, stop, thread: Some(thread), period })
    }

    /// Stops asking (after a last moment for answers) and returns the whole timeline.
    pub fn stop(mut self) -> Result<Vec<Probe>> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the neighbour prober panicked"))???;
        }
        Ok(self.timeline())
    }

    /// Everything so far.
    pub fn timeline(&self) -> Vec<Probe> {
        self.lock().timeline.clone()
    }

    /// The greatest number of stations that answered one question.
    pub fn owners_seen_together(&self) -> usize {
        self.lock().timeline.iter().map(|p| p.owners().len()).max().unwrap_or(0)
    }

    /// The greatest number of stations that answered two questions in a row for one target.
    ///
    /// That is more than one only if they owned the address together for a whole period. One question can be answered
    /// by two in the instant between a takeover and the arrival of its advert.
    pub fn owners_seen_twice(&self) -> usize {
        let mut before = HashMap::new();
        let together = |probe: &Probe| {
            let owners = probe.owners();
            let last = before.insert(probe.target, owners.clone());
            last.map_or(0, |last: BTreeSet<Mac>| last.intersection(&owners).count())
        };
        self.lock().timeline.iter().map(together).max().unwrap_or(0)
    }

    /// The greatest number of questions in a row for one target that two stations or more have answered.
    pub fn questions_of_two_owners(&self) -> usize {
        let mut runs: HashMap<_, usize> = HashMap::new();
        let run = |probe: &Probe| {
            let run = runs.entry(probe.target).or_default();
            *run = if probe.owners().len() > 1 { *run + 1 } else { 0 };
            *run
        };
        self.lock().timeline.iter().map(run).max().unwrap_or(0)
    }

    /// As [`owners_seen_together`](Self::owners_seen_together), for questions asked in a span of time.
    pub fn owners_seen_between(&self, from: Instant, to: Instant) -> usize {
        self.lock()
            .timeline
            .iter()
            .filter(|p| from <= p.sent && p.sent < to)
            .map(|p| p.owners().len())
            .max()
            .unwrap_or(0)
    }

    /// The questions that two or more stations answered.
    pub fn overlaps(&self) -> Vec<Probe> {
        self.lock().timeline.iter().filter(|p| p.owners().len() > 1).cloned().collect()
    }

    /// The times without an answer for a target that are longer than four periods.
    pub fn gaps_for(&self, target: impl Into<IpAddr>) -> Vec<Gap> {
        let times = self.answer_times(target.into());
        let gaps = times.windows(2).map(|w| Gap { from: w[0], to: w[1] });
        gaps.filter(|g| g.length() > 4 * self.period).collect()
    }

    /// The longest time without an answer for a target that ends in a span, or is still open at its end.
    pub fn longest_gap(&self, target: impl Into<IpAddr>, from: Instant, to: Instant) -> Duration {
        let times = self.answer_times(target.into());
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
            self.lock().timeline.iter().flat_map(answers).filter(|a| from <= a.at && a.at < to).collect();
        all.sort_by_key(|a| a.at);
        all
    }

    /// When a station last answered.
    pub fn last_answer_by(&self, mac: Mac) -> Option<Instant> {
        self.lock().timeline.iter().flat_map(|p| &p.answers).filter(|a| a.mac == mac).map(|a| a.at).max()
    }

    /// When a station first answered a question that was asked after `after`.
    pub fn first_answer_by(&self, mac: Mac, after: Instant) -> Option<Instant> {
        let record = self.lock();
        let later = record.timeline.iter().rev().take_while(|p| p.sent >= after);
        later.flat_map(|p| &p.answers).filter(|a| a.mac == mac).map(|a| a.at).min()
    }

    /// Who answered last, and when.
    pub fn current_owner(&self, target: impl Into<IpAddr>) -> Option<Answer> {
        self.lock().last.get(&target.into()).copied()
    }

    /// The last answer for every address that has had one.
    pub fn last_answers(&self) -> BTreeMap<IpAddr, Answer> {
        self.lock().last.clone()
    }

    fn answer_times(&self, target: IpAddr) -> Vec<Instant> {
        let record = self.lock();
        let probes = record.timeline.iter().filter(|p| p.target == target);
        let mut times: Vec<_> = probes.flat_map(|p| &p.answers).map(|a| a.at).collect();
        times.sort();
        times
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NeighbourProber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug, Default)]
struct Record {
    timeline: Vec<Probe>,
    last: BTreeMap<IpAddr, Answer>,
    /// The newest question for an address from an address, as an index into the timeline.
    newest: HashMap<(IpAddr, IpAddr), usize>,
}

impl Record {
    fn asked(&mut self, id: u64, target: IpAddr, asker: IpAddr) {
        // Past the end if there is no room: then the answers are nobody's.
        self.newest.insert((target, asker), self.timeline.len());
        if self.timeline.len() < MAX_PROBES {
            self.timeline.push(Probe { id, target, sent: Instant::now(), answers: Vec::new() });
        }
    }

    fn heard(&mut self, target: IpAddr, asker: IpAddr, answer: Answer) {
        let Some(&index) = self.newest.get(&(target, asker)) else {
            return; // Someone else's question.
        };
        self.last.insert(target, answer);
        if let Some(probe) = self.timeline.get_mut(index) {
            // A Vec's first allocation would be for four, and there is hardly ever more than one.
            probe.answers.reserve_exact(1);
            probe.answers.push(answer);
        }
    }
}

/// What the prober's thread works with.
struct Asking {
    form: Form,
    socket: PacketSocket,
    targets: Vec<IpAddr>,
    period: Duration,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
}

impl Asking {
    fn run(self) -> Result<()> {
        let avoid = self.targets.iter().copied().collect();
        // Many questions at once would overrun queues on their way, and answers to them ours.
        let step = self.period / u32::try_from(self.targets.len()).context("too many targets")?;
        let mut rounds = (0..).flat_map(|id| self.targets.iter().map(move |&target| (id, target)));
        let mut next = Instant::now();
        let mut ends = None;
        loop {
            let now = Instant::now();
            if self.stop.load(Ordering::Relaxed) && ends.is_none() {
                ends = Some(now + LAST_MOMENT);
            }
            if ends.is_some_and(|end| now >= end) {
                return Ok(());
            }
            for _ in 0..self.targets.len() {
                if next > now || ends.is_some() {
                    break;
                }
                let (id, target) = rounds.next().context("rounds never end")?;
                let question = Question::new(self.form, self.socket.mac(), target, &avoid, id);
                self.lock().asked(id, target, question.asker);
                // Fails while the prober's own link is down: a question without answers.
                let _ = self.socket.send(&question.frame);
                next += step;
            }
            // Starved for a while: ask on from here rather than in a burst.
            next = next.max(now);
            let wait = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(50));
            if let Some(frame) = self.socket.receive(wait).context("the neighbour prober's socket")? {
                self.hear(&frame);
            }
        }
    }

    fn hear(&self, frame: &packet::Frame) {
        if frame.outgoing {
            return;
        }
        let (Some(message), Some(src_mac)) = (parse(&frame.bytes), mac(&frame.bytes, 6)) else {
            return;
        };
        let Some((target, asker)) = answered(&message) else {
            return;
        };
        let (mac, neighbour_advert) = match message {
            Frame::Arp(arp) => (arp.sender_mac, None),
            Frame::NeighbourAdvert(na) => (na.target_mac.unwrap_or(src_mac), Some(na)),
            _ => return,
        };
        self.lock().heard(target, asker, Answer { at: frame.at, mac, src_mac, neighbour_advert });
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LAST_MOMENT: Duration = Duration::from_millis(50);
/// Over half an hour at one question each 2 ms; later ones are asked, and their answers known as the last.
const MAX_PROBES: usize = 1_000_000;
