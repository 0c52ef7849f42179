//! The rows of every run.

use crate::game::{
    Row,
    Step::{Exit, Off, On, Replace, Start, Stop},
    TCP,
};

pub const ONE: &str = "10.1.0.11:80 Masq 1";
pub const TWO: &str = "10.1.0.12:80 Masq 1";
pub const SORRY: &str = "10.1.0.13:80 Masq 1";
pub const ONE_AT_0: &str = "10.1.0.11:80 Masq 0";
pub const TWO_AT_0: &str = "10.1.0.12:80 Masq 0";
pub const SORRY_AT_0: &str = "10.1.0.13:80 Masq 0";

pub const CHECK: &str = "TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }";
/// Both servers with the weight that most rows of weights have.
const BOTH_AT_5: &[&str] = &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"];

pub const ROWS: &[Row] = &[
    Row {
        name: "removal, sorry server, quorum",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n sorry_server 10.1.0.13 80",
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
        name: "inhibit_on_failure, an inhibited sorry server",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n inhibit_on_failure\n sorry_server 10.1.0.13 80\n sorry_server_inhibit",
        server: CHECK,
        steps: &[
            (Start, &[ONE, TWO, SORRY_AT_0]),
            (Off("web1"), &[ONE_AT_0, TWO, SORRY_AT_0]),
            (Off("web2"), &[ONE_AT_0, TWO_AT_0, SORRY]),
            (On("web2"), &[ONE_AT_0, TWO, SORRY_AT_0]),
            (On("web1"), &[ONE, TWO, SORRY_AT_0]),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "a quorum of two",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n quorum 2\n sorry_server 10.1.0.13 80",
        server: CHECK,
        steps: &[(Start, &[ONE, TWO]), (Off("web1"), &[SORRY]), (On("web1"), &[ONE, TWO]), (Stop, &[])],
        ..TCP
    },
    Row {
        name: "alpha: a server that has never answered does not enter",
        service: "lb_algo rr\n lb_kind NAT\n protocol TCP\n alpha",
        server: CHECK,
        steps: &[(Off("web1"), &[]), (Start, &[TWO]), (On("web1"), &[ONE, TWO]), (Stop, &[])],
        ..TCP
    },
    Row {
        // Not over a reload, at which keepalived 2.2.7 makes them 0 now and then.
        name: "weights of misc_dynamic",
        server: "weight 5\n MISC_CHECK {\n misc_path \"/bin/sh DIR/check\"\n misc_timeout 5\n misc_dynamic\n user root\n }",
        steps: &[
            (Start, BOTH_AT_5),
            (Exit(12), &["10.1.0.11:80 Masq 10", "10.1.0.12:80 Masq 10"]),
            (Exit(1), &[]),
            (Exit(0), BOTH_AT_5),
            (Stop, &[]),
        ],
        ..TCP
    },
    Row {
        name: "reloads: weights, the scheduler, a server that is down meanwhile",
        server: "weight 5\n TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }",
        steps: &[
            (Start, BOTH_AT_5),
            (Replace("weight 5", "weight 7"), &["10.1.0.11:80 Masq 7", "10.1.0.12:80 Masq 7"]),
            (Replace("lb_algo rr", "lb_algo wrr"), &["10.1.0.11:80 Masq 7", "10.1.0.12:80 Masq 7"]),
            (Off("web1"), &["10.1.0.12:80 Masq 7"]),
            (Replace("weight 7", "weight 3"), &["10.1.0.12:80 Masq 3"]),
            (On("web1"), &["10.1.0.11:80 Masq 3", "10.1.0.12:80 Masq 3"]),
            (Stop, &[]),
        ],
        ..TCP
    },
];
