//! Whether an advert is valid.
//!
//! The order of checks is that of RFC 9568 7.1 with its errata. An advert that fails one changes nothing but a counter.

use vipd_common::abi::{InstanceCount, InstanceRecord, PeerKey, auth_type, instance_flag};

use super::{
    CHECKSUM_MESSAGE_ONLY, CHECKSUM_PSEUDO_HEADER, Envelope, PROTOCOL, ValidAdvert,
    list::{AddressList, address_size},
};
use crate::{
    address::Address,
    checksum,
    frame::{be16, read},
    hook::Context,
    instance::{FAMILY_V4, FAMILY_V6},
    maps::PEERS,
};

pub const VRRP_HEADER: usize = 8;
/// RFC 2338 5.3.10: authentication data at the end of every v2 advert.
const AUTH_DATA: usize = 8;
const TYPE_ADVERTISEMENT: u8 = 1;
const OWNER: u8 = 255;

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

/// How an advert may arrive.
struct Terms {
    min_hop_limit: u8,
    max_hop_limit: u8,
    /// Whether the sender may speak to us at all.
    known: bool,
}

impl Terms {
    /// RFC 9568 5.1.1.3 and 5.1.2.3: 255, so that no router has forwarded it.
    const MULTICAST: Self = Self { min_hop_limit: 255, max_hop_limit: 255, known: true };

    /// What an instance wants of an advert from `source`.
    #[inline(always)]
    fn of(slot: u32, ours: &InstanceRecord, source: Address) -> Self {
        if ours.flags & instance_flag::UNICAST == 0 {
            return Self::MULTICAST;
        }
        // SAFETY: a value of the map, written by the daemon as a whole.
        match PEERS
            .get_ptr(&PeerKey { instance: slot, address: source.octets() })
            .map(|peer| unsafe { *peer })
        {
            Some(peer) => Self { min_hop_limit: peer.min_ttl, max_hop_limit: peer.max_ttl, known: true },
            // Unicast is in no RFC; as keepalived, whose check of the source is optional and comes last.
            None => Self {
                min_hop_limit: 0,
                max_hop_limit: u8::MAX,
                known: ours.flags & instance_flag::CHECK_SOURCE == 0,
            },
        }
    }
}

/// An advert with what the later checks want of it.
struct Parsed {
    advert: ValidAdvert,
    version: u8,
    /// v2: authentication type and data.
    auth: u8,
    auth_data: u64,
}

/// Runs the checks that need no virtual router of ours.
#[inline(always)]
pub fn foreign(ctx: &Context, envelope: &Envelope) -> Result<ValidAdvert, InstanceCount> {
    let newest_only = envelope.family == FAMILY_V6;
    let version_ok = |version| version == 3 || version == 2 && !newest_only;
    Ok(parse(ctx, envelope, &Terms::MULTICAST, version_ok)?.advert)
}

/// Runs all checks.
#[inline(always)]
pub fn ours(
    ctx: &Context,
    envelope: &Envelope,
    slot: u32,
    ours: &InstanceRecord,
) -> Result<ValidAdvert, InstanceCount> {
    let primary = Address::from_octets(ours.primary);
    let group = Address::from_octets(ours.destination);
    let unicast = ours.flags & instance_flag::UNICAST != 0;
    if envelope.destination != if unicast { primary } else { group } {
        return Err(InstanceCount::DstNotGroup);
    }
    let terms = Terms::of(slot, ours, envelope.source);
    let Parsed { mut advert, version, auth, auth_data } =
        parse(ctx, envelope, &terms, |version| version == ours.version)?;
    // RFC 9568 erratum 8301: an interval of 0 would make every backup fire at once.
    if version == 3 && advert.interval_cs == 0 {
        return Err(InstanceCount::IntervalZero);
    }
    if version == 2 {
        check_v2_auth(ours, auth, auth_data)?;
        // RFC 3768 7.1: an address owner discards it, whatever else is wrong with it.
        advert.to_deaf_owner = ours.priority == OWNER;
        if !advert.to_deaf_owner && advert.interval_cs != ours.interval_cs {
            return Err(InstanceCount::IntervalMismatch);
        }
    }
    if primary == envelope.source {
        return Err(InstanceCount::OwnSource);
    }
    if !terms.known {
        return Err(InstanceCount::UnknownPeer);
    }
    Ok(advert)
}

/// From the IP header to the checksum.
#[inline(always)]
fn parse(
    ctx: &Context,
    envelope: &Envelope,
    terms: &Terms,
    version_ok: impl Fn(u8) -> bool,
) -> Result<Parsed, InstanceCount> {
    let Envelope { family, message: offset, length, .. } = *envelope;
    if !envelope.intact {
        return Err(InstanceCount::IpChecksumErrors);
    }
    if envelope.hop_limit < terms.min_hop_limit || envelope.hop_limit > terms.max_hop_limit {
        return Err(InstanceCount::IpTtlErrors);
    }
    if length < VRRP_HEADER {
        return Err(InstanceCount::PacketLengthErrors);
    }
    let Some(message) = read::<Message>(ctx, offset) else { return Err(InstanceCount::PacketLengthErrors) };
    let version = message.version_type >> 4;
    if !version_ok(version) {
        return Err(InstanceCount::VersionErrors);
    }
    if message.version_type & 0x0f != TYPE_ADVERTISEMENT {
        return Err(InstanceCount::InvalidType);
    }
    if message.count == 0 {
        return Err(InstanceCount::AddrCountZero);
    }
    let list = offset + VRRP_HEADER;
    let addresses = usize::from(message.count) * address_size(family);
    let trailer = if version == 2 { AUTH_DATA } else { 0 };
    if length != VRRP_HEADER + addresses + trailer {
        return Err(InstanceCount::PacketLengthErrors);
    }
    // One look at the password, for the sum and for the comparison.
    let auth_data = match trailer {
        0 => 0,
        _ => read::<u64>(ctx, list + addresses).ok_or(InstanceCount::PacketLengthErrors)?,
    };
    let (Some(header), Some(first), Some(digested)) =
        (read::<u64>(ctx, offset), be16(ctx, list), AddressList::read(ctx, family, list, message.count))
    else {
        return Err(InstanceCount::PacketLengthErrors);
    };
    let sum = checksum::word_pair(header) + digested.sum() + checksum::word_pair(auth_data);
    let pseudo_header =
        checksum::pseudo_header(envelope.source, envelope.destination, PROTOCOL, length as u16);
    // RFC 9568 5.2.8: over IPv6 the pseudo-header belongs to it. DEVIATION 5.2.8: over IPv4 as well if the sender says so,
    // as those who read RFC 5798 so do.
    let checksum = if family == FAMILY_V4 && checksum::fold(sum) == 0xffff {
        CHECKSUM_MESSAGE_ONLY
    } else if version == 3 && checksum::fold(sum + pseudo_header) == 0xffff {
        CHECKSUM_PSEUDO_HEADER
    } else {
        return Err(InstanceCount::ChecksumErrors);
    };
    // RFC 9568 5.2.6: the reserved bits are ignored.
    let interval_cs = if version == 3 {
        u32::from(u16::from_be_bytes(message.word) & 0x0fff)
    } else {
        u32::from(message.word[1]) * 100
    };
    let advert = ValidAdvert {
        priority: message.priority,
        interval_cs,
        checksum,
        address_digest: digested.digest(),
        first_not_link_local: family == FAMILY_V6 && first & 0xffc0 != 0xfe80,
        to_deaf_owner: false,
    };
    Ok(Parsed { advert, version, auth: message.word[0], auth_data })
}

/// RFC 3768 7.1 and RFC 2338: the password.
#[inline(always)]
fn check_v2_auth(ours: &InstanceRecord, auth: u8, auth_data: u64) -> Result<(), InstanceCount> {
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
    Ok(())
}
