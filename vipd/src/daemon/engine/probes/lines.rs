//! Heartbeat links: probes go over them too, and the program finds the same host there.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    net::IpAddr,
};

use anyhow::Result;
use vipd_common::{
    abi::{ProbeEntry, ProbeKey},
    wire::eth::MacAddr,
};

use super::plan::{HeartbeatLine, LinkKey};
use crate::{
    announce::{PacketSocket, frame_to_group},
    dataplane::ProbeTable,
};

/// The entries of `PROBE_INDEX` for heartbeat links, as they are there: addresses on such a link, what they lead to.
#[derive(Debug, Default)]
pub struct LineEntries(Vec<(ProbeKey, ProbeEntry)>);

impl LineEntries {
    /// Brings the index in line with what is wanted: hosts, by link, line and slot. Two lines that differ in their group alone share an entry.
    pub fn follow(
        &mut self,
        wanted: impl IntoIterator<Item = (LinkKey, HeartbeatLine, IpAddr, u32)>,
        table: &ProbeTable,
    ) -> Result<()> {
        let mut entries: Vec<(ProbeKey, ProbeEntry)> = Vec::new();
        for (link, line, peer, slot) in wanted {
            let key = line.key(link, peer);
            if !entries.iter().any(|(known, _)| *known == key) {
                entries.push((key, ProbeEntry { slot, mac: line.mac, reserved: [0; 2] }));
            }
        }
        self.retain(table, |entry| entries.contains(entry))?;
        for entry in entries {
            if !self.0.contains(&entry) {
                table.add(entry.0, entry.1)?;
                self.0.push(entry);
            }
        }
        Ok(())
    }

    /// Nothing leads to a slot by heartbeat links any more.
    pub fn forget(&mut self, slot: u32, table: &ProbeTable) -> Result<()> {
        self.retain(table, |(_, entry)| entry.slot != slot)
    }

    fn retain(&mut self, table: &ProbeTable, stays: impl Fn(&(ProbeKey, ProbeEntry)) -> bool) -> Result<()> {
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0).into_iter().partition(stays);
        self.0 = stay;
        go.iter().try_for_each(|(key, _)| table.remove(key))
    }
}

/// What probes are built in and leave by, besides each session's own socket.
#[derive(Debug, Default)]
pub struct Outlets {
    /// The probe being built.
    pub packet: Vec<u8>,
    pub lines: LineSockets,
}

/// The sockets for frames of heartbeat links, and of links whose hosts answer no question for their MAC, by interface.
#[derive(Debug, Default)]
pub struct LineSockets {
    sockets: BTreeMap<u32, PacketSocket>,
    frame: Vec<u8>,
}

impl LineSockets {
    /// The socket of an interface.
    pub fn socket(&mut self, ifindex: u32) -> io::Result<&PacketSocket> {
        match self.sockets.entry(ifindex) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(none) => Ok(none.insert(PacketSocket::open(ifindex)?)),
        }
    }

    /// Has a new one opened next time: the interface may be another.
    pub fn forget(&mut self, ifindex: u32) {
        self.sockets.remove(&ifindex);
    }

    /// Sends the packet of a probe over a line.
    pub fn send(&mut self, line: &HeartbeatLine, packet: &[u8]) -> io::Result<()> {
        let mut frame = std::mem::take(&mut self.frame);
        frame_to_group(packet, line.group, MacAddr(line.mac), &mut frame);
        let sent = self.socket(line.ifindex).and_then(|socket| socket.send(&frame));
        self.frame = frame;
        if sent.is_err() {
            self.forget(line.ifindex);
        }
        sent
    }
}
