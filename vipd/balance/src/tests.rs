//! Tests of the judge: tables of events, each with the table and the notices that follow.

mod backend;
mod checks;
mod config;
mod notices;
mod pool;
mod probes;
mod properties;
mod reload;
mod schedule;
mod simulation;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use vipd_core::time::Instant;

use crate::{
    BalanceConfig, BalanceNotice, DesiredChange, DesiredTable, DrainScope, ForwardMethod, Judge, JudgeEvent,
    JudgeOutput, ProbeOutcome, ProbeSpec, ProbeUse, ServiceAddress, ServiceId, ServiceTarget, SorryServer,
    TargetId, TransportProtocol, VirtualServer,
};

fn ip(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn at(n: u8) -> TargetId {
    TargetId::new(ip(n), 80)
}

fn vip(n: u8) -> ServiceAddress {
    let address = [10, 9, 0, n].into();
    ServiceAddress::Socket { protocol: TransportProtocol::Tcp, address, port: 80 }
}

fn id(n: u8) -> ServiceId {
    ServiceId::Single(vip(n))
}

fn probe(n: u8) -> ProbeSpec {
    ProbeSpec::tcp((ip(n), 80).into())
}

/// A check that fails at once and returns at once.
fn tcp(n: u8) -> ProbeUse {
    ProbeUse { retry: 0, ..ProbeUse::new(probe(n)) }
}

/// A target with a TCP check and weight 1.
fn web(n: u8) -> ServiceTarget {
    ServiceTarget { checks: vec![tcp(n)], ..ServiceTarget::new(at(n), ForwardMethod::Direct) }
}

fn heavy(n: u8, weight: u32) -> ServiceTarget {
    ServiceTarget { weight, ..web(n) }
}

fn service(targets: impl IntoIterator<Item = ServiceTarget>) -> VirtualServer {
    VirtualServer { targets: targets.into_iter().collect(), ..VirtualServer::new(id(1), vec![vip(1)]) }
}

fn sorry(n: u8) -> Option<SorryServer> {
    Some(SorryServer { id: at(n), forward: ForwardMethod::Direct, inhibit: false })
}

/// A judge, with a table that does what it is told, and what has been told.
struct Play {
    judge: Judge,
    now: Instant,
    table: DesiredTable,
    told: Vec<BalanceNotice>,
}

impl Play {
    fn new(servers: Vec<VirtualServer>) -> Self {
        let mut play = Self {
            judge: Judge::new([]),
            now: Instant::from_nanos(1_000_000_000_000),
            table: DesiredTable::default(),
            told: Vec::new(),
        };
        play.reload(servers);
        play
    }

    fn reload(&mut self, servers: Vec<VirtualServer>) {
        self.handle(JudgeEvent::Reload(BalanceConfig::new(servers, false).unwrap()));
    }

    fn handle(&mut self, event: JudgeEvent) {
        self.judge.handle(event, self.now);
        self.drain_outputs();
    }

    /// Applies what is to change, and looks at the table after each difference.
    fn drain_outputs(&mut self) {
        let weights = |table: &DesiredTable| -> BTreeMap<ServiceId, u64> {
            table.services().iter().map(|(id, service)| (id.clone(), service.weight())).collect()
        };
        let (before, after) = (weights(&self.table), weights(&self.judge.desired()));
        while let Some(output) = self.judge.poll_output() {
            match output {
                JudgeOutput::Change(change) => {
                    self.apply(change);
                    let now = weights(&self.table);
                    for (id, weight) in &before {
                        let serves = *weight > 0 && after.get(id).is_some_and(|weight| *weight > 0);
                        assert!(!serves || now[id] > 0, "{id} is empty in between");
                    }
                }
                JudgeOutput::Notice(notice) => self.told.push(notice),
                JudgeOutput::ProbesChanged => {}
            }
        }
        assert_eq!(self.table, self.judge.desired(), "the differences do not lead to what is desired");
    }

    /// No difference without a cause: each changes something.
    fn apply(&mut self, change: DesiredChange) {
        let before = self.table.clone();
        self.table.apply(change.clone());
        assert_ne!(self.table, before, "{change:?} changes nothing");
    }

    fn probed(&mut self, spec: &ProbeSpec, outcome: ProbeOutcome) {
        let found = self.judge.probes().find(|need| need.spec == spec).map(|need| need.id);
        if let Some(probe) = found {
            self.handle(JudgeEvent::Probed { probe, outcome, took: Duration::ZERO });
        }
    }

    /// Lets time pass, with every timer at its time.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.judge.poll_timeout().filter(|due| *due <= until) {
            assert!(due > self.now || self.judge.poll_timeout() == Some(due));
            self.now = self.now.max(due);
            self.judge.handle_timeout(self.now);
            self.drain_outputs();
        }
        self.now = until;
    }

    /// The table of the first service: `11=1 12=0`, by the last octets of the targets.
    fn weights(&self) -> String {
        let of = |(id, target): (&TargetId, &crate::DesiredTarget)| {
            let IpAddr::V4(address) = id.address else { panic!("{id}") };
            format!("{}={}", address.octets()[3], target.weight)
        };
        let service = self.table.services().values().next();
        service.map_or(String::new(), |service| service.targets.iter().map(of).collect::<Vec<_>>().join(" "))
    }

    /// What has been told since it was asked last.
    fn news(&mut self) -> String {
        std::mem::take(&mut self.told).iter().map(short).collect::<Vec<_>>().join(", ")
    }

    /// One step of a table.
    fn step(&mut self, step: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let mut words = rest.split(' ');
        let mut number =
            || words.next().filter(|word| !word.is_empty()).map(|word| word.parse::<f64>().unwrap());
        let first = number();
        let n = first.unwrap_or(0.0) as u8;
        let scope = || DrainScope { service: None, address: ip(n), port: None };
        match verb {
            "pass" => self.probed(&probe(n), ProbeOutcome::Passed),
            "fail" => self.probed(&probe(n), ProbeOutcome::Failed("connection refused".to_owned())),
            "unsent" => self.probed(&probe(n), ProbeOutcome::NotSent("no socket".to_owned())),
            "exit" => {
                let code = number().unwrap() as u8;
                self.probed(&misc(n), ProbeOutcome::Exited(code));
            }
            "file" => {
                let value = number().unwrap() as i64;
                self.probed(&file(n), ProbeOutcome::Value(value));
            }
            "wait" => self.wait(Duration::from_secs_f64(first.unwrap())),
            "own" => self.handle(JudgeEvent::Vip { address: [10, 9, 0, 1].into(), owned: true }),
            "lose" => self.handle(JudgeEvent::Vip { address: [10, 9, 0, 1].into(), owned: false }),
            "drain" => {
                let until = number().map(|s| self.now + Duration::from_secs_f64(s));
                self.handle(JudgeEvent::Drain { scope: scope(), until });
            }
            "undrain" => self.handle(JudgeEvent::Undrain { scope: scope() }),
            "stop" => self.handle(JudgeEvent::Stop),
            other => panic!("{other}"),
        }
    }

    /// Steps, each with the table and the news after it.
    fn steps(&mut self, name: &str, rows: &[(&str, &str, &str)]) {
        for (row, (step, table, news)) in rows.iter().enumerate() {
            self.step(step);
            let found = (self.weights(), self.news());
            assert_eq!(found, ((*table).to_owned(), (*news).to_owned()), "{name}: row {row}, `{step}`");
        }
    }
}

fn misc(n: u8) -> ProbeSpec {
    ProbeSpec::Misc { words: vec![format!("/check{n}")], account: None, timeout: Duration::from_secs(60) }
}

fn file(n: u8) -> ProbeSpec {
    ProbeSpec::File { path: format!("/track{n}") }
}

fn short(notice: &BalanceNotice) -> String {
    let last = |target: &TargetId| match target.address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    let word = |up: bool| if up { "up" } else { "down" };
    match notice {
        BalanceNotice::Target { target, up, .. } => format!("{} {}", last(target), word(*up)),
        BalanceNotice::Quorum { up, .. } => format!("quorum {}", word(*up)),
        BalanceNotice::Weight { target, from, to, .. } => format!("{} weight {from}>{to}", last(target)),
        BalanceNotice::FailedServe { on, alive, of, .. } => {
            format!("failed serve {} {alive}/{of}", if *on { "on" } else { "off" })
        }
        BalanceNotice::Draining { target, .. } => format!("{} draining", last(target)),
        BalanceNotice::Drained { target, .. } => format!("{} drained", last(target)),
        BalanceNotice::Undrained { target, .. } => format!("{} undrained", last(target)),
    }
}

/// A play of one service from its start, whose table and news are the first row.
fn play(name: &str, server: VirtualServer, start: (&str, &str), rows: &[(&str, &str, &str)]) -> Play {
    let mut play = Play::new(vec![server]);
    assert_eq!((play.weights(), play.news()), (start.0.to_owned(), start.1.to_owned()), "{name}: start");
    play.steps(name, rows);
    play
}
