//! Why a node is, or is not, the master: the answers of `vipd explain` and `vipd status` on real pairs, what checks and notify scripts
//! have printed, the level of the log, and a stop.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{Bed, HIGH, INSTANCE, LB01, LB02, LOW, SOON, VIP, node_conf, pair, script};
use vipd_tests::wait_for;

/// What `vipd explain` prints on a node.
fn explained(bed: &Bed, node: &str) -> Result<String> {
    bed.told(node, &["explain", INSTANCE])
}

/// Waits until it contains all of these, and returns it.
fn wait_explained(bed: &Bed, node: &str, wanted: &[&str]) -> Result<String> {
    let mut last = String::new();
    let is_there = || {
        last = explained(bed, node).unwrap_or_default();
        wanted.iter().all(|words| last.contains(words))
    };
    wait_for(format_args!("{node} to explain {wanted:?}"), SOON, is_there).with_context(|| last.clone())?;
    Ok(last)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A check that fails while there is a file `broken`, of this weight, and prints why.
fn check_block(bed: &Bed, weight: i32) -> Result<String> {
    let lb01 = bed.lb01();
    let broken = lb01.dir().join("broken");
    let body = format!(
        "if test -e {}; then echo probing; printf 'no\\033[2J answer\\n' >&2; exit 3; fi; echo fine",
        broken.display()
    );
    let path = script(lb01, "chk.sh", &body)?;
    Ok(format!(
        "vrrp_script chk_web {{\n    script \"{path}\"\n    interval 1\n    weight {weight}\n    user root\n}}\n"
    ))
}

#[test]
fn a_backup_says_why_it_is_one_and_what_would_change_it() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    fs::write(bed.lb01().dir().join("broken"), "")?;
    let conf = check_block(&bed, -60)? + &node_conf(HIGH, "track_script {\n chk_web\n }");
    let _second = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    let _first = bed.start("lb01", &conf)?;
    bed.wait("lb01", "BACKUP")?;
    let why = format!("{LB02} is master with priority {LOW}, and this node has 90");
    let text = wait_explained(
        &bed,
        "lb01",
        &[
            &why,
            "90 (configured 150)",
            "-60 check chk_web failed (exit code 3): no\\u{1b}[2J answer",
            &format!("{LB02} with priority {LOW}, for "),
            "the priority rises above 140: when check chk_web succeeds it is 150 (+60)",
            "chk_web: failed for ",
            "| probing",
            "next run in ",
        ],
    )?;
    ensure!(!text.contains('\x1b'), "{text:?}");
    ensure!(
        bed.told("lb01", &["explain", &VIP.to_string()])?.contains(&why),
        "an address finds its instance"
    );
    // The same in the status, for people and programs.
    let shown = bed.told("lb01", &["status"])?;
    ensure!(
        shown.contains("90 (configured 150)") && shown.contains("-60 check chk_web failed (exit code 3)"),
        "{shown}"
    );
    let status = bed.status("lb01")?;
    ensure!(status["base_priority"] == 150 && status["priority"] == 90, "{status}");
    ensure!(status["tracks"][0]["name"] == "chk_web" && status["tracks"][0]["adds"] == -60, "{status}");
    let json: Value = serde_json::from_str(&bed.told("lb01", &["explain", "--json"])?)?;
    ensure!(
        json[0]["why"][0]["kind"] == "lower_priority" && json[0]["priority"]["configured"] == 150,
        "{json}"
    );
    ensure!(json[0]["tracked"][0]["run"]["exit_code"] == 3, "{json}");
    // The event of the failure has the output too.
    let failed = bed.wait_event("lb01", "check_failed", |fields| fields["script"] == "chk_web")?;
    ensure!(failed["fields"]["output"] == "probing | no\\u{1b}[2J answer", "{failed}");
    let changed = bed.wait_event("lb01", "priority_changed", |fields| fields["to"] == 90)?;
    ensure!(changed["fields"]["configured"] == 150, "{changed}");

    // What it says comes true.
    fs::remove_file(bed.lb01().dir().join("broken"))?;
    bed.wait("lb01", "MASTER")?;
    let preempted = format!("it preempted {LB02} (priority {LOW}) with its priority 150");
    wait_explained(&bed, "lb01", &[&preempted, "check chk_web fails: then the priority is 90 (-60)"])?;
    let reason = format!("preempting a master of lower priority: {LB02} (priority {LOW})");
    ensure!(bed.status("lb01")?["reason"] == reason, "{}", bed.status("lb01")?);
    wait_explained(&bed, "lb02", &[&format!("{LB01} is master with priority 150, and this node has {LOW}")])?;
    bed.told("lb01", &["drain"])?;
    wait_explained(
        &bed,
        "lb01",
        &["the node is drained: priority 1 instead of 150", "after `vipd undrain` it is 150"],
    )?;
    bed.told("lb01", &["undrain"])?;
    bed.wait("lb01", "MASTER")
}

#[test]
fn a_fault_is_named_and_the_master_is_known_meanwhile() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    fs::write(bed.lb01().dir().join("broken"), "")?;
    let conf = check_block(&bed, 0)? + &node_conf(HIGH, "track_script {\n chk_web\n }");
    let _second = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    let _first = bed.start("lb01", &conf)?;
    bed.wait("lb01", "FAULT")?;
    let what = "check chk_web failed (exit code 3): no\\u{1b}[2J answer";
    let ends = format!(
        "check chk_web succeeds: then it becomes the master: its priority 150 is above the {LOW} of {LB02}"
    );
    wait_explained(&bed, "lb01", &[what, &ends, &format!("{LB02} with priority {LOW}")])?;
    let status = bed.status("lb01")?;
    ensure!(status["reason"] == what && status["reason_code"] == "fault_tracked", "{status}");
    ensure!(status["faults"][0]["kind"] == "check" && status["master"]["priority"] == LOW, "{status}");
    let state = bed.wait_event("lb01", "state_changed", |fields| fields["to"] == "FAULT")?;
    ensure!(state["fields"]["reason"] == what, "{state}");
    // A second fault is named beside the first.
    bed.lb01().exec(&["ip", "link", "set", "eth0", "down"])?;
    wait_explained(&bed, "lb01", &[what, "interface eth0 is turned off", "`ip link set eth0 up`"])?;
    bed.lb01().exec(&["ip", "link", "set", "eth0", "up"])?;
    fs::remove_file(bed.lb01().dir().join("broken"))?;
    bed.wait("lb01", "MASTER")
}

#[test]
fn what_a_notify_script_prints_is_kept() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let body = "echo moving; echo 'cannot reach the switch' >&2; exit 4";
    let path = script(bed.lb01(), "notify.sh", body)?;
    let _vipd = bed.start("lb01", &node_conf(HIGH, &format!("notify_master \"{path}\" root")))?;
    bed.wait("lb01", "MASTER")?;
    let failed = bed.wait_event("lb01", "notify_failed", |fields| fields["name"] == INSTANCE)?;
    ensure!(failed["fields"]["output"] == "moving | cannot reach the switch", "{failed}");
    wait_explained(
        &bed,
        "lb01",
        &[&format!("{path} of {INSTANCE}: exit code 4"), "| cannot reach the switch"],
    )?;
    let long = bed.told("lb01", &["status", "--long"])?;
    ensure!(long.contains("last runs") && long.contains("| cannot reach the switch"), "{long}");
    Ok(())
}

/// A service that a notify script has started printed into a pipe: it must neither wait nor end when nobody reads it, nor when vipd ends.
#[test]
fn what_a_script_leaves_running_outlives_vipd() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let beat = bed.lb01().dir().join("beat");
    let go_on = bed.lb01().dir().join("go-on");
    fs::write(&go_on, "")?;
    let service = format!(
        "while test -e {}; do echo a line; date +%N >{}; sleep 0.1; done",
        go_on.display(),
        beat.display()
    );
    let path = script(bed.lb01(), "start.sh", &format!("({service}) &"))?;
    let mut vipd = bed.start("lb01", &node_conf(HIGH, &format!("notify_master \"{path}\" root")))?;
    bed.wait("lb01", "MASTER")?;
    let read = || fs::read_to_string(&beat).unwrap_or_default();
    let beats = |when: &str| {
        let before = read();
        wait_for(format_args!("the service to go on {when}"), SOON, || read() != before)
    };
    beats("while vipd runs")?;
    bed.told("lb01", &["stop"])?;
    ensure!(vipd.wait(SOON)?.success());
    beats("after vipd")?;
    sleep(Duration::from_millis(500));
    beats("later")?;
    fs::remove_file(&go_on)?;
    Ok(())
}

#[test]
fn another_password_is_no_silence() -> Result<()> {
    let auth = |password: &str| {
        let conf = node_conf(LOW, &format!("authentication {{\n auth_type PASS\n auth_pass {password}\n }}"));
        conf.replace("vrrp_version 3", "vrrp_version 2").replace("advert_int 0.3", "advert_int 1")
    };
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _first = bed.start("lb01", &auth("one"))?;
    bed.wait("lb01", "MASTER")?;
    let _second = bed.start("lb02", &auth("two"))?;
    wait_explained(&bed, "lb02", &["adverts arriv", "auth_failures"])?;
    bed.wait("lb02", "MASTER")?;
    let node = bed.lb02();
    let mut doctor = bed.ask("lb02", &["doctor"]);
    doctor.arg("-f").arg(node.vipd_conf()).arg("--bpffs-dir").arg(node.bpffs_dir());
    let said = text(&doctor.output()?.stdout);
    ensure!(said.contains("with another password"), "{said}");
    ensure!(!said.contains("do not arrive"), "{said}");
    Ok(())
}

#[test]
fn a_level_of_the_log_is_changed_while_it_runs() -> Result<()> {
    let Some(pair) = pair(&node_conf(HIGH, ""), &node_conf(LOW, ""))? else { return Ok(()) };
    let bed = &pair.bed;
    ensure!(bed.told("lb01", &["log"])? == "info\n");
    ensure!(!pair.lb01.log().contains("advert sent"), "{}", pair.lb01.log());
    ensure!(bed.told("lb01", &["log", "debug"])? == "debug\n");
    wait_for("adverts in the log", SOON, || pair.lb01.log().contains("advert sent"))?;
    let log = pair.lb01.log();
    let line = log.lines().find(|line| line.contains("advert sent")).context("a line")?;
    ensure!(
        line.contains("DEBUG") && line.contains(&format!("source={LB01} priority={HIGH} interval=300ms")),
        "{line}"
    );
    wait_for("timers and leases in the log", SOON, || {
        let log = pair.lb01.log();
        log.contains("next timer") && log.contains("lease renewed")
    })?;
    // The loader has hundreds of lines at a reload.
    bed.reloaded("lb01", &node_conf(HIGH, "garp_master_repeat 1"))?;
    let log = pair.lb01.log();
    ensure!(!log.contains("aya") && !log.contains("relocat"), "{log}");
    ensure!(bed.told("lb01", &["log", "default"])? == "info\n");
    sleep(Duration::from_millis(400));
    let before = pair.lb01.log().matches("advert sent").count();
    sleep(Duration::from_millis(1000));
    ensure!(pair.lb01.log().matches("advert sent").count() == before);
    let output = bed.ask("lb01", &["log", "loud"]).output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(())
}

#[test]
fn the_log_is_written_for_programs_and_a_refused_start_is_summed_up() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let run = |conf: &str| -> Result<Output> {
        lb01.write_vipd_conf(conf)?;
        Ok(lb01.vipd_run(&bed.vipd).output()?)
    };
    let bad = node_conf(HIGH, "prioritty 1\n nonsense 2");
    let refused = run(&bad)?;
    let said = text(&refused.stderr);
    ensure!(refused.status.code() == Some(6) && said.ends_with("\nvipd: not started: 2 errors\n"), "{said}");
    let absent = run(&node_conf(HIGH, "").replace("eth0", "eth9"))?;
    let said = text(&absent.stderr);
    ensure!(absent.status.code() == Some(1) && said.ends_with("\nvipd: not started: 1 error\n"), "{said}");

    let log = lb01.dir().join("json.log");
    lb01.write_vipd_conf(
        &node_conf(HIGH, "")
            .replace("global_defs {", "global_defs {\n    max_auto_priority 5\n    process_names"),
    )?;
    let mut command = lb01.vipd_run(&bed.vipd);
    command.args(["--log-format", "json"]);
    let mut daemon = vipd_tests::Daemon::start("vipd with JSON", &mut command, &log)?;
    bed.wait("lb01", "MASTER")?;
    bed.told("lb01", &["stop"])?;
    ensure!(daemon.wait(SOON)?.success());
    let written = fs::read_to_string(&log)?;
    let mut lines = Vec::new();
    for line in written.lines() {
        lines.push(serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?);
    }
    let is_master = |line: &&Value| line["event"] == "state_changed" && line["to"] == "MASTER";
    let master = lines.iter().find(is_master).context("no state_changed")?;
    ensure!(master["instance"] == INSTANCE && master["level"] == "INFO", "{master}");
    ensure!(master["reason"] == "no advert from a master" && master["time"].is_string(), "{master}");
    let summary = "2 keywords have no effect and can be removed (`vipd check` shows where): max_auto_priority, process_names";
    ensure!(
        lines.iter().filter(|line| line["message"] == summary && line["level"] == "INFO").count() == 1,
        "{written}"
    );
    Ok(())
}

/// Ends a command as an operator does who has waited for long enough.
fn ended(mut child: std::process::Child) -> Result<String> {
    child.kill()?;
    Ok(text(&child.wait_with_output()?.stderr))
}

#[test]
fn a_stop_that_was_given_up_is_not_obeyed_after_a_thaw() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    vipd.sigstop()?;
    let begin = |arguments: &[&str]| -> Result<std::process::Child> {
        let mut command: Command = bed.ask("lb01", arguments);
        Ok(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
    };
    let stop = begin(&["stop"])?;
    let drain = begin(&["drain"])?;
    // Long enough for both to have asked, and for the stop to have looked at vipd.
    sleep(Duration::from_secs(3));
    let said = ended(stop)?;
    ended(drain)?;
    ensure!(said.contains(&format!("vipd (pid {}) does not answer: stopped or hung", vipd.pid())), "{said}");
    vipd.sigcont()?;
    wait_for("vipd to answer", SOON, || bed.status("lb01").is_ok())?;
    wait_for("the stop to be refused", SOON, || vipd.log().matches("a request is not obeyed").count() == 2)?;
    ensure!(vipd.is_running() && !vipd.log().contains("event=\"stopping\""), "{}", vipd.log());
    let status = bed.lab.node("lb01").status(&bed.vipd)?;
    ensure!(status["drained"] == false, "{status}");

    // One that is waited for is obeyed, and says what it waits for.
    vipd.sigstop()?;
    let stop = begin(&["stop"])?;
    sleep(Duration::from_secs(3));
    vipd.sigcont()?;
    let output = stop.wait_with_output()?;
    let said = text(&output.stderr);
    ensure!(output.status.success() && vipd.wait(SOON)?.success(), "{output:?}");
    ensure!(said.contains("does not answer") && said.contains("vipd answers again"), "{said}");
    // Its lease has lapsed meanwhile: there is nothing to hand over.
    ensure!(said.contains("removing programs, routes and settings"), "{said}");
    Ok(())
}

#[test]
fn a_stop_names_the_script_that_it_waits_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let begun = bed.lb01().dir().join("begun");
    let path = script(bed.lb01(), "slow.sh", &format!("touch {}; sleep 30", begun.display()))?;
    let _vipd = bed.start("lb01", &node_conf(HIGH, &format!("notify_master \"{path}\" root")))?;
    wait_for("the script", SOON, || begun.exists())?;
    let asked = Instant::now();
    let output = bed.ask("lb01", &["stop"]).output()?;
    let said = text(&output.stderr);
    ensure!(output.status.success(), "{output:?}");
    // Only a stop that takes longer than a second says anything; this one waits a second for the script, after the handover.
    ensure!(
        said.contains(&format!("waiting for notify scripts: {path} of {INSTANCE}")),
        "after {:?}: {said}",
        asked.elapsed()
    );
    Ok(())
}
