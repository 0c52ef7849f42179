//! `vipd events`: what happens to a daemon, as an operator is told of it.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Daemon, wait_for};

/// Name and, of changes of state, the new one.
fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| match event["fields"]["to"].as_str() {
        Some(to) => format!("{} {to}", event["event"].as_str().unwrap_or_default()),
        None => event["event"].as_str().unwrap_or_default().to_owned(),
    };
    events.iter().map(name).collect()
}

/// From the start to the stop: numbered, chosen by number and instance, for people and for programs, and followed to the end.
#[test]
fn a_life_is_told_in_order() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let conf = node_conf(HIGH, "");
    let mut lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let events = bed.events("lb01", &[])?;
    ensure!(
        names(&events)[..3] == ["started", "state_changed BACKUP", "state_changed MASTER"],
        "{events:#?}"
    );
    ensure!(events.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "{events:#?}");
    let master = &events[2];
    ensure!(master["level"] == "INFO" && master["message"] == "state changed", "{master}");
    let fields = &master["fields"];
    ensure!(fields["instance"] == INSTANCE && fields["from"] == "BACKUP", "{master}");
    ensure!(fields["reason"] == "no advert from a master", "{master}");
    let since = bed.status("lb01")?["since_unix_ms"].as_u64().context("a time")?;
    ensure!(master["time_unix_ms"].as_u64().is_some_and(|at| at.abs_diff(since) < 1000), "{master} {since}");

    // Followed from the third on, by a reader of its own.
    let log = bed.lb01().dir().join("followed");
    let mut follow = bed.ask("lb01", &["events", "--follow", "--json", "--since", "2"]);
    let mut follower = Daemon::start("vipd events", &mut follow, &log)?;
    wait_for("the third event", SOON, || follower.log().contains("state_changed"))?;

    ensure!(!bed.reload("lb01", &conf.replace("priority", "prioritty"))?.status.success());
    let refused = bed.wait_event("lb01", "reload_refused", |_| true)?;
    ensure!(refused["level"] == "ERROR", "{refused}");
    ensure!(refused["fields"]["error"].as_str().is_some_and(|e| e.contains("prioritty")), "{refused}");
    bed.reloaded("lb01", &conf.replace("priority 150", "priority 151"))?;
    let reloaded = bed.wait_event("lb01", "reloaded", |_| true)?;
    ensure!(reloaded["fields"]["what"] == "1 instances: 1 changed, 0 added, 0 removed", "{reloaded}");

    let after = reloaded["seq"].as_u64().context("a number")? - 1;
    let since = bed.events("lb01", &["--since", &after.to_string()])?;
    ensure!(names(&since)[0] == "reloaded" && since.len() < 5, "{since:#?}");
    let of = |name: &str| bed.events("lb01", &[name]);
    ensure!(names(&of(INSTANCE)?)[..2] == ["state_changed BACKUP", "state_changed MASTER"]);
    let unknown = of("VI_2").err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(
        unknown.contains("no instance is called VI_2"),
        "events of an instance that is not there: {unknown}"
    );
    let text = String::from_utf8(bed.ask("lb01", &["events", "--since", "2", INSTANCE]).output()?.stdout)?;
    let line = text.lines().next().context("a line")?;
    ensure!(line.contains(" #3 INFO state_changed VI_1: state changed from=BACKUP"), "{line}");

    bed.lb01().stop_vipd(&bed.vipd)?;
    ensure!(lb01.wait(SOON)?.success());
    wait_for("the last event", SOON, || follower.log().contains("\"STOP\""))?;
    ensure!(follower.is_running(), "it goes on when vipd is back");
    let followed: Vec<Value> = follower
        .log()
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(serde_json::from_str)
        .collect::<serde_json::Result<_>>()?;
    ensure!(followed.iter().zip(3..).all(|(event, seq)| event["seq"] == seq), "{followed:#?}");
    for name in ["state_changed MASTER", "reload_refused", "reloaded", "stopping", "state_changed STOP"] {
        ensure!(names(&followed).contains(&name.to_owned()), "no {name} in {followed:#?}");
    }
    ensure!(bed.ask("lb01", &["events",]).output()?.status.code() == Some(3), "nothing runs any more");
    Ok(())
}

/// Checks, files, processes, links, priorities, scripts that fail, and adverts that do not leave.
#[test]
fn what_goes_wrong_on_the_host_is_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.exec(&["ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8"])?;
    let (flag, file) = (lb01.dir().join("healthy"), lb01.dir().join("weight"));
    fs::write(&flag, "")?;
    let fails = script(lb01, "fails.sh", "exit 3")?;
    let conf = format!(
        "vrrp_script chk {{\n script \"/usr/bin/test -e {}\"\n interval 0.1\n weight 5\n}}\n\
         track_file load {{\n file {}\n init_file 1 overwrite\n}}\n\
         vrrp_track_process none {{\n process \"no such program\"\n quorum_max 0\n weight 2\n}}\n{}",
        flag.display(),
        file.display(),
        node_conf(
            100,
            &format!(
                "track_script {{\n chk\n }}\n track_file {{\n load weight 1\n }}\n track_process {{\n none\n }}\n \
                 track_interface {{\n eth7 weight 20\n }}\n notify_master {fails}\n unicast_peer {{\n 10.0.0.6\n 192.0.2.1\n }}"
            )
        )
    );
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let event = |name: &str, field: &str, value: Value| {
        bed.wait_event("lb01", name, |fields| fields[field] == value)
            .with_context(|| format!("{field}={value} in {:#?}", bed.events("lb01", &[])))
    };
    let failed = event("notify_failed", "script", fails.as_str().into())?;
    ensure!(failed["fields"]["outcome"] == "exit code 3" && failed["fields"]["name"] == INSTANCE, "{failed}");
    event("tracked_process", "process", "none".into())?;
    event("tracked_file", "value", 1.into())?;
    let unsent = event("advert_not_sent", "peer", "192.0.2.1".into())?;
    ensure!(unsent["level"] == "WARN" && unsent["fields"]["count"] == 1, "{unsent}");

    fs::remove_file(&flag)?;
    let failed = event("check_failed", "script", "chk".into())?;
    ensure!(failed["fields"]["outcome"] == "exit code 1", "{failed}");
    event("priority_changed", "to", 103.into())?;
    fs::write(&flag, "")?;
    event("check_recovered", "script", "chk".into())?;
    fs::write(&file, "7\n")?;
    event("tracked_file", "value", 7.into())?;
    for link in ["eth7", "eth8"] {
        lb01.exec(&["ip", "link", "set", link, "up"])?;
    }
    event("tracked_interface", "up", true.into())?;
    lb01.exec(&["ip", "link", "del", "eth7"])?;
    event("tracked_interface", "up", false.into())?;

    bed.lab.set_port("lb01", false)?;
    event("link_down", "interface", "eth0".into())?;
    event("state_changed", "to", "FAULT".into())?;
    bed.lab.set_port("lb01", true)?;
    event("link_up", "interface", "eth0".into())?;
    // It goes on at every advert: told at growing intervals.
    let errors = || Ok::<_, anyhow::Error>(bed.status("lb01")?["send_errors"].as_u64().unwrap_or(0));
    wait_for("more errors", SOON, || errors().is_ok_and(|errors| errors > 10))?;
    let told = bed.events_named("lb01", "advert_not_sent")?.len() as u64;
    ensure!(told * 3 < errors()?, "{told} of {} errors were told", errors()?);
    Ok(())
}

/// An interface that goes and comes back.
#[test]
fn interfaces_that_come_and_go_are_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let plug = || -> Result<()> {
        lb01.exec(&["ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8"])?;
        lb01.exec(&["ip", "address", "add", "10.7.0.1/24", "dev", "eth7"])?;
        lb01.exec(&["ip", "link", "set", "eth8", "up"])?;
        lb01.exec(&["ip", "link", "set", "eth7", "up"]).map(drop)
    };
    plug()?;
    let conf = node_conf(HIGH, "use_vmac").replace("eth0", "eth7").replace("10.0.0.3", "10.7.0.3");
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let of = |fields: &Value| fields["interface"] == "eth7";
    lb01.exec(&["ip", "link", "del", "eth7"])?;
    bed.wait_event("lb01", "interface_lost", of)?;
    bed.wait("lb01", "FAULT")?;
    plug()?;
    bed.wait_event("lb01", "interface_found", of)?;
    bed.wait_event("lb01", "interfaces_changed", |_| true)?;
    bed.wait("lb01", "MASTER")
}
