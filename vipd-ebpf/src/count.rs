//! Counting: one slot per reason, per CPU, no lock.

use vipd_common::abi::{Count, Counters, InstanceCount, InstanceCounters};

use crate::maps::{COUNTERS, INSTANCE_COUNTERS};

/// Adds one to a counter that belongs to no instance.
#[inline(always)]
pub fn count(slot: Count) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        bump(counters.cast(), slot as usize, size_of::<Counters>() / 8);
    }
}

/// Adds one to a counter of instance slot `instance`.
#[inline(always)]
pub fn count_instance(instance: u32, slot: InstanceCount) {
    if let Some(counters) = INSTANCE_COUNTERS.get_ptr_mut(instance) {
        bump(counters.cast(), slot as usize, size_of::<InstanceCounters>() / 8);
    }
}

#[inline(always)]
fn bump(counters: *mut u64, slot: usize, slots: usize) {
    if slot < slots {
        // SAFETY: inside the map value, which is this CPU's own.
        unsafe { *counters.add(slot) += 1 };
    }
}
