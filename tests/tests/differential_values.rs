//! The values that vipd makes of real files beside those of a keepalived that runs with them: no difference without a reason here.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{Daemon, Lab, Node, require_lab, skip, vipd_bin, wait_for};

/// Keyword to value, by instance.
type Values = BTreeMap<String, BTreeMap<String, String>>;

/// File, keyword, and why the two differ in it.
const DIFFERENCES: &[(&str, &str, &str)] =
    &[("own/vmac.conf", "interface", "keepalived makes a macvlan of its own for the virtual MAC")];

/// A line of keepalived's dump, and the keyword of vipd's `check --explain`.
const LINES: &[(&str, &str)] = &[
    ("VRRP Version", "version"),
    ("Interface", "interface"),
    ("Virtual Router ID", "virtual_router_id"),
    ("Priority", "priority"),
    ("Advert interval", "advert_int"),
    ("Down timer adverts", "down_timer_adverts"),
    ("Gratuitous ARP delay", "garp_master_delay"),
    ("Gratuitous ARP repeat", "garp_master_repeat"),
    ("Gratuitous ARP refresh", "garp_master_refresh"),
    ("Gratuitous ARP refresh repeat", "garp_master_refresh_repeat"),
    ("Gratuitous ARP lower priority delay", "garp_lower_prio_delay"),
    ("Gratuitous ARP lower priority repeat", "garp_lower_prio_repeat"),
    ("Send advert after receive lower priority advert", "lower_prio_no_advert"),
    ("Accept", "accept"),
    ("Preempt", "nopreempt"),
];

/// keepalived's samples, where Debian puts them.
const SAMPLES: &str = "/usr/share/doc/keepalived/samples";

#[test]
fn values_are_those_of_a_running_keepalived() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = Lab::builder().node("lb01", "10.0.0.5/24").build()?;
    let node = lab.node("lb01");
    for (name, peer) in [("eth1", "eth2"), ("eth3", "enp0s3")] {
        node.exec(&["ip", "link", "add", name, "type", "veth", "peer", "name", peer])?;
        node.exec(&["ip", "link", "set", name, "up"])?;
        node.exec(&["ip", "link", "set", peer, "up"])?;
    }
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut files = conf_files("own", &conf.join("own"))?;
    files.extend(conf_files("seeds", &conf.join("seeds"))?);
    if Path::new(SAMPLES).is_dir() {
        files.extend(conf_files("samples", Path::new(SAMPLES))?);
    } else {
        skip(format_args!("keepalived's samples: no {SAMPLES}"));
    }
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (name, path) in &files {
        let ours = match explained(node, path)? {
            Ok(ours) if ours.is_empty() => {
                println!("{name}: accepted, no vrrp_instance");
                continue;
            }
            Ok(ours) => ours,
            Err(reason) => {
                println!("{name}: refused: {reason}");
                continue;
            }
        };
        println!("{name}: accepted");
        for (instance, theirs) in dumped(node, path)? {
            let Some(ours) = ours.get(&instance) else {
                wrong.push(format!("{name}: {instance} is missing"));
                continue;
            };
            for (keyword, theirs) in theirs {
                compared += 1;
                let ours = ours.get(&keyword).cloned().unwrap_or_default();
                let listed = DIFFERENCES.iter().any(|(file, word, _)| file == name && *word == keyword);
                if (ours != theirs) != listed {
                    wrong.push(format!("{name}: {instance}: {keyword}: vipd {ours}, keepalived {theirs}"));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(compared > 300, "{compared} values were compared");
    Ok(())
}

/// What both make of checks that fail and succeed: state and effective priority of each instance.
#[test]
fn weights_and_states_are_those_of_a_running_keepalived() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = Lab::builder().node("lb01", "10.0.0.5/24").node("lb02", "10.0.0.6/24").build()?;
    let conf = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/own/weights.conf"))?;
    for node in ["lb01", "lb02"].map(|name| lab.node(name)) {
        node.exec(&["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth2"])?;
        node.exec(&["ip", "link", "set", "eth1", "up"])?;
        node.exec(&["ip", "link", "set", "eth2", "up"])?;
    }
    // Each alone with its virtual routers, or they would elect one of the two.
    let (vipd, theirs) = (lab.node("lb01"), lab.node("lb02"));
    let other = conf.replace("virtual_router_id 5", "virtual_router_id 6").replace("10.0.0.5", "10.0.0.6");
    let _keepalived = theirs.start_keepalived(&other)?;
    vipd.write_vipd_conf(&conf)?;
    let bin = vipd_bin()?;
    let _vipd = vipd.start_vipd(&bin)?;
    for (instance, priority) in [("VI_1", 88), ("VI_2", 100), ("VI_3", 90)] {
        theirs.wait_keepalived(instance, "MASTER", SOON)?;
        vipd.wait_state(&bin, instance, "MASTER", SOON)?;
        let of = || -> Option<u64> {
            let status = vipd.status(&bin).ok()?;
            status["instances"].as_array()?.iter().find(|i| i["name"] == instance)?["priority"].as_u64()
        };
        wait_for(format_args!("priority {priority} of {instance}"), SOON, || of() == Some(priority))?;
        let theirs = fs::read_to_string(theirs.dir().join("keepalived.log"))?;
        let changed = format!("({instance}) Changing effective priority from ");
        let last =
            theirs.lines().rev().find_map(|line| Some(line.split_once(&changed)?.1.split_once(" to ")?.1));
        let base = if instance == "VI_3" { "90" } else { "100" };
        ensure!(last.unwrap_or(base) == priority.to_string(), "{instance}: keepalived has {last:?}");
    }
    Ok(())
}

/// Configurations in a directory, by `KIND/NAME`.
fn conf_files(kind: &str, dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".conf") || name.starts_with("keepalived.conf.") {
            files.push((format!("{kind}/{name}"), entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// The values in `vipd check --explain`; or the first error.
fn explained(node: &Node, file: &Path) -> Result<Result<Values, String>> {
    let mut command: Command = node.command(vipd_bin()?);
    command.args(["check", "--allow-unsupported", "--explain", "-i", "one", "-f"]).arg(file);
    let output = command.env("NO_COLOR", "1").output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let error = said.lines().find(|line| line.starts_with("error")).unwrap_or(&said);
        return Ok(Err(error.to_owned()));
    }
    let text = String::from_utf8(output.stdout)?;
    let (mut values, mut instance) = (Values::new(), None);
    for line in text.lines() {
        let (line, _) = line.split_once(" #").unwrap_or((line, ""));
        if let Some(name) = line.strip_prefix("vrrp_instance ") {
            let name = name.trim().trim_end_matches('{').trim().trim_matches('"').to_owned();
            values.entry(name.clone()).or_default().insert("nopreempt".into(), "off".into());
            instance = Some(name);
        } else if line.starts_with('}') {
            instance = None;
        }
        let Some(of) = instance.as_ref().and_then(|name| values.get_mut(name)) else { continue };
        // Only what stands in the instance itself, not in its blocks.
        let is_own = line.len() - line.trim_start().len() == INDENT;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [keyword, value] if is_own && value != "{" => _ = of.insert(keyword.into(), value.into()),
            ["nopreempt"] if is_own => _ = of.insert("nopreempt".into(), "on".into()),
            _ => {}
        }
    }
    Ok(Ok(values))
}

/// The values in the dump of a keepalived that runs with the file; none if it does not run.
fn dumped(node: &Node, file: &Path) -> Result<Values> {
    let data = node.dir().join("keepalived.data");
    let _ = fs::remove_file(&data);
    let pid = node.dir().join("keepalived.pid");
    let mut command = node.command("keepalived");
    command.args(["-n", "-G", "-l", "-D", "-P", "-i", "one", "-f"]).arg(file).env("TMPDIR", node.dir());
    for (flag, name) in [("-p", "keepalived.pid"), ("-r", "vrrp.pid"), ("-c", "c.pid"), ("-b", "b.pid")] {
        let path = node.dir().join(name);
        // Of one that has crashed.
        let _ = fs::remove_file(&path);
        command.arg(flag).arg(path);
    }
    command.stdin(Stdio::null());
    let log = node.dir().join("values.log");
    // What the one before has said.
    let _ = fs::remove_file(&log);
    let mut daemon = Daemon::start("keepalived", &mut command, &log)?.signal_group();
    // One that refuses its file ends, or never comes to its routers; without IPVS in the kernel it crashes again and again.
    let runs = wait_for("keepalived to run", SOON, || {
        !daemon.is_running()
            || daemon.log().contains("Startup complete")
            || ["Non-existent", "Respawning"].iter().any(|word| daemon.log().contains(word))
    });
    runs.with_context(|| format!("{}: {}", file.display(), daemon.log()))?;
    if !daemon.is_running() || !daemon.log().contains("Startup complete") {
        println!("{}: keepalived does not run", file.display());
        if daemon.is_running() {
            daemon.sigterm()?;
            daemon.wait(SOON)?;
        }
        return Ok(Values::new());
    }
    ensure!(pid.exists(), "{}: keepalived has no pid file: {}", file.display(), daemon.log());
    let main = fs::read_to_string(&pid)?.trim().parse::<i32>()?;
    // SAFETY: no pointers; a child of ours that has not been waited for.
    ensure!(unsafe { libc::kill(main, libc::SIGUSR1) } == 0, "keepalived cannot be signalled");
    let whole = || fs::read_to_string(&data).is_ok_and(|text| text.contains("< Interfaces >"));
    wait_for("keepalived's dump", SOON, whole)?;
    let text = fs::read_to_string(&data)?;
    daemon.sigterm()?;
    daemon.wait(SOON)?;
    Ok(values_of(&text))
}

fn values_of(dump: &str) -> Values {
    let routers = dump.split("< VRRP Topology >").nth(1).unwrap_or_default();
    let routers = routers.split("< VRRP Sockpool >").next().unwrap_or_default();
    let (mut values, mut instance) = (Values::new(), String::new());
    for (keyword, value) in routers.lines().filter_map(|line| line.trim().split_once(" = ")) {
        if keyword == "VRRP Instance" {
            instance = value.to_owned();
        } else if let Some((_, name)) = LINES.iter().find(|(line, _)| *line == keyword) {
            let value = match (*name, value) {
                ("advert_int", value) => seconds(value),
                ("lower_prio_no_advert", value) => if value == "true" { "off" } else { "on" }.to_owned(),
                ("accept", value) => if value == "enabled" { "on" } else { "off" }.to_owned(),
                ("nopreempt", value) => if value == "enabled" { "off" } else { "on" }.to_owned(),
                (_, value) => value.to_owned(),
            };
            values.entry(instance.clone()).or_default().insert((*name).to_owned(), value);
        }
    }
    values
}

/// `100 milli-sec` or `1 sec`, in seconds as vipd writes them.
fn seconds(text: &str) -> String {
    match text.split_once(' ') {
        Some((number, "milli-sec")) => {
            number.parse::<f64>().map_or(text.to_owned(), |ms| format!("{}", ms / 1_000.0))
        }
        Some((number, _)) => number.to_owned(),
        None => text.to_owned(),
    }
}

/// Of what stands in an instance.
const INDENT: usize = 4;
