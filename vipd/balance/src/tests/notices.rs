//! FIFO lines, commands, mails and reasons, word for word.

use std::time::Duration;

use vipd_common::Family;

use super::{Play, ServiceTarget, at, heavy, id, misc, service, tcp, vip, web};
use crate::{
    BalanceConfig, BalanceNotice, ForwardMethod, HttpProtocol, HttpUrl, Judge, JudgeEvent, JudgeOutput,
    NoticeCommand, ProbeOutcome, ProbePeer, ProbeSpec, ProbeUse, ServiceAddress, ServiceId, TargetId,
    TlsSettings, TransportProtocol, VirtualServer,
};

fn command(word: &str) -> Option<NoticeCommand> {
    Some(NoticeCommand { words: vec![word.to_owned()], account: None })
}

fn fifo(notice: &BalanceNotice) -> &str {
    match notice {
        BalanceNotice::Target { fifo, .. } | BalanceNotice::Quorum { fifo, .. } => fifo,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fifo_lines_name_services_as_keepalived_does() {
    let socket = |address: &str, protocol, port| ServiceAddress::Socket {
        protocol,
        address: address.parse().unwrap(),
        port,
    };
    let mark = ServiceAddress::Mark { mark: 7, family: Family::V4 };
    let group = ServiceId::Group { name: "web".to_owned(), ordinal: 2 };
    let udp = socket("10.9.0.1", TransportProtocol::Udp, 53);
    let sctp6 = socket("2001:db8::1", TransportProtocol::Sctp, 9);
    for (service_id, address, target, expect) in [
        (
            ServiceId::Single(vip(1)),
            vip(1),
            "10.0.0.11:80",
            ["RS [10.0.0.11]:tcp:80 [10.9.0.1]:tcp:80", "VS [10.9.0.1]:tcp:80"],
        ),
        (
            ServiceId::Single(udp),
            udp,
            "10.0.0.11:53",
            ["RS [10.0.0.11]:udp:53 [10.9.0.1]:udp:53", "VS [10.9.0.1]:udp:53"],
        ),
        (
            ServiceId::Single(sctp6),
            sctp6,
            "[2001:db8::2]:9",
            ["RS [2001:db8::2]:sctp:9 [2001:db8::1]:sctp:9", "VS [2001:db8::1]:sctp:9"],
        ),
        (ServiceId::Single(mark), mark, "10.0.0.11:0", ["RS [10.0.0.11]:none:0 FWM 7", "VS FWM 7"]),
        (group, vip(1), "10.0.0.11:80", ["RS [10.0.0.11]:tcp:80 [web]:2", "VS [web]:2"]),
    ] {
        let target = ServiceTarget { id: target.parse::<std::net::SocketAddr>().unwrap().into(), ..web(11) };
        let mut play = Play::new(vec![VirtualServer {
            targets: vec![target],
            ..VirtualServer::new(service_id, vec![address])
        }]);
        play.step("fail 11");
        play.step("pass 11");
        let lines: Vec<_> = play.told.iter().map(fifo).collect();
        let [target, service] = expect.map(str::to_owned);
        let expect = [
            format!("{service} UP"),
            format!("{target} DOWN"),
            format!("{service} DOWN"),
            format!("{target} UP"),
            format!("{service} UP"),
        ];
        assert_eq!(lines, expect);
    }
}

#[test]
fn commands_and_mails() {
    let target = ServiceTarget { notify_up: command("up"), notify_down: command("down"), ..heavy(11, 2) };
    let quiet = ServiceTarget { mail: false, ..web(12) };
    let server = VirtualServer {
        quorum: 2,
        hysteresis: 1,
        omega: true,
        mail: true,
        quorum_up: command("gained"),
        quorum_down: command("lost"),
        ..service([target, quiet])
    };
    let mut play = Play::new(vec![server]);
    for step in ["fail 12", "fail 11", "pass 11", "pass 12", "stop"] {
        play.step(step);
    }
    let told = play.told.iter().map(|notice| {
        let (command, mail) = match notice {
            BalanceNotice::Target { command, mail, .. } | BalanceNotice::Quorum { command, mail, .. } => {
                (command, mail)
            }
            other => panic!("{other:?}"),
        };
        let command = command.as_ref().map_or("-", |command| command.words[0].as_str());
        let mail = mail.as_ref().map_or("-".to_owned(), |mail| format!("{} | {}", mail.subject, mail.body));
        format!("{command}: {mail}")
    });
    let expect = [
        "gained: Virtualserver [10.9.0.1]:tcp:80 - UP | => Starting with quorum up 2+1=3 <= 3 <=",
        "-: -",
        "down: Realserver [10.0.0.11]:tcp:80 of virtual server [10.9.0.1]:tcp:80 - DOWN | => TCP CHECK failed on service <=",
        "lost: Virtualserver [10.9.0.1]:tcp:80 - DOWN | => Lost quorum 2+1=1 <= 0 <=",
        "up: Realserver [10.0.0.11]:tcp:80 of virtual server [10.9.0.1]:tcp:80 - UP | => TCP CHECK succeed on service <=",
        "-: -",
        "gained: Virtualserver [10.9.0.1]:tcp:80 - UP | => Gained quorum 2+1=3 <= 3 <=",
        "down: Realserver [10.0.0.11]:tcp:80 of virtual server [10.9.0.1]:tcp:80 - DOWN | => Shutting down <=",
        "-: -",
        "lost: Virtualserver [10.9.0.1]:tcp:80 - DOWN | => Shutting down <=",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expect);
}

#[test]
fn reasons_and_mails_name_the_check() {
    let http = |tls| ProbeSpec::Http {
        peer: ProbePeer::new(([10, 0, 0, 11], 8080).into()),
        tls,
        protocol: HttpProtocol::V1_0,
        head: false,
        urls: vec![HttpUrl::new("/test.html")],
    };
    for (spec, outcome, reason, body) in [
        (
            http(None),
            ProbeOutcome::Failed("status 503".to_owned()),
            "HTTP_GET 10.0.0.11:8080/test.html: status 503",
            "=> CHECK failed on service <=",
        ),
        (
            http(Some(TlsSettings::default())),
            ProbeOutcome::Failed("handshake failed".to_owned()),
            "SSL_GET 10.0.0.11:8080/test.html: handshake failed",
            "=> CHECK failed on service <=",
        ),
        (
            misc(11),
            ProbeOutcome::Exited(3),
            "MISC_CHECK /check11: exit code 3",
            "=> MISC CHECK failed on service <=",
        ),
        (
            misc(11),
            ProbeOutcome::Failed("timed out after 60 s".to_owned()),
            "MISC_CHECK /check11: timed out after 60 s",
            "=> MISC CHECK timed out on service <=",
        ),
    ] {
        let target = ServiceTarget { checks: vec![ProbeUse::new(spec.clone())], ..web(11) };
        let mut play = Play::new(vec![service([target, web(12)])]);
        play.told.clear();
        play.probed(&spec, outcome);
        let [BalanceNotice::Target { reason: found, mail: Some(mail), .. }] = play.told.as_slice() else {
            panic!("{:?}", play.told)
        };
        assert_eq!((found.as_str(), mail.body.as_str()), (reason, body));
    }
}

#[test]
fn a_reload_says_that_it_removes() {
    let mut play = Play::new(vec![service([web(11), web(12)])]);
    play.told.clear();
    play.reload(vec![service([web(12)])]);
    let [BalanceNotice::Target { reason, mail: Some(mail), fifo, .. }] = play.told.as_slice() else {
        panic!("{:?}", play.told)
    };
    assert_eq!(reason, "removed from the configuration");
    assert_eq!(mail.body, "=> Removing <=");
    assert_eq!(fifo, "RS [10.0.0.11]:tcp:80 [10.9.0.1]:tcp:80 DOWN");
}

#[test]
fn a_quorum_tells_its_figures() {
    let server = VirtualServer { quorum: 3, hysteresis: 1, ..service([heavy(11, 2), heavy(12, 2)]) };
    let mut play = Play::new(vec![server]);
    play.step("fail 11");
    play.step("fail 12");
    play.step("pass 12");
    play.step("pass 11");
    let figures = play.told.iter().filter_map(|notice| match notice {
        BalanceNotice::Quorum { up, weight, threshold, .. } => Some((*up, *weight, *threshold)),
        _ => None,
    });
    assert_eq!(figures.collect::<Vec<_>>(), [(true, 4, 4), (false, 0, 2), (true, 4, 4)]);
}

#[test]
fn targets_that_serve_from_the_start_are_told_with_rs_init_notifies() {
    for init_notices in [false, true] {
        let alpha = ServiceTarget { checks: vec![ProbeUse { alpha: true, ..tcp(12) }], ..web(12) };
        let without = ServiceTarget::new(at(13), ForwardMethod::Direct);
        let config = BalanceConfig::new(vec![service([web(11), alpha, without])], init_notices).unwrap();
        let mut judge = Judge::new([]);
        judge.handle(JudgeEvent::Reload(config), vipd_core::time::Instant::from_nanos(0));
        let mut told = Vec::new();
        while let Some(output) = judge.poll_output() {
            if let JudgeOutput::Notice(notice) = output {
                told.push(super::short(&notice));
            }
        }
        let expect: &[&str] = if init_notices { &["11 up", "13 up", "quorum up"] } else { &["quorum up"] };
        assert_eq!(told, expect);
    }
}

#[test]
fn names_print() {
    assert_eq!(id(1).to_string(), "[10.9.0.1]:tcp:80");
    assert_eq!(TargetId::new("2001:db8::1".parse().unwrap(), 80).to_string(), "[2001:db8::1]:80");
    let dns = ProbeSpec::Dns {
        peer: ProbePeer::new(([10, 0, 0, 1], 53).into()),
        name: ".".to_owned(),
        record: 6,
        expect: None,
    };
    assert_eq!(dns.to_string(), "DNS_CHECK 10.0.0.1:53");
    let check = ProbeUse::new(dns);
    assert_eq!((check.retry, check.delay_before_retry), (3, Duration::from_secs(60)));
}
