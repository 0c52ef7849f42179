//! Debian's keepalived on a node: the router that vipd's configuration and adverts have to agree with.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{Daemon, Node, node::write_conf, wait_for};

impl Node {
    /// Starts Debian's keepalived with `conf`, VRRP only.
    pub fn start_keepalived(&self, conf: &str) -> Result<Daemon> {
        self.start_keepalived_as(&["-P"], conf)
    }

    /// Starts Debian's keepalived with `conf`, load balancing only.
    pub fn start_keepalived_checkers(&self, conf: &str) -> Result<Daemon> {
        self.start_keepalived_as(&["-C"], conf)
    }

    /// Starts Debian's keepalived with `conf`: VRRP, load balancing and BFD, as far as it has them.
    pub fn start_keepalived_whole(&self, conf: &str) -> Result<Daemon> {
        self.start_keepalived_as(&[], conf)
    }

    fn start_keepalived_as(&self, part: &[&str], conf: &str) -> Result<Daemon> {
        let file = self.dir().join("keepalived.conf");
        write_conf(&file, conf)?;
        let mut command = self.command("keepalived");
        // -n -G -l: in the foreground, no syslog, to the console (here the log): without a syslog daemon it
        // would otherwise write to the machine's console and stall.
        command.args(["-n", "-G", "-l", "-D"]).args(part).arg("-f").arg(&file);
        let log = self.keepalived_log();
        // What a killed one has left: its states are not those of this one, and its children may still be ending.
        remove_if_there(&log)?;
        for (flag, name) in
            [("-p", "keepalived.pid"), ("-r", "vrrp.pid"), ("-c", "checkers.pid"), ("-b", "bfd.pid")]
        {
            let file = self.dir().join(name);
            remove_if_there(&file)?;
            command.arg(flag).arg(file);
        }
        Ok(Daemon::start(&format!("keepalived on {}", self.name()), &mut command, &log)?.signal_group())
    }

    /// The state of a keepalived instance, such as `MASTER`, as last told in its log (a dump takes a signal, a file
    /// in /tmp that all nodes share, and patience); `None` before the first.
    pub fn keepalived_state(&self, instance: &str) -> Result<Option<String>> {
        let file = self.keepalived_log();
        let log =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let entering = format!("({instance}) Entering ");
        let last = log.lines().rev().find_map(|line| line.split_once(&entering)?.1.split_once(" STATE"));
        Ok(last.map(|(state, _)| state.to_owned()))
    }

    /// Waits until a keepalived instance is in a state.
    pub fn wait_keepalived(&self, instance: &str, state: &str, timeout: Duration) -> Result<Duration> {
        wait_for(format_args!("{instance} of keepalived on {} to be {state}", self.name()), timeout, || {
            self.keepalived_state(instance).is_ok_and(|s| s.as_deref() == Some(state))
        })
        .with_context(|| std::fs::read_to_string(self.keepalived_log()).unwrap_or_default())
    }

    fn keepalived_log(&self) -> PathBuf {
        self.dir().join("keepalived.log")
    }
}

fn remove_if_there(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
