//! The whole of it, and what follows from its parts.

use std::collections::BTreeSet;

use vipd_balance::BalanceConfig;

use super::{
    address::Vip,
    arbiter::{Arbiter, IsolatedAction},
    bfd::BfdInstance,
    command::{Command, ScriptPolicy},
    dump::Dumps,
    group::SyncGroup,
    instance::Instance,
    key::ReportKey,
    listen::MetricsListen,
    lvs::LvsSettings,
    mail::Mail,
    notify::{Fifo, Notify, NotifySettings},
    route::{VirtualRoute, VirtualRule},
    startup::Startup,
    tracking::{LinkDelay, Script, Track, TrackLine, Tracked, TrackedFile, TrackedProcess, Tracking, Tracks},
    weighing::{TrackKind, Weighing},
    weight::Weight,
    xdp::XdpModes,
};

/// Everything one file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `router_id`.
    pub router_id: Option<String>,
    /// `vrrp_instance`, in the order of the file. Names are unique, and so is (interface, family, vrid).
    pub instances: Vec<Instance>,
    /// `vrrp_sync_group`.
    pub sync_groups: Vec<SyncGroup>,
    /// `vrrp_script`, tracked or not.
    pub scripts: Vec<Script>,
    /// `track_file`, tracked or not.
    pub files: Vec<TrackedFile>,
    /// `vrrp_track_process`, tracked or not.
    pub processes: Vec<TrackedProcess>,
    /// `arbiter`, tracked or not.
    pub arbiters: Vec<Arbiter>,
    /// `bfd_instance`, tracked or not. Names are unique.
    pub bfd: Vec<BfdInstance>,
    /// `interface_up_down_delays`, a line for each interface.
    pub link_delays: Vec<LinkDelay>,
    pub script_policy: ScriptPolicy,
    /// `notify_conflict` of the instances that have none.
    pub notify_conflict: Option<Command>,
    /// `vrrp_notify_priority_changes`: `notify_priority_changes` of the instances that do not say. Off unless given.
    pub notify_priority_changes: bool,
    /// `notify_fifo` and `vrrp_notify_fifo`.
    pub fifos: Vec<Fifo>,
    /// `fifo_write_vrrp_states_on_reload`: whether every state is written to the FIFOs when a configuration was reloaded. Off
    /// unless given.
    pub fifo_writes_states_on_reload: bool,
    /// `None`: nobody is to get any.
    pub mail: Option<Mail>,
    pub dumps: Dumps,
    pub xdp_modes: XdpModes,
    pub startup: Startup,
    /// `dynamic_interfaces`: whether interfaces may be missing when vipd starts. Off unless given.
    pub dynamic_interfaces: bool,
    /// `metrics_listen`: where metrics are served; `None`: only where `vipd run --metrics-listen` says.
    pub metrics_listen: Option<MetricsListen>,
    /// `status_group`: the group whose members may see the status; `None`: `vipd`, if there is such a group.
    pub status_group: Option<String>,
    /// `vrrp_rt_priority`: SCHED_FIFO priority of the election, 1 to 99; `None`: vipd's own.
    pub real_time_priority: Option<u8>,
    /// `cluster_report_key`: what the nodes sign their reports with; `None`: they do not sign them.
    pub cluster_report_key: Option<ReportKey>,
    /// `virtual_server`, in the order of the file.
    pub balance: BalanceConfig,
    /// What `global_defs` says about them.
    pub lvs: LvsSettings,
    /// `static_ipaddress`, `static_routes` and `static_rules`, which nothing serves yet.
    pub static_addresses: Vec<Vip>,
    pub static_routes: Vec<VirtualRoute>,
    pub static_rules: Vec<VirtualRule>,
}

impl Config {
    /// The sync group of an instance.
    pub fn group_of(&self, instance: &str) -> Option<&SyncGroup> {
        self.sync_groups.iter().find(|group| group.members.iter().any(|member| member == instance))
    }

    /// The arbiters without which an instance is in FAULT: its own and its sync group's.
    pub fn isolating(&self, instance: &str) -> Vec<&Arbiter> {
        let own = self.instances.iter().filter(|known| known.name == instance).map(|known| &known.tracks);
        let tracks = own.chain(self.group_of(instance).map(|group| &group.tracks));
        let named: BTreeSet<&str> =
            tracks.flat_map(|tracks| &tracks.arbiters).map(|line| line.name.as_str()).collect();
        let isolates = |arbiter: &&Arbiter| {
            arbiter.action == IsolatedAction::Fault && named.contains(arbiter.name.as_str())
        };
        self.arbiters.iter().filter(isolates).collect()
    }

    /// The members of a sync group in the order of the file.
    pub fn members<'c>(&'c self, group: &'c SyncGroup) -> impl Iterator<Item = &'c Instance> {
        self.instances.iter().filter(|instance| group.members.contains(&instance.name))
    }

    /// Every instance and every sync group, and who is told of its changes.
    pub fn told(&self) -> Vec<NotifySettings> {
        let instance = |instance: &Instance| {
            let of_group = self.group_of(&instance.name).and_then(|group| group.notify_priority_changes);
            let own = &instance.notify;
            let conflict = own.conflict.as_ref().or(self.notify_conflict.as_ref()).cloned();
            NotifySettings {
                name: instance.name.clone(),
                notify: Notify { conflict, ..own.clone() },
                priorities: instance
                    .notify_priority_changes
                    .or(of_group)
                    .unwrap_or(self.notify_priority_changes),
                members: None,
            }
        };
        let group = |group: &SyncGroup| NotifySettings {
            name: group.name.clone(),
            notify: group.notify.clone(),
            priorities: false,
            members: Some(group.members.clone()),
        };
        self.instances.iter().map(instance).chain(self.sync_groups.iter().map(group)).collect()
    }

    /// What is to be watched, and what each instance makes of it: only what an instance or its group tracks.
    pub fn tracking(&self) -> Tracking {
        let mut tracking = Tracking::default();
        for instance in &self.instances {
            let weighing = self.weighing(instance);
            let group = self.group_of(&instance.name).map(|group| &group.tracks);
            // As keepalived: what both track counts as the group says.
            let own = group.map_or_else(|| instance.tracks.clone(), |group| instance.tracks.without(group));
            let mut tracks = self.tracks(&own, weighing, &mut tracking);
            if weighing == Weighing::Counts {
                tracks.extend(instance.heartbeat_links.iter().filter_map(|link| {
                    Some(Track { what: Tracked::Interface(link.interface.clone()), weight: link.weight? })
                }));
            }
            if let Some(group) = group {
                let weighing = if weighing == Weighing::Group { Weighing::Counts } else { weighing };
                let own = |track: &Track| matches!(&track.what, Tracked::Interface(name) if *name == instance.interface);
                let of_group = self.tracks(group, weighing, &mut tracking);
                tracks.extend(of_group.into_iter().filter(|track| !own(track)));
            }
            tracking.instances.push(tracks);
        }
        tracking
    }

    /// Whether the weights of what an instance tracks itself count.
    pub fn weighing(&self, instance: &Instance) -> Weighing {
        let group = self.group_of(&instance.name);
        match group {
            _ if instance.priority.is_owner() => Weighing::Owner,
            Some(group) if !group.tracking_weight => Weighing::Group,
            _ => Weighing::Counts,
        }
    }

    /// The weight of what a line tracks, as if weights counted; `None`: there is no such thing, or it changes nothing.
    pub fn weight(&self, kind: TrackKind, line: &TrackLine) -> Option<Weight> {
        let default = match kind {
            TrackKind::Script => self.scripts.iter().find(|script| script.name == line.name)?.weight,
            TrackKind::Interface => Weight::default(),
            TrackKind::File => self.files.iter().find(|file| file.name == line.name)?.weight,
            TrackKind::Process => self.processes.iter().find(|process| process.name == line.name)?.weight,
            TrackKind::Arbiter => self.arbiters.iter().find(|arbiter| arbiter.name == line.name)?.weight()?,
            TrackKind::Bfd => self.tracked_session(&line.name)?.weight,
        };
        Some(line.weight.unwrap_or(default))
    }

    fn tracks(&self, tracks: &Tracks, weighing: Weighing, into: &mut Tracking) -> Vec<Track> {
        let mut found = Vec::new();
        for kind in TrackKind::ALL {
            for line in tracks.of(kind) {
                let weight = self.weight(kind, line).and_then(|weight| weighing.of(kind, weight));
                // An arbiter that changes nothing is asked all the same.
                if (weight.is_some() || kind == TrackKind::Arbiter)
                    && let Some(what) = self.tracked(kind, &line.name, into)
                {
                    found.extend(weight.map(|weight| Track { what, weight }));
                }
            }
        }
        found
    }

    /// A session that instances may track.
    fn tracked_session(&self, name: &str) -> Option<&BfdInstance> {
        self.bfd.iter().find(|session| session.name == name && session.for_vrrp)
    }

    /// Something tracked, which is watched from now on.
    fn tracked(&self, kind: TrackKind, name: &str, into: &mut Tracking) -> Option<Tracked> {
        Some(match kind {
            TrackKind::Script => {
                let script = self.scripts.iter().find(|script| script.name == name)?;
                Tracked::Script(place(&mut into.scripts, script))
            }
            TrackKind::Interface => Tracked::Interface(name.to_owned()),
            TrackKind::File => {
                let file = self.files.iter().find(|file| file.name == name)?;
                Tracked::File(place(&mut into.files, file))
            }
            TrackKind::Process => {
                let process = self.processes.iter().find(|process| process.name == name)?;
                Tracked::Process(place(&mut into.processes, process))
            }
            TrackKind::Arbiter => {
                let arbiter = self.arbiters.iter().find(|arbiter| arbiter.name == name)?;
                Tracked::Arbiter(place(&mut into.arbiters, arbiter))
            }
            TrackKind::Bfd => Tracked::Bfd(place(&mut into.sessions, self.tracked_session(name)?)),
        })
    }
}

/// Where something is among what is known, put there if it is not yet.
fn place<T: Clone + PartialEq>(known: &mut Vec<T>, wanted: &T) -> usize {
    known.iter().position(|known| known == wanted).unwrap_or_else(|| {
        known.push(wanted.clone());
        known.len() - 1
    })
}
