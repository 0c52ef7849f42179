//! The state in the files that keepalived writes on a signal, for exporters and scripts.
//!
//! `data`, `checkers`, `stats` and `json` turn a configuration and a status into text, without files or a clock; times are as old as the
//! status. Passwords are masked.

mod checkers;
mod data;
mod json;
mod lines;
mod stamp;
mod stats;
#[cfg(test)]
mod tests;

use std::{
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use vipd_config::{Command, Config, Dumps, Instance, Notify, Vip, WantedState};

pub use checkers::checkers;
pub use data::data;
pub use json::json;
pub use stats::stats;

use crate::{
    control::model::{InstanceStatus, Status},
    files,
};

/// DumpKind of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpKind {
    /// SIGUSR1.
    Data,
    /// SIGUSR2.
    Stats,
    /// SIGRTMIN+2.
    Json,
}

/// Writes a dump and returns its path. With the data go those of the services, if there are any: keepalived's other process has a file for them.
///
/// # Errors
///
/// The file cannot be written: the error has its path and the reason. An existing file is left alone.
pub fn write(kind: DumpKind, config: &Config, status: &Status) -> Result<PathBuf> {
    let dumps = &config.dumps;
    let path = path(kind, dumps, &env::temp_dir());
    if kind == DumpKind::Data && !config.balance.servers().is_empty() {
        files::replace(&of_checkers(&path), &checkers(config, status), MODE)?;
    }
    let text = match kind {
        DumpKind::Data => data(config, status),
        DumpKind::Stats => stats(config, status),
        DumpKind::Json => json(config, status, dumps.json_version),
    };
    files::replace(&path, &text, MODE)?;
    Ok(path)
}

/// Where a dump goes; `temp` is the directory for temporary files.
pub fn path(kind: DumpKind, dumps: &Dumps, temp: &Path) -> PathBuf {
    let (given, instance, extension) = match kind {
        DumpKind::Data => (&dumps.data_file, dumps.instance.as_ref(), "data"),
        // keepalived 2.2.7 puts the instance into the name of the other only, and exporters look for these where they always are.
        DumpKind::Stats => (&dumps.stats_file, None, "stats"),
        DumpKind::Json => (&dumps.json_file, None, "json"),
    };
    let name = match (given, instance) {
        (Some(given), _) => given.clone(),
        // It names no directory.
        (None, Some(instance)) => format!("keepalived.{}.{extension}", instance.replace('/', "_")),
        (None, None) => format!("keepalived.{extension}"),
    };
    temp.join(name)
}

/// `keepalived_check.data` beside `keepalived.data`.
fn of_checkers(data: &Path) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (part(data.file_stem()), part(data.extension()));
    let (stem, rest) = stem
        .split_once('.')
        .map_or((stem.as_str(), String::new()), |(stem, rest)| (stem, format!(".{rest}")));
    let extension = if extension.is_empty() { extension } else { format!(".{extension}") };
    data.with_file_name(format!("{stem}_check{rest}{extension}"))
}

/// An instance of the configuration with its status.
struct Shown<'s> {
    /// Its place in the configuration.
    place: usize,
    config: &'s Instance,
    status: &'s InstanceStatus,
}

/// The instances in both, in the order of the configuration.
fn shown<'s>(config: &'s Config, status: &'s Status) -> impl Iterator<Item = Shown<'s>> {
    config.instances.iter().enumerate().filter_map(|(place, config)| {
        let status = status.instances.iter().find(|status| status.name == config.name)?;
        Some(Shown { place, config, status })
    })
}

impl Shown<'_> {
    fn is_master(&self) -> bool {
        self.status.state == "MASTER"
    }

    /// The current state, or the configured one before the start.
    fn wanted_state(&self) -> &str {
        match (self.status.state.as_str(), self.config.wanted) {
            ("INIT", WantedState::Master) => "MASTER",
            ("INIT", WantedState::Backup) => "BACKUP",
            (state, _) => state,
        }
    }

    fn vips(&self) -> Vec<String> {
        self.config.vips.iter().map(|vip| self.vip(vip)).collect()
    }

    fn excluded(&self) -> Vec<String> {
        self.config.excluded.iter().map(|vip| self.vip(vip)).collect()
    }

    /// As it would be on the interface: `set` says that it is answered for here.
    fn vip(&self, vip: &Vip) -> String {
        let Vip { address, prefix_len, .. } = vip;
        let length = if *prefix_len == host_len(*address) { String::new() } else { format!("/{prefix_len}") };
        let interface = vip.interface.as_ref().unwrap_or(&self.config.interface);
        let set = if self.is_master() { " set" } else { "" };
        format!("{address}{length} dev {interface} scope global{set}")
    }

    fn routes(&self) -> Vec<String> {
        self.config.virtual_routes.iter().map(vipd_config::route).collect()
    }

    fn rules(&self) -> Vec<String> {
        self.config.virtual_rules.iter().map(vipd_config::rule).collect()
    }
}

fn host_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    words.join(" ")
}

/// A command that is run, each word in quotes.
fn script(command: Option<&Command>) -> Option<String> {
    command.map(|command| quoted(&command.words))
}

fn deleted(notify: &Notify) -> Option<&Command> {
    notify.deleted.as_ref()?.0.as_ref()
}

/// Of a dump: for its owner alone.
const MODE: u32 = 0o600;
/// Replaces a password of any length.
const MASK: &str = "********";
