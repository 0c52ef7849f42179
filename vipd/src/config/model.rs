//! The configuration as the daemon uses it: every value is valid, and none is left to be defaulted.

use std::{fmt, net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

/// Everything one file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub router_id: Option<String>,
    /// In the order of the file; names are unique, and so is (interface, family, vrid).
    pub instances: Vec<Instance>,
}

/// One virtual router (`vrrp_instance`).
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub name: String,
    pub interface: String,
    pub vrid: Vrid,
    pub version: Version,
    pub family: Family,
    /// 1 to 255.
    pub priority: Priority,
    pub wanted: WantedState,
    /// v2: whole seconds, 1 to 255. v3: 10 ms to 40.95 s in steps of 10 ms.
    pub advert_interval: Duration,
    /// Missed adverts before takeover, 1 to 100.
    pub down_timer_adverts: u8,
    /// `None` in v3, which has no authentication.
    pub auth: Auth,
    /// 1 to 255 addresses carried in adverts, in the order of the file.
    pub vips: Vec<Vip>,
    /// Addresses served but not carried in adverts.
    pub excluded: Vec<Vip>,
    pub preempt: bool,
    /// Zero unless `preempt`.
    pub preempt_delay: Duration,
    /// Source address of adverts, if not the interface's own.
    pub source: Option<IpAddr>,
    /// Multicast group of adverts.
    pub group: IpAddr,
    pub garp: Garp,
    /// Always `MessageOnly` in v2.
    pub checksum: ChecksumForm,
    /// An advert of lower priority is not answered with one of ours.
    pub lower_prio_no_advert: bool,
    pub lease: LeasePolicy,
    /// Where the block starts in its file.
    pub line: u32,
}

/// The state `state` asks for. It decides little: every instance starts as backup (keepalived too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedState {
    Master,
    Backup,
}

/// RFC 2338 authentication, which other v2 routers may still demand.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    None,
    /// Padded with zeros.
    Pass([u8; 8]),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Pass(_) => "Pass(****)",
        })
    }
}

/// A virtual address. vipd answers for it and puts it on no interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Unicast.
    pub address: IpAddr,
    pub prefix_len: u8,
}

/// When and how often the network is told where a VIP lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garp {
    /// Packets per address and burst, at least 1.
    pub repeat: u8,
    /// From becoming master to the second burst; `None`: no second burst.
    pub delay: Option<Duration>,
    /// Between refresh bursts of a master; `None`: no refresh.
    pub refresh: Option<Duration>,
    /// At least 1.
    pub refresh_repeat: u8,
    /// As `delay`, after an advert of lower priority was heard.
    pub lower_prio_delay: Option<Duration>,
    /// At least 1.
    pub lower_prio_repeat: u8,
    /// Between two packets on an interface; zero: no pacing.
    pub interval: Duration,
}

/// How long a master that stops renewing goes on answering for its VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasePolicy {
    /// Longer than any backup waits: no gap; a master cut off from all backups overlaps by less than an interval.
    Overlap,
    /// Shorter than any backup waits: silence always comes first, with a gap of one skew time.
    Strict,
}
