//! Which virtual router a frame is about.

use vipd_common::{
    Family,
    abi::{Count, IndexEntry, InstanceKey, InstanceRecord},
};

use crate::{
    count::count,
    frame::Link,
    maps::{INSTANCE_INDEX, INSTANCES},
};

/// Looks a virtual router of the receiving interface and VLAN up: its index entry and its map value.
#[inline(always)]
pub fn find(link: &Link, family: Family, vrid: u8) -> Option<(IndexEntry, *mut InstanceRecord)> {
    let key =
        InstanceKey { ifindex: link.ifindex, vlan: link.vlan, family: family as u8, vrid, reserved: [0; 2] };
    // SAFETY: a value of the map, written by the daemon as a whole.
    let entry = unsafe { *INSTANCE_INDEX.get_ptr(&key)? };
    let instance = INSTANCES.get_ptr_mut(entry.slot);
    if instance.is_none() {
        count(Count::DanglingEntries);
    }
    Some((entry, instance?))
}
