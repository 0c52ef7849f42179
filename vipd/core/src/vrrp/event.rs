//! What a machine is told: adverts, the interface, the fate of its effects, the passing of time.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::{FaultReason, Reason, Settings};
use crate::time::Instant;

/// One valid advert of another router. Invalid ones and our own never get here: XDP drops them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Source address.
    pub source: IpAddr,
    /// 0 for a goodbye.
    pub priority: Priority,
    /// The sender's advert interval; in version 2 as configured here.
    pub interval: Duration,
    /// Form of the checksum.
    pub checksum: ChecksumForm,
    /// When XDP saw it, which may be long before it is handled.
    pub received_at: Instant,
}

/// Something that happened to one virtual router.
#[expect(missing_docs, reason = "the sentence of a variant names its fields")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An advert was received; `revoked`: XDP stored 0 in the lease word because of it.
    Advert { advert: Advert, revoked: bool },
    /// The advert last reported was heard again, last at `at`: same source, priority and interval.
    Heard { at: Instant },
    /// Before the first `Ready`: a former vipd left a lease that stands until `lease_until`.
    Inherited { lease_until: Instant },
    /// The interface is up, with this primary address.
    Ready { address: IpAddr },
    /// The interface is of no use now, or a tracked script, file, process or interface failed.
    Fault { reason: FaultReason },
    /// The effective priority is this from now on; of no effect on an address owner.
    Priority { priority: Priority },
    /// The configuration is another one from now on; family and VRID stay.
    Settings { settings: Settings },
    /// The lease word is not what we last wrote.
    LeaseLost,
    /// Another member of the sync group has given the lease up, which covers this one too.
    Synced,
    /// An advert that renews was sent at `at`, and the lease now ends at `lease_until`.
    AdvertSent { at: Instant, lease_until: Instant },
    /// An advert that renews could not be sent.
    AdvertFailed,
    /// Offer the mastership to any backup: if no backup takes over, it continues. Not for an address owner.
    HandOver,
    /// The master that is followed was heard to be compared as this, otherwise than by an advert: the next claim outbids that too.
    MasterRank { priority: Priority },
    /// Take over from the master that is followed by outbidding it, if the first advert leaves before `until`.
    Claim { reason: Reason, until: Instant },
    /// Say once more that this router is the master, whatever was said just now.
    Assert { announce: bool },
    /// The claim has done its work: back to the router's own priority. `yields`: it did not reach the master that it outbids.
    Settle { yields: bool },
    /// A peer is heard that does not hear this router, or no such peer is any more: meanwhile no master of lower priority is preempted.
    OneWay { one_way: bool },
    /// The other master whose advert was heard last does not hear this router: it is left to it.
    GiveWay,
    /// Hand over and stop.
    Shutdown,
    /// Time has passed.
    Timeout,
}

/// Another router, as it last advertised itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Source address of its adverts.
    pub address: IpAddr,
    /// Priority in its last advert.
    pub priority: Priority,
    /// Advert interval in its last advert.
    pub interval: Duration,
}

impl Advert {
    /// Whether the advert is not to be acted on at all.
    pub(super) fn is_void(&self, settings: &Settings, own: IpAddr) -> bool {
        // Erratum 8301: an interval of zero is discarded; it would make every backup fire at once.
        self.source == own || self.interval.is_zero() || settings.is_deaf_owner()
    }

    /// RFC 9568 6.4.3: the higher priority wins; ties go to the greater address, unsigned in network order.
    pub(super) fn beats(&self, settings: &Settings, own: IpAddr) -> bool {
        (self.priority, self.source) > (settings.priority, own)
    }
}

impl From<&Advert> for Peer {
    fn from(advert: &Advert) -> Self {
        Self { address: advert.source, priority: advert.priority, interval: advert.interval }
    }
}
