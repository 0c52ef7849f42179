//! IPv4: adverts to `vrrp`, packets to our VIPs gated by ownership, everything else untouched.

use vipd_common::{
    Family,
    abi::Count,
    wire::{
        checksum,
        ipv4::{HEADER, Header, MAX_HEADER, PROTOCOL_VRRP},
        udp::PROTOCOL_UDP,
    },
};

use crate::{
    address::Address,
    bfd,
    capture::FrameWatch,
    count::count,
    frame::{Link, read, view},
    hook::Context,
    ownership, probe,
    verdict::Ruling,
    vrrp::{self, Envelope},
};

#[inline(always)]
pub fn handle(ctx: &Context, link: &Link, watch: &mut FrameWatch) -> Option<Ruling> {
    let header = view::<Header>(ctx, link.network)?;
    if !header.is_well_formed() {
        return None;
    }
    // Before the VIPs: the primary address of an address owner, to which its unicast peers send, is one of them.
    if header.protocol() == PROTOCOL_VRRP {
        watch.begin(ctx);
        let ruling = if header.is_fragment() {
            Ruling::undecided(count(Count::AdvertFragments))
        } else {
            vrrp::handle(ctx)
        };
        if let Some(ruling) = watch.hear(ruling) {
            return Some(ruling);
        }
    }
    // Nobody sends BFD with options: such packets are the kernel's.
    if header.protocol() == PROTOCOL_UDP
        && header.length() == HEADER
        && !header.is_fragment()
        && bfd::is_control(ctx, link.network + HEADER)
        && let Some(ruling) = bfd::handle(ctx)
    {
        return Some(ruling);
    }
    if header.protocol() == PROTOCOL_UDP
        && probe::is_on_port(ctx, link.network + HEADER)
        && let Some(ruling) = probe::handle(ctx)
    {
        return Some(ruling);
    }
    // Looked at again, as in `ipv6`.
    let header = view::<Header>(ctx, link.network)?;
    let vip = ownership::find(link, Address::from_v4(header.destination().octets()))?;
    Some(ownership::gate(ctx, link, &vip, false))
}

/// What the checks of an advert want of the header.
#[inline(always)]
pub fn envelope(ctx: &Context, ip: usize) -> Option<Envelope> {
    let header = view::<Header>(ctx, ip)?;
    Some(Envelope {
        family: Family::V4,
        hop_limit: header.ttl(),
        intact: checksum_ok(ctx, ip, header.length()),
        source: Address::from_v4(header.source().octets()),
        destination: Address::from_v4(header.destination().octets()),
        message: ip + header.length(),
        length: usize::from(header.total_length()).saturating_sub(header.length()),
    })
}

/// The stack would check it; a program in front of the stack has to.
#[inline(always)]
pub fn checksum_ok(ctx: &Context, ip: usize, length: usize) -> bool {
    let mut sum = 0u64;
    for i in 0..MAX_HEADER / 4 {
        if i * 4 >= length {
            break;
        }
        let Some(word) = read::<u32>(ctx, ip + i * 4) else { return false };
        sum += u64::from(word);
    }
    checksum::fold(sum) == 0xffff
}
