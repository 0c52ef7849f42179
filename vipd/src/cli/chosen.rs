//! Which configuration `vipd check` and `vipd doctor` look at when none is given.

use std::{
    ffi::OsStr,
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use clap::Args;
use vipd_config::Unsupported;

use crate::{
    control::{self, ClientError, Request, Response, model::Status},
    machine::Source,
};

/// What `vipd.service` runs with.
const UNIT_FILE: &str = "/etc/vipd/vipd.conf";
/// What `vipd run` reads unless told otherwise.
const KEEPALIVED_FILE: &str = "/etc/keepalived/keepalived.conf";

/// Which configuration, and how it is read.
#[derive(Debug, Args)]
pub struct Choice {
    /// Configuration file, in keepalived's language; by default that of the running vipd, or else /etc/vipd/vipd.conf, or else
    /// /etc/keepalived/keepalived.conf
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What lines that start with `@ID` are for; by default what the running vipd was given, if its file is read, or else the
    /// host's name up to its first dot
    #[arg(short = 'i', long, value_name = "ID")]
    config_id: Option<String>,
    /// Ignore unsupported features (load balancing, static addresses and more) with a warning, instead of refusing the file; also in force if the running vipd was given it and its file is read. With
    /// keywords only those: `--allow-unsupported=virtual_server,static_routes`
    #[arg(long, value_name = "KEYWORD,...", require_equals = true, value_parser = unsupported)]
    allow_unsupported: Option<Option<Unsupported>>,
}

/// A configuration, and why it is this one.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub source: Source,
    pub why: Why,
}

/// Why a configuration was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Given,
    /// That of the running vipd, which has this process id.
    Running(u32),
    /// That which a vipd was started with that does not answer, by its process.
    Silent(u32),
    /// That of the unit, with the reason why no running vipd has named one.
    Unit(String),
    /// keepalived's, with the same reason.
    Keepalived(String),
}

impl Why {
    /// Stays as it is, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Running(_) | Self::Silent(_) => "running",
            Self::Unit(_) => "unit",
            Self::Keepalived(_) => "keepalived",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("given with -f"),
            Self::Running(pid) => write!(f, "the file of the running vipd, pid {pid}"),
            Self::Silent(pid) => {
                write!(f, "the file that the running vipd, pid {pid}, was started with; it does not answer")
            }
            Self::Unit(silence) => write!(f, "the file of vipd.service; {silence}"),
            Self::Keepalived(silence) => {
                write!(f, "the file of keepalived; there is no {UNIT_FILE}, and {silence}")
            }
        }
    }
}

impl fmt::Display for Chosen {
    /// The path, and why it is this one unless it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.path.display())?;
        match &self.why {
            Why::Given => Ok(()),
            why => write!(f, " ({why})"),
        }
    }
}

impl Choice {
    /// Chooses, asking the vipd behind `socket` if no file is given.
    pub fn choose(self, socket: &Path) -> Chosen {
        let mut silent = None;
        let ask = || match control::request(socket, &Request::Status) {
            Ok(Response::Status(status)) => Ok(*status),
            Ok(_) => Err("the running vipd has answered another question".to_owned()),
            Err(ClientError::NotRunning(_)) => Err("no vipd is running".to_owned()),
            Err(error) => {
                if let ClientError::Unresponsive { pid } = &error {
                    silent = *pid;
                }
                Err(format!("the running vipd cannot be asked for its own: {:#}", anyhow::Error::new(error)))
            }
        };
        let (is_given, given_id, given) =
            (self.config.is_some(), self.config_id.clone(), self.allow_unsupported.clone());
        let chosen = self.choose_from(ask, Path::exists);
        match silent.filter(|_| !is_given).and_then(|pid| Some((pid, started_with(pid)?))) {
            Some((pid, mut source)) => {
                source.config_id = given_id.or(source.config_id);
                source.unsupported = given.map_or(source.unsupported, |given| allowed(Some(given)));
                Chosen { source, why: Why::Silent(pid) }
            }
            None => chosen,
        }
    }

    fn choose_from(
        self,
        ask: impl FnOnce() -> Result<Status, String>,
        exists: impl Fn(&Path) -> bool,
    ) -> Chosen {
        let Self { config, mut config_id, allow_unsupported } = self;
        let mut unsupported = allowed(allow_unsupported);
        let (path, why) = match config {
            Some(path) => (path, Why::Given),
            None => match ask() {
                Ok(status) if !status.config_file.is_empty() => {
                    config_id = config_id.or(status.config_id);
                    if unsupported == Unsupported::Refused && status.allow_unsupported {
                        // A running vipd of another version may allow what this one does not know.
                        let only = status.allow_unsupported_only.iter().map(String::as_str);
                        unsupported = Unsupported::named(only).unwrap_or(Unsupported::Ignored);
                    }
                    (status.config_file.into(), Why::Running(status.pid))
                }
                silence => {
                    let silence =
                        silence.err().unwrap_or_else(|| "the running vipd does not name its own".into());
                    let unit = Path::new(UNIT_FILE);
                    if exists(unit) {
                        (unit.to_owned(), Why::Unit(silence))
                    } else {
                        (KEEPALIVED_FILE.into(), Why::Keepalived(silence))
                    }
                }
            },
        };
        Chosen { source: Source { path, config_id, unsupported }, why }
    }
}

/// What a vipd reads, by the command line of its process: a frozen one says nothing.
fn started_with(pid: u32) -> Option<Source> {
    let process = Path::new("/proc").join(pid.to_string());
    let words = fs::read(process.join("cmdline")).ok()?;
    let words = words.strip_suffix(&[0]).unwrap_or(&words).split(|octet| *octet == 0);
    let source = super::source_of(words.map(OsStr::from_bytes))?;
    // A relative path begins where the process is.
    let path = fs::read_link(process.join("cwd")).ok()?.join(&source.path);
    Some(Source { path, ..source })
}

/// What follows `--allow-unsupported=`.
pub fn unsupported(text: &str) -> Result<Unsupported, String> {
    Unsupported::named(text.split(','))
}

/// What `--allow-unsupported`, given or not, allows.
pub fn allowed(given: Option<Option<Unsupported>>) -> Unsupported {
    given.map_or(Unsupported::Refused, |only| only.unwrap_or(Unsupported::Ignored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::samples;

    fn choice(file: Option<&str>) -> Choice {
        Choice { config: file.map(Into::into), config_id: None, allow_unsupported: None }
    }

    #[test]
    fn the_first_file_that_there_is_counts() {
        let silent = || Err::<Status, _>("no vipd is running".to_owned());
        for (chosen, path, name, shown) in [
            (
                choice(Some("my.conf")).choose_from(|| panic!("nobody is to be asked"), |_| true),
                "my.conf",
                "given",
                "my.conf",
            ),
            (
                choice(None).choose_from(|| Ok(samples::status()), |_| false),
                "/etc/vipd/vipd.conf",
                "running",
                "/etc/vipd/vipd.conf (the file of the running vipd, pid 4711)",
            ),
            (
                choice(None).choose_from(silent, |path| path == Path::new("/etc/vipd/vipd.conf")),
                "/etc/vipd/vipd.conf",
                "unit",
                "/etc/vipd/vipd.conf (the file of vipd.service; no vipd is running)",
            ),
            (
                choice(None).choose_from(silent, |_| false),
                "/etc/keepalived/keepalived.conf",
                "keepalived",
                "/etc/keepalived/keepalived.conf (the file of keepalived; there is no /etc/vipd/vipd.conf, and no vipd is running)",
            ),
            (
                choice(None).choose_from(|| Ok(Status::default()), |_| true),
                "/etc/vipd/vipd.conf",
                "unit",
                "/etc/vipd/vipd.conf (the file of vipd.service; the running vipd does not name its own)",
            ),
        ] {
            assert_eq!((&*chosen.source.path, chosen.why.name()), (Path::new(path), name));
            assert_eq!(chosen.to_string(), shown);
        }
    }

    #[test]
    fn the_file_of_the_running_vipd_is_read_as_it_reads_it() {
        let running =
            || Ok(Status { config_id: Some("lb01".into()), allow_unsupported: true, ..samples::status() });
        let Chosen { source, .. } = choice(None).choose_from(running, |_| false);
        assert_eq!((source.config_id.as_deref(), source.unsupported), (Some("lb01"), Unsupported::Ignored));
        let given = Choice { config_id: Some("lb02".into()), ..choice(None) };
        assert_eq!(given.choose_from(running, |_| false).source.config_id.as_deref(), Some("lb02"));
    }
}
