//! Does a fault to the cluster, waits, and undoes it.
//!
//! A fault that cannot be done is no finding: the node may be in a state that another fault has put it in. What vipd
//! itself refuses although it must not is a trouble, and a violation.

use std::{
    fs, hint,
    os::unix::net::UnixStream,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use vipd_tests::Daemon;

use crate::{
    clock::{MILLI, Time},
    cluster::{Cluster, Host, SOON},
    conf::{Variant, check_file},
    fault::{Fault, NodeIndex, name},
    plan::{Family, NODES},
};

/// Does one fault from its beginning to its end; blocks as long as it lasts.
pub fn play(cluster: &Cluster, number: usize, fault: Fault, lasts: Time) {
    let lock = fault.host().map(|host| (host, cluster.host(host)));
    let begun = cluster.begins(fault);
    let done = match lock {
        Some((index, mut host)) => on_host(cluster, index, &mut host, fault, lasts),
        None => elsewhere(cluster, number, fault, lasts),
    };
    if let Err(error) = done {
        cluster.trouble(format!("{fault}: {error:#}"));
    }
    cluster.is_over(begun);
}

/// Makes a node as it was before everything: the daemon runs, with its usual configuration.
pub fn heal(cluster: &Cluster, index: NodeIndex) -> Result<()> {
    let mut host = cluster.host(index);
    let begun = cluster.begins(Fault::Heal(index));
    let healed = make_usual(cluster, index, &mut host);
    cluster.is_over(begun);
    healed
}

fn make_usual(cluster: &Cluster, index: NodeIndex, host: &mut Host) -> Result<()> {
    let _ = fs::remove_file(check_file(cluster.node(index)));
    let running = host.daemon.as_mut().is_some_and(Daemon::is_running);
    let usual = cluster.usual(index);
    if !running {
        if host.daemon.is_some() && cluster.is_vipd(index) {
            cluster.trouble(format!("the daemon of {} had ended by itself", name(index)));
        }
        host.variant = usual;
        cluster.start(index, host)?;
    }
    if !cluster.is_vipd(index) {
        return Ok(());
    }
    if host.variant != usual {
        reload(cluster, index, host, usual)?;
    }
    // Also ends every handover.
    cluster.told(index, &["undrain"]).map(drop)
}

fn on_host(cluster: &Cluster, index: NodeIndex, host: &mut Host, fault: Fault, lasts: Time) -> Result<()> {
    let node = cluster.node(index);
    let daemon = host.daemon.as_mut().context("no daemon was started")?;
    match fault {
        Fault::Kill(_) => {
            daemon.kill9()?;
            cluster.sleep(lasts);
            cluster.start(index, host)
        }
        Fault::Freeze(_) => {
            daemon.sigstop()?;
            cluster.sleep(lasts);
            daemon.sigcont()
        }
        Fault::Stop(_) => {
            if cluster.is_vipd(index) {
                cluster.told(index, &["stop"])?;
            } else {
                daemon.sigterm()?;
            }
            let status = daemon.wait(SOON)?;
            if !status.success() {
                cluster.trouble(format!("the daemon of {} stopped with {status}", name(index)));
            }
            cluster.sleep(lasts);
            cluster.start(index, host)
        }
        Fault::Restart(_) => restart(cluster, index, host, lasts),
        Fault::Link(_) => {
            node.exec(&["ip", "link", "set", "eth0", "down"])?;
            cluster.sleep(lasts);
            node.exec(&["ip", "link", "set", "eth0", "up"])?;
            give_addresses(cluster, index, "eth0");
            Ok(())
        }
        Fault::ReloadSame(_) => reload(cluster, index, host, host.variant),
        Fault::ReloadPriority(_, priority) => changed(cluster, index, host, lasts, |v| v.priority = priority),
        Fault::ReloadVips(_) => changed(cluster, index, host, lasts, |v| v.more_vips = true),
        Fault::ReloadBad(_) => {
            let good = cluster.conf(index, host.variant);
            node.write_vipd_conf(&good.replacen("priority ", "priority 1000", 1))?;
            let refused = cluster.ask(index, &["reload"])?;
            node.write_vipd_conf(&good)?;
            if refused.status.code() != Some(6) {
                cluster.trouble(format!(
                    "a bad file: reload on {} ended with {}",
                    name(index),
                    refused.status
                ));
            }
            Ok(())
        }
        Fault::Handover(_) => {
            // Refused where the node is no master, or nobody takes over.
            for family in &cluster.setup.families {
                cluster.ask(index, &["handover", family.instance()])?;
            }
            cluster.sleep(lasts);
            for family in &cluster.setup.families {
                cluster.told(index, &["handover", family.instance(), "--to", "preferred"])?;
            }
            Ok(())
        }
        Fault::Drain(_) => {
            cluster.ask(index, &["drain"])?;
            cluster.sleep(lasts);
            cluster.told(index, &["undrain"]).map(drop)
        }
        Fault::Check(_) => {
            fs::write(check_file(node), "")?;
            cluster.sleep(lasts);
            fs::remove_file(check_file(node))?;
            // Until the next run has told.
            cluster.sleep(1500 * MILLI);
            Ok(())
        }
        Fault::Address(_) => {
            for address in addresses(cluster, index) {
                node.exec(&["ip", "addr", "del", &address, "dev", "eth0"])?;
            }
            cluster.sleep(lasts);
            give_addresses(cluster, index, "eth0");
            Ok(())
        }
        Fault::MoreAddresses(_) => {
            let more = [format!("10.0.0.{}/24", index + 20), format!("2001:db8::{}/64", index + 20)];
            for address in &more {
                node.exec(&["ip", "addr", "add", address, "dev", "eth0"])?;
            }
            cluster.sleep(lasts);
            more.iter().try_for_each(|a| node.exec(&["ip", "addr", "del", a, "dev", "eth0"]).map(drop))
        }
        Fault::Rename(_) => {
            rename(cluster, index, "eth0", "wan0")?;
            cluster.sleep(lasts);
            rename(cluster, index, "wan0", "eth0")
        }
        Fault::Mac(_) => {
            node.exec(&["ip", "link", "set", "eth0", "address", &format!("02:77:00:00:00:0{index}")])?;
            cluster.sleep(lasts);
            node.exec(&["ip", "link", "set", "eth0", "address", &node.mac().to_string()]).map(drop)
        }
        Fault::Connections(_, count) => {
            let socket = node.runtime_dir().join("vipd.sock");
            let idle: Vec<_> = (0..count).map_while(|_| UnixStream::connect(&socket).ok()).collect();
            cluster.sleep(lasts);
            drop(idle);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn elsewhere(cluster: &Cluster, number: usize, fault: Fault, lasts: Time) -> Result<()> {
    let port = |node: NodeIndex| format!("\"port-{}\"", name(node));
    let seen_by_all = "\"port-oracle\"";
    match fault {
        Fault::Port(node) => {
            let port = format!("port-{}", name(node));
            cluster.at_switch(&["ip", "link", "set", "dev", &port, "down"])?;
            cluster.sleep(lasts);
            cluster.at_switch(&["ip", "link", "set", "dev", &port, "up"]).map(drop)
        }
        Fault::CutOutput(node) => {
            cut(cluster, number, lasts, &format!("iifname {} oifname != {seen_by_all} drop", port(node)))
        }
        Fault::CutInput(node) => {
            cut(cluster, number, lasts, &format!("oifname {} iifname != {seen_by_all} drop", port(node)))
        }
        Fault::CutPair { from, to } => {
            cut(cluster, number, lasts, &format!("iifname {} oifname {} drop", port(from), port(to)))
        }
        Fault::CutAdverts { from, to } => {
            let pair = format!("iifname {} oifname {}", port(from), port(to));
            cut(cluster, number, lasts, &format!("{pair} ip protocol 112 drop; {pair} ip6 nexthdr 112 drop"))
        }
        Fault::Partition(node) => {
            let others: Vec<_> = (0..NODES).filter(|&other| other != node).map(port).collect();
            let others = others.join(", ");
            let rules = format!(
                "iifname {0} oifname {{ {others} }} drop; oifname {0} iifname {{ {others} }} drop",
                port(node)
            );
            cut(cluster, number, lasts, &rules)
        }
        Fault::ForgetNeighbours(node) => {
            cluster.node(node).exec(&["ip", "neighbour", "flush", "all"]).map(drop)
        }
        Fault::Hog(threads) => {
            hog(threads, lasts, || ());
            Ok(())
        }
        Fault::RealTimeHog(cpu) => {
            hog(1, lasts, move || before_all_on(cpu));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Drops frames in the switch by rules of their own, so that cuts do not end each other.
fn cut(cluster: &Cluster, number: usize, lasts: Time, rules: &str) -> Result<()> {
    let table = format!("bridge chaos{number}");
    let rules: String = rules.split("; ").map(|rule| format!("add rule {table} cut {rule}; ")).collect();
    let hook = "{ type filter hook forward priority 1; }";
    cluster.at_switch(&["nft", &format!("add table {table}; add chain {table} cut {hook}; {rules}")])?;
    cluster.sleep(lasts);
    cluster.at_switch(&["nft", &format!("delete table {table}")]).map(drop)
}

/// One that comes early is put to a daemon that has just been launched.
fn restart(cluster: &Cluster, index: NodeIndex, host: &mut Host, lasts: Time) -> Result<()> {
    let mut leave = |cluster: &Cluster| -> Result<()> {
        cluster.told(index, &["stop", "--for-restart"])?;
        host.daemon.as_mut().context("it was started")?.wait(SOON)?;
        cluster.launch(index, host)
    };
    leave(cluster)?;
    if lasts < EARLY {
        cluster.sleep(lasts);
        leave(cluster)?;
    }
    // Not `start`, which would launch once more.
    vipd_tests::wait_for("vipd to answer after a restart", SOON, || cluster.states(index).is_ok()).map(drop)
}

fn changed(
    cluster: &Cluster,
    index: NodeIndex,
    host: &mut Host,
    lasts: Time,
    change: impl FnOnce(&mut Variant),
) -> Result<()> {
    let before = host.variant;
    let mut variant = before;
    change(&mut variant);
    reload(cluster, index, host, variant)?;
    cluster.sleep(lasts);
    reload(cluster, index, host, before)
}

fn reload(cluster: &Cluster, index: NodeIndex, host: &mut Host, variant: Variant) -> Result<()> {
    cluster.node(index).write_vipd_conf(&cluster.conf(index, variant))?;
    host.variant = variant;
    cluster.told(index, &["reload"]).map(drop)
}

fn rename(cluster: &Cluster, index: NodeIndex, from: &str, to: &str) -> Result<()> {
    let node = cluster.node(index);
    node.exec(&["ip", "link", "set", from, "down"])?;
    node.exec(&["ip", "link", "set", from, "name", to])?;
    node.exec(&["ip", "link", "set", to, "up"])?;
    give_addresses(cluster, index, to);
    Ok(())
}

/// Those that the lab gave `eth0`.
fn addresses(cluster: &Cluster, index: NodeIndex) -> Vec<String> {
    let host = index + 5;
    let v4 = vec![format!("10.0.0.{host}/24")];
    let v6 = vec![format!("fe80::{host}/64"), format!("2001:db8::{host}/64")];
    let families = cluster.setup.families.iter();
    families.flat_map(|family| if *family == Family::V4 { v4.clone() } else { v6.clone() }).collect()
}

/// Gives an interface its addresses; those that it has, stay. An IPv6 address does not outlast its interface going down.
fn give_addresses(cluster: &Cluster, index: NodeIndex, ifname: &str) {
    let host = index + 5;
    let node = cluster.node(index);
    for address in [format!("10.0.0.{host}/24"), format!("fe80::{host}/64"), format!("2001:db8::{host}/64")] {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        let _ = node.exec(&[&["ip", "addr", "add", &address, "dev", ifname], nodad].concat());
    }
}

/// Keeps processors busy. Each thread ends by its own clock: whoever were to end it might not get a processor. One hog at a
/// time, of all clusters: another one is left out.
fn hog(threads: u8, lasts: Time, before: impl Fn() + Sync) {
    let Ok(_alone) = HOGS.try_lock() else { return };
    let until = Instant::now() + Duration::from_nanos(lasts);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                before();
                while Instant::now() < until {
                    hint::spin_loop();
                }
            });
        }
    });
}

fn before_all_on(cpu: u8) {
    let mut cpus = CpuSet::new();
    if cpus.set(cpu.into()).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)).is_ok() {
        crate::watch::stalls::real_time(HOG_PRIORITY);
    }
}

static HOGS: Mutex<()> = Mutex::new(());

/// Above vipd's engine.
const HOG_PRIORITY: i32 = 60;
/// A restart that lasts less is followed by another one after that time.
const EARLY: Time = 600 * MILLI;
