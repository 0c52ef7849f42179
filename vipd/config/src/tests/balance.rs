//! Load balancing: what services mean, and what is said about wrong ones.

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
    assert_eq!(said(&text), [] as [&str; 0]);
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

/// One of each check, with all that it takes: written, and as the judge has it.
#[test]
fn checks_are_probes() {
    let peer = ProbePeer {
        from: Some(ip("10.7.7.1")),
        from_port: Some(1025),
        interface: Some("eth9".to_owned()),
        mark: 7,
        connect_timeout: Duration::from_millis(1_500),
        total_timeout: Some(Duration::from_secs(9)),
        ..ProbePeer::new(at("10.7.7.2:8080"))
    };
    let own = "connect_ip 10.7.7.2\nconnect_port 8080\nbindto 10.7.7.1\nbind_port 1025\nbind_if eth9\nfwmark 7\n\
        connect_timeout 1.5\ntotal_timeout 9\nretry 0\nrise 3\ndelay_before_retry 0\nwarmup 0\ndelay_loop 0.000001\nalpha";
    let plain = ProbePeer::new(at("10.7.7.8:80"));
    let seconds = Duration::from_secs;
    let tls = |name: Option<&str>, verify: Option<&str>| TlsSettings {
        server_name: name.map(str::to_owned),
        client_certificate: None,
        verify: verify.map(str::to_owned),
    };
    let rows: Vec<(String, ProbeSpec)> = vec![
        ("TCP_CHECK {\n}".to_owned(), ProbeSpec::Tcp { peer: plain.clone() }),
        (format!("TCP_CHECK {{\n{own}\n}}"), ProbeSpec::Tcp { peer: peer.clone() }),
        (
            "PING_CHECK {\n}".to_owned(),
            ProbeSpec::Ping { peer: ProbePeer::new(at("10.7.7.8:0")) },
        ),
        (
            "SMTP_CHECK {\n}".to_owned(),
            ProbeSpec::Smtp { peer: plain.clone(), helo: "smtpchecker.keepalived.org".to_owned() },
        ),
        (
            "SMTP_CHECK {\nhelo_name lb\nhost {\nconnect_ip 10.7.7.3\nconnect_port 26\nconnect_timeout 2\n}\n}".to_owned(),
            ProbeSpec::Smtp {
                peer: ProbePeer { connect_timeout: seconds(2), ..ProbePeer::new(at("10.7.7.3:26")) },
                helo: "lb".to_owned(),
            },
        ),
        (
            "DNS_CHECK {\n}".to_owned(),
            ProbeSpec::Dns { peer: plain.clone(), name: ".".to_owned(), record: 6, expect: None },
        ),
        (
            "DNS_CHECK {\ntype AAAA\nname example.org\nexpect 2001:db8::1\n}".to_owned(),
            ProbeSpec::Dns {
                peer: plain.clone(),
                name: "example.org".to_owned(),
                record: 28,
                expect: Some("2001:db8::1".to_owned()),
            },
        ),
        (
            "UDP_CHECK {\n}".to_owned(),
            ProbeSpec::Udp { peer: plain.clone(), payload: Vec::new(), reply: None, reply_octets: (0, 255) },
        ),
        (
            "UDP_CHECK {\npayload 0aFF 00\nrequire_reply 1x xx 7f\nmin_reply_length 1\nmax_reply_length 9\n}".to_owned(),
            ProbeSpec::Udp {
                peer: plain.clone(),
                payload: vec![0x0a, 0xff, 0x00],
                reply: Some(vec![(0x10, 0xf0), (0, 0), (0x7f, 0xff)]),
                reply_octets: (1, 9),
            },
        ),
        (
            "UDP_CHECK {\nrequire_reply\n}".to_owned(),
            ProbeSpec::Udp {
                peer: plain.clone(),
                payload: Vec::new(),
                reply: Some(Vec::new()),
                reply_octets: (0, 255),
            },
        ),
        (
            "TEXT_CHECK {\n}".to_owned(),
            ProbeSpec::Text { peer: plain.clone(), udp: false, tls: None, send: Vec::new(), expect: None },
        ),
        (
            "TEXT_CHECK {\nprotocol TLS\nsend \"PING\\r\\n\\t\\\\\\x00\"\nexpect ^\\+PONG\nsni_name r.example\nverify /ca.pem\n}"
                .to_owned(),
            ProbeSpec::Text {
                peer: plain.clone(),
                udp: false,
                tls: Some(tls(Some("r.example"), Some("/ca.pem"))),
                send: b"PING\r\n\t\\\0".to_vec(),
                expect: Some("^\\+PONG".to_owned()),
            },
        ),
        (
            "TEXT_CHECK {\nprotocol UDP\nsend x\n}".to_owned(),
            ProbeSpec::Text { peer: plain.clone(), udp: true, tls: None, send: b"x".to_vec(), expect: None },
        ),
        (
            "MISC_CHECK {\nmisc_path \"/bin/x 'a b'\"\nmisc_timeout 3\nuser nobody nogroup\n}".to_owned(),
            ProbeSpec::Misc {
                words: vec!["/bin/x".to_owned(), "a b".to_owned()],
                account: Some(("nobody".to_owned(), Some("nogroup".to_owned()))),
                timeout: seconds(3),
            },
        ),
        (
            "HTTP_GET {\nurl {\npath /\n}\n}".to_owned(),
            ProbeSpec::Http {
                peer: plain.clone(),
                tls: None,
                protocol: HttpProtocol::V1_0,
                head: false,
                urls: vec![HttpUrl::new("/")],
            },
        ),
        (
            "HTTP_GET {\nhttp_protocol 1.1\nhttp_method HEAD\nvirtualhost b\nurl {\npath /a\nvirtualhost a\nstatus_code 200 300-399\n\
             digest 9b3a0c85a887a256d6939da88aabd8cd\nregex \"o k\"\nregex_options caseless dotall utf never_ucp\nregex_no_match\n\
             regex_min_offset 2\nregex_max_offset 9\n}\nurl {\npath /b\n}\n}"
                .to_owned(),
            ProbeSpec::Http {
                peer: plain.clone(),
                tls: None,
                protocol: HttpProtocol::V1_1,
                head: true,
                urls: vec![
                    HttpUrl {
                        host: Some("a".to_owned()),
                        status: vec![(200, 200), (300, 399)],
                        digest: Some([
                            0x9b, 0x3a, 0x0c, 0x85, 0xa8, 0x87, 0xa2, 0x56, 0xd6, 0x93, 0x9d, 0xa8, 0x8a,
                            0xab, 0xd8, 0xcd,
                        ]),
                        regex: Some("(*UTF)(?is)o k".to_owned()),
                        regex_no_match: true,
                        regex_offsets: (2, Some(9)),
                        ..HttpUrl::new("/a")
                    },
                    HttpUrl { host: Some("b".to_owned()), ..HttpUrl::new("/b") },
                ],
            },
        ),
        (
            "SSL_GET {\nhttp_protocol 1.0c\nenable_sni\nsni_name s.example\nverify off\nurl {\npath /\n}\n}".to_owned(),
            ProbeSpec::Http {
                peer: plain.clone(),
                tls: Some(tls(Some("s.example"), None)),
                protocol: HttpProtocol::V1_0Close,
                head: false,
                urls: vec![HttpUrl::new("/")],
            },
        ),
    ];
    for (line, probe) in rows {
        let found = check(&tcp("", &line));
        assert_eq!(found.probe, probe, "{line}");
        let said = said(&tcp("", &line));
        assert!(said.is_empty(), "{line}\n{said:#?}");
        let expect = if line.contains("alpha") {
            ProbeUse {
                alpha: true,
                retry: 0,
                rise: 3,
                delay_loop: Duration::from_micros(1),
                delay_before_retry: Duration::ZERO,
                warmup: Duration::ZERO,
                ..ProbeUse::new(probe)
            }
        } else {
            ProbeUse::new(probe)
        };
        assert_eq!(found, expect, "{line}");
    }
}

/// lb.md 1.1: how often and how patiently each kind of check is made where nobody says.
#[test]
fn each_kind_of_check_has_its_own_patience() {
    let rows = [
        ("TCP_CHECK {\n}", 1, 1),
        ("PING_CHECK {\n}", 1, 1),
        ("UDP_CHECK {\n}", 1, 1),
        ("SMTP_CHECK {\n}", 1, 1),
        ("TEXT_CHECK {\n}", 1, 1),
        ("HTTP_GET {\nurl {\npath /\n}\n}", 1, 3),
        ("SSL_GET {\nurl {\npath /\n}\n}", 1, 3),
        ("DNS_CHECK {\n}", 3, 20),
        ("MISC_CHECK {\nmisc_path /bin/x\n}", 0, 1),
    ];
    for (line, retry, pause_s) in rows {
        let found = check(&tcp("delay_loop 20", line));
        let expect =
            (Duration::from_secs(20), retry, Duration::from_secs(pause_s), Duration::from_secs(20), 1);
        let ProbeUse { delay_loop, retry, delay_before_retry, warmup, rise, .. } = found;
        assert_eq!((delay_loop, retry, delay_before_retry, warmup, rise), expect, "{line}");
    }
    // Only there the period of the virtual server counts, whatever the check's own is.
    let misc = check(&tcp("delay_loop 20", "MISC_CHECK {\nmisc_path /bin/x\ndelay_loop 5\n}")).probe;
    assert!(
        matches!(misc, ProbeSpec::Misc { timeout, .. } if timeout == Duration::from_secs(20)),
        "{misc:?}"
    );
}

#[test]
fn the_nearest_statement_counts() {
    let values = |service: &str, server: &str, own: &str| {
        let found = check(&tcp(service, &format!("{server}\nTCP_CHECK {{\n{own}\n}}")));
        let peer = found.probe.peer().unwrap().clone();
        (
            [found.delay_loop, found.delay_before_retry, found.warmup, peer.connect_timeout]
                .map(|time| time.as_secs()),
            peer.total_timeout.map(|time| time.as_secs()),
            (found.retry, found.rise, found.alpha),
        )
    };
    let all = |n: u32, alpha: &str| {
        format!(
            "delay_loop {n}\ndelay_before_retry {n}\nwarmup {n}\nconnect_timeout {n}\ntotal_timeout {n}\nretry {n}\nrise {n}\n{alpha}"
        )
    };
    let of = |n: u32, alpha: bool| ([u64::from(n); 4], Some(u64::from(n)), (n, n, alpha));
    assert_eq!(values("", "", ""), ([60, 1, 60, 5], None, (1, 1, false)));
    assert_eq!(values(&all(7, "alpha"), "", ""), of(7, true));
    assert_eq!(values(&all(7, "alpha"), &all(8, "alpha off"), ""), of(8, false));
    assert_eq!(values(&all(7, "alpha"), &all(8, "alpha off"), &all(9, "alpha")), of(9, true));
    let host = |service: &str, server: &str, own: &str, url: &str| {
        let check = format!("{server}\nSSL_GET {{\nenable_sni\n{own}\nurl {{\npath /\n{url}\n}}\n}}");
        let ProbeSpec::Http { urls, tls, .. } = self::check(&tcp(service, &check)).probe else { panic!() };
        (urls[0].host.clone(), tls.unwrap().server_name)
    };
    let pair = |host: &str, name: &str| (Some(host.to_owned()), Some(name.to_owned()));
    let [v, r, c, u] = ["v", "r", "c", "u"].map(|name| format!("virtualhost {name}"));
    assert_eq!(host(&v, "", "", ""), pair("v", "v"));
    // The name of TLS leaves that of the real server out, as keepalived does.
    assert_eq!(host(&v, &r, "", ""), pair("r", "v"));
    assert_eq!(host(&v, &r, &c, ""), pair("c", "c"));
    assert_eq!(host(&v, &r, &c, &u), pair("u", "u"));
    assert_eq!(host(&v, &r, &format!("{c}\nsni_name n"), &u), pair("u", "n"));
}

#[test]
fn a_connection_has_one_server_name() {
    let text = tcp(
        "",
        "SSL_GET {\nenable_sni\nurl {\npath /1\nvirtualhost a\n}\nurl {\npath /2\nvirtualhost b\n}\nurl {\npath /3\nvirtualhost a\n}\n}",
    );
    let paths = |uses: &ProbeUse| match &uses.probe {
        ProbeSpec::Http { tls: Some(tls), urls, .. } => {
            (tls.server_name.clone().unwrap(), urls.iter().map(|url| url.path.clone()).collect::<Vec<_>>())
        }
        probe => panic!("{probe}"),
    };
    let found: Vec<_> = service(&text).targets[0].checks.iter().map(paths).collect();
    let of =
        |name: &str, paths: &[&str]| (name.to_owned(), paths.iter().map(|path| (*path).to_owned()).collect());
    assert_eq!(found, [of("a", &["/1", "/3"]), of("b", &["/2"])]);
}

#[test]
fn tls_has_the_certificates_of_ssl() {
    let ssl = "SSL {\ncertificate /c.pem\nkey /k.pem\nca /ca.pem\n}\n";
    let of = |verify: &str| {
        let text = ssl.to_owned() + &tcp("", &format!("SSL_GET {{\n{verify}\nurl {{\npath /\n}}\n}}"));
        let ProbeSpec::Http { tls: Some(tls), .. } = check(&text).probe else { panic!() };
        assert_eq!(tls.client_certificate, Some(("/c.pem".to_owned(), "/k.pem".to_owned())));
        tls.verify
    };
    assert_eq!(of(""), None);
    assert_eq!(of("verify on"), Some("/ca.pem".to_owned()));
    assert_eq!(of("verify /other.pem"), Some("/other.pem".to_owned()));
    let text = tcp("", "SSL_GET {\nverify on\nurl {\npath /\n}\n}");
    let ProbeSpec::Http { tls: Some(tls), .. } = check(&text).probe else { panic!() };
    assert_eq!(tls.verify.as_deref(), Some(""), "the system's");
}

#[test]
fn numbers_of_commands_and_files_weigh() {
    let weight = |files: &str, check: &str| self::check(&(files.to_owned() + &tcp("", check))).weight;
    let file = |lines: &str| format!("track_file f {{\nfile /run/f\n{lines}\n}}\n");
    let of = |weight, reverse| CheckWeight::File { weight, reverse };
    assert_eq!(weight("", "MISC_CHECK {\nmisc_path /x\nmisc_dynamic\n}"), CheckWeight::ExitCode);
    assert_eq!(weight("", "MISC_CHECK {\nmisc_path /x\n}"), CheckWeight::None);
    assert_eq!(weight(&file(""), "FILE_CHECK {\ntrack_file f\n}"), of(1, false));
    assert_eq!(weight(&file("weight -3 reverse"), "FILE_CHECK {\ntrack_file f\n}"), of(-3, true));
    assert_eq!(weight(&file("weight 5"), "FILE_CHECK {\ntrack_file f\nweight 0\n}"), of(5, false));
    assert_eq!(weight(&file("weight 0"), "FILE_CHECK {\ntrack_file f\n}"), of(0, false));
    let own = "FILE_CHECK {\ntrack_file f\nweight -2147483647 reverse\n}";
    assert_eq!(weight(&file("weight 5"), own), of(-i32::MAX, true));
    let found = check(&(file("") + &tcp("delay_loop 7", "FILE_CHECK {\ntrack_file f\n}")));
    assert_eq!(found.probe, ProbeSpec::File { path: "/run/f".to_owned() });
    assert_eq!(found.delay_loop, Duration::from_secs(60), "it is not sent by a schedule");
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

/// Every finding of its own, with its place; the fix is in `fixes_are_named`.
#[test]
fn mistakes_have_their_place() {
    let rows: Vec<(String, &[&str])> = vec![
        (
            "virtual_server 10.7.7.7 80 {\nprotocol TCP\n}\n".to_owned(),
            &["1:1: warning: `virtual_server 10.7.7.7` has no `real_server`"],
        ),
        (tcp("ops", ""), &["3:1: warning: `ops` is ignored: it is for UDP and firewall marks"]),
        (
            tcp("sh-port\nlb_algo sh", ""),
            &["3:1: warning: `sh-port` is ignored: no `lb_algo sh` stands before it"],
        ),
        (
            tcp("lb_algo sh\nmh-fallback", ""),
            &["4:1: warning: `mh-fallback` is ignored: no `lb_algo mh` stands before it"],
        ),
        (
            tcp("persistence_engine sip", ""),
            &["3:1: warning: `persistence_engine` is ignored: the service has no persistence"],
        ),
        (
            tcp("persistence_engine foo", ""),
            &["3:20: error: persistence_engine `foo` is not a known value"],
        ),
        (
            tcp("persistence_granularity 24", ""),
            &["3:25: error: the clients are IPv4, for which keepalived takes a mask"],
        ),
        (
            tcp("persistence_timeout 9\npersistence_granularity 255.0.0.0", "").replace("10.7.7", "2001:db8:").replace("2001:db8:.", "2001:db8::"),
            &["4:25: error: the clients are IPv6, for which a mask is a prefix length"],
        ),
        (
            "virtual_server 10.7.7.7 {\nprotocol TCP\nreal_server 10.7.7.8 {\n}\n}\n".to_owned(),
            &["1:16: warning: a service of every port needs persistence: it lasts 360 s"],
        ),
        (
            tcp("sorry_server_inhibit\nsorry_server 10.7.7.9", ""),
            &["3:1: warning: `sorry_server_inhibit` is ignored: no `sorry_server` stands before it"],
        ),
        (
            tcp("sorry_server 2001:db8::9 80", ""),
            &["3:14: error: `2001:db8::9` is of another family than its virtual server"],
        ),
        (tcp("lb_kind TUN type gue", ""), &["3:18: error: gue needs a port"]),
        (tcp("lb_kind TUN csum", ""), &["3:13: error: ipip has no checksum"]),
        (tcp("", "lvs_method TUN type gre remcsum"), &["5:25: error: gre has no remote checksum offload"]),
        (tcp("", "lvs_method TUN type gre port 7"), &["5:25: error: only gue has a port"]),
        (tcp("", "lvs_method TUN type gre csum nocsum"), &["5:25: error: one checksum option is enough"]),
        (tcp("quorum 3", ""), &["3:1: warning: quorum 3 is above the weight of all real servers, 1"]),
        (tcp("hysteresis 1", ""), &["3:12: warning: hysteresis 1 is not below quorum 1: it is 0"]),
        (tcp("", "lthreshold 5"), &["5:12: error: lthreshold 5 is above uthreshold 0"]),
        (tcp("", "uthreshold 4\nlthreshold 5"), &["6:12: error: lthreshold 5 is above uthreshold 4"]),
        (
            tcp("real_server 10.7.7.8 80 {\n}", ""),
            &["5:13: warning: `real_server 10.7.7.8:80` stands twice: this one is ignored"],
        ),
        (
            tcp("", "") + &tcp("", ""),
            &["8:16: error: second `virtual_server 10.7.7.7`; the first is on line 1"],
        ),
        (
            tcp("", "") + "virtual_server_group G {\n10.7.7.6-7 80\n}\nvirtual_server group G {\nprotocol TCP\nreal_server 10.7.7.9 80 {\n}\n}\n",
            &["11:16: error: [10.7.7.7]:tcp:80 belongs to another virtual server too, on line 1"],
        ),
        (
            "virtual_server_group G {\n10.7.7.7 80\n}\n".to_owned() + &"virtual_server group G {\nprotocol TCP\nreal_server 10.7.7.9 80 {\n}\n}\n".repeat(2),
            &["9:22: error: a second `virtual_server group G` with protocol TCP"],
        ),
        (
            "virtual_server_group G {\n10.7.7.7 80\n2001:db8::7 80\n}\nvirtual_server group G {\nprotocol TCP\nreal_server 10.7.7.9 80 {\n}\n}\n".to_owned(),
            &["3:1: error: the addresses of group `G` are of both families"],
        ),
        (
            "virtual_server_group G {\n10.0.0.0/15 80\n}\nvirtual_server group G {\nprotocol TCP\nreal_server 10.7.7.9 80 {\n}\n}\n".to_owned(),
            &["2:1: error: the groups of this file have more than 65536 addresses"],
        ),
        (
            "virtual_server_group G {\n10.7.7.7 80\n10.7.7.7 81\n}\nvirtual_server group G {\nprotocol TCP\nlb_kind DR\nreal_server 10.7.7.9 80 {\n}\n}\n".to_owned(),
            &["8:13: error: the entries of the group have several ports, `10.7.7.9` would have one"],
        ),
        (
            "virtual_server group G {\nprotocol TCP\nreal_server 10.7.7.9 80 {\n}\n}\n".to_owned(),
            &["1:22: error: no `virtual_server_group` is called `G`"],
        ),
        (
            "virtual_server fwmark 7 {\nprotocol TCP\nha_suspend\nreal_server 10.7.7.8 {\n}\n}\n".to_owned(),
            &[
                "2:1: warning: `protocol` is ignored: a firewall mark has every protocol",
                "3:1: error: `virtual_server fwmark 7`: ha_suspend needs an address",
            ],
        ),
        (
            tcp("ip_family inet6", ""),
            &["3:11: error: ip_family is not that of the addresses, which are IPv4"],
        ),
        (
            "virtual_server fwmark 7 {\nreal_server 10.7.7.8 {\nTCP_CHECK {\n}\n}\n}\n".to_owned(),
            &["3:1: error: `TCP_CHECK` has no port to connect to"],
        ),
        (
            tcp("", "TCP_CHECK {\nbindto 2001:db8::1\n}"),
            &["6:8: error: a check of 10.7.7.8 cannot come from 2001:db8::1"],
        ),
        (
            tcp("", "TCP_CHECK {\nconnect_ip fe80::1\n}"),
            &["5:1: error: `TCP_CHECK` of fe80::1 has no interface"],
        ),
        (
            tcp("", "HTTP_GET {\nenable_sni\nurl {\npath /\n}\n}"),
            &["6:1: warning: `enable_sni` is ignored: HTTP_GET is without TLS"],
        ),
        (
            tcp("", "SSL_GET {\nsni_name a\nurl {\npath /\n}\n}"),
            &["6:1: warning: `sni_name` is ignored: it needs `enable_sni`"],
        ),
        (
            tcp("", "SSL_GET {\nverify yes\nurl {\npath /\n}\n}"),
            &["6:8: error: verify `yes` is neither a switch nor a whole path"],
        ),
        (tcp("", "HTTP_GET {\n}"), &["5:1: error: `HTTP_GET` has no `url`"]),
        (
            tcp("", "HTTP_GET {\nurl {\npath /\ndigest 0aff\n}\n}"),
            &["8:8: error: digest `0aff` is no MD5 sum of 32 hexadecimal digits"],
        ),
        (
            tcp("", "HTTP_GET {\nurl {\npath /\nregex_no_match\n}\n}"),
            &["8:1: warning: `regex_no_match` is ignored: there is no `regex`"],
        ),
        (
            tcp("", "HTTP_GET {\nurl {\npath /\nregex x\nregex_options firstline\n}\n}"),
            &["9:15: error: `firstline` is not supported"],
        ),
        (
            tcp("", "HTTP_GET {\nurl {\npath /\nregex x\nregex_min_offset 5\nregex_max_offset 4\n}\n}"),
            &["10:18: error: regex_max_offset 4 is below regex_min_offset 5"],
        ),
        (tcp("", "UDP_CHECK {\npayload 0g\n}"), &["6:9: error: payload `0g` is not in octets"]),
        (tcp("", "UDP_CHECK {\npayload 0x\n}"), &["6:9: error: payload `0x` is not in octets"]),
        (tcp("", "UDP_CHECK {\nrequire_reply 00 0\n}"), &["6:18: error: `0` is not in octets"]),
        (
            tcp("", "UDP_CHECK {\nmin_reply_length 3\n}"),
            &["6:1: warning: `min_reply_length` is ignored: there is no `require_reply`"],
        ),
        (
            tcp("", "UDP_CHECK {\nrequire_reply\nmin_reply_length 300\n}"),
            &["7:18: error: max_reply_length 255 is below min_reply_length 300"],
        ),
        (tcp("", "TEXT_CHECK {\nsend \\q\n}"), &["6:6: error: unknown escape `\\\\q`"]),
        (tcp("", "TEXT_CHECK {\nprotocol UDP\n}"), &["5:1: error: `TEXT_CHECK` over UDP sends nothing"]),
        (
            tcp("", "TEXT_CHECK {\nverify on\n}"),
            &["6:1: warning: `verify` is ignored: the check is without TLS"],
        ),
        (
            "SSL {\ncertificate /c\n}\n".to_owned() + &tcp("", ""),
            &["2:1: error: `SSL` has a `certificate` and no `key`"],
        ),
        (
            "SSL {\npassword x\n}\n".to_owned() + &tcp("", ""),
            &["2:1: warning: `password` is not supported yet, and is ignored"],
        ),
        (
            tcp("", "FILE_CHECK {\ntrack_file f\n}"),
            &["6:12: error: no `track_file` is called `f`"],
        ),
        (tcp("alpha off", ""), &["3:7: warning: `alpha` takes no value: `off` is ignored"]),
        (tcp("", "TCP_CHECK {\nlog_all_failures\n}"), &["6:1: warning: `log_all_failures` is ignored"]),
    ];
    let mut wrong = Vec::new();
    for (text, expect) in rows {
        let found = said(&text);
        if found != expect {
            wrong.push(format!("{text}\n   found: {found:#?}\nexpected: {expect:#?}"));
        }
        // The fix is named.
        for diagnostic in diagnostics_of(parse_served(&(text.clone() + &with("")))) {
            if diagnostic.hint.is_none() && diagnostic.code != Code::MissingKeyword {
                wrong.push(format!("{text}\nno help: {diagnostic}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Block, keyword, the least and the greatest value, and what comes next to them. Ranges are those of the reference, not of the rows.
const RANGES: &[(Block, &str, &[&str], &[&str])] = &[
    (Block::VirtualServer, "persistence_timeout", &["1", "2678400"], &["0", "2678401"]),
    (Block::VirtualServer, "persistence_granularity", &["255.0.255.0"], &["0", "129", "255.255.255"]),
    (Block::VirtualServer, "quorum", &["1", "4294967295"], &["0", "4294967296"]),
    (Block::VirtualServer, "hysteresis", &["0", "4294967295"], &["-1", "4294967296"]),
    (Block::VirtualServer, "weight", &["1", "2147483647"], &["0", "2147483648"]),
    (Block::VirtualServer, "delay_loop", &["0.000001", "1000000"], &["0", "1000000.000001"]),
    (Block::VirtualServer, "retry", &["1", "4294967295"], &["0", "4294967296"]),
    (Block::VirtualServer, "delay_before_retry", &["0", "1000000"], &["-1", "1000000.000001"]),
    (Block::VirtualServer, "warmup", &["0", "1000000"], &["-1", "1000000.000001"]),
    (Block::VirtualServer, "connect_timeout", &["0.000001", "4294"], &["0", "4294.000001"]),
    (Block::VirtualServer, "rise", &["1", "4294967295"], &["0", "4294967296"]),
    (Block::VirtualServer, "total_timeout", &["0.000001", "4294"], &["0", "4295"]),
    (Block::VirtualServer, "ramp", &["0", "86400"], &["-1", "86401"]),
    (Block::VirtualServer, "min_alive", &["0", "100"], &["-1", "101"]),
    (Block::VirtualServer, "drain_timeout", &["0", "86400"], &["-1", "86401"]),
    (Block::RealServer, "weight", &["0", "2147483647"], &["-1", "2147483648"]),
    (Block::RealServer, "uthreshold", &["0", "4294967295"], &["-1", "4294967296"]),
    (Block::RealServer, "lthreshold", &["0"], &["-1", "4294967296"]),
    (Block::RealServer, "delay_loop", &["0.000001", "1000000"], &["0", "1000001"]),
    (Block::RealServer, "retry", &["1", "4294967295"], &["0", "4294967296"]),
    (Block::RealServer, "delay_before_retry", &["0", "1000000"], &["-1", "1000001"]),
    (Block::RealServer, "warmup", &["0", "1000000"], &["-1", "1000001"]),
    (Block::RealServer, "connect_timeout", &["0.000001", "4294"], &["0", "4295"]),
    (Block::RealServer, "rise", &["1", "4294967295"], &["0", "4294967296"]),
    (Block::RealServer, "total_timeout", &["0.000001", "4294"], &["0", "4295"]),
    (Block::TcpCheck, "connect_port", &["0", "65535"], &["-1", "65536"]),
    (Block::TcpCheck, "bind_port", &["0", "65535"], &["-1", "65536"]),
    (Block::TcpCheck, "connect_timeout", &["0.000001", "4294"], &["0", "4295"]),
    (Block::TcpCheck, "total_timeout", &["0.000001", "4294"], &["0", "4295"]),
    (Block::TcpCheck, "fwmark", &["0", "4294967295"], &["-1", "4294967296"]),
    (Block::TcpCheck, "retry", &["0", "4294967295"], &["-1", "4294967296"]),
    (Block::TcpCheck, "rise", &["1", "4294967295"], &["0", "4294967296"]),
    (Block::TcpCheck, "delay_before_retry", &["0", "1000000"], &["-1", "1000001"]),
    (Block::TcpCheck, "warmup", &["0", "1000000"], &["-1", "1000001"]),
    (Block::TcpCheck, "delay_loop", &["0.000001", "1000000"], &["0", "1000001"]),
    (Block::Url, "digest", &["00000000000000000000000000000000"], &["0", "0g"]),
    (Block::Url, "status_code", &["100", "599", "100-599"], &["99", "600", "300-200"]),
    (Block::Url, "regex_min_offset", &["0", "4294967295"], &["-1", "4294967296"]),
    (Block::Url, "regex_max_offset", &["0", "4294967295"], &["-1", "4294967296"]),
    (Block::MiscCheck, "misc_timeout", &["0.000001", "1000000"], &["0", "1000001"]),
    (Block::UdpCheck, "min_reply_length", &["0", "255"], &["-1", "65536"]),
    (Block::UdpCheck, "max_reply_length", &["0", "65535"], &["-1", "65536"]),
    (Block::FileCheck, "weight", &["-2147483647", "2147483647"], &["-2147483648", "2147483648"]),
    (Block::GlobalDefs, "jitter", &["0", "50"], &["-1", "51"]),
];

fn ranged(block: Block, line: &str) -> (String, u32) {
    let url = |lines: &str| format!("HTTP_GET {{\nurl {{\npath /\n{lines}\n}}\n}}");
    match block {
        Block::GlobalDefs => (format!("global_defs {{\n{line}\n}}\n"), 2),
        Block::VirtualServer => (tcp(line, ""), 3),
        Block::RealServer => (tcp("", line), 5),
        Block::TcpCheck => (tcp("", &format!("TCP_CHECK {{\n{line}\n}}")), 6),
        Block::Url => (tcp("", &url(line)), 8),
        Block::MiscCheck => (tcp("", &format!("MISC_CHECK {{\n{line}\nmisc_path /x\n}}")), 6),
        Block::UdpCheck => (tcp("", &format!("UDP_CHECK {{\n{line}\nrequire_reply\n}}")), 6),
        Block::FileCheck => {
            (tcp("", &format!("FILE_CHECK {{\n{line}\ntrack_file f\n}}")) + "track_file f {\nfile /f\n}\n", 6)
        }
        block => panic!("{block:?}"),
    }
}

#[test]
fn values_out_of_range_are_errors() {
    for (block, keyword, taken, refused) in RANGES {
        for value in *taken {
            let (text, _) = ranged(*block, &format!("{keyword} {value}"));
            let said = said(&text);
            assert!(!said.iter().any(|said| said.contains("error")), "{text}\n{said:#?}");
        }
        for value in *refused {
            let (text, line) = ranged(*block, &format!("{keyword} {value}"));
            let place = format!("{line}:{}: error: {keyword} `{value}` ", keyword.len() + 2);
            let said = said(&text);
            assert!(said.iter().any(|said| said.starts_with(&place)), "{text}\n{said:#?}");
        }
    }
    // Every row with a range is among them; what most checks have stands for TCP_CHECK.
    let has_range = |args: &[Arg]| {
        matches!(
            args.first(),
            Some(
                Arg::One(
                    WordKind::Whole { .. } | WordKind::Seconds { .. } | WordKind::Netmask | WordKind::Md5
                ) | Arg::Opt(WordKind::Whole { .. })
                    | Arg::Many(WordKind::StatusCodes)
            )
        )
    };
    let known: BTreeSet<&str> = RANGES.iter().map(|(_, keyword, ..)| *keyword).collect();
    for block in [
        Block::VirtualServer,
        Block::RealServer,
        Block::TcpCheck,
        Block::TextCheck,
        Block::HttpGet,
        Block::Url,
        Block::MiscCheck,
        Block::SmtpCheck,
        Block::SmtpHost,
        Block::DnsCheck,
        Block::PingCheck,
        Block::UdpCheck,
        Block::FileCheck,
    ] {
        for row in rows(block).iter().filter(|row| row.name == row.means) {
            let Support::Grammar { takes, .. } = row.status else { continue };
            assert!(!has_range(takes) || known.contains(row.name), "{block:?} {}", row.name);
        }
    }
}

/// What a row says of absence is what absence means.
#[test]
fn defaults_are_what_absence_means() {
    let mut compared = 0;
    for block in [
        Block::VirtualServer,
        Block::RealServer,
        Block::HttpGet,
        Block::SmtpCheck,
        Block::DnsCheck,
        Block::TextCheck,
        Block::UdpCheck,
    ] {
        for row in rows(block) {
            let Some(default) = row.default else { continue };
            let line = format!("{} {default}", row.name);
            let of = |line: &str| {
                let checks = [
                    (Block::HttpGet, "SSL_GET", "url {\npath /\n}"),
                    (Block::SmtpCheck, "SMTP_CHECK", ""),
                    (Block::DnsCheck, "DNS_CHECK", ""),
                    (Block::TextCheck, "TEXT_CHECK", ""),
                    (Block::UdpCheck, "UDP_CHECK", "require_reply"),
                ]
                .map(|(of, name, inside)| {
                    format!("{name} {{\n{inside}\n{}\n}}\n", if of == block { line } else { "" })
                });
                let [own, of_server] =
                    [Block::VirtualServer, Block::RealServer].map(|of| if of == block { line } else { "" });
                service(&format!(
                    "virtual_server 10.7.7.7 80 {{\n{own}\nreal_server 10.7.7.8 80 {{\n{of_server}\n{}\n}}\n}}\n",
                    checks.concat()
                ))
            };
            assert_eq!(of(&line), of(""), "{block:?} {line}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

/// Until the daemon balances load, the file is refused, or the services are ignored; they are lowered all the same.
#[test]
fn services_are_lowered_whether_they_are_refused_or_not() {
    let text = tcp("", "TCP_CHECK {\n}") + &with("");
    let refused = crate::parse_as(Path::new("k.conf"), &text, &Nothing, Unsupported::Refused, false);
    let refused = refused.unwrap_err();
    let errors: Vec<&str> = refused
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.message.as_str())
        .collect();
    assert_eq!(errors, ["`virtual_server` is not supported yet"]);
    let ignored = parse_unserved(&text).unwrap();
    let told: Vec<String> = ignored.warnings.iter().map(|d| d.message.clone()).collect();
    assert_eq!(told, ["`virtual_server` is not supported yet, and is ignored"]);
    let served = parse_served(&text).unwrap();
    assert_eq!(served.warnings, []);
    assert_eq!(ignored.config, served.config);
    assert_eq!(served.config.balance.servers().len(), 1);
    // What is wrong is an error only in what is served.
    let wrong = tcp("", "lthreshold 5") + &with("");
    assert_eq!(parse_unserved(&wrong).unwrap().config.balance.servers(), []);
    assert!(parse_served(&wrong).is_err());
    // One that is sound is not lost by one that is wrong.
    let both = tcp("", "lthreshold 5") + &tcp("", "").replace("10.7.7.7", "10.7.7.6") + &with("");
    let servers = parse_unserved(&both).unwrap().config.balance.servers().to_vec();
    assert_eq!(servers.iter().map(|server| server.id.to_string()).collect::<Vec<_>>(), ["[10.7.7.6]:tcp:80"]);
}

/// A session of BFD that nobody watches would be a check that never fails.
#[test]
fn a_check_that_is_ignored_checks_nothing() {
    let text = tcp("", "BFD_CHECK {\nname b\n}") + "bfd_instance b {\nneighbor_ip 10.7.7.9\n}\n";
    assert_eq!(service(&text).targets[0].checks, []);
    let refused = crate::parse_as(
        Path::new("k.conf"),
        &(text.clone() + &with("")),
        &Nothing,
        Unsupported::Refused,
        true,
    );
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("`BFD_CHECK` is not supported yet"), "{refused}");
}

#[test]
fn each_value_in_force_is_explained() {
    let text = tcp("lb_algo sh", "TCP_CHECK {\nconnect_timeout 3\n}") + &with("");
    let lines = |loaded: &Loaded| -> Vec<String> {
        let text = explain(&loaded.config, &loaded.origins);
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let served = lines(&parse_served(&text).unwrap());
    for line in [
        "virtual_server 10.7.7.7 80 { # k.conf:1",
        "lb_algo sh # k.conf:3",
        "lb_kind NAT # default",
        "delay_loop 60 # default",
        "connect_timeout 5 # default",
        "real_server 10.7.7.8 80 { # k.conf:4",
        "TCP_CHECK { # k.conf:5",
        "connect_timeout 3 # k.conf:6",
    ] {
        assert!(served.iter().any(|found| found == line), "no {line} in\n{served:#?}");
    }
    let ignored = lines(&parse_unserved(&text).unwrap());
    assert!(ignored.contains(&"lb_algo sh # k.conf:3, not served".to_owned()), "{ignored:#?}");
}

#[test]
fn changes_of_services_are_compared() {
    let before =
        tcp("lb_algo rr", "weight 1\nTCP_CHECK {\nconnect_port 81\n}\nTCP_CHECK {\nconnect_port 82\n}")
            + &with("");
    let changes = |after: &str, parse: fn(&str) -> Result<Loaded, Failure>| -> Vec<String> {
        let (before, after) = (parse(&before).unwrap(), parse(after).unwrap());
        let found = compare((&before.config, &before.origins), (&after.config, &after.origins));
        found.changes.iter().map(Change::to_string).collect()
    };
    let edit = |from: &str, to: &str| before.replacen(from, to, 1);
    let rows: &[(&str, &str, &[&str])] = &[
        ("lb_algo rr", "lb_algo wrr", &["~ virtual_server 10.7.7.7 80 lb_algo rr → wrr"]),
        ("lb_algo rr", "lvs_sched rr", &[]),
        (
            "weight 1",
            "weight 5",
            &["~ virtual_server 10.7.7.7 80 real_server 10.7.7.8 80 weight 1 → 5  (for new connections)"],
        ),
        (
            "connect_port 82",
            "connect_port 83",
            &[
                "~ virtual_server 10.7.7.7 80 real_server 10.7.7.8 80 TCP_CHECK connect_port 82 → 83  (another check: it counts from its first run on)",
            ],
        ),
        (
            "real_server 10.7.7.8 80",
            "real_server 10.7.7.9 80",
            &[
                "- virtual_server 10.7.7.7 80 real_server 10.7.7.8 80 { weight 1; TCP_CHECK { connect_port 81 }; TCP_CHECK { connect_port 82 } }  (leaves; with `drain_timeout` its connections may end first)",
                "+ virtual_server 10.7.7.7 80 real_server 10.7.7.9 80 { weight 1; TCP_CHECK { connect_port 81 }; TCP_CHECK { connect_port 82 } }  (serves at once, unless `alpha` waits for its checks)",
            ],
        ),
    ];
    for (from, to, expect) in rows {
        assert_eq!(changes(&edit(from, to), parse_served), *expect, "{from} to {to}");
        assert_eq!(
            changes(&edit(from, to), parse_unserved),
            [] as [&str; 0],
            "what is not served makes no difference"
        );
    }
}

/// The configurations of `tests/conf` with services: they lower, and nothing in them is an error.
#[test]
fn committed_configurations_lower() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let mut found = 0;
    for path in ["conf/own", "conf/seeds", "fuzz/corpus/config"].map(|path| dir.join(path)) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let Ok(bytes) = fs::read(&path) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            if !text.contains("virtual_server ") {
                continue;
            }
            // Whatever it holds, it is read to the end.
            let served = parse_served(&text);
            if path.ends_with("lvs.conf") || path.ends_with("own-lvs") {
                let loaded = served.unwrap_or_else(|failure| panic!("{failure}"));
                let ids: Vec<String> =
                    loaded.config.balance.servers().iter().map(|server| server.id.to_string()).collect();
                assert_eq!(
                    ids,
                    ["[G]:0", "[10.0.0.101]:udp:53", "[10.0.0.102]:tcp:25"],
                    "{}",
                    path.display()
                );
                assert_eq!(loaded.config.balance.servers()[0].addresses.len(), 6);
                found += 1;
            }
        }
    }
    assert_eq!(found, 2);
}

#[test]
fn ranges_of_addresses_stay_bounded() {
    let group = |i: u32| format!("virtual_server_group G{i} {{\n10.{i}.0.0/16 80\n}}\n");
    let server = |i: u32| {
        format!("virtual_server group G{i} {{\nprotocol TCP\nreal_server 10.200.0.1 80 {{\n}}\n}}\n")
    };
    let text: String = (0..3).map(|i| group(i) + &server(i)).collect();
    let config = parse_unserved(&(text + &with(""))).unwrap().config;
    let addresses: Vec<IpAddr> = config
        .balance
        .servers()
        .iter()
        .flat_map(|server| &server.addresses)
        .filter_map(ServiceAddress::address)
        .collect();
    assert_eq!(addresses.len(), 65_536);
    assert_eq!(config.balance.servers()[0].targets[0].id, TargetId::new(ip("10.200.0.1"), 80));
}

/// The samples that Debian ships with keepalived: each has its services, and nothing is wrong with them.
#[test]
fn keepaliveds_samples_lower() {
    let dir = Path::new("/usr/share/doc/keepalived/samples");
    let Ok(entries) = fs::read_dir(dir) else {
        return eprintln!("skipped: there is no {}", dir.display());
    };
    let mut found = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        // Its groups are wrong, not its service.
        if !text.contains("virtual_server ") || path.ends_with("keepalived.conf.vrrp.lvs_syncd") {
            continue;
        }
        let loaded = parse_served(&text.replace("auth_type AH", "auth_type PASS"));
        let loaded = loaded.unwrap_or_else(|failure| panic!("{}\n{failure}", path.display()));
        let services = text.lines().filter(|line| line.starts_with("virtual_server ")).count();
        assert_eq!(loaded.config.balance.servers().len(), services, "{}", path.display());
        let others = loaded.warnings.iter().filter(|d| d.code != Code::NoInstance);
        let others: Vec<&str> = others.map(|d| d.message.as_str()).collect();
        let expect: &[&str] = match path.ends_with("keepalived.conf.fwmark") {
            true => &["`protocol` is ignored: a firewall mark has every protocol"],
            false => &[],
        };
        assert_eq!(others, expect, "{}", path.display());
        found += 1;
    }
    assert!(found >= 15, "{found}");
}

/// Commands of services are looked at as all others are, once they are run.
#[test]
fn commands_of_services_are_audited() {
    let command = "notify_up scripts/up";
    let text = tcp(
        "quorum_up scripts/q",
        &format!("{command}\nMISC_CHECK {{\nmisc_path scripts/check\nuser nobody\n}}"),
    ) + "global_defs {\nlvs_notify_fifo /run/f\nlvs_notify_fifo_script scripts/fifo\n}\n"
        + &with("");
    let relative = |parsed| -> Vec<String> {
        let found = diagnostics_of(parsed).into_iter().filter(|d| d.message.contains("scripts/"));
        found.map(|d| format!("{}:{}: {}", d.line, d.column, d.severity)).collect()
    };
    assert_eq!(relative(parse_served(&text)), ["3:11: error", "5:11: error", "7:11: error", "14:24: error"]);
    assert_eq!(relative(parse_unserved(&text)), [] as [&str; 0], "what is not run may be anywhere");
}
