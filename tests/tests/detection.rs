//! Two masters, claimed addresses and routers that do not understand each other: found, told, and over in the end.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{fs, net::Ipv4Addr, net::UdpSocket, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use support::{
    frames::{Ipv4, PEER_MAC, arp, v2, v3},
    *,
};
use vipd_tests::{Daemon, Node, lab::Block, wait_for};

/// Events that a peaceful change of masters must not cause.
const CONFLICTS: [&str; 3] = ["rival_heard", "split_brain", "address_conflict"];

fn check_peace(bed: &Bed, nodes: &[&str], kinds: &[&str]) -> Result<()> {
    for node in nodes {
        let events = bed.events(node, &[])?;
        let bad = events.iter().find(|event| kinds.iter().any(|kind| event["event"] == *kind));
        ensure!(bad.is_none(), "{node}: {bad:?} in {events:#?}");
    }
    Ok(())
}

/// A `notify_conflict` script that writes what it is told to `told`, a line each.
fn teller(node: &Node) -> Result<String> {
    script(node, "conflict.sh", &format!("echo \"$@\" >> {}", node.dir().join("told").display()))
}

fn told(node: &Node) -> Vec<String> {
    let text = fs::read_to_string(node.dir().join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A router that does not hear the better one becomes master beside it. Both notice: the better one by adverts, the other,
/// which hears none, by what the better one announces. It ends when they hear each other.
#[test]
fn a_rival_that_does_not_hear_is_a_split_brain_for_both() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mail = "global_defs {\n notification_email {\n root@example.org\n }\n smtp_server 10.0.0.100 2525\n router_id LB\n}\n";
    let mut server = bed.client().command("/usr/bin/python3");
    server.args(["-u", "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Debugging", "stdout"]);
    let server = server.args(["-l", "10.0.0.100:2525"]);
    let server = Daemon::start("mail server", server, &bed.client().dir().join("mail.log"))?;
    let extra = |node| -> Result<String> {
        Ok(format!("self_probe 1\n smtp_alert\n notify_conflict \"{} conflict\"", teller(node)?))
    };
    let group = format!(
        "vrrp_sync_group G {{\n group {{\n {INSTANCE}\n }}\n notify_conflict \"{} group\"\n}}\n",
        teller(bed.lb01())?
    );
    let conf = mail.to_owned() + &group + &node_conf(HIGH, &extra(bed.lb01())?);
    let _lb01 = bed.start("lb01", &conf)?;
    bed.wait("lb01", "MASTER")?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, &extra(bed.lb02())?))?;
    bed.wait("lb02", "BACKUP")?;
    sleep(INTERVAL * 4);
    check_peace(&bed, &["lb01", "lb02"], &CONFLICTS)?;

    bed.lab.block("lb01", "lb02", Block::Adverts)?;
    let found = bed.wait_event("lb01", "split_brain", |_| true)?;
    let fields = &found["fields"];
    ensure!(found["level"] == "ERROR" && fields["by"] == "adverts", "{found}");
    ensure!(fields["rival"] == LB02.to_string() && fields["rival_priority"] == LOW, "{found}");
    ensure!(fields["rival_mac"] == bed.lb02().mac().to_string(), "{found}");
    let silent = bed.wait_event("lb02", "split_brain", |_| true)?;
    ensure!(silent["fields"]["by"] == "claims", "{silent}");
    ensure!(silent["fields"]["rival"] == LB01.to_string(), "{silent}");
    for node in ["lb01", "lb02"] {
        let status = bed.status(node)?;
        ensure!(status["split_brain"] == true && status["split_brains"] == 1, "{node}: {status}");
    }
    let shown = bed.told("lb01", &["status"])?;
    ensure!(shown.contains("split brain: another router acts as the owner too"), "{shown}");
    let conflict = bed.wait_event("lb02", "address_conflict", |_| true)?;
    ensure!(conflict["fields"]["vip"] == VIP.to_string(), "{conflict}");
    ensure!(conflict["fields"]["their_mac"] == bed.lb01().mac().to_string(), "{conflict}");
    ensure!(conflict["fields"]["our_mac"] == bed.lb02().mac().to_string(), "{conflict}");

    bed.lab.unblock_all()?;
    bed.wait("lb02", "BACKUP")?;
    let over = bed.wait_event("lb02", "split_brain_over", |_| true)?;
    ensure!(over["fields"]["lasted_ms"].as_u64().is_some_and(|ms| ms > 0), "{over}");
    bed.wait_event("lb01", "split_brain_over", |fields| fields["rival"] == LB02.to_string())?;
    ensure!(bed.status("lb01")?["split_brain"] == false && bed.status("lb01")?["state"] == "MASTER");

    let (ours, theirs) = (bed.lb01().mac(), bed.lb02().mac());
    for kind in ["split_brain", "split_brain_over"] {
        for of in ["conflict", "group"] {
            let line = format!("{of} {kind} {INSTANCE} {VIP} {ours} {LB01} {theirs} {LB02}");
            wait_for(&line, SOON, || told(bed.lb01()).contains(&line))
                .with_context(|| format!("{:#?}", told(bed.lb01())))?;
        }
        let title = if kind == "split_brain" { "Split brain" } else { "Split brain over" };
        let subject = format!("Subject: [LB] VRRP Instance {INSTANCE} - {title}\n");
        wait_for(&subject, SOON, || server.log().contains(&subject)).with_context(|| server.log())?;
    }
    let line = format!("conflict address_conflict {INSTANCE} {VIP} {theirs} {LB02} {ours} {LB01}");
    wait_for(&line, SOON, || told(bed.lb02()).contains(&line))
        .with_context(|| format!("{:#?}", told(bed.lb02())))
        .map(drop)
}

/// The rival has claimed the VIP as well, as every router that takes over: its silence is the end of it all the same, not half a dozen
/// questions that nobody answers later.
#[test]
fn a_split_brain_is_over_when_the_rival_that_claimed_is_silent() -> Result<()> {
    let Some(pair) = usual_pair("")? else { return Ok(()) };
    let bed = &pair.bed;
    bed.lab.block("lb01", "lb02", Block::Adverts)?;
    bed.wait_event("lb01", "split_brain", |_| true)?;
    bed.wait_event("lb01", "address_conflict", |fields| fields["their_address"] == LB02.to_string())?;
    bed.lab.unblock_all()?;
    bed.wait("lb02", "BACKUP")?;
    bed.wait_event("lb01", "split_brain_over", |_| true)?;
    ensure!(bed.status("lb01")?["split_brain"] == false);
    ensure!(bed.state("lb01")? == "MASTER");
    Ok(())
}

/// A better router that takes over, and one that is stopped, are no conflict.
#[test]
fn planned_changes_of_masters_are_no_conflict() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb02 = bed.start("lb02", &node_conf(LOW, "self_probe 1"))?;
    bed.wait("lb02", "MASTER")?;
    let mut lb01 = bed.start("lb01", &node_conf(HIGH, "self_probe 1"))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    // Some questions to the wire.
    sleep(Duration::from_secs(4));
    check_peace(&bed, &["lb01", "lb02"], &CONFLICTS)?;
    lb01.sigterm()?;
    ensure!(lb01.wait(SOON)?.success());
    bed.wait("lb02", "MASTER")?;
    sleep(Duration::from_secs(4));
    check_peace(&bed, &["lb02"], &CONFLICTS)
}

/// After a partition the better master is told that there was another, which gives way; the client has the better one's MAC.
#[test]
fn a_healed_partition_is_told_of_and_leaves_no_split_brain() -> Result<()> {
    let Some(pair) = usual_pair("self_probe 1")? else { return Ok(()) };
    let bed = &pair.bed;
    bed.lab.partition(&["lb01"], &["lb02", "client"])?;
    bed.wait("lb02", "MASTER")?;
    let socket = bed.client().ns().run(|| UdpSocket::bind("0.0.0.0:0"))??;
    let neighbour =
        || Ok::<_, anyhow::Error>(bed.client().neighbours()?.get(&VIP.into()).and_then(|n| n.mac));
    wait_for("the client to be with lb02", SOON, || {
        let _ = socket.send_to(b"?", (VIP, 9));
        neighbour().is_ok_and(|mac| mac == Some(bed.lb02().mac()))
    })?;
    bed.lab.unblock_all()?;
    let rival = bed.wait_event("lb01", "rival_heard", |_| true)?;
    ensure!(rival["fields"]["rival"] == LB02.to_string(), "{rival}");
    ensure!(rival["fields"]["rival_mac"] == bed.lb02().mac().to_string(), "{rival}");
    bed.wait("lb02", "BACKUP")?;
    wait_for("the client to be with lb01", SOON, || {
        neighbour().is_ok_and(|mac| mac == Some(bed.lb01().mac()))
    })?;
    sleep(Duration::from_secs(4));
    ensure!(neighbour()? == Some(bed.lb01().mac()), "the client has left the winner again");
    check_peace(bed, &["lb01", "lb02"], &["split_brain"])
}

/// keepalived killed without warning leaves its address to the kernel, which answers for it for good. The vipd that takes over asks the
/// wire, and says who it is; when the address is gone it is over.
#[test]
fn the_address_that_a_killed_keepalived_leaves_is_found() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let mut keepalived = bed.lb01().start_keepalived(&node_conf(HIGH, ""))?;
    bed.lb01().wait_keepalived(INSTANCE, "MASTER", SOON)?;
    let extra = format!("self_probe 1\n notify_conflict {}", teller(bed.lb02())?);
    let _lb02 = bed.start("lb02", &node_conf(LOW, &extra))?;
    bed.wait("lb02", "BACKUP")?;
    wait_for("an advert of keepalived's", SOON, || {
        bed.status("lb02").is_ok_and(|status| status["last_adv_source"] == LB01.to_string())
    })?;
    keepalived.kill9()?;
    bed.wait("lb02", "MASTER")?;
    ensure!(bed.lb01().exec(&["ip", "address", "show", "eth0"])?.contains(&VIP.to_string()), "it has gone");

    let conflict = bed.wait_event("lb02", "address_conflict", |_| true)?;
    let fields = &conflict["fields"];
    ensure!(fields["their_mac"] == bed.lb01().mac().to_string(), "{conflict}");
    ensure!(fields["their_address"] == LB01.to_string() && fields["vip"] == VIP.to_string(), "{conflict}");
    let split = bed.wait_event("lb02", "split_brain", |_| true)?;
    ensure!(split["fields"]["by"] == "claims" && split["fields"]["rival"] == LB01.to_string(), "{split}");
    ensure!(bed.status("lb02")?["split_brain"] == true);

    bed.lb01().exec(&["ip", "address", "del", &format!("{VIP}/32"), "dev", "eth0"])?;
    bed.wait_event("lb02", "split_brain_over", |_| true)?;
    ensure!(bed.status("lb02")?["split_brain"] == false && bed.state("lb02")? == "MASTER");
    let (ours, theirs) = (bed.lb02().mac(), bed.lb01().mac());
    for kind in ["address_conflict", "split_brain", "split_brain_over"] {
        let line = format!("{kind} {INSTANCE} {VIP} {ours} {LB02} {theirs} {LB01}");
        wait_for(&line, SOON, || told(bed.lb02()).contains(&line))
            .with_context(|| format!("{:#?}", told(bed.lb02())))?;
    }
    Ok(())
}

/// Stations that are no routers of ours have a VIP, one of each family: found by asking, without a word of theirs.
#[test]
fn a_silent_station_with_a_vip_is_found_by_either_family() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let conf = |name: &str, vrid: u8, vip: &str| {
        format!(
            "vrrp_instance {name} {{\n interface eth0\n virtual_router_id {vrid}\n version 3\n advert_int 0.3\n \
             self_probe 1\n virtual_ipaddress {{\n {vip}\n }}\n}}\n"
        )
    };
    let vips = [("V4", VIP.to_string()), ("V6", "2001:db8::3".to_owned())];
    for (_, vip) in &vips {
        let nodad: &[&str] = if vip.contains(':') { &["nodad"] } else { &[] };
        bed.client().exec(&[&["ip", "address", "add", vip, "dev", "eth0"], nodad].concat())?;
    }
    let text: String = vips.iter().zip(51..).map(|((name, vip), vrid)| conf(name, vrid, vip)).collect();
    let _lb01 = bed.start("lb01", &text)?;
    for (name, vip) in &vips {
        let conflict = bed.wait_event("lb01", "address_conflict", |fields| fields["instance"] == *name)?;
        let fields = &conflict["fields"];
        ensure!(fields["vip"] == *vip, "{conflict}");
        ensure!(fields["their_mac"] == bed.client().mac().to_string(), "{conflict}");
        ensure!(fields["their_address"].is_null(), "{conflict}");
        // No router of ours: its answers go on, and are counted.
        wait_for("more claims", SOON, || {
            bed.status_of("lb01", name).is_ok_and(|status| status["address_conflicts"].as_u64() >= Some(4))
        })?;
        ensure!(bed.status_of("lb01", name)?["split_brain"] == false);
    }
    let events = bed.events_named("lb01", "address_conflict")?;
    let most = bed.status_of("lb01", "V4")?["address_conflicts"].as_u64().context("a count")?;
    ensure!((events.len() as u64) < 2 * most, "each of {most} claims was told");
    check_peace(&bed, &["lb01"], &["split_brain"])
}

/// Adverts that do not fit are told by what differs and how to mend it, and when there are no more of them.
#[test]
fn adverts_that_do_not_fit_are_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, "self_probe off"))?;
    bed.wait("lb01", "MASTER")?;
    let stranger = Ipv4Addr::new(10, 0, 0, 66);
    let advert = |payload| Ipv4::advert(stranger, payload).frame();
    let mut wrong_sum = v3(51, 50, 30, &[VIP]);
    wrong_sum[7] ^= 0x55;
    let other = Ipv4Addr::new(10, 0, 0, 4);
    // Of another virtual router first, from a station that has our VIP: it counts while nobody was heard of this one.
    let claim = arp(1, PEER_MAC, VIP, VIP);
    let kinds = [
        ("vrid", advert(v3(52, 50, 30, &[VIP]))),
        ("version", advert(v2(51, 50, 1, &[VIP]))),
        ("checksum", advert(wrong_sum)),
        ("ttl", Ipv4 { ttl: 64, ..Ipv4::advert(stranger, v3(51, 50, 30, &[VIP])) }.frame()),
        ("own_address", Ipv4::advert(Ipv4Addr::new(10, 0, 0, 5), v3(51, 50, 30, &[VIP])).frame()),
        (
            "destination",
            Ipv4 {
                destination: Ipv4Addr::new(224, 0, 0, 81),
                ..Ipv4::advert(stranger, v3(51, 50, 30, &[VIP]))
            }
            .frame(),
        ),
        ("interval", advert(v3(51, 50, 100, &[VIP]))),
        ("addresses", advert(v3(51, 50, 30, &[VIP, other]))),
    ];
    for (what, frame) in &kinds {
        let mut found: Option<Value> = None;
        wait_for(format_args!("the mismatch {what}"), SOON, || {
            if *what == "vrid" {
                let _ = bed.client().inject(&claim);
            }
            let _ = bed.client().inject(frame);
            let events = bed.events_named("lb01", "mismatch").unwrap_or_default();
            found = events.into_iter().find(|event| event["fields"]["what"] == *what);
            sleep(Duration::from_millis(200));
            found.is_some()
        })
        .with_context(|| format!("{:#?} {:#?}", bed.events("lb01", &[]), bed.status("lb01")))?;
        let found = found.context("found, then lost")?;
        ensure!(found["level"] == "WARN" && found["fields"]["fix"].as_str().is_some(), "{found}");
        let status = bed.status("lb01")?;
        ensure!(status["mismatches"].as_array().is_some_and(|all| all.contains(&(*what).into())), "{status}");
    }
    for (what, _) in &kinds {
        let over = bed.wait_event("lb01", "mismatch_over", |fields| fields["what"] == *what)?;
        ensure!(over["fields"]["count"].as_u64() >= Some(1), "{over}");
    }
    ensure!(bed.status("lb01")?["mismatches"] == Value::Array(Vec::new()));
    Ok(())
}

/// Debian's keepalived with another password: the two do not hear each other, and vipd says why.
#[test]
fn another_password_of_keepalived_is_told() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let conf = |priority, pass: &str| {
        let auth = format!("authentication {{\n auth_type PASS\n auth_pass {pass}\n }}");
        conf_v2(INSTANCE, "BACKUP", priority, &auth)
    };
    let _keepalived = bed.lb01().start_keepalived(&conf(HIGH, "2222"))?;
    bed.lb01().wait_keepalived(INSTANCE, "MASTER", SOON)?;
    let _lb02 = bed.start("lb02", &conf(LOW, "1111"))?;
    let found = bed.wait_event("lb02", "mismatch", |fields| fields["what"] == "password")?;
    ensure!(found["fields"]["fix"].as_str().is_some_and(|fix| fix.contains("auth_pass")), "{found}");
    bed.wait("lb02", "MASTER")?;
    // Each has the address: keepalived's kernel answers what vipd asks.
    let conflict = bed.wait_event("lb02", "address_conflict", |_| true)?;
    ensure!(conflict["fields"]["their_mac"] == bed.lb01().mac().to_string(), "{conflict}");
    Ok(())
}

/// Nobody was ever heard: said once. Of a master that has heard somebody it is not said.
#[test]
fn a_master_that_never_heard_anybody_says_so_once() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let alone = bed.wait_event("lb01", "peer_never_heard", |_| true)?;
    ensure!(alone["level"] == "INFO" && alone["fields"]["instance"] == INSTANCE, "{alone}");
    let mut lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    wait_for("adverts of lb01", SOON, || {
        bed.status("lb02").is_ok_and(|status| status["adverts_received"].as_u64() >= Some(3))
    })?;
    bed.lab.set_port("lb01", false)?;
    bed.wait("lb02", "MASTER")?;
    // Several looks.
    sleep(Duration::from_secs(12));
    ensure!(bed.events_named("lb02", "peer_never_heard")?.is_empty(), "it has heard lb01");
    ensure!(bed.events_named("lb01", "peer_never_heard")?.len() == 1);
    lb02.sigterm()?;
    lb02.wait(SOON).map(drop)
}
