//! The scene of `demo` and `lab`: lb01 and lb02 with one VIP, and a client.

use std::{
    env,
    io::{BufRead, BufReader, stderr},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use vipd_tests::{Daemon, Lab, Node};

use crate::sh;

pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const INSTANCE: &str = "VI_1";
/// Name, configured state, priority.
pub const BALANCERS: [(&str, &str, u8); 2] = [("lb01", "MASTER", 150), ("lb02", "BACKUP", 100)];
const SOON: Duration = Duration::from_secs(10);

/// What keeps the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keeper {
    Vipd,
    /// For comparison: Debian's keepalived in the same lab
    Keepalived,
}

/// The lab, standing, with nothing running in it.
pub fn build() -> Result<Lab> {
    Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .node("lb02", "10.0.0.6/24")
        .node("client", "10.0.0.100/24")
        .build()
}

/// The configuration of a published two-node load balancer, as it stands there.
pub fn conf(node: &str) -> String {
    let (_, state, priority) = BALANCERS.into_iter().find(|b| b.0 == node).unwrap_or(BALANCERS[1]);
    format!(
        "! Configuration File for keepalived

global_defs {{
   router_id {node}
}}

vrrp_instance {INSTANCE} {{
    state {state}
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 1
    authentication {{
        auth_type PASS
        auth_pass 1111
    }}
    virtual_ipaddress {{
        {VIP}
    }}
}}
"
    )
}

/// Starts what keeps the VIP on one node, and waits until it is up.
pub fn start_keeper(node: &Node, keeper: Keeper, vipd: &Path) -> Result<Daemon> {
    match keeper {
        Keeper::Vipd => {
            node.write_vipd_conf(&conf(node.name()))?;
            let daemon = node.start_vipd(vipd)?;
            node.wait_ready(vipd, SOON)?;
            Ok(daemon)
        }
        Keeper::Keepalived => {
            node.allow_nonlocal_bind()?;
            node.start_keepalived(&conf(node.name()))
        }
    }
}

/// Starts the service on the VIP.
pub fn start_nginx(node: &Node) -> Result<Daemon> {
    node.start_nginx(SocketAddrV4::new(VIP, 80))
}

/// Builds the binary as it would be shipped and returns where it is. `VIPD_BIN` in the environment names another.
pub fn build_vipd() -> Result<PathBuf> {
    if let Some(path) = env::var_os("VIPD_BIN") {
        return Ok(path.into());
    }
    let mut command = sh::cargo();
    command.args(["build", "--locked", "--release"]);
    // `vipd top` runs the other one, which is beside it.
    command.args(["--package", "vipd", "--bin", "vipd", "--package", "vipd-top", "--bin", "vipd-top"]);
    command.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", sh::display(&command));
    let mut child = command.stdout(Stdio::piped()).stderr(stderr().as_fd().try_clone_to_owned()?).spawn()?;
    let out = child.stdout.take().context("cargo has no stdout")?;
    let mut binary = None;
    for line in BufReader::new(out).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
        if message["target"]["name"] == "vipd"
            && let Some(path) = message["executable"].as_str()
        {
            binary = Some(PathBuf::from(path));
        }
    }
    ensure!(child.wait()?.success(), "vipd does not build");
    binary.context("cargo did not say where vipd is")
}
