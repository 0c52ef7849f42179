//! False alarms: hosts that are taken for dead while nothing is wrong but that their machine is busy.
//!
//! All pairs are watched at the same time, each in a lab of its own, three probes or packets in a row, so that they suffer the same load. One
//! watch of `--watch` seconds for each load: `--runs` and `--intervals` have no say here. An alarm is counted on either end.

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use vipd_tests::{Daemon, FrrBfd, Lab, Node, wait_for};

use crate::{
    Options,
    load::{self, Load},
    report::Report,
    routers::{self, Beside, PATIENCE, Spec, vipd},
};

const PART: &str = "False alarms";
const INTERVAL: Duration = Duration::from_secs(1);
/// How long all sessions have to be up before a watch.
const QUIET: Duration = Duration::from_secs(3);
const INSTANCES: u8 = 255;
const NODES: [&str; 2] = ["lb01", "lb02"];

/// Who watches whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    /// vipd's probes, acted on or only measured.
    Probes {
        interval_ms: &'static str,
        acts: bool,
    },
    /// vipd's BFD.
    Bfd,
    Keepalived,
    Frr,
}

const CONTENDERS: [Contender; 6] = [
    Contender::Probes { interval_ms: "10", acts: true },
    Contender::Probes { interval_ms: "3.3", acts: true },
    Contender::Probes { interval_ms: "10", acts: false },
    Contender::Bfd,
    Contender::Keepalived,
    Contender::Frr,
];

impl Contender {
    fn name(self) -> String {
        match self {
            Self::Probes { interval_ms, acts: true } => {
                format!("vipd's probes, 3 x {interval_ms} ms, acting")
            }
            Self::Probes { interval_ms, acts: false } => {
                format!("vipd's probes, 3 x {interval_ms} ms, measuring")
            }
            Self::Bfd => "vipd's BFD, 3 x 10 ms".into(),
            Self::Keepalived => "keepalived's BFD, 3 x 10 ms".into(),
            Self::Frr => "FRR's bfdd, 3 x 10 ms".into(),
        }
    }
}

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let watch = Duration::from_secs(options.watch);
    report.note(PART, format!("one watch of {} s for each load; {}", options.watch, load::throttling()));
    let mut pairs =
        CONTENDERS.into_iter().map(|contender| Pair::start(contender, 1)).collect::<Result<Vec<_>>>()?;
    for load in Load::ALL {
        pairs.iter().try_for_each(Pair::settle)?;
        let hogs = match load.start() {
            Ok(hogs) => hogs,
            Err(error) => {
                report.note(PART, format!("no load {:?}: {error:#}", load.name()));
                continue;
            }
        };
        pairs.iter_mut().try_for_each(Pair::begin)?;
        thread::sleep(watch);
        // Before the load is gone: what it has done is seen now.
        for pair in &mut pairs {
            pair.tell(load.name(), report)?;
        }
        drop(hogs);
    }
    drop(pairs);
    // The pairs' own work is the load.
    let acting = CONTENDERS.into_iter().filter(|it| matches!(it, Contender::Probes { acts: true, .. }));
    let mut pairs = acting.map(|contender| Pair::start(contender, INSTANCES)).collect::<Result<Vec<_>>>()?;
    pairs.iter().try_for_each(Pair::settle)?;
    pairs.iter_mut().try_for_each(Pair::begin)?;
    thread::sleep(watch);
    pairs.iter_mut().try_for_each(|pair| pair.tell(&format!("{INSTANCES} instances"), report))
}

struct Pair {
    contender: Contender,
    /// Alarms before the watch.
    before: [u64; 2],
    // Before the lab: daemons end before their namespaces.
    daemons: Daemons,
    lab: Lab,
}

enum Daemons {
    Whole(Vec<Daemon>),
    Frr(Vec<FrrBfd>),
}

impl Pair {
    fn start(contender: Contender, instances: u8) -> Result<Self> {
        let lab = routers::lab()?;
        let vips = (1..=instances).map(|i| vec![[10, 1, 0, i].into()]).collect();
        let mut daemons = Daemons::Whole(Vec::new());
        for (node, other, priority) in [("lb01", "lb02", 150), ("lb02", "lb01", 100)] {
            let peer = lab.node(other).ip().context("a node has an address")?;
            let own = lab.node(node).ip().context("a node has an address")?;
            let beside = match contender {
                Contender::Probes { interval_ms: "10", .. } => Some(Beside::Probes),
                Contender::Probes { .. } => Some(Beside::QuickProbes),
                _ => Some(Beside::Bfd),
            };
            let spec = Spec {
                vips: Vec::clone(&vips),
                beside: beside.map(|beside| (beside, peer)),
                ..Spec::single(INTERVAL)
            };
            let conf = spec.conf(priority);
            let node = lab.node(node);
            let daemon = match contender {
                Contender::Keepalived => node.start_keepalived_whole(&conf)?,
                Contender::Frr => {
                    let lines = format!(
                        " peer {peer} local-address {own} interface eth0\n  detect-multiplier 3\n  receive-interval 10\n  \
                         transmit-interval 10\n  no shutdown\n exit\n"
                    );
                    let bfdd = node.start_frr_bfd(&lines)?;
                    match &mut daemons {
                        Daemons::Frr(all) => all.push(bfdd),
                        Daemons::Whole(_) => daemons = Daemons::Frr(vec![bfdd]),
                    }
                    continue;
                }
                Contender::Probes { acts: false, .. } => {
                    node.write_vipd_conf(&conf.replace("act takeover", "act no"))?;
                    node.start_vipd(&vipd()?)?
                }
                Contender::Probes { .. } | Contender::Bfd => {
                    node.write_vipd_conf(&conf)?;
                    node.start_vipd(&vipd()?)?
                }
            };
            if let Daemons::Whole(all) = &mut daemons {
                all.push(daemon);
            }
        }
        Ok(Self { contender, before: [0; 2], daemons, lab })
    }

    /// Waits until everybody hears the other.
    fn settle(&self) -> Result<()> {
        wait_for(format_args!("{} to be up", self.contender.name()), PATIENCE, || {
            (0..NODES.len()).all(|i| self.is_up(i).unwrap_or(false))
        })?;
        thread::sleep(QUIET);
        Ok(())
    }

    fn node(&self, i: usize) -> &Node {
        self.lab.node(NODES[i])
    }

    fn is_up(&self, i: usize) -> Result<bool> {
        Ok(match (&self.contender, &self.daemons) {
            (Contender::Probes { .. }, _) => {
                let status = self.node(i).status(&vipd()?)?;
                list(&status, "probes").any(|host| host["state"] == "up")
            }
            (Contender::Bfd, _) => {
                let status = self.node(i).status(&vipd()?)?;
                list(&status, "bfd_sessions").any(|session| session["state"] == "Up")
            }
            (_, Daemons::Frr(all)) => {
                let peer = self.node(1 - i).ip().context("a node has an address")?;
                all[i].peer(peer.into(), false)?["status"] == "up"
            }
            _ => self.node(i).keepalived_session("peer").as_deref() == Some("Up"),
        })
    }

    /// How often a node has taken the other for dead, and how often it has become master.
    fn alarms(&self, i: usize) -> Result<[u64; 2]> {
        Ok(match (&self.contender, &self.daemons) {
            (Contender::Probes { acts, .. }, _) => {
                let status = self.node(i).status(&vipd()?)?;
                let takeovers = list(&status, "instances").map(|instance| number(instance, "became_master"));
                let judged = list(&status, "probes").map(|host| number(host, "false_alarms"));
                [judged.sum(), if *acts { takeovers.sum() } else { 0 }]
            }
            (Contender::Bfd, _) => {
                let status = self.node(i).status(&vipd()?)?;
                [list(&status, "bfd_sessions").map(|session| number(session, "downs")).sum(), 0]
            }
            (_, Daemons::Frr(all)) => {
                [all[i].counters()?.iter().map(|peer| number(peer, "session-down")).sum(), 0]
            }
            (_, Daemons::Whole(all)) => {
                let log = all[i].log();
                [log.lines().filter(|line| line.contains("(peer) Entering Down")).count() as u64, 0]
            }
        })
    }

    fn sum(&self) -> Result<[u64; 2]> {
        let [one, two] = [self.alarms(0)?, self.alarms(1)?];
        Ok([one[0] + two[0], one[1] + two[1]])
    }

    fn begin(&mut self) -> Result<()> {
        self.before = self.sum()?;
        Ok(())
    }

    fn tell(&mut self, what: &str, report: &mut Report) -> Result<()> {
        let [alarms, takeovers] = self.sum()?;
        let of = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let name = self.contender.name();
        report.add(PART, what, &name, "alarms", "", of(alarms, self.before[0]));
        if matches!(self.contender, Contender::Probes { acts: true, .. }) {
            report.add(PART, what, &name, "mastership changes", "", of(takeovers, self.before[1]));
        }
        Ok(())
    }
}

fn list<'v>(status: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    status[name].as_array().into_iter().flatten()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}
