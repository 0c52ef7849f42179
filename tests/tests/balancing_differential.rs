//! Load balancing beside Debian's keepalived: two directors with the same file, one of each, check the same servers. After each step the kernel's
//! tables are compared with each other and with what keepalived's manual says, and at the end the lines of the FIFOs.
//!
//! Needs IPVS in the kernel: `cargo xtask guest --kernel debian-12 balancing_differential`.

mod support;

use std::fs;

use anyhow::{Context, Result, ensure};
use support::{
    web::{WebServer, has_ipvs, table},
    *,
};
use vipd_tests::{Daemon, Lab, Node, find_program, skip, wait_for};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Both directors start.
    Start,
    /// A server refuses connections.
    Off(&'static str),
    /// It takes them again.
    On(&'static str),
    /// The command of MISC_CHECK exits with this code.
    Exit(u8),
    /// Both read another configuration, in which this text is replaced by that.
    Replace(&'static str, &'static str),
    /// Both end.
    Stop,
}

use Step::{Exit, Off, On, Replace, Start, Stop};

/// A name, what stands in `virtual_server`, what stands in each `real_server`, and the servers in the table after each step.
type Row = (&'static str, &'static str, &'static str, &'static [(Step, &'static [&'static str])]);

const ONE: &str = "10.1.0.11:80 Masq 1";
const TWO: &str = "10.1.0.12:80 Masq 1";
const SORRY: &str = "10.1.0.13:80 Masq 1";
const ONE_AT_0: &str = "10.1.0.11:80 Masq 0";
const TWO_AT_0: &str = "10.1.0.12:80 Masq 0";
const SORRY_AT_0: &str = "10.1.0.13:80 Masq 0";

const CHECK: &str = "TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }";

const ROWS: &[Row] = &[
    (
        "removal, sorry server, quorum",
        "sorry_server 10.1.0.13 80",
        CHECK,
        &[
            (Start, &[ONE, TWO]),
            (Off("web1"), &[TWO]),
            (Off("web2"), &[SORRY]),
            (On("web1"), &[ONE]),
            (On("web2"), &[ONE, TWO]),
            (Stop, &[]),
        ],
    ),
    (
        "inhibit_on_failure, an inhibited sorry server",
        "inhibit_on_failure\n sorry_server 10.1.0.13 80\n sorry_server_inhibit",
        CHECK,
        &[
            (Start, &[ONE, TWO, SORRY_AT_0]),
            (Off("web1"), &[ONE_AT_0, TWO, SORRY_AT_0]),
            (Off("web2"), &[ONE_AT_0, TWO_AT_0, SORRY]),
            (On("web2"), &[ONE_AT_0, TWO, SORRY_AT_0]),
            (On("web1"), &[ONE, TWO, SORRY_AT_0]),
            (Stop, &[]),
        ],
    ),
    (
        "a quorum of two",
        "quorum 2\n sorry_server 10.1.0.13 80",
        CHECK,
        &[(Start, &[ONE, TWO]), (Off("web1"), &[SORRY]), (On("web1"), &[ONE, TWO]), (Stop, &[])],
    ),
    (
        "alpha: a server that has never answered does not enter",
        "alpha",
        CHECK,
        &[(Off("web1"), &[]), (Start, &[TWO]), (On("web1"), &[ONE, TWO]), (Stop, &[])],
    ),
    (
        "weights of misc_dynamic; not over a reload, at which keepalived 2.2.7 makes them 0 now and then",
        "",
        "weight 5\n MISC_CHECK {\n misc_path \"/bin/sh DIR/check\"\n misc_timeout 5\n misc_dynamic\n user root\n }",
        &[
            (Start, &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Exit(12), &["10.1.0.11:80 Masq 10", "10.1.0.12:80 Masq 10"]),
            (Exit(1), &[]),
            (Exit(0), &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Stop, &[]),
        ],
    ),
    (
        "reloads: weights, the scheduler, a server that is down meanwhile",
        "",
        "weight 5\n TCP_CHECK {\n connect_timeout 5\n retry 1\n delay_before_retry 1\n }",
        &[
            (Start, &["10.1.0.11:80 Masq 5", "10.1.0.12:80 Masq 5"]),
            (Replace("weight 5", "weight 7"), &["10.1.0.11:80 Masq 7", "10.1.0.12:80 Masq 7"]),
            (Replace("lb_algo rr", "lb_algo wrr"), &["10.1.0.11:80 Masq 7", "10.1.0.12:80 Masq 7"]),
            (Off("web1"), &["10.1.0.12:80 Masq 7"]),
            (Replace("weight 7", "weight 3"), &["10.1.0.12:80 Masq 3"]),
            (On("web1"), &["10.1.0.11:80 Masq 3", "10.1.0.12:80 Masq 3"]),
            (Stop, &[]),
        ],
    ),
];

const SERVERS: [(&str, &str); 2] = [("web1", "10.1.0.11:80"), ("web2", "10.1.0.12:80")];

/// What both directors run: lb01 keepalived, lb02 vipd.
struct Match {
    bed: Bed,
    servers: Vec<Option<WebServer>>,
    running: Option<(Daemon, Daemon)>,
    conf: String,
}

impl Match {
    fn new(lab: Lab, permit: Permit) -> Result<Self> {
        let mut this =
            Self { bed: Bed::of(lab, permit)?, servers: Vec::new(), running: None, conf: String::new() };
        for (name, _) in SERVERS {
            this.servers.push(None);
            this.serve(name, true)?;
        }
        Ok(this)
    }

    fn directors(&self) -> [&Node; 2] {
        [self.bed.lb01(), self.bed.lb02()]
    }

    fn serve(&mut self, name: &str, is_on: bool) -> Result<()> {
        let at = SERVERS.iter().position(|(known, _)| *known == name).context("no such server")?;
        self.servers[at] = None;
        if is_on {
            let node = self.bed.lab.node(name);
            self.servers[at] = Some(WebServer::start(node, SERVERS[at].1.parse()?, name)?);
        }
        Ok(())
    }

    /// The configuration for a node, whose files are its own.
    fn conf_for(&self, node: &Node) -> String {
        self.conf.replace("DIR", &node.dir().display().to_string())
    }

    fn play(&mut self, step: Step) -> Result<()> {
        match step {
            Start => {
                let [keepalived, vipd] = self.directors();
                let first = keepalived.start_keepalived_checkers(&self.conf_for(keepalived))?;
                vipd.write_vipd_conf(&self.conf_for(vipd))?;
                self.running = Some((first, self.bed.restart("lb02")?));
            }
            Off(name) => self.serve(name, false)?,
            On(name) => self.serve(name, true)?,
            Exit(code) => {
                for node in self.directors() {
                    fs::write(node.dir().join("check"), format!("exit {code}\n"))?;
                }
            }
            Replace(from, to) => {
                self.conf = self.conf.replace(from, to);
                let [keepalived, vipd] = self.directors();
                fs::write(keepalived.dir().join("keepalived.conf"), self.conf_for(keepalived))?;
                vipd.write_vipd_conf(&self.conf_for(vipd))?;
                let (first, second) = self.running.as_mut().context("nothing runs")?;
                first.sighup()?;
                second.sighup()?;
            }
            Stop => {
                let (mut first, mut second) = self.running.take().context("nothing runs")?;
                first.sigterm()?;
                second.sigterm()?;
                first.wait(SOON)?;
                second.wait(SOON)?;
            }
        }
        Ok(())
    }

    /// Waits until both tables are as expected.
    fn compare(&self, servers: &[&str]) -> Result<()> {
        let algorithm = if self.conf.contains("lb_algo wrr") { "wrr" } else { "rr" };
        let head = format!("TCP 10.0.0.3:80 {algorithm}");
        let is_over = self.running.is_none();
        let lines = servers.iter().map(|server| format!("  {server}"));
        let expect: Vec<String> = [head].into_iter().chain(lines).filter(|_| !is_over).collect();
        for (node, who) in self.directors().into_iter().zip(["keepalived", "vipd"]) {
            let is_so = || table(node).is_ok_and(|table| table == expect);
            wait_for(format_args!("{expect:?} of {who}"), SOON, is_so)
                .with_context(|| format!("{who} has {:?}", table(node)))?;
        }
        Ok(())
    }

    /// The lines that the reader of the FIFO has got, in order for each server and each service: which of two servers is checked first is chance.
    /// What is told twice counts once: after a reload keepalived tells the state of a service again.
    fn told(&self, node: &Node) -> Vec<String> {
        let text = fs::read_to_string(node.dir().join("told")).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line.rsplit_once(' ').map(|(about, _)| about.to_owned()));
        lines.dedup();
        lines
    }
}

fn conf_of(service: &str, server: &str) -> String {
    let servers: String = SERVERS
        .iter()
        .map(|(_, at)| format!(" real_server {} {{\n {server}\n }}\n", at.replace(':', " ")))
        .collect();
    format!(
        "global_defs {{\n script_user root\n lvs_notify_fifo DIR/fifo\n lvs_notify_fifo_script DIR/reader\n}}\n\
         virtual_server 10.0.0.3 80 {{\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol TCP\n {service}\n{servers}}}\n"
    )
}

#[test]
fn keepalived_and_vipd_agree() -> Result<()> {
    let nodes = |lab: vipd_tests::Builder| {
        let lab = lab.node("lb01", "10.0.0.5/24").link("10.1.0.5/24");
        let lab = lab.node("lb02", "10.0.0.6/24").link("10.1.0.6/24").node("client", "10.0.0.100/24");
        lab.node("web1", "10.77.0.1/24")
            .link("10.1.0.11/24")
            .node("web2", "10.77.0.2/24")
            .link("10.1.0.12/24")
    };
    let Some((lab, permit)) = lab(nodes)? else { return Ok(()) };
    if !has_ipvs() {
        return Ok(());
    }
    if find_program("keepalived").is_none() {
        skip("comparing with keepalived, which is not installed");
        return Ok(());
    }
    let mut game = Match::new(lab, permit)?;
    for (name, service, server, steps) in ROWS {
        game.conf = conf_of(service, server);
        for node in game.directors() {
            script(node, "reader", &format!("exec cat \"$1\" >>{}/told", node.dir().display()))?;
            fs::write(node.dir().join("told"), "")?;
        }
        game.play(Exit(0))?;
        for (step, servers) in *steps {
            game.play(*step).with_context(|| format!("{name}: {step:?}"))?;
            // Before the start there is nothing to compare.
            if game.running.is_some() || matches!(step, Stop) {
                game.compare(servers).with_context(|| format!("{name}: {step:?}"))?;
            }
        }
        let [keepalived, vipd] = game.directors().map(|node| game.told(node));
        println!("{name}: equal after {} steps; {} lines were told", steps.len(), vipd.len());
        ensure!(keepalived == vipd, "{name}: keepalived has told\n{keepalived:#?}\nvipd\n{vipd:#?}");
        for (name, _) in SERVERS {
            game.serve(name, true)?;
        }
    }
    Ok(())
}
