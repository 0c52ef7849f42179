//! Whose scripts root runs, and what they inherit: attacks by a user without rights, and what `vipd check` says before.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use support::{
    nobody::{NOBODY, as_nobody, nobodys},
    *,
};
use vipd_tests::{Daemon, wait_for};

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// A `vrrp_script` that root runs every tenth of a second.
fn check(name: &str, script: &str) -> String {
    format!("vrrp_script {name} {{\n script \"{script}\"\n interval 0.1\n timeout 20\n user root\n}}\n")
}

const SECURE: &str = "global_defs {\n enable_script_security\n}\n";

/// Lines of a file.
fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// A link of his leads to a safe program when the configuration is read, and to his own script later.
#[test]
fn a_link_that_another_user_repoints_is_not_run() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let dir = nobodys(lb01)?;
    let (link, ran, ticks) = (dir.join("check"), lb01.dir().join("ran"), lb01.dir().join("ticks"));
    let safe = script(lb01, "safe", "exit 0")?;
    let tick = script(lb01, "tick", &format!("echo tick >> {}", ticks.display()))?;
    as_nobody(lb01, || Ok(symlink(&safe, &link)?))?;
    let conf = SECURE.to_owned()
        + &check("his", &link.display().to_string())
        + &check("tick", &tick)
        + &node_conf(HIGH, "track_script {\n tick\n his weight 10\n }");
    let daemon = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    as_nobody(lb01, || {
        let own = dir.join("own");
        fs::write(&own, format!("#!/bin/sh\nid -u >> {}\n", ran.display()))?;
        mode(&own, 0o755)?;
        fs::remove_file(&link)?;
        Ok(symlink("own", &link)?)
    })?;
    let before = lines(&ticks);
    wait_for("ten more runs", SOON, || lines(&ticks) > before + 10)?;
    ensure!(!ran.exists(), "his script was run by uid {}", fs::read_to_string(&ran)?);
    let log = daemon.log();
    let why = format!("others may change {}: it belongs to uid {NOBODY}", dir.display());
    ensure!(log.contains("cannot be run") && log.contains(&why), "{log}");
    Ok(())
}

/// What was safe at the start is looked at before each run: as soon as others may change it, the check fails instead.
#[test]
fn what_others_may_change_later_is_not_run_any_more() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    nobodys(lb01)?;
    let dir = lb01.dir().join("scripts");
    fs::create_dir(&dir)?;
    let (ran, name) = (lb01.dir().join("ran"), lb01.dir().join("name"));
    let path = script(lb01, "scripts/check", &format!("echo \"$0\" > {}", name.display()))?;
    // A program too, which is run by its descriptor.
    let program = dir.join("program");
    fs::copy("/bin/true", &program)?;
    let checks = check("script", &path) + &check("program", &program.display().to_string());
    let conf = SECURE.to_owned() + &checks + &node_conf(HIGH, "track_script {\n script\n program\n }");
    let daemon = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    // Each run truncates the file first.
    let knows = || fs::read_to_string(&name).is_ok_and(|text| text.trim() == path);
    wait_for("a script that knows its name", SOON, knows)?;
    let failed = |which: &'static str| {
        let reason = format!(
            "cannot be run: `enable_script_security` refuses it: it would run as root, and other users may change {}",
            dir.display()
        );
        bed.wait_event("lb01", "check_failed", |fields| {
            fields["script"] == which && fields["outcome"].as_str().is_some_and(|said| said.contains(&reason))
        })
    };
    chown(&dir, Some(NOBODY), None)?;
    failed("script")?;
    failed("program")?;
    bed.wait("lb01", "FAULT")?;
    as_nobody(lb01, || {
        fs::remove_file(&path)?;
        fs::write(&path, format!("#!/bin/sh\nid -u >> {}\n", ran.display()))?;
        mode(Path::new(&path), 0o755)
    })?;
    // It is looked at again, and not run: a third check is run ten times meanwhile.
    let ticks = lb01.dir().join("ticks");
    let tick = script(lb01, "tick", &format!("echo tick >> {}", ticks.display()))?;
    bed.reloaded("lb01", &(conf.replace("track_script {", "track_script {\n tick") + &check("tick", &tick)))?;
    wait_for("ten runs", SOON, || lines(&ticks) > 10)?;
    ensure!(!ran.exists(), "his script was run: {}", daemon.log());

    // When it is root's again it is run again.
    fs::remove_file(&path)?;
    script(lb01, "scripts/check", "exit 0")?;
    chown(&dir, Some(0), None)?;
    bed.wait("lb01", "MASTER")
}

/// A script inherits the three standard files, no capability that is passed on, and its user's own groups; root's has root's powers. The
/// daemon itself has given up what it does not need.
#[test]
fn scripts_inherit_neither_files_nor_capabilities() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let dir = nobodys(lb01)?;
    mode(&dir, 0o777)?;
    let report = "{ ls /proc/self/fd | tr '\\n' ' '; echo; grep Cap /proc/self/status; id -G; } > $1.new && mv $1.new $1";
    let report = script(lb01, "report", report)?;
    let (by_root, by_nobody) = (dir.join("by-root"), dir.join("by-nobody"));
    let notify = format!(
        "notify_master \"{report} {}\" root\n notify_backup \"{report} {}\" nobody",
        by_root.display(),
        by_nobody.display()
    );
    lb01.write_vipd_conf(&node_conf(HIGH, &notify))?;
    // Whoever starts it leaves it a file and capabilities to pass on.
    let run = lb01.vipd_run(&bed.vipd);
    let mut command = lb01.command("setpriv");
    command.args([
        "--inh-caps",
        "+net_admin,+sys_admin",
        "--ambient-caps",
        "+net_admin",
        "sh",
        "-c",
        "exec 9</etc/passwd && exec \"$@\"",
        "sh",
    ]);
    command.arg(run.get_program()).args(run.get_args());
    let daemon = Daemon::start("vipd", &mut command, &lb01.vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    wait_for("both scripts", SOON, || by_root.exists() && by_nobody.exists())?;
    let set = |text: &str, name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        Ok(u64::from_str_radix(line.trim(), 16)?)
    };
    for path in [&by_root, &by_nobody] {
        let text = fs::read_to_string(path)?;
        // `ls` has the directory open itself.
        ensure!(text.lines().next().is_some_and(|files| files.trim() == "0 1 2 3"), "{text}");
        ensure!(set(&text, "CapInh:")? == 0 && set(&text, "CapAmb:")? == 0, "{text}");
        let (effective, bounding) = (set(&text, "CapEff:")?, set(&text, "CapBnd:")?);
        // CAP_SYS_ADMIN: what it mounts, restarts and the like.
        let is_root = path == &by_root;
        ensure!(effective == if is_root { bounding } else { 0 } && bounding & 1 << 21 != 0, "{text}");
        let groups = text.lines().last().unwrap_or_default();
        ensure!(is_root || groups == NOBODY.to_string(), "nobody is in the groups {groups}");
    }
    let needed = vipd::capabilities::NEEDED.iter().fold(0u64, |set, (_, number)| set | 1 << number);
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let text = fs::read_to_string(thread?.path().join("status"))?;
        for name in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            ensure!(set(&text, name)? & !needed == 0, "{name}\n{text}");
        }
    }
    Ok(())
}

/// `vipd check` names what other users may change or read, and `--strict` fails for it.
#[test]
fn check_tells_of_what_others_may_change() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let dir = nobodys(lb01)?;
    let his = script(lb01, "nobodys/check", "exit 0")?;
    let (conf, part) = (lb01.dir().join("checked.conf"), lb01.dir().join("part.conf"));
    let said = |conf: &Path, strict: bool| -> Result<(Option<i32>, String)> {
        let mut command = lb01.command(&bed.vipd);
        command.args(["check", "-f"]).arg(conf).args(strict.then_some("--strict"));
        let output = command.output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    };
    let expect = |what: &str| -> Result<()> {
        let (code, text) = said(&conf, true)?;
        ensure!(
            code == Some(1) && text.contains("warning[insecure]") && text.contains(what),
            "{what}: {text}"
        );
        let (code, _) = said(&conf, false)?;
        ensure!(code == Some(0), "it runs all the same");
        Ok(())
    };
    let write = |path: &Path, text: &str| -> Result<()> {
        fs::write(path, text)?;
        mode(path, 0o600)
    };
    let plain = node_conf(HIGH, "");
    let is_clean = || -> Result<()> {
        let (code, text) = said(&conf, true)?;
        ensure!(code == Some(0), "{text}");
        Ok(())
    };
    write(&conf, &plain)?;
    is_clean()?;

    write(&conf, &(check("his", &his) + &node_conf(HIGH, "track_script {\n his\n }")))?;
    expect(&format!("root runs `{his}`: others may change {}", dir.display()))?;
    let as_nobody = fs::read_to_string(&conf)?.replace("user root", "user nobody");
    write(&conf, &as_nobody)?;
    is_clean()?;
    write(&conf, &node_conf(HIGH, &format!("notify_master {his} root")))?;
    expect("root runs")?;

    write(&conf, &plain)?;
    mode(&conf, 0o666)?;
    expect("checked.conf: everybody may write to it")?;
    mode(&conf, 0o600)?;
    chown(&conf, Some(NOBODY), None)?;
    expect(&format!("it belongs to uid {NOBODY}"))?;
    chown(&conf, Some(0), None)?;
    write(&part, "priority 100\n")?;
    write(&conf, &node_conf(HIGH, "include part.conf").replace(&format!("priority {HIGH}\n"), "\n"))?;
    is_clean()?;
    chown(&part, Some(0), Some(NOBODY))?;
    mode(&part, 0o660)?;
    expect(&format!("part.conf: gid {NOBODY} may write to it"))?;

    let password = "authentication {\n auth_type PASS\n auth_pass hunter2\n }";
    write(
        &conf,
        &node_conf(HIGH, password)
            .replace("vrrp_version 3", "vrrp_version 2")
            .replace("advert_int 0.3", "advert_int 1"),
    )?;
    let (_, text) = said(&conf, false)?;
    ensure!(!text.contains("every user may read"), "{text}");
    mode(&conf, 0o644)?;
    expect("every user may read")?;
    ensure!(!said(&conf, false)?.1.contains("hunter2"), "the password is shown");

    write(&conf, &node_conf(HIGH, "notify_master \"scripts/up.sh now\""))?;
    let (code, text) = said(&conf, false)?;
    let whole = lb01.dir().join("scripts/up.sh");
    ensure!(code == Some(2) && text.contains("is a relative path"), "{text}");
    ensure!(text.contains(&format!("such as `{}`", whole.display())), "{text}");
    Ok(())
}
