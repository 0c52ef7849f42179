//! What one block says, value by value: each is in range by itself, whether they fit together is not known yet.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use vipd_common::Family;

use super::{
    lexer::{Span, Word},
    model::{LeasePolicy, RouteKind, Statement, UnicastPeer, Vip, VirtualRoute, VirtualRule, WantedState},
};

/// The keywords of `global_defs` or of one `vrrp_instance`, its sub-blocks included. `None`: not given.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub router_id: Slot<String>,
    pub group4: Slot<IpAddr>,
    pub group6: Slot<IpAddr>,
    pub min_garp: Slot<bool>,
    pub garp_interval: Slot<Duration>,
    pub na_interval: Slot<Duration>,

    pub state: Slot<WantedState>,
    pub interface: Slot<String>,
    pub vrid: Slot<u32>,
    pub priority: Slot<u32>,
    pub advert_interval: Slot<Duration>,
    pub auth_type: Slot<AuthType>,
    pub auth_pass: Slot<String>,
    pub multicast_source: Slot<IpAddr>,
    pub unicast_source: Slot<IpAddr>,
    pub group: Slot<IpAddr>,
    pub peers: Vec<Spanned<UnicastPeer>>,
    pub unicast_ttl: Slot<u32>,
    pub use_vmac: Slot<()>,
    pub vmac_xmit_base: Slot<()>,
    pub preempt: Slot<()>,
    pub nopreempt: Slot<()>,
    pub preempt_delay: Slot<Duration>,
    pub accept: Slot<bool>,
    /// With the interface of each `dev`, even where it is the instance's own.
    pub vips: Vec<Spanned<Vip>>,
    pub excluded: Vec<Spanned<Vip>>,
    pub routes: Vec<VirtualRoute>,
    pub rules: Vec<VirtualRule>,
    /// Of `heartbeat_interface`.
    pub heartbeats: Vec<Spanned<String>>,

    /// What has no engine.
    pub statements: Vec<Statement>,

    pub shared: Shared,
    pub line: Line,
    /// What was given, whether or not its value could be used.
    pub seen: Seen,
    /// Part of the block could not be read, so what is missing may be there.
    pub partial: bool,
}

/// Settings that `global_defs` gives to every instance and an instance may give itself.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    pub version: Slot<u32>,
    pub garp_delay: Slot<Duration>,
    pub garp_repeat: Slot<u32>,
    pub garp_refresh: Slot<Duration>,
    pub garp_refresh_repeat: Slot<u32>,
    pub garp_lower_prio_delay: Slot<Duration>,
    pub garp_lower_prio_repeat: Slot<u32>,
    pub down_timer_adverts: Slot<u32>,
    pub lower_prio_no_advert: Slot<bool>,
    pub v3_checksum_as_v2: Slot<bool>,
    pub check_unicast_src: Slot<bool>,
    pub strict: Slot<bool>,
    pub lease: Slot<LeasePolicy>,
    pub self_probe: Slot<u32>,
}

/// The words of one line of addresses, peers, routes or rules. Each line is read into [`Settings`] of its own.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub interface: Slot<String>,
    pub no_track: Slot<()>,
    pub min_ttl: Slot<u32>,
    pub max_ttl: Slot<u32>,
    /// What a route or rule does with a packet, where it says more than `table`.
    pub kind: Slot<RouteKind>,
    pub to: Slot<Target>,
    pub from: Slot<Target>,
    pub via: Slot<IpAddr>,
    pub source: Slot<IpAddr>,
    pub table: Slot<u32>,
    pub metric: Slot<u32>,
    pub scope: Slot<u32>,
    pub mtu: Slot<u32>,
    pub weight: Slot<u32>,
    pub onlink: Slot<()>,
    pub not: Slot<()>,
    pub iif: Slot<String>,
    pub oif: Slot<String>,
    pub fwmark: Slot<(u32, u32)>,
    pub family: Slot<Family>,
}

/// A prefix as written, or `default`, which has no family of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Everything,
    /// Bits beyond the length may be set still.
    Prefix {
        address: IpAddr,
        len: u8,
    },
}

pub type Slot<T> = Option<Spanned<T>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    Pass,
    Ah,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// Where keywords were given first and last, by their `means`.
#[derive(Clone, Debug, Default)]
pub struct Seen(HashMap<&'static str, (Span, Span)>);

impl Seen {
    pub fn add(&mut self, means: &'static str, span: Span) {
        self.0.entry(means).and_modify(|(_, last)| *last = span).or_insert((span, span));
    }

    pub fn forget(&mut self, means: &str) {
        self.0.remove(means);
    }

    pub fn last(&self) -> impl Iterator<Item = (&'static str, Span)> {
        self.0.iter().map(|(means, (_, last))| (*means, *last))
    }
}

impl Settings {
    /// Where a keyword was given; `means` is its own name unless it is a synonym.
    pub fn seen_at(&self, means: &str) -> Option<Span> {
        self.seen.0.get(means).map(|(first, _)| *first)
    }
}

impl Shared {
    /// These settings, and `global`'s where there are none.
    pub fn or(&self, global: &Self) -> Self {
        fn first<T: Clone>(own: &Slot<T>, global: &Slot<T>) -> Slot<T> {
            own.as_ref().or(global.as_ref()).cloned()
        }
        Self {
            version: first(&self.version, &global.version),
            garp_delay: first(&self.garp_delay, &global.garp_delay),
            garp_repeat: first(&self.garp_repeat, &global.garp_repeat),
            garp_refresh: first(&self.garp_refresh, &global.garp_refresh),
            garp_refresh_repeat: first(&self.garp_refresh_repeat, &global.garp_refresh_repeat),
            garp_lower_prio_delay: first(&self.garp_lower_prio_delay, &global.garp_lower_prio_delay),
            garp_lower_prio_repeat: first(&self.garp_lower_prio_repeat, &global.garp_lower_prio_repeat),
            down_timer_adverts: first(&self.down_timer_adverts, &global.down_timer_adverts),
            lower_prio_no_advert: first(&self.lower_prio_no_advert, &global.lower_prio_no_advert),
            v3_checksum_as_v2: first(&self.v3_checksum_as_v2, &global.v3_checksum_as_v2),
            check_unicast_src: first(&self.check_unicast_src, &global.check_unicast_src),
            strict: first(&self.strict, &global.strict),
            lease: first(&self.lease, &global.lease),
            self_probe: first(&self.self_probe, &global.self_probe),
        }
    }
}

impl<T> Spanned<T> {
    pub fn new(value: T, word: &Word) -> Self {
        Self { value, span: word.span }
    }
}

/// The value, or `default` where none was given.
pub fn value_or<T: Clone>(slot: &Slot<T>, default: T) -> T {
    slot.as_ref().map_or(default, |given| given.value.clone())
}
