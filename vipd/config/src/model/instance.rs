//! One virtual router.

use std::{fmt, net::IpAddr, time::Duration};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::{
    address::{Unicast, Vip},
    fence::Fence,
    garp::Garp,
    notify::Notify,
    probe::Probe,
    route::{VirtualRoute, VirtualRule},
    tracking::Tracks,
    weight::Weight,
};

/// One virtual router (`vrrp_instance`).
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub name: String,
    /// `interface`, on which adverts go out and VIPs are served unless their line says otherwise.
    pub interface: String,
    /// `virtual_router_id`, 1 to 255.
    pub vrid: Vrid,
    /// `version`. 2 unless given, and 3 with IPv6 addresses.
    pub version: Version,
    /// Of `vips`. IPv6 is version 3.
    pub family: Family,
    /// `priority`, 1 to 255. 100 unless given, 255 with `state MASTER`.
    pub priority: Priority,
    /// `state`. BACKUP unless given.
    pub wanted: WantedState,
    /// `advert_int`. 1 s unless given. v2: whole seconds, 1 to 255. v3: 10 ms to 40.95 s in steps of 10 ms.
    pub advert_interval: Duration,
    /// `down_timer_adverts`: missed adverts before takeover, 1 to 100. 3 unless given.
    pub down_timer_adverts: u8,
    /// `authentication`; `None` in v3, which has no authentication.
    pub auth: Auth,
    /// `virtual_ipaddress`: addresses carried in adverts, all of `family`: 1 to 255 of IPv4, 1 to 90 of IPv6. In the order of the file,
    /// except that link-local ones come first (RFC 9568 5.2.9).
    pub vips: Vec<Vip>,
    /// `virtual_ipaddress_excluded`: addresses served but not carried in adverts, of either family.
    pub excluded: Vec<Vip>,
    /// Unless `nopreempt`.
    pub preempt: bool,
    /// `preempt_delay`, in microseconds up to 1,000 s. Zero unless given, and unless `preempt`.
    pub preempt_delay: Duration,
    /// `mcast_src_ip` or `unicast_src_ip`: source address of adverts, if not the interface's own; of `family`. IPv6 multicast: link-local.
    pub source: Option<IpAddr>,
    /// `mcast_dst_ip`: multicast group of adverts, of `family`; not used where there is `unicast`.
    pub group: IpAddr,
    /// `None`: adverts are multicast.
    pub unicast: Option<Unicast>,
    /// `use_vmac`: the VIPs have the virtual MAC 00-00-5E-00-0[12]-{VRID} (RFC 9568 7.3), not the interface's own.
    pub use_vmac: bool,
    /// `vmac_xmit_base`: adverts have the interface's own MAC as source all the same; `false` without `use_vmac`.
    pub vmac_xmit_base: bool,
    /// `accept`: the master takes packets addressed to a VIP (RFC 9568 6.1, Accept_Mode). Always `true` for an owner. On unless given.
    pub accept: bool,
    /// `virtual_routes`: routes that exist while this router is master.
    pub virtual_routes: Vec<VirtualRoute>,
    /// `virtual_rules`: policy rules that exist while this router is master.
    pub virtual_rules: Vec<VirtualRule>,
    pub garp: Garp,
    /// `v3_checksum_as_v2`. Always `MessageOnly` in v2, always `PseudoHeader` in IPv6.
    pub checksum: ChecksumForm,
    /// `lower_prio_no_advert`: an advert of lower priority is not answered with one of ours. Off unless given.
    pub lower_prio_no_advert: bool,
    /// `self_probe`: how often a master asks the wire for its own VIPs; in whole seconds, 1 to
    /// 86,400; `None`: never. 30 s unless given.
    pub self_probe: Option<Duration>,
    /// `cluster_report`: how often this node reports its state of the virtual router to the other nodes; in whole seconds, 1 to 3,600;
    /// `None`: never, which it is unless given.
    pub cluster_report: Option<Duration>,
    /// `lease`. `Overlap` unless given.
    pub lease: LeasePolicy,
    /// `heartbeat_interface`: links that adverts go out of and are heard on besides `interface`, all different;
    /// `vipd_common::abi::MAX_HEARTBEATS` at most, none with `unicast`.
    pub heartbeat_links: Vec<HeartbeatLink>,
    pub tracks: Tracks,
    /// Whether it is in FAULT while its own interface is down: unless `dont_track_primary`.
    pub tracks_interface: bool,
    /// `track_src_ip`: whether it is in FAULT while its own interface does not have `source`. Off unless given.
    pub tracks_source: bool,
    /// `vip_visible`: the VIPs are shown as addresses of their interfaces while it is master. Off unless given.
    pub vip_visible: bool,
    pub notify: Notify,
    /// `notify_priority_changes`: changes of its priority are written to the FIFOs; `None`: as its group or `global_defs` says.
    pub notify_priority_changes: Option<bool>,
    pub fence: Option<Fence>,
    /// `probe`: `None`: nobody is probed, and nobody answered, which it is unless given.
    pub probe: Option<Probe>,
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

/// A line of `heartbeat_interface`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatLink {
    pub interface: String,
    /// What its state does to the priority, -253 to 253 and not 0. `None`: nothing depends on it, so that no FAULT comes of a
    /// link that is down.
    pub weight: Option<Weight>,
}

/// How long a master that stops renewing goes on answering for its VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasePolicy {
    /// Longer than any backup waits: no gap; a master cut off from all backups overlaps by less than an interval.
    Overlap,
    /// Shorter than any backup waits: silence always comes first, with a gap of one skew time.
    Strict,
}

impl Instance {
    /// Whether the state of a heartbeat link is to change its priority.
    pub fn weighs_heartbeats(&self) -> bool {
        self.heartbeat_links.iter().any(|link| link.weight.is_some())
    }

    /// From the last advert that a backup of this priority has heard to its takeover (RFC 9568 6.1, RFC 3768 6.1).
    pub fn master_down_interval(&self) -> Duration {
        let unit = match self.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => self.advert_interval,
        };
        let skew = unit * (256 - u32::from(self.priority.get())) / 256;
        self.advert_interval * u32::from(self.down_timer_adverts) + skew
    }

    /// The same from a partition: the last advert may have been heard up to an interval before.
    pub fn soonest_takeover(&self) -> Duration {
        self.master_down_interval().saturating_sub(self.advert_interval)
    }
}
