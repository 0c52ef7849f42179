//! What the host of a vipd does by itself: never answer for a VIP (I4), reach the VIP where it lives (I5), be as
//! before when vipd is gone; and what else finds its place on the same host.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use support::{
    Bed, HIGH, INTERVAL, LEASE, LOW, MESSAGE_DELAY, SOON, VIP, host_state::HostState, node_conf, pins,
};
use vipd_tests::{
    Daemon, Netns,
    probe::{
        ArpProber, Sniffer,
        capture::{Frame, Seen},
        packet::PacketSocket,
    },
    wait_for,
    xdp::Program,
};

/// A VIP that a later configuration has instead.
const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
/// How long each phase of a test is watched: a few hundred questions.
const WATCH: Duration = Duration::from_millis(400);
/// For a machine that is too busy to hand an answer on.
const PACKET_DELAY: Duration = Duration::from_millis(200);

/// I4, through start, crash, adoption and stop of a node that never becomes master.
#[test]
fn the_kernel_never_answers_for_a_backup() -> Result<()> {
    let Some(mut watch) = Watch::start()? else { return Ok(()) };
    watch.phase("before the start");
    thread::sleep(WATCH);

    watch.phase("start");
    let mut vipd = watch.start_backup(VIP)?;
    thread::sleep(WATCH);
    watch.phase("crash");
    vipd.kill9()?;
    thread::sleep(WATCH);
    watch.phase("restart");
    let mut vipd = watch.start_backup(VIP)?;
    thread::sleep(WATCH);
    let counters = watch.bed.lb01().status(&watch.bed.vipd)?["counters"].clone();
    watch.phase("stop");
    watch.bed.lb01().stop_vipd(&watch.bed.vipd)?;
    vipd.wait(SOON)?;
    thread::sleep(WATCH);
    watch.nobody_answered()?;
    for name in ["arp_gated", "ip_gated"] {
        ensure!(counters[name].as_u64().is_some_and(|n| n > 10), "{name}: {counters}");
    }
    watch.would_have_seen_it(VIP)
}

/// I4 when a crash has left a VIP behind that the next configuration does not have.
#[test]
fn the_kernel_never_answers_for_a_vip_of_the_past() -> Result<()> {
    let Some(mut watch) = Watch::start()? else { return Ok(()) };
    let lb01 = watch.bed.lb01().ns().clone();
    let has_local = |vip: Ipv4Addr| -> Result<bool> {
        let out = lb01.command("ip").args(["route", "show", "table", "local", &vip.to_string()]).output()?;
        Ok(!out.stdout.is_empty())
    };
    watch.start_backup(VIP)?.kill9()?;
    // As an owner that was killed leaves it.
    let route = format!("route add local {VIP} dev eth0 table local proto 118 scope host metric 118");
    watch.bed.lb01().exec(&[&["ip"][..], &route.split(' ').collect::<Vec<_>>()].concat())?;
    ensure!(has_local(VIP)?);
    thread::sleep(WATCH);
    watch.phase("start with another VIP");
    let mut vipd = watch.start_backup(OTHER_VIP)?;
    thread::sleep(WATCH);
    ensure!(!has_local(VIP)?, "the old VIP's route is there");
    watch.phase("stop");
    watch.bed.lb01().stop_vipd(&watch.bed.vipd)?;
    vipd.wait(SOON)?;
    thread::sleep(WATCH);
    watch.nobody_answered()?;
    watch.would_have_seen_it(VIP)
}

/// I4 of a master: its lease is the only thing that answers.
#[test]
fn a_dead_masters_kernel_falls_silent_with_the_lease() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(1))?;
    let _knocker = Knocker::start(&bed)?;
    let replies = replies(&bed)?;
    let mac = bed.lb01().mac();
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    replies.wait("the master's echo reply", SOON, |s| !is_arp(s))?;

    let killed = vipd.kill9()?;
    thread::sleep(LEASE + PACKET_DELAY + WATCH);
    let last = prober.last_answer_by(mac).context("the master has not answered")?;
    ensure!(last > killed, "nothing was served after the daemon's death");
    let allowed = killed + LEASE + PACKET_DELAY;
    ensure!(last < allowed, "{:?} after the daemon's death, beyond the lease", last - killed);
    let echoed = replies.seen().last().context("no reply")?.at;
    ensure!(echoed < allowed, "{:?} after the daemon's death, beyond the lease", echoed - killed);

    replies.clear();
    let restarted = Instant::now();
    let mut vipd = bed.restart("lb01")?;
    bed.wait("lb01", "MASTER")?;
    // It waits for a master-down interval before it is one, however fast the machine is.
    let answers = prober.answers_between(allowed, restarted + 3 * INTERVAL);
    ensure!(answers.is_empty(), "a restarted backup answers: {:?}", answers[0]);
    let first = replies.wait("the master's echo reply", SOON, |s| !is_arp(s))?.at;
    ensure!(first > restarted + 3 * INTERVAL, "a restarted backup sends echo replies");
    wait_for("the master's answers", SOON, || prober.first_answer_by(mac, restarted).is_some())?;

    bed.lb01().stop_vipd(&bed.vipd)?;
    let stopped = Instant::now();
    vipd.wait(SOON)?;
    thread::sleep(WATCH);
    let answers = prober.answers_between(stopped + MESSAGE_DELAY, Instant::now());
    ensure!(answers.is_empty(), "after the stop: {:?}", answers[0]);
    Ok(())
}

/// I5: a VIP is where its master is, for the master itself, the backup and the client; also when they change places.
#[test]
fn everyone_reaches_the_master() -> Result<()> {
    let Some(mut pair) = support::usual_pair("")? else { return Ok(()) };
    let bed = &pair.bed;
    let service = SocketAddrV4::new(VIP, 80);
    let _servers = [bed.lb01().start_nginx(service)?, bed.lb02().start_nginx(service)?];
    let everyone_reaches = |master: &str| -> Result<()> {
        for from in [bed.lb01(), bed.lb02(), bed.client()] {
            let reached = || get(from.ns(), service.into()).is_ok_and(|body| body == master);
            // Rules follow after the lease; then they stay.
            wait_for(format_args!("{} to reach {master}", from.name()), SOON, reached)
                .with_context(|| format!("{:?}", get(from.ns(), service.into())))?;
            for _ in 0..10 {
                let body = get(from.ns(), service.into())?;
                ensure!(body == master, "{} reached {body} instead of {master}", from.name());
            }
        }
        Ok(())
    };
    everyone_reaches("lb01")?;

    // lb01 dies, and returns as the lesser one.
    pair.lb01.kill9()?;
    bed.wait("lb02", "MASTER")?;
    pair.lb01 = bed.start("lb01", &node_conf(LOW - 40, ""))?;
    bed.wait("lb01", "BACKUP")?;
    everyone_reaches("lb02")?;

    // An orderly handover back: this time nobody dies.
    bed.lb02().stop_vipd(&bed.vipd)?;
    pair.lb02.wait(SOON)?;
    bed.wait("lb01", "MASTER")?;
    pair.lb02 = bed.start("lb02", &node_conf(LOW - 50, ""))?;
    bed.wait("lb02", "BACKUP")?;
    everyone_reaches("lb01")
}

/// A crash leaves everything standing, the next start goes on with it, and a stop leaves the host as the first start found
/// it.
#[test]
fn a_stop_removes_what_a_crash_left() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let before = HostState::of(lb01)?;
    ensure!(before.xdp.is_none(), "{before:#?}");

    // A lease that outlives the crash on a busy machine.
    let conf = node_conf(HIGH, "").replace("advert_int 0.3", "advert_int 3");
    let mut vipd = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    vipd.kill9()?;
    let crashed = HostState::of(lb01)?;
    for (what, same) in
        [("routes", crashed.routes == before.routes), ("settings", crashed.settings == before.settings)]
    {
        ensure!(!same, "no {what} were left behind: the test tests nothing: {crashed:#?}");
    }
    ensure!(crashed.rules == before.rules, "vipd has no policy rules: {crashed:#?}");
    ensure!(crashed.xdp.is_some(), "XDP was detached by the crash");
    ensure!(pins(lb01).join("LEASES").exists(), "no pins in {}", pins(lb01).display());

    let mut vipd = bed.start("lb01", &conf)?;
    let adopted = HostState::of(lb01)?;
    ensure!(
        (&adopted.routes, &adopted.rules, &adopted.settings)
            == (&crashed.routes, &crashed.rules, &crashed.settings),
        "{adopted:#?} instead of {crashed:#?}"
    );
    bed.wait("lb01", "MASTER")?;
    lb01.stop_vipd(&bed.vipd)?;
    let stopped = HostState::of(lb01)?;
    ensure!(stopped == before, "{stopped:#?} instead of {before:#?}");
    ensure!(!pins(lb01).exists(), "pins were left");
    ensure!(vipd.wait(SOON)?.success(), "{}", vipd.log());
    let left: Vec<_> = fs::read_dir(lb01.runtime_dir())?.filter_map(|e| Some(e.ok()?.file_name())).collect();
    ensure!(left.is_empty(), "left in the runtime directory: {left:?}");
    Ok(())
}

/// Somebody else's XDP program is named, not replaced, and nothing is left of the attempt.
#[test]
fn another_xdp_program_is_left_alone() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let _theirs = Program::pass()?.attach(lb01.ns(), "eth0")?;
    let before = HostState::of(lb01)?;
    let id = before.xdp.context("the program does not show")?;

    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let mut vipd = bed.restart("lb01")?;
    let status = vipd.wait(SOON)?;
    let log = vipd.log();
    ensure!(status.code() == Some(1), "{status}: {log}");
    ensure!(log.contains("eth0") && log.contains(&format!("id {id}")), "{id} on eth0 is not named: {log}");
    let after = HostState::of(lb01)?;
    ensure!(after == before, "{after:#?} instead of {before:#?}");
    ensure!(!pins(lb01).exists(), "pins were left");
    Ok(())
}

/// Two daemons would fight over one set of maps.
#[test]
fn a_second_vipd_is_refused() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut first = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let before = HostState::of(lb01)?;

    let mut second =
        Daemon::start("the second vipd", &mut lb01.vipd_run(&bed.vipd), &lb01.dir().join("second.log"))?;
    let status = second.wait(SOON)?;
    let log = second.log();
    ensure!(status.code() == Some(1), "{status}: {log}");
    ensure!(log.contains(&format!("pid {}", first.pid())), "{} is not named: {log}", first.pid());

    // Another runtime directory and other pins do not make it another host.
    let mut command = lb01.command(&bed.vipd);
    command.arg("run").arg("-f").arg(lb01.vipd_conf());
    command
        .arg("--bpffs-dir")
        .arg(lb01.bpffs_dir().join("other"))
        .arg("--runtime-dir")
        .arg(lb01.dir().join("other"))
        .arg("--state-dir")
        .arg(lb01.state_dir());
    let mut third = Daemon::start("the third vipd", &mut command, &lb01.dir().join("third.log"))?;
    ensure!(third.wait(SOON)?.code() == Some(1), "{}", third.log());
    ensure!(third.log().contains("network namespace"), "{}", third.log());

    ensure!(first.is_running() && bed.state("lb01")? == "MASTER", "the first one suffered: {}", first.log());
    ensure!(HostState::of(lb01)? == before, "the second one changed the host");
    // Its socket and its lock are still there, too.
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(first.wait(SOON)?.success(), "{}", first.log());
    Ok(())
}

/// The maps of a running master read like documentation.
#[test]
fn bpftool_shows_names() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let prober = bed.prober()?;
    let _vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    wait_for("an answer", SOON, || prober.current_owner(VIP).is_some())?;
    let dump = |map: &str| -> Result<Value> {
        let path = pins(lb01).join(map);
        let out = lb01.exec(&["bpftool", "-j", "map", "dump", "pinned", path.to_str().context("UTF-8")?])?;
        serde_json::from_str(&out).with_context(|| format!("bpftool said {out:?}"))
    };
    let rows = |dump: &Value| dump.as_array().cloned().unwrap_or_default();

    // A row is {key, value, formatted: {key, value}}; of a per-CPU map, {key, values: [{cpu, value}]}.
    let counters = dump("COUNTERS")?;
    let counters = &counters[0]["formatted"]["values"];
    let replies: u64 = rows(counters).iter().filter_map(|cpu| cpu["value"]["arp_replies"].as_u64()).sum();
    ensure!(replies > 0, "no arp_replies in {counters}");

    let instances = dump("INSTANCES")?;
    let ours = rows(&instances).into_iter().map(|row| row["formatted"]["value"].clone());
    let ours: Vec<_> = ours.filter(|instance| instance["head"]["key"]["vrid"] == 51).collect();
    ensure!(ours.len() == 1, "{ours:?}");
    for (name, expected) in [("priority", u64::from(HIGH)), ("version", 3), ("interval_cs", 30)] {
        ensure!(ours[0][name] == expected, "{name} is not {expected}: {}", ours[0]);
    }
    ensure!(ours[0]["heard_ns"].is_u64(), "no heard_ns in {}", ours[0]);

    let mac = Value::from(lb01.mac().0.map(u64::from).to_vec());
    let group = ["VIPS_A", "VIPS_B"].iter().find_map(|map| {
        let table = dump(map).ok()?;
        let ours = rows(&table).into_iter().map(|row| row["formatted"].clone()).find(|row| {
            row["key"]["address"].as_array().is_some_and(|a| a.ends_with(&VIP.octets().map(Value::from)))
        })?;
        numbers(&ours["value"]["mac"]).eq(&mac).then(|| ours["value"]["group"].as_u64())?
    });
    let group = group.context("the VIP is in no table")?;

    let leases = dump("LEASES")?;
    let held: Vec<_> = rows(&leases).into_iter().map(|row| row["formatted"].clone()).collect();
    let held: Vec<_> =
        held.iter().filter(|row| row["value"].as_u64().is_some_and(|until| until > 0)).collect();
    ensure!(held.len() == 1 && held[0]["key"] == group, "{held:?}");

    let programs = lb01.exec(&["bpftool", "prog", "show"])?;
    let id = HostState::of(lb01)?.xdp.context("no XDP program")?;
    let shown = programs.lines().find(|line| line.starts_with(&format!("{id}: ")));
    ensure!(
        shown.is_some_and(|line| line.contains("xdp") && line.contains("vipd_xdp")),
        "{shown:?} in\n{programs}"
    );
    Ok(())
}

/// bpftool writes the elements of a `[u8]` as numbers or as hexadecimal strings, depending on its version.
fn numbers(array: &Value) -> Value {
    let number = |value: &Value| {
        let hex = value.as_str().and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        value.as_u64().or(hex)
    };
    array.as_array().map_or(Value::Null, |all| all.iter().map(number).collect())
}

/// One page, over a new connection.
fn get(ns: &Netns, server: SocketAddr) -> Result<String> {
    ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET / HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let (_, body) = page.split_once("\r\n\r\n").ok_or_else(|| anyhow!("not a page: {page:?}"))?;
        Ok(body.trim().to_owned())
    })?
}

/// A lab whose lb01 must not answer for any VIP, and what tempts it to.
struct Watch {
    prober: ArpProber,
    replies: Sniffer,
    phases: Vec<(&'static str, Instant)>,
    _knocker: Knocker,
    bed: Bed,
}

impl Watch {
    fn start() -> Result<Option<Self>> {
        let Some(bed) = Bed::new()? else { return Ok(None) };
        let prober =
            ArpProber::start(bed.client().ns(), "eth0", &[VIP, OTHER_VIP], Duration::from_millis(1))?;
        let replies = replies(&bed)?;
        Ok(Some(Self { prober, replies, phases: Vec::new(), _knocker: Knocker::start(&bed)?, bed }))
    }

    fn phase(&mut self, name: &'static str) {
        self.phases.push((name, Instant::now()));
    }

    /// With 40 s between adverts nobody takes over in the time of a test.
    fn start_backup(&self, vip: Ipv4Addr) -> Result<Daemon> {
        let conf = node_conf(HIGH, "").replace("advert_int 0.3", "advert_int 40");
        ensure!(conf.contains("advert_int 40"), "{conf}");
        let vipd = self.bed.start("lb01", &conf.replace(&VIP.to_string(), &vip.to_string()))?;
        self.bed.wait("lb01", "BACKUP")?;
        Ok(vipd)
    }

    fn nobody_answered(&self) -> Result<()> {
        let replies = self.replies.seen();
        let ends = self.phases.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
        let mut found = Vec::new();
        for ((phase, from), to) in self.phases.iter().zip(ends) {
            let asked = self.prober.timeline().iter().filter(|p| *from <= p.sent && p.sent < to).count();
            ensure!(asked >= 20, "{phase}: hardly asked");
            let answers = self.prober.answers_between(*from, to).len();
            let named: Vec<_> = replies.iter().filter(|s| *from <= s.at && s.at < to).collect();
            let span = named.first().zip(named.last()).map(|(first, last)| last.at - first.at);
            println!(
                "{phase}: {asked} questions, {answers} answers, {} frames in a VIP's name ({span:?})",
                named.len()
            );
            found.extend(named.first().map(|s| format!("{phase}: {s:?}")));
            ensure!(answers == 0, "{phase}: {answers} of {asked} questions were answered");
        }
        ensure!(
            found.is_empty() && replies.is_empty(),
            "frames in a VIP's name, the first of each phase: {found:#?}"
        );
        Ok(())
    }

    /// All of this would have been seen: without vipd, a local route is enough for the kernel to answer.
    fn would_have_seen_it(&self, vip: Ipv4Addr) -> Result<()> {
        let (lb01, start) = (self.bed.lb01(), Instant::now());
        lb01.exec(&["ip", "route", "add", "local", &vip.to_string(), "dev", "lo"])?;
        wait_for("the kernel to answer by itself", SOON, || {
            self.prober.first_answer_by(lb01.mac(), start).is_some()
        })?;
        self.replies.wait("an ARP reply", SOON, is_arp)?;
        self.replies.wait("an echo reply", SOON, |s| !is_arp(s))?;
        Ok(())
    }
}

/// What lb01 says in a VIP's name: ARP with it as the sender, IP packets from it.
fn replies(bed: &Bed) -> Result<Sniffer> {
    Sniffer::start(bed.lab.switch(), &bed.lb01().port(), |seen| {
        let vip = |ip: Ipv4Addr| ip == VIP || ip == OTHER_VIP;
        let ip = |at: usize| {
            let octets: [u8; 4] = seen.bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let named = match &seen.frame {
            Frame::Arp(arp) => vip(arp.sender_ip) && !arp.is_gratuitous(),
            _ => seen.bytes[12..14] == [8, 0] && ip(26).is_some_and(vip),
        };
        named && !seen.outgoing
    })
}

/// Knocks at lb01 for VIPs with frames that are addressed to its MAC: no switch or neighbour table decides about them.
struct Knocker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Knocker {
    fn start(bed: &Bed) -> Result<Self> {
        let (from, to) = (bed.client().mac().0, bed.lb01().mac().0);
        let knocks = [VIP, OTHER_VIP].into_iter().flat_map(|vip| {
            let mut question = support::frames::arp(1, from, CLIENT, vip);
            question[..6].copy_from_slice(&to);
            let mut ping = echo_request(vip);
            ping[..6].copy_from_slice(&to);
            ping[6..12].copy_from_slice(&from);
            [question, ping]
        });
        let knocks: Vec<_> = knocks.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = bed.client().ns().spawn("knocker", {
            let stop = stop.clone();
            move || -> Result<()> {
                let socket = PacketSocket::open("eth0", 0)?;
                while !stop.load(Ordering::Relaxed) {
                    knocks.iter().try_for_each(|frame| socket.send(frame))?;
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn is_arp(seen: &Seen) -> bool {
    matches!(seen.frame, Frame::Arp(_))
}

/// RFC 792, without the Ethernet addresses.
fn echo_request(destination: Ipv4Addr) -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    let sum = support::frames::checksum(&[&payload]);
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    support::frames::Ipv4 {
        source: CLIENT,
        destination,
        ttl: 64,
        protocol: 1,
        fragment: 0,
        options: Vec::new(),
        payload,
    }
    .frame()
}
