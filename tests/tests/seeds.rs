//! The documents that the project was born from, played through: their configurations, unchanged but for the interface and the
//! addresses of the lab, and what they say is to be seen. `cargo xtask test --output seeds` prints a table of it.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    io::{Write, stdout},
    net::Ipv4Addr,
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{Daemon, Node, wait_for};

/// What a document describes, step by step, and what was seen.
struct Story {
    document: &'static str,
    rows: Vec<(String, String)>,
}

impl Story {
    fn new(document: &'static str) -> Self {
        Self { document, rows: Vec::new() }
    }

    /// Waits until a step is seen, and takes note of how long that took.
    fn step(&mut self, step: &str, seen: &str, check: impl FnMut() -> bool) -> Result<()> {
        let begin = Instant::now();
        wait_for(format_args!("{step}: {seen}"), SOON, check).with_context(|| self.table())?;
        self.rows.push((step.to_owned(), format!("{seen} after {:.1} s", begin.elapsed().as_secs_f64())));
        Ok(())
    }

    fn table(&self) -> String {
        let rows =
            self.rows.iter().map(|(step, seen)| format!("{:<22} | {step:<58} | {seen}\n", self.document));
        rows.collect()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        // Past libtest's capture: the table is for people.
        let _ = stdout().write_all(self.table().as_bytes());
    }
}

/// A configuration of a document, with the lab's interface and addresses.
fn seed(name: &str, lab: &[(&str, &str)]) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/seeds").join(format!("{name}.conf"));
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(lab.iter().fold(text, |text, (from, to)| text.replace(from, to)))
}

/// Who answers for a VIP over HTTP.
fn page(client: &Node, vip: Ipv4Addr) -> Option<String> {
    let page = client.exec(&["curl", "-s", "-m", "1", &format!("http://{vip}/")]).ok()?;
    Some(page.trim().to_owned())
}

/// 0 while something listens on port 80 of the script's namespace.
const LISTENS: &str = "[ $(ss -Hltn 'sport = :80' | wc -l) -ne 0 ]";

/// Document 000, 2.1.3 to 2.1.7: a pair, with the files as they are.
#[test]
fn seeds_000_a_pair() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut story = Story::new("000 2.1 a pair");
    let mut lb01 = bed.start("lb01", &seed("000-single-lb01", &[])?)?;
    let _lb02 = bed.start("lb02", &seed("000-single-lb02", &[])?)?;
    let _nginx = [bed.lb01().start_nginx((VIP, 80))?, bed.lb02().start_nginx((VIP, 80))?];
    let shows = |name: &str| page(bed.client(), VIP).as_deref() == Some(name);
    story.step("both are started", "lb01 answers for 10.0.0.3", || shows("lb01"))?;
    lb01.sigterm()?;
    story.step("the daemon is stopped on lb01", "lb02 answers", || shows("lb02"))?;
    lb01.wait(SOON)?;
    let mut lb01 = bed.restart("lb01")?;
    story.step("it is started again", "lb01 answers", || shows("lb01"))?;
    lb01.kill9()?;
    story.step("lb01 crashes (kill -9)", "lb02 is MASTER", || {
        bed.state("lb02").is_ok_and(|s| s == "MASTER")
    })?;
    story.step("", "lb02 answers", || shows("lb02"))
}

/// Document 000, 2.6.1: the check of nginx. The file there has comments in prose; this is the one of 2.7 with one instance.
#[test]
fn seeds_000_nginx_is_watched() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut story = Story::new("000 2.6 nginx watched");
    let check = script(
        bed.lb01(),
        "check_www.sh",
        &format!(
            "{LISTENS} || exec {} stop --runtime-dir {}",
            bed.vipd.display(),
            bed.lb01().runtime_dir().display()
        ),
    )?;
    let nginx01 = bed.lb01().start_nginx(("0.0.0.0".parse::<Ipv4Addr>()?, 80))?;
    let _nginx02 = bed.lb02().start_nginx(("0.0.0.0".parse::<Ipv4Addr>()?, 80))?;
    let mut lb01 = bed.start("lb01", &seed("000-dual-lb01", &[("/server/scripts/check_www.sh", &check)])?)?;
    let _lb02 = bed.start("lb02", &seed("000-dual-lb02", &[])?)?;
    let shows = |name: &str| page(bed.client(), VIP).as_deref() == Some(name);
    story.step("both are started", "lb01 answers for 10.0.0.3", || shows("lb01"))?;
    drop(nginx01);
    story.step("nginx is stopped on lb01", "lb02 answers", || shows("lb02"))?;
    story.step("", "the check has stopped the daemon of lb01", || !lb01.is_running())
}

/// Document 000, 2.7: two virtual routers, each node the master of one.
#[test]
fn seeds_000_dual_master() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut story = Story::new("000 2.7 dual master");
    let check = script(bed.lb01(), "check_www.sh", LISTENS)?;
    let any = "0.0.0.0".parse::<Ipv4Addr>()?;
    let _nginx = [bed.lb01().start_nginx((any, 80))?, bed.lb02().start_nginx((any, 80))?];
    let conf = seed("000-dual-lb01", &[("/server/scripts/check_www.sh", &check)])?;
    let mut lb01 = bed.start("lb01", &conf)?;
    let _lb02 = bed.start("lb02", &seed("000-dual-lb02", &[])?)?;
    let other = Ipv4Addr::new(10, 0, 0, 4);
    let shows = |www: &str, bbs: &str| {
        page(bed.client(), VIP).as_deref() == Some(www) && page(bed.client(), other).as_deref() == Some(bbs)
    };
    story
        .step("both are started", "lb01 answers for 10.0.0.3, lb02 for 10.0.0.4", || shows("lb01", "lb02"))?;
    lb01.sigterm()?;
    story.step("the daemon is stopped on lb01", "lb02 answers for both", || shows("lb02", "lb02"))?;
    lb01.wait(SOON)?;
    let _lb01 = bed.restart("lb01")?;
    story.step("it is started again", "each answers for its own", || shows("lb01", "lb02"))
}

/// Document 001: nginx is checked by a script, which stops the daemon; mail is sent by scripts at each change.
#[test]
fn seeds_001_nginx_and_mail() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut story = Story::new("001 nginx and mail");
    let vip = Ipv4Addr::new(10, 0, 0, 99);
    let any = "0.0.0.0".parse::<Ipv4Addr>()?;
    let start = |node: &Node, state: &str, priority: &str| -> Result<(Daemon, Daemon)> {
        let nginx = node.start_nginx((any, 80))?;
        let stop = format!("{} stop --runtime-dir {}", bed.vipd.display(), node.runtime_dir().display());
        let check = script(node, "nginx_check.sh", &format!("{LISTENS} || exec {stop}"))?;
        let mail =
            script(node, "mail_send.sh", &format!("echo \"to be $1\" >> {}/mail", node.dir().display()))?;
        let lab = [
            ("enp0s3", "eth0"),
            ("192.168.0.99", "10.0.0.99"),
            ("/etc/keepalived/nginx_check.sh", check.as_str()),
            ("/etc/keepalived/mail_send.sh", mail.as_str()),
            ("state MASTER", state),
            ("priority 100", priority),
        ];
        let name = node.name().to_owned();
        Ok((bed.start(&name, &seed("001-mail", &lab)?)?, nginx))
    };
    let (mut lb01, nginx01) = start(bed.lb01(), "state MASTER", "priority 100")?;
    let _lb02 = start(bed.lb02(), "state BACKUP", "priority 80")?;
    let shows = |name: &str| page(bed.client(), vip).as_deref() == Some(name);
    let mail = |node: &Node| fs::read_to_string(node.dir().join("mail")).unwrap_or_default();
    story.step("both are started", "lb01 answers for the VIP", || shows("lb01"))?;
    story.step("", "mail of lb01: master", || mail(bed.lb01()).ends_with("to be master\n"))?;
    drop(nginx01);
    story.step("nginx is closed by hand", "lb02 answers", || shows("lb02"))?;
    story.step("", "the check has stopped the daemon of lb01", || !lb01.is_running())?;
    story.step("", "mail of lb02: backup, then master", || mail(bed.lb02()) == "to be backup\nto be master\n")
}

/// Document 002: both are BACKUP with `nopreempt`, and a failed node that is back does not take the VIP.
#[test]
fn seeds_002_nopreempt() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut story = Story::new("002 nopreempt");
    let conf = |name: &str| -> Result<String> {
        seed(
            name,
            &[
                ("state MASTER", "state BACKUP\n    nopreempt"),
                ("state BACKUP\n    interface", "state BACKUP\n    nopreempt\n    interface"),
            ],
        )
    };
    let mut lb01 = bed.start("lb01", &conf("000-single-lb01")?)?;
    bed.wait("lb01", "MASTER")?;
    let _lb02 = bed.start("lb02", &conf("000-single-lb02")?)?;
    let is = |node: &str, state: &str| bed.state(node).is_ok_and(|found| found == state);
    story.step("both are started", "lb01 is MASTER, lb02 BACKUP", || {
        is("lb01", "MASTER") && is("lb02", "BACKUP")
    })?;
    lb01.sigterm()?;
    lb01.wait(SOON)?;
    story.step("lb01 fails", "lb02 is MASTER", || is("lb02", "MASTER"))?;
    let _lb01 = bed.restart("lb01")?;
    let begin = Instant::now();
    // Longer than it would take to preempt.
    story.step("lb01 is back", "lb01 is BACKUP, lb02 still MASTER", || {
        begin.elapsed() > master_down_v2() && is("lb01", "BACKUP") && is("lb02", "MASTER")
    })
}

/// Twice the wait of a backup with adverts each second.
fn master_down_v2() -> std::time::Duration {
    std::time::Duration::from_secs(8)
}

/// Document 003: a pair of HAProxys; the check starts one that is gone, and stops the daemon if that fails.
#[test]
fn seeds_003_haproxy() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut story = Story::new("003 HAProxy pair");
    let vip = Ipv4Addr::new(10, 0, 0, 99);
    let any = "0.0.0.0".parse::<Ipv4Addr>()?;
    let _web = bed.client().start_nginx((any, 8080))?;
    let haproxy = |node: &Node| -> Result<String> {
        let file = node.dir().join("haproxy.cfg");
        let name = node.name();
        fs::write(
            &file,
            format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend www\n bind *:80\n \
             http-response set-header X-Via {name}\n default_backend web\nbackend web\n server web 10.0.0.100:8080\n"
            ),
        )?;
        Ok(file.display().to_string())
    };
    let start = |node: &Node, name: &str| -> Result<Daemon> {
        let conf = haproxy(node)?;
        let run = format!("haproxy -D -f {conf} -p {}/haproxy.pid", node.dir().display());
        let stop = format!("{} stop --runtime-dir {}", bed.vipd.display(), node.runtime_dir().display());
        let check = script(
            node,
            "chk_haproxy.sh",
            &format!(
                "{LISTENS} && exit 0\n[ -e {}/broken ] || {run} && {LISTENS} || exec {stop}",
                node.dir().display()
            ),
        )?;
        let lab = [
            ("/usr/local/keepalived/chk_haproxy.sh", check.as_str()),
            ("192.168.1.99", "10.0.0.99"),
            ("192.168.1.189", "10.0.0.5"),
            ("192.168.1.222", "10.0.0.6"),
            ("192.168.x.x", "10.0.0.100"),
        ];
        let node = node.name().to_owned();
        bed.start(&node, &seed(name, &lab)?)
    };
    let mut lb01 = start(bed.lb01(), "003-haproxy-master")?;
    let lb02 = start(bed.lb02(), "003-haproxy-backup")?;
    let via = || -> Option<String> {
        let head = bed
            .client()
            .exec(&["curl", "-s", "-m", "1", "-D", "-", "-o", "/dev/null", &format!("http://{vip}/")])
            .ok()?;
        Some(
            head.lines()
                .find_map(|line| line.to_lowercase().strip_prefix("x-via: ").map(str::to_owned))?
                .trim()
                .to_owned(),
        )
    };
    let shows = |name: &str| via().as_deref() == Some(name);
    let result = (|| {
        story.step("both are started, the check starts HAProxy", "lb01 serves the VIP", || shows("lb01"))?;
        lb01.sigterm()?;
        story.step("1. the daemon is stopped on the master", "lb02 serves it", || shows("lb02"))?;
        lb01.wait(SOON)?;
        let mut lb01 = bed.restart("lb01")?;
        story.step("3. it is started again", "lb01 serves it", || shows("lb01"))?;
        kill_haproxy(bed.lb01())?;
        story.step("HAProxy is killed on lb01", "the check has started it: lb01 serves", || shows("lb01"))?;
        fs::write(bed.lb01().dir().join("broken"), "")?;
        kill_haproxy(bed.lb01())?;
        story.step("it is killed, and cannot be started", "lb02 serves the VIP", || shows("lb02"))?;
        story.step("", "the check has stopped the daemon of lb01", || !lb01.is_running())
    })();
    drop(lb02);
    for node in [bed.lb01(), bed.lb02()] {
        // It has made itself a daemon.
        let _ = kill_haproxy(node);
    }
    result
}

fn kill_haproxy(node: &Node) -> Result<()> {
    let pid = fs::read_to_string(node.dir().join("haproxy.pid"))?;
    for pid in pid.split_whitespace() {
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ensure!(command.trim() == "haproxy", "{pid} is {command}, not haproxy");
        node.exec(&["kill", "-9", pid])?;
    }
    Ok(())
}
