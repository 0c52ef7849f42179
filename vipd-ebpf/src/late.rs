//! Packets to VIPs that a rival has just taken: sent on to it, for those who still believe that we are the owner.
//!
//! A client's packet that was under way when the address moved, or is sent before the announcement has reached its cache, would
//! be lost. Nothing is answered, so who owns the VIP is no question: the frame gets another destination and goes back to the
//! wire, for as long as announcements take.

use vipd_common::abi::{Count, Instance};

use crate::{
    Verdict,
    count::count,
    events,
    frame::{Link, read, write},
    hook::Context,
    maps::INSTANCES,
};

/// For so long after the lease was taken back.
const WINDOW_NS: u64 = 1_000_000_000;

/// Sends an IP packet on to whoever has taken the virtual router `slot` from us; `None` if nobody just has. `to_virtual_mac`: its
/// frame is known to be addressed to the virtual MAC.
#[inline(always)]
pub fn forward(ctx: &Context, link: &Link, slot: u32, to_virtual_mac: bool) -> Option<Verdict> {
    let ours = INSTANCES.get_ptr(slot)?;
    // SAFETY: fields of a map value; plain data in any state.
    let (head, mac, successor) = unsafe { ((*ours).head, (*ours).mac, (*ours).source_mac) };
    // Sync groups lose all of their routers with one lease.
    if !just_revoked(INSTANCES.get_ptr(head.group)?) || successor == [0; 6] {
        return None;
    }
    // Another interface's neighbours have other MACs.
    if link.ifindex != head.key.ifindex || link.vlan != head.key.vlan {
        return None;
    }
    let (destination, source): ([u8; 6], [u8; 6]) = (read(ctx, 0)?, read(ctx, 6)?);
    // Not what others are sent, nor what the successor itself sends here: it believes that we are the owner.
    if destination != mac && !to_virtual_mac || source == successor {
        return None;
    }
    write(ctx, 0, successor)?;
    // Not the client's: the switch would look for it here.
    write(ctx, 6, mac)?;
    count(Count::LateForwarded);
    Some(Verdict::Tx)
}

#[inline(always)]
fn just_revoked(group: *const Instance) -> bool {
    // SAFETY: an aligned field of a map value that only this program writes.
    let revoked_ns = unsafe { (*group).revoked_ns };
    revoked_ns != 0 && events::now().saturating_sub(revoked_ns) < WINDOW_NS
}

/// Takes note that the lease of `group` was taken back.
#[inline(always)]
pub fn revoked(group: u32, now: u64) {
    if let Some(record) = INSTANCES.get_ptr_mut(group) {
        // SAFETY: as above.
        unsafe { (*record).revoked_ns = now };
    }
}
