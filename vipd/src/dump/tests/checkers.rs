//! What `keepalived_check.data` says: the labels are those of keepalived 2.2.7 for such a file.

use vipd_config::Config;

use super::{Nothing, Unsupported, parse};
use crate::{
    control::model::{BalancingStatus, RealServerStatus, ServerCheckStatus, ServiceStatus, Status},
    dump::{checkers, of_checkers},
};

const FILE: &str = "
virtual_server_group G {
    10.0.0.9 80
    10.0.0.10-11 80
}
virtual_server 10.0.0.3 80 {
    delay_loop 2
    lb_algo mh
    mh-port
    lb_kind NAT
    persistence_timeout 50
    persistence_granularity 255.255.255.0
    protocol TCP
    omega
    quorum 2
    hysteresis 1
    quorum_up \"/bin/true up\"
    sorry_server 10.0.0.8 8080
    real_server 10.0.0.11 81 {
        weight 3
        uthreshold 9
        lthreshold 4
        inhibit_on_failure
        notify_down \"/bin/true down\"
        TCP_CHECK {
            retry 2
            delay_before_retry 1
        }
    }
}
virtual_server group G {
    lb_algo rr
    lb_kind TUN type gue port 6080
    protocol UDP
    ops
    real_server 10.0.0.12 53 {
    }
}
";

fn config() -> Config {
    parse("k.conf".as_ref(), FILE, &Nothing, Unsupported::Ignored).unwrap().config
}

fn status() -> Status {
    let check =
        ServerCheckStatus { passed: Some(false), ran_ms_ago: Some(5), ..ServerCheckStatus::default() };
    let down = RealServerStatus {
        server: "10.0.0.11:81".into(),
        state: "down".into(),
        weight: Some(0),
        full_weight: 3,
        checks: vec![check],
        ..RealServerStatus::default()
    };
    let service = ServiceStatus {
        name: "[10.0.0.3]:tcp:80".into(),
        protocol: Some("tcp".into()),
        sorry_serves: true,
        servers: vec![down],
        ..ServiceStatus::default()
    };
    Status {
        balancing: Some(BalancingStatus { services: vec![service], ..BalancingStatus::default() }),
        ..Status::default()
    }
}

/// The lines from one to another, without that.
fn between<'t>(text: &'t str, first: &str, end: &str) -> Vec<&'t str> {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().position(|line| *line == first).unwrap_or_else(|| panic!("{first}: {text}"));
    let to = lines[from + 1..]
        .iter()
        .position(|line| line.starts_with(end))
        .unwrap_or_else(|| panic!("{end}: {text}"));
    lines[from..=from + to].to_vec()
}

#[test]
fn a_virtual_server_is_described() {
    let text = checkers(&config(), &status());
    assert_eq!(
        between(&text, " VS VIP = 10.0.0.3, VPORT = 80", "   ------< Real"),
        [
            " VS VIP = 10.0.0.3, VPORT = 80",
            "   Address family = inet",
            "   lvs_sched = mh",
            "   mh-port = enabled",
            "   mh-fallback = disabled",
            "   One packet scheduling = disabled",
            "   persistence timeout = 50",
            "   persistence granularity = 255.255.255.0",
            "   protocol = TCP",
            "   omega is ON",
            "   quorum = 2, hysteresis = 1",
            "   Quorum up notify script = '/bin/true' 'up'",
            "   Using smtp notification = no",
            "   sorry server = [10.0.0.8]:tcp:8080",
            "     forwarding method = NAT",
            "     Inhibit on failure is OFF",
            "   alive = 1",
            "   quorum_state_up = 0",
        ]
    );
    assert_eq!(
        between(&text, "   RIP = 10.0.0.11, RPORT = 81, WEIGHT = 3 EFF WEIGHT = 3", " ------<"),
        [
            "   RIP = 10.0.0.11, RPORT = 81, WEIGHT = 3 EFF WEIGHT = 3",
            "   forwarding method = NAT",
            "   connection limit range = 4 -> 9",
            "   Inhibit on failure is ON",
            "     RS down notify script = '/bin/true' 'down'",
            "   Using smtp notification = yes",
            "   initial weight = 3",
            "   effective weight = 3",
            "   alive = 0",
            "   num failed checkers = 1",
            "   RS set = 1",
        ]
    );
    let checks: Vec<&str> =
        text.lines().skip_while(|line| *line != "------< Health checkers >------").collect();
    assert_eq!(
        checks[1..],
        [
            " [10.0.0.3]:tcp:80 -> [10.0.0.11]:tcp:81",
            "   Enabled = yes",
            "   Up = no",
            "   Has run = yes",
            "   Alpha = no",
            "   Delay loop = 2000000 us",
            "   Warmup = 2000000 us",
            "   Retries = 2",
            "   Delay before retry = 1000000 us",
            "   Keepalive method = TCP_CHECK",
        ]
    );
}

/// Before the first status too, which has the protocol; and of a group that two virtual servers have.
#[test]
fn a_group_stands_once_and_a_protocol_is_that_of_the_file() {
    let more = FILE.split_once("virtual_server group G").unwrap().1;
    let more = more.replace("protocol UDP", "protocol TCP").replace("    ops\n", "");
    let sorry = "protocol TCP\n    sorry_server 10.0.0.8";
    let tcp = format!("virtual_server group G{}", more.replace("protocol TCP", sorry));
    let mark = "virtual_server fwmark 7 {\nreal_server 10.0.0.12 {\n}\n}\n";
    let text = [FILE, &tcp, mark].concat();
    let config = parse("k.conf".as_ref(), &text, &Nothing, Unsupported::Ignored).unwrap().config;
    let text = checkers(&config, &Status::default());
    let count = |line: &str| text.lines().filter(|found| *found == line).count();
    assert_eq!(count(" Virtual Server Group = G, IPv4 = yes, IPv6 = no"), 1, "{text}");
    assert_eq!(count("   VIP = 10.0.0.9, VPORT = 80"), 1, "{text}");
    assert_eq!(count("   sorry server = [10.0.0.8]:tcp:80"), 1, "{text}");
    assert_eq!(count("   protocol = TCP"), 2, "{text}");
    assert_eq!(count("   protocol = none"), 1, "that of the mark: {text}");
}

/// Before the first status there is none of it.
#[test]
fn a_group_is_described_with_its_addresses() {
    let text = checkers(&config(), &Status::default());
    assert_eq!(
        between(&text, " Virtual Server Group = G, IPv4 = yes, IPv6 = no", " ------<"),
        [
            " Virtual Server Group = G, IPv4 = yes, IPv6 = no",
            "   VIP = 10.0.0.9, VPORT = 80",
            "   VIP = 10.0.0.10, VPORT = 80",
            "   VIP = 10.0.0.11, VPORT = 80",
        ]
    );
    let group = between(&text, " VS GROUP = [G]:0", "------< Health");
    for line in
        ["   One packet scheduling = enabled", "   forwarding method = TUN, type = GUE", "   alive = 0"]
    {
        assert!(group.contains(&line), "{line} is not in {group:?}");
    }
}

#[test]
fn the_file_is_beside_the_other() {
    for (data, expect) in [
        ("/t/keepalived.data", "/t/keepalived_check.data"),
        ("/t/keepalived.one.data", "/t/keepalived_check.one.data"),
        ("/a/x", "/a/x_check"),
    ] {
        assert_eq!(of_checkers(data.as_ref()).display().to_string(), expect);
    }
}
