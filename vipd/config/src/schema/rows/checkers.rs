//! The rows of the checks of a real server.

use super::{
    common::*,
    lvs::{CONNECT_TIMEOUT, PERIOD, TIMES},
};
use crate::schema::{
    grammar::{
        Arg::{self, Many, Named, One, Opt},
        WordKind::{Address, Choice, Interface, Md5, OctetPattern, Octets, Of, OnOrPath, StatusCodes, Whole},
    },
    keyword::{Block, Inside::Statements, Keyword},
};

/// What most checks have, besides rows of their own. What is not given is that of the real or virtual server.
macro_rules! check {
    ($($row:expr),* $(,)?) => {
        &[
            $($row,)*
            has("connect_ip", ADDRESS),
            has("bindto", ADDRESS),
            has("bind_port", PORT),
            has("bind_if", &[One(Interface)]),
            has("connect_timeout", CONNECT_TIMEOUT),
            has("total_timeout", CONNECT_TIMEOUT),
            has("fwmark", COUNT),
            has("retry", COUNT),
            has("rise", TIMES),
            has("delay_before_retry", SECONDS),
            has("warmup", SECONDS),
            has("delay_loop", PERIOD),
            has("alpha", SWITCH),
            dropped("log_all_failures", SWITCH, LOGGED_FAILURES),
        ]
    };
}

pub const TCP_CHECK: &[Keyword] = check!(CONNECT_PORT);

pub const HTTP_GET: &[Keyword] = check!(
    CONNECT_PORT,
    has_block("url", NOTHING, Statements(Block::Url)).required().many(),
    has("http_protocol", &[One(Choice(&["1.0", "1.0C", "1.1", "1.0c"]))]).or("1.0"),
    has("virtualhost", TEXT),
    has("enable_sni", NOTHING),
    has("sni_name", TEXT),
    // vipd's own: `on`, `off` or the file of certification authorities.
    has("verify", VERIFY).or("off"),
    // vipd's own: keepalived knows GET only.
    has("http_method", &[One(Choice(&["GET", "HEAD"]))]).or("GET"),
    no_effect("fast_recovery", SWITCH, "each run of a check gets all of its URLs"),
    no_effect("tls_compliant", SWITCH, CLOSE_NOTIFY),
    has("nb_get_retry", COUNT).means("retry"),
);

pub const URL: &[Keyword] = &[
    has("path", TEXT).required(),
    // An MD5 sum, from `genhash`.
    has("digest", &[One(Md5)]),
    has("status_code", &[Many(StatusCodes)]),
    has("virtualhost", TEXT),
    has("regex", TEXT),
    has("regex_no_match", NOTHING),
    has("regex_options", &[Many(Choice(REGEX_OPTIONS))]),
    has("regex_min_offset", COUNT),
    has("regex_max_offset", COUNT),
    no_effect("regex_stack", &[One(ANY), Opt(ANY)], "vipd's expressions need no stack of their own"),
    no_effect("tls_compliant", SWITCH, CLOSE_NOTIFY),
];

pub const MISC_CHECK: &[Keyword] = &[
    has("misc_path", &[One(crate::schema::grammar::WordKind::Command)]).required(),
    // Without it: `delay_loop` of the virtual server.
    has("misc_timeout", PERIOD),
    has("misc_dynamic", NOTHING),
    has("user", ACCOUNT),
    has("retry", COUNT),
    has("rise", TIMES),
    has("delay_before_retry", SECONDS),
    has("warmup", SECONDS),
    has("delay_loop", PERIOD),
    has("alpha", SWITCH),
    dropped("log_all_failures", SWITCH, LOGGED_FAILURES),
];

pub const SMTP_CHECK: &[Keyword] = check!(
    CONNECT_PORT,
    has("helo_name", TEXT).or("smtpchecker.keepalived.org"),
    has_block("host", NOTHING, Statements(Block::SmtpHost)).many(),
);

pub const SMTP_HOST: &[Keyword] = &[
    has("connect_ip", &[One(Address)]),
    has("connect_port", PORT),
    has("bindto", &[One(Address)]),
    has("bind_port", PORT),
    has("bind_if", &[One(Interface)]),
    has("connect_timeout", CONNECT_TIMEOUT),
    has("fwmark", COUNT),
];

pub const DNS_CHECK: &[Keyword] = check!(
    CONNECT_PORT,
    has("type", &[One(Choice(DNS_TYPES))]).or("SOA"),
    has("name", TEXT).or("."),
    // vipd's own: keepalived takes any answer without error.
    has("expect", TEXT),
);

/// Nothing of keepalived's.
pub const TEXT_CHECK: &[Keyword] = check!(
    CONNECT_PORT,
    has("protocol", &[One(Choice(&["TCP", "UDP", "TLS"]))]).or("TCP"),
    // With `\r`, `\n`, `\t`, `\\` and `\xNN`.
    has("send", TEXT),
    // A regular expression; without it any answer will do.
    has("expect", TEXT),
    has("sni_name", TEXT),
    has("verify", VERIFY).or("off"),
);

pub const PING_CHECK: &[Keyword] = check!(no_effect("connect_port", PORT, "an ICMP echo has no port"));

pub const UDP_CHECK: &[Keyword] = check!(
    CONNECT_PORT,
    has("payload", &[Many(Octets)]),
    has("require_reply", &[Arg::Any(OctetPattern)]),
    has("min_reply_length", LENGTH).or("0"),
    has("max_reply_length", LENGTH).or("255"),
);

pub const FILE_CHECK: &[Keyword] = &[
    has("track_file", &[One(Of("track_file"))]).required(),
    // Without it, and with 0: the weight of the file.
    has(
        "weight",
        &[
            One(Whole { min: -(i32::MAX as i64), max: i32::MAX as i64 }),
            Named(&[("reverse", NOTHING), ("noreverse", NOTHING)]),
        ],
    ),
    has("alpha", SWITCH),
];

pub const BFD_CHECK: &[Keyword] = &[has("name", &[One(Of("bfd_instance"))]).required(), has("alpha", SWITCH)];

const CONNECT_PORT: Keyword = has("connect_port", PORT);
/// The file of certification authorities; `on`: `ca` of `SSL`, else the system's.
const VERIFY: &[Arg] = &[One(OnOrPath)];
const LENGTH: &[Arg] = &[One(Whole { min: 0, max: 65_535 })];

/// The types of records, and their numbers.
pub const DNS_TYPES: &[&str] = &["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"];
/// Those of PCRE2 that keepalived knows.
const REGEX_OPTIONS: &[&str] = &[
    "allow_empty_class",
    "alt_bsux",
    "auto_callout",
    "caseless",
    "dollar_endonly",
    "dotall",
    "dupnames",
    "extended",
    "firstline",
    "match_unset_backref",
    "multiline",
    "never_ucp",
    "never_utf",
    "no_auto_capture",
    "no_auto_possess",
    "no_dotstar_anchor",
    "no_start_optimize",
    "ucp",
    "ungreedy",
    "never_backslash_c",
    "alt_circumflex",
    "alt_verbnames",
    "use_offset_limit",
    "utf",
];
const CLOSE_NOTIFY: &str = "vipd always ends TLS as the standard says";
