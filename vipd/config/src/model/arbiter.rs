//! Arbiters: addresses that a node must reach to be the master. An extension of vipd.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::weight::Weight;

/// One `arbiter` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arbiter {
    pub name: String,
    /// `ping` and `tcp`: 1 to 32, all different.
    pub targets: Vec<Target>,
    /// `quorum`: how many must answer, 1 to the number of targets. More than half unless given.
    pub quorum: usize,
    /// `interval`: from one round of questions to the next, 10 ms to an hour, in microseconds. 1 s unless given.
    pub interval: Duration,
    /// `timeout`: what a target is given to answer, from 10 ms to the interval. The interval unless given, but at most 1 s.
    pub timeout: Duration,
    /// `rise`: rounds in a row after which it is reached, at least 1. 2 unless given.
    pub rise: u32,
    /// `fall`: rounds in a row after which it is not, at least 1. 2 unless given.
    pub fall: u32,
    /// `isolated_action`. `Fault` unless given.
    pub action: IsolatedAction,
}

/// What becomes of the instances of a node that does not reach its arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolatedAction {
    /// They are in FAULT.
    Fault,
    /// This much, 1 to 253, is taken off their priorities.
    Lower(u8),
    /// Nothing: it is only told.
    None,
}

/// What an arbiter asks: a station, or with a port a service on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Unicast, and not of the loopback.
    pub address: IpAddr,
    /// The interface of a link-local address; `None` of all others.
    pub zone: Option<String>,
    /// `None`: it is asked for an echo.
    pub port: Option<u16>,
}

impl Arbiter {
    /// What it does to an instance; `None`: nothing.
    pub fn weight(&self) -> Option<Weight> {
        let value = match self.action {
            IsolatedAction::Fault => 0,
            IsolatedAction::Lower(by) => -i32::from(by),
            IsolatedAction::None => return None,
        };
        Some(Weight { value, reverse: false })
    }

    /// The longest from the end of a path to the verdict: it may end just behind an answer.
    pub fn notices_after(&self) -> Duration {
        self.interval * self.fall + self.timeout
    }
}

/// As the language has it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, zone, port } = self;
        let zone = zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
        match (address, port) {
            (_, None) => write!(f, "{address}{zone}"),
            (IpAddr::V4(_), Some(port)) => write!(f, "{}", SocketAddr::new(*address, *port)),
            (IpAddr::V6(_), Some(port)) => write!(f, "[{address}{zone}]:{port}"),
        }
    }
}
