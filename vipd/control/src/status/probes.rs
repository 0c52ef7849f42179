//! The hosts that are probed: a line for each, and one below it for what `act takeover` has done, or would have.

use std::io::{self, Write};

use super::{BOLD, DIM, WARN, age};
use crate::model::ProbedPeerStatus;

/// A block for each host.
pub fn lines(out: &mut impl Write, probes: &[ProbedPeerStatus]) -> io::Result<()> {
    probes.iter().try_for_each(|peer| one(out, peer))
}

fn one(out: &mut impl Write, p: &ProbedPeerStatus) -> io::Result<()> {
    let peer = p.peer.map(|peer| peer.to_string()).unwrap_or_default();
    let style = if p.state == "down" { WARN } else { DIM };
    let daemon = match (p.state.as_str(), p.daemon_speaks) {
        ("up", false) => ", its vipd is silent",
        _ => "",
    };
    writeln!(
        out,
        "\n{BOLD}probes of {peer}{BOLD:#} on {}: {style}{}{style:#}{daemon}, {} x {} for {}",
        p.interface,
        p.state,
        p.multiplier,
        ms(p.interval_us),
        age(p.measured_ms)
    )?;
    if let (Some(last), Some(least), Some(median), Some(p99), Some(greatest)) = (
        p.round_trip_last_us,
        p.round_trip_least_us,
        p.round_trip_median_us,
        p.round_trip_p99_us,
        p.round_trip_greatest_us,
    ) {
        writeln!(
            out,
            "  round trip {}, least {}, median {}, p99 {}, greatest {}",
            ms(last),
            ms(least),
            ms(median),
            ms(p99),
            ms(greatest)
        )?;
    }
    let when = p.longest_silence_ms_ago.map(|ago| format!(", {} ago", age(ago))).unwrap_or_default();
    let silence = ms(p.longest_silence_us);
    writeln!(out, "  lost {} of {}, longest silence {silence}{when}, late here {}", p.lost, p.sent, p.late)?;
    let when =
        p.last_false_alarm_ms_ago.map(|ago| format!(", the last {} ago", age(ago))).unwrap_or_default();
    let alarms = p.false_alarms;
    let style = if alarms > 0 { WARN } else { DIM };
    let what = if p.takes_over { "false alarms" } else { "false alarms that `act takeover` would have had" };
    writeln!(out, "  {style}{what}: {alarms}{when}{style:#}")?;
    if let Some(error) = &p.send_error {
        writeln!(out, "  {WARN}the last probe was not sent: {error}{WARN:#}")?;
    }
    Ok(())
}

pub fn ms(us: u64) -> String {
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_figures() {
        let probed = ProbedPeerStatus {
            interface: "eth0".into(),
            peer: Some("10.0.0.6".parse().unwrap()),
            state: "up".into(),
            interval_us: 3_300,
            multiplier: 3,
            measured_ms: 61_000,
            sent: 18_000,
            lost: 2,
            longest_silence_us: 9_900,
            longest_silence_ms_ago: Some(5_000),
            false_alarms: 1,
            last_false_alarm_ms_ago: Some(4_000),
            ..ProbedPeerStatus::default()
        };
        let mut out = Vec::new();
        lines(&mut out, &[probed]).unwrap();
        let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
        assert!(text.contains("probes of 10.0.0.6 on eth0: up, its vipd is silent, 3 x 3.300 ms"), "{text}");
        assert!(text.contains("lost 2 of 18000, longest silence 9.900 ms"), "{text}");
        assert!(text.contains("would have had: 1"), "{text}");
    }
}
