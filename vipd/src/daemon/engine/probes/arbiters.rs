//! The arbiters that early takeover asks: by echo, with each round of probes, besides what the instances track.
//!
//! What they track notices in seconds. A claim within milliseconds has to know now: that the arbiter has answered something which was
//! asked after the last word of the master's host, and that it has answered lately when this node vouches for itself.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use vipd_config::Arbiter;

use crate::{
    time::Instant,
    tracking::arbiter::{Echo, raw_socket, socket_address},
};

/// Rounds whose answers still count.
const ROUNDS: usize = 16;
/// Answers that are read in one look: a flood of echo replies does not hold up the probes.
const READ_AT_ONCE: usize = 64;

/// All arbiters of the routers that are taken over early.
#[derive(Debug, Default)]
pub struct EarlyArbiters {
    arbiters: Vec<AskedArbiter>,
    sockets: [Option<UdpSocket>; 2],
    rounds: VecDeque<Round>,
}

#[derive(Debug)]
struct AskedArbiter {
    arbiter: Arbiter,
    /// The stations among its targets that are not this host.
    stations: BTreeSet<SocketAddr>,
    /// When a round was asked that enough of them have answered.
    reached: Instant,
}

/// One question to all stations.
#[derive(Debug)]
struct Round {
    asked: Instant,
    question: Echo,
    answered: BTreeSet<SocketAddr>,
}

impl EarlyArbiters {
    /// Asks these from now on. What is known of one that stays is kept.
    pub fn configure<'a>(&mut self, arbiters: impl IntoIterator<Item = &'a Arbiter>) {
        let before = std::mem::take(&mut self.arbiters);
        for arbiter in arbiters {
            if self.arbiters.iter().any(|known| known.arbiter == *arbiter) {
                continue;
            }
            let reached = before.iter().find(|known| known.arbiter == *arbiter).map(|known| known.reached);
            let stations = arbiter.targets.iter().filter(|target| target.port.is_none());
            // An interface may come and go, and an address may become this host's.
            let stations =
                stations.filter_map(|target| socket_address(target).ok()).filter(|to| !is_own(*to));
            self.arbiters.push(AskedArbiter {
                arbiter: arbiter.clone(),
                stations: stations.collect(),
                reached: reached.unwrap_or_default(),
            });
        }
        if self.arbiters.is_empty() {
            *self = Self::default();
        }
    }

    /// Asks all stations.
    pub fn ask(&mut self, now: Instant) {
        if self.arbiters.is_empty() {
            return;
        }
        let question = Echo::random();
        let stations: BTreeSet<SocketAddr> =
            self.arbiters.iter().flat_map(|arbiter| &arbiter.stations).copied().collect();
        for to in stations {
            // Who cannot ask is not answered.
            if let Err(error) = self.send(to, &question) {
                tracing::debug!(%to, %error, "an arbiter's station cannot be asked");
                self.sockets[usize::from(to.is_ipv4())] = None;
            }
        }
        if self.rounds.len() == ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back(Round { asked: now, question, answered: BTreeSet::new() });
    }

    /// When the round was asked that the arbiters have answered last, the slowest of them; `None` without arbiters.
    pub fn answered(&mut self) -> Option<Instant> {
        if self.arbiters.is_empty() {
            return None;
        }
        self.read();
        self.arbiters.iter().map(|arbiter| arbiter.reached).min()
    }

    /// Each arbiter's name, and when it was reached last.
    pub fn reached(&self) -> impl Iterator<Item = (&str, Instant)> {
        self.arbiters.iter().map(|asked| (asked.arbiter.name.as_str(), asked.reached))
    }

    fn send(&mut self, to: SocketAddr, question: &Echo) -> io::Result<()> {
        let socket = &mut self.sockets[usize::from(to.is_ipv4())];
        if socket.is_none() {
            *socket = Some(raw_socket(to.is_ipv4())?);
        }
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.send_to(&question.request(to.is_ipv4()), to).map(|_| ())
    }

    fn read(&mut self) {
        // More than the longest header and an answer.
        let mut packet = [0; 256];
        for _ in 0..READ_AT_ONCE {
            let mut sockets = self.sockets.iter().flatten();
            let Some((length, from)) = sockets.find_map(|socket| socket.recv_from(&mut packet).ok()) else {
                return;
            };
            self.take(&packet[..length], from);
        }
    }

    /// Takes note of what has come from a station.
    fn take(&mut self, packet: &[u8], from: SocketAddr) {
        let answers = |round: &&mut Round| round.question.is_answered_by(packet, from.is_ipv4());
        let Some(round) = self.rounds.iter_mut().rev().find(answers) else { return };
        let is_from = |to: &&SocketAddr| to.ip() == from.ip();
        let stations = self.arbiters.iter().flat_map(|arbiter| &arbiter.stations);
        round.answered.extend(stations.filter(is_from));
        for asked in &mut self.arbiters {
            let count = asked.stations.intersection(&round.answered).count();
            if count >= asked.arbiter.quorum {
                asked.reached = asked.reached.max(round.asked);
            }
        }
    }
}

/// Whether an address is this host's: its answer says nothing of the network.
fn is_own(to: SocketAddr) -> bool {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    // Nothing is sent. A port there must be.
    let chosen = UdpSocket::bind((any, 0)).and_then(|socket| {
        let mut to = to;
        to.set_port(9);
        socket.connect(to)?;
        socket.local_addr()
    });
    chosen.is_ok_and(|local| local.ip() == to.ip())
}
