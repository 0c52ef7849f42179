//! Against the real kernel, each test in a network namespace of its own that ends with the test's thread.

use std::{fs, future::Future, net::Ipv4Addr, path::PathBuf, process::Command, thread, time::Duration};

use super::*;

const VIPS: [&str; 2] = ["10.0.0.100", "10.0.0.101"];

/// Runs a test in a fresh namespace with `lo`, and a veth pair `v0` (10.0.0.1, 10.0.0.2 secondary) and `v1`, all up.
/// The test gets an empty state directory.
fn in_namespace<F: Future<Output = ()>>(name: &str, test: impl FnOnce(PathBuf) -> F + Send) {
    // SAFETY: geteuid() takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped {name}: making a network namespace needs root");
        return;
    }
    let dir = std::env::temp_dir().join(format!("vipd-host-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.clone();
    let outcome = thread::scope(|scope| {
        scope
            .spawn(move || {
                // SAFETY: only this thread, made for the test, changes namespace; its children inherit it.
                let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
                assert_eq!(unshared, 0, "unshare: {}", std::io::Error::last_os_error());
                ip("link set lo up");
                ip("link add v0 type veth peer name v1");
                ip("addr add 10.0.0.1/24 dev v0");
                ip("addr add 10.0.0.2/24 dev v0");
                ip("link set v0 up");
                ip("link set v1 up");
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let limit = Duration::from_secs(30);
                    tokio::time::timeout(limit, test(path)).await.expect("the test hangs");
                });
            })
            .join()
    });
    fs::remove_dir_all(&dir).unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines with single spaces.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn rules() -> Vec<String> {
    lines(&ip("-4 -d rule show"))
}

fn our_routes() -> Vec<String> {
    lines(&ip("-4 route show table all proto 118"))
}

fn sysctl(setting: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/ipv4/conf/v0/{setting}")).unwrap().trim().to_owned()
}

fn set_sysctl(setting: &str, value: &str) {
    fs::write(format!("/proc/sys/net/ipv4/conf/v0/{setting}"), value).unwrap();
}

/// All that vipd could have changed.
fn snapshot() -> (Vec<String>, Vec<String>, [String; 2]) {
    (rules(), lines(&ip("-4 route show table all")), [sysctl("arp_ignore"), sysctl("arp_announce")])
}

fn addr(s: &str) -> IpAddr {
    s.parse().unwrap()
}

async fn plan(host: &Host, vips: &[&str]) -> Plan {
    let link = host.link("v0").await.unwrap();
    let instance = PlannedInstance {
        key: 3,
        ifindex: link.ifindex,
        interface: link.name.clone(),
        source: link.primary_v4().map(Into::into),
        vips: vips.iter().map(|vip| addr(vip)).collect(),
    };
    Plan { instances: vec![instance] }
}

const TABLE: &str = "1987051523";

fn expected_routes(source: &str, vips: &[&str]) -> Vec<String> {
    let mut routes: Vec<String> =
        vips.iter().map(|vip| format!("{vip} dev v0 table {TABLE} scope link src {source}")).collect();
    routes.extend(vips.iter().map(|vip| format!("local {vip} dev lo table local scope host")));
    routes.sort();
    routes
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn backup_rules() -> Vec<String> {
    vec![
        format!("90: not from all iif v0 lookup {TABLE} proto 118"),
        "100: from all lookup local proto 118".to_owned(),
        "32766: from all lookup main proto kernel".to_owned(),
        "32767: from all lookup default proto kernel".to_owned(),
    ]
}

fn assert_installed(vips: &[&str]) {
    assert_eq!(rules(), backup_rules());
    assert_eq!(sorted(our_routes()), expected_routes("10.0.0.1", vips));
}

#[test]
fn install_then_remove_all_leaves_no_trace() {
    in_namespace("install", async |dir| {
        let before = snapshot();
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS).await;
        host.install(&plan).await.unwrap();
        assert_installed(&VIPS);
        assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["1", "2"]);
        // What it is for: the host's own traffic leaves by the link, with the interface's own address.
        assert!(ip("route get 10.0.0.100").contains("10.0.0.100 dev v0 table 1987051523 src 10.0.0.1"));

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
        let plan = plan(&host, &VIPS).await;
        host.install(&plan).await.unwrap();
        let mut monitor = Monitor::start();
        host.install(&plan).await.unwrap();
        // The monitor proves that it hears: this one line, and nothing before it.
        ip("route add 192.0.2.0/24 dev v0");
        assert_eq!(monitor.stop(), ["192.0.2.0/24 dev v0 scope link"]);
        assert_installed(&VIPS);
    });
}

#[test]
fn ten_thousand_vips_fit_through_the_socket() {
    in_namespace("many", async |dir| {
        let before = snapshot();
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &[]).await;
        plan.instances[0].vips = (0..10_000).map(|n| Ipv4Addr::from(0x0a01_0000 + n).into()).collect();
        host.install(&plan).await.unwrap();
        assert_eq!(our_routes().len(), 20_000);
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

/// `ip monitor` on routes and rules.
struct Monitor(std::process::Child, std::io::BufReader<std::process::ChildStdout>);

impl Monitor {
    fn start() -> Self {
        let mut child = Command::new("ip")
            .args(["-4", "monitor", "route", "rule"])
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

    /// Everything up to and including the first line about 192.0.2.0/24.
    fn stop(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|line: &String| line.starts_with("192.0.2.0/24")) {
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
            let plan = plan(&host, &["10.0.0.100", "10.0.0.102"]).await;
            host.install(&plan).await.unwrap();
            ip("route add 10.0.0.101 dev v1 table 1987051523 proto 118");
            ip("rule add pref 90 not iif v1 lookup 1987051599 proto 118");
            // Not ours: the same table and preference, another protocol.
            ip("route add 10.0.0.200 dev v0 table 1987051523");
            ip("rule add pref 90 iif v1 lookup 77");
        }
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS).await;
        host.install(&plan).await.unwrap();
        ip("route del 10.0.0.200 dev v0 table 1987051523");
        ip("rule del pref 90 iif v1 lookup 77");
        assert_installed(&VIPS);

        // And without a plan at all.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert_eq!(snapshot(), before);
    });
}

/// Before a new table of VIPs is in force, the routes of VIPs that it does not have must be gone.
#[test]
fn retire_removes_local_routes_that_are_not_planned() {
    in_namespace("retire", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let old = plan(&host, &["10.0.0.100", "10.0.0.102"]).await;
        host.install(&old).await.unwrap();
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        let new = plan(&host, &VIPS).await;
        host.retire(&new).await.unwrap();
        let local: Vec<_> = our_routes().into_iter().filter(|route| route.starts_with("local")).collect();
        assert_eq!(local, ["local 10.0.0.100 dev lo table local scope host"]);
    });
}

#[test]
fn set_master_moves_one_rule() {
    in_namespace("master", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &VIPS).await;
        host.install(&plan).await.unwrap();
        for _ in 0..2 {
            host.set_master(3, true).await.unwrap();
            assert_eq!(rules(), backup_rules()[1..]);
            assert!(ip("route get 10.0.0.100").starts_with("local 10.0.0.100 dev lo"));
            assert_eq!(sorted(our_routes()), expected_routes("10.0.0.1", &VIPS));
        }
        host.install(&plan).await.unwrap();
        assert_eq!(rules(), backup_rules()[1..], "install keeps a master's rule away");
        for _ in 0..2 {
            host.set_master(3, false).await.unwrap();
            assert_installed(&VIPS);
        }
        // A restart that adopts its lease says so before it installs.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.set_master(3, true).await.unwrap();
        host.install(&plan).await.unwrap();
        assert_eq!(rules(), backup_rules()[1..]);
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
            let plan = plan(&host, &VIPS).await;
            host.install(&plan).await.unwrap();
            assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["8", "2"]);
        }
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], ["8", "1"]);
    });
}

#[test]
fn set_source_and_a_returning_link_repair_routes() {
    in_namespace("source", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        let mut plan = plan(&host, &VIPS).await;
        host.install(&plan).await.unwrap();
        host.set_source(3, addr("10.0.0.2")).await.unwrap();
        assert_eq!(sorted(our_routes()), expected_routes("10.0.0.2", &VIPS));

        plan.instances[0].source = Some(addr("10.0.0.2"));
        ip("link set v0 down");
        assert_eq!(our_routes().len(), VIPS.len(), "the kernel drops the routes of a link that goes down");
        host.install(&plan).await.unwrap();
        ip("link set v0 up");
        host.install(&plan).await.unwrap();
        assert_eq!(sorted(our_routes()), expected_routes("10.0.0.2", &VIPS));
    });
}

/// An address owner's VIP is an address of the interface: its route is the kernel's, and stays the kernel's.
#[test]
fn an_address_of_the_host_keeps_its_own_route() {
    in_namespace("owner", async |dir| {
        let before = snapshot();
        let (mut host, _events) = Host::open(&dir).unwrap();
        let plan = plan(&host, &["10.0.0.2", "10.0.0.100"]).await;
        host.install(&plan).await.unwrap();
        let local: Vec<_> = our_routes().into_iter().filter(|route| route.starts_with("local")).collect();
        assert_eq!(local, ["local 10.0.0.100 dev lo table local scope host"]);
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
        let vips = [addr("10.0.0.100"), addr("10.0.0.101"), addr("10.0.0.102")];
        host.forget_neighbours(link.ifindex, &vips).await.unwrap();
        let left = ip("-4 neigh show dev v0");
        assert!(!left.contains("10.0.0.100"), "{left}");
        assert!(left.contains("10.0.0.101") && left.contains("10.0.0.50"), "{left}");
    });
}

#[test]
fn links_are_read_and_changes_heard() {
    in_namespace("links", async |dir| {
        let (host, mut events) = Host::open(&dir).unwrap();
        let link = host.link("v0").await.unwrap();
        let address = |s, secondary| LinkAddress { address: addr(s), prefix_len: 24, secondary };
        assert_eq!(link.addresses, [address("10.0.0.1", false), address("10.0.0.2", true)]);
        assert_eq!(link.primary_v4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(link.up && link.mtu == 1500);
        assert!(ip("link show v0").contains(&link.mac.to_string()));
        assert_eq!(host.link_by_index(link.ifindex).await.unwrap(), link);
        assert!(matches!(host.link("none").await, Err(LinkError::NotFound(name)) if name == "none"));

        let mut until = async |wanted: &dyn Fn(&LinkChange) -> bool| loop {
            let change = events.recv().await.expect("events go on");
            if wanted(&change) {
                break;
            }
        };
        let ifindex = link.ifindex;
        let state = |change: &LinkChange| match change {
            LinkChange::State(state) if state.ifindex == ifindex => Some(state.clone()),
            _ => None,
        };
        ip("addr add 10.0.1.1/24 dev v0");
        until(&|c| state(c).is_some_and(|s| s.addresses.len() == 3)).await;
        // The peer going down takes the carrier.
        ip("link set v1 down");
        until(&|c| state(c).is_some_and(|s| !s.up)).await;
        ip("link set v1 up");
        until(&|c| state(c).is_some_and(|s| s.up)).await;
        ip("link del v0");
        until(&|c| *c == LinkChange::Gone { ifindex }).await;
    });
}

#[test]
fn membership_is_held_and_nothing_is_received() {
    in_namespace("multicast", async |dir| {
        let (host, _events) = Host::open(&dir).unwrap();
        let link = host.link("v0").await.unwrap();
        let joined = || ip("maddr show dev v0").contains("224.0.0.18");
        assert!(!joined());
        let member = multicast::join(link.ifindex, Ipv4Addr::new(224, 0, 0, 18)).unwrap();
        assert!(joined());
        assert!(ip("maddr show dev v0").contains("01:00:5e:00:00:12"));

        // An advert from the other end of the pair: the kernel delivers it to the raw socket, whose filter drops it.
        let peer = host.link("v1").await.unwrap();
        let socket = crate::announce::PacketSocket::open(peer.ifindex).unwrap();
        let mut frame = Vec::new();
        let vips = [addr("10.0.0.100")];
        let spec = crate::announce::AdvertSpec {
            version: vipd_common::Version::V3,
            vrid: vipd_common::Vrid::new(51).unwrap(),
            priority: vipd_common::Priority::DEFAULT,
            interval: Duration::from_secs(1),
            source: addr("10.0.0.9"),
            destination: addr("224.0.0.18"),
            ttl: 255,
            vips: &vips,
            auth: None,
            checksum: vipd_common::types::ChecksumForm::PseudoHeader,
            ip_id: 1,
        };
        crate::announce::advert_frame(&spec, peer.mac, &mut frame).unwrap();
        let received = || rx_packets("v0");
        let before = received();
        socket.send(&frame).unwrap();
        let frames = vec![frame.clone(); 150];
        let (sent, error) = socket.send_batch(&frames);
        assert!(error.is_none() && sent == 150, "{sent} {error:?}");
        for _ in 0..200 {
            if received() >= before + 151 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(received() >= before + 151, "the frames did not arrive");
        let mut byte = 0u8;
        // SAFETY: the buffer is one live octet.
        let got = unsafe {
            libc::recv(std::os::fd::AsRawFd::as_raw_fd(&member), std::ptr::from_mut(&mut byte).cast(), 1, 0)
        };
        assert_eq!(got, -1);
        drop(member);
        assert!(!joined());

        ip("link set v1 down");
        assert!(socket.send(&frame).is_err(), "a frame that cannot leave is an error");
        let (sent, error) = socket.send_batch(&frames);
        assert!(sent == 0 && error.is_some());
    });
}

fn rx_packets(interface: &str) -> u64 {
    let text = ip(&format!("-s -o link show dev {interface}"));
    let after = text.split("RX:").nth(1).unwrap();
    let numbers = after.split('\\').nth(1).unwrap();
    numbers.split_whitespace().nth(1).unwrap().parse().unwrap()
}
