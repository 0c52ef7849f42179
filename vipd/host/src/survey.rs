//! All links and policy rules as they are, for who judges them and changes nothing.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        link::{InfoBridge, InfoData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        route::{RouteAttribute, RouteMessage, RouteType},
        rule::RuleAttribute,
    },
};
use vipd_common::Family;

use super::{
    ethtool::SharedQueues,
    links::{LinkState, address, without_addresses},
    neighbour_tables::{self, NeighbourTable},
    netlink::{FAMILIES, LOOPBACK, address_family, supported},
    offload,
    routes::{TABLE_LOCAL, TABLE_MAIN, ip},
};

/// What there is on this host.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// With their addresses, but for those of `lo`.
    pub links: Vec<SurveyedLink>,
    pub rules: Vec<SurveyedRule>,
    /// Destinations of the table `main` that are answered with nothing, or with an error: blackhole, unreachable and prohibit.
    pub no_ways: Vec<(IpAddr, u8)>,
    pub neighbour_tables: Vec<NeighbourTable>,
}

#[derive(Clone, Debug)]
pub struct SurveyedLink {
    pub state: LinkState,
    /// IFF_MULTICAST.
    pub multicast: bool,
    /// What it is if it is a bridge.
    pub bridge: Option<BridgeState>,
    /// Whether the NIC strips VLAN tags on reception; `None`: it does not say.
    pub rx_vlan: Option<bool>,
    /// Set if XDP has, or would have, no transmit queues of its own there.
    pub shared_queues: Option<SharedQueues>,
}

/// How a bridge deals with multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeState {
    pub snooping: bool,
    pub querier: bool,
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedRule {
    pub family: Family,
    pub preference: u32,
    /// `lookup local`.
    pub looks_up_local: bool,
    /// `lookup main`.
    pub looks_up_main: bool,
}

impl Survey {
    /// Looks at the network namespace of the calling thread. Needs a tokio runtime.
    pub async fn take() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().context("netlink route socket")?;
        let connection = tokio::spawn(connection);
        let survey = Self::of(&handle).await;
        connection.abort();
        survey
    }

    async fn of(handle: &Handle) -> Result<Self> {
        let messages: Vec<_> = handle.link().get().execute().try_collect().await.context("list links")?;
        let mut links: BTreeMap<u32, SurveyedLink> =
            messages.iter().map(|message| (message.header.index, SurveyedLink::of(message))).collect();
        let messages: Vec<_> =
            handle.address().get().execute().try_collect().await.context("list addresses")?;
        for message in messages.iter().filter(|message| message.header.index != LOOPBACK) {
            if let Some(link) = links.get_mut(&message.header.index) {
                link.state.addresses.extend(address(message));
            }
        }
        let mut rules = Vec::new();
        for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
            let version = if family == Family::V4 { IpVersion::V4 } else { IpVersion::V6 };
            let messages: Vec<_> =
                handle.rule().get(version).execute().try_collect().await.context("list rules")?;
            rules.extend(messages.iter().map(|message| rule(family, &message.attributes)));
        }
        let neighbour_tables = neighbour_tables::list(handle).await?;
        let mut no_ways = Vec::new();
        for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
            for kind in [RouteType::BlackHole, RouteType::Unreachable, RouteType::Prohibit] {
                no_ways.extend(destinations(handle, family, kind).await?);
            }
        }
        Ok(Self { links: links.into_values().collect(), rules, no_ways, neighbour_tables })
    }
}

/// The destinations of the routes of one type in the table `main`. The kernel filters: strict checking is on.
async fn destinations(handle: &Handle, family: Family, kind: RouteType) -> Result<Vec<(IpAddr, u8)>> {
    let mut filter = RouteMessage::default();
    filter.header.address_family = address_family(family);
    filter.header.table = u8::try_from(TABLE_MAIN).unwrap_or_default();
    filter.header.kind = kind;
    let routes: Vec<RouteMessage> =
        handle.route().get(filter).execute().try_collect().await.context("list routes")?;
    let of_kind = routes
        .iter()
        .filter(|route| route.header.kind == kind && u32::from(route.header.table) == TABLE_MAIN);
    let destination = |route: &RouteMessage| {
        let to = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(to) => ip(to),
            _ => None,
        })?;
        Some((to, route.header.destination_prefix_length))
    };
    Ok(of_kind.filter_map(destination).collect())
}

impl SurveyedLink {
    fn of(message: &LinkMessage) -> Self {
        let state = without_addresses(message);
        let bridge = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(info) => info.iter().find_map(bridge_state),
            _ => None,
        });
        Self {
            multicast: message.header.flags.contains(LinkFlags::Multicast),
            bridge,
            rx_vlan: offload::get(&state.name).ok(),
            shared_queues: SharedQueues::of(&state.name, state.xdp.is_some_and(|xdp| !xdp.generic)),
            state,
        }
    }
}

fn bridge_state(info: &LinkInfo) -> Option<BridgeState> {
    let LinkInfo::Data(InfoData::Bridge(info)) = info else { return None };
    let mut state = BridgeState::default();
    for info in info {
        match info {
            InfoBridge::MulticastSnooping(on) => state.snooping = *on,
            InfoBridge::MulticastQuerier(on) => state.querier = *on,
            _ => {}
        }
    }
    Some(state)
}

fn rule(family: Family, attributes: &[RuleAttribute]) -> SurveyedRule {
    let (mut preference, mut table) = (0, None);
    for attribute in attributes {
        match attribute {
            RuleAttribute::Priority(given) => preference = *given,
            RuleAttribute::Table(given) => table = Some(*given),
            _ => {}
        }
    }
    SurveyedRule {
        family,
        preference,
        looks_up_local: table == Some(TABLE_LOCAL),
        looks_up_main: table == Some(TABLE_MAIN),
    }
}
