//! The format of a report: what one node says of itself and of its virtual routers.
//!
//! ```text
//!  0  magic "VIPR"          8  time of sending, µs since 1970      24  virtual routers that follow
//!  4  version (1)          16  random number of this start         25  three texts: host, router_id, version
//!  5  flags                                                            then a record for each virtual router
//!  6  interval in s                                                    and at the end 32 octets of HMAC, if signed
//! ```
//!
//! A text is its length in an octet, then UTF-8. A record starts with its length, and a reader skips what it does not know at its end.
//! Numbers are in network order. Every length is checked; every text is cut and has its control characters escaped when it is read.

use std::net::{IpAddr, Ipv6Addr};

use vipd_common::Family;

use crate::{coordinator::StateName, printable};

/// What IPv6 carries everywhere: 1,280 octets less its header and that of UDP.
pub const MAX_DATAGRAM: usize = 1_232;
/// Octets of the signature.
pub const SIGNATURE: usize = 32;
/// Links in a record at most.
pub const MAX_LINKS: usize = 8;

const MAGIC: [u8; 4] = *b"VIPR";
const VERSION: u8 = 1;
const HEADER: usize = 25;
/// The most that a text has.
const NAME: usize = 64;
const WORDS: usize = 200;
const INTERFACE: usize = 15;
/// What a record has before its texts.
const RECORD: usize = 34;

const SIGNED: u8 = 1;
const DRAINED: u8 = 2;

const HANDED_OVER: u8 = 1;
const SPLIT_BRAIN: u8 = 2;
const UNVOUCHED: u8 = 4;
const ONE_WAY: u8 = 8;

const STATES: [StateName; 5] =
    [StateName::Init, StateName::Backup, StateName::Master, StateName::Fault, StateName::Stopped];
const LINK_STATES: [&str; 4] = ["up", "down", "absent", "lost"];

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    pub sender: Sender,
    pub records: Vec<Record>,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    pub signed: bool,
    pub drained: bool,
    /// Time between two reports, 1 to 3,600 s.
    pub interval_s: u16,
    /// Microseconds since 1970; each report has a later one.
    pub sent_unix_us: u64,
    /// Random, another for each start of vipd.
    pub start: u64,
    pub host: String,
    pub router_id: String,
    pub version: String,
}

/// What a node says of one of its virtual routers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub family: Family,
    pub vrid: u8,
    pub state: StateName,
    pub priority: u8,
    pub base_priority: u8,
    pub handed_over: bool,
    pub split_brain: bool,
    /// A master that answers for nothing, because nobody vouches for it.
    pub unvouched: bool,
    /// A node is heard that does not hear it.
    pub one_way: bool,
    pub address_conflicts: u32,
    pub in_state_s: u32,
    /// The known master.
    pub master: Option<IpAddr>,
    /// Why it is in FAULT.
    pub faults: String,
    /// What other routers differ in.
    pub mismatches: String,
    /// At most [`MAX_LINKS`].
    pub links: Vec<ReportedLink>,
}

/// A link for adverts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedLink {
    pub interface: String,
    pub heartbeat: bool,
    /// One of `up`, `down`, `absent` and `lost`.
    pub state: &'static str,
}

/// Why a datagram is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Of another version of the format.
    Version,
    /// A length or a value is out of range.
    Format,
}

impl ReportedLink {
    /// `None` if the state is none that there is.
    pub fn new(interface: &str, heartbeat: bool, state: &str) -> Option<Self> {
        let state = LINK_STATES.into_iter().find(|known| *known == state)?;
        Some(Self { interface: interface.to_owned(), heartbeat, state })
    }
}

impl NodeReport {
    /// Reads the part of a datagram before its signature. `octets` is the whole datagram.
    ///
    /// # Errors
    ///
    /// It is no report of this version.
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        if octets.len() > MAX_DATAGRAM || octets.get(..4) != Some(&MAGIC) {
            return Err(Malformed::Format);
        }
        let mut reader = ReportReader(&octets[4..]);
        if reader.octet()? != VERSION {
            return Err(Malformed::Version);
        }
        let flags = reader.octet()?;
        let signed = flags & SIGNED != 0;
        if signed {
            let end = reader.0.len().checked_sub(SIGNATURE).ok_or(Malformed::Format)?;
            reader.0 = &reader.0[..end];
        }
        let interval_s = u16::from_be_bytes(reader.array()?);
        let sent_unix_us = u64::from_be_bytes(reader.array()?);
        let start = u64::from_be_bytes(reader.array()?);
        let count = reader.octet()?;
        if !(1..=3_600).contains(&interval_s) || count == 0 {
            return Err(Malformed::Format);
        }
        let (host, router_id, version) = (reader.text(NAME)?, reader.text(NAME)?, reader.text(NAME)?);
        let drained = flags & DRAINED != 0;
        let sender = Sender { signed, drained, interval_s, sent_unix_us, start, host, router_id, version };
        let records = (0..count).map(|_| Record::parse(&mut reader)).collect::<Result<_, _>>()?;
        if reader.0.is_empty() { Ok(Self { sender, records }) } else { Err(Malformed::Format) }
    }
}

/// The datagrams that say all of this, each complete in itself, without signatures: room for one is left in each if the sender signs.
pub fn datagrams(sender: &Sender, records: &[Record]) -> Vec<Vec<u8>> {
    let header = sender.emit();
    let room = MAX_DATAGRAM - if sender.signed { SIGNATURE } else { 0 };
    let mut all: Vec<Vec<u8>> = Vec::new();
    for record in records {
        let octets = record.emit();
        let has_room =
            all.last().is_some_and(|last| last.len() + octets.len() <= room && last[HEADER - 1] < u8::MAX);
        if !has_room {
            all.push(header.clone());
        }
        if let Some(last) = all.last_mut() {
            last[HEADER - 1] += 1;
            last.extend(octets);
        }
    }
    all
}

/// Writes another time of sending into a datagram.
pub fn stamp(datagram: &mut [u8], sent_unix_us: u64) {
    datagram[8..16].copy_from_slice(&sent_unix_us.to_be_bytes());
}

impl Sender {
    fn emit(&self) -> Vec<u8> {
        let mut octets = MAGIC.to_vec();
        let flags = if self.signed { SIGNED } else { 0 } | if self.drained { DRAINED } else { 0 };
        octets.extend([VERSION, flags]);
        octets.extend(self.interval_s.to_be_bytes());
        octets.extend(self.sent_unix_us.to_be_bytes());
        octets.extend(self.start.to_be_bytes());
        octets.push(0);
        for text in [&self.host, &self.router_id, &self.version] {
            put(&mut octets, text, NAME);
        }
        octets
    }
}

impl Record {
    fn emit(&self) -> Vec<u8> {
        let mut octets = vec![0; 2];
        let state = STATES.iter().position(|state| *state == self.state).unwrap_or_default();
        let said = [
            (self.handed_over, HANDED_OVER),
            (self.split_brain, SPLIT_BRAIN),
            (self.unvouched, UNVOUCHED),
            (self.one_way, ONE_WAY),
        ];
        let flags = said.iter().filter(|(is, _)| *is).fold(0, |flags, (_, flag)| flags | flag);
        octets.extend([self.family as u8, self.vrid, state as u8, self.priority, self.base_priority, flags]);
        octets.extend(self.address_conflicts.to_be_bytes());
        octets.extend(self.in_state_s.to_be_bytes());
        octets.extend(self.master.map_or(Ipv6Addr::UNSPECIFIED, mapped).octets());
        put(&mut octets, &self.faults, WORDS);
        put(&mut octets, &self.mismatches, WORDS);
        let links = &self.links[..self.links.len().min(MAX_LINKS)];
        octets.push(links.len() as u8);
        for link in links {
            let state = LINK_STATES.iter().position(|state| *state == link.state).unwrap_or_default();
            octets.extend([u8::from(link.heartbeat), state as u8]);
            put(&mut octets, &link.interface, INTERFACE);
        }
        let length = (octets.len() - 2) as u16;
        octets[..2].copy_from_slice(&length.to_be_bytes());
        octets
    }

    fn parse(reader: &mut ReportReader<'_>) -> Result<Self, Malformed> {
        let length = u16::from_be_bytes(reader.array()?);
        let mut own = ReportReader(reader.take(length.into())?);
        let family = match own.octet()? {
            4 => Family::V4,
            6 => Family::V6,
            _ => return Err(Malformed::Format),
        };
        let vrid = own.octet()?;
        let state = *STATES.get(usize::from(own.octet()?)).ok_or(Malformed::Format)?;
        let [priority, base_priority, flags] = own.array()?;
        let address_conflicts = u32::from_be_bytes(own.array()?);
        let in_state_s = u32::from_be_bytes(own.array()?);
        let master = Ipv6Addr::from(own.array::<16>()?);
        let (faults, mismatches) = (own.text(WORDS)?, own.text(WORDS)?);
        let count = usize::from(own.octet()?);
        if vrid == 0 || count > MAX_LINKS {
            return Err(Malformed::Format);
        }
        Ok(Self {
            family,
            vrid,
            state,
            priority,
            base_priority,
            handed_over: flags & HANDED_OVER != 0,
            split_brain: flags & SPLIT_BRAIN != 0,
            unvouched: flags & UNVOUCHED != 0,
            one_way: flags & ONE_WAY != 0,
            address_conflicts,
            in_state_s,
            master: Some(master)
                .filter(|address| !address.is_unspecified())
                .map(|address| address.to_canonical()),
            faults,
            mismatches,
            links: (0..count).map(|_| ReportedLink::parse(&mut own)).collect::<Result<_, _>>()?,
        })
    }
}

impl ReportedLink {
    fn parse(reader: &mut ReportReader<'_>) -> Result<Self, Malformed> {
        let [heartbeat, state] = reader.array()?;
        let state = *LINK_STATES.get(usize::from(state)).ok_or(Malformed::Format)?;
        Ok(Self { interface: reader.text(INTERFACE)?, heartbeat: heartbeat != 0, state })
    }
}

/// An IPv4 address as IPv6 has it.
pub fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Writes a text of at most so many octets; a longer one is cut.
fn put(octets: &mut Vec<u8>, text: &str, most: usize) {
    let text = &text[..text.floor_char_boundary(most)];
    octets.push(text.len() as u8);
    octets.extend(text.as_bytes());
}

/// What is left of a datagram.
struct ReportReader<'d>(&'d [u8]);

impl<'d> ReportReader<'d> {
    fn take(&mut self, length: usize) -> Result<&'d [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Format)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Format)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn octet(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[octet]| octet)
    }

    /// A text of at most so many octets, with its control characters escaped.
    fn text(&mut self, most: usize) -> Result<String, Malformed> {
        let length = usize::from(self.octet()?);
        if length > most {
            return Err(Malformed::Format);
        }
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed::Format)?;
        Ok(printable(text))
    }
}

const _: () = assert!(
    RECORD + 2 * (1 + WORDS) + 1 + MAX_LINKS * (3 + INTERFACE) + HEADER + 3 * (1 + NAME) + SIGNATURE
        <= MAX_DATAGRAM
);

#[cfg(test)]
#[path = "tests/wire.rs"]
pub(super) mod tests;
