//! Services that are refused or ignored, explained, compared; configurations of others.

use super::*;

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

#[test]
fn a_session_of_bfd_is_a_check() {
    let session = |who: &str| {
        let check = tcp("", "BFD_CHECK {\nname b\n}");
        format!("{check}bfd_instance b {{\nneighbor_ip 10.7.7.9\n{who}\n}}\n")
    };
    for who in ["", "checker", "checker\nvrrp"] {
        let checks = service(&session(who)).targets.remove(0).checks;
        assert_eq!(checks[0].probe, ProbeSpec::Bfd { session: "b".to_owned() }, "{who}");
    }
    let refused = parse_served(&(session("vrrp") + &with(""))).unwrap_err().to_string();
    assert!(refused.contains("is for VRRP alone"), "{refused}");
    let unknown = parse_served(&(tcp("", "BFD_CHECK {\nname b\n}") + &with(""))).unwrap_err().to_string();
    assert!(unknown.contains("no `bfd_instance` is called `b`"), "{unknown}");
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
