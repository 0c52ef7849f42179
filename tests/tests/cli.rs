//! The `vipd` command as scripts see it: exit codes, messages, the control socket.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    env, fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{self, Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{Bed, HIGH, INSTANCE, SOON, VIP, conf, node_conf, pins};
use vipd_tests::vipd_bin;

#[test]
fn help_documents_the_exit_codes() -> Result<()> {
    let (code, out, _) = vipd(&["--help"])?;
    assert_eq!(code, 0);
    for line in [
        "0  success",
        "1  failure",
        "2  bad arguments",
        "3  no vipd is running",
        "4  a vipd is running",
        "5  a vipd runs and does not answer",
        "6  the configuration",
    ] {
        ensure!(out.contains(line), "{line:?} is not in\n{out}");
    }
    Ok(())
}

#[test]
fn bad_arguments_exit_2() -> Result<()> {
    for arguments in [&[][..], &["frobnicate"], &["status", "--frobnicate"], &["run", "-f"]] {
        let (code, _, err) = vipd(arguments)?;
        ensure!(code == 2 && err.contains("--help"), "{arguments:?}: {code}, {err}");
    }
    Ok(())
}

#[test]
fn nothing_running_exits_3() -> Result<()> {
    let dir = Scratch::new("nothing")?;
    let missing = dir.0.join("missing");
    for dir in [&dir.0, &missing] {
        for command in [&["status"][..], &["status", "--json"], &["cluster"], &["stop"]] {
            let (code, out, err) = vipd(&[command, &["--runtime-dir", text(dir)]].concat())?;
            ensure!(code == 3, "{command:?}: {code}, {out}, {err}");
            ensure!(out.is_empty() && err.contains(text(dir)), "{command:?}: {out:?}, {err:?}");
        }
    }
    Ok(())
}

/// Each with the place and a word that its message must name.
#[test]
fn a_bad_configuration_exits_6() -> Result<()> {
    // In a lab: were one of these accepted, it must not run on the machine itself.
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let good = node_conf(HIGH, "");
    let line = 1 + good.lines().position(|l| l.trim() == "priority 150").context("it has a priority")?;
    for (bad, column, word) in [
        ("prioritty 150", 5, "priority"),
        ("priority 256", 14, "256"),
        ("advert_int fast", 16, "fast"),
        ("version 2\n authentication {\n auth_type AH\n auth_pass 1111\n }", 0, "AH"),
        ("no_virtual_ipaddress", 5, "not supported"),
    ] {
        lb01.write_vipd_conf(&good.replace("priority 150", bad))?;
        let mut daemon = bed.restart("lb01")?;
        let status = daemon.wait(SOON).with_context(|| bad.to_owned())?;
        let err = daemon.log();
        fs::remove_file(daemon.log_path())?;
        ensure!(status.code() == Some(6), "{bad}: {status}, {err}");
        let place = match column {
            0 => format!("{}:", lb01.vipd_conf().display()),
            column => format!("{}:{line}:{column}", lb01.vipd_conf().display()),
        };
        ensure!(err.contains(&place) && err.contains(word), "{bad}: not both {place} and {word} in\n{err}");
    }
    fs::remove_file(lb01.vipd_conf())?;
    let mut daemon = bed.restart("lb01")?;
    let status = daemon.wait(SOON)?;
    let err = daemon.log();
    let path = lb01.vipd_conf();
    ensure!(status.code() == Some(6) && err.contains(text(&path)), "missing file: {status}, {err}");
    // Refused before anything is made.
    ensure!(!lb01.runtime_dir().exists() && !lb01.bpffs_dir().exists(), "something was made");
    Ok(())
}

/// It needs no privilege and makes nothing.
#[test]
fn check_says_how_bad_a_file_is() -> Result<()> {
    let dir = Scratch::new("check")?;
    let (conf, part) = (dir.0.join("k.conf"), dir.0.join("part.conf"));
    fs::write(&part, "@lb01 priority $PRIO\n@^lb01 priority 9OO\n")?;
    let good =
        "vrrp_instance VI_1 {\ninterface lan0\nvirtual_router_id 51\nvirtual_ipaddress {\n10.0.0.3\n}\n";
    let check = |more: &[&str]| vipd(&[&["check", "-f", text(&conf)], more].concat());
    fs::write(&conf, format!("$PRIO=150\n{good}include part.conf\n}}\n"))?;
    let (code, out, err) = check(&["-i", "lb01"])?;
    ensure!(code == 0 && out.contains("no errors or warnings") && err.is_empty(), "{code}: {out}, {err}");

    let (code, out, err) = check(&["-i", "lb01", "--explain"])?;
    ensure!(code == 0 && out.contains("priority 150") && out.contains("part.conf:1"), "{code}: {out}");
    ensure!(err.contains("no errors or warnings"), "{err}");

    let (code, out, _) = check(&["-i", "lb02"])?;
    ensure!(code == 2 && out.contains("1 error"), "{code}: {out}");
    ensure!(out.contains(&format!("{}:2:17", text(&part))) && out.contains("9OO"), "{out}");
    ensure!(!out.contains('\x1b'), "colours into a pipe: {out:?}");
    let (code, out, _) = check(&["-i", "lb02", "--json"])?;
    let json: Value = serde_json::from_str(&out)?;
    let finding = &json["diagnostics"][0];
    ensure!(code == 2 && json["errors"] == 1 && json["warnings"] == 0, "{code}: {out}");
    ensure!(json["configuration"] == text(&conf) && json["chosen"] == "given", "{out}");
    ensure!(finding["file"] == text(&part) && finding["code"] == "bad-value", "{out}");
    ensure!(
        (&finding["line"], &finding["column"], &finding["end"]) == (&2.into(), &17.into(), &20.into()),
        "{out}"
    );
    ensure!(finding["notes"][0] == format!("included at {}:8", text(&conf)), "{out}");

    fs::write(&conf, format!("{good}priority 100\npriority 101\n}}\n"))?;
    for (more, expected) in [(&[][..], 0), (&["--strict"], 1), (&["--strict", "--json"], 1)] {
        let (code, out, _) = check(more)?;
        ensure!(code == expected && out.contains("given again"), "{more:?}: {code}, {out}");
    }
    fs::remove_file(&conf)?;
    let (code, out, _) = check(&[])?;
    ensure!(code == 2 && out.contains("cannot read the file"), "{code}: {out}");
    Ok(())
}

#[test]
fn a_missing_interface_exits_1() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, "").replace("interface eth0", "interface eth7"))?;
    let mut daemon = bed.restart("lb01")?;
    let status = daemon.wait(SOON)?;
    let log = daemon.log();
    ensure!(status.code() == Some(1), "{status}: {log}");
    ensure!(log.contains("eth7") && log.contains(INSTANCE), "{log}");
    ensure!(!pins(lb01).exists(), "pins were left");
    Ok(())
}

#[test]
fn a_running_daemon_answers_and_stops() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let run = lb01.runtime_dir();
    let ask =
        |command: &str| result(lb01.command(&bed.vipd).args([command, "--runtime-dir"]).arg(&run).output()?);
    let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;

    let socket = run.join("vipd.sock");
    let metadata = fs::metadata(&socket).with_context(|| format!("no {}", socket.display()))?;
    ensure!(metadata.file_type().is_socket(), "{metadata:?}");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    let (code, out, err) = ask("status")?;
    ensure!(code == 0 && err.is_empty(), "{code}, {err}");
    for word in [INSTANCE, "MASTER", &VIP.to_string(), "eth0", "vrid 51", "VRRPv3", "10.0.0.5", "native"] {
        ensure!(out.contains(word), "{word} is not in\n{out}");
    }

    // However often it is repeated: a script may start the next daemon as soon as `vipd stop` has returned.
    for round in 0..5 {
        let (code, _, err) = ask("stop")?;
        ensure!(code == 0, "{code}, {err}");
        let link = lb01.exec(&["ip", "link", "show", "dev", "eth0"])?;
        ensure!(!link.contains("xdp"), "XDP is still there:\n{link}");
        let rules = lb01.exec(&["ip", "rule"])?;
        ensure!(rules.starts_with("0:"), "rules are still there:\n{rules}");
        let (code, out, err) = ask("status")?;
        ensure!(code == 3, "round {round}: it is gone, but: {code}, {out}, {err}");
        let status = daemon.wait(SOON)?;
        ensure!(status.success(), "{status}: {}", daemon.log());
        daemon = bed.restart("lb01")?;
        lb01.wait_ready(&bed.vipd, SOON)?;
    }
    daemon.sigterm()?;
    let status = daemon.wait(SOON)?;
    ensure!(status.success(), "after SIGTERM: {status}: {}", daemon.log());
    Ok(())
}

/// `vipd stop && vipd run`: the lock is free, the socket and the pins are gone.
#[test]
fn a_start_may_follow_a_stop_at_once() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
    for round in 0..10 {
        lb01.stop_vipd(&bed.vipd)?;
        let next = bed.restart("lb01")?;
        lb01.wait_ready(&bed.vipd, SOON).with_context(|| format!("round {round}"))?;
        ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
        daemon = next;
    }
    Ok(())
}

#[test]
fn status_shows_the_instances_asked_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let second = conf("VI_2", "BACKUP", HIGH, "").replace("virtual_router_id 51", "virtual_router_id 52");
    let second =
        second.replace(&VIP.to_string(), "10.0.0.4").replace("global_defs {\n    vrrp_version 3\n}\n", "");
    let _daemon = bed.start("lb01", &(node_conf(HIGH, "") + &second))?;
    bed.wait("lb01", "MASTER")?;
    let dir = bed.lb01().runtime_dir();
    let status =
        |arguments: &[&str]| vipd(&[&["status"], arguments, &["--runtime-dir", text(&dir)]].concat());

    let (code, out, _) = status(&[])?;
    ensure!(code == 0 && out.contains("\nVI_1: MASTER") && out.contains("\nVI_2: "), "{out}");
    ensure!(!out.contains('\x1b'), "colours in a pipe: {out:?}");
    let (code, out, _) = status(&["VI_2"])?;
    ensure!(code == 0 && !out.contains("VI_1") && out.contains("vips       10.0.0.4"), "{out}");
    let (_, out, _) = status(&["VI_2", "--json"])?;
    let json: Value = serde_json::from_str(&out)?;
    ensure!(json["schema"] == 1 && json["instances"].as_array().is_some_and(|all| all.len() == 1), "{out}");
    let (code, out, _) = status(&["10.0.0.4"])?;
    ensure!(code == 0 && out.contains("\nVI_2: ") && !out.contains("VI_1"), "{out}");
    let (code, out, err) = status(&["10.0.0.99"])?;
    ensure!(
        code == 2 && out.is_empty() && err.contains("no instance has the VIP 10.0.0.99"),
        "{code}: {err}"
    );
    let (code, out, err) = status(&["VI_2", "VI_3"])?;
    ensure!(
        code == 2 && out.is_empty() && err.contains("VI_3 (did you mean VI_1?); there is VI_1, VI_2"),
        "{code}: {err}"
    );
    Ok(())
}

#[test]
fn the_schema_of_the_status_is_printed_without_a_daemon() -> Result<()> {
    let (code, out, err) = vipd(&["status", "--schema"])?;
    let schema: Value = serde_json::from_str(&out).with_context(|| err)?;
    ensure!(code == 0 && schema["properties"]["schema"]["type"] == "integer", "{code}: {out}");
    ensure!(schema["$defs"]["InstanceStatus"]["properties"]["vip_answers"].is_object(), "{out}");
    Ok(())
}

/// Runs vipd outside of any lab: only for what never looks at the host.
fn vipd(arguments: &[&str]) -> Result<(i32, String, String)> {
    result(Command::new(vipd_bin()?).args(arguments).output()?)
}

/// Exit code, stdout, stderr.
fn result(output: Output) -> Result<(i32, String, String)> {
    let code = output.status.code().with_context(|| format!("{output:?}"))?;
    Ok((code, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self> {
        let dir = env::temp_dir().join(format!("vipd-cli-{}-{name}", process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A daemon that is stopped is told within two seconds, by its pid, to people and to doctor; one that goes on answers.
#[test]
fn a_frozen_daemon_is_named_at_once() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    vipd.sigstop()?;
    let named = format!("vipd (pid {}) does not answer: stopped or hung", vipd.pid());
    for arguments in [&["status"][..], &["status", "--json"], &["events"], &["events", INSTANCE]] {
        let output = bed.ask("lb01", arguments).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(5) && error.contains(&named), "{arguments:?}: {output:?}");
    }
    let lb01 = bed.lb01();
    let mut doctor = lb01.command(&bed.vipd);
    doctor.args(["doctor", "-f"]).arg(lb01.vipd_conf());
    doctor.arg("--bpffs-dir").arg(lb01.bpffs_dir()).arg("--runtime-dir").arg(lb01.runtime_dir());
    let output = doctor.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1) && text.contains(&named), "{text}");
    ensure!(!text.contains("does not run any more") && !text.contains("speaks VRRP here too"), "{text}");
    vipd.sigcont()?;
    bed.told("lb01", &["status"])?;
    Ok(())
}

#[test]
fn events_of_an_unknown_instance_are_an_error() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    for arguments in [&["events", "VI_2"][..], &["events", "--follow", "VI_2"]] {
        let output = bed.ask("lb01", arguments).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{output:?}");
        ensure!(error.contains("no instance is called VI_2 (did you mean VI_1?); there is VI_1"), "{error}");
    }
    ensure!(bed.told("lb01", &["events", INSTANCE])?.contains(INSTANCE));
    // One that is gone has had events.
    bed.reloaded("lb01", &node_conf(HIGH, "").replace(INSTANCE, "VI_9"))?;
    ensure!(bed.told("lb01", &["events", INSTANCE])?.contains(INSTANCE));
    Ok(())
}

/// Whoever may not ask vipd is told so, and the rest is looked at.
#[test]
fn doctor_without_the_right_to_ask_goes_on() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let lb01 = bed.lb01();
    // The directories of labs are root's alone: the binary, and a socket as vipd's is, are put where others get at them.
    let dir = env::temp_dir().join(format!("vipd-doctor-{}", process::id()));
    fs::create_dir_all(&dir)?;
    fs::copy(&bed.vipd, dir.join("vipd"))?;
    let listener = std::os::unix::net::UnixListener::bind(dir.join("vipd.sock"))?;
    fs::set_permissions(dir.join("vipd.sock"), fs::Permissions::from_mode(0o660))?;
    let mut doctor = lb01.command("setpriv");
    doctor.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(dir.join("vipd"));
    doctor.args(["doctor", "-f", "/nonexistent", "--runtime-dir"]).arg(&dir);
    let output = doctor.output()?;
    drop(listener);
    fs::remove_dir_all(&dir)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains("a vipd may run here, and cannot be asked") && text.contains("Permission denied"),
        "{text}\n{output:?}"
    );
    ensure!(text.contains("kernel\n") && text.contains("this command runs without"), "{text}");
    ensure!(!text.contains("does not run any more"), "{text}");
    Ok(())
}
