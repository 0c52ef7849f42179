//! What instances depend on besides their interfaces.

use std::time::Duration;

use super::{arbiter::Arbiter, command::Command, weight::Weight};

/// What is to be watched, and what each instance makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Those that an instance tracks.
    pub scripts: Vec<Script>,
    pub files: Vec<TrackedFile>,
    pub processes: Vec<TrackedProcess>,
    pub arbiters: Vec<Arbiter>,
    /// In the order of the instances.
    pub instances: Vec<Vec<Track>>,
}

/// One `vrrp_script`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub name: String,
    pub command: Command,
    /// From the beginning of one run to that of the next, at least 1 ms.
    pub interval: Duration,
    /// After which a run counts as failed, and is ended.
    pub timeout: Duration,
    /// Successes in a row after which it is well, at least 1.
    pub rise: u32,
    /// Failures in a row after which it is not, at least 1.
    pub fall: u32,
    /// It is taken to fail until it has succeeded.
    pub init_fail: bool,
    /// What it does where a line of an instance does not say.
    pub weight: Weight,
}

/// One `track_file`: a file whose first number counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedFile {
    pub name: String,
    pub path: String,
    /// What is written to it at the start, also over what it holds.
    pub init: Option<i32>,
    pub overwrite: bool,
    /// What it does where a line of an instance does not say.
    pub weight: Weight,
}

/// One `vrrp_track_process`: processes that are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackedProcess {
    pub name: String,
    /// The program, and its parameters where they count; at least one word.
    pub words: Vec<String>,
    /// All of the command line counts, not the name alone.
    pub full_command: bool,
    pub param_match: ParamMatch,
    /// Fewer are not well.
    pub quorum: u32,
    /// More are not well; `None`: there cannot be too many.
    pub quorum_max: Option<u32>,
    /// How long there have to be enough until it counts, and how long not.
    pub fork_delay: Duration,
    pub terminate_delay: Duration,
    /// What it does where a line of an instance does not say.
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

/// How long a link has to be down, or up, until that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDelay {
    pub interface: String,
    pub down: Duration,
    pub up: Duration,
}

/// A line of a `track_*` block.
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
    Interface(String),
}

/// What an instance or a sync group tracks, as its blocks name it.
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
}

/// A line of a `track_*` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackLine {
    pub name: String,
    /// `weight`, -253 to 253, of files and processes -254 to 254; `None`: that of what is tracked.
    pub weight: Option<Weight>,
}
