//! The keyword table: every keyword of keepalived's VRRP side that vipd knows of, and what vipd does with it.
//!
//! Names and status only; `lower` gives the supported ones their meaning by matching on the key, so that a row here
//! without code there does not compile.

use self::{Block::*, Status::*};

/// Where a keyword may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    Root,
    Global,
    Instance,
    Authentication,
    /// One address per line, no keywords.
    Addresses,
    /// Not understood: skipped to its closing brace.
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootKey {
    GlobalDefs,
    VrrpInstance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GlobalKey {
    RouterId,
    Version,
    McastGroup4,
    GarpInterval,
    MinGarp,
    Shared(SharedKey),
}

/// What a `vrrp_instance` may say for itself and `global_defs` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SharedKey {
    GarpDelay,
    GarpRepeat,
    GarpRefresh,
    GarpRefreshRepeat,
    GarpLowerPrioDelay,
    GarpLowerPrioRepeat,
    DownTimerAdverts,
    LowerPrioNoAdvert,
    ChecksumAsV2,
    Lease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceKey {
    State,
    Interface,
    VirtualRouterId,
    Priority,
    AdvertInt,
    Version,
    Authentication,
    VirtualIpaddress,
    VirtualIpaddressExcluded,
    Nopreempt,
    Preempt,
    PreemptDelay,
    McastSrcIp,
    Accept,
    Shared(SharedKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthKey {
    Type,
    Pass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Root(RootKey),
    Global(GlobalKey),
    Instance(InstanceKey),
    Auth(AuthKey),
}

/// What vipd does with a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Supported(Key),
    /// Accepted and not needed; the sentence says why.
    NoEffect(&'static str),
    /// Refused: going on without it would not be what was asked for.
    NotYet,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    pub block: Block,
    pub word: &'static str,
    /// The kind of block it opens.
    pub opens: Option<Block>,
    pub status: Status,
}

pub fn find(block: Block, word: &str) -> Option<&'static Keyword> {
    TABLE.iter().flat_map(|part| part.iter()).find(|k| k.block == block && k.word == word)
}

/// The known keyword nearest to a misspelt one.
pub fn nearest(block: Block, word: &str) -> Option<&'static str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let rows = TABLE.iter().flat_map(|part| part.iter()).filter(|k| k.block == block);
    let near = rows.map(|k| (distance(&word.to_lowercase(), k.word), k.word)).filter(|(d, _)| *d <= allowed);
    near.min_by_key(|(d, _)| *d).map(|(_, word)| word)
}

/// Every row.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static Keyword> {
    TABLE.iter().flat_map(|part| part.iter())
}

/// Edits (insert, delete, replace, swap neighbours) between two words. Words too unlike in length are only bounded.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 3 {
        return a.len().abs_diff(b.len());
    }
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (previous[j] + usize::from(x != y)).min(previous[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

const REAL_TIME: &str = "vipd always asks for real-time scheduling and locked memory";

const fn root(word: &'static str, opens: Block, key: RootKey) -> Keyword {
    Keyword { block: Root, word, opens: Some(opens), status: Supported(Key::Root(key)) }
}
const fn global(word: &'static str, key: GlobalKey) -> Keyword {
    Keyword { block: Global, word, opens: None, status: Supported(Key::Global(key)) }
}
const fn instance(word: &'static str, key: InstanceKey) -> Keyword {
    Keyword { block: Instance, word, opens: None, status: Supported(Key::Instance(key)) }
}
const fn inner(word: &'static str, opens: Block, key: InstanceKey) -> Keyword {
    Keyword { block: Instance, word, opens: Some(opens), status: Supported(Key::Instance(key)) }
}
const fn auth(word: &'static str, key: AuthKey) -> Keyword {
    Keyword { block: Authentication, word, opens: None, status: Supported(Key::Auth(key)) }
}
const fn none(block: Block, word: &'static str, why: &'static str) -> Keyword {
    Keyword { block, word, opens: None, status: NoEffect(why) }
}
/// Rows for keywords without a block that are not supported yet.
const fn later<const N: usize>(block: Block, words: [&'static str; N]) -> [Keyword; N] {
    rows(block, words, None, NotYet)
}
/// The same for keywords that open a block.
const fn later_block<const N: usize>(block: Block, words: [&'static str; N]) -> [Keyword; N] {
    rows(block, words, Some(Opaque), NotYet)
}
const fn rows<const N: usize>(
    block: Block,
    words: [&'static str; N],
    opens: Option<Block>,
    status: Status,
) -> [Keyword; N] {
    let mut out = [Keyword { block, word: "", opens, status }; N];
    let mut at = 0;
    while at < N {
        out[at].word = words[at];
        at += 1;
    }
    out
}

#[rustfmt::skip] // one word list per subject reads better than one word per line
static TABLE: &[&[Keyword]] = &[
    &[
        root("global_defs", Global, RootKey::GlobalDefs),
        root("vrrp_instance", Instance, RootKey::VrrpInstance),
    ],
    &later_block(
        Root,
        [
            "vrrp_script", "vrrp_sync_group", "track_file", "vrrp_track_file", "vrrp_track_process",
            "bfd_instance", "virtual_server", "virtual_server_group", "SSL", "static_ipaddress",
            "static_routes", "static_rules", "track_group", "garp_group", "interface_up_down_delays",
            "linkbeat_interfaces",
        ],
    ),
    &later(
        Root,
        [
            "linkbeat_use_polling", "net_namespace", "net_namespace_ipvs", "namespace_with_ipsets", "instance",
            "use_pid_dir", "child_wait_time",
        ],
    ),
    &[
        global("router_id", GlobalKey::RouterId),
        global("vrrp_version", GlobalKey::Version),
        global("vrrp_mcast_group4", GlobalKey::McastGroup4),
        global("vrrp_garp_interval", GlobalKey::GarpInterval),
        global("vrrp_min_garp", GlobalKey::MinGarp),
        global("vrrp_garp_master_delay", GlobalKey::Shared(SharedKey::GarpDelay)),
        global("vrrp_garp_master_repeat", GlobalKey::Shared(SharedKey::GarpRepeat)),
        global("vrrp_garp_master_refresh", GlobalKey::Shared(SharedKey::GarpRefresh)),
        global("vrrp_garp_master_refresh_repeat", GlobalKey::Shared(SharedKey::GarpRefreshRepeat)),
        global("vrrp_garp_lower_prio_delay", GlobalKey::Shared(SharedKey::GarpLowerPrioDelay)),
        global("vrrp_garp_lower_prio_repeat", GlobalKey::Shared(SharedKey::GarpLowerPrioRepeat)),
        global("vrrp_down_timer_adverts", GlobalKey::Shared(SharedKey::DownTimerAdverts)),
        global("vrrp_lower_prio_no_advert", GlobalKey::Shared(SharedKey::LowerPrioNoAdvert)),
        global("v3_checksum_as_v2", GlobalKey::Shared(SharedKey::ChecksumAsV2)),
        global("lease", GlobalKey::Shared(SharedKey::Lease)),
    ],
    &rows(
        Global,
        [
            "max_auto_priority", "min_auto_priority_delay", "vrrp_priority", "checker_priority", "bfd_priority",
            "vrrp_rt_priority", "checker_rt_priority", "bfd_rt_priority", "vrrp_no_swap", "checker_no_swap",
            "bfd_no_swap", "vrrp_rlimit_rttime", "checker_rlimit_rttime", "bfd_rlimit_rttime",
            "vrrp_rlimit_rtime", "checker_rlimit_rtime", "bfd_rlimit_rtime",
        ],
        None,
        NoEffect(REAL_TIME),
    ),
    &rows(
        Global,
        ["vrrp_cpu_affinity", "checker_cpu_affinity", "bfd_cpu_affinity"],
        None,
        NoEffect("vipd answers for its addresses in the kernel, on the processor each packet arrives at"),
    ),
    &later_block(Global, ["notification_email"]),
    &later(
        Global,
        [
            "process_names", "process_name", "vrrp_process_name", "checker_process_name", "lvs_process_name",
            "bfd_process_name", "use_symlink_paths", "set_supplementary_groups", "startup_script",
            "shutdown_script", "startup_script_timeout", "shutdown_script_timeout", "script_user",
            "enable_script_security", "umask", "random_seed", "tmp_config_directory", "config_save_dir",
            "iproute_usr_dir", "iproute_etc_dir",
        ],
    ),
    &later(
        Global,
        [
            "notification_email_from", "smtp_server", "smtp_helo_name", "smtp_connect_timeout", "smtp_alert",
            "smtp_alert_vrrp", "smtp_alert_checker", "no_email_faults", "no_checker_emails",
            "checker_log_all_failures",
        ],
    ),
    &later(
        Global,
        [
            "vrrp_mcast_group6", "vrrp_gna_interval", "vrrp_garp_extra_if", "vrrp_vmac_garp_intvl",
            "vrrp_higher_prio_send_advert", "vrrp_check_unicast_src", "vrrp_skip_check_adv_addr", "vrrp_strict",
            "vrrp_owner_ignore_adverts", "vrrp_notify_priority_changes", "vrrp_startup_delay",
            "vrrp_delay_after_boot", "log_unknown_vrids", "disable_local_igmp", "dynamic_interfaces",
            "default_interface", "vmac_prefix", "vmac_addr_prefix", "vrrp_rx_bufs_policy",
            "vrrp_rx_bufs_multiplier", "vrrp_netlink_cmd_rcv_bufs", "vrrp_netlink_cmd_rcv_bufs_force",
            "vrrp_netlink_monitor_rcv_bufs", "vrrp_netlink_monitor_rcv_bufs_force", "lvs_netlink_cmd_rcv_bufs",
            "lvs_netlink_cmd_rcv_bufs_force", "lvs_netlink_monitor_rcv_bufs",
            "lvs_netlink_monitor_rcv_bufs_force", "process_monitor_rcv_bufs", "process_monitor_rcv_bufs_force",
        ],
    ),
    &later(
        Global,
        [
            "vrrp_iptables", "vrrp_ipsets", "nftables", "nftables_priority", "nftables_ifindex",
            "nftables_counters", "nftables_ipvs", "nftables_ipvs_priority", "nftables_ipvs_start_fwmark",
            "lvs_timeouts", "lvs_flush", "lvs_flush_on_stop", "lvs_flush_onstop", "lvs_sync_daemon",
            "rs_init_notifies",
        ],
    ),
    &later(
        Global,
        [
            "notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo", "notify_fifo_script", "vrrp_notify_fifo_script",
            "lvs_notify_fifo_script", "fifo_write_vrrp_states_on_reload", "snmp_socket", "enable_traps",
            "enable_snmp_vrrp", "enable_snmp_keepalived", "enable_snmp_checker", "enable_snmp_rfc",
            "enable_snmp_rfcv2", "enable_snmp_rfcv3", "snmp_vs_stats_update_interval",
            "snmp_rs_stats_update_interval", "enable_dbus", "dbus_service_name", "dbus_no_interface_name",
            "json_version", "data_use_instance", "state_dump_file", "stats_dump_file", "json_dump_file",
            "reload_check_config", "reload_time_file", "reload_repeat", "reload_file", "include_check",
        ],
    ),
    &[
        instance("state", InstanceKey::State),
        instance("interface", InstanceKey::Interface),
        instance("virtual_router_id", InstanceKey::VirtualRouterId),
        instance("priority", InstanceKey::Priority),
        instance("advert_int", InstanceKey::AdvertInt),
        instance("version", InstanceKey::Version),
        instance("vrrp_version", InstanceKey::Version),
        inner("authentication", Authentication, InstanceKey::Authentication),
        inner("virtual_ipaddress", Addresses, InstanceKey::VirtualIpaddress),
        inner("virtual_ipaddress_excluded", Addresses, InstanceKey::VirtualIpaddressExcluded),
        instance("nopreempt", InstanceKey::Nopreempt),
        instance("preempt", InstanceKey::Preempt),
        instance("preempt_delay", InstanceKey::PreemptDelay),
        instance("mcast_src_ip", InstanceKey::McastSrcIp),
        instance("accept", InstanceKey::Accept),
        instance("garp_master_delay", InstanceKey::Shared(SharedKey::GarpDelay)),
        instance("garp_master_repeat", InstanceKey::Shared(SharedKey::GarpRepeat)),
        instance("garp_master_refresh", InstanceKey::Shared(SharedKey::GarpRefresh)),
        instance("garp_master_refresh_repeat", InstanceKey::Shared(SharedKey::GarpRefreshRepeat)),
        instance("garp_lower_prio_delay", InstanceKey::Shared(SharedKey::GarpLowerPrioDelay)),
        instance("garp_lower_prio_repeat", InstanceKey::Shared(SharedKey::GarpLowerPrioRepeat)),
        instance("down_timer_adverts", InstanceKey::Shared(SharedKey::DownTimerAdverts)),
        instance("lower_prio_no_advert", InstanceKey::Shared(SharedKey::LowerPrioNoAdvert)),
        instance("v3_checksum_as_v2", InstanceKey::Shared(SharedKey::ChecksumAsV2)),
        instance("lease", InstanceKey::Shared(SharedKey::Lease)),
        none(Instance, "native_ipv6", "keepalived gives it none either"),
    ],
    &later_block(
        Instance,
        [
            "track_script", "track_interface", "track_file", "track_process", "track_bfd", "unicast_peer",
            "virtual_routes", "virtual_rules", "auth_hmac",
        ],
    ),
    &later(
        Instance,
        [
            "no_accept", "dont_track_primary", "use_vmac", "vmac_xmit_base", "use_vmac_addr", "use_ipvlan",
            "unicast_src_ip", "track_src_ip", "unicast_ttl", "check_unicast_src", "unicast_fault_no_peer",
            "old_unicast_checksum", "notify", "notify_master", "notify_backup", "notify_fault", "notify_stop",
            "notify_deleted", "notify_master_rx_lower_pri", "notify_priority_changes", "smtp_alert",
            "mcast_dst_ip", "no_virtual_ipaddress", "promote_secondaries", "skip_check_adv_addr",
            "strict_mode", "timer_expired_backup", "thread_timer_expired", "higher_prio_send_advert",
            "owner_ignore_adverts", "garp_extra_if", "vmac_garp_intvl", "kernel_rx_buf_size", "vrf",
            "linkbeat_use_polling", "lvs_sync_daemon_interface", "debug",
        ],
    ),
    &[auth("auth_type", AuthKey::Type), auth("auth_pass", AuthKey::Pass)],
];
