//! Two vipd nodes and what can happen to their daemons: election, crash, restart, planned stop, a better node's return.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{Node, wait_for};

/// I1, I2: the better node becomes MASTER, it alone answers, and `status --json` says so.
#[test]
fn first_election() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    sleep(INTERVAL);
    let before = Instant::now();
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    wait_advert(&listener, LB01, Instant::now())?;
    let settled = Instant::now() + MESSAGE_DELAY;
    // Both have heard or sent a few adverts after this.
    sleep(INTERVAL * 4);

    let (one, two) = (bed.status("lb01")?, bed.status("lb02")?);
    println!("lb01: {one}\nlb02: {two}");
    for (status, state, priority) in [(&one, "MASTER", HIGH), (&two, "BACKUP", LOW)] {
        ensure!(status["state"] == state && status["priority"] == priority, "{status}");
        ensure!(status["version"] == 3 && status["vrid"] == 51, "{status}");
        ensure!(status["interface"] == "eth0" && status["vips"][0] == VIP.to_string(), "{status}");
        ensure!(status["master"]["address"] == LB01.to_string(), "{status}");
        ensure!(status["master"]["priority"] == HIGH, "{status}");
        ensure!(status["xdp_mode"] == "native", "{status}");
        ensure!(status["discards"].as_object().is_some_and(serde_json::Map::is_empty), "{status}");
    }
    // O-03 to O-05: 3 x 0.3 s and (256 - priority) / 256 x 0.3 s.
    ensure!(one["master_down_interval_cs"] == 102 && two["master_down_interval_cs"] == 103, "{one} {two}");
    ensure!(one["skew_time_us"] == 124_218 && two["skew_time_us"] == 135_937, "{one} {two}");
    ensure!(["preempted", "no-response"].contains(&one["new_master_reason"].as_str().unwrap_or("")), "{one}");
    ensure!(two["new_master_reason"] == "not-master", "{two}");
    ensure!(two["last_adv_source"] == LB01.to_string() && two["reason"].is_string(), "{two}");
    ensure!(one["since_unix_ms"].as_u64() > Some(0), "{one}");
    ensure!(one["lease_remaining_ms"].as_u64().is_some_and(|ms| ms > 0 && ms <= 1200), "{one}");
    ensure!(two["lease_remaining_ms"].is_null() && two["master_down_in_ms"].is_u64(), "{two}");
    ensure!(one["adverts_sent"].as_u64().is_some_and(|n| n >= 3), "{one}");
    ensure!(two["adverts_received"].as_u64().is_some_and(|n| n >= 2), "{two}");

    let now = Instant::now();
    let probes = prober.stop()?;
    ensure!(probes.iter().all(|p| p.sent > before || p.answers.is_empty()), "answered before any start");
    check_single_owner(&probes, &listener)?;
    check_answered("elected", &probes, settled, now)?;
    ensure!(answered_by(&probes, bed.lb02().mac(), settled, now) == 0, "lb02 answers as BACKUP");
    // I4: nobody answers before the first advert of the first master.
    let first = takeovers(&listener)[0];
    let early: Vec<_> =
        probes.iter().flat_map(|p| &p.answers).filter(|a| a.at + MESSAGE_DELAY < first).collect();
    ensure!(early.is_empty(), "answers before the first advert: {early:?}");
    Ok(())
}

/// I1, I2: after kill -9 the dead node's XDP answers until the successor's first advert, and never again.
#[test]
fn kill_9_leaves_no_gap_and_no_second_owner() -> Result<()> {
    let Some(mut pair) = usual_pair("")? else { return Ok(()) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    let cable = pair.bed.lab.sniff_port("lb01")?;
    wait_renewal(&listener, LB01, Instant::now())?;
    let killed = pair.lb01.kill9()?;
    let takeover = wait_advert(&listener, LB02, killed)?;
    pair.bed.wait("lb02", "MASTER")?;
    let last = last_advert(&listener, LB01, takeover).context("lb01 never advertised")?;
    println!("takeover {:?} after the last advert, {:?} after the kill", takeover - last, takeover - killed);
    // The timer runs from the arrival of the last advert: never shorter, on no machine.
    ensure!(takeover - last >= INTERVAL * 3, "takeover after {:?}", takeover - last);
    ensure!(takeover - last < master_down(LOW) * 3, "takeover after {:?}", takeover - last);

    sleep(INTERVAL * 6);
    let end = Instant::now();
    let probes = prober.stop()?;
    check_single_owner(&probes, &listener)?;
    // A successor that its machine starves may come after the lease: that would be the machine's gap.
    let renewed = last_renewal(&listener, LB01, killed).context("no lease was renewed")?;
    check_answered("killed", &probes, killed, takeover.min(renewed + LEASE - MESSAGE_DELAY))?;
    check_answered("taken over", &probes, takeover + MESSAGE_DELAY, end)?;
    let heard = first_advert(&cable, LB02, killed).context("lb01's cable has not carried the advert")?;
    let late = answered_by(&probes, pair.bed.lb01().mac(), heard + MESSAGE_DELAY, end);
    ensure!(late == 0, "lb01 answered {late} questions after the successor's advert had reached it");
    let alive = answered_by(&probes, pair.bed.lb01().mac(), killed + MESSAGE_DELAY, heard);
    ensure!(alive > 0, "lb01's XDP did not outlive the daemon: this test saw nothing");
    Ok(())
}

/// I2 and the lease: with no successor at all a dead daemon's VIP is answered until its lease ends, and no longer.
#[test]
fn a_dead_daemons_lease_ends() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    wait_renewal(&listener, LB01, Instant::now())?;
    let killed = lb01.kill9()?;
    let renewed = last_renewal(&listener, LB01, killed).context("no lease was renewed")?;
    let end_of_lease = last_advert(&listener, LB01, Instant::now()).context("no advert")? + LEASE;
    wait_for("the end of the lease", SOON, || Instant::now() > end_of_lease + INTERVAL * 3)?;
    let end = Instant::now();
    let probes = prober.stop()?;
    check_answered("under the lease", &probes, killed, renewed + LEASE - MESSAGE_DELAY)?;
    let late = answered_by(&probes, bed.lb01().mac(), end_of_lease + MESSAGE_DELAY, end);
    ensure!(late == 0, "{late} questions answered after the lease, by XDP or by the kernel (I4)");
    Ok(())
}

/// I1, I2: the killed daemon comes back, adopts what it had left, and preempts by the normal timer.
#[test]
fn a_restarted_daemon_adopts_and_preempts() -> Result<()> {
    let Some(mut pair) = usual_pair("")? else { return Ok(()) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    let begin = wait_advert(&listener, LB01, Instant::now())?;
    sleep(INTERVAL);
    let killed = pair.lb01.kill9()?;
    let takeover = wait_advert(&listener, LB02, killed)?;
    let restarted = Instant::now();
    let _again = pair.bed.restart("lb01")?;
    let back = wait_advert(&listener, LB01, restarted)?;
    pair.bed.wait("lb01", "MASTER")?;
    pair.bed.wait("lb02", "BACKUP")?;
    sleep(INTERVAL * 4);
    let end = Instant::now();

    println!("back {:?} after the restart", back - restarted);
    ensure!(back - restarted >= master_down(HIGH), "it preempted after {:?} only", back - restarted);
    let log = fs::read_to_string(pair.bed.lb01().vipd_log())?;
    ensure!(log.contains("adopted"), "nothing was adopted:\n{log}");
    let probes = prober.stop()?;
    check_single_owner(&probes, &listener)?;
    check_answered("under lb01", &probes, begin, killed + MESSAGE_DELAY)?;
    check_answered("under lb02", &probes, takeover + MESSAGE_DELAY, back)?;
    check_answered("under lb01 again", &probes, back + MESSAGE_DELAY, end)?;
    Ok(())
}

/// I2: a daemon that is killed and started again faster than its lease (an upgrade) costs no answer.
#[test]
fn a_restart_faster_than_the_lease_costs_no_answer() -> Result<()> {
    let Some(mut pair) = usual_pair("")? else { return Ok(()) };
    let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
    let begin = wait_renewal(&listener, LB01, Instant::now())?;
    let killed = pair.lb01.kill9()?;
    let _again = pair.bed.restart("lb01")?;
    wait_advert(&listener, LB01, killed + master_down(HIGH))?;
    pair.bed.wait("lb01", "MASTER")?;
    sleep(INTERVAL * 3);
    let end = Instant::now();
    let probes = prober.stop()?;
    println!("another node took over in between: {}", first_advert(&listener, LB02, killed).is_some());
    check_single_owner(&probes, &listener)?;
    let last = last_advert(&listener, LB01, killed + MESSAGE_DELAY).context("no advert")?;
    let next = adverts(&listener).iter().find(|h| h.at > last).map(|h| h.at).context("no advert")?;
    let renewed = last_renewal(&listener, LB01, killed).context("no lease was renewed")?;
    // Unless the machine kept both nodes from taking over before the lease ended.
    check_answered("restarting", &probes, begin, next.min(renewed + LEASE - MESSAGE_DELAY))?;
    check_answered("restarted", &probes, next + MESSAGE_DELAY, end)?;
    Ok(())
}

/// I2, I4: a planned stop says goodbye, hands over without a gap and leaves the node as it was.
#[test]
fn sigterm_hands_over_and_cleans_up() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let prober = bed.prober()?;
    let before = [footprint(bed.lb01())?, footprint(bed.lb02())?];
    let mut lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    let mut lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    ensure!(footprint(bed.lb01())? != before[0], "a running vipd leaves no trace: this test sees nothing");
    let listener = bed.listener()?;
    let begin = wait_advert(&listener, LB01, Instant::now())?;

    let stopped = Instant::now();
    lb01.sigterm()?;
    let status = lb01.wait(SOON)?;
    ensure!(status.code() == Some(0), "SIGTERM ended it with {status}");
    let takeover = wait_advert(&listener, LB02, stopped)?;
    bed.wait("lb02", "MASTER")?;
    let successor = bed.status("lb02")?;
    ensure!(successor["priority_zero_received"] == 1, "O-06: {successor}");
    ensure!(successor["new_master_reason"] == "priority", "O-03: {successor}");
    let goodbye = adverts(&listener).into_iter().find(|h| h.from == LB01 && h.priority == 0);
    let goodbye = goodbye.context("no advert of priority 0")?.at;
    println!("takeover {:?} after the goodbye, skew time {:?}", takeover - goodbye, skew(LOW));
    ensure!(takeover - goodbye < INTERVAL * 3, "the goodbye hurried nobody: {:?}", takeover - goodbye);
    ensure!(first_advert(&listener, LB01, goodbye).is_none(), "lb01 advertised after its goodbye");
    wait_footprint(bed.lb01(), &before[0])?;

    sleep(INTERVAL * 2);
    let end = Instant::now();
    let so_far = prober.timeline();
    // lb01 waits this long for a successor; one that came later was starved by the machine.
    let patience = goodbye + skew(1) + INTERVAL - MESSAGE_DELAY;
    check_answered("handing over", &so_far, begin, takeover.min(patience))?;
    check_answered("handed over", &so_far, takeover + MESSAGE_DELAY, end - MESSAGE_DELAY)?;
    check_single_owner(&so_far, &listener)?;

    // Now by command, and without a successor.
    bed.lb02().stop_vipd(&bed.vipd)?;
    let status = lb02.wait(SOON)?;
    ensure!(status.code() == Some(0), "vipd stop ended it with {status}");
    wait_footprint(bed.lb02(), &before[1])?;
    let gone = Instant::now();
    sleep(INTERVAL);
    let probes = prober.stop()?;
    ensure!(
        probes.iter().filter(|p| p.sent > gone).all(|p| p.answers.is_empty()),
        "somebody answers for the VIP although vipd runs nowhere"
    );
    Ok(())
}

/// I3: a better node that comes later takes over with preemption, after `preempt_delay`, or not at all.
#[test]
fn a_better_node_preempts_or_not() -> Result<()> {
    for extra in ["", "nopreempt"] {
        let Some(bed) = Bed::new()? else { return Ok(()) };
        let _lb02 = bed.start("lb02", &node_conf(LOW, extra))?;
        bed.wait("lb02", "MASTER")?;
        let (listener, prober) = (bed.listener()?, bed.prober()?);
        let begin = wait_advert(&listener, LB02, Instant::now())?;
        let _lb01 = bed.start("lb01", &node_conf(HIGH, extra))?;
        if extra.is_empty() {
            bed.wait("lb01", "MASTER")?;
            bed.wait("lb02", "BACKUP")?;
        } else {
            sleep(master_down(HIGH) * 3);
            ensure!(bed.state("lb01")? == "BACKUP" && bed.state("lb02")? == "MASTER", "nopreempt preempted");
            ensure!(first_advert(&listener, LB01, begin).is_none(), "nopreempt advertised");
        }
        let end = Instant::now();
        let probes = prober.stop()?;
        check_single_owner(&probes, &listener)?;
        check_answered(&format!("returning, {extra:?}"), &probes, begin, end - MESSAGE_DELAY)?;
    }
    Ok(())
}

/// I3: `preempt_delay` holds a better node back, and not for ever.
#[test]
fn preempt_delay_is_kept() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(3);
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "MASTER")?;
    let (listener, prober) = (bed.listener()?, bed.prober()?);
    let begin = Instant::now();
    let _lb01 = bed.start("lb01", &node_conf(HIGH, "preempt_delay 3"))?;
    let back = wait_advert(&listener, LB01, begin)?;
    println!("back {:?} after the start, {DELAY:?} asked for", back - begin);
    // A master that stands still for its backup's down timer, as on a busy machine, is replaced whatever the delay.
    let before: Vec<Instant> = adverts(&listener)
        .iter()
        .filter(|heard| heard.from == LB02 && heard.at < back)
        .map(|heard| heard.at)
        .collect();
    let silence =
        before.iter().zip(before.iter().skip(1).chain([&back])).map(|(one, next)| *next - *one).max();
    if silence.is_some_and(|silence| silence > INTERVAL * 3) {
        println!("the master stood still for {silence:?}");
    } else {
        ensure!(back - begin >= DELAY, "back after {:?}", back - begin);
    }
    bed.wait("lb02", "BACKUP")?;
    check_single_owner(&prober.stop()?, &listener)
}

/// What vipd could leave on a node.
fn footprint(node: &Node) -> Result<String> {
    let mut all = String::new();
    for argv in [
        &["ip", "rule"][..],
        &["ip", "-6", "rule"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "address"],
        &["ip", "maddress"],
        &["ip", "neighbour", "show", &VIP.to_string()],
        &["sysctl", "net.ipv4.conf.eth0.arp_ignore", "net.ipv4.conf.eth0.arp_announce"],
        &["sysctl", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce"],
        &["sysctl", "net.ipv4.ip_nonlocal_bind", "net.ipv6.ip_nonlocal_bind"],
        &["sysctl", "net.ipv4.conf.eth0.rp_filter", "net.ipv4.conf.eth0.accept_local"],
    ] {
        all += &format!("# {}\n{}", argv.join(" "), node.exec(argv)?);
    }
    let link = node.exec(&["ip", "-details", "link", "show", "dev", "eth0"])?;
    all += &format!("# XDP\n{}\n# pins and files\n", link.contains("xdp"));
    for dir in [node.bpffs_dir().join("vipd"), node.runtime_dir()] {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            all += &format!("{}\n", entry?.path().display());
        }
    }
    Ok(all)
}

/// The kernel detaches and forgets some things a moment later than it was told.
fn wait_footprint(node: &Node, expect: &str) -> Result<()> {
    let mut now = String::new();
    wait_for("the node to be as before", SOON / 4, || {
        now = footprint(node).unwrap_or_default();
        now == expect
    })
    .with_context(|| format!("{} was:\n{expect}\nand is:\n{now}", node.name()))
    .map(drop)
}
