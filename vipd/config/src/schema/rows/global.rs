//! The rows of `global_defs`.

use vipd_common::Family;

use super::common::*;
use crate::schema::{
    grammar::{
        Arg::{self, Named, One, Opt},
        WordKind,
    },
    keyword::{Inside::Lines, Keyword, KeywordForm},
};

use KeywordForm::{Bare, Choice, Decimal, Flag, Multicast, Seconds, Text, Whole};

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
    value("vrrp_strict", None, Bare),
    value("include_check", None, KeywordForm::IncludeCheck),
    // vipd's own; keepalived has no lease.
    value("lease", Some("overlap"), Choice(LEASES)),
    // vipd's own as well: keepalived looks for no rival that is silent.
    value("self_probe", Some("30"), SELF_PROBE),
    does("notify_conflict", COMMAND),
    // keepalived's nodes tell each other nothing but adverts.
    value("cluster_report", Some("off"), CLUSTER_REPORT),
    does("cluster_report_key", &[One(WordKind::Secret)]),
    // And this: keepalived has no program in the kernel.
    does("xdp_mode", XDP_MODE).many(),
    does("metrics_listen", &[One(WordKind::Listen)]),
    does("status_group", &[One(WordKind::Account)]),
    does_block("notification_email", NOTHING, Lines(TEXTS)),
    does("notification_email_from", TEXT),
    does("smtp_server", &[One(WordKind::Text), Opt(WordKind::Whole { min: 1, max: 65_535 })]),
    does("smtp_helo_name", TEXT),
    does("smtp_connect_timeout", SECONDS),
    does("smtp_alert", SWITCH),
    does("smtp_alert_vrrp", SWITCH),
    balances("smtp_alert_checker", SWITCH),
    does("no_email_faults", NOTHING),
    no_effect("no_checker_emails", NOTHING, ONE_MAIL),
    dropped("checker_log_all_failures", SWITCH, LOGGED_FAILURES),
    does("script_user", ACCOUNT),
    does("enable_script_security", NOTHING),
    does("startup_script", COMMAND),
    does("shutdown_script", COMMAND),
    does("startup_script_timeout", SCRIPT_TIMEOUT),
    does("shutdown_script_timeout", SCRIPT_TIMEOUT),
    no_effect("use_symlink_paths", SWITCH, "a script is run by the path that is written"),
    no_effect("set_supplementary_groups", NOTHING, "a script has the supplementary groups of its user"),
    no_effect("max_auto_priority", &[Opt(WordKind::Whole { min: -1, max: 99 })], SCHEDULING),
    no_effect("min_auto_priority_delay", &[One(WordKind::Whole { min: 1, max: 10_000_000 })], SCHEDULING),
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
    dropped("vrrp_cpu_affinity", CPUS, AFFINITY),
    dropped("checker_cpu_affinity", CPUS, AFFINITY),
    dropped("bfd_cpu_affinity", CPUS, AFFINITY),
    no_effect("process_names", NOTHING, ONE_PROCESS),
    no_effect("process_name", TEXT, ONE_PROCESS),
    no_effect("vrrp_process_name", TEXT, ONE_PROCESS),
    no_effect("checker_process_name", TEXT, ONE_PROCESS),
    no_effect("lvs_process_name", TEXT, ONE_PROCESS),
    no_effect("bfd_process_name", TEXT, ONE_PROCESS),
    no_effect("umask", &[Arg::Any(WordKind::Text)], "what vipd makes is for its owner, or its group, alone"),
    no_effect("random_seed", COUNT, "`_RANDOM` takes its numbers from the kernel"),
    no_effect("tmp_config_directory", TEXT, "vipd keeps the configuration in memory"),
    dropped("config_save_dir", TEXT, "vipd keeps no copy of its configuration"),
    dropped("iproute_usr_dir", TEXT, "write tables and scopes as numbers"),
    dropped("iproute_etc_dir", TEXT, "write tables and scopes as numbers"),
    no_effect("vrrp_garp_extra_if", EXTRA, NO_INTERFACE),
    no_effect("vrrp_vmac_garp_intvl", EXTRA, NO_INTERFACE),
    no_effect("vmac_prefix", TEXT, NO_INTERFACE),
    no_effect("vmac_addr_prefix", TEXT, NO_INTERFACE),
    no_effect("vrrp_higher_prio_send_advert", SWITCH, ONE_MORE_ADVERT),
    no_effect("vrrp_skip_check_adv_addr", SWITCH, NO_COMPARISON),
    later("vrrp_owner_ignore_adverts", NOTHING, REMOVE),
    does("vrrp_notify_priority_changes", SWITCH),
    does("vrrp_startup_delay", STARTUP_DELAY),
    does("vrrp_delay_after_boot", STARTUP_DELAY),
    dropped(
        "log_unknown_vrids",
        NOTHING,
        "vipd does not hear routers that it does not know: `tcpdump -ni IF proto 112` shows them",
    ),
    no_effect("disable_local_igmp", NOTHING, "vipd joins the group on the interfaces of its instances only"),
    does("dynamic_interfaces", &[Opt(WordKind::Choice(&["allow_if_changes"]))]),
    dropped(
        "default_interface",
        INTERFACE,
        "it is the interface of static addresses, which vipd does not make",
    ),
    no_effect("vrrp_rx_bufs_policy", TEXT, BUFFERS),
    no_effect("vrrp_rx_bufs_multiplier", COUNT, BUFFERS),
    no_effect("vrrp_netlink_cmd_rcv_bufs", COUNT, BUFFERS),
    no_effect("vrrp_netlink_cmd_rcv_bufs_force", SWITCH, BUFFERS),
    no_effect("vrrp_netlink_monitor_rcv_bufs", COUNT, BUFFERS),
    no_effect("vrrp_netlink_monitor_rcv_bufs_force", SWITCH, BUFFERS),
    no_effect("process_monitor_rcv_bufs", COUNT, BUFFERS),
    no_effect("process_monitor_rcv_bufs_force", SWITCH, BUFFERS),
    no_effect("vrrp_iptables", &[Opt(WordKind::Text), Opt(WordKind::Text)], NO_FIREWALL),
    no_effect("vrrp_ipsets", &[Arg::Any(WordKind::Text)], NO_FIREWALL),
    no_effect("nftables", MAYBE_TEXT, NO_FIREWALL),
    no_effect("nftables_priority", PRIORITY, NO_FIREWALL),
    no_effect("nftables_ifindex", NOTHING, NO_FIREWALL),
    no_effect("nftables_counters", NOTHING, NO_FIREWALL),
    dropped("nftables_ipvs", MAYBE_TEXT, NO_MARKS),
    dropped("nftables_ipvs_priority", PRIORITY, NO_MARKS),
    dropped("nftables_ipvs_start_fwmark", COUNT, NO_MARKS),
    dropped("lvs_netlink_cmd_rcv_bufs", COUNT, LVS_BUFFERS),
    dropped("lvs_netlink_cmd_rcv_bufs_force", SWITCH, LVS_BUFFERS),
    dropped("lvs_netlink_monitor_rcv_bufs", COUNT, LVS_BUFFERS),
    dropped("lvs_netlink_monitor_rcv_bufs_force", SWITCH, LVS_BUFFERS),
    balances(
        "lvs_timeouts",
        &[Named(&[("tcp", LVS_TIMEOUT), ("tcpfin", LVS_TIMEOUT), ("udp", LVS_TIMEOUT)])],
    ),
    balances("lvs_flush", NOTHING),
    balances("lvs_flush_on_stop", FLUSH),
    balances("lvs_flush_onstop", FLUSH).means("lvs_flush_on_stop"),
    balances("lvs_sync_daemon", LVS_SYNC),
    balances("rs_init_notifies", NOTHING),
    // vipd's own: keepalived spreads the first run of a check only.
    balances("jitter", JITTER),
    does("notify_fifo", FIFO),
    does("notify_fifo_script", COMMAND),
    does("vrrp_notify_fifo", FIFO),
    does("vrrp_notify_fifo_script", COMMAND),
    balances("lvs_notify_fifo", FIFO),
    balances("lvs_notify_fifo_script", COMMAND),
    does("fifo_write_vrrp_states_on_reload", NOTHING),
    dropped("snmp_socket", TEXT, SNMP),
    dropped("enable_traps", NOTHING, TRAPS),
    dropped("enable_snmp_vrrp", NOTHING, SNMP),
    dropped("enable_snmp_keepalived", NOTHING, SNMP).means("enable_snmp_vrrp"),
    dropped("enable_snmp_checker", NOTHING, SNMP),
    dropped("enable_snmp_rfc", NOTHING, SNMP),
    dropped("enable_snmp_rfcv2", NOTHING, SNMP),
    dropped("enable_snmp_rfcv3", NOTHING, SNMP),
    dropped("snmp_vs_stats_update_interval", SECONDS, SNMP),
    dropped("snmp_rs_stats_update_interval", SECONDS, SNMP),
    dropped("enable_dbus", NOTHING, DBUS),
    dropped("dbus_service_name", TEXT, DBUS),
    dropped("dbus_no_interface_name", NOTHING, DBUS),
    does("json_version", &[One(WordKind::Whole { min: 1, max: 2 })]),
    does("data_use_instance", SWITCH),
    does("state_dump_file", TEXT),
    does("stats_dump_file", TEXT),
    does("json_dump_file", TEXT),
    no_effect("reload_check_config", MAYBE_TEXT, "vipd always checks a configuration before it is applied"),
    dropped("reload_time_file", TEXT, "run `vipd reload` from a timer, such as one of systemd"),
    dropped("reload_repeat", NOTHING, "run `vipd reload` from a timer, such as one of systemd"),
    dropped("reload_file", MAYBE_TEXT, "run `vipd reload` from a timer, such as one of systemd"),
];

const SCRIPT_TIMEOUT: &[Arg] = &[One(WordKind::Whole { min: 1, max: 1_000 })];
const NICE: &[Arg] = &[One(WordKind::Whole { min: -20, max: 19 })];
const REAL_TIME: &[Arg] = &[One(WordKind::Whole { min: 1, max: 99 })];
const CPUS: &[Arg] = &[Arg::Many(WordKind::Whole { min: 0, max: 1_023 })];
const PRIORITY: &[Arg] = &[One(WordKind::Whole { min: i32::MIN as i64, max: i32::MAX as i64 })];
const FLUSH: &[Arg] = &[Opt(WordKind::Choice(&["VS"]))];
/// 31 days.
const NO_MARKS: &str =
    "each address of a group is a service of its own: no firewall marks and no rules are needed";
const LVS_BUFFERS: &str = "vipd asks for a service at a time, which needs no larger buffers";
const LVS_TIMEOUT: &[Arg] = &[One(WordKind::Whole { min: 0, max: 31 * DAY_S as i64 })];
const LVS_SYNC: &[Arg] = &[
    One(WordKind::Interface),
    Arg::OptUnless(WordKind::Of("vrrp_instance"), &["id", "maxlen", "port", "ttl", "group", "inst"]),
    LVS_SYNC_REST,
];
const LVS_SYNC_REST: Arg = Named(&[
    ("id", OCTET),
    ("maxlen", PORT),
    ("port", PORT),
    ("ttl", OCTET),
    ("group", ADDRESS),
    ("inst", &[One(WordKind::Of("vrrp_instance"))]),
]);
/// Percent; a period that shrinks further is no period.
const JITTER: &[Arg] = &[One(WordKind::Whole { min: 0, max: 50 })];
/// Seconds, for all interfaces if so said.
pub const EXTRA: &[Arg] = &[Arg::Either(&[("all", DAY)], DAY)];
const DAY: &[Arg] = &[One(WordKind::Whole { min: 0, max: DAY_S as i64 })];

/// As keepalived takes it, and a week at most.
const STARTUP_DELAY: &[Arg] = &[One(WordKind::Seconds { min_us: 0, max_us: 604_800_000_000 })];
const AFFINITY: &str = "set it where vipd is started, as with CPUAffinity= of systemd";
const ONE_MAIL: &str = "vipd sends one mail for each change of a server, never one for each check";
pub const ONE_MORE_ADVERT: &str = "a master that yields to a greater priority always sends one more advert";
const ONE_PROCESS: &str = "vipd is one process";
pub const NO_COMPARISON: &str = "vipd takes an advert whatever addresses it lists";
