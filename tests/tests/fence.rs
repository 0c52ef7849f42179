//! `fence_script`: silence is no takeover before the former master is fenced.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, thread::sleep};

use anyhow::{Result, ensure};
use support::*;
use vipd_tests::wait_for;

/// A pair of which lb02 has a fence; its script waits for the file `go` in the node's directory, and ends with its content.
fn fenced_pair(extra: &str) -> Result<Option<Pair>> {
    let Some(bed) = Bed::new()? else { return Ok(None) };
    let dir = bed.lb02().dir().display().to_string();
    let text = format!(
        "echo run >> {dir}/fenced\nwhile ! [ -e {dir}/go ]; do sleep 0.05; done\nexit $(cat {dir}/go)"
    );
    let path = script(bed.lb02(), "fence", &text)?;
    let lb02 = node_conf(LOW, &format!("fence_script \"{path}\" root\n    {extra}"));
    let lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    // Otherwise lb02 fences what has not begun yet.
    bed.wait("lb01", "MASTER")?;
    let lb02 = bed.start("lb02", &lb02)?;
    bed.wait("lb02", "BACKUP")?;
    Ok(Some(Pair { lb01, lb02, bed }))
}

fn runs(bed: &Bed) -> usize {
    fs::read_to_string(bed.lb02().dir().join("fenced")).map_or(0, |text| text.lines().count())
}

fn wait_run(bed: &Bed, count: usize) -> Result<()> {
    wait_for(format_args!("run {count} of the fence"), SOON, || runs(bed) >= count).map(drop)
}

fn go(bed: &Bed, code: u8) -> Result<()> {
    Ok(fs::write(bed.lb02().dir().join("go"), code.to_string())?)
}

#[test]
fn the_takeover_waits_for_the_fence() -> Result<()> {
    let Some(mut pair) = fenced_pair("fence_timeout 60")? else { return Ok(()) };
    pair.lb01.kill9()?;
    wait_run(&pair.bed, 1)?;
    sleep(master_down(LOW) * 2);
    ensure!(pair.bed.state("lb02")? == "BACKUP", "it does not wait");
    go(&pair.bed, 0)?;
    pair.bed.wait("lb02", "MASTER")?;
    ensure!(runs(&pair.bed) == 1, "{} runs", runs(&pair.bed));
    Ok(())
}

#[test]
fn a_fence_that_fails_is_tried_again_and_again() -> Result<()> {
    let Some(mut pair) = fenced_pair("")? else { return Ok(()) };
    go(&pair.bed, 1)?;
    pair.lb01.kill9()?;
    wait_run(&pair.bed, 3)?;
    ensure!(pair.bed.state("lb02")? == "BACKUP", "it took over all the same");
    go(&pair.bed, 0)?;
    pair.bed.wait("lb02", "MASTER")
}

#[test]
fn a_fence_that_hangs_ends_with_its_timeout() -> Result<()> {
    let Some(mut pair) = fenced_pair("fence_timeout 0.5\n    fence_failed take_over")? else { return Ok(()) };
    pair.lb01.kill9()?;
    pair.bed.wait("lb02", "MASTER")?;
    ensure!(runs(&pair.bed) == 1 && pair.lb02.log().contains("timed out"), "{}", pair.lb02.log());
    Ok(())
}

/// A master that is heard again while it is being fenced keeps its VIPs, whatever the script says then.
#[test]
fn who_is_heard_again_is_no_silence() -> Result<()> {
    let Some(mut pair) = fenced_pair("fence_timeout 60")? else { return Ok(()) };
    pair.lb01.kill9()?;
    wait_run(&pair.bed, 1)?;
    pair.lb01 = pair.bed.restart("lb01")?;
    pair.bed.wait("lb01", "MASTER")?;
    wait_for("lb02 to follow lb01", SOON, || {
        pair.bed.status("lb02").is_ok_and(|status| status["master"]["priority"] == HIGH)
    })?;
    go(&pair.bed, 0)?;
    sleep(master_down(LOW));
    ensure!(pair.bed.status("lb02")?["became_master"] == 0, "{}", pair.bed.status("lb02")?);
    Ok(())
}

/// A master that says goodbye needs no fence.
#[test]
fn a_goodbye_needs_no_fence() -> Result<()> {
    let Some(pair) = fenced_pair("")? else { return Ok(()) };
    pair.bed.lb01().stop_vipd(&pair.bed.vipd)?;
    pair.bed.wait("lb02", "MASTER")?;
    ensure!(runs(&pair.bed) == 0, "{} runs", runs(&pair.bed));
    Ok(())
}
