//! Virtual MACs in NIC filters, and the VLAN offload.

use super::*;

const MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 0x33]);

async fn plan(host: &Host, name: &str, macs: &[MacAddr]) -> Plan {
    let link = host.link(name).await.unwrap();
    let instance = |(key, mac): (u16, &MacAddr)| PlannedInstance {
        key,
        families: Vec::new(),
        links: vec![PlannedLink {
            ifindex: link.ifindex,
            interface: name.to_owned(),
            source_v4: None,
            source_v6: None,
            vips: Vec::new(),
            connected: Vec::new(),
            subnets: Vec::new(),
            announces_own_mac: true,
        }],
        filters: vec![PlannedFilter { ifindex: link.ifindex, interface: name.to_owned(), mac: *mac }],
        routes: Vec::new(),
        rules: Vec::new(),
        visible: false,
    };
    Plan { instances: (0..).zip(macs).map(instance).collect() }
}

/// The unicast addresses in a NIC's filter.
fn filter(name: &str) -> Vec<String> {
    let output = Command::new("bridge").args(["fdb", "show", "dev", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let unicast = |mac: &str| !mac.starts_with("33:33") && !mac.starts_with("01:");
    sorted(
        text.lines().filter_map(|l| l.split(' ').next()).filter(|m| unicast(m)).map(str::to_owned).collect(),
    )
}

fn is_promiscuous(name: &str) -> bool {
    ip(&format!("link show dev {name}")).contains("PROMISC")
}

#[test]
fn virtual_macs_come_and_go_and_those_of_others_stay() {
    in_namespace("macs", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        // A macvlan of somebody else's has a virtual MAC too.
        ip("link add link v0 name mv0 address 00:00:5e:00:01:99 type macvlan mode bridge");
        ip("link set mv0 up");
        let others = ["00:00:5e:00:01:99"];
        assert_eq!(filter("v0"), others);
        let second = MacAddr([0, 0, 0x5e, 0, 2, 0x33]);
        let theirs = MacAddr([0, 0, 0x5e, 0, 1, 0x99]);
        let both = plan(&host, "v0", &[MAC, second, theirs]).await;
        for _ in 0..2 {
            host.install(&both).await.unwrap();
            assert_eq!(filter("v0"), ["00:00:5e:00:01:33", "00:00:5e:00:01:99", "00:00:5e:00:02:33"]);
        }
        assert!(!is_promiscuous("v0"));

        // After a crash, one of them is not planned any more.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        let one = plan(&host, "v0", &[MAC]).await;
        host.install(&one).await.unwrap();
        assert_eq!(filter("v0"), ["00:00:5e:00:01:33", "00:00:5e:00:01:99"]);
        // And after another there is no plan.
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert_eq!(filter("v0"), others);
        assert!(!dir.join("virtual_macs.json").exists());
    });
}

/// How often the kernel holds a multicast MAC for an interface, and whether somebody has asked for it without a membership.
fn group(name: &str, mac: &str) -> Option<(u32, bool)> {
    let list = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
    list.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields[1] == name && fields[4] == mac).then(|| (fields[2].parse().unwrap(), fields[3] == "1"))
    })
}

/// The MAC of the adverts' group stays in the filter when the daemon and its membership are gone.
#[test]
fn the_group_of_adverts_is_received_without_a_membership() {
    let adverts = "01005e000012";
    in_namespace("groups", async |dir| {
        for operators in [false, true] {
            if operators {
                ip("maddress add 01:00:5e:00:00:12 dev v0");
            }
            assert_eq!(group("v0", adverts), operators.then_some((1, true)));
            let (mut host, _events) = Host::open(&dir).unwrap();
            let wanted = plan(&host, "v0", &[MacAddr([1, 0, 0x5e, 0, 0, 0x12])]).await;
            for _ in 0..2 {
                host.install(&wanted).await.unwrap();
                assert_eq!(group("v0", adverts), Some((1, true)));
            }
            // It outlives the process, and the next one knows whose it is.
            drop(host);
            assert_eq!(group("v0", adverts), Some((1, true)));
            let (mut host, _events) = Host::open(&dir).unwrap();
            host.remove_all().await.unwrap();
            assert_eq!(
                group("v0", adverts),
                operators.then_some((1, true)),
                "what the operator has set stays"
            );
        }
    });
}

#[test]
fn a_driver_without_a_filter_is_set_promiscuous() {
    in_namespace("promisc", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        // A macvlan takes no entries of its own.
        ip("link add link v0 name mv0 type macvlan mode bridge");
        ip("link set mv0 up");
        for operators in [false, true] {
            if operators {
                ip("link set mv0 promisc on");
            }
            let plan = plan(&host, "mv0", &[MAC]).await;
            for _ in 0..2 {
                host.install(&plan).await.unwrap();
                assert!(is_promiscuous("mv0"));
            }
            drop(host);
            (host, _) = Host::open(&dir).unwrap();
            host.remove_all().await.unwrap();
            assert_eq!(is_promiscuous("mv0"), operators, "what the operator has set stays");
        }
        // A recreated interface has lost what the file knows of.
        let wanted = plan(&host, "v0", &[MAC]).await;
        host.install(&wanted).await.unwrap();
        ip("link del v0");
        host.install(&Plan::default()).await.unwrap();
        assert!(!dir.join("virtual_macs.json").exists());
    });
}

fn rx_vlan(name: &str) -> bool {
    let output = Command::new("ethtool").args(["-k", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match text.lines().find_map(|line| line.trim().strip_prefix("rx-vlan-offload: ")) {
        Some(state) => state.starts_with("on"),
        None => panic!("{text}"),
    }
}

fn ethtool(name: &str, state: &str) {
    assert!(Command::new("ethtool").args(["-K", name, "rxvlan", state]).status().unwrap().success());
}

#[test]
fn rx_vlan_offload_is_turned_off_and_restored() {
    in_namespace("rxvlan", async |dir| {
        let (mut host, _events) = Host::open(&dir).unwrap();
        assert!(rx_vlan("v0"));
        for _ in 0..2 {
            host.set_rx_vlan("v0", false).unwrap();
            assert!(!rx_vlan("v0"));
        }
        // Somebody turns it on again.
        assert!(!host.check_rx_vlan("v0").unwrap());
        ethtool("v0", "on");
        assert!(host.check_rx_vlan("v0").unwrap() && !rx_vlan("v0"));
        assert!(!host.check_rx_vlan("none").unwrap(), "an interface that is gone");
        drop(host);
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert!(rx_vlan("v0"));
        assert!(!dir.join("rx_vlan.json").exists());

        host.set_rx_vlan("v0", false).unwrap();
        host.set_rx_vlan("v0", true).unwrap();
        assert!(rx_vlan("v0") && !dir.join("rx_vlan.json").exists(), "nothing is left to restore");

        host.set_rx_vlan("v0", false).unwrap();
        ip("link del v0");
        host.remove_all().await.unwrap();
        assert!(!dir.join("rx_vlan.json").exists());

        // `lo` has the feature not at all, so turning it off is nothing, and turning it on is refused with the reason.
        host.set_rx_vlan("lo", false).unwrap();
        let error = format!("{:#}", host.set_rx_vlan("lo", true).unwrap_err());
        assert!(error.contains("rx-vlan-offload of lo cannot be turned on"), "{error}");
        assert!(!dir.join("rx_vlan.json").exists());
        let error = format!("{:#}", host.set_rx_vlan("none", false).unwrap_err());
        assert!(error.starts_with("rx-vlan-offload of none: No such device"), "{error}");
    });
}

/// What was changed of an interface is restored on it, whatever its name is by then, and not on another one that has its name.
#[test]
fn an_interface_that_was_renamed_is_restored() {
    in_namespace("renamed", async |dir| {
        let group_mac = "01005e000012";
        for another in [false, true] {
            let (mut host, _events) = Host::open(&dir).unwrap();
            host.set_rx_vlan("v0", false).unwrap();
            let wanted = plan(&host, "v0", &[MAC, MacAddr([1, 0, 0x5e, 0, 0, 0x12])]).await;
            host.install(&wanted).await.unwrap();
            assert!(!rx_vlan("v0") && filter("v0") == ["00:00:5e:00:01:33"]);
            assert_eq!(group("v0", group_mac), Some((1, true)));
            ip("link set v0 down");
            ip("link set v0 name w0");
            if another {
                ip("link add v0 type veth peer name v2");
                ethtool("v0", "off");
            }
            // Nothing of the configuration is there any more, and then vipd stops.
            host.install(&Plan::default()).await.unwrap();
            assert_eq!((filter("w0"), group("w0", group_mac)), (Vec::new(), None));
            host.remove_all().await.unwrap();
            assert!(rx_vlan("w0"));
            assert!(!another || !rx_vlan("v0"), "it is another one's");
            for file in ["rx_vlan.json", "virtual_macs.json"] {
                assert!(!dir.join(file).exists(), "{file}");
            }
            if another {
                ip("link del v0");
            }
            ip("link set w0 name v0");
            ip("link set v0 up");
        }
    });
}

/// The files of a version that kept no index.
#[test]
fn what_an_earlier_version_saved_is_restored() {
    in_namespace("earlier", async |dir| {
        ethtool("v0", "off");
        ip("maddress add 01:00:5e:00:00:12 dev v0");
        std::fs::write(dir.join("rx_vlan.json"), r#"{"v0":true,"gone":true}"#).unwrap();
        let filters = r#"{"v0":{"macs":[[1,0,94,0,0,18]],"promiscuous":false}}"#;
        std::fs::write(dir.join("virtual_macs.json"), filters).unwrap();
        let (mut host, _events) = Host::open(&dir).unwrap();
        host.remove_all().await.unwrap();
        assert!(rx_vlan("v0") && group("v0", "01005e000012").is_none());
        assert!(!dir.join("rx_vlan.json").exists() && !dir.join("virtual_macs.json").exists());
    });
}
