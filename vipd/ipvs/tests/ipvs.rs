//! Against the real kernel, in network namespaces of their own, and beside Debian's ipvsadm where that is installed. Without root or
//! without IPVS in the kernel the tests are skipped. Debian's kernels have it: `cargo xtask guest --kernel debian-12 ipvs`.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    num::{NonZeroU8, NonZeroU16, NonZeroU32},
    panic,
    process::Command,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use vipd_common::Family;
use vipd_ipvs::{
    DestinationKey, Existing, ForwardingMethod, GueChecksum, IN_FLIGHT, IpvsClient, IpvsDestination,
    IpvsError, IpvsStep, IpvsTable, IpvsTimeouts, KernelName, PersistenceMask, ServiceFlags, ServiceProtocol,
    StepRefusal, StepResult, SyncDaemon, SyncRole, TrafficStats, Tunnel, VirtualService, VirtualServiceKey,
};

/// Runs a test in a fresh namespace with `lo` and a veth pair `v0` and `v1`, all up, and a client there.
fn in_namespace(test: impl FnOnce(&mut IpvsClient) + Send) {
    if !nix::unistd::geteuid().is_root() {
        return vipd_tests::skip("making a network namespace needs root");
    }
    let name = thread::current().name().unwrap_or_default().to_owned();
    let outcome = thread::scope(|scope| {
        thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, || {
                // Only this thread changes namespace; its children inherit it.
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                let mut client = match IpvsClient::open() {
                    Ok(client) => client,
                    Err(error @ IpvsError::NoIpvs) => return vipd_tests::skip(error),
                    Err(error) => panic!("{error:?}"),
                };
                for arguments in [
                    "link set lo up",
                    "link add v0 type veth peer name v1",
                    "link set v0 up",
                    "link set v1 up",
                    "addr add 10.1.0.3/24 dev v0",
                ] {
                    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
                    assert!(status.success(), "ip {arguments}");
                }
                test(&mut client);
            })
            .unwrap()
            .join()
    });
    if let Err(failure) = outcome {
        panic::resume_unwind(failure);
    }
}

/// What `ipvsadm` prints, without spaces at the ends of lines; `None` if it is not installed.
fn ipvsadm(arguments: &str) -> Option<String> {
    match Command::new("ipvsadm").args(arguments.split(' ')).output() {
        Ok(output) => {
            assert!(output.status.success(), "ipvsadm {arguments}: {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            Some(text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            vipd_tests::skip("comparing with ipvsadm, which is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn name<const MAX: usize>(text: &str) -> KernelName<MAX> {
    KernelName::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(protocol: ServiceProtocol, address: &str, port: u16) -> VirtualServiceKey {
    VirtualServiceKey::Address { protocol, address: ip(address), port }
}

fn tcp(port: u16) -> VirtualServiceKey {
    key(ServiceProtocol::Tcp, "10.1.0.3", port)
}

fn destination(address: &str, port: u16, forwarding: ForwardingMethod, weight: u32) -> IpvsDestination {
    IpvsDestination::new(DestinationKey { address: ip(address), port }, forwarding, weight)
}

/// Applies steps that the kernel is to take.
fn apply(client: &mut IpvsClient, steps: &[IpvsStep]) {
    for (step, result) in steps.iter().zip(client.apply(steps).unwrap()) {
        assert_eq!(
            result.unwrap_or_else(|refusal| panic!("{step}: {refusal:?}")),
            StepResult::Done,
            "{step}"
        );
    }
}

/// The result of one step.
fn one(client: &mut IpvsClient, step: IpvsStep) -> Result<StepResult, StepRefusal> {
    client.apply(&[step]).unwrap().pop().unwrap()
}

/// The steps that make a table from nothing. The first destination of a service is made last.
fn steps_for(services: &[(VirtualService, Vec<IpvsDestination>)]) -> Vec<IpvsStep> {
    let of = |(service, destinations): &(VirtualService, Vec<IpvsDestination>)| {
        let key = service.key;
        let new = move |destination: &IpvsDestination| IpvsStep::NewDestination {
            service: key,
            destination: *destination,
        };
        let destinations: Vec<_> = destinations.iter().rev().map(new).collect();
        [vec![IpvsStep::NewService(service.clone())], destinations].concat()
    };
    services.iter().flat_map(of).collect()
}

/// What was set, in the order of the keys.
fn set(table: &IpvsTable) -> Vec<(VirtualService, Vec<IpvsDestination>)> {
    let mut services: Vec<_> = table
        .services
        .iter()
        .map(|served| {
            let destinations = served.destinations.iter().map(|served| served.destination).collect();
            (served.service.clone(), destinations)
        })
        .collect();
    services.sort_by_key(|(service, _)| service.key);
    services
}

/// Services with every option, in the order of the keys.
fn every_option() -> Vec<(VirtualService, Vec<IpvsDestination>)> {
    let gue = |checksum| Tunnel::Gue { port: NonZeroU16::new(6080).unwrap(), checksum };
    let tunnel = ForwardingMethod::Tunnel;
    let mark = |family, mark| VirtualServiceKey::Mark { family, mark: NonZeroU32::new(mark).unwrap() };
    vec![
        (
            VirtualService {
                flags: ServiceFlags::PERSISTENT,
                timeout_s: 600,
                mask: PersistenceMask::V4([255, 255, 255, 0].into()),
                ..VirtualService::new(tcp(80), name("wlc"))
            },
            vec![
                destination("2001:db8::12", 80, tunnel(Tunnel::Gre { checksum: true }), 0),
                destination("10.1.0.17", 80, tunnel(Tunnel::Gre { checksum: false }), 1),
                destination("10.1.0.16", 80, tunnel(gue(GueChecksum::Remote)), 1),
                destination("10.1.0.15", 80, tunnel(gue(GueChecksum::Full)), 1),
                IpvsDestination {
                    upper_threshold: 100,
                    lower_threshold: 50,
                    ..destination("10.1.0.14", 80, tunnel(gue(GueChecksum::None)), 7)
                },
                destination("10.1.0.13", 80, tunnel(Tunnel::Ipip), 1),
                // A local address, for which the kernel shows what was asked for.
                destination("127.0.0.1", 80, ForwardingMethod::Route, 65_536),
                destination("10.1.0.11", 80, ForwardingMethod::Route, i32::MAX as u32),
            ],
        ),
        (
            VirtualService::new(tcp(443), name("sed")),
            vec![
                destination("10.1.0.12", 8443, ForwardingMethod::Masquerade, 3),
                destination("10.1.0.3", 443, ForwardingMethod::Local, 1),
            ],
        ),
        (
            VirtualService {
                persistence_engine: Some(name("sip")),
                flags: ServiceFlags::PERSISTENT,
                timeout_s: 30,
                ..VirtualService::new(key(ServiceProtocol::Udp, "10.1.0.3", 5060), name("rr"))
            },
            vec![],
        ),
        (
            VirtualService {
                flags: ServiceFlags::ONE_PACKET
                    .with(ServiceFlags::SCHEDULER_1)
                    .with(ServiceFlags::SCHEDULER_2),
                ..VirtualService::new(key(ServiceProtocol::Udp, "2001:db8::3", 53), name("mh"))
            },
            vec![
                destination("2001:db8::11", 5353, ForwardingMethod::Masquerade, 3),
                destination("2001:db8::12", 53, ForwardingMethod::Masquerade, 2),
            ],
        ),
        (
            VirtualService {
                flags: ServiceFlags::PERSISTENT,
                timeout_s: 300,
                mask: PersistenceMask::V6(64),
                ..VirtualService::new(key(ServiceProtocol::Sctp, "2001:db8::3", 9), name("sh"))
            },
            vec![destination("2001:db8::11", 9, ForwardingMethod::Route, 1)],
        ),
        (
            VirtualService::new(mark(Family::V4, 7), name("wrr")),
            vec![destination("10.1.0.13", 0, ForwardingMethod::Route, 1)],
        ),
        (VirtualService::new(mark(Family::V6, 7), name("fo")), vec![]),
    ]
}

/// How ipvsadm shows [`every_option`].
const LISTING: &str = "\
TCP  10.1.0.3:80 wlc persistent 600 mask 255.255.255.0
  -> [2001:db8::12]:80            Tunnel  0      0          0
  -> 10.1.0.17:80                 Tunnel  1      0          0
  -> 10.1.0.16:80                 Tunnel  1      0          0
  -> 10.1.0.15:80                 Tunnel  1      0          0
  -> 10.1.0.14:80                 Tunnel  7      0          0
  -> 10.1.0.13:80                 Tunnel  1      0          0
  -> 127.0.0.1:80                 Route   65536  0          0
  -> 10.1.0.11:80                 Route   2147483647 0          0
TCP  10.1.0.3:443 sed
  -> 10.1.0.12:8443               Masq    3      0          0
  -> 10.1.0.3:443                 Local   1      0          0
UDP  10.1.0.3:5060 rr persistent 30 pe sip
UDP  [2001:db8::3]:53 mh (mh-fallback,mh-port) ops
  -> [2001:db8::11]:5353          Masq    3      0          0
  -> [2001:db8::12]:53            Masq    2      0          0
SCTP [2001:db8::3]:9 sh persistent 300 mask 64
  -> [2001:db8::11]:9             Route   1      0          0
FWM  7 wrr
  -> 10.1.0.13:0                  Route   1      0          0
FWM  7 IPv6 fo
";

#[test]
fn what_ipvsadm_sets_is_read() {
    in_namespace(|client| {
        for arguments in [
            "-A -t 10.1.0.3:80 -s wlc -p 600 -M 255.255.255.0",
            "-a -t 10.1.0.3:80 -r 10.1.0.11:80 -g -w 2147483647",
            "-a -t 10.1.0.3:80 -r 127.0.0.1:80 -g -w 65536",
            "-a -t 10.1.0.3:80 -r 10.1.0.13:80 -i",
            "-a -t 10.1.0.3:80 -r 10.1.0.14:80 -i --tun-type gue --tun-port 6080 --tun-nocsum -w 7 -x 100 -y 50",
            "-a -t 10.1.0.3:80 -r 10.1.0.15:80 -i --tun-type gue --tun-port 6080 --tun-csum",
            "-a -t 10.1.0.3:80 -r 10.1.0.16:80 -i --tun-type gue --tun-port 6080 --tun-remcsum",
            "-a -t 10.1.0.3:80 -r 10.1.0.17:80 -i --tun-type gre --tun-nocsum",
            "-a -t 10.1.0.3:80 -r [2001:db8::12]:80 -i --tun-type gre --tun-csum -w 0",
            "-A -u 10.1.0.3:5060 -s rr -p 30 --pe sip",
            "-A -u [2001:db8::3]:53 -s mh -b mh-port,mh-fallback -o",
            "-a -u [2001:db8::3]:53 -r [2001:db8::12]:53 -m -w 2",
            "-a -u [2001:db8::3]:53 -r [2001:db8::11]:5353 -m -w 3",
            "-A --sctp-service [2001:db8::3]:9 -s sh -p 300 -M 64",
            "-a --sctp-service [2001:db8::3]:9 -r [2001:db8::11]:9 -g",
            "-A -f 7 -s wrr",
            "-a -f 7 -r 10.1.0.13 -g",
            "-A -f 7 -6 -s fo",
        ] {
            if ipvsadm(arguments).is_none() {
                return;
            }
        }
        let mut expected = every_option();
        // ipvsadm has no method for this host.
        expected.remove(1);
        assert_eq!(set(&client.read_table().unwrap()), expected);
        for (service, destinations) in &expected {
            assert_eq!(one(client, IpvsStep::NewService(service.clone())).unwrap(), StepResult::AlreadyThere);
            for destination in destinations {
                let new = IpvsStep::NewDestination { service: service.key, destination: *destination };
                assert_eq!(one(client, new).unwrap(), StepResult::AlreadyThere);
            }
        }
    });
}

#[test]
fn what_is_set_is_read() {
    in_namespace(|client| {
        let info = client.info().unwrap();
        assert_eq!(info.version, (1, 2, 1), "{info}");
        assert!(info.connection_table_size.is_power_of_two(), "{info}");
        assert!(client.read_table().unwrap().services.is_empty());
        let services = every_option();
        apply(client, &steps_for(&services));
        let table = client.read_table().unwrap();
        assert_eq!(set(&table), services);
        assert!(table.daemons.is_empty());
        for (service, _) in &services {
            let found = client.service(&service.key).unwrap().unwrap();
            assert_eq!(found.service, *service);
        }
        assert!(client.service(&tcp(81)).unwrap().is_none());
        assert!(client.destinations(&tcp(81)).unwrap().is_empty());

        if let Some(listing) = ipvsadm("-Ln --nosort") {
            // Without the header; a line of a service, and those of its destinations.
            let mut found: Vec<&str> = listing.split_inclusive('\n').skip(3).collect();
            let order_of = |text: &str| LISTING.find(text).unwrap_or(usize::MAX);
            // The kernel has an order of services of its own.
            let mut service = 0;
            found.sort_by_cached_key(|line| {
                if !line.starts_with(' ') {
                    service = order_of(line);
                }
                service
            });
            assert_eq!(found.concat(), LISTING);
        }
        if let Some(saved) = ipvsadm("-Sn") {
            for option in ["--tun-type gue --tun-port 6080 --tun-remcsum", "--tun-type gre --tun-csum"] {
                assert!(saved.contains(option), "no {option} in {saved}");
            }
        }

        // Everything of a service and of a destination can be changed.
        let changed = VirtualService {
            persistence_engine: None,
            flags: ServiceFlags::SCHEDULER_2,
            timeout_s: 0,
            ..VirtualService::new(key(ServiceProtocol::Udp, "10.1.0.3", 5060), name("sh"))
        };
        let moved = IpvsDestination {
            upper_threshold: 9,
            lower_threshold: 3,
            ..destination("10.1.0.14", 80, ForwardingMethod::Route, 0)
        };
        apply(
            client,
            &[
                IpvsStep::SetService(changed.clone()),
                IpvsStep::SetDestination { service: tcp(80), destination: moved },
                IpvsStep::DeleteDestination {
                    service: tcp(80),
                    destination: DestinationKey { address: ip("2001:db8::12"), port: 80 },
                },
                IpvsStep::DeleteService(tcp(443)),
            ],
        );
        let mut expected = services;
        expected[0].1.remove(0);
        expected[0].1[3] = moved;
        expected[2].0 = changed;
        expected.remove(1);
        assert_eq!(set(&client.read_table().unwrap()), expected);
        apply(client, &[IpvsStep::Flush]);
        assert!(client.read_table().unwrap().services.is_empty());
    });
}

#[test]
fn what_the_kernel_refuses_is_named() {
    in_namespace(|client| {
        let service = VirtualService::new(tcp(80), name("rr"));
        let first = destination("10.1.0.11", 80, ForwardingMethod::Route, 0);
        let new = |destination| IpvsStep::NewDestination { service: tcp(80), destination };
        apply(client, &[IpvsStep::NewService(service.clone()), new(first)]);
        assert_eq!(one(client, IpvsStep::NewService(service.clone())).unwrap(), StepResult::AlreadyThere);
        assert_eq!(one(client, new(first)).unwrap(), StepResult::AlreadyThere);
        let other = VirtualService { scheduler: name("wlc"), ..service.clone() };
        match one(client, IpvsStep::NewService(other)) {
            Err(StepRefusal::Exists(existing)) => assert_eq!(*existing, Existing::Service(service)),
            other => panic!("{other:?}"),
        }
        match one(client, new(IpvsDestination { weight: 5, ..first })) {
            Err(StepRefusal::Exists(existing)) => assert_eq!(*existing, Existing::Destination(first)),
            other => panic!("{other:?}"),
        }
        let unknown = VirtualService::new(tcp(81), name("none-such"));
        let refused = one(client, IpvsStep::NewService(unknown));
        assert!(matches!(refused, Err(StepRefusal::NoModule { .. })), "{refused:?}");
        let second = DestinationKey { address: ip("10.1.0.12"), port: 80 };
        let refused = one(client, IpvsStep::DeleteDestination { service: tcp(80), destination: second });
        assert!(matches!(refused, Err(StepRefusal::NoDestination)), "{refused:?}");
        let refused = one(client, IpvsStep::DeleteService(tcp(81)));
        assert!(matches!(refused, Err(StepRefusal::NoService)), "{refused:?}");
        let refused = one(client, IpvsStep::NewDestination { service: tcp(81), destination: first });
        assert!(matches!(refused, Err(StepRefusal::NoService)), "{refused:?}");
        let elsewhere = SyncDaemon::new(SyncRole::Backup, name("v9"), 1);
        let refused = one(client, IpvsStep::StartDaemon(elsewhere));
        assert!(matches!(refused, Err(StepRefusal::NoInterface(_))), "{refused:?}");
        let refused = one(client, IpvsStep::StopDaemon(SyncRole::Backup));
        assert!(matches!(refused, Err(StepRefusal::NotRunning)), "{refused:?}");
    });
}

#[test]
fn many_steps_fit_the_socket() {
    in_namespace(|client| {
        let ports = 1..=40;
        let mut services: Vec<_> = ports
            .map(|port| {
                let of = |last: u8| destination(&format!("10.1.1.{last}"), port, ForwardingMethod::Route, 1);
                (VirtualService::new(tcp(port), name("rr")), (1..=50).map(of).collect::<Vec<_>>())
            })
            .collect();
        services.sort_by_key(|(service, _)| service.key);
        let steps = steps_for(&services);
        assert!(steps.len() == 40 * 51 && steps.len() > 50 * IN_FLIGHT);
        apply(client, &steps);
        assert_eq!(set(&client.read_table().unwrap()), services);
        // The kernel refuses every one of them.
        let results = client.apply(&steps).unwrap();
        assert!(results.iter().all(|result| matches!(result, Ok(StepResult::AlreadyThere))));
        apply(client, &[IpvsStep::Flush]);
    });
}

#[test]
fn timeouts_and_daemons_are_set() {
    in_namespace(|client| {
        let before = client.timeouts().unwrap();
        assert_eq!(before, IpvsTimeouts { tcp_s: 900, tcp_fin_s: 120, udp_s: 300 });
        let wanted = IpvsTimeouts { tcp_s: 901, udp_s: 301, ..IpvsTimeouts::default() };
        apply(client, &[IpvsStep::SetTimeouts(wanted)]);
        let timeouts = client.timeouts().unwrap();
        assert_eq!(timeouts, IpvsTimeouts { tcp_s: 901, tcp_fin_s: 120, udp_s: 301 });
        assert!(timeouts.meets(&wanted) && !before.meets(&wanted));
        apply(client, &[IpvsStep::SetTimeouts(before)]);
        let longest = IpvsTimeouts { tcp_s: 2_147_483, tcp_fin_s: 2_147_483, udp_s: 2_147_483 };
        apply(client, &[IpvsStep::SetTimeouts(longest)]);
        assert_eq!(client.timeouts().unwrap(), longest);

        let backup = SyncDaemon {
            max_length: NonZeroU16::new(1400),
            group: Some(ip("224.0.0.82")),
            port: NonZeroU16::new(8849),
            ttl: NonZeroU8::new(3),
            ..SyncDaemon::new(SyncRole::Backup, name("v0"), 51)
        };
        let master = SyncDaemon::new(SyncRole::Master, name("v0"), 52);
        apply(client, &[IpvsStep::StartDaemon(backup.clone()), IpvsStep::StartDaemon(master.clone())]);
        let mut daemons = client.daemons().unwrap();
        daemons.sort_by_key(|daemon| daemon.role);
        let whole = SyncDaemon {
            max_length: NonZeroU16::new(1472),
            group: Some(Ipv4Addr::new(224, 0, 0, 81).into()),
            port: NonZeroU16::new(8848),
            ttl: NonZeroU8::new(1),
            ..master.clone()
        };
        assert_eq!(daemons, [whole.clone(), backup.clone()]);
        let listed = "master sync daemon (mcast=v0, syncid=52, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n\
                      backup sync daemon (mcast=v0, syncid=51, maxlen=1400, group=224.0.0.82, port=8849, ttl=3)\n";
        assert_eq!(ipvsadm("-Ln --daemon").as_deref().unwrap_or(listed), listed);
        assert_eq!(one(client, IpvsStep::StartDaemon(master.clone())).unwrap(), StepResult::AlreadyThere);
        match one(client, IpvsStep::StartDaemon(SyncDaemon { sync_id: 53, ..master })) {
            Err(StepRefusal::Exists(existing)) => assert_eq!(*existing, Existing::Daemon(whole)),
            other => panic!("{other:?}"),
        }
        apply(client, &[IpvsStep::StopDaemon(SyncRole::Master), IpvsStep::StopDaemon(SyncRole::Backup)]);
        assert!(client.daemons().unwrap().is_empty());
        for length in [1024, 65_507] {
            let backup = SyncDaemon { max_length: NonZeroU16::new(length), ..backup.clone() };
            apply(client, &[IpvsStep::StartDaemon(backup.clone())]);
            assert_eq!(client.daemons().unwrap(), [backup]);
            apply(client, &[IpvsStep::StopDaemon(SyncRole::Backup)]);
        }
    });
}

#[test]
fn connections_are_counted() {
    in_namespace(|client| {
        let server = TcpListener::bind("127.0.0.1:8080").unwrap();
        let service = VirtualService::new(tcp(8080), name("rr"));
        let to = destination("127.0.0.1", 8080, ForwardingMethod::Masquerade, 1);
        apply(client, &steps_for(&[(service, vec![to])]));
        // What this host sends to the service is scheduled too.
        let connection = TcpStream::connect("10.1.0.3:8080").unwrap();
        let (_accepted, _) = server.accept().unwrap();
        let served = |client: &mut IpvsClient| client.read_table().unwrap().services.pop().unwrap();
        let connections = served(client).destinations[0].connections;
        assert_eq!((connections.active, connections.inactive), (1, 0));
        // The kernel sums statistics up every 2 s.
        let counted = |stats: TrafficStats| {
            stats.connections == 1 && stats.packets_in >= 2 && stats.octets_in >= 80 && stats.packets_out >= 1
        };
        let limit = Duration::from_secs(60);
        vipd_tests::wait_for("the statistics of one connection", limit, || {
            let served = served(client);
            counted(served.stats) && counted(served.destinations[0].stats)
        })
        .unwrap();
        drop(connection);
        apply(client, &[IpvsStep::Zero(Some(tcp(8080)))]);
        let stats = client.service(&tcp(8080)).unwrap().unwrap().stats;
        assert_eq!(stats.connections, 0, "{stats:?}");
        apply(client, &[IpvsStep::Zero(None)]);
    });
}
