//! Messages of the ring buffer (`EVENTS`), and how many may come.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of the event ring: room for 4,096 events. When it is full the event is lost, counted in
/// `InstanceCounters::events_lost`, and reported again by the next advert of the same kind.
pub const EVENT_RING_BYTES: u32 = 256 * 1024;

/// Events about changing adverts of one instance reach the daemon at this rate at most, in the long run: 100 in a second. Whoever
/// sends more cannot keep its engine thread busy.
pub const EVENT_PERIOD_NS: u64 = 10_000_000;
/// As many may come at once: many routers that fail over together.
pub const EVENT_BURST: u64 = 32;
/// The same for all instances together: 500 in a second. Whoever sends adverts of every VRID keeps the engine thread no busier.
pub const ALL_EVENTS_PERIOD_NS: u64 = 2_000_000;
/// Two for each instance: all of them fail over at once.
pub const ALL_EVENTS_BURST: u64 = 2 * super::MAX_INSTANCES as u64;

/// What an event reports. In [`RingEvent::kind`].
pub mod event_kind {
    /// A valid advert that differs from the last one, or one that a router which owns its VIPs has to answer.
    pub const ADVERT: u32 = 1;
    /// As `ADVERT`, and the program has taken the lease back (stored 0) in the same packet's processing.
    pub const REVOKED: u32 = 2;
    /// Another station claims a VIP we own; `source` is the VIP and `mac` the station.
    pub const CONFLICT: u32 = 3;
}

/// A message in the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct RingEvent {
    /// One of [`event_kind`].
    pub kind: u32,
    /// Slot of `INSTANCES`.
    pub instance: u32,
    pub at_ns: u64,
    /// [`InstanceRecord::generation`](super::InstanceRecord::generation) after this advert.
    pub generation: u64,
    /// When the advert of the generation before was heard last: the stamp that this one overwrites.
    pub before_ns: u64,
    pub source: [u8; 16],
    /// Ethernet source of the frame (adverts), or the claiming station.
    pub mac: [u8; 6],
    pub priority: u8,
    /// A `ChecksumForm`.
    pub checksum: u8,
    /// Advert interval in centiseconds (v2's seconds times 100).
    pub interval_cs: u32,
    /// Not 0: the advert's address list differs from ours.
    pub address_list_differs: u16,
    /// Of [`deferring`]: events have come so fast that the next one may be deferred; see [`InstanceRecord::deferred`](super::InstanceRecord::deferred).
    pub deferring: u16,
}

/// Whose next event may be deferred. In [`RingEvent::deferring`], any of them.
pub mod deferring {
    /// That of this instance, if it comes within [`super::EVENT_PERIOD_NS`].
    pub const INSTANCE: u16 = 1;
    /// That of any instance, if it comes within [`super::ALL_EVENTS_PERIOD_NS`].
    pub const ALL: u16 = 2;
}

const _: () = {
    assert!(size_of::<RingEvent>() == 64);
    assert!(EVENT_RING_BYTES.is_power_of_two());
};
