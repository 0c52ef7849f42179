//! What holds for all of vipd: `global_defs`, and the blocks at the top level.

use std::collections::BTreeSet;

use vipd_balance::BalanceConfig;

use super::{
    arbiters::arbiter,
    balance,
    bfd::bfd,
    given::{Draft, Given},
    groups::group,
    mail::{self, mail},
    notify, reports, startup, tracking,
};
use crate::{
    model::{
        config::Config,
        dump::Dumps,
        instance::Instance,
        listen::MetricsListen,
        xdp::{XdpMode, XdpModes},
    },
    schema::{
        statement::{Statement, find, is_on, number_of, text},
        value::Value,
    },
};

/// The configuration, but for what must fit together over several blocks, and without its services.
pub fn config(
    global: &Given,
    top: &Given,
    statics: Given,
    drafts: &[Draft],
    instances: Vec<Instance>,
) -> Config {
    let own = &global.statements;
    let router_id = global.values.text("router_id").map(|id| id.value);
    let blocks = |keyword: &'static str| top.statements.iter().filter(move |block| block.keyword == keyword);
    let given = |keyword: &str| find(own, keyword).is_some();
    let mailed = drafts.iter().filter(|draft| mail::is_wanted(&draft.given.statements, own));
    let mailed_groups = blocks("vrrp_sync_group")
        .filter(|block| mail::is_wanted(block.inside.as_deref().unwrap_or_default(), own))
        .map(|block| text(&block.values, 0).to_owned());
    let mailed: BTreeSet<String> = mailed.map(|draft| draft.name.clone()).collect();
    Config {
        mail: mail(own, router_id.as_ref(), mailed, mailed_groups.collect()),
        lvs: balance::settings(own, router_id.as_ref(), &instances),
        balance: BalanceConfig::default(),
        router_id,
        instances,
        sync_groups: blocks("vrrp_sync_group").map(group).collect(),
        scripts: blocks("vrrp_script").filter_map(tracking::script).collect(),
        files: top
            .statements
            .iter()
            .filter(|block| matches!(block.keyword, "track_file" | "vrrp_track_file"))
            .filter_map(tracking::file)
            .collect(),
        processes: blocks("vrrp_track_process").filter_map(tracking::process).collect(),
        arbiters: blocks("arbiter").filter_map(arbiter).collect(),
        bfd: blocks("bfd_instance").filter_map(bfd).collect(),
        link_delays: blocks("interface_up_down_delays")
            .flat_map(Statement::lines)
            .filter_map(tracking::link_delay)
            .collect(),
        script_policy: notify::policy(own),
        notify_conflict: notify::command_of(own, "notify_conflict"),
        notify_priority_changes: is_on(own, "vrrp_notify_priority_changes"),
        fifos: notify::fifos(own),
        fifo_writes_states_on_reload: given("fifo_write_vrrp_states_on_reload"),
        dumps: dumps(own, &top.statements),
        xdp_modes: xdp_modes(own),
        startup: startup::startup(own),
        dynamic_interfaces: given("dynamic_interfaces"),
        metrics_listen: find(own, "metrics_listen")
            .and_then(|given| MetricsListen::parse(text(&given.values, 0))),
        status_group: find(own, "status_group").map(|given| text(&given.values, 0).to_owned()),
        real_time_priority: number_of(own, "vrrp_rt_priority").and_then(|given| u8::try_from(given).ok()),
        cluster_report_key: reports::key(own),
        static_addresses: statics.vips.into_iter().map(|vip| vip.value).collect(),
        static_routes: statics.routes,
        static_rules: statics.rules,
    }
}

fn dumps(global: &[Statement], top: &[Statement]) -> Dumps {
    let given = |statements: &[Statement], keyword: &str| {
        find(statements, keyword).map(|given| text(&given.values, 0).to_owned())
    };
    let named = is_on(global, "data_use_instance");
    Dumps {
        data_file: given(global, "state_dump_file"),
        stats_file: given(global, "stats_dump_file"),
        json_file: given(global, "json_dump_file"),
        json_version: number_of(global, "json_version")
            .and_then(|version| u8::try_from(version).ok())
            .unwrap_or(1),
        instance: given(top, "instance").filter(|_| named),
    }
}

/// The last line of `xdp_mode` that names an interface counts, and the last that names none.
fn xdp_modes(global: &[Statement]) -> XdpModes {
    let mut modes = XdpModes::default();
    for line in global.iter().filter(|line| line.keyword == "xdp_mode") {
        let Some(Value::Word(word)) = line.values.first() else { continue };
        let mode = XdpMode::parse(word).unwrap_or_default();
        if line.values.len() == 1 {
            modes.others = Some(mode);
        }
        modes.interfaces.extend((1..line.values.len()).map(|at| (text(&line.values, at).to_owned(), mode)));
    }
    modes
}
