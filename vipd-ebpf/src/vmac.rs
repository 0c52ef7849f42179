//! Frames to a virtual router's MAC (RFC 9568 7.3): readdressed to the interface if its VIPs are owned here, else dropped.
//!
//! Whatever they carry. The virtual MACs of other routers, and of instances that do not use theirs, are left alone.

use vipd_common::{
    abi::{Count, OWN_INTERFACE, instance_flag},
    wire::eth::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MacAddr},
};

use crate::{
    capture::FrameWatch,
    count::count,
    forward_after_takeover,
    frame::{Link, view, view_mut},
    hook::Context,
    instance, ownership,
    verdict::{Ruling, Verdict},
};

/// Drops the frame, or makes it one to the interface's own MAC and leaves the verdict to others.
#[inline(always)]
pub fn handle(ctx: &Context, link: &Link, watch: &mut FrameWatch) -> Option<Ruling> {
    let virtual_mac = view::<eth::Header>(ctx, 0)?.destination();
    let (family, vrid) = virtual_mac.of_virtual_router()?;
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
            && let Some(ruling) = forward_after_takeover::forward(ctx, link, entry.slot, true)
        {
            return Some(ruling);
        }
        watch.begin(ctx);
        // RFC 9568 6.4.2: a backup discards them.
        return Some(Verdict::Drop.because(count(Count::VmacGated)));
    }
    view_mut::<eth::Header>(ctx, 0)?.set_destination(MacAddr(mac));
    ctx.accept();
    watch.readdressed(virtual_mac, count(Count::VmacRewritten));
    None
}
