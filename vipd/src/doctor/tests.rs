//! Judgements of hosts that are made up: one that is well, and the same with one thing wrong.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use serde_json::{Value, json};
use vipd_common::Family;

use super::*;
use crate::{
    config::{self, Nothing, Unsupported},
    control::model::{ArbiterStatus, InstanceStatus, Status, TargetStatus},
    host::{BridgeState, LinkAddress, LinkState, Survey, SurveyedLink, SurveyedRule, VlanState, XdpState},
};

const CONFIG: &str = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nauthentication {\nauth_type PASS\nauth_pass x\n}\n\
                      virtual_ipaddress {\n10.0.0.3\n}\n}\n";

fn parse(text: &str) -> Result<config::Loaded, config::Failure> {
    config::parse(Path::new("k.conf"), text, &Nothing, Unsupported::Refused)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(ifindex: u32, name: &str, address: &str) -> SurveyedLink {
    let address = LinkAddress { address: ip(address), prefix_len: 24, secondary: false };
    let state = LinkState { ifindex, mtu: 1500, up: true, enabled: true, ..LinkState::absent(name) };
    SurveyedLink {
        state: LinkState { addresses: vec![address], ..state },
        multicast: true,
        master: None,
        bridge: None,
        rx_vlan: Some(true),
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
    let settings = InterfaceSettings { rp_filter: 0, arp_ignore: 1, arp_announce: 2 };
    Facts {
        machine: Machine {
            release: "6.1.0-37-amd64".to_owned(),
            version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1".to_owned(),
            bpffs_dir: "/sys/fs/bpf".into(),
            bpffs: true,
            pinned: false,
            capabilities: u64::MAX,
            memlock: Some(8 << 20),
            rtprio: 0,
            jit: Some(1),
            clocksource: Some("tsc".to_owned()),
        },
        configuration: parse(CONFIG),
        running: None,
        survey: Ok(Survey { links: vec![link(2, "eth0", "10.0.0.5")], rules: Vec::new() }),
        settings: BTreeMap::from([
            ("all".to_owned(), InterfaceSettings::default()),
            ("eth0".to_owned(), settings),
        ]),
        groups: vec![("eth0".to_owned(), ip("224.0.0.18"))],
        ruleset: Ok(json!({ "nftables": [] })),
        legacy_rules: false,
        keepalived: Vec::new(),
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
        uptime_ms: 0,
        real_time: true,
        instances: vec![instance()],
        counters: BTreeMap::new(),
        tracked: Vec::new(),
        arbiters: Vec::new(),
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
            "eth0: skipped: no vipd runs that could be a member",
            "eth0: skipped: no vipd runs that would have raised arp_ignore and arp_announce",
            "vipd: skipped: no vipd answers here: what only a running one knows is left out"
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

#[test]
fn the_machine() {
    check(
        idle,
        &[
            (
                "5.10",
                |f| f.machine.release = "5.10.0-1".to_owned(),
                &["kernel: problem: Linux 5.10.0-1 is older than 5.18"],
            ),
            ("5.18", |f| f.machine.release = "5.18-rc1".to_owned(), &[]),
            (
                "no bpffs",
                |f| f.machine.bpffs = false,
                &["kernel: problem: no BPF file system at /sys/fs/bpf"],
            ),
            (
                "no capability",
                |f| f.machine.capabilities = 0,
                &[
                    "kernel: problem: without CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON",
                    "kernel: warning: without CAP_SYS_NICE, CAP_IPC_LOCK: adverts may be late under load",
                    "kernel: warning: RLIMIT_MEMLOCK is 8388608 octets, and memory is not locked",
                    "kernel: warning: no real-time scheduling may be had",
                ],
            ),
            // CAP_SYS_ADMIN is as much as CAP_BPF and CAP_PERFMON.
            ("CAP_SYS_ADMIN", |f| f.machine.capabilities = u64::MAX & !(3 << 38), &[]),
            (
                "CAP_SYS_NICE is not needed for a limit that allows it",
                |f| (f.machine.capabilities, f.machine.rtprio) = (u64::MAX & !(1 << 23), 60),
                &["kernel: warning: without CAP_SYS_NICE: adverts may be late under load"],
            ),
            (
                "no JIT",
                |f| f.machine.jit = Some(0),
                &["kernel: warning: BPF programs are interpreted: each packet costs several times as much"],
            ),
            ("another namespace", |f| f.machine.jit = None, &[]),
            (
                "a slow clock",
                |f| f.machine.clocksource = Some("hpet".to_owned()),
                &["kernel: warning: the clock source is hpet: each look at the clock is slow, or coarse"],
            ),
            (
                "short intervals on a server's kernel",
                |f| {
                    f.machine.version = "#1 SMP".to_owned();
                    f.configuration = parse(&CONFIG.replace(
                        "authentication {\nauth_type PASS\nauth_pass x\n}",
                        "version 3\nadvert_int 0.02",
                    ));
                },
                &["kernel: warning: adverts every 20 ms on a kernel that is not preemptible"],
            ),
        ],
    );
}

#[test]
fn the_file_and_what_it_names() {
    check(
        idle,
        &[
            (
                "an error",
                |f| f.configuration = parse(&CONFIG.replace("51", "512")),
                &[
                    "configuration: problem: it cannot be run, for 1 error; the first: k.conf:3:19: virtual_router_id `512` is out of range: 1 to 255",
                ],
            ),
            (
                "a warning",
                |f| f.configuration = parse(&CONFIG.replace("auth_pass x", "auth_pass verylong1")),
                &["configuration: warning: it can be run, with 1 warning"],
            ),
            (
                "a script",
                |f| {
                    f.broken = vec![Broken { name: "vrrp_script chk".to_owned(), problem: "gone".to_owned() }]
                },
                &["configuration: problem: vrrp_script chk cannot be run: gone"],
            ),
            (
                "keepalived",
                |f| f.keepalived = vec![Keepalived { pid: 5, config: "/k.conf".into() }],
                &["configuration: problem: keepalived runs here (pid 5) with /k.conf"],
            ),
            (
                "an arbiter",
                |f| f.arbiters = vec![arbiter("fault", 1, &[None, Some("no answer within its time")])],
                &["arbiter gw: warning: ping 10.0.1.1: no answer within its time"],
            ),
            (
                "an arbiter that is not reached",
                |f| f.arbiters = vec![arbiter("fault", 2, &[None, Some("late")])],
                &[
                    "arbiter gw: warning: ping 10.0.1.1: late",
                    "arbiter gw: problem: 1 of 2 answer, 2 are needed: this node takes itself for isolated",
                ],
            ),
            (
                "one without consequences",
                |f| f.arbiters = vec![arbiter("none", 1, &[Some("late")])],
                &[
                    "arbiter gw: warning: ping 10.0.1.0: late",
                    "arbiter gw: warning: 0 of 1 answer, 1 are needed: this node takes itself for isolated",
                ],
            ),
        ],
    );
}

/// With a target for each problem, or for each that answers.
fn arbiter(action: &str, quorum: usize, problems: &[Option<&str>]) -> ArbiterStatus {
    let target = |(i, problem): (usize, &Option<&str>)| TargetStatus {
        target: format!("10.0.1.{i}"),
        kind: "ping".to_owned(),
        answers: Some(problem.is_none()),
        rtt_us: None,
        problem: problem.map(str::to_owned),
        answered_ms_ago: None,
        questions: 1,
        answered: 0,
    };
    ArbiterStatus {
        name: "gw".to_owned(),
        reached: None,
        quorum,
        isolated_action: action.to_owned(),
        interval_ms: 1000,
        timeout_ms: 1000,
        targets: problems.iter().enumerate().map(target).collect(),
    }
}

#[test]
fn interfaces() {
    let vlan = |f: &mut Facts| {
        f.configuration = parse(&CONFIG.replace("eth0", "eth0.7"));
        let below = VlanState { parent: 2, id: 7, stag: false };
        let mut tagged = link(3, "eth0.7", "10.0.0.5");
        tagged.state.vlan = Some(below);
        f.survey.as_mut().unwrap().links.push(tagged);
        f.groups = vec![("eth0.7".to_owned(), ip("224.0.0.18"))];
    };
    let rows: &[Row] = &[
        (
            "none",
            |f| f.survey.as_mut().unwrap().links.clear(),
            &["eth0: problem: there is no interface of this name"],
        ),
        (
            "none yet",
            |f| {
                f.survey.as_mut().unwrap().links.clear();
                f.configuration = parse(&format!("global_defs {{\ndynamic_interfaces\n}}\n{CONFIG}"));
            },
            &["eth0: warning: there is no interface of this name"],
        ),
        (
            "off",
            |f| (eth0(f).state.up, eth0(f).state.enabled) = (false, false),
            &["eth0: problem: it is turned off"],
        ),
        ("no cable", |f| eth0(f).state.up = false, &["eth0: problem: it has no carrier"]),
        (
            "no address",
            |f| eth0(f).state.addresses.clear(),
            &["eth0: problem: no IPv4 address of its own: VI_1 has nothing to advertise from"],
        ),
        (
            "keepalived's leftover",
            |f| eth0(f).state.addresses[0].address = ip("10.0.0.3"),
            &[
                "eth0: problem: no IPv4 address of its own: VI_1 has nothing to advertise from",
                "VI_1: problem: the VIP 10.0.0.3 is an address of eth0, which keepalived or a person has left",
            ],
        ),
        (
            "another program",
            |f| eth0(f).state.xdp = Some(XdpState { generic: true, program_id: 9 }),
            &["eth0: problem: another XDP program is on eth0 (id 9)"],
        ),
        (
            "a vipd's program",
            |f| {
                (eth0(f).state.xdp, f.machine.pinned) =
                    (Some(XdpState { generic: true, program_id: 9 }), true)
            },
            &[],
        ),
        (
            "jumbo frames",
            |f| eth0(f).state.mtu = 9000,
            &["eth0: warning: MTU 9000: most drivers take no more than 3498 with XDP"],
        ),
        (
            "no multicast",
            |f| eth0(f).multicast = false,
            &["eth0: problem: it does no multicast, and adverts are multicast"],
        ),
        (
            "a bridge that snoops",
            |f| eth0(f).bridge = Some(BridgeState { snooping: true, querier: false }),
            &[
                "eth0: warning: the bridge eth0 snoops and asks nobody: without another querier adverts stop after some minutes",
            ],
        ),
        (
            "a port of one",
            |f| {
                let mut bridge = link(9, "br0", "10.1.0.1");
                bridge.bridge = Some(BridgeState { snooping: true, querier: false });
                f.survey.as_mut().unwrap().links.push(bridge);
                eth0(f).master = Some(9);
            },
            &[
                "eth0: warning: the bridge br0 snoops and asks nobody: without another querier adverts stop after some minutes",
            ],
        ),
        ("a querier", |f| eth0(f).bridge = Some(BridgeState { snooping: true, querier: true }), &[]),
    ];
    check(idle, rows);
    check(
        running,
        &[
            (
                "generic",
                |f| vi_1(f).xdp_mode = "generic".to_owned(),
                &[
                    "eth0: warning: XDP runs in the stack, which costs more: the driver has none, or refused it: vipd's log says why (MTU 1500)",
                ],
            ),
            (
                "generic for its MTU",
                |f| (vi_1(f).xdp_mode, eth0(f).state.mtu) = ("generic".to_owned(), 9000),
                &[
                    "eth0: warning: XDP runs in the stack, which costs more: most drivers take no MTU this large with XDP (MTU 9000)",
                ],
            ),
            (
                "detached",
                |f| eth0(f).state.xdp = None,
                &["eth0: problem: vipd runs, and eth0 has no XDP program: nothing answers for its VIPs"],
            ),
            (
                "no member",
                |f| f.groups.clear(),
                &["eth0: problem: this host is no member of 224.0.0.18: switches may keep adverts from it"],
            ),
        ],
    );
    let mut facts = running();
    vlan(&mut facts);
    vi_1(&mut facts).interface = "eth0.7".to_owned();
    let strips = "eth0.7: problem: eth0 strips VLAN tags: XDP takes frames of eth0.7 for those of eth0";
    assert_eq!(said(&facts, |level| level >= Level::Warning), [strips]);
    eth0(&mut facts).rx_vlan = Some(false);
    assert_eq!(said(&facts, |level| level >= Level::Warning), [""; 0]);
    let mut facts = idle();
    vlan(&mut facts);
    // vipd turns it off.
    assert_eq!(said(&facts, |level| level >= Level::Warning), [""; 0]);
}

#[test]
fn routing() {
    let rows: &[Row] = &[
        (
            "a rule of somebody else",
            |f| {
                let rule = |preference, expected| SurveyedRule { family: Family::V4, preference, expected };
                f.survey.as_mut().unwrap().rules = vec![
                    rule(0, true),
                    rule(50, false),
                    rule(90, true),
                    rule(100, true),
                    rule(32_766, false),
                ];
            },
            &["rules: warning: policy rules of others stand before the local one (preference 100): 50"],
        ),
        (
            "a strict filter, and a VIP of another network",
            |f| {
                f.settings.get_mut("all").unwrap().rp_filter = 1;
                f.configuration = parse(&CONFIG.replace("10.0.0.3", "10.0.7.3"));
                if let Some(status) = &mut f.running {
                    status.instances[0].vips = vec![ip("10.0.7.3")];
                }
            },
            &[
                "eth0: warning: rp_filter is 1 (strict), and 10.0.7.3 is in no network of eth0: packets of clients in its network are dropped",
            ],
        ),
        ("a strict filter", |f| f.settings.get_mut("all").unwrap().rp_filter = 1, &[]),
    ];
    check(idle, rows);
    check(running, rows);
    let reset: fn(&mut Facts) = |f| f.settings.get_mut("eth0").unwrap().arp_ignore = 0;
    const AGAIN: &str =
        "eth0: problem: arp_ignore is 0 and arp_announce 2: somebody has set vipd's settings back";
    check(running, &[("set back", reset, &[AGAIN])]);
    check(idle, &[("not raised yet", reset, &[])]);
}

/// With a chain for what leaves, of this policy and with these rules, and a further chain.
fn filtered(family: &str, hook: &str, policy: &str, rules: &[(&str, Value)]) -> Facts {
    let chain = json!({ "chain": { "family": family, "table": "t", "name": "c", "type": "filter", "hook": hook, "policy": policy } });
    let rule = |(chain, expressions): &(&str, Value)| json!({ "rule": { "family": family, "table": "t", "chain": chain, "expr": expressions } });
    let objects: Vec<Value> = [chain].into_iter().chain(rules.iter().map(rule)).collect();
    Facts { ruleset: Ok(json!({ "nftables": objects })), ..idle() }
}

fn unicast(facts: Facts) -> Facts {
    let configuration =
        parse(&CONFIG.replace("authentication", "unicast_peer {\n10.0.0.6\n}\nauthentication"));
    Facts { configuration, ..facts }
}

#[test]
fn firewalls() {
    let vrrp = json!({ "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "vrrp" } });
    let in_set = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "protocol" } },
                         "right": { "set": ["tcp", 112] } } });
    let not = json!({ "match": { "op": "!=", "left": { "meta": { "key": "l4proto" } }, "right": 112 } });
    let tcp = json!({ "match": { "op": "==", "left": { "meta": { "key": "l4proto" } }, "right": "tcp" } });
    let (drop, accept) = (json!({ "drop": null }), json!({ "accept": null }));
    let jump = json!({ "jump": { "target": "further" } });
    let drops = "firewall: problem: a rule of the chain inet t c drops VRRP, so adverts do not leave";
    let lacks = "firewall: warning: the chain inet t c drops what no rule of it accepts, and none names VRRP";
    let rows: Vec<(&str, &str, Vec<(&str, Value)>, Option<&str>)> = vec![
        ("output", "accept", vec![], None),
        ("output", "accept", vec![("c", json!([vrrp, drop]))], Some(drops)),
        ("postrouting", "accept", vec![("c", json!([in_set, { "reject": null }]))], Some(drops)),
        ("output", "accept", vec![("c", json!([jump])), ("further", json!([vrrp, drop]))], Some(drops)),
        ("output", "accept", vec![("further", json!([vrrp, drop]))], None),
        ("output", "accept", vec![("c", json!([not, drop]))], None),
        ("output", "accept", vec![("c", json!([tcp, drop]))], None),
        ("output", "drop", vec![], Some(lacks)),
        ("output", "drop", vec![("c", json!([tcp, accept]))], Some(lacks)),
        ("output", "drop", vec![("c", json!([tcp, accept])), ("c", json!([vrrp, accept]))], None),
        ("output", "drop", vec![("c", json!([accept]))], None),
        ("input", "drop", vec![("c", json!([vrrp, drop]))], None),
        ("egress", "accept", vec![("c", json!([vrrp, drop]))], Some(drops)),
    ];
    for (hook, policy, rules, expected) in rows {
        let facts = unicast(filtered("inet", hook, policy, &rules));
        assert_eq!(
            said(&facts, |level| level >= Level::Warning),
            Vec::from_iter(expected),
            "{hook} {policy} {rules:?}"
        );
    }
    // Of another family, and of adverts that pass it by.
    let rules = [("c", json!([vrrp, drop]))];
    assert_eq!(
        said(&unicast(filtered("ip6", "output", "drop", &rules)), |level| level >= Level::Warning),
        [""; 0]
    );
    assert_eq!(said(&filtered("inet", "output", "drop", &rules), |level| level >= Level::Warning), [""; 0]);
    assert_eq!(said(&filtered("inet", "egress", "accept", &rules), |level| level >= Level::Warning), [drops]);
    let unknown = Facts { ruleset: Err("nft is not installed".to_owned()), ..idle() };
    let skipped = "firewall: skipped: its rules are not known: nft is not installed".to_owned();
    assert!(said(&unknown, |level| level == Level::Skipped).contains(&skipped));
}

#[test]
fn what_runs() {
    check(
        running,
        &[
            (
                "no real time",
                |f| f.running.as_mut().unwrap().real_time = false,
                &["kernel: warning: vipd runs without real-time scheduling"],
            ),
            (
                "another file",
                |f| vi_1(f).vips = vec![ip("10.0.0.4")],
                &["vipd: warning: the file says something else than what runs, of VI_1"],
            ),
            (
                "in FAULT",
                |f| (vi_1(f).state, vi_1(f).reason) = ("FAULT".to_owned(), Some("link down".to_owned())),
                &["VI_1: problem: it is in FAULT: link down"],
            ),
            (
                "it hears nobody",
                |f| vi_1(f).adverts_received = 0,
                &["VI_1: warning: it is a backup and has heard no advert that it accepts"],
            ),
            (
                "another password",
                |f| _ = vi_1(f).discards.insert("auth_failures".to_owned(), 9),
                &[
                    "VI_1: warning: 9 adverts were dropped: with another password (`authentication`: k.conf:4)",
                ],
            ),
            (
                "two masters",
                |f| {
                    vi_1(f).state = "MASTER".to_owned();
                    vi_1(f).discards.insert("version_errors".to_owned(), 3);
                },
                &[
                    "VI_1: problem: 3 adverts were dropped: of another VRRP version (`version`: not in the file of VI_1)",
                ],
            ),
            (
                "other addresses",
                |f| vi_1(f).address_list_differs = 2,
                &["VI_1: warning: 2 adverts list other addresses (`virtual_ipaddress`: k.conf:8)"],
            ),
            (
                "late",
                |f| vi_1(f).advert_lateness_max_us = 250_001,
                &["VI_1: warning: an advert left 250 ms late, of an interval of 1000 ms"],
            ),
            ("not too late", |f| vi_1(f).advert_lateness_max_us = 250_000, &[]),
            ("send errors", |f| vi_1(f).send_errors = 4, &["VI_1: warning: 4 adverts could not be sent"]),
        ],
    );
}

/// A reason that the program counts, and that is not known here, would be called malformed.
#[test]
fn every_reason_to_discard_is_known() {
    use vipd_common::abi::InstanceCounters;
    let malformed =
        ["ip_checksum_errors", "packet_length_errors", "invalid_type", "addr_count_zero", "interval_zero"];
    for reason in &InstanceCounters::NAMES[InstanceCounters::FIRST_DISCARD..] {
        let mut facts = running();
        vi_1(&mut facts).discards.insert((*reason).to_owned(), 1);
        let said = said(&facts, |level| level >= Level::Warning);
        assert_eq!(said.len(), 1, "{reason}: {said:?}");
        assert_eq!(said[0].contains("malformed"), malformed.contains(reason), "{reason}: {said:?}");
    }
}
