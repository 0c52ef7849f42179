//! What vipd changes in the host: routes, policy rules, addresses on `lo`, MAC filters, sysctls, neighbours, multicast
//! membership.
//!
//! The only crate that knows rtnetlink. It decides nothing about mastership, and touches the addresses of an interface
//! other than `lo` only for `vip_visible`. Whatever it makes is tagged with [`PROTOCOL_TAG`] or [`VIRTUAL_TAG`], or remembered in a file
//! of the runtime directory where the kernel keeps no tag; leftovers of a crash are recognised by that.
//!
//! [`Host::open`] spawns two tasks on the current runtime that carry netlink messages. They end when [`Host`] and
//! [`LinkEvents`] are dropped; they hold no state of ours, so ending them at any point is safe.

mod earlier;
mod ethtool;
mod fdb;
mod leftovers;
mod links;
mod local;
mod mc_filter;
pub mod multicast;
mod neigh;
mod neighbour_tables;
mod netlink;
mod offload;
mod plan;
mod repairs;
mod routes;
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

use anyhow::{Context, Result};
use earlier::EarlierVersion;
use fdb::Filters;
use offload::RxVlan;
use plan::Instances;
use rtnetlink::Handle;
use sysctl::Sysctls;
use vipd_common::wire::eth::MacAddr;

pub use ethtool::SharedQueues;
pub use leftovers::{leftovers, saved_files};
pub use links::{
    Controller, ETHERNET, InterfaceAddress, LinkChange, LinkError, LinkEvents, LinkState, VlanState,
    is_within,
};
pub use local::is_local;
pub use neighbour_tables::NeighbourTable;
pub use plan::{Plan, PlannedFilter, PlannedInstance, PlannedLink};
pub use repairs::{Repair, Repairs};
pub use survey::{BridgeState, Survey, SurveyedLink, SurveyedRule};
pub use unusable::UnusableInterface;
pub use vipd_system::{
    Problems, XdpState,
    leftover::{Leftover, LeftoverKind},
};
pub use virtual_rules::DEFAULT_PREFERENCE;

/// Protocol number of every route, rule and address that vipd makes for VIPs ('v'); `ip route show table all proto 118`
/// lists the routes.
pub const PROTOCOL_TAG: u8 = b'v';
/// Protocol number of `virtual_routes`, `virtual_rules` and the addresses of `vip_visible`.
pub const VIRTUAL_TAG: u8 = b'w';

/// What this host is to an instance's VIPs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Another node owns them, or nobody does.
    #[default]
    None,
    /// This node is about to own them: they are local already, so that nothing is left to do at the takeover.
    Prepared,
    Master,
}

/// The host's routes, rules, addresses, filters and sysctls.
#[derive(Debug)]
pub struct Host {
    handle: Handle,
    sysctls: Sysctls,
    earlier: EarlierVersion,
    filters: Filters,
    rx_vlan: RxVlan,
    instances: Instances,
    /// Whose VIPs are addresses of this host.
    local: BTreeSet<u16>,
    /// Those of them that own their VIPs.
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
            earlier: EarlierVersion::new(state_dir),
            filters: Filters::new(state_dir),
            rx_vlan: RxVlan::new(state_dir),
            instances: Instances::default(),
            local: BTreeSet::new(),
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
    /// its routes then. Idempotent; returns what was missing. Only VIPs that were made [local](Self::set) have routes.
    pub async fn install(&mut self, plan: &Plan) -> Result<Repairs> {
        let mut repairs = Repairs::default();
        self.instances = Instances::check(plan)?;
        self.local.retain(|key| self.instances.0.contains_key(key));
        self.masters.retain(|key| self.instances.0.contains_key(key));
        let families = self.instances.families();
        repairs.note_all("sysctl", self.sysctls.raise(&families)?);
        repairs.note_all("filter", self.filters.apply(&self.handle, &self.instances.filters()).await?);

        let handle = &self.handle;
        let existing = routes::list(handle).await?;
        let local = self.instances.local_routes(&self.local);
        let (added, skipped) = routes::ensure(handle, &local, &existing).await?;
        repairs.note_all("route", added);
        if skipped > 0 {
            tracing::info!(
                routes = skipped,
                "some links are down: their VIP routes are added when the links are up"
            );
        }
        // After the new ones: an owner whose earlier vipd had made them otherwise has one at every moment.
        self.earlier.remove(handle).await?;
        routes::remove(handle, existing.into_iter().filter(|(key, _)| !local.contains_key(key))).await?;
        // I4: not while local routes of former VIPs stand.
        self.sysctls.restore_others(&families)?;
        Ok(repairs)
    }

    /// Removes the local routes and addresses of an earlier run for VIPs that `plan` does not have.
    ///
    /// To be called while the earlier run's table of VIPs still stands in XDP: after it, nothing would keep the kernel from
    /// answering for them (I4).
    pub async fn remove_stale(&mut self, plan: &Plan) -> Result<()> {
        let planned = Instances::check(plan)?;
        visible::remove_stale(&self.handle, &planned.visible(None)).await?;
        let vips = planned.vips();
        let existing = routes::list(&self.handle).await?;
        routes::remove(&self.handle, existing.into_iter().filter(|(key, _)| !vips.contains(&key.vip))).await
    }

    /// Makes an instance's VIPs addresses of this host, or of no concern to it.
    ///
    /// An owner needs them at the moment of its takeover. What is made before, for one that is about to take over, is a
    /// [`Ownership::Prepared`]. Before [`install`](Self::install) (a restart that adopts a lease) it only notes the owner for it; the
    /// instance must then be in that plan. After an error it may be called again, and does what is missing.
    pub async fn set(&mut self, key: u16, ownership: Ownership) -> Result<()> {
        let note = |set: &mut BTreeSet<u16>, is_in| if is_in { set.insert(key) } else { set.remove(&key) };
        note(&mut self.local, ownership != Ownership::None);
        note(&mut self.masters, ownership == Ownership::Master);
        let Some(instance) = self.instances.0.get(&key) else {
            return Ok(());
        };
        let routes = instance.local_routes();
        match ownership {
            Ownership::None => routes::remove(&self.handle, routes).await,
            // A link that is down gets its routes by `install`.
            Ownership::Prepared | Ownership::Master => routes::put(&self.handle, &routes).await.map(drop),
        }
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
        self.local.clear();
        self.masters.clear();
        let mut problems = Problems::default();
        problems.note(self.sync_virtual().await.map(drop));
        let removed = match routes::list(&self.handle).await {
            Ok(existing) => routes::remove(&self.handle, existing).await,
            Err(error) => Err(error),
        };
        let answers_for_none = removed.is_ok();
        problems.note(removed);
        problems.note(self.earlier.remove(&self.handle).await);
        problems.note(self.filters.apply(&self.handle, &fdb::Wanted::new()).await.map(drop));
        problems.note(self.rx_vlan.restore());
        // I4: not while local routes stand.
        if answers_for_none {
            problems.note(self.sysctls.restore_others(&[]));
        }
        problems.into_result()
    }

    /// Makes the virtual routes and rules, and the VIPs that are shown as addresses, be those of the masters. What the kernel refuses
    /// is named, the rest is made. Returns what was missing.
    pub async fn sync_virtual(&self) -> Result<Repairs> {
        let mut repairs = Repairs::default();
        let (routes, rules) = self.instances.virtual_objects(&self.masters);
        let mut problems = Problems::default();
        let visible = self.instances.visible(Some(&self.masters));
        problems.note(visible::sync(&self.handle, &visible, &mut repairs).await);
        // Rules never stand without their routes; and the kernel looks a new route's gateway up by the rules there are.
        problems.note(virtual_rules::remove_others(&self.handle, &rules).await);
        problems.note(virtual_routes::sync(&self.handle, &routes, &mut repairs).await);
        problems.note(virtual_rules::ensure(&self.handle, &rules, &mut repairs).await);
        problems.into_result().map(|()| repairs)
    }
}
