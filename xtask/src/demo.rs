//! `demo`: a client keeps asking for the VIP while the master's daemon is killed and its cable is pulled.
//!
//! What is reported is what the client saw: who answered ARP, who answered HTTP, and when. The daemons are asked
//! nothing once they run.

mod report;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use vipd_tests::{
    Daemon, Lab, Mac,
    probe::{ArpProber, HttpProber},
};

use crate::{
    ebpf,
    scene::{self, BALANCERS, Keeper, VIP},
    setup,
};
use report::{Phase, Report};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the result as JSON on stdout, and everything else on stderr
    #[arg(long)]
    json: bool,
    /// Copy the daemons' logs out of the lab before it goes
    #[arg(long)]
    keep_logs: bool,
    /// What keeps the VIP
    #[arg(long, value_enum, default_value = "vipd")]
    daemon: Keeper,
}

/// Runs the show. Success means that the promises held; otherwise the reasons are printed.
pub fn run(args: &Args) -> Result<ExitCode> {
    setup::ensure_for_root()?;
    let vipd = match args.daemon {
        Keeper::Vipd => {
            ebpf::build()?;
            scene::build_vipd()?
        }
        Keeper::Keepalived => PathBuf::new(),
    };
    // Every wait below is bounded; this bounds their sum. The janitor cleans up after the signal.
    nix::unistd::alarm::set(LONGEST_SHOW_S);
    let lab = scene::build()?;
    let mut show = Show::new(lab, args.daemon, &vipd, args.json)?;
    let played = show.play();
    if args.keep_logs || played.is_err() {
        show.keep_logs()?;
    }
    let report = played?;
    if !report.ok() {
        show.keep_logs()?;
    }
    drop(show);
    nix::unistd::alarm::cancel();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n{report}");
    }
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Show {
    // Probers and daemons before the lab they live in.
    arp: ArpProber,
    http: Option<HttpProber>,
    daemons: BTreeMap<&'static str, Daemon>,
    nginxes: Vec<Daemon>,
    lab: Lab,
    keeper: Keeper,
    vipd: PathBuf,
    quiet_stdout: bool,
    start: Instant,
    shown_owner: Option<Mac>,
    shown_until: Instant,
}

impl Show {
    fn new(lab: Lab, keeper: Keeper, vipd: &Path, quiet_stdout: bool) -> Result<Self> {
        let arp = ArpProber::start(lab.node("client").ns(), "eth0", &[VIP], Duration::from_millis(2))?;
        let start = Instant::now();
        Ok(Self {
            arp,
            http: None,
            daemons: BTreeMap::new(),
            nginxes: Vec::new(),
            lab,
            keeper,
            vipd: vipd.to_owned(),
            quiet_stdout,
            start,
            shown_owner: None,
            shown_until: start,
        })
    }

    fn play(&mut self) -> Result<Report> {
        self.say(
            "switch, lb01 (10.0.0.5), lb02 (10.0.0.6) and client (10.0.0.100) stand; the VIP is 10.0.0.3",
        );
        for (name, ..) in BALANCERS {
            self.start_keeper(name)?;
            let nginx = scene::start_nginx(self.lab.node(name))?;
            self.nginxes.push(nginx);
        }
        self.say("both run the daemon and an nginx bound to the VIP; lb01 has priority 150, lb02 100");
        self.until_owned_by("lb01", Instant::now())?;
        let server = (VIP, 80).into();
        let client = self.lab.node("client").ns();
        self.http = Some(HttpProber::start(client, server, REQUEST_PERIOD, REQUEST_DEADLINE)?);
        self.say(
            "client requests http://10.0.0.3/ every 20 ms, each within 2.5 s, and asks by ARP every 2 ms",
        );
        self.pause(Duration::from_secs(3))?;

        self.say("SIGKILL to the daemon on lb01");
        let killed = self.daemons.get_mut("lb01").context("no daemon on lb01")?.kill9()?;
        self.until_owned_by("lb02", killed)?;
        self.pause(AFTERMATH)?;

        self.say("the daemon on lb01 is started again");
        let restarted = Instant::now();
        self.start_keeper("lb01")?;
        self.until_owned_by("lb01", restarted)?;
        self.pause(AFTERMATH)?;

        self.say("lb01's cable is pulled");
        let cut = Instant::now();
        self.lab.set_port("lb01", false)?;
        self.until_owned_by("lb02", cut)?;
        self.pause(AFTERMATH)?;

        self.say("lb01's cable is plugged in again");
        let plugged = Instant::now();
        self.lab.set_port("lb01", true)?;
        self.until_owned_by("lb01", plugged)?;
        self.pause(AFTERMATH)?;
        let end = Instant::now();

        let requests = self.http.take().map(HttpProber::stop).unwrap_or_default();
        let phase = |from, to, successor| {
            let mac = self.lab.node(successor).mac();
            Phase::measure(&requests, &self.arp, from, to, successor, mac)
        };
        Ok(Report::new(
            self.keeper,
            &self.vipd,
            &self.arp,
            phase(killed, restarted, "lb02"),
            phase(restarted, cut, "lb01"),
            phase(cut, plugged, "lb02"),
            phase(plugged, end, "lb01"),
        ))
    }

    fn start_keeper(&mut self, name: &'static str) -> Result<()> {
        let daemon = scene::start_keeper(self.lab.node(name), self.keeper, &self.vipd)?;
        self.daemons.insert(name, daemon);
        Ok(())
    }

    /// Until a node alone answers, to questions asked after `since`. If two go on answering, that is said and
    /// reported in the end.
    fn until_owned_by(&mut self, name: &str, since: Instant) -> Result<()> {
        let mac = self.lab.node(name).mac();
        let deadline = Instant::now() + TAKEOVER_TIMEOUT;
        loop {
            self.look()?;
            let now = Instant::now();
            let recent = self.arp.answers_between(now.checked_sub(SETTLED).unwrap_or(now).max(since), now);
            if recent.len() >= 10 && recent.iter().all(|a| a.mac == mac) {
                return Ok(());
            }
            if now > deadline && self.arp.first_answer_by(mac, since).is_none() {
                bail!("{name} did not answer for {VIP} within {TAKEOVER_TIMEOUT:?}");
            }
            if now > deadline {
                self.say(&format!("    {name} is not the only one that answers for {VIP}"));
                return Ok(());
            }
        }
    }

    fn pause(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.look()?;
        }
        Ok(())
    }

    /// One glance at the lab: says what changed.
    fn look(&mut self) -> Result<()> {
        thread::sleep(Duration::from_millis(20));
        let now = Instant::now();
        let recent = |at: &Instant| now.saturating_duration_since(*at) < SILENCE;
        let owner = self.arp.current_owner(VIP).filter(|a| recent(&a.at)).map(|a| a.mac);
        if owner != self.shown_owner {
            self.shown_owner = owner;
            match owner {
                Some(mac) => self.say(&format!("--> {} answers for {VIP} ({mac})", self.name_of(mac))),
                None => self.say(&format!("--> nobody answers for {VIP}")),
            }
        }
        if now.duration_since(self.shown_until) >= Duration::from_secs(1) {
            let (from, to) = (self.shown_until, now);
            self.shown_until = now;
            if let Some(http) = &self.http {
                let mut served: BTreeMap<String, usize> = BALANCERS.map(|b| (b.0.to_owned(), 0)).into();
                let mut unanswered = 0;
                for request in http.requests().iter().filter(|r| from <= r.ended && r.ended < to) {
                    match &request.answer {
                        Ok(body) => *served.entry(body.clone()).or_default() += 1,
                        Err(_) => unanswered += 1,
                    }
                }
                let served: Vec<_> = served.iter().map(|(n, c)| format!("{n} {c:2}")).collect();
                self.say(&format!("    answers: {}   given up: {unanswered}", served.join("  ")));
            }
        }
        for daemon in self.daemons.values_mut() {
            if !daemon.was_killed() && !daemon.is_running() {
                bail!("{} ended by itself; its log:\n{}", daemon.name, daemon.log());
            }
        }
        Ok(())
    }

    fn name_of(&self, mac: Mac) -> String {
        let node = self.lab.nodes().iter().find(|n| n.mac() == mac);
        node.map_or_else(|| mac.to_string(), |n| n.name().to_owned())
    }

    fn say(&self, text: &str) {
        let line = format!("{:8.3} s  {text}", self.start.elapsed().as_secs_f64());
        if self.quiet_stdout { eprintln!("{line}") } else { println!("{line}") }
    }

    fn keep_logs(&self) -> Result<()> {
        let to = std::env::temp_dir().join(format!("vipd-demo-logs-{}", self.lab.prefix()));
        fs::create_dir_all(&to)?;
        for (name, ..) in BALANCERS {
            for log in ["vipd.log", "keepalived.log", "nginx/error.log"] {
                let from = self.lab.node(name).dir().join(log);
                if from.exists() {
                    fs::copy(from, to.join(format!("{name}-{}", log.replace('/', "-"))))?;
                }
            }
        }
        eprintln!("logs: {}", to.display());
        Ok(())
    }
}

const REQUEST_PERIOD: Duration = Duration::from_millis(20);
const REQUEST_DEADLINE: Duration = Duration::from_millis(2500);
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Alone for so long, an owner is the only one.
const SETTLED: Duration = Duration::from_millis(100);
/// How long to go on watching after each change of owner.
const AFTERMATH: Duration = Duration::from_secs(3);
/// Without answers for so long, nobody owns the VIP.
const SILENCE: Duration = Duration::from_millis(100);
const LONGEST_SHOW_S: u32 = 180;
