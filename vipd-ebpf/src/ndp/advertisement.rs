//! A solicitation turned into its advertisement, in place.

use vipd_common::abi::Count;

use super::{ADVERTISEMENT, HOP_LIMIT, ICMPV6, TARGET, TARGET_LINK_ADDRESS};
use crate::{
    Verdict,
    address::Address,
    checksum,
    count::count,
    frame::{Link, at, read, write},
    global,
    hook::{Context, Raw},
    ipv6,
};

/// Flags of an advertisement: Router, Solicited, Override (RFC 4861 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// An IPv6 packet with a Neighbor Advertisement and its Target Link-Layer Address option.
#[repr(C)]
struct Advertisement {
    version_class_flow: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
    kind: u8,
    code: u8,
    checksum: [u8; 2],
    flags: u8,
    reserved: [u8; 3],
    target: [u8; 16],
    option: [u8; 8],
}

const PAYLOAD: u16 = (size_of::<Advertisement>() - ipv6::HEADER) as u16;
const _: () = assert!(PAYLOAD == 32);

/// Answers that the target is at `mac`; to `asker`, unless it has no address yet. The VLAN tags stay.
#[inline(always)]
pub fn send(ctx: &Context, mac: [u8; 6], asker: [u8; 6]) -> Option<Verdict> {
    let word = |[a, b, c, d, e, f]: [u8; 6]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    global::verdict(advertise_neighbor(ctx.raw(), word(mac), word(asker)))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn advertise_neighbor(ctx: *mut Raw, mac: u64, asker: u64) -> u32 {
    let octets = |word: u64| {
        let [a, b, c, d, e, f, ..] = word.to_le_bytes();
        [a, b, c, d, e, f]
    };
    global::enter(ctx, |ctx, link| build(ctx, link, octets(mac), octets(asker)))
}

#[inline(always)]
fn build(ctx: &Context, link: &Link, mac: [u8; 6], asker: [u8; 6]) -> Option<Verdict> {
    let ip = link.network;
    let source: Address = read(ctx, ip + ipv6::SOURCE)?;
    let target: Address = read(ctx, ip + ipv6::HEADER + TARGET)?;
    // RFC 4861 7.2.4: an answer to the unspecified address goes to all nodes, and is not solicited.
    let (to_mac, to, flags) = if source == Address::UNSPECIFIED {
        (ALL_NODES_MAC, Address::ALL_NODES, ROUTER | OVERRIDE)
    } else {
        (asker, source, ROUTER | SOLICITED | OVERRIDE)
    };
    // The solicitation may be shorter, without an option, or longer, with several.
    ctx.resize(ip + size_of::<Advertisement>())?;
    write(ctx, 0, to_mac)?;
    write(ctx, 6, mac)?;
    let [a, b, c, d, e, f] = mac;
    let option = [TARGET_LINK_ADDRESS, 1, a, b, c, d, e, f];
    let sum = checksum::pseudo_header(target, to, ICMPV6, PAYLOAD)
        + checksum::word_pair(u64::from_ne_bytes([ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]))
        + checksum::address(target)
        + checksum::word_pair(u64::from_ne_bytes(option));
    // SAFETY: `at` has checked that all of it lies inside the frame, and it is made of octets, so it is aligned.
    let packet = unsafe { &mut *at::<Advertisement>(ctx, ip)? };
    *packet = Advertisement {
        version_class_flow: [0x60, 0, 0, 0],
        payload_length: PAYLOAD.to_be_bytes(),
        next_header: ICMPV6,
        hop_limit: HOP_LIMIT,
        source: target.octets(),
        destination: to.octets(),
        kind: ADVERTISEMENT,
        code: 0,
        checksum: (!(checksum::fold(sum) as u16)).to_ne_bytes(),
        flags,
        reserved: [0; 3],
        target: target.octets(),
        option,
    };
    count(Count::NdReplies);
    Some(Verdict::Tx)
}
