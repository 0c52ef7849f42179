//! Which instances, real servers or neighbors `vipd top` shows: those that a search finds, in the states that are chosen.

use std::fmt;

use crossterm::event::KeyCode;

use vipd_control::{model::InstanceStatus, status::find::vips};

use super::{neighbors::NeighborRow, services::ServerRow, state::View};

/// A search is shorter than this: longer than any name or address is.
const SEARCH_LEN_MAX: usize = 64;

/// What is chosen; nothing at first, which shows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In lower case; empty to find all.
    search: String,
    /// Whether keys go into the search.
    pub editing: bool,
    state: States,
    servers: ServerStates,
    view: View,
}

/// The real servers, or neighbors, that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ServerStates {
    #[default]
    All,
    /// Those that do not serve as they are to.
    Unwell,
    Well,
}

/// The states that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum States {
    #[default]
    All,
    Master,
    Backup,
    Fault,
    /// None of these.
    Other,
}

impl Filter {
    /// All that a view has.
    pub fn of(view: View) -> Self {
        Self { view, ..Self::default() }
    }

    /// Whether a real server is shown.
    pub fn shows_server(&self, row: &ServerRow<'_>) -> bool {
        let in_state = match self.servers {
            ServerStates::All => true,
            ServerStates::Unwell => !row.is_well(),
            ServerStates::Well => row.is_well(),
        };
        in_state && (self.search.is_empty() || row.is_found_by(&self.search))
    }

    /// Whether a neighbor is shown.
    pub fn shows_neighbor(&self, row: &NeighborRow<'_>) -> bool {
        let in_state = match self.servers {
            ServerStates::All => true,
            ServerStates::Unwell => !row.is_well(),
            ServerStates::Well => row.is_well(),
        };
        in_state && (self.search.is_empty() || row.is_found_by(&self.search))
    }

    /// Whether an instance is shown.
    pub fn shows(&self, i: &InstanceStatus) -> bool {
        let in_state = match self.state {
            States::All => true,
            States::Master => i.state == "MASTER",
            States::Backup => i.state == "BACKUP",
            States::Fault => i.state == "FAULT",
            States::Other => !["MASTER", "BACKUP", "FAULT"].contains(&i.state.as_str()),
        };
        let finds = |text: &str| text.to_lowercase().contains(&self.search);
        let found = || {
            finds(&i.name)
                || finds(&i.interface)
                || i.sync_group.as_deref().is_some_and(finds)
                || vips(i).any(|vip| self.finds_vip(&vip.to_string()))
        };
        in_state && (self.search.is_empty() || found())
    }

    /// The VIP of an instance that is shown in a line: the first one that the search finds, or else the first.
    pub fn vip(&self, i: &InstanceStatus) -> String {
        let all: Vec<String> = vips(i).map(|vip| vip.to_string()).collect();
        let found = all.iter().find(|vip| !self.search.is_empty() && self.finds_vip(vip));
        match (found.or(all.first()), all.len()) {
            (None, _) => "-".into(),
            (Some(vip), 1) => vip.clone(),
            (Some(vip), count) => format!("{vip} +{}", count - 1),
        }
    }

    fn finds_vip(&self, vip: &str) -> bool {
        vip.contains(&self.search)
    }

    /// Whether it may leave anything out.
    pub fn is_on(&self) -> bool {
        !self.search.is_empty() || self.state != States::All || self.servers != ServerStates::All
    }

    pub fn clear(&mut self) {
        *self = Self::of(self.view);
    }

    /// Takes a key of the search line; whether it was one.
    pub fn type_key(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char(c) if self.search.chars().count() < SEARCH_LEN_MAX => {
                self.search.extend(c.to_lowercase());
            }
            KeyCode::Char(_) => {}
            KeyCode::Backspace => drop(self.search.pop()),
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                self.search.clear();
                self.editing = false;
            }
            _ => return false,
        }
        true
    }

    pub fn next_state(&mut self) {
        if self.view != View::Routers {
            self.servers = match self.servers {
                ServerStates::All => ServerStates::Unwell,
                ServerStates::Unwell => ServerStates::Well,
                ServerStates::Well => ServerStates::All,
            };
            return;
        }
        self.state = match self.state {
            States::All => States::Master,
            States::Master => States::Backup,
            States::Backup => States::Fault,
            States::Fault => States::Other,
            States::Other => States::All,
        };
    }

    pub fn search(&self) -> &str {
        &self.search
    }

    pub fn state_name(&self) -> &'static str {
        match self.servers {
            ServerStates::All => {}
            ServerStates::Unwell => return "not up",
            ServerStates::Well => return "up",
        }
        match self.state {
            States::All => "all",
            States::Master => "MASTER",
            States::Backup => "BACKUP",
            States::Fault => "FAULT",
            States::Other => "others",
        }
    }
}

impl fmt::Display for Filter {
    /// What is chosen, such as `/web, MASTER`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_every = self.state == States::All && self.servers == ServerStates::All;
        match (self.search.is_empty(), is_every) {
            (true, _) => f.write_str(self.state_name()),
            (false, true) => write!(f, "/{}", self.search),
            (false, false) => write!(f, "/{}, {}", self.search, self.state_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipd_control::model::samples;

    fn filter(search: &str, states: usize) -> Filter {
        let mut filter = Filter { editing: true, ..Filter::default() };
        search.chars().for_each(|c| assert!(filter.type_key(KeyCode::Char(c))));
        filter.type_key(KeyCode::Enter);
        (0..states).for_each(|_| filter.next_state());
        filter
    }

    #[test]
    fn a_search_finds_names_interfaces_groups_and_vips() {
        let mut status = samples::status();
        status.instances[2].interface = "eth1.100".into();
        for (search, states, expect) in [
            ("", 0, &["VI_1", "VI_6", "VI_F"][..]),
            ("vi_", 0, &["VI_1", "VI_6", "VI_F"]),
            ("VI_6", 0, &["VI_6"]),
            ("ETH1", 0, &["VI_F"]),
            ("g", 0, &["VI_1"]),
            ("2001:DB8", 0, &["VI_6"]),
            // Not in adverts.
            ("0.0.4", 0, &["VI_1"]),
            ("nothing", 0, &[]),
            ("", 1, &["VI_1"]),
            ("", 2, &["VI_6"]),
            ("", 3, &["VI_F"]),
            ("", 4, &[]),
            ("", 5, &["VI_1", "VI_6", "VI_F"]),
            ("vi_1", 2, &[]),
        ] {
            let filter = filter(search, states);
            let shown: Vec<&str> =
                status.instances.iter().filter(|i| filter.shows(i)).map(|i| i.name.as_str()).collect();
            assert_eq!(shown, expect, "{search} {}", filter.state_name());
        }
        status.instances[0].state = "INIT".into();
        assert!(filter("", 4).shows(&status.instances[0]), "others");
    }

    #[test]
    fn the_vip_that_was_found_is_shown() {
        let status = samples::status();
        for (search, expect) in [("", "10.0.0.3 +1"), ("0.4", "10.0.0.4 +1"), ("vi_1", "10.0.0.3 +1")] {
            assert_eq!(filter(search, 0).vip(&status.instances[0]), expect, "{search}");
        }
        assert_eq!(filter("", 0).vip(&status.instances[1]), "2001:db8::100");
        assert_eq!(filter("", 0).vip(&InstanceStatus::default()), "-");
    }

    #[test]
    fn the_search_line_is_edited() {
        let mut filter = Filter { editing: true, ..Filter::default() };
        for (key, search, editing) in [
            (KeyCode::Char('A'), "a", true),
            (KeyCode::Char('b'), "ab", true),
            (KeyCode::Backspace, "a", true),
            (KeyCode::Enter, "a", false),
            (KeyCode::Esc, "", false),
        ] {
            assert!(filter.type_key(key));
            assert_eq!((filter.search(), filter.editing), (search, editing), "{key:?}");
        }
        assert!(!filter.type_key(KeyCode::Down), "it is for the table");
        assert!((0..100).all(|_| filter.type_key(KeyCode::Char('x'))));
        assert_eq!(filter.search().len(), SEARCH_LEN_MAX);
        filter.clear();
        assert!(!filter.is_on());
    }
}
