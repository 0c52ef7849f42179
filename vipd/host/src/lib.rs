//! What vipd changes in the host: routes, policy rules, addresses on `lo`, MAC filters, sysctls, neighbours, multicast
//! membership.
//!
//! The only crate that knows rtnetlink. It decides nothing about mastership, and touches the addresses of an interface
//! other than `lo` only for `vip_visible` and for VIPs in subnets of their own. Whatever it makes is tagged with [`PROTOCOL_TAG`] or [`VIRTUAL_TAG`], or remembered in a file
//! of the runtime directory where the kernel keeps no tag; leftovers of a crash are recognised by that.
//!
//! [`Host::open`] spawns two tasks on the current runtime that carry netlink messages. They end when [`Host`] and
//! [`LinkEvents`] are dropped; they hold no state of ours, so ending them at any point is safe.

mod batch;
mod default_rules;
mod earlier;
mod egress;
mod ethtool;
mod fdb;
mod first_hop;
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
mod reach;
mod repairs;
mod routes;
mod saved;
mod survey;
mod sysctl;
mod unusable;
mod virtual_routes;
mod virtual_rules;
mod visible;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    mem,
    net::IpAddr,
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use batch::BatchSocket;
use default_rules::DefaultRules;
use earlier::EarlierVersion;
use fdb::Filters;
use netlink::supported;
use offload::RxVlan;
use plan::Instances;
use reach::ReturnPath;
use rtnetlink::Handle;
use sysctl::Sysctls;
use vipd_common::{Family, wire::eth::MacAddr};

pub use egress::{Egress, EgressLookup};
pub use ethtool::SharedQueues;
pub use first_hop::{FirstHop, first_hops};
pub use leftovers::{leftovers, raised_settings, saved_files, xdp_programs};
pub use links::{
    Arrivals, Controller, ETHERNET, InterfaceAddress, LinkChange, LinkError, LinkEvents, LinkState,
    VlanState, is_within,
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
pub use watch::HostWatch;

/// Protocol number of every route, rule and address that vipd makes for VIPs ('v'); `ip route show table all proto 118`
/// lists the routes.
pub const PROTOCOL_TAG: u8 = b'v';
/// Protocol number of `virtual_routes`, `virtual_rules` and the addresses of `vip_visible`.
pub const VIRTUAL_TAG: u8 = b'w';

/// Of so many VIPs of an instance the kernel is asked whether it takes them for its own.
const ASKED_ROUTES: usize = 16;

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
    batch: BatchSocket,
    sysctls: Sysctls,
    earlier: EarlierVersion,
    filters: Filters,
    rx_vlan: RxVlan,
    default_rules: DefaultRules,
    instances: Instances,
    /// Whose VIPs are addresses of this host.
    local: BTreeSet<u16>,
    /// Those of them that own their VIPs.
    masters: BTreeSet<u16>,
    /// Why those instances cannot have what their VIPs are served by, as far as it was tried.
    refused: BTreeMap<u16, String>,
    /// Those of which [`Self::install`] has found such a thing missing.
    deprived: BTreeSet<u16>,
    ways: ReturnPaths,
    virtual_places: virtual_routes::Places,
    /// What was missing and is there now.
    repairs: Repairs,
}

/// How this host answers the clients of its VIPs, as the last look has found it.
#[derive(Debug, Default)]
struct ReturnPaths {
    /// By an address in a subnet, the length of the prefix, and the interface.
    known: BTreeMap<(IpAddr, u8, u32), ReturnPath>,
    /// The instances whose clients cannot be answered, and why.
    missing: BTreeMap<u16, String>,
    /// The families of those.
    without: BTreeSet<Family>,
    /// By the interface.
    detours: BTreeMap<String, String>,
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
            batch: BatchSocket::open()?,
            sysctls: Sysctls::new(state_dir),
            earlier: EarlierVersion::new(state_dir),
            filters: Filters::new(state_dir),
            rx_vlan: RxVlan::new(state_dir),
            default_rules: DefaultRules::default(),
            instances: Instances::default(),
            local: BTreeSet::new(),
            masters: BTreeSet::new(),
            refused: BTreeMap::new(),
            deprived: BTreeSet::new(),
            ways: ReturnPaths::default(),
            virtual_places: virtual_routes::Places::default(),
            repairs: Repairs::default(),
        };
        Ok((host, events))
    }

    pub async fn link(&self, name: &str) -> Result<LinkState, LinkError> {
        links::by_name(&self.handle, name).await
    }

    pub async fn link_by_index(&self, ifindex: u32) -> Result<LinkState, LinkError> {
        links::by_index(&self.handle, ifindex).await
    }

    /// What has come in at an interface so far.
    pub async fn arrivals(&self, ifindex: u32) -> Result<Arrivals, LinkError> {
        links::arrivals(&self.handle, ifindex).await
    }

    /// The MAC of every interface, by its index; all zero where there is none.
    pub async fn macs(&self) -> Result<BTreeMap<u32, MacAddr>> {
        links::macs(&self.handle).await.context("list links")
    }

    /// Makes the host look like `plan`: adds what is missing, adopts what matches, removes tagged leftovers.
    ///
    /// Call it after XDP is attached and its maps are filled (I4), and again whenever an interface of the plan came up
    /// or changed its addresses: the kernel drops routes with their link or source address. A link that is down gets
    /// its routes then. Idempotent; [`Self::take_repairs`] has what was missing. Only VIPs that were made [local](Self::set) have routes.
    ///
    /// # Errors
    ///
    /// What the kernel refuses; the rest is done all the same, and [`Self::refused`] has whom it concerns.
    pub async fn install(&mut self, plan: &Plan) -> Result<()> {
        let mut problems = Problems::default();
        self.instances = Instances::check(plan)?;
        self.local.retain(|key| self.instances.0.contains_key(key));
        self.masters.retain(|key| self.instances.0.contains_key(key));
        (self.refused, self.deprived) = Default::default();
        let families = self.instances.families();
        let mut repairs = mem::take(&mut self.repairs);
        problems.note(self.keep_files(&mut repairs));
        for family in families.iter().copied().filter(|family| supported(*family)) {
            problems.note(self.keep_rules(family, &mut repairs).await);
        }
        problems.note(self.sysctls.raise(&families).map(|raised| repairs.note_all("sysctl", raised)));
        problems.note(self.keep_filters(&mut repairs).await);
        problems.note(self.keep_routes(&mut repairs).await);
        // I4: not while local routes of former VIPs stand.
        problems.note(self.sysctls.restore_others(&families));
        self.repairs = repairs;
        problems.into_result()
    }

    async fn keep_rules(&mut self, family: Family, repairs: &mut Repairs) -> Result<()> {
        match self.default_rules.keep(&self.handle, family).await {
            Ok(restored) => {
                if !restored.is_empty() {
                    self.deprived.extend(self.instances.of_family(family));
                }
                repairs.note_all("rule", restored);
                Ok(())
            }
            Err(error) => {
                for key in self.instances.of_family(family) {
                    self.refused.insert(key, format!("{error:#}"));
                }
                Err(error)
            }
        }
    }

    async fn keep_filters(&mut self, repairs: &mut Repairs) -> Result<()> {
        let applied = self.filters.apply(&self.handle, &self.instances.filters()).await;
        for (interface, error) in self.filters.refused() {
            for key in self.instances.of_filter(interface) {
                self.refused.insert(key, error.clone());
            }
        }
        applied.map(|admitted| repairs.note_all("filter", admitted))
    }

    async fn keep_routes(&mut self, repairs: &mut Repairs) -> Result<()> {
        let mut problems = Problems::default();
        let existing = routes::list(&self.handle).await?;
        let wanted = self.instances.routes(&self.local);
        let mut made = routes::ensure(&mut self.batch, &wanted, &existing).await;
        self.note_whose(&made);
        repairs.note_all("route", made.added.iter().map(routes::Key::name));
        made.refused.iter().for_each(|(key, _)| repairs.note_refused(key.name()));
        if made.skipped > 0 {
            tracing::debug!(
                routes = made.skipped,
                "some links are down: their VIP routes are added when the links are up"
            );
        }
        problems.note(made.error().map_or(Ok(()), Err));
        // After the new ones: an owner whose earlier vipd had made them otherwise has one at every moment.
        problems.note(self.earlier.remove(&self.handle).await);
        let others = existing.into_iter().filter(|(key, _)| !wanted.contains_key(key));
        problems.note(routes::remove(&mut self.batch, others).await);
        if made.skipped == 0 {
            for key in self.local.clone() {
                problems.note(self.note_shadow(key).await);
            }
        }
        problems.into_result()
    }

    /// Takes note if the kernel does not take an instance's VIPs for its own, though their routes are there.
    ///
    /// # Errors
    ///
    /// What comes before them, or what the kernel refuses to say.
    async fn note_shadow(&mut self, key: u16) -> Result<()> {
        let Some(instance) = self.instances.0.get(&key) else { return Ok(()) };
        let routes: Vec<_> =
            instance.local_routes().into_keys().filter(routes::Key::is_local_everywhere).collect();
        for route in routes.into_iter().take(ASKED_ROUTES) {
            if let Some(answer) = routes::shadow(&self.handle, route.address).await? {
                let why = format!(
                    "another program's route or rule comes before the {}: see `ip route get {}`; {answer}",
                    route.name(),
                    route.address
                );
                self.refused.entry(key).or_insert_with(|| why.clone());
                return Err(anyhow!(why));
            }
        }
        Ok(())
    }

    /// Takes note of the instances whose clients this host cannot answer: [`Self::refused`] has them. To be called after
    /// [`install`](Self::install).
    ///
    /// # Errors
    ///
    /// The first of them, or what the kernel refuses to say.
    pub async fn look_at_ways(&mut self) -> Result<()> {
        let mut ways = ReturnPaths::default();
        let mut problems = Problems::default();
        for (key, instance) in &self.instances.0 {
            for link in &instance.links {
                for subnet in &link.subnets {
                    let way = match ways.known.entry((subnet.0, subnet.1, link.ifindex)) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(unknown) => {
                            unknown.insert(reach::way(&self.handle, *subnet, link.ifindex, None).await?)
                        }
                    };
                    match &*way {
                        ReturnPath::Direct => {}
                        ReturnPath::Detour(what) => {
                            _ = ways.detours.insert(link.interface.clone(), what.clone())
                        }
                        ReturnPath::Missing(why) => {
                            let family = netlink::family(subnet.0);
                            ways.without.insert(family);
                            let rules = &self.default_rules;
                            // Without `lookup main` it is soon there again, or that is refused. With rules for sources those are asked
                            // for whose VIPs are local; the others' are tried.
                            if !rules.lack_main(family) && !rules.are_by_source(family) {
                                ways.missing.entry(*key).or_insert_with(|| why.clone());
                            }
                        }
                    }
                }
            }
        }
        self.default_rules.note_ways(&ways.without);
        problems.note(ways.missing.values().next().map_or(Ok(()), |why| Err(anyhow!(why.clone()))));
        self.ways = ways;
        for key in self.local.clone() {
            problems.note(self.note_way_of_vip(key).await);
        }
        problems.into_result()
    }

    /// Takes note if rules lead the answers of an instance's own VIPs nowhere.
    ///
    /// # Errors
    ///
    /// That, or what the kernel refuses to say.
    async fn note_way_of_vip(&mut self, key: u16) -> Result<()> {
        let Some(instance) = self.instances.0.get(&key) else { return Ok(()) };
        for link in &instance.links {
            for subnet in &link.subnets {
                let (family, rules) = (netlink::family(subnet.0), &self.default_rules);
                // Without any way `lookup main` is about to be there again.
                let is_soon = rules.lack_main(family) && self.ways.without.contains(&family);
                let vip = link.vips.iter().find(|vip| is_within(**vip, *subnet));
                let Some(vip) = vip.filter(|_| rules.are_by_source(family) && !is_soon) else { continue };
                if let ReturnPath::Missing(why) =
                    reach::way(&self.handle, *subnet, link.ifindex, Some(*vip)).await?
                {
                    self.ways.missing.entry(key).or_insert_with(|| why.clone());
                    return Err(anyhow!(why));
                }
            }
        }
        Ok(())
    }

    /// The interfaces whose clients are answered by a detour, and which.
    pub fn detours(&self) -> &BTreeMap<String, String> {
        &self.ways.detours
    }

    /// Takes note of whose routes were missing, and whose were refused.
    fn note_whose(&mut self, made: &routes::MadeRoutes) {
        if made.added.is_empty() && made.refused.is_empty() {
            return;
        }
        for (instance, keys) in self.instances.keys_of_routes(&self.local) {
            if made.added.iter().any(|key| keys.contains(key)) {
                self.deprived.insert(instance);
            }
            if let Some((_, error)) = made.refused.iter().find(|(key, _)| keys.contains(key)) {
                self.refused.entry(instance).or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// Takes note of what the files say that a predecessor has left, which has ended: somebody may remove them.
    ///
    /// # Errors
    ///
    /// A file cannot be read for want of descriptors or memory.
    pub fn recall(&self) -> Result<()> {
        self.keep_files(&mut Repairs::default())
    }

    /// Writes again what somebody has removed of the files that say how the host was.
    fn keep_files(&self, repairs: &mut Repairs) -> Result<()> {
        let mut problems = Problems::default();
        let files = [
            self.sysctls.restore_file(),
            self.filters.restore_file(),
            self.rx_vlan.restore_file(),
            self.earlier.restore_file(),
        ];
        for file in files {
            problems.note(file.map(|restored| repairs.note_all("file", restored)));
        }
        problems.into_result()
    }

    /// Why instances cannot have what their VIPs are served by: routes, the filter of a NIC, the rule that looks them up, a way back to
    /// their clients.
    pub fn refused(&self) -> BTreeMap<u16, String> {
        let mut refused = self.ways.missing.clone();
        refused.extend(self.refused.clone());
        refused
    }

    /// The instances of which the last [`Self::install`] has found such a thing missing.
    pub fn deprived(&self) -> &BTreeSet<u16> {
        &self.deprived
    }

    /// What [`Self::install`] and [`Self::sync_virtual`] have found missing and made since the last call, also where something else was
    /// refused.
    pub fn take_repairs(&mut self) -> Repairs {
        self.repairs.take()
    }

    /// Whether [`Self::install`] has left something for a while later.
    pub fn waits(&self) -> bool {
        self.default_rules.waits()
    }

    /// Removes the local routes and addresses of an earlier run for VIPs that `plan` does not have.
    ///
    /// To be called while the earlier run's table of VIPs still stands in XDP: after it, nothing would keep the kernel from
    /// answering for them (I4).
    pub async fn remove_stale(&mut self, plan: &Plan) -> Result<()> {
        let planned = Instances::check(plan)?;
        visible::remove_stale(&self.handle, &planned.visible(None)).await?;
        let (vips, possible) = (planned.vips(), planned.possible_routes());
        let existing = routes::list(&self.handle).await?;
        let is_former = |key: &routes::Key| !vips.contains(&key.address) && !possible.contains(key);
        routes::remove(&mut self.batch, existing.into_iter().filter(|(key, _)| is_former(key))).await
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
        let (local, own) = (instance.local_routes(), instance.connected_routes());
        // Of several instances with VIPs in one subnet the first that is left has the route.
        let mut connected = self.instances.connected_routes(&self.local);
        connected.retain(|key, _| own.contains_key(key));
        let result = match ownership {
            Ownership::None => {
                let mut made = routes::put(&mut self.batch, &connected).await;
                let gone = own.into_iter().filter(|(key, _)| !connected.contains_key(key));
                let mut problems = Problems::default();
                problems.note(made.error().map_or(Ok(()), Err));
                problems.note(routes::remove(&mut self.batch, gone).await);
                problems.note(routes::remove(&mut self.batch, local).await);
                problems.into_result()
            }
            // A link that is down gets its routes by `install`.
            Ownership::Prepared | Ownership::Master => {
                let mut made = routes::put(&mut self.batch, local.iter().chain(&connected)).await;
                match made.error() {
                    Some(error) => Err(error),
                    None if made.skipped == 0 => self.note_shadow(key).await,
                    None => Ok(()),
                }
            }
        };
        match &result {
            Err(error) if ownership != Ownership::None => {
                self.refused.insert(key, format!("{error:#}"));
            }
            _ => _ = self.refused.remove(&key),
        }
        result
    }

    /// Tries whether the VIPs of an instance that does not own them could be addresses of this host, and leaves them as they were:
    /// [`Self::refused`] has the answer.
    pub async fn probe(&mut self, key: u16) -> Result<()> {
        let mut tried = self.set(key, Ownership::Prepared).await;
        if tried.is_ok() {
            tried = self.note_way_of_vip(key).await;
        }
        let refused = self.refused.get(&key).cloned();
        self.set(key, Ownership::None).await?;
        self.refused.extend(refused.map(|refused| (key, refused)));
        tried
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
        (self.refused, self.deprived, self.ways) = Default::default();
        let mut problems = Problems::default();
        problems.note(self.sync_virtual().await);
        self.repairs = Repairs::default();
        let removed = match routes::list(&self.handle).await {
            Ok(existing) => routes::remove(&mut self.batch, existing).await,
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
    /// is named, the rest is made. [`Self::take_repairs`] has what was missing.
    pub async fn sync_virtual(&mut self) -> Result<()> {
        let repairs = &mut self.repairs;
        let (routes, rules) = self.instances.virtual_objects(&self.masters);
        let mut problems = Problems::default();
        let visible = self.instances.visible(Some(&self.masters));
        problems.note(visible::sync(&self.handle, &visible, repairs).await);
        // Rules never stand without their routes; and the kernel looks a new route's gateway up by the rules there are.
        problems.note(virtual_rules::remove_others(&self.handle, &rules).await);
        problems.note(virtual_routes::sync(&self.handle, &routes, &mut self.virtual_places, repairs).await);
        problems.note(virtual_rules::ensure(&self.handle, &rules, repairs).await);
        problems.into_result()
    }
}
