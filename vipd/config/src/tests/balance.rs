//! Load balancing: what services mean.

mod any;
mod checks;
mod mistakes;
mod shown;

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use vipd_balance::{
    CheckWeight, ForwardMethod, HttpProtocol, HttpUrl, NoticeCommand, Persistence, ProbePeer, ProbeSpec,
    ProbeUse, Scheduler, SchedulerFlags, ServiceAddress, ServiceId, ServiceSettings, ServiceTarget,
    SorryServer, TargetId, TlsSettings, TransportProtocol, TunnelChecksum, TunnelEncapsulation,
    VirtualServer,
};
use vipd_common::Family;

use super::*;
use crate::{
    Change, ConnectionSync, FlushScope, LvsSettings, LvsTimeouts, compare, explain,
    schema::{
        grammar::{Arg, WordKind},
        keyword::{Block, Support},
        table::rows,
    },
};

/// The services of a file that is right, but for the warnings.
fn services(text: &str) -> Vec<VirtualServer> {
    let text = text.to_owned() + &with("");
    let loaded = parse_served(&text).unwrap_or_else(|failure| panic!("{text}\n{failure}"));
    loaded.config.balance.servers().to_vec()
}

fn service(text: &str) -> VirtualServer {
    let mut services = services(text);
    assert_eq!(services.len(), 1, "{text}");
    services.remove(0)
}

/// A TCP service with a server and lines of its own.
fn tcp(lines: &str, server: &str) -> String {
    format!(
        "virtual_server 10.7.7.7 80 {{\nprotocol TCP\n{lines}\nreal_server 10.7.7.8 80 {{\n{server}\n}}\n}}\n"
    )
}

/// The only check of the only server.
fn check(text: &str) -> ProbeUse {
    let mut service = service(text);
    let mut checks = service.targets.remove(0).checks;
    assert_eq!(checks.len(), 1, "{text}");
    checks.remove(0)
}

/// What is said once services are served.
fn said(text: &str) -> Vec<String> {
    let text = text.to_owned() + &with("");
    let said = |d: &Diagnostic| format!("{}:{}: {}: {}", d.line, d.column, d.severity, d.message);
    diagnostics_of(parse_served(&text)).iter().map(said).collect()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn socket(protocol: TransportProtocol, address: &str) -> ServiceAddress {
    let at = at(address);
    ServiceAddress::Socket { protocol, address: at.ip(), port: at.port() }
}

fn target(address: &str, forward: ForwardMethod) -> ServiceTarget {
    ServiceTarget::new(at(address).into(), forward)
}

fn command(words: &[&str], account: Option<(&str, Option<&str>)>) -> NoticeCommand {
    NoticeCommand {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        account: account.map(|(user, group)| (user.to_owned(), group.map(str::to_owned))),
    }
}

/// keepalived's defaults: the balance crate has them too, from the same reference.
#[test]
fn a_service_has_keepaliveds_defaults() {
    let text = "virtual_server 10.7.7.7 80 {\nreal_server 10.7.7.8 {\n}\n}\n";
    let address = socket(TransportProtocol::Udp, "10.7.7.7:80");
    let mut expect = VirtualServer::new(ServiceId::Single(address), vec![address]);
    expect.targets = vec![target("10.7.7.8:80", ForwardMethod::Nat)];
    assert_eq!(service(text), expect);
    assert_eq!(expect.settings.scheduler, Scheduler::WeightedLeastConnections);
    assert!(!expect.mail && expect.targets[0].mail);
    let said = said(text);
    assert_eq!(said, ["1:1: warning: `virtual_server 10.7.7.7` has no `protocol`, and so is for UDP"]);
}

#[test]
fn every_value_of_a_service_is_in_the_model() {
    let text = "virtual_server 10.7.7.7 80 {
        lb_algo mh
        mh-port
        mh-fallback
        lb_kind DR
        protocol TCP
        persistence_timeout 50
        persistence_granularity 255.255.0.255
        persistence_engine sip
        quorum 5
        hysteresis 2
        quorum_up \"/bin/up a 'b c'\" root
        quorum_down /bin/down nobody nogroup
        omega
        ha_suspend
        smtp_alert
        ramp 30
        min_alive 20
        drain_timeout 600
        weight 4
        inhibit_on_failure
        sorry_server 10.7.7.9 8080
        sorry_server_lvs_method NAT
        sorry_server_inhibit
        real_server 10.7.7.8 80 {
            weight 0
            lvs_method TUN type gue port 5555 csum
            uthreshold 100
            lthreshold 50
            inhibit_on_failure off
            smtp_alert off
            notify_up /bin/rs-up
            notify_down \"/bin/rs-down x\" root
        }
        real_server 10.7.7.10 80 {
            lvs_method TUN type gre remcsum
        }
        real_server 10.7.7.11 80 {
        }
    }\n";
    let text = text.replace("remcsum", "nocsum");
    let address = socket(TransportProtocol::Tcp, "10.7.7.7:80");
    let first = ServiceTarget {
        weight: 0,
        upper_threshold: 100,
        lower_threshold: 50,
        mail: false,
        notify_up: Some(command(&["/bin/rs-up"], None)),
        notify_down: Some(command(&["/bin/rs-down", "x"], Some(("root", None)))),
        ..target(
            "10.7.7.8:80",
            ForwardMethod::Tunnel(TunnelEncapsulation::Gue { port: 5555, checksum: TunnelChecksum::On }),
        )
    };
    let gre = ForwardMethod::Tunnel(TunnelEncapsulation::Gre { checksum: TunnelChecksum::Off });
    let second = ServiceTarget { weight: 4, inhibit: true, ..target("10.7.7.10:80", gre) };
    let third = ServiceTarget { weight: 4, inhibit: true, ..target("10.7.7.11:80", ForwardMethod::Direct) };
    let expect = VirtualServer {
        settings: ServiceSettings {
            scheduler: Scheduler::MaglevHash,
            flags: SchedulerFlags { first: true, second: true, third: false },
            persistence: Some(Persistence { timeout_s: 50, granularity: 0xffff_00ff, sip: true }),
            one_packet: false,
        },
        quorum: 5,
        hysteresis: 2,
        omega: true,
        ha_suspend: true,
        sorry: Some(SorryServer {
            id: at("10.7.7.9:8080").into(),
            forward: ForwardMethod::Nat,
            inhibit: true,
        }),
        quorum_up: Some(command(&["/bin/up", "a", "b c"], Some(("root", None)))),
        quorum_down: Some(command(&["/bin/down"], Some(("nobody", Some("nogroup"))))),
        mail: true,
        ramp: Duration::from_secs(30),
        min_alive: 20,
        drain_timeout: Some(Duration::from_secs(600)),
        targets: vec![first, second, third],
        ..VirtualServer::new(ServiceId::Single(address), vec![address])
    };
    assert_eq!(service(&text), expect);
    // Suspended by a lease that there is none of.
    let no_effect =
        "15:9: warning: `ha_suspend` has no effect: no `vrrp_instance` has an address of this service";
    assert_eq!(said(&text), [no_effect]);
}

#[test]
fn every_scheduler_is_known() {
    for name in
        ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"]
    {
        let found = service(&tcp(&format!("lb_algo {name}"), ""));
        assert_eq!(found.settings.scheduler.name(), name);
    }
    assert_eq!(said(&tcp("lb_algo nosuch", "")), ["3:9: error: lb_algo `nosuch` is not a known value"]);
}

#[test]
fn ports_follow_the_method() {
    // (head of the service, method, head of the server, port in the table, port of the check)
    for (head, method, server, port, check_port) in [
        ("10.7.7.7 80", "NAT", "10.7.7.8", 80, 80),
        ("10.7.7.7 80", "NAT", "10.7.7.8 0", 80, 80),
        ("10.7.7.7 80", "NAT", "10.7.7.8 8080", 8080, 8080),
        ("10.7.7.7 80", "DR", "10.7.7.8", 80, 80),
        ("10.7.7.7 80", "DR", "10.7.7.8 8080", 80, 8080),
        ("10.7.7.7 80", "TUN", "10.7.7.8 8080", 80, 8080),
        ("10.7.7.7", "NAT", "10.7.7.8 8080", 8080, 8080),
        ("10.7.7.7", "DR", "10.7.7.8 8080", 0, 8080),
        ("fwmark 7", "NAT", "10.7.7.8 8080", 8080, 8080),
        ("fwmark 7", "DR", "10.7.7.8 8080", 0, 8080),
    ] {
        let text = format!(
            "virtual_server {head} {{\nlb_kind {method}\nreal_server {server} {{\nTCP_CHECK {{\n}}\n}}\n}}\n"
        );
        let target = service(&text).targets.remove(0);
        assert_eq!(target.id.port, port, "{head} {method} {server}");
        let peer = target.checks[0].probe.peer().unwrap().to;
        assert_eq!(peer.port(), check_port, "{head} {method} {server}");
        let is_told =
            said(&text).iter().any(|said| said.contains("port 8080 is ignored: only NAT changes the port"));
        assert_eq!(is_told, port != check_port && !head.starts_with("fwmark"), "{:?}", said(&text));
    }
}

#[test]
fn a_group_is_all_of_its_addresses() {
    let group = |lines: &str, kind: &str| {
        service(&format!(
            "virtual_server group G {{\nprotocol TCP\n{kind}\nreal_server {} {{\n}}\n}}\nvirtual_server_group G {{\n{lines}\n}}\n",
            if lines.contains("db8") { "2001:db8::8" } else { "10.7.7.8" }
        ))
    };
    let addresses = |lines: &str| -> Vec<String> {
        group(lines, "lb_kind NAT\npersistence_timeout").addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        addresses("10.7.7.254-255 80\n10.7.7.7 80"),
        ["[10.7.7.254]:tcp:80", "[10.7.7.255]:tcp:80", "[10.7.7.7]:tcp:80"]
    );
    assert_eq!(addresses("10.7.7.255-10.7.8.1 80").len(), 3);
    assert_eq!(
        addresses("10.7.7.9/30"),
        ["[10.7.7.8]:tcp:0", "[10.7.7.9]:tcp:0", "[10.7.7.10]:tcp:0", "[10.7.7.11]:tcp:0"]
    );
    assert_eq!(addresses("2001:db8::ff-101 80").len(), 3);
    assert_eq!(addresses("fwmark 7\nfwmark 8 inet"), ["FWM 7", "FWM 8"]);
    let marks = group("fwmark 7 inet6", "lb_kind TUN");
    assert_eq!(marks.addresses, [ServiceAddress::Mark { mark: 7, family: Family::V6 }]);
    assert_eq!(group("10.7.7.7 80", "").id.to_string(), "[G]:0");
    // TCP and UDP of one group are two services.
    let both = "virtual_server_group G {\n10.7.7.7 53\n}\n".to_owned()
        + &["TCP", "UDP"]
            .map(|protocol| {
                format!("virtual_server group G {{\nprotocol {protocol}\nreal_server 10.7.7.8 {{\n}}\n}}\n")
            })
            .concat();
    let ids: Vec<String> = services(&both).iter().map(|service| service.id.to_string()).collect();
    assert_eq!(ids, ["[G]:0", "[G]:1"]);
}

#[test]
fn the_family_of_a_mark_is_said_or_seen() {
    let family = |lines: &str, server: &str| {
        let text = format!("virtual_server fwmark 7 {{\n{lines}\nreal_server {server} {{\n}}\n}}\n");
        let service = service(&text);
        assert_eq!(service.id.to_string(), "FWM 7");
        service.addresses[0].family()
    };
    assert_eq!(family("", "10.7.7.8"), Family::V4);
    assert_eq!(family("", "2001:db8::8"), Family::V6);
    assert_eq!(family("lb_kind TUN", "2001:db8::8"), Family::V4);
    assert_eq!(family("lb_kind TUN\nip_family inet6", "10.7.7.8"), Family::V6);
}

#[test]
fn persistence_is_as_keepalived_has_it() {
    let persistence = |text: &str| service(text).settings.persistence;
    let every_port = "virtual_server 10.7.7.7 {\nprotocol TCP\nreal_server 10.7.7.8 {\n}\n}\n";
    let v6 = |lines: &str| {
        format!(
            "virtual_server 2001:db8::7 80 {{\nprotocol TCP\n{lines}\nreal_server 2001:db8::8 80 {{\n}}\n}}\n"
        )
    };
    assert_eq!(persistence(&tcp("", "")), None);
    assert_eq!(persistence(&tcp("persistence_timeout", "")), Some(Persistence::new(360, Family::V4)));
    assert_eq!(persistence(every_port), Some(Persistence::new(360, Family::V4)));
    let masked = Persistence { granularity: 0xffff_ff00, ..Persistence::new(360, Family::V4) };
    assert_eq!(persistence(&tcp("persistence_granularity 255.255.255.0", "")), Some(masked));
    let prefix = Persistence { granularity: 64, ..Persistence::new(9, Family::V6) };
    assert_eq!(persistence(&v6("persistence_timeout 9\npersistence_granularity 64")), Some(prefix));
    assert_eq!(persistence(&v6("persistence_timeout 9")).unwrap().granularity, 128);
}

#[test]
fn mail_has_keepaliveds_defaults() {
    let mails = |global: &str, own: &str, server: &str| {
        let service = service(&(format!("global_defs {{\n{global}\n}}\n") + &tcp(own, server)));
        (service.mail, service.targets[0].mail)
    };
    assert_eq!(mails("", "", ""), (false, true));
    assert_eq!(mails("smtp_alert", "", ""), (true, true));
    assert_eq!(mails("smtp_alert off", "", ""), (false, false));
    assert_eq!(mails("smtp_alert\nsmtp_alert_checker off", "", ""), (false, false));
    assert_eq!(mails("smtp_alert off\nsmtp_alert_checker", "", "smtp_alert off"), (true, false));
    assert_eq!(mails("", "smtp_alert", ""), (true, true));
}

#[test]
fn global_defs_hold_for_all_services() {
    let lvs = |lines: &str| {
        let text = format!("global_defs {{\n{lines}\n}}\n") + &with("");
        parse_served(&text).unwrap_or_else(|failure| panic!("{failure}")).config
    };
    assert_eq!(lvs("").lvs, LvsSettings { jitter_percent: 10, ..LvsSettings::default() });
    assert_eq!(
        lvs("lvs_timeouts tcp 0 tcpfin 120 udp 2678400").lvs.timeouts,
        LvsTimeouts { tcp_s: None, tcp_fin_s: Some(120), udp_s: Some(2_678_400) }
    );
    assert!(lvs("lvs_flush").lvs.flush_at_start);
    assert_eq!(lvs("lvs_flush_on_stop").lvs.flush_on_stop, Some(FlushScope::Table));
    assert_eq!(lvs("lvs_flush_onstop VS").lvs.flush_on_stop, Some(FlushScope::Services));
    assert_eq!(lvs("jitter 0").lvs.jitter_percent, 0);
    let sync = ConnectionSync {
        interface: "eth1".to_owned(),
        instance: None,
        id: 0,
        octets_max: None,
        port: None,
        ttl: None,
        group: None,
    };
    assert_eq!(lvs("lvs_sync_daemon eth1").lvs.sync, Some(sync.clone()));
    // keepalived's: the id of the instance.
    let of_instance = ConnectionSync { instance: Some("VI_1".to_owned()), id: 51, ..sync.clone() };
    assert_eq!(lvs("lvs_sync_daemon eth1 VI_1").lvs.sync, Some(of_instance.clone()));
    let all = ConnectionSync {
        id: 7,
        octets_max: Some(1400),
        port: Some(8849),
        ttl: Some(3),
        group: Some(ip("224.0.0.82")),
        ..of_instance
    };
    let words = "id 7 maxlen 1400 port 8849 ttl 3 group 224.0.0.82 inst VI_1";
    assert_eq!(lvs(&format!("lvs_sync_daemon eth1 {words}")).lvs.sync, Some(all));
    let fifo = lvs("lvs_notify_fifo /run/lb root\nlvs_notify_fifo_script /bin/reader").lvs.fifo.unwrap();
    assert_eq!((fifo.path.as_str(), fifo.owner.unwrap().user.as_str()), ("/run/lb", "root"));
    assert_eq!(fifo.reader.unwrap().words, ["/bin/reader"]);
    let mail = lvs("router_id a\nnotification_email {\na@b\n}\nsmtp_server 10.7.7.7");
    assert_eq!(mail.mail, None, "no instance wants any");
    assert_eq!(mail.lvs.mail.unwrap().recipients, ["a@b"]);
    assert!(!lvs("").balance.init_notices() && lvs("rs_init_notifies").balance.init_notices());
}
