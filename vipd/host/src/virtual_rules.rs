//! `virtual_rules`: policy rules of the operator's that follow mastership, tagged as the virtual routes are.

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        route::RouteProtocol,
        rule::{RuleAction as Kernel, RuleAttribute, RuleFlags, RuleMessage},
    },
};
use vipd_common::Family;
use vipd_config::{Prefix, RuleAction, VirtualRule};
use vipd_system::Problems;

use super::{
    Repairs, VIRTUAL_TAG,
    leftovers::Named,
    netlink::{FAMILIES, address_family, errno, explain, supported},
};

/// Where a rule without a preference stands: behind `local`, in front of `main`. The kernel's own choice would be just in
/// front of the second rule there is, which is among vipd's.
pub const DEFAULT_PREFERENCE: u32 = 16384;

/// Deletes the tagged rules that are not `wanted`. Goes on after an error.
pub(super) async fn remove_others(handle: &Handle, wanted: &[&VirtualRule]) -> Result<()> {
    let wanted: Vec<VirtualRule> = wanted.iter().map(|rule| normal(rule)).collect();
    let mut problems = Problems::default();
    for (have, message) in list(handle).await? {
        if !have.is_some_and(|have| wanted.contains(&have)) {
            problems.note(delete(handle, message).await);
        }
    }
    problems.into_result()
}

/// Adds what is missing of `wanted`. Goes on after an error.
pub(super) async fn ensure(handle: &Handle, wanted: &[&VirtualRule], repairs: &mut Repairs) -> Result<()> {
    let mut present: Vec<VirtualRule> =
        list(handle).await?.into_iter().filter_map(|(rule, _)| rule).collect();
    let mut problems = Problems::default();
    for rule in wanted.iter().map(|rule| normal(rule)) {
        if !present.contains(&rule) {
            let added = add(handle, &rule).await;
            let name = format!("rule {}", shown(&rule));
            match &added {
                Ok(()) => repairs.note("rule", name),
                Err(_) => repairs.note_refused(name),
            }
            problems.note(added);
            // The same rule of another instance needs no second.
            present.push(rule);
        }
    }
    problems.into_result()
}

/// The tagged rules, with the messages that name them exactly; `None` for one that no [`VirtualRule`] can be.
async fn list(handle: &Handle) -> Result<Vec<(Option<VirtualRule>, RuleMessage)>> {
    let mut rules = Vec::new();
    for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
        let version = match family {
            Family::V4 => IpVersion::V4,
            Family::V6 => IpVersion::V6,
        };
        let mut dump = std::pin::pin!(handle.rule().get(version).execute());
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of rules", &error))?;
            if message.attributes.contains(&RuleAttribute::Protocol(TAG)) {
                rules.push((parse(&message, family), message));
            }
        }
    }
    Ok(rules)
}

/// The tagged rules in words.
pub(super) async fn named(handle: &Handle) -> Result<Vec<Named>> {
    let named = |(rule, message): (Option<VirtualRule>, RuleMessage)| {
        let is_v6 = message.header.family == address_family(Family::V6);
        let text = rule.map_or_else(|| "of an unknown form".to_owned(), |rule| shown(&rule));
        Named { family: if is_v6 { Family::V6 } else { Family::V4 }, table: 0, text }
    };
    Ok(list(handle).await?.into_iter().map(named).collect())
}

async fn add(handle: &Handle, rule: &VirtualRule) -> Result<()> {
    let mut request = handle.rule().add();
    *request.message_mut() = message(rule);
    request.execute().await.map_err(|error| explain(&format!("rule {}", shown(rule)), &error))
}

async fn delete(handle: &Handle, message: RuleMessage) -> Result<()> {
    match handle.rule().del(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(explain("delete a virtual rule", &error)),
        Ok(()) => Ok(()),
    }
}

/// As the kernel shows it: defaults filled in, conditions that always hold left out.
fn normal(rule: &VirtualRule) -> VirtualRule {
    VirtualRule {
        from: rule.from.filter(|prefix| prefix.len > 0),
        to: rule.to.filter(|prefix| prefix.len > 0),
        fwmark: rule.fwmark.filter(|mark| *mark != (0, 0)),
        preference: Some(rule.preference.unwrap_or(DEFAULT_PREFERENCE)),
        ..rule.clone()
    }
}

fn message(rule: &VirtualRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Protocol(TAG));
    attributes.extend(rule.preference.map(RuleAttribute::Priority));
    if let Some(Prefix { address, len }) = rule.from {
        message.header.src_len = len;
        attributes.push(RuleAttribute::Source(address));
    }
    if let Some(Prefix { address, len }) = rule.to {
        message.header.dst_len = len;
        attributes.push(RuleAttribute::Destination(address));
    }
    attributes.extend(rule.iif.clone().map(RuleAttribute::Iifname));
    attributes.extend(rule.oif.clone().map(RuleAttribute::Oifname));
    if let Some((mark, mask)) = rule.fwmark {
        attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
    }
    message.header.action = match rule.action {
        RuleAction::Table(table) => {
            attributes.push(RuleAttribute::Table(table));
            Kernel::ToTable
        }
        RuleAction::Blackhole => Kernel::Blackhole,
        RuleAction::Unreachable => Kernel::Unreachable,
        RuleAction::Prohibit => Kernel::Prohibit,
    };
    message.header.family = address_family(rule.family);
    if rule.not {
        message.header.flags = RuleFlags::Invert;
    }
    message
}

fn parse(message: &RuleMessage, family: Family) -> Option<VirtualRule> {
    let header = &message.header;
    let mut rule = VirtualRule {
        not: header.flags.contains(RuleFlags::Invert),
        family,
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        preference: Some(0),
        action: match header.action {
            Kernel::ToTable => RuleAction::Table(u32::from(header.table)),
            Kernel::Blackhole => RuleAction::Blackhole,
            Kernel::Unreachable => RuleAction::Unreachable,
            Kernel::Prohibit => RuleAction::Prohibit,
            _ => return None,
        },
    };
    let (mut mark, mut mask) = (0, 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = Some(*preference),
            RuleAttribute::Source(address) => {
                rule.from = Some(Prefix { address: *address, len: header.src_len });
            }
            RuleAttribute::Destination(address) => {
                rule.to = Some(Prefix { address: *address, len: header.dst_len });
            }
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(table) => {
                if let RuleAction::Table(id) = &mut rule.action {
                    *id = *table;
                }
            }
            _ => {}
        }
    }
    rule.fwmark = Some((mark, mask));
    Some(normal(&rule))
}

/// As `ip rule` takes it.
fn shown(rule: &VirtualRule) -> String {
    let mut text = if rule.family == Family::V6 { "-6" } else { "-4" }.to_owned();
    if rule.not {
        text += " not";
    }
    for (word, prefix) in [("from", rule.from), ("to", rule.to)] {
        if let Some(Prefix { address, len }) = prefix {
            text += &format!(" {word} {address}/{len}");
        }
    }
    for (word, name) in [("iif", &rule.iif), ("oif", &rule.oif)] {
        if let Some(name) = name {
            text += &format!(" {word} {name}");
        }
    }
    if let Some((mark, mask)) = rule.fwmark {
        text += &format!(" fwmark {mark:#x}/{mask:#x}");
    }
    text += &format!(" pref {}", rule.preference.unwrap_or(DEFAULT_PREFERENCE));
    text + &match rule.action {
        RuleAction::Table(table) => format!(" lookup {table}"),
        RuleAction::Blackhole => " blackhole".to_owned(),
        RuleAction::Unreachable => " unreachable".to_owned(),
        RuleAction::Prohibit => " prohibit".to_owned(),
    }
}

const TAG: RouteProtocol = RouteProtocol::Other(VIRTUAL_TAG);
