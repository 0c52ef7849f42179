//! What a client sees of the ends and returns of a master: the longest time without an answer, what is lost, and for how
//! long two nodes answer for the VIP.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use vipd_tests::{Block, Lab, probe::NeighbourProber, wait_for};

use crate::{
    Options,
    ping::Pinger,
    report::Report,
    routers::{self, Kind, PATIENCE, Router, Spec, VIP},
};

const PART: &str = "Outage";
/// Between two echo requests.
const PERIOD: Duration = Duration::from_micros(500);
/// Between two questions who has the VIP.
const QUESTION: Duration = Duration::from_millis(2);

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for run in 0..options.runs {
        for interval in &options.intervals {
            // In turns, and not always the same first.
            for i in 0..Kind::ALL.len() {
                let kind = Kind::ALL[(run + i) % Kind::ALL.len()];
                Stage::set(kind, Duration::from_millis(*interval))?.play(report)?;
            }
        }
    }
    Ok(())
}

struct Stage {
    kind: Kind,
    spec: Spec,
    lab: Lab,
    /// `None` only in the moment of a restart.
    master: Option<Router>,
    backup: Router,
    pinger: Pinger,
    prober: NeighbourProber,
}

impl Stage {
    fn set(kind: Kind, interval: Duration) -> Result<Self> {
        let lab = routers::lab()?;
        let spec = Spec::single(interval);
        let master = Router::start(lab.node("lb01"), kind, &spec, 150)?;
        master.wait(lab.node("lb01"), "MASTER")?;
        let backup = Router::start(lab.node("lb02"), kind, &spec, 100)?;
        backup.wait(lab.node("lb02"), "BACKUP")?;
        let client = lab.node("client");
        let pinger = Pinger::start(client.ns(), VIP, PERIOD)?;
        let prober = NeighbourProber::start(client.ns(), "eth0", &[VIP], QUESTION)?;
        let stage = Self { kind, spec, lab, master: Some(master), backup, pinger, prober };
        stage.settle()?;
        Ok(stage)
    }

    fn play(mut self, report: &mut Report) -> Result<()> {
        let down = self.spec.master_down(100);
        let back = self.spec.master_down(150);

        let begin = Instant::now();
        self.master()?.daemon().kill9()?;
        self.watch(report, "kill -9", begin, down)?;
        let begin = Instant::now();
        self.restart()?;
        self.watch(report, "return of the better node", begin, back)?;

        let begin = Instant::now();
        self.master()?.terminate()?;
        self.watch(report, "SIGTERM", begin, self.spec.interval * 2)?;
        self.restart()?;
        self.settle()?;

        let begin = Instant::now();
        self.master()?.signal(Signal::SIGSTOP)?;
        self.watch(report, "SIGSTOP", begin, down)?;
        let begin = Instant::now();
        self.master()?.signal(Signal::SIGCONT)?;
        self.watch(report, "SIGCONT", begin, back)?;
        self.settle()?;

        let begin = Instant::now();
        self.lab.set_port("lb01", false)?;
        self.watch(report, "link down", begin, down)?;
        let begin = Instant::now();
        self.lab.set_port("lb01", true)?;
        self.watch(report, "link up", begin, back)?;
        self.settle()?;

        let begin = Instant::now();
        self.lab.block("lb01", "lb02", Block::Adverts)?;
        self.lab.block("lb02", "lb01", Block::Adverts)?;
        self.watch(report, "partition", begin, down)?;
        let begin = Instant::now();
        self.lab.unblock_all()?;
        self.watch(report, "partition healed", begin, self.spec.interval * 2)?;
        Ok(())
    }

    fn master(&mut self) -> Result<&mut Router> {
        self.master.as_mut().context("between two lives")
    }

    fn restart(&mut self) -> Result<()> {
        // What is left of the old one goes first: FRR's interfaces.
        drop(self.master.take());
        self.master = Some(Router::start(self.lab.node("lb01"), self.kind, &self.spec, 150)?);
        Ok(())
    }

    /// Waits until lb01 is master and the client is served.
    fn settle(&self) -> Result<()> {
        self.master.as_ref().context("between two lives")?.wait(self.lab.node("lb01"), "MASTER")?;
        self.backup.wait(self.lab.node("lb02"), "BACKUP")?;
        wait_for("the client to be served", PATIENCE, || self.pinger.is_answered(100))?;
        thread::sleep(self.spec.interval * 2);
        Ok(())
    }

    /// Watches until what was begun is over, which takes `expected`, and for another interval and 300 ms.
    fn watch(&self, report: &mut Report, event: &str, begin: Instant, expected: Duration) -> Result<()> {
        thread::sleep(
            (expected + self.spec.interval + Duration::from_millis(300)).saturating_sub(begin.elapsed()),
        );
        // A client that is stuck is part of the figure.
        wait_for("the client to be served again", PATIENCE, || self.pinger.is_answered(100))?;
        let end = Instant::now() - Duration::from_millis(15);
        let seen = self.pinger.seen(begin, end, PERIOD);
        let two = self
            .prober
            .timeline()
            .iter()
            .filter(|probe| begin <= probe.sent && probe.sent < end && probe.answers.len() > 1)
            .count();
        let what = format!("{event}, adverts every {} ms", self.spec.interval.as_millis());
        let daemon = self.kind.name();
        report.add(PART, &what, daemon, "longest gap", "ms", seen.outage.as_secs_f64() * 1e3);
        report.add(PART, &what, daemon, "lost", "echoes", seen.lost as f64);
        report.add(PART, &what, daemon, "two answer", "ms", two as f64 * QUESTION.as_secs_f64() * 1e3);
        Ok(())
    }
}
