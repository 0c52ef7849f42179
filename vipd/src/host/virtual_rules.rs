//! `virtual_rules`: policy rules of the operator's that follow mastership, tagged as the virtual routes are.

use std::{fmt, net::IpAddr};

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
    VIRTUAL_TAG,
    leftovers::Named,
    netlink::{FAMILIES, Problems, address_family, errno, explain, supported},
};

/// Where a rule without a preference stands: behind `local`, in front of `main`. The kernel's own choice would be just in
/// front of the second rule there is, which is among vipd's.
pub const DEFAULT_PREFERENCE: u32 = 16384;

/// A policy rule that exists while its instance is master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRule {
    pub not: bool,
    pub family_v6: bool,
    pub from: Option<(IpAddr, u8)>,
    pub to: Option<(IpAddr, u8)>,
    pub iif: Option<String>,
    pub oif: Option<String>,
    /// Mark and mask.
    pub fwmark: Option<(u32, u32)>,
    /// `None` is [`DEFAULT_PREFERENCE`].
    pub preference: Option<u32>,
    pub action: RuleKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    Table(u32),
    Blackhole,
    Unreachable,
    Prohibit,
}

/// Deletes the tagged rules that are not `wanted`. Goes on after an error.
pub(super) async fn remove_others(handle: &Handle, wanted: &[&VirtualRule]) -> Result<()> {
    let wanted: Vec<VirtualRule> = wanted.iter().map(|rule| rule.normal()).collect();
    let mut problems = Problems::default();
    for (have, message) in list(handle).await? {
        if !have.is_some_and(|have| wanted.contains(&have)) {
            problems.note(delete(handle, message).await);
        }
    }
    problems.into_result()
}

/// Adds what is missing of `wanted`. Goes on after an error.
pub(super) async fn ensure(handle: &Handle, wanted: &[&VirtualRule]) -> Result<()> {
    let mut present: Vec<VirtualRule> =
        list(handle).await?.into_iter().filter_map(|(rule, _)| rule).collect();
    let mut problems = Problems::default();
    for rule in wanted.iter().map(|rule| rule.normal()) {
        if !present.contains(&rule) {
            problems.note(add(handle, &rule).await);
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
        let text = rule.map_or_else(|| "of an unknown form".to_owned(), |rule| rule.to_string());
        Named { family: if is_v6 { Family::V6 } else { Family::V4 }, table: 0, text }
    };
    Ok(list(handle).await?.into_iter().map(named).collect())
}

async fn add(handle: &Handle, rule: &VirtualRule) -> Result<()> {
    let mut request = handle.rule().add();
    *request.message_mut() = rule.message();
    request.execute().await.map_err(|error| explain(&format!("rule {rule}"), &error))
}

async fn delete(handle: &Handle, message: RuleMessage) -> Result<()> {
    match handle.rule().del(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(explain("delete a virtual rule", &error)),
        Ok(()) => Ok(()),
    }
}

impl VirtualRule {
    /// As the kernel shows it: defaults filled in, conditions that always hold left out.
    fn normal(&self) -> Self {
        Self {
            from: self.from.filter(|(_, length)| *length > 0),
            to: self.to.filter(|(_, length)| *length > 0),
            fwmark: self.fwmark.filter(|mark| *mark != (0, 0)),
            preference: Some(self.preference.unwrap_or(DEFAULT_PREFERENCE)),
            ..self.clone()
        }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Protocol(TAG));
        attributes.extend(self.preference.map(RuleAttribute::Priority));
        if let Some((address, length)) = self.from {
            message.header.src_len = length;
            attributes.push(RuleAttribute::Source(address));
        }
        if let Some((address, length)) = self.to {
            message.header.dst_len = length;
            attributes.push(RuleAttribute::Destination(address));
        }
        attributes.extend(self.iif.clone().map(RuleAttribute::Iifname));
        attributes.extend(self.oif.clone().map(RuleAttribute::Oifname));
        if let Some((mark, mask)) = self.fwmark {
            attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
        }
        message.header.action = match self.action {
            RuleKind::Table(table) => {
                attributes.push(RuleAttribute::Table(table));
                RuleAction::ToTable
            }
            RuleKind::Blackhole => RuleAction::Blackhole,
            RuleKind::Unreachable => RuleAction::Unreachable,
            RuleKind::Prohibit => RuleAction::Prohibit,
        };
        message.header.family = address_family(if self.family_v6 { Family::V6 } else { Family::V4 });
        if self.not {
            message.header.flags = RuleFlags::Invert;
        }
        message
    }
}

fn parse(message: &RuleMessage, family: Family) -> Option<VirtualRule> {
    let header = &message.header;
    let mut rule = VirtualRule {
        not: header.flags.contains(RuleFlags::Invert),
        family_v6: family == Family::V6,
        from: None,
        to: None,
        iif: None,
        oif: None,
        fwmark: None,
        preference: Some(0),
        action: match header.action {
            RuleAction::ToTable => RuleKind::Table(u32::from(header.table)),
            RuleAction::Blackhole => RuleKind::Blackhole,
            RuleAction::Unreachable => RuleKind::Unreachable,
            RuleAction::Prohibit => RuleKind::Prohibit,
            _ => return None,
        },
    };
    let (mut mark, mut mask) = (0, 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = Some(*preference),
            RuleAttribute::Source(address) => rule.from = Some((*address, header.src_len)),
            RuleAttribute::Destination(address) => rule.to = Some((*address, header.dst_len)),
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::FwMark(value) => mark = *value,
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(table) => {
                if let RuleKind::Table(id) = &mut rule.action {
                    *id = *table;
                }
            }
            _ => {}
        }
    }
    rule.fwmark = Some((mark, mask));
    Some(rule.normal())
}

/// As `ip rule` takes it.
impl fmt::Display for VirtualRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = |f: &mut fmt::Formatter<'_>, word, prefix: Option<(IpAddr, u8)>| {
            prefix.map_or(Ok(()), |(address, length)| write!(f, " {word} {address}/{length}"))
        };
        let name = |f: &mut fmt::Formatter<'_>, word, name: &Option<String>| {
            name.as_ref().map_or(Ok(()), |name| write!(f, " {word} {name}"))
        };
        write!(f, "{}", if self.family_v6 { "-6" } else { "-4" })?;
        if self.not {
            write!(f, " not")?;
        }
        prefix(f, "from", self.from)?;
        prefix(f, "to", self.to)?;
        name(f, "iif", &self.iif)?;
        name(f, "oif", &self.oif)?;
        if let Some((mark, mask)) = self.fwmark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " pref {}", self.preference.unwrap_or(DEFAULT_PREFERENCE))?;
        match self.action {
            RuleKind::Table(table) => write!(f, " lookup {table}"),
            RuleKind::Blackhole => write!(f, " blackhole"),
            RuleKind::Unreachable => write!(f, " unreachable"),
            RuleKind::Prohibit => write!(f, " prohibit"),
        }
    }
}

const TAG: RouteProtocol = RouteProtocol::Other(VIRTUAL_TAG);
