//! An operator's questions to a pair: where a VIP is, whether this node is the master, whether a monitoring system is to worry; and
//! which configuration is looked at when none is named.

mod support;

use std::{
    fs,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{Bed, HIGH, LOW, SOON, VIP, node_conf};
use vipd_tests::{vipd_bin, wait_for};

/// Exit code, standard output, standard error.
type Told = (i32, String, String);

fn told(output: Output) -> Result<Told> {
    let code = output.status.code().with_context(|| format!("{output:?}"))?;
    Ok((code, String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

fn ask(bed: &Bed, node: &str, arguments: &[&str]) -> Result<Told> {
    told(bed.lab.node(node).vipd_ask(&bed.vipd, arguments).output()?)
}

#[test]
fn both_nodes_say_where_the_vip_is() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let vip = VIP.to_string();
    for arguments in [&["where", &vip][..], &["is-master", "VI_1"], &["is-master", &vip]] {
        let (code, out, err) = ask(&bed, "lb01", arguments)?;
        ensure!(
            code == 3 && out.is_empty() && err.contains("no vipd is running"),
            "{arguments:?}: {code} {out} {err}"
        );
    }
    ensure!(ask(&bed, "lb01", &["is-master", "VI_1", "--quiet"])? == (3, String::new(), String::new()));
    let (code, out, err) = ask(&bed, "lb01", &["status", "--check"])?;
    ensure!(
        code == 2 && out.starts_with("VIPD CRITICAL - no vipd is running") && err.is_empty(),
        "{code} {out} {err}"
    );

    let _first = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let mut second = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    // Whose advert was heard.
    wait_for("lb02 to know the master", SOON, || bed.status("lb02").is_ok_and(|i| i["master"].is_object()))?;

    let master = format!("{vip} is here: VI_1 (vrid 51 on eth0) has been MASTER for ");
    let (code, out, err) = ask(&bed, "lb01", &["where", &vip])?;
    ensure!(code == 0 && err.is_empty(), "{code} {err}");
    ensure!(out.starts_with(&master) && out.ends_with(&format!(", priority {HIGH}\n")), "{out}");
    let address = bed.lb01().ip().context("an address")?;
    let (code, out, err) = ask(&bed, "lb02", &["where", &vip])?;
    ensure!(code == 1 && err.is_empty(), "{code} {err}");
    ensure!(
        out.starts_with(&format!("{vip} is not here: VI_1 (vrid 51 on eth0) has been BACKUP for ")),
        "{out}"
    );
    ensure!(out.contains(&format!("the master is {address} with priority {HIGH}, last heard 0.")), "{out}");

    for (node, expect) in [("lb01", 0), ("lb02", 1)] {
        for wanted in ["VI_1", &vip] {
            let (code, out, err) = ask(&bed, node, &["is-master", wanted])?;
            ensure!(
                code == expect && out.starts_with(wanted) && err.is_empty(),
                "{node} {wanted}: {code} {out} {err}"
            );
            let quiet = ask(&bed, node, &["is-master", wanted, "--quiet"])?;
            ensure!(quiet == (expect, String::new(), String::new()), "{node} {wanted}: {quiet:?}");
        }
    }
    let (code, out, err) = ask(&bed, "lb01", &["is-master", "VI_2"])?;
    ensure!(code == 2 && out.is_empty() && err.contains("(did you mean VI_1?)"), "{code} {out} {err}");
    ensure!(ask(&bed, "lb01", &["is-master", "VI_2", "-q"])? == (2, String::new(), String::new()));
    let (code, _, err) = ask(&bed, "lb01", &["where", "10.0.0.99"])?;
    ensure!(code == 2 && err.contains(&format!("the VIPs are {vip}")), "{code} {err}");
    let (code, _, err) = ask(&bed, "lb01", &["where", "VI_1"])?;
    ensure!(code == 2 && err.contains("--help"), "an address is wanted: {code} {err}");

    // A frozen vipd says nothing, which is not that it is no master.
    second.sigstop()?;
    let frozen = ask(&bed, "lb02", &["is-master", "VI_1", "--quiet"])?;
    let (code, out, _) = ask(&bed, "lb02", &["status", "--check"])?;
    second.sigcont()?;
    ensure!(frozen == (3, String::new(), String::new()), "{frozen:?}");
    ensure!(code == 2 && out.starts_with("VIPD CRITICAL - "), "{code} {out}");
    Ok(())
}

#[test]
fn a_monitoring_system_gets_one_line_and_its_code() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let flag = bed.lb01().dir().join("healthy");
    fs::write(&flag, "")?;
    let check = format!(
        "vrrp_script chk {{\n    script \"/usr/bin/test -e {}\"\n    interval 1\n    weight -2\n    user root\n}}\n",
        flag.display()
    );
    let conf = check + &node_conf(HIGH, "track_script {\n chk\n }");
    let _first = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let _second = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    let mut last = String::new();
    let mut is = |node: &str, more: &[&str], code: i32, start: &str| -> Result<()> {
        let mut arguments = vec!["status", "--check"];
        arguments.extend(more);
        let said = || {
            ask(&bed, node, &arguments).is_ok_and(|(found, out, err)| {
                last = format!("{found}: {out}{err}");
                found == code && out.starts_with(start) && out.lines().count() == 1 && err.is_empty()
            })
        };
        wait_for(format_args!("{node}: {start}"), SOON, said).with_context(|| last.clone()).map(drop)
    };
    is("lb01", &[], 0, "VIPD OK - 1 instance: 1 MASTER | instances=1 master=1 backup=0 fault=0;;0 ")?;
    is("lb02", &[], 0, "VIPD OK - 1 instance: 1 BACKUP | instances=1 master=0 backup=1 fault=0;;0 ")?;
    is("lb02", &["VI_9"], 3, "VIPD UNKNOWN - no instance is called VI_9 (did you mean VI_1?)")?;

    fs::remove_file(&flag)?;
    is("lb01", &[], 1, "VIPD WARNING - vrrp_script chk fails | ")?;
    is("lb01", &["VI_1"], 0, "VIPD OK - 1 instance")?;
    fs::write(&flag, "")?;
    is("lb01", &[], 0, "VIPD OK - ")?;

    bed.told("lb01", &["drain"])?;
    is("lb01", &[], 1, "VIPD WARNING - the node is drained; VI_1: handed over, it ranks last | ")?;
    bed.told("lb01", &["undrain"])?;
    is("lb01", &[], 0, "VIPD OK - ")?;

    bed.lb01().exec(&["ip", "link", "set", "eth0", "down"])?;
    is("lb01", &[], 2, "VIPD CRITICAL - VI_1: FAULT for ")?;
    bed.lb01().exec(&["ip", "link", "set", "eth0", "up"])?;
    is("lb01", &["10.0.0.3"], 0, "VIPD OK - ")
}

#[test]
fn status_names_the_node_and_the_file() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let conf = node_conf(HIGH, "").replace("global_defs {\n", "global_defs {\n    router_id blue\n");
    let _daemon = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let (host, file) = (host.trim(), lb01.vipd_conf());
    let (_, out, _) = ask(&bed, "lb01", &["status"])?;
    let mut lines = out.lines();
    let first = lines.next().unwrap_or_default();
    ensure!(first.contains(&format!(" on {host}, pid ")) && first.starts_with("vipd "), "{out}");
    ensure!(lines.next() == Some(&*format!("router_id blue, configuration {}", file.display())), "{out}");
    let (_, out, _) = ask(&bed, "lb01", &["status", "--json"])?;
    let json: Value = serde_json::from_str(&out)?;
    ensure!(json["host"] == host && json["router_id"] == "blue", "{out}");
    ensure!(json["config_file"] == file.to_str().context("a path in UTF-8")?, "{out}");
    Ok(())
}

#[test]
fn check_and_doctor_read_the_file_of_the_running_vipd() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let mut daemon = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let file = lb01.vipd_conf();
    let chosen = format!("{} (the file of the running vipd, pid {})", file.display(), daemon.pid());
    let (code, out, err) = ask(&bed, "lb01", &["check"])?;
    ensure!(code == 0 && out.contains(&format!("{chosen}: ")), "{code} {out} {err}");
    let (_, out, _) = ask(&bed, "lb01", &["check", "--json"])?;
    let json: Value = serde_json::from_str(&out)?;
    ensure!(json["chosen"] == "running" && json["configuration"] == file.to_str().context("UTF-8")?, "{out}");
    let (_, out, err) = ask(&bed, "lb01", &["doctor"])?;
    ensure!(out.lines().next() == Some(&*chosen), "{out} {err}");
    let (_, out, _) = ask(&bed, "lb01", &["doctor", "--json"])?;
    let json: Value = serde_json::from_str(&out)?;
    ensure!(json["chosen"] == "running", "{out}");

    // What it was given counts, not what the file says by now.
    lb01.write_vipd_conf("nonsense\n")?;
    let (code, out, _) = ask(&bed, "lb01", &["check"])?;
    ensure!(code == 2 && out.contains(&chosen), "{code} {out}");
    daemon.sigterm()?;
    ensure!(daemon.wait(SOON)?.success(), "{}", daemon.log());
    let (_, out, _) = ask(&bed, "lb01", &["check", "--json"])?;
    let json: Value = serde_json::from_str(&out)?;
    // Which of the two depends on the machine; each is an absolute path of /etc.
    let expect = [("unit", "/etc/vipd/vipd.conf"), ("keepalived", "/etc/keepalived/keepalived.conf")];
    ensure!(
        expect.iter().any(|(why, path)| json["chosen"] == *why && json["configuration"] == *path),
        "{out}"
    );
    let (_, out, _) = ask(&bed, "lb01", &["check"])?;
    ensure!(out.contains("no vipd is running"), "{out}");
    Ok(())
}

#[test]
fn completions_are_printed_for_each_shell() -> Result<()> {
    for (shell, part) in
        [("bash", "complete -F _vipd"), ("zsh", "#compdef vipd"), ("fish", "complete -c vipd")]
    {
        let (code, out, err) = told(Command::new(vipd_bin()?).args(["completions", shell]).output()?)?;
        ensure!(code == 0 && err.is_empty() && out.contains(part), "{shell}: {code} {err} {out}");
        ensure!(out.contains("is-master") && out.contains("runtime-dir"), "{shell}: {out}");
    }
    let (code, _, err) = told(Command::new(vipd_bin()?).args(["completions", "tcsh"]).output()?)?;
    ensure!(code == 2 && err.contains("possible values"), "{code} {err}");
    Ok(())
}
