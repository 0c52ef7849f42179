//! What a vipd has made or changed in the host and has not undone, by name, and how each is undone by hand.
//!
//! Everything is recognised as [`Host::remove_all`](super::Host::remove_all) recognises it: by tag, or by the files of the runtime
//! directory. Reads only.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rtnetlink::Handle;

use super::{
    earlier::EarlierVersion, fdb::Filters, links, offload::RxVlan, routes, sysctl::Sysctls, virtual_routes,
    virtual_rules, visible,
};
use vipd_common::Family;
use vipd_system::{
    interface_names::name_of,
    leftover::{Leftover, LeftoverKind},
};

/// Settings that are as a vipd sets them, of which the runtime directory does not say what they were: whether one has set them is not
/// known.
pub fn raised_settings(state_dir: &Path) -> Result<Vec<String>> {
    let raised = Sysctls::new(state_dir).unaccounted()?;
    Ok(raised.into_iter().map(|(name, value)| format!("{name} = {value}")).collect())
}

/// All of the host's, in the order in which it is undone.
pub(super) async fn all(
    handle: &Handle,
    (earlier, filters, rx_vlan, sysctls): (&EarlierVersion, &Filters, &RxVlan, &Sysctls),
) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for (ifindex, vip, bits) in visible::list(handle).await? {
        let name = interface(ifindex);
        let what = format!("address {vip}/{bits} on {name} (vip_visible)");
        let fix = format!("ip address del {vip}/{bits} dev {name}");
        found.push(Leftover::new(LeftoverKind::VisibleAddress, what, fix).answering());
    }
    for rule in virtual_rules::named(handle).await? {
        let fix = format!("ip {} rule del protocol {}", flag(rule.family), super::VIRTUAL_TAG);
        found.push(Leftover::new(LeftoverKind::VirtualRule, format!("virtual rule {}", rule.text), fix));
    }
    for route in virtual_routes::named(handle).await? {
        let fix = format!(
            "ip {} route flush table {} protocol {}",
            flag(route.family),
            route.table,
            super::VIRTUAL_TAG
        );
        found.push(Leftover::new(LeftoverKind::VirtualRoute, format!("virtual route {}", route.text), fix));
    }
    for key in routes::list(handle).await?.into_keys() {
        let route = Leftover::new(LeftoverKind::Route, key.name(), key.removal());
        found.push(if key.is_local() { route.answering() } else { route });
    }
    found.extend(earlier.leftovers(handle).await?);
    for (name, mac) in filters.macs()? {
        let what = format!("MAC {mac} in the filter of {name}");
        let fix = match mac.0[0] & 1 {
            0 => format!("bridge fdb del {mac} dev {name} self"),
            _ => format!("ip maddress del {mac} dev {name}"),
        };
        found.push(Leftover::new(LeftoverKind::MacFilter, what, fix));
    }
    for name in filters.promiscuous()? {
        let fix = format!("ip link set dev {name} promisc off");
        found.push(Leftover::new(LeftoverKind::Promiscuous, format!("promiscuous mode of {name}"), fix));
    }
    for (name, on) in rx_vlan.changed()? {
        let (now, before) = if on { ("off", "on") } else { ("on", "off") };
        let what = format!("rxvlan {now} of {name}, which was {before}");
        found.push(Leftover::new(LeftoverKind::RxVlan, what, format!("ethtool -K {name} rxvlan {before}")));
    }
    for (name, value, original) in sysctls.changed()? {
        let what = format!("sysctl {name}={value}, which was {original}");
        found.push(Leftover::new(LeftoverKind::Sysctl, what, format!("sysctl -w {name}={original}")));
    }
    Ok(found)
}

/// The files of the runtime directory that say what was changed, and are left there.
pub fn saved_files(state_dir: &Path) -> impl Iterator<Item = PathBuf> {
    [EarlierVersion::FILE, Filters::FILE, RxVlan::FILE, Sysctls::FILE]
        .into_iter()
        .map(|name| state_dir.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// Its name, or its number if it is gone.
fn interface(ifindex: u32) -> String {
    name_of(ifindex).ok().flatten().unwrap_or_else(|| ifindex.to_string())
}

/// A tagged object of the kernel's, in words.
#[derive(Debug)]
pub(super) struct Named {
    pub family: Family,
    pub table: u32,
    pub text: String,
}

impl super::Host {
    /// What a vipd has made or changed in this network namespace and has not undone, in the order in which it is undone.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>> {
        let saved = (&self.earlier, &self.filters, &self.rx_vlan, &self.sysctls);
        all(&self.handle, saved).await
    }
}

/// The ids of the XDP programs in this network namespace, by the index of their interface. Needs a tokio runtime.
pub async fn xdp_programs() -> Result<BTreeMap<u32, u32>> {
    let (connection, handle, _) = rtnetlink::new_connection().context("netlink route socket")?;
    tokio::spawn(connection);
    links::xdp_programs(&handle).await.context("list links")
}

/// As [`Host::leftovers`](super::Host::leftovers), for who has no [`Host`](super::Host). Needs a tokio runtime.
pub async fn leftovers(state_dir: &Path) -> Result<Vec<Leftover>> {
    let (connection, handle, _) =
        rtnetlink::new_connection_with_strict_check().context("netlink route socket")?;
    tokio::spawn(connection);
    let (earlier, filters) = (EarlierVersion::new(state_dir), Filters::new(state_dir));
    let (rx_vlan, sysctls) = (RxVlan::new(state_dir), Sysctls::new(state_dir));
    all(&handle, (&earlier, &filters, &rx_vlan, &sysctls)).await
}
