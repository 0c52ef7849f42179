//! `vip_visible`: `ip address` shows a master's VIPs, and nothing depends on it.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::time::Instant;

use anyhow::{Result, ensure};
use support::*;
use vipd_tests::wait_for;

fn shows(bed: &Bed, node: &str) -> Result<bool> {
    let mut ip = bed.lab.node(node).command("ip");
    let output = ip.args(["-o", "-4", "address", "show", "dev", "eth0"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(&format!("{VIP}/32")))
}

fn wait_shown(bed: &Bed, node: &str, shown: bool) -> Result<()> {
    let what = if shown { "shown" } else { "not shown" };
    let is_so = || shows(bed, node).is_ok_and(|shows| shows == shown);
    wait_for(format_args!("the VIP to be {what} on {node}"), SOON, is_so).map(drop)
}

/// A vipd that is killed leaves the address, and the kernel behind XDP says nothing all the same (I4).
#[test]
fn an_address_that_is_left_behind_is_not_answered_for() -> Result<()> {
    let Some(mut pair) = usual_pair("vip_visible")? else { return Ok(()) };
    wait_shown(&pair.bed, "lb01", true)?;
    ensure!(!shows(&pair.bed, "lb02")?, "of a backup");
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    pair.lb01.kill9()?;
    let killed = Instant::now();
    pair.bed.wait("lb02", "MASTER")?;
    wait_shown(&pair.bed, "lb02", true)?;
    ensure!(shows(&pair.bed, "lb01")?, "nobody was there to remove it");
    let takeover = wait_advert(&listener, LB02, killed)?;
    std::thread::sleep(INTERVAL * 3);
    let probes = prober.stop()?;
    check_single_owner(&probes, &listener)?;
    let late = answered_by(&probes, pair.bed.lb01().mac(), takeover + MESSAGE_DELAY, Instant::now());
    ensure!(late == 0, "{late} answers of lb01 after the takeover");
    // The next one clears up, and takes it back by its priority.
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb01", "MASTER")?;
    wait_shown(&pair.bed, "lb02", false)?;
    wait_shown(&pair.bed, "lb01", true)?;
    pair.bed.reloaded("lb01", &node_conf(HIGH, ""))?;
    wait_shown(&pair.bed, "lb01", false)?;
    pair.bed.reloaded("lb01", &node_conf(HIGH, "vip_visible"))?;
    wait_shown(&pair.bed, "lb01", true)?;
    pair.bed.lb01().stop_vipd(&pair.bed.vipd)?;
    ensure!(!shows(&pair.bed, "lb01")?, "after a stop");
    Ok(())
}
