//! Frames to a virtual router's MAC (RFC 9568 7.3): readdressed to the interface if its VIPs are owned here, else dropped.
//!
//! Whatever they carry. The virtual MACs of other routers, and of instances that do not use theirs, are left alone.

use vipd_common::abi::{Count, OWN_INTERFACE, instance_flag};

use crate::{
    Verdict,
    count::count,
    forward_after_takeover,
    frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Link, read, write},
    hook::Context,
    instance::{self, FAMILY_V4, FAMILY_V6},
    ownership,
};

/// IANA's block for VRRP, before the octet that names the family.
const PREFIX: [u8; 4] = [0x00, 0x00, 0x5e, 0x00];
const FOR_IPV4: u8 = 1;
const FOR_IPV6: u8 = 2;

/// Drops the frame, or makes it one to the interface's own MAC and leaves the verdict to others.
#[inline(always)]
pub fn handle(ctx: &Context, link: &Link) -> Option<Verdict> {
    if read::<[u8; 4]>(ctx, 0)? != PREFIX {
        return None;
    }
    let [block, vrid]: [u8; 2] = read(ctx, 4)?;
    let family = match block {
        FOR_IPV4 => FAMILY_V4,
        FOR_IPV6 => FAMILY_V6,
        _ => return None,
    };
    let (entry, instance) = instance::find(link, family, vrid)?;
    if entry.line != OWN_INTERFACE {
        return None;
    }
    // SAFETY: fields of a map value that the daemon writes; plain data in any state.
    let (flags, lease_slot, mac) =
        unsafe { ((*instance).flags, (*instance).head.lease_slot, (*instance).mac) };
    if flags & instance_flag::VIRTUAL_MAC == 0 {
        return None;
    }
    if !ownership::owned(lease_slot) {
        if matches!(link.ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6)
            && let Some(verdict) = forward_after_takeover::forward(ctx, link, entry.slot, true)
        {
            return Some(verdict);
        }
        // RFC 9568 6.4.2: a backup discards them.
        count(Count::VmacGated);
        return Some(Verdict::Drop);
    }
    write(ctx, 0, mac)?;
    ctx.accept();
    count(Count::VmacRewritten);
    None
}
