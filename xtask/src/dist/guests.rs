//! `dist --guest`: two Debian 12 guests that have installed the package fail over, reboot and power off.
//!
//! ```text
//! lb01 (qemu)  eth0 --- tap-lb01 --+
//! lb02 (qemu)  eth0 --- tap-lb02 --+-- br0, the switch of a lab -- client (a namespace), which asks for the VIP by ARP
//! ```
//!
//! What has to hold is an order: who answers after whom, which states a node goes through. Times are printed; a guest
//! without hardware virtualisation is slow, and nothing asserts them.

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipd_tests::{
    Lab,
    probe::{ArpProber, Mac, neighbour::Probe},
    wait_for,
};

use super::{disk, machine};
use crate::{
    guest::{Disk, Guest, Kernel, Nic, images},
    scene::VIP,
};

/// For what never comes.
const SOON: Duration = Duration::from_secs(180);
/// Between two questions of the client.
const PERIOD: Duration = Duration::from_millis(50);
/// Between two adverts, so long that a guest that gets no time for some seconds loses nothing.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long a state is watched that has to stay: longer than a backup waits for a master.
const STAYS: Duration = Duration::from_secs(12);
/// How much of the time before an event is told with it.
const BEFORE: Duration = Duration::from_secs(2);
/// A question is answered by then, or not at all.
const LATE: Duration = Duration::from_secs(1);
/// Seconds that `late_network` waits, before the interface and again before its address.
const DELAY: u32 = 15;

pub fn run(package: &Path) -> Result<()> {
    let base = machine::base()?;
    let kernel = images(&[Kernel::Debian12], false)?.pop().context("a kernel was asked for")?;
    let image = disk::make(&base, &kernel)?;
    let lab = Lab::builder().node("client", "10.0.0.100/24").build()?;
    let boot = |number: u8| -> Result<Node> {
        let name = format!("lb0{number}");
        let (tap, mac) = (format!("tap-{name}"), Nic::mac(number));
        let nic = Nic::plug(&lab, &tap, "virtio-net-pci", number)?;
        let guest = Guest::boot_disk(&name, &kernel, Disk { image: &image, netns: lab.switch() }, &[nic])?;
        say(&format!(
            "{name}: Linux {} booted in {:.0} s, systemd is its first process",
            guest.release,
            guest.booted_in.as_secs_f64()
        ));
        Ok(Node { address: format!("10.0.0.{}", 4 + number), name, mac, tap, guest })
    };
    let (lb01, lb02) = (boot(1)?, boot(2)?);
    let prober = ArpProber::start(lab.node("client").ns(), "eth0", &[VIP], PERIOD)?;
    let mut pair = Pair { lb01, lb02, prober, lab };
    let story = pair.story(package);
    if story.is_err() {
        for node in [&mut pair.lb01, &mut pair.lb02] {
            let log = node.exec("journalctl --no-pager -u vipd -n 60; vipd status");
            eprintln!("--- {}\n{}", node.name, log.unwrap_or_else(|error| format!("{error:#}")));
        }
    }
    story?;
    let Pair { lb01, mut lb02, prober, lab } = pair;
    let began = Instant::now();
    let took = lb01.guest.shut_down()?;
    lb02.wait_state("MASTER")?;
    sleep(STAYS);
    let timeline = since(&prober, began);
    let names = [(lb01.mac, lb01.name.as_str()), (lb02.mac, lb02.name.as_str())];
    let who = told("power off of the master", &timeline, &names);
    ensure!(who == ["lb01", "lb02"], "the VIP was answered by {who:?}");
    ensure!(lb02.handed_over_to()?, "lb02 had to wait for the master to be silent");
    say(&format!("lb01 was off after {:.0} s; it had handed over before", took.as_secs_f64()));
    ensure!(lb02.guest.complaints().is_empty(), "the kernel said: {:?}", lb02.guest.complaints());
    lb02.guest.shut_down()?;
    drop((prober, lab));
    Ok(())
}

struct Node {
    name: String,
    address: String,
    mac: Mac,
    tap: String,
    guest: Guest,
}

struct Pair {
    // Before the lab that they are a part of.
    lb01: Node,
    lb02: Node,
    prober: ArpProber,
    lab: Lab,
}

impl Pair {
    fn story(&mut self, package: &Path) -> Result<()> {
        self.install(package)?;
        self.cut()?;
        self.reboot()?;
        self.late_network()
    }

    fn install(&mut self, package: &Path) -> Result<()> {
        for (node, priority) in [(&mut self.lb01, 150), (&mut self.lb02, 100)] {
            node.exec(&network(&node.address))?;
            fs::copy(package, node.guest.shared("vipd.deb"))?;
            let said = node.exec("DEBIAN_FRONTEND=noninteractive dpkg --install /run/guest/vipd.deb")?;
            ensure!(said.contains("there is no /etc/vipd/vipd.conf"), "{said}");
            node.exec(&format!("cat >/etc/vipd/vipd.conf <<'END'\n{}END\n", conf(priority)))?;
            let began = Instant::now();
            node.exec("vipd check -f /etc/vipd/vipd.conf && systemctl start vipd")?;
            node.wait_state(if priority == 150 { "MASTER" } else { "BACKUP" })?;
            let status = node.status()?;
            let attached = &status["instances"][0]["xdp_mode"];
            say(&format!(
                "{}: installed, started, {} after {:.0} s; attached: {attached}",
                node.name,
                status["instances"][0]["state"],
                began.elapsed().as_secs_f64(),
            ));
        }
        sleep(STAYS);
        Ok(())
    }

    /// The cable of the master is cut, and mended.
    fn cut(&mut self) -> Result<()> {
        let began = Instant::now();
        self.plug(false)?;
        self.lb02.wait_state("MASTER")?;
        sleep(STAYS);
        self.plug(true)?;
        self.lb02.wait_state("BACKUP")?;
        self.lb01.wait_state("MASTER")?;
        self.told("the cable of the master cut, and mended", began, &["lb01", "lb02", "lb01"])
    }

    /// With the network as the installation has set it up, and `systemd-networkd-wait-online`.
    fn reboot(&mut self) -> Result<()> {
        let began = Instant::now();
        self.lb01.guest.reboot()?;
        self.lb01.wait_state("MASTER")?;
        self.told("reboot of the master", began, &["lb01", "lb02", "lb01"])?;
        ensure!(self.lb02.handed_over_to()?, "lb02 had to wait for the master to be silent");
        self.lb01.show_shutdown()?;
        self.lb01.booted_well()?;
        self.lb02.no_flap()
    }

    /// vipd is started long before there is an interface, and that long before it has an address.
    fn late_network(&mut self) -> Result<()> {
        self.lb01.exec(&late_network(&self.lb01.address))?;
        let began = Instant::now();
        self.lb01.guest.reboot()?;
        self.lb01.wait_state("FAULT")?;
        let reason =
            |status: &Value| status["instances"][0]["reason"].as_str().unwrap_or_default().to_owned();
        let mut seen = vec![reason(&self.lb01.status()?)];
        let deadline = Instant::now() + SOON;
        let status = loop {
            let status = self.lb01.status()?;
            if status["instances"][0]["state"] != "FAULT" {
                break status;
            }
            let reason = reason(&status);
            if seen.last() != Some(&reason) {
                seen.push(reason);
            }
            ensure!(Instant::now() < deadline, "FAULT for good: {status}");
        };
        say(&format!("lb01 in FAULT: {}; then {}", seen.join(", then: "), status["instances"][0]["state"]));
        ensure!(seen.first().is_some_and(|reason| reason == "no such interface"), "{seen:?}");
        ensure!(seen.last().is_some_and(|reason| reason.contains("no usable address")), "{seen:?}");
        self.lb01.wait_state("MASTER")?;
        self.told(
            "reboot of the master, its interface and then its address late",
            began,
            &["lb01", "lb02", "lb01"],
        )?;
        self.lb01.booted_well()?;
        self.lb02.no_flap()
    }

    fn plug(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        let mut ip = self.lab.switch().command("ip");
        let status = ip.args(["link", "set", "dev", &self.lb01.tap, state]).status()?;
        ensure!(status.success(), "ip link set {} {state}", self.lb01.tap);
        Ok(())
    }

    /// Says how the client fared since shortly before then, and wants these nodes to have answered one after the other.
    fn told(&self, what: &str, began: Instant, expect: &[&str]) -> Result<()> {
        sleep(STAYS);
        let names = [(self.lb01.mac, self.lb01.name.as_str()), (self.lb02.mac, self.lb02.name.as_str())];
        let who = told(what, &since(&self.prober, began), &names);
        ensure!(who == expect, "{what}: the VIP was answered by {who:?}");
        Ok(())
    }
}

impl Node {
    /// Runs a script there, which has to succeed; returns what it prints.
    fn exec(&mut self, script: &str) -> Result<String> {
        let mut text = String::new();
        let code = self.guest.run(script, SOON, |line| {
            text += line;
            text.push('\n');
        })?;
        ensure!(code == 0, "{}: {script}: {code}\n{text}", self.name);
        Ok(text)
    }

    fn status(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.exec("vipd status --json")?)?)
    }

    fn wait_state(&mut self, state: &str) -> Result<()> {
        let what = format!("{} to be {state}", self.name);
        wait_for(what, SOON, || self.status().is_ok_and(|status| status["instances"][0]["state"] == state))
            .map(drop)
    }

    /// The fields of the changes of state of the vipd that runs.
    fn changes(&mut self) -> Result<Vec<Value>> {
        let text = self.exec("vipd events --json")?;
        let events = text.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?));
        let events = events.collect::<Result<Vec<_>>>()?.into_iter();
        Ok(events.filter(|e| e["event"] == "state_changed").map(|e| e["fields"].clone()).collect())
    }

    /// Whether its last takeover was a handover: it did not have to wait until the master was silent.
    fn handed_over_to(&mut self) -> Result<bool> {
        let changes = self.changes()?;
        let last = changes.iter().rfind(|fields| fields["to"] == "MASTER").context("it never was MASTER")?;
        say(&format!("{}: MASTER because of: {}", self.name, last["reason"]));
        Ok(last["reason"] != "no advert from a master")
    }

    /// Since its boot: one start, no error, and the states one after the other.
    fn booted_well(&mut self) -> Result<()> {
        let changes = self.changes()?;
        let states: Vec<_> = changes.iter().filter_map(|fields| fields["to"].as_str()).collect();
        let unit = self.exec(
            "systemctl show --property=NRestarts,ActiveState,StatusText,ExecMainStartTimestampMonotonic vipd",
        )?;
        let errors = self.exec("journalctl --boot --no-pager --quiet --unit vipd --priority err")?;
        say(&format!(
            "{} after its boot: {}; {}",
            self.name,
            states.join(", "),
            unit.trim().replace('\n', ", ")
        ));
        print!("{}", self.exec("vipd events")?);
        let first_fault = states.first() == Some(&"FAULT");
        ensure!(states[usize::from(first_fault)..] == ["BACKUP", "MASTER"], "{}: {states:?}", self.name);
        ensure!(unit.contains("NRestarts=0\n") && unit.contains("ActiveState=active\n"), "{unit}");
        ensure!(errors.is_empty(), "{errors}");
        Ok(())
    }

    /// lb02 became MASTER and gave it back, once for each time that lb01 was away.
    fn no_flap(&mut self) -> Result<()> {
        let changes = self.changes()?;
        let states: Vec<_> = changes.iter().filter_map(|fields| fields["to"].as_str()).collect();
        let alternate = states.windows(2).all(|two| two[0] != two[1]);
        ensure!(alternate && states.last() == Some(&"BACKUP"), "{}: {states:?}", self.name);
        say(&format!("{} since its start: {}", self.name, states.join(", ")));
        Ok(())
    }

    /// The order in which the last shutdown went.
    fn show_shutdown(&mut self) -> Result<()> {
        let log = self.exec(
            "journalctl --boot=-1 --no-pager --quiet --output short-monotonic --unit vipd --unit systemd-networkd | tail -n 12",
        )?;
        print!("{log}");
        let at = |what: &str| log.lines().position(|line| line.contains(what));
        let (vipd, network) = (at("Stopped vipd.service"), at("Stopping systemd-networkd.service"));
        ensure!(vipd.is_some() && network.is_none_or(|network| vipd < Some(network)), "{log}");
        Ok(())
    }
}

fn say(text: &str) {
    println!("ok: {text}");
}

fn since(prober: &ArpProber, began: Instant) -> Vec<Probe> {
    let until = Instant::now() - LATE;
    prober.timeline().into_iter().filter(|probe| began - BEFORE <= probe.sent && probe.sent < until).collect()
}

/// Says how a client fared, and returns who answered it, one after the other.
fn told<'a>(what: &str, timeline: &[Probe], names: &[(Mac, &'a str)]) -> Vec<&'a str> {
    let name =
        |mac: &Mac| names.iter().find(|(known, _)| known == mac).map_or("a stranger", |(_, name)| name);
    let mut who = Vec::new();
    let (mut lost, mut together) = (0, 0);
    let (mut longest, mut answered) = (Duration::ZERO, timeline.first().map(|probe| probe.sent));
    for probe in timeline {
        let owners = probe.owners();
        match owners.len() {
            0 => lost += 1,
            1 => who.extend(owners.iter().map(name)),
            _ => together += 1,
        }
        if !owners.is_empty() {
            longest = longest.max(answered.map_or(Duration::ZERO, |before| probe.sent - before));
            answered = Some(probe.sent);
        }
    }
    who.dedup();
    say(&format!(
        "{what}: answered by {}; of {} questions nobody answered {lost} (at most {:.2} s between answers), two answered {together}",
        who.join(", then "),
        timeline.len(),
        longest.as_secs_f64()
    ));
    who
}

fn conf(priority: u8) -> String {
    format!(
        "vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int {}
    version 3
    virtual_ipaddress {{
        {VIP}
    }}
}}
",
        INTERVAL.as_secs()
    )
}

/// A server's static network.
fn network(address: &str) -> String {
    format!(
        "cat >/etc/systemd/network/eth0.network <<'END'
[Match]
Name=eth0
[Network]
Address={address}/24
END
systemctl enable --now systemd-networkd systemd-networkd-wait-online
"
    )
}

/// From the next boot on nothing waits for the network: the driver is loaded when vipd has long started, and the address
/// comes long after the interface.
fn late_network(address: &str) -> String {
    format!(
        "systemctl disable systemd-networkd systemd-networkd-wait-online
echo blacklist virtio_net >/etc/modprobe.d/late.conf
cat >/etc/systemd/system/late.service <<'END'
[Unit]
After=vipd.service
[Service]
ExecStart=/bin/sh -c 'sleep {DELAY}; modprobe virtio_net; until ip link set eth0 up; do sleep 0.1; done; sleep {DELAY}; ip address add {address}/24 dev eth0'
[Install]
WantedBy=multi-user.target
END
systemctl enable late
"
    )
}
