//! What `vipd run` is given.

use std::path::PathBuf;

use crate::{config, metrics};

/// What `vipd run` is given.
#[derive(Clone, Debug)]
pub struct Options {
    pub source: config::Source,
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// For what is remembered over restarts and reboots.
    pub state_dir: PathBuf,
    /// Besides the one in the runtime directory.
    pub pid_file: Option<PathBuf>,
    /// Whether the start goes on without an interface that is missing or unfit, whatever the configuration says.
    pub wait_for_interfaces: bool,
    pub log_xdp: bool,
    /// How the program is attached where the configuration does not say it.
    pub xdp_mode: config::XdpMode,
    pub metrics_listen: Option<metrics::Listen>,
}

impl Options {
    /// How the program is to be attached to each interface.
    pub fn xdp_modes(&self, config: &config::Config) -> config::XdpModes {
        config::XdpModes::of(config, self.xdp_mode)
    }
}
