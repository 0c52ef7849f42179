//! The configuration that `vipd import` makes of a file of ldirectord, beside Debian's ldirectord with that file: two directors check the same
//! servers. After each step the kernel's tables are compared with each other and with what is expected of each.
//!
//! Needs IPVS in the kernel, and ldirectord: `cargo xtask guest --kernel debian-12 balancing_ldirectord`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::{
    backend::{Backend, Manner},
    web::{has_ipvs, table},
    *,
};
use vipd_tests::{Builder, Daemon, Lab, Node, find_program, skip, wait_for};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Both directors start.
    Start,
    /// A server refuses connections.
    Off(&'static str),
    /// It takes them again, and is well.
    On(&'static str),
    Behave(&'static str, Manner),
    /// The command of a check ends with this code for the first server.
    Exit(u8),
    /// It fails so many times for the first server, then succeeds; whether that server leaves the tables for a while.
    Fails {
        times: u8,
        leaves: bool,
    },
    /// Both read another configuration, in which this text is replaced by that.
    Replace(&'static str, &'static str),
    /// Both end.
    Stop,
}

use Step::{Behave, Exit, Fails, Off, On, Replace, Start, Stop};

/// What the tables have after a step, without the line of the service.
#[derive(Clone, Copy, Debug)]
enum Tables {
    Same(&'static [&'static str]),
    /// There is no service any more.
    Gone,
}

use Tables::{Gone, Same};

/// A name, lines of the file, lines of the service, that of the service in the table, and the steps.
struct Row {
    name: &'static str,
    global: &'static str,
    service: &'static str,
    head: &'static str,
    steps: &'static [(Step, Tables)],
}

const ONE: &str = "10.1.0.11:80 Masq 1";
const TWO: &str = "10.1.0.12:80 Masq 1";
const ONE_AT_0: &str = "10.1.0.11:80 Masq 0";
const TWO_AT_0: &str = "10.1.0.12:80 Masq 0";
const FALLBACK: &str = "10.1.0.13:80 Masq 1";

const HTTP: &str = "service=http\nrequest=\"test.html\"\nreceive=\"ok\"\nscheduler=rr\nchecktype=negotiate";
const FALLBACK_LINE: &str = "fallback=10.1.0.13:80 masq";

const ROWS: &[Row] = &[
    Row {
        name: "document 004: quiescent",
        global: "quiescent=yes",
        service: HTTP,
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Off("web1"), Same(&[ONE_AT_0, TWO])),
            (On("web1"), Same(&[ONE, TWO])),
            (Behave("web2", Manner::Failing), Same(&[ONE, TWO_AT_0])),
            (Behave("web1", Manner::Garbled), Same(&[ONE_AT_0, TWO_AT_0])),
            (Behave("web1", Manner::Well), Same(&[ONE, TWO_AT_0])),
            (Behave("web2", Manner::Well), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "quiescent, with a fallback",
        global: "quiescent=yes",
        service: "service=http\nrequest=\"test.html\"\nreceive=\"ok\"\nscheduler=rr\nfallback=10.1.0.13:80 masq",
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Off("web1"), Same(&[ONE_AT_0, TWO])),
            (Off("web2"), Same(&[ONE_AT_0, TWO_AT_0, FALLBACK])),
            (On("web2"), Same(&[ONE_AT_0, TWO])),
            (On("web1"), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "not quiescent, with a fallback",
        global: FALLBACK_LINE,
        service: HTTP,
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Off("web1"), Same(&[TWO])),
            (Behave("web2", Manner::Failing), Same(&[FALLBACK])),
            (On("web1"), Same(&[ONE])),
            (Behave("web2", Manner::Well), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "a server that hangs",
        global: "quiescent=no",
        service: HTTP,
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Behave("web1", Manner::Hung), Same(&[TWO])),
            (Behave("web1", Manner::Well), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "all are down before the start",
        global: FALLBACK_LINE,
        service: HTTP,
        head: "rr",
        steps: &[
            (Off("web1"), Gone),
            (Off("web2"), Gone),
            (Start, Same(&[FALLBACK])),
            (On("web2"), Same(&[TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "connect: a server that answers wrongly is up, one that refuses is not",
        global: "quiescent=no",
        service: "scheduler=wlc\nchecktype=connect",
        head: "wlc",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Behave("web1", Manner::Failing), Same(&[ONE, TWO])),
            (Off("web1"), Same(&[TWO])),
            (Off("web2"), Same(&[])),
            (On("web1"), Same(&[ONE])),
            (On("web2"), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "failurecount: the third failure counts, two change nothing",
        global: "quiescent=no\nfailurecount=3",
        service: "scheduler=rr\nchecktype=external\ncheckcommand=DIR/check",
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Fails { times: 2, leaves: false }, Same(&[ONE, TWO])),
            (Fails { times: 3, leaves: true }, Same(&[ONE, TWO])),
            (Exit(1), Same(&[TWO])),
            (Exit(0), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "ping: whose port is closed is up",
        global: "quiescent=no\ncheckcount=2",
        service: "scheduler=wrr\nchecktype=ping",
        head: "wrr",
        steps: &[
            (Off("web1"), Gone),
            (Start, Same(&[ONE, TWO])),
            (Off("web2"), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "a command",
        global: "quiescent=no",
        service: "scheduler=rr\nchecktype=external\ncheckcommand=DIR/check",
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Exit(1), Same(&[TWO])),
            (Exit(0), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "persistence",
        global: "quiescent=yes",
        service: "service=http\nscheduler=rr\npersistent=600\nnetmask=255.255.255.0",
        head: "rr persistent TICKS FFFFFF00",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Off("web1"), Same(&[ONE_AT_0, TWO])),
            (On("web1"), Same(&[ONE, TWO])),
            (Stop, Gone),
        ],
    },
    Row {
        name: "reload: a fallback, quiescent, a server's weight",
        global: "#fallback=10.1.0.13:80 masq\nquiescent=no",
        service: HTTP,
        head: "rr",
        steps: &[
            (Start, Same(&[ONE, TWO])),
            (Off("web1"), Same(&[TWO])),
            (Off("web2"), Same(&[])),
            (Replace("#fallback", "fallback"), Same(&[FALLBACK])),
            (Replace("10.1.0.12:80 masq", "10.1.0.12:80 masq 5"), Same(&[FALLBACK])),
            (On("web2"), Same(&["10.1.0.12:80 Masq 5"])),
            (Replace("quiescent=no", "quiescent=yes"), Same(&[ONE_AT_0, "10.1.0.12:80 Masq 5"])),
            (On("web1"), Same(&[ONE, "10.1.0.12:80 Masq 5"])),
            (Replace("10.1.0.12:80 masq 5", "10.1.0.12:80 masq 2"), Same(&[ONE, "10.1.0.12:80 Masq 2"])),
            (Stop, Gone),
        ],
    },
];

const SERVERS: [(&str, &str); 2] = [("web1", "10.1.0.11:80"), ("web2", "10.1.0.12:80")];
/// `checkinterval`.
const CHECK: Duration = Duration::from_secs(1);

/// What both directors run: lb01 ldirectord, lb02 vipd.
struct Match {
    bed: Bed,
    servers: Vec<Option<Backend>>,
    running: Option<(Daemon, Daemon)>,
    file: String,
}

impl Match {
    fn new(lab: Lab, permit: Permit) -> Result<Self> {
        let bed = Bed::of(lab, permit)?;
        let mut this = Self { bed, servers: vec![None, None], running: None, file: String::new() };
        for (name, _) in SERVERS {
            this.serve(name, true)?;
        }
        Ok(this)
    }

    fn directors(&self) -> [&Node; 2] {
        [self.bed.lb01(), self.bed.lb02()]
    }

    fn at(name: &str) -> Result<usize> {
        SERVERS.iter().position(|(known, _)| *known == name).context("no such server")
    }

    fn serve(&mut self, name: &str, is_on: bool) -> Result<()> {
        let at = Self::at(name)?;
        self.servers[at] = None;
        if is_on {
            let node = self.bed.lab.node(name);
            self.servers[at] = Some(Backend::start(node, SERVERS[at].1.parse()?, name)?);
        }
        Ok(())
    }

    /// The file as a node has it: with its directory, and at vipd's node imported.
    fn write(&self) -> Result<()> {
        let file_at = |node: &Node| -> Result<std::path::PathBuf> {
            let path = node.dir().join("ldirectord.cf");
            fs::write(&path, self.file.replace("DIR", &node.dir().display().to_string()))?;
            // A moment that ldirectord's look at the file cannot miss is not needed: it is sent SIGHUP.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(path)
        };
        let [ldirectord, vipd] = self.directors();
        file_at(ldirectord)?;
        let mut import = Command::new(&self.bed.vipd);
        let imported = import.arg("import").arg("--ldirectord").arg(file_at(vipd)?).output()?;
        let notes = String::from_utf8_lossy(&imported.stderr).into_owned();
        ensure!(imported.status.success(), "{notes}");
        let conf = String::from_utf8(imported.stdout)?;
        // Commands of checks run as root here, as ldirectord's do.
        vipd.write_vipd_conf(&conf.replacen("global_defs {", "global_defs {\n    script_user root", 1))
    }

    fn start(&mut self) -> Result<()> {
        self.write()?;
        let node = self.bed.lb01();
        let mut command = node.command("ldirectord");
        command.arg(node.dir().join("ldirectord.cf")).arg("start");
        let first = Daemon::start("ldirectord on lb01", &mut command, &node.dir().join("ldirectord.out"))?;
        self.running = Some((first, self.bed.restart("lb02")?));
        Ok(())
    }

    fn play(&mut self, step: Step) -> Result<()> {
        match step {
            Start => self.start()?,
            Off(name) => self.serve(name, false)?,
            On(name) => self.serve(name, true)?,
            Behave(name, manner) => {
                self.servers[Self::at(name)?].as_ref().context("the server is off")?.behave(manner);
            }
            Exit(code) => {
                for node in self.directors() {
                    script(node, "check", &format!("[ \"$3\" = 10.1.0.12 ] || exit {code}"))?;
                }
            }
            Fails { times, leaves } => self.fail(times, leaves)?,
            Replace(from, to) => {
                ensure!(self.file.contains(from), "{from} is not in the file");
                self.file = self.file.replace(from, to);
                self.write()?;
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

    /// Looks at the tables until all failures have been seen, and for some checks more.
    fn fail(&self, times: u8, leaves: bool) -> Result<()> {
        let tables = || self.directors().map(|node| table(node).unwrap_or_default());
        let before = tables();
        for node in self.directors() {
            let left = node.dir().join("left").display().to_string();
            fs::write(&left, times.to_string())?;
            let count =
                format!("[ \"$3\" = 10.1.0.12 ] && exit 0\nleft=$(cat {left})\n[ $left = 0 ] && exit 0\n");
            script(node, "check", &format!("{count}echo $((left - 1)) >{left}\nexit 1"))?;
        }
        let mut has_left = [false, false];
        let mut look = || {
            for (left, (now, before)) in has_left.iter_mut().zip(tables().iter().zip(&before)) {
                *left |= now != before;
            }
        };
        let is_seen =
            |node: &Node| fs::read_to_string(node.dir().join("left")).is_ok_and(|left| left.trim() == "0");
        wait_for("the failures", SOON, || {
            look();
            self.directors().into_iter().all(is_seen)
        })?;
        let end = Instant::now() + CHECK * 3;
        while Instant::now() < end {
            look();
            sleep(Duration::from_millis(20));
        }
        ensure!(has_left == [leaves; 2], "the server has left ldirectord and vipd: {has_left:?}");
        Ok(())
    }

    /// The time of persistence as vipd's table has it.
    fn ticks(&self) -> Option<String> {
        let persistent = || {
            let table = table(self.bed.lb02()).ok()?;
            let (_, tail) = table.first()?.split_once("persistent ")?;
            Some(tail.split(' ').next()?.to_owned())
        };
        let is_there = || table(self.bed.lb02()).is_ok_and(|table| !table.is_empty());
        wait_for("a service of vipd", SOON, is_there).ok()?;
        persistent()
    }

    /// Waits until both tables are as expected.
    fn compare(&self, head: &str, tables: Tables) -> Result<()> {
        let expect = match tables {
            Same(servers) => Some(servers),
            Gone => None,
        };
        let ticks = expect.and_then(|_| self.ticks());
        for node in self.directors() {
            let who = if node.name() == "lb01" { "ldirectord" } else { "vipd" };
            let mut lines: Vec<String> = Vec::new();
            if let Some(servers) = expect {
                // The time of persistence is in the kernel's ticks: what counts is that both have the same.
                let ticks = ticks.clone().unwrap_or_default();
                lines.push(format!("TCP 10.0.0.3:80 {}", head.replace("TICKS", &ticks)));
                lines.extend(servers.iter().map(|server| format!("  {server}")));
            }
            let is_so = || table(node).is_ok_and(|table| table == lines);
            wait_for(format_args!("{lines:?} of {who}"), SOON, is_so).with_context(|| {
                let said = fs::read_to_string(node.dir().join("ldirectord.log")).unwrap_or_default();
                format!("{who} has {:?}\n{said}", table(node))
            })?;
        }
        Ok(())
    }
}

fn file_of(row: &Row) -> String {
    let service: String = row.service.lines().map(|line| format!("        {line}\n")).collect();
    let servers: String = SERVERS.iter().map(|(_, at)| format!("        real={at} masq\n")).collect();
    format!(
        "checktimeout=2\nnegotiatetimeout=2\ncheckinterval=1\nsupervised=yes\nlogfile=\"DIR/ldirectord.log\"\n{}\n\
         virtual=10.0.0.3:80\n{servers}{service}        protocol=tcp\n",
        row.global
    )
}

#[test]
fn ldirectord_and_the_imported_configuration_agree() -> Result<()> {
    let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    let wanted = named_rows(ROWS, |row| row.name, &known)?;
    let nodes = |lab: Builder| {
        let lab = lab.node("lb01", "10.0.0.5/24").link("10.1.0.5/24");
        let lab = lab.node("lb02", "10.0.0.6/24").link("10.1.0.6/24").node("client", "10.0.0.100/24");
        let lab = lab.node("web1", "10.77.0.1/24").link("10.1.0.11/24");
        lab.node("web2", "10.77.0.2/24").link("10.1.0.12/24")
    };
    let Some((lab, permit)) = lab(nodes)? else { return Ok(()) };
    if !has_ipvs() {
        return Ok(());
    }
    if find_program("ldirectord").is_none() {
        skip("comparing with ldirectord, which is not installed");
        return Ok(());
    }
    let mut game = Match::new(lab, permit)?;
    for row in wanted {
        game.file = file_of(row);
        game.play(Exit(0))?;
        for (step, tables) in row.steps {
            let what = || format!("{}: {step:?}", row.name);
            game.play(*step).with_context(what)?;
            game.compare(row.head, *tables).with_context(what)?;
        }
        println!("{}: {} steps", row.name, row.steps.len());
        for (name, _) in SERVERS {
            game.serve(name, true)?;
        }
    }
    Ok(())
}
