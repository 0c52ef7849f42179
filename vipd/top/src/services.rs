//! `vipd top`'s view of services: a row for each real server, and below it the selected one with its service.

use std::fmt::Write;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph, Wrap},
};
use vipd_control::{
    model::{RealServerStatus, ServiceStatus, Status},
    status::{
        age,
        services::{octets, weight, why, words},
    },
};

use super::{
    columns::{Column, column, table},
    state::Top,
};

/// A real server with its service; a service without servers has one row.
#[derive(Clone, Copy, Debug)]
pub struct ServerRow<'t> {
    pub service: &'t ServiceStatus,
    pub server: Option<&'t RealServerStatus>,
}

/// What a row is found by, though others come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey {
    service: String,
    server: Option<String>,
}

impl<'t> ServerRow<'t> {
    /// Of all services, in the order of the configuration.
    pub fn all(status: &'t Status) -> Vec<Self> {
        let services = status.balancing.iter().flat_map(|balancing| &balancing.services);
        let rows = |service: &'t ServiceStatus| {
            let none = service.servers.is_empty().then_some(Self { service, server: None });
            let servers = service.servers.iter().map(move |server| Self { service, server: Some(server) });
            none.into_iter().chain(servers)
        };
        services.flat_map(rows).collect()
    }

    pub fn key(&self) -> ServerKey {
        let server = self.server.map(|server| server.server.clone());
        ServerKey { service: self.service.name.clone(), server }
    }

    pub fn title(&self) -> String {
        self.service.title()
    }

    pub fn is_well(&self) -> bool {
        self.server.is_some_and(RealServerStatus::is_well)
    }

    /// Those with problems come first.
    pub fn state_rank(&self) -> usize {
        let order = ["down", "down_serving", "unchecked", "drained", "draining", "rising", "no_weight"];
        let state = self.state();
        order.iter().position(|known| *known == state).unwrap_or(order.len())
    }

    pub fn state(&self) -> &'t str {
        self.server.map_or("", |server| server.state.as_str())
    }

    pub fn connections(&self) -> u64 {
        self.server.map_or(0, |server| server.active_connections)
    }

    /// Whether a search in lower case finds it.
    pub fn is_found_by(&self, search: &str) -> bool {
        let finds = |text: &str| text.to_lowercase().contains(search);
        finds(&self.service.name)
            || self.service.addresses.iter().any(|address| finds(address))
            || self.server.is_some_and(|server| finds(&server.server))
    }

    fn of(&self, cell: impl Fn(&RealServerStatus) -> String) -> Line<'static> {
        self.server.map_or("-".into(), |server| cell(server).into())
    }
}

fn columns<'t>() -> [Column<ServerRow<'t>>; 12] {
    [
        column("SERVICE", 8, 4, |row| row.title().into()),
        column("SERVER", 8, 0, |row| row.of(|server| server.server.clone())),
        column("METHOD", 6, 10, |row| row.of(|server| server.method.clone())),
        column("WEIGHT", 6, 5, |row| row.of(weight)),
        column("STATE", 8, 1, |row| Line::styled(row.state().replace('_', " "), style_of(row.state()))),
        column("FOR", 6, 3, |row| row.of(|server| age(server.in_state_ms))),
        column("ACTIVE", 6, 6, |row| row.of(|server| server.active_connections.to_string())),
        column("OTHER", 6, 11, |row| row.of(|server| server.inactive_connections.to_string())),
        column("CONNS/s", 7, 7, |row| row.of(|server| server.traffic.connections_per_s.to_string())),
        column("IN/s", 8, 8, |row| row.of(|server| octets(server.traffic.octets_in_per_s))),
        column("OUT/s", 8, 9, |row| row.of(|server| octets(server.traffic.octets_out_per_s))),
        column("WHY", 8, 2, |row| row.of(why)),
    ]
}

pub fn servers(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let selected = top.selected_server().map(|(at, _)| at);
    table(frame, area, &columns(), &top.servers(), selected, top.trouble.is_some());
}

/// The service of the selected server, and the checks of that server.
pub fn details(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let Some((_, row)) = top.selected_server() else {
        let problem = top.status().and_then(|status| status.balancing.as_ref()?.problem.clone());
        let block = Block::bordered().title(" no service ");
        frame.render_widget(Paragraph::new(problem.unwrap_or_default()).block(block), area);
        return;
    };
    let text = text_of(&row);
    // Two rows are the frame's.
    let hidden = text.lines().count().saturating_sub(area.height.saturating_sub(2).into());
    let mut block = Block::bordered().title(format!(" {} ", row.title()));
    if hidden > 0 {
        block = block.title_bottom(format!(" {hidden} more line{} ", if hidden == 1 { "" } else { "s" }));
    }
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

fn text_of(row: &ServerRow<'_>) -> String {
    let (service, mut text) = (row.service, String::new());
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<11}{value}");
    line("scheduler", service.scheduler.clone());
    if let Some(seconds) = service.persistence_s {
        line("persistent", format!("{seconds} s"));
    }
    for problem in words(service) {
        line("problem", problem);
    }
    line("quorum", format!("{}, live weight {}", service.quorum, service.live_weight));
    if let Some(sorry) = &service.sorry_server {
        line("sorry", format!("{sorry}{}", if service.sorry_serves { ", serves" } else { "" }));
    }
    let traffic = service.traffic;
    line(
        "traffic",
        format!(
            "{} connections, {}/s, in {}/s, out {}/s",
            traffic.connections,
            traffic.connections_per_s,
            octets(traffic.octets_in_per_s),
            octets(traffic.octets_out_per_s)
        ),
    );
    if service.addresses.len() > 1 {
        line("addresses", service.addresses.join(", "));
    }
    if let Some(server) = row.server {
        line("server", format!("{}: {} for {}", server.server, state_words(server), age(server.in_state_ms)));
        line("why", why(server));
        for check in &server.checks {
            let ran = check.ran_ms_ago.map(|ms| format!(", {} ago", age(ms))).unwrap_or_default();
            let took = check.latency_us.map(|us| format!(" in {us} µs")).unwrap_or_default();
            let passed = match check.passed {
                Some(true) => "passed",
                Some(false) => "failed",
                None => "no result yet",
            };
            let words = if check.words.is_empty() { String::new() } else { format!(": {}", check.words) };
            line("check", format!("{} {passed}{took}{ran}{words}", check.check));
        }
    }
    text
}

fn state_words(server: &RealServerStatus) -> String {
    server.state.replace('_', " ")
}

/// For the header; nothing without services.
pub fn summary(status: &Status) -> Vec<Span<'static>> {
    let Some(balancing) = &status.balancing else { return Vec::new() };
    let rows = ServerRow::all(status);
    let all = rows.iter().filter(|row| row.server.is_some()).count();
    let well = rows.iter().filter(|row| row.is_well()).count();
    let without =
        balancing.services.iter().filter(|service| !service.quorum_up && !service.servers.is_empty());
    let mut spans = Vec::new();
    if all > 0 {
        let style = if well == all { Style::from(Color::Green) } else { Color::Yellow.into() };
        spans.push(Span::styled(format!("{well} of {all} servers up  "), style));
    }
    let without = without.count();
    if without > 0 {
        spans.push(Span::styled(format!("{without} without quorum  "), Color::Red));
    }
    if balancing.problem.is_some() {
        spans.push(Span::styled("services not served as configured  ", Color::Red));
    }
    spans
}

fn style_of(state: &str) -> Style {
    match state {
        "up" => Style::from(Color::Green),
        "down" | "down_serving" => Style::from(Color::Red).add_modifier(Modifier::BOLD),
        "" => Style::new(),
        _ => Style::from(Color::Yellow),
    }
}
