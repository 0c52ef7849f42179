//! Packets to VIPs that a rival has just taken: forwarded to it, for clients that still send to this node.
//!
//! A packet that was under way when the address moved, or is sent before the announcement has reached the client's cache, would
//! be lost. No ARP request or solicitation is replied to here, so ownership does not matter: the frame gets another destination and goes back to the
//! wire, for as long as announcements take.
//!
//! Nobody can make a loop or a flood of it. Each forwarding costs a hop, one takeover forwards at most [`MAX_PACKETS`], and the
//! next MAC comes from the advert or the probe that took the lease and from no later one.

use vipd_common::{
    abi::{Count, InstanceRecord},
    rival::Tenure,
    wire::{
        eth::{self, MacAddr},
        ipv4, ipv6,
    },
};

use crate::{
    count::{add_atomically, count},
    events,
    frame::{Link, view, view_mut},
    hook::Context,
    maps::INSTANCES,
    verdict::{Ruling, Verdict},
};

/// For so long after the lease was taken back.
const WINDOW_NS: u64 = 1_000_000_000;
/// Of one instance in one takeover: some milliseconds of a 10 Gbit/s link full of small packets.
const MAX_PACKETS: u64 = 16_384;

/// Forwards an IP packet to the router that has taken the virtual router `slot` from us; `None` if none just has.
/// `to_virtual_mac`: its frame is known to be addressed to the virtual MAC.
#[inline(always)]
pub fn forward(ctx: &Context, link: &Link, slot: u32, to_virtual_mac: bool) -> Option<Ruling> {
    let ours = INSTANCES.get_ptr_mut(slot)?;
    // SAFETY: fields of a map value; plain data in any state.
    let (head, mac, successor, successor_of_ns) =
        unsafe { ((*ours).head, (*ours).mac, (*ours).successor_mac, (*ours).successor_of_ns) };
    // Sync groups lose all of their routers with one lease.
    let takeover = recent_takeover(head.lease_slot, events::now())?;
    if successor_of_ns != takeover.at_ns {
        return None;
    }
    // Another interface's neighbours have other MACs.
    if link.ifindex != head.key.ifindex || link.vlan != head.key.vlan {
        return None;
    }
    let ethernet = view::<eth::Header>(ctx, 0)?;
    // Neither what others are sent, nor what the successor itself sends here: it believes that we are the owner.
    if ethernet.destination().0 != mac && !to_virtual_mac || ethernet.source().0 == successor {
        return None;
    }
    // SAFETY: an aligned word of the map value that only this program uses.
    unsafe {
        let forwarded = &raw mut (*ours).forwarded;
        if *forwarded >= MAX_PACKETS {
            return Some(Verdict::Drop.because(count(Count::ForwardAfterTakeoverOverBudget)));
        }
        add_atomically(forwarded, 1);
    }
    if !spend_hop(ctx, link)? {
        return Some(Verdict::Drop.because(count(Count::ForwardAfterTakeoverTtlExceeded)));
    }
    let ethernet = view_mut::<eth::Header>(ctx, 0)?;
    ethernet.set_destination(MacAddr(successor));
    // Not the client's: the switch would look for it here.
    ethernet.set_source(MacAddr(mac));
    Some(Verdict::Tx.because(count(Count::ForwardAfterTakeoverSent)))
}

/// Takes one from the packet's TTL or hop limit; false if that was the last.
#[inline(always)]
fn spend_hop(ctx: &Context, link: &Link) -> Option<bool> {
    if link.ethertype != eth::ETHERTYPE_IPV4 {
        let header = view_mut::<ipv6::Header>(ctx, link.network)?;
        if header.hop_limit() <= 1 {
            return Some(false);
        }
        header.decrement_hop_limit();
    } else {
        let header = view_mut::<ipv4::Header>(ctx, link.network)?;
        if header.ttl() <= 1 {
            return Some(false);
        }
        header.decrement_ttl();
    }
    Some(true)
}

/// How a lease was lost.
#[derive(Clone, Copy)]
struct Takeover {
    at_ns: u64,
    /// The lease word of then.
    lease_until_ns: u64,
}

/// The last takeover of the lease in `slot`, if announcements of it may still be under way.
#[inline(always)]
fn recent_takeover(slot: u32, now: u64) -> Option<Takeover> {
    let record = INSTANCES.get_ptr(slot)?;
    // SAFETY: aligned fields of a map value that only this program writes.
    let (at_ns, lease_until_ns) = unsafe { ((*record).revoked_ns, (*record).revoked_until_ns) };
    if at_ns == 0 || now.saturating_sub(at_ns) >= WINDOW_NS {
        return None;
    }
    Some(Takeover { at_ns, lease_until_ns })
}

/// Takes note that the lease in `slot`, whose word was `until`, was taken back.
#[inline(always)]
pub fn revoked(slot: u32, until: u64, now: u64) {
    if let Some(record) = INSTANCES.get_ptr_mut(slot) {
        // SAFETY: as above.
        unsafe { ((*record).revoked_until_ns, (*record).revoked_ns) = (until, now) };
    }
}

/// Takes note of the router whose advert or probe has taken the lease, at `mac` on the instance's own interface. `tenure` says what that does to
/// a lease word at a time.
///
/// A sync group's lease is taken by the advert of one member, on one link. On another link the successor is the sender of the
/// first advert there that would have taken the lease as well.
#[inline(always)]
pub fn note_successor(
    record: &mut InstanceRecord,
    mac: [u8; 6],
    now: u64,
    tenure: impl FnOnce(&InstanceRecord, u64, u64) -> Tenure,
) {
    let Some(takeover) = recent_takeover(record.head.lease_slot, now) else { return };
    if record.successor_of_ns == takeover.at_ns
        || tenure(record, takeover.lease_until_ns, takeover.at_ns) != Tenure::Lost
    {
        return;
    }
    (record.successor_mac, record.forwarded) = (mac, 0);
    record.successor_of_ns = takeover.at_ns;
}
