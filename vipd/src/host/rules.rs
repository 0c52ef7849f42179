//! The policy rules vipd makes: one per instance that is not master, and the `local` rule behind them.
//!
//! ```text
//! 90:  not from all iif eth0 lookup 1987051571   this host's own traffic to a VIP leaves by the link
//! 100: from all lookup local                     moved here from 0
//! ```

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        AddressFamily,
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};

use super::{PROTOCOL_TAG, errno, explain, routes::TABLE_LOCAL};

/// Where the instances' rules stand.
pub(super) const PREF_INSTANCE: u32 = 90;
/// Where the kernel's `local` rule is moved to, as Cilium does: behind the instances' rules.
pub(super) const PREF_LOCAL: u32 = 100;

/// A rule as far as vipd looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub pref: u32,
    pub table: u32,
    /// `not iif NAME`.
    pub not_iif: Option<String>,
    protocol: RouteProtocol,
}

impl Rule {
    pub fn instance(interface: &str, table: u32) -> Self {
        Self { pref: PREF_INSTANCE, table, not_iif: Some(interface.to_owned()), protocol: TAG }
    }

    const fn local_moved() -> Self {
        Self { pref: PREF_LOCAL, table: TABLE_LOCAL, not_iif: None, protocol: TAG }
    }

    const fn local_original() -> Self {
        Self { pref: 0, table: TABLE_LOCAL, not_iif: None, protocol: RouteProtocol::Kernel }
    }

    fn name(&self) -> String {
        match &self.not_iif {
            Some(iif) => format!("rule {}: not iif {iif} lookup {}", self.pref, self.table),
            None => format!("rule {}: lookup {}", self.pref, self.table),
        }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
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
    let mut request = handle.rule().add().v4();
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

/// What of the rules concerns vipd.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// Ours, the moved `local` rule left out, with the messages that name them exactly.
    tagged: Vec<(Rule, RuleMessage)>,
    /// Whether our `local` rule stands at [`PREF_LOCAL`].
    local_moved: bool,
    /// Whether a `local` rule stands at 0.
    local_original: bool,
}

pub(super) async fn list(handle: &Handle) -> Result<Existing> {
    let mut existing = Existing::default();
    let mut dump = std::pin::pin!(handle.rule().get(IpVersion::V4).execute());
    while let Some(message) = dump.next().await {
        let message = message.map_err(|error| explain("list of rules", &error))?;
        let Some(rule) = parse(&message) else { continue };
        if rule == Rule::local_moved() {
            existing.local_moved = true;
        } else if rule.protocol == TAG {
            existing.tagged.push((rule, message));
        } else if rule.pref == 0 && rule.table == TABLE_LOCAL {
            existing.local_original = true;
        }
    }
    Ok(existing)
}

/// Puts the `local` rule behind the instances' rules. There is one at every moment.
///
/// If somebody else has moved it already (no rule at 0), theirs is left as it is.
pub(super) async fn move_local(handle: &Handle, existing: &Existing) -> Result<()> {
    if existing.local_original {
        if !existing.local_moved {
            add(handle, &Rule::local_moved()).await?;
        }
        delete(handle, &Rule::local_original()).await?;
    }
    Ok(())
}

/// Undoes [`move_local`].
pub(super) async fn restore_local(handle: &Handle, existing: &Existing) -> Result<()> {
    if existing.local_moved {
        if !existing.local_original {
            add(handle, &Rule::local_original()).await?;
        }
        delete(handle, &Rule::local_moved()).await?;
    }
    Ok(())
}

/// Adds what is missing of `wanted`.
pub(super) async fn ensure(handle: &Handle, wanted: &[Rule], existing: &Existing) -> Result<()> {
    for rule in wanted {
        if !existing.tagged.iter().any(|(have, _)| have == rule) {
            add(handle, rule).await?;
        }
    }
    Ok(())
}

/// Deletes tagged rules that are not `wanted`.
pub(super) async fn remove_others(handle: &Handle, wanted: &[Rule], existing: &Existing) -> Result<()> {
    for (rule, message) in &existing.tagged {
        if !wanted.contains(rule) {
            delete_message(handle, message.clone(), &rule.name()).await?;
        }
    }
    Ok(())
}

fn parse(message: &RuleMessage) -> Option<Rule> {
    if message.header.action != RuleAction::ToTable {
        return None;
    }
    let inverted = message.header.flags.contains(RuleFlags::Invert);
    let mut rule = Rule {
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
