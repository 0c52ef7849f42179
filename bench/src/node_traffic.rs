//! TCP and UDP to a node, to its VIP, and through it to a server behind, with the node as a master and as a backup; for two
//! versions of vipd, and for none.
//!
//! A policy rule, or a local route that somebody added, makes the kernel validate each packet's source by a full look-up
//! (`fib_validate_source` of net/ipv4/fib_frontend.c), also of packets that are only forwarded. A namespace that has once had such a route
//! stays so until its end.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Result, ensure};
use vipd_tests::{Daemon, Lab, Netns, Node};

use crate::{
    Options,
    report::Report,
    routers::{Spec, VIP},
    traffic::{PORT, SMALL, tcp, udp},
    versions::Version,
};

const PART: &str = "Traffic through a node";
const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const SERVER: Ipv4Addr = Ipv4Addr::new(172, 16, 7, 100);
/// Of one measurement.
const SPAN: Duration = Duration::from_secs(1);

/// What the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Master,
    Backup,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Backup => "backup",
        }
    }

    fn state(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
        }
    }

    /// What is asked of the node: a backup does not serve the VIP.
    fn targets(self) -> &'static [(&'static str, Ipv4Addr)] {
        const ALL: [(&str, Ipv4Addr); 3] = [
            ("the node's own address", NODE),
            ("a server behind the node", SERVER),
            ("a VIP of the node", VIP),
        ];
        match self {
            Self::Master => &ALL,
            Self::Backup => ALL.split_at(2).0,
        }
    }
}

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for run in 0..options.runs {
        for role in [Role::Master, Role::Backup] {
            let versions = Version::in_turns(options, run)?;
            let mut fronts: Vec<Option<&Version>> = versions.iter().map(Some).chain([None]).collect();
            let first = (run + std::process::id() as usize) % fronts.len();
            fronts.rotate_left(first);
            for version in fronts {
                measure(version, role, report)?;
            }
        }
    }
    Ok(())
}

/// A node between two segments: the client is on the one, the server on the other.
fn lab() -> Result<Lab> {
    let lab = Lab::builder()
        .node("lb01", "10.0.0.5/8")
        .link("172.16.7.5/24")
        .node("lb02", "10.0.0.6/8")
        .node("client", "10.0.0.100/8")
        .node("server", "192.0.2.9/24")
        .link("172.16.7.100/24")
        .build()?;
    lab.node("lb01").ns().sysctl("net/ipv4/ip_forward", "1")?;
    lab.node("client").exec(&["ip", "route", "add", "172.16.7.0/24", "via", "10.0.0.5"])?;
    lab.node("server").exec(&["ip", "route", "add", "10.0.0.0/8", "via", "172.16.7.5"])?;
    Ok(lab)
}

fn measure(version: Option<&Version>, role: Role, report: &mut Report) -> Result<()> {
    let lab = lab()?;
    let node = lab.node("lb01");
    // Held for its drop, as the nodes' daemons.
    let _daemons = match version {
        Some(version) => start(version, &lab, role)?,
        None => {
            if role == Role::Master {
                node.exec(&["ip", "address", "add", &format!("{VIP}/8"), "dev", "eth0"])?;
            }
            Vec::new()
        }
    };
    let name = version.map_or("no vipd", |version| version.name);
    let client = lab.node("client");
    for &(to, address) in role.targets() {
        let target = SocketAddrV4::new(address, PORT);
        let receiver = receiver(&lab, address);
        let gbits = tcp(receiver, client.ns(), target, SPAN)?;
        report.add(PART, &format!("{}: TCP to {to}", role.name()), name, "received", "Gbit/s", gbits);
        let (_, received) = udp(receiver, client.ns(), target, SPAN)?;
        let what = format!("{}: UDP, {SMALL} octets, to {to}", role.name());
        report.add(PART, &what, name, "packets received", "1/s", received);
    }
    if let Some(version) = version {
        ensure!(version.is(node, role.state()), "{} is no longer {}", version.name, role.state());
    }
    Ok(())
}

fn receiver(lab: &Lab, address: Ipv4Addr) -> &Netns {
    lab.node(if address == SERVER { "server" } else { "lb01" }).ns()
}

/// The node's vipd; for a backup, a master first.
fn start(version: &Version, lab: &Lab, role: Role) -> Result<Vec<Daemon>> {
    let spec = Spec::single(Duration::from_secs(1));
    let started = |node: &Node, priority: u8, state: &str| -> Result<Daemon> {
        let daemon = version.start(node, &spec.conf(priority))?;
        version.wait(node, state)?;
        Ok(daemon)
    };
    let node = lab.node("lb01");
    Ok(match role {
        Role::Master => vec![started(node, 150, role.state())?],
        Role::Backup => vec![started(lab.node("lb02"), 150, "MASTER")?, started(node, 100, role.state())?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_not_asked_for_the_vip() {
        let asked = |role: Role| role.targets().iter().map(|(_, address)| *address).collect::<Vec<_>>();
        assert_eq!(asked(Role::Master), [NODE, SERVER, VIP]);
        assert_eq!(asked(Role::Backup), [NODE, SERVER]);
    }
}
