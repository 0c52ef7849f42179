//! What instances depend on besides their interfaces: `vrrp_script`, `track_file` and the `track_*` blocks.

use std::time::Duration;

use super::{
    model::{Config, Instance, Statement},
    scripts::{Account, Command},
    statement::{find, number, seconds, text},
};

/// What is to be watched, and what each instance makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Those that an instance tracks.
    pub scripts: Vec<Script>,
    pub files: Vec<TrackedFile>,
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
    weight: Weight,
}

/// One `track_file`: a file whose first number counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedFile {
    pub name: String,
    pub path: String,
    /// What is written to it at the start, also over what it holds.
    pub init: Option<i32>,
    pub overwrite: bool,
    weight: Weight,
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

impl Tracking {
    pub fn of(config: &Config) -> Self {
        let mut tracking = Self::default();
        for instance in &config.instances {
            let tracks = tracking.instance(config, instance);
            tracking.instances.push(tracks);
        }
        tracking
    }

    fn instance(&mut self, config: &Config, instance: &Instance) -> Vec<Track> {
        let mut tracks = Vec::new();
        for block in &instance.statements {
            for line in block.inside.iter().flatten() {
                let name = text(&line.values, 0);
                let what = match block.keyword {
                    "track_script" => self.script(config, name),
                    "track_file" => self.file(config, name),
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
        let known = self.scripts.iter().position(|script| script.name == name);
        let place = match known {
            Some(place) => place,
            None => {
                self.scripts.push(Script::of(block(config, &["vrrp_script"], name)?)?);
                self.scripts.len() - 1
            }
        };
        Some((Tracked::Script(place), self.scripts[place].weight))
    }

    fn file(&mut self, config: &Config, name: &str) -> Option<(Tracked, Weight)> {
        let known = self.files.iter().position(|file| file.name == name);
        let place = match known {
            Some(place) => place,
            None => {
                self.files.push(TrackedFile::of(block(config, &["track_file", "vrrp_track_file"], name)?)?);
                self.files.len() - 1
            }
        };
        Some((Tracked::File(place), self.files[place].weight))
    }
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
            init: init.map(|init| number(&init.values).unwrap_or(0)),
            overwrite: init.is_some_and(|init| init.has("overwrite")),
            weight: find(inside, "weight")
                .and_then(Weight::of)
                .unwrap_or(Weight { value: 1, reverse: false }),
        })
    }
}

impl Weight {
    /// The weight that a statement gives, if it gives one.
    fn of(statement: &Statement) -> Option<Self> {
        let value = number(&statement.values)?;
        Some(Self { value, reverse: statement.has("reverse") })
    }
}

fn count(inside: &[Statement], keyword: &str) -> u32 {
    let given = find(inside, keyword).and_then(|given| number(&given.values));
    given.and_then(|given| u32::try_from(given).ok()).unwrap_or(1)
}
