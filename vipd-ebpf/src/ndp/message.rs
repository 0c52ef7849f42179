//! Whether a Neighbor Solicitation or Advertisement is valid (RFC 4861 7.1.1, 7.1.2), and the link-layer address it has.

use vipd_common::wire::{
    checksum,
    eth::MacAddr,
    ipv6,
    ndp::{self, HOP_LIMIT, Header, Kind, LinkAddress, LinkAddressOf, NEXT_HEADER_ICMPV6},
};

use crate::{
    address::Address,
    frame::{self, Link, read, view},
    hook::{Context, Raw},
};

const UNIT: u32 = ndp::UNIT as u32;
/// Before the options.
const FIXED_UNITS: u32 = ndp::HEADER as u32 / UNIT;
/// 2 KiB, more than an Ethernet frame holds. A longer message counts as invalid.
const MAX_UNITS: u32 = 256;
const _: () = assert!(MAX_UNITS.is_power_of_two());
/// SEcure Neighbor Discovery (RFC 3971) comes to five. A message with more counts as invalid.
const MAX_OPTIONS: u32 = 16;
/// Bits of the offset of a message, which starts at 62 at the farthest.
const OFFSET_MASK: u32 = 63;
const _: () = assert!(frame::MAX_NETWORK + ipv6::HEADER <= OFFSET_MASK as usize);

/// `None` if the message is invalid, else its option with a link-layer address, if it has one.
///
/// The target is not looked at: it is a VIP, hence no multicast address.
#[inline(always)]
pub fn check(ctx: &Context) -> Option<Option<MacAddr>> {
    let found = check_neighbor_message(ctx.raw());
    if found & INVALID != 0 {
        return None;
    }
    let [a, b, c, d, e, f, ..] = found.to_le_bytes();
    Some((found & FOUND != 0).then_some(MacAddr([a, b, c, d, e, f])))
}

/// What [`check_neighbor_message`] returns: one of these, the latter with the link-layer address below it, or 0.
const INVALID: u64 = 1 << 63;
const FOUND: u64 = 1 << 62;

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn check_neighbor_message(ctx: *mut Raw) -> u64 {
    let ctx = &Context::new(ctx);
    Link::parse(ctx).and_then(|link| read_checked(ctx, &link)).unwrap_or(INVALID)
}

#[inline(always)]
fn read_checked(ctx: &Context, link: &Link) -> Option<u64> {
    let ip = view::<ipv6::Header>(ctx, link.network)?;
    let message = link.network + ipv6::HEADER;
    let header = view::<Header>(ctx, message)?;
    let length = ip.payload_length();
    let units = u32::from(length) / UNIT;
    if ip.hop_limit() != HOP_LIMIT
        || header.code() != 0
        || !u32::from(length).is_multiple_of(UNIT)
        || !(FIXED_UNITS..=MAX_UNITS).contains(&units)
    {
        return None;
    }
    let (source, destination) = (ip.source_words(), ip.destination_words());
    // RFC 4291 2.7: a source is never multicast.
    if source.is_multicast() {
        return None;
    }
    let sum = sum_units(ctx.raw(), message as u32, units);
    if sum == TRUNCATED
        || checksum::fold(sum + checksum::pseudo_header(source, destination, NEXT_HEADER_ICMPV6, length))
            != 0xffff
    {
        return None;
    }
    if header.kind()? == Kind::Solicitation {
        let link_address = link_address(ctx, message, units, LinkAddressOf::Source)?;
        // A station without an address solicits the target's solicited-node group, and gives no address to send the advertisement to.
        let stray = source == Address::UNSPECIFIED && (link_address != 0 || !destination.is_solicited_node());
        (!stray).then_some(link_address)
    } else {
        let link_address = link_address(ctx, message, units, LinkAddressOf::Target)?;
        let stray = destination.is_multicast() && header.is_solicited();
        (!stray).then_some(link_address)
    }
}

/// Walks the options; `None` if one is invalid, 0 if none is `wanted`.
#[inline(always)]
fn link_address(ctx: &Context, message: usize, units: u32, wanted: LinkAddressOf) -> Option<u64> {
    let mut found = 0;
    let mut next = FIXED_UNITS;
    for _ in 0..MAX_OPTIONS {
        if next >= units {
            break;
        }
        // A copy: by a view of it the verifier walks thrice as far, since every option then has a pointer of its own.
        let option = read::<LinkAddress>(ctx, message + ((next & (MAX_UNITS - 1)) * UNIT) as usize)?;
        // RFC 4861 4.6: a length of 0 is invalid; 4.6.1: an Ethernet address takes one unit.
        if option.units() == 0 || option.is(wanted) && option.units() != 1 {
            return None;
        }
        // Of several, the first counts.
        if option.is(wanted) && found == 0 {
            let MacAddr([a, b, c, d, e, f]) = option.mac();
            found = FOUND | u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        }
        next += u32::from(option.units());
    }
    // The last one ends where the message does.
    (next == units).then_some(found)
}

const TRUNCATED: u64 = u64::MAX;

/// Sums `units` units at `offset`; [`TRUNCATED`] if the frame ends before their end.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sum_units(ctx: *mut Raw, offset: u32, units: u32) -> u64 {
    // What callers know and the verifier does not. A mask, see `frame`.
    let offset = offset & OFFSET_MASK;
    let ctx = Context::new(ctx);
    let mut sum = 0u64;
    for i in 0..MAX_UNITS {
        if i >= units {
            break;
        }
        let Some(unit) = read::<u64>(&ctx, (offset + i * UNIT) as usize) else { return TRUNCATED };
        sum += checksum::word_pair(unit);
    }
    sum
}
