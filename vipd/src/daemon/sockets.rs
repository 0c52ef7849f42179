//! The engine's sockets: one for frames on each interface, one for unicast packets where an instance has peers.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
};

use anyhow::{Context, Result};
use vipd_common::{Family, Priority, types::ChecksumForm};

use super::router::Router;
use crate::{
    announce::{AdvertSpec, Batch, PacketSocket, Question, UnicastSocket, advert_frame, advert_packet},
    vrrp::LeasePolicy,
};

/// TTL and hop limit of multicast adverts (RFC 9568 5.1.1.3, 5.1.2.3).
const MULTICAST_TTL: u8 = 255;

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
        let frames = routers.iter().flat_map(Router::present).map(|link| (link.ifindex, None));
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

    /// Sends one advert: to the group, or to each peer in the order of the configuration. Returns a peer for whom it has not
    /// left, if there is one.
    ///
    /// # Errors
    ///
    /// If it has left for nobody, or with `lease strict` not for all: the lease must not be renewed then.
    pub fn advertise(
        &mut self,
        router: &Router,
        priority: Priority,
        checksum: ChecksumForm,
    ) -> io::Result<Option<(IpAddr, io::Error)>> {
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
        let not_connected = || io::Error::from(io::ErrorKind::NotConnected);
        let Some(unicast) = &router.spec.unicast else {
            advert_frame(&spec, router.advert_mac(), &mut self.buffer)?;
            let socket = self.frames.get(&router.link().ifindex).ok_or_else(not_connected)?;
            return socket.send(&self.buffer).map(|()| None);
        };
        let socket =
            self.unicast.get(&(router.spec.family, router.link().ifindex)).ok_or_else(not_connected)?;
        spec.ttl = unicast.ttl;
        let mut reached = false;
        let mut unreached = None;
        for peer in &unicast.peers {
            spec.destination = peer.address;
            advert_packet(&spec, &mut self.buffer)?;
            match socket.send(&self.buffer, peer.address) {
                Ok(()) => reached = true,
                Err(error) => unreached = Some((peer.address, error)),
            }
        }
        // A peer that hears nothing takes over, which a strict lease must not outlast.
        let needs_all = router.settings.lease == LeasePolicy::Strict;
        match unreached {
            Some((_, error)) if !reached || needs_all => Err(error),
            unreached => Ok(unreached),
        }
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
