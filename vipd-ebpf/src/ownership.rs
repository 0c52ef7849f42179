//! Who owns a VIP now: the table of VIPs, the lease word and the lease's sponsors, read together.

use core::ptr;

use vipd_common::{
    abi::{CapturedReason, Count, InstanceRecord, VipEntry, vip_flag},
    bloom,
    rival::Tenure,
};

use crate::{
    address::Address,
    count::count,
    events, forward_after_takeover,
    frame::Link,
    hook::Context,
    maps::{BLOOM_FILTER, LEASES, SPONSORS, VIPS},
    verdict::{Ruling, Verdict},
};

/// A VIP's table entry and whether this node owns it.
#[derive(Clone, Copy)]
pub struct FoundVip {
    pub entry: VipEntry,
    pub owned: bool,
}

/// Looks a virtual address of the receiving interface and VLAN up; `None` if it is none of ours.
#[inline(always)]
pub fn find(link: &Link, address: Address) -> Option<FoundVip> {
    if !may_be_vip(address) {
        return None;
    }
    let table = VIPS.get(0)?;
    // SAFETY: entries are written by the daemon before the table is swapped in, never after.
    let entry = unsafe { *table.get_ptr(link.vip_key(address))? };
    Some(FoundVip { entry, owned: owned(entry.lease_slot) })
}

/// Whether an address is worth looking up.
#[inline(always)]
fn may_be_vip(address: Address) -> bool {
    let (word, bit) = bloom::place(bloom::bit(address));
    let Some(bits) = BLOOM_FILTER.get_ptr(0) else { return true };
    // SAFETY: inside the array by `place`; whole aligned words, which the daemon stores with atomic operations.
    unsafe { ptr::read_volatile(bits.cast::<u64>().add(word)) & bit != 0 }
}

/// The verdict on an IP packet to a VIP; `accept_always` if Accept_Mode is not to be asked.
#[inline(always)]
pub fn gate(ctx: &Context, link: &Link, vip: &FoundVip, accept_always: bool) -> Ruling {
    if !vip.owned {
        if let Some(ruling) = forward_after_takeover::forward(ctx, link, vip.entry.instance, false) {
            return ruling;
        }
        // RFC 9568 6.4.2: a backup does not accept packets to the virtual address.
        return Verdict::Drop.because(count(Count::IpGated));
    }
    // RFC 9568 6.4.3: nor does a master that is not the address owner, if Accept_Mode is False.
    if vip.entry.flags & vip_flag::NO_ACCEPT != 0 && !accept_always {
        return Verdict::Drop.because(count(Count::IpNotAccepted));
    }
    Verdict::Pass.because(CapturedReason::NONE)
}

/// The lease word in `slot`.
#[inline(always)]
pub fn lease(slot: u32) -> Option<*mut u64> {
    let word = LEASES.get_ptr_mut(slot);
    if word.is_none() {
        count(Count::DanglingEntries);
    }
    word
}

/// Whether this node owns the VIPs under the lease in `slot` now: the lease stands, and if it needs a sponsor it has one.
#[inline(always)]
pub fn owned(slot: u32) -> bool {
    owns_lease(slot) != 0
}

/// [`owned`], as 1 or 0. A global function (see `global`): each question would be walked with all that follows otherwise.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn owns_lease(slot: u32) -> u32 {
    // Closed for identity: doubt about owning a VIP means no answer.
    let (Some(word), Some(sponsors)) = (lease(slot), SPONSORS.get_ptr(0)) else { return 0 };
    let now = events::now();
    // SAFETY: an aligned 8-byte word of the map; the daemon stores to it with atomic operations.
    let stands = || now < unsafe { ptr::read_volatile(word) };
    // SAFETY: aligned words of the map; of a backup whose probe arrives meanwhile, either probe.
    let sponsors = unsafe { &*sponsors };
    if !stands() {
        return 0;
    }
    if !sponsors.covers(slot) {
        return 1;
    }
    // The word once more: a probe with a claim takes the lease before it is stamped, and may be vouching for the other leases by now.
    u32::from(sponsors.let_own(slot, now) && stands())
}

/// Takes the lease of one of our virtual routers back if it is over, by what `tenure` says of the lease word; and that word.
#[inline(always)]
pub fn take(ours: &InstanceRecord, tenure: impl FnOnce(u64) -> Tenure) -> (Tenure, u64) {
    let Some(word) = lease(ours.head.lease_slot) else { return (Tenure::None, 0) };
    // SAFETY: an aligned 8-byte word of the map; the daemon stores to it with atomic operations.
    let until = unsafe { ptr::read_volatile(word) };
    let tenure = tenure(until);
    if tenure.is_over() {
        // SAFETY: as above. A renewal that comes between is a compare-exchange against the old value: it fails, or it is
        // overwritten here and the next one fails.
        unsafe { ptr::write_volatile(word, 0) };
    }
    (tenure, until)
}
