//! What an operator is told of a node that looks well and is not: split brains that no advert shows, restarts that are due, clocks.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{process::Output, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use support::*;
use vipd_tests::wait_for;

fn all(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Version 2 discards adverts with another interval, so both are master: each view says so, and why.
#[test]
fn two_intervals_are_a_split_brain() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &conf_v2(INSTANCE, "BACKUP", HIGH, ""))?;
    let two = conf_v2(INSTANCE, "BACKUP", LOW, "").replace("advert_int 1", "advert_int 2");
    let _lb02 = bed.start("lb02", &two)?;
    for node in ["lb01", "lb02"] {
        bed.wait(node, "MASTER")?;
        wait_for(format_args!("the split brain on {node}"), SOON, || {
            bed.status(node).is_ok_and(|status| status["split_brain"] == true)
        })?;
        let check = bed.ask(node, &["status", "--check"]).output()?;
        ensure!(check.status.code() == Some(2), "{node}: {check:?}");
        let other = if node == "lb01" { LB02 } else { LB01 };
        for (view, wanted) in [
            (all(&check), "split brain, another router acts as the owner too"),
            (bed.told(node, &["explain"])?, "split brain, another router acts as the owner too"),
            (bed.told(node, &["cluster"])?, "split brain: "),
            (bed.told(node, &["status"])?, "split brain: another router acts as the owner too"),
            (all(&bed.ask(node, &["doctor"]).output()?), "problem  split brain: another router"),
        ] {
            ensure!(view.contains(wanted) && view.contains("make `advert_int` the same"), "{node}: {view}");
            ensure!(view.contains(&format!("{other}: adverts with another interval")), "{node}: {view}");
        }
    }
    bed.reloaded("lb02", &conf_v2(INSTANCE, "BACKUP", LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    wait_for("the end of the split brain", SOON, || {
        bed.status("lb01").is_ok_and(|status| status["split_brain"] == false)
    })
    .map(drop)
}

/// A node that cannot send is no healthy backup, and its attempts are no masterships.
#[test]
fn adverts_that_do_not_leave_are_critical() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    // No advert leaves by the packet socket.
    let rules = lb01.dir().join("rules.nft");
    std::fs::write(
        &rules,
        "table netdev dumb { chain out { type filter hook egress device eth0 priority 0; meta l4proto 112 drop; }; }\n",
    )?;
    lb01.exec(&["nft", "-f", &rules.display().to_string()])?;
    let _vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    wait_for("takeovers in vain", SOON, || {
        bed.status("lb01").is_ok_and(|status| status["send_errors"].as_u64() > Some(2))
    })?;
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "BACKUP" && status["became_master"] == 0, "{status}");
    ensure!(status["adverts_blocked"] == true && status["advert_error"].is_string(), "{status}");
    let check = bed.ask("lb01", &["status", "--check"]).output()?;
    let said = all(&check);
    ensure!(check.status.code() == Some(2) && said.contains("it cannot become MASTER"), "{said}");
    ensure!(said.contains(" became_master=0c "), "{said}");
    let explained = bed.told("lb01", &["explain"])?;
    ensure!(
        explained.contains("the first advert of its last takeover did not leave: on eth0: "),
        "{explained}"
    );

    lb01.exec(&["nft", "flush", "ruleset"])?;
    bed.wait("lb01", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["became_master"] == 1 && status["adverts_blocked"] == false, "{status}");
    ensure!(status["advert_error"].is_null(), "{status}");
    Ok(())
}

/// A reload that changes what counts at the start is remembered until the start.
#[test]
fn a_restart_that_is_due_is_remembered() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let listens = |name: &str| {
        let path = lb01.dir().join(name);
        node_conf(HIGH, "")
            .replace("global_defs {", &format!("global_defs {{\n    metrics_listen unix:{}", path.display()))
    };
    let mut vipd = bed.start("lb01", &listens("a"))?;
    bed.wait("lb01", "MASTER")?;
    let said = bed.reloaded("lb01", &listens("b"))?;
    ensure!(said.contains("metrics_listen") && said.contains("(needs a restart)"), "{said}");
    ensure!(!said.contains("warning: "), "it is said twice: {said}");
    let due = "it needs a restart";
    for (view, text) in [
        ("dry run", bed.told("lb01", &["reload", "--dry-run"])?),
        ("reload", bed.told("lb01", &["reload"])?),
        ("status", bed.told("lb01", &["status"])?),
        ("doctor", all(&bed.ask("lb01", &["doctor"]).output()?)),
        ("status --check", all(&bed.ask("lb01", &["status", "--check"]).output()?)),
    ] {
        ensure!(text.contains("metrics_listen is unix:") && text.contains(due), "{view}: {text}");
    }
    // As it was at the start, nothing is due.
    let said = bed.reloaded("lb01", &listens("a"))?;
    ensure!(said.contains("as vipd runs, needs nothing"), "{said}");
    ensure!(!bed.told("lb01", &["status"])?.contains(due));
    bed.reloaded("lb01", &listens("b"))?;
    vipd.sigterm()?;
    drop(vipd);
    let _vipd = bed.start("lb01", &listens("b"))?;
    ensure!(!bed.told("lb01", &["status"])?.contains(due), "it is due after the restart");
    Ok(())
}

/// The clock of the master that is followed begins with its mastership, not with its last word of an earlier one.
#[test]
fn the_clock_of_a_master_begins_with_its_mastership() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    // lb02 has a last word when lb01 preempts it.
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    sleep(Duration::from_secs(4));
    let since = std::time::Instant::now();
    bed.told("lb01", &["handover", INSTANCE])?;
    bed.wait("lb02", "MASTER")?;
    let status = bed.status("lb01")?;
    let elapsed = u64::try_from(since.elapsed().as_millis())?;
    let ms = status["master_since_ms"].as_u64();
    ensure!(ms.is_some_and(|ms| ms <= elapsed), "{ms:?} ms, {elapsed} ms after the handover: {status}");
    Ok(())
}

/// What `--bpffs-dir` names is removed by a stop only if vipd has made it.
#[test]
fn a_pin_directory_of_the_operator_stays() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let dir = bed.lb01().bpffs_dir();
    for is_operators in [false, true] {
        if is_operators {
            std::fs::create_dir(dir)?;
        }
        let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
        bed.wait("lb01", "MASTER")?;
        bed.told("lb01", &["stop"])?;
        ensure!(vipd.wait(SOON)?.success(), "{}", vipd.log());
        ensure!(dir.exists() == is_operators, "{} exists: {}", dir.display(), dir.exists());
        ensure!(!dir.join("vipd").exists(), "pins are left");
    }
    std::fs::remove_dir(dir)?;
    Ok(())
}

/// The first success of a check is no recovery, and whoever names an instance wrongly is told the same by every command.
#[test]
fn names_and_first_results_are_told_alike() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let check = "vrrp_script chk {\n script /bin/true\n interval 0.2\n}\n".to_owned();
    let _vipd = bed.start("lb01", &(check + &node_conf(HIGH, "track_script {\n chk\n }")))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.events_named("lb01", "check_recovered")?.is_empty(), "it had not failed");
    let wrong = "VI_2";
    for arguments in [
        &["status", wrong][..],
        &["explain", wrong],
        &["cluster", wrong],
        &["events", wrong],
        &["capture", wrong],
        &["handover", wrong],
        &["is-master", wrong],
    ] {
        let output = bed.ask("lb01", arguments).output()?;
        let said = all(&output);
        ensure!(output.status.code() == Some(2), "{arguments:?}: {output:?}");
        ensure!(said.contains("no instance is called VI_2 (did you mean VI_1?)"), "{arguments:?}: {said}");
    }
    // By one of its VIPs, as everywhere.
    let output = bed.ask("lb01", &["handover", &VIP.to_string()]).output()?;
    ensure!(all(&output).contains("no backup has taken over: VI_1 stays MASTER here"), "{output:?}");
    Ok(())
}
