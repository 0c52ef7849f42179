//! The services of load balancing for people: `vipd services`, and a line for each in `vipd status`.

use std::io;

use anstyle::{AnsiColor, Style};

use super::{BOLD, DIM, WARN, age};
use crate::model::{BalancingStatus, RealServerStatus, ServiceStatus, TrafficStatus};

/// Writes every service with its servers, with the escape sequences of colours.
pub fn render(out: &mut impl io::Write, balancing: &BalancingStatus) -> io::Result<()> {
    problem(out, balancing)?;
    for (n, service) in balancing.services.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        one(out, service)?;
    }
    if balancing.services.is_empty() && balancing.problem.is_none() {
        writeln!(out, "no virtual server")?;
    }
    for daemon in &balancing.sync_daemons {
        writeln!(out, "sync daemon: {daemon}")?;
    }
    Ok(())
}

/// Writes a line for each service: for `vipd status`.
pub fn lines(out: &mut impl io::Write, balancing: &BalancingStatus) -> io::Result<()> {
    if balancing.services.is_empty() && balancing.problem.is_none() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}services{BOLD:#}")?;
    problem(out, balancing)?;
    for service in &balancing.services {
        let well = service.servers.iter().filter(|server| server.is_well()).count();
        let all = service.servers.len();
        let style = if well == all { Style::new() } else { WARN };
        write!(out, "  {:<24} {style}{well} of {all} servers up{style:#}", service.title())?;
        for word in words(service) {
            write!(out, ", {WARN}{word}{WARN:#}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn problem(out: &mut impl io::Write, balancing: &BalancingStatus) -> io::Result<()> {
    match &balancing.problem {
        Some(problem) => writeln!(out, "{WARN}not served as configured: {problem}{WARN:#}"),
        None => Ok(()),
    }
}

/// What is not as usual with a service.
pub fn words(service: &ServiceStatus) -> Vec<String> {
    let quorum = !service.quorum_up && !service.servers.is_empty();
    [
        (quorum, format!("no quorum ({} of {})", service.live_weight, service.quorum)),
        (
            service.sorry_serves,
            format!("sorry server {} serves", service.sorry_server.as_deref().unwrap_or_default()),
        ),
        (service.failed_serve, "failed servers serve (min_alive)".to_owned()),
        (service.suspended, "checks suspended (ha_suspend)".to_owned()),
        (service.refused.is_some(), service.refused.clone().unwrap_or_default()),
    ]
    .into_iter()
    .filter_map(|(is_so, words)| is_so.then_some(words))
    .collect()
}

fn one(out: &mut impl io::Write, service: &ServiceStatus) -> io::Result<()> {
    let persistence = service.persistence_s.map(|s| format!(", persistence {s} s")).unwrap_or_default();
    let TrafficStatus { connections, connections_per_s, octets_in_per_s, octets_out_per_s, .. } =
        service.traffic;
    write!(out, "{BOLD}{}{BOLD:#}  {}{persistence}", service.title(), service.scheduler)?;
    writeln!(
        out,
        "  {DIM}{connections} connections, {connections_per_s}/s, in {}/s, out {}/s{DIM:#}",
        octets(octets_in_per_s),
        octets(octets_out_per_s)
    )?;
    for word in words(service) {
        writeln!(out, "  {WARN}{word}{WARN:#}")?;
    }
    let rows: Vec<[String; COLUMNS]> = service.servers.iter().map(cells).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row: &[String; COLUMNS]| row[at].chars().count());
        cells.chain([HEADS[at].len()]).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    if !rows.is_empty() {
        line(out, &HEADS.map(str::to_owned), &widths, DIM)?;
    }
    for (server, row) in service.servers.iter().zip(&rows) {
        line(out, row, &widths, style_of(server))?;
    }
    Ok(())
}

/// Only the state has the style; nothing is written behind the last cell.
fn line(
    out: &mut impl io::Write,
    cells: &[String; COLUMNS],
    widths: &[usize; COLUMNS],
    style: Style,
) -> io::Result<()> {
    for (at, (text, width)) in cells.iter().zip(widths).enumerate() {
        let style = if at == STATE || style == DIM { style } else { Style::new() };
        let fill = if at + 1 == COLUMNS { 0 } else { width - text.chars().count() };
        write!(out, "  {style}{text}{style:#}{:fill$}", "")?;
    }
    writeln!(out)
}

fn style_of(server: &RealServerStatus) -> Style {
    match server.state.as_str() {
        "up" => AnsiColor::Green.on_default(),
        "down" | "down_serving" => AnsiColor::Red.on_default().bold(),
        _ => WARN,
    }
}

const COLUMNS: usize = 9;
const HEADS: [&str; COLUMNS] =
    ["SERVER", "METHOD", "WEIGHT", "STATE", "FOR", "ACTIVE", "OTHER", "CONNS/S", "WHY"];
const STATE: usize = 3;

/// Its weight in the kernel's table, and the full one if that is another.
pub fn weight(server: &RealServerStatus) -> String {
    match server.weight {
        None => "-".to_owned(),
        Some(weight) if weight == server.full_weight => weight.to_string(),
        Some(weight) => format!("{weight} of {}", server.full_weight),
    }
}

fn cells(server: &RealServerStatus) -> [String; COLUMNS] {
    [
        server.server.clone(),
        server.method.clone(),
        weight(server),
        server.state.replace('_', " "),
        age(server.in_state_ms),
        server.active_connections.to_string(),
        server.inactive_connections.to_string(),
        server.traffic.connections_per_s.to_string(),
        why(server),
    ]
}

/// Why a server is in its state: of one that is up, what its checks have said.
pub fn why(server: &RealServerStatus) -> String {
    if server.state != "up" {
        return server.reason.clone();
    }
    let said = |check: &crate::model::ServerCheckStatus| {
        let keyword = check.check.split(' ').next().unwrap_or_default();
        Some(format!("{keyword}: {}", Some(&check.words).filter(|words| !words.is_empty())?))
    };
    server.checks.iter().filter_map(said).collect::<Vec<_>>().join("; ")
}

/// `1.5 kB`.
pub fn octets(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut whole, mut tenth, mut unit) = (count, 0, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        (whole, tenth, unit) = (whole / 1000, whole % 1000 / 100, unit + 1);
    }
    match unit {
        0 => format!("{whole} B"),
        unit => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::samples;

    fn plain(render: impl Fn(&mut Vec<u8>, &BalancingStatus) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        render(&mut out, &samples::balancing()).unwrap();
        anstream::adapter::strip_str(&String::from_utf8_lossy(&out)).to_string()
    }

    #[test]
    fn every_server_is_shown_with_its_reason() {
        let text = plain(render);
        let expect = "\
10.0.0.3:80 TCP  wrr  1200 connections, 12/s, in 1.5 kB/s, out 64.0 kB/s
  SERVER        METHOD  WEIGHT  STATE     FOR    ACTIVE  OTHER  CONNS/S  WHY
  10.1.0.11:80  NAT     3       up        2h 0m  42      7      12       HTTP_GET: HTTP 200, 512 octets
  10.1.0.12:80  NAT     -       down      5s     0       0      0        HTTP_GET: connection refused
  10.1.0.13:80  NAT     0 of 1  draining  1m 0s  3       0      0        is drained

fwmark 7  mh, persistence 300 s  0 connections, 0/s, in 0 B/s, out 0 B/s
  no quorum (0 of 1)
  sorry server 127.0.0.1:80 serves
  SERVER       METHOD  WEIGHT  STATE      FOR  ACTIVE  OTHER  CONNS/S  WHY
  10.1.0.11:0  DR      -       unchecked  1s   0       0      0        not checked yet
sync daemon: master on eth1
";
        assert_eq!(text, expect);
    }

    #[test]
    fn status_has_a_line_for_each() {
        let expect = "
services
  10.0.0.3:80 TCP          1 of 3 servers up
  fwmark 7                 0 of 1 servers up, no quorum (0 of 1), sorry server 127.0.0.1:80 serves
";
        assert_eq!(plain(lines), expect);
    }

    #[test]
    fn octets_have_the_unit_that_fits() {
        for (count, expect) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_999_999, "1.9 MB"), (u64::MAX, "18446744.0 TB")]
        {
            assert_eq!(octets(count), expect);
        }
    }
}
