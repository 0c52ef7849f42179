//! The kernel's neighbour tables: how full they are. Limits and counts are those of all network namespaces together, and any of them may ask.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage},
    },
};
use vipd_common::Family;

/// One family's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourTable {
    pub family: Family,
    pub entries: u32,
    /// `gc_thresh3`: with so many entries the kernel makes no other.
    pub limit: u32,
    /// How often it had no room since the machine was started.
    pub overflows: u64,
}

/// The tables of the families that the kernel has.
pub(super) async fn list(handle: &Handle) -> Result<Vec<NeighbourTable>> {
    let request = RouteNetlinkMessage::GetNeighbourTable(NeighbourTableMessage::default());
    let mut request = NetlinkMessage::from(request);
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut answers = std::pin::pin!(handle.clone().request(request).context("list neighbour tables")?);
    let mut tables = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbourTable(table)) => {
                tables.extend(NeighbourTable::of(&table.attributes));
            }
            NetlinkPayload::Error(error) if error.code.is_some() => {
                return Err(error.to_io()).context("list neighbour tables");
            }
            _ => {}
        }
    }
    Ok(tables)
}

impl NeighbourTable {
    /// `None`: a part of the answer that is about one interface, or of another protocol.
    fn of(attributes: &[NeighbourTableAttribute]) -> Option<Self> {
        let (mut family, mut entries, mut limit, mut overflows) = (None, None, None, 0);
        for attribute in attributes {
            match attribute {
                NeighbourTableAttribute::Name(name) => {
                    family = match name.as_str() {
                        "arp_cache" => Some(Family::V4),
                        "ndisc_cache" => Some(Family::V6),
                        _ => None,
                    }
                }
                NeighbourTableAttribute::Threshold3(given) => limit = Some(*given),
                NeighbourTableAttribute::Config(config) => entries = Some(config.entries),
                NeighbourTableAttribute::Stats(stats) => overflows = stats.table_fulls,
                _ => {}
            }
        }
        Some(Self { family: family?, entries: entries?, limit: limit?, overflows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_full_its_tables_are() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tables = runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection_with_strict_check().unwrap();
            tokio::spawn(connection);
            list(&handle).await.unwrap()
        });
        let of = |family| tables.iter().filter(|table| table.family == family).count();
        assert_eq!((of(Family::V4), of(Family::V6) <= 1), (1, true), "{tables:?}");
        // As /proc has it, where this is the first network namespace.
        let limit = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3");
        let limit = limit.ok().and_then(|limit| limit.trim().parse().ok()).unwrap_or(tables[0].limit);
        let v4 = tables.iter().find(|table| table.family == Family::V4).unwrap();
        assert!(v4.limit == limit && v4.entries <= v4.limit, "{v4:?}");
    }
}
