//! The kernel's own policy rules, without which a host hears nothing of what is for it, or reaches nobody.
//!
//! ```text
//! 0:      from all lookup local
//! 32766:  from all lookup main
//! 32767:  from all lookup default      IPv4 alone
//! ```
//!
//! They are not vipd's, and a host may have others in their place. What is put back is what no host can do without: `lookup local` where
//! no rule looks it up for all packets, at once; and the two behind it where there is nothing but `lookup local`, as `ip rule flush`
//! leaves it, or where others stand, but none looks up `main`, and the host has no way to the clients of its VIPs. The latter waits for
//! [`PATIENCE`], since who flushes the rules may be about to add others.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};
use tokio::time::Instant;
use vipd_common::Family;

use super::{
    netlink::{address_family, errno, explain},
    routes::{TABLE_LOCAL, TABLE_MAIN},
};

/// How long a host may be without a rule for what is not local.
const PATIENCE: Duration = Duration::from_secs(1);
const TABLE_DEFAULT: u32 = 253;
/// Preferences of `lookup main` and of `lookup default`.
const BEHIND_LOCAL: [(u32, u32); 2] = [(32_766, TABLE_MAIN), (32_767, TABLE_DEFAULT)];

/// Keeps them.
#[derive(Debug, Default)]
pub(super) struct DefaultRules {
    /// Since when a family has nothing but `lookup local`, or no way without `lookup main`.
    bare_since: [Option<Instant>; 2],
    /// Whether a family has rules that are for some sources alone.
    by_source: [bool; 2],
    /// Whether none of them looks up `main` for all packets.
    lacks_main: [bool; 2],
    /// Whether the host cannot answer the clients of its VIPs.
    no_way: [bool; 2],
}

/// What a family's rules have.
#[derive(Debug, Default)]
struct FoundRules {
    local: bool,
    main: bool,
    others: bool,
    /// One that is for some sources alone.
    by_source: bool,
}

impl DefaultRules {
    /// Puts back what a family cannot do without. Returns what was missing.
    pub async fn keep(&mut self, handle: &Handle, family: Family) -> Result<Vec<String>> {
        let found = FoundRules::of(handle, family).await?;
        let of = usize::from(family == Family::V6);
        (self.by_source[of], self.lacks_main[of]) = (found.by_source, !found.main);
        let mut restored = Vec::new();
        if !found.local {
            restored.extend(add(handle, family, 0, TABLE_LOCAL).await?);
        }
        let bare_since = &mut self.bare_since[of];
        if found.others && (found.main || !self.no_way[of]) {
            *bare_since = None;
        } else if bare_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            for (preference, table) in BEHIND_LOCAL {
                if family == Family::V4 || table == TABLE_MAIN {
                    restored.extend(add(handle, family, preference, table).await?);
                }
            }
            self.lacks_main[of] = false;
        }
        Ok(restored)
    }

    /// Takes note of the families in which this host cannot answer the clients of its VIPs.
    pub fn note_ways(&mut self, without: &BTreeSet<Family>) {
        for (of, family) in [Family::V4, Family::V6].into_iter().enumerate() {
            self.no_way[of] = without.contains(&family);
            if self.lacks_main[of] && self.no_way[of] {
                self.bare_since[of].get_or_insert_with(Instant::now);
            }
        }
    }

    /// Whether no rule of a family looks up `main` for all packets.
    pub fn lack_main(&self, family: Family) -> bool {
        self.lacks_main[usize::from(family == Family::V6)]
    }

    /// Whether a family has rules that treat one source otherwise than another.
    pub fn are_by_source(&self, family: Family) -> bool {
        self.by_source[usize::from(family == Family::V6)]
    }

    /// Whether something is missing that is put back in a while.
    pub fn waits(&self) -> bool {
        self.bare_since.iter().flatten().any(|since| since.elapsed() < PATIENCE)
    }
}

impl FoundRules {
    async fn of(handle: &Handle, family: Family) -> Result<Self> {
        let version = match family {
            Family::V4 => IpVersion::V4,
            Family::V6 => IpVersion::V6,
        };
        let mut found = Self::default();
        let mut dump = std::pin::pin!(handle.rule().get(version).execute());
        while let Some(message) = dump.next().await {
            let message = match message {
                // The kernel has no policy rules: it looks up `local` and `main`.
                Err(error) if matches!(errno(&error), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => {
                    return Ok(Self { local: true, main: true, others: true, by_source: false });
                }
                message => message.map_err(|error| explain("list of rules", &error))?,
            };
            if message.header.family != address_family(family) {
                continue;
            }
            let (table, is_for_all) = (looks_up(&message), is_for_all(&message));
            if table == Some(TABLE_LOCAL) {
                found.local |= is_for_all;
            } else {
                found.others = true;
                found.main |= is_for_all && table == Some(TABLE_MAIN);
            }
            found.by_source |=
                message.attributes.iter().any(|attribute| matches!(attribute, RuleAttribute::Source(_)));
        }
        Ok(found)
    }
}

fn looks_up(message: &RuleMessage) -> Option<u32> {
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = table.unwrap_or(u32::from(message.header.table));
    (message.header.action == RuleAction::ToTable).then_some(table)
}

/// Whether it has no condition.
fn is_for_all(message: &RuleMessage) -> bool {
    let harmless = |attribute: &RuleAttribute| {
        matches!(
            attribute,
            RuleAttribute::Table(_)
                | RuleAttribute::Priority(_)
                | RuleAttribute::Protocol(_)
                | RuleAttribute::SuppressPrefixLen(_)
        )
    };
    let suppresses = |attribute: &RuleAttribute| matches!(attribute, RuleAttribute::SuppressPrefixLen(len) if *len != u32::MAX);
    !message.header.flags.contains(RuleFlags::Invert)
        && message.attributes.iter().all(harmless)
        && !message.attributes.iter().any(suppresses)
}

/// Adds one; its name if it was not there.
async fn add(handle: &Handle, family: Family, preference: u32, table: u32) -> Result<Option<String>> {
    let name = match table {
        TABLE_LOCAL => "local",
        TABLE_MAIN => "main",
        _ => "default",
    };
    let number = if family == Family::V4 { 4 } else { 6 };
    let name = format!("IPv{number} rule {preference}: lookup {name}");
    let mut request = handle.rule().add();
    *request.message_mut() = rule(family, preference, table);
    match request.execute().await {
        Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(None),
        Err(error) => Err(explain(&name, &error)),
        Ok(()) => Ok(Some(name)),
    }
}

/// As the kernel makes it.
pub(super) fn rule(family: Family, preference: u32, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(family);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(preference),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(RouteProtocol::Kernel),
    ];
    message
}
