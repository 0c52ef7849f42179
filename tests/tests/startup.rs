//! What comes before the first election and after the last: an empty configuration, `startup_script`, `vrrp_startup_delay`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::wait_for;

/// As keepalived: the service manager has nothing to start again, and a reload brings the first instance.
#[test]
fn without_an_instance_vipd_waits_for_one() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf("# nothing yet\n")?;
    let mut daemon = lb01.start_vipd(&bed.vipd)?;
    lb01.wait_ready(&bed.vipd, SOON)?;
    let status = lb01.status(&bed.vipd)?;
    ensure!(status["instances"].as_array().is_some_and(Vec::is_empty), "{status}");
    let output = bed.reload("lb01", &node_conf(HIGH, ""))?;
    ensure!(output.status.success(), "{output:?}");
    bed.wait("lb01", "MASTER")?;
    // An empty file does not end what runs.
    let output = bed.reload("lb01", "# nothing any more\n")?;
    ensure!(!output.status.success(), "{output:?}");
    ensure!(bed.status("lb01")?["state"] == "MASTER");
    daemon.sigterm()?;
    ensure!(daemon.wait(SOON)?.success());
    Ok(())
}

#[test]
fn scripts_and_the_delay_frame_the_election() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let (started, stopped) = (lb01.dir().join("started"), lb01.dir().join("stopped"));
    let global = format!(
        "global_defs {{\n vrrp_startup_delay 3\n script_user root\n startup_script \"/usr/bin/touch {}\"\n \
         shutdown_script \"/usr/bin/touch {}\"\n shutdown_script_timeout 30\n}}\n",
        started.display(),
        stopped.display()
    );
    lb01.write_vipd_conf(&(global + &node_conf(HIGH, "")))?;
    let mut daemon = lb01.start_vipd(&bed.vipd)?;
    wait_for("vipd to answer", SOON, || lb01.status(&bed.vipd).is_ok())?;
    ensure!(started.exists(), "the start did not wait for startup_script");
    bed.wait("lb01", "MASTER")?;
    // The delay, and then the wait of a backup that hears nobody.
    let uptime = lb01.status(&bed.vipd)?["uptime_ms"].as_u64().context("uptime_ms")?;
    ensure!(uptime >= 3_000, "master after {uptime} ms");
    ensure!(daemon.log().contains("the startup delay is over"), "{}", daemon.log());
    ensure!(!stopped.exists());
    daemon.sigterm()?;
    ensure!(daemon.wait(SOON)?.success());
    ensure!(stopped.exists(), "shutdown_script has not run: {}", daemon.log());
    Ok(())
}
