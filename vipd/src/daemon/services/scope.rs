//! Names of services and servers in requests of operators.

use std::net::{IpAddr, SocketAddr};

use vipd_balance::{BalanceConfig, DrainScope, ServiceAddress, ServiceId, VirtualServer};

/// The services that `text` names: `10.9.0.1:80`, `[2001:db8::1]:53`, `fwmark 7`, the name of a group, or as vipd prints it.
pub fn services<'c>(config: &'c BalanceConfig, text: &str) -> Vec<&'c VirtualServer> {
    config.servers().iter().filter(|server| is_named(server, text.trim())).collect()
}

fn is_named(server: &VirtualServer, text: &str) -> bool {
    if server.id.to_string() == text {
        return true;
    }
    if let ServiceId::Group { name, .. } = &server.id
        && text.strip_prefix("group ").unwrap_or(text) == name
    {
        return true;
    }
    let socket: Option<SocketAddr> = text.parse().ok();
    // A service of every port.
    let alone: Option<IpAddr> = text.parse().ok();
    let marked: Option<u32> =
        text.strip_prefix("fwmark").and_then(|mark| mark.trim_start_matches([' ', ':']).parse().ok());
    server.addresses.iter().any(|known| match *known {
        ServiceAddress::Socket { address, port, .. } => {
            socket == Some(SocketAddr::new(address, port)) || port == 0 && alone == Some(address)
        }
        ServiceAddress::Mark { mark, .. } => marked == Some(mark),
    })
}

/// The scopes of a request: the servers at `server` (`10.0.0.1:80`, or an address for every port) of the services that `service` names.
///
/// # Errors
///
/// A name that is none, in words.
pub fn scopes(config: &BalanceConfig, service: &str, server: &str) -> Result<Vec<DrainScope>, String> {
    let server = server.trim();
    let socket: Option<SocketAddr> = server.parse().ok();
    let (address, port) = match (socket, server.parse::<IpAddr>()) {
        (Some(socket), _) => (socket.ip(), Some(socket.port())),
        (None, Ok(address)) => (address, None),
        (None, Err(_)) => {
            return Err(format!("`{server}` is no server: write its address and port, as in 10.0.0.1:80"));
        }
    };
    let named = services(config, service);
    if named.is_empty() {
        let known: Vec<_> = config.servers().iter().map(|server| server.id.to_string()).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        return Err(format!("no virtual server `{service}`: {known}"));
    }
    let scope = |server: &VirtualServer| DrainScope { service: Some(server.id.clone()), address, port };
    Ok(named.into_iter().map(scope).collect())
}

#[cfg(test)]
mod tests {
    use vipd_balance::{ForwardMethod, ServiceTarget, TargetId, TransportProtocol};
    use vipd_common::Family;

    use super::*;

    fn config() -> BalanceConfig {
        let socket = |protocol, address: &str, port| ServiceAddress::Socket {
            protocol,
            address: address.parse().unwrap(),
            port,
        };
        let (tcp, udp) = (TransportProtocol::Tcp, TransportProtocol::Udp);
        let group = |name: &str| ServiceId::Group { name: name.to_owned(), ordinal: 0 };
        let single = |address| (ServiceId::Single(address), vec![address]);
        let all = [
            single(socket(tcp, "10.9.0.1", 53)),
            single(socket(udp, "10.9.0.1", 53)),
            single(ServiceAddress::Mark { mark: 7, family: Family::V4 }),
            (group("WEB"), vec![socket(tcp, "10.9.0.2", 80), socket(tcp, "10.9.0.3", 80)]),
        ];
        let servers = all.into_iter().map(|(id, addresses)| {
            let mut server = VirtualServer::new(id, addresses);
            let target = TargetId::new([10, 0, 0, 1].into(), 80);
            server.targets.push(ServiceTarget::new(target, ForwardMethod::Nat));
            server
        });
        BalanceConfig::new(servers.collect(), false).unwrap()
    }

    #[test]
    fn services_have_the_names_that_operators_know() {
        let config = config();
        let named = |text: &str| {
            services(&config, text).iter().map(|server| server.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(named("10.9.0.1:53"), ["[10.9.0.1]:tcp:53", "[10.9.0.1]:udp:53"]);
        assert_eq!(named("[10.9.0.1]:udp:53"), ["[10.9.0.1]:udp:53"]);
        for mark in ["fwmark 7", "fwmark:7", "FWM 7"] {
            assert_eq!(named(mark), ["FWM 7"], "{mark}");
        }
        for group in ["WEB", "group WEB", "10.9.0.3:80", "[WEB]:0"] {
            assert_eq!(named(group), ["[WEB]:0"], "{group}");
        }
        for none in ["", "10.9.0.1", "10.9.0.1:80", "web", "7"] {
            assert_eq!(named(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_said() {
        let config = config();
        let scope = scopes(&config, "WEB", "10.0.0.1:80").unwrap();
        assert_eq!((scope.len(), scope[0].port), (1, Some(80)));
        assert_eq!(scopes(&config, "10.9.0.1:53", "10.0.0.1").unwrap().len(), 2);
        assert!(scopes(&config, "WEB", "web1").unwrap_err().contains("10.0.0.1:80"));
        assert!(scopes(&config, "nobody", "10.0.0.1").unwrap_err().contains("[WEB]:0"));
    }
}
