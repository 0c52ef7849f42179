//! The rows of `vrrp_instance` and of the statements in its blocks.

use super::{
    common::*,
    global::{EXTRA, NO_COMPARISON, ONE_MORE_ADVERT},
};
use crate::schema::{
    grammar::{
        Arg::{self, One, Opt},
        WordKind,
    },
    keyword::{
        Block,
        Inside::{Lines, Statements},
        Keyword, KeywordForm,
    },
};

use KeywordForm::{
    Bare, Choice, Decimal, Flag, Interface, Multicast, NotFlag, Seconds, Source, Text, Vmac, Whole,
};

pub const INSTANCE: &[Keyword] = &[
    value("state", Some("BACKUP"), Choice(STATES)),
    value("interface", None, Interface),
    value("virtual_router_id", None, Whole { min: 1, max: 255 }),
    value("priority", Some("100"), Whole { min: 1, max: 255 }),
    // What is left of the range depends on the version, see `lower`.
    value("advert_int", Some("1"), Decimal { min_us: 10_000, max_us: 255_000_000 }),
    value("version", Some("2"), Whole { min: 2, max: 3 }).global("vrrp_version"),
    synonym("vrrp_version", "version", Whole { min: 2, max: 3 }),
    block("authentication", Block::Authentication),
    block("virtual_ipaddress", Block::VirtualIpaddress),
    block("virtual_ipaddress_excluded", Block::VirtualIpaddressExcluded),
    value("nopreempt", None, Bare),
    value("preempt", None, Bare),
    value("preempt_delay", Some("0"), Decimal { min_us: 0, max_us: 1_000_000_000 }),
    value("mcast_src_ip", None, Source),
    value("mcast_dst_ip", None, Multicast(None)),
    value("unicast_src_ip", None, Source),
    block("unicast_peer", Block::UnicastPeer),
    value("unicast_ttl", Some("255"), Whole { min: 0, max: 255 }),
    value("check_unicast_src", Some("on"), Flag).global("vrrp_check_unicast_src"),
    value("use_vmac", None, Vmac),
    value("vmac_xmit_base", None, Bare),
    block("virtual_routes", Block::VirtualRoutes),
    block("virtual_rules", Block::VirtualRules),
    value("garp_master_delay", Some("5"), Seconds { max_s: DAY_S })
        .global("vrrp_garp_master_delay")
        .instead(MIN_GARP),
    value("garp_master_repeat", Some("5"), Whole { min: 0, max: 255 })
        .global("vrrp_garp_master_repeat")
        .instead(MIN_GARP),
    value("garp_master_refresh", Some("0"), Seconds { max_s: DAY_S }).global("vrrp_garp_master_refresh"),
    value("garp_master_refresh_repeat", Some("1"), Whole { min: 0, max: 255 })
        .global("vrrp_garp_master_refresh_repeat"),
    value("garp_lower_prio_delay", None, Seconds { max_s: DAY_S })
        .global("vrrp_garp_lower_prio_delay")
        .instead(&["vrrp_garp_master_delay", "vrrp_min_garp"]),
    value("garp_lower_prio_repeat", None, Whole { min: 0, max: 255 })
        .global("vrrp_garp_lower_prio_repeat")
        .instead(&["vrrp_garp_master_repeat", "vrrp_min_garp"]),
    value("down_timer_adverts", Some("3"), Whole { min: 1, max: 100 }).global("vrrp_down_timer_adverts"),
    value("lower_prio_no_advert", Some("off"), Flag).global("vrrp_lower_prio_no_advert"),
    value("v3_checksum_as_v2", Some("off"), Flag).global("v3_checksum_as_v2"),
    value("strict_mode", Some("off"), Flag).global("vrrp_strict"),
    value("accept", Some("on"), Flag),
    synonym("no_accept", "accept", NotFlag),
    value("lease", Some("overlap"), Choice(LEASES)).global("lease"),
    value("self_probe", Some("30"), SELF_PROBE).global("self_probe"),
    value("cluster_report", Some("off"), CLUSTER_REPORT).global("cluster_report"),
    no_effect("unicast_fault_no_peer", NOTHING, "vipd refuses an empty `unicast_peer` anyway"),
    refused("old_unicast_checksum", "remove it: vipd speaks to no keepalived older than 1.3.7"),
    does_block("track_script", NOTHING, Lines(TRACK_SCRIPT)),
    does_block("track_interface", NOTHING, Lines(TRACK_INTERFACE)),
    does_block("heartbeat_interface", NOTHING, Lines(HEARTBEAT_INTERFACE)),
    does_block("track_file", NOTHING, Lines(TRACKED_FILE)),
    does_block("track_process", NOTHING, Lines(TRACKED_PROCESS)),
    does_block("track_arbiter", NOTHING, Lines(TRACK_ARBITER)),
    does_block("track_bfd", NOTHING, Lines(TRACK_BFD)),
    does("track_src_ip", NOTHING),
    does("dont_track_primary", SWITCH),
    does("notify_master", COMMAND),
    does("notify_backup", COMMAND),
    does("notify_fault", COMMAND),
    does("notify_stop", COMMAND),
    does("notify_deleted", MAYBE_COMMAND),
    does("notify_master_rx_lower_pri", COMMAND),
    does("notify_conflict", COMMAND),
    does("notify", COMMAND),
    does("notify_priority_changes", SWITCH),
    does("smtp_alert", SWITCH),
    does("vip_visible", SWITCH),
    does_block("probe", NOTHING, Statements(Block::Probe)),
    does("fence_script", COMMAND),
    does("fence_timeout", FENCE_TIMEOUT),
    does("fence_failed", &[One(WordKind::Choice(&["wait", "take_over"]))]),
    refused("use_vmac_addr", "write `use_vmac`: the virtual MAC is for all addresses of an instance"),
    no_effect("use_ipvlan", &[Arg::Any(WordKind::Text)], NO_INTERFACE),
    no_effect("garp_extra_if", EXTRA, NO_INTERFACE),
    no_effect("vmac_garp_intvl", EXTRA, NO_INTERFACE),
    needed("auth_hmac", NOTHING, Statements(Block::AuthHmac), REMOVE),
    later("no_virtual_ipaddress", NOTHING, REMOVE),
    no_effect("skip_check_adv_addr", SWITCH, NO_COMPARISON),
    no_effect("timer_expired_backup", LATE, LATE_TIMER),
    no_effect("thread_timer_expired", LATE, LATE_TIMER),
    no_effect("higher_prio_send_advert", SWITCH, ONE_MORE_ADVERT),
    later("owner_ignore_adverts", SWITCH, REMOVE),
    no_effect("kernel_rx_buf_size", COUNT, BUFFERS),
    needed("vrf", TEXT, NOTHING_INSIDE, REMOVE),
    no_effect("linkbeat_use_polling", NOTHING, NETLINK),
    dropped("lvs_sync_daemon_interface", INTERFACE, LVS_SYNC),
    no_effect("native_ipv6", NOTHING, "keepalived ignores it too"),
    no_effect("promote_secondaries", NOTHING, NO_ADDRESS),
    no_effect(
        "debug",
        &[One(WordKind::Whole { min: 0, max: 4 })],
        "how much vipd logs is set when it is started",
    ),
];

pub const AUTHENTICATION: &[Keyword] =
    &[value("auth_type", None, Choice(AUTH_TYPES)), value("auth_pass", None, Text)];

pub const AUTH_HMAC: &[Keyword] = &[
    has("key", &[One(OCTET_FROM_1), One(WordKind::Secret)]),
    has("active_key", &[One(OCTET_FROM_1)]),
    has("anti_replay", &[One(WordKind::Choice(&["time", "monotonic"]))]),
    has("time_window", COUNT),
    has("mode", &[One(WordKind::Choice(&["enforce", "permissive", "receive-only"]))]),
];

/// Nothing of keepalived's.
pub const PROBE: &[Keyword] = &[
    has("interval", &[One(WordKind::Millis { min_us: 1_000, max_us: 1_000_000 })]).or("10"),
    has("multiplier", &[One(WordKind::Whole { min: 2, max: 255 })]).or("3"),
    has("act", &[One(WordKind::Choice(&["takeover", "no"]))]).or("no"),
];

const OCTET_FROM_1: WordKind = WordKind::Whole { min: 1, max: 255 };

/// Bursts that `vrrp_min_garp` makes one.
const MIN_GARP: &[&str] = &["vrrp_min_garp"];
/// In steps of a millisecond.
const FENCE_TIMEOUT: &[Arg] = &[One(WordKind::Seconds { min_us: 100_000, max_us: 3_600_000_000 })];
const STATES: &[&str] = &["MASTER", "BACKUP"];
const AUTH_TYPES: &[&str] = &["PASS", "AH"];
const LATE: &[Arg] = &[Opt(WordKind::Whole { min: 1, max: 254 })];
const LATE_TIMER: &str = "vipd steps down when it wakes up without its lease";
const LVS_SYNC: &str = "write `lvs_sync_daemon INTERFACE INSTANCE` in `global_defs`";
