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
mod bfd;
mod capture;
mod claim;
mod count;
mod early;
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
mod probe;
mod verdict;
mod vmac;
mod vrrp;

use capture::FrameWatch;
use hook::Context;
use verdict::{Ruling, Verdict};
use vipd_common::{abi::CapturedReason, address, wire::eth};

/// The verdict on any frame.
#[inline(always)]
pub fn verdict(ctx: &Context) -> Verdict {
    let mut watch = FrameWatch::new();
    // Open for traffic: what cannot be read as one of ours passes.
    let verdict = match decide(ctx, &mut watch) {
        Some(Ruling { verdict: Some(verdict), reason }) => verdict.because(reason),
        _ => Verdict::Pass.because(CapturedReason::NONE),
    };
    watch.end(ctx, verdict);
    verdict.verdict.unwrap_or(Verdict::Pass)
}

#[inline(always)]
fn decide(ctx: &Context, watch: &mut FrameWatch) -> Option<Ruling> {
    let link = frame::Link::parse(ctx)?;
    // What is not dropped here has the interface's own address now, and is handled on as any frame.
    if let Some(ruling) = vmac::handle(ctx, &link, watch) {
        return Some(ruling);
    }
    match link.ethertype {
        eth::ETHERTYPE_ARP => {
            watch.begin(ctx);
            watch.hear(arp::handle(ctx))
        }
        eth::ETHERTYPE_IPV4 => ipv4::handle(ctx, &link, watch),
        eth::ETHERTYPE_IPV6 => ipv6::handle(ctx, &link, watch),
        ethertype if eth::is_tag(ethertype) => {
            watch.begin(ctx);
            link.judge_deep_tags(ctx)
        }
        _ => None,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that nothing gets here.
    loop {}
}
