//! What `vipd run` is given.

use std::{path::PathBuf, time::Duration};

use super::{journal::Form, upgrade::Invocation};
use crate::metrics;

/// What `vipd run` is given.
#[derive(Clone, Debug)]
pub struct Options {
    pub source: crate::machine::Source,
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// For what is remembered over restarts and reboots.
    pub state_dir: PathBuf,
    /// Besides the one in the runtime directory.
    pub pid_file: Option<PathBuf>,
    /// Whether the start goes on without an interface that is missing or unfit, whatever the configuration says.
    pub wait_for_interfaces: bool,
    pub log_xdp: bool,
    pub log_format: Form,
    /// How the program is attached where the configuration does not say it.
    pub xdp_mode: vipd_config::XdpMode,
    pub metrics_listen: Option<metrics::Listen>,
    /// Take over from a vipd that runs.
    pub replace: bool,
    /// How this process was started, to start its successor.
    pub invocation: Invocation,
    /// Between two looks at what was made on the host.
    pub look_period: Duration,
}

impl Options {
    /// How the program is to be attached to each interface.
    pub fn xdp_modes(&self, config: &vipd_config::Config) -> vipd_config::XdpModes {
        config.xdp_modes.or(self.xdp_mode)
    }
}
