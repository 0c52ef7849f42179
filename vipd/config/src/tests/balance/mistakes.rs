//! What is said about wrong services, with its place; ranges and defaults.

use super::*;

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
        (
            tcp("sorry_server 127.0.0.1 80", ""),
            &["3:14: warning: `127.0.0.1` is never reached: Linux forwards nothing to a loopback address by NAT"],
        ),
        (
            tcp("sorry_server 127.0.0.1 81\nsorry_server_lvs_method DR", ""),
            &["3:24: warning: port 81 is ignored: only NAT changes the port"],
        ),
        (tcp("sorry_server 127.0.0.1 80\nsorry_server_lvs_method DR", ""), &[]),
        (
            "virtual_server fwmark 7 {\nlb_kind DR\nsorry_server 127.0.0.1 81\nreal_server 10.7.7.8 {\n}\n}\n".to_owned(),
            &["3:24: warning: port 81 is ignored: only NAT changes the port"],
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
        (tcp("", "UDP_CHECK {\nrequire_reply 00 g\n}"), &["6:18: error: `g` is not in octets"]),
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
