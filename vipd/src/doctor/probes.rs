//! Hosts that are probed: what keeps the probes from saying something, and which interval they say the network bears.

use super::{Facts, Findings};
use crate::control::model::ProbedPeerStatus;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let peers = facts.running.iter().flat_map(|status| &status.probes);
    peers.for_each(|peer| host(peer, findings));
}

fn host(peer: &ProbedPeerStatus, findings: &mut Findings) {
    let about = &peer.interface;
    let name = name_of(peer);
    if let Some(error) = &peer.send_error {
        let fix = "check the interface and its address";
        return findings.problem(about, CHECK, format!("probes to {name} do not leave: {error}"), fix);
    }
    if peer.state == "leaving" {
        return findings.ok(about, CHECK, format!("{name} has said that its vipd stops"));
    }
    if peer.state != "up" {
        let fix = format!(
            "check that {name} runs vipd with the same `probe` (keepalived never answers), and that nothing drops UDP port 7784"
        );
        let so = if peer.takes_over { ": only missed adverts have it replaced" } else { "" };
        return findings.warning(about, CHECK, format!("{name} answers no probe{so}"), fix);
    }
    let own = (peer.interval_us, peer.multiplier);
    if let Some(theirs) = peer.peer_interval_us.zip(peer.peer_multiplier).filter(|theirs| *theirs != own) {
        let so = if peer.takes_over { ": no silence is acted on" } else { "" };
        let what = format!("{name} probes {}, and this node {}{so}", rhythm(theirs), rhythm(own));
        return findings.warning(
            about,
            CHECK,
            what,
            "write the same `interval` and `multiplier` on all nodes",
        );
    }
    let shown = format!(
        "{name}: longest silence {}, {} of {} probes lost, {} false alarms in {}",
        ms(peer.longest_silence_us),
        peer.lost,
        peer.sent,
        peer.false_alarms,
        duration(peer.measured_ms)
    );
    // A takeover that should not have been needs no ten minutes to be one.
    if peer.measured_ms < LEAST_MEASURED_MS && !(peer.takes_over && peer.false_alarms > 0) {
        let what = format!("{shown}: too short a time for an interval to be recommended");
        return findings.ok(about, CHECK, what);
    }
    if peer.late > peer.sent / LATE_SHARE {
        let what = format!("{shown}; this node was late {} times itself, and counted anew", peer.late);
        return findings.warning(
            about,
            CHECK,
            what,
            "permit real-time scheduling (CAP_SYS_NICE), or choose a longer interval",
        );
    }
    let Some(borne) = recommended(peer) else {
        let fix = "leave probes at `act no`: look for what silences the host for so long";
        if peer.takes_over {
            return findings.problem(about, CHECK, format!("{shown}: no interval bears that"), fix);
        }
        return findings.warning(about, CHECK, format!("{shown}: no interval bears that"), fix);
    };
    if peer.false_alarms > 0 || borne > peer.interval_us {
        let fix = format!("write `interval {}` on all nodes, and look again", decimal(borne));
        if peer.takes_over {
            let what = format!("{shown}: {} is too quick for `act takeover`", rhythm(own));
            return findings.problem(about, CHECK, what, fix);
        }
        return findings.warning(about, CHECK, format!("{shown}: {} is too quick", rhythm(own)), fix);
    }
    let quicker = if borne < peer.interval_us {
        format!("; {} would be borne too", rhythm((borne, peer.multiplier)))
    } else {
        String::new()
    };
    findings.ok(about, CHECK, format!("{shown}: {} is borne{quicker}", rhythm(own)));
}

/// What a host is called.
pub fn name_of(peer: &ProbedPeerStatus) -> String {
    peer.peer.map_or_else(|| "a host".to_owned(), |address| address.to_string())
}

/// The shortest of [`INTERVALS_US`] at which a silence of twice the longest that was seen would not have been acted on.
fn recommended(peer: &ProbedPeerStatus) -> Option<u64> {
    let multiplier = u64::from(peer.multiplier.max(1));
    let wanted = peer.longest_silence_us.saturating_mul(2);
    // A false alarm at an interval shows that it is too short, whatever the silence was.
    let above = if peer.false_alarms > 0 { peer.interval_us } else { 0 };
    INTERVALS_US
        .into_iter()
        .find(|interval| interval.saturating_mul(multiplier) >= wanted && *interval > above)
}

fn rhythm((interval_us, multiplier): (u64, u8)) -> String {
    format!("{multiplier} x {}", ms(interval_us))
}

pub fn ms(us: u64) -> String {
    format!("{} ms", decimal(us))
}

/// Microseconds as the keyword has them, in milliseconds: `3.3`.
fn decimal(us: u64) -> String {
    let text = format!("{}.{:03}", us / 1_000, us % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn duration(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

const CHECK: &str = "probes";
/// What is recommended: bare metal bears the first, most guests the second.
const INTERVALS_US: [u64; 9] = [3_300, 10_000, 20_000, 33_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];
/// A shorter time says nothing of what happens once an hour.
const LEAST_MEASURED_MS: u64 = 600_000;
/// One in so many is still bearable.
const LATE_SHARE: u64 = 1_000;
