//! vipd's XDP program: one per interface in use.
//!
//! It answers ARP for the VIPs this node owns, drops what is meant for VIPs it does not own, and validates and stamps
//! VRRP adverts. Ownership is one word per group in `LEASES`. Frames that concern no configured VIP or virtual router
//! are passed untouched.
#![no_std]
#![no_main]

mod arp;
mod count;
mod events;
mod frame;
mod ipv4;
mod log;
mod maps;
mod ownership;
mod vrrp;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

#[xdp(frags)]
pub fn vipd_xdp(ctx: XdpContext) -> u32 {
    // Open for traffic: what cannot be read as one of ours passes.
    decide(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn decide(ctx: &XdpContext) -> Option<u32> {
    let link = frame::Link::parse(ctx)?;
    match link.ethertype {
        frame::ETHERTYPE_ARP => arp::handle(ctx, &link),
        frame::ETHERTYPE_IPV4 => ipv4::handle(ctx, &link),
        _ => None,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that nothing gets here.
    loop {}
}
