//! Unicast: who may send adverts to an instance, and from how far away.

use std::net::IpAddr;

use vipd_common::Family;
use vipd_config::{Instance, Unicast, UnicastPeer};

use super::{Facts, Findings};
use crate::host::{NeighbourTable, is_within};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    for instance in facts.instances() {
        if let Some(unicast) = &instance.unicast {
            judge_instance(facts, instance, unicast, findings);
        }
    }
    for table in facts.survey.iter().flat_map(|survey| &survey.neighbour_tables) {
        let is_concerned =
            |instance: &&Instance| instance.unicast.is_some() && instance.family == table.family;
        if facts.instances().iter().any(|instance| is_concerned(&instance)) {
            judge_table(table, findings);
        }
    }
}

/// A packet to a peer needs an entry, which the kernel makes while there is room.
fn judge_table(table: &NeighbourTable, findings: &mut Findings) {
    let NeighbourTable { family, entries, limit, overflows } = *table;
    let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let about = "neighbours";
    let state = format!("the {family} neighbour table has {entries} entries of at most {limit}");
    // A tenth is filled by one scan of a network.
    if u64::from(entries) * 10 < u64::from(limit) * 9 {
        return findings.ok(about, "neighbour-table", state);
    }
    let before = match overflows {
        0 => String::new(),
        count => format!(" (it had no room {count} times since the machine was started)"),
    };
    let what = format!(
        "{state}{before}: the kernel resolves no other neighbour when it is full, and adverts reach only peers that it has resolved before"
    );
    let fix = format!(
        "see who fills it (`ip neighbour`), and raise the limits: `sysctl -w net.{family}.neigh.default.gc_thresh3={}` and gc_thresh2 to half of it",
        limit.saturating_mul(4)
    );
    findings.warning(about, "neighbour-table", what, fix);
}

fn judge_instance(facts: &Facts, instance: &Instance, unicast: &Unicast, findings: &mut Findings) {
    let name = &instance.name;
    if !unicast.check_source {
        let what = "adverts from any address are accepted (`check_unicast_src off`): whoever can send this node a packet can take its VIPs";
        let fix = "list every router in `unicast_peer`, and remove `check_unicast_src off`";
        return findings.warning(name, "unicast-source", what, fix);
    }
    let Some(link) = facts.link(&instance.interface) else { return };
    let subnets: Vec<_> = link.state.subnets().collect();
    let on_link = |peer: &UnicastPeer| subnets.iter().any(|subnet| is_within(peer.address, *subnet));
    let mut open = Vec::new();
    // No router forwards a packet from a link-local address (RFC 4291 2.5.6).
    let link_local =
        |peer: &&UnicastPeer| matches!(peer.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    for peer in unicast.peers.iter().filter(|peer| !link_local(peer)) {
        if unicast.min_ttl(peer, on_link(peer)) == 0 {
            open.push((peer, on_link(peer)));
        }
    }
    if open.is_empty() {
        findings.ok(name, "unicast-source", "adverts are accepted only from peers, and only from nearby");
    }
    for (peer, on_link) in open {
        let address = peer.address;
        let (where_it_is, fix) = if on_link && address.is_ipv6() {
            (
                "with any hop limit",
                format!(
                    "write `{address} min_ttl 255` if that router runs vipd (keepalived sends 64 over IPv6), or use link-local addresses"
                ),
            )
        } else if on_link {
            (
                "with any TTL",
                format!(
                    "send with a TTL of 255 on every router (no `unicast_ttl`), and write `{address}` without a TTL"
                ),
            )
        } else {
            (
                "with any TTL, since it is not on the link",
                format!(
                    "write `{address} min_ttl N`, with 255 less the routers between, and let no forged source in at the border"
                ),
            )
        };
        let what = format!(
            "adverts from peer {address} are accepted {where_it_is}: a far host that forges its address can take the VIPs"
        );
        findings.warning(name, "unicast-source", what, fix);
    }
}
