//! `dist --try`: what an administrator does with the package, while a client asks for the VIP.
//!
//! lb01 is a Debian with systemd that the package is installed on; lb02 runs the same vipd beside it.

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipd_tests::{Daemon, Lab, probe::ArpProber, wait_for};

use super::machine::{self, Machine};
use crate::scene::{self, VIP};

/// For what never comes.
const SOON: Duration = Duration::from_secs(60);
/// Between two questions of the client.
const PERIOD: Duration = Duration::from_millis(2);
/// A question is answered by then, or not at all.
const LATE: Duration = Duration::from_millis(200);
/// Adverts every 2 s: the lease outlasts a restart on a busy machine.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often each way is gone at the shortest interval.
const SHORT_RUNS: usize = 10;
const CONF: &str = "/etc/vipd/vipd.conf";

pub fn run(package: &Path) -> Result<()> {
    let base = machine::base()?;
    let vipd = scene::build_vipd()?;
    let lab = scene::build()?;
    let lb02 = lab.node("lb02");
    lb02.write_vipd_conf(&conf(100, "", ""))?;
    let peer = lb02.start_vipd(&vipd)?;
    lb02.wait_state(&vipd, "VI_1", "MASTER", SOON)?;
    let machine = Machine::boot(lab.node("lb01"), &base)?;
    fs::copy(package, machine.path("mnt/vipd.deb"))?;
    let prober = ArpProber::start(lab.node("client").ns(), "eth0", &[VIP], PERIOD)?;
    let trial = Trial { lab, machine, prober, vipd: &vipd, _peer: peer };
    let story = trial.story();
    if story.is_err() {
        let log = trial.machine.exec(&["journalctl", "--no-pager", "--unit", "vipd"]);
        eprintln!("{}", log.unwrap_or_default());
    }
    story
}

struct Trial<'a> {
    // Before the lab that it is a part of.
    machine: Machine,
    prober: ArpProber,
    _peer: Daemon,
    lab: Lab,
    vipd: &'a Path,
}

impl Trial<'_> {
    fn story(&self) -> Result<()> {
        self.install()?;
        self.start()?;
        self.reload()?;
        self.go_on("systemctl restart", || self.machine.exec(&["systemctl", "restart", "vipd"]).map(drop))?;
        self.go_on("vipd upgrade", || self.machine.exec(&["vipd", "upgrade"]).map(drop))?;
        self.go_on("dpkg --install, again", || self.dpkg_install().map(drop))?;
        self.go_on("kill -9 of the daemon", || self.kill("KILL"))?;
        self.refused_upgrade()?;
        self.at_10_ms()?;
        self.strict()?;
        self.hang()?;
        self.stop()?;
        self.remove_dead()?;
        self.purge()
    }

    /// Nothing starts, nothing fails, without a configuration.
    fn install(&self) -> Result<()> {
        let said = self.dpkg_install()?;
        ensure!(said.contains("there is no /etc/vipd/vipd.conf"), "{said}");
        ensure!(self.show("ActiveState")? == "inactive" && self.show("UnitFileState")? == "enabled");
        self.machine.exec(&["systemctl", "start", "vipd"])?;
        ensure!(self.show("ConditionResult")? == "no" && self.show("ActiveState")? == "inactive");
        say("installed: enabled, and not started without a configuration");
        Ok(())
    }

    fn start(&self) -> Result<()> {
        self.machine.write("usr/local/bin/became", BECAME)?;
        self.machine.exec(&["chmod", "755", "/usr/local/bin/became"])?;
        // A check as another user, a notify script as root, and a FIFO that belongs to another user.
        let global = "script_user nobody\n    vrrp_notify_fifo /run/vipd.fifo";
        let instance = "track_script {\n        chk\n    }\n    notify_master \"/usr/local/bin/became\" root";
        self.write_conf(&conf(150, global, instance))?;
        // The unit's watchdog is slower than a trial has time for. A handover takes longer than this stop may: it has to be
        // extended.
        self.machine.write(
            "etc/systemd/system/vipd.service.d/trial.conf",
            "[Service]\nWatchdogSec=3\nTimeoutStopSec=1\n",
        )?;
        self.machine.exec(&["systemctl", "daemon-reload"])?;
        self.machine.exec(&["systemctl", "start", "vipd"])?;
        ensure!(self.show("ActiveState")? == "active");
        self.wait_master()?;
        wait_for("STATUS", SOON, || self.show("StatusText").is_ok_and(|text| text == "2 MASTER"))?;
        let status = self.status()?;
        ensure!(status["real_time"] == true, "no real-time scheduling in the unit: {status}");
        ensure!(status["tracked"][0]["well"] == true, "the check failed: {status}");
        wait_for("the notify script", SOON, || self.machine.path("var/tmp/became").exists())?;
        let became = fs::read_to_string(self.machine.path("var/tmp/became"))?;
        ensure!(became == "0\nenabled\nNoNewPrivs:\t0\n", "the notify script saw {became:?}");
        self.answered_by_lb01(Instant::now())?;
        let log = self.journal()?;
        let warned = log
            .lines()
            .find(|line| line.contains("\"PRIORITY\":\"4\"") || line.contains("\"PRIORITY\":\"3\""));
        ensure!(warned.is_none(), "the start had something to say: {warned:?}");
        say(&format!(
            "started: ready, `{}`, scripts run, real-time scheduling granted",
            self.show("StatusText")?
        ));
        Ok(())
    }

    fn reload(&self) -> Result<()> {
        let good = fs::read_to_string(self.machine.path(CONF))?;
        self.go_on_without_restart("systemctl reload", || {
            self.write_conf(&good.replace("priority 150", "priority 160"))?;
            self.machine.exec(&["systemctl", "reload", "vipd"]).map(drop)
        })?;
        ensure!(self.status()?["instances"][0]["priority"] == 160);
        self.go_on_without_restart("systemctl reload with a mistake, which fails", || {
            self.write_conf(&good.replace("priority 150", "priority many"))?;
            let output = self.machine.run(&["systemctl", "reload", "vipd"])?;
            ensure!(!output.status.success(), "a bad configuration was accepted");
            self.write_conf(&good)
        })
    }

    fn refused_upgrade(&self) -> Result<()> {
        let good = fs::read_to_string(self.machine.path(CONF))?;
        self.go_on_without_restart("dpkg --install of a vipd that refuses the configuration", || {
            self.write_conf(&good.replace("priority 150", "priority many"))?;
            let said = self.dpkg_install()?;
            ensure!(said.contains("not restarted"), "{said}");
            self.write_conf(&good)
        })
    }

    /// What each way costs at the shortest interval, on this machine as it is now. The peer takes the interval from the adverts.
    fn at_10_ms(&self) -> Result<()> {
        let good = fs::read_to_string(self.machine.path(CONF))?;
        self.write_conf(&good.replace(&format!("advert_int {}", INTERVAL.as_secs()), "advert_int 0.01"))?;
        self.machine.exec(&["systemctl", "reload", "vipd"])?;
        let taken = || -> Result<u64> {
            let taken = self.peer_status()?["instances"][0]["became_master"].as_u64();
            taken.context("the peer's status has no became_master")
        };
        for (what, command) in [
            ("nothing", &["true"][..]),
            ("vipd upgrade", &["vipd", "upgrade"]),
            ("dpkg --install", &["dpkg", "--install", "/mnt/vipd.deb"]),
            ("systemctl restart", &["systemctl", "restart", "vipd"]),
        ] {
            let (began, before) = (Instant::now(), taken()?);
            for _ in 0..SHORT_RUNS {
                self.machine.exec(command)?;
                self.wait_master()?;
            }
            sleep(LATE);
            let (asked, lost) = self.lost(began, Instant::now() - LATE);
            let taken = taken()? - before;
            say(&format!(
                "{what}, {SHORT_RUNS} times at 10 ms: {lost} of {asked} questions lost, the peer took over {taken} times"
            ));
        }
        self.write_conf(&good)?;
        self.machine.exec(&["systemctl", "reload", "vipd"])?;
        self.wait_master()
    }

    /// The stricter drop-in, for those who have no scripts, and a group that may use the socket.
    fn strict(&self) -> Result<()> {
        let place = "/etc/systemd/system/vipd.service.d/strict.conf";
        let group = "etc/systemd/system/vipd.service.d/group.conf";
        self.write_conf(&conf(150, "", ""))?;
        self.machine.exec(&["cp", "/usr/share/doc/vipd/examples/strict.conf", place])?;
        self.machine.write(group, "[Service]\nGroup=operator\n")?;
        self.machine.exec(&["systemctl", "daemon-reload"])?;
        self.go_on("systemctl restart with strict.conf", || {
            self.machine.exec(&["systemctl", "restart", "vipd"]).map(drop)
        })?;
        ensure!(self.status()?["real_time"] == true, "no real-time scheduling with strict.conf");
        self.go_on("vipd upgrade with strict.conf", || self.machine.exec(&["vipd", "upgrade"]).map(drop))?;
        let as_nobody = |group: &str| {
            self.machine.run(&[
                "setpriv",
                "--reuid=nobody",
                &format!("--regid={group}"),
                "--clear-groups",
                "vipd",
                "status",
            ])
        };
        let (allowed, refused) = (as_nobody("operator")?, as_nobody("nogroup")?);
        ensure!(allowed.status.success() && !refused.status.success(), "{allowed:?} and {refused:?}");
        self.machine.exec(&["rm", place, &format!("/{group}")])?;
        self.machine.exec(&["systemctl", "daemon-reload"])?;
        self.go_on("systemctl restart without it", || {
            self.machine.exec(&["systemctl", "restart", "vipd"]).map(drop)
        })
    }

    /// The peer takes over from a daemon that hangs, and systemd kills and starts it again.
    fn hang(&self) -> Result<()> {
        let before = self.restarts()?;
        let hung = Instant::now();
        self.kill("STOP")?;
        wait_for("the watchdog", SOON, || self.restarts().is_ok_and(|n| n > before))?;
        self.wait_master()?;
        sleep(LATE);
        let (asked, lost) = self.lost(hung, Instant::now() - LATE);
        ensure!(lost <= 3 + asked / 100, "{lost} of {asked} questions lost to a daemon that hung");
        let gave_up = self.journal()?.contains("Watchdog timeout");
        ensure!(gave_up, "restarted, but not by the watchdog");
        say(&format!(
            "SIGSTOP: the watchdog ended it and it is MASTER again; {lost} of {asked} questions lost"
        ));
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        let stopped = Instant::now();
        self.machine.exec(&["systemctl", "stop", "vipd"])?;
        self.lab.node("lb02").wait_state(self.vipd, "VI_1", "MASTER", SOON)?;
        sleep(LATE);
        let (asked, lost) = self.lost(stopped, Instant::now() - LATE);
        ensure!(lost <= 3, "{lost} of {asked} questions lost to a stop");
        self.nothing_is_left()?;
        say(&format!("systemctl stop: handed over, nothing left; {lost} of {asked} questions lost"));
        Ok(())
    }

    /// A vipd that was killed, and that nobody started again, leaves nothing when its package is removed.
    fn remove_dead(&self) -> Result<()> {
        let run = format!("systemd-run --unit=dead --property=Restart=no vipd run -f {CONF}");
        self.machine.exec(&["sh", "-c", &run])?;
        self.wait_master()?;
        self.machine.exec(&["systemctl", "kill", "--signal=KILL", "dead"])?;
        self.lab.node("lb02").wait_state(self.vipd, "VI_1", "MASTER", SOON)?;
        ensure!(self.nothing_is_left().is_err(), "a killed vipd has left nothing: this shows nothing");
        self.machine.exec(&["dpkg", "--remove", "vipd"])?;
        self.nothing_is_left()?;
        say("dpkg --remove after kill -9: nothing left");
        self.dpkg_install().map(drop)
    }

    fn purge(&self) -> Result<()> {
        self.machine.exec(&["systemctl", "start", "vipd"])?;
        self.wait_master()?;
        let removed = Instant::now();
        self.machine.exec(&["dpkg", "--purge", "vipd"])?;
        self.lab.node("lb02").wait_state(self.vipd, "VI_1", "MASTER", SOON)?;
        sleep(LATE);
        let (asked, lost) = self.lost(removed, Instant::now() - LATE);
        ensure!(lost <= 3, "{lost} of {asked} questions lost to a removal");
        self.nothing_is_left()?;
        for file in [
            "usr/sbin/vipd",
            "usr/libexec/vipd/vipd-top",
            "usr/lib/systemd/system/vipd.service",
            "etc/default/vipd",
        ] {
            ensure!(!self.machine.path(file).exists(), "{file} is left");
        }
        ensure!(self.machine.path(CONF).exists(), "the administrator's configuration is gone");
        say(&format!("dpkg --purge: handed over, nothing left; {lost} of {asked} questions lost"));
        Ok(())
    }

    /// Something that restarts the daemon, and that neither the client nor the peer notices.
    fn go_on(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let pid = self.show("MainPID")?;
        self.unnoticed(what, || {
            act()?;
            let renewed = || self.show("MainPID").is_ok_and(|now| now != pid && now != "0");
            wait_for("another daemon", SOON, renewed)?;
            wait_for("it to be ready", SOON, || {
                self.show("ActiveState").is_ok_and(|state| state == "active")
            })?;
            Ok(())
        })
    }

    fn go_on_without_restart(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let pid = self.show("MainPID")?;
        self.unnoticed(what, || {
            act()?;
            ensure!(
                self.show("MainPID")? == pid && self.show("ActiveState")? == "active",
                "{what}: restarted"
            );
            Ok(())
        })
    }

    fn unnoticed(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let since = |trial: &Self| {
            Ok::<_, anyhow::Error>(trial.peer_status()?["instances"][0]["since_unix_ms"].clone())
        };
        let before = since(self)?;
        let began = Instant::now();
        act().with_context(|| what.to_owned())?;
        // Long enough for the peer to notice that adverts stay away.
        sleep(INTERVAL * 4);
        let (asked, lost) = self.lost(began, Instant::now() - LATE);
        ensure!(lost == 0 && asked > 1000, "{what}: {lost} of {asked} questions lost");
        self.answered_by_lb01(began)?;
        ensure!(self.state()? == "MASTER" && since(self)? == before, "{what}: the peer has seen a change");
        say(&format!("{what}: 0 of {asked} questions lost, and the peer has seen nothing"));
        Ok(())
    }

    fn nothing_is_left(&self) -> Result<()> {
        for (what, command) in [
            ("routes", &["ip", "route", "show", "table", "all", "proto", "118"][..]),
            ("IPv6 addresses", &["ip", "-6", "address", "show", "dev", "lo", "to", "fe80::/10"]),
            // Which cannot be asked for by protocol.
            ("rules", &["sh", "-c", "ip rule show; ip -6 rule show"]),
            ("pins", &["find", "/sys/fs/bpf", "-name", "vipd*"]),
        ] {
            let found = self.machine.exec(command)?;
            let kernels = |line: &&str| {
                ["local", "main", "default"].iter().any(|table| line.ends_with(&format!("lookup {table}")))
            };
            let left: Vec<&str> = found.lines().map(str::trim_end).filter(|line| !kernels(line)).collect();
            ensure!(left.is_empty(), "{what} are left: {left:?}");
        }
        let link = self.machine.exec(&["ip", "link", "show", "eth0"])?;
        ensure!(!link.contains("xdp"), "XDP is still attached: {link}");
        Ok(())
    }

    fn dpkg_install(&self) -> Result<String> {
        self.machine.exec(&["sh", "-c", "dpkg --install /mnt/vipd.deb 2>&1"])
    }

    /// Written at once, as an editor does.
    fn write_conf(&self, text: &str) -> Result<()> {
        self.machine.write(CONF, text)
    }

    fn kill(&self, signal: &str) -> Result<()> {
        let signal = format!("--signal={signal}");
        self.machine.exec(&["systemctl", "kill", "--kill-whom=main", &signal, "vipd"]).map(drop)
    }

    /// A property of the unit.
    fn show(&self, property: &str) -> Result<String> {
        let text = self.machine.exec(&["systemctl", "show", "--value", "--property", property, "vipd"])?;
        Ok(text.trim().to_owned())
    }

    fn restarts(&self) -> Result<u32> {
        Ok(self.show("NRestarts")?.parse()?)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.machine.exec(&["vipd", "status", "--json"])?)?)
    }

    fn peer_status(&self) -> Result<Value> {
        self.lab.node("lb02").status(self.vipd)
    }

    fn state(&self) -> Result<String> {
        let state = self.status()?["instances"][0]["state"].as_str().map(str::to_owned);
        state.context("vipd status has no state")
    }

    fn wait_master(&self) -> Result<()> {
        wait_for("lb01 to be MASTER", SOON, || self.state().is_ok_and(|state| state == "MASTER")).map(drop)
    }

    fn journal(&self) -> Result<String> {
        self.machine.exec(&["journalctl", "--no-pager", "--unit", "vipd", "--output", "json"])
    }

    /// Questions of a span, and how many of them nobody answered.
    fn lost(&self, from: Instant, to: Instant) -> (usize, usize) {
        let probes = self.prober.timeline();
        let asked: Vec<_> = probes.iter().filter(|probe| from <= probe.sent && probe.sent < to).collect();
        (asked.len(), asked.iter().filter(|probe| probe.answers.is_empty()).count())
    }

    /// All answers since then are lb01's.
    fn answered_by_lb01(&self, since: Instant) -> Result<()> {
        sleep(LATE);
        let probes = self.prober.timeline();
        let answers: Vec<_> =
            probes.iter().filter(|probe| probe.sent >= since).flat_map(|probe| &probe.answers).collect();
        let lb01 = self.lab.node("lb01").mac();
        ensure!(
            !answers.is_empty() && answers.iter().all(|answer| answer.mac == lb01),
            "lb01 did not answer alone"
        );
        Ok(())
    }
}

/// What notify scripts do: be root, ask systemd, and write; with sudo, they may gain privileges.
const BECAME: &str = "#!/bin/sh
(id -u; systemctl is-enabled vipd; grep NoNewPrivs /proc/self/status) >/var/tmp/became.new
mv /var/tmp/became.new /var/tmp/became
";

fn say(text: &str) {
    println!("ok: {text}");
}

fn conf(priority: u8, global: &str, instance: &str) -> String {
    let check = if instance.contains("track_script") {
        "vrrp_script chk {\n    script \"/usr/bin/test -d /proc/1\"\n    interval 1\n}\n"
    } else {
        ""
    };
    format!(
        "global_defs {{
    {global}
}}
{check}vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int {interval}
    version 3
    {instance}
    virtual_ipaddress {{
        {VIP}
    }}
}}
vrrp_instance VI_6 {{
    interface eth0
    virtual_router_id 52
    priority {priority}
    advert_int {interval}
    version 3
    virtual_ipaddress {{
        fe80::33
    }}
}}
",
        interval = INTERVAL.as_secs()
    )
}
