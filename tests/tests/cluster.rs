//! `cluster_report` and `vipd cluster`: three vipd nodes and a keepalived show each other, multicast and unicast, and reports that are
//! wrong, forged or many harm nobody.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{INSTANCE, Permit, SOON, lab};
use vipd_tests::{Daemon, Lab, vipd_bin, wait_for};

const NODES: [(&str, &str, u8); 3] =
    [("lb01", "10.0.0.5", 150), ("lb02", "10.0.0.6", 140), ("lb03", "10.0.0.7", 130)];
const KEEPALIVED: &str = "10.0.0.8";
const CLIENT: &str = "10.0.0.100";
const PORT: u16 = 9_813;
const KEY: &str = "correct horse battery staple";

/// Three nodes, a fourth for keepalived, and a client.
struct Cluster {
    lab: Lab,
    vipd: PathBuf,
    _permit: Permit,
}

impl Cluster {
    fn new() -> Result<Option<Self>> {
        let built = lab(|builder| {
            let nodes = NODES.iter().fold(builder, |builder, (name, address, _)| {
                let last = address.rsplit('.').next().unwrap_or_default();
                builder.node(name, &format!("{address}/24")).address(&format!("2001:db8::{last}/64"))
            });
            nodes.node("lb04", &format!("{KEEPALIVED}/24")).node("client", &format!("{CLIENT}/24"))
        })?;
        let Some((lab, permit)) = built else { return Ok(None) };
        Ok(Some(Self { lab, vipd: vipd_bin()?, _permit: permit }))
    }

    fn start(&self, conf: impl Fn(&str, u8) -> String) -> Result<Vec<Daemon>> {
        let start = |(name, _, priority): &(&str, &str, u8)| {
            let node = self.lab.node(name);
            node.write_vipd_conf(&conf(name, *priority))?;
            node.start_vipd(&self.vipd)
        };
        NODES.iter().map(start).collect()
    }

    fn told(&self, node: &str, arguments: &[&str]) -> Result<String> {
        let output = self.lab.node(node).vipd_ask(&self.vipd, arguments).output()?;
        ensure!(
            output.status.success(),
            "vipd {arguments:?} on {node}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `vipd cluster --json` says on a node.
    fn view(&self, node: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.told(node, &["cluster", "--json"])?)?)
    }

    /// The nodes of an instance as a node sees them, by address.
    fn node(&self, on: &str, instance: &str, address: &str) -> Result<Value> {
        let view = self.view(on)?;
        let routers = view["routers"].as_array().context("no routers")?;
        let router = routers.iter().find(|router| router["name"] == instance).context("no such router")?;
        let nodes = router["nodes"].as_array().context("no nodes")?;
        let found = nodes.iter().find(|node| node["address"] == address);
        found.cloned().with_context(|| format!("no {address} in {router:#}"))
    }

    fn wait_node(&self, on: &str, instance: &str, address: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = String::new();
        let waited = wait_for(format_args!("{address} of {instance} on {on}"), SOON, || {
            match self.node(on, instance, address) {
                Ok(node) => {
                    last = node.to_string();
                    is(&node)
                }
                Err(error) => {
                    last = format!("{error:#}");
                    false
                }
            }
        });
        waited.with_context(|| last.clone()).map(drop)
    }

    /// Waits until every node shows every other with its state.
    fn wait_all(&self, instance: &str, addresses: [&str; 3]) -> Result<()> {
        for (on, ..) in NODES {
            for (n, address) in addresses.iter().enumerate() {
                let state = if n == 0 { "MASTER" } else { "BACKUP" };
                let known_by = if on == NODES[n].0 { "self" } else { "report" };
                self.wait_node(on, instance, address, |node| {
                    node["state"] == state
                        && node["known_by"] == known_by
                        && node["router_id"] == NODES[n].0
                        && node["base_priority"] == NODES[n].2
                        && node["lost"] == false
                        && node["links"][0]["interface"] == "eth0"
                        && node["master"] == addresses[0]
                })?;
            }
        }
        Ok(())
    }

    fn refused(&self, node: &str, reason: &str) -> Result<u64> {
        let view = self.view(node)?;
        view["cluster_reports"]["refused"][reason]
            .as_u64()
            .with_context(|| format!("no {reason} in {view:#}"))
    }

    fn wait_refused(&self, node: &str, reason: &str, least: u64) -> Result<()> {
        let mut last = String::new();
        let waited = wait_for(format_args!("{reason} on {node}"), SOON, || {
            let refused = self.refused(node, reason);
            last = format!("{refused:?}");
            refused.is_ok_and(|count| count >= least)
        });
        waited.with_context(|| last.clone()).map(drop)
    }

    fn state(&self, node: &str) -> Result<Value> {
        let status = self.lab.node(node).status(&self.vipd)?;
        Ok(status["instances"][0].clone())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (name, ..) in NODES {
            let log = fs::read_to_string(self.lab.node(name).vipd_log());
            eprintln!("--- vipd on {name}\n{}", log.unwrap_or_default());
        }
    }
}

/// A configuration with one instance that multicasts.
fn multicast(router_id: &str, priority: u8, report: &str) -> String {
    format!(
        "global_defs {{\n router_id {router_id}\n vrrp_version 3\n {report}\n}}\n{}",
        instance(INSTANCE, 51, priority, "virtual_ipaddress {\n 10.0.0.3\n }")
    )
}

fn instance(name: &str, vrid: u8, priority: u8, lines: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n interface eth0\n virtual_router_id {vrid}\n priority {priority}\n advert_int 0.3\n {lines}\n}}\n"
    )
}

fn signed() -> String {
    format!("cluster_report 1\n cluster_report_key \"{KEY}\"")
}

#[test]
fn three_nodes_and_a_keepalived_are_shown_on_each() -> Result<()> {
    let Some(cluster) = Cluster::new()? else { return Ok(()) };
    let mut daemons = cluster.start(|name, priority| multicast(name, priority, &signed()))?;
    let addresses = NODES.map(|(_, address, _)| address);
    cluster.wait_all(INSTANCE, addresses)?;
    for (on, ..) in NODES {
        let view = cluster.view(on)?;
        ensure!(view["routers"][0]["problems"].as_array().is_some_and(Vec::is_empty), "{view:#}");
        let other = if on == "lb01" { addresses[1] } else { addresses[0] };
        ensure!(cluster.node(on, INSTANCE, other)?["signed"] == true);
    }

    // What a node does is seen by the others.
    cluster.told("lb02", &["drain"])?;
    cluster.wait_node("lb01", INSTANCE, addresses[1], |node| {
        node["drained"] == true && node["priority"] == 1 && node["base_priority"] == 140
    })?;
    let text = cluster.told("lb03", &["cluster"])?;
    ensure!(text.contains("1 of 140") && text.contains("drained: lowest priority"), "{text}");

    // A node that is gone is lost, not forgotten.
    drop(daemons.pop());
    cluster.wait_node("lb01", INSTANCE, addresses[2], |node| node["lost"] == true)?;
    let text = cluster.told("lb01", &["cluster"])?;
    ensure!(text.contains("is lost: no report for"), "{text}");

    // keepalived says nothing but adverts, and those only as the master.
    let conf = "global_defs {\n vrrp_version 3\n}\n".to_owned()
        + &instance(INSTANCE, 51, 200, "virtual_ipaddress {\n 10.0.0.3\n }");
    let _keepalived = cluster.lab.node("lb04").start_keepalived(&conf)?;
    for on in ["lb01", "lb02"] {
        cluster.wait_node(on, INSTANCE, KEEPALIVED, |node| {
            node["known_by"] == "advert"
                && node["state"] == "MASTER"
                && node["priority"] == 200
                && node["host"].is_null()
        })?;
    }
    let text = cluster.told("lb01", &["cluster", "10.0.0.3"])?;
    ensure!(text.contains("known by its adverts alone"), "{text}");
    println!("{text}");
    Ok(())
}

/// Full meshes of unicast peers, in both families, without a key: on the link the hop limit vouches for the sender.
#[test]
fn unicast_peers_report_to_each_other() -> Result<()> {
    let Some(cluster) = Cluster::new()? else { return Ok(()) };
    let addresses = NODES.map(|(_, address, _)| address);
    let v6 = ["2001:db8::5", "2001:db8::6", "2001:db8::7"];
    let peers = |all: [&str; 3], name: &str| -> String {
        let others = all.iter().zip(NODES).filter(|(_, (node, ..))| *node != name);
        others.map(|(address, _)| format!("{address}\n")).collect()
    };
    let _daemons = cluster.start(|name, priority| {
        let own = |all: [&str; 3]| {
            all[NODES.iter().position(|(node, ..)| *node == name).unwrap_or_default()].to_owned()
        };
        let lines = |all: [&str; 3], vip: &str| {
            format!(
                "unicast_src_ip {}\n unicast_peer {{\n {}}}\n virtual_ipaddress {{\n {vip}\n }}",
                own(all),
                peers(all, name)
            )
        };
        format!(
            "global_defs {{\n router_id {name}\n vrrp_version 3\n cluster_report 1\n}}\n{}{}",
            instance("UNI4", 51, priority, &lines(addresses, "10.0.0.3")),
            instance("UNI6", 52, priority, &lines(v6, "2001:db8::100"))
        )
    })?;
    cluster.wait_all("UNI4", addresses)?;
    cluster.wait_all("UNI6", v6)?;
    for (on, ..) in NODES {
        ensure!(cluster.view(on)?["cluster_reports"]["signed"] == false);
    }
    // A stranger in nobody's list.
    let client = cluster.lab.node("client");
    client.ns().run(|| UdpSocket::bind((CLIENT, PORT))?.send_to(&[0; 100], ("10.0.0.5", PORT)))??;
    cluster.wait_refused("lb01", "stranger", 1)
}

/// An IPv6 group needs the interface by which it is sent to.
#[test]
fn nodes_report_to_an_ipv6_group() -> Result<()> {
    let Some(cluster) = Cluster::new()? else { return Ok(()) };
    let _daemons = cluster.start(|name, priority| {
        format!(
            "global_defs {{\n router_id {name}\n {}\n}}\n{}",
            signed(),
            instance(INSTANCE, 51, priority, "virtual_ipaddress {\n fe80::100\n 2001:db8::100\n }")
        )
    })?;
    for (on, ..) in NODES {
        let all_reported = || {
            let view = cluster.view(on)?;
            let nodes = view["routers"][0]["nodes"].as_array().context("no nodes")?.clone();
            let reported = nodes.iter().filter(|node| node["known_by"] == "report" && node["signed"] == true);
            Ok::<_, anyhow::Error>(reported.count() == 2)
        };
        wait_for(format_args!("two nodes on {on}"), SOON, || all_reported().unwrap_or_default())?;
    }
    Ok(())
}

#[test]
fn wrong_forged_and_many_reports_harm_nobody() -> Result<()> {
    let Some(cluster) = Cluster::new()? else { return Ok(()) };
    let _daemons = cluster.start(|name, priority| multicast(name, priority, &signed()))?;
    let addresses = NODES.map(|(_, address, _)| address);
    cluster.wait_all(INSTANCE, addresses)?;
    let before = cluster.state("lb01")?;

    let client = cluster.lab.node("client");
    let send = |ttl: u32, datagrams: &[Vec<u8>]| -> Result<UdpSocket> {
        client.ns().run(|| -> Result<UdpSocket> {
            let address: IpAddr = CLIENT.parse()?;
            let socket = UdpSocket::bind((address, PORT))?;
            socket.set_multicast_ttl_v4(ttl)?;
            for datagram in datagrams {
                socket.send_to(datagram, ("224.0.0.18", PORT))?;
            }
            Ok(socket)
        })?
    };
    // A report that would be one, were it signed: of lb02's instance, with the state MASTER.
    let mut unsigned = b"VIPR\x01\x00\x00\x01".to_vec();
    unsigned.extend([0; 16]);
    unsigned.extend([1, 1, b'x', 0, 0, 0, 35]);
    unsigned.extend([4, 51, 2, 255, 255, 0]);
    unsigned.extend([0; 24]);
    unsigned.extend([0, 0, 0, 0, 0]);
    let mut garbage = unsigned.clone();
    garbage.truncate(40);
    drop(send(255, &[unsigned.clone(), garbage, b"VIPR\x02".to_vec(), vec![0xff; 1_400]])?);
    cluster.wait_refused("lb01", "unsigned", 1)?;
    cluster.wait_refused("lb01", "malformed", 2)?;
    cluster.wait_refused("lb01", "version", 1)?;
    drop(send(254, &[unsigned.clone()])?);
    cluster.wait_refused("lb01", "hop_limit", 1)?;

    // Many. Nobody answers, the VIP stays where it is, and reports are heard again afterwards.
    let socket = send(255, &vec![unsigned; 30_000])?;
    socket.set_nonblocking(true)?;
    let answer = socket.recv(&mut [0; 64]);
    ensure!(answer.is_err(), "the client was answered: {answer:?}");
    drop(socket);
    cluster.wait_all(INSTANCE, addresses)?;
    let after = cluster.state("lb01")?;
    ensure!(after["state"] == "MASTER" && after["became_master"] == before["became_master"], "{after:#}");
    ensure!(cluster.node("lb01", INSTANCE, CLIENT).is_err(), "the client is a node now");
    println!("{}", cluster.told("lb01", &["cluster"])?);

    // A node with another key is lost to the others, and goes on as it did.
    let other = signed().replace("correct", "another");
    cluster.lab.node("lb02").write_vipd_conf(&multicast("lb02", 140, &other))?;
    cluster.told("lb02", &["reload"])?;
    cluster.wait_refused("lb01", "signature", 1)?;
    cluster.wait_refused("lb02", "signature", 1)?;
    cluster.wait_node("lb01", INSTANCE, addresses[1], |node| node["lost"] == true)?;
    ensure!(cluster.state("lb01")?["state"] == "MASTER" && cluster.state("lb02")?["state"] == "BACKUP");

    // Off again: no socket is left.
    cluster.lab.node("lb02").write_vipd_conf(&multicast("lb02", 140, ""))?;
    cluster.told("lb02", &["reload"])?;
    wait_for("the socket to close", SOON, || {
        cluster
            .lab
            .node("lb02")
            .exec(&["ss", "-Hlun"])
            .is_ok_and(|sockets| !sockets.contains(&format!(":{PORT} ")))
    })?;
    Ok(())
}
