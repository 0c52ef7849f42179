//! The rows of the top level.

use super::{common::*, groups, lvs};
use crate::schema::{
    grammar::{Arg::One, WordKind::Whole},
    keyword::{
        Block,
        Inside::{Lines, LinesOf, Statements},
        Keyword,
    },
};

pub const ROOT: &[Keyword] = &[
    block("global_defs", Block::GlobalDefs),
    block("vrrp_instance", Block::Instance),
    does_block("vrrp_script", NAME, Statements(Block::Script)),
    does_block("vrrp_track_process", NAME, Statements(Block::TrackProcess)),
    does_block("track_file", NAME, Statements(Block::TrackFile)),
    does_block("vrrp_track_file", NAME, Statements(Block::TrackFile)).means("track_file"),
    does_block("arbiter", NAME, Statements(Block::Arbiter)),
    does_block("vrrp_sync_group", NAME, Statements(Block::SyncGroup)),
    later_block("track_group", NAME, Statements(Block::TrackGroup), REMOVE),
    does_block("bfd_instance", NAME, Statements(Block::Bfd)),
    balances_block("virtual_server", lvs::ADDRESS, Statements(Block::VirtualServer)),
    balances_block("virtual_server_group", NAME, Lines(lvs::GROUP_LINE)),
    balances_block("SSL", NOTHING, Statements(Block::Ssl)),
    later_block("static_ipaddress", NOTHING, LinesOf(Block::VirtualIpaddress), STATIC),
    later_block("static_routes", NOTHING, LinesOf(Block::VirtualRoutes), STATIC),
    later_block("static_rules", NOTHING, LinesOf(Block::VirtualRules), STATIC),
    later_block("garp_group", NOTHING, Statements(Block::GarpGroup), REMOVE),
    does_block("interface_up_down_delays", NOTHING, Lines(groups::DELAY_LINE)),
    later_block("linkbeat_interfaces", NOTHING, Lines(groups::LINKBEAT_LINE), REMOVE),
    no_effect("linkbeat_use_polling", NOTHING, NETLINK),
    needed("net_namespace", TEXT, NOTHING_INSIDE, "start vipd in the namespace, with `nsenter --net=`"),
    dropped("net_namespace_ipvs", MAYBE_TEXT, OTHER_NAMESPACE),
    no_effect("namespace_with_ipsets", NOTHING, NO_FIREWALL),
    does("instance", TEXT),
    no_effect("use_pid_dir", NOTHING, "vipd's pid is in its runtime directory, and where `--pid` says"),
    no_effect(
        "child_wait_time",
        &[One(Whole { min: 0, max: i32::MAX as i64 })],
        "vipd has no child processes to wait for",
    ),
];
const OTHER_NAMESPACE: &str = "services are those of the network namespace that vipd runs in";
