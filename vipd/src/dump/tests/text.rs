//! What the texts say. The labels and the types are those that keepalived 2.2.7 writes for such a file.

use std::collections::BTreeSet;

use serde_json::Value;
use vipd_config::Instance;

use super::{config, status};
use crate::{
    control::model::InstanceStatus,
    dump::{data, json, stats},
};

/// The lines of a text between one and the next that begins as it does, without both.
fn block<'t>(text: &'t str, first: &str) -> Vec<&'t str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| *line != first);
    assert!(lines.next().is_some(), "no line `{first}` in\n{text}");
    lines.take_while(|line| indent(line) > indent(first)).collect()
}

#[test]
fn a_master_is_described() {
    let text = data(&config(), &status());
    assert_eq!(
        block(&text, " VRRP Instance = VI_1"),
        [
            "   VRRP Version = 2",
            "   Sync group = G",
            "   State = MASTER",
            "   Wantstate = MASTER",
            "   Last transition = 1673674892.348000 (Sat Jan 14 05:41:32.348000 2023 UTC)",
            "   Read timeout = DISABLED",
            "   Master down timer = 6773437 usecs",
            "   Interface = eth0",
            "   Using src_ip = 192.0.2.1",
            "   Gratuitous ARP delay = 5",
            "   Gratuitous ARP repeat = 5",
            "   Gratuitous ARP refresh = 0",
            "   Gratuitous ARP refresh repeat = 1",
            "   Gratuitous ARP lower priority delay = 5",
            "   Gratuitous ARP lower priority repeat = 5",
            "   Down timer adverts = 3",
            "   Send advert after receive lower priority advert = true",
            "   Send advert after receive higher priority advert = false",
            "   Virtual Router ID = 51",
            "   Priority = 150",
            "   Effective priority = 157",
            "   Total priority = 157",
            "   Advert interval = 2 sec",
            "   Accept = enabled",
            "   Preempt = enabled",
            "   Promote_secondaries = disabled",
            "   Authentication type = SIMPLE_PASSWORD",
            "   Password = ********",
            "   Flags: none",
            "   Multicast address 224.0.0.18",
            "   Virtual IP (2):",
            "     10.0.0.3 dev eth0 scope global set",
            "     10.0.0.4/24 dev eth1 scope global set",
            "   Virtual IP Excluded :",
            "     2001:db8::3 dev eth0 scope global set",
            "   Virtual Routes :",
            "     10.1.0.0/16 table 254 via 10.0.0.1",
            "   Tracked interfaces :",
            "     eth2 weight -10",
            "   Tracked scripts :",
            "     chk weight -60",
            "   Tracked files :",
            "     load, weight 1",
            "   Tracked processes :",
            "     nginx, weight 7 reverse",
            "   Using smtp notification = yes",
            "   Notify deleted = Fault",
            "   Master state transition script = '/usr/bin/up' 'now'",
            "   Generic state transition script = '/usr/bin/any'",
            "   Notify priority changes = false",
        ]
    );
    assert!(!text.contains("s3cr3t"));
}

#[test]
fn a_backup_is_described() {
    let text = data(&config(), &status());
    let lines = block(&text, " VRRP Instance = VI_6");
    for line in [
        "   VRRP Version = 3",
        "   State = BACKUP",
        "   Master router = fe80::2",
        "   Master priority = 200",
        "   Wantstate = BACKUP",
        "   Read timeout = 1673674903.348000 (Sat Jan 14 05:41:43.348000 2023 UTC)",
        "   Master down timer = 902343 usecs",
        "   Virtual Router ID = 6",
        "   Priority = 100",
        "   Effective priority = 100",
        "   Advert interval = 500 milli-sec",
        "   Master advert interval = 250 milli-sec",
        "   Preempt = disabled",
        "   Unicast TTL = 255",
        "   Using Native IPv6",
        "   Flags:",
        "     Using unicast",
        "   Check unicast src : yes",
        "   Unicast Peer :",
        "     fe80::2 min_ttl 0 max_ttl 255",
        "   Virtual IP (1):",
        "     fe80::6 dev eth0 scope global",
        "   Using smtp notification = no",
    ] {
        assert!(lines.contains(&line), "no line `{line}` in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("Password") || line.contains("Authentication")));
}

/// gen2brain's keepalived_exporter stops at the first line of an instance that has no `=`.
#[test]
fn what_exporters_read_comes_before_the_first_line_without_a_value() {
    let text = data(&config(), &status());
    for name in ["VI_1", "VI_6"] {
        let instance = format!(" VRRP Instance = {name}");
        let lines = block(&text, &instance).into_iter().take_while(|line| line.contains(" = "));
        let keys: BTreeSet<&str> = lines.filter_map(|line| line.trim().split(" = ").next()).collect();
        for key in ["State", "Wantstate", "Interface", "Last transition", "Virtual Router ID"] {
            assert!(keys.contains(key), "{name}: {key}");
        }
    }
}

#[test]
fn sections_come_in_keepaliveds_order() {
    let text = data(&config(), &status());
    let sections: Vec<&str> = text.lines().filter(|line| line.starts_with("---")).collect();
    assert_eq!(
        sections,
        [
            "------< Global definitions >------",
            "------< VRRP Topology >------",
            "------< VRRP Sync groups >------",
            "------< VRRP Scripts >------",
            "------< VRRP Track files >------",
            "------< VRRP Track processes >------",
        ]
    );
    for (first, expect) in [
        (
            "------< Global definitions >------",
            &[
                " Router ID = lb01",
                " Smtp server = 192.0.2.25",
                " Smtp server port = 25",
                " Smtp server connection timeout = 30",
                " Email notification to:",
                "   root@example.net",
                " Gratuitous ARP interval = 0.000000",
                " Gratuitous NA interval = 0.000000",
                " Script security disabled",
            ][..],
        ),
        (
            " VRRP Sync Group = G, BACKUP",
            &[
                "   Num member fault 0, num member init 0",
                "   VRRP member instances :",
                "     VI_1",
                "     VI_6",
            ],
        ),
        (
            " VRRP Script = chk",
            &[
                "   Command = '/usr/bin/chk' '-q' 'a b'",
                "   Interval = 2 sec",
                "   Timeout = 2 sec",
                "   Weight = -60",
                "   Rise = 1",
                "   Fall = 3",
                "   Status = GOOD",
                "   Tracking instances :",
                "     VI_1, weight -60",
                "   State = idle",
            ],
        ),
        (
            " Track file = load",
            &[
                "   File = /run/load",
                "   Status = 7",
                "   Weight = 1",
                "   Tracking instances :",
                "     VI_1, weight 1",
            ],
        ),
        (
            " VRRP Track process = nginx",
            &[
                "   Process = nginx",
                "   Min processes = 2",
                "   Have quorum = false",
                "   Weight = 0",
                "   Terminate delay = 0.000000s",
                "   Fork delay = 0.500000s",
                "   Full command = false",
                "   Tracking instances :",
                "     VI_1, weight 7 reverse",
            ],
        ),
    ] {
        assert_eq!(block(&text, first), expect, "{first}");
    }
}

#[test]
fn a_script_has_one_of_the_words_that_exporters_know() {
    for (well, expect) in [(None, "INIT"), (Some(true), "GOOD"), (Some(false), "BAD")] {
        let mut status = status();
        status.tracked[0].well = well;
        let text = data(&config(), &status);
        assert!(block(&text, " VRRP Script = chk").contains(&&*format!("   Status = {expect}")), "{text}");
    }
}

#[test]
fn a_group_is_in_the_state_of_its_members() {
    for (states, expect) in [
        (["MASTER", "MASTER"], "MASTER"),
        (["MASTER", "BACKUP"], "BACKUP"),
        (["FAULT", "BACKUP"], "FAULT"),
        (["INIT", "INIT"], "INIT"),
    ] {
        let mut status = status();
        for (instance, state) in status.instances.iter_mut().zip(states) {
            instance.state = state.to_owned();
        }
        let text = data(&config(), &status);
        assert!(text.contains(&format!(" VRRP Sync Group = G, {expect}\n")), "{states:?}\n{text}");
    }
}

#[test]
fn counters_are_keepaliveds() {
    let text = stats(&config(), &status());
    let one = |name: &str| {
        format!(
            "VRRP Instance: {name}
  Advertisements:
    Received: 1
    Sent: 2
  Became master: 3
  Released master: 4
  Packet Errors:
    Length: 9
    TTL: 10
    Invalid Type: 11
    Advertisement Interval: 112
    Address List: 213
  Authentication Errors:
    Invalid Type: 14
    Type Mismatch: 15
    Failure: 16
  Priority Zero:
    Received: 5
    Sent: 6
"
        )
    };
    assert_eq!(text, one("VI_1") + &one("VI_6"));
}

fn parsed(version: u8) -> Value {
    serde_json::from_str(&json(&config(), &status(), version)).unwrap()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// There whatever the configuration says.
const DATA: &[&str] = &[
    "iname",
    "dont_track_primary",
    "skip_check_adv_addr",
    "strict_mode",
    "vmac_ifname",
    "ifp_ifname",
    "master_priority",
    "last_transition",
    "garp_delay",
    "garp_refresh",
    "garp_rep",
    "garp_refresh_rep",
    "garp_lower_prio_delay",
    "garp_lower_prio_rep",
    "lower_prio_no_advert",
    "higher_prio_send_advert",
    "vrid",
    "base_priority",
    "effective_priority",
    "vipset",
    "promote_secondaries",
    "adver_int",
    "master_adver_int",
    "accept",
    "nopreempt",
    "preempt_delay",
    "state",
    "wantstate",
    "version",
    "smtp_alert",
    "notify_deleted",
    "vips",
    "auth_type",
];

const STATS: &[&str] = &[
    "advert_rcvd",
    "advert_sent",
    "become_master",
    "release_master",
    "packet_len_err",
    "advert_interval_err",
    "ip_ttl_err",
    "invalid_type_rcvd",
    "addr_list_err",
    "invalid_authtype",
    "authtype_mismatch",
    "auth_failure",
    "pri_zero_rcvd",
    "pri_zero_sent",
];

#[test]
fn the_fields_of_the_json_are_keepaliveds() {
    let value = parsed(1);
    let given = |more: &[&'static str]| DATA.iter().chain(more).copied().collect::<BTreeSet<_>>();
    assert_eq!(
        keys(&value[0]["data"]),
        given(&[
            "script_master",
            "script",
            "evips",
            "vroutes",
            "track_ifp",
            "track_script",
            "track_process",
            "auth_data",
        ])
    );
    assert_eq!(keys(&value[1]["data"]), given(&[]));
    for instance in [&value[0], &value[1]] {
        assert_eq!(keys(instance), BTreeSet::from(["data", "stats"]));
        assert_eq!(keys(&instance["stats"]), STATS.iter().copied().collect());
    }
}

#[test]
fn the_values_of_the_json_have_keepaliveds_types() {
    let text = json(&config(), &status(), 1);
    // As they are written: readers in Go take no 1.0 for a whole number.
    for part in [
        r#""iname":"VI_1","dont_track_primary":0,"skip_check_adv_addr":0,"strict_mode":0,"vmac_ifname":"","ifp_ifname":"eth0""#,
        r#""master_priority":0,"last_transition":1673674892.348,"garp_delay":5,"garp_refresh":0,"garp_rep":5"#,
        r#""garp_refresh_rep":1,"garp_lower_prio_delay":5,"garp_lower_prio_rep":5,"lower_prio_no_advert":0"#,
        r#""higher_prio_send_advert":0,"vrid":51,"base_priority":150,"effective_priority":157,"vipset":true"#,
        r#""promote_secondaries":false,"adver_int":2,"master_adver_int":2,"accept":1,"nopreempt":false"#,
        r#""preempt_delay":0,"state":2,"wantstate":2,"version":2,"smtp_alert":true,"notify_deleted":false"#,
        r#""script_master":"'/usr/bin/up' 'now'","script":"'/usr/bin/any'""#,
        r#""vips":["10.0.0.3 dev eth0 scope global set","10.0.0.4/24 dev eth1 scope global set"]"#,
        r#""evips":["2001:db8::3 dev eth0 scope global set"],"vroutes":["10.1.0.0/16 table 254 via 10.0.0.1"]"#,
        r#""track_ifp":["eth2"],"track_script":["'/usr/bin/chk' '-q' 'a b'"],"track_process":["nginx"]"#,
        r#""auth_type":1,"auth_data":"********""#,
        r#""stats":{"advert_rcvd":1,"advert_sent":2,"become_master":3,"release_master":4,"packet_len_err":9"#,
        r#""advert_interval_err":112,"ip_ttl_err":10,"invalid_type_rcvd":11,"addr_list_err":213"#,
        r#""invalid_authtype":14,"authtype_mismatch":15,"auth_failure":16,"pri_zero_rcvd":5,"pri_zero_sent":6}"#,
        r#""master_priority":200"#,
        r#""adver_int":0.5,"master_adver_int":0.25"#,
        r#""nopreempt":true,"preempt_delay":0,"state":1,"wantstate":1,"version":3,"smtp_alert":false"#,
        r#""vips":["fe80::6 dev eth0 scope global"]"#,
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert!(!text.contains("s3cr3t"));
}

#[test]
fn version_2_has_the_processes_too() {
    let value = parsed(2);
    assert_eq!(keys(&value), BTreeSet::from(["vrrp", "track_process"]));
    assert_eq!(value["vrrp"], parsed(1));
    assert_eq!(
        value["track_process"],
        serde_json::json!([{
            "process": "nginx",
            "param_match": "none",
            "min_processes": 2,
            "have_quorum": false,
            "weight": 0,
            "terminate_delay": 0,
            "fork_delay": 0.5,
            "full_command": false,
        }])
    );
}

#[test]
fn states_are_keepaliveds_numbers() {
    for (state, number, wanted) in
        [("INIT", 0, 2), ("BACKUP", 1, 1), ("MASTER", 2, 2), ("FAULT", 3, 3), ("STOP", 98, 98)]
    {
        let mut status = status();
        status.instances[0].state = state.to_owned();
        let value: Value = serde_json::from_str(&json(&config(), &status, 1)).unwrap();
        let data = &value[0]["data"];
        assert!(data["state"] == number && data["wantstate"] == wanted, "{state}: {data}");
    }
}

/// While the configuration changes the two may differ.
#[test]
fn only_what_both_know_is_shown() {
    let (mut config, mut status) = (config(), status());
    status.instances.remove(0);
    let strange = Instance { name: "NEW".to_owned(), ..config.instances[1].clone() };
    config.instances.push(strange);
    status.instances.push(InstanceStatus { name: "OLD".to_owned(), ..status.instances[0].clone() });
    assert_eq!(stats(&config, &status).matches("VRRP Instance").count(), 1);
    assert_eq!(data(&config, &status).matches("VRRP Instance =").count(), 1);
    let value: Value = serde_json::from_str(&json(&config, &status, 1)).unwrap();
    assert_eq!(value.as_array().unwrap().len(), 1);
}
