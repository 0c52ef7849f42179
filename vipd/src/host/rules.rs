//! The policy rules vipd makes: one per table of instances that are not master, and family, and the `local` rule behind them.
//!
//! ```text
//! 90:  not from all iif eth0 lookup 1987117059   this host's own traffic to a VIP leaves by the link
//! 100: from all lookup local                     moved here from 0
//! ```

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};

use vipd_common::Family;

use super::{
    PROTOCOL_TAG,
    netlink::{address_family, errno, explain, supported},
    routes::TABLE_LOCAL,
};

/// Where the instances' rules stand.
pub(super) const PREF_INSTANCE: u32 = 90;
/// Where the kernel's `local` rule is moved to, as Cilium does: behind the instances' rules.
pub(super) const PREF_LOCAL: u32 = 100;

/// A rule as far as vipd looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub family: Family,
    pub pref: u32,
    pub table: u32,
    /// `not iif NAME`.
    pub not_iif: Option<String>,
    protocol: RouteProtocol,
}

impl Rule {
    pub fn instance(family: Family, interface: &str, table: u32) -> Self {
        Self { family, pref: PREF_INSTANCE, table, not_iif: Some(interface.to_owned()), protocol: TAG }
    }

    const fn local_moved(family: Family) -> Self {
        Self { family, pref: PREF_LOCAL, table: TABLE_LOCAL, not_iif: None, protocol: TAG }
    }

    const fn local_original(family: Family) -> Self {
        Self { family, pref: 0, table: TABLE_LOCAL, not_iif: None, protocol: RouteProtocol::Kernel }
    }

    fn name(&self) -> String {
        let Self { pref, table, .. } = self;
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        match &self.not_iif {
            Some(iif) => format!("{family} rule {pref}: not iif {iif} lookup {table}"),
            None => format!("{family} rule {pref}: lookup {table}"),
        }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = address_family(self.family);
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Priority(self.pref),
            RuleAttribute::Table(self.table),
            RuleAttribute::Protocol(self.protocol),
        ];
        if let Some(iif) = &self.not_iif {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::Iifname(iif.clone()));
        }
        message
    }
}

/// Adds a rule; one that is there already is fine.
pub(super) async fn add(handle: &Handle, rule: &Rule) -> Result<()> {
    let mut request = handle.rule().add();
    *request.message_mut() = rule.message();
    match request.execute().await {
        Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
        Err(error) => Err(explain(&rule.name(), &error)),
        Ok(()) => Ok(()),
    }
}

/// Deletes a rule; one that is not there is fine.
pub(super) async fn delete(handle: &Handle, rule: &Rule) -> Result<()> {
    delete_message(handle, rule.message(), &rule.name()).await
}

async fn delete_message(handle: &Handle, message: RuleMessage, name: &str) -> Result<()> {
    match handle.rule().del(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(explain(name, &error)),
        Ok(()) => Ok(()),
    }
}

/// What of a family's rules concerns vipd.
#[derive(Debug)]
pub(super) struct Existing {
    family: Family,
    /// Ours, the moved `local` rule left out, with the messages that name them exactly.
    tagged: Vec<(Rule, RuleMessage)>,
    /// Whether our `local` rule stands at [`PREF_LOCAL`].
    local_moved: bool,
    /// Whether a `local` rule stands at 0.
    local_original: bool,
}

pub(super) async fn list(handle: &Handle, family: Family) -> Result<Existing> {
    let mut existing = Existing { family, tagged: Vec::new(), local_moved: false, local_original: false };
    if !supported(family) {
        return Ok(existing);
    }
    let version = match family {
        Family::V4 => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    };
    let mut dump = std::pin::pin!(handle.rule().get(version).execute());
    while let Some(message) = dump.next().await {
        let message = message.map_err(|error| explain("list of rules", &error))?;
        let Some(rule) = parse(&message, family) else { continue };
        if rule == Rule::local_moved(family) {
            existing.local_moved = true;
        } else if rule.protocol == TAG {
            existing.tagged.push((rule, message));
        } else if rule.pref == 0 && rule.table == TABLE_LOCAL {
            existing.local_original = true;
        }
    }
    Ok(existing)
}

/// Puts the family's `local` rule behind the instances' rules. There is one at every moment.
///
/// If somebody else has moved it already (no rule at 0), theirs is left as it is.
pub(super) async fn move_local(handle: &Handle, existing: &Existing, was_moved: bool) -> Result<Vec<String>> {
    let mut repaired = Vec::new();
    if !existing.local_moved && (existing.local_original || was_moved) {
        let moved = Rule::local_moved(existing.family);
        add(handle, &moved).await?;
        repaired.push(moved.name());
    }
    if existing.local_original {
        delete(handle, &Rule::local_original(existing.family)).await?;
    }
    Ok(repaired)
}

/// Undoes [`move_local`].
pub(super) async fn restore_local(handle: &Handle, existing: &Existing) -> Result<()> {
    if existing.local_moved {
        if !existing.local_original {
            add(handle, &Rule::local_original(existing.family)).await?;
        }
        delete(handle, &Rule::local_moved(existing.family)).await?;
    }
    Ok(())
}

/// Adds what is missing of `wanted` in the family.
pub(super) async fn ensure(handle: &Handle, wanted: &[Rule], existing: &Existing) -> Result<Vec<String>> {
    let mut added = Vec::new();
    for rule in wanted.iter().filter(|rule| rule.family == existing.family) {
        if !existing.tagged.iter().any(|(have, _)| have == rule) {
            add(handle, rule).await?;
            added.push(rule.name());
        }
    }
    Ok(added)
}

/// Deletes the family's tagged rules that are not `wanted`.
pub(super) async fn remove_others(handle: &Handle, wanted: &[Rule], existing: &Existing) -> Result<()> {
    for (rule, message) in &existing.tagged {
        if !wanted.contains(rule) {
            delete_message(handle, message.clone(), &rule.name()).await?;
        }
    }
    Ok(())
}

fn parse(message: &RuleMessage, family: Family) -> Option<Rule> {
    if message.header.action != RuleAction::ToTable {
        return None;
    }
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    let mut rule = Rule {
        family,
        pref: 0,
        table: u32::from(message.header.table),
        not_iif: None,
        protocol: RouteProtocol::Unspec,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(pref) => rule.pref = *pref,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => rule.protocol = *protocol,
            RuleAttribute::Iifname(name) if inverted => rule.not_iif = Some(name.clone()),
            _ => {}
        }
    }
    Some(rule)
}

const TAG: RouteProtocol = RouteProtocol::Other(PROTOCOL_TAG);
