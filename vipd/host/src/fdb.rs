//! MACs in the filters of NICs, so that their frames come in at all: virtual MACs, and the groups of adverts.
//!
//! A virtual MAC is a secondary unicast address (`bridge fdb add MAC dev IF self permanent`); where the driver takes none,
//! promiscuous mode. Both, and the entries of groups, outlive the process, as the lease does: the VIPs of a daemon that was
//! killed are served until it runs out or a successor's advert is heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{
    Handle, LinkUnspec, NeighbourAddRequest,
    packet_route::{
        AddressFamily,
        link::LinkFlags,
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    },
};
use serde::{Deserialize, Serialize};
use vipd_common::wire::eth::MacAddr;
use vipd_system::{Problems, interface_names::name_of};

use super::{
    links, mc_filter,
    netlink::{errno, refusal},
    saved::{Saved, by_current_names},
};

/// What is wanted: by interface name, its index and the MACs.
pub(super) type Wanted<'a> = BTreeMap<&'a str, (u32, BTreeSet<MacAddr>)>;

/// What was added: by interface name. The kernel's list says not who added what, and macvlans of others are on it too.
type Added = BTreeMap<String, MacFilter>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct MacFilter {
    /// An interface may have another name by now. 0: by an earlier version.
    #[serde(default)]
    ifindex: u32,
    macs: BTreeSet<[u8; 6]>,
    promiscuous: bool,
}

#[derive(Debug)]
pub(super) struct Filters {
    saved: Saved<Added>,
    /// The interfaces whose filter was refused at the last call, and why.
    refused: Vec<(String, String)>,
}

enum FdbOutcome {
    Added,
    Present,
    Refused(rtnetlink::Error),
}

impl Filters {
    pub const FILE: &str = "virtual_macs.json";

    pub fn new(state_dir: &Path) -> Self {
        Self { saved: Saved::new(state_dir, Self::FILE), refused: Vec::new() }
    }

    /// The MACs that were added and not removed, each with its interface's name of now.
    pub fn macs(&self) -> Result<Vec<(String, MacAddr)>> {
        let of = |(name, filter): (String, MacFilter)| {
            filter.macs.into_iter().map(move |mac| (name.clone(), MacAddr(mac)))
        };
        Ok(Self::by_current_names(&self.saved.load()?)?.into_iter().flat_map(of).collect())
    }

    /// The interfaces that were made promiscuous and still are meant to be.
    pub fn promiscuous(&self) -> Result<Vec<String>> {
        let added = Self::by_current_names(&self.saved.load()?)?;
        Ok(added.into_iter().filter(|(_, filter)| filter.promiscuous).map(|(name, _)| name).collect())
    }

    /// With an interface that is gone its filter is.
    fn by_current_names(saved: &Added) -> Result<Added> {
        by_current_names(saved.clone(), |filter| filter.ifindex)
    }

    /// Writes the file again if somebody has removed it.
    pub fn restore_file(&self) -> Result<Option<String>> {
        self.saved.restore()
    }

    /// The interfaces whose filter was refused at the last [`Self::apply`], and why.
    pub fn refused(&self) -> &[(String, String)] {
        &self.refused
    }

    /// Adds what is missing of `wanted`, and removes what was added earlier and is not wanted. Goes on after an error.
    /// Returns what was missing.
    pub async fn apply(&mut self, handle: &Handle, wanted: &Wanted<'_>) -> Result<Vec<String>> {
        let mut admitted = Vec::new();
        self.refused.clear();
        let before = self.saved.load()?;
        let mut added = Self::by_current_names(&before)?;
        let mut problems = Problems::default();
        for (interface, filter) in &mut added {
            let keep = wanted.get(interface.as_str()).map(|(_, macs)| macs);
            problems.note(withdraw(handle, interface, filter, keep).await);
        }
        for (&interface, (ifindex, macs)) in wanted {
            let filter = added.entry(interface.to_owned()).or_default();
            filter.ifindex = *ifindex;
            let result = admit(handle, interface, *ifindex, macs, filter, &mut admitted).await;
            // One that is gone is told of otherwise.
            if let Err(error) = &result
                && !matches!(name_of(*ifindex), Ok(None))
            {
                self.refused.push((interface.to_owned(), format!("{error:#}")));
            }
            problems.note(result);
        }
        added.retain(|_, filter| !filter.macs.is_empty() || filter.promiscuous);
        // Remembered after it is made: a crash between the two leaves a NIC that hears a little too much, the other order
        // could take away an entry of somebody else's.
        if added != before {
            problems.note(self.saved.save(&added));
        }
        problems.into_result().map(|()| admitted)
    }
}

async fn admit(
    handle: &Handle,
    interface: &str,
    ifindex: u32,
    macs: &BTreeSet<MacAddr>,
    filter: &mut MacFilter,
    admitted: &mut Vec<String>,
) -> Result<()> {
    for mac in macs {
        if is_group(*mac) {
            if mc_filter::add(ifindex, *mac).with_context(|| name(interface, *mac))? {
                filter.macs.insert(mac.0);
                admitted.push(name(interface, *mac));
            }
            continue;
        }
        match add(handle, ifindex, *mac).await {
            FdbOutcome::Added => {
                filter.macs.insert(mac.0);
                admitted.push(name(interface, *mac));
            }
            // Ours of an earlier time if the file has it, else somebody else's. But what a bridge has learned of a master's
            // adverts would keep frames from this host when it is master itself.
            FdbOutcome::Present => {
                if !filter.macs.contains(&mac.0) && is_bridge(handle, ifindex).await? {
                    let replaced = request(handle, ifindex, *mac).replace().execute().await;
                    replaced.map_err(|error| refusal(&name(interface, *mac), &error))?;
                    filter.macs.insert(mac.0);
                }
            }
            FdbOutcome::Refused(error) if is_the_drivers(&error) => {
                if promiscuous(handle, ifindex).await? {
                    continue;
                }
                tracing::warn!(
                    interface, %mac, %error,
                    "the driver accepts no second MAC address: the interface is now promiscuous"
                );
                set_promiscuous(handle, interface, ifindex, true).await?;
                filter.promiscuous = true;
                admitted.push(format!("promiscuous mode of {interface}"));
            }
            FdbOutcome::Refused(error) => return Err(refusal(&name(interface, *mac), &error)),
        }
    }
    Ok(())
}

/// Removes what `filter` says was added, but those to `keep`. Promiscuous mode goes with the last virtual MAC.
async fn withdraw(
    handle: &Handle,
    interface: &str,
    filter: &mut MacFilter,
    keep: Option<&BTreeSet<MacAddr>>,
) -> Result<()> {
    let keeps = |mac: &MacAddr| keep.is_some_and(|macs| macs.contains(mac));
    let stale: Vec<MacAddr> = filter.macs.iter().copied().map(MacAddr).filter(|mac| !keeps(mac)).collect();
    let quiet = filter.promiscuous && keep.is_none_or(|macs| macs.iter().all(|mac| is_group(*mac)));
    if stale.is_empty() && !quiet {
        return Ok(());
    }
    // Not by the name where the index is known: the interface may be renamed at this moment.
    let ifindex = match filter.ifindex {
        0 => nix::net::if_::if_nametoindex(interface).with_context(|| format!("interface {interface}"))?,
        ifindex => ifindex,
    };
    for mac in stale {
        if is_group(mac) {
            mc_filter::remove(ifindex, mac).with_context(|| name(interface, mac))?;
            filter.macs.remove(&mac.0);
            continue;
        }
        match handle.neighbours().del(entry(ifindex, mac)).execute().await {
            Err(error) if !matches!(errno(&error), Some(libc::ENOENT | libc::ENODEV)) => {
                return Err(refusal(&name(interface, mac), &error));
            }
            _ => filter.macs.remove(&mac.0),
        };
    }
    if quiet {
        set_promiscuous(handle, interface, ifindex, false).await?;
        filter.promiscuous = false;
    }
    Ok(())
}

async fn add(handle: &Handle, ifindex: u32, mac: MacAddr) -> FdbOutcome {
    match request(handle, ifindex, mac).execute().await {
        Ok(()) => FdbOutcome::Added,
        Err(error) if errno(&error) == Some(libc::EEXIST) => FdbOutcome::Present,
        Err(error) => FdbOutcome::Refused(error),
    }
}

fn request(handle: &Handle, ifindex: u32, mac: MacAddr) -> NeighbourAddRequest {
    let mut request = handle.neighbours().add_bridge(ifindex, &mac.0);
    *request.message_mut() = entry(ifindex, mac);
    request
}

async fn is_bridge(handle: &Handle, ifindex: u32) -> Result<bool> {
    Ok(links::by_index(handle, ifindex).await?.kind.as_deref() == Some("bridge"))
}

/// Whether the refusal is about what the driver can do (no filter, or a full one), not about rights or the interface.
fn is_the_drivers(error: &rtnetlink::Error) -> bool {
    !matches!(errno(error), None | Some(libc::EPERM | libc::ENODEV))
}

fn entry(ifindex: u32, mac: MacAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    message
}

/// Whether it is in promiscuous mode by somebody's explicit wish.
async fn promiscuous(handle: &Handle, ifindex: u32) -> Result<bool> {
    let mut links = std::pin::pin!(handle.link().get().match_index(ifindex).execute());
    let link = links.next().await.context("the kernel's answer about a link is empty")?;
    let link = link.map_err(|error| refusal(&format!("interface {ifindex}"), &error))?;
    Ok(link.header.flags.contains(LinkFlags::Promisc))
}

async fn set_promiscuous(handle: &Handle, interface: &str, ifindex: u32, on: bool) -> Result<()> {
    let message = LinkUnspec::new_with_index(ifindex).promiscuous(on).build();
    match handle.link().set(message).execute().await {
        Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(()),
        Err(error) => Err(refusal(&format!("promiscuous mode of {interface}"), &error)),
        Ok(()) => Ok(()),
    }
}

fn is_group(mac: MacAddr) -> bool {
    mac.0[0] & 1 != 0
}

fn name(interface: &str, mac: MacAddr) -> String {
    format!("MAC {mac} in the filter of {interface}")
}
