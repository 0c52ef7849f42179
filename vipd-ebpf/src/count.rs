//! Counting: one slot per reason, per CPU, no lock; replies by VIP.

use core::arch::asm;

use vipd_common::abi::{CapturedReason, Count, Counters, InstanceCount, InstanceCounters, VipEntry};

use crate::maps::{COUNTERS, INSTANCE_COUNTERS, VIP_REPLIES};

/// Adds one to a counter that belongs to no instance. The counter is the reason for a verdict.
#[inline(always)]
pub fn count(slot: Count) -> CapturedReason {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        bump(counters.cast(), slot as usize, size_of::<Counters>() / 8);
    }
    CapturedReason::of(slot)
}

/// Adds one to a counter of instance slot `instance`. The counter is the reason for a verdict.
#[inline(always)]
pub fn count_instance(instance: u32, slot: InstanceCount) -> CapturedReason {
    if let Some(counters) = INSTANCE_COUNTERS.get_ptr_mut(instance) {
        bump(counters.cast(), slot as usize, size_of::<InstanceCounters>() / 8);
    }
    CapturedReason::of_instance(slot)
}

/// Adds one to the replies of a VIP: its ARP replies and solicited Neighbor Advertisements.
#[inline(always)]
pub fn count_reply(vip: &VipEntry) {
    match VIP_REPLIES.get_ptr_mut(vip.reply_slot) {
        // SAFETY: an aligned word of the map; other CPUs and the daemon use atomic operations on it too.
        Some(replies) => unsafe { add_atomically(replies, 1) },
        None => {
            count(Count::DanglingEntries);
        }
    }
}

/// The one instruction for it that every kernel with XDP has; `core` offers none for this target.
///
/// # Safety
///
/// `word` is an aligned word of a map.
#[inline(always)]
pub unsafe fn add_atomically(word: *mut u64, n: u64) {
    // SAFETY: as the caller promises; nothing but the word changes.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {n}", word = in(reg) word, n = in(reg) n, options(nostack)) };
}

#[inline(always)]
fn bump(counters: *mut u64, slot: usize, slots: usize) {
    if slot < slots {
        // SAFETY: inside the map value, which is this CPU's own.
        unsafe { *counters.add(slot) += 1 };
    }
}
