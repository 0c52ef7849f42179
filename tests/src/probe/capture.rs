//! Adverts and ARP on a wire, decoded without any of vipd's code, so that its tests have a second opinion.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{Mac, packet::PacketSocket};
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

/// What was understood of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Advert(Advert),
    Arp(Arp),
    Other,
}

/// The fields of a VRRP advert, not validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    pub src: IpAddr,
    pub ttl: u8,
    pub version: u8,
    pub vrid: u8,
    pub priority: u8,
    pub count: u8,
    /// Version 2: its seconds; version 3: its centiseconds.
    pub interval: Duration,
    /// The VRRP message, from its first byte to the end of the IP packet.
    pub message: Vec<u8>,
}

/// An ARP message for IPv4 over Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arp {
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender_ip: Ipv4Addr,
    pub target_mac: Mac,
    pub target_ip: Ipv4Addr,
}

impl Arp {
    pub const REQUEST: u16 = 1;
    pub const REPLY: u16 = 2;

    /// Whether it announces its sender rather than asks or answers.
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }
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

/// Decodes an untagged Ethernet frame; `None` if it is neither an advert nor ARP.
pub fn parse(frame: &[u8]) -> Option<Frame> {
    let payload = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x06] => parse_arp(payload).map(Frame::Arp),
        [0x08, 0x00] => {
            let header = usize::from(payload.first()? & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]));
            if *payload.get(9)? != IPPROTO_VRRP {
                return None;
            }
            let src = IpAddr::V4(ip(payload, 12)?);
            parse_advert(src, *payload.get(8)?, payload.get(header..total)?).map(Frame::Advert)
        }
        [0x86, 0xdd] => {
            if *payload.get(6)? != IPPROTO_VRRP {
                return None;
            }
            let length = usize::from(u16::from_be_bytes([*payload.get(4)?, *payload.get(5)?]));
            let src: [u8; 16] = payload.get(8..24)?.try_into().ok()?;
            let src = IpAddr::V6(Ipv6Addr::from(src));
            parse_advert(src, *payload.get(7)?, payload.get(40..40 + length)?).map(Frame::Advert)
        }
        _ => None,
    }
}

fn parse_arp(p: &[u8]) -> Option<Arp> {
    (p.get(..6)? == [0, 1, 0x08, 0x00, 6, 4]).then_some(())?;
    Some(Arp {
        operation: u16::from_be_bytes([*p.get(6)?, *p.get(7)?]),
        sender_mac: mac(p, 8)?,
        sender_ip: ip(p, 14)?,
        target_mac: mac(p, 18)?,
        target_ip: ip(p, 24)?,
    })
}

fn parse_advert(src: IpAddr, ttl: u8, m: &[u8]) -> Option<Advert> {
    let version = m.first()? >> 4;
    let interval = match version {
        2 => Duration::from_secs(u64::from(*m.get(5)?)),
        _ => Duration::from_millis(10 * u64::from(u16::from_be_bytes([m.get(4)? & 0x0f, *m.get(5)?]))),
    };
    Some(Advert {
        src,
        ttl,
        version,
        vrid: *m.get(1)?,
        priority: *m.get(2)?,
        count: *m.get(3)?,
        interval,
        message: m.to_vec(),
    })
}

fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?))
}

fn ip(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

const IPPROTO_VRRP: u8 = 112;
/// Frames after these are not kept.
const MAX_SEEN: usize = 500_000;
