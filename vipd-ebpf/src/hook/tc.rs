//! The hook at tc ingress: frames as socket buffers, on the interface that the configuration names.
//!
//! It sees what XDP below a bond, a bridge or a VLAN cannot: the logical interface, and tags that are in the buffer's
//! metadata. It comes before every protocol handler of the kernel, and leaves other programs their turn.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::{
        bpf_redirect, bpf_skb_change_tail, bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_pull_data,
    },
    macros::classifier,
    programs::TcContext,
};

use vipd_common::{
    abi::capture_flag,
    wire::{eth, ipv6, ndp, udp},
};

use crate::{frame::MAX_NETWORK, verdict::Verdict};

/// What global functions take.
pub type Raw = __sk_buff;

/// `PACKET_HOST` of linux/if_packet.h.
const PACKET_HOST: u32 = 0;
/// What has to be in the buffer's linear part before anything is read: the longest headers up to the type of an ICMPv6 message, or to the end
/// of a UDP header.
const HEADERS: u32 = (MAX_NETWORK + ipv6::HEADER + udp::HEADER) as u32;
const _: () = assert!(size_of::<ndp::Type>() <= udp::HEADER);

/// A frame, and where it came in.
pub struct Context(*mut Raw);

impl Context {
    #[inline(always)]
    pub fn new(raw: *mut Raw) -> Self {
        Self(raw)
    }

    #[inline(always)]
    pub fn raw(&self) -> *mut Raw {
        self.0
    }

    /// Address of the frame's first octet.
    #[inline(always)]
    pub fn data(&self) -> usize {
        // SAFETY: the kernel's context of this run.
        unsafe { (*self.0).data as usize }
    }

    /// Address behind the last octet of the buffer's linear part.
    #[inline(always)]
    pub fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).data_end as usize }
    }

    /// Index of the interface that the frame has arrived at.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).ifindex }
    }

    /// VLAN identifier of the tag that the NIC or the kernel has put into the buffer's metadata; 0 if there is none.
    #[inline(always)]
    pub fn removed_tag(&self) -> u32 {
        // SAFETY: as above.
        unsafe {
            if (*self.0).vlan_present != 0 { (*self.0).vlan_tci & u32::from(eth::MAX_VLAN_ID) } else { 0 }
        }
    }

    /// Has the octets of a whole message follow each other in memory.
    #[inline(always)]
    pub fn linearize(&self) {
        // SAFETY: as above.
        self.pull(unsafe { (*self.0).len });
    }

    /// Has the first `wanted` octets, or as many as there are, follow each other in memory.
    #[inline(always)]
    fn pull(&self, wanted: u32) {
        // SAFETY: as above; pointers into the frame are made anew by every access.
        unsafe {
            if self.data() + (wanted as usize) > self.data_end() {
                bpf_skb_pull_data(self.0, wanted.min((*self.0).len));
            }
        }
    }

    /// Octets of the frame, wherever they are.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).len }
    }

    /// Copies the frame's first `octets` octets, wherever they are.
    #[inline(always)]
    pub fn load(&self, to: *mut u8, octets: u32) -> Option<()> {
        // SAFETY: as above; the verifier checks that there is room.
        (unsafe { bpf_skb_load_bytes(self.0.cast(), 0, to.cast(), octets) } == 0).then_some(())
    }

    /// Copies octets of the frame, wherever they are.
    #[inline(always)]
    pub fn load_at(&self, offset: u32, to: *mut u8, octets: u32) -> Option<()> {
        // SAFETY: as above.
        (unsafe { bpf_skb_load_bytes(self.0.cast(), offset, to.cast(), octets) } == 0).then_some(())
    }

    /// What a captured frame says of the hook.
    #[inline(always)]
    pub fn capture_flags(&self) -> u32 {
        capture_flag::TC
    }

    /// Makes the frame `length` octets long. What it gains is zero.
    #[inline(always)]
    pub fn resize(&self, length: usize) -> Option<()> {
        // SAFETY: as above.
        let result = unsafe { bpf_skb_change_tail(self.0, length as u32, 0) };
        (result == 0).then_some(())
    }

    /// Has the kernel take the frame, whose destination was another address, for one to this host.
    #[inline(always)]
    pub fn accept(&self) {
        // SAFETY: as above.
        unsafe { bpf_skb_change_type(self.0, PACKET_HOST) };
    }
}

#[classifier]
pub fn vipd_tc(ctx: TcContext) -> i32 {
    let ctx = Context(ctx.skb.skb);
    ctx.pull(HEADERS);
    match crate::verdict(&ctx) {
        Verdict::Drop => TC_ACT_SHOT,
        // The next program's turn; without one the kernel goes on.
        Verdict::Pass => TC_ACT_UNSPEC,
        // SAFETY: a helper on numbers. Out of the interface that the frame came in on; a tag in the metadata stays with it.
        Verdict::Tx => unsafe { bpf_redirect(ctx.ifindex(), 0) as i32 },
    }
}
