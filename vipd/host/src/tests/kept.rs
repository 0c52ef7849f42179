//! What somebody else has removed or changed is found by another `install`, and by what the kernel tells.

use std::{os::fd::AsRawFd, time::Duration};

use super::{
    super::multicast::{Memberships, missing},
    *,
};

fn names(repairs: &Repairs) -> Vec<String> {
    repairs.iter().map(ToString::to_string).collect()
}

async fn is_told(watch: &HostWatch) -> bool {
    let told = tokio::time::timeout(Duration::from_millis(300), watch.removed()).await;
    watch.drain();
    told.is_ok_and(|told| told.is_ok())
}

#[test]
fn what_is_removed_is_told_and_put_back_once() {
    in_namespace("kept", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &["10.0.0.100"], true).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        host.sync_virtual().await.unwrap();
        let watch = HostWatch::open().unwrap();
        assert!(!is_told(&watch).await, "nothing was removed");
        for (harm, repaired) in [
            (
                "route del local 10.0.0.100 dev v0 table local metric 118",
                "route local 10.0.0.100/32 metric 118 in table local",
            ),
            ("route flush table local proto 118", "route local 10.0.0.100/32 metric 118 in table local"),
            ("rule del pref 0", "IPv4 rule 0: lookup local"),
            ("addr del 10.0.0.100/32 dev v0", "address 10.0.0.100 for show"),
        ] {
            ip(harm);
            assert!(is_told(&watch).await, "{harm}");
            let mut repairs = installed(&mut host, &plan).await;
            assert_eq!(host.deprived().contains(&3), !harm.starts_with("addr"), "{harm}");
            repairs.append(synced(&mut host).await);
            assert_eq!(names(&repairs), [repaired], "{harm}");
            watch.drain();
            assert!(installed(&mut host, &plan).await.is_empty(), "{harm}, again");
        }
        host.remove_all().await.unwrap();
    });
}

/// A routing daemon's routes are no business of vipd's, and docker's links and addresses are told of as they go.
#[test]
fn what_others_do_is_not_told() {
    in_namespace("others", async |_| {
        let watch = HostWatch::open().unwrap();
        for command in [
            "route add 192.0.2.0/24 dev v0 proto bgp",
            "route del 192.0.2.0/24 dev v0 proto bgp",
            "rule add pref 7 from 192.0.2.1 lookup 7",
            "addr add 192.0.2.1/32 dev v0",
            "neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 dev v0",
            "neigh del 10.0.0.77 dev v0",
            "link add d0 type veth peer name d1",
            "link set d0 up",
            "link del d0",
        ] {
            ip(command);
        }
        // The local route of the address is the kernel's.
        assert!(!is_told(&watch).await);
        for command in
            ["link set lo down", "link set lo up", "rule del pref 7", "addr del 192.0.2.1/32 dev v0"]
        {
            ip(command);
            assert!(is_told(&watch).await, "{command}");
        }
    });
}

/// The kernel may show one buffer to all that listen.
#[test]
fn others_hear_whole_messages_beside_the_watch() {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    };
    in_namespace("whole", async |_| {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let other = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).unwrap();
        bind(other.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_IPV4_ROUTE as u32)).unwrap();
        ip("route add 192.0.2.0/24 dev v0 proto 118");
        // The one that listens last is shown the buffer first.
        let watch = HostWatch::open().unwrap();
        ip("route del 192.0.2.0/24 dev v0 proto 118");
        assert!(is_told(&watch).await);
        for command in ["RTM_NEWROUTE", "RTM_DELROUTE"] {
            let mut message = [0; 4096];
            let octets = recv(other.as_raw_fd(), &mut message, MsgFlags::empty()).unwrap();
            let [a, b, c, d, ..] = message;
            assert_eq!(octets, u32::from_ne_bytes([a, b, c, d]) as usize, "{command}");
        }
    });
}

#[test]
fn a_host_without_other_rules_than_local_gets_the_kernels_after_a_while() {
    in_namespace("rules", async |dir| {
        let before = ip("-4 rule");
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &["10.0.0.100"], false).await;
        host.install(&plan).await.unwrap();
        ip("rule flush");
        // Whoever has flushed them may be about to add others.
        assert!(installed(&mut host, &plan).await.is_empty() && host.waits());
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert!(!host.waits());
        let repairs = installed(&mut host, &plan).await;
        assert_eq!(names(&repairs), ["IPv4 rule 32766: lookup main", "IPv4 rule 32767: lookup default"]);
        assert_eq!(ip("-4 rule"), before);
        // Not where there are others, and not a rule with a condition in the place of the kernel's.
        ip("rule add pref 50 lookup local");
        ip("rule del pref 0");
        assert!(installed(&mut host, &plan).await.is_empty());
        ip("rule add pref 40 from 10.0.0.1 lookup local");
        ip("rule del pref 50");
        assert_eq!(names(&installed(&mut host, &plan).await), ["IPv4 rule 0: lookup local"]);
        host.remove_all().await.unwrap();
    });
}

/// The files say how the host was before vipd.
#[test]
fn files_that_are_removed_are_written_again() {
    in_namespace("files", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &["10.0.0.100"], false).await;
        host.install(&plan).await.unwrap();
        let file = dir.join("sysctls.json");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(names(&installed(&mut host, &plan).await), [format!("file {}", file.display())]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        std::fs::write(&file, "damaged").unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "0").unwrap();
        let repairs = [format!("file {}", file.display()), "sysctl net.ipv4.conf.all.arp_ignore".to_owned()];
        assert_eq!(names(&installed(&mut host, &plan).await), repairs);
        std::fs::remove_file(&file).unwrap();
        host.remove_all().await.unwrap();
        for (setting, value) in [("arp_ignore", "0"), ("arp_announce", "0")] {
            let now = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/all/{setting}")).unwrap();
            assert_eq!(now.trim(), value, "{setting}");
        }
        assert!(!file.exists());
    });
}

/// What one VIP is refused the others have.
#[test]
fn a_refusal_is_told_of_its_instance_and_stops_nothing_else() {
    in_namespace("refused", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &["10.0.0.100"], false).await;
        let mut other = plan.instances[0].clone();
        (other.key, other.links[0].vips) = (4, vec![addr("2001:db8::100"), addr("10.0.0.101")]);
        plan.instances.push(other);
        std::fs::write("/proc/sys/net/ipv6/conf/v0/disable_ipv6", "1").unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        host.set(4, Ownership::Master).await.unwrap();
        let error = format!("{:#}", host.install(&plan).await.unwrap_err());
        assert!(error.contains("2001:db8::100") && error.contains("disable_ipv6"), "{error}");
        assert_eq!(host.refused().keys().copied().collect::<Vec<_>>(), [4]);
        let routes = ip("-4 route show table local proto 118");
        assert!(routes.contains("10.0.0.100") && routes.contains("10.0.0.101"), "{routes}");
        // It gives up its VIPs, and whether they could be had is tried.
        host.set(4, Ownership::None).await.unwrap();
        host.probe(4).await.unwrap_err();
        assert_eq!(host.refused().len(), 1);
        assert!(!ip("-4 route show table local proto 118").contains("10.0.0.101"));
        std::fs::write("/proc/sys/net/ipv6/conf/v0/disable_ipv6", "0").unwrap();
        host.probe(4).await.unwrap();
        assert!(host.refused().is_empty() && !ip("-6 route show table local proto 118").contains("2001"));
        host.remove_all().await.unwrap();
    });
}

/// Several instances may have VIPs in one subnet: the route is that of the first, and goes with the last.
#[test]
fn connected_routes_follow_those_that_have_vips_in_their_subnet() {
    in_namespace("connected", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &["192.0.2.10"], false).await;
        plan.instances[0].links[0].connected = vec![(addr("192.0.2.10"), 24)];
        let mut other = plan.instances[0].clone();
        (other.key, other.links[0].vips) = (4, vec![addr("192.0.2.20"), addr("2001:db8:1::20")]);
        other.links[0].connected = vec![(addr("192.0.2.20"), 24), (addr("2001:db8:1::20"), 64)];
        plan.instances.push(other);
        host.install(&plan).await.unwrap();
        let route = || lines(&ip("-4 route show table main proto 118"));
        let from = |vip: &str| vec![format!("192.0.2.0/24 dev v0 scope link src {vip} metric 118")];
        let route6 = || lines(&ip("-6 route show table main proto 118"));
        for (key, ownership, wanted, wanted6) in [
            (4, Ownership::Prepared, from("192.0.2.20"), 1),
            (3, Ownership::Master, from("192.0.2.10"), 1),
            (4, Ownership::Master, from("192.0.2.10"), 1),
            (3, Ownership::None, from("192.0.2.20"), 1),
            (4, Ownership::None, vec![], 0),
        ] {
            host.set(key, ownership).await.unwrap();
            assert_eq!((route(), route6().len()), (wanted, wanted6), "{key} {ownership:?}");
            assert!(installed(&mut host, &plan).await.is_empty(), "{key} {ownership:?}: it is as wanted");
            host.remove_stale(&plan).await.unwrap();
            assert!(
                installed(&mut host, &plan).await.is_empty(),
                "{key} {ownership:?}: none is a former one's"
            );
        }
        host.set(4, Ownership::Master).await.unwrap();
        host.sync_virtual().await.unwrap();
        let shown = || ip("-4 address show dev v0").contains("192.0.2.20/24");
        assert!(shown() && ip("route get 192.0.2.77").contains("src 192.0.2.20"));
        let left: Vec<_> = host.leftovers().await.unwrap().into_iter().map(|leftover| leftover.fix).collect();
        for fix in [
            "ip -4 route del 192.0.2.0/24 table 254 metric 118 protocol 118",
            "ip address del 192.0.2.20/24 dev v0",
        ] {
            assert!(left.iter().any(|of| of == fix), "{fix}: {left:?}");
        }
        host.remove_all().await.unwrap();
        assert!(route().is_empty() && route6().is_empty() && !shown());
    });
}

#[test]
fn groups_that_are_not_joined_are_found() {
    in_namespace("groups", async |_| {
        let index = nix::net::if_::if_nametoindex("v0").unwrap();
        let groups =
            [(index, addr("224.0.0.18")), (index, addr("ff02::12")), (9_999, addr("224.0.0.18"))].into();
        let mut absent = missing(&groups).unwrap();
        assert_eq!(
            absent,
            [(index, addr("224.0.0.18")), (index, addr("ff02::12"))],
            "of an interface that is there"
        );
        let joined = Memberships::join(absent.clone()).unwrap();
        absent = missing(&groups).unwrap();
        assert_eq!(absent, []);
        drop(joined);
    });
}

/// Whoever owns the VIP: a backup that cannot answer is no backup.
#[test]
fn a_subnet_without_a_way_is_a_refusal_until_it_has_one() {
    in_namespace("ways", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &["10.0.0.100"], false).await;
        plan.instances[0].links[0].subnets = vec![(addr("10.0.0.1"), 24)];
        for ownership in [Ownership::None, Ownership::Master] {
            host.set(3, ownership).await.unwrap();
            host.install(&plan).await.unwrap();
            host.look_at_ways().await.unwrap();
            for (harm, remedy) in [
                ("route del 10.0.0.0/24 dev v0", "route add 10.0.0.0/24 dev v0"),
                ("route add unreachable 10.0.0.0/30", "route del unreachable 10.0.0.0/30"),
                // The one that the default route leaves by is not the VIP's.
                ("route add default dev lo", "route del default dev lo"),
            ] {
                if harm.contains("default") {
                    ip("route del 10.0.0.0/24 dev v0");
                }
                ip(harm);
                let refused = format!("{:#}", host.look_at_ways().await.unwrap_err());
                assert!(refused.contains("cannot answer clients in 10.0.0.0/24"), "{harm}: {refused}");
                assert!(host.refused().contains_key(&3), "{harm}");
                ip(remedy);
                if harm.contains("default") {
                    ip("route add 10.0.0.0/24 dev v0");
                }
                host.look_at_ways().await.unwrap();
                assert!(host.refused().is_empty(), "{remedy}");
            }
        }
        // Rules are asked with the VIP as the source.
        ip("rule add pref 9 from 10.0.0.100 unreachable");
        host.install(&plan).await.unwrap();
        assert!(format!("{:#}", host.look_at_ways().await.unwrap_err()).contains("from 10.0.0.100"));
        host.set(3, Ownership::None).await.unwrap();
        host.look_at_ways().await.unwrap();
        host.probe(3).await.unwrap_err();
        assert!(host.refused().contains_key(&3));
        // Others may route the subnet as they like: it is asked what there is, and no more.
        ip("rule del pref 9");
        ip("route add 10.0.0.0/24 via 10.0.0.9 dev v0 metric 9 onlink");
        ip("route del 10.0.0.0/24 dev v0 scope link");
        host.install(&plan).await.unwrap();
        host.look_at_ways().await.unwrap();
        assert!(host.detours().is_empty());
        ip("route del 10.0.0.0/24");
        ip("route add default via 10.0.0.9 dev v0 onlink");
        host.look_at_ways().await.unwrap();
        assert_eq!(host.detours().keys().collect::<Vec<_>>(), ["v0"]);
        host.remove_all().await.unwrap();
    });
}
