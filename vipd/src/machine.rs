//! The configuration of this machine: where it is, and what it asks of the machine ([`vipd_config::Outside`]).

use std::{
    cell::OnceCell,
    collections::HashMap,
    env, fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
};

use nix::{
    ifaddrs::getifaddrs,
    unistd::{Uid, User},
};
use vipd_balance::ProbeSpec;
use vipd_config::{Failure, HostInterface, Loaded, Outside, Unsupported};

use crate::{
    daemon::services::modules::{self, IpvsPresence},
    files::{self, Open, Part, Walk},
    scripts,
};

/// Octets of a file; the largest configurations known have some megabytes.
const LEN_MAX: u64 = 256 << 20;

/// Where a configuration is, and how it is read.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: PathBuf,
    /// What lines with `@id` are for; the host's name up to its first dot unless given.
    pub config_id: Option<String>,
    pub unsupported: Unsupported,
}

impl Source {
    /// Reads and checks it, on this machine.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or what it says cannot be run.
    pub fn load(&self) -> Result<Loaded, Failure> {
        vipd_config::load(&self.path, &ThisMachine::new(self.config_id.as_deref()), self.unsupported.clone())
    }
}

/// This machine.
#[derive(Clone, Debug)]
pub struct ThisMachine {
    pub config_id: String,
    /// What was found when an interface was asked for first.
    interfaces: OnceCell<HashMap<String, HostInterface>>,
}

impl ThisMachine {
    /// With the host's name, up to its first dot, for the id: keepalived's default.
    pub fn new(config_id: Option<&str>) -> Self {
        let name = || {
            let name = nix::unistd::gethostname().unwrap_or_default();
            name.to_string_lossy().split('.').next().unwrap_or_default().to_owned()
        };
        Self { config_id: config_id.map_or_else(name, str::to_owned), interfaces: OnceCell::new() }
    }
}

impl Outside for ThisMachine {
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

    fn unfit_probe(&self, probe: &ProbeSpec) -> Option<String> {
        vipd_probe::refusal(probe)
    }

    fn lacks_ipvs(&self) -> bool {
        modules::presence() == IpvsPresence::Missing
    }

    fn lacks_program(&self, word: &str) -> bool {
        use scripts::UnusableCommand::{NotExecutable, Unreadable};
        match scripts::executable(word) {
            Err(NotExecutable(_)) => true,
            // Another user than root may not be able to look.
            Err(Unreadable { error, .. }) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    fn interface(&self, name: &str) -> Option<HostInterface> {
        self.interfaces.get_or_init(interfaces).get(name).cloned()
    }

    fn lacks_interface(&self, name: &str) -> bool {
        let interfaces = self.interfaces.get_or_init(interfaces);
        !interfaces.is_empty() && !interfaces.contains_key(name)
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

/// The interfaces of this network namespace; none if they cannot be listed.
fn interfaces() -> HashMap<String, HostInterface> {
    let mut interfaces: HashMap<String, HostInterface> = HashMap::new();
    for found in getifaddrs().into_iter().flatten() {
        let interface = interfaces.entry(found.interface_name).or_default();
        let Some(address) = found.address else { continue };
        if let Some(link) = address.as_link_addr() {
            if link.hatype() != libc::ARPHRD_ETHER {
                let what = match link.hatype() {
                    libc::ARPHRD_LOOPBACK => "loopback".to_owned(),
                    other => format!("link type {other}"),
                };
                let obstacle = format!("carries no Ethernet ({what}), and so no ARP or Neighbor Discovery");
                interface.obstacle = Some(obstacle);
            }
        } else if let Some(v4) = address.as_sockaddr_in() {
            let mask = found
                .netmask
                .as_ref()
                .and_then(|mask| mask.as_sockaddr_in())
                .map_or(u32::MAX, |mask| mask.ip().to_bits());
            interface.addresses.push((v4.ip().into(), length(mask.leading_ones())));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            let mask = found
                .netmask
                .as_ref()
                .and_then(|mask| mask.as_sockaddr_in6())
                .map_or(u128::MAX, |mask| mask.ip().to_bits());
            interface.addresses.push((v6.ip().into(), length(mask.leading_ones())));
        }
    }
    interfaces
}

fn length(ones: u32) -> u8 {
    u8::try_from(ones).unwrap_or(u8::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] =
        b"vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n10.0.0.3\n}\n}\n";

    #[test]
    fn load_reads_files_and_names_those_it_cannot() {
        let dir = env::temp_dir().join(format!("vipd-config-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("keepalived.conf");
        let source = Source { path: path.clone(), config_id: None, unsupported: Unsupported::Refused };
        let failure = source.load().unwrap_err().to_string();
        assert!(
            failure.starts_with("error[unreadable]: cannot read the file: ")
                && failure.contains(&*path.to_string_lossy()),
            "{failure}"
        );
        // A comment in Latin-1.
        fs::write(&path, [b"# caf\xe9\n", FILE].concat()).unwrap();
        assert_eq!(source.load().unwrap().config.instances[0].line, 2);
        fs::write(&path, b"global_defs {\nrouter_id caf\xe9\n}\n").unwrap();
        let failure = source.load().unwrap_err().to_string();
        assert!(failure.contains("this word is not valid UTF-8") && failure.contains(":2:11"), "{failure}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
