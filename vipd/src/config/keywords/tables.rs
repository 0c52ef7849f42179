//! The rows. Facts about keepalived's language are in its manual page; blocks are in the order vipd reads them.

use super::{Block, Form, Keyword, Status};
use crate::config::{
    model::{LeasePolicy, WantedState},
    settings::{AuthType, Spanned},
};

use Form::{Bare, Choice, Decimal, Flag, Multicast, Seconds, Text, Unicast, Whole};

pub const ROOT: &[Keyword] = &[
    block("global_defs", Block::GlobalDefs),
    block("vrrp_instance", Block::Instance),
    later_block("vrrp_script", TRACK),
    later_block("vrrp_track_process", TRACK),
    later_block("track_file", TRACK),
    later_block("vrrp_track_file", TRACK),
    later_block("vrrp_sync_group", REMOVE),
    later_block("track_group", REMOVE),
    later_block("bfd_instance", TRACK),
    later_block("virtual_server", LVS),
    later_block("virtual_server_group", LVS),
    later_block("real_server", LVS),
    later_block("SSL", LVS),
    later_block("static_ipaddress", STATIC),
    later_block("static_routes", STATIC),
    later_block("static_rules", STATIC),
    later_block("garp_group", REMOVE),
    later_block("interface_up_down_delays", REMOVE),
    later_block("linkbeat_interfaces", REMOVE),
    later("linkbeat_use_polling", REMOVE),
    later("net_namespace", REMOVE),
    later("net_namespace_ipvs", REMOVE),
    later("namespace_with_ipsets", REMOVE),
    later("instance", REMOVE),
    later("use_pid_dir", REMOVE),
    no_effect("child_wait_time", 1, "vipd has no child processes to wait for"),
];

/// What global_defs and vrrp_instance share is set through `settings.shared` in both.
pub const GLOBAL_DEFS: &[Keyword] = &[
    value("router_id", None, Text(|s, v| s.router_id = Some(v))),
    value("vrrp_version", Some("2"), Whole { min: 2, max: 3, set: |s, v| s.shared.version = Some(v) }),
    value("vrrp_mcast_group4", Some("224.0.0.18"), Multicast(|s, v| s.group = Some(v))),
    value(
        "vrrp_garp_master_delay",
        Some("5"),
        Seconds { max_s: DAY_S, set: |s, v| s.shared.garp_delay = Some(v) },
    ),
    value(
        "vrrp_garp_master_repeat",
        Some("5"),
        Whole { min: 0, max: 255, set: |s, v| s.shared.garp_repeat = Some(v) },
    ),
    value(
        "vrrp_garp_master_refresh",
        Some("0"),
        Seconds { max_s: DAY_S, set: |s, v| s.shared.garp_refresh = Some(v) },
    ),
    value(
        "vrrp_garp_master_refresh_repeat",
        Some("1"),
        Whole { min: 0, max: 255, set: |s, v| s.shared.garp_refresh_repeat = Some(v) },
    ),
    value(
        "vrrp_garp_lower_prio_delay",
        None,
        Seconds { max_s: DAY_S, set: |s, v| s.shared.garp_lower_prio_delay = Some(v) },
    ),
    value(
        "vrrp_garp_lower_prio_repeat",
        None,
        Whole { min: 0, max: 255, set: |s, v| s.shared.garp_lower_prio_repeat = Some(v) },
    ),
    value(
        "vrrp_garp_interval",
        Some("0"),
        Decimal { min_us: 0, max_us: 1_000_000_000, set: |s, v| s.garp_interval = Some(v) },
    ),
    value("vrrp_min_garp", Some("off"), Flag(|s, v| s.min_garp = Some(v))),
    value(
        "vrrp_down_timer_adverts",
        Some("3"),
        Whole { min: 1, max: 100, set: |s, v| s.shared.down_timer_adverts = Some(v) },
    ),
    value("vrrp_lower_prio_no_advert", Some("off"), Flag(|s, v| s.shared.lower_prio_no_advert = Some(v))),
    value("v3_checksum_as_v2", Some("off"), Flag(|s, v| s.shared.v3_checksum_as_v2 = Some(v))),
    // vipd's own; keepalived has no lease.
    value("lease", Some("overlap"), Choice { of: LEASES, set: |s, v| s.shared.lease = Some(lease(v)) }),
    later_block("notification_email", MAIL),
    later("notification_email_from", MAIL),
    later("smtp_server", MAIL),
    later("smtp_helo_name", MAIL),
    later("smtp_connect_timeout", MAIL),
    later("smtp_alert", MAIL),
    later("smtp_alert_vrrp", MAIL),
    later("smtp_alert_checker", MAIL),
    later("no_email_faults", MAIL),
    later("no_checker_emails", MAIL),
    later("checker_log_all_failures", MAIL),
    later("script_user", SCRIPT),
    later("enable_script_security", SCRIPT),
    later("startup_script", SCRIPT),
    later("shutdown_script", SCRIPT),
    later("startup_script_timeout", SCRIPT),
    later("shutdown_script_timeout", SCRIPT),
    later("use_symlink_paths", SCRIPT),
    later("set_supplementary_groups", SCRIPT),
    no_effect("max_auto_priority", 1, SCHEDULING),
    no_effect("min_auto_priority_delay", 1, SCHEDULING),
    no_effect("vrrp_priority", 1, SCHEDULING),
    no_effect("checker_priority", 1, SCHEDULING),
    no_effect("bfd_priority", 1, SCHEDULING),
    no_effect("vrrp_rt_priority", 1, SCHEDULING),
    no_effect("checker_rt_priority", 1, SCHEDULING),
    no_effect("bfd_rt_priority", 1, SCHEDULING),
    no_effect("vrrp_rlimit_rttime", 1, SCHEDULING),
    no_effect("checker_rlimit_rttime", 1, SCHEDULING),
    no_effect("bfd_rlimit_rttime", 1, SCHEDULING),
    no_effect("vrrp_rlimit_rtime", 1, SCHEDULING),
    no_effect("checker_rlimit_rtime", 1, SCHEDULING),
    no_effect("bfd_rlimit_rtime", 1, SCHEDULING),
    no_effect("vrrp_no_swap", 1, SCHEDULING),
    no_effect("checker_no_swap", 1, SCHEDULING),
    no_effect("bfd_no_swap", 1, SCHEDULING),
    later("vrrp_cpu_affinity", REMOVE),
    later("checker_cpu_affinity", REMOVE),
    later("bfd_cpu_affinity", REMOVE),
    later("process_names", REMOVE),
    later("process_name", REMOVE),
    later("vrrp_process_name", REMOVE),
    later("checker_process_name", REMOVE),
    later("lvs_process_name", REMOVE),
    later("bfd_process_name", REMOVE),
    later("umask", REMOVE),
    later("random_seed", REMOVE),
    later("tmp_config_directory", REMOVE),
    later("config_save_dir", REMOVE),
    later("iproute_usr_dir", REMOVE),
    later("iproute_etc_dir", REMOVE),
    later("vrrp_mcast_group6", IPV6),
    later("vrrp_gna_interval", IPV6),
    later("vrrp_garp_extra_if", VMAC),
    later("vrrp_vmac_garp_intvl", VMAC),
    later("vmac_prefix", VMAC),
    later("vmac_addr_prefix", VMAC),
    later("vrrp_check_unicast_src", UNICAST),
    later("vrrp_higher_prio_send_advert", REMOVE),
    later("vrrp_skip_check_adv_addr", REMOVE),
    later("vrrp_strict", REMOVE),
    later("vrrp_owner_ignore_adverts", REMOVE),
    later("vrrp_notify_priority_changes", REMOVE),
    later("vrrp_startup_delay", REMOVE),
    later("vrrp_delay_after_boot", REMOVE),
    later("log_unknown_vrids", REMOVE),
    later("disable_local_igmp", REMOVE),
    later("dynamic_interfaces", REMOVE),
    later("default_interface", REMOVE),
    later("vrrp_rx_bufs_policy", REMOVE),
    later("vrrp_rx_bufs_multiplier", REMOVE),
    later("vrrp_netlink_cmd_rcv_bufs", REMOVE),
    later("vrrp_netlink_cmd_rcv_bufs_force", REMOVE),
    later("vrrp_netlink_monitor_rcv_bufs", REMOVE),
    later("vrrp_netlink_monitor_rcv_bufs_force", REMOVE),
    later("process_monitor_rcv_bufs", REMOVE),
    later("process_monitor_rcv_bufs_force", REMOVE),
    later("vrrp_iptables", FIREWALL),
    later("vrrp_ipsets", FIREWALL),
    later("nftables", FIREWALL),
    later("nftables_priority", FIREWALL),
    later("nftables_ifindex", FIREWALL),
    later("nftables_counters", FIREWALL),
    later("nftables_ipvs", LVS),
    later("nftables_ipvs_priority", LVS),
    later("nftables_ipvs_start_fwmark", LVS),
    later("lvs_netlink_cmd_rcv_bufs", LVS),
    later("lvs_netlink_cmd_rcv_bufs_force", LVS),
    later("lvs_netlink_monitor_rcv_bufs", LVS),
    later("lvs_netlink_monitor_rcv_bufs_force", LVS),
    later("lvs_timeouts", LVS),
    later("lvs_flush", LVS),
    later("lvs_flush_on_stop", LVS),
    later("lvs_flush_onstop", LVS),
    later("lvs_sync_daemon", LVS),
    later("rs_init_notifies", LVS),
    later("notify_fifo", SCRIPT),
    later("notify_fifo_script", SCRIPT),
    later("vrrp_notify_fifo", SCRIPT),
    later("vrrp_notify_fifo_script", SCRIPT),
    later("lvs_notify_fifo", SCRIPT),
    later("lvs_notify_fifo_script", SCRIPT),
    later("fifo_write_vrrp_states_on_reload", SCRIPT),
    later("snmp_socket", REMOVE),
    later("enable_traps", REMOVE),
    later("enable_snmp_vrrp", REMOVE),
    later("enable_snmp_keepalived", REMOVE),
    later("enable_snmp_checker", REMOVE),
    later("enable_snmp_rfc", REMOVE),
    later("enable_snmp_rfcv2", REMOVE),
    later("enable_snmp_rfcv3", REMOVE),
    later("snmp_vs_stats_update_interval", REMOVE),
    later("snmp_rs_stats_update_interval", REMOVE),
    later("enable_dbus", REMOVE),
    later("dbus_service_name", REMOVE),
    later("dbus_no_interface_name", REMOVE),
    later("json_version", REMOVE),
    later("data_use_instance", REMOVE),
    later("state_dump_file", REMOVE),
    later("stats_dump_file", REMOVE),
    later("json_dump_file", REMOVE),
    later("reload_check_config", REMOVE),
    later("reload_time_file", REMOVE),
    later("reload_repeat", REMOVE),
    later("reload_file", REMOVE),
    later("include_check", REMOVE),
];

pub const INSTANCE: &[Keyword] = &[
    value("state", Some("BACKUP"), Choice { of: STATES, set: |s, v| s.state = Some(state(v)) }),
    value("interface", None, Text(|s, v| s.interface = Some(v))),
    value("virtual_router_id", None, Whole { min: 1, max: 255, set: |s, v| s.vrid = Some(v) }),
    value("priority", Some("100"), Whole { min: 1, max: 255, set: |s, v| s.priority = Some(v) }),
    // What is left of the range depends on the version, see `validate`.
    value(
        "advert_int",
        Some("1"),
        Decimal { min_us: 10_000, max_us: 255_000_000, set: |s, v| s.advert_interval = Some(v) },
    ),
    value("version", Some("2"), Whole { min: 2, max: 3, set: |s, v| s.shared.version = Some(v) }),
    value("vrrp_version", Some("2"), Whole { min: 2, max: 3, set: |s, v| s.shared.version = Some(v) }),
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
    value("mcast_src_ip", None, Unicast(|s, v| s.source = Some(v))),
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
    value("lease", Some("overlap"), Choice { of: LEASES, set: |s, v| s.shared.lease = Some(lease(v)) }),
    later("no_accept", FIREWALL),
    later_block("unicast_peer", UNICAST),
    later("unicast_src_ip", UNICAST),
    later("unicast_ttl", UNICAST),
    later("check_unicast_src", UNICAST),
    later("unicast_fault_no_peer", UNICAST),
    later("old_unicast_checksum", UNICAST),
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
    later("use_vmac", VMAC),
    later("vmac_xmit_base", VMAC),
    later("use_vmac_addr", VMAC),
    later("use_ipvlan", VMAC),
    later("garp_extra_if", VMAC),
    later("vmac_garp_intvl", VMAC),
    later_block("virtual_routes", STATIC),
    later_block("virtual_rules", STATIC),
    later_block("auth_hmac", REMOVE),
    later("mcast_dst_ip", REMOVE),
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

pub const VIP_OPTION: &[Keyword] = &[
    value("dev", None, Text(|s, v| s.vip_interfaces.push(v))),
    no_effect("brd", 1, NO_ADDRESS),
    no_effect("broadcast", 1, NO_ADDRESS),
    no_effect("scope", 1, NO_ADDRESS),
    no_effect("label", 1, NO_ADDRESS),
    no_effect("preferred_lft", 1, NO_ADDRESS),
    no_effect("-nodad", 0, NO_ADDRESS),
    no_effect("nodad", 0, NO_ADDRESS),
    no_effect("noprefixroute", 0, NO_ADDRESS),
    no_effect("no_track", 0, NO_ADDRESS),
    later("peer", REMOVE),
    later("home", REMOVE),
    later("mngtmpaddr", REMOVE),
    later("autojoin", REMOVE),
    later("track_group", REMOVE),
    later("use_vmac", VMAC),
];

const fn block(name: &'static str, block: Block) -> Keyword {
    Keyword { name, block: true, default: None, status: Status::Supported(Form::Block(block)) }
}

const fn value(name: &'static str, default: Option<&'static str>, form: Form) -> Keyword {
    Keyword { name, block: false, default, status: Status::Supported(form) }
}

const fn no_effect(name: &'static str, values: usize, reason: &'static str) -> Keyword {
    Keyword { name, block: false, default: None, status: Status::NoEffect { reason, values } }
}

const fn later(name: &'static str, advice: &'static str) -> Keyword {
    Keyword { name, block: false, default: None, status: Status::NotYet(advice) }
}

const fn later_block(name: &'static str, advice: &'static str) -> Keyword {
    Keyword { name, block: true, default: None, status: Status::NotYet(advice) }
}

fn state(word: Spanned<&str>) -> Spanned<WantedState> {
    let value = if word.value == "MASTER" { WantedState::Master } else { WantedState::Backup };
    Spanned { value, span: word.span }
}

fn auth_type(word: Spanned<&str>) -> Spanned<AuthType> {
    let value = if word.value == "AH" { AuthType::Ah } else { AuthType::Pass };
    Spanned { value, span: word.span }
}

fn lease(word: Spanned<&str>) -> Spanned<LeasePolicy> {
    let value = if word.value == "strict" { LeasePolicy::Strict } else { LeasePolicy::Overlap };
    Spanned { value, span: word.span }
}

const STATES: &[&str] = &["MASTER", "BACKUP"];
const LEASES: &[&str] = &["strict", "overlap"];
const AUTH_TYPES: &[&str] = &["PASS", "AH"];
const DAY_S: u32 = 86_400;

const REMOVE: &str = "remove it, or stay with keepalived on this machine until vipd has it";
const FIREWALL: &str = "remove it: vipd sets up no firewall rules yet and accepts traffic for its VIPs";
const IPV6: &str = "remove it: vipd serves IPv4 only yet";
const LVS: &str = "leave load balancing to a keepalived of its own, without vrrp_instance";
const MAIL: &str = "remove it: vipd sends no mail yet";
const SCRIPT: &str = "remove it: vipd runs no scripts yet";
const STATIC: &str = "configure it with the system's network tools";
const TRACK: &str = "remove it: vipd does no tracking yet";
const UNICAST: &str = "remove it if the routers can reach each other by multicast";
const VMAC: &str = "remove it: vipd serves its VIPs with the MAC address of the interface";

const NO_ADDRESS: &str = "vipd puts no address on the interface";
const SCHEDULING: &str = "vipd always asks for real-time scheduling and locked memory";
