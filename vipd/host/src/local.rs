//! Whether an address is one of this host's, on whatever interface.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use vipd_system::resources::is_shortage;

/// Asks the routing table, without a packet and without the kernel's configuration lock, so that the engine thread may ask.
///
/// The kernel gives a socket that is connected to one of the host's own addresses that address as its source, and to any other
/// address another one. `bind` would say nothing where `ip_nonlocal_bind` is set.
///
/// # Errors
///
/// If the host is short of descriptors or memory, so that nothing is known.
pub fn is_local(address: IpAddr) -> io::Result<bool> {
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        // The discard service: nothing is sent.
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    match source() {
        Ok(source) => Ok(source.ip() == address),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_addresses_are_local_and_the_documentations_are_not() {
        for (address, local) in
            [("127.0.0.1", true), ("::1", true), ("192.0.2.9", false), ("2001:db8::9", false)]
        {
            assert_eq!(is_local(address.parse().unwrap()).unwrap(), local, "{address}");
        }
    }
}
