use proptest::prelude::*;

use super::*;

/// A machine with one name, one service and one script.
struct Small;

impl ImportHost for Small {
    fn resolve(&self, host: &str, ipv6: bool) -> Option<IpAddr> {
        (host == "web1").then(|| if ipv6 { "2001:db8::11" } else { "10.0.0.11" }.parse().unwrap())
    }

    fn port(&self, service: &str, _: &str) -> Option<u16> {
        (service == "http").then_some(80)
    }

    fn is_file(&self, path: &str) -> bool {
        path == "/etc/ha.d/resource.d/nginx"
    }
}

fn text(contents: &str) -> SourceText {
    SourceText { name: "/etc/ha.d/file".to_owned(), contents: contents.to_owned() }
}

fn director(contents: &str) -> Import {
    import(&Files { ldirectord: vec![text(contents)], ..Files::default() }, &Small)
}

fn resources(ha: &str, haresources: &str) -> Import {
    import(&Files { ha: Some(text(ha)), haresources: Some(text(haresources)), ..Files::default() }, &Small)
}

/// What stands between `{` and `}` of the first service, without comments and indentation.
fn lines(import: &Import) -> Vec<String> {
    let lines =
        import.configuration.lines().map(|line| line.split("    #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

const SERVICE: &str = "virtual=10.0.0.1:80\n    real=10.0.0.11:80 masq\n";

#[test]
fn directives_of_a_service_have_their_keywords() {
    for (directive, expected) in [
        ("scheduler=mh", "lb_algo mh"),
        ("protocol=udp", "protocol UDP"),
        ("persistent=600", "persistence_timeout 600"),
        ("netmask=255.255.255.0", "persistence_granularity 255.255.255.0"),
        ("ops=yes", "ops"),
        ("quiescent=yes", "inhibit_on_failure"),
        ("checktimeout=7", "connect_timeout 7"),
        ("negotiatetimeout=9", "connect_timeout 9"),
        ("failurecount=3", "retry 2"),
        ("failurecount=3", "delay_before_retry 10"),
        ("checkinterval=4", "delay_loop 4"),
        ("fallback=127.0.0.1:8080", "sorry_server 127.0.0.1 80"),
        ("fallback=10.0.0.9:8080 masq", "sorry_server 10.0.0.9 8080"),
        ("fallback=127.0.0.1", "sorry_server 127.0.0.1 80"),
        ("fallback=127.0.0.1", "sorry_server_lvs_method DR"),
        ("fallback=10.0.0.9:80 gate", "sorry_server_lvs_method DR"),
        ("fallbackcommand=/bin/page", "quorum_down \"/bin/page start 10.0.0.1:80 tcp\""),
        ("fallbackcommand=/bin/page", "quorum_up \"/bin/page stop 10.0.0.1:80 tcp\""),
        ("emailalert=\"a@b\"", "smtp_alert"),
        ("checktype=connect", "TCP_CHECK {"),
        ("checktype=ping", "PING_CHECK {"),
        ("checktype=negotiate", "HTTP_GET {"),
        ("service=https", "SSL_GET {"),
        ("service=smtp", "SMTP_CHECK {"),
        ("service=dns", "DNS_CHECK {"),
        ("checkport=8080", "connect_port 8080"),
        ("request=\"a b\"", "path \"/a b\""),
        ("receive=\"ok.*\"", "regex ok.*"),
        ("httpmethod=HEAD", "http_method HEAD"),
        ("virtualhost=www.example.net", "virtualhost www.example.net"),
        ("schedflags=sh-port,sh-fallback", "sh-fallback"),
    ] {
        let found = director(&format!("{SERVICE}    {directive}\n"));
        assert!(
            !found.notes.iter().any(|note| note.severity == NoteSeverity::Error),
            "{directive}: {:?}",
            found.notes
        );
        assert!(lines(&found).contains(&expected.to_owned()), "{directive}: {}", found.configuration);
        // Without the directive the line is not there, so it came from it.
        if !["checktype=negotiate", "protocol=tcp"].contains(&directive) {
            let without = lines(&director(SERVICE));
            assert!(!without.contains(&expected.to_owned()), "{directive}: {without:?}");
        }
    }
}

#[test]
fn a_directive_of_the_file_is_overridden_by_that_of_a_service() {
    let found = director(&format!(
        "checkinterval=4\nquiescent=yes\n{SERVICE}    checkinterval=6\n    quiescent=no\n"
    ));
    assert!(lines(&found).contains(&"delay_loop 6".to_owned()), "{}", found.configuration);
    assert!(!lines(&found).contains(&"inhibit_on_failure".to_owned()), "{}", found.configuration);
}

#[test]
fn servers_have_their_method_weight_and_limits() {
    let found = director(
        "virtual=10.0.0.1:http\n    real=web1:http masq 5 l:10 u:20 \"a\", \"b\"\n    real=10.0.0.12->10.0.0.13:81 ipip\n    service=http\n",
    );
    let lines = lines(&found);
    for expected in [
        "virtual_server 10.0.0.1 80 {",
        "real_server 10.0.0.11 80 {",
        "weight 5",
        "uthreshold 20",
        "lthreshold 10",
        "path /a",
        "regex b",
        "real_server 10.0.0.12 81 {",
        "real_server 10.0.0.13 81 {",
        "lvs_method TUN",
        "lb_kind NAT",
    ] {
        assert!(lines.contains(&expected.to_owned()), "{expected}: {}", found.configuration);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (contents, line, column, message) in [
        ("checkinterval=soon\n", 1, 15, "`soon` is no number from 1 on"),
        ("quiescent=yes #x\n", 1, 11, "`yes #x` is neither `yes` nor `no`"),
        ("virtual=10.0.0.1\n", 1, 9, "`10.0.0.1` has no port"),
        (
            "virtual=10.0.0.1:80\n    real=10.0.0.300:80 masq\n",
            2,
            10,
            "the name `10.0.0.300` has no IPv4 address here",
        ),
        (
            "virtual=10.0.0.1:80\n    real=10.0.0.3:80 mask\n",
            2,
            22,
            "`mask` is nothing that a server may have",
        ),
        ("virtual=10.0.0.1:80\n  real=10.0.0.3:80 masq\n", 2, 0, "`real` stands inside a virtual"),
        ("timeout=3\n", 1, 1, "unknown directive `timeout`"),
        ("#GlobalDirectives#Global configuration\nchecktimeout 3\n", 2, 1, "a line is `name = value`"),
        ("virtual=10.0.0.1:80\n    request=index.html\n", 2, 13, "a text in double quotes is expected"),
    ] {
        let found = director(contents);
        let note = found.notes.iter().find(|note| note.severity == NoteSeverity::Error);
        let note = note.unwrap_or_else(|| panic!("{contents:?}: {:?}", found.notes));
        assert_eq!((note.line, note.column, note.message.as_str()), (line, column, message), "{contents:?}");
        assert_eq!(found.configuration, "", "a configuration in spite of an error");
    }
}

#[test]
fn every_directive_without_an_equal_is_named() {
    for name in [
        "autoreload=yes",
        "callback=\"x\"",
        "cleanstop=no",
        "maintenancedir=/x",
        "emailalertfreq=3600",
        "execute=b.cf",
    ] {
        let found = director(&format!("{name}\n{SERVICE}"));
        assert!(
            found.notes.iter().any(|note| note.severity == NoteSeverity::Warning && note.line == 1),
            "{name}: {:?}",
            found.notes
        );
    }
    for name in ["logfile=\"local0\"", "supervised", "fork=yes", "autoreload=no", "cleanstop=yes"] {
        let found = director(&format!("{name}\n{SERVICE}"));
        let note = found.notes.iter().find(|note| note.line == 1).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(note.severity, NoteSeverity::Notice, "{name}");
    }
}

#[test]
fn a_fallback_that_loses_its_port_or_is_never_reached_is_named() {
    for (fallback, message) in [
        ("127.0.0.1:8080", "the port 8080 of the fallback 127.0.0.1 is left out: only masq changes the port"),
        ("10.0.0.9:81 ipip", "the port 81 of the fallback 10.0.0.9 is left out: only masq changes the port"),
        (
            "127.0.0.1:8080 masq",
            "the fallback 127.0.0.1 is never reached by masq: Linux forwards nothing to a loopback address",
        ),
    ] {
        let found = director(&format!("{SERVICE}    fallback={fallback}\n"));
        let notes: Vec<_> =
            found.notes.iter().filter(|note| note.severity == NoteSeverity::Warning).collect();
        assert_eq!(notes.len(), 1, "{fallback}: {notes:?}");
        assert_eq!((notes[0].line, notes[0].message.as_str()), (3, message));
        assert!(notes[0].help.is_some());
    }
    for fallback in ["127.0.0.1", "127.0.0.1:80 gate", "10.0.0.9:81 masq"] {
        let found = director(&format!("{SERVICE}    fallback={fallback}\n"));
        assert!(
            found.notes.iter().all(|note| note.severity == NoteSeverity::Notice),
            "{fallback}: {:?}",
            found.notes
        );
    }
}

#[test]
fn a_remark_stands_once_and_in_the_order_of_the_file() {
    let found = director(
        "autoreload=yes\nvirtual=10.0.0.1:21\n    real=10.0.0.2->10.0.0.9:21 masq\n    passwd=\"x\"\n",
    );
    let lines: Vec<_> = found.notes.iter().map(|note| note.line).collect();
    assert_eq!(lines, [1, 2, 4], "{:?}", found.notes);
}

#[test]
fn secrets_are_written_nowhere() {
    let found = director(&format!(
        "{SERVICE}    service=mysql\n    login=\"monitor\"\n    passwd=\"tr0ub4dor\"\n    secret=\"tr0ub4dor\"\n"
    ));
    let all = format!("{found:?}");
    assert!(!all.contains("tr0ub4dor"), "{all}");
    assert!(found.configuration.contains("/etc/vipd/checks/mysql 10.0.0.11 80"), "{}", found.configuration);
}

const HA: &str = "keepalive 500ms\ndeadtime 2\nbcast eth1\nucast eth0 10.0.0.6\nauto_failback off\nnode a\nnode b\n\
                  ping 10.0.0.1 10.0.0.2\nping_group both 10.0.0.3 10.0.0.4\n";

#[test]
fn a_line_of_resources_is_an_instance_for_each_interface() {
    let found = resources(
        HA,
        "a 10.0.0.9/24/eth0 10.0.1.9/24/10.0.1.255/eth2 \\\n  IPaddr2::10.0.0.10/24/eth0 nginx::x MailTo::root@a\n",
    );
    let lines = lines(&found);
    for expected in [
        "vrrp_instance VI_eth0 {",
        "vrrp_instance VI_eth2 {",
        "vrrp_sync_group VG_a_1 {",
        "10.0.0.9/24",
        "10.0.0.10/24",
        "10.0.1.9/24 brd 10.0.1.255",
        "@a priority 150",
        "@^a priority 100",
        "advert_int 0.5",
        "down_timer_adverts 4",
        "nopreempt",
        "heartbeat_interface {",
        "10.0.0.6",
        "arbiter ping_10_0_0_1 {",
        "arbiter both {",
        "quorum 1",
        "notify_master \"/bin/sh -c '/etc/ha.d/resource.d/nginx x start'\"",
        "notify_backup \"/bin/sh -c '/etc/ha.d/resource.d/nginx x stop'\"",
        "root@a",
    ] {
        assert!(lines.contains(&expected.to_owned()), "{expected}: {}", found.configuration);
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with("virtual_router_id")).count(), 2);
}

#[test]
fn an_address_without_an_interface_is_to_be_filled_in() {
    let found = resources(HA, "a 10.0.0.9\n");
    assert!(found.configuration.contains("$IF_10_0_0=FILL_IN"), "{}", found.configuration);
    assert!(found.notes.iter().any(|note| note.message == "10.0.0.9 has no interface"), "{:?}", found.notes);
}

#[test]
fn storage_and_pacemaker_are_refused() {
    assert_eq!(resources(HA, "a 10.0.0.9/24/eth0 Filesystem::/dev/sda1::/data::ext4\n").configuration, "");
    assert_eq!(resources(&format!("{HA}crm respawn\n"), "a 10.0.0.9/24/eth0\n").configuration, "");
    // The seed's page has lost its blanks.
    let glued = resources("logfile/var/log/ha-log\nnode a\nnode b\n", "a 10.0.0.9/24/eth0\n");
    let note = glued.notes.iter().find(|note| note.severity == NoteSeverity::Error).unwrap();
    assert_eq!((note.line, note.column), (1, 1), "{note}");
}

#[test]
fn a_node_that_is_not_in_the_cluster_is_an_error() {
    let found = resources(HA, "c 10.0.0.9/24/eth0\n");
    assert!(found.notes.iter().any(|note| note.message == "`c` is no node of ha.cf"), "{:?}", found.notes);
}

#[test]
fn keys_are_read_past() {
    let files = Files { authkeys: Some(text("auth 1\n1 sha1 tr0ub4dor\n")), ..Files::default() };
    let found = import(&files, &Small);
    assert!(!format!("{found:?}").contains("tr0ub4dor"));
    assert!(found.notes.iter().any(|note| note.severity == NoteSeverity::Warning && note.line == 2));
}

proptest! {
    /// Whatever the files hold: no panic, and a file that gives no configuration says why.
    #[test]
    fn any_text_is_read(ldirectord in ".{0,400}", ha in "(\\PC{0,20}\n){0,8}", haresources in "(\\PC{0,30}\n){0,6}") {
        let files = Files {
            ldirectord: vec![text(&ldirectord)],
            ha: Some(text(&ha)),
            haresources: Some(text(&haresources)),
            authkeys: Some(text(&ha)),
        };
        let found = import(&files, &Small);
        let refused = found.notes.iter().any(|note| note.severity == NoteSeverity::Error);
        prop_assert_eq!(refused, found.configuration.is_empty());
    }

    /// Lines made of the language's own words reach further than any text does.
    #[test]
    fn any_words_of_the_language_are_read(lines in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let contents = lines.concat();
        let found = director(&contents);
        for note in &found.notes {
            prop_assert!(usize::try_from(note.line).unwrap() <= contents.lines().count());
        }
    }
}

const WORDS: &[&str] = &[
    "virtual=",
    "    real=",
    "10.0.0.1",
    ":80",
    "->",
    "[",
    "]",
    "\"",
    "\n",
    " masq",
    " gate",
    "    ",
    "=",
    "checktype",
    "service=",
    "\t",
    "#",
    "1",
    "virtual6=",
    "::1",
    "receive=",
    "request=",
    "fallback=",
    "l:",
    "u:",
    ",",
];
