//! What a valid advert of another router means to the one that hears it: whether it takes the lease, and whether the
//! daemon is to be told.
//!
//! The XDP program decides by these functions, and so does the simulation.

use crate::{abi::InstanceRecord, address::Address};

/// An unchanged rival is reported again after this time: often enough to answer it, too rarely to be a flood.
pub const RIVAL_EVENT_NS: u64 = 10_000_000;

/// A valid advert of another router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RivalAdvert {
    pub source: Address,
    pub priority: u8,
    pub interval_cs: u32,
    /// A `ChecksumForm`.
    pub checksum: u8,
}

/// What an advert does to our ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// We were not the owner.
    None,
    /// We were, until our lease ran out, and somebody else speaks now: it is to be so also for a daemon that wakes up in
    /// the middle of a renewal.
    Lapsed,
    /// We are, and stay it.
    Kept,
    /// We were.
    Lost,
}

impl Tenure {
    /// Whether 0 is to be stored in the lease word, here and now.
    #[inline(always)]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Lapsed | Self::Lost)
    }
}

impl RivalAdvert {
    /// Whether the rival takes the VIPs from us, whose lease word is `until`.
    ///
    /// It does if it beats us (RFC 9568 6.4.3), or if our last renewal is so old that we must be dead or frozen: then
    /// whoever speaks has taken over. A router that is leaving (priority 0) takes nothing.
    #[inline(always)]
    pub fn tenure(&self, ours: &InstanceRecord, until: u64, now: u64) -> Tenure {
        if until == 0 {
            return Tenure::None;
        }
        let live = now < until;
        if self.priority == 0 {
            return if live { Tenure::Kept } else { Tenure::None };
        }
        if !live {
            return Tenure::Lapsed;
        }
        let beats = self.priority > ours.priority
            || self.priority == ours.priority && self.source.is_greater(Address::from_octets(ours.primary));
        if beats || is_stale(ours, until, now) { Tenure::Lost } else { Tenure::Kept }
    }

    /// As [`tenure`](Self::tenure), of what a probe says of its sender: that it owns the VIPs, or claims them.
    ///
    /// With probes a daemon is known to be dead or frozen long before its last renewal is old: by its beat
    /// ([`sponsor`](crate::sponsor)), which `beat_is_stale` says is older than a detection time.
    #[inline(always)]
    pub fn tenure_by_probe(
        &self,
        ours: &InstanceRecord,
        until: u64,
        beat_is_stale: bool,
        now: u64,
    ) -> Tenure {
        match self.tenure(ours, until, now) {
            Tenure::Kept if beat_is_stale && self.priority != 0 => Tenure::Lost,
            tenure => tenure,
        }
    }

    /// As [`tenure`](Self::tenure), of an address owner over version 2: it discards every advert (RFC 3768 7.1), but one
    /// that is dead or frozen has a successor all the same.
    #[inline(always)]
    pub fn tenure_of_deaf_owner(&self, ours: &InstanceRecord, until: u64, now: u64) -> Tenure {
        match self.tenure(ours, until, now) {
            Tenure::Lost if !is_stale(ours, until, now) => Tenure::Kept,
            tenure => tenure,
        }
    }

    /// Whether the daemon is to be told: of what is new, and to an owner of every rival now and then.
    #[inline(always)]
    pub fn is_to_be_reported(&self, record: &InstanceRecord, tenure: Tenure, now: u64) -> bool {
        match tenure {
            Tenure::Lost => true,
            Tenure::Kept => {
                self.is_news(record) || now.saturating_sub(record.rival_event_ns) >= RIVAL_EVENT_NS
            }
            Tenure::None | Tenure::Lapsed => self.is_news(record),
        }
    }

    #[inline(always)]
    fn is_news(&self, record: &InstanceRecord) -> bool {
        // A goodbye that is repeated is stamped as any advert, and waited for no differently.
        record.resync != 0
            || self.priority != record.source_priority
            || self.interval_cs != record.source_interval_cs
            || self.checksum != record.source_checksum
            || self.source != Address::from_octets(record.source)
    }

    /// Describes the rival in the record, once the daemon has been told; the event had this `generation`.
    #[inline(always)]
    pub fn describe(&self, record: &mut InstanceRecord, generation: u64, now: u64) {
        record.generation = generation;
        record.resync = 0;
        record.rival_event_ns = now;
        record.source = self.source.octets();
        record.source_priority = self.priority;
        record.source_interval_cs = self.interval_cs;
        record.source_checksum = self.checksum;
    }
}

/// Whether the last renewal, at `until - lease_ns`, is too long ago for a daemon that is alive.
#[inline(always)]
fn is_stale(ours: &InstanceRecord, until: u64, now: u64) -> bool {
    now.wrapping_add(ours.lease_ns) > until.wrapping_add(ours.stale_after_ns)
}
