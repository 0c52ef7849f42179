//! What a configuration may ask of the machine it is read on.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use vipd_balance::ProbeSpec;

/// An interface of the machine that a configuration is read on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInterface {
    /// Why no VIP can be on it, as the rest of a sentence about it; `None`: one can.
    pub obstacle: Option<String>,
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

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
    /// Whether the first word of a command names a file that is not there, or cannot be run.
    fn lacks_program(&self, _word: &str) -> bool {
        false
    }
    /// An interface of the machine; `None`: there is none of that name, or nobody can say.
    fn interface(&self, _name: &str) -> Option<HostInterface> {
        None
    }
    /// Whether the machine has no interface of that name; `false` if nobody can say.
    fn lacks_interface(&self, _name: &str) -> bool {
        false
    }
    /// The first directory, link or file on the way to a file that others than root may change, and how they may.
    fn open_to_others(&self, _path: &Path) -> Option<(PathBuf, String)> {
        None
    }
    /// The same of a file of the configuration, which may be the reader's own if that is not root.
    fn configuration_open_to_others(&self, _path: &Path) -> Option<(PathBuf, String)> {
        None
    }
    /// Why a probe of load balancing could never be run, in lower case; `None`: it can.
    fn unfit_probe(&self, _probe: &ProbeSpec) -> Option<String> {
        None
    }
    /// Whether the machine's kernel is known to have no IPVS.
    fn lacks_ipvs(&self) -> bool {
        false
    }
    /// Whether every user of the machine may read a file, and come to it.
    fn is_readable_by_all(&self, _path: &Path) -> bool {
        false
    }
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
