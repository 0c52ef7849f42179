//! Judgements of hosts that are made up: one that is well, and the same with one thing wrong.

mod balancing;
mod bfd;
mod early;
mod firewall;
mod heartbeats;
mod host;
mod links;
mod probes;
mod routers;
mod unicast;

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use serde_json::{Value, json};
use vipd_common::Family;
use vipd_config::{Nothing, Unsupported};

use super::*;
use crate::{
    beside::{Speaker, VirtualRouter},
    control::model::{ArbiterStatus, HostWarning, InstanceStatus, RepairStatus, Status, TargetStatus},
    daemon::services::modules::IpvsPresence,
    dataplane::{ClockDiffers, Verified},
    host::{
        BridgeState, Controller, InterfaceAddress, Leftover, LeftoverKind, LinkState, SharedQueues, Survey,
        SurveyedLink, SurveyedRule, VlanState, XdpState,
    },
};

const CONFIG: &str = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nauthentication {\nauth_type PASS\nauth_pass x\n}\n\
                      virtual_ipaddress {\n10.0.0.3\n}\n}\n";

fn parse(text: &str) -> Result<vipd_config::Loaded, vipd_config::Failure> {
    vipd_config::parse(Path::new("k.conf"), text, &Nothing, Unsupported::Refused)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(ifindex: u32, name: &str, address: &str) -> SurveyedLink {
    let address = InterfaceAddress { address: ip(address), prefix_len: 24, secondary: false };
    let state = LinkState { ifindex, mtu: 1500, up: true, enabled: true, ..LinkState::absent(name) };
    SurveyedLink {
        state: LinkState { addresses: vec![address], ..state },
        multicast: true,
        bridge: None,
        rx_vlan: Some(false),
        shared_queues: None,
    }
}

fn instance() -> InstanceStatus {
    let status = json!({
        "name": "VI_1", "state": "BACKUP", "since_unix_ms": 0, "in_state_ms": 0, "reason": "interface ready",
        "sync_group": null, "interface": "eth0", "vrid": 51, "version": 2, "family": "ipv4", "virtual_mac": null,
        "unicast_peers": [], "accept": true, "priority": 100, "advert_interval_ms": 1000,
        "master_advert_interval_ms": 1000, "address": "10.0.0.5", "master": null, "lease": "overlap",
        "lease_remaining_ms": null, "master_down_in_ms": 3000, "master_down_interval_cs": 360, "skew_time_us": 0,
        "last_adv_source": null, "new_master_reason": "not-master", "vips": ["10.0.0.3"], "vips_excluded": [],
        "adverts_sent": 0, "adverts_received": 7, "priority_zero_sent": 0, "priority_zero_received": 0,
        "send_errors": 0, "became_master": 0, "released_master": 0, "leases_revoked": 0, "address_list_differs": 0,
        "discards": {}, "advert_lateness_max_us": 300, "xdp_mode": "native"
    });
    serde_json::from_value(status).unwrap()
}

/// A host that is well, and where no vipd runs.
fn idle() -> Facts {
    let settings = InterfaceSettings::default();
    Facts {
        machine: MachineFacts {
            release: "6.1.0-37-amd64".to_owned(),
            version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1".to_owned(),
            bpffs_dir: "/sys/fs/bpf".into(),
            bpffs: true,
            bpffs_shared: None,
            pinned: false,
            capabilities: u64::MAX,
            memlock: Some(8 << 20),
            rtprio: 0,
            jit: Some(1),
            clocksource: Some("tsc".to_owned()),
            clock: Some(Ok(())),
            programs: ProgramSupport::Loaded(vec![Verified {
                program: "vipd_xdp",
                instructions: Some(175_000),
            }]),
        },
        configuration: parse(CONFIG),
        running: None,
        runtime_dir: Ok(()),
        unanswered: None,
        survey: Ok(Survey {
            links: vec![link(2, "eth0", "10.0.0.5")],
            rules: Vec::new(),
            no_ways: Vec::new(),
            neighbour_tables: Vec::new(),
        }),
        nonlocal_bind: [Some(true); 2],
        forwarding: [Some(true), Some(false)],
        ipvs: IpvsPresence::Loaded,
        ipvs_conntrack: Some(false),
        missing_modules: Vec::new(),
        first_hops: BTreeMap::new(),
        stations: Ok(BTreeMap::new()),
        settings: BTreeMap::from([
            ("all".to_owned(), InterfaceSettings { arp_ignore: 1, arp_announce: 2, ..settings }),
            ("eth0".to_owned(), settings),
        ]),
        groups: vec![("eth0".to_owned(), ip("224.0.0.18"))],
        listeners: Vec::new(),
        ruleset: Ok(json!({ "nftables": [] })),
        legacy_rules: false,
        speakers: Vec::new(),
        idle_keepalived: Vec::new(),
        leftovers: Ok(Vec::new()),
        broken: Vec::new(),
        arbiters: Vec::new(),
    }
}

/// The same with a vipd.
fn running() -> Facts {
    let mut facts = idle();
    facts.running = Some(Status {
        version: "0.1.0".to_owned(),
        pid: 7,
        real_time: true,
        instances: vec![instance()],
        ..Status::default()
    });
    eth0(&mut facts).state.xdp = Some(XdpState { generic: false, program_id: 3 });
    facts
}

fn eth0(facts: &mut Facts) -> &mut SurveyedLink {
    &mut facts.survey.as_mut().unwrap().links[0]
}

fn vi_1(facts: &mut Facts) -> &mut InstanceStatus {
    &mut facts.running.as_mut().unwrap().instances[0]
}

fn said(facts: &Facts, of: impl Fn(Level) -> bool) -> Vec<String> {
    let findings = judge(facts).into_iter().filter(|finding| of(finding.level));
    findings.map(|Finding { about, level, what, .. }| format!("{about}: {level}: {what}")).collect()
}

#[test]
fn a_host_that_is_well_has_nothing_to_mend() {
    for facts in [idle(), running()] {
        let findings = judge(&facts);
        let to_mend: Vec<_> = findings.iter().filter(|finding| finding.level >= Level::Warning).collect();
        assert!(to_mend.is_empty(), "{to_mend:#?}");
        assert!(findings.iter().all(|finding| finding.fix.is_none()));
    }
    assert_eq!(
        said(&idle(), |level| level == Level::Skipped),
        [
            "eth0: skipped: membership of the adverts' group is not checked: no vipd is running",
            "sysctls: skipped: no vipd is running, which would raise arp_ignore and arp_announce",
            "vipd: skipped: no vipd is running: the checks of a running vipd are left out"
        ]
    );
    assert_eq!(said(&running(), |level| level == Level::Skipped), [""; 0]);
}

/// What is wrong, how that comes about on a host that is well, and what is said of it beside what is always said.
type Row = (&'static str, fn(&mut Facts), &'static [&'static str]);

fn check(facts: fn() -> Facts, rows: &[Row]) {
    let mut failing = Vec::new();
    for (what, spoil, expected) in rows {
        let mut facts = facts();
        spoil(&mut facts);
        let found = said(&facts, |level| level >= Level::Warning);
        if found != *expected {
            failing.push(format!("{what}:\n   found: {found:#?}\nexpected: {expected:#?}"));
        }
        assert!(
            judge(&facts).iter().all(|finding| finding.fix.is_some() == (finding.level >= Level::Warning)),
            "{what}: what is to be mended has a fix"
        );
    }
    assert!(failing.is_empty(), "{}", failing.join("\n\n"));
}
