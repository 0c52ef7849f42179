//! `guest --pause`: a master's machine is paused and goes on. For how long does nobody answer for its VIP, and for how long do two?
//!
//! ```text
//! lb01 (qemu)         eth0 --- tap0 --+
//! lb02 (a namespace)  eth0 -----------+-- br0, the switch of a lab -- client (a namespace), which asks for the VIP by ARP
//! ```
//!
//! A pause stops the program in the kernel too, so a backup finds the master dead. What was sent to the master meanwhile waits in its
//! tap: when the machine goes on it hears that first. What has to hold is who answers one after the other, and bounds of seconds;
//! the times are printed. An emulated machine is slow, so the probes' interval is an argument.

use std::{
    collections::BTreeSet,
    fmt, iter,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipd_tests::{Daemon, Lab, Mac, Node, probe::ArpProber, vipd_bin, wait_for};

use super::{Guest, Image, Network, Nic};
use crate::scene::VIP;

/// For what never comes.
const SOON: Duration = Duration::from_secs(60);
/// Between two questions of the client.
const PERIOD: Duration = Duration::from_millis(2);
/// Two stations whose answers arrive in the same such time own the VIP together.
const TOGETHER: Duration = Duration::from_millis(10);
/// Seconds between two adverts.
const ADVERT_INTERVAL: u64 = 1;
/// How long a pair is left alone before a pause, and watched after it: for a down timer and a preemption.
const QUIET: Duration = Duration::from_secs(6);
/// Shorter than a down timer, and longer.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(6)];
/// From how long before a pause on it is told who answers.
const BEFORE: Duration = Duration::from_millis(500);
/// What the emulated machine may add to what is promised.
const LATE: Duration = Duration::from_secs(1);
/// The number of its NIC.
const MASTER: u8 = 1;

/// What becomes of the clock of a machine that is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// qemu's monitor stops the machine, as for a snapshot.
    Stands,
    /// The host does not run qemu, as where it is overloaded.
    RunsOn,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    /// The interval of probes, in milliseconds.
    probes: Option<f64>,
    length: Duration,
    clock: Clock,
}

#[derive(Debug)]
struct Seen {
    /// The longest time without an answer while the machine was paused.
    nobody: Duration,
    /// And since it has gone on.
    nobody_after: Duration,
    two: Duration,
    /// Who answered alone, one after the other.
    owners: Vec<&'static str>,
}

/// Plays each pause on one kernel; what does not hold is returned.
pub fn run(image: &Image, interval: f64) -> Result<Vec<String>> {
    let mut bed = Bed::new(image)?;
    let mut faults = Vec::new();
    for probes in [None, Some(interval)] {
        for length in PAUSES {
            for clock in [Clock::Stands, Clock::RunsOn] {
                let pause = Pause { probes, length, clock };
                // Once more: on a busy machine a backup that is held up in the wrong moment waits for its down timer.
                if bed.holds(pause)?.is_some() {
                    faults.extend(bed.holds(pause)?);
                }
            }
        }
    }
    faults.extend(bed.guest.complaints().into_iter().map(|line| format!("the kernel said: {line}")));
    bed.guest.power_off()?;
    Ok(faults)
}

struct Bed {
    // Before the lab that they are a part of.
    guest: Guest,
    prober: ArpProber,
    lab: Lab,
    vipd: PathBuf,
}

impl Bed {
    fn new(image: &Image) -> Result<Self> {
        let vipd = vipd_bin()?;
        let lab = Lab::builder().node("lb02", "10.0.0.6/24").node("client", "10.0.0.100/24").build()?;
        let nics = [Nic::plug(&lab, "tap0", "virtio-net-pci", MASTER)?];
        let network = Network { netns: lab.switch(), nics: &nics };
        let mut guest = Guest::boot(image.kernel.name(), image, Some(network))?;
        exec(&mut guest, "ip address add 10.0.0.5/24 dev eth0 && ip link set dev eth0 up")?;
        let prober = ArpProber::start(lab.node("client").ns(), "eth0", &[VIP], PERIOD)?;
        Ok(Self { guest, prober, lab, vipd })
    }

    /// Plays a pause, and says what came of it; what does not hold is returned.
    fn holds(&mut self, pause: Pause) -> Result<Option<String>> {
        let seen = self.play(pause).with_context(|| pause.to_string())?;
        println!("{pause}: {seen}");
        Ok(pause.fault(&seen).map(|fault| format!("{pause}: {fault}")))
    }

    fn backup(&self) -> &Node {
        self.lab.node("lb02")
    }

    /// Starts a pair, pauses the master, and watches until all is as before.
    fn play(&mut self, pause: Pause) -> Result<Seen> {
        let backup = self.start(pause.probes)?;
        let played = self.pause(pause);
        if played.is_err() {
            eprintln!("--- lb01\n{}", self.exec_vipd("events").unwrap_or_else(|error| format!("{error:#}")));
            eprintln!("--- lb02\n{}", backup.log());
        }
        let seen = played?;
        // The backup first: it hands nothing over, and takes nothing.
        self.backup().stop_vipd(&self.vipd)?;
        self.exec_vipd("stop")?;
        Ok(seen)
    }

    fn start(&mut self, probes: Option<f64>) -> Result<Daemon> {
        let vipd = self.vipd.display().to_string();
        exec(
            &mut self.guest,
            &format!(
                "cat >/run/vipd.conf <<'END'\n{}END\n\
                 '{vipd}' run -f /run/vipd.conf </dev/null >>/run/guest/vipd.log 2>&1 &",
                conf(150, probes)
            ),
        )?;
        wait_for("lb01 to be MASTER", SOON, || {
            self.status().is_ok_and(|status| status["instances"][0]["state"] == "MASTER")
        })?;
        self.backup().write_vipd_conf(&conf(100, probes))?;
        let daemon = self.backup().start_vipd(&self.vipd)?;
        self.settle(probes)?;
        Ok(daemon)
    }

    /// Waits until the backup has followed for a while, and is armed at the end of it.
    fn settle(&self, probes: Option<f64>) -> Result<()> {
        let follows = || {
            wait_for("lb02 to follow lb01", SOON, || {
                self.backup().status(&self.vipd).is_ok_and(|status| {
                    let instance = &status["instances"][0];
                    instance["state"] == "BACKUP" && (probes.is_none() || instance["early"]["armed"] == true)
                })
            })
        };
        follows()?;
        sleep(QUIET);
        follows().map(drop)
    }

    fn pause(&mut self, pause: Pause) -> Result<Seen> {
        let began = Instant::now();
        match pause.clock {
            Clock::Stands => self.guest.pause()?,
            Clock::RunsOn => self.guest.freeze()?,
        }
        sleep(pause.length.saturating_sub(began.elapsed()));
        match pause.clock {
            Clock::Stands => self.guest.go_on()?,
            Clock::RunsOn => self.guest.thaw()?,
        }
        let went_on = Instant::now();
        sleep(QUIET);
        wait_for("lb01 to be MASTER again", SOON, || {
            self.status().is_ok_and(|status| status["instances"][0]["state"] == "MASTER")
        })?;
        Ok(self.seen(began, went_on, Instant::now()))
    }

    /// What the client saw from shortly before the pause on.
    fn seen(&self, began: Instant, went_on: Instant, ended: Instant) -> Seen {
        let (mut owners, mut two) = (Vec::new(), Duration::ZERO);
        let mut since = began - BEFORE;
        while since < ended {
            let answers = self.prober.answers_between(since, since + TOGETHER);
            let macs: BTreeSet<Mac> = answers.iter().map(|answer| answer.mac).collect();
            since += TOGETHER;
            match macs.first() {
                Some(_) if macs.len() > 1 => two += TOGETHER,
                Some(&mac) if mac == Nic::mac(MASTER) => owners.push("lb01"),
                Some(_) => owners.push("lb02"),
                None => {}
            }
        }
        owners.dedup();
        let after = self.prober.answers_between(went_on, ended);
        let after: Vec<_> = iter::once(went_on).chain(after.iter().map(|answer| answer.at)).collect();
        let nobody_after = after.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
        Seen { nobody: self.prober.longest_gap(VIP, began, went_on), nobody_after, two, owners }
    }

    fn status(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.exec_vipd("status --json")?)?)
    }

    fn exec_vipd(&mut self, arguments: &str) -> Result<String> {
        exec(&mut self.guest, &format!("'{}' {arguments}", self.vipd.display()))
    }
}

/// Runs a script in the guest, which has to succeed; returns what it prints.
fn exec(guest: &mut Guest, script: &str) -> Result<String> {
    let mut text = String::new();
    let code = guest.run(script, SOON, |line| {
        text += line;
        text.push('\n');
    })?;
    ensure!(code == 0, "{script}: {code}\n{text}");
    Ok(text)
}

impl Pause {
    /// What is not as it has to be.
    fn fault(self, seen: &Seen) -> Option<String> {
        let down_timer = Duration::from_secs(4 * ADVERT_INTERVAL);
        let replaced = self.probes.is_some() || self.length > down_timer;
        // Both may give way for a moment when the machine goes on: each to what the other has said before.
        let in_order = if replaced {
            seen.owners.starts_with(&["lb01", "lb02"]) && seen.owners.ends_with(&["lb01"])
        } else {
            seen.owners == ["lb01"]
        };
        let longest = match self.probes {
            Some(interval) => Duration::from_secs_f64(interval * 3.5 / 1e3) + LATE,
            None => self.length.min(down_timer) + LATE,
        };
        // Without probes an advert of either has to arrive; the pause may have hit just behind one.
        let together = match self.probes {
            Some(interval) => Duration::from_secs_f64(interval / 1e3) + LATE,
            None => Duration::from_secs(ADVERT_INTERVAL) + LATE,
        };
        if !in_order {
            return Some(format!("the VIP was answered by {:?}", seen.owners));
        }
        let too_long =
            |what, time, limit| (time > limit).then(|| format!("{what} for {time:?}, not {limit:?}"));
        too_long("nobody answered", seen.nobody.max(seen.nobody_after), longest)
            .or_else(|| too_long("two answered", seen.two, together))
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = match self.clock {
            Clock::Stands => "stands still",
            Clock::RunsOn => "runs on",
        };
        write!(f, "paused for {} s, the clock {clock}, ", self.length.as_secs())?;
        match self.probes {
            Some(interval) => write!(f, "probes 3 x {interval} ms"),
            None => write!(f, "no probes"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [nobody, after, two] = [self.nobody, self.nobody_after, self.two].map(|time| time.as_millis());
        let owners = self.owners.join(", then ");
        write!(f, "nobody answered for {nobody} ms, and for {after} ms after it; two for {two} ms; {owners}")
    }
}

fn conf(priority: u8, probes: Option<f64>) -> String {
    let probe = probes.map(|interval| {
        format!(
            "    probe {{\n        interval {interval}\n        multiplier 3\n        act takeover\n    }}\n"
        )
    });
    format!(
        "vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int {ADVERT_INTERVAL}
    version 3
{}    virtual_ipaddress {{
        {VIP}
    }}
}}
",
        probe.unwrap_or_default()
    )
}
