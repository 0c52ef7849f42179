//! Takeovers by the number of VIPs, with an idle and with a busy rtnl lock, prepared and not: what a version does that has the local
//! routes on the owner only, and what one does that has them on every node.
//!
//! A backup that has to add routes is not slower to take over, but its kernel drops what comes before they are there. So a
//! VIP counts as served when it answers an echo, and not when it answers ARP, which the program does.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use vipd_tests::{Daemon, Lab, Node, wait_for};

use crate::{
    Options,
    ping::Pinger,
    report::Report,
    routers::{PATIENCE, Spec},
    rtnl::{Lock, route_takes},
    versions::Version,
    witness::{Answer, Watch, Witness},
};

const PART: &str = "Takeovers and routes";
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const NODES: [&str; 2] = ["lb01", "lb02"];

/// How a mastership ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Stopped,
}

/// Both nodes have the same priority, so whoever is master stays it until its end.
#[derive(Clone, Copy, Debug)]
struct Situation {
    priority: u8,
    ends: &'static [End],
}

/// With adverts every 200 ms, a goodbye leaves 122 ms to prepare at priority 100, and 1.6 ms at 254.
const SITUATIONS: [Situation; 2] = [
    Situation { priority: 100, ends: &[End::Killed, End::Stopped] },
    Situation { priority: 254, ends: &[End::Stopped] },
];

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for run in 0..options.runs {
        for count in &options.vips {
            for version in Version::in_turns(options, run)? {
                for situation in SITUATIONS {
                    let mut pair = Pair::start(&version, situation.priority, *count, options)?;
                    for lock in Lock::ALL {
                        for end in situation.ends {
                            let what = what(*end, pair.wait(*end), *count, lock);
                            pair.play(*end, lock, &what, report)
                                .with_context(|| format!("{}: {what}", version.name))?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn what(end: End, wait: Duration, count: u32, lock: Lock) -> String {
    let end = match end {
        End::Killed => "killed".to_owned(),
        End::Stopped => format!("goodbye {:.1} ms ahead", wait.as_secs_f64() * 1e3),
    };
    let vips = if count == 1 { "1 VIP".to_owned() } else { format!("{count} VIPs") };
    format!("{end}, {vips}, {}", lock.name())
}

/// From the last advert of a master to the takeover by a backup of the priority.
fn wait(end: End, interval: Duration, priority: u8) -> Duration {
    let skew = interval * (256 - u32::from(priority)) / 256;
    if end == End::Killed { interval * 3 + skew } else { skew }
}

/// `10.1.0.1` and on.
fn vips(count: u32) -> Vec<Ipv4Addr> {
    (0..count).map(|i| Ipv4Addr::from(0x0a01_0001 + i)).collect()
}

/// Two nodes with as many VIPs, of which one is master.
struct Pair<'a> {
    version: &'a Version,
    priority: u8,
    interval: Duration,
    round: Duration,
    conf: String,
    vips: Vec<Ipv4Addr>,
    // Before the lab: daemons end before their namespaces.
    daemons: [Daemon; 2],
    /// Which of the two.
    master: usize,
    lab: Lab,
}

impl<'a> Pair<'a> {
    fn start(version: &'a Version, priority: u8, count: u32, options: &Options) -> Result<Self> {
        let lab = Lab::builder()
            .node("lb01", "10.0.0.5/8")
            .node("lb02", "10.0.0.6/8")
            .node("client", "10.0.0.100/8")
            // Takes no part: links are made and removed in its namespace.
            .node("links", "192.0.2.9/24")
            .build()?;
        let vips = vips(count);
        let all: Vec<IpAddr> = vips.iter().copied().map(IpAddr::from).collect();
        let interval = Duration::from_millis(options.advert);
        let round = Duration::from_micros(options.ask_every);
        let spec = Spec { vips: vec![all], ..Spec::single(interval) };
        let conf = spec.conf(priority);
        let [first, second] = NODES.map(|name| lab.node(name));
        let master = version.start(first, &conf)?;
        version.wait(first, "MASTER")?;
        let backup = version.start(second, &conf)?;
        version.wait(second, "BACKUP")?;
        let daemons = [master, backup];
        Ok(Self { version, priority, interval, round, conf, vips, daemons, master: 0, lab })
    }

    fn node(&self, which: usize) -> &Node {
        self.lab.node(NODES[which])
    }

    /// From the last advert of the master to the takeover.
    fn wait(&self, end: End) -> Duration {
        wait(end, self.interval, self.priority)
    }

    /// Ends the master, watches the takeover, and starts it again as the backup.
    fn play(&mut self, end: End, lock: Lock, what: &str, report: &mut Report) -> Result<()> {
        let (old, new) = (self.master, 1 - self.master);
        // Announcements are over, and the backup has forgotten its start.
        thread::sleep(self.interval * 3 + Duration::from_millis(self.vips.len() as u64 / 5));
        let busy = lock.start(self.lab.node("links"))?;
        let route = route_takes(self.lab.node("client"))?;
        report.add(PART, what, self.version.name, "a route added or removed by ip", "ms", route);
        self.take_over(end, old, new, what, report)?;
        drop(busy);
        self.version.wait(self.node(new), "MASTER")?;
        self.daemons[old] = self.version.start(self.node(old), &self.conf)?;
        self.version.wait(self.node(old), "BACKUP")?;
        self.master = new;
        Ok(())
    }

    fn take_over(&mut self, end: End, old: usize, new: usize, what: &str, report: &mut Report) -> Result<()> {
        let client = self.lab.node("client");
        let [old_ip, new_ip] = [old, new].map(|which| self.node(which).ip());
        let (old_ip, new_ip) = (old_ip.context("an address")?, new_ip.context("an address")?);
        let sample = [*self.vips.first().context("a VIP")?, *self.vips.last().context("a VIP")?];
        let watch =
            Watch { client: CLIENT, station: self.node(new).mac(), own: new_ip, sample, round: self.round };
        // It knows the VIP's station from its kernel only.
        let period = self.round * 2;
        let pinger = Pinger::start(client.ns(), sample[1], period)?;
        wait_for("the client to be served", PATIENCE, || pinger.is_answered(100))?;
        let witness = Witness::start(client, watch)?;
        // So that the last advert of the old master is among what is heard.
        thread::sleep(self.interval * 2);

        let begin = Instant::now();
        match end {
            End::Killed => _ = self.daemons[old].kill9()?,
            End::Stopped => self.daemons[old].sigterm()?,
        }
        let answered = |first| {
            Some((witness.all_answered(Answer::Arp, first)?, witness.all_answered(Answer::Echo, first)?))
        };
        wait_for("the VIPs to be served by the successor", PATIENCE, || {
            witness
                .handover(old_ip, new_ip)
                .is_some_and(|(last, first)| first > begin && last < first && answered(first).is_some())
        })?;
        let (last, first) = witness.handover(old_ip, new_ip).context("just seen")?;
        let (arp, echo) = answered(first).context("just seen")?;
        wait_for("the client to be served again", PATIENCE, || pinger.is_answered(100))?;
        witness.check()?;
        let seen = pinger.seen(begin, Instant::now() - Duration::from_millis(15), period);
        if end == End::Stopped {
            self.daemons[old].wait(PATIENCE)?;
        }
        let late = first.saturating_duration_since(last).as_secs_f64() - self.wait(end).as_secs_f64();
        let since = |at: Instant| at.saturating_duration_since(first).as_secs_f64() * 1e3;
        for (metric, value) in [
            ("first advert later than due", late * 1e3),
            ("first advert to last VIP answering ARP", since(arp)),
            ("first advert to last VIP answering an echo", since(echo)),
            ("longest gap of a client of the last VIP", seen.outage.as_secs_f64() * 1e3),
        ] {
            report.add(PART, what, self.version.name, metric, "ms", value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    #[test]
    fn a_situation_says_how_long_the_goodbye_is_ahead() {
        let at = |end, priority, count, lock| what(end, wait(end, INTERVAL, priority), count, lock);
        assert_eq!(at(End::Stopped, 254, 1, Lock::Idle), "goodbye 1.6 ms ahead, 1 VIP, idle");
        assert_eq!(at(End::Stopped, 100, 64, Lock::Busy), "goodbye 121.9 ms ahead, 64 VIPs, rtnl lock busy");
        assert_eq!(at(End::Killed, 100, 64, Lock::Idle), "killed, 64 VIPs, idle");
    }

    #[test]
    fn a_backup_waits_as_the_rfc_says() {
        let spec = Spec::single(INTERVAL);
        for priority in [1, 100, 254] {
            assert_eq!(wait(End::Killed, INTERVAL, priority), spec.master_down(priority));
            assert_eq!(wait(End::Stopped, INTERVAL, priority), spec.master_down(priority) - INTERVAL * 3);
        }
    }

    #[test]
    fn there_are_as_many_vips_as_asked_for() {
        let vips = vips(10_000);
        assert_eq!((vips.len(), vips[0]), (10_000, Ipv4Addr::new(10, 1, 0, 1)));
        assert_eq!(vips[9_999], Ipv4Addr::new(10, 1, 39, 16));
    }
}
