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
    has("lb_algo", ALGORITHM).or("wlc"),
    has("lvs_sched", ALGORITHM).means("lb_algo"),
    has("lb_kind", METHOD).or("NAT"),
    has("lvs_method", METHOD).means("lb_kind"),
    // Not with a firewall mark.
    has("protocol", &[One(Choice(&["TCP", "UDP", "SCTP", "tcp", "udp", "sctp"]))]).or("UDP"),
    // Bare: 360.
    has("persistence_timeout", &[Opt(Whole { min: 1, max: 31 * DAY_S as i64 })]),
    has("persistence_granularity", &[One(Netmask)]),
    has("persistence_engine", &[One(Choice(&["sip"]))]),
    has_block("real_server", SERVER, Statements(Block::RealServer)),
    has("sorry_server", SERVER),
    has("sorry_server_inhibit", NOTHING),
    has("sorry_server_lvs_method", METHOD),
    has("quorum", &[One(Whole { min: 1, max: u32::MAX as i64 })]).or("1"),
    has("hysteresis", COUNT).or("0"),
    has("quorum_up", COMMAND),
    has("quorum_down", COMMAND),
    has("alpha", NOTHING),
    has("omega", NOTHING),
    has("ha_suspend", NOTHING),
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
    has("weight", &[One(Whole { min: 1, max: i32::MAX as i64 })]).or("1"),
    has("inhibit_on_failure", NOTHING),
    // Without it: `smtp_alert_checker`, then `smtp_alert` of `global_defs`, then off.
    has("smtp_alert", SWITCH),
    has("delay_loop", PERIOD).or("60"),
    // Without it: as the check has it.
    has("retry", RETRIES),
    has("delay_before_retry", SECONDS),
    has("warmup", SECONDS),
    has("connect_timeout", CONNECT_TIMEOUT).or("5"),
    // vipd's own, with the four below.
    has("rise", TIMES).or("1"),
    has("total_timeout", CONNECT_TIMEOUT),
    has("ramp", &[One(DAY)]).or("0"),
    has("min_alive", &[One(Whole { min: 0, max: 100 })]).or("0"),
    has("drain_timeout", &[One(DAY)]),
    no_effect("hashed", NOTHING, "the kernel sets this flag by itself"),
    dropped("snmp_name", TEXT, SNMP),
];

pub const REAL_SERVER: &[Keyword] = &[
    // What is not given here is that of the virtual server.
    has("weight", &[One(Whole { min: 0, max: i32::MAX as i64 })]),
    has("lvs_method", METHOD),
    has("uthreshold", COUNT).or("0"),
    has("lthreshold", COUNT).or("0"),
    has("inhibit_on_failure", SWITCH),
    has("notify_up", COMMAND),
    has("notify_down", COMMAND),
    has("alpha", SWITCH),
    has("retry", RETRIES),
    has("delay_before_retry", SECONDS),
    has("warmup", SECONDS),
    has("connect_timeout", CONNECT_TIMEOUT),
    has("delay_loop", PERIOD),
    has("rise", TIMES),
    has("total_timeout", CONNECT_TIMEOUT),
    // Without it: `smtp_alert_checker`, then `smtp_alert` of `global_defs`, then on.
    has("smtp_alert", SWITCH),
    has("virtualhost", TEXT),
    has_block("TCP_CHECK", NOTHING, Statements(Block::TcpCheck)).many(),
    has_block("HTTP_GET", NOTHING, Statements(Block::HttpGet)).many(),
    has_block("SSL_GET", NOTHING, Statements(Block::HttpGet)).many(),
    has_block("MISC_CHECK", NOTHING, Statements(Block::MiscCheck)).many(),
    has_block("SMTP_CHECK", NOTHING, Statements(Block::SmtpCheck)).many(),
    has_block("DNS_CHECK", NOTHING, Statements(Block::DnsCheck)).many(),
    has_block("PING_CHECK", NOTHING, Statements(Block::PingCheck)).many(),
    has_block("UDP_CHECK", NOTHING, Statements(Block::UdpCheck)).many(),
    has_block("FILE_CHECK", NOTHING, Statements(Block::FileCheck)).many(),
    // vipd's own.
    has_block("TEXT_CHECK", NOTHING, Statements(Block::TextCheck)).many(),
    has_block("BFD_CHECK", NOTHING, Statements(Block::BfdCheck)).many(),
    dropped("snmp_name", TEXT, SNMP),
];

pub const SSL: &[Keyword] = &[
    has("ca", TEXT),
    has("certificate", TEXT),
    has("key", TEXT),
    later("password", &[One(WordKind::Secret)], KEY_PASSWORD),
];

pub const PERIOD: &[Arg] = &[One(WordKind::Seconds { min_us: 1, max_us: 1_000_000_000_000 })];
pub const CONNECT_TIMEOUT: &[Arg] = &[One(WordKind::Seconds { min_us: 1, max_us: 4_294_000_000 })];
pub const TIMES: &[Arg] = &[One(Whole { min: 1, max: u32::MAX as i64 })];
const RETRIES: &[Arg] = TIMES;
const DAY: WordKind = WordKind::Seconds { min_us: 0, max_us: 86_400_000_000 };
const KEY_PASSWORD: &str =
    "write the key without a password into a file of root's own: `openssl pkey -in KEY -out FILE`";
const MARK: WordKind = Whole { min: 1, max: u32::MAX as i64 };
pub const PORT_NUMBER: WordKind = Whole { min: 0, max: 65_535 };
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
