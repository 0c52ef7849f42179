//! What instances depend on besides their interfaces: `vrrp_script`, `track_file` and the `track_*` blocks. Arbiters themselves are in
//! `arbiters`.

use std::time::Duration;

use super::{
    arbiters::Arbiter,
    grammar::Value,
    groups::SyncGroup,
    heartbeats,
    model::{Config, Instance, Statement},
    scripts::{Account, Command},
    statement::{count, find, number, seconds, text},
};

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

/// What something tracked does to a priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// 0: the instance is in FAULT while it is not well. Of a file: what its number is multiplied by.
    pub value: i32,
    /// Well and not well change places.
    pub reverse: bool,
}

impl LinkDelay {
    /// `interface_up_down_delays`.
    pub fn of(config: &Config) -> Vec<Self> {
        let blocks = config.blocks.iter().filter(|block| block.keyword == "interface_up_down_delays");
        let delay = |line: &Statement| {
            let down = seconds(line, 1)?;
            let interface = text(&line.values, 0).to_owned();
            Some(Self { interface, down, up: seconds(line, 2).unwrap_or(down) })
        };
        blocks.flat_map(|block| block.inside.iter().flatten()).filter_map(delay).collect()
    }
}

impl Instance {
    /// Whether it is in fault while its own interface is down; not with `dont_track_primary`.
    pub fn tracks_interface(&self) -> bool {
        !find(&self.statements, "dont_track_primary").is_some_and(Statement::is_on)
    }

    /// Whether it is in fault while its own interface does not have its source address (`track_src_ip`).
    pub fn tracks_source(&self) -> bool {
        find(&self.statements, "track_src_ip").is_some()
    }
}

impl Tracking {
    pub fn of(config: &Config) -> Self {
        let mut tracking = Self::default();
        let groups = SyncGroup::of(config);
        for instance in &config.instances {
            let mut tracks = tracking.tracks(config, &instance.statements);
            let group = groups.iter().find(|group| group.members.contains(&instance.name));
            if group.is_none_or(|group| group.weighted || group.members.len() == 1) {
                tracks.extend(heartbeats::weighed(&instance.statements));
            } else {
                // As keepalived: a weight that moved one of them alone would do nothing.
                tracks.iter_mut().for_each(|track| track.weight.value = 0);
            }
            if let Some(group) = group {
                tracks.extend(tracking.tracks(config, &group.statements));
            }
            tracking.instances.push(tracks);
        }
        tracking
    }

    fn tracks(&mut self, config: &Config, statements: &[Statement]) -> Vec<Track> {
        let mut tracks = Vec::new();
        for block in statements {
            for line in block.inside.iter().flatten() {
                let name = text(&line.values, 0);
                let what = match block.keyword {
                    "track_script" => self.script(config, name),
                    "track_file" => self.file(config, name),
                    "track_process" => self.process(config, name),
                    "track_arbiter" => self.arbiter(config, name),
                    "track_interface" => Some((Tracked::Interface(name.to_owned()), Weight::default())),
                    _ => None,
                };
                let Some((what, default)) = what else { continue };
                tracks.push(Track { what, weight: Weight::of(line).unwrap_or(default) });
            }
        }
        tracks
    }

    fn script(&mut self, config: &Config, name: &str) -> Option<(Tracked, Weight)> {
        let make = || Script::of(block(config, &["vrrp_script"], name)?);
        let place = place(&mut self.scripts, |script| script.name == name, make)?;
        Some((Tracked::Script(place), self.scripts[place].weight))
    }

    fn file(&mut self, config: &Config, name: &str) -> Option<(Tracked, Weight)> {
        let make = || TrackedFile::of(block(config, &["track_file", "vrrp_track_file"], name)?);
        let place = place(&mut self.files, |file| file.name == name, make)?;
        Some((Tracked::File(place), self.files[place].weight))
    }

    fn process(&mut self, config: &Config, name: &str) -> Option<(Tracked, Weight)> {
        let make = || TrackedProcess::of(block(config, &["vrrp_track_process"], name)?);
        let place = place(&mut self.processes, |process| process.name == name, make)?;
        Some((Tracked::Process(place), self.processes[place].weight))
    }

    /// `None` also of one that is only asked, and changes nothing.
    fn arbiter(&mut self, config: &Config, name: &str) -> Option<(Tracked, Weight)> {
        let make = || Arbiter::of(block(config, &["arbiter"], name)?);
        let place = place(&mut self.arbiters, |arbiter| arbiter.name == name, make)?;
        Some((Tracked::Arbiter(place), self.arbiters[place].weight()?))
    }
}

fn place<T>(
    known: &mut Vec<T>,
    name: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Option<T>,
) -> Option<usize> {
    if let Some(place) = known.iter().position(name) {
        return Some(place);
    }
    known.push(make()?);
    Some(known.len() - 1)
}

fn block<'c>(config: &'c Config, keywords: &[&str], name: &str) -> Option<&'c Statement> {
    config.blocks.iter().find(|block| keywords.contains(&block.keyword) && text(&block.values, 0) == name)
}

impl Script {
    fn of(block: &Statement) -> Option<Self> {
        let inside = block.inside.as_deref()?;
        let interval = seconds(find(inside, "interval")?, 0)?;
        Some(Self {
            name: text(&block.values, 0).to_owned(),
            command: Command::of(find(inside, "script")?)?.run_by(find(inside, "user").and_then(Account::of)),
            interval,
            timeout: find(inside, "timeout").and_then(|timeout| seconds(timeout, 0)).unwrap_or(interval),
            rise: count(inside, "rise"),
            fall: count(inside, "fall"),
            init_fail: find(inside, "init_fail").is_some(),
            weight: find(inside, "weight").and_then(Weight::of).unwrap_or_default(),
        })
    }
}

impl TrackedFile {
    fn of(block: &Statement) -> Option<Self> {
        let inside = block.inside.as_deref()?;
        let init = find(inside, "init_file");
        Some(Self {
            name: text(&block.values, 0).to_owned(),
            path: text(&find(inside, "file")?.values, 0).to_owned(),
            init: init.map(|init| small(&init.values).unwrap_or(0)),
            overwrite: init.is_some_and(|init| init.has("overwrite")),
            weight: find(inside, "weight")
                .and_then(Weight::of)
                .unwrap_or(Weight { value: 1, reverse: false }),
        })
    }
}

impl TrackedProcess {
    fn of(block: &Statement) -> Option<Self> {
        let inside = block.inside.as_deref()?;
        let words = &find(inside, "process")?.values;
        let words: Vec<String> = words.iter().filter_map(word).collect();
        let param_match = match find(inside, "param_match") {
            Some(given) if given.has("initial") => ParamMatch::Initial,
            Some(given) if given.has("partial") => ParamMatch::Partial,
            _ => ParamMatch::Exact,
        };
        let delay = |keyword| find(inside, keyword).and_then(|given| seconds(given, 0));
        let both = delay("delay").unwrap_or_default();
        let max = find(inside, "quorum_max").and_then(|given| number(&given.values));
        let quorum_max = max.and_then(|max| u32::try_from(max).ok());
        Some(Self {
            name: text(&block.values, 0).to_owned(),
            full_command: find(inside, "full_command").is_some() || words.len() > 1,
            words,
            param_match,
            // As keepalived: at most none means none.
            quorum: if quorum_max == Some(0) { 0 } else { count(inside, "quorum") },
            quorum_max,
            fork_delay: delay("fork_delay").unwrap_or(both),
            terminate_delay: delay("terminate_delay").unwrap_or(both),
            weight: find(inside, "weight").and_then(Weight::of).unwrap_or_default(),
        })
    }
}

fn word(value: &Value) -> Option<String> {
    if let Value::ShellWord(word) = value { Some(word.clone()) } else { None }
}

impl Weight {
    /// The weight that a statement gives, if it gives one.
    pub fn of(statement: &Statement) -> Option<Self> {
        let value = small(&statement.values)?;
        Some(Self { value, reverse: statement.has("reverse") })
    }
}

/// A number in the range of those that are weighed.
fn small(values: &[Value]) -> Option<i32> {
    i32::try_from(number(values)?).ok()
}
