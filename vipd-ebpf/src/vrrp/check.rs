//! Whether an advert is valid.
//!
//! The order of checks is that of RFC 9568 7.1 with its errata. An advert that fails one changes nothing but a counter.

use vipd_common::{
    Family, Priority,
    abi::{InstanceCount, InstanceRecord, PeerKey, instance_flag},
    types::ChecksumForm,
    wire::{
        checksum,
        ipv4::PROTOCOL_VRRP,
        vrrp::{self, HEADER, Header, auth_type},
    },
};

use super::{Envelope, ValidAdvert, list::AddressList};
use crate::{address::Address, frame::read, hook::Context, maps::PEERS};

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
    let newest_only = envelope.family == Family::V6;
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
        advert.to_deaf_owner = Priority::new(ours.priority).is_owner();
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
    if length < HEADER {
        return Err(InstanceCount::PacketLengthErrors);
    }
    // A copy: by a view of it the verifier walks a quarter more.
    let Some(header) = read::<Header>(ctx, offset) else { return Err(InstanceCount::PacketLengthErrors) };
    let version = header.version();
    if !version_ok(version) {
        return Err(InstanceCount::VersionErrors);
    }
    if !header.is_advertisement() {
        return Err(InstanceCount::InvalidType);
    }
    if header.count() == 0 {
        return Err(InstanceCount::AddrCountZero);
    }
    if length != vrrp::length(version, family, header.count()) {
        return Err(InstanceCount::PacketLengthErrors);
    }
    let list = offset + HEADER;
    let addresses = usize::from(header.count()) * vrrp::address_length(family);
    // One look at the password, for the sum and for the comparison.
    let auth_data = match version {
        2 => read::<u64>(ctx, list + addresses).ok_or(InstanceCount::PacketLengthErrors)?,
        _ => 0,
    };
    let (Some(first), Some(digested)) =
        (read::<[u8; 2]>(ctx, list), AddressList::read(ctx, family, list, header.count()))
    else {
        return Err(InstanceCount::PacketLengthErrors);
    };
    let sum = checksum::word_pair(header.words()) + digested.sum() + checksum::word_pair(auth_data);
    let pseudo_header =
        checksum::pseudo_header(envelope.source, envelope.destination, PROTOCOL_VRRP, length as u16);
    // RFC 9568 5.2.8: over IPv6 the pseudo-header belongs to it. DEVIATION 5.2.8: over IPv4 as well if the sender says so,
    // as those who read RFC 5798 so do.
    let checksum = if family == Family::V4 && checksum::fold(sum) == 0xffff {
        ChecksumForm::MessageOnly
    } else if version == 3 && checksum::fold(sum + pseudo_header) == 0xffff {
        ChecksumForm::PseudoHeader
    } else {
        return Err(InstanceCount::ChecksumErrors);
    };
    let advert = ValidAdvert {
        priority: header.priority(),
        interval_cs: header.interval_cs(),
        checksum,
        address_digest: digested.digest(),
        first_not_link_local: family == Family::V6 && u16::from_be_bytes(first) & 0xffc0 != 0xfe80,
        to_deaf_owner: false,
    };
    Ok(Parsed { advert, version, auth: header.auth_type(), auth_data })
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
