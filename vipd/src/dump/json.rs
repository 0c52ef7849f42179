//! `keepalived.json`: the contents of `keepalived.data` and `keepalived.stats` for machines.

use std::time::Duration;

use serde::Serialize;
use serde_json::Number;
use vipd_config::{Auth, Config, Notify, ParamMatch, Tracked, TrackedProcess, Tracking};

use super::{MASK, Shown, deleted, quoted, script, shown, stats::Stats};
use crate::control::model::Status;

/// The text of `keepalived.json`; `version` is that of `json_version`.
pub fn json(config: &Config, status: &Status, version: u8) -> String {
    let tracking = config.tracking();
    let mail = config.mail.as_ref();
    let vrrp = shown(config, status).map(|instance| {
        let mailed = mail.is_some_and(|mail| mail.instances.contains(&instance.config.name));
        let data = Data::of(&instance, &tracking, mailed);
        Vrrp { data, stats: Stats::of(instance.status) }
    });
    let vrrp: Vec<Vrrp> = vrrp.collect();
    let text = if version == 1 {
        serde_json::to_string(&vrrp)
    } else {
        let track_process =
            tracking.processes.iter().map(|process| ProcessJson::of(process, status)).collect();
        serde_json::to_string(&Whole { vrrp, track_process })
    };
    text.expect("strings, numbers, lists and structs of them can be written")
}

/// Version 2.
#[derive(Serialize)]
struct Whole {
    vrrp: Vec<Vrrp>,
    track_process: Vec<ProcessJson>,
}

/// One element of version 1.
#[derive(Serialize)]
struct Vrrp {
    data: Data,
    stats: Stats,
}

/// One instance. Where keepalived has a number for a switch, so has this; times are seconds.
#[derive(Serialize)]
struct Data {
    iname: String,
    dont_track_primary: u8,
    skip_check_adv_addr: u8,
    strict_mode: u8,
    vmac_ifname: &'static str,
    ifp_ifname: String,
    master_priority: u8,
    last_transition: f64,
    garp_delay: u64,
    garp_refresh: u64,
    garp_rep: u8,
    garp_refresh_rep: u8,
    garp_lower_prio_delay: u64,
    garp_lower_prio_rep: u8,
    lower_prio_no_advert: u8,
    higher_prio_send_advert: u8,
    vrid: u8,
    base_priority: u8,
    effective_priority: u8,
    vipset: bool,
    promote_secondaries: bool,
    adver_int: Option<Number>,
    master_adver_int: Option<Number>,
    accept: u8,
    nopreempt: bool,
    preempt_delay: Option<Number>,
    state: u8,
    wantstate: u8,
    version: u8,
    smtp_alert: bool,
    notify_deleted: bool,
    #[serde(flatten)]
    scripts: NotifyScripts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vroutes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vrules: Vec<String>,
    #[serde(flatten)]
    tracked: TrackedNames,
    auth_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_data: Option<&'static str>,
}

/// The notify scripts.
#[derive(Serialize)]
struct NotifyScripts {
    #[serde(skip_serializing_if = "Option::is_none")]
    script_backup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_master: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_deleted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_master_rx_lower_pri: Option<String>,
}

/// What an instance tracks.
#[derive(Default, Serialize)]
struct TrackedNames {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    track_ifp: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    track_script: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    track_process: Vec<String>,
}

/// One `vrrp_track_process`.
#[derive(Serialize)]
struct ProcessJson {
    process: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<String>,
    param_match: &'static str,
    min_processes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_processes: Option<u32>,
    have_quorum: bool,
    weight: i32,
    terminate_delay: Option<Number>,
    fork_delay: Option<Number>,
    full_command: bool,
}

impl Data {
    fn of(shown: &Shown, tracking: &Tracking, mailed: bool) -> Self {
        let Shown { place, config: own, status } = shown;
        let garp = &own.garp;
        let master = status.master.as_ref().filter(|_| status.state == "BACKUP");
        let (auth_type, auth_data) = match own.auth {
            Auth::None => (0, None),
            Auth::Pass(_) => (1, Some(MASK)),
        };
        Self {
            iname: own.name.clone(),
            dont_track_primary: (!own.tracks_interface).into(),
            // What vipd makes of other addresses does not depend on it.
            skip_check_adv_addr: 0,
            strict_mode: 0,
            // There is no interface of its own.
            vmac_ifname: "",
            ifp_ifname: own.interface.clone(),
            master_priority: master.map_or(0, |master| master.priority),
            last_transition: Duration::from_millis(status.since_unix_ms).as_secs_f64(),
            garp_delay: whole_s(garp.master_delay),
            garp_refresh: whole_s(garp.master_refresh),
            garp_rep: garp.master_repeat,
            garp_refresh_rep: garp.master_refresh_repeat,
            garp_lower_prio_delay: whole_s(garp.lower_prio_delay),
            garp_lower_prio_rep: garp.lower_prio_repeat,
            lower_prio_no_advert: own.lower_prio_no_advert.into(),
            // vipd has none.
            higher_prio_send_advert: 0,
            vrid: own.vrid.get(),
            base_priority: own.priority.get(),
            effective_priority: status.priority,
            vipset: shown.is_master(),
            promote_secondaries: false,
            adver_int: seconds(own.advert_interval),
            master_adver_int: seconds(Duration::from_millis(status.master_advert_interval_ms)),
            accept: own.accept.into(),
            nopreempt: !own.preempt,
            preempt_delay: seconds(own.preempt_delay),
            state: state_number(&status.state),
            wantstate: state_number(shown.wanted_state()),
            version: own.version as u8,
            smtp_alert: mailed,
            notify_deleted: own.notify.deleted.is_some(),
            scripts: NotifyScripts::of(&own.notify),
            vips: shown.vips(),
            evips: shown.excluded(),
            vroutes: shown.routes(),
            vrules: shown.rules(),
            tracked: TrackedNames::of(tracking, *place),
            auth_type,
            auth_data,
        }
    }
}

impl NotifyScripts {
    fn of(notify: &Notify) -> Self {
        Self {
            script_backup: script(notify.backup.as_ref()),
            script_master: script(notify.master.as_ref()),
            script_fault: script(notify.fault.as_ref()),
            script_stop: script(notify.stop.as_ref()),
            script_deleted: script(deleted(notify)),
            script: script(notify.any.as_ref()),
            script_master_rx_lower_pri: script(notify.lower_heard.as_ref()),
        }
    }
}

impl TrackedNames {
    fn of(tracking: &Tracking, instance: usize) -> Self {
        let mut names = Self::default();
        for track in &tracking.instances[instance] {
            match &track.what {
                Tracked::Interface(name) => names.track_ifp.push(name.clone()),
                Tracked::Script(i) => names.track_script.push(quoted(&tracking.scripts[*i].command.words)),
                Tracked::Process(i) => names.track_process.push(tracking.processes[*i].name.clone()),
                // keepalived has no field for it.
                Tracked::File(_) | Tracked::Arbiter(_) | Tracked::Bfd(_) => {}
            }
        }
        names
    }
}

impl ProcessJson {
    fn of(process: &TrackedProcess, status: &Status) -> Self {
        let mut tracked = status.tracked.iter().filter(|tracked| tracked.keyword == "vrrp_track_process");
        let parameters = process.words.get(1..).unwrap_or_default();
        Self {
            process: process.name.clone(),
            parameters: (!parameters.is_empty()).then(|| parameters.join(" ")),
            param_match: match process.param_match {
                _ if parameters.is_empty() => "none",
                ParamMatch::Exact => "exact",
                ParamMatch::Initial => "initial",
                ParamMatch::Partial => "partial",
            },
            min_processes: process.quorum,
            max_processes: process.quorum_max,
            have_quorum: tracked.any(|tracked| tracked.name == process.name && tracked.well == Some(true)),
            weight: process.weight.value,
            terminate_delay: seconds(process.terminate_delay),
            fork_delay: seconds(process.fork_delay),
            full_command: process.full_command,
        }
    }
}

/// keepalived's number of a state; 0 is INIT.
fn state_number(name: &str) -> u8 {
    match name {
        "BACKUP" => 1,
        "MASTER" => 2,
        "FAULT" => 3,
        "STOP" => 98,
        _ => 0,
    }
}

/// A whole number where it is one: readers in some languages want that.
fn seconds(time: Duration) -> Option<Number> {
    if time.subsec_nanos() == 0 { Some(time.as_secs().into()) } else { Number::from_f64(time.as_secs_f64()) }
}

fn whole_s(time: Option<Duration>) -> u64 {
    time.unwrap_or_default().as_secs()
}
