//! Routes and rules that follow mastership.

use std::net::IpAddr;

use vipd_common::Family;

use super::address::Prefix;

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
