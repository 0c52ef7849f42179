//! The checks of a server, as uses of probes.

use super::*;

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
