//! A made-up status, for tests of what shows one.

use std::{collections::BTreeMap, net::Ipv4Addr};

use vipd_common::abi::Counters;

use super::{
    ArbiterStatus, BalancingStatus, BfdSessionStatus, EarlyArbiterStatus, EarlyBackupStatus, EarlyStatus,
    FaultStatus, HostWarning, InstanceStatus, LineStatus, MasterStatus, NodeLinkStatus, NodeStatus,
    NotifyStatus, ProbedPeerStatus, ProbedRouterStatus, ProbesStatus, ProgramHook, RealServerStatus,
    RepairStatus, ReportsStatus, RunStatus, SCHEMA, ServerCheckStatus, ServiceStatus, SponsorsStatus, Status,
    TargetStatus, TrackStatus, TrackedStatus, TrafficStatus,
};

/// VI_1 is the master, VI_6 a backup, VI_F in fault; something of each kind is tracked.
pub fn status() -> Status {
    let counters = Counters { arp_replies: 70_000, arp_gated: 12, vip_conflicts: 3, ..Counters::default() };
    let tracked = |keyword: &str, name: &str, well, value| TrackedStatus {
        keyword: keyword.into(),
        name: name.into(),
        well,
        value,
        ..TrackedStatus::default()
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
        restart_needed: Vec::new(),
        cluster_reports: ReportsStatus::default(),
        instances: vec![master("VI_1", 51), backup("VI_6", 6), fault("VI_F", 7)],
        counters: counters.iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        tracked: vec![
            tracked("vrrp_script", "chk_nginx", Some(true), None),
            tracked("vrrp_track_process", "haproxy", Some(false), None),
            tracked("track_file", "load", None, Some(-7)),
            tracked("vrrp_script", "new", None, None),
        ],
        arbiters: vec![arbiter],
        bfd_sessions: vec![bfd_session("uplink", true), bfd_session("peer", false)],
        notify_scripts: vec![NotifyStatus {
            kind: "INSTANCE".into(),
            name: "VI_1".into(),
            script: "/etc/vipd/notify.sh".into(),
            run: run("exit code 0", Some(0), &["moved"]),
        }],
        host_repairs: BTreeMap::from([("route".into(), 2), ("sysctl".into(), 0)]),
        latest_repairs: vec![RepairStatus {
            kind: "route".into(),
            what: "route local 10.0.0.3/32 metric 118 in table local".into(),
            ago_ms: 4_000,
        }],
        host_problem: None,
        host_warnings: vec![HostWarning {
            kind: "program_before".into(),
            about: "eth0".into(),
            what: "before vipd's program comes the XDP program filter with id 7".into(),
            remedy: "see `bpftool net show dev eth0`".into(),
        }],
        probes: vec![probed_host()],
        sponsors: None,
        balancing: Some(balancing()),
    }
}

/// A host that has been probed for an hour.
fn probed_host() -> ProbedPeerStatus {
    ProbedPeerStatus {
        interface: "eth0".into(),
        family: "ipv4".into(),
        local: "10.0.0.5".parse().ok(),
        peer: "10.0.0.6".parse().ok(),
        state: "up".into(),
        interval_us: 10_000,
        multiplier: 3,
        replaced_after_ms: 3_600,
        peer_interval_us: Some(10_000),
        peer_multiplier: Some(3),
        armed: true,
        daemon_speaks: true,
        daemon_heard_ms_ago: Some(4),
        heard_ms_ago: Some(2),
        measured_ms: 3_600_000,
        sent: 360_000,
        lost: 2,
        answers: 359_998,
        round_trip_last_us: Some(41),
        round_trip_least_us: Some(22),
        round_trip_median_us: Some(40),
        round_trip_p99_us: Some(96),
        round_trip_greatest_us: Some(2_822),
        longest_silence_us: 10_012,
        longest_silence_ms_ago: Some(600_000),
        routers: vec![ProbedRouterStatus {
            vrid: 51,
            priority: 100,
            participates: true,
            ..Default::default()
        }],
        ..ProbedPeerStatus::default()
    }
}

/// Early takeover of a backup, which would act.
pub fn armed() -> EarlyStatus {
    EarlyStatus {
        armed: true,
        acts_after_us: 30_000,
        follows: vec![ip("10.0.0.6")],
        needs_sponsor: true,
        ..EarlyStatus::default()
    }
}

/// A node that its vipd, a backup and an arbiter vouch for.
pub fn sponsors() -> SponsorsStatus {
    SponsorsStatus {
        vouched_for: true,
        beat_ms_ago: Some(4),
        backups: vec![EarlyBackupStatus {
            interface: "eth0".into(),
            peer: Some(ip("10.0.0.6")),
            probe_ms_ago: 3,
            vouches: true,
        }],
        arbiters: vec![EarlyArbiterStatus { name: "gw".into(), reached: true, reached_ms_ago: Some(8) }],
        ..SponsorsStatus::default()
    }
}

/// The same as [`status`] with `act takeover`: VI_1 is a master that needs a sponsor, VI_6 a backup that would act.
pub fn takes_over() -> Status {
    let mut status = status();
    status.instances[0].early = Some(EarlyStatus { armed: false, follows: Vec::new(), ..armed() });
    status.instances[1].early = Some(armed());
    (status.probes[0].takes_over, status.probes[0].peer_takes_over) = (true, true);
    Status { sponsors: Some(sponsors()), ..status }
}

/// The same, and nobody vouches for the node.
pub fn unvouched() -> Status {
    let mut status = takes_over();
    status.instances[0].early.iter_mut().for_each(|early| early.unvouched = true);
    if let Some(sponsors) = &mut status.sponsors {
        (sponsors.vouched_for, sponsors.unvouched_ms, sponsors.beat_ms_ago) =
            (false, Some(7_000), Some(7_020));
        sponsors.backups.iter_mut().for_each(|backup| (backup.vouches, backup.probe_ms_ago) = (false, 9_000));
        let lost = |arbiter: &mut EarlyArbiterStatus| {
            (arbiter.reached, arbiter.reached_ms_ago) = (false, Some(7_040));
        };
        sponsors.arbiters.iter_mut().for_each(lost);
    }
    status
}

/// A service with a server of each kind, and one whose sorry server serves.
pub fn balancing() -> BalancingStatus {
    let server = |server: &str, state: &str, reason: &str, weight, in_state_ms| RealServerStatus {
        server: server.into(),
        method: "NAT".into(),
        state: state.into(),
        reason: reason.into(),
        since_unix_ms: 1_700_000_000_000,
        in_state_ms,
        weight,
        full_weight: 1,
        ..RealServerStatus::default()
    };
    let mut up = server("10.1.0.11:80", "up", "serves", Some(3), 7_200_000);
    (up.full_weight, up.active_connections, up.inactive_connections) = (3, 42, 7);
    up.traffic.connections_per_s = 12;
    up.checks.push(ServerCheckStatus {
        check: "HTTP_GET 10.1.0.11:80/".into(),
        passed: Some(true),
        words: "HTTP 200, 512 octets".into(),
        latency_us: Some(1_500),
        ran_ms_ago: Some(700),
    });
    let down = server("10.1.0.12:80", "down", "HTTP_GET: connection refused", None, 5_000);
    let mut draining = server("10.1.0.13:80", "draining", "is drained", Some(0), 60_000);
    draining.active_connections = 3;
    let web = ServiceStatus {
        name: "[10.0.0.3]:tcp:80".into(),
        addresses: vec!["10.0.0.3:80".into()],
        protocol: Some("tcp".into()),
        scheduler: "wrr".into(),
        quorum_up: true,
        quorum: 1,
        live_weight: 3,
        traffic: TrafficStatus {
            connections: 1_200,
            connections_per_s: 12,
            octets_in_per_s: 1_500,
            octets_out_per_s: 64_000,
            ..TrafficStatus::default()
        },
        servers: vec![up, down, draining],
        ..ServiceStatus::default()
    };
    let mut unchecked = server("10.1.0.11:0", "unchecked", "not checked yet", None, 1_000);
    unchecked.method = "DR".into();
    let marked = ServiceStatus {
        name: "FWM 7".into(),
        addresses: vec!["fwmark 7".into()],
        scheduler: "mh".into(),
        persistence_s: Some(300),
        quorum: 1,
        sorry_server: Some("127.0.0.1:80".into()),
        sorry_serves: true,
        servers: vec![unchecked],
        ..ServiceStatus::default()
    };
    BalancingStatus {
        services: vec![web, marked],
        settled: true,
        repairs: 2,
        sync_daemons: vec!["master on eth1".into()],
        probes: ProbesStatus { probes: 3, running: 1, sent: 900, ..ProbesStatus::default() },
        ..BalancingStatus::default()
    }
}

/// A run that ended 200 ms ago; the next one begins in 800 ms.
pub fn run(outcome: &str, exit_code: Option<i32>, output: &[&str]) -> RunStatus {
    RunStatus {
        outcome: outcome.into(),
        succeeded: exit_code == Some(0),
        exit_code,
        ended_ms_ago: 200,
        next_in_ms: Some(800),
        output: output.iter().map(|line| (*line).to_owned()).collect(),
        ..RunStatus::default()
    }
}

/// Something that an instance tracks.
pub fn track(keyword: &str, name: &str, weight: i32, well: bool) -> TrackStatus {
    let adds = if well == (weight > 0) { weight.into() } else { 0 };
    TrackStatus {
        keyword: keyword.into(),
        name: name.into(),
        weight,
        adds,
        fault: weight == 0 && !well,
        well: Some(well),
        state: format!("{name} is {}", if well { "well" } else { "not well" }),
        ..TrackStatus::default()
    }
}

pub fn master(name: &str, vrid: u8) -> InstanceStatus {
    InstanceStatus {
        state: "MASTER".into(),
        in_state_ms: 61_000,
        reason: Some("no advert from a master".into()),
        sync_group: Some("G".into()),
        priority: 150,
        base_priority: 150,
        tracks: vec![track("vrrp_script", "chk_nginx", -60, true)],
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
        master_since_ms: Some(3_599_000),
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
        reason_code: Some("fault_link_down".into()),
        faults: vec![FaultStatus {
            kind: "interface_down".into(),
            what: "interface eth0 is down".into(),
            ends_when: "interface eth0 is up".into(),
            since_ms: Some(5_000),
        }],
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
        base_priority: 100,
        preempt: true,
        tracks_interface: true,
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

/// A cluster: VI_1 has a node in FAULT and one that is lost, of VI_6 the master is known by its adverts.
pub fn cluster() -> Status {
    let mut status = status();
    status.cluster_reports = reports();
    let nodes = [vec![this_node(&status, 0), faulty(), lost()], vec![this_node(&status, 1), by_advert()]];
    for (instance, nodes) in status.instances.iter_mut().zip(nodes) {
        instance.nodes = nodes;
    }
    status
}

fn reports() -> ReportsStatus {
    let refused = [("hop_limit", 4), ("signature", 3), ("replayed", 0)];
    ReportsStatus {
        instances: 3,
        signed: true,
        problem: None,
        sent: 120,
        send_errors: 0,
        received: 240,
        refused: refused.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
        refused_lately: Vec::new(),
    }
}

/// What an instance of a status is on this node.
pub fn this_node(status: &Status, instance: usize) -> NodeStatus {
    let i = &status.instances[instance];
    let links = i.lines.iter().map(|line| NodeLinkStatus {
        interface: line.interface.clone(),
        heartbeat: line.heartbeat,
        state: line.state.clone(),
    });
    NodeStatus {
        known_by: "self".into(),
        address: i.address,
        host: Some(status.host.clone()),
        router_id: status.router_id.clone(),
        version: Some(status.version.clone()),
        state: Some(i.state.clone()),
        in_state_ms: Some(i.in_state_ms),
        priority: Some(i.priority),
        base_priority: Some(i.base_priority),
        master: i.master.as_ref().map(|master| master.address),
        links: links.collect(),
        ..NodeStatus::default()
    }
}

/// A node that reports itself.
pub fn reported(host: &str, address: &str, state: &str, priority: u8) -> NodeStatus {
    let link = NodeLinkStatus { interface: "eth0".into(), heartbeat: false, state: "up".into() };
    NodeStatus {
        known_by: "report".into(),
        signed: true,
        address: Some(ip(address)),
        host: Some(host.into()),
        version: Some("0.1.0".into()),
        state: Some(state.into()),
        in_state_ms: Some(10_000),
        priority: Some(priority),
        base_priority: Some(priority),
        master: Some(ip("10.0.0.5")),
        links: vec![link],
        heard_ms_ago: Some(2_000),
        interval_ms: Some(5_000),
        ..NodeStatus::default()
    }
}

fn faulty() -> NodeStatus {
    NodeStatus {
        version: Some("0.2.0".into()),
        base_priority: Some(140),
        drained: true,
        handed_over: true,
        faults: Some("check chk_nginx failed (exit code 1)".into()),
        ..reported("lb02.example.net", "10.0.0.6", "FAULT", 90)
    }
}

fn lost() -> NodeStatus {
    NodeStatus {
        lost: true,
        heard_ms_ago: Some(120_000),
        ..reported("lb03.example.net", "10.0.0.7", "BACKUP", 120)
    }
}

fn by_advert() -> NodeStatus {
    NodeStatus {
        known_by: "advert".into(),
        address: Some(ip("fe80::6")),
        state: Some("MASTER".into()),
        priority: Some(200),
        heard_ms_ago: Some(1_009),
        interval_ms: Some(1_000),
        ..NodeStatus::default()
    }
}

/// A session that is up, or was.
fn bfd_session(name: &str, up: bool) -> BfdSessionStatus {
    BfdSessionStatus {
        name: name.into(),
        neighbor: Ipv4Addr::new(10, 0, 0, 6).into(),
        local: Some(Ipv4Addr::new(10, 0, 0, 5).into()),
        multihop: false,
        passive: false,
        state: if up { "Up" } else { "Down" }.into(),
        diagnostic: if up { 0 } else { 1 },
        reason: (!up).then(|| "diagnostic 1: detection time expired".into()),
        since_unix_ms: 1_767_225_600_000,
        in_state_ms: 61_000,
        was_up: true,
        counts_as_up: up,
        downs: if up { 0 } else { 1 },
        remote_state: up.then(|| "Up".into()),
        remote_diagnostic: 0,
        local_discriminator: 7,
        remote_discriminator: up.then_some(9),
        transmit_interval_us: if up { 3_333 } else { 1_000_000 },
        detection_time_us: up.then_some(10_000),
        multiplier: 3,
        remote_multiplier: up.then_some(3),
        packets_sent: 6_100,
        packets_received: 6_099,
        packets_refused: 0,
        refused_reason: None,
        refused_hop_limit: None,
        min_hop_limit: 255,
        heard_ms_ago: Some(if up { 2 } else { 61_010 }),
        hears_by: "program".into(),
        problem: None,
        remedy: None,
    }
}
