//! How long a real server that is dead goes unnoticed: what `check --explain` says of the checks of load balancing.

use std::{fmt::Write, time::Duration};

use vipd_balance::{BalanceConfig, ProbeSpec, ProbeUse, ServiceTarget};
use vipd_probe::run_limit;

/// Comments for each service and server; nothing without services.
pub fn unnoticed(config: &BalanceConfig) -> String {
    let mut text = String::new();
    if config.servers().is_empty() {
        return text;
    }
    text.push_str("# For how long connections may go to a real server that has died, at most:\n");
    for server in config.servers() {
        let _ = writeln!(text, "#   {}", server.id);
        for target in &server.targets {
            let _ = writeln!(text, "#     {:<24} {}", target.id, of_target(target));
        }
    }
    text
}

/// The check that notices first is the one that counts.
fn of_target(target: &ServiceTarget) -> String {
    let first =
        target.checks.iter().filter(|check| check.probe.is_scheduled()).min_by_key(|check| longest(check));
    match first {
        Some(check) => format!("{}: {}", seconds(longest(check)), parts(check)),
        None if target.checks.is_empty() => "for ever: it has no check".to_owned(),
        None => "until its file says so".to_owned(),
    }
}

/// From just after a check that has passed: the pause, then as many runs as it takes, each until its timeout.
fn longest(check: &ProbeUse) -> Duration {
    let runs = check.retry.saturating_add(1);
    let pauses = check.delay_before_retry.saturating_mul(check.retry);
    // Of a command the period is counted from its start.
    check.delay_loop.saturating_add(pauses).saturating_add(silence(&check.probe).saturating_mul(runs))
}

/// How long a run takes whose server is silent.
fn silence(probe: &ProbeSpec) -> Duration {
    match (probe, probe.peer()) {
        (ProbeSpec::Misc { timeout, .. }, _) => *timeout,
        (_, Some(peer)) => peer.total_timeout.unwrap_or(Duration::MAX).min(peer.connect_timeout),
        (_, None) => Duration::ZERO,
    }
}

fn parts(check: &ProbeUse) -> String {
    let retries = match check.retry {
        0 => "no retry".to_owned(),
        1 => format!("1 retry after {}", seconds(check.delay_before_retry)),
        retry => format!("{retry} retries, each after {}", seconds(check.delay_before_retry)),
    };
    let is_read = matches!(
        check.probe,
        ProbeSpec::Http { .. } | ProbeSpec::Smtp { .. } | ProbeSpec::Text { udp: false, .. }
    );
    // The timeout is for each read.
    let drips = if is_read {
        format!(" ({} if the answer drips)", seconds(run_limit(&check.probe)))
    } else {
        String::new()
    };
    let (keyword, period) = (check.probe.keyword(), seconds(check.delay_loop));
    format!("{keyword} every {period}, {retries}, timeout {}{drips}", seconds(silence(&check.probe)))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, path::Path};

    use vipd_balance::ProbeSpec;
    use vipd_config::{Nothing, Unsupported};

    use super::*;

    #[test]
    fn keepaliveds_defaults_take_71_seconds() {
        let check = ProbeUse::new(ProbeSpec::tcp(SocketAddr::from(([10, 0, 0, 1], 80))));
        assert_eq!(longest(&check), Duration::from_secs(60 + 1 + 2 * 5));
    }

    #[test]
    fn each_server_has_its_line() {
        let text = "virtual_server 10.9.0.1 80 {\ndelay_loop 2\nlb_algo rr\nlb_kind DR\nprotocol TCP\nreal_server 10.0.0.1 80 {\nTCP_CHECK {\n\
                    connect_timeout 3\nretry 2\ndelay_before_retry 0.5\n}\n}\nreal_server 10.0.0.2 80 {\n}\n}\n";
        let loaded = vipd_config::parse(Path::new("k.conf"), text, &Nothing, Unsupported::Refused).unwrap();
        let expect = "\
# For how long connections may go to a real server that has died, at most:
#   [10.9.0.1]:tcp:80
#     10.0.0.1:80              12 s: TCP_CHECK every 2 s, 2 retries, each after 0.5 s, timeout 3 s
#     10.0.0.2:80              for ever: it has no check
";
        assert_eq!(unnoticed(&loaded.config.balance), expect);
        assert_eq!(unnoticed(&BalanceConfig::default()), "");
    }
}
