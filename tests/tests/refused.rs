//! Interfaces that cannot carry VIPs are refused by name, with the reason and the remedy: at the start, by a reload, by
//! `vipd doctor`, and when one becomes so while vipd runs.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::process::Output;

use anyhow::{Context, Result, ensure};
use support::*;

/// Makes an interface that cannot be used; its name, and what is said of it.
struct Kind {
    name: &'static str,
    /// Arguments of `ip`, a line each.
    made: &'static str,
    said: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { name: "tun0", made: "tuntap add dev tun0 mode tun", said: "carries no Ethernet (tun)" },
    Kind {
        name: "eth1",
        made: "link add br7 type bridge\nlink set dev eth1 master br7",
        said: "is a port of the bridge br7, which gets what comes in: use br7",
    },
    Kind { name: "wg0", made: "link add wg0 type wireguard", said: "carries no Ethernet (wireguard)" },
    Kind {
        name: "gre7",
        made: "link add gre7 type gre local 10.0.0.5 remote 10.0.0.6",
        said: "carries no Ethernet (gre)",
    },
    Kind {
        name: "sit7",
        made: "link add sit7 type sit local 10.0.0.5 remote 10.0.0.6",
        said: "carries no Ethernet (sit)",
    },
    Kind {
        name: "ipv0",
        made: "link add ipv0 link eth0 type ipvlan",
        said: "is an ipvlan, which gets only packets to its own addresses: use a macvlan, or a bridge",
    },
    Kind {
        name: "eth1",
        made: "link add blue type vrf table 10\nlink set dev eth1 master blue",
        said: "is in the VRF blue, and VIPs are in the main routing of the host",
    },
    Kind {
        name: "eth1",
        made: "link set dev eth1 down\nlink add bond7 type bond\nlink set dev eth1 master bond7",
        said: "is a slave of the bond bond7, which gets what comes in: use bond7",
    },
];

/// Runs `ip` on lb01 for each line; `false` if the kernel has no interfaces of this kind.
fn make(bed: &Bed, lines: &str) -> Result<bool> {
    for line in lines.lines() {
        let output = bed.lb01().command("ip").args(line.split(' ')).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        if error.contains("Unknown device type") || error.contains("Operation not supported") {
            return Ok(false);
        }
        ensure!(output.status.success(), "ip {line}: {error}");
    }
    Ok(true)
}

fn on(interface: &str) -> String {
    node_conf(HIGH, "").replace("interface eth0", &format!("interface {interface}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_start_is_refused() -> Result<()> {
    let mut missing = Vec::new();
    for Kind { name, made, said } in KINDS {
        let Some(bed) = Bed::two_lines()? else { return Ok(()) };
        if !make(&bed, made)? {
            missing.push(*said);
            continue;
        }
        let lb01 = bed.lb01();
        lb01.write_vipd_conf(&on(name))?;
        let output = lb01.vipd_run(&bed.vipd).output()?;
        let error = stderr(&output);
        ensure!(output.status.code() == Some(1), "{name}: {output:?}");
        ensure!(error.contains(&format!("instance {INSTANCE}: interface {name} {said}")), "{said}: {error}");
        ensure!(!lb01.bpffs_dir().join("vipd").exists(), "something was left");

        let mut doctor = lb01.command(&bed.vipd);
        doctor.args(["doctor", "-f"]).arg(lb01.vipd_conf());
        doctor.arg("--bpffs-dir").arg(lb01.bpffs_dir()).arg("--runtime-dir").arg(lb01.runtime_dir());
        let told = doctor.output()?;
        let text = String::from_utf8_lossy(&told.stdout);
        let (why, _) = said.split_once(": ").unwrap_or((said, ""));
        ensure!(told.status.code() == Some(1) && text.contains(&format!("problem  it {why}")), "{text}");
    }
    if !missing.is_empty() {
        vipd_tests::skip(format_args!("no such interfaces in this kernel: {}", missing.join("; ")));
    }
    Ok(())
}

/// An interface that is enslaved while vipd runs, and set free again.
#[test]
fn an_interface_in_use_that_is_enslaved_is_a_fault_with_the_reason() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(make(&bed, "link add br7 type bridge\nlink set dev eth0 master br7")?);
    let refused = bed.wait_event("lb01", "interface_refused", |_| true)?;
    let reason = "interface eth0 is a port of the bridge br7, which gets what comes in: use br7";
    ensure!(refused["fields"]["interface"] == "eth0" && refused["fields"]["reason"] == reason, "{refused}");
    bed.wait("lb01", "FAULT")?;
    let status = bed.status("lb01")?;
    ensure!(status["reason"] == format!("the interface cannot be used: {reason}"), "{status}");
    bed.lb01().exec(&["ip", "link", "set", "dev", "eth0", "nomaster"])?;
    bed.wait("lb01", "MASTER")?;
    bed.wait_event("lb01", "interface_found", |fields| fields["interface"] == "eth0")?;
    let log = vipd.log();
    ensure!(!log.contains("ERROR"), "{log}");
    Ok(())
}

/// With `dynamic_interfaces` an interface may come as it cannot be used, and be made to fit.
#[test]
fn an_interface_that_comes_unfit_is_waited_for() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let conf = on("br0").replace("global_defs {", "global_defs {\n    dynamic_interfaces\n    xdp_mode auto");
    ensure!(conf.contains("dynamic_interfaces"), "{conf}");
    let mut lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "FAULT")?;
    ensure!(make(&bed, "tuntap add dev br0 mode tun")?);
    let of = |fields: &serde_json::Value| fields["interface"] == "br0";
    let refused = bed.wait_event("lb01", "interface_refused", of)?;
    ensure!(
        refused["fields"]["reason"].as_str().is_some_and(|why| why.contains("carries no Ethernet (tun)")),
        "{refused}"
    );
    bed.wait("lb01", "FAULT")?;
    let lines = "link del br0\nlink add br0 type bridge\naddress add 10.0.0.5/24 dev br0\naddress del 10.0.0.5/24 dev eth0\n\
                 link set dev eth0 master br0\nlink set dev br0 up";
    ensure!(make(&bed, lines)?);
    bed.wait("lb01", "MASTER")?;
    bed.lb01().stop_vipd(&bed.vipd)?;
    ensure!(lb01.wait(SOON)?.success());
    // One that is there from the start is waited for as well.
    ensure!(make(&bed, "link del br0\ntuntap add dev br0 mode tun")?);
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait_event("lb01", "interface_refused", of)?;
    bed.wait("lb01", "FAULT")
}

#[test]
fn a_reload_is_refused() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let output = bed.reload("lb01", &on("lo"))?;
    let error = stderr(&output);
    ensure!(!output.status.success(), "{output:?}");
    ensure!(error.contains("interface lo carries no Ethernet (loopback)"), "{error}");
    let refused = bed.wait_event("lb01", "reload_refused", |_| true)?;
    ensure!(refused["fields"]["error"].as_str().is_some_and(|why| why.contains("use an Ethernet interface")));
    let status = bed.status("lb01").context("it runs")?;
    ensure!(status["state"] == "MASTER" && status["interface"] == "eth0", "{status}");
    Ok(())
}

/// In a time namespace the daemon's clock is not the program's: each lease would end at two moments. Both ways of it.
#[test]
fn a_time_namespace_is_refused() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    for (offset, words) in [("1000", "1000.0"), ("-1", "1.0")] {
        let run = lb01.vipd_run(&bed.vipd);
        let mut command = lb01.command("unshare");
        command.args(["--time", "--fork", "--boottime", offset, "--"]).arg(&bed.vipd).args(run.get_args());
        let output = command.output()?;
        let error = stderr(&output);
        if error.contains("timens") || error.contains("unshare failed") {
            vipd_tests::skip(format_args!("no time namespaces here: {error}"));
            return Ok(());
        }
        ensure!(output.status.code() == Some(1), "{offset}: {output:?}");
        let direction = if offset.starts_with('-') { "behind" } else { "ahead of" };
        for words in ["this process is in a time namespace", words, direction, "start vipd outside of it"] {
            ensure!(error.contains(words), "{offset}: {words} is not in {error}");
        }
        ensure!(!lb01.bpffs_dir().join("vipd").exists(), "something was left");
    }
    // A monotonic clock of its own is no matter: leases are not judged by it.
    let run = lb01.vipd_run(&bed.vipd);
    let mut command = lb01.command("unshare");
    command.args(["--time", "--monotonic", "1000", "--"]).arg(&bed.vipd).args(run.get_args());
    let _vipd = vipd_tests::Daemon::start("vipd", &mut command, &lb01.vipd_log())?;
    bed.wait("lb01", "MASTER")
}
