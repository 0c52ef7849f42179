//! Packets to VIPs that a rival has just taken: forwarded to it, for clients that still send to this node.
//!
//! A packet that was under way when the address moved, or is sent before the announcement has reached the client's cache, would
//! be lost. Nothing is answered, so who owns the VIP is no question: the frame gets another destination and goes back to the
//! wire, for as long as announcements take.
//!
//! Nobody can make a loop or a flood of it. Each forwarding costs a hop, one takeover forwards at most [`MAX_PACKETS`], and the
//! next MAC comes from the advert that took the lease and from no later one.

use vipd_common::{
    abi::{Count, Instance},
    rival::{Rival, Tenure},
};

use crate::{
    Verdict,
    count::{add_atomically, count},
    events,
    frame::{ETHERTYPE_IPV4, Link, be16, read, write},
    hook::Context,
    ipv4, ipv6,
    maps::INSTANCES,
};

/// For so long after the lease was taken back.
const WINDOW_NS: u64 = 1_000_000_000;
/// Of one instance in one takeover: some milliseconds of a 10 Gbit/s link full of small packets.
const MAX_PACKETS: u64 = 16_384;

/// Forwards an IP packet to the router that has taken the virtual router `slot` from us; `None` if none just has.
/// `to_virtual_mac`: its frame is known to be addressed to the virtual MAC.
#[inline(always)]
pub fn forward(ctx: &Context, link: &Link, slot: u32, to_virtual_mac: bool) -> Option<Verdict> {
    let ours = INSTANCES.get_ptr_mut(slot)?;
    // SAFETY: fields of a map value; plain data in any state.
    let (head, mac, successor, successor_of_ns) =
        unsafe { ((*ours).head, (*ours).mac, (*ours).successor_mac, (*ours).successor_of_ns) };
    // Sync groups lose all of their routers with one lease.
    let takeover = recent_takeover(head.group, events::now())?;
    if successor_of_ns != takeover.at_ns {
        return None;
    }
    // Another interface's neighbours have other MACs.
    if link.ifindex != head.key.ifindex || link.vlan != head.key.vlan {
        return None;
    }
    let (destination, source): ([u8; 6], [u8; 6]) = (read(ctx, 0)?, read(ctx, 6)?);
    // Neither what others are sent, nor what the successor itself sends here: it believes that we are the owner.
    if destination != mac && !to_virtual_mac || source == successor {
        return None;
    }
    // SAFETY: an aligned word of the map value that only this program uses.
    unsafe {
        let forwarded = &raw mut (*ours).forwarded;
        if *forwarded >= MAX_PACKETS {
            count(Count::ForwardAfterTakeoverOverBudget);
            return Some(Verdict::Drop);
        }
        add_atomically(forwarded, 1);
    }
    if !spend_hop(ctx, link)? {
        count(Count::ForwardAfterTakeoverTtlExceeded);
        return Some(Verdict::Drop);
    }
    write(ctx, 0, successor)?;
    // Not the client's: the switch would look for it here.
    write(ctx, 6, mac)?;
    count(Count::ForwardAfterTakeoverSent);
    Some(Verdict::Tx)
}

/// Takes one from the packet's TTL or hop limit; false if that was the last.
#[inline(always)]
fn spend_hop(ctx: &Context, link: &Link) -> Option<bool> {
    let ip = link.network;
    if link.ethertype != ETHERTYPE_IPV4 {
        let hop_limit: u8 = read(ctx, ip + ipv6::HOP_LIMIT)?;
        if hop_limit <= 1 {
            return Some(false);
        }
        write(ctx, ip + ipv6::HOP_LIMIT, hop_limit - 1)?;
        return Some(true);
    }
    let ttl: u8 = read(ctx, ip + ipv4::TTL)?;
    if ttl <= 1 {
        return Some(false);
    }
    // RFC 1624: the TTL is the upper octet of its word. A sum of 0xffff is the other zero.
    let sum = u32::from(be16(ctx, ip + ipv4::CHECKSUM)?) + 0x0100;
    let sum = (sum + u32::from(sum >= 0xffff)) as u16;
    write(ctx, ip + ipv4::TTL, ttl - 1)?;
    write(ctx, ip + ipv4::CHECKSUM, sum.to_be_bytes())?;
    Some(true)
}

/// How a lease was lost.
#[derive(Clone, Copy)]
struct Takeover {
    at_ns: u64,
    /// The lease word of then.
    lease_until_ns: u64,
}

/// The last takeover of `group`, if announcements of it may still be under way.
#[inline(always)]
fn recent_takeover(group: u32, now: u64) -> Option<Takeover> {
    let group = INSTANCES.get_ptr(group)?;
    // SAFETY: aligned fields of a map value that only this program writes.
    let (at_ns, lease_until_ns) = unsafe { ((*group).revoked_ns, (*group).revoked_until_ns) };
    if at_ns == 0 || now.saturating_sub(at_ns) >= WINDOW_NS {
        return None;
    }
    Some(Takeover { at_ns, lease_until_ns })
}

/// Takes note that the lease of `group`, whose word was `until`, was taken back.
#[inline(always)]
pub fn revoked(group: u32, until: u64, now: u64) {
    if let Some(record) = INSTANCES.get_ptr_mut(group) {
        // SAFETY: as above.
        unsafe { ((*record).revoked_until_ns, (*record).revoked_ns) = (until, now) };
    }
}

/// Takes note of the router whose advert has taken the lease, at `mac` on the instance's own interface.
///
/// A sync group's lease is taken by the advert of one member, on one link. On another link the successor is the sender of the
/// first advert there that would have taken the lease as well.
#[inline(always)]
pub fn note_successor(record: &mut Instance, rival: &Rival, mac: [u8; 6], now: u64) {
    let Some(takeover) = recent_takeover(record.head.group, now) else { return };
    if record.successor_of_ns == takeover.at_ns
        || rival.tenure(record, takeover.lease_until_ns, takeover.at_ns) != Tenure::Lost
    {
        return;
    }
    (record.successor_mac, record.forwarded) = (mac, 0);
    record.successor_of_ns = takeover.at_ns;
}
