//! Where the reports of a virtual router go, and which ones are heard.

use std::{net::IpAddr, time::Duration};

use vipd_common::Family;

/// What is to be known of a virtual router with `cluster_report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Of the instance.
    pub name: String,
    pub family: Family,
    pub vrid: u8,
    pub interval: Duration,
    /// Its interface; 0: there is none now.
    pub ifindex: u32,
    /// Source of its adverts and of its reports; `None`: there is none now.
    pub source: Option<IpAddr>,
    pub to: Destination,
}

/// To whom adverts, and so reports, go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Group(IpAddr),
    Peers(Vec<ReportPeer>),
}

/// Another node that reports go to and come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPeer {
    pub address: IpAddr,
    /// TTL or hop limit that the configuration asks for.
    pub min_ttl: Option<u8>,
    /// Whether it is in a subnet of the interface.
    pub on_link: bool,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ifindex: u32,
    pub hop_limit: u8,
}

impl Segment {
    /// Whether reports can be sent now.
    pub fn is_open(&self) -> bool {
        self.ifindex != 0 && self.source.is_some()
    }

    /// The addresses that reports go to.
    pub fn destinations(&self) -> impl Iterator<Item = IpAddr> {
        let (group, peers) = match &self.to {
            Destination::Group(group) => (Some(*group), &[][..]),
            Destination::Peers(peers) => (None, &peers[..]),
        };
        group.into_iter().chain(peers.iter().map(|peer| peer.address))
    }

    /// The least TTL or hop limit of a report that came so; `None` if this virtual router hears nothing from there.
    ///
    /// Nobody but a neighbour can send 255. A peer beyond a router sends less, which counts only if the operator said so, or with a
    /// key (`has_key`).
    pub fn min_hop_limit(&self, arrival: &Arrival, has_key: bool) -> Option<u8> {
        match &self.to {
            Destination::Group(group) => {
                (arrival.destination == *group && arrival.ifindex == self.ifindex).then_some(u8::MAX)
            }
            Destination::Peers(peers) => {
                if Some(arrival.destination) != self.source {
                    return None;
                }
                let peer = peers.iter().find(|peer| peer.address == arrival.source)?;
                Some(peer.min_ttl.unwrap_or(if peer.on_link || !has_key { u8::MAX } else { 0 }))
            }
        }
    }
}
