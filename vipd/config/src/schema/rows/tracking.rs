//! The rows of what an instance can depend on: scripts, processes, files, arbiters and BFD sessions.

use super::common::*;
use crate::schema::{
    grammar::{
        Arg::{self, Many, Named, One, Opt},
        WordKind::{Address, Choice, Command, Flag, Millis, Seconds, Service, ShellWord, Station, Whole},
    },
    keyword::Keyword,
};

pub const SCRIPT_BLOCK: &[Keyword] = &[
    has("script", &[One(Command)]).required(),
    has("interval", INTERVAL).or("1"),
    // Without it: the interval.
    has("timeout", INTERVAL),
    has("weight", WEIGHT_253).or("0"),
    has("rise", TIMES).or("1"),
    has("fall", TIMES).or("1"),
    has("user", ACCOUNT),
    has("init_fail", NOTHING),
];

pub const TRACK_PROCESS: &[Keyword] = &[
    has("process", &[Many(ShellWord)]).required(),
    has("param_match", &[One(Choice(&["initial", "partial"]))]),
    has("full_command", NOTHING),
    has("weight", WEIGHT_254).or("0"),
    has("quorum", &[One(Whole { min: 1, max: 65_535 })]).or("1"),
    has("quorum_max", PORT),
    has("delay", HOUR),
    has("fork_delay", HOUR),
    has("terminate_delay", HOUR),
];

pub const TRACK_FILE: &[Keyword] = &[
    has("file", TEXT).required(),
    has("weight", WEIGHT_254).or("1"),
    has(
        "init_file",
        &[Arg::Either(
            &[("overwrite", &[Opt(Whole { min: i32::MIN as i64, max: i32::MAX as i64 })])],
            &[Opt(Whole { min: i32::MIN as i64, max: i32::MAX as i64 }), Named(&[("overwrite", NOTHING)])],
        )],
    ),
];

/// Nothing of keepalived's.
pub const ARBITER: &[Keyword] = &[
    has("ping", &[Many(Station)]).many(),
    has("tcp", &[Many(Service)]).many(),
    // Without it: more than half of the targets.
    has("quorum", &[One(Whole { min: 1, max: 32 })]),
    has("interval", &[One(Seconds { min_us: 10_000, max_us: 3_600_000_000 })]).or("1"),
    // Without it: the interval, but at most a second.
    has("timeout", &[One(Seconds { min_us: 10_000, max_us: 3_600_000_000 })]),
    has("rise", TIMES).or("2"),
    has("fall", TIMES).or("2"),
    has(
        "isolated_action",
        &[Arg::Either(&[("lower", &[One(Whole { min: 1, max: 253 })])], &[One(Choice(&["fault", "none"]))])],
    )
    .or("fault"),
];

pub const BFD: &[Keyword] = &[
    has("neighbor_ip", ADDRESS).required(),
    has("neighbour_ip", ADDRESS).means("neighbor_ip"),
    has("source_ip", &[One(Address)]),
    has("interface", INTERFACE),
    has("min_rx", BFD_INTERVAL).or("10"),
    has("min_tx", BFD_INTERVAL).or("10"),
    has("idle_tx", BFD_IDLE_INTERVAL).or("1000"),
    has("multiplier", &[One(Whole { min: 1, max: 255 })]).or("5"),
    has("passive", NOTHING),
    has("ttl", &[One(Whole { min: 1, max: 255 })]),
    has("hoplimit", &[One(Whole { min: 1, max: 255 })]).means("ttl"),
    has("max_hops", &[One(Whole { min: -1, max: 255 })]).or("0"),
    has("multihop", &[Opt(Flag)]),
    has("weight", WEIGHT_253).or("0"),
    has("vrrp", NOTHING),
    has("checker", NOTHING),
];

/// Weights are added to a priority of 1 to 254.
const WEIGHT_253: &[Arg] = &[One(Whole { min: -253, max: 253 }), Named(&[("reverse", NOTHING)])];
const WEIGHT_254: &[Arg] = &[One(Whole { min: -254, max: 254 }), Named(&[("reverse", NOTHING)])];
/// In steps of a millisecond.
const INTERVAL: &[Arg] = &[One(Seconds { min_us: 1_000, max_us: 1_000_000_000_000 })];
const TIMES: &[Arg] = &[One(Whole { min: 1, max: i32::MAX as i64 })];
const HOUR: &[Arg] = &[One(Seconds { min_us: 0, max_us: 3_600_000_000 })];
/// keepalived has them in microseconds of 32 bits.
const BFD_INTERVAL: &[Arg] = &[One(Millis { min_us: 1_000, max_us: 4_294_967_000 })];
const BFD_IDLE_INTERVAL: &[Arg] = &[One(Millis { min_us: 1_000_000, max_us: 4_294_967_000 })];
