//! `keepalived.data`: configuration and state, in lines for people and for parsers.
//!
//! Exporters read the lines of an instance up to the first without `=`, so those come last, which they do not in
//! keepalived 2.2.7. Features that vipd lacks have no line.

use std::time::Duration;

use vipd_common::{Family, Version};
use vipd_config::{
    Auth, Config, Garp, Instance, Mail, ParamMatch, SyncGroup, Track, Tracked, Tracking, UnicastPeer, Weight,
};

use super::{
    MASK, Shown, deleted,
    lines::{Text, enabled, yes},
    quoted, script, shown,
    stamp::stamp,
};
use crate::control::model::{Status, TrackedStatus};

/// The text of `keepalived.data`.
pub fn data(config: &Config, status: &Status) -> String {
    let tracking = config.tracking();
    let mail = config.mail.as_ref();
    let mut text = Text::default();
    global(&mut text, config, mail);
    text.line("------< VRRP Topology >------");
    for instance in shown(config, status) {
        settings(&mut text, &instance, config);
        tracks(&mut text, &tracking, instance.place);
        let mailed = mail.is_some_and(|mail| mail.instances.contains(&instance.config.name));
        notified(&mut text, &instance, mailed);
    }
    groups(&mut text, config, status);
    let tracked = TrackedObjects { config, status, tracking: &tracking };
    tracked.scripts(&mut text);
    tracked.files(&mut text);
    tracked.processes(&mut text);
    text.0
}

fn global(text: &mut Text, config: &Config, mail: Option<&Mail>) {
    text.line("------< Global definitions >------");
    text.global("Instance name", config.dumps.instance.as_ref());
    text.global("Router ID", config.router_id.as_ref());
    if let Some(mail) = mail {
        text.global("Smtp server", Some(&mail.server));
        text.global("Smtp server port", Some(mail.port));
        text.global("Smtp HELO name", mail.helo.as_ref());
        text.global("Smtp server connection timeout", Some(mail.timeout.as_secs()));
        text.global("Email notification from", mail.from.as_ref());
        text.line(" Email notification to:");
        mail.recipients.iter().for_each(|to| text.line(format_args!("   {to}")));
    }
    if let Some(garp) = config.instances.first().map(|instance| &instance.garp) {
        let decimal = |time: Duration| format!("{:.6}", time.as_secs_f64());
        text.global("Gratuitous ARP interval", Some(decimal(garp.interval)));
        text.global("Gratuitous NA interval", Some(decimal(garp.gna_interval)));
    }
    text.line(format_args!(" Script security {}", enabled(config.script_policy.secure)));
}

/// Lines with `=` first.
fn settings(text: &mut Text, shown: &Shown, config: &Config) {
    let Shown { config: own, status, .. } = shown;
    text.line(format_args!(" VRRP Instance = {}", own.name));
    text.field("VRRP Version", status.version);
    if let Some(group) = config.group_of(&own.name) {
        text.field("Sync group", &group.name);
    }
    text.field("State", &status.state);
    if let Some(master) = status.master.as_ref().filter(|_| status.state == "BACKUP") {
        text.field("Master router", master.address);
        text.field("Master priority", master.priority);
    }
    text.field("Wantstate", shown.wanted_state());
    text.field("Last transition", stamp(status.since_unix_ms));
    match status.master_down_in_ms {
        Some(in_ms) => {
            let now_unix_ms = status.since_unix_ms.saturating_add(status.in_state_ms);
            text.field("Read timeout", stamp(now_unix_ms.saturating_add(in_ms)));
        }
        None => text.field("Read timeout", "DISABLED"),
    }
    let interval_us = status.master_advert_interval_ms.saturating_mul(1_000);
    let missed_us = interval_us.saturating_mul(own.down_timer_adverts.into());
    let down_us = missed_us.saturating_add(status.skew_time_us);
    text.field("Master down timer", format_args!("{down_us} usecs"));
    text.field("Interface", &status.interface);
    if let Some(address) = status.address {
        let given = if own.source.is_some() { " (from configuration)" } else { "" };
        text.field("Using src_ip", format_args!("{address}{given}"));
    }
    garp(text, &own.garp);
    text.field("Down timer adverts", own.down_timer_adverts);
    text.field("Send advert after receive lower priority advert", !own.lower_prio_no_advert);
    // vipd has no `higher_prio_send_advert`.
    text.field("Send advert after receive higher priority advert", false);
    text.field("Virtual Router ID", status.vrid);
    text.field("Priority", own.priority.get());
    text.field("Effective priority", status.priority);
    text.field("Total priority", status.priority);
    election(text, shown);
    addresses(text, shown);
}

fn garp(text: &mut Text, garp: &Garp) {
    text.field("Gratuitous ARP delay", whole_s(garp.master_delay));
    text.field("Gratuitous ARP repeat", garp.master_repeat);
    text.field("Gratuitous ARP refresh", whole_s(garp.master_refresh));
    text.field("Gratuitous ARP refresh repeat", garp.master_refresh_repeat);
    text.field("Gratuitous ARP lower priority delay", whole_s(garp.lower_prio_delay));
    text.field("Gratuitous ARP lower priority repeat", garp.lower_prio_repeat);
}

/// How adverts are sent, and what is done by those of others.
fn election(text: &mut Text, Shown { config: own, status, .. }: &Shown) {
    match own.version {
        Version::V2 => text.field("Advert interval", format_args!("{} sec", own.advert_interval.as_secs())),
        Version::V3 => {
            text.field("Advert interval", format_args!("{} milli-sec", own.advert_interval.as_millis()));
            if status.state == "BACKUP" {
                let interval_ms = status.master_advert_interval_ms;
                text.field("Master advert interval", format_args!("{interval_ms} milli-sec"));
            }
        }
    }
    text.field("Accept", enabled(own.accept));
    text.field("Preempt", enabled(own.preempt));
    if !own.preempt_delay.is_zero() {
        text.field("Preempt delay", format_args!("{} secs", seconds(own.preempt_delay)));
    }
    text.field("Promote_secondaries", enabled(false));
    match (own.version, &own.auth) {
        (Version::V2, Auth::None) => text.field("Authentication type", "none"),
        (Version::V2, Auth::Pass(_)) => {
            text.field("Authentication type", "SIMPLE_PASSWORD");
            text.field("Password", MASK);
        }
        (Version::V3, _) => {}
    }
    if let Some(unicast) = &own.unicast {
        text.field("Unicast TTL", unicast.ttl);
    }
}

/// Lines without `=`.
fn addresses(text: &mut Text, shown: &Shown) {
    let own = shown.config;
    if own.family == Family::V6 {
        text.line("   Using Native IPv6");
    }
    match &own.unicast {
        None => {
            text.line("   Flags: none");
            text.line(format_args!("   Multicast address {}", own.group));
        }
        Some(unicast) => {
            text.list("Flags:", ["Using unicast"]);
            text.line(format_args!("   Check unicast src : {}", yes(unicast.check_source)));
            let peer = |peer: &UnicastPeer| {
                format!("{} min_ttl {} max_ttl {}", peer.address, peer.min_ttl.unwrap_or(0), peer.max_ttl)
            };
            text.list("Unicast Peer :", unicast.peers.iter().map(peer));
        }
    }
    text.list(&format!("Virtual IP ({}):", own.vips.len()), shown.vips());
    text.list("Virtual IP Excluded :", shown.excluded());
    text.list("Virtual Routes :", shown.routes());
    text.list("Virtual Rules :", shown.rules());
}

/// What an instance tracks. Arbiters are left out: keepalived has none.
fn tracks(text: &mut Text, tracking: &Tracking, instance: usize) {
    // Some have a comma, as there.
    let lines = |comma: &'static str, is: fn(&Tracked) -> bool| {
        let tracks = tracking.instances[instance].iter().filter(move |track| is(&track.what));
        tracks.map(move |track| format!("{}{comma} {}", name(tracking, &track.what), weight(track.weight)))
    };
    text.list("Tracked interfaces :", lines("", |what| matches!(what, Tracked::Interface(_))));
    text.list("Tracked scripts :", lines("", |what| matches!(what, Tracked::Script(_))));
    text.list("Tracked files :", lines(",", |what| matches!(what, Tracked::File(_))));
    text.list("Tracked processes :", lines(",", |what| matches!(what, Tracked::Process(_))));
}

fn name<'t>(tracking: &'t Tracking, what: &'t Tracked) -> &'t str {
    match what {
        Tracked::Interface(name) => name,
        Tracked::Script(i) => &tracking.scripts[*i].name,
        Tracked::File(i) => &tracking.files[*i].name,
        Tracked::Process(i) => &tracking.processes[*i].name,
        Tracked::Arbiter(i) => &tracking.arbiters[*i].name,
        Tracked::Bfd(i) => &tracking.sessions[*i].name,
    }
}

/// Notifications of an instance's state changes.
fn notified(text: &mut Text, shown: &Shown, mailed: bool) {
    text.field("Using smtp notification", yes(mailed));
    let notify = &shown.config.notify;
    text.field("Notify deleted", if notify.deleted.is_some() { "Deleted" } else { "Fault" });
    for (name, command) in [
        ("Backup", notify.backup.as_ref()),
        ("Master", notify.master.as_ref()),
        ("Fault", notify.fault.as_ref()),
        ("Stop", notify.stop.as_ref()),
        ("Deleted", deleted(notify)),
        ("Generic", notify.any.as_ref()),
        ("Master rx lower pri", notify.lower_heard.as_ref()),
    ] {
        if let Some(script) = script(command) {
            text.field(&format!("{name} state transition script"), script);
        }
    }
    text.field("Notify priority changes", shown.config.notify_priority_changes.unwrap_or(false));
}

fn groups(text: &mut Text, config: &Config, status: &Status) {
    if config.sync_groups.is_empty() {
        return;
    }
    text.line("------< VRRP Sync groups >------");
    for SyncGroup { name, members, .. } in &config.sync_groups {
        let states = status.instances.iter().filter(|instance| members.contains(&instance.name));
        let states: Vec<&str> = states.map(|instance| instance.state.as_str()).collect();
        let count = |state: &str| states.iter().filter(|of| **of == state).count();
        text.line(format_args!(" VRRP Sync Group = {name}, {}", group_state(&states)));
        text.line(format_args!("   Num member fault {}, num member init {}", count("FAULT"), count("INIT")));
        text.list("VRRP member instances :", members);
    }
}

/// The state of a sync group whose members are in `states`.
fn group_state(states: &[&str]) -> &'static str {
    if states.contains(&"FAULT") {
        "FAULT"
    } else if !states.is_empty() && states.iter().all(|state| *state == "MASTER") {
        "MASTER"
    } else if states.contains(&"BACKUP") {
        "BACKUP"
    } else {
        "INIT"
    }
}

/// The tracked objects and their states.
struct TrackedObjects<'w> {
    config: &'w Config,
    status: &'w Status,
    tracking: &'w Tracking,
}

impl TrackedObjects<'_> {
    fn scripts(&self, text: &mut Text) {
        text.heading("VRRP Scripts", &self.tracking.scripts);
        for (i, script) in self.tracking.scripts.iter().enumerate() {
            text.line(format_args!(" VRRP Script = {}", script.name));
            text.field("Command", quoted(&script.command.words));
            text.field("Interval", format_args!("{} sec", seconds(script.interval)));
            text.field("Timeout", format_args!("{} sec", seconds(script.timeout)));
            text.field("Weight", number(script.weight));
            text.field("Rise", script.rise);
            text.field("Fall", script.fall);
            text.field(
                "Status",
                match self.health("vrrp_script", &script.name).and_then(|health| health.well) {
                    Some(true) => "GOOD",
                    Some(false) => "BAD",
                    None => "INIT",
                },
            );
            self.instances(text, &Tracked::Script(i));
            // vipd does not say when it runs, and exporters want one of keepalived's words.
            text.field("State", "idle");
        }
    }

    fn files(&self, text: &mut Text) {
        text.heading("VRRP Track files", &self.tracking.files);
        for (i, file) in self.tracking.files.iter().enumerate() {
            text.line(format_args!(" Track file = {}", file.name));
            text.field("File", &file.path);
            let value = self.health("track_file", &file.name).and_then(|health| health.value);
            text.field("Status", value.unwrap_or_default());
            text.field("Weight", number(file.weight));
            self.instances(text, &Tracked::File(i));
        }
    }

    fn processes(&self, text: &mut Text) {
        text.heading("VRRP Track processes", &self.tracking.processes);
        for (i, process) in self.tracking.processes.iter().enumerate() {
            text.line(format_args!(" VRRP Track process = {}", process.name));
            if let Some((program, parameters)) = process.words.split_first() {
                text.field("Process", program);
                if !parameters.is_empty() {
                    text.field("Parameters", quoted(parameters));
                    match process.param_match {
                        ParamMatch::Exact => {}
                        ParamMatch::Initial => text.field("Param match", "initial"),
                        ParamMatch::Partial => text.field("Param match", "partial"),
                    }
                }
            }
            text.field("Min processes", process.quorum);
            if let Some(max) = process.quorum_max {
                text.field("Max processes", max);
            }
            let well = self.health("vrrp_track_process", &process.name).and_then(|health| health.well);
            text.field("Have quorum", well == Some(true));
            text.field("Weight", number(process.weight));
            text.field("Terminate delay", format_args!("{:.6}s", process.terminate_delay.as_secs_f64()));
            text.field("Fork delay", format_args!("{:.6}s", process.fork_delay.as_secs_f64()));
            text.field("Full command", process.full_command);
            self.instances(text, &Tracked::Process(i));
        }
    }

    /// State of a tracked object, if the status has it.
    fn health(&self, keyword: &str, name: &str) -> Option<&TrackedStatus> {
        self.status.tracked.iter().find(|tracked| tracked.keyword == keyword && tracked.name == name)
    }

    /// The instances that track `what`.
    fn instances(&self, text: &mut Text, what: &Tracked) {
        let line = |(instance, tracks): (&Instance, &Vec<Track>)| {
            let track = tracks.iter().find(|track| track.what == *what)?;
            Some(format!("{}, {}", instance.name, weight(track.weight)))
        };
        let instances = self.config.instances.iter().zip(&self.tracking.instances);
        text.list("Tracking instances :", instances.filter_map(line));
    }
}

fn weight(weight: Weight) -> String {
    format!("weight {}", number(weight))
}

fn number(Weight { value, reverse }: Weight) -> String {
    format!("{value}{}", if reverse { " reverse" } else { "" })
}

fn whole_s(time: Option<Duration>) -> u64 {
    time.unwrap_or_default().as_secs()
}

/// Decimal seconds without trailing zeros.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
