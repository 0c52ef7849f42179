//! Early takeover: the lines of an instance, and who vouches for the node.

use std::io::{self, Write};

use super::{BOLD, DIM, UNVOUCHED, WARN, age, probes::ms};
use crate::model::{EarlyStatus, InstanceStatus, SponsorsStatus};

/// The value of the row `early` of an instance, and what its claims came to; none if there is nothing to say.
pub fn of_instance(i: &InstanceStatus) -> Vec<String> {
    let Some(early) = &i.early else { return Vec::new() };
    let masters = || early.follows.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let mut lines = Vec::new();
    if early.unvouched {
        lines.push(format!("{WARN}{UNVOUCHED}{WARN:#}"));
    }
    if !early.one_way.is_empty() {
        let nodes = early.one_way.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let verb = if early.one_way.len() == 1 { "does" } else { "do" };
        let means = if i.state == "MASTER" { "" } else { ": no preemption until that is over" };
        lines.push(format!("{WARN}{nodes} {verb} not hear this node{WARN:#}{means}"));
    }
    if early.armed {
        lines.push(format!("takes over after {} of silence of {}", ms(early.acts_after_us), masters()));
    } else if let Some(reason) = &early.unarmed_reason {
        let left = early.disarmed_left_ms.map(|left| format!(" for {}", age(left))).unwrap_or_default();
        lines.push(format!("{WARN}not armed{left}{WARN:#}: {reason}"));
    }
    if early.claims {
        lines.push("outbids a silent master: its claim still stands".to_owned());
    }
    lines.extend(claims(early));
    lines
}

fn claims(early: &EarlyStatus) -> Option<String> {
    let EarlyStatus { claims_made, claims_in_vain, false_alarms, .. } = early;
    let plural = if *claims_made == 1 { "" } else { "s" };
    let made = format!("{claims_made} claim{plural}");
    match (claims_made, claims_in_vain, false_alarms) {
        (0, ..) => None,
        (_, 0, 0) => Some(made),
        _ => {
            let alarms = format!("{false_alarms} after a false alarm");
            Some(format!("{WARN}{made}, {alarms}, {claims_in_vain} in vain{WARN:#}"))
        }
    }
}

/// The block of the node.
pub fn sponsors(out: &mut impl Write, sponsors: &SponsorsStatus) -> io::Result<()> {
    let beat = sponsors.beat_ms_ago.map(|ago| format!(", vipd spoke {} ago", age(ago))).unwrap_or_default();
    match (sponsors.vouched_for, sponsors.unvouched_ms) {
        (true, _) => writeln!(out, "\n{BOLD}early takeover{BOLD:#}: this node is vouched for{beat}")?,
        (false, lapse) => {
            let lapse = lapse.map(|ms| format!(" for {}", age(ms))).unwrap_or_default();
            writeln!(
                out,
                "\n{BOLD}early takeover{BOLD:#}: {WARN}nobody vouches for this node{lapse}{WARN:#}{beat}"
            )?;
        }
    }
    for backup in &sponsors.backups {
        let peer = backup.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let (style, how) = if backup.vouches { (DIM, "probed") } else { (WARN, "silent, probed") };
        let on = &backup.interface;
        writeln!(
            out,
            "  {DIM}backup    {DIM:#} {peer} on {on}: {style}{how} {} ago{style:#}",
            age(backup.probe_ms_ago)
        )?;
    }
    if sponsors.uncounted > 0 {
        let count = sponsors.uncounted;
        writeln!(
            out,
            "  {DIM}backup    {DIM:#} {WARN}{count} more than there is room for: by adverts only{WARN:#}"
        )?;
    }
    for arbiter in &sponsors.arbiters {
        let (style, how) = match (arbiter.reached, arbiter.reached_ms_ago) {
            (true, Some(ago)) => (DIM, format!("reached {} ago", age(ago))),
            (_, Some(ago)) => (WARN, format!("not reached for {}", age(ago))),
            (_, None) => (WARN, "never reached".to_owned()),
        };
        writeln!(out, "  {DIM}arbiter   {DIM:#} {}: {style}{how}{style:#}", arbiter.name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EarlyArbiterStatus, EarlyBackupStatus, samples};

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn rows(change: impl FnOnce(&mut EarlyStatus)) -> Vec<String> {
        let mut i = samples::backup("VI_1", 51);
        let mut early = samples::armed();
        change(&mut early);
        i.early = Some(early);
        of_instance(&i).iter().map(|line| plain(line)).collect()
    }

    #[test]
    fn an_instance_says_what_it_would_do_and_what_it_did() {
        let armed = "takes over after 30.000 ms of silence of 10.0.0.6";
        assert_eq!(rows(|_| {}), [armed]);
        assert_eq!(rows(|e| e.claims_made = 1), [armed, "1 claim"]);
        assert_eq!(
            rows(|e| (e.claims_made, e.false_alarms) = (3, 1)),
            [armed, "3 claims, 1 after a false alarm, 0 in vain"]
        );
        let unarmed = |e: &mut EarlyStatus| {
            (e.armed, e.unarmed_reason) = (false, Some("10.0.0.6 sends no probes".into()));
        };
        assert_eq!(rows(unarmed), ["not armed: 10.0.0.6 sends no probes"]);
        let disarmed = |e: &mut EarlyStatus| {
            (e.armed, e.unarmed_reason) = (false, Some("its last claim was a false alarm".into()));
            e.disarmed_left_ms = Some(25_000);
        };
        assert_eq!(rows(disarmed), ["not armed for 25s: its last claim was a false alarm"]);
        let claims = |e: &mut EarlyStatus| (e.armed, e.claims, e.claims_made) = (false, true, 1);
        assert_eq!(rows(claims), ["outbids a silent master: its claim still stands", "1 claim"]);
        let one_way = |e: &mut EarlyStatus| e.one_way = e.follows.clone();
        assert_eq!(
            rows(one_way),
            ["10.0.0.6 does not hear this node: no preemption until that is over", armed]
        );
        let unvouched = |e: &mut EarlyStatus| (e.armed, e.unvouched) = (false, true);
        assert_eq!(rows(unvouched), [UNVOUCHED]);
        assert_eq!(of_instance(&samples::backup("VI_1", 51)), [""; 0]);
    }

    #[test]
    fn a_node_says_who_vouches_for_it() {
        let shown = |change: fn(&mut SponsorsStatus)| {
            let mut status = samples::sponsors();
            change(&mut status);
            let mut out = Vec::new();
            sponsors(&mut out, &status).unwrap();
            plain(std::str::from_utf8(&out).unwrap())
        };
        let expected = "
early takeover: this node is vouched for, vipd spoke 4ms ago
  backup     10.0.0.6 on eth0: probed 3ms ago
  arbiter    gw: reached 8ms ago
";
        assert_eq!(shown(|_| {}), expected);
        let expected = "
early takeover: nobody vouches for this node for 7s, vipd spoke 7s ago
  backup     10.0.0.6 on eth0: silent, probed 9s ago
  backup     2 more than there is room for: by adverts only
  arbiter    gw: not reached for 7s
  arbiter    gx: never reached
";
        let silent = |s: &mut SponsorsStatus| {
            (s.vouched_for, s.unvouched_ms, s.beat_ms_ago) = (false, Some(7_000), Some(7_020));
            s.uncounted = 2;
            let backup = &s.backups[0];
            s.backups = vec![EarlyBackupStatus { probe_ms_ago: 9_000, vouches: false, ..backup.clone() }];
            s.arbiters[0] =
                EarlyArbiterStatus { reached: false, reached_ms_ago: Some(7_040), ..s.arbiters[0].clone() };
            s.arbiters.push(EarlyArbiterStatus { name: "gx".into(), ..EarlyArbiterStatus::default() });
        };
        assert_eq!(shown(silent), expected);
    }
}
