//! Rare diagnostics for `--log-xdp`, through aya-log.
//!
//! aya-log compares with the level in read-only data that the daemon sets at load time, so the verifier removes the code
//! when it is off. Nothing here runs per packet.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::info;

#[inline(always)]
pub fn conflict(ctx: &XdpContext, instance: u32, address: [u8; 4], mac: [u8; 6]) {
    info!(ctx, "instance {}: {:i} is claimed by {:mac}", instance, u32::from_be_bytes(address), mac);
}

#[inline(always)]
pub fn revoked(ctx: &XdpContext, instance: u32, source: [u8; 4], priority: u8) {
    info!(
        ctx,
        "instance {}: lease revoked by {:i}, priority {}",
        instance,
        u32::from_be_bytes(source),
        priority
    );
}
