//! ARP for our VIPs: requests are replied to if the VIP is owned and dropped if not; other stations' claims are noticed.

use vipd_common::{
    abi::{Count, VipEntry},
    wire::{
        arp::{Operation, Packet, Repr},
        eth::{self, MacAddr},
    },
};

use crate::{
    address::Address,
    claim,
    count::{count, count_reply},
    frame::{Link, view, view_mut},
    global,
    hook::{Context, Raw},
    ownership,
    verdict::{Ruling, Verdict},
};

#[inline(always)]
pub fn handle(ctx: &Context) -> Ruling {
    Ruling::from_number(handle_arp(ctx.raw()))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_arp(ctx: *mut Raw) -> u32 {
    global::enter(ctx, decide)
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Ruling> {
    let packet = view::<Packet>(ctx, link.network)?;
    if !packet.is_ipv4_over_ethernet() {
        return None;
    }
    if packet.operation()? == Operation::Request {
        let target = Address::from_v4(packet.target_ip().octets());
        if let Some(vip) = ownership::find(link, target) {
            if packet.sender_ip() == packet.target_ip() {
                // The kernel takes the request form for a request for an address it holds: it never sees it.
                return claim::handle(&vip, target, packet.sender_mac().0, Verdict::Drop);
            }
            if !vip.owned {
                return Some(Verdict::Drop.because(count(Count::ArpGated)));
            }
            return reply(ctx, link.network, &vip.entry);
        }
    }
    let sender = Address::from_v4(packet.sender_ip().octets());
    let vip = ownership::find(link, sender)?;
    // The reply form goes on to the kernel's neighbour cache.
    claim::handle(&vip, sender, packet.sender_mac().0, Verdict::Pass)
}

/// Turns the request into the reply, in place.
#[inline(always)]
fn reply(ctx: &Context, offset: usize, vip: &VipEntry) -> Option<Ruling> {
    let mac = MacAddr(vip.mac);
    let packet = view_mut::<Packet>(ctx, offset)?;
    let requester = packet.sender_mac();
    *packet = Repr {
        operation: Operation::Reply,
        sender_mac: mac,
        sender_ip: packet.target_ip(),
        target_mac: requester,
        target_ip: packet.sender_ip(),
    }
    .packet();
    let ethernet = view_mut::<eth::Header>(ctx, 0)?;
    ethernet.set_destination(requester);
    ethernet.set_source(mac);
    let reason = count(Count::ArpReplies);
    count_reply(vip);
    Some(Verdict::Tx.because(reason))
}
