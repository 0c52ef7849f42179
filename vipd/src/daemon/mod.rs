//! The daemon: reads the configuration, puts the parts together, takes them down again.
//!
//! Two threads. The main thread ([`control`]) has the signals, the control socket, the program and the host's routes and rules;
//! the engine thread ([`engine`]) has the election and the packet sockets. What they tell each other is in [`messages`].
//!
//! A configuration and the interfaces as they are make a [`desired`] state; [`reconcile`] brings what is there to it, at the
//! start, for a reload, when interfaces change, and when somebody else has removed something.

mod attach;
pub mod bfd;
mod captured_frames;
mod carry_over;
pub mod clock;
mod control;
mod desired;
mod engine;
mod event_log;
mod exclusive;
mod findings;
mod host_plan;
mod host_state;
mod interfaces;
pub mod journal;
mod kept_files;
pub mod locks;
mod logging;
mod messages;
mod numbering;
mod options;
mod others_before;
mod outcome;
mod phases;
mod reconcile;
mod router;
pub mod runtime_dir;
pub mod services;
mod sockets;
mod start;
mod status_socket;
mod succession;
mod timed_script;
mod upgrade;

use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::{runtime, task::LocalSet};

use self::{event_log::EventLog, exclusive::Exclusive, phases::Phases};
pub use self::{
    findings::count as error_count,
    options::Options,
    upgrade::{Invocation, UpgradeReason},
};
use crate::resources;

/// Runs until stopped. On return nothing of what was made is left, unless it was to be left to the next vipd.
///
/// # Errors
///
/// [`vipd_config::Failure`] if the configuration is refused; anything else is the environment's.
pub fn run(options: &Options) -> Result<()> {
    let phases = Phases::begin();
    let loaded = options.source.load()?;
    let (_logging, collected, levels) = logging::start(options.log_format);
    resources::raise_descriptors();
    findings::log(&loaded.warnings);
    let exclusive = Rc::new(Exclusive::take(options)?);
    phases.end("configuration and locks");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let local = LocalSet::new();
    let mut log = EventLog::new(&options.state_dir, collected);
    let configuration = (loaded.config, loaded.origins);
    let served = start::serve(options, configuration, &exclusive, &phases, (&mut log, levels));
    let result = local.block_on(&runtime, served);
    // The tasks refer to it without holding it.
    if let Some(exclusive) = Rc::into_inner(exclusive) {
        exclusive.release();
    }
    // With it end the connections of those who asked for the stop: now another vipd may start.
    drop(local);
    log.finish();
    // A look-up of a mail server's name may go on for as long as the resolver likes.
    runtime.shutdown_background();
    result
}
