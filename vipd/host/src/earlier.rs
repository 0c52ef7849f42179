//! What a vipd up to 0.1 has left: VIPs were local on every node, and policy rules kept a backup's own traffic from them.
//!
//! ```text
//! 90:  not from all iif eth0 lookup 1987117059      and the tables that such rules name
//! 100: from all lookup local proto 118              moved here from 0
//! inet6 2001:db8::100/128 dev lo proto 118
//! ```

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use anyhow::Result;
use futures_util::StreamExt;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage},
        route::RouteProtocol,
        rule::{RuleAttribute, RuleMessage},
    },
};
use vipd_common::Family;
use vipd_system::{
    Problems,
    leftover::{Leftover, LeftoverKind},
};

use super::{
    PROTOCOL_TAG, default_rules,
    netlink::{FAMILIES, LOOPBACK, errno, explain, supported},
    routes::TABLE_LOCAL,
    saved::Saved,
    visible::is_for_show,
};

/// Where the kernel's rule `lookup local` was moved to.
const PREF_LOCAL_MOVED: u32 = 100;

#[derive(Debug)]
pub(super) struct EarlierVersion {
    /// IPv6 VIPs on `lo`: kernels before 5.18 drop the protocol of an address, and the tag with it.
    addresses: Saved<BTreeSet<Ipv6Addr>>,
}

impl EarlierVersion {
    pub const FILE: &str = "addresses.json";

    pub fn new(state_dir: &Path) -> Self {
        Self { addresses: Saved::new(state_dir, Self::FILE) }
    }

    /// Writes the file again if somebody has removed it.
    pub fn restore_file(&self) -> Result<Option<String>> {
        self.addresses.restore()
    }

    /// Removes them; the host has a rule `lookup local` at every moment. Goes on after an error.
    pub async fn remove(&self, handle: &Handle) -> Result<()> {
        let mut problems = Problems::default();
        for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
            problems.note(remove_rules(handle, family).await);
        }
        if supported(Family::V6) {
            problems.note(self.remove_addresses(handle).await);
        }
        problems.into_result()
    }

    /// What there is of it, in words.
    pub async fn leftovers(&self, handle: &Handle) -> Result<Vec<Leftover>> {
        let mut found = Vec::new();
        for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
            let number = if family == Family::V4 { 4 } else { 6 };
            let rules = Rules::list(handle, family).await?;
            found.extend(rules.stale.iter().map(|(preference, _)| {
                let what = format!("IPv{number} rule {preference} protocol {PROTOCOL_TAG}");
                let fix = format!("ip -{number} rule del pref {preference} protocol {PROTOCOL_TAG}");
                Leftover::new(LeftoverKind::Rule, what, fix)
            }));
            if rules.moved.is_some() {
                let what = format!("IPv{number} rule {PREF_LOCAL_MOVED}: lookup local, which belongs at 0");
                let fix = format!(
                    "ip -{number} rule add pref 0 lookup local; ip -{number} rule del pref {PREF_LOCAL_MOVED}"
                );
                found.push(Leftover::new(LeftoverKind::Rule, what, fix));
            }
        }
        if supported(Family::V6) {
            for (vip, _) in self.addresses(handle).await? {
                let fix = format!("ip address del {vip}/128 dev lo");
                found.push(
                    Leftover::new(LeftoverKind::Address, format!("address {vip}/128 on lo"), fix).answering(),
                );
            }
        }
        Ok(found)
    }

    async fn remove_addresses(&self, handle: &Handle) -> Result<()> {
        for (address, message) in self.addresses(handle).await? {
            match handle.address().del(message).execute().await {
                Err(error) if errno(&error) == Some(libc::EADDRNOTAVAIL) => {}
                result => result.map_err(|error| explain(&format!("address {address}/128 on lo"), &error))?,
            }
        }
        self.addresses.save(&BTreeSet::new())
    }

    /// IPv6 VIPs on `lo`, with the messages that name them.
    async fn addresses(&self, handle: &Handle) -> Result<Vec<(Ipv6Addr, AddressMessage)>> {
        let added = self.addresses.load()?;
        let mut get = handle.address().get();
        get.message_mut().header.family = AddressFamily::Inet6;
        let mut dump = std::pin::pin!(get.execute());
        let mut ours = Vec::new();
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of addresses", &error))?;
            let on_loopback = message.header.index == LOOPBACK && message.header.prefix_len == 128;
            if on_loopback
                && !is_for_show(&message)
                && let Some((address, tagged)) = parse(&message)
                && (tagged || added.contains(&address))
            {
                ours.push((address, message));
            }
        }
        Ok(ours)
    }
}

/// A family's rules that bear our tag.
#[derive(Debug, Default)]
struct Rules {
    /// Those of backups, with their preferences.
    stale: Vec<(u32, RuleMessage)>,
    /// `lookup local` at [`PREF_LOCAL_MOVED`].
    moved: Option<RuleMessage>,
    /// Whether the kernel's own stands at 0.
    original: bool,
}

impl Rules {
    async fn list(handle: &Handle, family: Family) -> Result<Self> {
        let version = match family {
            Family::V4 => IpVersion::V4,
            Family::V6 => IpVersion::V6,
        };
        let mut dump = std::pin::pin!(handle.rule().get(version).execute());
        let mut rules = Self::default();
        while let Some(message) = dump.next().await {
            let message = message.map_err(|error| explain("list of rules", &error))?;
            let (mut preference, mut table, mut ours) = (0, u32::from(message.header.table), false);
            for attribute in &message.attributes {
                match attribute {
                    RuleAttribute::Priority(value) => preference = *value,
                    RuleAttribute::Table(value) => table = *value,
                    RuleAttribute::Protocol(protocol) => ours = *protocol == TAG,
                    _ => {}
                }
            }
            match (preference, table, ours) {
                (PREF_LOCAL_MOVED, TABLE_LOCAL, true) => rules.moved = Some(message),
                (0, TABLE_LOCAL, false) => rules.original = true,
                (_, _, true) => rules.stale.push((preference, message)),
                _ => {}
            }
        }
        Ok(rules)
    }
}

/// Removes the family's rules. The one that says `lookup local` goes last, when the kernel's is back at 0.
async fn remove_rules(handle: &Handle, family: Family) -> Result<()> {
    let Rules { stale, moved, original } = Rules::list(handle, family).await?;
    for (_, message) in stale {
        delete(handle, message).await?;
    }
    let Some(moved) = moved else { return Ok(()) };
    if !original {
        let mut request = handle.rule().add();
        *request.message_mut() = default_rules::rule(family, 0, TABLE_LOCAL);
        match request.execute().await {
            Err(error) if errno(&error) == Some(libc::EEXIST) => {}
            result => result.map_err(|error| explain("rule 0: lookup local", &error))?,
        }
    }
    delete(handle, moved).await
}

async fn delete(handle: &Handle, message: RuleMessage) -> Result<()> {
    match handle.rule().del(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        result => result.map_err(|error| explain("rule of an earlier vipd", &error)),
    }
}

/// The address, and whether it bears our tag.
fn parse(message: &AddressMessage) -> Option<(Ipv6Addr, bool)> {
    let (mut local, mut address, mut tagged) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V6(v6)) => local = Some(*v6),
            AddressAttribute::Address(IpAddr::V6(v6)) => address = Some(*v6),
            AddressAttribute::Protocol(protocol) => tagged = u8::from(*protocol) == PROTOCOL_TAG,
            _ => {}
        }
    }
    // With a peer IFA_ADDRESS is the peer's, and ours is IFA_LOCAL.
    Some((local.or(address)?, tagged))
}

const TAG: RouteProtocol = RouteProtocol::Other(PROTOCOL_TAG);
