//! Rare diagnostics for `--log-xdp`, through aya-log.
//!
//! aya-log compares with the level in read-only data that the daemon sets at load time, so the verifier removes the code
//! when it is off. Nothing here runs per packet. Addresses are printed as the maps have them, IPv4 mapped.

use aya_log_ebpf::info;

use crate::address::Address;

#[inline(always)]
pub fn conflict(instance: u32, address: Address, mac: [u8; 6]) {
    info!((), "instance {}: {:i} is claimed by {:mac}", instance, address.octets(), mac);
}

#[inline(always)]
pub fn revoked(instance: u32, source: Address, priority: u8) {
    info!((), "instance {}: lease revoked by {:i}, priority {}", instance, source.octets(), priority);
}

/// As [`revoked`], in words of its own: one text for both would be a function of its own, which has no room on the stack below `handle_advert`.
#[inline(always)]
pub fn revoked_by_probe(instance: u32, source: Address, priority: u8) {
    info!(
        (),
        "instance {}: lease revoked by a probe of {:i}, priority {}",
        instance,
        source.octets(),
        priority
    );
}
