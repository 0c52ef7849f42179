//! vipd's program in the kernel: one per interface in use, in the driver or at tc ingress (see `hook`).
//!
//! It answers ARP and Neighbor Discovery for the VIPs this node owns, drops what is meant for VIPs and virtual MACs it
//! does not own, and validates and stamps VRRP adverts. Ownership is a lease, one word of `LEASES`. Frames that concern
//! no configured VIP or virtual router are passed untouched.
#![no_std]
#![no_main]
// Inline assembly for this target, see `count`; the compilers that build it take unstable features anyway.
#![feature(asm_experimental_arch)]

mod arp;
mod claim;
mod count;
mod events;
mod forward_after_takeover;
mod frame;
mod global;
mod hook;
mod instance;
mod ipv4;
mod ipv6;
mod log;
mod maps;
mod ndp;
mod ownership;
mod vmac;
mod vrrp;

use hook::Context;
use vipd_common::{address, wire::eth};

/// What becomes of a frame that is ours to judge. The numbers are for `global`, and 0 is none of them.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Verdict {
    Drop = 1,
    Pass,
    /// Send it back where it came from.
    Tx,
}

/// The verdict on any frame.
#[inline(always)]
pub fn verdict(ctx: &Context) -> Verdict {
    // Open for traffic: what cannot be read as one of ours passes.
    decide(ctx).unwrap_or(Verdict::Pass)
}

#[inline(always)]
fn decide(ctx: &Context) -> Option<Verdict> {
    let link = frame::Link::parse(ctx)?;
    // What is not dropped here has the interface's own address now, and is handled on as any frame.
    if let Some(verdict) = vmac::handle(ctx, &link) {
        return Some(verdict);
    }
    match link.ethertype {
        eth::ETHERTYPE_ARP => arp::handle(ctx),
        eth::ETHERTYPE_IPV4 => ipv4::handle(ctx, &link),
        eth::ETHERTYPE_IPV6 => ipv6::handle(ctx, &link),
        ethertype if eth::is_tag(ethertype) => link.judge_deep_tags(ctx),
        _ => None,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that nothing gets here.
    loop {}
}
