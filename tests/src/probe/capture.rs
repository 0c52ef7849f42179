//! What passes an interface, kept with its time and direction.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

pub use super::decode::{Advert, Arp, ChecksumForm, Frame, IcmpError, IcmpErrorKind, NeighbourAdvert, parse};
use super::{Mac, decode::mac, packet::PacketSocket};
use crate::{Netns, wait_for};

/// A running capture; dropping it stops it.
#[derive(Debug)]
pub struct Sniffer {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

/// A frame with its time and direction.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub outgoing: bool,
    pub src_mac: Mac,
    pub dst_mac: Mac,
    pub frame: Frame,
    pub bytes: Vec<u8>,
}

/// A station's word, to everyone, that it has an address: gratuitous ARP or an unsolicited neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub at: Instant,
    pub address: IpAddr,
    /// The address hosts learn; for an advertisement without the option that they would need, the frame's source.
    pub mac: Mac,
    pub kind: AnnouncementKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnouncementKind {
    ArpRequest,
    ArpReply,
    NeighbourAdvert,
}

impl Sniffer {
    /// Keeps every frame of an interface that `filter` likes, in both directions.
    pub fn start(ns: &Netns, ifname: &str, filter: impl Fn(&Seen) -> bool + Send + 'static) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = ns.run(|| PacketSocket::open(ifname, libc::ETH_P_ALL as u16))??;
        let thread = ns.spawn("sniffer", {
            let (seen, stop) = (seen.clone(), stop.clone());
            move || capture(&socket, &filter, &seen, &stop)
        })?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    /// Adverts with their times, in order.
    pub fn adverts(&self) -> Vec<(Seen, Advert)> {
        let advert = |s: &Seen| match &s.frame {
            Frame::Advert(a) => Some((s.clone(), a.clone())),
            _ => None,
        };
        self.lock().iter().filter_map(advert).collect()
    }

    /// Adverts from one source address.
    pub fn adverts_from(&self, src: IpAddr) -> Vec<(Seen, Advert)> {
        self.adverts().into_iter().filter(|(_, a)| a.src == src).collect()
    }

    pub fn arps(&self) -> Vec<(Seen, Arp)> {
        let arp = |s: &Seen| match &s.frame {
            Frame::Arp(a) => Some((s.clone(), a.clone())),
            _ => None,
        };
        self.lock().iter().filter_map(arp).collect()
    }

    pub fn neighbour_adverts(&self) -> Vec<(Seen, NeighbourAdvert)> {
        let advert = |s: &Seen| match &s.frame {
            Frame::NeighbourAdvert(a) => Some((s.clone(), *a)),
            _ => None,
        };
        self.lock().iter().filter_map(advert).collect()
    }

    /// Gratuitous ARP and unsolicited neighbour advertisements, in order.
    pub fn announcements(&self) -> Vec<Announcement> {
        self.lock().iter().filter_map(Announcement::of).collect()
    }

    /// Destination unreachable and parameter problem messages of either family: nothing a virtual router does may
    /// provoke one.
    pub fn icmp_errors(&self) -> Vec<(Seen, IcmpError)> {
        let error = |s: &Seen| match &s.frame {
            Frame::IcmpError(e) => Some((s.clone(), *e)),
            _ => None,
        };
        self.lock().iter().filter_map(error).collect()
    }

    /// Waits for a frame.
    pub fn wait(&self, what: &str, timeout: Duration, like: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let mut found = None;
        wait_for(what, timeout, || {
            found = self.lock().iter().find(|s| like(s)).cloned();
            found.is_some()
        })?;
        found.context("found, then lost")
    }

    /// Forgets what was seen so far.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Announcement {
    fn of(seen: &Seen) -> Option<Self> {
        let (address, mac, kind) = match &seen.frame {
            Frame::Arp(arp) if arp.is_gratuitous() => {
                let reply = arp.operation == Arp::REPLY;
                let kind = if reply { AnnouncementKind::ArpReply } else { AnnouncementKind::ArpRequest };
                (arp.sender_ip.into(), arp.sender_mac, kind)
            }
            Frame::NeighbourAdvert(na) if na.is_unsolicited() => {
                let mac = na.target_mac.unwrap_or(seen.src_mac);
                (na.target.into(), mac, AnnouncementKind::NeighbourAdvert)
            }
            _ => return None,
        };
        Some(Self { at: seen.at, address, mac, kind })
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn capture(
    socket: &PacketSocket,
    filter: &dyn Fn(&Seen) -> bool,
    seen: &Mutex<Vec<Seen>>,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Some(raw) = socket.receive(Duration::from_millis(20)).context("the sniffer's socket")? else {
            continue;
        };
        let (Some(dst_mac), Some(src_mac)) = (mac(&raw.bytes, 0), mac(&raw.bytes, 6)) else {
            continue;
        };
        let frame = parse(&raw.bytes).unwrap_or(Frame::Other);
        let entry = Seen { at: raw.at, outgoing: raw.outgoing, src_mac, dst_mac, frame, bytes: raw.bytes };
        if filter(&entry) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() < MAX_SEEN {
                seen.push(entry);
            }
        }
    }
    Ok(())
}

/// Frames after these are not kept.
const MAX_SEEN: usize = 500_000;
