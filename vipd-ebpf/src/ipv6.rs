//! IPv6: Neighbor Discovery to `ndp`, adverts to `vrrp`, packets to our VIPs gated by ownership, everything else
//! untouched.

use vipd_common::abi::Count;

use crate::{
    Verdict,
    address::Address,
    count::count,
    frame::{Link, be16, read},
    hook::Context,
    instance::FAMILY_V6,
    ndp,
    ownership::{self, Vip},
    vrrp::{self, Envelope},
};

/// Octets of the fixed header.
pub const HEADER: usize = 40;
/// Offsets of its fields (RFC 8200 3).
pub const PAYLOAD_LENGTH: usize = 4;
const NEXT_HEADER: usize = 6;
pub const HOP_LIMIT: usize = 7;
pub const SOURCE: usize = 8;
pub const DESTINATION: usize = 24;

/// Extension headers (RFC 8200 4): the next header and the length lead each.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// In the Fragment header's third and fourth octet.
const FRAGMENT_OFFSET: u16 = 0xfff8;
/// As many as RFC 8200 4.1 has in one packet, less those that hide what follows.
const MAX_EXTENSION_HEADERS: usize = 5;

#[inline(always)]
pub fn handle(ctx: &Context, link: &Link) -> Option<Verdict> {
    let ip = link.network;
    if read::<u8>(ctx, ip)? >> 4 != 6 {
        return None;
    }
    let mut accept_always = false;
    match read::<u8>(ctx, ip + NEXT_HEADER)? {
        ndp::ICMPV6 if ndp::is_about_neighbors(ctx, link) => {
            if let Some(verdict) = ndp::handle(ctx) {
                return Some(verdict);
            }
            // RFC 9568 6.4.3: Neighbor Discovery is processed whatever Accept_Mode says.
            accept_always = true;
        }
        vrrp::PROTOCOL => {
            if let Some(verdict) = vrrp::handle(ctx) {
                return Some(verdict);
            }
        }
        extension @ (HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) => {
            note_hidden_advert(ctx, ip + HEADER, extension);
        }
        _ => {}
    }
    let vip = find_vip(link, read(ctx, ip + DESTINATION)?)?;
    Some(ownership::gate(ctx, link, &vip, accept_always))
}

/// Looks a virtual IPv6 address up. A mapped address in an IPv6 packet is not the IPv4 VIP of the same key.
#[inline(always)]
pub fn find_vip(link: &Link, address: Address) -> Option<Vip> {
    if address.is_mapped_v4() { None } else { ownership::find(link, address) }
}

/// What the checks of an advert want of the header.
#[inline(always)]
pub fn envelope(ctx: &Context, ip: usize) -> Option<Envelope> {
    Some(Envelope {
        family: FAMILY_V6,
        hop_limit: read(ctx, ip + HOP_LIMIT)?,
        // The header has no checksum.
        intact: true,
        source: read(ctx, ip + SOURCE)?,
        destination: read(ctx, ip + DESTINATION)?,
        message: ip + HEADER,
        length: usize::from(be16(ctx, ip + PAYLOAD_LENGTH)?),
    })
}

/// Counts an advert behind extension headers, which is not read. Nobody sends such adverts; one that does should show.
#[inline(always)]
fn note_hidden_advert(ctx: &Context, mut offset: usize, mut kind: u8) -> Option<()> {
    let mut fragment = false;
    let mut later_fragment = false;
    for _ in 0..MAX_EXTENSION_HEADERS {
        let [next, length]: [u8; 2] = read(ctx, offset)?;
        match kind {
            FRAGMENT => {
                fragment = true;
                later_fragment = be16(ctx, offset + 2)? & FRAGMENT_OFFSET != 0;
                offset += 8;
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => offset += 8 + usize::from(length) * 8,
            _ => break,
        }
        kind = next;
        if kind == vrrp::PROTOCOL {
            count(if fragment { Count::AdvertFragments } else { Count::AdvertExtensionHeaders });
            break;
        }
        if later_fragment {
            // What follows is no header.
            break;
        }
    }
    Some(())
}
