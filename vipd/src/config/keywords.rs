//! Every keyword of the language: what it takes, what it sets, and whether vipd does anything with it.
//!
//! A supported row holds the setter itself, so no row can be supported and unhandled. A keyword that is not in
//! a table is a mistake in the file; one that is there but not supported is refused with advice.

mod global;
mod instance;
mod lines;
mod tables;

use std::{net::IpAddr, time::Duration};

use vipd_common::Family;

use super::settings::{Settings, Spanned, Target};

/// One row of the table.
#[derive(Debug)]
pub struct Keyword {
    pub name: &'static str,
    /// The keyword that sets the same; its own name unless it is a synonym or the opposite.
    pub means: &'static str,
    /// Whether a `{` must follow.
    pub block: bool,
    /// As one would write it; what absence means.
    pub default: Option<&'static str>,
    pub status: Status,
}

#[derive(Debug)]
pub enum Status {
    Supported(Form),
    /// Has no meaning under vipd; why. `values` words may follow.
    NoEffect {
        reason: &'static str,
        values: usize,
    },
    /// keepalived knows it, vipd not yet; what to do.
    NotYet(&'static str),
    /// keepalived knows it, vipd never will; why.
    Refused(&'static str),
}

/// What follows a keyword, and where it goes.
#[derive(Debug)]
pub enum Form {
    Block(Block),
    /// Nothing.
    Bare(fn(&mut Settings, Spanned<()>)),
    /// Nothing, or a boolean.
    Flag(fn(&mut Settings, Spanned<bool>)),
    Text(fn(&mut Settings, Spanned<String>)),
    Choice {
        of: &'static [&'static str],
        set: fn(&mut Settings, Spanned<&'static str>),
    },
    Whole {
        min: u32,
        max: u32,
        set: fn(&mut Settings, Spanned<u32>),
    },
    /// Whole seconds.
    Seconds {
        max_s: u32,
        set: fn(&mut Settings, Spanned<Duration>),
    },
    /// Decimal seconds, to the microsecond.
    Decimal {
        min_us: u64,
        max_us: u64,
        set: fn(&mut Settings, Spanned<Duration>),
    },
    /// The name of an interface.
    Interface(fn(&mut Settings, Spanned<String>)),
    /// An address of either family.
    Unicast(fn(&mut Settings, Spanned<IpAddr>)),
    /// `None`: of either family.
    Multicast {
        family: Option<Family>,
        set: fn(&mut Settings, Spanned<IpAddr>),
    },
    /// `ADDR[/LEN]` or `default`.
    Target(fn(&mut Settings, Spanned<Target>)),
    /// A whole number or one of the names.
    Named {
        of: &'static [(&'static str, u32)],
        min: u32,
        max: u32,
        set: fn(&mut Settings, Spanned<u32>),
    },
    /// `VALUE[/MASK]`, decimal or hexadecimal.
    Mark(fn(&mut Settings, Spanned<(u32, u32)>)),
    /// What may follow `use_vmac`: a name, a number, a MAC address and more. None of it changes anything.
    Vmac(fn(&mut Settings, Spanned<()>)),
    /// What may follow `include_check`. `expand` has acted on it: here it is only checked.
    IncludeCheck,
}

/// The blocks whose keywords or lines vipd reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Root,
    GlobalDefs,
    Instance,
    Authentication,
    VirtualIpaddress,
    VirtualIpaddressExcluded,
    UnicastPeer,
    VirtualRoutes,
    VirtualRules,
    /// The words after the address on a line of `VirtualIpaddress` and `VirtualIpaddressExcluded`.
    VipOption,
    /// The words after the address on a line of `UnicastPeer`.
    PeerOption,
    /// The words on a line of `VirtualRoutes` up to the first `nexthop`.
    Route,
    /// The words after a `nexthop`.
    Hop,
    /// The words on a line of `VirtualRules`.
    Rule,
}

impl Keyword {
    /// The block this keyword opens, if its inside is read.
    pub fn opens(&self) -> Option<Block> {
        match self.status {
            Status::Supported(Form::Block(block)) => Some(block),
            _ => None,
        }
    }
}

impl Form {
    /// How many words a line's keyword of this form takes after itself.
    pub fn values(&self) -> usize {
        usize::from(!matches!(self, Self::Block(_) | Self::Bare(_) | Self::IncludeCheck))
    }
}

pub fn find(block: Block, name: &str) -> Option<&'static Keyword> {
    rows(block).iter().find(|keyword| keyword.name == name)
}

/// The keyword of `block` that `name` is most likely a misspelling of.
pub fn nearest(block: Block, name: &str) -> Option<&'static Keyword> {
    // Nothing that long is a keyword, and the distance costs its square.
    if name.len() > 2 * KEYWORD_LEN_MAX {
        return None;
    }
    // The distance is at least the difference of the lengths: most keywords need not be compared.
    let len = name.chars().count();
    let close = rows(block).iter().filter(|keyword| keyword.name.len().abs_diff(len) <= MISSPELT_MAX);
    let (distance, best) = close
        .map(|keyword| (edit_distance(keyword.name, name), keyword))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= (best.name.len() / 3).clamp(1, MISSPELT_MAX)).then_some(best)
}

/// The block other than `block` that has this keyword, as the file calls it.
pub fn home_of(name: &str, block: Block) -> Option<&'static str> {
    let homes = [
        (Block::Root, "the top level"),
        (Block::GlobalDefs, "`global_defs`"),
        (Block::Instance, "`vrrp_instance`"),
        (Block::Authentication, "`authentication`"),
    ];
    homes
        .into_iter()
        .find(|(home, _)| *home != block && find(*home, name).is_some())
        .map(|(_, called)| called)
}

pub fn rows(block: Block) -> &'static [Keyword] {
    match block {
        Block::Root => tables::ROOT,
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
    }
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

const KEYWORD_LEN_MAX: usize = 48;
/// A word that is farther from every keyword is another word.
const MISSPELT_MAX: usize = 3;
