//! What a row is, and how it is played.

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use vipd_tests::{Daemon, Lab, Node, find_program, wait_for};

use crate::support::{
    backend::{Backend, Manner, Protocol},
    letters::MailSink,
    web::table,
    *,
};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Both directors start.
    Start,
    /// The programs of a server end.
    Off(&'static str),
    /// They run again, and are well.
    On(&'static str),
    Behave(&'static str, Manner),
    /// A server's cable is pulled.
    Cut(&'static str),
    /// It is plugged in.
    Mend(&'static str),
    /// The command of `MISC_CHECK` exits with this code.
    Exit(u8),
    /// It fails so many times for each server, then succeeds.
    Fails(u8),
    /// What stands in the file that is tracked.
    Track(&'static str),
    /// The directors have the VIP, or have it not: keepalived's on an interface, vipd's by its lease.
    Own(bool),
    /// Nothing happens, for longer than checks are apart.
    Still,
    /// Both read another configuration, in which this text is replaced by that.
    Replace(&'static str, &'static str),
    /// Both end.
    Stop,
}

pub struct Row {
    pub name: &'static str,
    /// Outside of the virtual server; in all texts DIR is the node's directory.
    pub global: &'static str,
    /// `virtual_server` and what follows it.
    pub head: &'static str,
    /// What stands in it, besides `delay_loop 1`.
    pub service: &'static str,
    /// What stands in each real server; SERVER is its name.
    pub server: &'static str,
    /// The port of the servers.
    pub port: u16,
    /// The services in the table.
    pub heads: &'static [&'static str],
    /// What happens, and the servers that each service has in both tables then.
    pub steps: &'static [(Step, &'static [&'static str])],
}

/// A virtual server of TCP as most rows have it.
pub const TCP: Row = Row {
    name: "",
    global: "",
    head: "10.0.0.3 80",
    service: "lb_algo rr\n lb_kind NAT\n protocol TCP",
    server: "",
    port: 80,
    heads: &["TCP 10.0.0.3:80 rr"],
    steps: &[],
};

/// One of UDP.
pub const UDP: Row = Row { service: "lb_algo rr\n lb_kind NAT\n protocol UDP", ..TCP };

/// Where rows of HTTPS are served.
pub const TLS_PORT: u16 = 443;
/// Of each director itself.
const MAIL_SERVER: &str = "127.0.0.1:2525";
/// What a page of a server that is well has.
const WELL: &str = "ok, all is well";
const SERVERS: [(&str, &str); 2] = [("web1", "10.1.0.11"), ("web2", "10.1.0.12")];
const PROTOCOLS: [(u16, Protocol); 4] =
    [(80, Protocol::Http), (25, Protocol::Smtp), (53, Protocol::Dns), (7, Protocol::Echo)];

/// What both directors run: lb01 keepalived, lb02 vipd.
pub struct Match {
    bed: Bed,
    servers: [Vec<Backend>; 2],
    running: Option<(Daemon, Daemon)>,
    /// Servers of HTTPS.
    secure: [Option<Daemon>; 2],
    /// They write the mail down.
    _letters: Vec<MailSink>,
    /// They read the FIFOs, whoever has them open.
    readers: Vec<Daemon>,
    conf: String,
}

impl Match {
    pub fn new(lab: Lab, permit: Permit) -> Result<Self> {
        let bed = Bed::of(lab, permit)?;
        let mut this = Self {
            bed,
            servers: [Vec::new(), Vec::new()],
            running: None,
            secure: [None, None],
            _letters: Vec::new(),
            readers: Vec::new(),
            conf: String::new(),
        };
        for node in this.directors() {
            mkfifo(&node.dir().join("fifo"), Mode::from_bits_truncate(0o600))?;
        }
        for node in ["lb01", "lb02"] {
            let node = this.bed.lab.node(node);
            let dir = node.dir().display().to_string();
            // Open for writing too: so its end is not that of the last writer.
            let mut command = node.command("bash");
            command.args(["-c", &format!("exec 3<>{dir}/fifo; exec cat <&3 >>{dir}/told")]);
            this.readers.push(Daemon::start("the reader", &mut command, &node.dir().join("reader.log"))?);
            this._letters.push(MailSink::start(node, MAIL_SERVER.parse()?, node.dir().join("told"))?);
            // For the VIP on `lo`, where it is nobody's on the wire.
            node.ns().sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        }
        if find_program("openssl").is_some() {
            for (name, _) in SERVERS {
                this.bed.lab.node(name).exec(&["bash", "-c", &this.certificate_of(name)])?;
            }
        }
        this.reset()?;
        Ok(this)
    }

    fn directors(&self) -> [&Node; 2] {
        [self.bed.lb01(), self.bed.lb02()]
    }

    /// Both servers are well, nothing runs, nothing was told.
    pub fn reset(&mut self) -> Result<()> {
        self.running = None;
        // Verdicts of a row that has failed.
        let _ = fs::remove_file(self.bed.lb02().runtime_dir().join("services.json"));
        for (name, _) in SERVERS {
            self.bed.lab.node(name).exec(&["ip", "link", "set", "eth1", "up"])?;
            self.serve(name, true)?;
        }
        for node in self.directors() {
            // What a row that has failed has left.
            node.exec(&["ipvsadm", "--clear"])?;
            for name in ["told", "track"] {
                fs::write(node.dir().join(name), "")?;
            }
            script(node, "note", &format!("echo \"script $*\" >>{}/told", node.dir().display()))?;
        }
        // It may have none.
        let _ = self.own(false);
        self.play(Step::Exit(0))
    }

    fn certificate_of(&self, name: &str) -> String {
        let dir = self.bed.lab.node(name).dir().display().to_string();
        format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN={name} -keyout {dir}/key -out {dir}/certificate 2>/dev/null"
        )
    }

    /// What `vrrp_instance` of a row has vipd do, an address has keepalived do.
    fn own(&self, is_owner: bool) -> Result<()> {
        let [keepalived, vipd] = self.directors();
        fs::write(vipd.dir().join("own"), if is_owner { "0" } else { "1" })?;
        let verb = if is_owner { "add" } else { "del" };
        keepalived.exec(&["ip", "address", verb, "10.0.0.3/32", "dev", "lo"])?;
        Ok(())
    }

    /// The page of HTTPS.
    fn page(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.bed.lab.node(name).dir().join("test.html"), text)?)
    }

    fn serve(&mut self, name: &str, is_on: bool) -> Result<()> {
        let at = Self::at(name)?;
        self.servers[at].clear();
        self.secure[at] = None;
        self.page(name, WELL)?;
        if is_on {
            let node = self.bed.lab.node(name);
            if find_program("openssl").is_some() {
                let mut command = node.command("openssl");
                let to = format!("{}:{TLS_PORT}", SERVERS[at].1);
                command.args([
                    "s_server",
                    "-accept",
                    &to,
                    "-cert",
                    "certificate",
                    "-key",
                    "key",
                    "-WWW",
                    "-quiet",
                ]);
                command.current_dir(node.dir());
                self.secure[at] =
                    Some(Daemon::start("a server of HTTPS", &mut command, &node.dir().join("https.log"))?);
            }
            for (port, protocol) in PROTOCOLS {
                let address = format!("{}:{port}", SERVERS[at].1).parse()?;
                self.servers[at].push(Backend::speak(protocol, node, address, name)?);
            }
        }
        Ok(())
    }

    fn at(name: &str) -> Result<usize> {
        SERVERS.iter().position(|(known, _)| *known == name).context("no such server")
    }

    /// The configuration for a node, whose files are its own.
    fn conf_for(&self, node: &Node) -> String {
        self.conf.replace("DIR", &node.dir().display().to_string())
    }

    /// Plays a row to its end; how many lines were told.
    pub fn play_row(&mut self, row: &Row) -> Result<usize> {
        self.conf = conf_of(row);
        for (step, servers) in row.steps {
            self.play(*step).with_context(|| format!("{step:?}"))?;
            // Before the start there is nothing to compare.
            if self.running.is_some() || matches!(step, Step::Stop) {
                self.compare(row, servers).with_context(|| format!("{step:?}"))?;
            }
        }
        Ok(self.told(self.bed.lb02()).len())
    }

    fn play(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Start => {
                let [keepalived, vipd] = self.directors();
                let first = keepalived.start_keepalived_checkers(&self.conf_for(keepalived))?;
                vipd.write_vipd_conf(&self.conf_for(vipd))?;
                self.running = Some((first, self.bed.restart("lb02")?));
            }
            Step::Off(name) => self.serve(name, false)?,
            Step::On(name) => self.serve(name, true)?,
            Step::Behave(name, manner) => {
                self.servers[Self::at(name)?].iter().for_each(|server| server.behave(manner));
                self.page(name, if manner == Manner::Well { WELL } else { "something else" })?;
            }
            Step::Cut(name) => _ = self.bed.lab.node(name).exec(&["ip", "link", "set", "eth1", "down"])?,
            Step::Mend(name) => _ = self.bed.lab.node(name).exec(&["ip", "link", "set", "eth1", "up"])?,
            Step::Exit(code) => {
                for node in self.directors() {
                    script(node, "check", &format!("exit {code}"))?;
                }
            }
            Step::Fails(times) => {
                for node in self.directors() {
                    for (name, _) in SERVERS {
                        fs::write(node.dir().join(name), times.to_string())?;
                    }
                    let count = format!("left=$(cat {}/$1)\n[ $left = 0 ] && exit 0\n", node.dir().display());
                    let less = format!("echo $((left - 1)) >{}/$1\nexit 1", node.dir().display());
                    script(node, "check", &(count + &less))?;
                }
                // Until all failures have been seen.
                let left = |node: &Node, name: &str| fs::read_to_string(node.dir().join(name));
                let is_over = || {
                    self.directors().iter().all(|node| {
                        SERVERS.iter().all(|(name, _)| left(node, name).is_ok_and(|left| left.trim() == "0"))
                    })
                };
                wait_for("the failures", SOON, is_over)?;
            }
            Step::Track(value) => {
                for node in self.directors() {
                    fs::write(node.dir().join("track"), value)?;
                }
            }
            Step::Own(is_owner) => self.own(is_owner)?,
            Step::Still => sleep(Duration::from_secs(5)),
            Step::Replace(from, to) => self.replace(from, to)?,
            Step::Stop => {
                let (mut first, mut second) = self.running.take().context("nothing runs")?;
                first.sigterm()?;
                second.sigterm()?;
                first.wait(SOON)?;
                second.wait(SOON)?;
            }
        }
        Ok(())
    }

    fn replace(&mut self, from: &str, to: &str) -> Result<()> {
        ensure!(self.conf.contains(from), "{from} is not in the file");
        self.conf = self.conf.replace(from, to);
        let [keepalived, vipd] = self.directors();
        fs::write(keepalived.dir().join("keepalived.conf"), self.conf_for(keepalived))?;
        vipd.write_vipd_conf(&self.conf_for(vipd))?;
        let (first, second) = self.running.as_mut().context("nothing runs")?;
        first.sighup()?;
        second.sighup()
    }

    /// Waits until both tables are as expected, and the same has been told by both.
    fn compare(&self, row: &Row, servers: &[&str]) -> Result<()> {
        let is_over = self.running.is_none();
        for node in self.directors() {
            let who = if node.name() == "lb01" { "keepalived" } else { "vipd" };
            let scheduler = |head: &str| {
                if self.conf.contains("lb_algo wrr") { head.replace(" rr", " wrr") } else { head.to_owned() }
            };
            let lines = |head: &&str| {
                let servers = servers.iter().map(|server| format!("  {server}"));
                [scheduler(head)].into_iter().chain(servers).collect::<Vec<_>>()
            };
            let expect: Vec<String> = row.heads.iter().flat_map(lines).filter(|_| !is_over).collect();
            let is_so = || table(node).is_ok_and(|table| table == expect);
            wait_for(format_args!("{expect:?} of {who}"), SOON, is_so)
                .with_context(|| format!("{who} has {:?}", table(node)))?;
        }
        let told = || self.directors().map(|node| self.told(node));
        let is_same = || {
            let [first, second] = told();
            first == second
        };
        wait_for("the same lines", SOON / 3, is_same).with_context(|| {
            let [keepalived, vipd] = told();
            format!("keepalived has told {keepalived:?}, vipd {vipd:?}")
        })?;
        Ok(())
    }

    /// What the reader of the FIFO has got and scripts have written, in order for each subject: which of two servers is checked first is
    /// chance. What is told twice counts once: after a reload keepalived tells the state of a service again.
    fn told(&self, node: &Node) -> Vec<String> {
        let text = fs::read_to_string(node.dir().join("told")).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line.rsplit_once(' ').map(|(about, _)| about.to_owned()));
        lines.dedup();
        lines
    }
}

fn conf_of(row: &Row) -> String {
    let Row { global, head, service, server, port, .. } = row;
    let servers: String = SERVERS
        .iter()
        .map(|(name, at)| format!(" real_server {at} {port} {{\n {}\n }}\n", server.replace("SERVER", name)))
        .collect();
    format!(
        "global_defs {{\n script_user root\n lvs_notify_fifo DIR/fifo\n}}\n{global}\n\
         virtual_server {head} {{\n delay_loop 1\n {service}\n{servers}}}\n"
    )
}
