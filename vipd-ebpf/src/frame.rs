//! The only pointer arithmetic on packets, and the link layer.
//!
//! An offset or index that is not a constant is bounded by a mask, never by a comparison. The verifier of Linux 6.1 narrows
//! only the copy of a number that is compared: a copy that LLVM has spilled to the stack before, and loads for the access,
//! is still any number to it. A mask makes the number itself small before anything can be spilled.

use core::{arch::asm, hint::assert_unchecked};

use vipd_common::{
    abi::{Count, VipKey},
    wire::{View, eth},
};

use crate::{
    address::Address,
    count::count,
    hook::Context,
    verdict::{Ruling, Verdict},
};

/// Octets before the network header, at most: Ethernet and two VLAN tags.
pub const MAX_NETWORK: usize = eth::HEADER + 2 * size_of::<eth::Tag>();

/// Points to a `T` at `offset` octets into the frame, or nowhere if the frame ends before its end.
#[inline(always)]
pub fn at<T>(ctx: &Context, offset: usize) -> Option<*mut T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(start as *mut T)
}

/// The view `V` of the octets at `offset`.
#[inline(always)]
pub fn view<V: View>(ctx: &Context, offset: usize) -> Option<&V> {
    let pointer = at::<V>(ctx, offset)?;
    // SAFETY: `at` has checked that all of it lies inside the frame, and no frame is at address 0. Any octets are a view, at any
    // address. Nobody writes to the frame while the program looks at it, but for the program itself, by `view_mut`.
    unsafe {
        // Or LLVM compares it with 0, which is how `None` is told from a reference.
        assert_unchecked(!pointer.is_null());
        Some(&*pointer)
    }
}

/// As [`view`], to write to. The caller has no other view of these octets then.
#[inline(always)]
#[expect(clippy::mut_from_ref, reason = "the frame is not the context's")]
pub fn view_mut<V: View>(ctx: &Context, offset: usize) -> Option<&mut V> {
    let pointer = at::<V>(ctx, offset)?;
    // SAFETY: as above.
    unsafe {
        assert_unchecked(!pointer.is_null());
        Some(&mut *pointer)
    }
}

/// Reads a `T` at `offset`; packets are not aligned.
#[inline(always)]
pub fn read<T: Copy>(ctx: &Context, offset: usize) -> Option<T> {
    // SAFETY: `at` has checked that the whole of `T` lies inside the frame.
    Some(unsafe { at::<T>(ctx, offset)?.read_unaligned() })
}

/// Reads a `T` at an offset that is no constant but for its bound.
///
/// LLVM may add what is compared with the frame's end and what is read to the frame's start one by one; the verifier then takes
/// the two for unrelated. An address that LLVM knows nothing of is added to once.
#[inline(always)]
pub fn read_behind<T: Copy>(ctx: &Context, offset: usize) -> Option<T> {
    let mut start = ctx.data() + offset;
    // SAFETY: adds nothing. (An instruction there has to be, or two lines of source begin at one, which the kernel refuses.)
    unsafe { asm!("{start} += 0", start = inout(reg) start, options(nomem, nostack)) };
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: all of it lies inside the frame, by the line above.
    Some(unsafe { (start as *const T).read_unaligned() })
}

/// Where a frame came in and where its network header starts.
#[derive(Clone, Copy)]
pub struct Link {
    pub ifindex: u32,
    /// VLAN identifiers of its tags, outermost first, 12 bits each.
    pub vlan: u32,
    /// Behind the tags that were read; of a frame with more of them that of a tag.
    pub ethertype: u16,
    /// Offset of the network header.
    pub network: usize,
}

impl Link {
    /// Reads the Ethernet header and up to two VLAN tags. A tag with identifier 0 has a priority only, and names no VLAN (IEEE
    /// 802.1Q 9.6): the kernel delivers such frames as untagged, however many such tags there are. `None` too of a frame in a
    /// VLAN three deep: no VIP is there.
    #[inline(always)]
    pub fn parse(ctx: &Context) -> Option<Self> {
        let mut vlan = ctx.removed_tag();
        let mut network = eth::HEADER;
        let mut ethertype = view::<eth::Header>(ctx, 0)?.ethertype();
        for _ in 0..2 {
            if !eth::is_tag(ethertype) {
                break;
            }
            let tag = view::<eth::Tag>(ctx, network)?;
            let id = u32::from(tag.vlan_id());
            if id != 0 {
                if vlan > u32::from(eth::MAX_VLAN_ID) {
                    return None;
                }
                vlan = vlan << 12 | id;
            }
            ethertype = tag.ethertype();
            network += size_of::<eth::Tag>();
        }
        Some(Self { ifindex: ctx.ifindex(), vlan, ethertype, network })
    }

    /// The verdict on a frame with another tag behind those that were read.
    ///
    /// With three VLANs it is in none where VIPs are. With fewer, one of the tags names no VLAN: the kernel would take it off and
    /// deliver what is behind it, which is not read here. Nobody sends such frames but to get past this program.
    #[inline(always)]
    pub fn judge_deep_tags(&self, ctx: &Context) -> Option<Ruling> {
        // As many tags as are read stand before it.
        let id = view::<eth::Tag>(ctx, MAX_NETWORK)?.vlan_id();
        if id != 0 && self.vlan > u32::from(eth::MAX_VLAN_ID) {
            return None;
        }
        Some(Verdict::Drop.because(count(Count::ExcessTags)))
    }

    #[inline(always)]
    pub fn vip_key(&self, address: Address) -> VipKey {
        VipKey { ifindex: self.ifindex, vlan: self.vlan, address: address.octets() }
    }
}
