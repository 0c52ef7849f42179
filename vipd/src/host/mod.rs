//! What vipd changes in the host: routes, policy rules, sysctls, neighbours, multicast membership.
//!
//! The only module that knows rtnetlink. It decides nothing about mastership and never touches an interface's addresses.
//! Whatever it makes is tagged with [`PROTOCOL_TAG`]; leftovers of a crash are recognised by it.
//!
//! [`Host::open`] spawns two tasks on the current runtime that carry netlink messages. They end when [`Host`] and
//! [`LinkEvents`] are dropped; they hold no state of ours, so ending them at any point is safe.

mod links;
pub mod multicast;
mod neigh;
mod routes;
mod rules;
mod sysctl;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use rtnetlink::Handle;

pub use links::{LinkAddress, LinkChange, LinkError, LinkEvents, LinkState, XdpState};
use routes::{Routes, TABLE_LOCAL, Target, v4};
use rules::Rule;
use sysctl::Sysctls;

/// Protocol number of every route and rule that vipd makes ('v'); `ip route show table all proto 118` lists them.
pub const PROTOCOL_TAG: u8 = b'v';

/// Routing table of instance 0; instance `key` has `TABLE_BASE + key`. "vp" in the upper half: distributions number
/// tables from 1, VRF managers and Cilium use small or `0x3f..` ids.
pub const TABLE_BASE: u32 = 0x7670_0000;

/// What the host should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub instances: Vec<PlannedInstance>,
}

/// One VRRP instance as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInstance {
    /// Unique; names the instance's routing table.
    pub key: u16,
    pub ifindex: u32,
    pub interface: String,
    /// The interface's primary address, the source of the host's own traffic to the VIPs; without one they have no
    /// routes on the link yet.
    pub source: Option<IpAddr>,
    pub vips: Vec<IpAddr>,
}

/// The host's routes, rules and sysctls.
#[derive(Debug)]
pub struct Host {
    handle: Handle,
    sysctls: Sysctls,
    instances: BTreeMap<u16, PlannedInstance>,
    masters: BTreeSet<u16>,
}

impl Host {
    /// Connects to the kernel and subscribes to link and address changes. Needs a tokio runtime; changes nothing.
    pub fn open(state_dir: &Path) -> Result<(Self, LinkEvents)> {
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().context("netlink route socket")?;
        tokio::spawn(connection);
        let events = LinkEvents::subscribe(handle.clone()).context("netlink notifications")?;
        let host = Self {
            handle,
            sysctls: Sysctls::new(state_dir),
            instances: BTreeMap::new(),
            masters: BTreeSet::new(),
        };
        Ok((host, events))
    }

    pub async fn link(&self, name: &str) -> Result<LinkState, LinkError> {
        links::by_name(&self.handle, name).await
    }

    pub async fn link_by_index(&self, ifindex: u32) -> Result<LinkState, LinkError> {
        links::by_index(&self.handle, ifindex).await
    }

    /// Makes the host look like `plan`: adds what is missing, adopts what matches, removes tagged leftovers.
    ///
    /// Call it after XDP is attached and its maps are filled (I4), and again whenever an interface of the plan came up
    /// or changed its addresses: the kernel drops routes with their link or source address. A link that is down gets
    /// its routes then. Idempotent. Instances that were [`set_master`](Self::set_master) keep their rule away.
    pub async fn install(&mut self, plan: &Plan) -> Result<()> {
        let mut instances = BTreeMap::new();
        for instance in &plan.instances {
            if instances.insert(instance.key, instance.clone()).is_some() {
                return Err(anyhow!("our bug: two instances with key {} in the plan", instance.key));
            }
        }
        let local = local_routes(&instances)?;
        let mut tables = Routes::new();
        for instance in instances.values() {
            tables.extend(table_routes(instance)?);
        }
        self.masters.retain(|key| instances.contains_key(key));
        self.instances = instances;
        let wanted_rules: Vec<Rule> = self
            .instances
            .values()
            .filter(|instance| !self.masters.contains(&instance.key))
            .map(instance_rule)
            .collect();

        let interfaces = self.instances.values().map(|i| i.interface.as_str()).collect();
        self.sysctls.raise(&interfaces)?;

        let handle = &self.handle;
        let existing = routes::list(handle).await?;
        let existing_rules = rules::list(handle).await?;
        let stale = |want_local: bool| {
            existing
                .iter()
                .filter(move |((table, _), _)| (*table == TABLE_LOCAL) == want_local)
                .filter(|(key, _)| !local.contains_key(key) && !tables.contains_key(key))
                .map(|(key, target)| (*key, *target))
        };

        routes::remove(handle, stale(true)).await?;
        let skipped = routes::ensure(handle, &tables, &existing).await?;
        if skipped > 0 {
            tracing::info!(routes = skipped, "links are down, their VIP routes come when they are up");
        }
        rules::move_local(handle, &existing_rules).await?;
        rules::ensure(handle, &wanted_rules, &existing_rules).await?;
        // I4: last, when nothing is missing that keeps the kernel from answering by itself.
        routes::ensure(handle, &local, &existing).await?;
        rules::remove_others(handle, &wanted_rules, &existing_rules).await?;
        routes::remove(handle, stale(false)).await
    }

    /// Removes the local routes of an earlier run for VIPs that `plan` does not have.
    ///
    /// To be called while the earlier run's table of VIPs still stands in XDP: after it, nothing would keep the kernel from
    /// answering for them (I4).
    pub async fn retire(&mut self, plan: &Plan) -> Result<()> {
        let planned: BTreeSet<IpAddr> = plan.instances.iter().flat_map(|i| i.vips.iter().copied()).collect();
        let existing = routes::list(&self.handle).await?;
        let retired = existing
            .into_iter()
            .filter(|((table, vip), _)| *table == TABLE_LOCAL && !planned.contains(&(*vip).into()));
        routes::remove(&self.handle, retired).await
    }

    /// Follows mastership: while an instance is master, its VIPs are local to this host.
    ///
    /// Before [`install`](Self::install) (a restart that adopts a lease) it only notes the master for it; the instance
    /// must then be in that plan.
    pub async fn set_master(&mut self, key: u16, master: bool) -> Result<()> {
        if master {
            self.masters.insert(key);
        } else {
            self.masters.remove(&key);
        }
        let Some(instance) = self.instances.get(&key) else {
            return Ok(());
        };
        let rule = instance_rule(instance);
        if master { rules::delete(&self.handle, &rule).await } else { rules::add(&self.handle, &rule).await }
    }

    /// The interface's primary address changed: replaces the source of the instance's routes.
    pub async fn set_source(&mut self, key: u16, source: IpAddr) -> Result<()> {
        let instance =
            self.instances.get_mut(&key).ok_or_else(|| anyhow!("our bug: no instance with key {key}"))?;
        instance.source = Some(v4(source)?.into());
        let wanted = table_routes(instance)?;
        let existing = routes::list(&self.handle).await?;
        routes::ensure(&self.handle, &wanted, &existing).await?;
        Ok(())
    }

    /// Forgets who answered for these VIPs on a link: their master changed. Permanent entries stay.
    pub async fn forget_neighbours(&self, ifindex: u32, vips: &[IpAddr]) -> Result<()> {
        let vips = vips.iter().map(|vip| v4(*vip)).collect::<Result<Vec<_>>>()?;
        neigh::forget(&self.handle, ifindex, &vips).await
    }

    /// Undoes everything that bears our tag, in reverse order, and restores the sysctls. Needs no plan, so it also
    /// clears what a crash left. Goes on after an error and returns the first.
    pub async fn remove_all(&mut self) -> Result<()> {
        self.instances.clear();
        self.masters.clear();
        let handle = &self.handle;
        let existing = routes::list(handle).await?;
        let existing_rules = rules::list(handle).await?;
        let (local, tables): (Routes, Routes) =
            existing.into_iter().partition(|((table, _), _)| *table == TABLE_LOCAL);
        let mut result = routes::remove(handle, local).await;
        result = result.and(rules::remove_others(handle, &[], &existing_rules).await);
        result = result.and(routes::remove(handle, tables).await);
        result = result.and(rules::restore_local(handle, &existing_rules).await);
        result.and(self.sysctls.restore())
    }
}

fn local_routes(instances: &BTreeMap<u16, PlannedInstance>) -> Result<Routes> {
    let vips = instances.values().flat_map(|instance| &instance.vips);
    vips.map(|vip| Ok(((TABLE_LOCAL, v4(*vip)?), Target::Local))).collect()
}

fn table_routes(instance: &PlannedInstance) -> Result<Routes> {
    let Some(source) = instance.source else { return Ok(Routes::new()) };
    let target = Target::Link { oif: instance.ifindex, src: v4(source)? };
    instance.vips.iter().map(|vip| Ok(((table(instance.key), v4(*vip)?), target))).collect()
}

fn instance_rule(instance: &PlannedInstance) -> Rule {
    Rule::instance(&instance.interface, table(instance.key))
}

fn table(key: u16) -> u32 {
    TABLE_BASE + u32::from(key)
}

/// The error number of a netlink answer.
fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

/// Names the object an answer is about, and what to do about it where that is known.
fn explain(object: &str, error: &rtnetlink::Error) -> anyhow::Error {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return anyhow!("{object}: {error}");
    };
    let hint = match message.raw_code().abs() {
        libc::EPERM | libc::EACCES => " (needs CAP_NET_ADMIN)",
        libc::EEXIST => " (made by somebody else)",
        libc::ENETDOWN => " (is the loopback interface up?)",
        libc::EINVAL => " (is the source address configured on this host?)",
        _ => "",
    };
    anyhow!(message.to_io()).context(format!("{object}{hint}"))
}
