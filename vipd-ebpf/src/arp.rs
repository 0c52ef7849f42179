//! ARP for our VIPs: requests are replied to if the VIP is owned and dropped if not; other stations' claims are noticed.

use vipd_common::abi::{Count, VipEntry};

use crate::{
    Verdict,
    address::Address,
    claim,
    count::{count, count_reply},
    frame::{Link, be16, read, write},
    global,
    hook::{Context, Raw},
    ownership,
};

/// Hardware types of Ethernet (RFC 1042 has its own, and the kernel takes either on an Ethernet device).
const HTYPE_ETHERNET: u16 = 1;
const HTYPE_IEEE802: u16 = 6;
const PTYPE_IPV4: u16 = 0x0800;
/// Hardware and protocol address lengths of Ethernet and IPv4, as one 16-bit number.
const LENGTHS: u16 = 0x0604;
const OP_REQUEST: u16 = 1;
const OP_REPLY: u16 = 2;

/// Offsets of RFC 826's fields for Ethernet and IPv4.
const OPERATION: usize = 6;
const SENDER_MAC: usize = 8;
const SENDER_IP: usize = 14;
const TARGET_MAC: usize = 18;
const TARGET_IP: usize = 24;

#[inline(always)]
pub fn handle(ctx: &Context) -> Option<Verdict> {
    global::verdict(handle_arp(ctx.raw()))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_arp(ctx: *mut Raw) -> u32 {
    global::enter(ctx, decide)
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Verdict> {
    let arp = link.network;
    if !matches!(be16(ctx, arp)?, HTYPE_ETHERNET | HTYPE_IEEE802)
        || be16(ctx, arp + 2)? != PTYPE_IPV4
        || be16(ctx, arp + 4)? != LENGTHS
    {
        return None;
    }
    let operation = be16(ctx, arp + OPERATION)?;
    let sender_ip: [u8; 4] = read(ctx, arp + SENDER_IP)?;
    let sender_mac: [u8; 6] = read(ctx, arp + SENDER_MAC)?;
    if operation == OP_REQUEST {
        let target_ip: [u8; 4] = read(ctx, arp + TARGET_IP)?;
        if let Some(vip) = ownership::find(link, Address::from_v4(target_ip)) {
            if sender_ip == target_ip {
                // The kernel takes the request form for a request for an address it holds: it never sees it.
                return claim::handle(&vip, Address::from_v4(target_ip), sender_mac, Verdict::Drop);
            }
            if !vip.owned {
                count(Count::ArpGated);
                return Some(Verdict::Drop);
            }
            return reply(ctx, arp, &vip.entry, sender_mac, sender_ip, target_ip);
        }
    } else if operation != OP_REPLY {
        return None;
    }
    let vip = ownership::find(link, Address::from_v4(sender_ip))?;
    // The reply form goes on to the kernel's neighbour cache.
    claim::handle(&vip, Address::from_v4(sender_ip), sender_mac, Verdict::Pass)
}

/// Turns the request into the reply, in place.
#[inline(always)]
fn reply(
    ctx: &Context,
    arp: usize,
    vip: &VipEntry,
    asker_mac: [u8; 6],
    asker_ip: [u8; 4],
    address: [u8; 4],
) -> Option<Verdict> {
    write(ctx, 0, asker_mac)?;
    write(ctx, 6, vip.mac)?;
    write(ctx, arp, HTYPE_ETHERNET.to_be_bytes())?;
    write(ctx, arp + OPERATION, OP_REPLY.to_be_bytes())?;
    write(ctx, arp + SENDER_MAC, vip.mac)?;
    write(ctx, arp + SENDER_IP, address)?;
    write(ctx, arp + TARGET_MAC, asker_mac)?;
    write(ctx, arp + TARGET_IP, asker_ip)?;
    count(Count::ArpReplies);
    count_reply(vip);
    Some(Verdict::Tx)
}
