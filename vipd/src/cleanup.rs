//! `vipd cleanup`: removes what a vipd that has died has left in this network namespace.
//!
//! It decides nothing and knows no other way than a stop: [`Host::remove_all`] while the programs still stand in front of the kernel
//! (I4), then the programs. What was there before and is not there afterwards was removed. It holds the locks of a vipd meanwhile, so
//! none runs, and none starts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    daemon::{
        locks::{HostLock, Running},
        runtime_dir::RuntimeDir,
        services,
    },
    dataplane,
    host::{self, Host, Leftover, LeftoverKind},
};

/// Where a vipd keeps what it remembers.
#[derive(Clone, Debug)]
pub struct StateDirs {
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
}

/// What has come of a cleanup.
#[derive(Debug, Default)]
pub struct CleanupOutcome {
    pub removed: Vec<Leftover>,
    /// What is still there.
    pub left: Vec<Leftover>,
    /// What the kernel said to what was not removed.
    pub problems: Vec<String>,
    /// What a vipd may have left, or somebody else made: it is not known, and not touched.
    pub unknown: Vec<String>,
}

/// What vipds that do not run any more have left here, in the order in which it is removed. Changes nothing. Needs a tokio runtime.
///
/// A vipd that runs has made the same: look for one before.
pub async fn survey(places: &StateDirs) -> Result<Vec<Leftover>> {
    let mut found =
        host::leftovers(&places.runtime_dir).await.context("look at routes, rules and addresses")?;
    let of_services = services::left(&places.runtime_dir).context("look at the services of IPVS")?;
    let service = |(what, fix)| Leftover::new(LeftoverKind::Service, what, fix);
    found.extend(of_services.into_iter().map(service));
    let xdp = host::xdp_programs().await?;
    found.extend(dataplane::leftovers(&places.bpffs_dir, &xdp).context("look at pinned programs")?);
    let files = host::saved_files(&places.runtime_dir).chain(RuntimeDir::leftovers(&places.runtime_dir));
    found.extend(files.map(|path| {
        let path = path.display();
        Leftover::new(LeftoverKind::File, format!("file {path}"), format!("rm {path}"))
    }));
    Ok(found)
}

/// Removes all of it. With `dry_run` it is only looked at, and [`CleanupOutcome::left`] is what is there. Needs a tokio runtime.
///
/// # Errors
///
/// [`Running`]: a vipd runs, and nothing was touched. Anything else could not be looked at.
pub async fn clean(places: &StateDirs, dry_run: bool) -> Result<CleanupOutcome> {
    let missing = dataplane::missing_capabilities();
    if !missing.is_empty() {
        bail!("cleanup needs {}: run it as root", missing.join(", "));
    }
    let _locks = Locks::take(places)?;
    let found = survey(places).await?;
    let unknown = host::raised_settings(&places.runtime_dir)?;
    if dry_run || found.is_empty() {
        return Ok(CleanupOutcome { left: found, unknown, ..CleanupOutcome::default() });
    }
    let mut problems = Vec::new();
    remove(places, &mut problems).await?;
    let left = survey(places).await?;
    let removed = found.into_iter().filter(|had| !left.iter().any(|has| has.what == had.what)).collect();
    Ok(CleanupOutcome { removed, left, problems, unknown })
}

async fn remove(places: &StateDirs, problems: &mut Vec<String>) -> Result<()> {
    let mut note = |result: Result<()>| problems.extend(result.err().map(|error| format!("{error:#}")));
    let (mut host, _links) = Host::open(&places.runtime_dir)?;
    note(host.remove_all().await);
    let services = services::remove_left(&places.runtime_dir);
    let of_services = match services {
        Ok(refused) => refused,
        Err(error) => vec![format!("{error:#}")],
    };
    let are_left = !of_services.is_empty();
    of_services.into_iter().for_each(|refused| note(Err(anyhow::anyhow!(refused))));
    let of_host = host.leftovers().await?;
    if of_host.iter().any(|left| left.answers) {
        // I4.
        note(Err(anyhow::anyhow!(
            "the programs stay attached: without them the kernel would answer for the VIPs whose routes and addresses are left"
        )));
    } else {
        note(dataplane::remove_leftovers(&places.bpffs_dir));
    }
    // What is saved is the only way back to what the host was before.
    let saved = host::saved_files(&places.runtime_dir).filter(|_| of_host.is_empty());
    // What is known of services that are left is in such a file too.
    let state = places.runtime_dir.join(services::STATE_FILE);
    for path in saved.chain(RuntimeDir::leftovers(&places.runtime_dir)) {
        if path != state || !are_left {
            note(remove_file(&path));
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Those that a vipd holds while it runs.
#[derive(Debug)]
struct Locks {
    runtime: Option<RuntimeDir>,
    _host: HostLock,
}

impl Locks {
    fn take(places: &StateDirs) -> Result<Self> {
        // It is not made for this.
        let runtime = match places.runtime_dir.symlink_metadata() {
            Ok(_) => Some(RuntimeDir::lock_alone(&places.runtime_dir)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("look at {}", places.runtime_dir.display()));
            }
        };
        let host = match HostLock::take() {
            Ok(host) => host,
            Err(error) => {
                runtime.into_iter().for_each(RuntimeDir::unlock);
                return Err(error);
            }
        };
        let locks = Self { runtime, _host: host };
        // Another network namespace's, with the same BPF file system.
        match dataplane::user_of_pins(&places.bpffs_dir)? {
            None => Ok(locks),
            Some(pid) => {
                let message = format!("process {pid} uses what is pinned in {}", places.bpffs_dir.display());
                Err(Running::new(Some(&pid.to_string()), message).into())
            }
        }
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(RuntimeDir::unlock);
    }
}
