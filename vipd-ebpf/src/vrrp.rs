//! Adverts: validated, stamped, and only what changed told to the daemon. Takes the lease back when a rival has won.
//!
//! The order of checks is that of RFC 9568 7.1 with its errata. An advert that fails one changes nothing but a counter.
//! Adverts of virtual routers that are not ours pass untouched, since another VRRP daemon may live here.

use core::ptr;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use vipd_common::abi::{
    ADDRESS_DIGEST_MASK, Count, Event, Instance, InstanceCount, InstanceKey, address_digest, auth_type,
    event_kind, mapped,
};

use crate::{
    count::{count, count_instance},
    events,
    frame::{Link, read},
    ipv4::Header,
    log,
    maps::{INSTANCE_INDEX, INSTANCES},
    ownership,
};

const FAMILY_V4: u8 = 4;
const TTL: u8 = 255;
const TYPE_ADVERTISEMENT: u8 = 1;
const VRRP_HEADER: usize = 8;
/// RFC 2338 5.3.10: authentication data at the end of every v2 advert.
const AUTH_DATA: usize = 8;
const IPV4_ADDRESS: usize = 4;
/// Farthest that an address list can start: Ethernet, two VLAN tags, the longest IPv4 header, the VRRP header.
const MAX_LIST_OFFSET: u32 = 14 + 2 * 4 + 60 + VRRP_HEADER as u32;
const CHECKSUM_PSEUDO_HEADER: u8 = 0;
const CHECKSUM_MESSAGE_ONLY: u8 = 1;
const OWNER: u8 = 255;

/// An unchanged rival is reported again after this time: often enough to answer it, too rarely to be a flood.
const RIVAL_EVENT_NS: u64 = 10_000_000;

/// A valid advert.
struct Advert {
    priority: u8,
    interval_cs: u32,
    checksum: u8,
    address_digest: u64,
}

/// The VRRP header (RFC 9568 5.2, RFC 3768 5.3); the two octets at 4 depend on the version.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    version_type: u8,
    vrid: u8,
    priority: u8,
    count: u8,
    /// v3: reserved and Max Advertise Interval; v2: authentication type and Advertisement Interval.
    word: [u8; 2],
    checksum: [u8; 2],
}

#[inline(always)]
pub fn handle(ctx: &XdpContext, link: &Link, ip: &Header) -> Option<u32> {
    let vrid = if ip.total_length >= ip.length + 2 { read(ctx, ip.offset + ip.length + 1)? } else { 0 };
    let key =
        InstanceKey { ifindex: link.ifindex, vlan: link.vlan, family: FAMILY_V4, vrid, reserved: [0; 2] };
    // SAFETY: a value of the map, written by the daemon as a whole.
    let slot = INSTANCE_INDEX.get_ptr(&key).map(|slot| unsafe { *slot });
    let instance = match slot {
        Some(slot) => {
            let instance = INSTANCES.get_ptr_mut(slot);
            if instance.is_none() {
                count(Count::DanglingEntries);
            }
            instance
        }
        None => None,
    };
    // SAFETY: the daemon's half of the value; each field is read once, and a mixture of two states of the daemon can
    // only misjudge an advert that arrived while it was changing its mind.
    let verdict = check(ctx, ip, instance.map(|instance| unsafe { &*instance }));
    match (slot, instance, verdict) {
        (Some(slot), Some(_), Err(reason)) => {
            count_instance(slot, reason);
            Some(xdp_action::XDP_DROP)
        }
        (Some(slot), Some(instance), Ok(advert)) => {
            accept(ctx, slot, instance, ip, &advert);
            Some(xdp_action::XDP_PASS)
        }
        (_, _, verdict) => {
            count_foreign(verdict);
            None
        }
    }
}

/// Runs the checks in order. Without an instance, those that need none.
#[inline(always)]
fn check(ctx: &XdpContext, ip: &Header, ours: Option<&Instance>) -> Result<Advert, InstanceCount> {
    if let Some(ours) = ours {
        if ours.destination != mapped(ip.destination) {
            return Err(InstanceCount::DstNotGroup);
        }
    }
    if !header_checksum_ok(ctx, ip) {
        return Err(InstanceCount::IpChecksumErrors);
    }
    // RFC 9568 5.1.1.3: TTL must be 255, so that no router has forwarded it.
    if ip.ttl != TTL {
        return Err(InstanceCount::IpTtlErrors);
    }
    if ip.total_length < ip.length + VRRP_HEADER {
        return Err(InstanceCount::PacketLengthErrors);
    }
    let length = ip.total_length - ip.length;
    let offset = ip.offset + ip.length;
    let Some(message) = read::<Message>(ctx, offset) else { return Err(InstanceCount::PacketLengthErrors) };
    let version = message.version_type >> 4;
    let wrong_version = match ours {
        Some(ours) => version != ours.version,
        None => version != 2 && version != 3,
    };
    if wrong_version {
        return Err(InstanceCount::VersionErrors);
    }
    if message.version_type & 0x0f != TYPE_ADVERTISEMENT {
        return Err(InstanceCount::InvalidType);
    }
    if message.count == 0 {
        return Err(InstanceCount::AddrCountZero);
    }
    let trailer = if version == 2 { AUTH_DATA } else { 0 };
    let addresses = usize::from(message.count) * IPV4_ADDRESS;
    if length != VRRP_HEADER + addresses + trailer {
        return Err(InstanceCount::PacketLengthErrors);
    }
    // One look at the password, for the sum and for the comparison.
    let auth_data = match trailer {
        0 => 0,
        _ => read::<u64>(ctx, offset + VRRP_HEADER + addresses).ok_or(InstanceCount::PacketLengthErrors)?,
    };
    let list = AddressList(sum_addresses(ctx.ctx, (offset + VRRP_HEADER) as u32, u32::from(message.count)));
    let Some(header) = read::<u64>(ctx, offset).filter(|_| list.0 != AddressList::TRUNCATED) else {
        return Err(InstanceCount::PacketLengthErrors);
    };
    let sum = sum_word_pair(header) + list.sum() + sum_word_pair(auth_data);
    let checksum = if fold(sum) == 0xffff {
        CHECKSUM_MESSAGE_ONLY
    } else if version == 3 && fold(sum + pseudo_header(ip, length)) == 0xffff {
        CHECKSUM_PSEUDO_HEADER
    } else {
        return Err(InstanceCount::ChecksumErrors);
    };
    let interval_cs = if version == 3 {
        u32::from(u16::from_be_bytes(message.word) & 0x0fff)
    } else {
        u32::from(message.word[1]) * 100
    };
    if let Some(ours) = ours {
        // RFC 9568 erratum 8301: an interval of 0 would make every backup fire at once.
        if version == 3 && interval_cs == 0 {
            return Err(InstanceCount::IntervalZero);
        }
        if version == 2 {
            check_v2(ours, message.word[0], auth_data, interval_cs)?;
        }
        if ours.primary == mapped(ip.source) {
            return Err(InstanceCount::OwnSource);
        }
    }
    Ok(Advert { priority: message.priority, interval_cs, checksum, address_digest: list.digest() })
}

/// RFC 3768 7.1 (and RFC 2338 for the password): what version 2 checks besides.
#[inline(always)]
fn check_v2(ours: &Instance, auth: u8, auth_data: u64, interval_cs: u32) -> Result<(), InstanceCount> {
    if auth != auth_type::NONE && auth != auth_type::SIMPLE_TEXT && auth != auth_type::IP_AH {
        return Err(InstanceCount::InvalidAuthType);
    }
    if auth != ours.auth_type {
        return Err(InstanceCount::AuthTypeMismatch);
    }
    // Compared as one word: the time says nothing about where they differ.
    if auth == auth_type::SIMPLE_TEXT && auth_data != u64::from_ne_bytes(ours.auth_data) {
        return Err(InstanceCount::AuthFailures);
    }
    if ours.priority == OWNER {
        return Err(InstanceCount::LocalOwner);
    }
    if interval_cs != ours.interval_cs {
        return Err(InstanceCount::IntervalMismatch);
    }
    Ok(())
}

/// Takes note of a valid advert, revokes our lease if it has to be, and tells the daemon what is new.
#[inline(always)]
fn accept(ctx: &XdpContext, slot: u32, instance: *mut Instance, ip: &Header, advert: &Advert) {
    // SAFETY: the program's half of the value. Two CPUs may write it at once; the generation then differs from what one
    // of the events carries, and the daemon disregards a stamp whose generation it has not been told of.
    let record = unsafe { &mut *instance };
    let now = events::now();
    let source = mapped(ip.source);
    count_instance(slot, InstanceCount::AdvertsReceived);
    if advert.priority == 0 {
        count_instance(slot, InstanceCount::PriorityZeroReceived);
    }
    if record.version == 3 {
        count_instance(
            slot,
            if advert.checksum == CHECKSUM_MESSAGE_ONLY {
                InstanceCount::ChecksumMessageOnly
            } else {
                InstanceCount::ChecksumPseudoHeader
            },
        );
        if advert.interval_cs != record.interval_cs {
            count_instance(slot, InstanceCount::IntervalDiffers);
        }
    }
    let list_differs = advert.address_digest != record.address_list_digest;
    if list_differs {
        count_instance(slot, InstanceCount::AddressListDiffers);
    }

    let tenure = tenure(record, &source, advert.priority, now);
    let changed = record.resync != 0
        || advert.priority == 0
        || advert.priority != record.source_priority
        || advert.interval_cs != record.source_interval_cs
        || advert.checksum != record.source_checksum
        || source != record.source;
    let report = match tenure {
        Tenure::Lost => {
            count_instance(slot, InstanceCount::LeasesRevoked);
            log::revoked(ctx, slot, ip.source, advert.priority);
            true
        }
        Tenure::Kept => changed || now.saturating_sub(record.rival_event_ns) >= RIVAL_EVENT_NS,
        Tenure::None => changed,
    };
    if report {
        let event = Event {
            kind: if matches!(tenure, Tenure::Lost) { event_kind::REVOKED } else { event_kind::ADVERT },
            instance: slot,
            at_ns: now,
            generation: record.generation.wrapping_add(1),
            source,
            // SAFETY: a frame that holds an advert holds an Ethernet header.
            mac: read(ctx, 6).unwrap_or([0; 6]),
            priority: advert.priority,
            checksum: advert.checksum,
            interval_cs: advert.interval_cs,
            address_list_differs: u32::from(list_differs),
        };
        if !events::send(event) {
            // The daemon has not been told: leave the record as it was, so that the next advert is news again.
            count_instance(slot, InstanceCount::EventsLost);
            return;
        }
        record.generation = event.generation;
        record.resync = 0;
        record.rival_event_ns = now;
        record.source = source;
        record.source_priority = advert.priority;
        record.source_interval_cs = advert.interval_cs;
        record.source_checksum = advert.checksum;
    }
    record.heard_ns = now;
}

/// What an advert does to our ownership.
enum Tenure {
    /// We were not the owner.
    None,
    /// We are, and stay it.
    Kept,
    /// We were.
    Lost,
}

/// Decides whether `source` takes the VIPs from us, and if so takes the lease back here and now.
///
/// It does if it beats us (RFC 9568 6.4.3), or if our last renewal is so old that we must be dead or frozen: then
/// whoever speaks has taken over. A router that is leaving (priority 0) takes nothing.
#[inline(always)]
fn tenure(ours: &Instance, source: &[u8; 16], priority: u8, now: u64) -> Tenure {
    let Some(word) = ownership::lease(ours.head.group) else { return Tenure::None };
    // SAFETY: an aligned 8-byte word of the map; the daemon stores to it with atomic operations.
    let until = unsafe { ptr::read_volatile(word) };
    if now >= until {
        return Tenure::None;
    }
    if priority == 0 {
        return Tenure::Kept;
    }
    let beats = priority > ours.priority || priority == ours.priority && greater(source, &ours.primary);
    // The last renewal was at `until - lease_ns`.
    let stale = now.wrapping_add(ours.lease_ns) > until.wrapping_add(ours.stale_after_ns);
    if !beats && !stale {
        return Tenure::Kept;
    }
    // SAFETY: as above. A renewal that comes between is a compare-exchange against the old value: it fails, or it is
    // overwritten here and the next one fails.
    unsafe { ptr::write_volatile(word, 0) };
    Tenure::Lost
}

/// Compares addresses as unsigned numbers in network order.
#[inline(always)]
fn greater(a: &[u8; 16], b: &[u8; 16]) -> bool {
    let high = |x: &[u8; 16]| u64::from_be_bytes([x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]]);
    let low = |x: &[u8; 16]| u64::from_be_bytes([x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]]);
    high(a) > high(b) || high(a) == high(b) && low(a) > low(b)
}

/// Sums the two 32-bit words of a native-endian load of eight octets.
#[inline(always)]
fn sum_word_pair(words: u64) -> u64 {
    (words & 0xffff_ffff) + (words >> 32)
}

/// Sum and digest of an advert's address list, in one word: see [`sum_addresses`].
struct AddressList(u64);

impl AddressList {
    const TRUNCATED: u64 = 1 << 63;
    const DIGEST_SHIFT: u32 = 16;

    /// Folded to 16 bits.
    #[inline(always)]
    fn sum(&self) -> u64 {
        self.0 & 0xffff
    }

    #[inline(always)]
    fn digest(&self) -> u64 {
        (self.0 & !Self::TRUNCATED) >> Self::DIGEST_SHIFT
    }
}

/// Sums `count` IPv4 addresses at `offset` (RFC 1071: byte order and word size do not matter before folding), and digests
/// them.
///
/// A function of its own, with a signature that lets the verifier check it once and not along every path that leads here:
/// the loop would multiply them beyond its limit. Hence the one result for both.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum_addresses(ctx: *mut xdp_md, offset: u32, count: u32) -> u64 {
    // What callers know and the verifier does not.
    if offset > MAX_LIST_OFFSET {
        return AddressList::TRUNCATED;
    }
    let ctx = XdpContext::new(ctx);
    let mut sum = 0u64;
    let mut digest = 0u64;
    for i in 0..255 {
        if i >= count {
            break;
        }
        let Some(word) = read::<u32>(&ctx, (offset + i * 4) as usize) else { return AddressList::TRUNCATED };
        sum += u64::from(word);
        digest = digest.wrapping_add(address_digest(word));
    }
    (digest & ADDRESS_DIGEST_MASK) << AddressList::DIGEST_SHIFT | fold(sum)
}

/// The sum of the IPv4 pseudo-header: source, destination, protocol and message length.
#[inline(always)]
fn pseudo_header(ip: &Header, length: usize) -> u64 {
    u64::from(u32::from_ne_bytes(ip.source))
        + u64::from(u32::from_ne_bytes(ip.destination))
        + u64::from(112u16.to_be())
        + u64::from((length as u16).to_be())
}

/// The stack would check it; a program in front of the stack has to.
#[inline(always)]
fn header_checksum_ok(ctx: &XdpContext, ip: &Header) -> bool {
    const MAX_HEADER_WORDS: usize = 15;
    let mut sum = 0u64;
    for i in 0..MAX_HEADER_WORDS {
        if i * 4 >= ip.length {
            break;
        }
        let Some(word) = read::<u32>(ctx, ip.offset + i * 4) else { return false };
        sum += u64::from(word);
    }
    fold(sum) == 0xffff
}

/// Folds a sum of 32-bit words to 16 bits with end-around carry.
#[inline(always)]
fn fold(mut sum: u64) -> u64 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// Counts an advert of a virtual router that is not ours.
#[inline(always)]
fn count_foreign(verdict: Result<Advert, InstanceCount>) {
    count(match verdict {
        Err(InstanceCount::IpTtlErrors) => Count::ForeignIpTtlErrors,
        Err(InstanceCount::PacketLengthErrors) => Count::ForeignPacketLengthErrors,
        Err(InstanceCount::VersionErrors) => Count::ForeignVersionErrors,
        Err(InstanceCount::InvalidType) => Count::ForeignInvalidType,
        Err(InstanceCount::AddrCountZero) => Count::ForeignAddrCountZero,
        Err(_) => Count::ForeignChecksumErrors,
        Ok(_) => Count::VridErrors,
    });
}
