//! How soon the death of a master is seen, at adverts of a second: with VRRP's timer alone, and with what each daemon has beside it.
//!
//! For each fault: the longest time in which nobody answers a client, for how long two nodes answer for the VIP, and for how long the client was
//! held up itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use vipd_tests::{Block, Lab, probe::NeighbourProber, wait_for};

use crate::{
    Options,
    ping::{Pinger, Seen},
    report::Report,
    routers::{self, Beside, Kind, PATIENCE, Router, Spec, VIP, vipd},
};

const PART: &str = "Detection";
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two echo requests.
const PERIOD: Duration = Duration::from_micros(500);
/// Between two questions who has the VIP.
const QUESTION: Duration = Duration::from_millis(1);
/// For how long a fault lasts and is watched: two down timers and a little.
const WATCH: Duration = Duration::from_secs(8);

/// Who is measured: a daemon, and what it has beside VRRP's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    Vipd,
    /// vipd, with probes every 10 ms.
    Probes,
    /// vipd, with probes every 3.3 ms.
    QuickProbes,
    /// vipd, with BFD.
    Bfd,
    Keepalived,
    KeepalivedBfd,
    Frr,
}

impl Contender {
    fn parts(self) -> (Kind, Beside) {
        match self {
            Self::Vipd => (Kind::Vipd, Beside::Nothing),
            Self::Probes => (Kind::Vipd, Beside::Probes),
            Self::QuickProbes => (Kind::Vipd, Beside::QuickProbes),
            Self::Bfd => (Kind::Vipd, Beside::Bfd),
            Self::Keepalived => (Kind::Keepalived, Beside::Nothing),
            Self::KeepalivedBfd => (Kind::Keepalived, Beside::Bfd),
            Self::Frr => (Kind::Frr, Beside::Nothing),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The cable of the master: it sees its carrier go.
    LinkCut,
    /// Nothing leaves or reaches the master's host any more, and nobody's carrier goes.
    HostDead,
    Killed,
    Frozen,
    /// The backup does not hear the master; everybody else does.
    CutToBackup,
    /// The master does not hear the backup.
    CutToMaster,
    /// The same, and the master's daemon is frozen.
    FrozenAndCut,
    /// Nothing leaves or reaches the backup's host any more.
    BackupDead,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::LinkCut => "link cut",
            Self::HostDead => "host dead",
            Self::Killed => "kill -9",
            Self::Frozen => "SIGSTOP",
            Self::CutToBackup => "master to backup cut",
            Self::CutToMaster => "backup to master cut",
            Self::FrozenAndCut => "SIGSTOP, and backup to master cut",
            Self::BackupDead => "backup dead",
        }
    }
}

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let contenders = match options.contenders.as_slice() {
        [] => Contender::value_variants(),
        named => named,
    };
    let faults = match options.faults.as_slice() {
        [] => Fault::value_variants(),
        named => named,
    };
    report.note(
        PART,
        format!("each fault lasts {} s; adverts every {} s", WATCH.as_secs(), INTERVAL.as_secs()),
    );
    for run in 0..options.runs {
        for i in 0..contenders.len() {
            // In turns, and not always the same first.
            let contender = contenders[(run + i) % contenders.len()];
            Stage::set(contender, options.routers)?.play(faults, report)?;
        }
    }
    Ok(())
}

struct Stage {
    name: String,
    kind: Kind,
    beside: Beside,
    specs: [Spec; 2],
    lab: Lab,
    /// `None` only in the moment of a restart.
    master: Option<Router>,
    backup: Router,
    /// Of the first router's VIP and of the last one's.
    pingers: Vec<Pinger>,
    prober: NeighbourProber,
}

impl Stage {
    fn set(contender: Contender, routers: u8) -> Result<Self> {
        let (kind, beside) = contender.parts();
        let lab = routers::lab()?;
        let peer = |name: &str| lab.node(name).ip().context("a node has an address");
        let vips: Vec<Ipv4Addr> =
            [VIP].into_iter().chain((2..=routers).map(|i| Ipv4Addr::new(10, 1, 0, i))).collect();
        let spec = |name| -> Result<Spec> {
            let vips = vips.iter().map(|vip| vec![(*vip).into()]).collect();
            Ok(Spec { beside: Some((beside, peer(name)?)), vips, ..Spec::single(INTERVAL) })
        };
        let specs = [spec("lb02")?, spec("lb01")?];
        let master = Router::start(lab.node("lb01"), kind, &specs[0], 150)?;
        master.wait(lab.node("lb01"), "MASTER")?;
        let backup = Router::start(lab.node("lb02"), kind, &specs[1], 100)?;
        let client = lab.node("client");
        let asked: BTreeSet<Ipv4Addr> = [vips[0], vips[vips.len() - 1]].into();
        let pingers = asked.iter().map(|vip| Pinger::start(client.ns(), *vip, PERIOD));
        let pingers = pingers.collect::<Result<_>>()?;
        let asked: Vec<Ipv4Addr> = asked.into_iter().collect();
        let prober = NeighbourProber::start(client.ns(), "eth0", &asked, QUESTION)?;
        let of = if routers > 1 { format!(", {routers} routers") } else { String::new() };
        let name = format!("{}{}{of}", kind.name(), beside.suffix());
        let stage = Self { name, kind, beside, specs, lab, master: Some(master), backup, pingers, prober };
        stage.settle()?;
        Ok(stage)
    }

    fn play(mut self, faults: &[Fault], report: &mut Report) -> Result<()> {
        for &fault in faults {
            let begin = Instant::now();
            self.strike(fault)?;
            thread::sleep(WATCH.saturating_sub(begin.elapsed()));
            let end = Instant::now() - Duration::from_millis(15);
            self.tell(report, fault, begin, end);
            self.heal(fault)?;
            self.settle()?;
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::LinkCut => self.lab.set_port("lb01", false),
            Fault::HostDead => self.lab.partition(&["lb01"], &["lb02", "client"]),
            Fault::Killed => self.master()?.daemon().kill9().map(drop),
            Fault::Frozen => self.master()?.signal(Signal::SIGSTOP),
            Fault::CutToBackup => self.lab.block("lb01", "lb02", Block::All),
            Fault::CutToMaster => self.lab.block("lb02", "lb01", Block::All),
            Fault::FrozenAndCut => {
                self.master()?.signal(Signal::SIGSTOP)?;
                self.lab.block("lb02", "lb01", Block::All)
            }
            Fault::BackupDead => self.lab.partition(&["lb02"], &["lb01", "client"]),
        }
    }

    fn heal(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::LinkCut => self.lab.set_port("lb01", true),
            Fault::HostDead | Fault::CutToBackup | Fault::CutToMaster | Fault::BackupDead => {
                self.lab.unblock_all()
            }
            Fault::FrozenAndCut => {
                self.master()?.signal(Signal::SIGCONT)?;
                self.lab.unblock_all()
            }
            Fault::Killed => {
                // What is left of the old one goes first.
                drop(self.master.take());
                let new = Router::start(self.lab.node("lb01"), self.kind, &self.specs[0], 150)?;
                self.master = Some(new);
                Ok(())
            }
            Fault::Frozen => self.master()?.signal(Signal::SIGCONT),
        }
    }

    fn master(&mut self) -> Result<&mut Router> {
        self.master.as_mut().context("between two lives")
    }

    /// Waits until lb01 is master, lb02 would take over from it, the client is served, and all timers have run.
    fn settle(&self) -> Result<()> {
        self.master.as_ref().context("between two lives")?.wait(self.lab.node("lb01"), "MASTER")?;
        wait_for("lb02 to watch lb01", PATIENCE, || self.is_watched())?;
        wait_for("the client to be served", PATIENCE, || {
            self.pingers.iter().all(|pinger| pinger.is_answered(100))
        })?;
        thread::sleep(INTERVAL * 3);
        Ok(())
    }

    /// Whether lb02 is a backup that sees lb01.
    fn is_watched(&self) -> bool {
        let node = self.lab.node("lb02");
        match self.beside {
            Beside::Nothing => self.backup.is(node, "BACKUP"),
            // As long as the session is up.
            Beside::Bfd => self.backup.is(node, "FAULT"),
            Beside::Probes | Beside::QuickProbes => vipd()
                .and_then(|vipd| node.status(&vipd))
                .is_ok_and(|status| status["probes"][0]["armed"] == true),
        }
    }

    fn tell(&self, report: &mut Report, fault: Fault, begin: Instant, end: Instant) {
        let seen = self.pingers.iter().map(|pinger| pinger.seen(begin, end, PERIOD));
        let seen: Vec<Seen> = seen.collect();
        let longest =
            |of: fn(&Seen) -> Duration| seen.iter().map(of).max().unwrap_or_default().as_secs_f64() * 1e3;
        let asked = self.prober.timeline();
        let during = asked.iter().filter(|probe| begin <= probe.sent && probe.sent < end);
        // Each VIP is asked for once in each period.
        let mut two = BTreeMap::new();
        for probe in during.filter(|probe| probe.owners().len() > 1) {
            *two.entry(probe.target).or_insert(0_u32) += 1;
        }
        let two = f64::from(two.into_values().max().unwrap_or_default()) * QUESTION.as_secs_f64() * 1e3;
        for (metric, value) in [
            ("nobody", longest(|seen| seen.outage)),
            ("two", two),
            ("client held up", longest(|seen| seen.stall)),
        ] {
            report.add(PART, fault.name(), &self.name, metric, "ms", value);
        }
    }
}
