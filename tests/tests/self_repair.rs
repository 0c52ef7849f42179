//! Somebody else changes the host too: what vipd made there it keeps. Each test does one thing to a master and looks at what vipd said
//! and did, what a client saw, and who answers for the VIPs afterwards: the master alone, or another node that can.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::{
    echo::{Answers, Echo},
    *,
};
use vipd_tests::{
    Daemon, Node,
    probe::{ArpProber, Sniffer},
    wait_for,
};

const VIP6: &str = "2001:db8::3";
/// Also over IPv6, in the same instance.
const EXCLUDED6: &str = "virtual_ipaddress_excluded {\n        2001:db8::3\n    }";
/// Some looks of vipd: it looks every two seconds without a word.
const LOOKS: Duration = Duration::from_secs(5);

/// Two nodes, each with a service at the VIPs, and a client that asks all the time: lb01 is the master.
struct Case {
    pair: Pair,
    v4: Answers,
    v6: Answers,
    wire: Sniffer,
    prober: ArpProber,
    // Ends its threads.
    _echo: Echo,
}

impl Case {
    fn new(extra: &str) -> Result<Option<Self>> {
        let Some(bed) = Bed::dual()? else { return Ok(None) };
        Self::on(bed, &node_conf(HIGH, extra), &node_conf(LOW, extra))
    }

    fn on(bed: Bed, lb01: &str, lb02: &str) -> Result<Option<Self>> {
        Self::of(pair_in(bed, lb01, lb02)?).map(Some)
    }

    fn of(pair: Pair) -> Result<Self> {
        let (mut echo, vip6) = (Echo::default(), VIP6.parse()?);
        let has_v6 = fs::read_to_string(pair.bed.lb01().vipd_conf())?.contains(VIP6);
        for node in [pair.bed.lb01(), pair.bed.lb02()] {
            echo.serve(node, VIP.into())?;
            if has_v6 {
                echo.serve(node, vip6)?;
            }
        }
        let client = pair.bed.client();
        let case = Self {
            v4: echo.ask(client, VIP.into(), None)?,
            v6: echo.ask(client, vip6, None)?,
            wire: pair.bed.listener()?,
            prober: pair.bed.prober()?,
            _echo: echo,
            pair,
        };
        case.v4.wait("lb01")?;
        Ok(case)
    }

    fn bed(&self) -> &Bed {
        &self.pair.bed
    }

    fn lb01(&self) -> &Node {
        self.bed().lb01()
    }

    /// Adverts of lb01 with priority 0 that the client has seen.
    fn wire_goodbyes(&self) -> usize {
        adverts(&self.wire).iter().filter(|advert| advert.from == LB01 && advert.priority == 0).count()
    }

    /// Does something to the master; vipd puts it back, says so and counts it, and the master serves on, alone.
    fn is_mended(&self, kind: &str, what: &str, harm: impl FnOnce(&Node) -> Result<()>) -> Result<Instant> {
        let since = Instant::now();
        harm(self.lb01())?;
        self.is_repaired(kind, what)?;
        self.is_served_by_master(since)?;
        Ok(since)
    }

    fn is_repaired(&self, kind: &str, what: &str) -> Result<()> {
        let wanted = |fields: &serde_json::Value| {
            fields["kind"] == kind && fields["what"].as_str().is_some_and(|text| text.contains(what))
        };
        let event = self.bed().wait_event("lb01", "host_repaired", wanted)?;
        println!("vipd said: {event}");
        let status = self.lb01().status(&self.bed().vipd)?;
        ensure!(status["host_repairs"][kind].as_u64().is_some_and(|count| count > 0), "{status}");
        let latest = status["latest_repairs"].as_array().context("no latest repairs")?;
        ensure!(latest.iter().any(|repair| repair["kind"] == kind), "{status}");
        Ok(())
    }

    /// The master is reached, lb02 has never answered, and each is what it was.
    fn is_served_by_master(&self, since: Instant) -> Result<()> {
        self.v4.wait("lb01")?;
        println!("no answer for at most {:?} (IPv4) since the harm", self.v4.longest_gap(since));
        self.bed().wait("lb01", "MASTER")?;
        self.bed().wait("lb02", "BACKUP")?;
        self.v4.are_of("lb01", since)?;
        ensure!(self.prober.owners_seen_twice() == 1, "two nodes answered");
        check_single_owner(&self.prober.timeline(), &self.wire)
    }
}

fn run(node: &Node, command: &str) -> Result<()> {
    node.exec(&command.split(' ').collect::<Vec<_>>()).map(drop)
}

fn shows(node: &Node, command: &str, words: &str) -> bool {
    node.exec(&command.split(' ').collect::<Vec<_>>()).is_ok_and(|text| text.contains(words))
}

// Rules. `lookup local` is the kernel's own; without it this host hears nothing.

#[test]
fn a_host_without_lookup_local_gets_it_back() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    case.v6.wait("lb01")?;
    case.is_mended("rule", "IPv4 rule 0: lookup local", |lb01| run(lb01, "ip rule del pref 0"))?;
    case.is_mended("rule", "IPv6 rule 0: lookup local", |lb01| run(lb01, "ip -6 rule del pref 0"))?;
    case.v6.wait("lb01")
}

/// `ip rule flush` leaves `lookup local` alone: the host hears, and has no way to answer.
#[test]
fn a_host_whose_rules_are_flushed_gets_the_kernels_back() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    let before = case.lb01().exec(&["ip", "rule"])?;
    case.is_mended("rule", "IPv4 rule 32766: lookup main", |lb01| run(lb01, "ip rule flush"))?;
    case.is_mended("rule", "IPv6 rule 32766: lookup main", |lb01| run(lb01, "ip -6 rule flush"))?;
    let after = case.lb01().exec(&["ip", "rule"])?;
    ensure!(before == after, "{before}\n{after}");
    case.v6.wait("lb01")
}

/// Others have their reasons to move it, and to have other rules than the kernel's.
#[test]
fn rules_that_others_have_moved_are_left_alone() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let since = Instant::now();
    for command in [
        "ip rule add pref 100 lookup local",
        "ip rule del pref 0",
        "ip rule add pref 200 lookup main",
        "ip rule del pref 32766",
        "ip rule del pref 32767",
    ] {
        run(case.lb01(), command)?;
    }
    let before = case.lb01().exec(&["ip", "rule"])?;
    sleep(LOOKS);
    ensure!(case.lb01().exec(&["ip", "rule"])? == before);
    ensure!(case.bed().events_named("lb01", "host_repaired")?.is_empty());
    case.is_served_by_master(since)
}

/// With rules of somebody's own beside `lookup local`, none of which leads anywhere.
#[test]
fn rules_that_lead_nowhere_do_not_keep_lookup_main_away() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let lb01 = case.lb01();
    case.is_mended("rule", "IPv4 rule 32766: lookup main", |lb01| {
        run(lb01, "ip rule add pref 100 from 192.0.2.1 lookup 100")?;
        run(lb01, "ip rule del pref 32766")?;
        run(lb01, "ip rule del pref 32767")
    })?;
    ensure!(shows(lb01, "ip rule", "from 192.0.2.1 lookup 100"), "it is somebody else's");
    Ok(())
}

// The way to the clients.

/// All of vipd's own is in place, and nobody is answered.
#[test]
fn a_host_that_cannot_answer_its_subnet_is_a_fault() -> Result<()> {
    let again = "ip route replace 10.0.0.0/16 dev eth0 proto kernel scope link src 10.0.0.5";
    let rows: [(&str, &str, &str); 5] = [
        ("ip route flush table main", again, "cannot answer clients in 10.0.0.0/16"),
        ("ip route replace blackhole 10.0.0.0/16", again, "cannot answer clients in 10.0.0.0/16"),
        (
            "ip rule add pref 50 from 10.0.0.3 prohibit",
            "ip rule del pref 50",
            "ip -4 route get 10.0.0.4 from 10.0.0.3",
        ),
        (
            "ip -6 route del 2001:db8::/64 dev eth0",
            "ip -6 route add 2001:db8::/64 dev eth0 proto kernel metric 256",
            "cannot answer clients in 2001:db8::/64",
        ),
        ("ip link set eth0 arp off", "ip link set eth0 arp on", "ip link set dev eth0 arp on"),
    ];
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    let (bed, lb01) = (case.bed(), case.lb01());
    for (harm, remedy, words) in rows {
        run(lb01, harm)?;
        bed.wait("lb01", "FAULT").context(harm)?;
        bed.wait("lb02", "MASTER")?;
        case.v4.wait("lb02")?;
        case.v6.wait("lb02")?;
        let reason = bed.status("lb01")?["reason"].to_string();
        println!("{harm}: vipd said: {reason}");
        ensure!(reason.contains(words), "{harm}: {reason}");
        let conf = lb01.vipd_conf().display().to_string();
        let doctor = bed.ask("lb01", &["doctor", "-f", &conf]).output()?;
        let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
        ensure!(!doctor.status.success() && text.contains(words), "{harm}: {text}");
        run(lb01, remedy)?;
        bed.wait("lb01", "MASTER").context(remedy)?;
        bed.wait("lb02", "BACKUP")?;
        case.v4.wait("lb01")?;
        case.v6.wait("lb01")?;
    }
    check_single_owner(&case.prober.timeline(), &case.wire)
}

/// vipd asks for the way to some addresses; doctor looks at all routes.
#[test]
fn a_blackhole_over_a_part_of_the_subnet_is_found_by_doctor() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let (bed, lb01) = (case.bed(), case.lb01());
    run(lb01, "ip route add blackhole 10.0.0.64/26")?;
    let conf = lb01.vipd_conf().display().to_string();
    let doctor = bed.ask("lb01", &["doctor", "-f", &conf]).output()?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(text.contains("the route to 10.0.0.64/26 leads nowhere"), "{text}");
    Ok(())
}

/// A gateway on the same wire reaches them too: it is named, and no fault. Another route for the subnet is its operator's business.
#[test]
fn a_detour_to_the_clients_is_named_and_no_fault() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let (bed, lb01, since) = (case.bed(), case.lb01(), Instant::now());
    // The client forwards nothing; what it is asked itself comes over the gateway, which it is.
    run(lb01, "ip route add default via 10.0.0.100 dev eth0")?;
    run(lb01, "ip route del 10.0.0.0/16 dev eth0")?;
    let event = bed.wait_event("lb01", "host_warning", |fields| fields["kind"] == "routes")?;
    println!("vipd said: {event}");
    run(lb01, "ip route add 10.0.0.0/16 dev eth0 metric 100")?;
    bed.wait_event("lb01", "host_warning_over", |fields| fields["kind"] == "routes")?;
    bed.wait("lb01", "MASTER")?;
    ensure!(bed.events_named("lb01", "host_refused")?.is_empty());
    case.is_served_by_master(since)
}

// Routes.

#[test]
fn a_local_route_that_is_deleted_is_put_back() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    case.v6.wait("lb01")?;
    case.is_mended("route", "route local 10.0.0.3/32", |lb01| {
        run(lb01, "ip route del local 10.0.0.3 dev eth0 table local")
    })?;
    let since = Instant::now();
    run(case.lb01(), "ip -6 route del local 2001:db8::3 dev eth0 table local")?;
    case.v6.wait("lb01")?;
    println!("no answer for at most {:?} (IPv6)", case.v6.longest_gap(since));
    wait_for("the route", SOON, || shows(case.lb01(), "ip -6 route show table local", VIP6))?;
    // A host that others change is what doctor tells of.
    let conf = case.lb01().vipd_conf().display().to_string();
    let doctor = case.bed().ask("lb01", &["doctor", "-f", &conf]).output()?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(doctor.contains("vipd has put back something"), "{doctor}");
    case.is_served_by_master(since)
}

#[test]
fn local_routes_that_are_flushed_are_put_back() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    case.is_mended("route", "route local", |lb01| {
        run(lb01, "ip route flush table local proto 118")?;
        run(lb01, "ip -6 route flush table local proto 118")
    })?;
    case.v6.wait("lb01")
}

/// The kernel tells of a route that is put in the place of another one as of any new route: the timer finds it.
#[test]
fn a_local_route_that_is_replaced_is_put_back() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    case.is_mended("route", "route local 10.0.0.3/32", |lb01| {
        run(lb01, "ip route replace unreachable 10.0.0.3/32 table local metric 118")
    })
    .map(drop)
}

#[test]
fn virtual_routes_and_rules_that_are_removed_are_put_back() -> Result<()> {
    let extra = "virtual_routes {\n        198.51.100.0/24 via 10.0.0.100\n    }\n    virtual_rules {\n        from 10.0.0.3 lookup 100\n    }";
    let Some(case) = Case::new(extra)? else { return Ok(()) };
    let lb01 = case.lb01();
    wait_for("the virtual route", SOON, || shows(lb01, "ip route", "198.51.100.0/24"))?;
    // Somebody's own in its place, which bears another protocol.
    case.is_mended("route", "route 198.51.100.0/24", |lb01| {
        run(lb01, "ip route replace 198.51.100.0/24 via 10.0.0.6 proto static")
    })?;
    ensure!(shows(lb01, "ip route", "198.51.100.0/24 via 10.0.0.100"), "{}", lb01.exec(&["ip", "route"])?);
    // The table is empty: the rule leads nowhere.
    case.is_mended("route", "route 198.51.100.0/24", |lb01| run(lb01, "ip route del 198.51.100.0/24"))?;
    case.is_mended("rule", "rule -4 from 10.0.0.3/32", |lb01| {
        run(lb01, "ip rule del from 10.0.0.3 lookup 100")
    })?;
    ensure!(shows(lb01, "ip route", "198.51.100.0/24") && shows(lb01, "ip rule", "from 10.0.0.3 lookup 100"));
    Ok(())
}

/// Neither is what the election no longer wants: nothing of a former master's is put back.
#[test]
fn what_a_former_master_had_is_not_put_back() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    let local = |node: &Node| shows(node, "ip route show table local", "10.0.0.3");
    case.bed().told("lb01", &["handover", INSTANCE])?;
    case.bed().wait("lb02", "MASTER")?;
    wait_for("the route to go", SOON, || !local(case.lb01()))?;
    sleep(LOOKS);
    ensure!(!local(case.lb01()) && local(case.bed().lb02()), "after some looks");
    ensure!(
        case.bed().events_named("lb01", "host_repaired")?.is_empty(),
        "{:?}",
        case.bed().events("lb01", &[])?
    );
    // Nor what a reload has removed, while somebody removes the rest.
    let without = node_conf(LOW, "");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = run(case.bed().lb02(), "ip route del local 10.0.0.3 dev eth0 table local");
                sleep(Duration::from_millis(300));
            }
        });
        let reloaded = case.bed().reloaded("lb02", &without);
        sleep(LOOKS);
        stop.store(true, Ordering::Relaxed);
        reloaded.map(drop)
    })?;
    ensure!(!shows(case.bed().lb02(), "ip -6 route show table local", VIP6), "it is not configured any more");
    wait_for("the route of the VIP that is", SOON, || local(case.bed().lb02())).map(drop)
}

// Addresses and links.

/// With an address of somebody else's at the start, and without it later: its going takes nothing away.
#[test]
fn an_address_of_somebody_elses_may_go() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    for command in [
        "ip address add 10.0.0.3/32 dev lo",
        "ip address add 10.0.0.3/16 dev eth0",
        "ip -6 address add 2001:db8::3/128 dev lo",
        "ip -6 address add 2001:db8::3/64 dev eth0 nodad",
    ] {
        run(bed.lb01(), command)?;
    }
    let Some(case) = Case::on(bed, &node_conf(HIGH, EXCLUDED6), &node_conf(LOW, EXCLUDED6))? else {
        return Ok(());
    };
    let since = Instant::now();
    for command in [
        "ip address del 10.0.0.3/32 dev lo",
        "ip address del 10.0.0.3/16 dev eth0",
        "ip -6 address del 2001:db8::3/128 dev lo",
        "ip -6 address del 2001:db8::3/64 dev eth0",
    ] {
        run(case.lb01(), command)?;
        sleep(Duration::from_millis(500));
        case.v4.wait("lb01")?;
        case.v6.wait("lb01")?;
    }
    println!("no answer for at most {:?} (IPv6)", case.v6.longest_gap(since));
    case.is_served_by_master(since)
}

/// What NetworkManager does to `lo` when it manages it.
#[test]
fn loopback_may_go_and_come() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    case.v6.wait("lb01")?;
    let since = Instant::now();
    for command in ["ip -6 addr flush dev lo", "ip link set lo down", "ip link set lo up"] {
        run(case.lb01(), command)?;
        sleep(Duration::from_millis(500));
    }
    case.v6.wait("lb01")?;
    println!("no answer for at most {:?} (IPv6)", case.v6.longest_gap(since));
    case.is_served_by_master(since)
}

#[test]
fn the_vips_interface_may_go_down_and_up() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    run(case.lb01(), "ip link set eth0 down")?;
    case.bed().wait("lb01", "FAULT")?;
    case.v4.wait("lb02")?;
    // What is of the whole host stays, for services to bind to the VIPs.
    let doctor =
        case.bed().ask("lb01", &["doctor", "-f", &case.lb01().vipd_conf().display().to_string()]).output()?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(!doctor.contains("another program reset") && !doctor.contains("somebody has set"), "{doctor}");
    run(case.lb01(), "ip link set eth0 up")?;
    // As the network's configuration does: the kernel keeps the IPv4 address alone, and solicits nobody without a link-local one.
    for address in ["fe80::5/64", "2001:db8::5/64"] {
        run(case.lb01(), &format!("ip -6 address add {address} dev eth0 nodad"))?;
    }
    case.bed().wait("lb01", "MASTER")?;
    case.bed().wait("lb02", "BACKUP")?;
    case.v4.wait("lb01")?;
    case.v6.wait("lb01")?;
    let since = Instant::now();
    sleep(INTERVAL * 4);
    case.v4.are_of("lb01", since)?;
    check_single_owner(&case.prober.timeline(), &case.wire)
}

/// A VLAN or macvlan interface that a network's configuration makes anew.
#[test]
fn an_interface_may_be_deleted_and_made_anew() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let up = |node: &Node| -> Result<()> {
        for command in [
            "ip link add mv0 link eth0 address 02:00:00:00:77:01 type macvlan mode bridge",
            "ip address add 10.0.0.35/16 dev mv0",
            "ip link set mv0 up",
        ] {
            run(node, command)?;
        }
        Ok(())
    };
    up(bed.lb01())?;
    let conf = format!("global_defs {{\n xdp_mode auto\n dynamic_interfaces\n}}\n{}", node_conf(HIGH, ""));
    let Some(case) = Case::on(bed, &conf.replace("interface eth0", "interface mv0"), &node_conf(LOW, ""))?
    else {
        return Ok(());
    };
    for _ in 0..2 {
        run(case.lb01(), "ip link del mv0")?;
        case.bed().wait("lb01", "FAULT")?;
        case.v4.wait("lb02")?;
        sleep(LOOKS / 2);
        ensure!(shows(case.lb01(), "sysctl net.ipv4.ip_nonlocal_bind", "= 1"), "no service binds meanwhile");
        ensure!(shows(case.lb01(), "sysctl net.ipv4.conf.all.arp_ignore", "= 1"));
        up(case.lb01())?;
        case.bed().wait("lb01", "MASTER")?;
        case.v4.wait("lb01")?;
        case.bed().wait("lb02", "BACKUP")?;
    }
    let since = Instant::now();
    sleep(INTERVAL * 4);
    case.v4.are_of("lb01", since)
}

/// The peer does not wait for its timer: a goodbye leaves while it can.
#[test]
fn a_master_whose_interface_or_address_is_taken_says_goodbye() -> Result<()> {
    let rows = [
        ("ip address del 10.0.0.5/16 dev eth0", "ip address add 10.0.0.5/16 dev eth0"),
        ("ip link set eth0 arp off", "ip link set eth0 arp on"),
        ("ip link set eth0 name eth7", "ip link set eth7 name eth0"),
    ];
    let Some(case) = Case::new("")? else { return Ok(()) };
    let (bed, lb01) = (case.bed(), case.lb01());
    for (harm, remedy) in rows {
        let before = case.wire_goodbyes();
        if let Err(error) = run(lb01, harm) {
            vipd_tests::skip(format_args!("{harm} is refused while the interface is up: {error:#}"));
            continue;
        }
        bed.wait("lb02", "MASTER").context(harm)?;
        bed.wait("lb01", "FAULT")?;
        case.v4.wait("lb02")?;
        let reason = bed.status("lb02")?["reason"].to_string();
        ensure!(reason.contains("master left"), "{harm}: {reason}");
        ensure!(case.wire_goodbyes() > before, "{harm}: no goodbye on the wire");
        ensure!(bed.events_named("lb01", "advert_not_sent")?.is_empty(), "{harm}");
        run(lb01, remedy)?;
        bed.wait("lb01", "MASTER").context(remedy)?;
        bed.wait("lb02", "BACKUP")?;
        case.v4.wait("lb01")?;
    }
    check_single_owner(&case.prober.timeline(), &case.wire)
}

/// Somebody renames it all the time: each is told of now and then.
#[test]
fn an_interface_that_is_renamed_again_and_again_floods_no_log() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let lb01 = case.lb01();
    let (lines, since) = (|| case.pair.lb01.log().lines().count(), Instant::now());
    let before = lines();
    let mut renames = 0;
    while since.elapsed() < LOOKS {
        // An interface that is up is renamed too (Linux 6.2); where not, it is put down for it.
        for (from, to) in [("eth0", "eth7"), ("eth7", "eth0")] {
            if run(lb01, &format!("ip link set {from} name {to}")).is_err() {
                run(lb01, &format!("ip link set {from} down"))?;
                run(lb01, &format!("ip link set {from} name {to}"))?;
                run(lb01, &format!("ip link set {to} up"))?;
            }
            renames += 1;
        }
    }
    sleep(LOOKS);
    let told = lines() - before;
    println!("{told} lines about {renames} renames:\n{}", case.pair.lb01.log());
    ensure!(told < 80, "{told} lines about {renames} renames");
    case.bed().wait("lb01", "MASTER")?;
    case.bed().wait("lb02", "BACKUP")?;
    case.v4.wait("lb01")
}

/// In the place of the runtime directory is something that is none.
#[test]
fn a_runtime_directory_that_cannot_be_made_again_is_told_of() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let (lb01, bed, since) = (case.lb01(), case.bed(), Instant::now());
    let dir = lb01.runtime_dir();
    let aside = dir.with_extension("aside");
    fs::rename(&dir, &aside)?;
    fs::write(&dir, "no directory")?;
    let lines = || case.pair.lb01.log().lines().count();
    sleep(LOOKS);
    let before = lines();
    sleep(LOOKS);
    let told = lines() - before;
    println!("{told} lines in {LOOKS:?}:\n{}", case.pair.lb01.log());
    ensure!(told < 5, "{told} lines in {LOOKS:?}");
    let conf = lb01.vipd_conf().display().to_string();
    let doctor = bed.ask("lb01", &["doctor", "-f", &conf]).output()?;
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    println!("{text}");
    ensure!(!doctor.status.success() && text.contains(&dir.display().to_string()), "{text}");
    fs::remove_file(&dir)?;
    lb01.wait_ready(&bed.vipd, SOON)?;
    wait_for("the end of the warning", SOON, || {
        lb01.status(&bed.vipd)
            .is_ok_and(|status| status["host_warnings"].as_array().is_some_and(Vec::is_empty))
    })?;
    fs::remove_dir_all(&aside)?;
    case.is_served_by_master(since)
}

#[test]
fn a_visible_address_that_is_removed_is_put_back() -> Result<()> {
    let Some(case) = Case::new("vip_visible")? else { return Ok(()) };
    let lb01 = case.lb01();
    let shown = || shows(lb01, "ip address show dev eth0", "10.0.0.3/32");
    wait_for("the address", SOON, shown)?;
    case.is_mended("address", "address 10.0.0.3 for show", |lb01| {
        run(lb01, "ip address del 10.0.0.3/32 dev eth0")
    })?;
    ensure!(shown(), "it is not back");
    Ok(())
}

// Settings and filters, of whose changes the kernel tells nobody.

#[test]
fn settings_that_are_set_back_are_set_again() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    let settings = [
        ("net.ipv4.conf.all.arp_ignore", "1"),
        ("net.ipv4.conf.all.arp_announce", "2"),
        ("net.ipv4.ip_nonlocal_bind", "1"),
        ("net.ipv6.ip_nonlocal_bind", "1"),
    ];
    let is = |node: &Node, values: fn(&'static str) -> &'static str| {
        settings.iter().all(|(name, value)| {
            node.exec(&["sysctl", "-n", name]).is_ok_and(|now| now.trim() == values(value))
        })
    };
    ensure!(is(case.lb01(), |value| value));
    case.is_mended("sysctl", "net.ipv4.conf.all.arp_ignore", |lb01| {
        settings.iter().try_for_each(|(name, _)| run(lb01, &format!("sysctl -q -w {name}=0")))
    })?;
    ensure!(is(case.lb01(), |value| value));
    // And what they were before is what a stop leaves.
    case.lb01().stop_vipd(&case.bed().vipd)?;
    ensure!(is(case.lb01(), |_| "0"), "the settings are not as they were");
    Ok(())
}

#[test]
fn entries_of_the_nics_filter_that_are_removed_are_put_back() -> Result<()> {
    let Some(case) = Case::new("use_vmac")? else { return Ok(()) };
    case.is_mended("filter", "MAC 00:00:5e:00:01:33", |lb01| {
        run(lb01, "bridge fdb del 00:00:5e:00:01:33 dev eth0 self")
    })?;
    ensure!(shows(case.lb01(), "bridge fdb show dev eth0", "00:00:5e:00:01:33"));
    run(case.lb01(), "ip maddress del 01:00:5e:00:00:12 dev eth0")?;
    wait_for("the group's entry", SOON, || {
        shows(case.lb01(), "ip maddress show dev eth0", "link  01:00:5e:00:00:12 static")
            || shows(case.lb01(), "ip maddress show dev eth0", "01:00:5e:00:00:12 users 2 static")
    })?;
    let status = case.lb01().status(&case.bed().vipd)?;
    ensure!(status["host_repairs"]["filter"] == 2, "{status}");
    Ok(())
}

// The program, its pins, the runtime directory.

#[test]
fn a_clsact_qdisc_may_come_and_go() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let tc = "global_defs {\n xdp_mode tc\n}\n";
    let Some(case) = Case::on(bed, &format!("{tc}{}", node_conf(HIGH, "")), &node_conf(LOW, ""))? else {
        return Ok(());
    };
    let since = Instant::now();
    // Where vipd has a filter of its own (before Linux 6.6) the qdisc is there.
    let _ = run(case.lb01(), "tc qdisc add dev eth0 clsact");
    run(case.lb01(), "tc qdisc del dev eth0 clsact")?;
    sleep(LOOKS / 2);
    case.is_served_by_master(since)
}

#[test]
fn a_link_owned_program_is_not_taken_off_by_ip() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let since = Instant::now();
    let _ = run(case.lb01(), "ip link set dev eth0 xdp off");
    sleep(LOOKS / 2);
    case.is_served_by_master(since)
}

/// Without a pin the program stays where it is, for as long as vipd runs; pinned again it is there for the next vipd.
#[test]
fn pins_that_are_removed_are_made_again() -> Result<()> {
    let Some(mut case) = Case::new("")? else { return Ok(()) };
    let pins = pins(case.lb01());
    let before = names(&pins)?;
    let since = case.is_mended("pin", "pin /", |_| {
        for name in &before {
            fs::remove_file(pins.join(name))?;
        }
        Ok(fs::remove_dir(&pins)?)
    })?;
    ensure!(names(&pins)? == before, "{:?}, expected {before:?}", names(&pins)?);
    ensure!(case.bed().events_named("lb01", "program_detached")?.is_empty(), "it was never away");
    check_answered("without its pins", &case.prober.timeline(), since, Instant::now() - MESSAGE_DELAY)?;
    // A vipd that is killed now leaves what the next one finds: the lease too, if it is quick.
    case.pair.lb01.kill9()?;
    case.pair.lb01 = case.bed().restart("lb01")?;
    case.bed().wait("lb01", "MASTER")?;
    // The log is written by a thread of its own.
    let words = ["adopted the maps of an earlier vipd", "program replaced where it was attached"];
    let daemon = &case.pair.lb01;
    let is_told = || words.iter().all(|words| daemon.log().contains(words));
    wait_for("the log of the adoption", SOON, is_told).map(drop)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// In a mount namespace of its own, since the file system is the machine's.
#[test]
fn a_bpf_file_system_may_be_unmounted() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let bpffs = lb01.dir().join("bpf");
    fs::create_dir(&bpffs)?;
    let mount = format!("mount -t bpf -o mode=0700 bpf {}", bpffs.display());
    let run_vipd = lb01.vipd_run(&bed.vipd);
    let mut line = vec![bed.vipd.display().to_string()];
    line.extend(run_vipd.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    let line = line.join(" ").replace(&lb01.bpffs_dir().display().to_string(), &bpffs.display().to_string());
    let mut command = lb01.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &format!("{mount} && exec {line}")]);
    let vipd = Daemon::start("vipd on lb01", &mut command, &lb01.vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    let lb02 = bed.start("lb02", &node_conf(LOW, ""))?;
    bed.wait("lb02", "BACKUP")?;
    let pid = vipd.pid().to_string();
    let inside = |command: &str| -> Result<()> {
        let output = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-c", command]).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    let case = Case::of(Pair { lb01: vipd, lb02, bed })?;
    let since = Instant::now();
    inside(&format!("umount {}", bpffs.display()))?;
    let refused = case.bed().wait_event("lb01", "host_refused", |_| true)?;
    println!("vipd said: {refused}");
    ensure!(
        refused["fields"]["reason"].as_str().is_some_and(|reason| reason.contains("mount -t bpf")),
        "{refused}"
    );
    case.is_served_by_master(since)?;
    inside(&mount)?;
    case.is_repaired("pin", "pin /")?;
    case.bed().wait_event("lb01", "host_restored", |_| true)?;
    inside(&format!("test -e {}/vipd/v*/LEASES", bpffs.display()))?;
    case.is_served_by_master(since)
}

#[test]
fn a_runtime_directory_that_is_wiped_is_made_again() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let (lb01, since) = (case.lb01(), Instant::now());
    let dir = lb01.runtime_dir();
    let before = names(&dir)?;
    fs::remove_dir_all(&dir)?;
    lb01.wait_ready(&case.bed().vipd, SOON)?;
    case.is_repaired("file", "control socket")?;
    wait_for("all files", SOON, || names(&dir).is_ok_and(|now| now == before))?;
    case.is_served_by_master(since)?;
    // It is the one of this directory, and knows how the host was.
    let second = lb01.vipd_run(&case.bed().vipd).output()?;
    ensure!(!second.status.success(), "a second vipd runs");
    lb01.stop_vipd(&case.bed().vipd)?;
    ensure!(shows(lb01, "sysctl net.ipv4.conf.all.arp_ignore", "= 0"), "the settings are not as they were");
    Ok(())
}

/// Before the vipd that runs has looked at its files.
#[test]
fn a_vipd_whose_runtime_directory_was_just_wiped_is_replaced() -> Result<()> {
    let Some(mut case) = Case::new("")? else { return Ok(()) };
    let lb01 = case.lb01();
    fs::remove_dir_all(lb01.runtime_dir())?;
    let mut command = lb01.vipd_run(&case.bed().vipd);
    command.arg("--replace");
    let next = Daemon::start("vipd on lb01, the next", &mut command, &lb01.vipd_log())?;
    let status = case.pair.lb01.wait(SOON)?;
    ensure!(status.success(), "{status}: {}", case.pair.lb01.log());
    let since = Instant::now();
    case.pair.lb01 = next;
    case.lb01().wait_ready(&case.bed().vipd, SOON)?;
    case.is_served_by_master(since)
}

/// A vipd that has taken over keeps what the one before had made, and passes on the locks that it has made again.
#[test]
fn a_successor_looks_after_the_host_too() -> Result<()> {
    let Some(mut case) = Case::new("")? else { return Ok(()) };
    let dir = case.lb01().runtime_dir();
    let before = names(&dir)?;
    for round in 0..2 {
        let mut command = case.lb01().vipd_run(&case.bed().vipd);
        command.arg("--replace");
        let next = Daemon::start("vipd on lb01, the next", &mut command, &case.lb01().vipd_log())?;
        let status = case.pair.lb01.wait(SOON)?;
        ensure!(status.success(), "{status}: {}", case.pair.lb01.log());
        case.pair.lb01 = next;
        let (lb01, since) = (case.lb01(), Instant::now());
        lb01.wait_ready(&case.bed().vipd, SOON)?;

        let pins = pins(lb01);
        let pinned = names(&pins)?;
        for name in &pinned {
            fs::remove_file(pins.join(name))?;
        }
        fs::remove_dir_all(&dir)?;
        run(lb01, "ip route del local 10.0.0.3 dev eth0 table local metric 118")?;
        for kind in ["file", "pin", "route"] {
            let is_counted = || {
                let status = lb01.status(&case.bed().vipd);
                status.is_ok_and(|status| status["host_repairs"][kind].as_u64() > Some(0))
            };
            wait_for(kind, SOON, is_counted)?;
        }
        let has_all = || names(&dir).is_ok_and(|now| now == before);
        wait_for("all files", SOON, has_all)
            .with_context(|| format!("{:?}, expected {before:?}", names(&dir)))?;
        ensure!(names(&pins)? == pinned, "{:?}, expected {pinned:?}", names(&pins)?);
        let second = lb01.vipd_run(&case.bed().vipd).output()?;
        let refused = String::from_utf8_lossy(&second.stderr).into_owned();
        ensure!(refused.contains("already runs"), "round {round}: a second vipd was not refused: {refused}");
        case.is_served_by_master(since)?;
    }
    Ok(())
}

// What cannot be put back, who does not give up, and what costs nothing.

/// The kernel refuses the route: a master that nobody reaches would be worse than none.
#[test]
fn a_vip_that_cannot_be_served_is_a_fault() -> Result<()> {
    let Some(case) = Case::new(EXCLUDED6)? else { return Ok(()) };
    case.v6.wait("lb01")?;
    let lb01 = case.lb01();
    lb01.ns().sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")?;
    case.bed().wait("lb01", "FAULT")?;
    case.bed().wait("lb02", "MASTER")?;
    case.v6.wait("lb02")?;
    case.v4.wait("lb02")?;
    let reason = case.bed().status("lb01")?["reason"].to_string();
    println!("vipd said: {reason}");
    ensure!(
        reason.contains("this host cannot serve the VIPs") && reason.contains("disable_ipv6"),
        "{reason}"
    );
    case.bed().wait_event("lb01", "host_refused", |_| true)?;
    let conf = lb01.vipd_conf().display().to_string();
    let doctor = case.bed().ask("lb01", &["doctor", "-f", &conf]).output()?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    ensure!(doctor.contains("the host refuses"), "{doctor}");

    lb01.ns().sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")?;
    // As the network's configuration does: without a link-local address the kernel solicits nobody.
    for address in ["fe80::5/64", "2001:db8::5/64"] {
        run(lb01, &format!("ip -6 address add {address} dev eth0 nodad"))?;
    }
    case.bed().wait("lb01", "MASTER")?;
    case.v6.wait("lb01")?;
    case.bed().wait_event("lb01", "host_restored", |_| true)?;
    check_single_owner(&case.prober.timeline(), &case.wire)
}

/// Somebody else's route or rule comes before vipd's, which stands: the kernel takes no packet to the VIP.
#[test]
fn a_route_that_comes_before_is_a_fault() -> Result<()> {
    for (harm, remedy) in [
        ("ip route add blackhole 10.0.0.3 table local", "ip route del blackhole 10.0.0.3 table local"),
        ("ip rule add pref 0 to 10.0.0.3 unreachable", "ip rule del pref 0 to 10.0.0.3 unreachable"),
    ] {
        let Some(case) = Case::new("")? else { return Ok(()) };
        let lb01 = case.lb01();
        run(lb01, harm)?;
        if harm.contains("rule") {
            // The kernel's rule 0 comes first otherwise.
            run(lb01, "ip rule add pref 1 lookup local")?;
            run(lb01, "ip rule del pref 0 lookup local")?;
        }
        case.bed().wait("lb01", "FAULT")?;
        case.bed().wait("lb02", "MASTER")?;
        case.v4.wait("lb02")?;
        let reason = case.bed().status("lb01")?["reason"].to_string();
        println!("vipd said: {reason}");
        ensure!(reason.contains("comes before the route local 10.0.0.3/32"), "{harm}: {reason}");
        run(lb01, remedy)?;
        case.bed().wait("lb01", "MASTER")?;
        case.v4.wait("lb01")?;
        check_single_owner(&case.prober.timeline(), &case.wire)?;
    }
    Ok(())
}

/// Somebody removes again and again: vipd says so, puts back less and less often, and another node serves.
#[test]
fn a_fight_is_bounded_and_told() -> Result<()> {
    let Some(case) = Case::new("")? else { return Ok(()) };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = run(case.lb01(), "ip route flush table local proto 118");
                sleep(Duration::from_millis(20));
            }
        });
        let seen = (|| {
            let event = case.bed().wait_event("lb01", "host_contested", |_| true)?;
            println!("vipd said: {event}");
            case.bed().wait("lb01", "FAULT")?;
            case.v4.wait("lb02")
        })();
        stop.store(true, Ordering::Relaxed);
        seen
    })?;
    let status = case.bed().status("lb01")?;
    ensure!(status["reason"].as_str().is_some_and(|reason| reason.contains("again and again")), "{status}");
    let told = case.bed().events_named("lb01", "host_repaired")?.len();
    ensure!(told <= 6, "{told} events");
    Ok(())
}

/// A routing daemon, or docker: what is not vipd's costs it nothing, however much there is.
#[test]
fn a_storm_of_others_routes_costs_nothing() -> Result<()> {
    const ROUTES: u32 = 50_000;
    let Some(case) = Case::new("")? else { return Ok(()) };
    let since = Instant::now();
    let batch = case.lb01().dir().join("routes");
    let route = |n: u32| {
        format!("route add {}/32 via 10.0.0.100 proto bgp\n", std::net::Ipv4Addr::from(0x0b00_0000 + n))
    };
    let routes: String = (0..ROUTES).map(route).collect();
    fs::write(&batch, routes.clone() + &routes.replace(" add ", " del "))?;
    let pid = case.pair.lb01.pid();
    let before = processor_time(pid)?;
    let mut ip = case.lb01().command("ip").arg("-batch").arg(&batch).spawn()?;
    wait_for("the routes", SOON, || ip.try_wait().is_ok_and(|ended| ended.is_some()))?;
    let spent = processor_time(pid)? - before;
    let took = since.elapsed();
    println!("{} routes added and removed in {took:?}: {spent:?} of a processor for all of vipd", ROUTES);
    // What it spends anyway, and a tenth of the time on top.
    ensure!(spent < took / 4, "{spent:?} in {took:?}");
    ensure!(case.bed().events_named("lb01", "host_repaired")?.is_empty());
    // It hears all the same.
    case.is_mended("route", "route local", |lb01| run(lb01, "ip route flush table local proto 118")).map(drop)
}

/// User and system time of a process.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no stat")?.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// What the looks of a master of 10,000 VIPs cost, and that they find one route of them.
#[test]
fn ten_thousand_vips_are_looked_after() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let vips: String =
        (0..10_000u32).map(|n| format!("        {}\n", std::net::Ipv4Addr::from(0x0a00_8000 + n))).collect();
    let extra = format!("virtual_ipaddress_excluded {{\n{vips}    }}");
    let vipd = bed.start("lb01", &node_conf(HIGH, &extra))?;
    bed.wait("lb01", "MASTER")?;
    sleep(LOOKS);
    let (before, since) = (processor_time(vipd.pid())?, Instant::now());
    sleep(LOOKS * 2);
    let spent = processor_time(vipd.pid())? - before;
    println!("{spent:?} of a processor in {:?}", since.elapsed());
    let route = "ip route del local 10.0.130.7 dev eth0 table local";
    run(bed.lb01(), route)?;
    let began = Instant::now();
    wait_for("the route", SOON, || shows(bed.lb01(), "ip route show table local 10.0.130.7", "10.0.130.7"))?;
    println!("put back within {:?}", began.elapsed());
    bed.wait_event("lb01", "host_repaired", |fields| fields["count"] == 1).map(drop)
}

/// What was told of is looked at in time, however many VIPs there are and however often something is told.
#[test]
fn a_thousand_vips_are_repaired_in_time() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let vips: String =
        (0..1_000u32).map(|n| format!("        {}\n", std::net::Ipv4Addr::from(0x0a00_8000 + n))).collect();
    let extra = format!("virtual_ipaddress_excluded {{\n{vips}    }}");
    let _vipd = bed.start("lb01", &node_conf(HIGH, &extra))?;
    bed.wait("lb01", "MASTER")?;
    sleep(LOOKS);
    let lb01 = bed.lb01();
    let mut gone = Vec::new();
    for n in 0..5 {
        // A look without a word may just have begun.
        sleep(Duration::from_millis(300 * n));
        run(lb01, "ip route del local 10.0.130.7 dev eth0 table local")?;
        let began = Instant::now();
        wait_for("the route", SOON, || shows(lb01, "ip route show table local 10.0.130.7", "10.0.130.7"))?;
        gone.push(began.elapsed());
    }
    println!("put back within {gone:?}");
    gone.sort();
    ensure!(gone[2] < Duration::from_secs(1), "{gone:?}");
    Ok(())
}

/// Only a value that the option takes.
#[test]
fn the_period_of_looks_is_settable() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    lb01.write_vipd_conf(&node_conf(HIGH, ""))?;
    let refused = lb01.vipd_run(&bed.vipd).args(["--look-period", "0"]).output()?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("at least 100ms"), "{refused:?}");
    let mut command = lb01.vipd_run(&bed.vipd);
    command.args(["--look-period", "3600"]);
    let _vipd = Daemon::start("vipd on lb01", &mut command, &lb01.vipd_log())?;
    bed.wait("lb01", "MASTER")?;
    run(lb01, "sysctl -q -w net.ipv4.conf.all.arp_ignore=0")?;
    sleep(LOOKS);
    ensure!(shows(lb01, "sysctl net.ipv4.conf.all.arp_ignore", "= 0"), "it has looked");
    // A notification is a look at everything.
    run(lb01, "ip route del local 10.0.0.3 dev eth0 table local")?;
    wait_for("the look", SOON, || shows(lb01, "sysctl net.ipv4.conf.all.arp_ignore", "= 1")).map(drop)
}
