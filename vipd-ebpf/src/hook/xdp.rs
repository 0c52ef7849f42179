//! The hook in the driver: frames as the NIC delivered them, before the kernel has made anything of them.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    macros::xdp,
    programs::XdpContext,
};

use crate::verdict::Verdict;

/// What global functions take.
pub type Raw = xdp_md;

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

    /// Address behind the frame's last octet.
    #[inline(always)]
    pub fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { (*self.0).data_end as usize }
    }

    /// Index of the interface that the frame came in on.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// VLAN identifier of a tag that is no longer in the frame. XDP cannot see such a tag: vipd attaches here only where the
    /// NIC leaves tags in the frame.
    #[inline(always)]
    pub fn removed_tag(&self) -> u32 {
        0
    }

    /// Has the octets of a whole message follow each other in memory. A frame of several buffers stays as it is: what lies
    /// beyond the first counts as missing.
    #[inline(always)]
    pub fn linearize(&self) {}

    /// Octets of the frame, in all of its buffers.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        // SAFETY: a helper on the frame that this run is about.
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }

    /// Copies the frame's first `octets` octets, from whatever buffers they are in.
    #[inline(always)]
    pub fn load(&self, to: *mut u8, octets: u32) -> Option<()> {
        // SAFETY: as above; the verifier checks that there is room.
        (unsafe { bpf_xdp_load_bytes(self.0, 0, to.cast(), octets) } == 0).then_some(())
    }

    /// Copies octets of the frame, from whatever buffers they are in.
    #[inline(always)]
    pub fn load_at(&self, offset: u32, to: *mut u8, octets: u32) -> Option<()> {
        // SAFETY: as above.
        (unsafe { bpf_xdp_load_bytes(self.0, offset, to.cast(), octets) } == 0).then_some(())
    }

    /// What a captured frame says of the hook.
    #[inline(always)]
    pub fn capture_flags(&self) -> u32 {
        0
    }

    /// Makes the frame `length` octets long. What it gains holds whatever was there.
    #[inline(always)]
    pub fn resize(&self, length: usize) -> Option<()> {
        // SAFETY: helpers on the frame that this run is about; pointers into it are made anew by every access.
        let result = unsafe {
            let delta = length as i64 - bpf_xdp_get_buff_len(self.0) as i64;
            bpf_xdp_adjust_tail(self.0, delta as i32)
        };
        (result == 0).then_some(())
    }

    /// Has the kernel take the frame, whose destination was another address, for one to this host. The kernel has not looked
    /// at the destination yet.
    #[inline(always)]
    pub fn accept(&self) {}
}

#[xdp(frags)]
pub fn vipd_xdp(ctx: XdpContext) -> u32 {
    match crate::verdict(&Context(ctx.ctx)) {
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Tx => xdp_action::XDP_TX,
    }
}
