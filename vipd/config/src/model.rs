//! The configuration as the daemon uses it: every value is valid, and none is left to be defaulted.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::grammar::Value;

/// Everything one file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub router_id: Option<String>,
    /// In the order of the file. Names are unique, and so is (interface, family, vrid), except among unicast instances
    /// that have no peer in common.
    pub instances: Vec<Instance>,
    /// Of `global_defs`.
    pub statements: Vec<Statement>,
    /// Blocks at the top level.
    pub blocks: Vec<Statement>,
    /// `static_ipaddress`, `static_routes` and `static_rules`, which nothing serves yet.
    pub static_addresses: Vec<Vip>,
    pub static_routes: Vec<VirtualRoute>,
    pub static_rules: Vec<VirtualRule>,
}

/// A statement that was read by a grammar; what it says is valid by itself. `tracking` and `notify` look at those with an engine.
#[derive(Clone, Debug)]
pub struct Statement {
    /// As the file has it; none on a line of a block of lines.
    pub keyword: &'static str,
    pub values: Vec<Value>,
    /// What its braces hold. Where a keyword with a default was not given, the default.
    pub inside: Option<Vec<Statement>>,
    /// `FILE:LINE`; `None`: a default.
    pub place: Option<String>,
    /// Whether vipd does what it says.
    pub served: bool,
}

/// Two that say the same are the same wherever they stand.
impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        let Self { keyword, values, inside, place: _, served: _ } = self;
        *keyword == other.keyword && *values == other.values && *inside == other.inside
    }
}

/// One virtual router (`vrrp_instance`).
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub name: String,
    pub interface: String,
    pub vrid: Vrid,
    pub version: Version,
    /// Of `vips`. IPv6 is version 3.
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
    /// Addresses carried in adverts, all of `family`: 1 to 255 of IPv4, 1 to 90 of IPv6. In the order of the file,
    /// except that link-local ones come first (RFC 9568 5.2.9).
    pub vips: Vec<Vip>,
    /// Addresses served but not carried in adverts, of either family.
    pub excluded: Vec<Vip>,
    pub preempt: bool,
    /// Zero unless `preempt`.
    pub preempt_delay: Duration,
    /// Source address of adverts, if not the interface's own; of `family`. IPv6 multicast: link-local.
    pub source: Option<IpAddr>,
    /// Multicast group of adverts, of `family`; not used where there is `unicast`.
    pub group: IpAddr,
    /// `None`: adverts are multicast.
    pub unicast: Option<Unicast>,
    /// The VIPs have the virtual MAC 00-00-5E-00-0[12]-{VRID} (RFC 9568 7.3), not the interface's own.
    pub use_vmac: bool,
    /// Adverts have the interface's own MAC as source all the same; `false` without `use_vmac`.
    pub vmac_xmit_base: bool,
    /// The master takes packets addressed to a VIP (RFC 9568 6.1, Accept_Mode). Always `true` for an owner.
    pub accept: bool,
    /// Routes that exist while this router is master.
    pub virtual_routes: Vec<VirtualRoute>,
    /// Policy rules that exist while this router is master.
    pub virtual_rules: Vec<VirtualRule>,
    pub garp: Garp,
    /// Always `MessageOnly` in v2, always `PseudoHeader` in IPv6.
    pub checksum: ChecksumForm,
    /// An advert of lower priority is not answered with one of ours.
    pub lower_prio_no_advert: bool,
    /// How often a master asks the wire for its own VIPs; `None`: never.
    pub self_probe: Option<Duration>,
    pub lease: LeasePolicy,
    pub statements: Vec<Statement>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Unicast.
    pub address: IpAddr,
    pub prefix_len: u8,
    /// Where it is served, if not on the interface of the instance.
    pub interface: Option<String>,
    /// Whether the instance depends on `interface`.
    pub tracked: bool,
}

/// Adverts go to each peer instead of a multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unicast {
    /// At least one, all different, none of them the source of our adverts.
    pub peers: Vec<UnicastPeer>,
    /// TTL or hop limit of adverts sent.
    pub ttl: u8,
    /// Adverts from anybody but a peer are dropped.
    pub check_source: bool,
}

impl Unicast {
    /// The least TTL or hop limit that adverts of a peer may arrive with; 0: any will do.
    ///
    /// Where nothing is configured, a peer on the link is to send 255, as RFC 9568 5.1.1.3 has it for multicast: no router has
    /// forwarded the advert then. `unicast_ttl` below that says that the routers of the group send less. Over IPv6 keepalived
    /// 2.2.7 sends the kernel's default, 64: nothing is asked for there.
    pub fn min_ttl(&self, peer: &UnicastPeer, on_link: bool) -> u8 {
        let sends_255 = on_link && self.ttl == u8::MAX && peer.address.is_ipv4();
        peer.min_ttl.unwrap_or(if sends_255 { u8::MAX } else { 0 })
    }
}

/// Another router of the group, and the TTLs its adverts may arrive with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnicastPeer {
    pub address: IpAddr,
    /// 0: not checked. `None`: see [`Unicast::min_ttl`].
    pub min_ttl: Option<u8>,
    pub max_ttl: u8,
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
    /// Between two gratuitous ARPs on an interface; zero: no pacing.
    pub interval: Duration,
    /// As `interval`, for unsolicited neighbour advertisements.
    pub na_interval: Duration,
}

/// An IP prefix; no bit beyond `len` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub len: u8,
}

/// One line of `virtual_routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRoute {
    pub kind: RouteKind,
    pub destination: Prefix,
    /// At least one if `kind` is `Unicast`, else none.
    pub hops: Vec<Hop>,
    pub source: Option<IpAddr>,
    /// 254 is `main`.
    pub table: u32,
    pub metric: Option<u32>,
    pub scope: Option<u8>,
    pub mtu: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

/// A way a route takes: a gateway, an interface or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Of the destination's family, but an IPv4 route may have an IPv6 gateway.
    pub via: Option<IpAddr>,
    pub interface: Option<String>,
    /// Share of the traffic, 1 to 255.
    pub weight: u8,
    /// The gateway is on the link even if no prefix says so.
    pub onlink: bool,
}

/// One line of `virtual_rules`. What is `None` matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRule {
    /// Matches what the rest does not match.
    pub not: bool,
    pub family: Family,
    pub from: Option<Prefix>,
    pub to: Option<Prefix>,
    pub iif: Option<String>,
    pub oif: Option<String>,
    /// Value and mask.
    pub fwmark: Option<(u32, u32)>,
    /// `None`: the kernel chooses.
    pub preference: Option<u32>,
    pub action: RuleAction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Look the route up in this table.
    Table(u32),
    Blackhole,
    Unreachable,
    Prohibit,
}

impl Prefix {
    /// `address/len` without the bits beyond `len`, which is at most 32 or 128.
    pub fn new(address: IpAddr, len: u8) -> Self {
        let beyond = |width: u32| width.saturating_sub(len.into());
        let address = match address {
            // A shift by the whole width leaves no bit.
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(beyond(32)).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(beyond(128)).unwrap_or(0)).into()
            }
        };
        Self { address, len }
    }
}

/// How long a master that stops renewing goes on answering for its VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeasePolicy {
    /// Longer than any backup waits: no gap; a master cut off from all backups overlaps by less than an interval.
    Overlap,
    /// Shorter than any backup waits: silence always comes first, with a gap of one skew time.
    Strict,
}
