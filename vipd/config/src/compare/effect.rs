//! What follows from a change besides the new value, and which statements differ without a difference in the model.

use std::{collections::BTreeSet, time::Duration};

use vipd_balance::{BalanceConfig, VirtualServer};
use vipd_common::{Family, Version};

use super::{Change, tree::TreeNode};
use crate::model::{config::Config, group::SyncGroup, instance::Instance};

/// What a virtual router is on the wire: another one begins anew.
pub fn identity(instance: &Instance) -> (&str, Family, u8) {
    (&instance.interface, instance.family, instance.vrid.get())
}

/// Whether two say the same, however they are written.
pub fn is_same_instance(before: &Instance, after: &Instance, old: &Config, new: &Config) -> bool {
    let is_mailed =
        |config: &Config, name: &str| config.mail.as_ref().is_some_and(|mail| mail.instances.contains(name));
    Instance { line: after.line, name: after.name.clone(), ..before.clone() } == *after
        && is_mailed(old, &before.name) == is_mailed(new, &after.name)
}

/// Whether the block of this head says the same in both, however it is written. `false` may be wrong.
pub fn is_same_block(block: &TreeNode, before: &Config, after: &Config) -> bool {
    let head = block.head();
    let name = head.strip_prefix(block.keyword()).unwrap_or_default().trim().trim_matches('"');
    fn same<T: PartialEq>(before: &[T], after: &[T], is_it: impl Fn(&T) -> bool) -> bool {
        let find = |all: &[T]| all.iter().position(&is_it);
        let (old, new) =
            (find(before).and_then(|at| before.get(at)), find(after).and_then(|at| after.get(at)));
        old.is_some() && old == new
    }
    match block.keyword() {
        "vrrp_script" => same(&before.scripts, &after.scripts, |script| script.name == name),
        "track_file" => same(&before.files, &after.files, |file| file.name == name),
        "vrrp_track_process" => same(&before.processes, &after.processes, |process| process.name == name),
        "arbiter" => same(&before.arbiters, &after.arbiters, |arbiter| arbiter.name == name),
        "bfd_instance" => same(&before.bfd, &after.bfd, |session| session.name == name),
        "vrrp_sync_group" => {
            let is_mailed =
                |config: &Config| config.mail.as_ref().is_some_and(|mail| mail.groups.contains(name));
            same(&before.sync_groups, &after.sync_groups, |group| group.name == name)
                && is_mailed(before) == is_mailed(after)
        }
        "global_defs" => globals(before) == globals(after),
        _ => false,
    }
}

/// What stands in `global_defs` and counts there.
fn globals(config: &Config) -> (Config, Option<(Duration, Duration)>, Vec<bool>) {
    // How the bursts of all instances are spread is printed there.
    let pacing =
        config.instances.first().map(|instance| (instance.garp.interval, instance.garp.gna_interval));
    // So is whether services are mailed.
    let services = config.balance.servers();
    let mailed = |server: &VirtualServer| {
        [server.mail].into_iter().chain(server.targets.iter().map(|target| target.mail)).collect::<Vec<_>>()
    };
    let mailed = services.iter().flat_map(mailed).collect();
    let mut globals = config.clone();
    globals.balance = BalanceConfig::new(Vec::new(), config.balance.init_notices()).unwrap_or_default();
    if let Some(mail) = &mut globals.mail {
        mail.instances.clear();
        mail.groups.clear();
    }
    let Config { instances, sync_groups, scripts, files, processes, arbiters, bfd, link_delays, .. } =
        &mut globals;
    instances.clear();
    sync_groups.clear();
    scripts.clear();
    files.clear();
    processes.clear();
    arbiters.clear();
    bfd.clear();
    link_delays.clear();
    (globals, pacing, mailed)
}

/// What follows from a change; `None`: nothing but the new value.
pub fn of(change: &Change, before: &Config, after: &Config) -> Option<&'static str> {
    let keyword = change.keyword.split(' ').next().unwrap_or_default();
    match (&change.instance, change.place.split(' ').next().unwrap_or_default()) {
        (Some(name), _) => of_instance(change, name, keyword, before, after),
        (None, "vrrp_sync_group") => of_group(change, keyword, before, after),
        (None, "vrrp_script" | "vrrp_track_process" | "track_file" | "arbiter") => match keyword {
            "weight" | "isolated_action" => Some(PRIORITY),
            _ if change.before.is_some() && change.after.is_some() => Some("the check begins anew"),
            _ => None,
        },
        (None, "bfd_instance") => of_session(change, keyword),
        (None, "virtual_server") => of_service(change),
        (None, "global_defs") => of_global(keyword),
        _ => None,
    }
}

fn of_session(change: &Change, keyword: &str) -> Option<&'static str> {
    match keyword {
        "weight" => Some(PRIORITY),
        "neighbor_ip" | "neighbour_ip" | "source_ip" | "multihop" => {
            Some("another session, which begins Down")
        }
        "" if change.before.is_none() => Some("new session: begins Down"),
        "" if change.after.is_none() => Some("the neighbor is told AdminDown"),
        _ => Some("the session stays Up"),
    }
}

fn of_instance(
    change: &Change,
    name: &str,
    keyword: &str,
    before: &Config,
    after: &Config,
) -> Option<&'static str> {
    match (keyword, &change.before, &change.after) {
        ("", None, _) => Some("new virtual router: begins in BACKUP"),
        ("", _, None) => Some("is handed over, and ends"),
        ("vrrp_instance", ..) => Some("another name for the same virtual router: its state stays"),
        ("interface" | "virtual_router_id", ..) => {
            Some("another virtual router: the former is handed over, the new one begins in BACKUP")
        }
        ("virtual_ipaddress", ..) if is_renewed(name, before, after) => {
            Some("another address family: the virtual router begins anew in BACKUP")
        }
        ("priority", ..) => Some("may start an election"),
        ("nopreempt" | "preempt_delay" | "state", ..) => None,
        ("version" | "authentication", ..) => Some(SAME),
        // Version 3 learns it from the adverts.
        ("advert_int", ..) if is_version_2(name, after) => Some(SAME),
        ("use_vmac", ..) => Some("another MAC address for the VIPs"),
        (
            "track_script" | "track_interface" | "track_file" | "track_process" | "track_arbiter"
            | "track_bfd",
            ..,
        ) => Some(PRIORITY),
        (notifies, ..) if notifies.starts_with("notify") || notifies.starts_with("smtp_") => Some(NOTIFIES),
        _ => None,
    }
}

fn is_version_2(name: &str, config: &Config) -> bool {
    config.instances.iter().any(|instance| instance.name == name && instance.version == Version::V2)
}

fn is_renewed(name: &str, before: &Config, after: &Config) -> bool {
    let find = |config: &Config| config.instances.iter().find(|instance| instance.name == name).cloned();
    match (find(before), find(after)) {
        (Some(before), Some(after)) => identity(&before) != identity(&after),
        _ => false,
    }
}

fn of_group(change: &Change, keyword: &str, before: &Config, after: &Config) -> Option<&'static str> {
    match keyword {
        "" | "group" if restarts(change, before, after) => Some(restart_of(change, before, after)),
        notifies if notifies.starts_with("notify") || notifies.starts_with("smtp_") => Some(NOTIFIES),
        tracks if tracks.starts_with("track_") || tracks == "sync_group_tracking_weight" => Some(PRIORITY),
        _ => None,
    }
}

/// Whether virtual routers are in one group that were not before, or the reverse, whatever they and the group are called.
fn restarts(change: &Change, before: &Config, after: &Config) -> bool {
    let name = change.place.split_once(' ').map_or("", |(_, name)| name.trim_matches('"'));
    let find = |config: &Config| {
        config.sync_groups.iter().find(|group| group.name == name).map(|group| members(config, group))
    };
    let has = |config: &Config, wanted: &BTreeSet<Wire>| {
        wanted.len() < 2 || config.sync_groups.iter().any(|group| members(config, group) == *wanted)
    };
    find(before).is_some_and(|then| !has(after, &then)) || find(after).is_some_and(|now| !has(before, &now))
}

/// What becomes of the members of a group that others share from now on, or none: each that comes or goes has a line of its own.
fn restart_of(change: &Change, before: &Config, after: &Config) -> &'static str {
    let name = change.place.split_once(' ').map_or("", |(_, name)| name.trim_matches('"'));
    let of = |config: &Config| -> BTreeSet<Wire> {
        let group = config.sync_groups.iter().find(|group| group.name == name);
        group.map(|group| members(config, group)).unwrap_or_default()
    };
    let all = |config: &Config| -> BTreeSet<Wire> { config.instances.iter().map(wire).collect() };
    let (then, now) = (all(before), all(after));
    let concerned: BTreeSet<Wire> = of(before).union(&of(after)).cloned().collect();
    let stays = |member: &Wire| then.contains(member) && now.contains(member);
    match (concerned.iter().filter(|member| stays(member)).count(), &change.after) {
        (0, None) => "ends with its instances",
        (0, Some(_)) => "a group of new virtual routers",
        (count, _) if count == concerned.len() => {
            "restarts the whole sync group: its instances are handed over, and begin in BACKUP"
        }
        _ => "restarts the instances of the group that stay: they are handed over, and begin in BACKUP",
    }
}

fn wire(instance: &Instance) -> Wire {
    (instance.interface.clone(), instance.family == Family::V6, instance.vrid.get())
}

/// What a virtual router is on the wire: its interface, whether it is IPv6, its VRID.
type Wire = (String, bool, u8);

fn members(config: &Config, group: &SyncGroup) -> BTreeSet<Wire> {
    config.members(group).map(wire).collect()
}

fn of_service(change: &Change) -> Option<&'static str> {
    let keywords = &change.keyword;
    let last = keywords.rsplit(' ').next().unwrap_or_default();
    // `real_server ADDRESS PORT`, with nothing behind it.
    let is_port = last.starts_with(|c: char| c.is_ascii_digit()) || last.contains(':');
    let is_server = keywords.starts_with("real_server ") && is_port;
    match (last, &change.before, &change.after) {
        ("", None, _) => {
            Some("new service: its servers serve at once, unless `alpha` waits for their checks")
        }
        ("", _, None) => Some("the service ends, and its connections with it"),
        (_, None, _) if is_server => Some("serves at once, unless `alpha` waits for its checks"),
        (_, _, None) if is_server => Some("leaves; with `drain_timeout` its connections may end first"),
        ("weight" | "uthreshold" | "lthreshold", ..) => Some("for new connections"),
        ("smtp_alert" | "notify_up" | "notify_down" | "quorum_up" | "quorum_down", ..) => Some(NOTIFIES),
        ("delay_loop" | "delay_before_retry" | "retry" | "rise" | "warmup", ..) => {
            Some("the verdicts of the checks stay")
        }
        _ if keywords.contains("_CHECK") || keywords.contains("_GET") => {
            Some("another check: it counts from its first run on")
        }
        _ => None,
    }
}

fn of_global(keyword: &str) -> Option<&'static str> {
    match keyword {
        "vrrp_rt_priority" | "metrics_listen" => Some("needs a restart"),
        start
            if start.starts_with("startup_")
                || start == "vrrp_startup_delay"
                || start == "vrrp_delay_after_boot" =>
        {
            Some("counts at the next start")
        }
        "xdp_mode" => Some("the program is attached anew where its mode changes"),
        notifies
            if notifies.starts_with("notify")
                || notifies.starts_with("vrrp_notify")
                || notifies.starts_with("lvs_notify")
                || notifies.starts_with("notification")
                || notifies.starts_with("smtp_")
                || notifies == "no_email_faults" =>
        {
            Some(NOTIFIES)
        }
        _ => None,
    }
}

const SAME: &str = "the other nodes need the same";
const NOTIFIES: &str = "notifications only";
const PRIORITY: &str = "may change the priority in force, or end or begin a FAULT";
