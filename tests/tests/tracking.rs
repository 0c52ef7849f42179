//! What instances track, and whom they tell: scripts, files, interfaces, notify scripts and FIFOs, with real processes.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, io::Read, os::unix::fs::OpenOptionsExt, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{Daemon, Node, wait_for};

/// A `vrrp_script` that succeeds while the file is there.
/// Its limit is for a machine that is too busy to start a process in a tenth of a second.
fn check(file: &Path, rest: &str) -> String {
    format!(
        "vrrp_script chk {{\n script \"/usr/bin/test -e {}\"\n interval 0.1\n timeout 20\n {rest}\n}}\n",
        file.display()
    )
}

fn priority(bed: &Bed, node: &str) -> Result<u64> {
    bed.status(node)?["priority"].as_u64().context("it has a priority")
}

fn wait_priority(bed: &Bed, node: &str, wanted: u64) -> Result<()> {
    wait_for(format_args!("priority {wanted} of {node}"), SOON, || {
        priority(bed, node).is_ok_and(|found| found == wanted)
    })
    .map(drop)
}

/// A failing check moves the VIP by its weight, and back; nobody else's adverts are needed for it.
#[test]
fn a_weighted_check_moves_the_vip_and_back() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let flag = bed.lb01().dir().join("healthy");
    fs::write(&flag, "")?;
    let script = check(&flag, "weight -20\n fall 2\n rise 2");
    let _lb01 = bed.start("lb01", &(script + &node_conf(HIGH, "track_script {\n chk\n }")))?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);

    fs::remove_file(&flag)?;
    bed.wait("lb02", "MASTER")?;
    bed.wait("lb01", "BACKUP")?;
    ensure!(priority(&bed, "lb01")? == u64::from(HIGH) - 20);
    ensure!(adverts(&listener).iter().any(|heard| heard.from == LB01 && heard.priority == HIGH - 20));

    fs::write(&flag, "")?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(priority(&bed, "lb01")? == u64::from(HIGH));
    check_single_owner(&prober.stop()?, &listener)
}

/// Without a weight it is a fault: the master says goodbye and falls silent.
#[test]
fn a_check_without_weight_is_a_fault() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let flag = bed.lb01().dir().join("healthy");
    let conf = check(&flag, "") + &node_conf(HIGH, "track_script {\n chk\n }");
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "FAULT")?;
    fs::write(&flag, "")?;
    bed.wait("lb01", "MASTER")?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    let listener = bed.listener()?;

    fs::remove_file(&flag)?;
    bed.wait("lb02", "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["state"] == "FAULT" && status["reason"] == "check chk failed (exit code 1)", "{status}");
    ensure!(adverts(&listener).iter().any(|heard| heard.from == LB01 && heard.priority == 0), "no goodbye");
    ensure!(bed.status("lb01")?["lease_remaining_ms"].is_null());
    Ok(())
}

/// A check that hangs has failed, is ended with everything that it started, and delays no advert.
#[test]
fn a_check_that_hangs_fails_and_is_ended() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mark = format!("{}", 1_000_000 + std::process::id());
    let script = format!(
        "vrrp_script hangs {{\n script \"/bin/sh -c 'trap : TERM; sleep {mark} & wait; sleep {mark}'\"\n interval 0.3\n timeout 0.2\n \
         weight 5\n}}\nvrrp_script works {{\n script /bin/true\n interval 0.1\n weight 1\n}}\n"
    );
    let conf = script + &node_conf(HIGH, "track_script {\n hangs\n works\n }");
    let mut lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    wait_priority(&bed, "lb01", u64::from(HIGH) + 1)?;
    wait_for("the check to be ended", SOON, || lb01.log().contains("timed out"))?;
    let listener = bed.listener()?;
    thread::sleep(INTERVAL * 4);
    ensure!(adverts(&listener).len() >= 2, "no adverts while a check hangs");
    lb01.sigterm()?;
    lb01.wait(SOON)?;
    wait_for("what the check has started to be gone", SOON, || !runs(&mark))?;
    Ok(())
}

/// Whether a process has this word among its arguments.
fn runs(word: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|octet| *octet == 0).any(|argument| argument == word.as_bytes())
    })
}

/// A file's number is added, a link's weight taken off, and the sum stays in range.
#[test]
fn files_and_interfaces_are_weighed() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.exec(&["ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8"])?;
    lb01.exec(&["ip", "link", "set", "eth7", "up"])?;
    lb01.exec(&["ip", "link", "set", "eth8", "up"])?;
    let file = lb01.dir().join("weight");
    let conf = format!(
        "track_file load {{\n file {}\n weight 2\n init_file 3 overwrite\n}}\n{}",
        file.display(),
        node_conf(100, "track_file {\n load\n }\n track_interface {\n eth7 weight -30\n }")
    );
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    wait_priority(&bed, "lb01", 106)?;
    ensure!(fs::read_to_string(&file)?.trim() == "3");

    fs::write(&file, "-10\n")?;
    wait_priority(&bed, "lb01", 80)?;
    // As careful programs write: elsewhere, and moved.
    let beside = lb01.dir().join("weight.new");
    fs::write(&beside, "500")?;
    fs::rename(&beside, &file)?;
    wait_priority(&bed, "lb01", 254)?;
    fs::write(&file, "0")?;
    wait_priority(&bed, "lb01", 100)?;
    lb01.exec(&["ip", "link", "set", "eth8", "down"])?;
    wait_priority(&bed, "lb01", 70)?;
    lb01.exec(&["ip", "link", "set", "eth8", "up"])?;
    wait_priority(&bed, "lb01", 100)?;
    lb01.exec(&["ip", "link", "del", "eth7"])?;
    wait_priority(&bed, "lb01", 70)?;
    // -254 is a fault.
    fs::write(&file, "-127")?;
    bed.wait("lb01", "FAULT")?;
    let reason = bed.status("lb01")?["reason"].to_string();
    ensure!(reason.contains("has the value -127"), "{reason}");
    Ok(())
}

/// Every change is told, in order, to scripts and to the FIFO, with keepalived's words.
#[test]
fn changes_are_told_in_order() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let dir = bed.lb01().dir().to_owned();
    let (told, flag, fifo) = (dir.join("told"), dir.join("healthy"), dir.join("fifo"));
    // Slow on purpose: what comes later must wait.
    let notify = format!("sleep 0.2\necho \"$@\" >> {}", told.display());
    let script = script(bed.lb01(), "notify.sh", &notify)?;
    let reader = reader(bed.lb01())?;
    fs::write(&flag, "")?;
    let ours = dir.join("ours");
    bed.lb01().exec(&["mkfifo", &ours.display().to_string()])?;
    let mut unread =
        fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&ours)?;
    let conf = format!(
        "global_defs {{\n vrrp_notify_fifo {}\n vrrp_notify_fifo_script {reader}\n notify_fifo {}\n}}\n{}{}",
        fifo.display(),
        ours.display(),
        check(&flag, ""),
        node_conf(
            HIGH,
            &format!(
                "track_script {{\n chk\n }}\n notify_master \"{script} master\"\n notify_backup \"{script} 'to backup'\"\n \
                 notify_fault \"{script} fault\" root root\n notify_stop \"{script} stop\"\n notify {script}"
            )
        )
    );
    let mut lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    fs::remove_file(&flag)?;
    bed.wait("lb01", "FAULT")?;
    fs::write(&flag, "")?;
    bed.wait("lb01", "MASTER")?;
    lb01.sigterm()?;
    lb01.wait(SOON)?;

    let instance = |state: &str| format!("INSTANCE {INSTANCE} {state} {HIGH}\n");
    let to = |words: &str, state: &str| format!("{words}\n{}", instance(state));
    let backup = to("to backup", "BACKUP");
    let master = to("master", "MASTER");
    let expected = format!("{backup}{master}{}{backup}{master}{}", to("fault", "FAULT"), to("stop", "STOP"));
    let found = fs::read_to_string(&told)?;
    ensure!(found == expected, "told:\n{found}\nexpected:\n{expected}\n{}", lb01.log());

    let line = |state: &str| format!("INSTANCE \"{INSTANCE}\" {state} {HIGH}\n");
    let states = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"];
    let expected: String = states.iter().map(|state| line(state)).collect();
    let read = fs::read_to_string(dir.join("read"))?;
    ensure!(read.starts_with(&expected), "read:\n{read}\nexpected:\n{expected}");
    ensure!(!fifo.exists(), "the FIFO that vipd made is left");
    // Nobody has read the other one so far: the last line was written before the end.
    let mut lines = [0; 4_096];
    let count = unread.read(&mut lines)?;
    let lines = String::from_utf8_lossy(&lines[..count]);
    ensure!(lines == expected.clone() + &line("STOP") && ours.exists(), "in the FIFO:\n{lines}");
    Ok(())
}

/// A restart that finds its lease does not wait for the first result of a check, and tells nobody.
#[test]
fn a_restart_keeps_the_mastership_of_one_that_is_checked() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01: &Node = bed.lb01();
    let told = lb01.dir().join("told");
    let slow = "vrrp_script slow {\n script \"/bin/sh -c 'sleep 0.5'\"\n interval 1\n timeout 20\n}\n";
    let notify = format!("track_script {{\n slow\n }}\n notify_master \"/usr/bin/touch {}\"", told.display());
    // The lease outlasts a restart on a very busy machine.
    let patient = |conf: String| conf.replace("advert_int 0.3", "advert_int 2\n down_timer_adverts 6");
    let mut daemon = bed.start("lb01", &patient(slow.to_owned() + &node_conf(HIGH, &notify)))?;
    bed.wait("lb01", "MASTER")?;
    wait_for("to be told", SOON, || told.exists())?;
    fs::remove_file(&told)?;
    let _lb02 = bed.start("lb02", &patient(node_conf(LOW, "")))?;
    bed.wait("lb02", "BACKUP")?;

    daemon.kill9()?;
    let _lb01 = bed.restart("lb01")?;
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.status("lb01")?["reason"] == "lease inherited from the previous vipd");
    thread::sleep(Duration::from_secs(2));
    ensure!(bed.state("lb01")? == "MASTER" && bed.state("lb02")? == "BACKUP");
    ensure!(!told.exists(), "told of a mastership that went on");
    Ok(())
}

/// Mail is sent in order, and again if there was no server.
#[test]
fn changes_are_mailed() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let flag = bed.lb01().dir().join("healthy");
    fs::write(&flag, "")?;
    let global = "global_defs {\n notification_email {\n root@example.org\n admin@example.org\n }\n \
                  notification_email_from lb01@example.org\n smtp_server 10.0.0.100 2525\n smtp_connect_timeout 2\n \
                  router_id LB\n}\n";
    let conf =
        global.to_owned() + &check(&flag, "") + &node_conf(HIGH, "track_script {\n chk\n }\n smtp_alert");
    let lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    wait_for("mail to be refused", SOON, || lb01.log().contains("mail not sent; vipd tries again"))?;
    let mut server = bed.client().command("/usr/bin/python3");
    server.args([
        "-u",
        "-m",
        "aiosmtpd",
        "-n",
        "-c",
        "aiosmtpd.handlers.Debugging",
        "stdout",
        "-l",
        "10.0.0.100:2525",
    ]);
    let server = Daemon::start("mail server", &mut server, &bed.client().dir().join("mail.log"))?;
    fs::remove_file(&flag)?;
    bed.wait("lb01", "FAULT")?;
    fs::write(&flag, "")?;
    bed.wait("lb01", "MASTER")?;

    let subjects = || -> Vec<String> {
        let log = server.log();
        let subjects = log.lines().filter_map(|line| line.strip_prefix("Subject: "));
        subjects.map(str::to_owned).collect()
    };
    let subject = |state: &str| format!("[LB] VRRP Instance {INSTANCE} - Entering {state} state");
    let expected = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"].map(subject);
    wait_for("five letters", SOON, || subjects().len() >= expected.len())?;
    ensure!(subjects() == expected, "{:#?}", subjects());
    for line in ["From: lb01@example.org", "To: root@example.org, admin@example.org"] {
        ensure!(server.log().contains(line), "{line} is not in\n{}", server.log());
    }
    Ok(())
}

/// Processes are counted by name, and by their whole command line. A namespace that is not the first gets no events from the
/// kernel: here `/proc` is looked through.
#[test]
fn processes_are_counted() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mark = format!("{}.5", 2_000_000 + std::process::id());
    let conf = format!(
        "vrrp_track_process sleepers {{\n process sleep {mark}\n quorum 2\n weight 10\n}}\nvrrp_track_process none {{\n \
         process \"no such program\"\n quorum_max 0\n weight 20\n}}\n{}",
        node_conf(100, "track_process {\n sleepers\n none\n }")
    );
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    wait_priority(&bed, "lb01", 120)?;
    let sleep = |name: &str| -> Result<Daemon> {
        let mut command = bed.lb01().command("/usr/bin/sleep");
        // The command line says what was typed.
        std::os::unix::process::CommandExt::arg0(&mut command, "sleep");
        Daemon::start(name, command.arg(&mark), &bed.lb01().dir().join(name))
    };
    let _one = sleep("one")?;
    let mut two = sleep("two")?;
    wait_priority(&bed, "lb01", 130)?;
    two.kill9()?;
    wait_priority(&bed, "lb01", 120)
}

/// A link counts as down only after its delay; one that flaps has not been down.
#[test]
fn links_count_after_their_delay() -> Result<()> {
    let delays = |down: u8| format!("interface_up_down_delays {{\n eth0 {down} 0\n}}\n");
    let patient = |down| delays(down) + &node_conf(HIGH, "down_timer_adverts 20");
    let Some(pair) = pair(&patient(60), &node_conf(LOW, "down_timer_adverts 20"))? else { return Ok(()) };
    let bed = &pair.bed;
    bed.lab.set_port("lb01", false)?;
    thread::sleep(INTERVAL * 2);
    ensure!(bed.state("lb01")? == "MASTER", "{}", pair.lb01.log());
    bed.lab.set_port("lb01", true)?;
    thread::sleep(INTERVAL * 2);
    ensure!(bed.status("lb01")?["became_master"] == 1 && bed.state("lb02")? == "BACKUP");
    ensure!(!pair.lb01.log().contains("FAULT"), "{}", pair.lb01.log());

    bed.reloaded("lb01", &patient(1))?;
    bed.lab.set_port("lb01", false)?;
    bed.wait("lb01", "FAULT")?;
    bed.lab.set_port("lb01", true)?;
    bed.wait("lb01", "MASTER")
}

/// `dont_track_primary` keeps a master whose link is down, `track_src_ip` has one without its address in FAULT.
#[test]
fn the_own_interface_is_tracked_as_the_instance_says() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, "dont_track_primary"))?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, "mcast_src_ip 10.0.0.66\n track_src_ip"))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "FAULT")?;
    bed.lab.set_port("lb01", false)?;
    thread::sleep(INTERVAL * 4);
    ensure!(bed.state("lb01")? == "MASTER");
    bed.lab.set_port("lb01", true)?;
    bed.lb02().exec(&["ip", "address", "add", "10.0.0.66/24", "dev", "eth0"])?;
    bed.wait("lb02", "BACKUP")?;
    bed.lb02().exec(&["ip", "address", "del", "10.0.0.66/24", "dev", "eth0"])?;
    bed.wait("lb02", "FAULT")
}

/// The kernel tells nothing of an address on another interface than the instance's, and a source that no interface has is a copied file:
/// its node would be master beside the one whose address it is.
#[test]
fn a_source_address_is_followed_wherever_it_is() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let unicast = |own: &str, peer: &str| format!("unicast_src_ip {own}\n unicast_peer {{\n {peer}\n }}");
    let sources = |lb01: &str, lb02: &str| -> Result<()> {
        bed.lb01().exec(&["ip", "address", lb01, "192.0.2.1/32", "dev", "lo"])?;
        bed.lb02().exec(&["ip", "address", lb02, "192.0.2.2/32", "dev", "lo"]).map(drop)
    };
    bed.lb01().exec(&["ip", "route", "add", "192.0.2.2", "via", &LB02.to_string()])?;
    bed.lb02().exec(&["ip", "route", "add", "192.0.2.1", "via", &LB01.to_string()])?;
    sources("add", "add")?;
    let lb01 = bed.start("lb01", &node_conf(HIGH, &unicast("192.0.2.1", "192.0.2.2")))?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, &unicast("192.0.2.2", "192.0.2.1")))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    bed.lb01().exec(&["ip", "address", "del", "192.0.2.1/32", "dev", "lo"])?;
    bed.wait("lb01", "FAULT")?;
    bed.wait("lb02", "MASTER")?;
    let reason = bed.status("lb01")?["reason"].to_string();
    ensure!(reason.contains("192.0.2.1 is not on any interface"), "{reason}");
    thread::sleep(INTERVAL * 20);
    let changes = lb01.log().matches("state changed").count();
    bed.lb01().exec(&["ip", "address", "add", "192.0.2.1/32", "dev", "lo"])?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(changes <= 4, "it flapped:\n{}", lb01.log());

    // A file that was copied, over multicast.
    let copied = format!("mcast_src_ip {LB01}");
    bed.reloaded("lb01", &node_conf(HIGH, &copied))?;
    bed.reloaded("lb02", &node_conf(LOW, &copied))?;
    bed.wait("lb02", "FAULT")?;
    bed.wait("lb01", "MASTER")
}

/// A rival that is beaten, and each new priority, are told to those who ask.
#[test]
fn rivals_and_priorities_are_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let dir = bed.lb01().dir().to_owned();
    let (heard, weight, fifo) = (dir.join("heard"), dir.join("weight"), dir.join("fifo"));
    let conf = format!(
        "global_defs {{\n notify_fifo {}\n notify_fifo_script {}\n}}\ntrack_file load {{\n file {}\n init_file 0\n}}\n{}",
        fifo.display(),
        reader(bed.lb01())?,
        weight.display(),
        node_conf(
            100,
            &format!(
                "track_file {{\n load\n }}\n notify_priority_changes\n notify_master_rx_lower_pri \"/usr/bin/touch {}\"",
                heard.display()
            )
        )
    );
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    ensure!(!heard.exists());
    let rival = frames::Ipv4::advert([10, 0, 0, 77].into(), frames::v3(51, 50, 30, &[VIP])).frame();
    bed.client().inject(&rival)?;
    wait_for("the rival to be told of", SOON, || heard.exists())?;
    fs::write(&weight, "7")?;
    wait_priority(&bed, "lb01", 107)?;
    let told = |line: &str| fs::read_to_string(dir.join("read")).is_ok_and(|read| read.contains(line));
    for line in ["MASTER_RX_LOWER_PRI 100", "MASTER_PRIORITY 107"] {
        let line = format!("INSTANCE \"{INSTANCE}\" {line}\n");
        wait_for(&line, SOON, || told(&line))?;
    }
    Ok(())
}

/// A script that writes what it reads from a FIFO to the file `read`.
fn reader(node: &Node) -> Result<String> {
    script(node, "reader.sh", &format!("cat \"$1\" >> {}", node.dir().join("read").display()))
}
