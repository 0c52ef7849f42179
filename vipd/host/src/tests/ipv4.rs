//! IPv4: routes, rules, sysctls; neighbours of both families.

use std::{fs, net::Ipv4Addr};

use super::*;

const VIPS: [&str; 2] = ["10.0.0.100", "10.0.0.101"];

fn rules() -> Vec<String> {
    lines(&ip("-4 -d rule show"))
}

fn our_routes() -> Vec<String> {
    lines(&ip("-4 route show table all proto 118"))
}

/// Of every interface.
fn sysctl(setting: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/ipv4/conf/all/{setting}")).unwrap().trim().to_owned()
}

fn set_sysctl(setting: &str, value: &str) {
    fs::write(format!("/proc/sys/net/ipv4/conf/all/{setting}"), value).unwrap();
}

fn nonlocal_bind() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/ip_nonlocal_bind").unwrap().trim().to_owned()
}

/// All that vipd could have changed.
fn snapshot() -> (Vec<String>, Vec<String>, [String; 3]) {
    let settings = [sysctl("arp_ignore"), sysctl("arp_announce"), nonlocal_bind()];
    (rules(), lines(&ip("-4 route show table all")), settings)
}

fn owners_routes(source: &str, vips: &[&str]) -> Vec<String> {
    vips.iter()
        .map(|vip| format!("local {vip} dev v0 table local scope host src {source} metric 118"))
        .collect()
}

#[test]
fn install_then_remove_all_leaves_no_trace() {
    in_namespace("install", async |dir| {
        let before = snapshot();
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS, false).await;
        host.install(&plan).await.unwrap();
        // A backup's kernel knows nothing of the VIPs; services bind to them all the same.
        assert_eq!((rules(), our_routes()), (before.0.clone(), vec![]));
        assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce"), nonlocal_bind()], ["1", "2", "1"]);
        std::net::UdpSocket::bind("10.0.0.100:0").unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        assert_eq!(rules(), before.0);
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));

        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
        assert!(!dir.join("sysctls.json").exists());
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn a_second_install_changes_nothing() {
    in_namespace("twice", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS, false).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        let mut monitor = Monitor::start(Some("-4"));
        host.install(&plan).await.unwrap();
        // The monitor proves that it hears: this one line, and nothing before it.
        ip("route add 192.0.2.0/24 dev v0");
        assert_eq!(monitor.stop("192.0.2.0/24"), ["192.0.2.0/24 dev v0 scope link"]);
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));
    });
}

#[test]
fn ten_thousand_vips_fit_through_the_socket() {
    in_namespace("many", async |dir| {
        let before = snapshot();
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &[], false).await;
        plan.instances[0].links[0].vips =
            (0..10_000).map(|n| Ipv4Addr::from(0x0a01_0000 + n).into()).collect();
        host.install(&plan).await.unwrap();
        host.set(3, Ownership::Prepared).await.unwrap();
        assert_eq!(our_routes().len(), 10_000);
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

/// `ip monitor` on routes and rules.
pub(super) struct Monitor(std::process::Child, std::io::BufReader<std::process::ChildStdout>);

impl Monitor {
    /// On one family, or all.
    pub(super) fn start(family: Option<&str>) -> Self {
        let mut child = Command::new("ip")
            .args(family)
            .args(["monitor", "route", "rule"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut monitor = Self(child, out);
        // It listens once it reports a marker.
        for _ in 0..500 {
            ip("route replace 198.51.100.0/24 dev v0");
            if monitor.readable() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Only markers are queued now; the last one is followed by this deletion.
        ip("route del 198.51.100.0/24 dev v0");
        while !monitor.line().starts_with("Deleted 198.51.100.0/24") {}
        monitor
    }

    fn readable(&self) -> bool {
        use std::os::fd::AsRawFd;
        let mut poll = libc::pollfd { fd: self.1.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd is given, and its count.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut self.1, &mut line).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Everything up to and including the first line about `marker`.
    pub(super) fn stop(&mut self, marker: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|line: &String| line.starts_with(marker)) {
            heard.push(self.line());
        }
        heard
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn leftovers_of_a_crash_are_adopted_or_removed() {
    in_namespace("leftovers", async |dir| {
        let before = snapshot();
        {
            let (mut host, _events) = Host::open(&dir).unwrap();
            let plan = plan(&host, &["10.0.0.100", "10.0.0.102"], false).await;
            host.set(3, Ownership::Master).await.unwrap();
            host.install(&plan).await.unwrap();
        }
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS, false).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));

        // And without a plan at all.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

/// Up to 0.1 the VIPs were local on every node, and rules kept a backup's own traffic from them.
#[test]
fn what_an_earlier_version_has_left_is_removed() {
    in_namespace("earlier", async |dir| {
        let before = snapshot();
        let v6_before = (ip("-6 rule show"), ip("-6 addr show dev lo"));
        ip("route add local 10.0.0.100 dev lo table local proto 118");
        ip("route add 10.0.0.100 dev v0 table 1987117059 proto 118 src 10.0.0.1");
        for family in ["-4", "-6"] {
            ip(&format!("{family} rule add pref 100 lookup local proto 118"));
            ip(&format!("{family} rule del pref 0 lookup local"));
            ip(&format!("{family} rule add pref 90 not iif v0 lookup 1987117059 proto 118"));
        }
        ip("addr add 2001:db8::100/128 dev lo nodad");
        fs::write(dir.join("addresses.json"), r#"["2001:db8::100"]"#).unwrap();
        // Not ours: the same table and preference, another protocol.
        ip("rule add pref 90 iif v1 lookup 77");
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS, false).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        assert!(rules().contains(&"90: from all iif v1 lookup 77 proto unspec".to_owned()), "{:?}", rules());
        ip("rule del pref 90 iif v1 lookup 77");
        assert_eq!(rules(), before.0);
        assert_eq!((ip("-6 rule show"), ip("-6 addr show dev lo")), v6_before);
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
        assert!(!dir.join("addresses.json").exists());
    });
}

/// Before a new table of VIPs is in force, the routes of VIPs that it does not have must be gone.
/// Asked again for the same, it names what somebody else has removed, and puts that back.
#[test]
fn what_somebody_has_removed_is_put_back_and_named() {
    in_namespace("repairs", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS, true).await;
        host.set(3, Ownership::Master).await.unwrap();
        assert!(!installed(&mut host, &plan).await.is_empty(), "all of it is new");
        assert!(installed(&mut host, &plan).await.is_empty(), "all of it is there");
        let before = our_routes();
        ip("route del local 10.0.0.100 dev v0 table local");
        fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "0").unwrap();
        let repairs = installed(&mut host, &plan).await;
        let mut names: Vec<String> =
            repairs.iter().map(|repair| format!("{}: {repair}", repair.kind())).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "route: route local 10.0.0.100/32 metric 118 in table local",
                "sysctl: sysctl net.ipv4.conf.all.arp_ignore"
            ]
        );
        assert_eq!(our_routes(), before);
        assert!(installed(&mut host, &plan).await.is_empty());
        assert!(!synced(&mut host).await.is_empty(), "the VIPs are shown");
        assert!(synced(&mut host).await.is_empty());
        ip("addr del 10.0.0.100/32 dev v0");
        let repairs = synced(&mut host).await;
        let names: Vec<String> = repairs.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["address 10.0.0.100 for show"]);
    });
}

#[test]
fn remove_stale_removes_local_routes_that_are_not_planned() {
    in_namespace("retire", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let old = plan(&host, &["10.0.0.100", "10.0.0.102"], false).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&old).await.unwrap();
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        let new = plan(&host, &VIPS, false).await;
        host.remove_stale(&new).await.unwrap();
        assert_eq!(our_routes(), owners_routes("10.0.0.1", &["10.0.0.100"]));
    });
}

#[test]
fn the_vips_are_local_while_they_are_owned_or_about_to_be() {
    in_namespace("master", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS, false).await;
        host.install(&plan).await.unwrap();
        for ownership in [Ownership::Prepared, Ownership::Master, Ownership::Master] {
            host.set(3, ownership).await.unwrap();
            assert!(ip("route get 10.0.0.100").starts_with("local 10.0.0.100 dev lo"));
            // A socket to the own VIP has an address that the host keeps when the VIP goes.
            assert!(ip("route get 10.0.0.100").contains("src 10.0.0.1 "));
            assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));
        }
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));
        for _ in 0..2 {
            host.set(3, Ownership::None).await.unwrap();
            assert_eq!(our_routes(), [""; 0]);
            assert!(ip("route get 10.0.0.100").starts_with("10.0.0.100 dev v0 src 10.0.0.1"));
        }
        // A restart that adopts its lease says so before it installs.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &VIPS));
    });
}

#[test]
fn sysctls_are_raised_not_lowered_and_survive_a_crash() {
    in_namespace("sysctl", async |dir| {
        set_sysctl("arp_ignore", "8");
        set_sysctl("arp_announce", "1");
        for _ in 0..2 {
            // The second round finds the file of the first: a crash.
            let (mut host, _events) = Host::open(&dir).unwrap();
            let plan = plan(&host, &VIPS, false).await;
            host.install(&plan).await.unwrap();
            assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["8", "2"]);
        }
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["8", "1"]);
    });
}

/// With IPv6 VIPs alone there is nothing to keep the kernel from. What an earlier version raised on single interfaces goes
/// back once every interface is covered.
#[test]
fn sysctls_are_raised_for_ipv4_alone() {
    in_namespace("sysctl-v4", async |dir| {
        let v0 = "/proc/sys/net/ipv4/conf/v0/arp_ignore";
        fs::write(v0, "1").unwrap();
        fs::write(dir.join("sysctls.json"), r#"{ "v0": { "arp_ignore": 0 } }"#).unwrap();
        let (mut host, _events) = Host::open(&dir).unwrap();
        let both = plan(&host, &["10.0.0.100", "2001:db8::100"], false).await;
        host.install(&both).await.unwrap();
        assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["1", "2"]);
        assert_eq!(fs::read_to_string(v0).unwrap(), "0\n");
        let v6 = plan(&host, &["2001:db8::100"], false).await;
        host.install(&v6).await.unwrap();
        assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["0", "0"]);
        host.remove_all().await.unwrap();
        assert!(!dir.join("sysctls.json").exists());
    });
}

#[test]
fn a_new_source_and_a_returning_link_repair_routes() {
    in_namespace("source", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &VIPS, false).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        plan.instances[0].links[0].source_v4 = Some(Ipv4Addr::new(10, 0, 0, 2));
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.2", &VIPS));

        ip("link set v0 down");
        host.install(&plan).await.unwrap();
        ip("link set v0 up");
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.2", &VIPS));
    });
}

/// Whoever else has a VIP as an address, of whatever interface, and takes it away again: ours stands beside the kernel's.
#[test]
fn a_route_stands_whoever_else_has_the_address() {
    in_namespace("owner", async |dir| {
        let before = snapshot();
        let (mut host, _events) = Host::open(&dir).unwrap();
        ip("addr add 10.0.0.100/32 dev lo");
        let plan = plan(&host, &["10.0.0.2", "10.0.0.100"], false).await;
        host.set(3, Ownership::Master).await.unwrap();
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), owners_routes("10.0.0.1", &["10.0.0.100", "10.0.0.2"]));
        ip("addr del 10.0.0.100/32 dev lo");
        assert!(ip("route get 10.0.0.100").starts_with("local 10.0.0.100"));
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn neighbours_are_forgotten_but_permanent_ones() {
    in_namespace("neigh", async |dir| {
        let (host, _events) = Host::open(&dir).unwrap();
        let link = host.link("v0").await.unwrap();
        ip("neigh add 10.0.0.100 lladdr 02:00:00:00:00:64 dev v0 nud reachable");
        ip("neigh add 10.0.0.101 lladdr 02:00:00:00:00:65 dev v0 nud permanent");
        ip("neigh add 10.0.0.50 lladdr 02:00:00:00:00:32 dev v0 nud reachable");
        ip("neigh add 2001:db8::100 lladdr 02:00:00:00:00:64 dev v0 nud reachable");
        ip("neigh add 2001:db8::50 lladdr 02:00:00:00:00:32 dev v0 nud reachable");
        let vips = ["10.0.0.100", "10.0.0.101", "10.0.0.102", "2001:db8::100"].map(addr);
        host.forget_neighbours(link.ifindex, &vips).await.unwrap();
        let left = ip("-4 neigh show dev v0");
        assert!(!left.contains("10.0.0.100"), "{left}");
        assert!(left.contains("10.0.0.101") && left.contains("10.0.0.50"), "{left}");
        let left = ip("-6 neigh show dev v0");
        assert!(!left.contains("2001:db8::100") && left.contains("2001:db8::50"), "{left}");
    });
}
