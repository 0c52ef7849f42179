//! Reads ldirectord.cf, ha.cf, haresources and authkeys, and writes one keepalived.conf for vipd, which is the same on both nodes.
//!
//! Nothing is dropped without a [`Note`]. The crate opens no file: names are resolved and paths looked up through [`ImportHost`].

#![warn(missing_docs)]

mod heartbeat;
mod ldirectord;
mod note;
mod text;
mod write;

use std::net::IpAddr;

pub use note::{Note, NoteSeverity};
pub use text::SourceText;

/// The files to be read. Each is optional; without any of them there is nothing to write.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// ldirectord.cf, and further files of `execute` or of `ldirectord::FILE`.
    pub ldirectord: Vec<SourceText>,
    /// ha.cf.
    pub ha: Option<SourceText>,
    /// haresources.
    pub haresources: Option<SourceText>,
    /// authkeys.
    pub authkeys: Option<SourceText>,
}

impl Files {
    fn names(&self) -> impl Iterator<Item = &str> {
        let others = [&self.ha, &self.haresources, &self.authkeys].into_iter().flatten();
        self.ldirectord.iter().chain(others).map(|text| text.name.as_str())
    }
}

/// What the import asks of the machine.
pub trait ImportHost {
    /// The first address of a host, of the family asked for.
    fn resolve(&self, host: &str, ipv6: bool) -> Option<IpAddr>;
    /// The port of a service in /etc/services.
    fn port(&self, service: &str, protocol: &str) -> Option<u16>;
    /// Whether there is a file with this path.
    fn is_file(&self, path: &str) -> bool;
}

/// The result: a configuration, and what is to be known about it.
#[derive(Clone, Debug)]
pub struct Import {
    /// The configuration. Empty if any note is an error.
    pub configuration: String,
    /// In the order of the files and their lines.
    pub notes: Vec<Note>,
}

/// Reads the files and writes the configuration.
pub fn import(files: &Files, outside: &dyn ImportHost) -> Import {
    let mut notes = Vec::new();
    let mut directors = Vec::new();
    for text in &files.ldirectord {
        directors.push(ldirectord::read(text, outside, &mut notes));
    }
    let ha = files.ha.as_ref().map(|text| heartbeat::ha_cf::read(text, &mut notes));
    let groups = files.haresources.as_ref().map(|text| heartbeat::haresources::read(text, &mut notes));
    if let Some(text) = &files.authkeys {
        heartbeat::authkeys::read(text, &mut notes);
    }
    let configuration = write::configuration(&directors, ha.as_ref(), groups.as_deref(), outside, &mut notes);
    // Servers of one service share its remarks.
    let mut seen: Vec<Note> = Vec::new();
    notes.retain(|note| {
        let new = !seen.contains(note);
        if new {
            seen.push(note.clone());
        }
        new
    });
    let order = |file: &str| files.names().position(|name| name == file);
    notes.sort_by_key(|note| (order(&note.file), note.line, note.column));
    let refused = notes.iter().any(|note| note.severity == NoteSeverity::Error);
    Import { configuration: if refused { String::new() } else { configuration }, notes }
}

/// The files that `ldirectord::FILE` of haresources names, each once.
pub fn director_files(haresources: &SourceText) -> Vec<String> {
    let mut files = Vec::new();
    for group in heartbeat::haresources::read(haresources, &mut Vec::new()) {
        for file in group.directors {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
}

#[cfg(test)]
mod tests;
