//! Lease words (`LEASES`): an array of `u64` deadlines, as every version promises to the next; see [`crate::lease`].

/// Slots of `LEASES`. An instance holds one, and the instances of a sync group hold one together.
pub const MAX_LEASES: u32 = 1024;
