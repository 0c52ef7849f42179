//! What split brains come from, played through with vipd: who answers for the VIP on each side, and for how long two
//! nodes do. Each row is a test of its own, in which vipd is held to what the row says.
//!
//! `cargo xtask test --all --output beside_keepalived` plays the rows with vipd and, at the same time in a lab of its own,
//! with keepalived, and prints the table.
//!
//! ```text
//!   left, gw === lb01 ===== lb02 === right      ===  the main line (eth0)
//!                  +---------+                  ---  the second line (eth1), of lb01 and lb02 alone
//! ```

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{
    Block, Daemon, Lab, Mac,
    probe::{ArpProber, Sniffer, neighbour::Probe},
};

/// One thing that happens to a pair.
#[derive(Debug, Clone, Copy)]
struct Row {
    what: &'static str,
    /// Further lines of vipd's instances, and blocks before them. keepalived knows neither.
    instance: &'static str,
    blocks: &'static str,
    strike: fn(&mut Stage) -> Result<()>,
    vipd: Held,
}

/// What a row holds vipd to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// lb01 alone answers, all the time.
    Unmoved,
    /// Two answer only until an advert of the new owner has reached the old one.
    OneAtATime,
    /// Nothing can be done: two owners show that this test sees them.
    Two,
}
use Held::{OneAtATime, Two, Unmoved};

const SECOND_LINE: &str = "heartbeat_interface {\n        eth1\n    }";

/// A node that is cut off from the gateway, which the other still has, is in FAULT.
const ARBITER: &str =
    "arbiter gw {\n    ping 10.0.0.254\n    interval 0.5\n    timeout 0.5\n    fall 2\n    rise 1\n}\n";
const TRACK: &str = "track_arbiter {\n        gw\n    }";

/// A test of vipd for each row, and all of them in `ROWS`.
macro_rules! rows {
    ($($test:ident: $what:literal, $instance:expr, $blocks:expr, $held:ident, $strike:expr;)*) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                let row = ROWS.iter().find(|row| row.what == $what).context("no such row")?;
                let Some(seen) = seen(Kind::Vipd, row, Watch::Event)? else { return Ok(()) };
                println!("{HEAD}{}", seen.line(row.what, "vipd"));
                seen.check(row.vipd)
            }
        )*

        const ROWS: &[Row] = &[
            $(Row { what: $what, instance: $instance, blocks: $blocks, strike: $strike, vipd: $held },)*
        ];
    };
}

rows! {
    main_line_cut: "main line cut", "", "", Two, |stage| stage.cut("eth0");
    main_line_cut_with_a_second: "main line cut, second line", SECOND_LINE, "", Unmoved, |stage| stage.cut("eth0");
    second_line_cut: "second line cut", SECOND_LINE, "", Unmoved, |stage| stage.cut("eth1");
    both_lines_cut: "both lines cut", SECOND_LINE, "", Two, |stage| {
        stage.cut("eth0")?;
        stage.cut("eth1")
    };
    backup_is_deaf: "lb02 does not hear lb01", "", "", Two, |stage| {
        stage.lab.block_on("eth0", "lb01", "lb02", Block::All)
    };
    backup_is_deaf_with_a_second_line: "lb02 does not hear lb01, second line", SECOND_LINE, "", Unmoved, |stage| {
        stage.lab.block_on("eth0", "lb01", "lb02", Block::All)
    };
    master_is_deaf: "lb01 does not hear lb02", "", "", Unmoved, |stage| {
        stage.lab.block_on("eth0", "lb02", "lb01", Block::All)
    };
    master_has_lost_the_gateway: "lb01 has lost the gateway", "", "", Unmoved, |stage| {
        stage.lab.partition(&["lb01"], &["gw"])
    };
    daemon_stopped: "lb01's daemon stopped (SIGSTOP)", "", "", OneAtATime, |stage| stage.daemons[0].sigstop();
    machine_frozen: "lb01 frozen: daemon and cables", "", "", OneAtATime, |stage| {
        stage.lab.partition(&["lb01"], &["lb02", "left", "right", "gw"])?;
        stage.daemons[0].sigstop()
    };
    gateway_with_the_master: "arbiter, both lines cut, gateway with lb01", TRACK, ARBITER, Unmoved, |stage| {
        stage.cut("eth0")?;
        stage.cut("eth1")
    };
    gateway_with_the_backup: "arbiter, both lines cut, gateway with lb02", TRACK, ARBITER, OneAtATime, |stage| {
        stage.lab.partition(&["lb01", "left"], &["lb02", "right", "gw"])
    };
    gateway_lost_with_an_arbiter: "arbiter, lb01 has lost the gateway", TRACK, ARBITER, OneAtATime, |stage| {
        stage.lab.partition(&["lb01"], &["gw"])
    };
}

#[test]
#[ignore = "long tier: keepalived's side is for people to compare with"]
fn beside_keepalived() -> Result<()> {
    let mut table = HEAD.to_owned();
    for row in ROWS {
        let (vipd, keepalived) = thread::scope(|scope| {
            let beside = scope.spawn(|| seen(Kind::Keepalived, row, Watch::Span));
            (seen(Kind::Vipd, row, Watch::Span), beside.join().expect("keepalived's side does not panic"))
        });
        let (Some(vipd), Some(keepalived)) = (vipd?, keepalived?) else { return Ok(()) };
        table += &vipd.line(row.what, "vipd");
        table += &keepalived.line("", "keepalived");
        vipd.check(row.vipd).context(row.what)?;
        // Where there are two owners of vipd nothing can be done; keepalived shows that it is not vipd's doing.
        if row.vipd == Two {
            keepalived.check(Two).with_context(|| format!("{}, keepalived", row.what))?;
        }
    }
    println!("{table}");
    Ok(())
}

/// Plays a row with a daemon; `None` where labs are impossible.
fn seen(daemon: Kind, row: &Row, watch: Watch) -> Result<Option<Seen>> {
    let Some(stage) = Stage::set(daemon, row)? else { return Ok(None) };
    stage.play(row, watch).map(Some).with_context(|| format!("{}, {daemon:?}", row.what))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vipd,
    Keepalived,
}

/// How long a row is watched before it is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// As long as it takes to see what vipd is held to.
    Event,
    /// [`HELD`], whatever happens: lengths of time can be compared.
    Span,
}

/// A lab with two daemons of one kind: lb01 owns the VIP.
struct Stage {
    /// Those of lb01 and lb02.
    daemons: [Daemon; 2],
    probers: [ArpProber; 2],
    /// Adverts as the right and the left client hear them.
    wires: [Sniffer; 2],
    lab: Lab,
    _permit: Permit,
}

impl Stage {
    fn set(kind: Kind, row: &Row) -> Result<Option<Self>> {
        let Some((lab, permit)) = lab(|lab| {
            let lab = lab.node("lb01", "10.0.0.5/24").link("10.9.0.5/24");
            let lab = lab.node("lb02", "10.0.0.6/24").link("10.9.0.6/24");
            lab.node("left", "10.0.0.101/24").node("right", "10.0.0.102/24").node("gw", "10.0.0.254/24")
        })?
        else {
            return Ok(None);
        };
        let probers = [prober(&lab, "left")?, prober(&lab, "right")?];
        let wires = [lab.sniff_port("right")?, lab.sniff_port("left")?];
        let start = |name: &str, priority| {
            let node = lab.node(name);
            let conf = |instance| node_conf(priority, instance).replace("advert_int 0.3", "advert_int 1");
            match kind {
                Kind::Vipd => {
                    node.write_vipd_conf(&(row.blocks.to_owned() + &conf(row.instance)))?;
                    node.start_vipd(&vipd_tests::vipd_bin()?)
                }
                Kind::Keepalived => node.start_keepalived(&conf("")),
            }
        };
        let daemons = [start("lb01", HIGH)?, start("lb02", LOW)?];
        let stage = Self { daemons, probers, wires, lab, _permit: permit };
        stage.settle().with_context(|| stage.logs())?;
        Ok(Some(stage))
    }

    /// Waits until lb01 alone has answered, and advertised, for a while.
    fn settle(&self) -> Result<()> {
        let lb01 = self.lab.node("lb01").mac();
        vipd_tests::wait_for("lb01 to own the VIP", SOON, || {
            let since = Instant::now() - CALM;
            let probes: Vec<Probe> = self.probers.iter().flat_map(ArpProber::timeline).collect();
            let recent = || probes.iter().filter(|probe| probe.sent > since);
            let alone = recent().flat_map(|probe| &probe.answers).all(|answer| answer.mac == lb01);
            let first = probes.iter().flat_map(|probe| &probe.answers).map(|answer| answer.at).min();
            alone && first.is_some_and(|first| first < since) && recent().any(|p| !p.answers.is_empty())
        })
        .map(drop)
    }

    /// Cuts a line in the middle. The gateway is on lb01's side.
    fn cut(&self, ifname: &str) -> Result<()> {
        match ifname {
            "eth0" => self.lab.partition_on("eth0", &["lb01", "left", "gw"], &["lb02", "right"]),
            other => self.lab.partition_on(other, &["lb01"], &["lb02"]),
        }
    }

    fn play(mut self, row: &Row, watch: Watch) -> Result<Seen> {
        let struck = Instant::now();
        (row.strike)(&mut self)?;
        if watch == Watch::Event && row.vipd != Unmoved {
            let lb02 = self.lab.node("lb02").mac();
            let taken_over = || self.probers.iter().any(|p| p.first_answer_by(lb02, struck).is_some());
            vipd_tests::wait_for("lb02 to answer", SOON, taken_over).with_context(|| self.logs())?;
            sleep(MORE);
        } else {
            sleep(HELD);
        }
        let healed = Instant::now();
        self.lab.unblock_all()?;
        self.daemons[0].sigcont()?;
        self.settle().with_context(|| self.logs())?;
        let end = Instant::now();
        let logs = self.logs();
        let mut probes = Vec::new();
        for prober in self.probers {
            probes.extend(prober.stop()?);
        }
        let takeovers = self.wires.iter().flat_map(takeovers).collect();
        let of = |name| Spans::of(&probes, self.lab.node(name).mac(), struck, end);
        Ok(Seen { lb01: of("lb01"), lb02: of("lb02"), takeovers, struck, healed, end, logs })
    }

    fn logs(&self) -> String {
        let [one, two] = self.daemons.each_ref().map(Daemon::log);
        format!("--- lb01\n{one}--- lb02\n{two}")
    }
}

fn prober(lab: &Lab, name: &str) -> Result<ArpProber> {
    ArpProber::start(lab.node(name).ns(), "eth0", &[VIP], PROBE_PERIOD * 2)
}

/// What was seen of a row.
struct Seen {
    lb01: Spans,
    lb02: Spans,
    takeovers: Vec<Instant>,
    struck: Instant,
    healed: Instant,
    end: Instant,
    logs: String,
}

impl Seen {
    fn line(&self, what: &str, daemon: &str) -> String {
        let ms = |spans: &Spans| spans.length().as_millis();
        let two = self.lb01.and(&self.lb02);
        let none = Spans(vec![(self.struck, self.end)]).without(&self.lb01).without(&self.lb02);
        format!("{what:<42} {daemon:<10} {:>8} {:>8}  {}\n", ms(&two), ms(&none), self.picture())
    }

    /// Who answered, step by step.
    fn picture(&self) -> String {
        let mut picture = String::new();
        let mut at = self.struck;
        let mut healed = false;
        while at + STEP <= self.end {
            if at >= self.healed && !std::mem::replace(&mut healed, true) {
                picture.push('/');
            }
            let step = Spans(vec![(at, at + STEP)]);
            let owns = |owner: &Spans| owner.and(&step).length() * 2 > STEP;
            picture.push(match (owns(&self.lb01), owns(&self.lb02)) {
                (true, false) => '1',
                (false, true) => '2',
                (true, true) => 'B',
                (false, false) => '-',
            });
            at += STEP;
        }
        picture
    }

    fn check(&self, held: Held) -> Result<()> {
        let two = self.lb01.and(&self.lb02);
        // Where a takeover is under way its advert may not have arrived.
        let near = |at: &Instant| (*at - NEAR, *at + NEAR);
        let beyond = two.without(&Spans(self.takeovers.iter().map(near).collect()));
        let logs = || self.logs.clone();
        match held {
            Unmoved => {
                ensure!(self.lb02.0.is_empty(), "lb02 answered, for {:?}:\n{}", self.lb02.length(), logs());
                ensure!(!self.lb01.0.is_empty(), "nobody answered:\n{}", logs());
            }
            OneAtATime => {
                ensure!(beyond.0.is_empty(), "two owners for {:?}:\n{}", beyond.length(), logs());
                ensure!(!self.lb02.0.is_empty(), "lb02 has never taken over:\n{}", logs());
            }
            Two => ensure!(beyond.length() > INTERVAL, "no two owners were seen:\n{}", logs()),
        }
        Ok(())
    }
}

/// Times, in order and apart from each other.
#[derive(Debug, Clone)]
struct Spans(Vec<(Instant, Instant)>);

impl Spans {
    /// When a station has answered, whoever asked.
    fn of(probes: &[Probe], mac: Mac, from: Instant, to: Instant) -> Self {
        let answers = probes.iter().flat_map(|probe| &probe.answers).filter(|answer| answer.mac == mac);
        let mut times: Vec<Instant> =
            answers.map(|answer| answer.at).filter(|at| from <= *at && *at < to).collect();
        times.sort();
        let mut spans: Vec<(Instant, Instant)> = Vec::new();
        for at in times {
            match spans.last_mut() {
                Some((_, until)) if at <= *until + JOINED => *until = at,
                _ => spans.push((at, at)),
            }
        }
        Self(spans)
    }

    fn length(&self) -> Duration {
        self.0.iter().map(|(from, to)| *to - *from).sum()
    }

    fn and(&self, other: &Self) -> Self {
        let both = self.0.iter().flat_map(|(from, to)| {
            other.0.iter().map(|(other_from, other_to)| (*from.max(other_from), *to.min(other_to)))
        });
        Self(both.filter(|(from, to)| from < to).collect())
    }

    fn without(&self, other: &Self) -> Self {
        let mut left = self.0.clone();
        for (cut_from, cut_to) in &other.0 {
            let pieces = left.iter().flat_map(|(from, to)| {
                [(*from, *to.min(cut_from)), (*from.max(cut_to), *to)].into_iter().filter(|(a, b)| a < b)
            });
            left = pieces.collect();
        }
        Self(left)
    }
}

const HEAD: &str = concat!(
    "                                                      two, ms none, ms  ",
    "who answers, 250 ms a sign: 1 lb01, 2 lb02, B both, - none; / healed\n"
);
/// Adverts each second: lb02 would take over in less than 3.5 of them.
const HELD: Duration = Duration::from_secs(8);
/// How long a takeover is watched.
const MORE: Duration = Duration::from_secs(2);
/// How long it has to be quiet before a row begins.
const CALM: Duration = Duration::from_secs(2);
/// Two answers that are not farther apart are of one ownership: a busy machine may keep a prober from asking.
const JOINED: Duration = Duration::from_millis(100);
/// Farthest from a takeover that two answers may be its.
const NEAR: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(250);
