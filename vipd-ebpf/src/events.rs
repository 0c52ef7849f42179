//! Events to the daemon, and the clock they carry.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use vipd_common::abi::{BfdEvent, RingEvent};

use crate::maps::{BFD_EVENTS, EVENTS};

/// Nanoseconds on the boot-time clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Sends `event`; false if the ring is full.
#[inline(always)]
pub fn send(event: RingEvent) -> bool {
    EVENTS.output(event, 0).is_ok()
}

/// Sends a packet of BFD; false if its ring is full.
#[inline(always)]
pub fn send_bfd(event: BfdEvent) -> bool {
    BFD_EVENTS.output(event, 0).is_ok()
}
