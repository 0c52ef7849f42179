//! `vipd capture`: what came in with the verdict that the program gave, in either hook; and nothing while nobody asks.

mod support;

use std::{
    fs::{self, File},
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::{Child, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use support::{
    Bed, HIGH, SOON, VIP,
    frames::{Ipv4, v3},
    pins,
    served::{VIP6, dual, wait_state},
};
use vipd_tests::{
    Node,
    probe::question::{arp_request, solicitation},
    wait_for,
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x64);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
const NOBODY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

/// A `vipd capture` that runs. Ended when dropped.
struct Capture {
    client: Child,
    output: PathBuf,
}

impl Capture {
    /// Starts it on lb01 and waits until frames are captured.
    fn start(bed: &Bed, name: &str, arguments: &[&str]) -> Result<Self> {
        let before = bed.events_named("lb01", "capture_started")?.len();
        let output = bed.lb01().dir().join(name);
        let mut command = bed.ask("lb01", &[&["capture"], arguments].concat());
        let client = command.stdout(File::create(&output)?).stderr(Stdio::inherit()).spawn()?;
        let capture = Self { client, output };
        wait_for("the capture to begin", SOON, || {
            bed.events_named("lb01", "capture_started").is_ok_and(|events| events.len() > before)
        })?;
        Ok(capture)
    }

    /// The frames so far, of `--json`.
    fn frames(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.output)?;
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Waits for a frame.
    fn wait(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut found = None;
        let waited = wait_for(what, SOON, || {
            found = self.frames().ok().and_then(|frames| frames.into_iter().find(&is_it));
            found.is_some()
        });
        waited.with_context(|| format!("{:#?}", self.frames()))?;
        found.context("found, then lost")
    }

    fn kill9(&mut self) -> Result<()> {
        self.client.kill()?;
        self.client.wait()?;
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill9();
    }
}

/// Whether the program captures.
fn is_on(node: &Node) -> Result<bool> {
    let pin = pins(node).join("CAPTURE");
    let dump = node.exec(&["bpftool", "-j", "map", "dump", "pinned", pin.to_str().context("UTF-8")?])?;
    let dump: Value = serde_json::from_str(&dump)?;
    let until = dump[0]["formatted"]["value"]["until_ns"].as_u64();
    Ok(until.with_context(|| format!("no until_ns: {dump}"))? != 0)
}

fn wait_off(node: &Node) -> Result<()> {
    wait_for("the capture to end", SOON, || is_on(node).is_ok_and(|on| !on)).map(drop)
}

fn is(frame: &Value, expected: &[(&str, &str)]) -> bool {
    expected.iter().all(|(name, value)| frame[name] == *value)
}

fn start(bed: &Bed, mode: &str) -> Result<vipd_tests::Daemon> {
    let conf =
        dual(HIGH, "1", "", &[]).replace("global_defs {", &format!("global_defs {{\n xdp_mode {mode}"));
    let vipd = bed.start("lb01", &conf)?;
    wait_state(bed, bed.lb01(), "MASTER")?;
    ensure!(bed.status("lb01")?["xdp_mode"] == mode, "{mode} is wanted");
    Ok(vipd)
}

/// What comes in, and fields that it has to have in the capture.
type Kind = (&'static str, Vec<u8>, Vec<(&'static str, &'static str)>);

/// Frames of every kind with the verdicts that they have to get.
fn kinds(bed: &Bed) -> Vec<Kind> {
    let mac = bed.client().mac();
    let far = Ipv4 { ttl: 64, ..Ipv4::advert(PEER, v3(51, 100, 100, &[VIP])) }.frame();
    let other = Ipv4::advert(PEER, v3(99, 100, 100, &[NOBODY])).frame();
    let worse = Ipv4::advert(PEER, v3(51, 1, 100, &[VIP])).frame();
    vec![
        (
            "ARP, answered",
            arp_request(mac, CLIENT, VIP),
            vec![
                ("packet", "arp_request"),
                ("target", "10.0.0.3"),
                ("verdict", "sent"),
                ("reason", "arp_replies"),
                ("destination_mac", "ff:ff:ff:ff:ff:ff"),
            ],
        ),
        (
            "ARP of others",
            arp_request(mac, CLIENT, NOBODY),
            vec![("packet", "arp_request"), ("target", "10.0.0.77"), ("verdict", "passed")],
        ),
        (
            "NS, answered",
            solicitation(mac, CLIENT6, VIP6),
            vec![
                ("packet", "neighbor_solicitation"),
                ("target", "2001:db8::3"),
                ("verdict", "sent"),
                ("reason", "nd_replies"),
            ],
        ),
        (
            "NS of others",
            solicitation(mac, CLIENT6, NOBODY6),
            vec![("packet", "neighbor_solicitation"), ("target", "2001:db8::77"), ("verdict", "passed")],
        ),
        (
            "an advert from afar",
            far,
            vec![("packet", "advert"), ("verdict", "dropped"), ("reason", "ip_ttl_errors")],
        ),
        (
            "another router's advert",
            other,
            vec![("packet", "advert"), ("verdict", "passed"), ("reason", "vrid_errors")],
        ),
        (
            "our router's advert",
            worse,
            vec![("packet", "advert"), ("verdict", "passed"), ("reason", "adverts_received")],
        ),
    ]
}

fn shows_everything(mode: &str) -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let _vipd = start(&bed, mode)?;
    ensure!(!is_on(bed.lb01())?, "nobody has asked");
    let mut capture = Capture::start(&bed, "capture.json", &["--json"])?;
    ensure!(is_on(bed.lb01())?);
    let kinds = kinds(&bed);
    for (what, frame, expected) in &kinds {
        bed.client().inject(frame)?;
        let found = capture.wait(what, |found| found["direction"] == "in" && is(found, expected))?;
        let wanted: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        let octets = found["octets"].as_str().context("octets")?;
        ensure!(octets.starts_with(&wanted), "{what}: {octets} instead of {wanted}");
        ensure!(found["interface"] == "eth0", "{found}");
    }
    // The answers, right behind their questions.
    let mac = bed.lb01().mac().to_string();
    for (packet, of) in [("arp_reply", "arp_request"), ("neighbor_advertisement", "neighbor_solicitation")] {
        let answer = capture.wait(packet, |found| is(found, &[("packet", packet), ("direction", "out")]))?;
        ensure!(answer["source_mac"] == *mac && answer["verdict"] == "sent", "{answer}");
        let frames = capture.frames()?;
        let at = frames.iter().position(|frame| *frame == answer).context("found before")?;
        ensure!(
            at > 0 && is(&frames[at - 1], &[("packet", of), ("verdict", "sent")]),
            "{:?}",
            frames[at - 1]
        );
    }
    // Of somebody else's adverts, one is not in the capture of one instance, nor of an address.
    capture.kill9()?;
    wait_off(bed.lb01())?;
    for (wanted, packets) in [("VI_1", 3), ("10.0.0.77", 2)] {
        let narrow = Capture::start(&bed, "narrow.json", &["--json", wanted])?;
        for (_, frame, _) in &kinds {
            bed.client().inject(frame)?;
        }
        // The last of them is everybody's.
        let last = arp_request(bed.client().mac(), NOBODY, VIP);
        bed.client().inject(&last)?;
        narrow.wait("the last", |found| found["sender"] == "10.0.0.77" && found["direction"] == "in")?;
        // A probe's and another host's frames do not count: only what was injected, in its order.
        let ours: Vec<Value> = narrow.frames()?.into_iter().filter(|f| is_of(f, &kinds)).collect();
        ensure!(ours.len() == packets, "{wanted}: {} instead of {packets}: {ours:#?}", ours.len());
    }
    wait_off(bed.lb01())?;
    Ok(())
}

/// Whether the frame is one of those.
fn is_of(frame: &Value, kinds: &[Kind]) -> bool {
    frame["direction"] == "in"
        && kinds.iter().any(|(_, octets, _)| {
            let octets: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            frame["octets"].as_str().is_some_and(|found| found.starts_with(&octets))
        })
}

#[test]
fn every_verdict_is_shown_under_xdp() -> Result<()> {
    shows_everything("native")
}

#[test]
fn every_verdict_is_shown_at_tc() -> Result<()> {
    shows_everything("tc")
}

/// Wireshark reads the file: interface, direction, the kernel's verdict, ours in words, and the packet.
#[test]
fn tshark_reads_the_file() -> Result<()> {
    for (mode, verdicts) in [("native", ["3", "1", "2"]), ("tc", ["7", "2", "-1"])] {
        let Some(bed) = Bed::dual()? else { return Ok(()) };
        let _vipd = start(&bed, mode)?;
        let file = bed.lb01().dir().join("capture.pcapng");
        let path = file.to_str().context("UTF-8")?;
        let capture = Capture::start(&bed, "summary", &["--write", path, "--count", "4", "VI_1"])?;
        for frame in kinds(&bed).iter().map(|(_, frame, _)| frame).filter(|frame| frame[12] == 8) {
            bed.client().inject(frame)?;
        }
        ended(capture)?;
        let fields = [
            "frame.interface_name",
            "frame.packet_flags_direction",
            "frame.comment",
            if mode == "tc" { "frame.verdict.ebpf_tc" } else { "frame.verdict.ebpf_xdp" },
            "arp.opcode",
            "vrrp.virt_rtr_id",
        ];
        let mut argv = vec!["tshark", "-n", "-r", path, "-T", "fields"];
        fields.iter().for_each(|field| argv.extend(["-e", field]));
        let said = bed.client().exec(&argv)?;
        let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').collect()).collect();
        println!("{said}");
        for expected in [
            ["answered (arp_replies)", verdicts[0], "1", ""],
            ["the program's answer", verdicts[0], "2", ""],
            ["dropped (ip_ttl_errors)", verdicts[1], "", "51"],
            ["passed (adverts_received)", verdicts[2], "", "51"],
        ] {
            let row = rows.iter().find(|row| row.get(2) == Some(&expected[0]));
            let row = row.with_context(|| format!("no {expected:?} in {rows:?}"))?;
            ensure!(row[0] == "eth0" && number(row[3])? == number(expected[1])?, "{row:?} {expected:?}");
            ensure!(row[4..] == expected[2..], "{row:?} {expected:?}");
        }
    }
    Ok(())
}

/// As tshark prints a verdict: decimal or hexadecimal, with or without a sign.
fn number(text: &str) -> Result<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => Ok(u64::from_str_radix(digits, 16)? as i64),
        None => Ok(text.parse::<i64>().or_else(|_| text.parse::<u64>().map(|number| number as i64))?),
    }
}

/// Waits for a capture that ends by itself.
fn ended(mut capture: Capture) -> Result<()> {
    let mut status = None;
    wait_for("the capture to end", SOON, || {
        status = capture.client.try_wait().ok().flatten();
        status.is_some()
    })?;
    let status = status.context("found, then lost")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// A killed daemon leaves a lease on the capture, which ends by itself; and a start begins with none.
#[test]
fn a_capture_ends_with_its_daemon() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut vipd = start(&bed, "native")?;
    let mut capture = Capture::start(&bed, "capture.json", &["--json"])?;
    vipd.kill9()?;
    ensure!(is_on(bed.lb01())?, "a killed daemon ends nothing");
    let mut status = None;
    wait_for("the client to end", SOON, || {
        status = capture.client.try_wait().ok().flatten();
        status.is_some()
    })?;
    ensure!(status.is_some_and(|status| !status.success()), "the capture did not end as it should");
    // The program itself finds that the lease has run out, by the next frame.
    let question = arp_request(bed.client().mac(), CLIENT, NOBODY);
    wait_for("the program to stop capturing", SOON, || {
        bed.client().inject(&question).is_ok() && is_on(bed.lb01()).is_ok_and(|on| !on)
    })?;
    let mut vipd = bed.restart("lb01")?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    let _capture = Capture::start(&bed, "another.json", &["--json"])?;
    vipd.kill9()?;
    let _vipd = bed.restart("lb01")?;
    bed.lb01().wait_ready(&bed.vipd, SOON)?;
    ensure!(!is_on(bed.lb01())?, "a start goes on with the capture of another");
    Ok(())
}

/// Full, the ring costs frames of the capture and nothing else: every request is answered, and the client is told of its loss.
#[test]
fn a_flood_loses_frames_of_the_capture_only() -> Result<()> {
    const FLOOD: usize = 20_000;
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let mut vipd = start(&bed, "native")?;
    let capture = Capture::start(&bed, "capture.json", &["--json"])?;
    let counter = || -> Result<u64> {
        let status = bed.lb01().status(&bed.vipd)?;
        status["counters"]["arp_replies"].as_u64().context("arp_replies")
    };
    let before = counter()?;
    let sent = bed.client().flood(&arp_request(bed.client().mac(), CLIENT, VIP), FLOOD)?;
    ensure!(sent > FLOOD / 2, "{sent} were sent");
    let answered = counter()? - before;
    let frames = |kind: fn(&Value) -> u64| -> Result<u64> { Ok(capture.frames()?.iter().map(kind).sum()) };
    // Each was answered in turn, so each was captured, or lost, twice or once.
    let captured =
        || frames(|frame| u64::from(frame["reason"] == "arp_replies" && frame["direction"] == "in"));
    let lost = || frames(|frame| frame["lost"].as_u64().unwrap_or(0));
    wait_for("all frames to be captured or lost", SOON, || {
        captured().is_ok_and(|captured| lost().is_ok_and(|lost| captured + lost >= answered))
    })
    .with_context(|| format!("{answered} answered, {:?} captured, {:?} lost", captured(), lost()))?;
    println!("{sent} sent, {answered} answered, {} captured, {} lost", captured()?, lost()?);
    ensure!(vipd.is_running() && bed.state("lb01")? == "MASTER", "the flood has cost more");
    drop(capture);
    wait_off(bed.lb01())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let refused = |arguments: &[&str], code: i32, words: &str| -> Result<()> {
        let output = bed.ask("lb01", &[&["capture"], arguments].concat()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {output:?}");
        Ok(())
    };
    refused(&[], 3, "no vipd is running")?;
    let _vipd = start(&bed, "native")?;
    refused(&["VI_2"], 2, "no instance is called VI_2")?;
    refused(&["--write", "/nowhere/x.pcapng"], 1, "create /nowhere/x.pcapng")?;
    refused(&["--count", "0"], 2, "--count")?;
    refused(&["--duration", "0"], 2, "a number of seconds above 0")?;
    let captures: Vec<Capture> =
        (0..4).map(|n| Capture::start(&bed, &format!("capture-{n}"), &[])).collect::<Result<_>>()?;
    refused(&[], 1, "4 clients capture already")?;
    drop(captures);
    wait_off(bed.lb01())?;
    let ended = bed.ask("lb01", &["capture", "--duration", "0.1"]).output()?;
    ensure!(ended.status.success(), "{ended:?}");
    let Ok(said) = String::from_utf8(ended.stderr) else { bail!("no text") };
    ensure!(said.contains("the capture has ended: ") && said.contains(" frames, 0 lost"), "{said}");
    Ok(())
}
