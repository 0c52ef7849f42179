//! `vipd doctor` on real nodes: one that is well, and what it says when something is broken.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::*;
use vipd_tests::xdp::Program;

/// What doctor says of the lab's interfaces when vipd runs on them as labs start it.
const NATIVE_ON_VETH: &str = "native XDP on a veth ";

/// The exit code, and what is to be mended: about, check and level.
fn doctor(bed: &Bed, more: &[&str]) -> Result<(i32, Vec<String>, Value)> {
    let lb01 = bed.lb01();
    let mut command = lb01.command(&bed.vipd);
    command.args(["doctor", "--json", "-f"]).arg(lb01.vipd_conf()).args(more);
    command.arg("--bpffs-dir").arg(lb01.bpffs_dir()).arg("--runtime-dir").arg(lb01.runtime_dir());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let json: Value = serde_json::from_str(&said)
        .with_context(|| format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    let findings = json["findings"].as_array().context("findings")?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let to_mend = findings.iter().filter(|f| f["level"] == "problem" || f["level"] == "warning");
    // What this machine is, and may do, is another matter, and so is native XDP on the lab's veths.
    let to_mend = to_mend.filter(|f| f["about"] != "kernel" && !text(f, "what").starts_with(NATIVE_ON_VETH));
    let to_mend =
        to_mend.map(|f| format!("{} {} {}", text(f, "about"), text(f, "check"), text(f, "level"))).collect();
    Ok((output.status.code().context("it was killed")?, to_mend, json))
}

fn expect(bed: &Bed, expected: &[&str]) -> Result<()> {
    let (code, mut found, json) = doctor(bed, &[])?;
    // A busy machine is late.
    found.retain(|finding| !finding.ends_with("lateness warning"));
    ensure!(found == expected, "{found:?}, expected {expected:?}\n{json:#}");
    let problems = json["problems"].as_u64().context("problems")?;
    ensure!(
        (code == 0) == (problems == 0)
            && problems as usize >= found.iter().filter(|f| f.ends_with("problem")).count()
    );
    Ok(())
}

#[test]
fn a_node_before_vipd_is_started() -> Result<()> {
    let Some(bed) = Bed::with_gateway()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let arbiter = "arbiter gw {\n ping 10.0.0.1\n}\n";
    lb01.write_vipd_conf(
        &(arbiter.to_owned()
            + &node_conf(HIGH, "track_arbiter {\n gw\n }").replace("advert_int 0.3", "advert_int 2")),
    )?;
    expect(&bed, &[])?;
    let (_, _, json) = doctor(&bed, &[])?;
    let said = json.to_string();
    for words in ["1 of 1 targets answer", "no vipd is running", "no other XDP program is on eth0"] {
        ensure!(said.contains(words), "{words} is not in {json:#}");
    }
    // Nothing was made.
    ensure!(!lb01.runtime_dir().exists() && !lb01.bpffs_dir().exists());

    bed.lab.set_port("gw", false)?;
    let other = Program::pass()?.attach(lb01.ns(), "eth0")?;
    expect(&bed, &["arbiter gw target warning", "arbiter gw quorum problem"])?;
    let conf = format!("global_defs {{\n xdp_mode native\n}}\n{}", node_conf(HIGH, ""));
    lb01.write_vipd_conf(&conf.replace("advert_int 0.3", "advert_int 2"))?;
    expect(&bed, &["eth0 xdp problem"])?;
    drop(other);
    bed.lab.set_port("gw", true)?;
    lb01.exec(&["ip", "link", "set", "eth0", "down"])?;
    let (code, found, _) = doctor(&bed, &[])?;
    ensure!(code == 1 && found.contains(&"eth0 up problem".to_owned()), "{code}: {found:?}");
    lb01.write_vipd_conf("vrrp_instance VI_1 {\n}\n")?;
    expect(&bed, &["configuration file problem"])
}

#[test]
fn a_node_that_runs_and_what_breaks_it() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    expect(&bed, &[])?;
    let (.., said) = doctor(&bed, &[])?;
    let native = bed.status("lb01")?["xdp_mode"] == "native";
    ensure!(said.to_string().contains(NATIVE_ON_VETH) == native, "{said:#}");

    lb01.exec(&["ip", "address", "add", &format!("{VIP}/32"), "dev", "eth0"])?;
    expect(&bed, &["VI_1 vip-on-interface problem"])?;
    lb01.exec(&["ip", "address", "del", &format!("{VIP}/32"), "dev", "eth0"])?;
    lb01.exec(&["ip", "rule", "add", "preference", "60", "lookup", "local"])?;
    lb01.exec(&["ip", "rule", "del", "preference", "0"])?;
    lb01.exec(&["ip", "rule", "add", "preference", "50", "from", "192.0.2.0/24", "table", "7"])?;
    expect(&bed, &["rules rules warning"])?;
    let (code, ..) = doctor(&bed, &["--strict"])?;
    ensure!(code == 1, "a warning with --strict");
    lb01.exec(&["ip", "rule", "del", "preference", "60"])?;
    lb01.exec(&["ip", "rule", "del", "preference", "50"])?;
    lb01.ns().sysctl("net/ipv4/ip_nonlocal_bind", "0")?;
    lb01.ns().sysctl("net/ipv4/conf/all/arp_ignore", "0")?;
    // vipd puts all of it back, and the doctor tells of that.
    for what in ["lookup local", "ip_nonlocal_bind", "arp_ignore"] {
        bed.wait_event("lb01", "host_repaired", |fields| {
            fields["what"].as_str().is_some_and(|said| said.contains(what))
        })?;
    }
    expect(&bed, &["host host-repairs warning"])?;

    // Another password than that of whom it hears.
    let script = "vrrp_script chk {\n script /no/such/script\n}\n";
    bed.reloaded("lb01", &(script.to_owned() + &node_conf(HIGH, "track_script {\n chk\n }")))?;
    let rival = frames::Ipv4 {
        ttl: 254,
        ..frames::Ipv4::advert([10, 0, 0, 77].into(), frames::v3(51, 50, 30, &[VIP]))
    };
    bed.client().inject(&rival.frame())?;
    vipd_tests::wait_for("the advert to be dropped", SOON, || {
        bed.status("lb01").is_ok_and(|status| status["discards"]["ip_ttl_errors"] == 1)
    })?;
    expect(
        &bed,
        &[
            "configuration file warning",
            "configuration script problem",
            "host host-repairs warning",
            "VI_1 discards problem",
        ],
    )
}

/// Adverts to peers go through the packet filter; those to a group do not.
#[test]
fn a_packet_filter_that_drops_adverts() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, "unicast_peer {\n 10.0.0.6\n }"))?;
    lb01.exec(&[
        "nft",
        "add table inet t { chain out { type filter hook output priority 0; policy drop; }; }",
    ])?;
    expect(&bed, &["firewall output warning"])?;
    lb01.exec(&["nft", "add rule inet t out meta l4proto vrrp accept"])?;
    expect(&bed, &[])?;
    lb01.exec(&["nft", "insert rule inet t out ip protocol 112 drop"])?;
    expect(&bed, &["firewall output problem"])?;
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    expect(&bed, &[])
}

/// The kernel is asked about the program itself, by who may ask.
#[test]
fn whether_the_kernel_loads_the_program() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let of_program = |json: &Value| -> Result<(String, String)> {
        let findings = json["findings"].as_array().context("findings")?;
        let found = findings.iter().find(|finding| finding["check"] == "program").context("no such check")?;
        Ok((found["level"].to_string(), found["what"].to_string()))
    };
    let (_, _, json) = doctor(&bed, &[])?;
    let (level, what) = of_program(&json)?;
    ensure!(level == "\"ok\"" && what.contains("the kernel loads vipd_xdp: its verifier walked "), "{what}");
    ensure!(!lb01.bpffs_dir().exists() && !lb01.runtime_dir().exists(), "something was left");

    let mut command = lb01.command("setpriv");
    command.args(["--bounding-set", "-perfmon,-sys_admin"]).arg(&bed.vipd);
    command.args(["doctor", "--json", "-f"]).arg(lb01.vipd_conf());
    command.arg("--bpffs-dir").arg(lb01.bpffs_dir()).arg("--runtime-dir").arg(lb01.runtime_dir());
    let (level, what) = of_program(&serde_json::from_slice(&command.output()?.stdout)?)?;
    ensure!(level == "\"skipped\"" && what.contains("not tested whether"), "{level} {what}");
    ensure!(what.contains("without CAP_PERFMON"), "{what}");
    Ok(())
}

/// A keepalived beside vipd is named with what it has, in BACKUP too; a process that only has its name is none.
#[test]
fn a_keepalived_beside_vipd_is_named() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let (lb01, lb02) = (bed.lb01(), bed.lb02());
    // lb02's is the better, so that lb01's stays in BACKUP.
    let _other = lb02.start_keepalived(&node_conf(HIGH, ""))?;
    lb02.wait_keepalived(INSTANCE, "MASTER", SOON)?;
    let mut keepalived = lb01.start_keepalived(&node_conf(LOW, ""))?;
    lb01.wait_keepalived(INSTANCE, "BACKUP", SOON)?;
    let mut vipd = bed.start("lb01", &node_conf(LOW - 10, ""))?;
    let named =
        format!("keepalived (pid {}) runs on this host too and has VRID 51 on eth0", keepalived.pid());
    ensure!(vipd.log().contains(&named), "{named} is not in {}", vipd.log());
    let (_, found, json) = doctor(&bed, &[])?;
    let named = format!("keepalived (pid {}) runs here too, and has VRID 51 on eth0", keepalived.pid());
    ensure!(found.contains(&"configuration keepalived problem".to_owned()), "{found:?}");
    ensure!(json.to_string().contains(&named), "{json:#}");

    // The same as an address owner's other virtual router.
    let other = node_conf(LOW, "").replace("virtual_router_id 51", "virtual_router_id 52");
    keepalived.sigterm()?;
    keepalived.wait(SOON)?;
    lb01.stop_vipd(&bed.vipd)?;
    vipd.wait(SOON)?;
    let mut keepalived = lb01.start_keepalived(&other.replace("10.0.0.3", "10.0.0.4"))?;
    lb01.wait_keepalived(INSTANCE, "MASTER", SOON)?;
    let vipd = bed.start("lb01", &node_conf(LOW - 10, ""))?;
    ensure!(vipd.log().contains("with no virtual router of vipd's"), "{}", vipd.log());
    let (_, found, json) = doctor(&bed, &[])?;
    ensure!(!found.iter().any(|line| line.contains("keepalived")), "{found:?}");
    ensure!(json.to_string().contains("with other virtual routers"), "{json:#}");
    keepalived.sigterm()?;
    keepalived.wait(SOON)?;

    let fake = lb01.dir().join("keepalived");
    std::fs::copy("/bin/sleep", &fake)?;
    let mut fake =
        vipd_tests::Daemon::start("a fake", lb01.command(&fake).arg("60"), &lb01.dir().join("fake.log"))?;
    let (_, found, json) = doctor(&bed, &[])?;
    ensure!(!found.iter().any(|line| line.contains("keepalived")), "{found:?}");
    ensure!(json.to_string().contains("and has no VRRP socket"), "{json:#}");
    fake.kill9().map(drop)
}
