//! The rows of `global_defs`.

use vipd_common::Family;

use super::common::*;
use crate::schema::{
    grammar::{
        Arg::{self, Named, One, Opt},
        Kind,
    },
    keyword::{Form, Inside::Lines, Keyword},
};

use Form::{Choice, Decimal, Flag, Multicast, Seconds, Text, Whole};

/// What instances take from here unless they say it themselves has the name of this row in theirs, as `global`.
pub const GLOBAL_DEFS: &[Keyword] = &[
    value("router_id", None, Text),
    value("vrrp_version", Some("2"), Whole { min: 2, max: 3 }),
    value("vrrp_mcast_group4", Some("224.0.0.18"), Multicast(Some(Family::V4))),
    value("vrrp_mcast_group6", Some("ff02::12"), Multicast(Some(Family::V6))),
    value("vrrp_garp_master_delay", Some("5"), Seconds { max_s: DAY_S }),
    value("vrrp_garp_master_repeat", Some("5"), Whole { min: 0, max: 255 }),
    value("vrrp_garp_master_refresh", Some("0"), Seconds { max_s: DAY_S }),
    value("vrrp_garp_master_refresh_repeat", Some("1"), Whole { min: 0, max: 255 }),
    value("vrrp_garp_lower_prio_delay", None, Seconds { max_s: DAY_S }),
    value("vrrp_garp_lower_prio_repeat", None, Whole { min: 0, max: 255 }),
    value("vrrp_garp_interval", Some("0"), Decimal { min_us: 0, max_us: 1_000_000_000 }),
    value("vrrp_gna_interval", Some("0"), Decimal { min_us: 0, max_us: 1_000_000_000 }),
    value("vrrp_min_garp", Some("off"), Flag),
    value("vrrp_down_timer_adverts", Some("3"), Whole { min: 1, max: 100 }),
    value("vrrp_lower_prio_no_advert", Some("off"), Flag),
    value("v3_checksum_as_v2", Some("off"), Flag),
    value("vrrp_check_unicast_src", Some("on"), Flag),
    value("vrrp_strict", Some("off"), Flag),
    value("include_check", None, Form::IncludeCheck),
    // vipd's own; keepalived has no lease.
    value("lease", Some("overlap"), Choice(LEASES)),
    // vipd's own as well: keepalived looks for no rival that is silent.
    value("self_probe", Some("30"), SELF_PROBE),
    does("notify_conflict", COMMAND),
    // And this: keepalived has no program in the kernel.
    does("xdp_mode", XDP_MODE).many(),
    does("metrics_listen", &[One(Kind::Listen)]),
    does("status_group", &[One(Kind::Account)]),
    does_block("notification_email", NOTHING, Lines(TEXTS)),
    does("notification_email_from", TEXT),
    does("smtp_server", &[One(Kind::Text), Opt(Kind::Whole { min: 1, max: 65_535 })]),
    does("smtp_helo_name", TEXT),
    does("smtp_connect_timeout", SECONDS),
    does("smtp_alert", SWITCH),
    does("smtp_alert_vrrp", SWITCH),
    later("smtp_alert_checker", SWITCH, LVS),
    does("no_email_faults", NOTHING),
    later("no_checker_emails", NOTHING, LVS),
    later("checker_log_all_failures", SWITCH, LVS),
    does("script_user", ACCOUNT),
    does("enable_script_security", NOTHING),
    later("startup_script", COMMAND, SCRIPT),
    later("shutdown_script", COMMAND, SCRIPT),
    later("startup_script_timeout", SCRIPT_TIMEOUT, SCRIPT),
    later("shutdown_script_timeout", SCRIPT_TIMEOUT, SCRIPT),
    later("use_symlink_paths", SWITCH, SCRIPT),
    later("set_supplementary_groups", NOTHING, SCRIPT),
    no_effect("max_auto_priority", &[Opt(Kind::Whole { min: -1, max: 99 })], SCHEDULING),
    no_effect("min_auto_priority_delay", &[One(Kind::Whole { min: 1, max: 10_000_000 })], SCHEDULING),
    no_effect("vrrp_priority", NICE, SCHEDULING),
    no_effect("checker_priority", NICE, SCHEDULING),
    no_effect("bfd_priority", NICE, SCHEDULING),
    does("vrrp_rt_priority", REAL_TIME),
    no_effect("checker_rt_priority", REAL_TIME, SCHEDULING),
    no_effect("bfd_rt_priority", REAL_TIME, SCHEDULING),
    no_effect("vrrp_rlimit_rttime", COUNT, SCHEDULING),
    no_effect("checker_rlimit_rttime", COUNT, SCHEDULING),
    no_effect("bfd_rlimit_rttime", COUNT, SCHEDULING),
    no_effect("vrrp_rlimit_rtime", COUNT, SCHEDULING),
    no_effect("checker_rlimit_rtime", COUNT, SCHEDULING),
    no_effect("bfd_rlimit_rtime", COUNT, SCHEDULING),
    no_effect("vrrp_no_swap", NOTHING, SCHEDULING),
    no_effect("checker_no_swap", NOTHING, SCHEDULING),
    no_effect("bfd_no_swap", NOTHING, SCHEDULING),
    later("vrrp_cpu_affinity", CPUS, AFFINITY),
    later("checker_cpu_affinity", CPUS, AFFINITY),
    later("bfd_cpu_affinity", CPUS, AFFINITY),
    no_effect("process_names", NOTHING, ONE_PROCESS),
    no_effect("process_name", TEXT, ONE_PROCESS),
    no_effect("vrrp_process_name", TEXT, ONE_PROCESS),
    no_effect("checker_process_name", TEXT, ONE_PROCESS),
    no_effect("lvs_process_name", TEXT, ONE_PROCESS),
    no_effect("bfd_process_name", TEXT, ONE_PROCESS),
    no_effect("umask", &[Arg::Any(Kind::Text)], "what vipd makes is for its owner, or its group, alone"),
    no_effect("random_seed", COUNT, "`_RANDOM` takes its numbers from the kernel"),
    no_effect("tmp_config_directory", TEXT, "vipd keeps the configuration in memory"),
    later("config_save_dir", TEXT, REMOVE),
    later("iproute_usr_dir", TEXT, "write tables and scopes as numbers"),
    later("iproute_etc_dir", TEXT, "write tables and scopes as numbers"),
    no_effect("vrrp_garp_extra_if", EXTRA, NO_INTERFACE),
    no_effect("vrrp_vmac_garp_intvl", EXTRA, NO_INTERFACE),
    no_effect("vmac_prefix", TEXT, NO_INTERFACE),
    no_effect("vmac_addr_prefix", TEXT, NO_INTERFACE),
    later("vrrp_higher_prio_send_advert", SWITCH, REMOVE),
    no_effect("vrrp_skip_check_adv_addr", SWITCH, NO_COMPARISON),
    later("vrrp_owner_ignore_adverts", NOTHING, REMOVE),
    does("vrrp_notify_priority_changes", SWITCH),
    later("vrrp_startup_delay", SECONDS, REMOVE),
    later("vrrp_delay_after_boot", SECONDS, REMOVE),
    later("log_unknown_vrids", NOTHING, REMOVE),
    no_effect("disable_local_igmp", NOTHING, "vipd joins the group on the interfaces of its instances only"),
    does("dynamic_interfaces", &[Opt(Kind::Choice(&["allow_if_changes"]))]),
    later("default_interface", INTERFACE, STATIC),
    no_effect("vrrp_rx_bufs_policy", TEXT, BUFFERS),
    no_effect("vrrp_rx_bufs_multiplier", COUNT, BUFFERS),
    no_effect("vrrp_netlink_cmd_rcv_bufs", COUNT, BUFFERS),
    no_effect("vrrp_netlink_cmd_rcv_bufs_force", SWITCH, BUFFERS),
    no_effect("vrrp_netlink_monitor_rcv_bufs", COUNT, BUFFERS),
    no_effect("vrrp_netlink_monitor_rcv_bufs_force", SWITCH, BUFFERS),
    no_effect("process_monitor_rcv_bufs", COUNT, BUFFERS),
    no_effect("process_monitor_rcv_bufs_force", SWITCH, BUFFERS),
    no_effect("vrrp_iptables", &[Opt(Kind::Text), Opt(Kind::Text)], NO_FIREWALL),
    no_effect("vrrp_ipsets", &[Arg::Any(Kind::Text)], NO_FIREWALL),
    no_effect("nftables", MAYBE_TEXT, NO_FIREWALL),
    no_effect("nftables_priority", PRIORITY, NO_FIREWALL),
    no_effect("nftables_ifindex", NOTHING, NO_FIREWALL),
    no_effect("nftables_counters", NOTHING, NO_FIREWALL),
    later("nftables_ipvs", MAYBE_TEXT, LVS),
    later("nftables_ipvs_priority", PRIORITY, LVS),
    later("nftables_ipvs_start_fwmark", COUNT, LVS),
    later("lvs_netlink_cmd_rcv_bufs", COUNT, LVS),
    later("lvs_netlink_cmd_rcv_bufs_force", SWITCH, LVS),
    later("lvs_netlink_monitor_rcv_bufs", COUNT, LVS),
    later("lvs_netlink_monitor_rcv_bufs_force", SWITCH, LVS),
    later(
        "lvs_timeouts",
        &[Named(&[("tcp", LVS_TIMEOUT), ("tcpfin", LVS_TIMEOUT), ("udp", LVS_TIMEOUT)])],
        LVS,
    ),
    later("lvs_flush", NOTHING, LVS),
    later("lvs_flush_on_stop", FLUSH, LVS),
    later("lvs_flush_onstop", FLUSH, LVS).means("lvs_flush_on_stop"),
    later("lvs_sync_daemon", LVS_SYNC, LVS),
    later("rs_init_notifies", NOTHING, LVS),
    does("notify_fifo", FIFO),
    does("notify_fifo_script", COMMAND),
    does("vrrp_notify_fifo", FIFO),
    does("vrrp_notify_fifo_script", COMMAND),
    later("lvs_notify_fifo", FIFO, LVS),
    later("lvs_notify_fifo_script", COMMAND, LVS),
    does("fifo_write_vrrp_states_on_reload", NOTHING),
    later("snmp_socket", TEXT, REMOVE),
    later("enable_traps", NOTHING, REMOVE),
    later("enable_snmp_vrrp", NOTHING, REMOVE),
    later("enable_snmp_keepalived", NOTHING, REMOVE).means("enable_snmp_vrrp"),
    later("enable_snmp_checker", NOTHING, REMOVE),
    later("enable_snmp_rfc", NOTHING, REMOVE),
    later("enable_snmp_rfcv2", NOTHING, REMOVE),
    later("enable_snmp_rfcv3", NOTHING, REMOVE),
    later("snmp_vs_stats_update_interval", SECONDS, REMOVE),
    later("snmp_rs_stats_update_interval", SECONDS, REMOVE),
    later("enable_dbus", NOTHING, REMOVE),
    later("dbus_service_name", TEXT, REMOVE),
    later("dbus_no_interface_name", NOTHING, REMOVE),
    does("json_version", &[One(Kind::Whole { min: 1, max: 2 })]),
    does("data_use_instance", SWITCH),
    does("state_dump_file", TEXT),
    does("stats_dump_file", TEXT),
    does("json_dump_file", TEXT),
    no_effect("reload_check_config", MAYBE_TEXT, "vipd always checks a configuration before it is applied"),
    later("reload_time_file", TEXT, REMOVE),
    later("reload_repeat", NOTHING, REMOVE),
    later("reload_file", MAYBE_TEXT, REMOVE),
];

const SCRIPT_TIMEOUT: &[Arg] = &[One(Kind::Whole { min: 1, max: 1_000 })];
const NICE: &[Arg] = &[One(Kind::Whole { min: -20, max: 19 })];
const REAL_TIME: &[Arg] = &[One(Kind::Whole { min: 1, max: 99 })];
const CPUS: &[Arg] = &[Arg::Many(Kind::Whole { min: 0, max: 1_023 })];
const PRIORITY: &[Arg] = &[One(Kind::Whole { min: i32::MIN as i64, max: i32::MAX as i64 })];
const FLUSH: &[Arg] = &[Opt(Kind::Choice(&["VS"]))];
/// 31 days.
const LVS_TIMEOUT: &[Arg] = &[One(Kind::Whole { min: 0, max: 31 * DAY_S as i64 })];
const LVS_SYNC: &[Arg] = &[
    One(Kind::Interface),
    Arg::Either(
        &[
            ("inst", &[One(Kind::Of("vrrp_instance")), LVS_SYNC_REST]),
            ("id", &[One(LVS_OCTET), LVS_SYNC_REST]),
            ("maxlen", &[One(LVS_PORT), LVS_SYNC_REST]),
            ("port", &[One(LVS_PORT), LVS_SYNC_REST]),
            ("ttl", &[One(LVS_OCTET), LVS_SYNC_REST]),
            ("group", &[One(Kind::Address), LVS_SYNC_REST]),
        ],
        &[Opt(Kind::Of("vrrp_instance")), LVS_SYNC_REST],
    ),
];
const LVS_OCTET: Kind = Kind::Whole { min: 0, max: 255 };
const LVS_PORT: Kind = Kind::Whole { min: 0, max: 65_535 };
const LVS_SYNC_REST: Arg = Named(&[
    ("id", OCTET),
    ("maxlen", PORT),
    ("port", PORT),
    ("ttl", OCTET),
    ("group", ADDRESS),
    ("inst", INSTANCES),
]);
/// Seconds, for all interfaces if so said.
pub const EXTRA: &[Arg] = &[Arg::Either(&[("all", DAY)], DAY)];
const DAY: &[Arg] = &[One(Kind::Whole { min: 0, max: DAY_S as i64 })];

const AFFINITY: &str = "set it where vipd is started, as with CPUAffinity= of systemd";
const ONE_PROCESS: &str = "vipd is one process";
pub const NO_COMPARISON: &str = "vipd takes an advert whatever addresses it lists";
