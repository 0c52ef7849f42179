//! The rows of `virtual_server` and what belongs to it, but for the checks.

use super::common::*;
use crate::schema::{
    grammar::{
        Arg::{self, Either, Named, One, Opt},
        WordKind::{self, Address, Choice, Netmask, Of, Range, Whole},
    },
    keyword::{Block, Inside::Statements, Keyword},
};

/// After `virtual_server`.
pub const ADDRESS: &[Arg] = &[Either(
    &[("fwmark", &[One(MARK)]), ("group", &[One(Of("virtual_server_group"))])],
    &[One(Address), Opt(PORT_NUMBER)],
)];

pub const GROUP_LINE: &[Arg] =
    &[Either(&[("fwmark", &[One(MARK), Opt(Choice(&["inet", "inet6"]))])], &[One(Range), Opt(PORT_NUMBER)])];

pub const VIRTUAL_SERVER: &[Keyword] = &[
    has("lb_algo", ALGORITHM),
    has("lvs_sched", ALGORITHM).means("lb_algo"),
    has("lb_kind", METHOD),
    has("lvs_method", METHOD).means("lb_kind"),
    has("protocol", &[One(Choice(&["TCP", "UDP", "SCTP", "tcp", "udp", "sctp"]))]),
    has("persistence_timeout", &[Opt(ANY)]),
    has("persistence_granularity", &[One(Netmask)]),
    has("persistence_engine", TEXT),
    has_block("real_server", SERVER, Statements(Block::RealServer)),
    has("sorry_server", SERVER),
    has("sorry_server_inhibit", NOTHING),
    has("sorry_server_lvs_method", METHOD),
    has("quorum", &[One(Whole { min: 1, max: u32::MAX as i64 })]).or("1"),
    has("hysteresis", COUNT).or("0"),
    has("quorum_up", COMMAND),
    has("quorum_down", COMMAND),
    has("alpha", SWITCH),
    has("omega", SWITCH),
    has("ha_suspend", NOTHING),
    has("hashed", NOTHING),
    has("ops", NOTHING),
    has("flag-1", NOTHING),
    has("flag-2", NOTHING),
    has("flag-3", NOTHING),
    has("sh-port", NOTHING),
    has("sh-fallback", NOTHING),
    has("mh-port", NOTHING),
    has("mh-fallback", NOTHING),
    has("ip_family", &[One(Choice(&["inet", "inet6"]))]),
    has("virtualhost", TEXT),
    has("snmp_name", TEXT),
    has("weight", WEIGHT).or("1"),
    has("inhibit_on_failure", SWITCH),
    has("smtp_alert", SWITCH),
    has("delay_loop", SECONDS).or("60"),
    has("retry", COUNT),
    has("delay_before_retry", SECONDS),
    has("warmup", SECONDS),
    has("connect_timeout", SECONDS),
];

pub const REAL_SERVER: &[Keyword] = &[
    has("weight", WEIGHT),
    has("lvs_method", METHOD),
    has("uthreshold", COUNT),
    has("lthreshold", COUNT),
    has("inhibit_on_failure", SWITCH),
    has("notify_up", COMMAND),
    has("notify_down", COMMAND),
    has("alpha", SWITCH),
    has("retry", COUNT),
    has("delay_before_retry", SECONDS),
    has("warmup", SECONDS),
    has("connect_timeout", SECONDS),
    has("delay_loop", SECONDS),
    has("smtp_alert", SWITCH),
    has("virtualhost", TEXT),
    has("snmp_name", TEXT),
    has_block("TCP_CHECK", NOTHING, Statements(Block::TcpCheck)),
    has_block("HTTP_GET", NOTHING, Statements(Block::HttpGet)),
    has_block("SSL_GET", NOTHING, Statements(Block::HttpGet)),
    has_block("MISC_CHECK", NOTHING, Statements(Block::MiscCheck)),
    has_block("SMTP_CHECK", NOTHING, Statements(Block::SmtpCheck)),
    has_block("DNS_CHECK", NOTHING, Statements(Block::DnsCheck)),
    has_block("PING_CHECK", NOTHING, Statements(Block::PingCheck)),
    has_block("UDP_CHECK", NOTHING, Statements(Block::UdpCheck)),
    has_block("FILE_CHECK", NOTHING, Statements(Block::FileCheck)),
    has_block("BFD_CHECK", NOTHING, Statements(Block::BfdCheck)),
];

pub const SSL: &[Keyword] =
    &[has("password", &[One(WordKind::Secret)]), has("ca", TEXT), has("certificate", TEXT), has("key", TEXT)];

const MARK: WordKind = Whole { min: 1, max: u32::MAX as i64 };
pub const PORT_NUMBER: WordKind = Whole { min: 0, max: 65_535 };
const WEIGHT: &[Arg] = &[One(Whole { min: 0, max: i32::MAX as i64 })];
const SERVER: &[Arg] = &[One(Address), Opt(PORT_NUMBER)];
const ALGORITHM: &[Arg] = &[One(Choice(&[
    "rr", "wrr", "lc", "wlc", "lblc", "sh", "mh", "dh", "fo", "ovf", "lblcr", "sed", "nq", "twos",
]))];
const METHOD: &[Arg] = &[Either(
    &[
        ("NAT", NOTHING),
        ("DR", NOTHING),
        (
            "TUN",
            &[Named(&[
                ("type", &[One(Choice(&["ipip", "gue", "gre"]))]),
                ("port", PORT),
                ("nocsum", NOTHING),
                ("csum", NOTHING),
                ("remcsum", NOTHING),
            ])],
        ),
    ],
    &[One(Choice(&["NAT", "DR", "TUN"]))],
)];
