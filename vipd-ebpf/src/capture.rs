//! The capture: adverts, ARP and Neighbor Discovery as they came in, with the verdict, for a daemon that asks for them.
//!
//! One word of `CAPTURE` is read for each such frame, and for no other that passes; while it is 0, that is all. The frame is copied before
//! anything judges it, since a reply is made in place, and sent to the daemon with the verdict. What the program sends follows it.
//! A full ring costs frames of the capture, and nothing else.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_ringbuf_output, bpf_ringbuf_query},
};
use vipd_common::{
    abi::{
        CAPTURE_OCTETS, CAPTURE_RING_BYTES, CAPTURED_HEADER, CaptureLease, CapturedFrame, CapturedReason,
        capture_flag, verdict,
    },
    wire::{
        eth::{self, MacAddr},
        ipv4::{self, PROTOCOL_VRRP},
        ipv6::{self, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING},
        ndp::NEXT_HEADER_ICMPV6,
    },
};

use crate::{
    count::add_atomically,
    events,
    frame::{Link, view},
    hook::{Context, Raw},
    maps::{CAPTURE, CAPTURED, CAPTURED_FRAME},
    ndp,
    verdict::Ruling,
};

/// `BPF_RB_AVAIL_DATA` of linux/bpf.h: octets in a ring that nobody has read.
const UNREAD: u64 = 0;
/// Of a frame and what is sent for it, with the ring's own headers.
const ROOM: u64 = 2 * (size_of::<CapturedFrame>() as u64 + 8);

/// What is captured of the frame of this run.
pub struct FrameWatch {
    /// Not 0: the frame is in `CAPTURED_FRAME` of this CPU.
    begun: u32,
    /// The virtual MAC that the frame was addressed to before it was readdressed; 0: it was not. Not captured before that instead: `begun`
    /// would be kept over the whole of the path of all traffic, which costs 5 ns, and this is not.
    virtual_mac: u64,
    /// Why nobody has judged it so far.
    reason: CapturedReason,
}

impl FrameWatch {
    #[inline(always)]
    pub fn new() -> Self {
        Self { begun: 0, virtual_mac: 0, reason: CapturedReason::NONE }
    }

    /// To be called once, before anything is made of a frame that is an advert, ARP or Neighbor Discovery, and where a frame that may be
    /// one is dropped.
    #[inline(always)]
    pub fn begin(&mut self, ctx: &Context) {
        if let Some(lease) = CAPTURE.get_ptr_mut(0)
            // SAFETY: an aligned word of the map.
            && unsafe { ptr::read_volatile(&raw const (*lease).until_ns) } != 0
        {
            self.begun = capture_frame(ctx.raw(), self.virtual_mac);
        }
    }

    /// The frame was addressed to a virtual MAC, and is not any more.
    #[inline(always)]
    pub fn readdressed(&mut self, MacAddr([a, b, c, d, e, f]): MacAddr, reason: CapturedReason) {
        (self.virtual_mac, self.reason) = (u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), reason);
    }

    /// What a handler says; `None` if that is no verdict.
    #[inline(always)]
    pub fn hear(&mut self, ruling: Ruling) -> Option<Ruling> {
        if ruling.verdict.is_some() {
            return Some(ruling);
        }
        if ruling.reason != CapturedReason::NONE {
            self.reason = ruling.reason;
        }
        None
    }

    /// To be called with the verdict.
    #[inline(always)]
    pub fn end(&self, ctx: &Context, ruling: Ruling) {
        if self.begun == 0 {
            return;
        }
        let reason = if ruling.reason == CapturedReason::NONE { self.reason } else { ruling.reason };
        capture_ruling(ctx.raw(), Ruling { reason, ..ruling }.number());
    }
}

/// Copies the frame, if it is one that is captured; says whether it did.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn capture_frame(ctx: *mut Raw, virtual_mac: u64) -> u32 {
    u32::from(copy_frame(&Context::new(ctx), virtual_mac).is_some())
}

#[inline(always)]
fn copy_frame(ctx: &Context, virtual_mac: u64) -> Option<()> {
    let lease = CAPTURE.get_ptr_mut(0)?;
    let now = events::now();
    // SAFETY: aligned words of the map. A daemon that moves the time on just now does so again within a second.
    unsafe {
        if now >= ptr::read_volatile(&raw const (*lease).until_ns) {
            // The daemon is gone or frozen: from now on a capture costs nothing again.
            ptr::write_volatile(&raw mut (*lease).until_ns, 0);
            return None;
        }
    }
    let link = Link::parse(ctx)?;
    let flags = interest(ctx, &link)?;
    if !has_room(lease) {
        return None;
    }
    let frame = CAPTURED_FRAME.get_ptr_mut(0)?;
    // SAFETY: the map value of this CPU, on which nothing else runs this program meanwhile.
    let frame = unsafe { &mut *frame };
    (frame.at_ns, frame.ifindex) = (now, link.ifindex);
    (frame.removed_tag, frame.flags) = (ctx.removed_tag() as u16, flags | ctx.capture_flags());
    copy_octets(ctx, frame)?;
    if virtual_mac != 0 {
        let [a, b, c, d, e, f, ..] = virtual_mac.to_le_bytes();
        frame.octets[..6].copy_from_slice(&[a, b, c, d, e, f]);
    }
    Some(())
}

/// Whether a frame is captured, and its flags then.
#[inline(always)]
fn interest(ctx: &Context, link: &Link) -> Option<u32> {
    match link.ethertype {
        eth::ETHERTYPE_ARP => Some(0),
        eth::ETHERTYPE_IPV4 => {
            (view::<ipv4::Header>(ctx, link.network)?.protocol() == PROTOCOL_VRRP).then_some(0)
        }
        eth::ETHERTYPE_IPV6 => match view::<ipv6::Head>(ctx, link.network)?.next_header() {
            PROTOCOL_VRRP => Some(0),
            NEXT_HEADER_ICMPV6 => ndp::is_about_neighbors(ctx, link).then_some(0),
            HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => Some(capture_flag::EXTENDED),
            _ => None,
        },
        // Whatever it is, it was hidden behind tags.
        ethertype if eth::is_tag(ethertype) => Some(0),
        _ => None,
    }
}

/// Whether the ring has room for the frame and a reply; counts the frame if not.
#[inline(always)]
fn has_room(lease: *mut CaptureLease) -> bool {
    // SAFETY: a helper on the map.
    let unread = unsafe { bpf_ringbuf_query(ptr::from_ref(&CAPTURED).cast_mut().cast(), UNREAD) };
    let has_room = unread + ROOM <= u64::from(CAPTURE_RING_BYTES);
    if !has_room {
        // SAFETY: an aligned word of the map.
        unsafe { add_atomically(&raw mut (*lease).lost, 1) };
    }
    has_room
}

/// Has `frame` hold the octets of the frame as it is now.
#[inline(always)]
fn copy_octets(ctx: &Context, frame: &mut CapturedFrame) -> Option<()> {
    let length = ctx.length();
    let captured = bounded(length.min(CAPTURE_OCTETS as u32));
    (frame.length, frame.captured) = (length, captured);
    ctx.load(frame.octets.as_mut_ptr(), captured)
}

/// A number of octets that is not 0, as a number that the verifier sees the bounds of.
#[inline(always)]
fn bounded(octets: u32) -> u32 {
    (octets.wrapping_sub(1) & (CAPTURE_OCTETS as u32 - 1)) + 1
}

/// Sends the copied frame and what became of it; then, if it was answered, the answer. Says whether it was a frame to be captured, since
/// a global function has to return something.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn capture_ruling(ctx: *mut Raw, number: u32) -> u32 {
    let ctx = &Context::new(ctx);
    let (Some(lease), Some(frame)) = (CAPTURE.get_ptr_mut(0), CAPTURED_FRAME.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: as in `copy_frame`.
    let frame = unsafe { &mut *frame };
    let [verdict, reason, ..] = number.to_le_bytes();
    if frame.flags & capture_flag::EXTENDED != 0 && reason == CapturedReason::NONE.number() {
        return 0;
    }
    (frame.verdict, frame.reason) = (verdict, reason);
    send(lease, frame);
    if verdict == verdict::TX && copy_octets(ctx, frame).is_some() {
        (frame.at_ns, frame.flags) = (events::now(), frame.flags | capture_flag::SENT);
        send(lease, frame);
    }
    1
}

/// Without a word to the daemon, which looks by itself: what wakes it for each frame would slow the program down.
#[inline(always)]
fn send(lease: *mut CaptureLease, frame: &CapturedFrame) {
    let length = CAPTURED_HEADER as u64 + u64::from(bounded(frame.captured));
    // SAFETY: helper on the map; as many octets of the map value as `CapturedFrame` has at most.
    let result = unsafe {
        bpf_ringbuf_output(
            ptr::from_ref(&CAPTURED).cast_mut().cast(),
            ptr::from_ref(frame).cast_mut().cast(),
            length,
            u64::from(BPF_RB_NO_WAKEUP),
        )
    };
    if result < 0 {
        // SAFETY: an aligned word of the map.
        unsafe { add_atomically(&raw mut (*lease).lost, 1) };
    }
}
