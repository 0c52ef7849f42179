//! What instances depend on besides their interfaces.

use std::{collections::HashSet, time::Duration};

use super::{arbiter::Arbiter, bfd::BfdInstance, command::Command, weighing::TrackKind, weight::Weight};

/// What is to be watched, and what each instance makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Those that an instance tracks.
    pub scripts: Vec<Script>,
    pub files: Vec<TrackedFile>,
    pub processes: Vec<TrackedProcess>,
    pub arbiters: Vec<Arbiter>,
    pub sessions: Vec<BfdInstance>,
    /// In the order of the instances.
    pub instances: Vec<Vec<Track>>,
}

/// One `vrrp_script`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub name: String,
    /// `script`, run by `user`.
    pub command: Command,
    /// `interval`: from the beginning of one run to that of the next, at least 1 ms, in microseconds. 1 s unless given.
    pub interval: Duration,
    /// `timeout`: after which a run counts as failed, and is ended, at least 1 ms. The interval unless given.
    pub timeout: Duration,
    /// `rise`: successes in a row after which it is well, at least 1. 1 unless given.
    pub rise: u32,
    /// `fall`: failures in a row after which it is not, at least 1. 1 unless given.
    pub fall: u32,
    /// `init_fail`: it is taken to fail until it has succeeded. Off unless given.
    pub init_fail: bool,
    /// `weight`, -253 to 253: what it does where a line of an instance does not say. 0 unless given.
    pub weight: Weight,
}

/// One `track_file`: a file whose first number counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedFile {
    pub name: String,
    /// `file`.
    pub path: String,
    /// `init_file`: what is written to it at the start; `None`: nothing, which is the default.
    pub init: Option<i32>,
    /// `init_file overwrite`: also over what it holds. Off unless given.
    pub overwrite: bool,
    /// `weight`, -254 to 254: what its number is multiplied by where a line of an instance does not say. 1 unless given.
    pub weight: Weight,
}

/// One `vrrp_track_process`: processes that are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackedProcess {
    pub name: String,
    /// `process`: the program, and its parameters where they count; at least one word.
    pub words: Vec<String>,
    /// `full_command`: all of the command line counts, not the name alone. Off unless given, or `process` has parameters.
    pub full_command: bool,
    /// `param_match`. `Exact` unless given.
    pub param_match: ParamMatch,
    /// `quorum`, 1 to 65,535: fewer are not well. 1 unless given, 0 if `quorum_max` is 0.
    pub quorum: u32,
    /// `quorum_max`, 0 to 65,535: more are not well; `None`: there cannot be too many.
    pub quorum_max: Option<u32>,
    /// `fork_delay`: how long there have to be enough until that counts, in microseconds up to an hour. `delay` unless given, else zero.
    pub fork_delay: Duration,
    /// `terminate_delay`: the same where there are not enough.
    pub terminate_delay: Duration,
    /// `weight`, -254 to 254: what it does where a line of an instance does not say. 0 unless given.
    pub weight: Weight,
}

/// Which parameters of a command line count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParamMatch {
    /// All, and there are no more.
    #[default]
    Exact,
    /// The first ones.
    Initial,
    /// The same, and the last need only begin as it says.
    Partial,
}

/// A line of `interface_up_down_delays`: how long a link has to be down, or up, until that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDelay {
    pub interface: String,
    /// In microseconds, up to 255 s.
    pub down: Duration,
    /// The same. `down` unless given.
    pub up: Duration,
}

/// Something tracked, and what it does to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub what: Tracked,
    pub weight: Weight,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// By its place in [`Tracking::scripts`].
    Script(usize),
    /// By its place in [`Tracking::files`].
    File(usize),
    /// By its place in [`Tracking::processes`].
    Process(usize),
    /// By its place in [`Tracking::arbiters`].
    Arbiter(usize),
    /// By its place in [`Tracking::sessions`].
    Bfd(usize),
    Interface(String),
}

/// What an instance or a sync group tracks, as its blocks name it: each once, and never the own interface of the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// `track_script`: names of [`Script`]s.
    pub scripts: Vec<TrackLine>,
    /// `track_interface`: names of interfaces.
    pub interfaces: Vec<TrackLine>,
    /// `track_file`: names of [`TrackedFile`]s.
    pub files: Vec<TrackLine>,
    /// `track_process`: names of [`TrackedProcess`]es.
    pub processes: Vec<TrackLine>,
    /// `track_arbiter`: names of [`Arbiter`]s.
    pub arbiters: Vec<TrackLine>,
    /// `track_bfd`: names of [`BfdInstance`]s.
    pub bfd: Vec<TrackLine>,
}

impl Tracks {
    /// Without what `other` tracks too.
    pub fn without(&self, other: &Self) -> Self {
        let rest = |own: &[TrackLine], other: &[TrackLine]| {
            let names: HashSet<&str> = other.iter().map(|line| line.name.as_str()).collect();
            own.iter().filter(|line| !names.contains(line.name.as_str())).cloned().collect()
        };
        Self {
            scripts: rest(&self.scripts, &other.scripts),
            interfaces: rest(&self.interfaces, &other.interfaces),
            files: rest(&self.files, &other.files),
            processes: rest(&self.processes, &other.processes),
            arbiters: rest(&self.arbiters, &other.arbiters),
            bfd: rest(&self.bfd, &other.bfd),
        }
    }

    /// Those of a kind.
    pub fn of(&self, kind: TrackKind) -> &[TrackLine] {
        match kind {
            TrackKind::Script => &self.scripts,
            TrackKind::Interface => &self.interfaces,
            TrackKind::File => &self.files,
            TrackKind::Process => &self.processes,
            TrackKind::Arbiter => &self.arbiters,
            TrackKind::Bfd => &self.bfd,
        }
    }
}

/// A line of a `track_*` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackLine {
    pub name: String,
    /// `weight`, -253 to 253, of files and processes -254 to 254; `None`: that of what is tracked.
    pub weight: Option<Weight>,
}
