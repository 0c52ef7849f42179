//! Every keyword of the language: what it takes, what absence means, and whether vipd does anything with it.
//!
//! A keyword that is not in a table is a mistake in the file; one that is there but not supported is refused with advice.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::{
    grammar::{Arg, WordKind},
    keyword::{Block, Keyword, Support},
    rows::{checkers, global, groups, instance, lines, lvs, root, tracking},
};

pub fn find(block: Block, name: &str) -> Option<&'static Keyword> {
    rows(block).iter().find(|keyword| keyword.name == name)
}

/// The keyword of `block` that `name` is most likely a misspelling of.
pub fn nearest(block: Block, name: &str) -> Option<&'static Keyword> {
    closest(rows(block).iter(), name, |keyword| keyword.name)
}

/// Of the candidates the one whose name `name` is most likely a misspelling of.
pub fn closest<'c, T: Copy>(
    candidates: impl Iterator<Item = T>,
    name: &str,
    name_of: impl Fn(T) -> &'c str,
) -> Option<T> {
    // The distance costs the square of the length, and is at least the difference of the lengths.
    let len = name.chars().count();
    let near = |candidate: &T| {
        let other = name_of(*candidate).chars().count();
        len.max(other) <= COMPARED_LEN_MAX && len.abs_diff(other) <= MISSPELT_MAX
    };
    let (distance, best) = candidates
        .filter(near)
        .map(|candidate| (edit_distance(name_of(candidate), name), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= (name_of(best).len() / 3).clamp(1, MISSPELT_MAX)).then_some(best)
}

/// The block other than `block` that has this keyword, as the file calls it.
pub fn home_of(name: &str, block: Block) -> Option<&'static str> {
    let has = |home: &&Block| **home != block && find(**home, name).is_some();
    ALL.iter().filter(|home| called(**home).1).find(has).map(|home| called(*home).0)
}

/// A block as the file has it, and whether it holds statements.
pub fn called(block: Block) -> (&'static str, bool) {
    match block {
        Block::Root => ("the top level", true),
        Block::GlobalDefs => ("`global_defs`", true),
        Block::Instance => ("`vrrp_instance`", true),
        Block::Authentication => ("`authentication`", true),
        Block::VirtualIpaddress => ("`virtual_ipaddress`", false),
        Block::VirtualIpaddressExcluded => ("`virtual_ipaddress_excluded`", false),
        Block::UnicastPeer => ("`unicast_peer`", false),
        Block::VirtualRoutes => ("`virtual_routes`", false),
        Block::VirtualRules => ("`virtual_rules`", false),
        Block::VipOption => {
            ("a line of `virtual_ipaddress`, `virtual_ipaddress_excluded` or `static_ipaddress`", false)
        }
        Block::PeerOption => ("a line of `unicast_peer`", false),
        Block::Route => ("a line of `virtual_routes` or `static_routes`", false),
        Block::Hop => ("a line of `virtual_routes` or `static_routes`, after `nexthop`", false),
        Block::Rule => ("a line of `virtual_rules` or `static_rules`", false),
        Block::Script => ("`vrrp_script`", true),
        Block::TrackProcess => ("`vrrp_track_process`", true),
        Block::TrackFile => ("`track_file`", true),
        Block::Arbiter => ("`arbiter`", true),
        Block::Bfd => ("`bfd_instance`", true),
        Block::SyncGroup => ("`vrrp_sync_group`", true),
        Block::TrackGroup => ("`track_group`", true),
        Block::GarpGroup => ("`garp_group`", true),
        Block::AuthHmac => ("`auth_hmac`", true),
        Block::Probe => ("`probe`", true),
        Block::Ssl => ("`SSL`", true),
        Block::VirtualServer => ("`virtual_server`", true),
        Block::RealServer => ("`real_server`", true),
        Block::TcpCheck => ("`TCP_CHECK`", true),
        Block::TextCheck => ("`TEXT_CHECK`", true),
        Block::HttpGet => ("`HTTP_GET` and `SSL_GET`", true),
        Block::Url => ("`url`", true),
        Block::MiscCheck => ("`MISC_CHECK`", true),
        Block::SmtpCheck => ("`SMTP_CHECK`", true),
        Block::SmtpHost => ("`host` of `SMTP_CHECK`", true),
        Block::DnsCheck => ("`DNS_CHECK`", true),
        Block::PingCheck => ("`PING_CHECK`", true),
        Block::UdpCheck => ("`UDP_CHECK`", true),
        Block::FileCheck => ("`FILE_CHECK`", true),
        Block::BfdCheck => ("`BFD_CHECK`", true),
    }
}

pub fn rows(block: Block) -> &'static [Keyword] {
    match block {
        Block::Root => root::ROOT,
        Block::GlobalDefs => global::GLOBAL_DEFS,
        Block::Instance => instance::INSTANCE,
        Block::Authentication => instance::AUTHENTICATION,
        // They hold lines, not statements.
        Block::VirtualIpaddress
        | Block::VirtualIpaddressExcluded
        | Block::UnicastPeer
        | Block::VirtualRoutes
        | Block::VirtualRules => &[],
        Block::VipOption => lines::VIP_OPTION,
        Block::PeerOption => lines::PEER_OPTION,
        Block::Route => lines::ROUTE,
        Block::Hop => lines::HOP,
        Block::Rule => lines::RULE,
        Block::Script => tracking::SCRIPT_BLOCK,
        Block::TrackProcess => tracking::TRACK_PROCESS,
        Block::TrackFile => tracking::TRACK_FILE,
        Block::Arbiter => tracking::ARBITER,
        Block::Bfd => tracking::BFD,
        Block::SyncGroup => groups::SYNC_GROUP,
        Block::TrackGroup => groups::TRACK_GROUP,
        Block::GarpGroup => groups::GARP_GROUP,
        Block::AuthHmac => instance::AUTH_HMAC,
        Block::Probe => instance::PROBE,
        Block::Ssl => lvs::SSL,
        Block::VirtualServer => lvs::VIRTUAL_SERVER,
        Block::RealServer => lvs::REAL_SERVER,
        Block::TcpCheck => checkers::TCP_CHECK,
        Block::TextCheck => checkers::TEXT_CHECK,
        Block::HttpGet => checkers::HTTP_GET,
        Block::Url => checkers::URL,
        Block::MiscCheck => checkers::MISC_CHECK,
        Block::SmtpCheck => checkers::SMTP_CHECK,
        Block::SmtpHost => checkers::SMTP_HOST,
        Block::DnsCheck => checkers::DNS_CHECK,
        Block::PingCheck => checkers::PING_CHECK,
        Block::UdpCheck => checkers::UDP_CHECK,
        Block::FileCheck => checkers::FILE_CHECK,
        Block::BfdCheck => checkers::BFD_CHECK,
    }
}

/// Whether what follows a keyword of this name is read as a shell would.
pub fn is_command(name: &str) -> bool {
    static COMMANDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        use Arg::{Many, One, Opt};
        named(|takes| {
            let first = takes.first();
            matches!(first, Some(One(WordKind::Command) | Opt(WordKind::Command) | Many(WordKind::ShellWord)))
        })
    });
    COMMANDS.contains(name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let row_of = |_| vec![0; b.len() + 1];
    let [mut before, mut above, mut row] = [0, 1, 2].map(row_of);
    above.iter_mut().enumerate().for_each(|(j, cell)| *cell = j);
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row[j] = least;
        }
        // The oldest row is written over next.
        std::mem::swap(&mut before, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above.last().copied().unwrap_or(0)
}

/// Whether a secret may follow a keyword of this name, somewhere.
pub fn has_secret(name: &str) -> bool {
    static SECRETS: LazyLock<HashSet<&str>> =
        LazyLock::new(|| named(|takes| takes.iter().any(|arg| matches!(arg, Arg::One(WordKind::Secret)))));
    SECRETS.contains(name)
}

/// Whether a keyword of this name is a switch, which is on if nothing follows it.
pub fn is_switch(name: &str) -> bool {
    static SWITCHES: LazyLock<HashSet<&str>> =
        LazyLock::new(|| named(|takes| matches!(takes, [Arg::Opt(WordKind::Flag)])));
    SWITCHES.contains(name)
}

/// Whether all statements of a keyword of this name count, not the last one alone.
pub fn is_many(name: &str) -> bool {
    static MANY: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        ALL.iter().flat_map(|block| rows(*block)).filter(|row| row.many).map(|row| row.name).collect()
    });
    MANY.contains(name)
}

/// The keyword that a keyword of this name and with a grammar stands for: its own name unless it is a synonym.
pub fn meaning(name: &str) -> &str {
    static MEANINGS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
        let is_synonym =
            |row: &&Keyword| row.name != row.means && matches!(row.status, Support::Grammar { .. });
        let all = ALL.iter().flat_map(|block| rows(*block)).filter(is_synonym);
        all.map(|row| (row.name, row.means)).collect()
    });
    MEANINGS.get(name).copied().unwrap_or(name)
}

/// The names, in all blocks, of rows with such a grammar.
fn named(grammar: fn(&[Arg]) -> bool) -> HashSet<&'static str> {
    let is = |keyword: &&Keyword| matches!(keyword.status, Support::Grammar { takes, .. } if grammar(takes));
    ALL.iter().flat_map(|block| rows(*block)).filter(is).map(|keyword| keyword.name).collect()
}

/// Those with rows.
pub const ALL: &[Block] = &[
    Block::Root,
    Block::GlobalDefs,
    Block::Instance,
    Block::Authentication,
    Block::VipOption,
    Block::PeerOption,
    Block::Route,
    Block::Hop,
    Block::Rule,
    Block::Script,
    Block::TrackProcess,
    Block::TrackFile,
    Block::Arbiter,
    Block::Bfd,
    Block::SyncGroup,
    Block::TrackGroup,
    Block::GarpGroup,
    Block::AuthHmac,
    Block::Probe,
    Block::Ssl,
    Block::VirtualServer,
    Block::RealServer,
    Block::TcpCheck,
    Block::TextCheck,
    Block::HttpGet,
    Block::Url,
    Block::MiscCheck,
    Block::SmtpCheck,
    Block::SmtpHost,
    Block::DnsCheck,
    Block::PingCheck,
    Block::UdpCheck,
    Block::FileCheck,
    Block::BfdCheck,
];

/// Of names that may be misspelt.
const COMPARED_LEN_MAX: usize = 96;
/// A word that is farther from every keyword is another word.
const MISSPELT_MAX: usize = 3;
