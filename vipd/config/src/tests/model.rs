//! What right files mean.

use std::time::Duration;

use vipd_common::{Family, Priority, Version, Vrid, types::ChecksumForm};

use super::{check, instance, ip, parse, vip, with};
use crate::{Auth, Config, Garp, Instance, LeasePolicy, Notify, NotifySettings, Tracks, Vip, WantedState};

/// Seed 000, section 2.1.3: the master's file.
const LB01: &str = "! Configuration File for keepalived

global_defs {
   router_id lb01
}

vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass 1111
    }
    virtual_ipaddress {
        10.0.0.3
    }
}
";

fn lb(router_id: &str, wanted: WantedState, priority: u8) -> Config {
    let instance = Instance {
        name: "VI_1".to_owned(),
        interface: "eth0".to_owned(),
        vrid: Vrid::new(51).unwrap(),
        version: Version::V2,
        family: Family::V4,
        priority: Priority::new(priority),
        wanted,
        advert_interval: Duration::from_secs(1),
        down_timer_adverts: 3,
        auth: Auth::Pass(*b"1111\0\0\0\0"),
        vips: vec![vip("10.0.0.3", 32)],
        excluded: Vec::new(),
        preempt: true,
        preempt_delay: Duration::ZERO,
        source: None,
        group: ip("224.0.0.18"),
        unicast: None,
        use_vmac: false,
        vmac_xmit_base: false,
        accept: true,
        virtual_routes: Vec::new(),
        virtual_rules: Vec::new(),
        garp: Garp {
            master_delay: Some(Duration::from_secs(5)),
            master_repeat: 5,
            master_refresh: None,
            master_refresh_repeat: 1,
            lower_prio_delay: Some(Duration::from_secs(5)),
            lower_prio_repeat: 5,
            interval: Duration::ZERO,
            gna_interval: Duration::ZERO,
        },
        checksum: ChecksumForm::MessageOnly,
        lower_prio_no_advert: false,
        lease: LeasePolicy::Overlap,
        cluster_report: None,
        self_probe: Some(Duration::from_secs(30)),
        heartbeat_links: Vec::new(),
        tracks: Tracks::default(),
        tracks_interface: true,
        tracks_source: false,
        vip_visible: false,
        notify: Notify::default(),
        notify_priority_changes: None,
        fence: None,
        probe: None,
        line: 7,
    };
    Config { router_id: Some(router_id.to_owned()), instances: vec![instance], ..Config::default() }
}

#[test]
fn the_seed_files_parse_to_the_exact_model() {
    let lb02 = LB01.replace("lb01", "lb02").replace("MASTER", "BACKUP").replace("150", "100");
    for (text, expect) in
        [(LB01, lb("lb01", WantedState::Master, 150)), (&lb02, lb("lb02", WantedState::Backup, 100))]
    {
        let loaded = parse(text).unwrap();
        assert_eq!(loaded.config, expect);
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn a_file_of_the_other_seed_is_right() {
    let script = "#Monitor haproxy process status and execute every 2 seconds
vrrp_script chk_haproxy {
    script \"/usr/local/keepalived/chk_haproxy.sh\"
    interval 2
    weight 2
}
";
    let text = "vrrp_instance VI_1 {
    state MASTER #Marked as MASTER
    interface eth0
    virtual_router_id 51
    priority 101   #MASTER weights are higher than BACKUP
    advert_int 1
    mcast_src_ip 192.168.1.189 #Master server IP

    track_script {
        chk_haproxy #Monitoring haproxy process status
    }

    #VIP
    virtual_ipaddress {
        192.168.1.99 #Virtual IP
    }
}
";
    check(&(text.to_owned() + script), &[]);
    let untracked = text.replace("track_script {\n        chk_haproxy #", "#").replace("status\n    }", "");
    assert_eq!(instance(&untracked).source, Some(ip("192.168.1.189")));
}

#[test]
fn layout_does_not_matter() {
    let expect = lb("lb01", WantedState::Master, 150).instances.remove(0);
    for text in [
        LB01.replace('\n', "\r\n"),
        format!("\u{feff}{LB01}"),
        LB01.replace("VI_1 {", "VI_1\n{"),
        LB01.replace(
            "authentication {\n        auth_type PASS\n        auth_pass 1111\n    }",
            "authentication { auth_type PASS } authentication{auth_pass \"1111\"}",
        ),
        LB01.replace("virtual_ipaddress {\n        10.0.0.3\n    }", "virtual_ipaddress { 10.0.0.3 } # {"),
        // `global_defs` counts wherever it stands.
        LB01.replace("version", "") + "\nglobal_defs { vrrp_garp_master_repeat 0 }",
    ] {
        let mut expect = expect.clone();
        if text.contains("repeat 0") {
            (expect.garp.master_repeat, expect.garp.lower_prio_repeat) = (1, 1);
        }
        assert_eq!(Instance { line: 7, ..instance(&text) }, expect, "{text}");
    }
}

#[test]
fn keywords_change_what_they_should() {
    type Change = fn(&mut Instance);
    let seconds = Duration::from_secs;
    let rows: &[(&str, &str, Change)] = &[
        ("", "priority 255", |i| i.priority = Priority::OWNER),
        ("", "advert_int 255", |i| i.advert_interval = Duration::from_secs(255)),
        ("", "nopreempt", |i| i.preempt = false),
        ("", "preempt_delay 2.5", |i| i.preempt_delay = Duration::from_millis(2500)),
        ("", "garp_master_delay 0", |i| i.garp.master_delay = None),
        ("vrrp_garp_master_delay 0", "", |i| (i.garp.master_delay, i.garp.lower_prio_delay) = (None, None)),
        ("", "garp_master_repeat 2\ngarp_lower_prio_repeat 0", |i| {
            (i.garp.master_repeat, i.garp.lower_prio_repeat) = (2, 0);
        }),
        ("", "garp_lower_prio_delay 9", |i| i.garp.lower_prio_delay = Some(Duration::from_secs(9))),
        ("", "garp_master_refresh 60\ngarp_master_refresh_repeat 2", |i| {
            (i.garp.master_refresh, i.garp.master_refresh_repeat) = (Some(Duration::from_secs(60)), 2);
        }),
        ("", "lease strict", |i| i.lease = LeasePolicy::Strict),
        ("lease strict", "lease overlap", |_| {}),
        ("lease strict", "", |i| i.lease = LeasePolicy::Strict),
        ("vrrp_min_garp", "", |i| {
            (i.garp.master_repeat, i.garp.master_delay) = (1, None);
            (i.garp.lower_prio_repeat, i.garp.lower_prio_delay) = (1, None);
        }),
        ("vrrp_min_garp off", "", |_| {}),
        ("vrrp_garp_interval 0.001", "", |i| i.garp.interval = Duration::from_millis(1)),
        ("vrrp_garp_interval 0", "", |_| {}),
        ("vrrp_gna_interval 0.5", "", |i| i.garp.gna_interval = Duration::from_millis(500)),
        ("vrrp_garp_master_repeat 3", "garp_master_repeat 4", |i| {
            (i.garp.master_repeat, i.garp.lower_prio_repeat) = (4, 3);
        }),
        ("vrrp_mcast_group4 224.0.0.99", "", |i| i.group = "224.0.0.99".parse().unwrap()),
        ("vrrp_down_timer_adverts 5", "", |i| i.down_timer_adverts = 5),
        ("vrrp_lower_prio_no_advert", "", |i| i.lower_prio_no_advert = true),
        ("vrrp_lower_prio_no_advert", "lower_prio_no_advert no", |_| {}),
        ("v3_checksum_as_v2", "", |_| {}),
        ("vrrp_version 3", "version 2", |_| {}),
        ("vrrp_version 3", "", |i| (i.version, i.checksum) = (Version::V3, ChecksumForm::PseudoHeader)),
        ("", "version 3\nv3_checksum_as_v2", |i| i.version = Version::V3),
        ("", "version 3\nadvert_int 0.01", |i| {
            (i.version, i.checksum) = (Version::V3, ChecksumForm::PseudoHeader);
            i.advert_interval = Duration::from_millis(10);
        }),
        ("", "version 3\nadvert_int 40.95", |i| {
            (i.version, i.checksum) = (Version::V3, ChecksumForm::PseudoHeader);
            i.advert_interval = Duration::from_millis(40_950);
        }),
        ("", "virtual_ipaddress_excluded {\n10.0.1.1/24 dev eth0\n10.0.1.9\n}", |i| {
            i.excluded = vec![vip("10.0.1.1", 24), vip("10.0.1.9", 32)];
        }),
        ("", "authentication {\nauth_type PASS\nauth_pass \"a b#c{$d\"\n}", |i| {
            i.auth = Auth::Pass(*b"a b#c{$d")
        }),
        ("", "authentication {\nauth_type PASS\nauth_pass a\\#b\\!c\n}", |i| {
            i.auth = Auth::Pass(*b"a#b!c\0\0\0")
        }),
        ("", "version 3\nno_accept", |i| {
            (i.version, i.checksum, i.accept) = (Version::V3, ChecksumForm::PseudoHeader, false);
        }),
        ("", "no_accept off", |_| {}),
        ("", "use_vmac", |i| i.use_vmac = true),
        ("", "use_vmac\nvmac_xmit_base", |i| (i.use_vmac, i.vmac_xmit_base) = (true, true)),
        ("vrrp_mcast_group4 224.0.0.99", "mcast_dst_ip 224.0.0.77", |i| i.group = ip("224.0.0.77")),
        // The other family's group is not ours.
        ("vrrp_mcast_group6 ff02::99", "", |_| {}),
        ("vrrp_check_unicast_src", "", |_| {}),
        ("", "virtual_ipaddress_excluded {\nfe80::9/64 dev eth1 no_track\n}", |i| {
            let vip = vip("fe80::9", 64);
            i.excluded = vec![Vip { interface: Some("eth1".to_owned()), tracked: false, ..vip }];
        }),
        ("", "preempt\naccept\nadvert_int 1.0", |_| {}),
    ];
    assert_eq!(seconds(1), instance(&with("")).advert_interval);
    for (global, lines, change) in rows {
        let mut expect = instance(&with(""));
        change(&mut expect);
        let text = with(lines) + "global_defs {\n" + global + "\n}\n";
        check(&text, &[]);
        assert_eq!(instance(&text), expect, "\n{text}");
    }
}

#[test]
fn a_master_without_priority_owns_the_addresses() {
    assert_eq!(instance(&with("state MASTER")).priority, Priority::OWNER);
    assert_eq!(instance(&with("state BACKUP")).priority, Priority::DEFAULT);
}

#[test]
fn a_dropped_keyword_has_no_effect() {
    for lines in [
        "state MASTER\npriority 9\nnopreempt\npreempt_delay 3",
        "priority 255\nnopreempt",
        "nopreempt\npreempt",
    ] {
        let instance = instance(&with(lines));
        assert!(instance.preempt, "{lines}");
        assert_eq!(instance.preempt_delay, Duration::ZERO, "{lines}");
    }
    assert_eq!(instance(&with("nopreempt\npreempt_delay 3")).preempt_delay, Duration::ZERO);
    let v3 = "version 3\nauthentication {\nauth_type PASS\nauth_pass x\n}";
    assert_eq!(instance(&with(v3)).auth, Auth::None);
    let long = "authentication {\nauth_type PASS\nauth_pass 123456789\n}";
    assert_eq!(instance(&with(long)).auth, Auth::Pass(*b"12345678"));
}

#[test]
fn debug_output_holds_no_password() {
    let shown = format!("{:?}", parse(LB01).unwrap());
    assert!(shown.contains("Pass(****)") && !shown.contains("49, 49"), "{shown}");
}

#[test]
fn an_advert_holds_255_addresses() {
    let list =
        |len: u32| (1..=len).map(|i| format!("10.1.{}.{}\n", i / 250, 1 + i % 250)).collect::<String>();
    let text = |len| {
        format!(
            "vrrp_instance A {{\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {{\n{}}}\n}}",
            list(len)
        )
    };
    assert_eq!(instance(&text(255)).vips.len(), 255);
    check(
        &text(256),
        &["260:1: error: 256 addresses in virtual_ipaddress of `vrrp_instance A`, an advert carries 255"],
    );
}

#[test]
fn a_master_asks_for_its_vips_as_often_as_it_is_told() {
    for (global, own, expect) in [
        ("", "", Some(30)),
        ("self_probe 5", "", Some(5)),
        ("self_probe 5", "self_probe 7", Some(7)),
        ("self_probe off", "", None),
        ("self_probe off", "self_probe 86400", Some(86_400)),
        ("", "self_probe off", None),
    ] {
        let text = format!("global_defs {{\n{global}\n}}\n{}", with(own));
        let found = instance(&text).self_probe;
        assert_eq!(found, expect.map(Duration::from_secs), "{global}, {own}");
    }
    for (word, what) in [("0", "self_probe 0"), ("86401", "more than a day"), ("often", "a word")] {
        assert!(parse(&with(&format!("self_probe {word}"))).is_err(), "{what}");
    }
}

#[test]
fn conflicts_are_told_to_the_instances_own_script_or_to_that_of_all() {
    let global = "global_defs {\nnotify_conflict \"/bin/all a\" root\n}\n";
    for (global, own, expect) in [
        ("", "", None),
        (global, "", Some(&["/bin/all", "a"][..])),
        (global, "notify_conflict /bin/own", Some(&["/bin/own"])),
        ("", "notify_conflict /bin/own", Some(&["/bin/own"])),
    ] {
        let group = "vrrp_sync_group G {\ngroup {\nVI_1\n}\nnotify_conflict /bin/group\n}\n";
        let loaded = parse(&(global.to_owned() + &with(own) + group)).unwrap();
        let told = loaded.config.told();
        let words = |of: &NotifySettings| of.notify.conflict.as_ref().map(|command| command.words.clone());
        let expect = expect.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&told[0]), expect, "{global}, {own}");
        assert_eq!(words(&told[1]), Some(vec!["/bin/group".to_owned()]), "the group's own only");
    }
}
