//! What the demo measured, and whether the promises held.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde::Serialize;
use vipd_tests::{
    Mac,
    probe::{
        ArpProber,
        http::{Request, summarise},
    },
};

use crate::{ebpf, scene::Keeper, sh};

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Report {
    daemon: &'static str,
    daemon_killed: Phase,
    daemon_restarted: Phase,
    link_down: Failure,
    link_restored: Phase,
    /// The greatest number of stations that answered two ARP requests in a row, 2 ms apart, over the whole show: that
    /// were owners together for longer than an advert takes to cross the lab.
    owners_seen_together: usize,
    /// ARP requests that more than one answered.
    requests_with_two_owners: usize,
    arp_requests: usize,
    /// Why the result is not what was promised; empty when it is.
    broken_promises: Vec<String>,
    versions: BTreeMap<&'static str, String>,
}

/// One cause and what the client saw until the next.
#[derive(Debug, Serialize)]
pub struct Phase {
    successor: &'static str,
    /// From the cause to the successor's first ARP answer.
    takeover_ms: Option<f64>,
    /// From the cause to the successor's first page, of a request made after the cause.
    first_page_ms: Option<f64>,
    /// The longest time between two pages.
    longest_gap_ms: f64,
    /// The longest time between two ARP answers.
    longest_arp_gap_ms: f64,
    /// Not answered within the deadline of 2.5 s.
    lost_requests: usize,
    /// Reset, and answered or lost at the second try.
    retried_requests: usize,
    requests: usize,
    served_by: BTreeMap<String, usize>,
}

/// A failure of the host, which nobody can hear of but by silence.
#[derive(Debug, Serialize)]
struct Failure {
    #[serde(flatten)]
    phase: Phase,
    master_down_interval_ms: MasterDownInterval,
}

#[derive(Debug, Serialize)]
struct MasterDownInterval {
    min: f64,
    max: f64,
    explanation: &'static str,
}

impl Phase {
    /// Counts requests from one second before the cause: some are under way when it strikes.
    pub fn measure(
        requests: &[Request],
        arp: &ArpProber,
        cause: Instant,
        end: Instant,
        successor: &'static str,
        mac: Mac,
    ) -> Self {
        let before = cause.checked_sub(UNDER_WAY).unwrap_or(cause);
        let http = summarise(requests, before, end);
        let since = |at: Instant| ms(at.saturating_duration_since(cause));
        let pages = requests.iter().filter(|r| r.started >= cause && r.answer.as_deref() == Ok(successor));
        let mut served_by: BTreeMap<_, _> = ["lb01", "lb02"].map(|n| (n.to_owned(), 0)).into();
        served_by.extend(http.served_by);
        Self {
            successor,
            takeover_ms: arp.first_answer_by(mac, cause).map(since),
            first_page_ms: pages.map(|r| r.ended).min().map(since),
            longest_gap_ms: ms(http.longest_gap),
            longest_arp_gap_ms: ms(arp.longest_gap(crate::scene::VIP, before, end)),
            lost_requests: http.lost,
            retried_requests: http.retried,
            requests: http.requests,
            served_by,
        }
    }
}

impl Report {
    pub fn new(
        keeper: Keeper,
        vipd: &Path,
        arp: &ArpProber,
        daemon_killed: Phase,
        daemon_restarted: Phase,
        link_down: Phase,
        link_restored: Phase,
    ) -> Self {
        let link_down = Failure {
            phase: link_down,
            master_down_interval_ms: MasterDownInterval {
                min: MASTER_DOWN_MS - ADVERT_INTERVAL_MS,
                max: MASTER_DOWN_MS,
                explanation: "a backup of priority 100 waits 3 x 1 s + (256 - 100)/256 s = 3.609 s after the last \
                              advert it heard, which came up to 1 s before the failure",
            },
        };
        let mut report = Self {
            daemon: match keeper {
                Keeper::Vipd => "vipd",
                Keeper::Keepalived => "keepalived",
            },
            daemon_killed,
            daemon_restarted,
            link_down,
            link_restored,
            owners_seen_together: arp.owners_seen_twice(),
            requests_with_two_owners: arp.overlaps().len(),
            arp_requests: arp.timeline().len(),
            broken_promises: Vec::new(),
            versions: versions(keeper, vipd),
        };
        report.broken_promises = report.judge();
        report
    }

    pub fn ok(&self) -> bool {
        self.broken_promises.is_empty()
    }

    fn judge(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.owners_seen_together != 1 {
            broken.push(format!(
                "{} stations were owners together for 2 ms or more ({} of {} ARP requests had two answers), expected 1",
                self.owners_seen_together, self.requests_with_two_owners, self.arp_requests
            ));
        }
        if self.daemon_killed.lost_requests != 0 {
            broken.push(format!(
                "{} requests were lost when the daemon was killed",
                self.daemon_killed.lost_requests
            ));
        }
        let limit = MASTER_DOWN_MS + SLACK_MS;
        let link = &self.link_down.phase;
        match link.takeover_ms {
            Some(takeover) if takeover <= limit => {}
            Some(takeover) => broken.push(format!(
                "takeover after the cable was pulled took {takeover:.0} ms, which the master-down interval does not \
                 explain (at most {limit:.0} ms)"
            )),
            None => broken.push("nobody took over when the cable was pulled".to_owned()),
        }
        if link.longest_gap_ms > limit {
            broken.push(format!("no page for {:.0} ms after the cable was pulled", link.longest_gap_ms));
        }
        broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:22}{:>12}{:>12}{:>12}{:>7}{:>9}{:>10}",
            "", "takeover", "longest gap", "no ARP for", "lost", "retried", "requests"
        )?;
        for (what, p) in [
            ("daemon killed", &self.daemon_killed),
            ("daemon restarted", &self.daemon_restarted),
            ("link down", &self.link_down.phase),
            ("link restored", &self.link_restored),
        ] {
            let takeover = p.takeover_ms.map_or("never".to_owned(), |t| format!("{t:.1} ms"));
            writeln!(
                f,
                "{:22}{:>12}{:>9.1} ms{:>9.1} ms{:>7}{:>9}{:>10}",
                format!("{what} -> {}", p.successor),
                takeover,
                p.longest_gap_ms,
                p.longest_arp_gap_ms,
                p.lost_requests,
                p.retried_requests,
                p.requests
            )?;
        }
        let down = &self.link_down.master_down_interval_ms;
        writeln!(f, "\nlink down, expected {:.0} to {:.0} ms: {}", down.min, down.max, down.explanation)?;
        writeln!(
            f,
            "owners seen together: {} ({} ARP requests, {} with two answers)",
            self.owners_seen_together, self.arp_requests, self.requests_with_two_owners
        )?;
        for reason in &self.broken_promises {
            writeln!(f, "BROKEN: {reason}")?;
        }
        if self.ok() { writeln!(f, "all promises held") } else { Ok(()) }
    }
}

fn versions(keeper: Keeper, vipd: &Path) -> BTreeMap<&'static str, String> {
    let mut versions = BTreeMap::new();
    let mut add = |name, version: Option<String>| {
        versions.extend(version.and_then(|v| v.lines().next().map(|l| (name, l.to_owned()))));
    };
    match keeper {
        Keeper::Vipd => add("vipd", Some(env!("CARGO_PKG_VERSION").to_owned())),
        Keeper::Keepalived => {
            add("keepalived", sh::output(Command::new("sh").args(["-c", "keepalived --version 2>&1"])));
        }
    }
    if keeper == Keeper::Vipd {
        add(
            "commit",
            sh::output(Command::new("git").current_dir(sh::workspace()).args(["rev-parse", "HEAD"])),
        );
        add("binary", Some(vipd.display().to_string()));
        add("bpf_compiler", ebpf::compiler_version());
        add("bpf_linker", Some(ebpf::BPF_LINKER_VERSION.to_owned()));
    }
    add("kernel", sh::output(Command::new("uname").arg("-r")));
    versions
}

fn ms(duration: Duration) -> f64 {
    // Microseconds are precise enough to keep, and short enough to read.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

const UNDER_WAY: Duration = Duration::from_secs(1);
const ADVERT_INTERVAL_MS: f64 = 1000.0;
/// Of lb02: 3 advert intervals and its skew time, (256 - priority) / 256 of one.
const MASTER_DOWN_MS: f64 = 3.0 * ADVERT_INTERVAL_MS + (256.0 - 100.0) / 256.0 * ADVERT_INTERVAL_MS;
const SLACK_MS: f64 = 1000.0;
