//! Which virtual router a frame is about.

use vipd_common::abi::{Count, IndexEntry, InstanceKey, InstanceRecord};

use crate::{
    count::count,
    frame::Link,
    maps::{INSTANCE_INDEX, INSTANCES},
};

pub const FAMILY_V4: u8 = 4;
pub const FAMILY_V6: u8 = 6;

/// Looks a virtual router of the receiving interface and VLAN up: its index entry and its map value.
#[inline(always)]
pub fn find(link: &Link, family: u8, vrid: u8) -> Option<(IndexEntry, *mut InstanceRecord)> {
    let key = InstanceKey { ifindex: link.ifindex, vlan: link.vlan, family, vrid, reserved: [0; 2] };
    // SAFETY: a value of the map, written by the daemon as a whole.
    let entry = unsafe { *INSTANCE_INDEX.get_ptr(&key)? };
    let instance = INSTANCES.get_ptr_mut(entry.slot);
    if instance.is_none() {
        count(Count::DanglingEntries);
    }
    Some((entry, instance?))
}
