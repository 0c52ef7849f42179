//! What an operator asks beside the status: what a reload would change, what has happened before a restart, who may see it, and
//! how to begin.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    env, fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
    process::{self, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Daemon, wait_for};

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The dry run says what the reload says, applies nothing, and refuses what the reload refuses.
#[test]
fn a_dry_run_says_what_a_reload_changes() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let check = |path: &str| format!("vrrp_script chk {{\n script {path}\n interval 0.2\n}}\n");
    let before = check("/bin/true") + &node_conf(HIGH, "track_script {\n chk\n }");
    let _lb01 = bed.start("lb01", &before)?;
    bed.wait("lb01", "MASTER")?;
    let dry_run = |conf: &str, more: &[&str]| -> Result<(Option<i32>, String, String)> {
        lb01.write_vipd_conf(conf)?;
        Ok(text(&bed.ask("lb01", &[&["reload", "--dry-run"], more].concat()).output()?))
    };

    let moved = format!(
        "# a comment\n\n{}\n",
        before.replace("state BACKUP", "").replace("interface eth0", "interface eth0\nstate BACKUP")
    );
    let (code, out, _) = dry_run(&moved, &["--exit-code"])?;
    ensure!(code == Some(0) && out == "1 instances: 0 changed, 0 added, 0 removed\n", "{code:?} {out}");
    let said = bed.reloaded("lb01", &moved)?;
    ensure!(said == out, "a reload says something else: {said}");

    let after = moved
        .replace("script /bin/true", "script \"/bin/test 1 = 1\"")
        .replace("priority 150", "priority 140");
    let after = after.replace("virtual_ipaddress {", "virtual_ipaddress {\n10.0.0.40");
    let (code, out, err) = dry_run(&after, &[])?;
    let expect = "~ vrrp_script chk script \"/bin/true\" → \"/bin/test '1' '=' '1'\"  (the check begins anew)\n\
                  + VI_1 virtual_ipaddress 10.0.0.40/32\n\
                  ~ VI_1 priority 150 → 140  (may start an election)\n\
                  1 instances: 1 changed, 0 added, 0 removed; 1 other change\n";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.replace('\'', "")).collect();
        lines.sort();
        lines
    };
    ensure!(code == Some(0) && sorted(&out) == sorted(expect), "{code:?} {err}\n{out}");
    ensure!(dry_run(&after, &["--exit-code"])?.0 == Some(1));
    let (_, json, _) = dry_run(&after, &["--json"])?;
    let json: Value = serde_json::from_str(&json)?;
    let priority =
        json["changes"].as_array().and_then(|all| all.iter().find(|change| change["keyword"] == "priority"));
    let priority = priority.with_context(|| json.to_string())?;
    ensure!(
        priority["kind"] == "changed"
            && priority["instance"] == INSTANCE
            && priority["before"] == "150"
            && priority["after"] == "140",
        "{priority}"
    );
    // Nothing was applied.
    let status = bed.status("lb01")?;
    ensure!(
        status["priority"] == 150 && status["vips"].as_array().is_some_and(|vips| vips.len() == 1),
        "{status}"
    );

    let wrong = after.replace("priority 140", "prioritty 140");
    let (code, _, err) = dry_run(&wrong, &[])?;
    ensure!(
        code == Some(6) && err.contains("did you mean `priority`?") && err.contains("rejected"),
        "{code:?} {err}"
    );
    let (code, _, err) = dry_run(&after.replace("interface eth0", "interface eth9"), &[])?;
    ensure!(code == Some(6) && err.contains("interface eth9 does not exist"), "{code:?} {err}");
    // Each wrong interface is an error of its own.
    let second = node_conf(LOW, "").replace(INSTANCE, "VI_2").replace("router_id 51", "router_id 52");
    let second = second.replace("10.0.0.3\n", "10.0.0.7\n").replace("interface eth0", "interface eth9");
    let two = after.replace("interface eth0", "interface eth8") + &second;
    let (code, _, err) = dry_run(&two, &[])?;
    ensure!(
        code == Some(6)
            && err.contains("eth8 does not exist")
            && err.contains("eth9 does not exist")
            && err.contains("2 errors"),
        "{code:?} {err}"
    );

    let said = bed.reloaded("lb01", &after)?;
    ensure!(said == out, "a reload says something else: {said}");
    let reloaded = bed.wait_event("lb01", "reloaded", |fields| fields["changes"].is_string())?;
    ensure!(
        reloaded["fields"]["changes"].as_str().is_some_and(|c| c.contains("priority 150 → 140")),
        "{reloaded}"
    );
    ensure!(bed.status("lb01")?["priority"] == 140);
    Ok(())
}

/// A script that is not there puts nothing in FAULT, as with keepalived; but whoever reloads, asks or monitors is told.
#[test]
fn a_check_that_is_not_there_is_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let check = "vrrp_script chk {\n script /no/such\n}\n";
    bed.lb01().write_vipd_conf(&(check.to_owned() + &node_conf(HIGH, "track_script {\n chk\n }")))?;
    for more in [&["reload", "--dry-run"][..], &["reload"]] {
        let said = bed.told("lb01", more)?;
        ensure!(said.contains("warning: ") && said.contains("/no/such"), "{said}");
    }
    ensure!(bed.state("lb01")? == "MASTER");
    let said = bed.told("lb01", &["explain"])?;
    ensure!(said.contains("the check chk of this node cannot be run, and counts for nothing: "), "{said}");
    let output = bed.ask("lb01", &["status", "--check"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1) && said.contains("vrrp_script chk is ignored"), "{output:?}");
    Ok(())
}

/// Whoever would wait for a frozen vipd is told so, and the request is void.
#[test]
fn nobody_waits_for_a_frozen_daemon() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    vipd.sigstop()?;
    let frozen = [
        &["drain"][..],
        &["reload"],
        &["reload", "--dry-run"],
        &["handover", INSTANCE],
        &["log", "debug"],
        &["capture"],
    ];
    let outputs: Result<Vec<_>> =
        frozen.iter().map(|argv| Ok((argv, bed.ask("lb01", argv).output()?))).collect();
    vipd.sigcont()?;
    for (argv, output) in outputs? {
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(5), "{argv:?}: {output:?}");
        ensure!(error.contains("does not answer: stopped or hung"), "{argv:?}: {error}");
    }
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.status("lb01")?["priority"] == HIGH, "a request that was given up was obeyed");
    ensure!(bed.events_named("lb01", "reloaded")?.is_empty(), "a request that was given up was obeyed");
    Ok(())
}

/// The events of before a restart are there with their numbers and times, and who follows them goes on.
#[test]
fn events_outlive_the_daemon() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let before = bed.events("lb01", &[])?;
    let (out, err) = (lb01.dir().join("followed"), lb01.dir().join("said"));
    let mut command = lb01.command("sh");
    command.args(["-c", "exec \"$@\" 2>\"$0\""]).arg(&err).arg(&bed.vipd);
    command.args(["events", "--follow", "--json", "--runtime-dir"]).arg(lb01.runtime_dir());
    let mut follower = Daemon::start("vipd events", &mut command, &out)?;
    wait_for("the follower", SOON, || follower.log().contains("MASTER"))?;

    bed.told("lb01", &["stop", "--for-restart"])?;
    ensure!(vipd.wait(SOON)?.success());
    let file = lb01.state_dir().join("events.jsonl");
    let metadata = fs::metadata(&file)?;
    ensure!(metadata.permissions().mode() & 0o777 == 0o600, "{metadata:?}");
    wait_for("the follower to say so", SOON, || {
        fs::read_to_string(&err).is_ok_and(|said| said.contains("has gone"))
    })?;
    // As after a power failure.
    let mut torn = fs::read_to_string(&file)?;
    let lines = torn.lines().count();
    torn.push_str("{\"seq\":9999,\"time_unix_");
    fs::write(&file, torn)?;

    let mut vipd = bed.restart("lb01")?;
    lb01.wait_ready(&bed.vipd, SOON)?;
    bed.wait("lb01", "MASTER")?;
    let after = bed.events("lb01", &[])?;
    ensure!(after[..before.len()] == before[..], "{before:#?}\n{after:#?}");
    ensure!(after.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "numbers go on: {after:#?}");
    let started: Vec<&Value> = after.iter().filter(|event| event["event"] == "started").collect();
    ensure!(started.len() == 2 && started[1]["seq"].as_u64() == Some(lines as u64 + 1), "{after:#?}");

    // By time and by name, and wrong ones with what to write.
    let since = |time: &str| bed.events("lb01", &["--since", time]).map(|events| events.len());
    ensure!(since("1h")? == after.len() && since("today")? > 0 && since("2100-01-01")? == 0);
    ensure!(bed.events("lb01", &["--until", "2020-01-01"])?.is_empty());
    ensure!(bed.events("lb01", &["--event", "started"])?.len() == 2);
    for (arguments, expect) in
        [(["--event", "state_chnged"], "did you mean state_changed?"), (["--since", "5m1h"], "10m, 1h30m")]
    {
        let (code, _, err) = text(&bed.ask("lb01", &[&["events"], &arguments[..]].concat()).output()?);
        ensure!(code == Some(2) && err.contains(expect), "{code:?} {err}");
    }

    // Each event once, over the restart.
    wait_for("the follower to be back", SOON, || {
        follower.log().lines().count() == bed.events("lb01", &[]).map_or(0, |events| events.len())
    })?;
    let followed: Vec<Value> =
        follower.log().lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    ensure!(followed == bed.events("lb01", &[])?, "{followed:#?}");
    ensure!(fs::read_to_string(&err)?.contains("is back"));
    ensure!(follower.is_running());
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(vipd.wait(SOON)?.success());
    Ok(())
}

/// A member of the group sees the status and changes nothing; who is in no group is told what to do.
#[test]
fn a_group_may_see_and_change_nothing() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    // The directories of labs are root's alone: what others are to reach is put elsewhere.
    let dir = env::temp_dir().join(format!("vipd-roles-{}", process::id()));
    fs::create_dir_all(&dir)?;
    let result = group(&bed, &dir);
    fs::remove_dir_all(&dir)?;
    result.with_context(|| fs::read_to_string(lb01.vipd_log()).unwrap_or_default())
}

fn group(bed: &Bed, dir: &Path) -> Result<()> {
    const NOGROUP: u32 = 65534;
    let lb01 = bed.lb01();
    fs::copy(&bed.vipd, dir.join("vipd"))?;
    let run = dir.join("run");
    let conf =
        |group: &str| node_conf(HIGH, "").replacen("vrrp_version 3", &format!("vrrp_version 3\n{group}"), 1);
    lb01.write_vipd_conf(&conf("status_group nogroup"))?;
    let mut command = lb01.command(&bed.vipd);
    command.arg("run").arg("-f").arg(lb01.vipd_conf()).arg("--bpffs-dir").arg(lb01.bpffs_dir());
    command.arg("--runtime-dir").arg(&run).arg("--state-dir").arg(lb01.state_dir()).arg("--xdp-mode=native");
    let mut daemon = Daemon::start("vipd", &mut command, &lb01.vipd_log())?;
    let socket = run.join("status.sock");
    wait_for("the socket", SOON, || socket.exists() || !daemon.is_running())?;
    let ask = |gid: u32, arguments: &[&str]| -> Result<(Option<i32>, String, String)> {
        let mut command = lb01.command("setpriv");
        command.args(["--reuid=65533", &format!("--regid={gid}"), "--clear-groups"]).arg(dir.join("vipd"));
        Ok(text(&command.args(arguments).arg("--runtime-dir").arg(&run).output()?))
    };
    wait_for("the group to be served", SOON, || {
        ask(NOGROUP, &["status"]).is_ok_and(|(code, ..)| code == Some(0))
    })?;
    let metadata = fs::symlink_metadata(&socket)?;
    ensure!(
        metadata.file_type().is_socket() && metadata.mode() & 0o777 == 0o660 && metadata.gid() == NOGROUP,
        "{metadata:?}"
    );
    let events = ask(NOGROUP, &["events"])?;
    ensure!(events.0 == Some(0) && events.1.contains("started"), "{events:?}");
    for arguments in [&["where", "10.0.0.3"][..], &["is-master", INSTANCE], &["status", "--check"]] {
        let (code, _, err) = ask(NOGROUP, arguments)?;
        ensure!(code.is_some_and(|code| code <= 1) && err.is_empty(), "{arguments:?}: {code:?} {err}");
    }
    for arguments in [
        &["reload"][..],
        &["reload", "--dry-run"],
        &["stop"],
        &["drain"],
        &["undrain"],
        &["handover", INSTANCE],
    ] {
        let (code, _, err) = ask(NOGROUP, arguments)?;
        ensure!(
            code == Some(1) && err.contains("use sudo: ") && err.lines().count() == 1,
            "{arguments:?}: {code:?} {err}"
        );
    }
    ensure!(daemon.is_running());
    // Who is in no group.
    let (code, _, err) = ask(65533, &["status"])?;
    ensure!(
        code == Some(1) && err.contains("join the group nogroup") && err.lines().count() == 1,
        "{code:?} {err}"
    );

    // A reload changes the group, and refuses one that there is not.
    let reload = |conf: &str| -> Result<(Option<i32>, String, String)> {
        lb01.write_vipd_conf(conf)?;
        Ok(text(&lb01.command(&bed.vipd).args(["reload", "--runtime-dir"]).arg(&run).output()?))
    };
    let (code, out, err) = reload(&conf("status_group no-such-group"))?;
    ensure!(code == Some(6) && err.contains("there is no group no-such-group"), "{code:?} {out} {err}");
    let (code, out, err) = reload(&conf("status_group root"))?;
    ensure!(
        code == Some(0) && out.contains("~ global_defs status_group nogroup → root"),
        "{code:?} {out} {err}"
    );
    let (code, _, err) = ask(NOGROUP, &["status"])?;
    ensure!(code == Some(1) && err.contains("status_group"), "{code:?} {err}");
    daemon.sigterm()?;
    ensure!(daemon.wait(SOON)?.success() && !socket.exists(), "{}", daemon.log());
    Ok(())
}

/// Both files pass the check, nothing is overwritten, and the virtual router of another node is avoided.
#[test]
fn a_pair_begins_with_init() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let conf = lb01.dir().join("begun").join("vipd.conf");
    let peer = conf.with_file_name("vipd.conf.peer");
    let init = |arguments: &[&str]| -> Result<(Option<i32>, String, String)> {
        let mut command = lb01.command(&bed.vipd);
        Ok(text(&command.arg("init").args(arguments).arg("--output").arg(&conf).output()?))
    };
    let (code, _, err) = init(&["--listen", "0"])?;
    ensure!(code == Some(1) && err.contains("--vip is needed"), "{code:?} {err}");
    let (code, _, err) = init(&["--listen", "0", "--vip", "10.0.0.3", "--interface", "eth7"])?;
    ensure!(
        code == Some(1) && err.contains("no interface eth7") && err.contains("eth0 (10.0.0.5/24"),
        "{code:?} {err}"
    );
    ensure!(!conf.exists() && !peer.exists());

    // Another node has the first VRID that is proposed.
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    let (code, out, err) = init(&["--vip", "10.0.0.50", "--check", "/bin/true"])?;
    ensure!(
        code == Some(0) && err.contains("10.0.0.6 advertises virtual router 51 on eth0"),
        "{code:?} {out} {err}"
    );
    ensure!(out.contains("scp ") && out.contains("vipd run -f"), "{out}");
    for (path, priority) in [(&conf, "priority 150"), (&peer, "priority 100")] {
        let text = fs::read_to_string(path)?;
        for line in
            ["virtual_router_id 52", "10.0.0.50/24", "interface eth0", "script \"/bin/true\"", priority]
        {
            ensure!(text.contains(line), "no {line} in\n{text}");
        }
        let output = lb01.command(&bed.vipd).args(["check", "-f"]).arg(path).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let written = fs::read_to_string(&conf)?;
    let (code, _, err) = init(&["--vip", "10.0.0.60", "--listen", "0"])?;
    ensure!(
        code == Some(1) && err.contains("--force") && fs::read_to_string(&conf)? == written,
        "{code:?} {err}"
    );
    let (code, _, err) =
        init(&["--vip", "10.0.0.60", "--listen", "0", "--force", "--peer", "10.0.0.6", "--vrid", "77"])?;
    ensure!(code == Some(0), "{err}");
    let (this, other) = (fs::read_to_string(&conf)?, fs::read_to_string(&peer)?);
    ensure!(this.contains("unicast_src_ip 10.0.0.5") && this.contains("virtual_router_id 77"), "{this}");
    ensure!(other.contains("unicast_src_ip 10.0.0.6") && other.contains("        10.0.0.5"), "{other}");

    // What was written runs.
    lb01.write_vipd_conf(&written)?;
    let _lb01 = bed.restart("lb01")?;
    lb01.wait_ready(&bed.vipd, SOON)?;
    bed.wait("lb01", "MASTER")?;

    // Who has a VIP already, and the virtual router of the vipd that runs here, are told of; nothing is refused.
    let runtime = lb01.runtime_dir().display().to_string();
    let (code, _, err) = init(&["--vip", "10.0.0.3", "--force", "--runtime-dir", &runtime])?;
    for words in [
        format!("{} answers for 10.0.0.3 on eth0", bed.lb02().mac()),
        "the vipd that runs here has virtual router 52 (VI_1) on eth0".to_owned(),
        "10.0.0.6 advertises virtual router 51 on eth0".to_owned(),
    ] {
        ensure!(code == Some(0) && err.contains(&words), "no {words} in {err}");
    }
    let text = fs::read_to_string(&conf)?;
    ensure!(text.contains("virtual_router_id 53"), "{text}");
    let arguments = ["--vip", "10.0.0.50", "--force", "--vrid", "52", "--runtime-dir", &runtime];
    let (code, _, err) = init(&arguments)?;
    ensure!(code == Some(0) && err.contains("virtual router 52 is in use on eth0"), "{err}");
    ensure!(err.contains("10.0.0.50 is a VIP of VI_1 already, in the vipd that runs here (MASTER)"), "{err}");
    Ok(())
}
