//! State of `vipd top`: the last statuses of the daemon, and the user's choices.
//!
//! No terminal, no clock: the statuses carry the daemon's own time.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
    time::Duration,
};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    filter::Filter,
    neighbors::NeighborRow,
    services::{ServerKey, ServerRow},
};
use vipd_control::{
    model::{InstanceStatus, Status},
    status::sum,
};

/// Rows that a page key moves by.
const PAGE: isize = 10;

/// Everything that the screen shows.
#[derive(Debug, Default)]
pub struct Top {
    /// The last status, and the one before it if it is from the same daemon.
    latest: Option<Status>,
    before: Option<Status>,
    /// Why there is no newer answer.
    pub trouble: Option<String>,
    /// By name, so that another order keeps the selection.
    selected: Option<String>,
    selected_server: Option<ServerKey>,
    selected_neighbor: Option<String>,
    pub view: View,
    pub sort: Sort,
    pub server_sort: ServerSort,
    pub neighbor_sort: NeighborSort,
    pub reversed: bool,
    /// Whether the selected instance takes most of the room.
    pub enlarged: bool,
    /// Which instances are shown.
    pub filter: Filter,
    /// Whether the help covers the rest.
    pub help: bool,
}

/// What the table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Routers,
    Services,
    /// BFD sessions and probed hosts.
    Neighbors,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerSort {
    #[default]
    Configuration,
    Server,
    State,
    Connections,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NeighborSort {
    #[default]
    Configuration,
    Name,
    State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Configuration,
    Name,
    State,
    Adverts,
    Discards,
}

/// Effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    Go,
    End,
}

/// Of one instance, by the second; `None` with the first answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub sent: Option<f64>,
    pub received: Option<f64>,
    pub discarded: Option<f64>,
    pub answered: Option<f64>,
}

impl Top {
    /// Takes an answer.
    pub fn take(&mut self, status: Status) {
        self.trouble = None;
        let before = self.latest.replace(status);
        let latest = self.latest.as_ref().expect("just put there");
        self.before = before.filter(|b| b.pid == latest.pid && b.uptime_ms < latest.uptime_ms);
        if !latest.instances.iter().any(|i| Some(&i.name) == self.selected.as_ref()) {
            self.selected = latest.instances.first().map(|i| i.name.clone());
        }
    }

    /// There was no answer, for this reason; what was known stays.
    pub fn is_in_trouble(&mut self, why: String) {
        self.trouble = Some(why);
        // The next answer is of another time.
        self.before = None;
    }

    /// There is no answer yet.
    pub fn is_kept_waiting(&mut self) {
        self.trouble.get_or_insert_with(|| "vipd has not answered yet".into());
    }

    pub fn status(&self) -> Option<&Status> {
        self.latest.as_ref()
    }

    /// The instances that are chosen, in the order that is.
    pub fn instances(&self) -> Vec<&InstanceStatus> {
        let all = self.latest.iter().flat_map(|status| &status.instances);
        let mut instances: Vec<_> = all.filter(|i| self.filter.shows(i)).collect();
        // Stable: what is equal stays as in the configuration.
        match self.sort {
            Sort::Configuration => {}
            Sort::Name => instances.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::State => instances.sort_by_key(|i| state_rank(&i.state)),
            Sort::Adverts => instances.sort_by(|a, b| more(self.adverts(a), self.adverts(b))),
            Sort::Discards => instances.sort_by_key(|i| Reverse(sum(i.discards.values()))),
        }
        if self.reversed {
            instances.reverse();
        }
        instances
    }

    /// The selected instance and its row; the first of those that are shown if it is not among them.
    pub fn selected(&self) -> Option<(usize, &InstanceStatus)> {
        let selected = self.selected.as_ref()?;
        let instances = self.instances();
        let at = instances.iter().position(|i| i.name == *selected).unwrap_or_default();
        instances.get(at).map(|i| (at, *i))
    }

    pub fn has_services(&self) -> bool {
        self.latest.as_ref().is_some_and(|status| status.balancing.is_some())
    }

    /// The real servers that are chosen, in the order that is.
    pub fn servers(&self) -> Vec<ServerRow<'_>> {
        let all = self.latest.iter().flat_map(ServerRow::all);
        let mut rows: Vec<_> = all.filter(|row| self.filter.shows_server(row)).collect();
        match self.server_sort {
            ServerSort::Configuration => {}
            ServerSort::Server => rows.sort_by_key(|row| row.server.map(|server| server.server.clone())),
            ServerSort::State => rows.sort_by_key(ServerRow::state_rank),
            ServerSort::Connections => rows.sort_by_key(|row| Reverse(row.connections())),
        }
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// The selected real server and its row; the first of those that are shown if it is not among them.
    pub fn selected_server(&self) -> Option<(usize, ServerRow<'_>)> {
        let rows = self.servers();
        let is_it = |row: &ServerRow<'_>| Some(row.key()) == self.selected_server;
        let at = rows.iter().position(is_it).unwrap_or_default();
        rows.get(at).map(|row| (at, *row))
    }

    pub fn has_neighbors(&self) -> bool {
        self.latest.as_ref().is_some_and(|status| !NeighborRow::all(status).is_empty())
    }

    /// The neighbors that are chosen, in the order that is.
    pub fn neighbors(&self) -> Vec<NeighborRow<'_>> {
        let all = self.latest.iter().flat_map(NeighborRow::all);
        let mut rows: Vec<_> = all.filter(|row| self.filter.shows_neighbor(row)).collect();
        match self.neighbor_sort {
            NeighborSort::Configuration => {}
            NeighborSort::Name => rows.sort_by_key(NeighborRow::name),
            // Those with problems come first.
            NeighborSort::State => rows.sort_by_key(NeighborRow::is_well),
        }
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// The selected neighbor and its row; the first of those that are shown if it is not among them.
    pub fn selected_neighbor(&self) -> Option<(usize, NeighborRow<'_>)> {
        let rows = self.neighbors();
        let is_it = |row: &NeighborRow<'_>| Some(row.key()) == self.selected_neighbor;
        let at = rows.iter().position(is_it).unwrap_or_default();
        rows.get(at).map(|row| (at, *row))
    }

    /// Rows that are shown, and all that there are.
    pub fn shown(&self) -> (usize, usize) {
        let Some(status) = &self.latest else { return (0, 0) };
        match self.view {
            View::Routers => (self.instances().len(), status.instances.len()),
            View::Services => (self.servers().len(), ServerRow::all(status).len()),
            View::Neighbors => (self.neighbors().len(), NeighborRow::all(status).len()),
        }
    }

    pub fn sort_name(&self) -> &'static str {
        match self.view {
            View::Routers => self.sort.name(),
            View::Services => self.server_sort.name(),
            View::Neighbors => self.neighbor_sort.name(),
        }
    }

    pub fn rates(&self, i: &InstanceStatus) -> Rates {
        let then = self.before.iter().flat_map(|before| &before.instances).find(|then| then.name == i.name);
        let rate = |of: fn(&InstanceStatus) -> u64| self.rate(then.map(of)?, of(i));
        Rates {
            sent: rate(|i| i.adverts_sent),
            received: rate(|i| i.adverts_received),
            discarded: rate(|i| sum(i.discards.values())),
            answered: rate(|i| sum(i.vip_answers.values())),
        }
    }

    /// The counters of the eBPF program that are not 0, with their rates a second.
    pub fn counters(&self) -> Vec<(&str, u64, Option<f64>)> {
        let counters = self.latest.iter().flat_map(|status| &status.counters);
        counters
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| {
                let then = self.before.as_ref().and_then(|before| before.counters.get(name));
                (name.as_str(), *count, then.and_then(|then| self.rate(*then, *count)))
            })
            .collect()
    }

    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent) -> KeyEffect {
        if key.kind == KeyEventKind::Release {
            return KeyEffect::Go;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return KeyEffect::End;
        }
        if self.filter.editing && self.filter.type_key(key.code) {
            return KeyEffect::Go;
        }
        match key.code {
            KeyCode::Char('q') => return KeyEffect::End,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc if self.filter.is_on() => self.filter.clear(),
            KeyCode::Esc if self.enlarged => self.enlarged = false,
            KeyCode::Esc => return KeyEffect::End,
            KeyCode::Char('/') => self.filter.editing = true,
            KeyCode::Char('f') => self.filter.next_state(),
            KeyCode::Enter => self.enlarged = !self.enlarged,
            KeyCode::Char('s') if self.view == View::Services => self.server_sort = self.server_sort.next(),
            KeyCode::Char('s') if self.view == View::Neighbors => {
                self.neighbor_sort = self.neighbor_sort.next();
            }
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('v') | KeyCode::Tab => self.change_view(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-PAGE),
            KeyCode::PageDown => self.move_by(PAGE),
            KeyCode::Home => self.move_by(isize::MIN),
            KeyCode::End => self.move_by(isize::MAX),
            _ => {}
        }
        KeyEffect::Go
    }

    /// What is chosen of the one has no meaning for the other.
    fn change_view(&mut self) {
        self.view = self.next_view();
        self.filter = Filter::of(self.view);
    }

    /// The view after this one, of those that have anything.
    pub fn next_view(&self) -> View {
        match self.view {
            View::Routers if self.has_services() => View::Services,
            View::Routers | View::Services if self.has_neighbors() => View::Neighbors,
            View::Routers | View::Services | View::Neighbors => View::Routers,
        }
    }

    fn move_by(&mut self, rows: isize) {
        if self.view == View::Services {
            let at = self.selected_server().map_or(0, |(at, _)| at);
            let keys: Vec<ServerKey> = self.servers().iter().map(ServerRow::key).collect();
            let Some(last) = keys.len().checked_sub(1) else { return };
            self.selected_server = Some(keys[at.saturating_add_signed(rows).min(last)].clone());
            return;
        }
        if self.view == View::Neighbors {
            let at = self.selected_neighbor().map_or(0, |(at, _)| at);
            let keys: Vec<String> = self.neighbors().iter().map(NeighborRow::key).collect();
            let Some(last) = keys.len().checked_sub(1) else { return };
            self.selected_neighbor = Some(keys[at.saturating_add_signed(rows).min(last)].clone());
            return;
        }
        let at = self.selected().map_or(0, |(at, _)| at);
        let names: Vec<String> = self.instances().into_iter().map(|i| i.name.clone()).collect();
        let Some(last) = names.len().checked_sub(1) else { return };
        self.selected = Some(names[at.saturating_add_signed(rows).min(last)].clone());
    }

    fn adverts(&self, i: &InstanceStatus) -> f64 {
        let Rates { sent, received, .. } = self.rates(i);
        sent.unwrap_or_default() + received.unwrap_or_default()
    }

    /// By the second, between the last two answers; `None` if a counter has begun anew.
    fn rate(&self, then: u64, now: u64) -> Option<f64> {
        let (before, latest) = (self.before.as_ref()?, self.latest.as_ref()?);
        let passed = Duration::from_millis(latest.uptime_ms.checked_sub(before.uptime_ms)?);
        // Exact far beyond what is counted between two looks.
        let more = u32::try_from(now.checked_sub(then)?).unwrap_or(u32::MAX);
        Some(f64::from(more) / passed.as_secs_f64())
    }
}

impl ServerSort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Server => "server",
            Self::State => "state",
            Self::Connections => "connections",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Configuration => Self::Server,
            Self::Server => Self::State,
            Self::State => Self::Connections,
            Self::Connections => Self::Configuration,
        }
    }
}

impl NeighborSort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Name => "name",
            Self::State => "state",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Configuration => Self::Name,
            Self::Name => Self::State,
            Self::State => Self::Configuration,
        }
    }
}

impl Sort {
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Name => "name",
            Self::State => "state",
            Self::Adverts => "adverts",
            Self::Discards => "discards",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Configuration => Self::Name,
            Self::Name => Self::State,
            Self::State => Self::Adverts,
            Self::Adverts => Self::Discards,
            Self::Discards => Self::Configuration,
        }
    }
}

/// Instances with problems come first.
fn state_rank(state: &str) -> usize {
    let order = ["FAULT", "INIT", "STOP", "MASTER", "BACKUP"];
    order.iter().position(|known| *known == state).unwrap_or(order.len())
}

fn more(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// How many of `steps` there are in `some` of `whole`.
pub fn part(some: u64, whole: u64, steps: usize) -> usize {
    let some = u128::from(some.min(whole)) * steps as u128;
    some.checked_div(whole.into()).and_then(|part| part.try_into().ok()).unwrap_or_default()
}

/// Greatest delay of an advert behind its schedule, of all instances.
pub fn latest_us(status: &Status) -> u64 {
    status.instances.iter().map(|i| i.advert_lateness_max_us).max().unwrap_or_default()
}

/// How many instances are in each state, of those that any is in.
pub fn states(status: &Status) -> BTreeMap<&str, usize> {
    let mut states = BTreeMap::new();
    for i in &status.instances {
        *states.entry(i.state.as_str()).or_default() += 1;
    }
    states
}
