//! The rows of the checks of a real server.

use super::common::*;
use crate::schema::{
    grammar::{
        Arg::{self, Many, Named, One, Opt},
        WordKind::{Address, Choice, Hex, Interface, Of, StatusCodes, Text, Whole},
    },
    keyword::{Block, Inside::Statements, Keyword},
};

/// What most checks have, besides rows of their own. What is not given is that of the real or virtual server.
macro_rules! check {
    ($($row:expr),* $(,)?) => {
        &[
            $($row,)*
            has("connect_ip", ADDRESS),
            has("connect_port", PORT),
            has("bindto", ADDRESS),
            has("bind_port", PORT),
            has("bind_if", &[One(Interface)]),
            has("connect_timeout", SECONDS),
            has("fwmark", COUNT),
            has("retry", COUNT),
            has("delay_before_retry", SECONDS),
            has("warmup", SECONDS),
            has("delay_loop", SECONDS),
            has("alpha", SWITCH),
            has("log_all_failures", SWITCH),
        ]
    };
}

pub const TCP_CHECK: &[Keyword] = check!();

pub const HTTP_GET: &[Keyword] = check!(
    has_block("url", NOTHING, Statements(Block::Url)).required(),
    has("http_protocol", &[One(Choice(&["1.0", "1.0C", "1.1", "1.0c"]))]).or("1.0"),
    has("virtualhost", TEXT),
    has("enable_sni", NOTHING),
    has("sni_name", TEXT),
    has("fast_recovery", SWITCH),
    has("tls_compliant", SWITCH),
    has("nb_get_retry", COUNT).means("retry"),
);

pub const URL: &[Keyword] = &[
    has("path", TEXT).required(),
    // An MD5 sum, from `genhash`.
    has("digest", &[One(Hex)]),
    has("status_code", &[Many(StatusCodes)]),
    has("virtualhost", TEXT),
    has("regex", TEXT),
    has("regex_no_match", NOTHING),
    has("regex_options", TEXTS),
    has("regex_min_offset", COUNT),
    has("regex_max_offset", COUNT),
    has("regex_stack", &[One(ANY), Opt(ANY)]),
    has("tls_compliant", SWITCH),
];

pub const MISC_CHECK: &[Keyword] = &[
    has("misc_path", &[One(crate::schema::grammar::WordKind::Command)]).required(),
    has("misc_timeout", SECONDS),
    has("misc_dynamic", NOTHING),
    has("user", ACCOUNT),
    has("retry", COUNT),
    has("delay_before_retry", SECONDS),
    has("warmup", SECONDS),
    has("delay_loop", SECONDS),
    has("alpha", SWITCH),
    has("log_all_failures", SWITCH),
];

pub const SMTP_CHECK: &[Keyword] = check!(
    has("helo_name", TEXT).or("smtpchecker.keepalived.org"),
    has_block("host", NOTHING, Statements(Block::SmtpHost)),
);

pub const SMTP_HOST: &[Keyword] = &[
    has("connect_ip", &[One(Address)]),
    has("connect_port", PORT),
    has("bindto", &[One(Address)]),
    has("bind_port", PORT),
    has("bind_if", &[One(Interface)]),
    has("connect_timeout", SECONDS),
    has("fwmark", COUNT),
];

pub const DNS_CHECK: &[Keyword] = check!(has("type", &[One(Text)]).or("SOA"), has("name", TEXT).or("."));

pub const PING_CHECK: &[Keyword] = check!();

pub const UDP_CHECK: &[Keyword] = check!(
    has("payload", &[Many(Text)]),
    has("require_reply", &[Arg::Any(Text)]),
    has("min_reply_length", LENGTH),
    has("max_reply_length", LENGTH),
);

pub const FILE_CHECK: &[Keyword] = &[
    has("track_file", &[One(Of("track_file"))]).required(),
    has(
        "weight",
        &[One(Whole { min: -(i32::MAX as i64), max: i32::MAX as i64 }), Named(&[("reverse", NOTHING)])],
    ),
    has("alpha", SWITCH),
];

pub const BFD_CHECK: &[Keyword] = &[has("name", &[One(Of("bfd_instance"))]).required(), has("alpha", SWITCH)];

const LENGTH: &[Arg] = &[One(Whole { min: 0, max: 65_535 })];
