//! Virtual addresses, prefixes and the other routers of a unicast group.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A virtual address. vipd answers for it and puts it on no interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Unicast.
    pub address: IpAddr,
    pub prefix_len: u8,
    /// `dev`: where it is served, if not on the interface of the instance.
    pub interface: Option<String>,
    /// Whether the instance depends on `interface`: unless `no_track`.
    pub tracked: bool,
}

/// Adverts go to each peer instead of a multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unicast {
    /// `unicast_peer`: at least one, all different, none of them the source of our adverts.
    pub peers: Vec<UnicastPeer>,
    /// `unicast_ttl`: TTL or hop limit of adverts sent. 255 unless given.
    pub ttl: u8,
    /// `check_unicast_src`: adverts from anybody but a peer are dropped. On unless given.
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
    /// `min_ttl`; 0: not checked, as with a `max_ttl` alone. `None`: see [`Unicast::min_ttl`].
    pub min_ttl: Option<u8>,
    /// `max_ttl`. 255 unless given.
    pub max_ttl: u8,
}

/// An IP prefix; no bit beyond `len` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub len: u8,
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
