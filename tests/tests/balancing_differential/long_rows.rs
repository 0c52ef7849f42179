//! The rows of the long tier: every checker, and what surrounds them.

use crate::{
    game::{
        Row,
        Step::{Behave, Cut, Exit, Fails, Mend, Off, On, Own, Replace, Start, Still, Stop, Track},
        TCP, TLS_PORT, UDP,
    },
    rows::{CHECK, ONE, ONE_AT_0, SORRY, SORRY_AT_0, TWO, TWO_AT_0},
    support::backend::Manner::{Failing, Garbled, Hung, Well},
};

const MAIL: [&str; 2] = ["10.1.0.11:25 Masq 1", "10.1.0.12:25 Masq 1"];
const SECURE: [&str; 2] = ["10.1.0.11:443 Masq 1", "10.1.0.12:443 Masq 1"];
const NAMES: [&str; 2] = ["10.1.0.11:53 Masq 1", "10.1.0.12:53 Masq 1"];
const ECHO: [&str; 2] = ["10.1.0.11:7 Masq 1", "10.1.0.12:7 Masq 1"];

/// A server that is out, at weight 0 and well again.
const HTTP_STEPS: &[(crate::game::Step, &[&str])] = &[
    (Start, &[ONE, TWO]),
    (Behave("web1", Failing), &[TWO]),
    (Behave("web1", Well), &[ONE, TWO]),
    (Behave("web2", Garbled), &[ONE]),
    (Behave("web2", Well), &[ONE, TWO]),
    (Behave("web1", Hung), &[TWO]),
    (Behave("web1", Well), &[ONE, TWO]),
    (Off("web2"), &[ONE]),
    (On("web2"), &[ONE, TWO]),
    (Stop, &[]),
];

pub const ROWS: &[Row] = &[
    Row {
        name: "hysteresis: quorum 2 is lost below 1 and gained at 3",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n quorum 2\n hysteresis 1\n sorry_server 10.1.0.13 80",
        server: "weight 2\n TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, &["10.1.0.11:80 Masq 2", "10.1.0.12:80 Masq 2"]),
            (Off("web1"), &["10.1.0.12:80 Masq 2"]),
            (Off("web2"), &[SORRY]),
            (On("web1"), &[SORRY]),
            (On("web2"), &["10.1.0.11:80 Masq 2", "10.1.0.12:80 Masq 2"]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "a quorum without a sorry server changes no traffic",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n quorum 2",
        server: CHECK,
        steps: &[
            (Start, &[ONE, TWO]),
            (Off("web1"), &[TWO]),
            (Off("web2"), &[]),
            (On("web1"), &[ONE]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "inhibit_on_failure of the servers, a sorry server that is not inhibited",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n sorry_server 10.1.0.13 80",
        server: "inhibit_on_failure\n TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, &[ONE, TWO]),
            (Off("web1"), &[ONE_AT_0, TWO]),
            (Off("web2"), &[ONE_AT_0, TWO_AT_0, SORRY]),
            (On("web1"), &[ONE, TWO_AT_0]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "sorry_server_inhibit alone",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n sorry_server 10.1.0.13 80\n sorry_server_inhibit",
        server: CHECK,
        steps: &[
            (Start, &[ONE, TWO, SORRY_AT_0]),
            (Off("web1"), &[TWO, SORRY_AT_0]),
            (Off("web2"), &[SORRY]),
            (On("web1"), &[ONE, SORRY_AT_0]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "alpha with a sorry server",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n alpha\n sorry_server 10.1.0.13 80",
        server: CHECK,
        steps: &[
            (Off("web1"), &[]),
            (Off("web2"), &[]),
            (Start, &[SORRY]),
            (On("web1"), &[ONE]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "omega: a stop tells what goes down; notify scripts",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n omega\n quorum_up \"DIR/note quorum up\"\n quorum_down \"DIR/note quorum down\"\n sorry_server 10.1.0.13 80",
        server: "notify_up \"DIR/note SERVER up\"\n notify_down \"DIR/note SERVER down\"\n TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, &[ONE, TWO]),
            (Off("web1"), &[TWO]),
            (Off("web2"), &[SORRY]),
            (On("web1"), &[ONE]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "live weights count for the quorum",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n quorum 8\n sorry_server 10.1.0.13 80",
        server: "weight 5\n MISC_CHECK {\n misc_path \"DIR/check\"\n misc_timeout 5\n misc_dynamic\n user root\n }",
        steps: &[
            (Start, &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Exit(5), &[SORRY]),
            (Exit(8), &["10.1.0.11:80 Masq 6", "10.1.0.12:80 Masq 6"]),
            (Exit(0), &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "retry: the third failure in a row counts, two change nothing",
        server: "MISC_CHECK {\n misc_path \"DIR/check SERVER\"\n misc_timeout 5\n retry 2\n delay_before_retry 1\n user root\n }",
        steps: &[
            (Start, &[ONE, TWO]),
            // The first failure after a start counts at once: these are later ones.
            (Exit(1), &[]),
            (Exit(0), &[ONE, TWO]),
            (Fails(2), &[ONE, TWO]),
            (Exit(0), &[ONE, TWO]),
            (Exit(1), &[]),
            (Exit(0), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "HTTP_GET: status and regular expression",
        server: "HTTP_GET {\n url {\n path /test.html\n status_code 200\n regex ok\n }\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        steps: HTTP_STEPS,
        ..TCP
    },
    Row {
        name: "HTTP_GET: digest",
        server: "HTTP_GET {\n url {\n path /test.html\n digest 444bcb3a3fcf8389296c49467f27e1d6\n }\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        steps: HTTP_STEPS,
        ..TCP
    },
    Row {
        name: "HTTP_GET: two pages",
        server: "HTTP_GET {\n url {\n path /\n status_code 200-299\n }\n url {\n path /test.html\n regex ok\n }\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        steps: HTTP_STEPS,
        ..TCP
    },
    Row {
        name: "HTTP_GET: a text that must not be there, a status that is no success",
        server: "HTTP_GET {\n url {\n path /test.html\n status_code 500\n regex ok\n regex_no_match\n }\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, &[]),
            (Behave("web1", Failing), &[ONE]),
            (Behave("web2", Garbled), &[ONE]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "SSL_GET",
        server: "SSL_GET {\n url {\n path /test.html\n status_code 200\n regex well\n }\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        port: TLS_PORT,
        steps: &[
            (Start, &SECURE),
            (Behave("web1", Garbled), &["10.1.0.12:443 Masq 1"]),
            (Behave("web1", Well), &SECURE),
            (Off("web2"), &["10.1.0.11:443 Masq 1"]),
            (On("web2"), &SECURE),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "smtp_alert: a mail for each change",
        global: "global_defs {\n router_id LB\n notification_email {\n root@example.org\n }\n notification_email_from lb@example.org\n smtp_server 127.0.0.1 2525\n smtp_connect_timeout 5\n}",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n smtp_alert\n sorry_server 10.1.0.13 80",
        server: CHECK,
        steps: &[
            (Start, &[ONE, TWO]),
            (Off("web1"), &[TWO]),
            (Off("web2"), &[SORRY]),
            (On("web1"), &[ONE]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        // vipd's follows the lease, and keepalived's an address of the host.
        name: "ha_suspend: nothing is checked without the VIP",
        global: "track_file own {\n file DIR/own\n weight 0\n}\nvrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n advert_int 1\n virtual_ipaddress {\n 10.0.0.3\n }\n track_file {\n own weight 0\n }\n}",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n ha_suspend",
        server: CHECK,
        steps: &[
            (Own(true), &[]),
            (Start, &[ONE, TWO]),
            (Off("web1"), &[TWO]),
            (Own(false), &[TWO]),
            (Still, &[TWO]),
            (On("web1"), &[TWO]),
            (Off("web2"), &[TWO]),
            (Still, &[TWO]),
            (Own(true), &[ONE]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "SMTP_CHECK",
        server: "SMTP_CHECK {\n connect_timeout 2\n retry 1\n delay_before_retry 1\n helo_name lb\n }",
        port: 25,
        steps: &[
            (Start, &MAIL),
            (Behave("web1", Failing), &["10.1.0.12:25 Masq 1"]),
            (Behave("web1", Well), &MAIL),
            (Behave("web1", Hung), &["10.1.0.12:25 Masq 1"]),
            (Off("web2"), &[]),
            (On("web2"), &["10.1.0.12:25 Masq 1"]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "DNS_CHECK",
        server: "DNS_CHECK {\n type A\n name example.org\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        port: 53,
        heads: &["UDP 10.0.0.3:80 rr"],
        steps: &[
            (Start, &NAMES),
            (Behave("web1", Failing), &["10.1.0.12:53 Masq 1"]),
            (Behave("web1", Well), &NAMES),
            (Behave("web1", Hung), &["10.1.0.12:53 Masq 1"]),
            (Off("web2"), &[]),
            (On("web2"), &["10.1.0.12:53 Masq 1"]),
            (Stop, &[]),
        ],
        ..UDP
    },
    Row {
        name: "UDP_CHECK: silence is success",
        server: "UDP_CHECK {\n payload 00ff\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        port: 7,
        heads: &["UDP 10.0.0.3:80 rr"],
        steps: &[
            (Start, &ECHO),
            (Behave("web1", Hung), &ECHO),
            (Off("web2"), &["10.1.0.11:7 Masq 1"]),
            (On("web2"), &ECHO),
            (Stop, &[]),
        ],
        ..UDP
    },
    Row {
        name: "UDP_CHECK: a reply is required",
        server: "UDP_CHECK {\n payload 00ff\n require_reply 00ff\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        port: 7,
        heads: &["UDP 10.0.0.3:80 rr"],
        steps: &[
            (Start, &ECHO),
            (Behave("web1", Hung), &["10.1.0.12:7 Masq 1"]),
            (Behave("web1", Well), &ECHO),
            (Off("web2"), &["10.1.0.11:7 Masq 1"]),
            (On("web2"), &ECHO),
            (Stop, &[]),
        ],
        ..UDP
    },
    Row {
        name: "PING_CHECK: the host, not the service",
        server: "PING_CHECK {\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, &[ONE, TWO]),
            (Off("web1"), &[ONE, TWO]),
            (Cut("web1"), &[TWO]),
            (Mend("web1"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "two checkers: both must be well",
        server: "TCP_CHECK {\n connect_timeout 2\n retry 1\n delay_before_retry 1\n }\n MISC_CHECK {\n misc_path \"DIR/check\"\n misc_timeout 5\n retry 0\n user root\n }",
        steps: &[
            (Start, &[ONE, TWO]),
            (Exit(1), &[]),
            (Off("web1"), &[]),
            (Exit(0), &[TWO]),
            (On("web1"), &[ONE, TWO]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "FILE_CHECK",
        global: "track_file load {\n file DIR/track\n}",
        server: "weight 5\n FILE_CHECK {\n track_file load\n weight 1\n }",
        steps: &[
            (Track("0"), &[]),
            (Start, &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Track("3"), &["10.1.0.11:80 Masq 8", "10.1.0.12:80 Masq 8"]),
            (Track("-2"), &["10.1.0.11:80 Masq 3", "10.1.0.12:80 Masq 3"]),
            (Track("0"), &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "a group of addresses",
        global: "virtual_server_group G {\n 10.0.0.3 80\n 10.0.0.4-5 81\n}",
        head: "group G",
        server: CHECK,
        heads: &["TCP 10.0.0.3:80 rr", "TCP 10.0.0.4:81 rr", "TCP 10.0.0.5:81 rr"],
        steps: &[(Start, &[ONE, TWO]), (Off("web1"), &[TWO]), (On("web1"), &[ONE, TWO]), (Stop, &[])],
        ..TCP
    },
    Row {
        name: "a mark of the firewall",
        head: "fwmark 7",
        service: "lb_algo rr\n lb_kind NAT",
        server: CHECK,
        heads: &["FWM 7 rr"],
        steps: &[(Start, &[ONE, TWO]), (Off("web1"), &[TWO]), (On("web1"), &[ONE, TWO]), (Stop, &[])],
        ..TCP
    },
    Row {
        name: "reloads: a server is replaced, a sorry server comes and goes, inhibit_on_failure",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n #sorry",
        server: CHECK,
        steps: &[
            (Start, &[ONE, TWO]),
            (Replace("real_server 10.1.0.12 80", "real_server 10.1.0.12 25"), &[ONE, "10.1.0.12:25 Masq 1"]),
            (Off("web1"), &["10.1.0.12:25 Masq 1"]),
            (Off("web2"), &[]),
            (Replace("#sorry", "sorry_server 10.1.0.13 80"), &[SORRY]),
            (On("web1"), &[ONE]),
            (Replace("sorry_server 10.1.0.13 80", "inhibit_on_failure"), &[ONE, "10.1.0.12:25 Masq 0"]),
            (On("web2"), &[ONE, "10.1.0.12:25 Masq 1"]),
            (Off("web1"), &[ONE_AT_0, "10.1.0.12:25 Masq 1"]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "direct routing and tunnels: the port is the service's",
        service: "lb_algo rr\n lb_kind DR\n protocol TCP\n sorry_server 10.1.0.13 80\n sorry_server_lvs_method NAT",
        server: "lvs_method TUN\n TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, &["10.1.0.11:80 Tunnel 1", "10.1.0.12:80 Tunnel 1"]),
            (Replace("lvs_method TUN", "lvs_method DR"), &["10.1.0.11:80 Route 1", "10.1.0.12:80 Route 1"]),
            (Off("web1"), &["10.1.0.12:80 Route 1"]),
            (Off("web2"), &[SORRY]),
            (Stop, &[]),
        ],
        ..TCP
    },
];
