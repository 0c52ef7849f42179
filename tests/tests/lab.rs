//! The lab itself: it builds, connects, cuts, blocks and leaves nothing behind. Runs no vipd.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, UdpSocket},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;
use vipd_tests::{
    BPFFS, Block, Daemon, Lab, Mac, Netns, janitor,
    node::Link,
    prefix::Prefix,
    probe::{
        ArpProber, HttpProber, NeighbourProber,
        capture::{AnnouncementKind, Frame, IcmpError, IcmpErrorKind, Seen},
        http::summarise,
        question::arp_request,
    },
    require_lab, wait_for,
    xdp::Program,
};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const SOON: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(10);

fn lab() -> Result<Lab> {
    Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .address("2001:db8::5/64")
        .node("lb02", "10.0.0.6/24")
        .address("2001:db8::6/64")
        .node("client", "10.0.0.100/24")
        .address("2001:db8::100/64")
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
    let heard = |s: &Seen| s.bytes == advert;
    lb01.inject(&advert)?;
    let seen = sniffer.wait("the advert", SOON, heard)?;
    let Frame::Advert(decoded) = seen.frame else { panic!("{seen:?}") };
    assert_eq!((decoded.version, decoded.vrid, decoded.priority), (2, 51, 150));
    assert_eq!(decoded.interval, Duration::from_secs(1));
    lab.block("lb01", "lb02", Block::Adverts)?;
    sniffer.clear();
    lb01.inject(&advert)?;
    let asked = arp_request(lb01.mac(), lb01_ip, VIP);
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

/// Neither the labs of processes that live nor those that are kept are touched.
#[test]
fn what_a_dead_process_has_left_is_swept() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let living = lab()?;
    let mut dead = Command::new("true").spawn()?;
    dead.wait()?;
    let Prefix { name, dir } = Prefix::of(dead.id())?;
    let ns = Netns::create(&format!("{name}-lb01"))?;
    ns.keep();
    let pins = Path::new(BPFFS).join(format!("{name}-lb01"));
    fs::create_dir(&pins)?;
    let mut daemon = Daemon::start("sleep", ns.command("sleep").arg("600"), &dir.join("log"))?;

    let kept = std::slice::from_ref(&name);
    assert!(!janitor::sweep(kept)?.contains(&name));
    assert!(daemon.is_running() && dir.exists() && pins.exists());

    let swept = janitor::sweep(&[])?;
    assert!(swept.contains(&name) && !swept.iter().any(|prefix| prefix == living.prefix()), "{swept:?}");
    assert_eq!(daemon.wait(SOON)?.signal(), Some(9));
    let namespace = Path::new("/run/netns").join(ns.name());
    assert!(!dir.exists() && !pins.exists() && !namespace.exists());
    assert!(living.dir().exists());
    Ok(())
}

#[test]
fn the_switch_hands_on_what_xdp_sends_back() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, client) = (lab.node("lb01"), lab.node("client"));
    let _link = Program::reflect()?.attach(lb01.ns(), "eth0")?;
    let (sniffer, port) = (client.sniff()?, lab.sniff_port("lb01")?);
    let frame = arp_request(client.mac(), Ipv4Addr::new(10, 0, 0, 100), VIP);
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
fn nodes_have_both_families_on_both_segments() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .address("2001:db8::5/64")
        .link("10.1.2.7/16")
        .address("2001:db8:1::7/64")
        .node("lb02", "2001:db8::6/64")
        .node("client", "10.0.0.100/24")
        .address("2001:db8::100/64")
        .link("10.1.0.100/16")
        .address("2001:db8:1::100/64")
        .build()?;
    let (lb01, lb02, client) = (lab.node("lb01"), lab.node("lb02"), lab.node("client"));
    assert_eq!(lb01.link_local(), "fe80::5".parse::<Ipv6Addr>()?);
    assert_eq!((lb02.link_local(), lb02.ip()), ("fe80::6".parse()?, None));
    let eth1 = lb01.link("eth1");
    assert_eq!((eth1.link_local, eth1.ip6), ("fe80::207".parse()?, Some("2001:db8:1::7".parse()?)));

    // Every address answers at once, on its own segment.
    let all = |link: &Link| {
        let (ip, ip6) = (link.ip.map(IpAddr::from), link.ip6.map(IpAddr::from));
        ip.into_iter().chain(ip6).chain([link.link_local.into()]).collect::<Vec<_>>()
    };
    let (mut first, second) = (all(lb01.link("eth0")), all(eth1));
    first.push(lb02.link_local().into());
    let on_eth0 = NeighbourProber::start(client.ns(), "eth0", &first, PERIOD)?;
    let on_eth1 = NeighbourProber::start(client.ns(), "eth1", &second, PERIOD)?;
    wait_for("answers on eth0", SOON, || on_eth0.last_answers().len() == first.len())?;
    wait_for("answers on eth1", SOON, || on_eth1.last_answers().len() == second.len())?;
    assert!(first[..3].iter().all(|a| on_eth0.current_owner(*a).is_some_and(|a| a.mac == lb01.mac())));
    assert!(second.iter().all(|a| on_eth1.current_owner(*a).is_some_and(|a| a.mac == eth1.mac)));
    assert_eq!(on_eth0.current_owner(lb02.link_local()).map(|a| a.mac), Some(lb02.mac()));
    wait_for("the switch to know lb01", SOON, || {
        [lb01.mac(), eth1.mac].iter().all(|m| lab.fdb_port_of(*m).is_ok_and(|n| n.as_deref() == Some("lb01")))
    })?;
    assert_eq!(lab.fdb_port_of(Mac([2, 0, 0, 0, 0, 0x77]))?, None);

    lab.set_link("lb01", "eth1", false)?;
    let cut = Instant::now();
    wait_for("silence on eth1", SOON, || {
        on_eth1.answers_between(Instant::now() - Duration::from_millis(200), Instant::now()).is_empty()
    })?;
    let answers = |from| on_eth0.first_answer_by(lb01.mac(), from).is_some();
    wait_for("eth0 to go on", SOON, || answers(cut))?;
    lab.set_link("lb01", "eth1", true)?;
    lab.partition(&["lb01"], &["client"])?;
    for (prober, mac) in [(&on_eth0, lb01.mac()), (&on_eth1, eth1.mac)] {
        wait_for(format_args!("{mac} to fall silent"), SOON, || {
            let now = Instant::now();
            let recent = prober.answers_between(now - Duration::from_millis(200), now);
            recent.iter().all(|a| a.mac != mac)
        })?;
    }
    Ok(())
}

#[test]
fn a_prober_keeps_up_with_a_thousand_addresses_of_each_family() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, client) = (lab.node("lb01"), lab.node("client"));
    // Dense enough that every address a question could be asked from, in some /24, is itself a target.
    let v4 = (0..1000u32).map(|n| IpAddr::from(Ipv4Addr::from(0x0a01_0001 + n)));
    let v6 = (0..1000u128).map(|n| IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) + 0x1_0000 + n)));
    let targets: Vec<IpAddr> = v4.chain(v6).collect();
    let nodad = |a: &IpAddr| if a.is_ipv6() { "nodad" } else { "" };
    let batch: String = targets.iter().map(|a| format!("addr add {a} dev eth0 {}\n", nodad(a))).collect();
    let file = lb01.dir().join("batch");
    fs::write(&file, batch)?;
    lb01.exec(&["ip", "-batch", &file.to_string_lossy()])?;

    let conflicts = lab.sniff_port("lb01")?;
    let prober = NeighbourProber::start(client.ns(), "eth0", &targets, Duration::from_secs(1))?;
    wait_for("an answer for every address", SOON, || prober.last_answers().len() == targets.len())?;
    let from = Instant::now();
    wait_for("an answer for every address again", SOON, || {
        prober.last_answers().values().all(|a| a.at > from)
    })?;
    assert!(prober.last_answers().values().all(|a| a.mac == lb01.mac() && a.src_mac == lb01.mac()));
    assert_eq!(prober.owners_seen_together(), 1);
    // Nobody but lb01 may claim one of its addresses.
    let claims = |s: &Seen| matches!(&s.frame, Frame::Arp(a) if targets.contains(&a.sender_ip.into()));
    assert!(conflicts.seen().iter().all(|s| !s.outgoing || !claims(s)));
    Ok(())
}

#[test]
fn the_sniffer_tells_announcements_and_icmp_errors_from_other_frames() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, client) = (lab.node("lb01"), lab.node("client"));
    let wire = lab.sniff_port("client")?;
    // An announcement written down by RFC 4861 4.4, its checksum computed elsewhere.
    let mut announcement = vec![0x33, 0x33, 0, 0, 0, 1];
    announcement.extend(lb01.mac().0);
    announcement.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    announcement.extend("fe80::5".parse::<Ipv6Addr>()?.octets());
    announcement.extend("ff02::1".parse::<Ipv6Addr>()?.octets());
    announcement.extend(CHECKED_NA);
    lb01.inject(&announcement)?;
    let mut garp = arp_request(lb01.mac(), VIP, VIP);
    lb01.inject(&garp)?;
    garp[21] = 2;
    lb01.inject(&garp)?;
    let vip6: Ipv6Addr = "2001:db8::3".parse()?;
    let expect: [(IpAddr, _); 3] = [
        (vip6.into(), AnnouncementKind::NeighbourAdvert),
        (VIP.into(), AnnouncementKind::ArpRequest),
        (VIP.into(), AnnouncementKind::ArpReply),
    ];
    wait_for("the announcements", SOON, || wire.announcements().len() >= expect.len())?;
    let heard: Vec<_> = wire.announcements().iter().map(|a| (a.address, a.kind)).collect();
    assert_eq!(heard, expect);
    assert!(wire.announcements().iter().all(|a| a.mac == lb01.mac()));
    let [(_, na)] = &wire.neighbour_adverts()[..] else { panic!("{:?}", wire.neighbour_adverts()) };
    assert!(na.checksum_valid && na.router && na.overrides && !na.solicited && na.hop_limit == 255, "{na:?}");
    assert_eq!((na.target, na.target_mac), (vip6, Some(lb01.mac())));

    // One wrong bit, and it says so.
    wire.clear();
    *announcement.last_mut().expect("it is not empty") ^= 1;
    lb01.inject(&announcement)?;
    wait_for("the broken one", SOON, || wire.neighbour_adverts().iter().any(|(_, na)| !na.checksum_valid))?;

    assert_eq!(wire.icmp_errors().len(), 0);
    let unwanted: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::new(10, 0, 0, 5).into(), Ipv4Addr::UNSPECIFIED.into()),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5).into(), Ipv6Addr::UNSPECIFIED.into()),
    ];
    for (to, any) in unwanted {
        client.ns().run(|| UdpSocket::bind((any, 0))?.send_to(b"?", (to, 9)))??;
        wait_for(format_args!("an error from {to}"), SOON, || {
            let ours = |e: &IcmpError| e.src == to && e.kind == IcmpErrorKind::DestinationUnreachable;
            wire.icmp_errors().iter().any(|(_, e)| ours(e))
        })?;
    }
    Ok(())
}

#[test]
fn nginx_answers_over_ipv6() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let vip: Ipv6Addr = "2001:db8::3".parse()?;
    lab.node("lb01").allow_nonlocal_bind()?;
    let _nginx = lab.node("lb01").start_nginx((vip, 80))?;
    lab.node("lb01").exec(&["ip", "addr", "add", "2001:db8::3/64", "dev", "eth0", "nodad"])?;
    let client = lab.node("client").ns();
    let start = Instant::now();
    let http =
        HttpProber::start(client, (vip, 80).into(), Duration::from_millis(20), Duration::from_secs(5))?;
    wait_for("pages over IPv6", SOON, || http.first_answer_by("lb01", start).is_some())?;
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
    // On a busy machine both are masters for a moment at the start.
    wait_for("lb02 to be a backup", SOON, || {
        lb02.keepalived_state("VI_1").is_ok_and(|state| state.as_deref() == Some("BACKUP"))
    })?;
    let arp = ArpProber::start(client, "eth0", &[VIP], Duration::from_millis(2))?;
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

/// Router, override, target 2001:db8::3, lb01's MAC; the checksum is for fe80::5 to ff02::1.
const CHECKED_NA: [u8; 32] = [
    0x88, 0x00, 0x9e, 0x58, 0xa0, 0x00, 0x00, 0x00, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x02, 0x01, 0x02, 0x00, 0x0a, 0x00, 0x00, 0x05,
];
