//! The lines of a virtual router: its own interface, and the heartbeat lines that adverts go over as well.
//!
//! A heartbeat line carries adverts and nothing else: no VIP is answered or announced there, nothing of the host is
//! changed for it, and no state depends on it but by a weight that the configuration may give it.

use vipd_common::{
    abi::{IndexEntry, InstanceKey},
    wire::eth::MacAddr,
};

use super::{Router, Wire};
use crate::host::LinkState;

/// An interface that adverts go over besides the router's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub name: String,
    /// 0: there is no such interface now.
    pub ifindex: u32,
    pub wire: Wire,
    pub mac: MacAddr,
    pub up: bool,
}

/// An interface that a router uses for anything.
#[derive(Clone, Copy, Debug)]
pub struct Port<'r> {
    pub name: &'r str,
    pub ifindex: u32,
    pub wire: &'r Wire,
    pub up: bool,
    /// Frames to the router's virtual MAC come in here.
    pub virtual_mac: bool,
}

impl Heartbeat {
    pub fn new(state: LinkState, wire: Wire) -> Self {
        Self { name: state.name, ifindex: state.ifindex, wire, mac: state.mac, up: state.up }
    }

    pub fn exists(&self) -> bool {
        self.ifindex != 0
    }

    /// Whether adverts can leave there.
    pub fn carries(&self) -> bool {
        self.exists() && self.up
    }
}

impl Router {
    /// Whether a heartbeat line carries adverts now, and there is an address to send them from.
    pub fn has_heartbeat(&self) -> bool {
        self.address.is_some() && self.heartbeats.iter().any(Heartbeat::carries)
    }

    /// What its adverts go over, by their numbers: 0 is its own interface.
    pub fn ports_of_lines(&self) -> impl Iterator<Item = Port<'_>> {
        let others = self.links.len() - 1;
        let mut ports = self.ports();
        ports.next().into_iter().chain(ports.skip(others))
    }

    /// Every interface it uses, whether it is there or not.
    pub fn ports(&self) -> impl Iterator<Item = Port<'_>> {
        let links = self.links.iter().enumerate().map(|(i, link)| Port {
            name: &link.name,
            ifindex: link.ifindex,
            wire: &link.wire,
            up: link.up,
            virtual_mac: i == 0 && self.spec.use_vmac,
        });
        let heartbeats = self.heartbeats.iter().map(|line| Port {
            name: &line.name,
            ifindex: line.ifindex,
            wire: &line.wire,
            up: line.up,
            virtual_mac: false,
        });
        links.chain(heartbeats)
    }

    /// Those of [`Self::ports`] that are there.
    pub fn present_ports(&self) -> impl Iterator<Item = Port<'_>> {
        self.ports().filter(|port| port.ifindex != 0)
    }

    /// The interfaces its adverts go over that are there.
    pub fn lines(&self) -> impl Iterator<Item = u32> {
        let heartbeats = self.heartbeats.iter().map(|line| line.ifindex);
        [self.link().ifindex].into_iter().chain(heartbeats).filter(|ifindex| *ifindex != 0)
    }

    /// Where adverts of this router come in: the entries of the index. Line 0 is its own interface.
    pub fn index(&self) -> impl Iterator<Item = (InstanceKey, IndexEntry)> {
        let own = self.link().exists().then_some((&self.link().wire, 0));
        let heartbeats = self.heartbeats.iter().zip(1..).filter(|(line, _)| line.exists());
        own.into_iter().chain(heartbeats.map(|(line, number)| (&line.wire, number))).map(|(wire, line)| {
            let key = InstanceKey { ifindex: wire.ifindex, vlan: wire.vlan, ..self.key() };
            (key, IndexEntry { slot: self.slot, line })
        })
    }

    /// Takes note of an interface that may be a heartbeat line; returns whether anything about it is new.
    pub(super) fn update_heartbeats(&mut self, state: &LinkState) -> bool {
        let mut changed = false;
        for line in self.heartbeats.iter_mut().filter(|line| line.ifindex == state.ifindex) {
            changed |= (line.mac, line.up) != (state.mac, state.up);
            (line.mac, line.up) = (state.mac, state.up);
        }
        changed
    }

    /// The interface is gone, or of no use; returns whether it is one of the heartbeat lines.
    pub(super) fn heartbeat_gone(&mut self, ifindex: u32) -> bool {
        let is_it = |line: &&mut Heartbeat| line.ifindex == ifindex || line.wire.ifindex == ifindex;
        let mut any = false;
        for line in self.heartbeats.iter_mut().filter(is_it) {
            (line.ifindex, line.up, any) = (0, false, true);
        }
        any
    }
}
