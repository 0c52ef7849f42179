//! VIPs are local on the node that owns them, and on one that is about to: a backup's kernel looks as it did without vipd.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::{SocketAddr, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use support::{host_state::HostState, *};
use vipd_tests::{Block, Node, wait_for};

/// Long enough for a look between two steps of the election, on a busy machine too.
fn slow_conf(priority: u8) -> String {
    node_conf(priority, "").replace("advert_int 0.3", "advert_int 1")
}

fn is_local(node: &Node, vip: &str) -> Result<bool> {
    Ok(!node.exec(&["ip", "route", "show", "table", "local", vip])?.is_empty())
}

#[test]
fn a_backups_kernel_knows_nothing_of_the_vip() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let lb02 = bed.lb02();
    let before = HostState::of(lb02)?;
    let _vipd = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    sleep(master_down(LOW) * 2);
    let after = HostState::of(lb02)?;
    ensure!((&after.routes, &after.rules) == (&before.routes, &before.rules), "{before:#?}\n{after:#?}");

    // A service binds on the backup, and has its packets once it is the master.
    let service = lb02.ns().run(|| UdpSocket::bind(SocketAddr::from((VIP, 7000))))??;
    service.set_read_timeout(Some(SOON))?;
    ensure!(is_local(bed.lb01(), &VIP.to_string())? && !is_local(lb02, &VIP.to_string())?);
    bed.lb01().stop_vipd(&bed.vipd)?;
    bed.wait("lb02", "MASTER")?;
    let client = bed.client().ns().run(|| UdpSocket::bind("0.0.0.0:0"))??;
    wait_for("the service to be reached", SOON, || {
        client.send_to(b"x", (VIP, 7000)).is_ok() && {
            service.set_read_timeout(Some(Duration::from_millis(200))).is_ok()
                && service.recv_from(&mut [0; 4]).is_ok()
        }
    })?;
    ensure!(!is_local(bed.lb01(), &VIP.to_string())?);
    Ok(())
}

/// The route is made while the backup still waits: at the takeover nothing is left to do. If the master is heard after all, it goes.
#[test]
fn a_backup_prepares_for_its_takeover() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let vip = VIP.to_string();
    let mut master = bed.start("lb01", &slow_conf(HIGH))?;
    bed.wait("lb01", "MASTER")?;
    let _backup = bed.start("lb02", &slow_conf(LOW))?;
    bed.wait("lb02", "BACKUP")?;
    let lb02 = bed.lb02();

    // Heard again before the down timer fires.
    bed.lab.block("lb01", "lb02", Block::Adverts)?;
    wait_for("the backup to prepare", SOON, || is_local(lb02, &vip).is_ok_and(|local| local))?;
    ensure!(bed.state("lb02")? == "BACKUP", "prepared, and not master yet");
    bed.lab.unblock_all()?;
    wait_for("the route to go", SOON, || is_local(lb02, &vip).is_ok_and(|local| !local))?;

    master.kill9()?;
    let killed = Instant::now();
    wait_for("the backup to prepare", SOON, || is_local(lb02, &vip).is_ok_and(|local| local))?;
    let prepared = killed.elapsed();
    bed.wait("lb02", "MASTER")?;
    println!("prepared {prepared:?} after the death, master after {:?}", killed.elapsed());
    ensure!(is_local(lb02, &vip)?);
    Ok(())
}

/// A socket that a host has connected to its own VIP has an address that it keeps when the VIP goes.
#[test]
fn a_connection_to_the_own_vip_outlives_the_mastership() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    let _lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    let open = |node: &Node, at: SocketAddr| node.ns().run(|| UdpSocket::bind(at));
    let service: SocketAddr = (VIP, 7000).into();
    let sockets = [open(bed.lb01(), service)??, open(bed.lb02(), service)??];
    let client = open(bed.lb01(), "0.0.0.0:0".parse()?)??;
    client.connect(service)?;
    ensure!(client.local_addr()?.ip().to_string() == "10.0.0.5", "{}", client.local_addr()?);
    let reaches = |socket: &UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_millis(200))).is_ok()
            && client.send(b"x").is_ok()
            && socket.recv_from(&mut [0; 4]).is_ok()
    };
    wait_for("the own service", SOON, || reaches(&sockets[0]))?;
    bed.lb01().stop_vipd(&bed.vipd)?;
    bed.wait("lb02", "MASTER")?;
    wait_for("the new owner's service", SOON, || reaches(&sockets[1])).map(drop)
}
