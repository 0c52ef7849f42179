//! IPv6: routes of global and of link-local VIPs, with another host on the wire.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};

use tokio::time::Instant;

use super::*;

const VIP: &str = "2001:db8::100";
const LINK_LOCAL_VIP: &str = "fe80::100";

fn rules() -> Vec<String> {
    lines(&ip("-6 rule show"))
}

fn our_routes() -> Vec<String> {
    sorted(lines(&ip("-6 route show table all proto 118")))
}

/// All that vipd could have changed.
fn snapshot() -> (Vec<String>, Vec<String>, String) {
    let bind = std::fs::read_to_string("/proc/sys/net/ipv6/ip_nonlocal_bind").unwrap();
    (rules(), sorted(lines(&ip("-6 route show table all"))), ip("-6 addr show") + &bind)
}

/// Waits until an address is not tentative any more, and gives its link.
async fn link_with(host: &Host, name: &str, wanted: impl Fn(Ipv6Addr) -> bool) -> (LinkState, Ipv6Addr) {
    loop {
        let link = host.link(name).await.unwrap();
        let found = link.addresses.iter().find_map(|a| match a.address {
            IpAddr::V6(v6) if wanted(v6) => Some(v6),
            _ => None,
        });
        if let Some(found) = found {
            return (link, found);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn planned_link(host: &Host, name: &str, vips: &[&str]) -> PlannedLink {
    let (link, source) = link_with(host, name, |v6| v6.is_unicast_link_local()).await;
    let global = link.addresses.iter().find_map(|a| match a.address {
        IpAddr::V6(v6) if !v6.is_unicast_link_local() => Some(v6),
        _ => None,
    });
    PlannedLink {
        ifindex: link.ifindex,
        interface: name.to_owned(),
        source_v4: None,
        source_v6: global.or(Some(source)),
        vips: vips.iter().map(|vip| addr(vip)).collect(),
        connected: Vec::new(),
        subnets: Vec::new(),
        announces_own_mac: true,
    }
}

fn plan(links: Vec<PlannedLink>) -> Plan {
    let instance = PlannedInstance {
        key: 3,
        families: Vec::new(),
        links,
        filters: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        visible: false,
    };
    Plan { instances: vec![instance] }
}

/// Whether somebody answers for an address: three solicitations are sent, a second apart (RFC 4861 10).
fn resolves(address: SocketAddrV6) -> bool {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.send_to(b"x", address).unwrap();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        if ip(&format!("-6 neigh show {} dev v1", address.ip())).contains("lladdr") {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn install_then_remove_all_leaves_no_trace() {
    in_namespace("v6-install", async |dir| {
        ip("addr add 2001:db8::1/64 dev v0 nodad");
        let (mut host, _events) = Host::open(&dir).unwrap();
        let link = planned_link(&host, "v0", &[VIP, LINK_LOCAL_VIP]).await;
        let ifindex = link.ifindex;
        link_with(&host, "v1", |v6| v6.is_unicast_link_local()).await;
        let before = snapshot();
        let v4_rules = ip("-4 rule show");
        let plan = plan(vec![link]);
        host.install(&plan).await.unwrap();
        assert_eq!(ip("-4 rule show"), v4_rules);
        assert_eq!(
            (rules(), our_routes()),
            (before.0.clone(), vec![]),
            "a backup's kernel knows nothing of the VIPs"
        );
        let routes = [
            "local 2001:db8::100 dev v0 table local src 2001:db8::1 metric 118 pref medium".to_owned(),
            format!("local fe80::100 dev v0 table local src 2001:db8::1 metric {ifindex} pref medium"),
        ];
        // I5: a backup's own connection leaves by the link, a master's is local; and a service can be bound.
        assert!(
            ip("route get 2001:db8::100").contains("dev v0 ")
                && !ip("route get 2001:db8::100").contains("local")
        );
        let bound = UdpSocket::bind("[2001:db8::100]:0").unwrap();
        for ownership in [Ownership::Prepared, Ownership::Master, Ownership::Master] {
            host.set(3, ownership).await.unwrap();
            host.install(&plan).await.unwrap();
            assert_eq!((rules(), our_routes()), (before.0.clone(), routes.to_vec()));
            assert!(ip("route get 2001:db8::100").starts_with("local 2001:db8::100"));
            assert!(ip("route get fe80::100 oif v0").starts_with("local fe80::100"));
        }
        // Nothing picks the VIP as its source.
        ip("-6 route add default via fe80::99 dev v0");
        assert!(ip("route get 2001:db8:ffff::1").contains("src 2001:db8::1 "));
        ip("-6 route del default via fe80::99 dev v0");
        // What was bound before has its packets, from the host itself too.
        let client = UdpSocket::bind("[::]:0").unwrap();
        client.send_to(b"x", bound.local_addr().unwrap()).unwrap();
        bound.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(bound.recv_from(&mut [0; 4]).unwrap().1.ip(), addr("2001:db8::1"));
        for _ in 0..2 {
            host.set(3, Ownership::None).await.unwrap();
            assert_eq!((rules(), our_routes()), (before.0.clone(), vec![]));
        }

        // After a crash, without a plan.
        host.set(3, Ownership::Master).await.unwrap();
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

/// The data plane is the only one to answer for a VIP; once something resolves it, its packets are delivered.
#[test]
fn the_kernel_answers_no_solicitation_but_takes_the_packets() {
    in_namespace("v6-wire", async |dir| {
        let peer = Peer::new();
        ip("addr add 2001:db8::1/64 dev v0 nodad");
        peer.run(|| ip("addr add 2001:db8::9/64 dev v1 nodad"));
        let (mut host, _events) = Host::open(&dir).unwrap();
        let link = planned_link(&host, "v0", &[VIP, LINK_LOCAL_VIP]).await;
        let mac = host.link("v0").await.unwrap().mac;
        host.install(&plan(vec![link])).await.unwrap();
        // A wildcard socket, and one that is bound to the VIP itself.
        let wildcard = UdpSocket::bind("[::]:0").unwrap();
        let bound = UdpSocket::bind(format!("[{VIP}]:0")).unwrap();
        let ports = [wildcard.local_addr().unwrap().port(), bound.local_addr().unwrap().port()];
        for ownership in [Ownership::Prepared, Ownership::Master] {
            host.set(3, ownership).await.unwrap();
            peer.run(move || {
                let scope = nix::net::if_::if_nametoindex("v1").unwrap();
                let target = |s: &str, port, scope| SocketAddrV6::new(s.parse().unwrap(), port, 0, scope);
                ip("-6 neigh flush dev v1 nud all");
                assert!(resolves(target("2001:db8::1", 9, 0)), "the wire works");
                assert!(!resolves(target(VIP, 9, 0)));
                assert!(!resolves(target(LINK_LOCAL_VIP, 9, scope)));
                let socket = UdpSocket::bind("[::]:0").unwrap();
                for vip in [VIP, LINK_LOCAL_VIP] {
                    ip(&format!("-6 neigh replace {vip} lladdr {mac} dev v1 nud permanent"));
                }
                socket.send_to(b"global", target(VIP, ports[1], 0)).unwrap();
                socket.send_to(b"link-local", target(LINK_LOCAL_VIP, ports[0], scope)).unwrap();
            });
            let mut buffer = [0; 16];
            for (socket, expected) in [(&bound, &b"global"[..]), (&wildcard, b"link-local")] {
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], expected);
                assert!(from.is_ipv6());
            }
        }
    });
}

/// I5 on the wire: a backup's own datagram to the VIP reaches the master, a master's stays.
#[test]
fn the_hosts_own_traffic_reaches_the_owner() {
    in_namespace("v6-own", async |dir| {
        let peer = Peer::new();
        ip("addr add 2001:db8::1/64 dev v0 nodad");
        let owner = peer.run(|| {
            // The other node is the owner, here one whose kernel answers.
            ip("addr add 2001:db8::100/64 dev v1 nodad");
            ip("addr add fe80::100/64 dev v1 nodad");
            let socket = UdpSocket::bind("[::]:7777").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        });
        let (mut host, _events) = Host::open(&dir).unwrap();
        let link = planned_link(&host, "v0", &[VIP, LINK_LOCAL_VIP]).await;
        let ifindex = link.ifindex;
        host.install(&plan(vec![link])).await.unwrap();
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let targets = [
            SocketAddrV6::new(VIP.parse().unwrap(), 7777, 0, 0),
            SocketAddrV6::new(LINK_LOCAL_VIP.parse().unwrap(), 7777, 0, ifindex),
        ];
        for target in targets {
            socket.send_to(b"to the owner", target).unwrap();
        }
        peer.run(move || {
            let mut buffer = [0; 16];
            for _ in 0..2 {
                let (_, from) = owner.recv_from(&mut buffer).unwrap();
                assert!(![addr(VIP), addr(LINK_LOCAL_VIP)].contains(&from.ip()), "{from}");
            }
        });

        let own = UdpSocket::bind("[::]:7777").unwrap();
        own.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        for target in targets {
            // A busy machine has been seen to lose one, and UDP may.
            let received = (0..5).any(|_| {
                socket.send_to(b"mine", target).unwrap();
                own.recv_from(&mut [0; 16]).is_ok_and(|(length, _)| length == 4)
            });
            assert!(received, "{target} is not local");
        }
    });
}

#[test]
fn links_may_share_a_link_local_vip() {
    in_namespace("v6-links", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let links = vec![
            planned_link(&host, "v0", &[LINK_LOCAL_VIP]).await,
            planned_link(&host, "v1", &[LINK_LOCAL_VIP, "10.0.0.100"]).await,
        ];
        link_with(&host, "v1", |v6| v6.is_unicast_link_local()).await;
        let before = snapshot();
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan(links)).await.unwrap();
        for name in ["v0", "v1"] {
            assert!(our_routes().iter().any(|r| r.starts_with(&format!("local fe80::100 dev {name} "))));
        }
        for name in ["v0", "v1"] {
            assert!(ip(&format!("route get fe80::100 oif {name}")).starts_with("local fe80::100"));
        }
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn leftovers_are_retired_and_other_peoples_addresses_stay() {
    in_namespace("v6-retire", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        ip("addr add 2001:db8::55/128 dev lo nodad preferred_lft 0");
        ip("addr add 2001:db8::66/64 dev v0 nodad");
        ip("addr add fe80::66/64 dev v0 nodad");
        let vips = ["2001:db8::55", "2001:db8::66", "fe80::66", VIP, "2001:db8::101", LINK_LOCAL_VIP];
        let old = plan(vec![planned_link(&host, "v0", &vips).await]);
        let addresses = ip("-6 addr show");
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&old).await.unwrap();
        assert_eq!(our_routes().len(), vips.len());

        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        let new = plan(vec![planned_link(&host, "v0", &[VIP]).await]);
        host.remove_stale(&new).await.unwrap();
        assert_eq!(our_routes().len(), 1);
        host.remove_all().await.unwrap();
        assert_eq!((our_routes().len(), ip("-6 addr show")), (0, addresses));
        assert!(ip("route get 2001:db8::66").starts_with("local 2001:db8::66"));
    });
}

#[test]
fn ten_thousand_vips_are_installed_and_removed() {
    in_namespace("v6-many", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut link = planned_link(&host, "v0", &[]).await;
        link_with(&host, "v1", |v6| v6.is_unicast_link_local()).await;
        let before = snapshot();
        link.vips =
            (0..10_000).map(|n| Ipv6Addr::from_bits((0x2001_0db8 << 96) + 0x10000 + n).into()).collect();
        let plan = plan(vec![link]);
        let start = Instant::now();
        host.install(&plan).await.unwrap();
        host.set(3, Ownership::Prepared).await.unwrap();
        let installed = start.elapsed();
        assert_eq!(our_routes().len(), 10_000);
        let start = Instant::now();
        host.install(&plan).await.unwrap();
        let again = start.elapsed();
        let start = Instant::now();
        host.remove_all().await.unwrap();
        let removed = start.elapsed();
        assert_eq!(snapshot(), before);
        eprintln!("10,000 IPv6 VIPs: installed in {installed:?}, again in {again:?}, removed in {removed:?}");
    });
}
