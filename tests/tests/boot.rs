//! A start at boot: `--wait-for-interfaces`, which the unit has, waits for an interface and then for its address, in FAULT.
//! With a kernel and systemd of its own: `cargo xtask dist --guest`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use support::*;
use vipd_tests::Daemon;

#[test]
fn an_interface_and_then_its_address_are_waited_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    lb01.exec(&["ip", "link", "set", "dev", "eth0", "down"])?;
    lb01.exec(&["ip", "link", "set", "dev", "eth0", "name", "late0"])?;
    lb01.exec(&["ip", "address", "flush", "dev", "late0"])?;
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;

    // Whoever starts it by hand learns of a wrong name at once.
    let mut refused = bed.restart("lb01")?;
    ensure!(!refused.wait(SOON)?.success(), "started without its interface");
    ensure!(refused.log().contains("interface eth0 does not exist"), "{}", refused.log());

    let mut run = lb01.vipd_run(&bed.vipd);
    let mut vipd = Daemon::start("vipd on lb01", run.arg("--wait-for-interfaces"), &lb01.vipd_log())?;
    let reason = |wanted: &str| -> Result<()> {
        vipd_tests::wait_for(format_args!("FAULT: {wanted}"), SOON, || {
            bed.status("lb01").is_ok_and(|status| status["state"] == "FAULT" && status["reason"] == wanted)
        })
        .map(drop)
    };
    reason("no such interface")?;
    ensure!(vipd.log().contains("waits for the interface"), "{}", vipd.log());
    lb01.exec(&["ip", "link", "set", "dev", "late0", "name", "eth0"])?;
    lb01.exec(&["ip", "link", "set", "dev", "eth0", "up"])?;
    reason("no usable address on the interface")?;
    // Longer than a backup waits for a master.
    sleep(master_down(HIGH) + Duration::from_millis(300));
    reason("no usable address on the interface")?;
    lb01.exec(&["ip", "address", "add", "10.0.0.5/24", "dev", "eth0"])?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;

    let states = |node: &str| -> Result<Vec<String>> {
        let changes = bed.events_named(node, "state_changed")?;
        Ok(changes.iter().filter_map(|event| event["fields"]["to"].as_str()).map(str::to_owned).collect())
    };
    ensure!(states("lb01")? == ["FAULT", "BACKUP", "MASTER"], "{:?}", states("lb01")?);
    ensure!(states("lb02")? == ["BACKUP", "MASTER", "BACKUP"], "{:?}", states("lb02")?);
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(vipd.wait(SOON)?.success());
    Ok(())
}

/// An interface that is renamed, for good or for a while, has nothing of vipd left after the stop, under whatever name.
#[test]
fn a_renamed_interface_is_left_as_it_was() -> Result<()> {
    for back in [true, false] {
        let Some(bed) = Bed::new()? else { return Ok(()) };
        let lb01 = bed.lb01();
        let rename = |from: &str, to: &str| -> Result<()> {
            lb01.exec(&["ip", "link", "set", "dev", from, "down"])?;
            lb01.exec(&["ip", "link", "set", "dev", from, "name", to])?;
            lb01.exec(&["ip", "link", "set", "dev", to, "up"]).map(drop)
        };
        let shown = |name: &str| -> Result<String> {
            // With the link, IPv6 of the kernel comes and goes.
            let filter = lb01.exec(&["bridge", "fdb", "show", "dev", name])?;
            let mut macs: Vec<_> = filter.lines().filter(|line| !line.starts_with("33:33")).collect();
            macs.sort_unstable();
            let mut all = macs.join("\n") + "\n";
            let offloads = lb01.exec(&["ethtool", "-k", name])?;
            all += offloads.lines().find(|line| line.contains("rx-vlan-offload")).unwrap_or_default();
            for interface in [name, "all", "default"] {
                for setting in ["arp_ignore", "arp_announce", "rp_filter"] {
                    all += &lb01.exec(&["sysctl", "-n", &format!("net.ipv4.conf.{interface}.{setting}")])?;
                }
            }
            Ok(all)
        };
        let before = shown("eth0")?;
        let conf =
            format!("global_defs {{\n xdp_mode native\n dynamic_interfaces\n}}\n{}", node_conf(HIGH, ""));
        let _vipd = bed.start("lb01", &conf)?;
        bed.wait("lb01", "MASTER")?;
        ensure!(shown("eth0")? != before, "vipd changes nothing of it: the test says nothing");
        rename("eth0", "other0")?;
        bed.wait("lb01", "FAULT")?;
        if back {
            rename("other0", "eth0")?;
            bed.wait("lb01", "MASTER")?;
        }
        lb01.stop_vipd(&bed.vipd)?;
        let after = shown(if back { "eth0" } else { "other0" })?;
        ensure!(after == before, "before:\n{before}\nafter (back: {back}):\n{after}");
    }
    Ok(())
}
