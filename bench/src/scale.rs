//! What the number of VIPs costs: the takeover from the first advert of the new master to the last VIP that it answers for,
//! the start, and the memory.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use vipd_common::Family;
use vipd_tests::{
    Mac, Node,
    frr::virtual_mac,
    probe::{packet::PacketSocket, question::arp_request},
    wait_for,
};

use crate::{
    Options, filter,
    report::Report,
    routers::{self, Kind, PATIENCE, Router, Spec},
};

const PART: &str = "Takeover cost";
const START: &str = "Start and memory";
const INTERVAL: Duration = Duration::from_millis(200);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const ARP_REPLY: [u8; 2] = [0, 2];

pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    for _ in 0..options.runs {
        for count in [1, 100, 1_000, 10_000] {
            for (kind, use_vmac) in [(Kind::Vipd, false), (Kind::Vipd, true), (Kind::Keepalived, false)] {
                takeover(kind, use_vmac, count, report)?;
            }
        }
    }
    Ok(())
}

/// `10.1.0.1` and on.
fn vips(count: u32) -> Vec<IpAddr> {
    (0..count).map(|i| Ipv4Addr::from(0x0a01_0001 + i).into()).collect()
}

fn takeover(kind: Kind, use_vmac: bool, count: u32, report: &mut Report) -> Result<()> {
    let lab = routers::lab()?;
    let (lb01, lb02, client) = (lab.node("lb01"), lab.node("lb02"), lab.node("client"));
    let vips = vips(count);
    let spec = Spec {
        interval: INTERVAL,
        vips: vec![vips.clone()],
        use_vmac,
        rt_priority: None,
        xdp_mode: None,
        beside: None,
    };
    let daemon = match use_vmac {
        true => format!("{} with use_vmac", kind.name()),
        false => kind.name().into(),
    };
    let what = match count {
        1 => "1 VIP".into(),
        _ => format!("{count} VIPs"),
    };

    let begin = Instant::now();
    let mut master = Router::start(lb01, kind, &spec, 150)?;
    master.wait(lb01, "MASTER")?;
    // The wait for a master is the same for all.
    let ready = begin.elapsed().saturating_sub(spec.master_down(150));
    report.add(START, &what, &daemon, "start until master, less the wait", "ms", ready.as_secs_f64() * 1e3);
    let backup = Router::start(lb02, kind, &spec, 100)?;
    backup.wait(lb02, "BACKUP")?;
    thread::sleep(INTERVAL * 5 + Duration::from_millis(u64::from(count) / 5));
    report.add(START, &what, &daemon, "resident memory", "MiB", resident(master.daemon().pid())?);

    let mac = if use_vmac { virtual_mac(1, Family::V4) } else { lb02.mac() };
    let wire = lab.sniff_port("client")?;
    let successor: IpAddr = lb02.ip().context("lb02 has an address")?.into();
    let begin = Instant::now();
    let asker = Asker::start(client, mac, &vips)?;
    master.daemon().kill9()?;
    let advert = || wire.adverts_from(successor).first().map(|(seen, _)| seen.at);
    wait_for("the successor's first advert", PATIENCE, || advert().is_some())?;
    let first = advert().context("just seen")?;
    ensure!(first > begin, "an advert from before");
    let last = asker.last_answered(first)?.saturating_duration_since(first);
    report.add(PART, &what, &daemon, "first advert to last VIP answered", "ms", last.as_secs_f64() * 1e3);
    wait_for("the new master", PATIENCE, || backup.is(lb02, "MASTER")).map(drop)
}

/// Resident memory of a process and its children, in MiB.
fn resident(pid: u32) -> Result<f64> {
    let of = |pid: u32| -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().split(' ').next()?.parse::<f64>().ok()
    };
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]);
    let kib: f64 = all.filter_map(of).sum();
    ensure!(kib > 0.0, "process {pid} is gone");
    Ok(kib / 1024.0)
}

/// How often each of the two VIPs is asked for: what the figures are good to. More often, and asking would be most of the load.
const ROUND: Duration = Duration::from_micros(200);

/// A client that asks for the first VIP and for the last: they are taken over in this order, if not at once. If there is one
/// only, it is asked for as often as two.
struct Asker {
    sample: [Ipv4Addr; 2],
    answers: Arc<Mutex<Vec<(Instant, Ipv4Addr)>>>,
    stop: Arc<AtomicBool>,
}

impl Asker {
    /// Takes note of what `mac` answers.
    fn start(client: &Node, mac: Mac, vips: &[IpAddr]) -> Result<Self> {
        let [Some(first), Some(last)] = [vips.first(), vips.last()].map(|vip| vip.and_then(v4)) else {
            bail!("no IPv4 VIPs");
        };
        let sample = [first, last];
        let asker = Self { sample, answers: Arc::default(), stop: Arc::default() };
        let (answers, stop) = (Arc::clone(&asker.answers), Arc::clone(&asker.stop));
        client.ns().spawn("asker", move || -> Result<()> {
            let socket = PacketSocket::open("eth0", libc::ETH_P_ARP as u16)?;
            // Announcements by the thousand would keep it from asking.
            socket.attach_filter(&mut filter::only_to(socket.mac()))?;
            while !stop.load(Ordering::Relaxed) {
                let next = Instant::now() + ROUND;
                for vip in sample {
                    socket.send(&arp_request(socket.mac(), CLIENT, vip))?;
                }
                while let Some(frame) = socket.receive(next.saturating_duration_since(Instant::now()))? {
                    let bytes = &frame.bytes;
                    if bytes.len() >= 42 && bytes[20..22] == ARP_REPLY && bytes[22..28] == mac.0 {
                        let vip = Ipv4Addr::new(bytes[28], bytes[29], bytes[30], bytes[31]);
                        answers.lock().unwrap_or_else(PoisonError::into_inner).push((frame.at, vip));
                    }
                }
            }
            Ok(())
        })?;
        Ok(asker)
    }

    /// When the last of the sample was answered for the first time after `first`.
    fn last_answered(&self, first: Instant) -> Result<Instant> {
        let firsts = || -> Option<Instant> {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let of = |vip| answers.iter().find(|(at, of)| *of == vip && *at > first).map(|(at, _)| *at);
            self.sample.into_iter().map(of).collect::<Option<Vec<_>>>()?.into_iter().max()
        };
        wait_for("every VIP to be answered", PATIENCE, || firsts().is_some())?;
        firsts().context("just seen")
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(v4) = address { Some(*v4) } else { None }
}
