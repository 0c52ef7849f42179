//! A made-up status, for tests of what shows one.

use std::collections::BTreeMap;

use vipd_common::abi::Counters;

use super::{
    ArbiterStatus, InstanceStatus, LineStatus, MasterStatus, ProgramHook, SCHEMA, Status, TargetStatus,
    TrackedStatus,
};

/// VI_1 is the master, VI_6 a backup, VI_F in fault; something of each kind is tracked.
pub fn status() -> Status {
    let counters = Counters { arp_replies: 70_000, arp_gated: 12, vip_conflicts: 3, ..Counters::default() };
    let tracked = |keyword: &str, name: &str, well, value| TrackedStatus {
        keyword: keyword.into(),
        name: name.into(),
        well,
        value,
    };
    let target = |target: &str, answers, rtt_us, problem: Option<&str>| TargetStatus {
        target: target.into(),
        kind: "ping".into(),
        answers: Some(answers),
        rtt_us,
        problem: problem.map(str::to_owned),
        ..TargetStatus::default()
    };
    let arbiter = ArbiterStatus {
        name: "gw".into(),
        reached: Some(true),
        quorum: 1,
        isolated_action: "fault".into(),
        targets: vec![
            target("10.0.0.1", true, Some(1_234), None),
            target("10.0.0.2", false, None, Some("no answer")),
        ],
        ..ArbiterStatus::default()
    };
    Status {
        schema: SCHEMA,
        version: "0.1.0".into(),
        pid: 4711,
        host: "lb01.example.net".into(),
        router_id: Some("lb01".into()),
        config_file: "/etc/vipd/vipd.conf".into(),
        config_id: None,
        allow_unsupported: false,
        allow_unsupported_only: Vec::new(),
        uptime_ms: 93_600_000,
        real_time: true,
        drained: false,
        instances: vec![master("VI_1", 51), backup("VI_6", 6), fault("VI_F", 7)],
        counters: counters.iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        tracked: vec![
            tracked("vrrp_script", "chk_nginx", Some(true), None),
            tracked("vrrp_track_process", "haproxy", Some(false), None),
            tracked("track_file", "load", None, Some(-7)),
            tracked("vrrp_script", "new", None, None),
        ],
        arbiters: vec![arbiter],
    }
}

pub fn master(name: &str, vrid: u8) -> InstanceStatus {
    InstanceStatus {
        state: "MASTER".into(),
        in_state_ms: 61_000,
        reason: Some("no advert from a master".into()),
        sync_group: Some("G".into()),
        priority: 150,
        master: Some(MasterStatus { address: ip("10.0.0.5"), priority: 150 }),
        lease_remaining_ms: Some(3_250),
        lease_margin_least_us: Some(2_987_654),
        vips: vec![ip("10.0.0.3")],
        vips_excluded: vec![ip("10.0.0.4")],
        vip_answers: BTreeMap::from([(ip("10.0.0.3"), 69_000), (ip("10.0.0.4"), 1_000)]),
        adverts_sent: 600,
        became_master: 2,
        released_master: 1,
        leases_revoked: 1,
        new_master_reason: "no-response".into(),
        advert_lateness_max_us: 120,
        lines: vec![line("eth0", false, "up"), line("eth1", true, "down")],
        ..instance(name, vrid)
    }
}

fn line(interface: &str, heartbeat: bool, state: &str) -> LineStatus {
    LineStatus { interface: interface.into(), heartbeat, state: state.into(), ..LineStatus::default() }
}

pub fn backup(name: &str, vrid: u8) -> InstanceStatus {
    InstanceStatus {
        state: "BACKUP".into(),
        in_state_ms: 3_600_000,
        reason: Some("interface ready".into()),
        version: 3,
        family: "ipv6".into(),
        virtual_mac: Some("00:00:5e:00:02:06".into()),
        unicast_peers: vec![ip("fe80::6")],
        address: Some(ip("fe80::5")),
        master: Some(MasterStatus { address: ip("fe80::6"), priority: 200 }),
        master_down_in_ms: Some(2_600),
        last_adv_source: Some(ip("fe80::6")),
        last_adv_age_ms: Some(1_009),
        vips: vec![ip("2001:db8::100")],
        vip_answers: BTreeMap::from([(ip("2001:db8::100"), 0)]),
        adverts_received: 3_600,
        discards: BTreeMap::from([("ip_ttl_errors".into(), 3), ("auth_failures".into(), 9)]),
        ..instance(name, vrid)
    }
}

pub fn fault(name: &str, vrid: u8) -> InstanceStatus {
    InstanceStatus {
        state: "FAULT".into(),
        in_state_ms: 5_000,
        reason: Some("link down".into()),
        address: None,
        vips: vec![ip("10.0.0.7")],
        send_errors: 2,
        mismatches: vec!["interval".into()],
        xdp_mode: ProgramHook::Tc,
        xdp_mode_reason: Some("xdp_mode tc".into()),
        ..instance(name, vrid)
    }
}

fn instance(name: &str, vrid: u8) -> InstanceStatus {
    InstanceStatus {
        name: name.into(),
        since_unix_ms: 1_700_000_000_000,
        interface: "eth0".into(),
        vrid,
        version: 2,
        family: "ipv4".into(),
        accept: true,
        priority: 100,
        advert_interval_ms: 1_000,
        master_advert_interval_ms: 1_000,
        address: Some(ip("10.0.0.5")),
        lease: "overlap".into(),
        lease_length_ms: 4_000,
        master_down_interval_cs: 361,
        skew_time_us: 609_375,
        new_master_reason: "not-master".into(),
        xdp_mode: ProgramHook::Native,
        xdp_mode_reason: None,
        ..InstanceStatus::default()
    }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("a sample is well written")
}
