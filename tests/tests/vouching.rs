//! Early takeover as operators see it: a master that nobody vouches for says so, and a claim from a master that lives is a false alarm.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::wait_for;

/// A silence of 240 ms is acted on. Adverts come so seldom, and the checks of the arbiter are so patient, that a test is over before either
/// of them decides.
fn conf_of(priority: u8) -> String {
    let arbiter = "arbiter gw {\n ping 10.0.0.1\n fall 60\n rise 1\n}\n";
    let early = "probe {\n interval 60\n multiplier 4\n act takeover\n}\ntrack_arbiter {\n gw\n}\n";
    let instance = conf("VI_1", "BACKUP", priority, early).replace("advert_int 0.3", "advert_int 4");
    arbiter.to_owned() + &instance
}

fn early(bed: &Bed, node: &str) -> Result<Value> {
    Ok(bed.status(node)?["early"].clone())
}

fn wait_early(bed: &Bed, node: &str, field: &str, wanted: &Value) -> Result<()> {
    wait_for(format_args!("{field} of {node} to be {wanted}"), SOON, || {
        early(bed, node).is_ok_and(|early| early[field] == *wanted)
    })
    .with_context(|| format!("{:?}", early(bed, node)))?;
    Ok(())
}

/// Whether `vipd is-master` says so.
fn is_master(bed: &Bed, node: &str) -> Result<bool> {
    let output = bed.ask(node, &["is-master", "VI_1"]).output()?;
    ensure!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    Ok(output.status.success())
}

#[test]
fn a_master_that_nobody_vouches_for_says_so() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let _master = bed.start("lb01", &conf_of(HIGH))?;
    bed.wait("lb01", "MASTER")?;
    let _backup = bed.start("lb02", &conf_of(LOW))?;
    wait_early(&bed, "lb02", "armed", &true.into())?;
    let text = bed.told("lb02", &["status"])?;
    ensure!(text.contains("takes over after 240.000 ms of silence of 10.0.0.5"), "{text}");
    let sponsors = bed.lab.node("lb01").status(&bed.vipd)?["sponsors"].clone();
    ensure!(sponsors["vouched_for"] == true && sponsors["arbiters"][0]["reached"] == true, "{sponsors}");
    ensure!(sponsors["backups"][0]["peer"] == "10.0.0.6", "{sponsors}");
    ensure!(is_master(&bed, "lb01")?);

    // It reaches neither its backup nor its arbiter: its lease stands, and it answers for nothing.
    bed.lab.partition(&["lb01"], &["lb02", "gw"])?;
    bed.wait("lb02", "MASTER")?;
    wait_early(&bed, "lb01", "unvouched", &true.into())?;
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "MASTER" && status["lease_remaining_ms"].is_u64(), "{status}");
    ensure!(!is_master(&bed, "lb01")? && is_master(&bed, "lb02")?);
    let event = bed.wait_event("lb01", "unvouched", |_| true)?;
    ensure!(event["fields"]["arbiters"] == "gw" && event["fields"]["backups"] == "10.0.0.6", "{event}");
    let text = bed.told("lb01", &["status"])?;
    ensure!(text.contains("nobody vouches for this node: it answers for no VIP of VI_1"), "{text}");
    let claims = early(&bed, "lb02")?;
    ensure!(claims["claims"] == true && claims["claims_made"] == 1, "{claims}");

    // It was no dead master, and silence is not acted on for half a minute.
    bed.lab.unblock_all()?;
    bed.wait_event("lb01", "vouched_again", |_| true)?;
    let event = bed.wait_event("lb02", "claim_false_alarm", |_| true)?;
    ensure!(event["fields"]["instance"] == "VI_1" && event["fields"]["disarmed_s"] == 30, "{event}");
    bed.wait_event("lb02", "claim_settled", |fields| fields["instance"] == "VI_1")?;
    let claims = early(&bed, "lb02")?;
    ensure!(claims["false_alarms"] == 1 && claims["claims"] == false, "{claims}");
    let left = Duration::from_millis(claims["disarmed_left_ms"].as_u64().unwrap_or_default());
    ensure!(left > Duration::ZERO && left <= Duration::from_secs(30), "{claims}");
    Ok(())
}
