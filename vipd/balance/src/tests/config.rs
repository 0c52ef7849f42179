//! What a configuration cannot hold.

use std::time::Duration;

use vipd_common::Family;

use super::{at, heavy, id, service, sorry, tcp, vip, web};
use crate::{
    BalanceConfig, ForwardMethod, Persistence, ProbeUse, ServiceAddress, ServiceFault, ServiceTarget,
    TargetId, TransportProtocol, TunnelChecksum, TunnelEncapsulation, VirtualServer,
};

#[test]
fn each_fault_is_found() {
    let six = TargetId::new("2001:db8::1".parse().unwrap(), 80);
    let over = |encapsulation| ServiceTarget { forward: ForwardMethod::Tunnel(encapsulation), ..web(11) };
    let persistent = |timeout_s, granularity| {
        let mut server = service([web(11)]);
        server.settings.persistence = Some(Persistence { timeout_s, granularity, sip: false });
        server
    };
    let one_packet = |protocol| {
        let ServiceAddress::Socket { address, port, .. } = vip(1) else { unreachable!() };
        let mut server = service([web(11)]);
        server.addresses = vec![ServiceAddress::Socket { protocol, address, port }];
        server.settings.one_packet = true;
        server
    };
    let any_port = |persistence| {
        let mut server = service([web(11)]);
        let (protocol, address) = (TransportProtocol::Tcp, [10, 9, 0, 1].into());
        server.addresses = vec![ServiceAddress::Socket { protocol, address, port: 0 }];
        server.settings.persistence = persistence;
        server
    };
    let gue = |port| over(TunnelEncapsulation::Gue { port, checksum: TunnelChecksum::Remote });
    let persistence = Persistence::new(360, Family::V4);
    let rows: Vec<(Vec<VirtualServer>, Option<ServiceFault>)> = vec![
        (vec![service([web(11)])], None),
        (vec![service([web(11)]), service([web(11)])], Some(ServiceFault::Duplicate)),
        (
            vec![service([web(11)]), VirtualServer { id: id(2), ..service([web(11)]) }],
            Some(ServiceFault::AddressTwice(vip(1))),
        ),
        (vec![VirtualServer { addresses: vec![], ..service([web(11)]) }], Some(ServiceFault::NoAddress)),
        (vec![service([])], Some(ServiceFault::NoTarget)),
        (vec![VirtualServer { sorry: sorry(99), ..service([]) }], None),
        (vec![service([web(11), web(11)])], Some(ServiceFault::TargetTwice(at(11)))),
        (vec![VirtualServer { quorum: 0, ..service([web(11)]) }], Some(ServiceFault::NoQuorum)),
        (
            vec![VirtualServer { quorum: 2, hysteresis: 2, ..service([web(11)]) }],
            Some(ServiceFault::Hysteresis),
        ),
        (vec![service([heavy(11, 1 << 31)])], Some(ServiceFault::Weight(at(11)))),
        (vec![service([heavy(11, (1 << 31) - 1)])], None),
        (
            vec![service([ServiceTarget { upper_threshold: 1, lower_threshold: 2, ..web(11) }])],
            Some(ServiceFault::Thresholds(at(11))),
        ),
        (vec![service([ServiceTarget { id: six, ..web(11) }])], Some(ServiceFault::TargetFamily(six))),
        (vec![service([ServiceTarget { id: six, ..over(TunnelEncapsulation::Ipip) }])], None),
        (
            vec![VirtualServer {
                sorry: sorry(99).map(|sorry| crate::SorryServer { id: six, ..sorry }),
                ..service([web(11)])
            }],
            Some(ServiceFault::TargetFamily(six)),
        ),
        (vec![service([gue(0)])], Some(ServiceFault::Tunnel(at(11)))),
        (vec![service([gue(6080)])], None),
        (
            vec![service([over(TunnelEncapsulation::Gre { checksum: TunnelChecksum::Remote })])],
            Some(ServiceFault::Tunnel(at(11))),
        ),
        (
            vec![service([ServiceTarget { checks: vec![ProbeUse { rise: 0, ..tcp(11) }], ..web(11) }])],
            Some(ServiceFault::Check(at(11))),
        ),
        (
            vec![service([ServiceTarget {
                checks: vec![ProbeUse { delay_loop: Duration::ZERO, ..tcp(11) }],
                ..web(11)
            }])],
            Some(ServiceFault::Check(at(11))),
        ),
        (vec![persistent(0, u32::MAX)], Some(ServiceFault::Persistence)),
        (vec![persistent(2_678_401, u32::MAX)], Some(ServiceFault::Persistence)),
        (vec![persistent(2_678_400, 0)], None),
        (vec![any_port(None)], Some(ServiceFault::AnyPort)),
        (vec![any_port(Some(persistence))], None),
        (vec![one_packet(TransportProtocol::Tcp)], Some(ServiceFault::OnePacket)),
        (vec![one_packet(TransportProtocol::Udp)], None),
        (vec![VirtualServer { min_alive: 101, ..service([web(11)]) }], Some(ServiceFault::MinAlive)),
        (
            vec![VirtualServer {
                ha_suspend: true,
                addresses: vec![ServiceAddress::Mark { mark: 1, family: Family::V4 }],
                ..service([web(11)])
            }],
            Some(ServiceFault::HaSuspend),
        ),
    ];
    for (row, (servers, expect)) in rows.into_iter().enumerate() {
        let found = BalanceConfig::new(servers, false).err().map(|(_, fault)| fault);
        assert_eq!(found, expect, "row {row}");
        assert!(found.is_none_or(|fault| !fault.to_string().is_empty()));
    }
    let mut six = service([ServiceTarget { id: six, ..web(11) }]);
    let (protocol, address) = (TransportProtocol::Tcp, "2001:db8::9".parse().unwrap());
    six.addresses = vec![ServiceAddress::Socket { protocol, address, port: 80 }];
    for (granularity, fault) in [(0, true), (1, false), (128, false), (129, true)] {
        let mut server = six.clone();
        server.settings.persistence = Some(Persistence { granularity, ..Persistence::new(360, Family::V6) });
        assert_eq!(BalanceConfig::new(vec![server], false).is_err(), fault, "/{granularity}");
    }
}
