//! What a configuration may ask of the machine it is read on.

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
};

use nix::unistd::{Uid, User};

use crate::{
    files::{self, Open, Part, Walk},
    scripts,
};

/// Octets of a file; the largest configurations known have some megabytes.
const LEN_MAX: u64 = 256 << 20;

pub trait Outside {
    /// What `@id` is compared with.
    fn config_id(&self) -> &str;
    /// The octets of a regular file that is not executable; others are an error.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The paths below a directory that a pattern matches, in their order; what is wrong with the pattern.
    fn glob(&self, dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String>;
    fn absolute(&self, path: &Path) -> PathBuf;
    fn environment(&self, name: &str) -> Option<String>;
    /// Any number from `min` to `max`.
    fn random(&self, min: u32, max: u32) -> u32;

    /// The number of a user of the machine.
    fn uid(&self, _user: &str) -> Option<u32> {
        None
    }
    /// The file that is run for the first word of a command.
    fn program(&self, _word: &str) -> Option<PathBuf> {
        None
    }
    /// The first directory, link or file on the way to a file that others than root may change, and how they may.
    fn open_to_others(&self, _path: &Path) -> Option<(PathBuf, String)> {
        None
    }
    /// The same of a file of the configuration, which may be the reader's own if that is not root.
    fn configuration_open_to_others(&self, _path: &Path) -> Option<(PathBuf, String)> {
        None
    }
    /// Whether every user of the machine may read a file, and come to it.
    fn is_readable_by_all(&self, _path: &Path) -> bool {
        false
    }
}

/// This machine.
#[derive(Clone, Debug)]
pub struct Host {
    pub config_id: String,
}

impl Host {
    /// With the host's name, up to its first dot, for the id: keepalived's default.
    pub fn new(config_id: Option<&str>) -> Self {
        let name = || {
            let name = nix::unistd::gethostname().unwrap_or_default();
            name.to_string_lossy().split('.').next().unwrap_or_default().to_owned()
        };
        Self { config_id: config_id.map_or_else(name, str::to_owned) }
    }
}

impl Outside for Host {
    fn config_id(&self) -> &str {
        &self.config_id
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let files::Regular { stat, bytes } = files::read_regular(path, LEN_MAX)?;
        if stat.st_mode & 0o111 != 0 {
            return Err(io::Error::other("it is executable; a configuration is not (chmod a-x)"));
        }
        if bytes.len() as u64 == LEN_MAX {
            return Err(io::Error::other(format!("it has more than {} MiB", LEN_MAX >> 20)));
        }
        Ok(bytes)
    }

    fn glob(&self, dir: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
        if pattern.contains("**") {
            return Err("`**` is not supported: name the directories".to_owned());
        }
        let dir = glob::Pattern::escape(&dir.to_string_lossy());
        let pattern = if dir.is_empty() || pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{dir}/{pattern}")
        };
        // As glob(3): an editor's hidden files are not meant.
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let paths = glob::glob_with(&pattern, options).map_err(|error| error.to_string())?;
        paths.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn environment(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn uid(&self, user: &str) -> Option<u32> {
        Some(User::from_name(user).ok()??.uid.as_raw())
    }

    fn program(&self, word: &str) -> Option<PathBuf> {
        scripts::executable(word).ok()?
    }

    fn open_to_others(&self, path: &Path) -> Option<(PathBuf, String)> {
        open_to_others(path, |_| true)
    }

    fn configuration_open_to_others(&self, path: &Path) -> Option<(PathBuf, String)> {
        open_to_others(path, |open| Uid::effective().is_root() || !matches!(open, Open::ToOwner(_)))
    }

    fn is_readable_by_all(&self, path: &Path) -> bool {
        let Ok(walk) = Walk::to(path) else { return false };
        walk.end().is_readable_by_all() && walk.parts().iter().all(Part::is_passed_by_all)
    }

    fn random(&self, min: u32, max: u32) -> u32 {
        let span = u64::from(max - min) + 1;
        // Each `RandomState` has keys of its own.
        let number = RandomState::new().hash_one(0) % span;
        min + u32::try_from(number).unwrap_or(0)
    }
}

/// What everybody may write to counts where everybody can come.
fn open_to_others(path: &Path, counts: impl Fn(Open) -> bool) -> Option<(PathBuf, String)> {
    let walk = Walk::to(path).ok()?;
    let mut is_reached = true;
    for part in walk.parts() {
        let open = part.open_to_others().filter(|open| counts(*open) && (is_reached || *open != Open::ToAll));
        if let Some(open) = open {
            return Some((part.path.clone(), open.to_string()));
        }
        is_reached &= part.is_passed_by_all();
    }
    None
}

/// A machine without files or environment, whose id is `host`.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Outside for Nothing {
    fn config_id(&self) -> &str {
        "host"
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn glob(&self, _: &Path, _: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }

    fn random(&self, min: u32, _: u32) -> u32 {
        min
    }
}
