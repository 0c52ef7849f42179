//! What is found on this host: interfaces with addresses.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
};
use vipd_common::wire::eth::MacAddr;

/// An interface that is up and has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub mac: Option<MacAddr>,
    /// With the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// All of them, loopback ones aside.
pub fn interfaces() -> Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    let mut macs = BTreeMap::new();
    for entry in getifaddrs()? {
        let is_loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        if is_loopback || !entry.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let address = |storage: Option<nix::sys::socket::SockaddrStorage>| {
            let storage = storage?;
            let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        };
        if let Some(mac) = entry.address.and_then(|a| a.as_link_addr().and_then(|link| link.addr())) {
            macs.insert(entry.interface_name, MacAddr(mac));
            continue;
        }
        let (Some(own), Some(mask)) = (address(entry.address), address(entry.netmask)) else { continue };
        let name = entry.interface_name;
        let Ok(index) = if_nametoindex(name.as_str()) else { continue };
        let interface =
            found.entry(name.clone()).or_insert(Interface { name, index, mac: None, addresses: Vec::new() });
        interface.addresses.push((own, ones(mask)));
    }
    let with_mac = |mut interface: Interface| {
        interface.mac = macs.get(&interface.name).copied();
        interface
    };
    Ok(found.into_values().map(with_mac).collect())
}

fn ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    u8::try_from(ones).unwrap_or(128)
}

impl Interface {
    /// Its address in the subnet of another one, with the length of the prefix; a link-local one is in no subnet.
    pub fn beside(&self, other: IpAddr) -> Option<(IpAddr, u8)> {
        self.addresses.iter().copied().find(|(own, len)| is_within(*own, *len, other))
    }
}

fn is_within(own: IpAddr, len: u8, other: IpAddr) -> bool {
    let shifted = |bits: u128, width: u32| bits.checked_shr(width.saturating_sub(len.into())).unwrap_or(0);
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            shifted(own.to_bits().into(), 32) == shifted(other.to_bits().into(), 32)
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => shifted(own.to_bits(), 128) == shifted(other.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_its_subnet() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let addresses = vec![(ip("192.168.1.5"), 24), (ip("10.0.0.5"), 8), (ip("2001:db8::5"), 64)];
        let interface = Interface { name: "eth0".into(), index: 2, mac: None, addresses };
        for (other, expect) in [
            ("192.168.1.200", Some(("192.168.1.5", 24))),
            ("192.168.2.1", None),
            ("10.9.9.9", Some(("10.0.0.5", 8))),
            ("2001:db8::1:2", Some(("2001:db8::5", 64))),
            ("2001:db9::1", None),
        ] {
            assert_eq!(interface.beside(ip(other)), expect.map(|(own, len)| (ip(own), len)), "{other}");
        }
    }
}
