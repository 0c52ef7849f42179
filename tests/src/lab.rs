//! A lab: one switch (a bridge in a namespace of its own) and nodes, each with `eth0` plugged into it.
//!
//! ```text
//!   lb01 [eth0]----[port-lb01]\
//!   lb02 [eth0]----[port-lb02]-- br0    every box a network namespace <prefix>-<name>,
//! client [eth0]----[port-client]/        the switch is <prefix>-switch
//! ```

use std::{
    fmt::Write,
    fs::{self, File},
    io::Read,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, ensure};

use crate::{Mac, Netns, Node, checked, checked_with_input, janitor::Janitor, probe::Sniffer, xdp::Program};

/// Namespaces, directories and pins of one lab, all removed on drop.
#[derive(Debug)]
pub struct Lab {
    // Dropped first: ends processes, removes pins, namespaces and the directory.
    janitor: Janitor,
    prefix: String,
    dir: PathBuf,
    switch: Netns,
    nodes: Vec<Node>,
}

/// Which frames [`Lab::block`] drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// VRRP adverts, IPv4 and IPv6.
    Adverts,
    /// Every frame.
    All,
}

/// Collects the nodes of a lab.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<(String, Vec<String>)>,
}

impl Builder {
    /// Adds a node whose `eth0` has `address`, in the form `10.0.0.5/24`.
    pub fn node(mut self, name: &str, address: &str) -> Self {
        self.nodes.push((name.to_owned(), vec![address.to_owned()]));
        self
    }

    /// Gives the last added node another address.
    pub fn address(mut self, address: &str) -> Self {
        if let Some((_, addresses)) = self.nodes.last_mut() {
            addresses.push(address.to_owned());
        }
        self
    }

    pub fn build(self) -> Result<Lab> {
        let prefix = unique_prefix()?;
        let dir = std::env::temp_dir().join(&prefix);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let janitor = Janitor::start(&prefix, &dir)?;
        let switch = Netns::create(&format!("{prefix}-switch"))?;
        let mut lab = Lab { janitor, prefix, dir, switch, nodes: Vec::new() };
        lab.plug_switch()?;
        for (name, addresses) in self.nodes {
            lab.add_node(&name, &addresses)?;
        }
        Ok(lab)
    }
}

impl Lab {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The unique prefix of every name this lab uses.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of that name.
    ///
    /// # Panics
    ///
    /// If the lab has no such node: a mistake in the test.
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|n| n.name() == name).unwrap_or_else(|| panic!("the lab has no node {name:?}"))
    }

    /// Plugs or unplugs a node's cable, at the switch; the node sees its carrier go.
    pub fn set_port(&self, node: &str, up: bool) -> Result<()> {
        let port = self.node(node).port();
        let state = if up { "up" } else { "down" };
        checked(self.switch.command("ip").args(["link", "set", "dev", &port, state])).map(drop)
    }

    /// Watches a node's cable at the switch: also what its XDP program drops or sends. `outgoing` frames are those
    /// that go to the node.
    pub fn sniff_port(&self, node: &str) -> Result<Sniffer> {
        Sniffer::start(&self.switch, &self.node(node).port(), |_| true)
    }

    /// Drops frames that one node sends to another, in this direction only.
    pub fn block(&self, from: &str, to: &str, what: Block) -> Result<()> {
        self.nft(&self.block_rules(from, to, what))
    }

    /// Separates two groups of nodes from each other, in both directions.
    pub fn partition(&self, left: &[&str], right: &[&str]) -> Result<()> {
        let mut rules = String::new();
        for l in left {
            for r in right {
                rules += &self.block_rules(l, r, Block::All);
                rules += &self.block_rules(r, l, Block::All);
            }
        }
        // One transaction: both directions stop at once.
        self.nft(&rules)
    }

    /// Ends every block and partition.
    pub fn unblock_all(&self) -> Result<()> {
        self.nft("flush chain bridge lab block\n")
    }

    /// Lets the lab stand when this process ends; [`crate::janitor::clean_up`] removes it.
    pub fn keep(self) -> Result<()> {
        self.switch.keep();
        for node in &self.nodes {
            node.ns().keep();
        }
        self.janitor.keep()
    }

    fn plug_switch(&self) -> Result<()> {
        for (path, value) in [
            ("net/ipv6/conf/all/disable_ipv6", "1"),
            ("net/ipv6/conf/default/disable_ipv6", "1"),
            // Otherwise the bridge looks into IP headers and drops frames that a test broke on purpose.
            ("net/bridge/bridge-nf-call-iptables", "0"),
            ("net/bridge/bridge-nf-call-ip6tables", "0"),
            ("net/bridge/bridge-nf-call-arptables", "0"),
        ] {
            if Path::new("/proc/sys").join(path).exists() {
                self.switch.sysctl(path, value)?;
            }
        }
        checked(self.switch.command("ip").args([
            "link",
            "add",
            "br0",
            "up",
            "address",
            "02:00:00:00:00:fe",
            "type",
            "bridge",
            "stp_state",
            "0",
            "mcast_snooping",
            "0",
            "forward_delay",
            "0",
        ]))?;
        self.nft("table bridge lab { chain block { type filter hook forward priority 0; }; }\n")
    }

    fn add_node(&mut self, name: &str, addresses: &[String]) -> Result<()> {
        ensure!(
            !name.is_empty() && name.len() <= 10 && name.bytes().all(|b| b.is_ascii_alphanumeric()),
            "node name {name:?} must be 1 to 10 letters and digits"
        );
        let ns = Netns::create(&format!("{}-{name}", self.prefix))?;
        // A lab has no other nodes with these addresses, so there is nothing to wait for.
        ns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        let dir = self.dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let ip = addresses.iter().find_map(|a| a.split('/').next()?.parse::<Ipv4Addr>().ok());
        let number = u8::try_from(self.nodes.len() + 1).context("too many nodes")?;
        let [a, b, c, d] = ip.map_or([0, 0, 0, number], |ip| ip.octets());
        let mac = Mac([0x02, 0x00, a, b, c, d]);

        let port = format!("port-{name}");
        let (peer, scratch) = (ns.name(), self.dir.join("batch"));
        let plug = format!(
            "link add {port} type veth peer name eth0 address {mac} netns {peer}\n\
             link set dev {port} master br0 up\n"
        );
        checked_with_input(self.switch.command("ip").args(["-batch", "-"]), &plug, &scratch)?;
        let mut configure = "link set dev eth0 up\n".to_owned();
        for address in addresses {
            let _ = writeln!(configure, "addr add {address} dev eth0");
        }
        checked_with_input(ns.command("ip").args(["-batch", "-"]), &configure, &scratch)?;
        let pins = Path::new(crate::BPFFS).join(format!("{}-switch", self.prefix));
        fs::create_dir_all(&pins).with_context(|| format!("cannot create {}", pins.display()))?;
        Program::pass()?.attach(&self.switch, &port)?.pin(&pins.join(&port))?;
        // Without it TCP and UDP checksums on the wire are unfinished, and captures show them as wrong.
        checked(ns.command("ethtool").args(["-K", "eth0", "tx", "off"]))?;
        let bpffs_dir = Path::new(crate::BPFFS).join(format!("{}-{name}", self.prefix));
        self.nodes.push(Node::new(name, ns, dir, bpffs_dir, mac, ip));
        Ok(())
    }

    fn block_rules(&self, from: &str, to: &str, what: Block) -> String {
        let (from, to) = (self.node(from).port(), self.node(to).port());
        let rule = format!("add rule bridge lab block iifname {from} oifname {to}");
        match what {
            Block::All => format!("{rule} drop\n"),
            Block::Adverts => format!("{rule} ip protocol 112 drop\n{rule} ip6 nexthdr 112 drop\n"),
        }
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let scratch = self.dir.join("rules");
        checked_with_input(self.switch.command("nft").args(["-f", "-"]), rules, &scratch).map(drop)
    }
}

/// Process id, then random: unique among labs of one process, of parallel checkouts and of leftovers.
fn unique_prefix() -> Result<String> {
    let mut random = [0; 4];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).context("/dev/urandom")?;
    let random = u64::from(u32::from_ne_bytes(random) % 36u32.pow(4));
    Ok(format!("vd{}{:0>4}", base36(u64::from(process::id())), base36(random)))
}

fn base36(mut n: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % 36) as usize]);
        n /= 36;
        if n == 0 {
            return digits.iter().rev().map(|&d| char::from(d)).collect();
        }
    }
}
