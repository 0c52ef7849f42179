//! ARP for our VIPs: answered if owned, dropped if not; other stations' claims are noticed.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use vipd_common::abi::{Count, Event, VipEntry, event_kind, mapped};

use crate::{
    count::count,
    events,
    frame::{Link, be16, read, write},
    maps::INSTANCES,
    ownership::{self, Vip},
};

const HTYPE_ETHERNET: u16 = 1;
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

/// One conflict event per instance in this time (RFC 5227 2.4: DEFEND_INTERVAL is 10 s; an operator wants to know sooner).
const CONFLICT_EVENT_NS: u64 = 1_000_000_000;

#[inline(always)]
pub fn handle(ctx: &XdpContext, link: &Link) -> Option<u32> {
    let arp = link.network;
    if be16(ctx, arp)? != HTYPE_ETHERNET
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
        if let Some(vip) = ownership::find(&link.vip_key(mapped(target_ip))) {
            if sender_ip == target_ip {
                return Some(claim(ctx, &vip, target_ip, sender_mac, xdp_action::XDP_DROP));
            }
            if !vip.owned {
                count(Count::ArpGated);
                return Some(xdp_action::XDP_DROP);
            }
            return reply(ctx, arp, &vip.entry, sender_mac, sender_ip, target_ip);
        }
    } else if operation != OP_REPLY {
        return None;
    }
    let vip = ownership::find(&link.vip_key(mapped(sender_ip)))?;
    Some(claim(ctx, &vip, sender_ip, sender_mac, xdp_action::XDP_PASS))
}

/// Another station says that it has `address`.
///
/// Of a VIP we own, that is a conflict. Of one we do not own it is the master's announcement; the reply form goes on to
/// the kernel's neighbour cache. The request form (`otherwise` is drop) never does: the kernel takes it for a question.
#[inline(always)]
fn claim(ctx: &XdpContext, vip: &Vip, address: [u8; 4], mac: [u8; 6], otherwise: u32) -> u32 {
    if mac == vip.entry.mac {
        // Our own announcement, looped back, or a peer with the same virtual MAC.
        return otherwise;
    }
    if !vip.owned {
        count(Count::VipClaimsSeen);
        return otherwise;
    }
    count(Count::VipConflicts);
    if let Some(instance) = INSTANCES.get_ptr_mut(vip.entry.instance) {
        let now = events::now();
        // SAFETY: a field of the map value that only this program uses; a lost race costs one event more or less.
        let last = unsafe { &mut (*instance).conflict_event_ns };
        if now.saturating_sub(*last) >= CONFLICT_EVENT_NS {
            *last = now;
            events::send(Event {
                kind: event_kind::CONFLICT,
                instance: vip.entry.instance,
                at_ns: now,
                generation: 0,
                source: mapped(address),
                mac,
                priority: 0,
                checksum: 0,
                interval_cs: 0,
                address_list_differs: 0,
            });
            crate::log::conflict(ctx, vip.entry.instance, address, mac);
        }
    }
    xdp_action::XDP_DROP
}

/// Turns the request into the reply, in place.
#[inline(always)]
fn reply(
    ctx: &XdpContext,
    arp: usize,
    vip: &VipEntry,
    asker_mac: [u8; 6],
    asker_ip: [u8; 4],
    address: [u8; 4],
) -> Option<u32> {
    write(ctx, 0, asker_mac)?;
    write(ctx, 6, vip.mac)?;
    write(ctx, arp + OPERATION, OP_REPLY.to_be_bytes())?;
    write(ctx, arp + SENDER_MAC, vip.mac)?;
    write(ctx, arp + SENDER_IP, address)?;
    write(ctx, arp + TARGET_MAC, asker_mac)?;
    write(ctx, arp + TARGET_IP, asker_ip)?;
    count(Count::ArpReplies);
    Some(xdp_action::XDP_TX)
}
