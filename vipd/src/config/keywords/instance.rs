//! The rows of `vrrp_instance` and of the statements in its blocks.

use super::{Block, Form, Keyword, tables::*};
use crate::config::{
    model::WantedState,
    settings::{AuthType, Spanned},
};

use Form::{Bare, Choice, Decimal, Flag, Interface, Multicast, Seconds, Text, Unicast, Vmac, Whole};

pub const INSTANCE: &[Keyword] = &[
    value("state", Some("BACKUP"), Choice { of: STATES, set: |s, v| s.state = Some(state(v)) }),
    value("interface", None, Interface(|s, v| s.interface = Some(v))),
    value("virtual_router_id", None, Whole { min: 1, max: 255, set: |s, v| s.vrid = Some(v) }),
    value("priority", Some("100"), Whole { min: 1, max: 255, set: |s, v| s.priority = Some(v) }),
    // What is left of the range depends on the version, see `validate`.
    value(
        "advert_int",
        Some("1"),
        Decimal { min_us: 10_000, max_us: 255_000_000, set: |s, v| s.advert_interval = Some(v) },
    ),
    value("version", Some("2"), Whole { min: 2, max: 3, set: |s, v| s.shared.version = Some(v) }),
    synonym("vrrp_version", "version", Whole { min: 2, max: 3, set: |s, v| s.shared.version = Some(v) }),
    block("authentication", Block::Authentication),
    block("virtual_ipaddress", Block::VirtualIpaddress),
    block("virtual_ipaddress_excluded", Block::VirtualIpaddressExcluded),
    value("nopreempt", None, Bare(|s, v| s.nopreempt = Some(v))),
    value("preempt", None, Bare(|s, v| s.preempt = Some(v))),
    value(
        "preempt_delay",
        Some("0"),
        Decimal { min_us: 0, max_us: 1_000_000_000, set: |s, v| s.preempt_delay = Some(v) },
    ),
    value("mcast_src_ip", None, Unicast(|s, v| s.multicast_source = Some(v))),
    value("mcast_dst_ip", None, Multicast { family: None, set: |s, v| s.group = Some(v) }),
    value("unicast_src_ip", None, Unicast(|s, v| s.unicast_source = Some(v))),
    block("unicast_peer", Block::UnicastPeer),
    value("unicast_ttl", Some("255"), Whole { min: 0, max: 255, set: |s, v| s.unicast_ttl = Some(v) }),
    value("check_unicast_src", Some("off"), Flag(|s, v| s.shared.check_unicast_src = Some(v))),
    value("use_vmac", None, Vmac(|s, v| s.use_vmac = Some(v))),
    value("vmac_xmit_base", None, Bare(|s, v| s.vmac_xmit_base = Some(v))),
    block("virtual_routes", Block::VirtualRoutes),
    block("virtual_rules", Block::VirtualRules),
    value(
        "garp_master_delay",
        Some("5"),
        Seconds { max_s: DAY_S, set: |s, v| s.shared.garp_delay = Some(v) },
    ),
    value(
        "garp_master_repeat",
        Some("5"),
        Whole { min: 0, max: 255, set: |s, v| s.shared.garp_repeat = Some(v) },
    ),
    value(
        "garp_master_refresh",
        Some("0"),
        Seconds { max_s: DAY_S, set: |s, v| s.shared.garp_refresh = Some(v) },
    ),
    value(
        "garp_master_refresh_repeat",
        Some("1"),
        Whole { min: 0, max: 255, set: |s, v| s.shared.garp_refresh_repeat = Some(v) },
    ),
    value(
        "garp_lower_prio_delay",
        None,
        Seconds { max_s: DAY_S, set: |s, v| s.shared.garp_lower_prio_delay = Some(v) },
    ),
    value(
        "garp_lower_prio_repeat",
        None,
        Whole { min: 0, max: 255, set: |s, v| s.shared.garp_lower_prio_repeat = Some(v) },
    ),
    value(
        "down_timer_adverts",
        Some("3"),
        Whole { min: 1, max: 100, set: |s, v| s.shared.down_timer_adverts = Some(v) },
    ),
    value("lower_prio_no_advert", Some("off"), Flag(|s, v| s.shared.lower_prio_no_advert = Some(v))),
    value("v3_checksum_as_v2", Some("off"), Flag(|s, v| s.shared.v3_checksum_as_v2 = Some(v))),
    value("accept", Some("on"), Flag(|s, v| s.accept = Some(v))),
    synonym("no_accept", "accept", Flag(|s, v| s.accept = Some(Spanned { value: !v.value, span: v.span }))),
    value("lease", Some("overlap"), Choice { of: LEASES, set: |s, v| s.shared.lease = Some(lease(v)) }),
    no_effect("unicast_fault_no_peer", 0, "vipd refuses an empty `unicast_peer` anyway"),
    refused("old_unicast_checksum", "remove it: vipd speaks to no keepalived older than 1.3.7"),
    later_block("track_script", TRACK),
    later_block("track_interface", TRACK),
    later_block("track_file", TRACK),
    later_block("track_process", TRACK),
    later_block("track_bfd", TRACK),
    later("track_src_ip", TRACK),
    later("dont_track_primary", TRACK),
    later("notify_master", SCRIPT),
    later("notify_backup", SCRIPT),
    later("notify_fault", SCRIPT),
    later("notify_stop", SCRIPT),
    later("notify_deleted", SCRIPT),
    later("notify_master_rx_lower_pri", SCRIPT),
    later("notify", SCRIPT),
    later("notify_priority_changes", SCRIPT),
    later("smtp_alert", MAIL),
    later("use_vmac_addr", "write `use_vmac`: the virtual MAC is for all addresses of an instance"),
    no_effect("use_ipvlan", 2, NO_INTERFACE),
    no_effect("garp_extra_if", 2, NO_INTERFACE),
    no_effect("vmac_garp_intvl", 2, NO_INTERFACE),
    later_block("auth_hmac", REMOVE),
    later("no_virtual_ipaddress", REMOVE),
    later("skip_check_adv_addr", REMOVE),
    later("strict_mode", REMOVE),
    later("timer_expired_backup", REMOVE),
    later("thread_timer_expired", REMOVE),
    later("higher_prio_send_advert", REMOVE),
    later("owner_ignore_adverts", REMOVE),
    later("kernel_rx_buf_size", REMOVE),
    later("vrf", REMOVE),
    later("linkbeat_use_polling", REMOVE),
    later("lvs_sync_daemon_interface", LVS),
    no_effect("native_ipv6", 0, "keepalived ignores it too"),
    no_effect("promote_secondaries", 0, NO_ADDRESS),
    no_effect("debug", 1, "how much vipd logs is set when it is started"),
];

pub const AUTHENTICATION: &[Keyword] = &[
    value("auth_type", None, Choice { of: AUTH_TYPES, set: |s, v| s.auth_type = Some(auth_type(v)) }),
    value("auth_pass", None, Text(|s, v| s.auth_pass = Some(v))),
];

fn state(word: Spanned<&str>) -> Spanned<WantedState> {
    let value = if word.value == "MASTER" { WantedState::Master } else { WantedState::Backup };
    Spanned { value, span: word.span }
}

fn auth_type(word: Spanned<&str>) -> Spanned<AuthType> {
    let value = if word.value == "AH" { AuthType::Ah } else { AuthType::Pass };
    Spanned { value, span: word.span }
}

const STATES: &[&str] = &["MASTER", "BACKUP"];
const AUTH_TYPES: &[&str] = &["PASS", "AH"];
