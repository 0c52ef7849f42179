//! Who owns a VIP now: the table of VIPs and the lease word, read together.

use core::ptr;

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use vipd_common::abi::{Count, VipEntry, VipKey};

use crate::{
    count::count,
    maps::{LEASES, VIPS},
};

/// A VIP's table entry and whether this node owns it.
#[derive(Clone, Copy)]
pub struct Vip {
    pub entry: VipEntry,
    pub owned: bool,
}

/// Looks a virtual address up; `None` if it is none of ours.
#[inline(always)]
pub fn find(key: &VipKey) -> Option<Vip> {
    let table = VIPS.get(0)?;
    // SAFETY: entries are written by the daemon before the table is swapped in, never after.
    let entry = unsafe { *table.get_ptr(key)? };
    Some(Vip { entry, owned: owned(entry.group) })
}

/// The lease word of `group`.
#[inline(always)]
pub fn lease(group: u32) -> Option<*mut u64> {
    let word = LEASES.get_ptr_mut(group);
    if word.is_none() {
        count(Count::DanglingEntries);
    }
    word
}

#[inline(always)]
fn owned(group: u32) -> bool {
    match lease(group) {
        // SAFETY: an aligned 8-byte word of the map; the daemon stores to it with atomic operations.
        Some(word) => unsafe { bpf_ktime_get_boot_ns() < ptr::read_volatile(word) },
        // Closed for identity: doubt about owning a VIP means no answer.
        None => false,
    }
}
