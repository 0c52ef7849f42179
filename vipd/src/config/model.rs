//! The validated configuration: what the rest of vipd runs on. It cannot hold a value that makes no sense.

use std::{fmt, net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub router_id: Option<String>,
    /// At least one; names, and VRIDs per interface and family, are unique, and so is every address.
    pub instances: Vec<Instance>,
}

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Missed adverts before a backup takes over, 1 to 100.
    pub down_timer_adverts: u8,
    /// `None` with v3.
    pub auth: Auth,
    /// Addresses carried in adverts, 1 to 255.
    pub vips: Vec<Vip>,
    /// Addresses held but not carried in adverts.
    pub excluded: Vec<Vip>,
    pub preempt: bool,
    pub preempt_delay: Duration,
    /// Source of adverts; `None` for the interface's own address.
    pub source: Option<IpAddr>,
    /// Multicast group of adverts.
    pub group: IpAddr,
    pub garp: Garp,
    pub checksum: ChecksumForm,
    pub lower_prio_no_advert: bool,
    pub lease: LeasePolicy,
    /// Where its block starts in the file.
    pub line: u32,
}

/// The `state` keyword. Every instance starts as backup all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedState {
    Master,
    Backup,
}

/// RFC 2338 authentication of v2 adverts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    None,
    /// Padded with zeros.
    Pass([u8; 8]),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Pass(_) => "Pass(hidden)",
        })
    }
}

/// When the data plane stops answering for an address if the daemon falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasePolicy {
    Overlap,
    Strict,
}

/// Gratuitous ARP: packets per address per burst, and when bursts happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garp {
    /// At least 1.
    pub repeat: u8,
    /// From the first burst to the second; `None` for a single one.
    pub delay: Option<Duration>,
    /// Between bursts while master.
    pub refresh: Option<Duration>,
    /// At least 1.
    pub refresh_repeat: u8,
    pub lower_prio_delay: Option<Duration>,
    /// After a lower priority advert; 0 for no burst.
    pub lower_prio_repeat: u8,
    /// Between two packets; zero for no pacing.
    pub interval: Duration,
}

/// A virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vip {
    pub address: IpAddr,
    pub prefix_len: u8,
}
