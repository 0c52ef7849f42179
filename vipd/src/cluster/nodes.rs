//! The other nodes of each virtual router, as their reports have it: what is believed, for how long, and what is counted.
//!
//! Bounded: at most [`MAX_NODES`] nodes of a virtual router, and a new one takes the place only of one that has been silent.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    key::{ReportPath, SigningKey},
    segment::{Arrival, Segment},
    wire::{Malformed, NodeReport, Record, Sender},
};

/// Nodes of a virtual router that are kept.
pub const MAX_NODES: usize = 16;
/// A node is lost when so many of its reports have not come.
const MISSED: u32 = 3;
/// A lost node is shown for so long.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);
/// A signed report is believed if its time of sending is that near to now.
const FRESH: Duration = Duration::from_secs(60);
/// Senders whose last time of sending is kept.
const MAX_SENDERS: usize = 1_024;

/// Why a datagram is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// From nobody that a virtual router with `cluster_report` hears.
    Stranger,
    /// With the address of this node as its source.
    OwnAddress,
    /// The TTL or hop limit is too low: it may come from far away.
    HopLimit,
    /// No report, or one with a wrong length or value.
    Malformed,
    /// Of another version of the format.
    Version,
    /// Not signed, and this node has a key.
    Unsigned,
    /// Signed, and this node has no key.
    NoKey,
    /// With the signature of another key, or changed on the way.
    Signature,
    /// Signed at a time too far from this node's: one of the clocks is wrong, or it is an old report.
    Stale,
    /// Signed, and not later than the last report of the node.
    Replayed,
    /// Of no virtual router of this node.
    OtherRouter,
    /// There is no room for another node.
    Full,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Stranger,
        Self::OwnAddress,
        Self::HopLimit,
        Self::Malformed,
        Self::Version,
        Self::Unsigned,
        Self::NoKey,
        Self::Signature,
        Self::Stale,
        Self::Replayed,
        Self::OtherRouter,
        Self::Full,
    ];

    /// As in the status and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::OwnAddress => "own_address",
            Self::HopLimit => "hop_limit",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Unsigned => "unsigned",
            Self::NoKey => "no_key",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::OtherRouter => "other_router",
            Self::Full => "full",
        }
    }
}

/// A node, as it has last reported itself.
#[derive(Clone, Debug)]
pub struct ReportedNode {
    pub address: IpAddr,
    pub sender: Sender,
    pub record: Record,
    pub heard_at: Instant,
}

impl ReportedNode {
    /// Whether it is silent for too long.
    pub fn is_lost(&self, now: Instant) -> bool {
        now.duration_since(self.heard_at) > Duration::from_secs(self.sender.interval_s.into()) * MISSED
    }
}

/// What was heard, of all virtual routers.
#[derive(Debug, Default)]
pub struct Nodes {
    segments: Vec<Segment>,
    /// By the instance.
    nodes: HashMap<String, Vec<ReportedNode>>,
    /// The last time of sending of each who signs, by address and interface.
    senders: HashMap<(IpAddr, u32), u64>,
    received: u64,
    refused: BTreeMap<Refusal, u64>,
}

impl Nodes {
    /// Keeps the nodes of virtual routers that are still there.
    pub fn follow(&mut self, segments: &[Segment]) {
        let identity = |segment: &Segment| (segment.name.clone(), segment.family, segment.vrid);
        let kept: Vec<_> = self.segments.iter().map(identity).collect();
        let there: Vec<_> =
            segments.iter().map(identity).filter(|identity| kept.contains(identity)).collect();
        self.nodes.retain(|name, _| there.iter().any(|(there, ..)| there == name));
        self.segments = segments.to_vec();
    }

    /// Takes a datagram in. `now_unix_us` is this node's wall clock.
    ///
    /// # Errors
    ///
    /// It is not believed; the reason is counted.
    pub fn take(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        key: Option<&SigningKey>,
        now: Instant,
        now_unix_us: u64,
    ) -> Result<(), Refusal> {
        self.received += 1;
        let taken = self
            .judge(arrival, datagram, key, now_unix_us)
            .and_then(|report| self.keep(arrival, report, key.is_some(), now));
        if let Err(refusal) = taken {
            *self.refused.entry(refusal).or_default() += 1;
        }
        taken
    }

    fn judge(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        key: Option<&SigningKey>,
        now_unix_us: u64,
    ) -> Result<NodeReport, Refusal> {
        if self.segments.iter().any(|segment| segment.source == Some(arrival.source)) {
            return Err(Refusal::OwnAddress);
        }
        let limits =
            self.segments.iter().filter_map(|segment| segment.min_hop_limit(&arrival, key.is_some()));
        // What is enough for one of them is looked at.
        let least = limits.min().ok_or(Refusal::Stranger)?;
        if arrival.hop_limit < least {
            return Err(Refusal::HopLimit);
        }
        let report = NodeReport::parse(datagram).map_err(|malformed| match malformed {
            Malformed::Version => Refusal::Version,
            Malformed::Format => Refusal::Malformed,
        })?;
        match (key, report.sender.signed) {
            (None, false) => {}
            (None, true) => return Err(Refusal::NoKey),
            (Some(_), false) => return Err(Refusal::Unsigned),
            (Some(key), true) => {
                self.check_signed(arrival, datagram, key, report.sender.sent_unix_us, now_unix_us)?
            }
        }
        Ok(report)
    }

    fn check_signed(
        &mut self,
        arrival: Arrival,
        datagram: &[u8],
        key: &SigningKey,
        sent: u64,
        now: u64,
    ) -> Result<(), Refusal> {
        let path = ReportPath { source: arrival.source, destination: arrival.destination };
        if !key.verifies(path, datagram) {
            return Err(Refusal::Signature);
        }
        if Duration::from_micros(sent.abs_diff(now)) > FRESH {
            return Err(Refusal::Stale);
        }
        let from = (arrival.source, arrival.ifindex);
        if self.senders.get(&from).is_some_and(|last| *last >= sent) {
            return Err(Refusal::Replayed);
        }
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&from) {
            // A report of before is stale by now.
            self.senders.retain(|_, last| Duration::from_micros(last.abs_diff(now)) <= FRESH);
            if self.senders.len() >= MAX_SENDERS {
                return Err(Refusal::Full);
            }
        }
        self.senders.insert(from, sent);
        Ok(())
    }

    fn keep(
        &mut self,
        arrival: Arrival,
        report: NodeReport,
        has_key: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let NodeReport { sender, records } = report;
        let (mut known, mut is_full) = (false, false);
        for record in records {
            let hears = |segment: &&Segment| {
                let limit = segment.min_hop_limit(&arrival, has_key);
                (segment.family, segment.vrid) == (record.family, record.vrid)
                    && limit.is_some_and(|limit| limit <= arrival.hop_limit)
            };
            let Some(segment) = self.segments.iter().find(hears) else { continue };
            known = true;
            let nodes = self.nodes.entry(segment.name.clone()).or_default();
            let node =
                ReportedNode { address: arrival.source, sender: sender.clone(), record, heard_at: now };
            is_full |= !put(nodes, node, now);
        }
        match (known, is_full) {
            (false, _) => Err(Refusal::OtherRouter),
            (true, true) => Err(Refusal::Full),
            (true, false) => Ok(()),
        }
    }

    /// The nodes of an instance, in the order of their addresses.
    pub fn of(&self, instance: &str, now: Instant) -> Vec<&ReportedNode> {
        let nodes = self.nodes.get(instance).into_iter().flatten();
        let mut nodes: Vec<_> = nodes.filter(|node| now.duration_since(node.heard_at) < REMEMBERED).collect();
        nodes.sort_by_key(|node| node.address);
        nodes
    }

    /// Datagrams that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Those that were not believed, by every reason.
    pub fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL
            .into_iter()
            .map(|reason| (reason, self.refused.get(&reason).copied().unwrap_or_default()))
    }
}

/// Puts a node in its place; `false` if there is none.
fn put(nodes: &mut Vec<ReportedNode>, node: ReportedNode, now: Instant) -> bool {
    if let Some(known) = nodes.iter_mut().find(|known| known.address == node.address) {
        *known = node;
        return true;
    }
    if nodes.len() < MAX_NODES {
        nodes.push(node);
        return true;
    }
    let lost = nodes.iter_mut().filter(|known| known.is_lost(now)).min_by_key(|known| known.heard_at);
    match lost {
        Some(lost) => {
            *lost = node;
            true
        }
        None => false,
    }
}

#[cfg(test)]
#[path = "tests/nodes.rs"]
mod tests;
