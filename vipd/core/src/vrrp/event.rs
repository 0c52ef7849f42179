//! What a machine is told: adverts, the interface, the fate of its effects, the passing of time.

use std::{net::IpAddr, time::Duration};

use vipd_common::{Priority, types::ChecksumForm};

use super::{FaultReason, Settings};
use crate::time::Instant;

/// One valid advert of another router. Invalid ones and our own never get here: XDP drops them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    pub source: IpAddr,
    pub priority: Priority,
    pub interval: Duration,
    pub checksum: ChecksumForm,
    /// When XDP saw it, which may be long before it is handled.
    pub received_at: Instant,
}

/// Something that happened to one virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An advert was received; `revoked`: XDP stored 0 in the lease word because of it.
    Advert { advert: Advert, revoked: bool },
    /// The advert last reported was heard again, last at `at`: same source, priority and interval.
    Heard { at: Instant },
    /// Before the first `Ready`: the vipd before this one left the lease standing until `lease_until`.
    Inherited { lease_until: Instant },
    /// The interface is up, with this primary address.
    Ready { address: IpAddr },
    /// The interface is of no use now, or what the router depends on is not well.
    Fault { reason: FaultReason },
    /// What the router depends on has changed its priority; of no effect on an owner.
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
    /// Offer the mastership to whoever wants it: if nobody takes over, it goes on. Not for an owner.
    HandOver,
    /// Hand over and stop.
    Shutdown,
    /// Time has passed.
    Timeout,
}

/// Another router, as it last advertised itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    pub priority: Priority,
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
