//! A lab: one switch (a namespace with a bridge for each segment) and nodes, each with `eth0` plugged into `br0`, and
//! `eth1`, where it has one, into `br1`.
//!
//! ```text
//!   lb01 [eth0]----[port-lb01]\
//!   lb02 [eth0]----[port-lb02]-- br0    every box a network namespace <prefix>-<name>,
//! client [eth0]----[port-client]/        the switch is <prefix>-switch
//!   lb01 [eth1]----[eth1-lb01]---- br1
//! ```

use std::{
    fmt::Write,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    Mac, Netns, Node, checked, checked_with_input, janitor::Janitor, node::Link, prefix::Prefix,
    probe::Sniffer, wait_for, xdp::Program,
};

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
    nodes: Vec<NodeSpec>,
}

#[derive(Debug)]
struct NodeSpec {
    name: String,
    /// The addresses of `eth0`, of `eth1` and so on.
    links: Vec<Vec<String>>,
}

impl Builder {
    /// Adds a node whose `eth0` has `address`, in the form `10.0.0.5/24` or `2001:db8::5/64`.
    pub fn node(mut self, name: &str, address: &str) -> Self {
        self.nodes.push(NodeSpec { name: name.to_owned(), links: vec![vec![address.to_owned()]] });
        self
    }

    /// Gives the last added interface another address.
    pub fn address(mut self, address: &str) -> Self {
        if let Some(link) = self.nodes.last_mut().and_then(|node| node.links.last_mut()) {
            link.push(address.to_owned());
        }
        self
    }

    /// Gives the last added node another interface, `eth1` and so on. All `eth1` share one segment.
    pub fn link(mut self, address: &str) -> Self {
        if let Some(node) = self.nodes.last_mut() {
            node.links.push(vec![address.to_owned()]);
        }
        self
    }

    pub fn build(self) -> Result<Lab> {
        let Prefix { name: prefix, dir } = Prefix::new()?;
        let janitor = Janitor::start(&prefix, &dir)?;
        let switch = Netns::create(&format!("{prefix}-switch"))?;
        let mut lab = Lab { janitor, prefix, dir, switch, nodes: Vec::new() };
        lab.plug_switch(self.nodes.iter().map(|node| node.links.len()).max().unwrap_or(1))?;
        for node in self.nodes {
            lab.add_node(&node)?;
        }
        // A port without a carrier drops what it is given, and the kernel tells of the carrier from a work queue.
        let ports: usize = lab.nodes.iter().map(|node| node.links().len()).sum();
        wait_for("the switch to forward", READY, || lab.forwarding().is_ok_and(|count| count == ports))?;
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

    /// Plugs or unplugs the cable of a node's `eth0`, at the switch; the node sees its carrier go.
    pub fn set_port(&self, node: &str, up: bool) -> Result<()> {
        self.set_link(node, "eth0", up)
    }

    /// The same for any interface of a node.
    pub fn set_link(&self, node: &str, ifname: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        let port = &self.node(node).link(ifname).port;
        checked(self.switch.command("ip").args(["link", "set", "dev", port, state])).map(drop)
    }

    /// Takes the cable of a node's `eth0` out of the switch. Whoever uses the port, in the switch's namespace, has the node
    /// to himself; the port has no XDP program any more.
    pub fn take_port(&self, node: &str) -> Result<&str> {
        let port = &self.node(node).links()[0].port;
        checked(self.switch.command("ip").args(["link", "set", "dev", port, "nomaster"]))?;
        fs::remove_file(self.port_pins().join(port)).with_context(|| format!("unpin {port}"))?;
        Ok(port)
    }

    /// Gives the nodes their offloads back, and takes the XDP programs from the ports: veths as the kernel makes them.
    pub fn plain_cables(&self) -> Result<()> {
        for node in &self.nodes {
            for Link { name, port, .. } in node.links() {
                let pin = self.port_pins().join(port);
                fs::remove_file(&pin).with_context(|| format!("unpin {}", pin.display()))?;
                node.exec(&["ethtool", "-K", name, "tx", "on"])?;
            }
        }
        Ok(())
    }

    /// Watches the cable of a node's `eth0` at the switch: also what its XDP program drops or sends. `outgoing` frames
    /// are those that go to the node.
    pub fn sniff_port(&self, node: &str) -> Result<Sniffer> {
        self.sniff_link(node, "eth0")
    }

    /// The same for any interface of a node.
    pub fn sniff_link(&self, node: &str, ifname: &str) -> Result<Sniffer> {
        Sniffer::start(&self.switch, &self.node(node).link(ifname).port, |_| true)
    }

    /// The node to whose port the switch sends frames for `mac`; `None` while it has not learned the address (or has
    /// forgotten it) and floods them.
    pub fn fdb_port_of(&self, mac: Mac) -> Result<Option<String>> {
        let out = checked(self.switch.command("bridge").args(["-json", "fdb", "show"]))?;
        let entries: Vec<Value> =
            serde_json::from_str(&out).with_context(|| format!("bridge said {out:?}"))?;
        // Permanent entries are the ports' own addresses.
        let learned = |e: &&Value| {
            e["state"] != "permanent"
                && e["mac"].as_str().is_some_and(|m| m.parse().is_ok_and(|m: Mac| m == mac))
        };
        let port = entries.iter().find(learned).and_then(|e| e["ifname"].as_str());
        let node = port.and_then(|port| self.nodes.iter().find(|n| n.links().iter().any(|l| l.port == port)));
        Ok(node.map(|node| node.name().to_owned()))
    }

    /// How many ports of the switch forward frames.
    fn forwarding(&self) -> Result<usize> {
        let out = checked(self.switch.command("bridge").args(["-json", "link", "show"]))?;
        let ports: Vec<Value> = serde_json::from_str(&out).with_context(|| format!("bridge said {out:?}"))?;
        Ok(ports.iter().filter(|port| port["state"] == "forwarding").count())
    }

    /// Drops frames that one node sends to another, in this direction only.
    pub fn block(&self, from: &str, to: &str, what: Block) -> Result<()> {
        self.nft(&self.block_rules(None, from, to, what))
    }

    /// The same in one segment, that of the interfaces of this name.
    pub fn block_on(&self, ifname: &str, from: &str, to: &str, what: Block) -> Result<()> {
        self.nft(&self.block_rules(Some(ifname), from, to, what))
    }

    /// Separates two groups of nodes from each other, in both directions.
    pub fn partition(&self, left: &[&str], right: &[&str]) -> Result<()> {
        self.separate(None, left, right)
    }

    /// The same in one segment, that of the interfaces of this name.
    pub fn partition_on(&self, ifname: &str, left: &[&str], right: &[&str]) -> Result<()> {
        self.separate(Some(ifname), left, right)
    }

    fn separate(&self, on: Option<&str>, left: &[&str], right: &[&str]) -> Result<()> {
        let mut rules = String::new();
        for l in left {
            for r in right {
                rules += &self.block_rules(on, l, r, Block::All);
                rules += &self.block_rules(on, r, l, Block::All);
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

    fn plug_switch(&self, segments: usize) -> Result<()> {
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
        for n in 0..segments {
            // Snooping off: with it, and with no querier, the bridge hands multicast only to ports that have reported
            // the group to it. Adverts to ff02::12 and solicitations then depend on when reports were sent and on their
            // timers, and a test would measure the bridge.
            let bridge = format!(
                "link add br{n} up address 02:00:00:00:{n:02x}:fe type bridge stp_state 0 mcast_snooping 0 forward_delay 0\n"
            );
            checked_with_input(
                self.switch.command("ip").args(["-batch", "-"]),
                &bridge,
                &self.dir.join("batch"),
            )?;
        }
        self.nft("table bridge lab { chain block { type filter hook forward priority 0; }; }\n")
    }

    fn add_node(&mut self, spec: &NodeSpec) -> Result<()> {
        let name = &spec.name;
        ensure!(
            !name.is_empty() && name.len() <= 10 && name.bytes().all(|b| b.is_ascii_alphanumeric()),
            "node name {name:?} must be 1 to 10 letters and digits"
        );
        let ns = Netns::create(&format!("{}-{name}", self.prefix))?;
        // A lab has no other nodes with these addresses, so there is nothing to wait for.
        ns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        let dir = self.dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let number = u8::try_from(self.nodes.len() + 1).context("too many nodes")?;
        let mut links = Vec::new();
        for (n, addresses) in spec.links.iter().enumerate() {
            let n = u8::try_from(n).ok().filter(|n| *n < 10).context("too many interfaces")?;
            links.push(self.plug(&ns, name, number, n, addresses)?);
        }
        let bpffs_dir = Path::new(crate::BPFFS).join(format!("{}-{name}", self.prefix));
        let mut links = links.into_iter();
        let eth0 = links.next().context("a node has eth0")?;
        let mut node = Node::new(name, ns, dir, bpffs_dir, eth0);
        links.for_each(|link| node.push_link(link));
        self.nodes.push(node);
        Ok(())
    }

    /// Makes interface `eth<n>` of a node and plugs it into `br<n>`.
    fn plug(&self, ns: &Netns, node: &str, number: u8, n: u8, addresses: &[String]) -> Result<Link> {
        let name = format!("eth{n}");
        let port = if n == 0 { format!("port-{node}") } else { format!("{name}-{node}") };
        let (ip, prefix_length) = first_of::<Ipv4Addr>(addresses).unzip();
        let ip6 = first_of::<Ipv6Addr>(addresses).map(|(ip, _)| ip);
        let [a, b, c, d] = ip.map_or([0, 0, 0, number], |ip| ip.octets());
        let mac = Mac([0x02, n, a, b, c, d]);
        let host = match (ip, ip6) {
            (Some(ip), _) => u32::from(ip) & u32::MAX.checked_shr(prefix_length.unwrap_or(0)).unwrap_or(0),
            (None, Some(ip)) => u128::from(ip) as u32,
            (None, None) => u32::from(number),
        };
        let link_local = Ipv6Addr::from((0xfe80 << 112) | u128::from(host));

        let (peer, scratch) = (ns.name(), self.dir.join("batch"));
        let plug = format!(
            "link add {port} type veth peer name {name} address {mac} netns {peer}\n\
             link set dev {port} master br{n} up\n"
        );
        checked_with_input(self.switch.command("ip").args(["-batch", "-"]), &plug, &scratch)?;
        // The kernel would make a link-local address from the MAC; this one can be read off a capture.
        let mut configure = format!(
            "link set dev {name} addrgenmode none\nlink set dev {name} up\naddr add {link_local}/64 dev {name} nodad\n"
        );
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            let _ = writeln!(configure, "addr add {address} dev {name}{nodad}");
        }
        checked_with_input(ns.command("ip").args(["-batch", "-"]), &configure, &scratch)?;
        let pins = self.port_pins();
        fs::create_dir_all(&pins).with_context(|| format!("cannot create {}", pins.display()))?;
        Program::pass()?.attach(&self.switch, &port)?.pin(&pins.join(&port))?;
        // Without it TCP and UDP checksums on the wire are unfinished, and captures show them as wrong.
        checked(ns.command("ethtool").args(["-K", &name, "tx", "off"]))?;
        Ok(Link { name, port, mac, ip, ip6, link_local })
    }

    /// Where the links of the ports' XDP programs are pinned.
    fn port_pins(&self) -> PathBuf {
        Path::new(crate::BPFFS).join(format!("{}-switch", self.prefix))
    }

    fn block_rules(&self, on: Option<&str>, from: &str, to: &str, what: Block) -> String {
        let mut rules = String::new();
        // Only ports of one segment reach each other.
        let pairs = self.node(from).links().iter().zip(self.node(to).links());
        for (from, to) in pairs.filter(|(from, _)| on.is_none_or(|on| on == from.name)) {
            let rule = format!("add rule bridge lab block iifname {} oifname {}", from.port, to.port);
            rules += &match what {
                Block::All => format!("{rule} drop\n"),
                Block::Adverts => format!("{rule} ip protocol 112 drop\n{rule} ip6 nexthdr 112 drop\n"),
            };
        }
        rules
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let scratch = self.dir.join("rules");
        checked_with_input(self.switch.command("nft").args(["-f", "-"]), rules, &scratch).map(drop)
    }
}

/// Longer than any machine takes to build a lab.
const READY: Duration = Duration::from_secs(60);

/// The first address of a family, and its prefix length.
fn first_of<A: FromStr>(addresses: &[String]) -> Option<(A, u32)> {
    addresses.iter().find_map(|address| {
        let (ip, length) = address.split_once('/')?;
        Some((ip.parse().ok()?, length.parse().ok()?))
    })
}
