//! Where the XDP program can and cannot be attached.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::probe::ArpProber;

/// A driver without XDP of its own, here macvlan's: the program runs in the stack, and says so.
#[test]
fn generic_mode_serves_where_the_driver_has_no_xdp() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    // The lower interface accepts frames to both addresses and hands each to its own.
    lb01.exec(&["ip", "link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge"])?;
    lb01.exec(&["ip", "address", "flush", "dev", "eth0"])?;
    lb01.exec(&["ip", "address", "add", "10.0.0.5/24", "dev", "mv0"])?;
    lb01.exec(&["ip", "link", "set", "mv0", "up"])?;
    let started = Instant::now();
    let vipd = bed.start("lb01", &node_conf(HIGH, "").replace("eth0", "mv0"))?;
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(5))?;
    bed.wait("lb01", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == "generic", "{status}");
    ensure!(vipd.log().contains("XDP runs in the stack"), "{}", vipd.log());
    vipd_tests::wait_for("an answer", SOON, || prober.current_owner(VIP).is_some())?;

    lb01.stop_vipd(&bed.vipd)?;
    let stopped = Instant::now();
    std::thread::sleep(INTERVAL);
    let probes = prober.stop()?;
    let link: Value = serde_json::from_str(&lb01.exec(&["ip", "-j", "link", "show", "mv0"])?)?;
    let mac = link[0]["address"].as_str().context("no address")?.parse()?;
    ensure!(answered_by(&probes, mac, started, stopped) > 0, "another MAC than mv0's answered");
    ensure!(
        answered_by(&probes, mac, stopped + MESSAGE_DELAY, Instant::now()) == 0,
        "answered after the stop"
    );
    Ok(())
}
