//! IPv6: Neighbor Discovery to `ndp`, adverts to `vrrp`, packets to our VIPs gated by ownership, everything else
//! untouched.

use vipd_common::{
    Family,
    abi::Count,
    wire::{
        ipv4::PROTOCOL_VRRP,
        ipv6::{
            DESTINATION_OPTIONS, Extension, FRAGMENT, FRAGMENT_LENGTH, HEADER, HOP_BY_HOP, Head, Header,
            ROUTING,
        },
        ndp::NEXT_HEADER_ICMPV6,
        udp::PROTOCOL_UDP,
    },
};

use crate::{
    address::Address,
    bfd,
    capture::FrameWatch,
    count::count,
    frame::{Link, MAX_NETWORK, read_behind, view},
    global,
    hook::{Context, Raw},
    ndp,
    ownership::{self, FoundVip},
    probe,
    verdict::{Ruling, Verdict},
    vrrp::{self, Envelope},
};

/// As many as RFC 8200 4.1 has in one packet, less those that hide what follows. The kernel goes on for as long as there are
/// more: what has more is dropped.
const MAX_EXTENSION_HEADERS: usize = 5;
/// Bits of the offset behind them: five of 2 KiB.
const OFFSET_MASK: usize = 0x3fff;
const _: () = assert!(MAX_NETWORK + HEADER + MAX_EXTENSION_HEADERS * 2048 <= OFFSET_MASK);

#[inline(always)]
pub fn handle(ctx: &Context, link: &Link, watch: &mut FrameWatch) -> Option<Ruling> {
    // Not the addresses yet: a packet that is cut off, and says that it has extension headers, is dropped below.
    let header = view::<Head>(ctx, link.network)?;
    if !header.is_well_formed() {
        return None;
    }
    let mut accept_always = false;
    match header.next_header() {
        NEXT_HEADER_ICMPV6 if ndp::is_about_neighbors(ctx, link) => {
            watch.begin(ctx);
            if let Some(ruling) = watch.hear(ndp::handle(ctx)) {
                return Some(ruling);
            }
            // RFC 9568 6.4.3: Neighbor Discovery is processed whatever Accept_Mode says.
            accept_always = true;
        }
        PROTOCOL_VRRP => {
            watch.begin(ctx);
            if let Some(ruling) = watch.hear(vrrp::handle(ctx)) {
                return Some(ruling);
            }
        }
        PROTOCOL_UDP if bfd::is_control(ctx, link.network + HEADER) => {
            if let Some(ruling) = bfd::handle(ctx) {
                return Some(ruling);
            }
        }
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => {
            watch.begin(ctx);
            if let Some(ruling) = watch.hear(Ruling::from_number(handle_extended(ctx.raw()))) {
                return Some(ruling);
            }
        }
        PROTOCOL_UDP if probe::is_on_port(ctx, link.network + HEADER) => {
            if let Some(ruling) = probe::handle(ctx) {
                return Some(ruling);
            }
        }
        _ => {}
    }
    // Looked at again: the calls above share the stack of 512 octets with this function, which has no room to keep an address.
    let header = view::<Header>(ctx, link.network)?;
    let vip = find_vip(link, header.destination_words())?;
    Some(ownership::gate(ctx, link, &vip, accept_always))
}

/// Looks a virtual IPv6 address up. A mapped address in an IPv6 packet is not the IPv4 VIP of the same key.
#[inline(always)]
pub fn find_vip(link: &Link, address: Address) -> Option<FoundVip> {
    if address.is_mapped_v4() { None } else { ownership::find(link, address) }
}

/// What the checks of an advert want of the header.
#[inline(always)]
pub fn envelope(ctx: &Context, ip: usize) -> Option<Envelope> {
    let header = view::<Header>(ctx, ip)?;
    Some(Envelope {
        family: Family::V6,
        hop_limit: header.hop_limit(),
        // The header has no checksum.
        intact: true,
        source: header.source_words(),
        destination: header.destination_words(),
        message: ip + HEADER,
        length: usize::from(header.payload_length()),
    })
}

/// The verdict on a packet with extension headers, by what is behind them: an advert, which is not read, or a message of Neighbor
/// Discovery about a VIP.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_extended(ctx: *mut Raw) -> u32 {
    global::enter(ctx, look_behind_extensions)
}

/// The verdict on headers that are not within reach: cut off, or beyond an XDP frame's first buffer. The kernel may read them. It ignores
/// Neighbor Discovery in fragments (RFC 6980).
#[inline(always)]
pub fn unread(fragment: bool) -> Option<Ruling> {
    if fragment {
        return None;
    }
    Some(Verdict::Drop.because(count(Count::ExcessExtensionHeaders)))
}

#[inline(always)]
fn look_behind_extensions(ctx: &Context, link: &Link) -> Option<Ruling> {
    let mut kind = view::<Head>(ctx, link.network)?.next_header();
    let mut offset = link.network + HEADER;
    let mut fragment = false;
    let mut later_fragment = false;
    if kind != FRAGMENT {
        ctx.linearize();
    }
    for _ in 0..MAX_EXTENSION_HEADERS {
        // What follows in a later fragment is no header.
        if later_fragment || !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            break;
        }
        let Some(extension) = read_behind::<Extension>(ctx, offset) else {
            return unread(fragment || kind == FRAGMENT);
        };
        if kind == FRAGMENT {
            fragment = true;
            later_fragment = extension.is_later_fragment();
            offset += FRAGMENT_LENGTH;
        } else {
            offset += extension.length();
        }
        offset &= OFFSET_MASK;
        kind = extension.next_header();
    }
    match kind {
        // Nobody sends such adverts; one that does should show.
        PROTOCOL_VRRP => Some(Ruling::undecided(count(if fragment {
            Count::AdvertFragments
        } else {
            Count::AdvertExtensionHeaders
        }))),
        // RFC 6980 has fragments ignored, and the kernel does.
        NEXT_HEADER_ICMPV6 if !fragment => ndp::judge_extended(ctx, link, offset),
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS if !later_fragment => {
            Some(Verdict::Drop.because(count(Count::ExcessExtensionHeaders)))
        }
        _ => None,
    }
}
