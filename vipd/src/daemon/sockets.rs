//! The engine's sockets: one for frames on each interface, one for unicast packets where an instance has peers.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
};

use anyhow::{Context, Result};
use vipd_common::{Family, Priority, types::ChecksumForm, wire::eth::MacAddr};

use super::router::Router;
use crate::{
    announce::{AdvertSpec, Batch, PacketSocket, Question, UnicastSocket, advert_frame, advert_packet},
    vrrp::LeasePolicy,
};

/// TTL and hop limit of multicast adverts (RFC 9568 5.1.1.3, 5.1.2.3).
const MULTICAST_TTL: u8 = 255;

/// What has become of an advert.
#[derive(Debug)]
pub struct Sent {
    /// Whether those who could take over may hear it, so that the lease is renewed by it: it has left for somebody,
    /// and with `lease strict` for all (on its own interface, to every peer).
    pub counts: bool,
    pub unsent: Vec<Unsent>,
}

/// A way by which an advert has not left.
#[derive(Debug)]
pub struct Unsent {
    pub way: Way,
    pub error: io::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Peer(IpAddr),
    /// By its number: 0 is the router's own interface.
    Line(usize),
}

/// What adverts and announcements leave by.
#[derive(Debug, Default)]
pub struct Sockets {
    /// By interface index.
    frames: HashMap<u32, PacketSocket>,
    unicast: HashMap<(Family, u32), UnicastSocket>,
    /// Identification of the last IPv4 packet.
    ip_id: u16,
    /// The advert being built.
    buffer: Vec<u8>,
}

impl Sockets {
    /// The sockets that `routers` need: on which interfaces, and for which families' peers.
    pub fn needs(routers: &[Router]) -> BTreeSet<(u32, Option<Family>)> {
        let frames = routers.iter().flat_map(Router::present_ports).map(|port| (port.ifindex, None));
        let unicast = routers.iter().filter(|router| router.spec.unicast.is_some() && router.link().exists());
        frames.chain(unicast.map(|router| (router.link().ifindex, Some(router.spec.family)))).collect()
    }

    /// Opens what `routers` need.
    pub fn open(routers: &[Router]) -> Result<Self> {
        let mut sockets = Self::default();
        for (ifindex, family) in Self::needs(routers) {
            match family {
                None => {
                    let socket = PacketSocket::open(ifindex);
                    let socket = socket.with_context(|| {
                        format!("open a packet socket on interface {ifindex} (CAP_NET_RAW)")
                    })?;
                    sockets.frames.insert(ifindex, socket);
                }
                Some(family) => {
                    let socket = UnicastSocket::open(family, ifindex);
                    let socket = socket.context("open a raw socket for unicast peers (CAP_NET_RAW)")?;
                    sockets.unicast.insert((family, ifindex), socket);
                }
            }
        }
        Ok(sockets)
    }

    /// Sends one advert: to the group, on every line, or to each peer in the order of the configuration.
    ///
    /// # Errors
    ///
    /// If there is nothing to send: the lease must not be renewed then.
    pub fn advertise(
        &mut self,
        router: &Router,
        priority: Priority,
        checksum: ChecksumForm,
    ) -> io::Result<Sent> {
        let source = router.address.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        self.ip_id = self.ip_id.wrapping_add(1);
        let vips: Vec<IpAddr> = router.spec.vips.iter().map(|vip| vip.address).collect();
        let mut spec = AdvertSpec {
            version: router.spec.version,
            vrid: router.spec.vrid,
            priority,
            interval: router.spec.advert_interval,
            source,
            destination: router.spec.group,
            ttl: MULTICAST_TTL,
            vips: &vips,
            auth: router.auth_data(),
            checksum,
            ip_id: self.ip_id,
        };
        // Who hears nothing takes over, which a strict lease must not outlast.
        let needs_all = router.settings.lease == LeasePolicy::Strict;
        let Some(unicast) = &router.spec.unicast else {
            return Ok(self.multicast(router, &spec, needs_all));
        };
        let socket = self.unicast.get(&(router.spec.family, router.link().ifindex));
        let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        spec.ttl = unicast.ttl;
        let mut reached = false;
        let mut unsent = Vec::new();
        for peer in &unicast.peers {
            spec.destination = peer.address;
            advert_packet(&spec, &mut self.buffer)?;
            match socket.send(&self.buffer, peer.address) {
                Ok(()) => reached = true,
                Err(error) => unsent.push(Unsent { way: Way::Peer(peer.address), error }),
            }
        }
        Ok(Sent { counts: unsent.is_empty() || reached && !needs_all, unsent })
    }

    /// Sends an advert to the group: out of the router's own interface, and out of each heartbeat line that is up.
    /// There it has the line's own MAC, so that no switch learns the virtual one at another port.
    ///
    /// Whoever hears it on any line does not take over, so the owner goes on. With `needs_own` it must leave by its
    /// own interface, which is all that a router without heartbeat lines hears; if it does not, nobody is to follow a
    /// router that will be no owner.
    fn multicast(&mut self, router: &Router, spec: &AdvertSpec<'_>, needs_own: bool) -> Sent {
        let mut sent = Sent { counts: false, unsent: Vec::new() };
        match self.send_frame(spec, router.link().ifindex, router.advert_mac()) {
            Ok(()) => sent.counts = true,
            Err(error) => sent.unsent.push(Unsent { way: Way::Line(0), error }),
        }
        let mute = needs_own && !sent.counts && !spec.priority.is_leaving();
        // A link that is down takes frames, and loses them.
        for (number, line) in (1..).zip(&router.heartbeats).filter(|(_, line)| line.carries()) {
            let result = match mute {
                // Its peers would yield to a router that never owns.
                true => Err(io::ErrorKind::NotConnected.into()),
                false => self.send_frame(spec, line.ifindex, line.mac),
            };
            match result {
                Ok(()) => sent.counts |= !needs_own,
                Err(error) => sent.unsent.push(Unsent { way: Way::Line(number), error }),
            }
        }
        sent
    }

    fn send_frame(&mut self, spec: &AdvertSpec<'_>, ifindex: u32, mac: MacAddr) -> io::Result<()> {
        advert_frame(spec, mac, &mut self.buffer)?;
        let socket = self.frames.get(&ifindex).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        socket.send(&self.buffer)
    }

    /// Asks the wire for addresses on one interface; returns what stopped it.
    pub fn ask(&self, ifindex: u32, questions: &[Question]) -> Option<io::Error> {
        match self.frames.get(&ifindex) {
            Some(socket) => socket.send_batch(questions).1,
            None => Some(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends announcements; returns how many have left, and what stopped the rest.
    pub fn announce(&self, batch: &Batch) -> (usize, Option<io::Error>) {
        match self.frames.get(&batch.ifindex) {
            Some(socket) => socket.send_batch(&batch.frames),
            None => (0, Some(io::ErrorKind::NotConnected.into())),
        }
    }
}
