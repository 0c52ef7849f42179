//! The configuration in force, printed: it reads as the same, and says where it comes from.

use super::*;
use crate::{Config, explain, print};

/// Lines are another matter.
fn without_lines(mut config: Config) -> Config {
    config.instances.iter_mut().for_each(|instance| instance.line = 0);
    config
}

#[test]
fn what_is_printed_reads_as_the_same() {
    let files = [
        with(""),
        with6("accept off\npriority 7"),
        with("authentication {\nauth_type PASS\nauth_pass \"a # b\"\n}\nadvert_int 3\nnopreempt"),
        with(
            "version 3\nadvert_int 0.07\nv3_checksum_as_v2\nlease strict\nmcast_dst_ip 224.0.0.77\npreempt_delay 1.5",
        ),
        with(
            "unicast_src_ip 10.0.0.1\nunicast_peer {\n10.0.0.2\n10.0.0.4 min_ttl 3 max_ttl 9\n}\nunicast_ttl 7",
        ),
        with(
            "use_vmac\nvmac_xmit_base\nvirtual_ipaddress_excluded {\n10.9.0.1/24 dev eth9 no_track\nfe80::9/64\n}",
        ),
        with("garp_master_delay 0\ngarp_lower_prio_delay 4\ngarp_master_refresh 60\nlower_prio_no_advert"),
        with(
            "virtual_routes {\n10.1.0.0/16 via 10.0.0.9 dev eth1 onlink\n10.2.0.0/16 nexthop via 10.0.0.8 weight 3 nexthop dev \
             eth2\nblackhole 10.3.0.0/16 table 7 metric 5\ndefault via 10.0.0.7 src 10.0.0.3 mtu 1400 scope 200\n}",
        ),
        with(
            "virtual_rules {\nfrom 10.1.2.0/24 table 5\nnot iif eth1 fwmark 3/7 preference 990 blackhole\ninet6 oif eth3 table 9\n}",
        ),
        "global_defs {\nrouter_id \"a b\"\nvrrp_min_garp\nvrrp_gna_interval 0.25\n}\n".to_owned()
            + &with("state MASTER"),
    ];
    for text in files {
        let loaded = parse(&text).unwrap_or_else(|failure| panic!("{text}\n{failure}"));
        let printed = print(&loaded.config, &loaded.origins);
        let again = parse(&printed).unwrap_or_else(|failure| panic!("{printed}\n{failure}"));
        assert!(again.origins.says_the_same_as(&loaded.origins), "{text}\n{printed}");
        assert_eq!(without_lines(again.config), without_lines(loaded.config), "{text}\n{printed}");
    }
}

#[test]
fn every_value_has_its_place() {
    let text = "global_defs {\nvrrp_version 3\n}\n$P=7\n".to_owned()
        + &with(
            "priority ${P}\nauthentication {\nauth_type PASS\nauth_pass S3cret\n}\ngarp_master_delay 1\ngarp_master_delay 2",
        );
    let loaded = parse(&text.replace("vrrp_version 3", "vrrp_version 2")).unwrap();
    let explained = explain(&loaded.config, &loaded.origins);
    let line = |start: &str| {
        let found = explained.lines().find(|line| line.trim_start().starts_with(start));
        found
            .unwrap_or_else(|| panic!("no {start} in\n{explained}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("priority"), "priority 7 # k.conf:6");
    assert_eq!(line("version"), "version 2 # k.conf:2, vrrp_version");
    assert_eq!(line("garp_lower_prio_delay"), "garp_lower_prio_delay 5 # default");
    assert_eq!(line("garp_master_delay"), "garp_master_delay 2 # k.conf:12");
    assert_eq!(line("advert_int"), "advert_int 1 # default");
    assert_eq!(line("auth_pass"), "auth_pass **** # k.conf:9");
    assert!(!explained.contains("S3cret"));

    let text = "global_defs {\nvrrp_version 2\nvrrp_min_garp\nvrrp_mcast_group6 ff02::77\n}\n".to_owned()
        + &with6("state MASTER");
    let loaded = parse(&text).unwrap();
    let explained = explain(&loaded.config, &loaded.origins);
    for line in [
        "priority 255 # k.conf:7, state",
        "version 3 # k.conf:10, virtual_ipaddress",
        "garp_master_repeat 1 # k.conf:3, vrrp_min_garp",
        "garp_lower_prio_delay 0 # k.conf:3, vrrp_min_garp",
        "mcast_dst_ip ff02::77 # k.conf:4, vrrp_mcast_group6",
    ] {
        let found =
            explained.lines().any(|found| found.split_whitespace().collect::<Vec<_>>().join(" ") == line);
        assert!(found, "no {line} in\n{explained}");
    }
}
