//! `vipd cleanup`: what a killed vipd has left goes, whatever it was, and what runs stays.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    io::ErrorKind,
    net::TcpStream,
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{host_state::HostState, *};
use vipd_tests::Node;

/// `vipd cleanup` on a node; the exit code and what `--json` prints.
fn cleanup(bed: &Bed, node: &str, more: &[&str]) -> Result<(i32, Value)> {
    let output = command(bed, node, &[], &[&["--json"], more].concat())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&said)
        .with_context(|| format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code().context("it was ended")?, json))
}

/// The same as it is for people, started by another command.
fn command(bed: &Bed, node: &str, by: &[&str], more: &[&str]) -> Result<Output> {
    let node = bed.lab.node(node);
    let vipd = bed.vipd.display().to_string();
    let words = [by, &[vipd.as_str(), "cleanup"], more].concat();
    let mut command = node.command(words[0]);
    command.args(&words[1..]).arg("--bpffs-dir").arg(node.bpffs_dir());
    command.arg("--runtime-dir").arg(node.runtime_dir());
    Ok(command.output()?)
}

/// The `what` of each thing in a list of the answer.
fn list(json: &Value, name: &str) -> Vec<String> {
    let things = json[name].as_array().into_iter().flatten();
    things.filter_map(|thing| thing["what"].as_str().map(str::to_owned)).collect()
}

fn has(list: &[String], words: &str) -> bool {
    list.iter().any(|what| what.contains(words))
}

/// What HostState leaves out.
fn rest(node: &Node) -> Result<String> {
    let show = [
        &["ip", "-o", "address"][..],
        &["bridge", "fdb", "show", "dev", "eth0"],
        &["ip", "maddress", "show", "dev", "eth0"],
        &["tc", "qdisc", "show", "dev", "eth0"],
        &["ip", "-o", "link", "show", "dev", "eth0"],
    ];
    let shown: Result<Vec<String>> = show.iter().map(|argv| node.exec(argv)).collect();
    let shown = shown?.join("\n");
    // The counters of lifetimes, and the program's number, which HostState has.
    Ok(shown.lines().filter(|line| !line.contains("valid_lft")).collect::<Vec<_>>().join("\n"))
}

/// IPv4, IPv6 and link-local VIPs, shown, with routes and rules.
const EVERYTHING: &str = "vip_visible\n virtual_routes {\n 192.0.2.0/24 via 10.0.0.100 dev eth0\n blackhole 198.51.100.0/24 table 77\n }\n \
                          virtual_rules {\n from 10.0.0.3 table 77 preference 150\n }";
const V6: &str = "vrrp_instance VI_6 {\n interface eth0\n virtual_router_id 52\n version 3\n advert_int 0.3\n priority 150\n \
                  virtual_ipaddress {\n fe80::ace\n 2001:db8::3\n }\n}\n";

fn everything(extra: &str) -> String {
    node_conf(HIGH, &format!("{EVERYTHING}\n {extra}")) + V6
}

/// Everything that vipd can leave, by native XDP and at tc ingress: the host is as it was before.
fn a_killed_vipd_leaves_nothing(extra: &str, expected: &[&str]) -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let (before, rest_before) = (HostState::of(lb01)?, rest(lb01)?);
    let (code, json) = cleanup(&bed, "lb01", &[])?;
    ensure!(code == 0 && list(&json, "removed").is_empty(), "nothing was left: {json:#}");

    let mut vipd = bed.start("lb01", &everything(extra))?;
    bed.wait("lb01", "MASTER")?;
    lb01.wait_state(&bed.vipd, "VI_6", "MASTER", SOON)?;
    let shown = || {
        lb01.exec(&["ip", "-o", "address", "show", "dev", "eth0"]).is_ok_and(|a| a.contains("10.0.0.3/32"))
    };
    vipd_tests::wait_for("the VIP to be shown", SOON, shown)?;

    // A vipd that runs is left alone.
    let running = (HostState::of(lb01)?, rest(lb01)?);
    for more in [&[][..], &["--dry-run"]] {
        let output = command(&bed, "lb01", &[], more)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(4), "{output:?}");
        ensure!(error.contains(&format!("pid {}", vipd.pid())) && error.contains("vipd stop"), "{error}");
    }
    ensure!((HostState::of(lb01)?, rest(lb01)?) == running, "the running vipd was touched");
    ensure!(bed.state("lb01")? == "MASTER");

    vipd.kill9()?;
    // As an earlier version's.
    let old = pins(lb01).with_file_name("v1");
    fs::rename(pins(lb01), &old)?;
    fs::create_dir(pins(lb01))?;
    let killed = (HostState::of(lb01)?, rest(lb01)?);
    ensure!(killed.0 != before, "it has left nothing");
    let (code, json) = cleanup(&bed, "lb01", &["--dry-run"])?;
    let found = list(&json, "left");
    ensure!(code == 0 && json["dry_run"] == true && list(&json, "removed").is_empty(), "{json:#}");
    let usual = [
        "address 10.0.0.3/32 on eth0 (vip_visible)",
        "virtual rule -4 from 10.0.0.3/32 pref 150 lookup 77",
        "virtual route 192.0.2.0/24 in table 254",
        "virtual route 198.51.100.0/24 in table 77",
        "route local 10.0.0.3/32 metric 118 in table local",
        "route local fe80::ace/128 metric",
        "route local 2001:db8::3/128 metric 118 in table local",
        "sysctl net.ipv6.ip_nonlocal_bind=1, which was 0",
        "MAC 01:00:5e:00:00:12 in the filter of eth0",
        "sysctl net.ipv4.conf.all.arp_ignore=1, which was 0",
        "pinned maps",
        "vipd.sock",
        "vipd.pid",
    ];
    for words in usual.iter().chain(expected) {
        ensure!(has(&found, words), "{words} is not in {found:#?}");
    }
    ensure!((HostState::of(lb01)?, rest(lb01)?) == killed && old.exists(), "--dry-run has changed something");

    let (code, json) = cleanup(&bed, "lb01", &[])?;
    ensure!(code == 0 && list(&json, "left").is_empty(), "{json:#}");
    ensure!(list(&json, "removed") == found, "{json:#}");
    ensure!(HostState::of(lb01)? == before, "{:#?}\n{before:#?}", HostState::of(lb01)?);
    ensure!(rest(lb01)? == rest_before, "{}\n---\n{rest_before}", rest(lb01)?);
    ensure!(!lb01.bpffs_dir().join("vipd").exists(), "pins are left");
    let files: Vec<_> = fs::read_dir(lb01.runtime_dir())?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(files.is_empty(), "{files:?}");

    // Once more.
    let output = command(&bed, "lb01", &[], &[])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.starts_with("nothing to do"), "{output:?}");
    // With the file the knowledge is gone of what the settings were.
    let mut vipd = bed.start("lb01", &everything(extra))?;
    bed.wait("lb01", "MASTER")?;
    vipd.kill9()?;
    fs::remove_dir_all(lb01.runtime_dir())?;
    let output = command(&bed, "lb01", &[], &[])?;
    let said = String::from_utf8_lossy(&output.stdout);
    for name in
        ["ipv4.conf.all.arp_ignore = 1", "ipv4.conf.all.arp_announce = 2", "ipv4.ip_nonlocal_bind = 1"]
    {
        ensure!(said.contains(&format!("not known    whether net.{name}")), "{said}");
    }
    ensure!(output.status.success() && said.contains("nothing else of vipd is left"), "{said}");
    // And a vipd starts as on a new host.
    let _vipd = bed.start("lb01", &everything(extra))?;
    bed.wait("lb01", "MASTER")
}

#[test]
fn a_killed_vipd_leaves_nothing_of_native_xdp() -> Result<()> {
    a_killed_vipd_leaves_nothing("", &["XDP program on eth0"])
}

#[test]
fn a_killed_vipd_leaves_nothing_of_a_virtual_mac_at_tc() -> Result<()> {
    a_killed_vipd_leaves_nothing(
        "use_vmac",
        &["tc program on eth0", "MAC 00:00:5e:00:01:33 in the filter of eth0"],
    )
}

/// The kernel of the node that is cleaned up answers for no VIP meanwhile (I4), and another node's clients lose nothing.
#[test]
fn nobody_else_answers_meanwhile() -> Result<()> {
    let extra = "vip_visible";
    let Some(mut pair) = usual_pair(extra)? else { return Ok(()) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    for round in 0..3 {
        pair.lb01.kill9()?;
        let killed = Instant::now();
        pair.bed.wait("lb02", "MASTER")?;
        let takeover = wait_advert(&listener, LB02, killed)?;
        std::thread::sleep(INTERVAL);
        let (code, json) = cleanup(&pair.bed, "lb01", &[])?;
        ensure!(code == 0 && has(&list(&json, "removed"), "XDP program"), "round {round}: {json:#}");
        std::thread::sleep(INTERVAL);
        let ended = Instant::now();
        let by_lb01 = answered_by(&prober.timeline(), pair.bed.lb01().mac(), takeover + MESSAGE_DELAY, ended);
        ensure!(by_lb01 == 0, "round {round}: lb01 has answered {by_lb01} times");
        check_answered(
            "during the cleanup",
            &prober.timeline(),
            takeover + MESSAGE_DELAY * 4,
            ended - INTERVAL / 2,
        )?;
        pair.lb01 = pair.bed.restart("lb01")?;
        pair.bed.wait("lb01", "MASTER")?;
    }
    check_single_owner(&prober.stop()?, &listener)
}

/// kill -9, then keepalived on that node: doctor says why its clients would get no answer, and after a cleanup they do.
#[test]
fn keepalived_serves_after_a_cleanup() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    vipd.kill9()?;
    let keepalived = conf(INSTANCE, "BACKUP", HIGH, "");
    // A port where nobody listens refuses at once.
    let answers = || -> Result<bool> {
        let connect = || TcpStream::connect_timeout(&(VIP, 9).into(), Duration::from_secs(1));
        let refused = bed.client().ns().run(connect)?.err().map(|error| error.kind());
        Ok(refused == Some(ErrorKind::ConnectionRefused))
    };

    // What a new user sees first.
    {
        let _keepalived = lb01.start_keepalived(&keepalived)?;
        lb01.wait_keepalived(INSTANCE, "MASTER", SOON)?;
        // The lease runs out.
        vipd_tests::wait_for("no answer", SOON, || answers().is_ok_and(|answers| !answers))?;
        std::thread::sleep(LEASE);
        ensure!(!answers()?, "what is left does no harm: this test shows nothing");
    }
    let mut doctor = lb01.command(&bed.vipd);
    doctor.args(["doctor", "-f"]).arg(lb01.vipd_conf());
    doctor.arg("--bpffs-dir").arg(lb01.bpffs_dir()).arg("--runtime-dir").arg(lb01.runtime_dir());
    // Until keepalived's sockets are gone, another process may be the one that uses what is left.
    vipd_tests::wait_for("doctor to tell of what is left", SOON, || {
        doctor.output().is_ok_and(|told| {
            let text = String::from_utf8_lossy(&told.stdout);
            told.status.code() == Some(1)
                && text.contains("does not run any more has left")
                && text.contains("-> vipd cleanup")
        })
    })?;

    let (code, json) = cleanup(&bed, "lb01", &[])?;
    ensure!(code == 0, "{json:#}");
    let _keepalived = lb01.start_keepalived(&keepalived)?;
    lb01.wait_keepalived(INSTANCE, "MASTER", SOON)?;
    vipd_tests::wait_for("an answer of keepalived's node", SOON, || answers().unwrap_or(false))?;
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..5 {
        ensure!(answers()?, "a connection got lost");
    }
    let told = doctor.output()?;
    let text = String::from_utf8_lossy(&told.stdout);
    ensure!(text.contains("no vipd has left anything"), "{text}");
    Ok(())
}

/// A program whose pins are in another directory is not overlooked.
#[test]
fn a_program_that_is_pinned_elsewhere_is_named() -> Result<()> {
    for (mode, what) in [("native", "XDP program on eth0"), ("tc", "tc program on eth0")] {
        let Some(bed) = Bed::new()? else { return Ok(()) };
        let lb01 = bed.lb01();
        let mut vipd =
            bed.start("lb01", &format!("global_defs {{\n xdp_mode {mode}\n}}\n{}", node_conf(HIGH, "")))?;
        bed.wait("lb01", "MASTER")?;
        vipd.kill9()?;
        let mut elsewhere = lb01.command(&bed.vipd);
        elsewhere.arg("cleanup").arg("--runtime-dir").arg(lb01.runtime_dir());
        elsewhere.arg("--bpffs-dir").arg(lb01.dir().join("elsewhere"));
        let output = elsewhere.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.code() == Some(1), "{mode}: {output:?}");
        let line = format!("not removed  {what}, of a vipd with another --bpffs-dir");
        ensure!(said.contains(&line) && said.contains("-> vipd cleanup --bpffs-dir DIR"), "{mode}: {said}");
        let (code, json) = cleanup(&bed, "lb01", &[])?;
        ensure!(code == 0 && has(&list(&json, "removed"), what), "{mode}: {json:#}");
    }
    Ok(())
}

/// What cannot be removed is named with the remedy, the rest goes, and a second cleanup finds it.
#[test]
fn a_part_that_cannot_be_removed_is_named() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    vipd.kill9()?;
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let output = command(&bed, "lb01", &["unshare", "-m", "sh", "-c", read_only, "sh"], &[])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{output:?}");
    for words in [
        "removed      route local 10.0.0.3/32",
        "removed      XDP program on eth0",
        "not removed  sysctl net.ipv4.conf.all.arp_ignore=1, which was 0",
        "-> sysctl -w net.ipv4.conf.all.arp_ignore=0",
        "a writable /proc/sys",
    ] {
        ensure!(said.contains(words), "{words} is not in {said}");
    }
    let (code, json) = cleanup(&bed, "lb01", &[])?;
    ensure!(code == 0 && has(&list(&json, "removed"), "arp_ignore"), "{json:#}");
    Ok(())
}

/// What the package runs before it is removed. An upgrade is no removal.
#[test]
fn the_package_cleans_up_when_it_is_removed() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let before = HostState::of(lb01)?;
    let bin = lb01.write_vipd_wrapper(&bed.vipd)?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let prerm = concat!(env!("CARGO_MANIFEST_DIR"), "/../vipd/dist/prerm");
    let run = |what: &str| -> Result<Output> {
        let mut command = lb01.command("unshare");
        // This machine's systemd has nothing to do with it.
        let hidden = "if [ -d /run/systemd ]; then mount -t tmpfs none /run/systemd; fi; exec sh \"$@\"";
        command.args(["-m", "sh", "-c", hidden, "sh", prerm, what]);
        Ok(command.env("PATH", &path).output()?)
    };
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    // Somebody has started it without systemd: it is named, and the removal goes on.
    let output = run("remove")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && error.contains(&format!("pid {}", vipd.pid())), "{output:?}");
    ensure!(bed.state("lb01")? == "MASTER");
    vipd.kill9()?;
    let killed = HostState::of(lb01)?;
    ensure!(
        run("upgrade")?.status.success() && HostState::of(lb01)? == killed,
        "an upgrade has removed something"
    );
    let output = run("remove")?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    ensure!(HostState::of(lb01)? == before, "{:#?}", HostState::of(lb01)?);
    Ok(())
}
