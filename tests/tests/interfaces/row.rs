//! A row of the matrix: how a kind of interface is made on each node, and what has to hold on it.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use vipd_tests::{Daemon, Mac, Node, probe::NeighbourProber, wait_for};

use crate::support::{host_state::HostState, served::*, *};

/// A kind of interface.
///
/// Lines are arguments of `ip`; `{n}` is a number of the node's own, two digits.
#[derive(Debug, Clone)]
pub struct Row {
    /// The interface that vipd is given.
    pub interface: &'static str,
    /// Makes it on lb01 and lb02.
    made: &'static str,
    /// The client's interface and how it is made: as the nodes', unless it has a plain cable.
    client: (&'static str, &'static str),
    /// What the instances have beside the usual.
    extra: &'static str,
    /// Lines for the switch.
    switch: &'static str,
    mode: &'static str,
    cables: fn() -> Result<Option<Bed>>,
}

/// A row in a lab.
#[derive(Debug)]
pub struct Served {
    pub row: Row,
    pub bed: Bed,
    before: Vec<(String, Untouched)>,
}

/// vipd on both nodes, and the questions to it.
pub struct Running {
    pub lb01: Daemon,
    pub lb02: Daemon,
}

/// What vipd has to leave as it was.
#[derive(Debug, PartialEq, Eq)]
struct Untouched {
    rules: String,
    settings: Vec<(PathBuf, String)>,
    /// Those to and by way of the interface and `lo`, sorted.
    routes: Vec<String>,
    promiscuity: Value,
    qdiscs: String,
    /// Addresses in filters that are of VRRP or of VIPs.
    filters: Vec<String>,
    xdp: Value,
}

impl Row {
    pub fn on(interface: &'static str) -> Self {
        Self {
            interface,
            made: "",
            client: (interface, ""),
            extra: "",
            switch: "",
            mode: "tc",
            cables: Bed::dual,
        }
    }

    /// Made by these lines, on the client too.
    pub fn made(mut self, lines: &'static str) -> Self {
        (self.made, self.client.1) = (lines, lines);
        self
    }

    /// The client has its plain cable.
    pub fn nodes_only(mut self) -> Self {
        self.client = ("eth0", "");
        self
    }

    /// The client has this interface, made by these lines.
    pub fn client(mut self, interface: &'static str, lines: &'static str) -> Self {
        self.client = (interface, lines);
        self
    }

    pub fn switch(mut self, lines: &'static str) -> Self {
        self.switch = lines;
        self
    }

    pub fn extra(mut self, statement: &'static str) -> Self {
        self.extra = statement;
        self
    }

    /// How vipd has to serve it: `tc`, unless this says otherwise.
    pub fn mode(mut self, mode: &'static str) -> Self {
        self.mode = mode;
        self
    }

    /// In a lab that this makes.
    pub fn cables(mut self, cables: fn() -> Result<Option<Bed>>) -> Self {
        self.cables = cables;
        self
    }

    pub fn conf(&self, priority: u8) -> String {
        let conf = dual(priority, "1", self.extra, &[]);
        conf.replace("interface eth0", &format!("interface {}", self.interface))
            .replace("global_defs {", "global_defs {\n xdp_mode auto")
    }

    /// The lab with these interfaces; `None`, and a skip, if the kernel has no such interfaces.
    pub fn build(self) -> Result<Option<Served>> {
        let Some(bed) = (self.cables)()? else { return Ok(None) };
        bed.lab.plain_cables()?;
        let switch = bed.lab.switch();
        for line in self.switch.lines() {
            if !run_ip(|| switch.command("ip"), line)? {
                return Ok(None);
            }
        }
        let (interface, lines) = self.client;
        for node in [bed.lb01(), bed.lb02()] {
            if !install(node, self.interface, self.made)? {
                return Ok(None);
            }
        }
        if !install(bed.client(), interface, lines)? {
            return Ok(None);
        }
        Served::new(self, bed).map(Some)
    }

    /// The whole row.
    pub fn serves(self) -> Result<()> {
        self.serves_through(|_| Ok(()))
    }

    /// vipd does not start on it, says these words, and leaves nothing; `vipd doctor` says it too.
    pub fn check_refused(self, words: &[&str]) -> Result<()> {
        let Some(served) = self.build()? else { return Ok(()) };
        let (bed, lb01) = (&served.bed, served.bed.lb01());
        lb01.write_vipd_conf(&served.row.conf(HIGH))?;
        let mut vipd = lb01.start_vipd(&bed.vipd)?;
        let ended = vipd.wait(SOON)?;
        ensure!(!ended.success(), "{}", vipd.log());
        let mut doctor = lb01.command(&bed.vipd);
        doctor.args(["doctor", "-f"]).arg(lb01.vipd_conf());
        doctor.arg("--bpffs-dir").arg(lb01.bpffs_dir()).arg("--runtime-dir").arg(lb01.runtime_dir());
        let found = String::from_utf8(doctor.output()?.stdout)?;
        for word in words {
            ensure!(vipd.log().contains(word), "{word}: {}", vipd.log());
            ensure!(found.contains(word), "{word}: {found}");
        }
        served.check_nothing_is_left(&[lb01])
    }

    /// The same, with something that happens while lb01 is master.
    pub fn serves_through(self, event: impl FnOnce(&Served) -> Result<()>) -> Result<()> {
        let Some(served) = self.build()? else { return Ok(()) };
        served.check(event)
    }
}

impl Served {
    /// In a lab whose interfaces are made.
    pub fn new(row: Row, bed: Bed) -> Result<Self> {
        let nodes = [bed.lb01(), bed.lb02()];
        let before = nodes.map(|node| Ok((node.name().to_owned(), Untouched::of(node, row.interface)?)));
        let before = before.into_iter().collect::<Result<_>>()?;
        Ok(Self { row, bed, before })
    }

    /// Starts both nodes; lb01 is elected, and the program is attached as it should be.
    pub fn start(&self) -> Result<Running> {
        let Self { row, bed, .. } = self;
        let running =
            Running { lb01: bed.start("lb01", &row.conf(HIGH))?, lb02: bed.start("lb02", &row.conf(LOW))? };
        wait_elected(bed)?;
        for node in ["lb01", "lb02"] {
            let status = bed.status(node)?;
            ensure!(status["xdp_mode"] == row.mode, "{status}");
        }
        Ok(running)
    }

    /// Election, answers, traffic, whatever `event` does, a kill, a return, stops.
    pub fn check(&self, event: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let bed = &self.bed;
        let mut running = self.start()?;
        self.check_served_by("lb01").context("elected")?;
        event(self)?;

        running.lb01.kill9()?;
        wait_state(bed, bed.lb02(), "MASTER")?;
        self.check_served_by("lb02").context("lb01 was killed")?;
        running.lb01 = bed.restart("lb01")?;
        wait_elected(bed)?;
        self.check_served_by("lb01").context("lb01 was back")?;
        for node in ["lb01", "lb02"] {
            let status = bed.status(node)?;
            ensure!(status["address_conflicts"] == 0, "{status}");
        }

        bed.told("lb01", &["stop"])?;
        let status = running.lb01.wait(SOON)?;
        ensure!(status.success(), "{status}: {}", running.lb01.log());
        wait_state(bed, bed.lb02(), "MASTER")?;
        self.check_served_by("lb02").context("lb01 was stopped")?;
        bed.told("lb02", &["stop"])?;
        let status = running.lb02.wait(SOON)?;
        ensure!(status.success(), "{status}: {}", running.lb02.log());
        self.check_nothing_is_left(&[bed.lb01(), bed.lb02()])
    }

    /// Each question of either family has one answer, which leads to a node, and so do connections of the client.
    pub fn check_served_by(&self, node: &str) -> Result<()> {
        let macs = self.macs(self.bed.lab.node(node))?;
        let prober = ask_on(&self.bed, self.row.client.0)?;
        for vip in [VIP.into(), VIP_LINK_LOCAL.into(), VIP6.into()] {
            let expected = self.expected(vip, &macs);
            if self.rebalances() {
                check_answered_by_a_node(&prober, vip, &expected)?;
            } else {
                check_answered_by(&prober, vip, &expected)?;
            }
        }
        prober.stop()?;
        let _service = Service::start(self.bed.lab.node(node))?;
        wait_reached(&self.bed, &[self.bed.client()], node)
    }

    /// Asks on the client's interface, all the time.
    pub fn ask(&self) -> Result<NeighbourProber> {
        ask_on(&self.bed, self.row.client.0)
    }

    fn expected(&self, vip: IpAddr, macs: &[Mac]) -> Vec<Mac> {
        match vip {
            _ if !self.row.extra.contains("use_vmac") => macs.to_vec(),
            IpAddr::V4(_) => vec![VIRTUAL_V4],
            IpAddr::V6(_) => vec![VIRTUAL_V6],
        }
    }

    /// balance-alb gives each client the MAC of a slave, and repeats answers when slaves change.
    fn rebalances(&self) -> bool {
        self.row.made.contains("balance-alb")
    }

    /// The MAC of a node's interface; with those of its slaves, by which balance-alb answers too.
    fn macs(&self, node: &Node) -> Result<Vec<Mac>> {
        let mut macs = vec![mac_of(node, self.row.interface)?];
        if self.rebalances() {
            macs.extend([mac_of(node, "eth0")?, mac_of(node, "eth1")?]);
        }
        Ok(macs)
    }

    pub fn check_nothing_is_left(&self, nodes: &[&Node]) -> Result<()> {
        for node in nodes {
            ensure!(!pins(node).exists(), "pins were left on {}", node.name());
            let (_, before) =
                self.before.iter().find(|(name, _)| name == node.name()).context("no such node")?;
            let now = || Untouched::of(node, self.row.interface);
            wait_for("the host to be as before", SOON, || now().is_ok_and(|now| now == *before))
                .with_context(|| format!("{}: {:#?} instead of {before:#?}", node.name(), now()))?;
        }
        Ok(())
    }
}

impl Untouched {
    fn of(node: &Node, interface: &str) -> Result<Self> {
        let link: Value =
            serde_json::from_str(&node.exec(&["ip", "-j", "-d", "link", "show", "dev", interface])?)?;
        let sorted = |text: &str, wanted: &dyn Fn(&str) -> bool| {
            let mut lines: Vec<_> = text.lines().filter(|line| wanted(line)).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let HostState { routes, rules, settings, .. } = HostState::of(node)?;
        let dev = [format!(" dev {interface} "), " dev lo ".to_owned()];
        let fdb = node.exec(&["bridge", "fdb", "show"])?;
        Ok(Self {
            rules,
            settings,
            // The kernel's own come with the addresses, whose duplicate detection takes its time.
            routes: sorted(&routes, &|route| {
                dev.iter().any(|dev| route.contains(dev)) && !route.contains("proto kernel")
            }),
            // Others are learned, and forgotten.
            filters: sorted(&fdb, &|entry| {
                entry.contains("permanent") && OURS.iter().any(|mac| entry.starts_with(mac))
            }),
            promiscuity: link[0]["promiscuity"].clone(),
            qdiscs: node.exec(&["tc", "qdisc", "show", "dev", interface])?,
            xdp: link[0]["xdp"].clone(),
        })
    }
}

/// MACs of the adverts' groups, of the VIPs' solicited-node group, and virtual ones.
const OURS: [&str; 4] = ["01:00:5e:00:00:12", "33:33:00:00:00:12", "33:33:ff:00:00:03", "00:00:5e:00:0"];

pub fn mac_of(node: &Node, interface: &str) -> Result<Mac> {
    let link: Value = serde_json::from_str(&node.exec(&["ip", "-j", "link", "show", "dev", interface])?)?;
    link[0]["address"].as_str().context("no address")?.parse()
}

/// Runs `ip` on a node.
pub fn ip(node: &Node, line: &str) -> Result<()> {
    node.exec(&[&["ip"], &line.split_whitespace().collect::<Vec<_>>()[..]].concat()).map(drop)
}

/// Makes an interface of a node and moves the node's addresses there; `false`, and a skip, if the kernel has no such interfaces.
pub fn install(node: &Node, interface: &str, lines: &str) -> Result<bool> {
    if interface == "eth0" {
        return Ok(true);
    }
    let addresses = [
        format!("{}/16", node.ip().context("no IPv4 address")?),
        format!("{}/64", node.ip6().context("no IPv6 address")?),
    ];
    let number = format!("{:02}", node.ip().context("no IPv4 address")?.octets()[3] % 90);
    ip(node, "address flush dev eth0")?;
    for line in lines.lines() {
        let line = line.replace("{n}", &number);
        // A line is one of `ip`, but for what only another tool can do.
        if line.starts_with("teamnl ") {
            node.exec(&line.split_whitespace().collect::<Vec<_>>())?;
        } else if !run_ip(|| node.command("ip"), &line)? {
            return Ok(false);
        }
    }
    ip(node, &format!("link set {interface} up"))?;
    for address in addresses {
        ip(node, &format!("address add {address} dev {interface}"))?;
    }
    Ok(true)
}

fn run_ip(command: impl FnOnce() -> std::process::Command, line: &str) -> Result<bool> {
    let output = command().args(line.split_whitespace()).output()?;
    if output.status.success() {
        return Ok(true);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("Unknown device type") {
        vipd_tests::skip(format_args!("no such interfaces in this kernel: ip {line}"));
        return Ok(false);
    }
    bail!("ip {line}: {error}")
}
