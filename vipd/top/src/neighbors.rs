//! `vipd top`'s view of neighbors: a row for each BFD session and each probed host, and below it the selected one.

use std::fmt::Write;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph, Wrap},
};
use vipd_control::{
    model::{BfdSessionStatus, ProbedPeerStatus, Status},
    status::{age, micros},
};

use super::{
    columns::{Column, column, table},
    state::Top,
};

/// A neighbor of either kind.
#[derive(Clone, Copy, Debug)]
pub enum NeighborRow<'t> {
    Session(&'t BfdSessionStatus),
    Host(&'t ProbedPeerStatus),
}

impl<'t> NeighborRow<'t> {
    /// The sessions in the order of the configuration, then the hosts.
    pub fn all(status: &'t Status) -> Vec<Self> {
        let sessions = status.bfd_sessions.iter().map(Self::Session);
        sessions.chain(status.probes.iter().map(Self::Host)).collect()
    }

    /// What a row is found by, though others come and go.
    pub fn key(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    pub fn name(&self) -> String {
        match self {
            Self::Session(session) => session.name.clone(),
            Self::Host(host) => format!("{} {}", host.interface, host.family),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "bfd",
            Self::Host(_) => "probe",
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Session(session) => session.neighbor.to_string(),
            Self::Host(host) => host.peer.map_or("-".to_owned(), |peer| peer.to_string()),
        }
    }

    fn state(&self) -> &'t str {
        match self {
            Self::Session(session) => &session.state,
            Self::Host(host) => &host.state,
        }
    }

    pub fn is_well(&self) -> bool {
        match self {
            Self::Session(session) => session.is_up() && session.problem.is_none(),
            Self::Host(host) => host.state == "up",
        }
    }

    fn style(&self) -> Style {
        let is_meant = match self {
            Self::Session(session) => session.counts_as_up,
            Self::Host(host) => host.state == "leaving",
        };
        match (self.is_well(), is_meant) {
            (true, _) => Color::Green.into(),
            (false, true) => Color::Yellow.into(),
            (false, false) => Color::Red.into(),
        }
    }

    fn interval_us(&self) -> u64 {
        match self {
            Self::Session(session) => session.transmit_interval_us,
            Self::Host(host) => host.interval_us,
        }
    }

    /// Time without a word after which the neighbor is down.
    fn detection_us(&self) -> Option<u64> {
        match self {
            Self::Session(session) => session.detection_time_us,
            Self::Host(host) => Some(host.interval_us.saturating_mul(host.multiplier.into())),
        }
    }

    fn heard_ms_ago(&self) -> Option<u64> {
        match self {
            Self::Session(session) => session.heard_ms_ago,
            Self::Host(host) => host.heard_ms_ago,
        }
    }

    fn why(&self) -> String {
        let why = match self {
            Self::Session(session) => session.problem.clone().or_else(|| session.reason.clone()),
            Self::Host(host) => host.send_error.clone(),
        };
        why.unwrap_or_else(|| "-".to_owned())
    }

    /// Whether a search in lower case finds it.
    pub fn is_found_by(&self, search: &str) -> bool {
        self.name().to_lowercase().contains(search) || self.address().contains(search)
    }
}

fn columns<'t>() -> [Column<NeighborRow<'t>>; 8] {
    [
        column("NEIGHBOR", 8, 0, |row| row.name().into()),
        column("KIND", 5, 5, |row| row.kind().into()),
        column("ADDRESS", 8, 3, |row| row.address().into()),
        column("STATE", 9, 1, |row| Line::styled(row.state().to_owned(), row.style())),
        column("EVERY", 8, 6, |row| micros(row.interval_us()).into()),
        column("DETECTS", 8, 7, |row| row.detection_us().map_or("-".to_owned(), micros).into()),
        column("HEARD", 6, 4, |row| row.heard_ms_ago().map_or("never".to_owned(), age).into()),
        column("WHY", 8, 2, |row| row.why().into()),
    ]
}

pub fn neighbors(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let selected = top.selected_neighbor().map(|(at, _)| at);
    table(frame, area, &columns(), &top.neighbors(), selected, top.trouble.is_some());
}

/// All that is known of the selected one.
pub fn details(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let Some((_, row)) = top.selected_neighbor() else {
        return frame.render_widget(Block::bordered().title(" no neighbor "), area);
    };
    let text = text_of(&row);
    // Two rows are the frame's.
    let hidden = text.lines().count().saturating_sub(area.height.saturating_sub(2).into());
    let mut block = Block::bordered().title(format!(" {} ", row.name()));
    if hidden > 0 {
        block = block.title_bottom(format!(" {hidden} more line{} ", if hidden == 1 { "" } else { "s" }));
    }
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), area);
}

fn text_of(row: &NeighborRow<'_>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<11}{value}");
    match row {
        NeighborRow::Session(session) => {
            line("state", format!("{} for {}", session.state, age(session.in_state_ms)));
            if let Some(problem) = &session.problem {
                line("problem", problem.clone());
            }
            if let Some(remedy) = &session.remedy {
                line("remedy", remedy.clone());
            }
            line("counts as", if session.counts_as_up { "up" } else { "down" }.to_owned());
            line("neighbor", session.remote_state.clone().unwrap_or_else(|| "is not heard".to_owned()));
            line("hears by", session.hears_by.clone());
            line(
                "packets",
                format!(
                    "{} sent, {} received, {} refused",
                    session.packets_sent, session.packets_received, session.packets_refused
                ),
            );
            if let Some(reason) = &session.refused_reason {
                line("refused", reason.clone());
            }
            line("downs", session.downs.to_string());
        }
        NeighborRow::Host(host) => {
            line("state", host.state.clone());
            line("probes", format!("{} sent, {} lost", host.sent, host.lost));
            let times = [host.round_trip_last_us, host.round_trip_median_us, host.round_trip_p99_us];
            let [last, median, p99] = times.map(|time| time.map_or("-".to_owned(), micros));
            line("round trip", format!("{last}, median {median}, 99 % within {p99}"));
            line("silence", format!("{} at most", micros(host.longest_silence_us)));
            for router in &host.routers {
                let owns = if router.owner { ", owns the VIPs" } else { "" };
                line("router", format!("VRID {}, priority {}{owns}", router.vrid, router.priority));
            }
        }
    }
    text
}

/// For the header; nothing without neighbors.
pub fn summary(status: &Status) -> Vec<Span<'static>> {
    let rows = NeighborRow::all(status);
    if rows.is_empty() {
        return Vec::new();
    }
    let well = rows.iter().filter(|row| row.is_well()).count();
    let style = if well == rows.len() { Style::from(Color::Green) } else { Color::Yellow.into() };
    vec![Span::styled(format!("{well} of {} neighbors up  ", rows.len()), style)]
}
