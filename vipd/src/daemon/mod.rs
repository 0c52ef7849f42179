//! The daemon: reads the configuration, puts the parts together, takes them down again.
//!
//! Two threads. The main thread ([`control`]) has the signals, the control socket, the program and the host's routes and rules;
//! the engine thread ([`engine`]) has the election and the packet sockets. What they tell each other is in [`messages`].
//!
//! A configuration and the interfaces as they are make a [`desired`] state; [`reconcile`] brings what is there to it, at the
//! start, for a reload, when interfaces change, and when somebody else has removed something.

mod attach;
mod carry_over;
pub mod clock;
mod control;
mod desired;
mod engine;
mod findings;
mod host_plan;
mod host_state;
mod interfaces;
pub mod journal;
pub mod locks;
mod logging;
mod messages;
mod numbering;
mod options;
mod outcome;
mod reconcile;
mod router;
pub mod runtime_dir;
mod sockets;
mod start;

use anyhow::{Context, Result, bail};
use tokio::{runtime, task::LocalSet};

pub use self::options::Options;
use self::{
    locks::HostLock,
    runtime_dir::{PidFile, RuntimeDir},
};
use crate::resources;

/// Runs until stopped. On return nothing of what was made is left, unless it was to be left to the next vipd.
///
/// # Errors
///
/// [`vipd_config::Failure`] if the configuration is refused; anything else is the environment's.
pub fn run(options: &Options) -> Result<()> {
    let loaded = options.source.load()?;
    let (_logging, collected, levels) = logging::start(options.log_format);
    resources::raise_descriptors();
    findings::log(&loaded.warnings);
    if loaded.config.instances.is_empty() {
        bail!("{} has no vrrp_instance: there is nothing to do", options.source.path.display());
    }
    let dir = RuntimeDir::lock(&options.runtime_dir)?;
    // Before `dir`, which a waiting successor takes first.
    let locked = HostLock::take().and_then(|lock| {
        let pid_file = options.pid_file.as_deref().map(PidFile::write).transpose()?;
        Ok((lock, pid_file))
    });
    let locks = match locked {
        Ok((host, pid_file)) => (pid_file, host),
        Err(error) => {
            dir.clean();
            return Err(error);
        }
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, start::serve(options, loaded.config, &dir, (collected, levels)));
    // The pid file first.
    drop(locks);
    dir.clean();
    drop(dir);
    // With it end the connections of those who asked for the stop: now another vipd may start.
    drop(local);
    // A look-up of a mail server's name may go on for as long as the resolver likes.
    runtime.shutdown_background();
    result
}
