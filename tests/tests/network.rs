//! Two vipd nodes and what can happen to the network between them: a pulled cable, a partition, a flood.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::{Ipv4Addr, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::{
    frames::{Ipv4, v2, v3},
    *,
};
use vipd_tests::{Mac, wait_for};

/// I2, I3: without its cable the master is in FAULT and the backup takes over by its timer; with it, it preempts.
#[test]
fn a_pulled_cable_moves_the_vip_and_a_plugged_one_moves_it_back() -> Result<()> {
    for extra in ["", "nopreempt"] {
        let Some(pair) = usual_pair(extra)? else { return Ok(()) };
        let (listener, prober) = (pair.bed.listener()?, pair.bed.prober()?);
        wait_advert(&listener, LB01, Instant::now())?;
        let cut = Instant::now();
        pair.bed.lab.set_port("lb01", false)?;
        pair.bed.wait("lb01", "FAULT")?;
        let takeover = wait_advert(&listener, LB02, cut)?;
        pair.bed.wait("lb02", "MASTER")?;
        let last = last_advert(&listener, LB01, takeover).context("lb01 never advertised")?;
        println!("takeover {:?} after the last advert", takeover - last);
        ensure!(takeover - last >= INTERVAL * 3, "takeover after {:?}", takeover - last);

        let plugged = Instant::now();
        pair.bed.lab.set_port("lb01", true)?;
        if extra.is_empty() {
            let back = wait_advert(&listener, LB01, plugged)?;
            println!("back {:?} after the cable", back - plugged);
            ensure!(back - plugged >= INTERVAL * 3, "back after {:?}", back - plugged);
            pair.bed.wait("lb01", "MASTER")?;
            pair.bed.wait("lb02", "BACKUP")?;
        } else {
            pair.bed.wait("lb01", "BACKUP")?;
            sleep(master_down(HIGH) * 2);
            ensure!(
                pair.bed.state("lb01")? == "BACKUP" && pair.bed.state("lb02")? == "MASTER",
                "it preempted"
            );
            ensure!(first_advert(&listener, LB01, plugged).is_none(), "nopreempt advertised");
        }
        sleep(INTERVAL);
        let end = Instant::now();
        let probes = prober.stop()?;
        check_single_owner(&probes, &listener)?;
        check_answered("taken over", &probes, takeover + MESSAGE_DELAY, end - MESSAGE_DELAY)?;
    }
    Ok(())
}

/// I1, I2: a partition makes two masters, one for each side; its end leaves one, and the client finds it at once,
/// although its side's master was the other.
#[test]
fn a_healed_partition_has_one_master_and_the_client_finds_it() -> Result<()> {
    let Some(pair) = usual_pair("")? else { return Ok(()) };
    let bed = &pair.bed;
    let listener = bed.listener()?;
    wait_advert(&listener, LB01, Instant::now())?;
    bed.lab.partition(&["lb01"], &["lb02", "client"])?;
    bed.wait("lb02", "MASTER")?;
    ensure!(bed.state("lb01")? == "MASTER", "lb01 gave up for no reason");
    let socket = bed.client().ns().run(|| UdpSocket::bind("0.0.0.0:0"))??;
    wait_for("the client to be with lb02", SOON, || {
        let _ = socket.send_to(b"?", (VIP, 9));
        neighbour(bed).is_ok_and(|mac| mac == Some(bed.lb02().mac()))
    })?;
    let to_lb02 = bed.lab.sniff_port("lb02")?;
    sleep(INTERVAL);

    let healed = Instant::now();
    bed.lab.unblock_all()?;
    let flows = Instant::now();
    wait_for("the client's neighbour entry to be lb01", SOON, || {
        neighbour(bed).is_ok_and(|mac| mac == Some(bed.lb01().mac()))
    })?;
    // What the client's kernel learned it from; asking the kernel takes a process, and so any time.
    let mut announced = None;
    wait_for("the announcement to be read", SOON, || {
        announced = listener.arps().into_iter().find_map(|(seen, arp)| {
            (seen.at > healed && arp.is_gratuitous() && arp.sender_mac == bed.lb01().mac()).then_some(seen.at)
        });
        announced.is_some()
    })?;
    let found = announced.context("found, then lost")?.saturating_duration_since(flows);
    println!("the client is with lb01 {found:?} after the end of the partition, interval {INTERVAL:?}");
    // Not before: the answers to a prober's questions tell the client's kernel too.
    let prober = bed.prober()?;
    let begin = Instant::now();
    let heard = wait_advert(&to_lb02, LB01, healed)?;
    bed.wait("lb02", "BACKUP")?;
    sleep(INTERVAL * 4);
    let end = Instant::now();
    ensure!(bed.state("lb01")? == "MASTER", "the winner gave up");
    ensure!(neighbour(bed)? == Some(bed.lb01().mac()), "the client has left the winner again");
    ensure!(found < INTERVAL * 5, "it took the client {found:?}");

    let probes = prober.stop()?;
    let late = answered_by(&probes, bed.lb02().mac(), begin.max(heard + MESSAGE_DELAY), end);
    ensure!(late == 0, "lb02 answered {late} questions after the winner's advert had reached it");
    check_answered("healed", &probes, begin, end - MESSAGE_DELAY)
}

/// What the client's kernel takes for the station of the VIP.
fn neighbour(bed: &Bed) -> Result<Option<Mac>> {
    let out = bed.client().exec(&["ip", "neighbour", "show", &VIP.to_string(), "dev", "eth0"])?;
    let nodes = [bed.lb01(), bed.lb02()];
    Ok(nodes.into_iter().map(|n| n.mac()).find(|mac| out.contains(&format!("lladdr {mac}"))))
}

/// X-01, I3: a flood of adverts that are not valid is counted by reason and changes nothing, on either node.
#[test]
fn a_flood_of_invalid_adverts_changes_nothing() -> Result<()> {
    const WINDOW: Duration = Duration::from_millis(300 * 12);
    const BURST: usize = 200;
    let Some(pair) = usual_pair("")? else { return Ok(()) };
    let bed = &pair.bed;
    let (listener, prober) = (bed.lab.sniff_port("lb01")?, bed.prober()?);
    let settled = wait_advert(&listener, LB01, Instant::now())?;
    let before = [bed.status("lb01")?, bed.status("lb02")?];
    let kinds = invalid_adverts();
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < WINDOW {
        for (_, frame) in &kinds {
            bed.client().flood(frame, BURST)?;
        }
        sent += BURST;
        // Leaves the machine some of its time.
        sleep(Duration::from_millis(20));
    }
    let end = Instant::now();
    let after = [bed.status("lb01")?, bed.status("lb02")?];
    println!("{sent} of each of {} kinds in {:?}", kinds.len(), end - start);

    // The first and the last of them, and how many periods lie between: what the machine delays it delays once.
    let own: Vec<_> =
        adverts(&listener).into_iter().filter(|h| h.from == LB01 && h.at >= settled && h.at < end).collect();
    let (periods, span) = (own.len() - 1, own[own.len() - 1].at - own[0].at);
    let period = span / u32::try_from(periods)?;
    println!("lb01 advertised every {period:?}");
    ensure!(period > INTERVAL * 7 / 10 && period < INTERVAL * 13 / 10, "lb01 advertised every {period:?}");
    ensure!(span * 10 > (end - settled) * 7, "lb01 fell silent");

    for (node, (before, after)) in ["lb01", "lb02"].iter().zip(before.iter().zip(&after)) {
        for unchanged in ["state", "since_unix_ms", "became_master", "leases_revoked", "master"] {
            // The time of the transition is reckoned from two clocks.
            let same = match (before[unchanged].as_u64(), after[unchanged].as_u64()) {
                (Some(a), Some(b)) if unchanged == "since_unix_ms" => a.abs_diff(b) < 1000,
                _ => before[unchanged] == after[unchanged],
            };
            ensure!(same, "{node}: {unchanged} changed: {before} {after}");
        }
        for (reason, _) in &kinds {
            let count = |s: &serde_json::Value| s["discards"][*reason].as_u64().unwrap_or(0);
            let counted = count(after) - count(before);
            ensure!(counted > 0 && counted <= sent as u64, "{node}: {counted} {reason} of {sent}");
        }
    }
    let probes = prober.stop()?;
    ensure!(answered_by(&probes, bed.lb02().mac(), start, end) == 0, "lb02 answered");
    let answered = answered_by(&probes, bed.lb01().mac(), start, end);
    let asked = probes.iter().filter(|p| start <= p.sent && p.sent < end).count();
    println!("{answered} of {asked} questions answered during the flood");
    // A ring of 256 frames in the lab's cables loses some of them, and of our questions.
    ensure!(answered * 2 > asked, "only {answered} of {asked} questions were answered");
    Ok(())
}

/// Adverts of priority 254 from a stranger, each wrong in one point, with the name of its counter.
fn invalid_adverts() -> Vec<(&'static str, Vec<u8>)> {
    let stranger = Ipv4Addr::new(10, 0, 0, 66);
    let good = v3(51, 254, 30, &[VIP]);
    let advert = |payload| Ipv4::advert(stranger, payload);
    let mut wrong_sum = good.clone();
    wrong_sum[7] ^= 0x55;
    let mut wrong_type = good.clone();
    // Type 2, and the sum to go with it.
    wrong_type[0] = 0x32;
    wrong_type[6] = wrong_type[6].wrapping_sub(1);
    let mut long = good.clone();
    long.extend([0; 4]);
    let mut wrong_header = advert(good.clone()).frame();
    wrong_header[24] ^= 0x55;
    vec![
        ("checksum_errors", advert(wrong_sum).frame()),
        ("ip_ttl_errors", Ipv4 { ttl: 254, ..advert(good.clone()) }.frame()),
        ("packet_length_errors", advert(long).frame()),
        ("version_errors", advert(v2(51, 254, 1, &[VIP])).frame()),
        ("invalid_type", advert(wrong_type).frame()),
        ("addr_count_zero", advert(v3(51, 254, 30, &[])).frame()),
        ("interval_zero", advert(v3(51, 254, 0, &[VIP])).frame()),
        ("ip_checksum_errors", wrong_header),
    ]
}
