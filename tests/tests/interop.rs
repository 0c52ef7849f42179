//! vipd and Debian's keepalived as one virtual router, in both roles, and vipd's packets in Wireshark's eyes.
//!
//! keepalived is ended with SIGTERM, never with SIGKILL: a killed keepalived leaves its address on the interface, for
//! which its host's kernel answers ARP until keepalived is started again. No peer can do anything about that, but say so: `detection.rs`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use support::{Bed, INSTANCE, LB01, LB02, SOON, VIP};
use vipd_tests::{
    Daemon, Mac,
    probe::{
        ArpProber, Sniffer,
        capture::{Frame, Seen},
    },
    wait_for,
};

/// The better and the lesser node.
const BETTER: &str = "lb01";
const LESSER: &str = "lb02";
/// vipd stops answering in the processing of the packet that takes the lease. This is for a machine that is too busy
/// to process packets.
const PACKET_DELAY: Duration = Duration::from_millis(100);

#[test]
fn v2_with_a_password_vipd_better() -> Result<()> {
    share_a_vip(V2, BETTER)
}

#[test]
fn v2_with_a_password_vipd_lesser() -> Result<()> {
    share_a_vip(V2, LESSER)
}

#[test]
fn v3_vipd_better() -> Result<()> {
    share_a_vip(V3, BETTER)
}

#[test]
fn v3_vipd_lesser() -> Result<()> {
    share_a_vip(V3, LESSER)
}

/// First election, death of the better, its return, death of the lesser: one owner each time, and no complaint from
/// either.
fn share_a_vip(dialect: Dialect, vipd_on: &'static str) -> Result<()> {
    let Some(mut pair) = Pair::start(dialect, vipd_on)? else { return Ok(()) };
    pair.owns_alone(BETTER)?;

    let killed = pair.end(BETTER)?;
    pair.wait_owner(LESSER, killed)?;
    pair.owns_alone(LESSER)?;

    let returned = Instant::now();
    pair.run(BETTER)?;
    pair.wait_owner(BETTER, returned)?;
    pair.owns_alone(BETTER)?;

    pair.end(LESSER)?;
    pair.owns_alone(BETTER)?;

    pair.check_yields_at_once()?;
    ensure!(pair.keepalived_complaints().is_empty(), "keepalived: {:#?}", pair.keepalived_complaints());
    ensure!(pair.vipd_complaints().is_empty(), "vipd: {:#?}", pair.vipd_complaints());
    Ok(())
}

/// Routers with different passwords are deaf to each other, so both become master: RFC 2338's own hazard. vipd counts
/// what it discards and lets it change nothing.
///
/// Seen here: keepalived 2.2.7 puts its next advert off with every packet it refuses, so as soon as vipd advertises,
/// keepalived says nothing more. Hence the adverts that are repeated by hand.
#[test]
fn a_wrong_password_is_counted_and_changes_nothing() -> Result<()> {
    let Some(mut pair) = Pair::new(V2, LESSER)? else { return Ok(()) };
    pair.keepalived_password = "2222";
    let start = Instant::now();
    pair.run(BETTER)?;
    pair.wait_owner(BETTER, start)?;
    pair.run(LESSER)?;
    // In its master-down interval it hears the adverts of a better router, and takes over all the same.
    pair.wait_vipd("MASTER")?;
    let before = pair.vipd_status()?;
    let count = |status: &Value| status["discards"]["auth_failures"].as_u64().unwrap_or(0);
    ensure!(count(&before) >= 2, "{before}");

    let refused = pair.wire.adverts_from(LB01).pop().context("keepalived said nothing")?.0;
    for _ in 0..10 {
        pair.bed.lb01().inject(&refused.bytes)?;
    }
    wait_for("the same adverts to be discarded by a master", SOON, || {
        pair.vipd_status().is_ok_and(|now| count(&now) >= count(&before) + 10)
    })
    .with_context(|| format!("{before} {:?}", pair.vipd_status()))?;
    let after = pair.vipd_status()?;
    ensure!(after["state"] == "MASTER", "{after}");
    ensure!(after["became_master"] == 1, "{after}");
    ensure!(after["adverts_received"] == 0, "{after}");
    ensure!(after["leases_revoked"] == 0, "{after}");
    ensure!(after["since_unix_ms"] == before["since_unix_ms"], "{before} {after}");
    let reasons: Vec<_> = after["discards"].as_object().context("no discards")?.keys().collect();
    ensure!(reasons == ["auth_failures"], "{after}");

    let start = Instant::now();
    wait_for("the two masters that this makes", SOON, || {
        pair.prober.owners_seen_between(start, Instant::now()) == 2
    })?;
    let log = pair.keepalived_log();
    ensure!(log.contains("invalid passwd"), "keepalived does not complain of our password:\n{log}");
    Ok(())
}

/// Two lone vipds of different versions and VRIDs, from their first adverts to their goodbyes.
#[test]
fn wireshark_decodes_what_vipd_sends() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let wire = bed.listener()?;
    let other_vip = Ipv4Addr::new(10, 0, 0, 4);
    bed.start(BETTER, &V2.conf(51, 150, "1111", VIP))?.leave_running();
    bed.start(LESSER, &V3.conf(52, 100, "", other_vip))?.leave_running();
    for src in [LB01, LB02] {
        wait_for(format_args!("adverts from {src}"), SOON, || wire.adverts_from(src).len() >= 3)?;
    }
    for node in [BETTER, LESSER] {
        bed.lab.node(node).stop_vipd(&bed.vipd)?;
    }
    let macs = [bed.lb01().mac(), bed.lb02().mac()];
    let vrrp_or_arp = |s: &Seen| matches!(s.frame, Frame::Advert(_) | Frame::Arp(_));
    let ours = |s: &Seen| macs.contains(&s.src_mac) && vrrp_or_arp(s);
    let frames: Vec<_> = wire.seen().into_iter().filter(ours).collect();
    let file = bed.lab.dir().join("vipd.pcap");
    write_pcap(&file, &frames)?;
    let rows = tshark(&bed, &file)?;
    assert_eq!(rows.len(), frames.len());

    for row in &rows {
        for absent in ["_ws.expert", "_ws.malformed", "vrrp.checksum_bad.expert", "eth.trailer"] {
            ensure!(row[absent].is_empty(), "{absent}: {row:?}");
        }
    }
    for (mac, vip, dialect) in [(macs[0], VIP, V2), (macs[1], other_vip, V3)] {
        let of = |protocol: &str| {
            let mine = rows.iter().filter(move |row| row["eth.src"] == mac.to_string());
            mine.filter(|row| !row[protocol].is_empty()).collect::<Vec<_>>()
        };
        let adverts = of("vrrp.version");
        let (leaving, living): (Vec<&Row>, Vec<&Row>) =
            adverts.iter().partition(|row| row["vrrp.prio"] == "0");
        ensure!(living.len() >= 3 && !leaving.is_empty(), "{} {}", living.len(), leaving.len());
        for row in &adverts {
            for (field, expected) in dialect.in_wireshark(vip) {
                ensure!(
                    row[field] == expected,
                    "{field} is {:?}, expected {expected:?}: {row:?}",
                    row[field]
                );
            }
        }
        let priority = if dialect.version == 2 { "150" } else { "100" };
        ensure!(living.iter().all(|row| row["vrrp.prio"] == priority), "{living:?}");
        let ids: BTreeSet<_> = adverts.iter().map(|row| &row["ip.id"]).collect();
        ensure!(ids.len() == adverts.len(), "IP identifications repeat: {ids:?}");

        let (questions, announcements): (Vec<&Row>, Vec<&Row>) =
            of("arp.opcode").into_iter().partition(|row| row["arp.src.proto_ipv4"] == "0.0.0.0");
        for row in questions {
            // ARP Probes: is anybody else there?
            ensure!(row["arp.opcode"] == "1" && row["eth.dst"] == "ff:ff:ff:ff:ff:ff", "{row:?}");
            ensure!(row["arp.dst.proto_ipv4"] == vip.to_string(), "{row:?}");
            ensure!(row["arp.src.hw_mac"] == mac.to_string(), "{row:?}");
        }
        // The first burst of five; the second comes five seconds later.
        ensure!(announcements.len() >= 5, "{announcements:?}");
        for row in announcements {
            ensure!(row["eth.dst"] == "ff:ff:ff:ff:ff:ff", "{row:?}");
            ensure!(["1", "True"].contains(&&*row["arp.isgratuitous"]), "{row:?}");
            ensure!(row["arp.src.proto_ipv4"] == vip.to_string(), "{row:?}");
            ensure!(row["arp.dst.proto_ipv4"] == vip.to_string(), "{row:?}");
            ensure!(row["arp.src.hw_mac"] == mac.to_string(), "{row:?}");
        }
    }
    Ok(())
}

/// A version of VRRP with what goes with it.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    version: u8,
    advert_int: &'static str,
    /// Long enough for at least three adverts.
    window: Duration,
}

const V2: Dialect = Dialect { version: 2, advert_int: "1", window: Duration::from_millis(3500) };
const V3: Dialect = Dialect { version: 3, advert_int: "0.2", window: Duration::from_millis(1200) };

impl Dialect {
    /// A configuration that both daemons read. The password is for version 2 only.
    fn conf(self, vrid: u8, priority: u8, password: &str, vip: Ipv4Addr) -> String {
        let authentication = match self.version {
            2 => format!(
                "    authentication {{\n        auth_type PASS\n        auth_pass {password}\n    }}\n"
            ),
            _ => String::new(),
        };
        format!(
            "global_defs {{\n    vrrp_version {}\n}}\nvrrp_instance {INSTANCE} {{\n    state BACKUP\n    interface eth0\n    \
             virtual_router_id {vrid}\n    priority {priority}\n    advert_int {}\n{authentication}    \
             virtual_ipaddress {{\n        {vip}\n    }}\n}}\n",
            self.version, self.advert_int
        )
    }

    /// Fields that every advert has. A checksum's status 1 is "good".
    fn in_wireshark(self, vip: Ipv4Addr) -> BTreeMap<&'static str, String> {
        let vip = vip.to_string();
        let mut fields = vec![
            ("eth.dst", "01:00:5e:00:00:12"),
            ("ip.dst", "224.0.0.18"),
            ("ip.ttl", "255"),
            ("ip.dsfield", "0xc0"),
            ("ip.proto", "112"),
            ("ip.checksum.status", "1"),
            ("vrrp.type", "1"),
            ("vrrp.addr_count", "1"),
            ("vrrp.ip_addr", &vip),
            ("vrrp.checksum.status", "1"),
        ];
        fields.extend(match self.version {
            2 => [
                ("vrrp.version", "2"),
                ("vrrp.virt_rtr_id", "51"),
                ("vrrp.adver_int", "1"),
                ("vrrp.auth_type", "1"),
                ("vrrp.auth_string", "1111"),
            ],
            _ => [
                ("vrrp.version", "3"),
                ("vrrp.virt_rtr_id", "52"),
                ("vrrp.short_adver_int", "20"),
                ("vrrp.auth_type", ""),
                ("vrrp.reserved_mbz", "0"),
            ],
        });
        fields.into_iter().map(|(field, value)| (field, value.to_owned())).collect()
    }
}

/// A vipd and a keepalived, and what watches them.
struct Pair {
    // Before the lab they run in.
    daemons: BTreeMap<&'static str, Daemon>,
    prober: ArpProber,
    wire: Sniffer,
    dialect: Dialect,
    vipd_on: &'static str,
    keepalived_password: &'static str,
    bed: Bed,
}

impl Pair {
    /// A lab with nothing running.
    fn new(dialect: Dialect, vipd_on: &'static str) -> Result<Option<Self>> {
        let Some(bed) = Bed::new()? else { return Ok(None) };
        Ok(Some(Self {
            daemons: BTreeMap::new(),
            prober: bed.prober()?,
            wire: bed.listener()?,
            dialect,
            vipd_on,
            keepalived_password: "1111",
            bed,
        }))
    }

    /// Both run, and the better one owns the VIP.
    fn start(dialect: Dialect, vipd_on: &'static str) -> Result<Option<Self>> {
        let Some(mut pair) = Self::new(dialect, vipd_on)? else { return Ok(None) };
        let start = Instant::now();
        pair.run(BETTER)?;
        pair.wait_owner(BETTER, start)?;
        pair.run(LESSER)?;
        Ok(Some(pair))
    }

    /// Starts a node's daemon.
    fn run(&mut self, name: &'static str) -> Result<()> {
        let priority = if name == BETTER { 150 } else { 100 };
        let conf = |password| self.dialect.conf(51, priority, password, VIP);
        let daemon = match name == self.vipd_on {
            true => self.bed.start(name, &conf("1111"))?,
            false => self.bed.lab.node(name).start_keepalived(&conf(self.keepalived_password))?,
        };
        self.daemons.insert(name, daemon);
        Ok(())
    }

    /// Ends a node's daemon: vipd without warning, keepalived in order. Returns the moment before.
    fn end(&mut self, name: &str) -> Result<Instant> {
        let mut daemon = self.daemons.remove(name).with_context(|| format!("nothing runs on {name}"))?;
        let at = Instant::now();
        if name == self.vipd_on {
            daemon.kill9()?;
        } else {
            daemon.sigterm()?;
            daemon.wait(SOON)?;
        }
        Ok(at)
    }

    /// Waits until a node is the only one to answer for the VIP.
    fn wait_owner(&self, name: &str, since: Instant) -> Result<()> {
        let mac = self.mac(name);
        wait_for(format_args!("{name} to own the VIP"), SOON, || {
            self.prober.first_answer_by(mac, since).is_some()
        })?;
        wait_for(format_args!("{name} to own the VIP alone"), SOON, || {
            let now = Instant::now();
            let last = self.prober.answers_between(now - Duration::from_millis(300), now);
            !last.is_empty() && last.iter().all(|answer| answer.mac == mac)
        })
        .map(drop)
    }

    /// Watches for some adverts' time: one node owns the VIP, and only it advertises.
    fn owns_alone(&self, name: &str) -> Result<()> {
        let (mac, ip) = (self.mac(name), ip(name));
        let vipd_runs = self.daemons.contains_key(self.vipd_on);
        if vipd_runs {
            self.wait_vipd(if name == self.vipd_on { "MASTER" } else { "BACKUP" })?;
        }
        let before = if vipd_runs { self.vipd_status()? } else { Value::Null };
        let from = Instant::now();
        thread::sleep(self.dialect.window);
        wait_for("questions to be asked", SOON, || {
            self.prober.timeline().iter().rev().take_while(|p| p.sent >= from).count() > 200
        })?;
        let to = Instant::now() - Duration::from_millis(100);

        let probes = self.prober.timeline();
        support::check_answered(&format!("{name} alone"), &probes, from, to)?;
        let strange =
            probes.iter().find(|p| from <= p.sent && p.sent < to && p.owners().iter().any(|o| *o != mac));
        ensure!(strange.is_none(), "while {name} ({mac}) owned the VIP alone: {strange:?}");
        let adverts = self.adverts_between(from..to);
        let strange = adverts.iter().find(|heard| heard.from != ip);
        ensure!(strange.is_none(), "while {name} was the master: {strange:?}");
        ensure!(adverts.len() >= 2, "{name} hardly advertises: {adverts:?}");
        if vipd_runs {
            let status = self.vipd_status()?;
            ensure!(status["discards"] == serde_json::json!({}), "vipd discards: {status}");
            ensure!(status["master"]["address"] == ip.to_string(), "{name} is the master, not: {status}");
            ensure!(status["became_master"] == before["became_master"], "{before} {status}");
            ensure!(status["since_unix_ms"] == before["since_unix_ms"], "{before} {status}");
            if name != self.vipd_on {
                ensure!(received(&status) > received(&before), "vipd hears nothing: {before} {status}");
            }
        }
        Ok(())
    }

    /// Each time keepalived took over, vipd fell silent with keepalived's first advert: also a vipd that was dead.
    fn check_yields_at_once(&self) -> Result<()> {
        let keepalived = if self.vipd_on == BETTER { LESSER } else { BETTER };
        let vipd_mac = self.mac(self.vipd_on);
        let takeovers: Vec<Instant> = support::takeovers(&self.wire)
            .into_iter()
            .filter(|at| self.speaker_at(*at) == Some(ip(keepalived)))
            .collect();
        ensure!(!takeovers.is_empty(), "keepalived never took over");
        let all = support::adverts(&self.wire);
        for at in takeovers {
            // Until vipd takes over in its turn, at least a master-down interval later.
            let mut next = all.iter().filter(|h| h.from == ip(self.vipd_on) && h.priority > 0);
            let end =
                next.find(|h| h.at > at + PACKET_DELAY).map_or_else(Instant::now, |h| h.at - PACKET_DELAY);
            if end <= at + PACKET_DELAY {
                continue;
            }
            let answers = self.prober.answers_between(at + PACKET_DELAY, end);
            let late = answers.iter().find(|answer| answer.mac == vipd_mac);
            if let Some(late) = late {
                bail!("vipd answered {:?} after keepalived's advert", late.at - at);
            }
        }
        Ok(())
    }

    fn speaker_at(&self, at: Instant) -> Option<IpAddr> {
        support::adverts(&self.wire).iter().find(|heard| heard.at == at).map(|heard| heard.from)
    }

    fn adverts_between(&self, span: Range<Instant>) -> Vec<support::Heard> {
        support::adverts(&self.wire).into_iter().filter(|heard| span.contains(&heard.at)).collect()
    }

    fn wait_vipd(&self, state: &str) -> Result<()> {
        self.bed.wait(self.vipd_on, state)
    }

    fn vipd_status(&self) -> Result<Value> {
        self.bed.status(self.vipd_on)
    }

    fn mac(&self, name: &str) -> Mac {
        self.bed.lab.node(name).mac()
    }

    fn keepalived_log(&self) -> String {
        let name = if self.vipd_on == BETTER { LESSER } else { BETTER };
        fs::read_to_string(self.bed.lab.node(name).dir().join("keepalived.log")).unwrap_or_default()
    }

    /// Lines that find fault with a packet of ours. The words are those of keepalived 2.2.7's vrrp.c.
    fn keepalived_complaints(&self) -> Vec<String> {
        const WORDS: [&str; 10] = [
            "checksum",
            "invalid",
            "mismatch",
            "differ",
            "incorrect",
            "incomplete",
            "bogus",
            "expect",
            "received an",
            "not the same",
        ];
        let log = self.keepalived_log();
        let bad = |line: &&str| {
            let line = line.to_lowercase();
            WORDS.iter().any(|word| line.contains(word))
        };
        log.lines().filter(bad).map(str::to_owned).collect()
    }

    fn vipd_complaints(&self) -> Vec<String> {
        // What a busy machine, and a lab of veths, are told.
        const EXPECTED: [&str; 2] = ["real-time", "on a veth native XDP"];
        let log = fs::read_to_string(self.bed.lab.node(self.vipd_on).vipd_log()).unwrap_or_default();
        let bad = |line: &&str| {
            (line.contains("WARN") || line.contains("ERROR"))
                && !EXPECTED.iter().any(|words| line.contains(words))
        };
        log.lines().filter(bad).map(str::to_owned).collect()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        eprintln!("--- keepalived\n{}", self.keepalived_log());
    }
}

fn ip(name: &str) -> IpAddr {
    if name == BETTER { LB01 } else { LB02 }
}

fn received(status: &Value) -> u64 {
    status["adverts_received"].as_u64().unwrap_or(0)
}

/// Writes a capture file: <https://www.tcpdump.org/manpages/pcap-savefile.5.html>.
fn write_pcap(path: &Path, frames: &[Seen]) -> Result<()> {
    let mut out = Vec::new();
    // Magic number for microseconds, version 2.4, UTC, snapshot length, Ethernet.
    for field in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1u32] {
        out.extend(field.to_le_bytes());
    }
    let start = frames.first().context("nothing was captured")?.at;
    for frame in frames {
        let at = frame.at.saturating_duration_since(start);
        let length = u32::try_from(frame.bytes.len())?;
        for field in [u32::try_from(at.as_secs())?, at.subsec_micros(), length, length] {
            out.extend(field.to_le_bytes());
        }
        out.extend(&frame.bytes);
    }
    fs::write(path, out).with_context(|| format!("cannot write {}", path.display()))
}

/// Wireshark's opinion of each frame of a capture: its fields by name, empty where a frame has none.
fn tshark(bed: &Bed, file: &Path) -> Result<Vec<Row>> {
    let file = file.to_str().context("a path in UTF-8")?;
    let mut argv = vec!["tshark", "-n", "-r", file, "-o", "ip.check_checksum:TRUE", "-T", "fields"];
    FIELDS.iter().for_each(|field| argv.extend(["-e", field]));
    let out = bed.client().exec(&argv)?;
    let rows = out.lines().map(|line| {
        let values: Vec<_> = line.split('\t').collect();
        ensure!(values.len() == FIELDS.len(), "tshark said {line:?}");
        Ok(FIELDS.into_iter().zip(values.into_iter().map(str::to_owned)).collect())
    });
    rows.collect()
}

type Row = BTreeMap<&'static str, String>;

const FIELDS: [&str; 29] = [
    "_ws.expert",
    "_ws.malformed",
    "eth.src",
    "eth.dst",
    "eth.trailer",
    "ip.id",
    "ip.dst",
    "ip.ttl",
    "ip.dsfield",
    "ip.proto",
    "ip.checksum.status",
    "vrrp.version",
    "vrrp.type",
    "vrrp.virt_rtr_id",
    "vrrp.prio",
    "vrrp.addr_count",
    "vrrp.ip_addr",
    "vrrp.adver_int",
    "vrrp.short_adver_int",
    "vrrp.reserved_mbz",
    "vrrp.auth_type",
    "vrrp.auth_string",
    "vrrp.checksum.status",
    "vrrp.checksum_bad.expert",
    "arp.opcode",
    "arp.isgratuitous",
    "arp.src.proto_ipv4",
    "arp.dst.proto_ipv4",
    "arp.src.hw_mac",
];
