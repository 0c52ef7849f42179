//! The engine's sockets: one for frames on each interface, one for packets to each unicast peer.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context, Result};
use vipd_common::{Priority, types::ChecksumForm, wire::eth::MacAddr};

use super::{
    clock,
    router::{Router, RouterLink},
};
use crate::{
    announce::{
        AdvertSpec, Batch, Departure, PacketSocket, Question, Station, UnicastSocket, advert_frame,
        advert_packet,
    },
    denial,
    time::Instant,
    vrrp::LeasePolicy,
};

/// TTL and hop limit of multicast adverts (RFC 9568 5.1.1.3, 5.1.2.3).
const MULTICAST_TTL: u8 = 255;
/// Least time between two questions about a peer without a MAC, however short the adverts' interval is. The kernel itself asks
/// once a second, and for so long a peer that comes back would hear nothing.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// What has become of an advert.
#[derive(Debug)]
pub struct Sent {
    /// Whether those who could take over may hear it, so that the lease is renewed by it: it has left for somebody,
    /// and with `lease strict` for all (on its own interface, to every peer). A peer whose MAC is not known is asked for it,
    /// which counts as well.
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

/// The way to a unicast peer.
#[derive(Debug)]
struct PeerWay {
    socket: UnicastSocket,
    /// When the link was asked for the peer's MAC last.
    asked_at: Option<Instant>,
}

/// What adverts and announcements leave by.
#[derive(Debug, Default)]
pub struct Sockets {
    /// By interface index.
    frames: HashMap<u32, PacketSocket>,
    /// By the interface of the instance, and the peer.
    peers: HashMap<(u32, IpAddr), PeerWay>,
    /// Identification of the last IPv4 packet.
    ip_id: u16,
    /// The advert being built.
    buffer: Vec<u8>,
}

impl Sockets {
    /// The sockets that `routers` need: on which interfaces, and for which peers there.
    pub fn needs(routers: &[Router]) -> BTreeSet<(u32, Option<IpAddr>)> {
        let frames = routers.iter().flat_map(Router::present_ports).map(|port| (port.ifindex, None));
        let unicast = routers.iter().filter(|router| router.link().exists()).flat_map(|router| {
            let peers = router.spec.unicast.iter().flat_map(|unicast| &unicast.peers);
            peers.map(|peer| (router.link().ifindex, Some(peer.address)))
        });
        frames.chain(unicast).collect()
    }

    /// Opens what `routers` need.
    pub fn open(routers: &[Router]) -> Result<Self> {
        let mut sockets = Self::default();
        for (ifindex, peer) in Self::needs(routers) {
            match peer {
                None => {
                    let socket = PacketSocket::open(ifindex).map_err(denial::of_raw_socket);
                    let socket =
                        socket.with_context(|| format!("open a packet socket on interface {ifindex}"))?;
                    sockets.frames.insert(ifindex, socket);
                }
                Some(peer) => {
                    let socket = UnicastSocket::open(peer, ifindex).map_err(denial::of_raw_socket);
                    let socket =
                        socket.with_context(|| format!("open a raw socket for the unicast peer {peer}"))?;
                    sockets.peers.insert((ifindex, peer), PeerWay { socket, asked_at: None });
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
        spec.ttl = unicast.ttl;
        let mut reached = false;
        let mut unsent = Vec::new();
        for peer in &unicast.peers {
            spec.destination = peer.address;
            advert_packet(&spec, &mut self.buffer)?;
            match self.send_to_peer(router.link(), peer.address) {
                Ok(()) => reached = true,
                Err(error) => unsent.push(Unsent { way: Way::Peer(peer.address), error }),
            }
        }
        Ok(Sent { counts: unsent.is_empty() || reached && !needs_all, unsent })
    }

    /// Sends the advert in the buffer to a peer. Success means that a frame for the peer has left this host: the advert's, to the MAC
    /// that the kernel has or that the last advert left to, or the question for the peer's MAC that it waits for.
    ///
    /// The lease rests on this. An advert that waits in the kernel has reached nobody, but a peer that is dead must not cost
    /// the lease of a master that is left alone. So what counts is that this host can say something to the peer's link, and
    /// says it: a peer that is there answers the question, and the advert that waits goes at once (docs/internals/invariants.md).
    fn send_to_peer(&mut self, link: &RouterLink, peer: IpAddr) -> io::Result<()> {
        let not_open = || io::Error::from(io::ErrorKind::NotConnected);
        let way = self.peers.get_mut(&(link.ifindex, peer)).ok_or_else(not_open)?;
        let frames = self.frames.get(&link.ifindex).ok_or_else(not_open)?;
        match way.socket.send_or_by_last_mac(&self.buffer, frames, (link.ifindex, link.mac))? {
            Departure::Left => {
                way.asked_at = None;
                return Ok(());
            }
            // The peer may have another MAC by now, and the kernel asks once a second only.
            Departure::LeftByLastMac | Departure::Waits => {}
        }
        let now = clock::now();
        if way.asked_at.is_some_and(|at| now.saturating_since(at) < ASK_INTERVAL) {
            return Ok(());
        }
        // Until one leaves each advert asks.
        way.asked_at = None;
        let question = Question::about(&Station { ifindex: link.ifindex, mac: link.mac, address: peer });
        frames.send(question.as_ref())?;
        way.asked_at = Some(now);
        Ok(())
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
