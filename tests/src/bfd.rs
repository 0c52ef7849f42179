//! Other implementations of BFD on a node: FRR's bfdd, and keepalived with its BFD process.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Daemon, Netns, Node, checked, wait_for};

/// zebra, which tells bfdd of interfaces, and bfdd; dropping it ends them.
#[derive(Debug)]
pub struct FrrBfd {
    pub bfdd: Daemon,
    zebra: Daemon,
    ns: Netns,
    dir: PathBuf,
}

impl Node {
    /// Starts bfdd with `conf`, the lines of its `bfd` block. Does not wait.
    pub fn start_frr_bfd(&self, conf: &str) -> Result<FrrBfd> {
        let dir = self.dir().join("frr-bfd");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        fs::write(dir.join("zebra.conf"), "")?;
        fs::write(dir.join("bfdd.conf"), format!("bfd\n{conf}\nexit\n"))?;
        // The daemons change to this user before they make their sockets.
        checked(std::process::Command::new("chown").args(["-R", "frr:frr"]).arg(&dir))?;
        let socket = dir.join("zserv.api");
        if socket.exists() {
            fs::remove_file(&socket).with_context(|| format!("cannot remove {}", socket.display()))?;
        }
        let zebra = self.start_frr_daemon("zebra", &dir)?;
        wait_for(format_args!("zebra on {}", self.name()), START, || socket.exists())
            .with_context(|| zebra.log())?;
        let bfdd = self.start_frr_daemon("bfdd", &dir)?;
        Ok(FrrBfd { bfdd, zebra, ns: self.ns().clone(), dir })
    }

    /// The state of a session of keepalived, such as `Up`, as last told in its log.
    pub fn keepalived_session(&self, session: &str) -> Option<String> {
        let log = fs::read_to_string(self.dir().join("keepalived.log")).ok()?;
        let entering = format!("({session}) Entering ");
        let last = log.lines().rev().find_map(|line| line.split_once(&entering)?.1.split_once(" state"));
        last.map(|(state, _)| state.to_owned())
    }
}

impl FrrBfd {
    /// What bfdd says of a neighbor.
    pub fn peer(&self, neighbor: IpAddr, multihop: bool) -> Result<Value> {
        let out = self.vtysh(&["show bfd peers json"])?;
        let peers: Vec<Value> = serde_json::from_str(&out).with_context(|| format!("vtysh said {out:?}"))?;
        let is_it = |peer: &&Value| {
            peer["peer"] == neighbor.to_string() && peer["multihop"].as_bool().unwrap_or(false) == multihop
        };
        let found = peers.iter().find(is_it).cloned();
        found.with_context(|| format!("no peer {neighbor} in {out}"))
    }

    /// Its counters of a neighbor.
    pub fn counters(&self) -> Result<Vec<Value>> {
        let out = self.vtysh(&["show bfd peers counters json"])?;
        serde_json::from_str(&out).with_context(|| format!("vtysh said {out:?}"))
    }

    /// Runs commands in its shell.
    pub fn vtysh(&self, commands: &[&str]) -> Result<String> {
        let mut vtysh = self.ns.command("vtysh");
        vtysh.arg("--vty_socket").arg(&self.dir).args(["-d", "bfdd"]);
        for command in commands {
            vtysh.args(["-c", command]);
        }
        checked(&mut vtysh)
    }

    /// Where its socket is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for FrrBfd {
    fn drop(&mut self) {
        for daemon in [&mut self.bfdd, &mut self.zebra] {
            if daemon.is_running() {
                let _ = daemon.kill9();
            }
        }
    }
}

const START: Duration = Duration::from_secs(60);
