//! One virtual router as configured: what the election needs of it, already validated.

use std::time::Duration;

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

/// A virtual router as configured; every field has been validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// VRRP version of the adverts.
    pub version: Version,
    /// Address family of the adverts and VIPs.
    pub family: Family,
    /// Virtual router id.
    pub vrid: Vrid,
    /// 1 to 255; 255 owns the addresses.
    pub priority: Priority,
    /// v3: 10 ms to 40.95 s in steps of 10 ms; v2: whole seconds, 1 to 255.
    pub advert_interval: Duration,
    /// How many adverts a backup misses before it takes over; the RFC's 3 unless configured. 1 to 100.
    pub down_timer_adverts: u8,
    /// Whether a backup takes over from a master of lower priority. An owner does so in any case.
    pub preempt: bool,
    /// How long such a master is tolerated, from the first advert heard of it; zero: not at all.
    pub preempt_delay: Duration,
    /// What the lease outlasts.
    pub lease: LeasePolicy,
    /// When a master announces its addresses.
    pub garp: GarpTiming,
    /// A master does not advertise at once to a rival that it beats (RFC 5798's behaviour; default false).
    pub lower_prio_no_advert: bool,
    /// The checksum to send over v3 and IPv4, until a peer that uses the message-only form is heard.
    pub checksum: ChecksumForm,
    /// A takeover because nothing is heard waits until the former master is fenced.
    pub fence: bool,
    /// Set by [`Settings::share`] for the members of a sync group.
    pub shared: Option<GroupSettings>,
}

/// What the members of a sync group have in common, since one lease covers them all: the longest of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Longest advert interval of a member.
    pub advert_interval: Duration,
    /// Longest lease of a member.
    pub lease_length: Duration,
    /// Longest wait for a successor of a leaving member.
    pub leaving_bound: Duration,
}

impl Settings {
    /// Makes the members of a sync group share what belongs to their lease. One alone shares nothing.
    pub fn share(members: &mut [Self]) {
        members.iter_mut().for_each(|member| member.shared = None);
        let longest = |of: fn(&Self) -> Duration| members.iter().map(of).max().unwrap_or_default();
        let shared = (members.len() > 1).then(|| GroupSettings {
            advert_interval: longest(|member| member.advert_interval),
            lease_length: longest(Self::lease_length),
            leaving_bound: longest(Self::leaving_bound),
        });
        members.iter_mut().for_each(|member| member.shared = shared);
    }

    /// Whether a master of lower priority is to be replaced at all.
    pub fn preempts(&self) -> bool {
        // RFC 9568 6.1: the owner always preempts, independent of the setting of Preempt_Mode.
        self.preempt || self.priority.is_owner()
    }

    /// How long a master of lower priority is tolerated.
    pub fn preempt_delay(&self) -> Duration {
        if self.priority.is_owner() { Duration::ZERO } else { self.preempt_delay }
    }

    /// Whether this is an address owner that hears no adverts at all.
    ///
    /// RFC 3768 7.1 has an owner discard every advert; for v3 erratum 8298 has it processed, so that two owners
    /// settle on one.
    pub fn is_deaf_owner(&self) -> bool {
        self.version == Version::V2 && self.priority.is_owner()
    }
}

/// What a lease outlasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeasePolicy {
    /// The wait of every backup: no gap when only the daemon died, two owners for less than one interval when
    /// neither hears the other.
    #[default]
    Overlap,
    /// Nothing: it ends before any backup takes over, at the price of a gap of one skew time.
    Strict,
}

/// When a master announces its addresses; keepalived's `garp_master_*` and `garp_lower_prio_*`.
///
/// A `repeat` of 0 turns that announcement off, as does a delay or period of `None` or zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GarpTiming {
    /// `garp_master_repeat`: frames per address on becoming master, and again after `master_delay`.
    pub master_repeat: u8,
    /// `garp_master_delay`: from the takeover to the second announcement.
    pub master_delay: Option<Duration>,
    /// `garp_master_refresh`: period of the announcements of a standing master.
    pub master_refresh: Option<Duration>,
    /// Frames per address of each of them.
    pub master_refresh_repeat: u8,
    /// Frames per address after a rival was heard, and again after `lower_prio_delay`.
    pub lower_prio_repeat: u8,
    /// From a rival's advert to the second announcement.
    pub lower_prio_delay: Option<Duration>,
}

impl Default for GarpTiming {
    /// keepalived's defaults: five at once, five more after 5 s, the same after a rival, no refresh.
    fn default() -> Self {
        Self {
            master_repeat: 5,
            master_delay: Some(Duration::from_secs(5)),
            master_refresh: None,
            master_refresh_repeat: 1,
            lower_prio_repeat: 5,
            lower_prio_delay: Some(Duration::from_secs(5)),
        }
    }
}
