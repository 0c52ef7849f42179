//! What tools for keepalived look for: dumps on its signals, and a pid file.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Daemon, wait_for};

#[test]
fn the_state_is_written_where_it_is_asked_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let dir = bed.lb01().dir().to_owned();
    let (data, stats, json) = (dir.join("k.data"), dir.join("k.stats"), dir.join("k.json"));
    let global = format!(
        "global_defs {{\n state_dump_file {}\n stats_dump_file {}\n json_dump_file {}\n json_version 2\n}}\n\
         vrrp_script works {{\n script /bin/true\n interval 1\n weight 2\n}}\n",
        data.display(),
        stats.display(),
        json.display()
    );
    let services = "virtual_server 10.0.0.3 80 {\n protocol TCP\n lb_algo rr\n lb_kind NAT\n real_server 10.0.0.9 80 {\n }\n}\n";
    let pid = dir.join("keepalived.pid");
    bed.lb01().write_vipd_conf(
        &(global
            + &node_conf(
                HIGH,
                &format!(
                    "track_script {{\n works\n }}\n unicast_src_ip {LB01}\n unicast_peer {{\n {LB02}\n }}"
                ),
            )
            + services),
    )?;
    let mut command = bed.lb01().vipd_run(&bed.vipd);
    // Where the kernel has no IPVS the dump has what is configured.
    command.arg("--allow-unsupported=virtual_server").arg("--pid").arg(&pid);
    let mut daemon = Daemon::start("vipd", &mut command, &bed.lb01().vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    ensure!(fs::read_to_string(&pid)?.trim() == daemon.pid().to_string());
    wait_for("the check", SOON, || bed.status("lb01").is_ok_and(|s| s["priority"] == HIGH + 2))?;

    let id = i32::try_from(daemon.pid())?;
    for (signal, path) in [(libc::SIGUSR1, &data), (libc::SIGUSR2, &stats), (libc::SIGRTMIN() + 2, &json)] {
        // SAFETY: no pointers; a child of ours that has not been waited for.
        ensure!(unsafe { libc::kill(id, signal) } == 0);
        wait_for(path.display(), SOON, || path.exists())?;
        ensure!(fs::metadata(path)?.permissions().mode() & 0o777 == 0o600, "{}", path.display());
    }
    let data = fs::read_to_string(data)?;
    for line in [
        " VRRP Instance = VI_1",
        "   State = MASTER",
        "   Virtual Router ID = 51",
        "     10.0.0.6 min_ttl 255 max_ttl 255",
    ] {
        ensure!(data.lines().any(|found| found == line), "{line:?} is not in\n{data}");
    }
    let checkers = fs::read_to_string(dir.join("k_check.data"))?;
    for line in [" VS VIP = 10.0.0.3, VPORT = 80", "   RIP = 10.0.0.9, RPORT = 80, WEIGHT = 1 EFF WEIGHT = 1"]
    {
        ensure!(checkers.lines().any(|found| found == line), "{line:?} is not in\n{checkers}");
    }
    let stats = fs::read_to_string(stats)?;
    ensure!(stats.contains("VRRP Instance: VI_1") && stats.contains("  Became master: 1"), "{stats}");
    let json: Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    let instance = &json["vrrp"][0];
    ensure!(instance["data"]["iname"] == "VI_1" && instance["data"]["state"] == 2, "{json}");
    ensure!(instance["stats"]["become_master"] == 1, "{json}");

    let status = bed.lb01().status(&bed.vipd)?;
    let tracked = status["tracked"].as_array().context("what is tracked")?;
    ensure!(tracked.iter().any(|t| t["name"] == "works" && t["well"] == true), "{status}");
    daemon.sigterm()?;
    daemon.wait(SOON)?;
    ensure!(!pid.exists(), "the pid file is left");
    Ok(())
}
