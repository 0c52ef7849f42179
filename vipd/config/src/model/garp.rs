//! Gratuitous ARP and unsolicited neighbour advertisements.

use std::time::Duration;

/// When and how often the network is told where a VIP lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garp {
    /// `garp_master_delay`: from becoming master to the second burst, in whole seconds, 1 to 86,400; `None`: no second burst.
    /// 5 s unless given, none with `vrrp_min_garp`.
    pub master_delay: Option<Duration>,
    /// `garp_master_repeat`: packets per address and burst, 1 to 255. 5 unless given, 1 with `vrrp_min_garp`.
    pub master_repeat: u8,
    /// `garp_master_refresh`: between refresh bursts of a master, in whole seconds, 1 to 86,400; `None`: no refresh, which is
    /// the default.
    pub master_refresh: Option<Duration>,
    /// `garp_master_refresh_repeat`: as `master_repeat`, of a refresh burst. 1 unless given.
    pub master_refresh_repeat: u8,
    /// `garp_lower_prio_delay`: as `master_delay`, after an advert of lower priority was heard. `vrrp_garp_master_delay` unless given,
    /// none with `vrrp_strict`.
    pub lower_prio_delay: Option<Duration>,
    /// `garp_lower_prio_repeat`: as `master_repeat`, after an advert of lower priority was heard; 0: no packet. `vrrp_garp_master_repeat`
    /// unless given, 0 with `vrrp_strict`.
    pub lower_prio_repeat: u8,
    /// `vrrp_garp_interval`: between two gratuitous ARPs on an interface, in microseconds up to 1,000 s; zero: no pacing, which
    /// is the default.
    pub interval: Duration,
    /// `vrrp_gna_interval`: as `interval`, for unsolicited neighbour advertisements.
    pub gna_interval: Duration,
}
