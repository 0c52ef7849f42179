//! The lab itself: it builds, connects, cuts, blocks and leaves nothing behind. Runs no vipd.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use vipd_tests::{
    Block, Lab,
    probe::{ArpProber, HttpProber, http::summarise},
    require_lab, wait_for,
    xdp::Program,
};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const SOON: Duration = Duration::from_secs(10);

fn lab() -> Result<Lab> {
    Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .node("lb02", "10.0.0.6/24")
        .node("client", "10.0.0.100/24")
        .build()
}

#[test]
fn connects_cuts_blocks_and_cleans_up() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, lb02) = (lab.node("lb01"), lab.node("lb02"));
    let lb01_ip = lb01.ip().expect("it has one");
    let prober = ArpProber::start(lab.node("client").ns(), "eth0", &[lb01_ip], Duration::from_millis(2))?;
    let answers = |from| prober.first_answer_by(lb01.mac(), from).is_some();
    wait_for("lb01 to answer", SOON, || answers(Instant::now() - Duration::from_millis(100)))?;
    assert_eq!(prober.owners_seen_together(), 1);

    lab.set_port("lb01", false)?;
    wait_for("lb01 to fall silent", SOON, || !answers(Instant::now() - Duration::from_millis(100)))?;
    lab.set_port("lb01", true)?;
    wait_for("lb01 to be back", SOON, || answers(Instant::now() - Duration::from_millis(100)))?;
    lab.partition(&["lb01"], &["client", "lb02"])?;
    wait_for("the partition", SOON, || !answers(Instant::now() - Duration::from_millis(100)))?;
    lab.unblock_all()?;
    wait_for("healing", SOON, || answers(Instant::now() - Duration::from_millis(100)))?;

    // Adverts are blocked, in one direction, and nothing else is.
    let sniffer = lb02.sniff()?;
    let mut advert = vec![0x01, 0x00, 0x5e, 0, 0, 18];
    advert.extend(lb01.mac().0);
    advert.extend([0x08, 0x00, 0x45, 0xc0, 0, 40, 0, 1, 0, 0, 255, 112, 0, 0, 10, 0, 0, 5, 224, 0, 0, 18]);
    advert.extend([0x21, 51, 150, 1, 0, 1, 0, 0, 10, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    let heard = |s: &vipd_tests::probe::capture::Seen| s.bytes == advert;
    lb01.inject(&advert)?;
    let seen = sniffer.wait("the advert", SOON, heard)?;
    let vipd_tests::probe::capture::Frame::Advert(decoded) = seen.frame else { panic!("{seen:?}") };
    assert_eq!((decoded.version, decoded.vrid, decoded.priority), (2, 51, 150));
    assert_eq!(decoded.interval, Duration::from_secs(1));
    lab.block("lb01", "lb02", Block::Adverts)?;
    sniffer.clear();
    lb01.inject(&advert)?;
    let asked = vipd_tests::probe::arp::request(lb01.mac(), lb01_ip, VIP);
    lb01.inject(&asked)?;
    sniffer.wait("what was sent after the advert", SOON, |s| s.bytes.starts_with(&asked))?;
    assert!(!sniffer.seen().iter().any(heard));

    let (switch, dir) = (format!("/run/netns/{}", lab.switch().name()), lab.dir().to_owned());
    assert!(Path::new(&switch).exists() && dir.exists());
    drop(prober);
    drop(sniffer);
    drop(lab);
    assert!(!Path::new(&switch).exists(), "{switch} was left behind");
    assert!(!dir.exists(), "{} was left behind", dir.display());
    Ok(())
}

#[test]
fn the_switch_hands_on_what_xdp_sends_back() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, client) = (lab.node("lb01"), lab.node("client"));
    let _link = Program::reflect()?.attach(lb01.ns(), "eth0")?;
    let (sniffer, port) = (client.sniff()?, lab.sniff_port("lb01")?);
    let frame = vipd_tests::probe::arp::request(client.mac(), Ipv4Addr::new(10, 0, 0, 100), VIP);
    wait_for("a frame to come back by XDP_TX", SOON, || {
        client.inject(&frame).is_ok()
            && sniffer.seen().iter().any(|s| !s.outgoing && s.bytes.starts_with(&frame))
    })?;
    for outgoing in [true, false] {
        assert!(port.seen().iter().any(|s| s.outgoing == outgoing && s.bytes.starts_with(&frame)));
    }
    Ok(())
}

#[test]
fn keepalived_and_nginx_run_in_it() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let mut daemons = Vec::new();
    for (name, priority) in [("lb01", 150), ("lb02", 100)] {
        let node = lab.node(name);
        node.allow_nonlocal_bind()?;
        daemons.push(node.start_nginx(SocketAddrV4::new(VIP, 80))?);
        daemons.push(node.start_keepalived(&format!(
            "vrrp_instance VI_1 {{\n interface eth0\n virtual_router_id 51\n priority {priority}\n advert_int 1\n \
             virtual_ipaddress {{\n 10.0.0.3\n }}\n}}\n"
        ))?);
    }
    let client = lab.node("client").ns();
    let (lb01, lb02) = (lab.node("lb01"), lab.node("lb02"));
    let arp = ArpProber::start(client, "eth0", &[VIP], Duration::from_millis(2))?;
    wait_for("lb01 to own the VIP", SOON, || arp.current_owner(VIP).is_some_and(|a| a.mac == lb01.mac()))?;
    let http =
        HttpProber::start(client, (VIP, 80).into(), Duration::from_millis(20), Duration::from_secs(1))?;
    let start = Instant::now();
    wait_for("pages from lb01", SOON, || http.first_answer_by("lb01", start).is_some())?;
    let cut = Instant::now();
    lab.set_port("lb01", false)?;
    wait_for("lb02 to own the VIP", SOON, || arp.first_answer_by(lb02.mac(), cut).is_some())?;
    wait_for("pages from lb02", SOON, || http.first_answer_by("lb02", cut).is_some())?;
    let summary = summarise(&http.stop(), start, Instant::now());
    assert!(summary.longest_gap > Duration::from_secs(2), "{summary:?}");
    assert!(arp.last_answer_by(lb01.mac()).is_some_and(|at| at < cut + Duration::from_millis(100)));
    assert_eq!((arp.owners_seen_together(), arp.owners_seen_twice()), (1, 1));
    Ok(())
}
