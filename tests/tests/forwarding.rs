//! Packets of clients that still send to the former owner's MAC, just after a takeover: they reach the new owner.
//!
//! The links have checksum offload, as veth has by default: what a local stack sends has a partial checksum. At tc ingress the
//! buffer says so, and it is completed or accepted further on. XDP cannot see it, and such a frame is dropped by its receiver.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use support::*;
use vipd_tests::Node;

const PORT: u16 = 7007;
/// As long as packets are sent on, and then some for a busy machine.
const WATCH: Duration = Duration::from_secs(20);

fn target() -> SocketAddr {
    (VIP, PORT).into()
}

/// Answers on the VIP with the node's name, over UDP and TCP, for as long as the process lives.
fn serve(node: &Node) -> Result<()> {
    let (udp, tcp) = node.ns().run(|| (UdpSocket::bind(target()), TcpListener::bind(target())))?;
    let (udp, tcp) = (udp.context("bind UDP")?, tcp.context("bind TCP")?);
    let name = node.name().to_owned();
    let tcp_name = name.clone();
    std::thread::spawn(move || {
        let mut question = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut question) {
            let _ = udp.send_to(name.as_bytes(), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let _ = stream.write_all(tcp_name.as_bytes());
        }
    });
    Ok(())
}

fn ask_udp() -> Option<String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(target()).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
    socket.send(b"who?").ok()?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn ask_tcp() -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&target(), Duration::from_millis(50)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn the_new_owner_gets_what_is_sent_to_the_old_one() -> Result<()> {
    let at_tc = |priority| format!("global_defs {{ xdp_mode tc }}\n{}", node_conf(priority, ""));
    let Some(bed) = Bed::new()? else { return Ok(()) };
    for node in [bed.lb01(), bed.lb02(), bed.client()] {
        node.exec(&["ethtool", "-K", "eth0", "tx", "on"])?;
    }
    let mut first = bed.start("lb01", &at_tc(HIGH))?;
    bed.wait("lb01", "MASTER")?;
    let _second = bed.start("lb02", &at_tc(LOW))?;
    bed.wait("lb02", "BACKUP")?;
    serve(bed.lb01())?;
    serve(bed.lb02())?;
    // No announcement moves it.
    let (vip, mac) = (VIP.to_string(), bed.lb01().mac().to_string());
    bed.client().exec(&[
        "ip",
        "neighbour",
        "replace",
        &vip,
        "lladdr",
        &mac,
        "dev",
        "eth0",
        "nud",
        "permanent",
    ])?;
    let ask = |ask: fn() -> Option<String>| bed.client().ns().run(ask);
    vipd_tests::wait_for("answers of the master", SOON, || {
        [ask_udp, ask_tcp].iter().all(|question| ask(*question).is_ok_and(|by| by.as_deref() == Some("lb01")))
    })?;
    // Until it has heard one, it waits from its own start, and the lease ends first.
    vipd_tests::wait_for("an advert at the backup", SOON, || {
        bed.status("lb02").is_ok_and(|status| status["adverts_received"].as_u64().is_some_and(|n| n > 0))
    })?;
    let killed = first.kill9()?;
    let mut missing = vec![("UDP", ask_udp as fn() -> Option<String>), ("TCP", ask_tcp)];
    while !missing.is_empty() {
        if killed.elapsed() > WATCH {
            bail!(
                "lb02 has answered nothing over {:?}",
                missing.iter().map(|(name, _)| *name).collect::<Vec<_>>()
            );
        }
        let mut unanswered = Vec::new();
        for (name, question) in missing {
            if ask(question)?.as_deref() != Some("lb02") {
                unanswered.push((name, question));
            }
        }
        missing = unanswered;
    }
    Ok(())
}
