//! Programs of others that a frame meets before vipd's: vipd takes the first place at tc ingress again, names what it cannot come before,
//! and is no master of an interface where it is left nothing.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::{Node, wait_for, xdp::Program};

fn at_tc(priority: u8) -> String {
    format!("global_defs {{ xdp_mode tc }}\n{}", node_conf(priority, ""))
}

/// A master at tc ingress, and its backup. `None` where labs or tcx are impossible.
fn pair_at_tc() -> Result<Option<Pair>> {
    let Some(bed) = Bed::new()? else { return Ok(None) };
    if let Err(error) = Program::pass_at_tc()?.attach_first_at_tc(bed.client().ns(), "eth0") {
        vipd_tests::skip(format_args!("no tcx on this kernel: {error:#}"));
        return Ok(None);
    }
    pair_in(bed, &at_tc(HIGH), &at_tc(LOW)).map(Some)
}

fn doctor(bed: &Bed, node: &Node) -> Result<String> {
    let conf = node.vipd_conf().display().to_string();
    let output = bed.ask("lb01", &["doctor", "-f", &conf]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn warnings(bed: &Bed) -> Vec<Value> {
    let status = bed.lb01().status(&bed.vipd).unwrap_or_default();
    status["host_warnings"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_program_that_comes_in_front_at_tc_is_behind_again() -> Result<()> {
    let Some(pair) = pair_at_tc()? else { return Ok(()) };
    let (bed, lb01) = (&pair.bed, pair.bed.lb01());
    let prober = bed.prober()?;
    let dropper = Program::drop_at_tc()?;
    let link = dropper.attach_first_at_tc(lb01.ns(), "eth0")?;
    let event = bed.wait_event("lb01", "host_repaired", |fields| fields["kind"] == "program")?;
    println!("vipd said: {event}");
    ensure!(event["fields"]["what"].as_str().is_some_and(|what| what.contains("first place")), "{event}");
    let asked = std::time::Instant::now();
    wait_for("an answer after that", SOON, || {
        prober.current_owner(VIP).is_some_and(|answer| answer.at > asked)
    })?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(warnings(bed).is_empty(), "{:?}", warnings(bed));
    // A restart finds its link and its pin.
    drop(link);
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(!pins(lb01).exists(), "pins are left");
    Ok(())
}

/// vipd does not fight for the first place for ever; where it sees nothing another node serves.
#[test]
fn who_insists_on_the_first_place_and_drops_everything_is_a_fault() -> Result<()> {
    let Some(pair) = pair_at_tc()? else { return Ok(()) };
    let (bed, lb01) = (&pair.bed, pair.bed.lb01());
    let _prober = bed.prober()?;
    let mut links = Vec::new();
    for _ in 0..3 {
        let before = lb01.status(&bed.vipd)?["host_repairs"]["program"].as_u64();
        links.push(Program::drop_at_tc()?.attach_first_at_tc(lb01.ns(), "eth0")?);
        wait_for("the first place", SOON, || {
            lb01.status(&bed.vipd).is_ok_and(|status| status["host_repairs"]["program"].as_u64() > before)
        })?;
    }
    links.push(Program::drop_at_tc()?.attach_first_at_tc(lb01.ns(), "eth0")?);
    bed.wait("lb01", "FAULT")?;
    bed.wait("lb02", "MASTER")?;
    let reason = bed.status("lb01")?["reason"].to_string();
    println!("vipd said: {reason}");
    ensure!(reason.contains("none reaches vipd's program") && reason.contains("the tc program"), "{reason}");
    let text = doctor(bed, lb01)?;
    ensure!(
        text.contains("none reaches vipd's program") && text.contains("before vipd's program comes"),
        "{text}"
    );
    drop(links);
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(warnings(bed).is_empty(), "{:?}", warnings(bed));
    Ok(())
}

/// An XDP program comes before tc in any case. One that lets everything pass is named, and no more.
#[test]
fn an_xdp_program_before_tc_is_named_and_one_that_drops_everything_is_a_fault() -> Result<()> {
    let Some(pair) = pair_at_tc()? else { return Ok(()) };
    let (bed, lb01) = (&pair.bed, pair.bed.lb01());
    let _prober = bed.prober()?;
    let pass = Program::pass()?.attach(lb01.ns(), "eth0")?;
    let event = bed.wait_event("lb01", "host_warning", |fields| fields["about"] == "eth0")?;
    println!("vipd said: {event}");
    ensure!(event["fields"]["what"].as_str().is_some_and(|what| what.contains("the XDP program")), "{event}");
    sleep(Duration::from_secs(6));
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    let (warned, text) = (warnings(bed), doctor(bed, lb01)?);
    ensure!(warned.len() == 1 && text.contains("the XDP program"), "{warned:?}\n{text}");
    let shown = bed.ask("lb01", &["status"]).output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("eth0: before vipd's program comes"), "{shown}");
    drop(pass);
    bed.wait_event("lb01", "host_warning_over", |fields| fields["about"] == "eth0")?;

    let drops = Program::drop()?.attach(lb01.ns(), "eth0")?;
    bed.wait("lb01", "FAULT")?;
    bed.wait("lb02", "MASTER")?;
    let reason = bed.status("lb01")?["reason"].to_string();
    ensure!(reason.contains("none reaches vipd's program") && reason.contains("the XDP program"), "{reason}");
    drop(drops);
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    bed.wait_event("lb01", "host_restored", |_| true).map(drop)
}

/// vipd's own program on the parent of a VLAN interface is nobody else's; another one there comes before the VLAN interface's.
#[test]
fn the_parent_of_a_vlan_interface_is_looked_at() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    for command in [
        "ip link add link eth0 name eth0.10 type vlan id 10",
        "ip address add 10.10.0.5/24 dev eth0.10",
        "ip link set eth0.10 up",
    ] {
        match lb01.exec(&command.split(' ').collect::<Vec<_>>()) {
            Err(error) if error.to_string().contains("Unknown device type") => {
                vipd_tests::skip("no VLANs in this kernel");
                return Ok(());
            }
            made => made?,
        };
    }
    let vlan = "vrrp_instance VI_2 {\n interface eth0.10\n virtual_router_id 52\n virtual_ipaddress {\n 10.10.0.3\n }\n}\n";
    let both = format!("global_defs {{ xdp_mode auto eth0.10 }}\n{}{vlan}", node_conf(HIGH, ""));
    let mut vipd = bed.start("lb01", &both)?;
    let hooks = || -> Result<Vec<String>> {
        let status = lb01.status(&bed.vipd)?;
        let instances = status["instances"].as_array().cloned().unwrap_or_default();
        Ok(instances
            .iter()
            .map(|instance| format!("{} {}", instance["state"], instance["xdp_mode"]))
            .collect())
    };
    wait_for("both to be MASTER", SOON, || {
        hooks().is_ok_and(|hooks| hooks == [r#""MASTER" "native""#, r#""MASTER" "tc""#])
    })?;
    sleep(Duration::from_secs(3));
    ensure!(warnings(&bed).is_empty(), "{:?}", warnings(&bed));
    lb01.stop_vipd(&bed.vipd)?;
    vipd.wait(SOON)?;

    lb01.write_vipd_conf(&format!("global_defs {{ xdp_mode auto eth0.10 }}\n{vlan}"))?;
    let _vipd = bed.restart("lb01")?;
    let _pass = Program::pass()?.attach(lb01.ns(), "eth0")?;
    let event = bed.wait_event("lb01", "host_warning", |fields| fields["about"] == "eth0.10")?;
    ensure!(event["fields"]["what"].as_str().is_some_and(|what| what.contains("the XDP program")), "{event}");
    Ok(())
}
