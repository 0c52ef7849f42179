//! Two directors that share a VIP and the servers' gateway, for services by NAT.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use vipd_tests::{Daemon, Lab, Node, wait_for};

use super::{
    Bed, INSTANCE, SOON, lab,
    web::{WebServer, ask, has_ipvs, table},
};

pub const SERVICE: &str = "10.0.0.3:80";
/// For an answer on a slow machine.
const PATIENT: Duration = Duration::from_secs(10);

/// lb01 and lb02 are directors between the client's network and that of the servers web1, web2 and sorry, whose gateway is a second VIP.
#[derive(Debug)]
pub struct Directors {
    pub bed: Bed,
    servers: Vec<Option<WebServer>>,
}

const SERVERS: [(&str, &str); 3] =
    [("web1", "10.1.0.11:80"), ("web2", "10.1.0.12:80"), ("sorry", "10.1.0.13:80")];

impl Directors {
    /// `None` where there is no lab, or no IPVS.
    pub fn new() -> Result<Option<Self>> {
        let nodes = |lab: vipd_tests::Builder| {
            let lab = lab.node("lb01", "10.0.0.5/24").link("10.1.0.5/24");
            let lab = lab.node("lb02", "10.0.0.6/24").link("10.1.0.6/24").node("client", "10.0.0.100/24");
            // Their eth0 is of another network, so that answers go by the gateway.
            let lab = lab.node("web1", "10.77.0.1/24").link("10.1.0.11/24");
            let lab = lab.node("web2", "10.77.0.2/24").link("10.1.0.12/24");
            lab.node("sorry", "10.77.0.3/24").link("10.1.0.13/24")
        };
        let Some((lab, permit)) = lab(nodes)? else { return Ok(None) };
        if !has_ipvs() {
            return Ok(None);
        }
        let mut directors = Self { bed: Bed::of(lab, permit)?, servers: Vec::new() };
        for node in ["lb01", "lb02"] {
            directors.lab().node(node).ns().sysctl("net/ipv4/ip_forward", "1")?;
        }
        for (name, _) in SERVERS {
            directors.lab().node(name).exec(&["ip", "route", "add", "default", "via", "10.1.0.1"])?;
            directors.servers.push(None);
            directors.serve(name, true)?;
        }
        Ok(Some(directors))
    }

    pub fn lab(&self) -> &Lab {
        &self.bed.lab
    }

    /// Starts or stops a web server.
    pub fn serve(&mut self, name: &str, is_on: bool) -> Result<()> {
        let at = SERVERS.iter().position(|(known, _)| *known == name).context("no such server")?;
        self.servers[at] = None;
        if is_on {
            let server = WebServer::start(self.lab().node(name), SERVERS[at].1.parse()?, name)?;
            self.servers[at] = Some(server);
        }
        Ok(())
    }

    /// Whom the client reaches in `times` connections.
    pub fn reached(&self, times: usize) -> Result<BTreeSet<String>> {
        let to: SocketAddr = SERVICE.parse()?;
        let mut reached = BTreeSet::new();
        for _ in 0..times {
            reached.insert(ask(self.bed.client(), to, PATIENT)?.unwrap_or_else(|| "nobody".to_owned()));
        }
        Ok(reached)
    }

    pub fn wait_reached(&self, names: &[&str]) -> Result<()> {
        let expect: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let reaches = || self.reached(4).is_ok_and(|reached| reached == expect);
        wait_for(format_args!("{expect:?} to serve"), SOON, reaches)
            .with_context(|| format!("{:?}; {:?}", self.reached(4), table(self.bed.lb01())))?;
        Ok(())
    }

    pub fn wait_table(&self, node: &Node, servers: &[&str]) -> Result<()> {
        let head = format!("TCP {SERVICE} rr");
        let lines = servers.iter().map(|server| format!("  {server}"));
        let expect: Vec<String> = [head].into_iter().chain(lines).collect();
        wait_for(format_args!("{expect:?} on {}", node.name()), SOON, || {
            table(node).is_ok_and(|table| table == expect)
        })
        .with_context(|| format!("{:?}", table(node)))?;
        Ok(())
    }

    pub fn balancing(&self, node: &str) -> Result<Value> {
        Ok(self.lab().node(node).status(&self.bed.vipd)?["balancing"].clone())
    }

    pub fn start_pair(&self, services: &str) -> Result<[Daemon; 2]> {
        let pair = [
            self.bed.start("lb01", &conf_of(150, services))?,
            self.bed.start("lb02", &conf_of(100, services))?,
        ];
        self.bed.wait("lb01", "MASTER")?;
        self.bed.wait("lb02", "BACKUP")?;
        Ok(pair)
    }
}

/// The VIP of the clients and the gateway of the servers move together.
pub fn conf_of(priority: u8, services: &str) -> String {
    let instance = |name: &str, interface: &str, vrid: u8, vip: &str| {
        format!(
            "vrrp_instance {name} {{\n interface {interface}\n virtual_router_id {vrid}\n priority {priority}\n advert_int 1\n \
             virtual_ipaddress {{\n {vip}\n }}\n}}\n"
        )
    };
    format!(
        "global_defs {{\n vrrp_version 3\n}}\nvrrp_sync_group G {{\n group {{\n VI_1\n VI_IN\n }}\n}}\n{}{}{services}",
        instance(INSTANCE, "eth0", 51, "10.0.0.3/24"),
        instance("VI_IN", "eth1", 52, "10.1.0.1/24")
    )
}

/// Both servers, by NAT in turn, checked every second.
pub fn web(servers: &[&str]) -> String {
    let server = |name: &&str| {
        let (_, at) = SERVERS.iter().find(|(known, _)| known == name).copied().unwrap_or(("", "0.0.0.0:0"));
        format!(
            " real_server {} {{\n  TCP_CHECK {{\n   connect_timeout 5\n   retry 1\n   delay_before_retry 1\n  }}\n }}\n",
            at.replace(':', " ")
        )
    };
    format!(
        "virtual_server 10.0.0.3 80 {{\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n sorry_server 10.1.0.13 80\n{}}}\n",
        servers.iter().map(server).collect::<String>()
    )
}

pub const ONE: &str = "10.1.0.11:80 Masq 1";
pub const TWO: &str = "10.1.0.12:80 Masq 1";
pub const SORRY: &str = "10.1.0.13:80 Masq 1";
