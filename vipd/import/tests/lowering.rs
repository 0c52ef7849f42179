//! What the import writes is what vipd reads: the services of ldirectord as the judge has them.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::{net::IpAddr, path::Path, time::Duration};

use vipd_balance::{
    ForwardMethod, HttpProtocol, HttpUrl, ProbePeer, ProbeSpec, ProbeUse, Scheduler, ServiceAddress,
    ServiceId, ServiceTarget, SorryServer, TransportProtocol, VirtualServer,
};
use vipd_config::{Code, Loaded, Nothing, Unsupported};
use vipd_import::{Files, ImportHost, SourceText, import};

/// A machine that knows nothing.
struct Bare;

impl ImportHost for Bare {
    fn resolve(&self, _: &str, _: bool) -> Option<IpAddr> {
        None
    }
    fn port(&self, _: &str, _: &str) -> Option<u16> {
        None
    }
    fn is_file(&self, _: &str) -> bool {
        false
    }
}

fn text(name: &str, contents: &str) -> SourceText {
    SourceText { name: name.to_owned(), contents: contents.to_owned() }
}

/// The imported configuration as vipd reads it. Nothing in the services is wrong, unknown or ignored.
fn lowered(files: &Files) -> Loaded {
    let import = import(files, &Bare);
    assert_ne!(import.configuration, "", "{:#?}", import.notes);
    let loaded =
        vipd_config::parse(Path::new("vipd.conf"), &import.configuration, &Nothing, Unsupported::Ignored)
            .unwrap_or_else(|failure| panic!("{}\n{failure}", import.configuration));
    let others: Vec<String> = loaded
        .warnings
        .iter()
        .filter(|d| !matches!(d.code, Code::NotSupportedYet | Code::NoInstance))
        .map(ToString::to_string)
        .collect();
    assert_eq!(others, [] as [&str; 0], "{}", import.configuration);
    loaded
}

fn director(contents: &str) -> Vec<VirtualServer> {
    let files = Files { ldirectord: vec![text("ldirectord.cf", contents)], ..Files::default() };
    lowered(&files).config.balance.servers().to_vec()
}

/// Document 004, with the line breaks that its page has lost, and the second server that its text has.
const LDIRECTORD: &str = "checktimeout=3
checkinterval=1
#fallback=127.0.0.1:80
autoreload=yes
quiescent=yes
virtual=192.168.1.200:80
        real=192.168.2.12:80 masq
        real=192.168.2.6:80 masq
        service=http
        request=\"test.html\"
        receive=\"ok\"
        scheduler=rr
        #persistent=600
        #netmask=255.255.255.255
        protocol=tcp
        checktype=negotiate
        checkport=80
";
const HA: &str = "logfile /var/log/ha-log
keepalive 2
udpport 694
mcast eth0 230.0.120.1 694 1 0
auto_failback on
node node1
node node2
ping 192.168.1.1
compression bz2
compression_threshold 2
";
const HARESOURCES: &str =
    "node1 192.168.1.200/24/eth0 192.168.2.200/24/eth1 ldirectord::/etc/ha.d/ldirectord.cf\n";

fn target(address: &str) -> ServiceTarget {
    let to = address.parse().unwrap();
    let url = HttpUrl { regex: Some("ok".to_owned()), ..HttpUrl::new("/test.html") };
    let probe = ProbeSpec::Http {
        peer: ProbePeer { connect_timeout: Duration::from_secs(3), ..ProbePeer::new(to) },
        tls: None,
        protocol: HttpProtocol::V1_1,
        head: false,
        urls: vec![url],
    };
    let check = ProbeUse {
        retry: 0,
        delay_loop: Duration::from_secs(1),
        warmup: Duration::from_secs(1),
        ..ProbeUse::new(probe)
    };
    ServiceTarget { inhibit: true, checks: vec![check], ..ServiceTarget::new(to.into(), ForwardMethod::Nat) }
}

#[test]
fn the_cluster_of_document_004_is_one_service_and_a_pair() {
    let files = Files {
        ldirectord: vec![text("/etc/ha.d/ldirectord.cf", LDIRECTORD)],
        ha: Some(text("/etc/ha.d/ha.cf", HA)),
        haresources: Some(text("/etc/ha.d/haresources", HARESOURCES)),
        authkeys: None,
    };
    let Loaded { config, .. } = lowered(&files);
    let address = ServiceAddress::Socket {
        protocol: TransportProtocol::Tcp,
        address: "192.168.1.200".parse().unwrap(),
        port: 80,
    };
    let mut expect = VirtualServer::new(ServiceId::Single(address), vec![address]);
    expect.settings.scheduler = Scheduler::RoundRobin;
    expect.targets = vec![target("192.168.2.12:80"), target("192.168.2.6:80")];
    assert_eq!(config.balance.servers(), [expect]);

    let instances: Vec<_> = config
        .instances
        .iter()
        .map(|instance| {
            let vip = &instance.vips[0];
            (instance.interface.as_str(), format!("{}/{}", vip.address, vip.prefix_len), instance.preempt)
        })
        .collect();
    let of = |interface, vip: &str| (interface, vip.to_owned(), true);
    assert_eq!(instances, [of("eth0", "192.168.1.200/24"), of("eth1", "192.168.2.200/24")]);
    assert_eq!(config.sync_groups.len(), 1);
    assert_eq!(config.members(&config.sync_groups[0]).count(), 2);
    assert_eq!(config.arbiters[0].targets[0].address, "192.168.1.1".parse::<IpAddr>().unwrap());
}

#[test]
fn every_way_to_check_and_to_forward_lowers() {
    let service = |lines: &str| {
        director(&format!(
            "virtual=10.0.0.1:80\n    real=10.0.0.11:80 masq\n    real=10.0.0.12:80 ipip 5 l:2 u:9\n{lines}"
        ))
        .remove(0)
    };
    let found = service(
        "    fallback=127.0.0.1:80\n    fallbackcommand=\"/bin/page\"\n    persistent=600\n    checktype=connect\n",
    );
    assert_eq!(found.targets[0].forward, ForwardMethod::Nat);
    assert!(found.targets[1].forward.crosses_families());
    let ServiceTarget { weight, upper_threshold, lower_threshold, .. } = found.targets[1];
    assert_eq!((weight, upper_threshold, lower_threshold), (5, 9, 2));
    let sorry = SorryServer {
        id: "127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap().into(),
        forward: ForwardMethod::Direct,
        inhibit: false,
    };
    assert_eq!(found.sorry, Some(sorry));
    assert_eq!(found.quorum_down.unwrap().words, ["/bin/page", "start", "10.0.0.1:80", "tcp"]);
    assert_eq!(found.settings.persistence.unwrap().timeout_s, 600);
    for (lines, keywords) in [
        ("checktype=connect", &["TCP_CHECK"][..]),
        ("checktype=ping", &["PING_CHECK"]),
        ("checktype=3", &["TCP_CHECK", "HTTP_GET"]),
        ("checktype=external\n    checkcommand=\"/bin/x\"", &["MISC_CHECK"]),
        ("checktype=on", &[]),
        ("service=https", &["SSL_GET"]),
        ("service=http\n    httpmethod=HEAD", &["HTTP_GET"]),
        ("service=smtp", &["SMTP_CHECK"]),
        ("service=dns\n    request=\"example.org\"", &["DNS_CHECK"]),
        ("service=imap", &["TCP_CHECK"]),
        ("service=ldap", &["MISC_CHECK"]),
        ("service=none", &[]),
    ] {
        let checks = service(&format!("    {lines}\n")).targets.remove(0).checks;
        let found: Vec<_> = checks.iter().map(|check| check.probe.keyword()).collect();
        assert_eq!(found, keywords, "{lines}");
    }
}

#[test]
fn a_mark_has_no_port_and_its_checks_have_one() {
    let found =
        director("virtual=7\n    real=10.0.0.11 gate\n    service=http\n    quiescent=yes\n").remove(0);
    assert_eq!(found.id.to_string(), "FWM 7");
    assert_eq!(found.targets[0].id.port, 0);
    assert_eq!(found.targets[0].checks[0].probe.peer().unwrap().to.port(), 80);
}
