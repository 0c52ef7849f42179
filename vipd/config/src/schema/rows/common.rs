//! What the rows of all blocks are made with.
//!
//! Facts about keepalived's language are in its manual page; supported rows come first.

use crate::{
    model::xdp::XdpMode,
    schema::{
        grammar::{Arg, WordKind},
        keyword::{Block, Engine, Inside, Keyword, KeywordForm, Support},
    },
};

use Arg::{Any, Many, Named, One, Opt};
use WordKind::{Account, Command, Flag, Name, Of, Text, Whole};

pub const fn block(name: &'static str, block: Block) -> Keyword {
    row(name, true, Support::Supported(KeywordForm::Block(block)))
}

pub const fn value(name: &'static str, default: Option<&'static str>, form: KeywordForm) -> Keyword {
    Keyword { default, ..row(name, false, Support::Supported(form)) }
}

pub const fn no_effect(name: &'static str, takes: &'static [Arg], reason: &'static str) -> Keyword {
    row(name, false, Support::NoEffect { reason, takes })
}

/// Ignored with a warning, which says what to do instead.
pub const fn dropped(name: &'static str, takes: &'static [Arg], instead: &'static str) -> Keyword {
    row(name, false, Support::Dropped { instead, takes })
}

/// Without an engine.
pub const fn later(name: &'static str, takes: &'static [Arg], advice: &'static str) -> Keyword {
    row(name, false, Support::Grammar { takes, inside: Inside::Nothing, engine: Engine::Missing(advice) })
}

/// Without an engine, with braces.
pub const fn later_block(
    name: &'static str,
    takes: &'static [Arg],
    inside: Inside,
    advice: &'static str,
) -> Keyword {
    row(name, true, Support::Grammar { takes, inside, engine: Engine::Missing(advice) })
}

/// With an engine.
pub const fn does(name: &'static str, takes: &'static [Arg]) -> Keyword {
    row(name, false, Support::Grammar { takes, inside: Inside::Nothing, engine: Engine::Present })
}

/// With an engine, with braces.
pub const fn does_block(name: &'static str, takes: &'static [Arg], inside: Inside) -> Keyword {
    row(name, true, Support::Grammar { takes, inside, engine: Engine::Present })
}

/// Of load balancing, with braces: in force while `BALANCES` says so.
pub const fn balances_block(name: &'static str, takes: &'static [Arg], inside: Inside) -> Keyword {
    row(name, true, Support::Grammar { takes, inside, engine: Engine::Missing(LVS) })
}

/// The same in `global_defs`.
pub const fn balances(name: &'static str, takes: &'static [Arg]) -> Keyword {
    let engine = Engine::Unserved(LVS_ONLY);
    row(name, false, Support::Grammar { takes, inside: Inside::Nothing, engine })
}

/// Without an engine, and not to be done without.
pub const fn needed(
    name: &'static str,
    takes: &'static [Arg],
    inside: Inside,
    advice: &'static str,
) -> Keyword {
    let block = !matches!(inside, Inside::Nothing);
    row(name, block, Support::Grammar { takes, inside, engine: Engine::Needed(advice) })
}

pub const NOTHING_INSIDE: Inside = Inside::Nothing;

/// Inside a block that is read by grammars.
pub const fn has(name: &'static str, takes: &'static [Arg]) -> Keyword {
    row(name, false, Support::Grammar { takes, inside: Inside::Nothing, engine: Engine::OfBlock })
}

pub const fn has_block(name: &'static str, takes: &'static [Arg], inside: Inside) -> Keyword {
    row(name, true, Support::Grammar { takes, inside, engine: Engine::OfBlock })
}

/// A word of a line that would mean something else without it.
pub const fn not_yet(name: &'static str, advice: &'static str) -> Keyword {
    row(name, false, Support::NotYet(advice))
}

const fn row(name: &'static str, block: bool, status: Support) -> Keyword {
    Keyword {
        name,
        means: name,
        block,
        default: None,
        global: None,
        instead: &[],
        required: false,
        many: false,
        status,
    }
}

impl Keyword {
    /// Sets what `means` sets.
    pub const fn means(self, means: &'static str) -> Self {
        Self { means, ..self }
    }

    pub const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// Where the instance does not say it, this keyword of `global_defs` does.
    pub const fn global(self, name: &'static str) -> Self {
        Self { global: Some(name), ..self }
    }

    /// What else gives the value where neither stands.
    pub const fn instead(self, instead: &'static [&'static str]) -> Self {
        Self { instead, ..self }
    }

    pub const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// Sets what `means` sets.
pub const fn synonym(name: &'static str, means: &'static str, form: KeywordForm) -> Keyword {
    value(name, None, form).means(means)
}

pub const fn refused(name: &'static str, reason: &'static str) -> Keyword {
    row(name, false, Support::Refused(reason))
}

pub const NOTHING: &[Arg] = &[];
pub const TEXT: &[Arg] = &[One(Text)];
pub const MAYBE_TEXT: &[Arg] = &[Opt(Text)];
pub const TEXTS: &[Arg] = &[Many(Text)];
pub const NAME: &[Arg] = &[One(Name)];
pub const SWITCH: &[Arg] = &[Opt(Flag)];
pub const INTERFACE: &[Arg] = &[One(WordKind::Interface)];
pub const INTERFACES: &[Arg] = &[Many(WordKind::Interface)];
pub const ADDRESS: &[Arg] = &[One(WordKind::Address)];
/// With the user and group that it runs as.
pub const COMMAND: &[Arg] = &[One(Command), Opt(Account), Opt(Account)];
pub const MAYBE_COMMAND: &[Arg] = &[Opt(Command), Opt(Account), Opt(Account)];
/// With the user and group that it belongs to.
pub const FIFO: &[Arg] = &[One(Text), Opt(Account), Opt(Account)];
pub const ACCOUNT: &[Arg] = &[One(Account), Opt(Account)];
pub const OCTET: &[Arg] = &[One(Whole { min: 0, max: 255 })];
pub const PORT: &[Arg] = &[One(Whole { min: 0, max: 65_535 })];
pub const COUNT: &[Arg] = &[One(ANY)];
pub use crate::schema::grammar::INSTANCES;
/// Seconds that nobody exceeds.
pub const SECONDS: &[Arg] = &[One(WordKind::Seconds { min_us: 0, max_us: 1_000_000_000_000 })];
/// Every whole number that keepalived stores.
pub const ANY: WordKind = Whole { min: 0, max: u32::MAX as i64 };

/// Lines of `track_*` in an instance or a group.
pub const TRACK_SCRIPT: &[Arg] = &[One(Of("vrrp_script")), WEIGHT_253];
pub const TRACK_INTERFACE: &[Arg] = &[One(WordKind::Interface), WEIGHT_253];
/// Without a weight nothing depends on it.
pub const HEARTBEAT_INTERFACE: &[Arg] =
    &[One(WordKind::Interface), Named(&[("weight", &[One(Whole { min: -253, max: 253 })])])];
pub const TRACKED_FILE: &[Arg] = &[One(Of("track_file")), WEIGHT_254];
pub const TRACKED_PROCESS: &[Arg] = &[One(Of("vrrp_track_process")), WEIGHT_254];
pub const TRACK_ARBITER: &[Arg] = &[One(Of("arbiter"))];
pub const TRACK_BFD: &[Arg] = &[One(Of("bfd_instance")), WEIGHT_253];
const WEIGHT_253: Arg =
    Named(&[("weight", &[One(Whole { min: -253, max: 253 })]), ("reverse", NOTHING), ("noreverse", NOTHING)]);
const WEIGHT_254: Arg =
    Named(&[("weight", &[One(Whole { min: -254, max: 254 })]), ("reverse", NOTHING), ("noreverse", NOTHING)]);

/// Seconds, or `off`.
pub const SELF_PROBE: KeywordForm = KeywordForm::Named { of: &[("off", 0)], min: 1, max: DAY_S };

/// Seconds, or `off`.
pub const CLUSTER_REPORT: KeywordForm = KeywordForm::Named { of: &[("off", 0)], min: 1, max: 3_600 };

/// Where the program runs, on these interfaces; without one on all that no other line names.
pub const XDP_MODE: &[Arg] = &[One(WordKind::Choice(XdpMode::NAMES)), Any(WordKind::Interface)];

pub const LEASES: &[&str] = &["strict", "overlap"];
pub const DAY_S: u32 = 86_400;

pub const REMOVE: &str = "remove it, or stay with keepalived on this machine until vipd has it";
pub use crate::schema::keyword::{LVS, LVS_ONLY};
pub const LOGGED_FAILURES: &str =
    "vipd logs the failures that take a server out, not those that are forgiven";
pub const SNMP: &str = "vipd has no SNMP: `--metrics-listen` serves the figures, `vipd status --json` and `vipd events` print them";
pub const TRAPS: &str =
    "vipd has no SNMP: `vipd events --follow --json` and notify scripts tell of every change";
pub const DBUS: &str = "vipd has no D-Bus: `vipd events --follow --json` and notify scripts tell of every change, `vipd status --json` of the state";
pub const STATIC: &str = "configure it with the system's network tools";

pub const NO_INTERFACE: &str = "vipd makes no interface of its own";
pub const NO_ADDRESS: &str = "vipd puts no address on the interface";
pub const SCHEDULING: &str = "vipd always asks for real-time scheduling and locked memory";
pub const NO_FIREWALL: &str = "vipd makes no firewall rules: `no_accept` is kept in XDP";
pub const NETLINK: &str = "vipd hears of links from the kernel";
pub const BUFFERS: &str = "vipd sizes its own buffers";
