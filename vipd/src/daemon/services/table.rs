//! The kernel's IPVS table in the words of load balancing, and operations in the words of IPVS. Pure.
//!
//! What a service of vipd can never be (an unknown scheduler, an unknown tunnel) becomes something that differs from everything desired, so
//! that it is corrected.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    num::{NonZeroU16, NonZeroU32},
};

use vipd_balance::{
    ForwardMethod, Persistence, Scheduler, SchedulerFlags, ServiceAddress, ServiceSettings, TableOperation,
    TableService, TableTarget, TargetId, TransportProtocol, TunnelChecksum, TunnelEncapsulation,
};
use vipd_common::Family;
use vipd_ipvs::{
    DestinationKey, ForwardingMethod, GueChecksum, IpvsDestination, IpvsStep, IpvsTable, KernelName,
    PersistenceMask, ServiceFlags, ServiceProtocol, Tunnel, VirtualService, VirtualServiceKey,
};

/// The table as a [`KernelBackend`](vipd_balance::KernelBackend) compares it. Services of other protocols are nobody's concern.
pub fn present(table: &IpvsTable) -> BTreeMap<ServiceAddress, TableService> {
    let service = |served: &vipd_ipvs::ServedService| {
        let address = address_of(&served.service.key)?;
        let targets = served.destinations.iter().map(|served| {
            let destination = &served.destination;
            (target_id(destination.key), row_of(destination))
        });
        let settings = settings_of(&served.service);
        Some((address, TableService { settings, targets: targets.collect() }))
    };
    table.services.iter().filter_map(service).collect()
}

/// The service of a key; `None`: of a protocol that vipd does not serve.
pub fn address_of(key: &VirtualServiceKey) -> Option<ServiceAddress> {
    Some(match *key {
        VirtualServiceKey::Address { protocol, address, port } => {
            let protocol = match protocol {
                ServiceProtocol::Tcp => TransportProtocol::Tcp,
                ServiceProtocol::Udp => TransportProtocol::Udp,
                ServiceProtocol::Sctp => TransportProtocol::Sctp,
                ServiceProtocol::Other(_) => return None,
            };
            ServiceAddress::Socket { protocol, address, port }
        }
        VirtualServiceKey::Mark { family, mark } => ServiceAddress::Mark { mark: mark.get(), family },
    })
}

/// The key of a service; `None` for the mark 0, which no configuration has.
pub fn key_of(address: ServiceAddress) -> Option<VirtualServiceKey> {
    Some(match address {
        ServiceAddress::Socket { protocol, address, port } => {
            let protocol = match protocol {
                TransportProtocol::Tcp => ServiceProtocol::Tcp,
                TransportProtocol::Udp => ServiceProtocol::Udp,
                TransportProtocol::Sctp => ServiceProtocol::Sctp,
            };
            VirtualServiceKey::Address { protocol, address, port }
        }
        ServiceAddress::Mark { mark, family } => {
            VirtualServiceKey::Mark { family, mark: NonZeroU32::new(mark)? }
        }
    })
}

/// The target of a destination.
pub fn target_id(key: DestinationKey) -> TargetId {
    TargetId::new(key.address, key.port)
}

/// The step of an operation; `None`: it has no equal, for reasons that a checked configuration rules out.
pub fn step(operation: &TableOperation) -> Option<IpvsStep> {
    let service = key_of(operation.service())?;
    Some(match *operation {
        TableOperation::NewService { settings, .. } => {
            IpvsStep::NewService(virtual_service(service, &settings)?)
        }
        TableOperation::SetService { settings, .. } => {
            IpvsStep::SetService(virtual_service(service, &settings)?)
        }
        TableOperation::DelService { .. } => IpvsStep::DeleteService(service),
        TableOperation::NewTarget { target, row, .. } => {
            IpvsStep::NewDestination { service, destination: destination(target, &row)? }
        }
        TableOperation::SetTarget { target, row, .. } => {
            IpvsStep::SetDestination { service, destination: destination(target, &row)? }
        }
        TableOperation::DelTarget { target, .. } => {
            IpvsStep::DeleteDestination { service, destination: destination_key(target) }
        }
    })
}

fn destination_key(target: TargetId) -> DestinationKey {
    DestinationKey { address: target.address, port: target.port }
}

fn virtual_service(key: VirtualServiceKey, settings: &ServiceSettings) -> Option<VirtualService> {
    let mut service = VirtualService::new(key, KernelName::new(settings.scheduler.name())?);
    let flags = settings.flags;
    let wanted = [
        (settings.persistence.is_some(), ServiceFlags::PERSISTENT),
        (settings.one_packet, ServiceFlags::ONE_PACKET),
        (flags.first, ServiceFlags::SCHEDULER_1),
        (flags.second, ServiceFlags::SCHEDULER_2),
        (flags.third, ServiceFlags::SCHEDULER_3),
    ];
    for (_, flag) in wanted.into_iter().filter(|(is_on, _)| *is_on) {
        service.flags = service.flags.with(flag);
    }
    if let Some(Persistence { timeout_s, granularity, sip }) = settings.persistence {
        service.timeout_s = timeout_s;
        service.mask = match key.family() {
            Family::V4 => PersistenceMask::V4(Ipv4Addr::from_bits(granularity)),
            Family::V6 => PersistenceMask::V6(u8::try_from(granularity).ok()?),
        };
        service.persistence_engine = if sip { Some(KernelName::new(SIP)?) } else { None };
    }
    Some(service)
}

fn settings_of(service: &VirtualService) -> ServiceSettings {
    let has = |flag| service.flags.contains(flag);
    let engine = service.persistence_engine.as_ref().map(KernelName::as_str);
    let persistence = has(ServiceFlags::PERSISTENT).then(|| Persistence {
        timeout_s: service.timeout_s,
        granularity: match service.mask {
            PersistenceMask::V4(mask) => mask.to_bits(),
            PersistenceMask::V6(length) => length.into(),
        },
        sip: engine == Some(SIP),
    });
    let scheduler = SCHEDULERS.into_iter().find(|known| known.name() == service.scheduler.as_str());
    let is_odd = scheduler.is_none() || engine.is_some_and(|engine| engine != SIP || persistence.is_none());
    ServiceSettings {
        scheduler: scheduler.unwrap_or_default(),
        flags: SchedulerFlags {
            first: has(ServiceFlags::SCHEDULER_1),
            second: has(ServiceFlags::SCHEDULER_2),
            third: has(ServiceFlags::SCHEDULER_3),
        },
        persistence: if is_odd { Some(NEVER_DESIRED) } else { persistence },
        one_packet: has(ServiceFlags::ONE_PACKET),
    }
}

fn destination(target: TargetId, row: &TableTarget) -> Option<IpvsDestination> {
    let forwarding = match row.forward {
        // Only read from a table, never desired.
        None => ForwardingMethod::Local,
        Some(ForwardMethod::Nat) => ForwardingMethod::Masquerade,
        Some(ForwardMethod::Direct) => ForwardingMethod::Route,
        Some(ForwardMethod::Tunnel(encapsulation)) => ForwardingMethod::Tunnel(tunnel(encapsulation)?),
    };
    let mut destination = IpvsDestination::new(destination_key(target), forwarding, row.weight);
    (destination.upper_threshold, destination.lower_threshold) = (row.upper_threshold, row.lower_threshold);
    Some(destination)
}

fn tunnel(encapsulation: TunnelEncapsulation) -> Option<Tunnel> {
    Some(match encapsulation {
        TunnelEncapsulation::Ipip => Tunnel::Ipip,
        TunnelEncapsulation::Gue { port, checksum } => {
            let checksum = match checksum {
                TunnelChecksum::Off => GueChecksum::None,
                TunnelChecksum::On => GueChecksum::Full,
                TunnelChecksum::Remote => GueChecksum::Remote,
            };
            Tunnel::Gue { port: NonZeroU16::new(port)?, checksum }
        }
        TunnelEncapsulation::Gre { checksum } => Tunnel::Gre { checksum: checksum == TunnelChecksum::On },
    })
}

fn row_of(destination: &IpvsDestination) -> TableTarget {
    let forward = match destination.forwarding {
        ForwardingMethod::Masquerade => Some(ForwardMethod::Nat),
        ForwardingMethod::Route => Some(ForwardMethod::Direct),
        ForwardingMethod::Local => None,
        ForwardingMethod::Tunnel(tunnel) => Some(ForwardMethod::Tunnel(encapsulation(tunnel))),
        ForwardingMethod::Bypass => Some(ForwardMethod::Tunnel(NO_TUNNEL)),
    };
    TableTarget {
        weight: destination.weight,
        forward,
        upper_threshold: destination.upper_threshold,
        lower_threshold: destination.lower_threshold,
    }
}

fn encapsulation(tunnel: Tunnel) -> TunnelEncapsulation {
    match tunnel {
        Tunnel::Ipip => TunnelEncapsulation::Ipip,
        Tunnel::Gue { port, checksum } => {
            let checksum = match checksum {
                GueChecksum::None => TunnelChecksum::Off,
                GueChecksum::Full => TunnelChecksum::On,
                GueChecksum::Remote => TunnelChecksum::Remote,
            };
            TunnelEncapsulation::Gue { port: port.get(), checksum }
        }
        Tunnel::Gre { checksum } => {
            let checksum = if checksum { TunnelChecksum::On } else { TunnelChecksum::Off };
            TunnelEncapsulation::Gre { checksum }
        }
        Tunnel::Other { .. } => NO_TUNNEL,
    }
}

const SIP: &str = "sip";

/// Persistence is 1 s at least.
const NEVER_DESIRED: Persistence = Persistence { timeout_s: 0, granularity: 0, sip: false };
/// GUE has a port.
const NO_TUNNEL: TunnelEncapsulation = TunnelEncapsulation::Gue { port: 0, checksum: TunnelChecksum::Off };

const SCHEDULERS: [Scheduler; 14] = [
    Scheduler::RoundRobin,
    Scheduler::WeightedRoundRobin,
    Scheduler::LeastConnections,
    Scheduler::WeightedLeastConnections,
    Scheduler::LocalityLeastConnections,
    Scheduler::LocalityReplicated,
    Scheduler::SourceHash,
    Scheduler::MaglevHash,
    Scheduler::DestinationHash,
    Scheduler::Failover,
    Scheduler::Overflow,
    Scheduler::ShortestDelay,
    Scheduler::NeverQueue,
    Scheduler::Twos,
];

#[cfg(test)]
mod tests {
    use vipd_ipvs::{ServedDestination, ServedService};

    use super::*;

    fn ip(text: &str) -> std::net::IpAddr {
        text.parse().unwrap()
    }

    fn addresses() -> Vec<ServiceAddress> {
        let socket =
            |protocol, address, port| ServiceAddress::Socket { protocol, address: ip(address), port };
        vec![
            socket(TransportProtocol::Tcp, "10.9.0.1", 80),
            socket(TransportProtocol::Udp, "2001:db8::1", 53),
            socket(TransportProtocol::Sctp, "10.9.0.1", 0),
            ServiceAddress::Mark { mark: 7, family: Family::V4 },
            ServiceAddress::Mark { mark: 8, family: Family::V6 },
        ]
    }

    fn settings(family: Family) -> Vec<ServiceSettings> {
        let mut all: Vec<_> = SCHEDULERS
            .into_iter()
            .map(|scheduler| ServiceSettings { scheduler, ..ServiceSettings::default() })
            .collect();
        let flags = SchedulerFlags { first: true, second: false, third: true };
        all.push(ServiceSettings { flags, one_packet: true, ..ServiceSettings::default() });
        let flags = SchedulerFlags { second: true, ..SchedulerFlags::default() };
        let mut persistence = Persistence::new(360, family);
        all.push(ServiceSettings { flags, persistence: Some(persistence), ..ServiceSettings::default() });
        persistence.granularity = if family == Family::V4 { 0xffff_ff00 } else { 64 };
        persistence.sip = true;
        all.push(ServiceSettings { persistence: Some(persistence), ..ServiceSettings::default() });
        all
    }

    fn forwards() -> Vec<ForwardMethod> {
        let mut all =
            vec![ForwardMethod::Nat, ForwardMethod::Direct, ForwardMethod::Tunnel(TunnelEncapsulation::Ipip)];
        for checksum in [TunnelChecksum::Off, TunnelChecksum::On, TunnelChecksum::Remote] {
            all.push(ForwardMethod::Tunnel(TunnelEncapsulation::Gue { port: 6080, checksum }));
        }
        for checksum in [TunnelChecksum::Off, TunnelChecksum::On] {
            all.push(ForwardMethod::Tunnel(TunnelEncapsulation::Gre { checksum }));
        }
        all
    }

    /// What is made by the steps of new services is read as it was desired, so nothing is corrected that is right.
    #[test]
    fn what_was_made_is_read_as_it_was_desired() {
        for address in addresses() {
            for settings in settings(address.family()) {
                let rows = forwards().into_iter().enumerate().map(|(weight, forward)| {
                    let weight = u32::try_from(weight).unwrap();
                    let target = TargetId::new(ip(&format!("10.0.0.{weight}")), 8080);
                    let (forward, upper_threshold, lower_threshold) = (Some(forward), 10 * weight, weight);
                    (target, TableTarget { weight, forward, upper_threshold, lower_threshold })
                });
                let desired = TableService { settings, targets: rows.collect() };
                let new = TableOperation::NewService { service: address, settings };
                let Some(IpvsStep::NewService(service)) = step(&new) else { panic!("{address}") };
                let destinations = desired.targets.iter().map(|(&target, &row)| {
                    match step(&TableOperation::NewTarget { service: address, target, row }) {
                        Some(IpvsStep::NewDestination { service: of, destination }) => {
                            assert_eq!(of, service.key);
                            ServedDestination {
                                destination,
                                connections: Default::default(),
                                stats: Default::default(),
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                });
                let destinations = destinations.collect();
                let served = ServedService { service, stats: Default::default(), destinations };
                let table = IpvsTable { services: vec![served], ..IpvsTable::default() };
                assert_eq!(present(&table), [(address, desired)].into());
            }
        }
    }

    #[test]
    fn what_vipd_cannot_make_differs_from_all_that_it_desires() {
        let key = key_of(addresses()[0]).unwrap();
        let service = VirtualService::new(key, KernelName::new("wlc").unwrap());
        assert_eq!(settings_of(&service), ServiceSettings::default());
        let unknown = VirtualService::new(key, KernelName::new("bpf").unwrap());
        let mut engine = service.clone();
        engine.persistence_engine = KernelName::new("other");
        for odd in [unknown, engine] {
            let persistence = settings_of(&odd).persistence.unwrap();
            assert_eq!(persistence.timeout_s, 0, "a configuration has 1 s at least: {odd:?}");
        }
        let row = |forwarding| {
            let key = DestinationKey { address: ip("10.0.0.1"), port: 80 };
            row_of(&IpvsDestination::new(key, forwarding, 1)).forward
        };
        let other = ForwardingMethod::Tunnel(Tunnel::Other { kind: 9, port: 0, flags: 0 });
        for odd in [row(other), row(ForwardingMethod::Bypass)] {
            assert!(odd.is_some_and(|odd| !forwards().contains(&odd)), "{odd:?}");
        }
        assert_eq!(row(ForwardingMethod::Local), None, "the kernel decides there");
        let other = VirtualServiceKey::Address {
            protocol: ServiceProtocol::Other(47),
            address: ip("10.9.0.1"),
            port: 0,
        };
        assert_eq!(address_of(&other), None);
    }

    #[test]
    fn every_operation_has_its_step() {
        let [service, ..] = addresses()[..] else { unreachable!() };
        let (key, settings) = (key_of(service).unwrap(), ServiceSettings::default());
        let target = TargetId::new(ip("10.0.0.1"), 80);
        let row = TableTarget {
            weight: 3,
            forward: Some(ForwardMethod::Nat),
            upper_threshold: 0,
            lower_threshold: 0,
        };
        let made = IpvsDestination::new(destination_key(target), ForwardingMethod::Masquerade, 3);
        let whole = VirtualService::new(key, KernelName::new("wlc").unwrap());
        for (operation, expect) in [
            (TableOperation::NewService { service, settings }, IpvsStep::NewService(whole.clone())),
            (TableOperation::SetService { service, settings }, IpvsStep::SetService(whole)),
            (TableOperation::DelService { service }, IpvsStep::DeleteService(key)),
            (
                TableOperation::NewTarget { service, target, row },
                IpvsStep::NewDestination { service: key, destination: made },
            ),
            (
                TableOperation::SetTarget { service, target, row },
                IpvsStep::SetDestination { service: key, destination: made },
            ),
            (
                TableOperation::DelTarget { service, target },
                IpvsStep::DeleteDestination { service: key, destination: destination_key(target) },
            ),
        ] {
            assert_eq!(step(&operation), Some(expect));
        }
    }
}
