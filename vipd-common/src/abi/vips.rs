//! The VIP tables (`VIPS_A`, `VIPS_B`) and the counts of replies (`VIP_REPLIES`).

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Virtual addresses in each of the two tables that `VIPS` points to (allocated as they are used).
pub const MAX_VIPS: u32 = 65_536;
/// Slots of `VIP_REPLIES`: enough for both tables, so that a VIP that is new never gets one that is still counted in.
pub const REPLY_SLOTS: u32 = 2 * MAX_VIPS;

/// Key of the VIP tables: where a virtual address lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct VipKey {
    pub ifindex: u32,
    /// VLAN identifiers of the frame's tags, outermost first, 12 bits each; 0 when untagged.
    pub vlan: u32,
    pub address: [u8; 16],
}

/// Value of the VIP tables: the instance and lease of a virtual address, and the MAC of its replies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct VipEntry {
    /// Slot of `LEASES`.
    pub lease_slot: u32,
    /// Slot of `INSTANCES`.
    pub instance: u32,
    /// Slot of `VIP_REPLIES`.
    pub reply_slot: u32,
    /// The MAC that ARP replies and Neighbor Advertisements carry: the interface's own, or the virtual router's.
    pub mac: [u8; 6],
    /// Of [`vip_flag`].
    pub flags: u8,
    pub reserved: u8,
}

/// Bits of [`VipEntry::flags`].
pub mod vip_flag {
    /// Packets to the address are not for this host, even while it owns the address (RFC 9568 6.1, Accept_Mode False).
    pub const NO_ACCEPT: u8 = 1;
}

const _: () = {
    assert!(size_of::<VipKey>() == 24);
    assert!(size_of::<VipEntry>() == 20);
};
