//! What vipd changes in the host: routes, policy rules, addresses on `lo`, MAC filters, sysctls, neighbours, multicast
//! membership.
//!
//! The only module that knows rtnetlink. It decides nothing about mastership, and touches the addresses of an interface
//! other than `lo` only for `vip_visible`. Whatever it makes is tagged with [`PROTOCOL_TAG`] or [`VIRTUAL_TAG`], or remembered in a file
//! of the runtime directory where the kernel keeps no tag; leftovers of a crash are recognised by that.
//!
//! [`Host::open`] spawns two tasks on the current runtime that carry netlink messages. They end when [`Host`] and
//! [`LinkEvents`] are dropped; they hold no state of ours, so ending them at any point is safe.

mod addresses;
mod ethtool;
mod fdb;
mod links;
mod local;
mod mc_filter;
pub mod multicast;
mod neigh;
mod netlink;
mod offload;
mod plan;
mod routes;
mod rules;
mod saved;
mod survey;
mod sysctl;
mod unusable;
mod virtual_routes;
mod virtual_rules;
mod visible;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use addresses::Addresses;
use anyhow::{Context, Result};
use fdb::Filters;
use netlink::FAMILIES;
use offload::RxVlan;
use plan::Instances;
use routes::Routes;
use rtnetlink::Handle;
use sysctl::Sysctls;
use vipd_common::{Family, wire::eth::MacAddr};

pub use ethtool::SharedQueues;
pub use links::{
    Controller, ETHERNET, LinkAddress, LinkChange, LinkError, LinkEvents, LinkState, VlanState, XdpState,
    is_within,
};
pub use local::is_local;
pub use netlink::Problems;
pub use plan::{Plan, PlannedFilter, PlannedInstance, PlannedLink, TABLE_BASE};
pub use survey::{BridgeState, Survey, SurveyedLink, SurveyedRule};
pub use unusable::Unusable;
pub use virtual_rules::DEFAULT_PREFERENCE;

/// Protocol number of every route, rule and address that vipd makes for VIPs ('v'); `ip route show table all proto 118`
/// lists the routes.
pub const PROTOCOL_TAG: u8 = b'v';
/// Protocol number of `virtual_routes`, `virtual_rules` and the addresses of `vip_visible`.
pub const VIRTUAL_TAG: u8 = b'w';

/// The host's routes, rules, addresses, filters and sysctls.
#[derive(Debug)]
pub struct Host {
    handle: Handle,
    sysctls: Sysctls,
    addresses: Addresses,
    filters: Filters,
    rx_vlan: RxVlan,
    instances: Instances,
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
            addresses: Addresses::new(state_dir),
            filters: Filters::new(state_dir),
            rx_vlan: RxVlan::new(state_dir),
            instances: Instances::default(),
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

    /// The MAC of every interface, by its index; all zero where there is none.
    pub async fn macs(&self) -> Result<BTreeMap<u32, MacAddr>> {
        links::macs(&self.handle).await.context("list links")
    }

    /// Makes the host look like `plan`: adds what is missing, adopts what matches, removes tagged leftovers.
    ///
    /// Call it after XDP is attached and its maps are filled (I4), and again whenever an interface of the plan came up
    /// or changed its addresses: the kernel drops routes with their link or source address. A link that is down gets
    /// its routes then. Idempotent. Instances that were [`set_master`](Self::set_master) keep what is a backup's away.
    pub async fn install(&mut self, plan: &Plan) -> Result<()> {
        self.instances = Instances::check(plan)?;
        self.masters.retain(|key| self.instances.0.contains_key(key));
        if self.instances.have(Family::V4) {
            self.sysctls.raise()?;
        }
        self.filters.apply(&self.handle, &self.instances.filters()).await?;

        let handle = &self.handle;
        let existing = routes::list(handle).await?;
        let existing_addresses = self.addresses.list(handle).await?;
        let local = self.instances.local_routes(&existing_addresses);
        let tables = self.instances.table_routes(&self.masters);
        let addresses = self.instances.addresses();
        let backup_rules = self.instances.backup_rules(&self.masters);
        let stale = |want_local: bool| {
            existing
                .iter()
                .filter(move |(key, _)| key.is_local() == want_local)
                .filter(|(key, _)| !local.contains_key(key) && !tables.contains_key(key))
                .map(|(key, target)| (*key, *target))
        };

        routes::remove(handle, stale(true)).await?;
        self.addresses.remove_others(handle, &addresses, &existing_addresses).await?;
        let skipped = routes::ensure(handle, &tables, &existing).await?;
        if skipped > 0 {
            tracing::info!(routes = skipped, "links are down, their VIP routes come when they are up");
        }
        let mut existing_rules = BTreeMap::new();
        for family in FAMILIES {
            let existing = rules::list(handle, family).await?;
            if self.instances.have(family) {
                rules::move_local(handle, &existing).await?;
                rules::ensure(handle, &backup_rules, &existing).await?;
            }
            existing_rules.insert(family, existing);
        }
        // I4: last, when nothing is missing that keeps the kernel from answering by itself. A link that is down gets its
        // link-local VIPs when it is up, as the routes above.
        routes::ensure(handle, &local, &existing).await?;
        self.addresses.ensure(handle, &addresses, &existing_addresses).await?;
        for (family, existing) in &existing_rules {
            rules::remove_others(handle, &backup_rules, existing).await?;
            if !self.instances.have(*family) {
                rules::restore_local(handle, existing).await?;
            }
        }
        routes::remove(handle, stale(false)).await?;
        // I4: not while local routes of former VIPs stand.
        if self.instances.have(Family::V4) { Ok(()) } else { self.sysctls.restore() }
    }

    /// Removes the local routes and addresses of an earlier run for VIPs that `plan` does not have.
    ///
    /// To be called while the earlier run's table of VIPs still stands in XDP: after it, nothing would keep the kernel from
    /// answering for them (I4).
    pub async fn retire(&mut self, plan: &Plan) -> Result<()> {
        let planned = Instances::check(plan)?;
        visible::retire(&self.handle, &planned.visible(None)).await?;
        let existing_addresses = self.addresses.list(&self.handle).await?;
        let local = planned.local_routes(&existing_addresses);
        let existing = routes::list(&self.handle).await?;
        let retired = existing.into_iter().filter(|(key, _)| key.is_local() && !local.contains_key(key));
        routes::remove(&self.handle, retired).await?;
        self.addresses.remove_others(&self.handle, &planned.addresses(), &existing_addresses).await
    }

    /// Follows mastership: while an instance is master, its VIPs are local to this host.
    ///
    /// Before [`install`](Self::install) (a restart that adopts a lease) it only notes the master for it; the instance
    /// must then be in that plan. After an error it may be called again, and does what is missing.
    pub async fn set_master(&mut self, key: u16, master: bool) -> Result<()> {
        if master {
            self.masters.insert(key);
        } else {
            self.masters.remove(&key);
        }
        let Some(instance) = self.instances.0.get(&key) else {
            return Ok(());
        };
        let mut problems = Problems::default();
        let routes = instance.backup_routes();
        if master {
            let others = self.instances.backup_rules(&self.masters);
            for rule in instance.backup_rules().iter().filter(|rule| !others.contains(rule)) {
                problems.note(rules::delete(&self.handle, rule).await);
            }
            problems.note(routes::remove(&self.handle, routes).await);
        } else {
            // A link that is down gets its routes by `install`.
            problems.note(routes::put(&self.handle, &routes).await);
            for rule in instance.backup_rules() {
                problems.note(rules::add(&self.handle, &rule).await);
            }
        }
        problems.into_result()
    }

    /// Turns the stripping of VLAN tags on reception on or off; [`remove_all`](Self::remove_all) restores it.
    pub fn set_rx_vlan(&mut self, interface: &str, on: bool) -> Result<()> {
        self.rx_vlan.set(interface, on)
    }

    /// Looks whether the stripping of VLAN tags is still off, as [`set_rx_vlan`](Self::set_rx_vlan) has left it, and turns it off
    /// if not; returns whether it was on.
    pub fn check_rx_vlan(&mut self, interface: &str) -> Result<bool> {
        self.rx_vlan.keep_off(interface)
    }

    /// Has the NIC strip VLAN tags on reception again, if it did before vipd.
    pub fn restore_rx_vlan(&mut self, interface: &str) -> Result<()> {
        self.rx_vlan.restore_one(interface)
    }

    /// Forgets who answered for these VIPs on a link: their master changed. Permanent entries stay.
    pub async fn forget_neighbours(&self, ifindex: u32, vips: &[IpAddr]) -> Result<()> {
        neigh::forget(&self.handle, ifindex, vips).await
    }

    /// Undoes everything that bears our tags or is remembered, in reverse order. Needs no plan, so it also clears what a
    /// crash left. Goes on after an error, and names them all.
    pub async fn remove_all(&mut self) -> Result<()> {
        self.instances = Instances::default();
        self.masters.clear();
        let mut problems = Problems::default();
        problems.note(self.sync_virtual().await);
        let removed = self.remove_vips().await;
        let answers_for_none = removed.is_ok();
        problems.note(removed);
        problems.note(self.filters.apply(&self.handle, &fdb::Wanted::new()).await);
        problems.note(self.rx_vlan.restore());
        // I4: not while local routes stand.
        if answers_for_none {
            problems.note(self.sysctls.restore());
        }
        problems.into_result()
    }

    /// Removes all routes, rules and addresses of VIPs.
    async fn remove_vips(&self) -> Result<()> {
        let handle = &self.handle;
        let mut problems = Problems::default();
        let existing = routes::list(handle).await?;
        let (local, tables): (Routes, Routes) = existing.into_iter().partition(|(key, _)| key.is_local());
        problems.note(routes::remove(handle, local).await);
        let mut existing_rules = Vec::new();
        for family in FAMILIES {
            match rules::list(handle, family).await {
                Ok(existing) => {
                    problems.note(rules::remove_others(handle, &[], &existing).await);
                    existing_rules.push(existing);
                }
                Err(error) => problems.note(Err(error)),
            }
        }
        problems.note(routes::remove(handle, tables).await);
        // Not with the local routes: the kernel answers for no address of `lo`, and walks all its routes for each removal.
        problems.note(self.remove_addresses().await);
        for existing in &existing_rules {
            problems.note(rules::restore_local(handle, existing).await);
        }
        problems.into_result()
    }

    async fn remove_addresses(&self) -> Result<()> {
        let existing = self.addresses.list(&self.handle).await?;
        self.addresses.remove_others(&self.handle, &BTreeSet::new(), &existing).await
    }

    /// Makes the virtual routes and rules, and the VIPs that are shown as addresses, be those of the masters. What the kernel refuses is named, the rest is made.
    pub async fn sync_virtual(&self) -> Result<()> {
        let (routes, rules) = self.instances.virtual_objects(&self.masters);
        let mut problems = Problems::default();
        problems.note(visible::sync(&self.handle, &self.instances.visible(Some(&self.masters))).await);
        // Rules never stand without their routes; and the kernel looks a new route's gateway up by the rules there are.
        problems.note(virtual_rules::remove_others(&self.handle, &rules).await);
        problems.note(virtual_routes::sync(&self.handle, &routes).await);
        problems.note(virtual_rules::ensure(&self.handle, &rules).await);
        problems.into_result()
    }
}
